"""Validators as processes of this machine: start, find, stop, and measure them.

Rules:

1. A validator runs in a session of its own, so that it outlives the command that started it; its output goes to
   ``HOME/node.log`` (appended), its process id to ``HOME/node.pid``. So does a signer, from a home of its own.
2. A process id proves nothing by itself, since the system reuses them: a process is a home's only if its command line
   says so. A killed process that nobody has collected yet (a zombie) has no command line, so it counts as gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genesis.errors import Rejected

NODE_RUN: Final = ("node", "run")
SIGNER_RUN: Final = ("signer", "run")
LOG_FILE: Final = "node.log"
PID_FILE: Final = "node.pid"
STOP_GRACE_S: Final = 10.0
_POLL_S: Final = 0.05
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Started:
    """A validator process that this process started.

    Attributes:
        home: The validator's.
        popen: Collects the process when it ends.
        log_offset: Where in its log this process begins, in bytes.
    """

    home: Path
    popen: subprocess.Popen[bytes]
    log_offset: int = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def ended(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for the process to end; whether it has."""
        try:
            self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def start(home: Path, run: tuple[str, ...] = NODE_RUN) -> Started:
    """Start the validator, or the signer, whose home this is; returns at once.

    Raises:
        Rejected: ``already_running``.
    """
    pid = running_pid(home)
    if pid is not None:
        raise Rejected("already_running", f"The {run[0]} runs already.", home=str(home), pid=pid)
    command = [sys.executable, "-m", "cli.main", *run, "--home", str(home)]
    with (home / LOG_FILE).open("ab") as log:
        offset = log.tell()
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), start_new_session=True
        )
    (home / PID_FILE).write_text(f"{popen.pid}\n")
    return Started(home, popen, offset)


def running_pid(home: Path) -> int | None:
    """The process id of the validator that runs from this home, or None."""
    try:
        pid = int((home / PID_FILE).read_text())
    except (OSError, ValueError):
        return None
    return pid if _runs_from(pid, home) else None


def stop(home: Path, started: Started | None = None) -> bool:
    """Ask a validator to end, and end it after `STOP_GRACE_S` if it has not; whether one ran at all."""
    pid = running_pid(home)
    if pid is None:
        return False
    for mark in (signal.SIGTERM, signal.SIGKILL):
        _send(pid, mark)
        if _gone(pid, home, started):
            break
    (home / PID_FILE).unlink(missing_ok=True)
    return True


def log_tail(home: Path, lines: int = 12, since: int = 0) -> str:
    """The last lines of a validator's log, of what stands behind its first `since` bytes."""
    try:
        with (home / LOG_FILE).open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(since, log.tell() - 8_192))
            text = log.read().decode(errors="replace")
    except OSError:
        return "(there is no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def cpu_s(pid: int) -> float:
    """Processor time, user and system, that a process has used, in seconds; 0 where the system does not tell."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _environment() -> dict[str, str]:
    """Ours without the user's passphrase: a testnet's homes bring their own."""
    return {name: value for name, value in os.environ.items() if name != "NOVATE_PASSPHRASE"}


def _runs_from(pid: int, home: Path) -> bool:
    if _PROC.is_dir():
        try:
            arguments = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return str(home).encode() in arguments
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _send(pid: int, mark: signal.Signals) -> None:
    try:
        os.kill(pid, mark)
    except ProcessLookupError:
        return


def _gone(pid: int, home: Path, started: Started | None) -> bool:
    """Whether the process ends within the grace; the parent waits for it, anyone else has to look."""
    if started is not None:
        return started.ended(STOP_GRACE_S)
    until = time.monotonic() + STOP_GRACE_S
    while _runs_from(pid, home):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)  # the end of another's process is no event on every system
    return True
