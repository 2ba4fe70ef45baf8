"""Reading a file that somebody names: never more of it than allowed, and never a wait without an end.

Rules:

1. A regular file or a pipe is read; a device, a socket or a directory is refused before a byte of it is.
2. A pipe, such as the shell's ``<(...)``, may be silent for `PIPE_S_MAX` at a time, also before anybody opens its other
   end. To say everything it has as long again as its reader's bound takes at `PIPE_BYTES_PER_S`.
3. No more than one byte beyond the bound is read: who gets that many knows that the file is too large.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from genesis.errors import Rejected

PIPE_S_MAX: Final = 10
"""How long a pipe may be silent."""
PIPE_BYTES_PER_S: Final = 1 << 20
_PART_BYTES: Final = 1 << 20


def read_small(file: Path, size_max: int, *, private: bool = False) -> bytes:
    """What is in `file`, but not more than ``size_max + 1`` bytes.

    Args:
        file: A regular file, or a pipe to which somebody writes.
        size_max: In bytes.
        private: Whether it is a secret, which its group and others may have no permission for.

    Raises:
        Rejected: It is neither (``no_plain_file``), the pipe is silent (``silent_pipe``), or a secret that others may
            read (``exposed_file``).
        OSError: It cannot be read.
    """
    # Without O_NONBLOCK, to open a pipe to which nobody writes would wait for ever.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise Rejected("no_plain_file", f"{file} is neither a file nor a pipe.")
        if private and mode & (stat.S_IRWXG | stat.S_IRWXO):
            message = "A secret file is open to other users."
            raise Rejected("exposed_file", message, path=str(file), mode=f"{stat.S_IMODE(mode):04o}")
        return _all(descriptor, size_max) if stat.S_ISREG(mode) else _said(file, descriptor, size_max)
    finally:
        os.close(descriptor)


def _all(descriptor: int, size_max: int, await_part: Callable[[], None] = lambda: None) -> bytes:
    """All that can be read, within the bound; `await_part` returns when there is more."""
    parts: list[bytes] = []
    left = size_max + 1
    while left:
        await_part()
        part = os.read(descriptor, min(left, _PART_BYTES))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _said(pipe: Path, descriptor: int, size_max: int) -> bytes:
    """As `_all`, from a pipe; refused where it does not end in time (rule 2)."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    wait_s = PIPE_S_MAX + size_max // PIPE_BYTES_PER_S
    until = time.monotonic() + wait_s

    def await_part() -> None:
        left_s = until - time.monotonic()
        if not poll.poll(max(0, int(min(PIPE_S_MAX, left_s) * 1_000))):
            why = f"within {wait_s} s" if left_s < PIPE_S_MAX else f"and was silent for {PIPE_S_MAX} s"
            raise Rejected("silent_pipe", f"{pipe}: the pipe did not end {why}.")

    return _all(descriptor, size_max, await_part)
