"""What is given for a contract and is none: each command says so, with advice, soon, and within a bound of memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import novate
from node import small_files
from node.small_files import read_small
from tests.cli.hostile_files import HOSTILE, Hostile
from tests.contracts.vm.language.texts import ROOT, library

COMMANDS = {
    "check": [],
    "compile": [],
    "run": ["p=1"],
    "explain": ["p=1"],
    "prove": ["--seconds", "5"],
    "value": ["p=1", "--party", "a", "--now-unix-ms", "0", "--spot", "1", "--vol", "1", "--r", "0"],
}
SECONDS_MAX = 40
MEMORY_BYTES_MAX = 2**30
IN_PROCESSES = [
    ("check", "huge"), ("compile", "bytecode"), ("run", "deep"), ("explain", "latin1"), ("value", "number"),
    ("prove", "device"), ("check", "loop"), ("check", "escapes"), ("explain", "wide"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is waited for no longer than a test may take."""
    monkeypatch.setattr(small_files, "PIPE_S_MAX", 0.2)


def judged(hostile: Hostile, stdout: str, stderr: str, exit_code: int) -> None:
    """A failure in the one form, of one screen, with nothing that acts on a terminal."""
    assert (exit_code, stdout) == (2 if hostile.name in ("loop", "nowhere") else 1, "")
    assert stderr.startswith(f"novate: error [{hostile.code}]: ")
    assert hostile.says in stderr
    assert "\n  what to do: " in stderr
    assert "Traceback" not in stderr
    assert len(stderr) < 1_500
    assert stderr.replace("\n", "").isprintable()


EACH = [("check", each.name) for each in HOSTILE] + [
    (command, name) for command in list(COMMANDS)[1:] for name in ("huge", "deep", "bytecode", "device", "silent")
]


@pytest.mark.parametrize(("command", "name"), EACH)
def test_no_command_takes_it_for_a_contract(command: str, name: str, tmp_path: Path) -> None:
    """Six commands read contracts, by one door; a hole in one of them is one too many."""
    hostile = next(each for each in HOSTILE if each.name == name)
    file = tmp_path / "given"
    hostile.make(file)
    done = CliRunner().invoke(novate, ["contract", command, str(file), *COMMANDS[command]])
    judged(hostile, done.stdout, done.stderr, done.exit_code)


@pytest.mark.process
@pytest.mark.parametrize(("command", "name"), IN_PROCESSES)
def test_a_real_process_ends_soon_and_in_bounds(command: str, name: str, tmp_path: Path) -> None:
    """Address space is limited by the system here: what reads a device to its end dies of it."""
    hostile = next(each for each in HOSTILE if each.name == name)
    file = tmp_path / "given"
    hostile.make(file)
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "contract", command, str(file), *COMMANDS[command]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)),
        check=False,
    )
    judged(hostile, done.stdout, done.stderr, done.returncode)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_is_wrong_usage(command: str, tmp_path: Path) -> None:
    """Exit code 2, as for every argument that can never be right."""
    done = CliRunner().invoke(novate, ["contract", command, str(tmp_path), *COMMANDS[command]])
    assert done.exit_code == 2
    assert "is a directory" in done.stderr


@pytest.mark.parametrize("hostile", [each for each in HOSTILE if each.name in ("device", "silent", "huge", "noise")])
def test_a_certificate_is_read_within_the_same_bounds(hostile: Hostile, tmp_path: Path) -> None:
    """It comes from somebody else."""
    file = tmp_path / "given"
    hostile.make(file)
    contract = str(ROOT / "contracts" / "library" / "digital.contract")
    done = CliRunner().invoke(novate, ["contract", "prove", contract, "--check", str(file)])
    assert done.exit_code == 1
    assert f"[{hostile.code}]" in done.stderr or "[bad_proof_certificate]" in done.stderr
    assert "what to do: " in done.stderr


def test_a_pipe_that_speaks_is_read_to_its_end(tmp_path: Path) -> None:
    """A shell's ``<(...)`` is a pipe, and what it says may come in pieces."""
    pipe, text = tmp_path / "pipe", (ROOT / "contracts" / "library" / "digital.contract").read_bytes()
    os.mkfifo(pipe)

    def speak() -> None:
        with pipe.open("wb", buffering=0) as opened:
            for start in range(0, len(text), 500):
                opened.write(text[start : start + 500])

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        done = CliRunner().invoke(novate, ["contract", "check", str(pipe), "--json"])
    finally:
        speaker.join()
    assert done.exit_code == 0
    assert library("digital")[1].program.program_id.hex() in done.stdout


def test_a_pipe_without_an_end_is_left_when_there_is_enough(tmp_path: Path) -> None:
    """Whoever writes on and on fills no memory."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def speak() -> None:
        with pipe.open("wb", buffering=0) as opened:
            try:
                while True:
                    opened.write(bytes(4_096))
            except BrokenPipeError:
                return

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        assert len(read_small(pipe, 10_000)) == 10_001
    finally:
        speaker.join()


@pytest.mark.parametrize("seconds", [1])
def test_a_proof_ends_near_its_time_though_each_run_of_the_contract_is_long(seconds: int, tmp_path: Path) -> None:
    """Drawing scenarios for a program of four thousand instructions once took a minute whatever was asked for."""
    pytest.importorskip("z3")
    file = tmp_path / "long.contract"
    file.write_bytes(
        b"contract x party a party b asset C rest to a feed F parameter p: money C in 0..9 parameter end: time "
        b"observe s: 500 prices of F from end every 1s until end + 2000s in 1..1000 lock a p * 1_000_000 "
        b"when s arrives { pay p * max(s) / 1_000 ticks round down to b pay min(p" + b" + p" * 1_200 + b", p) to b } "
        b"timeout { } close"
    )
    began = time.process_time()
    done = CliRunner().invoke(novate, ["contract", "prove", str(file), "--seconds", str(seconds)])
    assert done.exit_code in (0, 4), done.stderr
    assert time.process_time() - began < SECONDS_MAX
