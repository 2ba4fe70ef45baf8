"""Every file that a user can name but contracts (`test_contract_hostile`), held against what a path may stand for."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import novate
from genesis.errors import Rejected
from node import small_files
from node.home import format_document
from node.small_files import read_small
from tests.cli.hostile_files import holding, huge
from tests.node.test_proof import DOCUMENT

ROOT = Path(__file__).resolve().parents[2]
MEMORY_BYTES_MAX = 3 * 2**30
SECONDS_MAX = 60
HOME = "home"
COMMANDS: dict[str, list[str]] = {
    "verify a proof": ["verify", "FILE", "--genesis", "genesis.toml"],
    "verify against a genesis document": ["verify", "proof.json", "--genesis", "FILE"],
    "price a file": ["price", "--csv", "FILE"],
    "price on a cluster": [
        *["price", "mc", "--right", "call", "--spot", "1", "--vol", "1", "--r", "0", "--t-years", "1", "--strike", "1"],
        *["--paths", "2", "--cluster", "tls://x:1"],
        *["--tls-trusted", "FILE", "--tls-cert", "FILE", "--tls-key", "FILE"],
    ],
    "submit": ["tx", "submit", "FILE", "--url", "http://127.0.0.1:1"],
    "propose by a card": ["gov", "propose", "validator.add", "--card", "FILE", "--home", HOME],
    "show a genesis document": ["genesis", "show", "FILE"],
    "verify a genesis document": ["genesis", "verify", "FILE"],
    "create from a card": ["genesis", "create", "new.toml", "--name", "x", "--validator", "FILE"],
    "replay a tape": ["replay", "FILE", "--dir", "testnet"],
    "replay with an index": ["replay", "tape.csv", "--index", "FILE", "--dir", "testnet"],
    "demonstrate a tape": ["demo", "--tape", "FILE", "--exit"],
    "run twins": ["sim", "twins", "FILE"],
    "run ACTUS terms": ["contract", "actus", "FILE"],
    "join a chain": ["node", "init", "--home", "node", "--name", "x", "--cost", "testnet", "--genesis", "FILE"],
    "join by a card": ["node", "init", "--home", "node", "--name", "x", "--peer", "FILE"],
    "read a passphrase": ["keys", "new", "x", "--home", HOME, "--passphrase-file", "FILE"],
    "run a home": ["node", "run", "--home", "FILE:node.toml"],
    "run a signer": ["signer", "run", "--home", "FILE:signer.toml"],
    "ask a testnet": ["testnet", "status", "--dir", "FILE:testnet.json"],
    "show a key": ["keys", "show", "x", "--home", "FILE:keys/x.key"],
}
"""Every command that opens a file which a user names; ``FILE:NAME`` is a directory with that file in it."""

HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "silent": (lambda path: os.mkfifo(path, 0o600), "[silent_pipe]"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "[no_plain_file]"),
    "directory": (lambda path: path.mkdir(), "[no_plain_file]"),
    "missing": (lambda path: path.symlink_to("nowhere"), ""),
    "empty": (holding(b""), ""),
    "latin1": (holding(b"caf\xe9\n" * 10), ""),
    "huge": (huge, ""),
}
"""What a path may stand for: how it is made, and the code that must be in the error whatever the command."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what the commands need besides; a pipe is waited for no longer than a test may take."""
    monkeypatch.setattr(small_files, "PIPE_S_MAX", 0.1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOVATE_PASSPHRASE", "x")
    for name in (HOME, "testnet"):
        (tmp_path / name).mkdir()
    (tmp_path / "proof.json").write_text("{}")
    (tmp_path / "genesis.toml").write_text(format_document(DOCUMENT))
    record = {"version": 1, "validators": [{"name": "v0", "url": "http://127.0.0.1:1"}]}
    (tmp_path / "testnet" / "testnet.json").write_text(json.dumps(record))
    (tmp_path / "tape.csv").write_text(
        "instrument,price,amount,direction,ts_utc_ms,index_price\nBTC-17AUG26-63000-P,0.01,1,buy,1786870000000,63000\n"
    )
    return tmp_path


def arguments(place: Path, command: str, make: Callable[[Path], object]) -> list[str]:
    """The command's words, with the file made."""
    words = []
    for word in COMMANDS[command]:
        if word == "FILE":
            if not os.path.lexists(place / "given"):
                make(place / "given")
            words.append("given")
        elif word.startswith("FILE:"):
            inside = place / "inside" / word.removeprefix("FILE:")
            inside.parent.mkdir(parents=True)
            make(inside)
            if inside.is_file() and not inside.is_symlink():
                inside.chmod(0o600)
            words.append("inside")
        else:
            words.append(word)
    return words


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_hangs_on_it_or_reads_it_without_end(command: str, kind: str, place: Path) -> None:
    """One reader stands behind all of them: a command with a reader of its own is one that hangs."""
    make, code = HOSTILE[kind]
    done = CliRunner().invoke(novate, arguments(place, command, make))
    assert done.exit_code in (1, 2), done.output
    assert done.stdout == "" or command == "demonstrate a tape"
    if done.exit_code == 2:  # the path itself is wrong; click says so for most
        assert kind in ("directory", "missing")
        if "Usage: " in done.stderr:
            return
    assert done.stderr.startswith("novate: error [")
    assert code in done.stderr
    assert "\n  what to do: " in done.stderr
    assert len(done.stderr) < 1_500


@pytest.mark.process
@pytest.mark.parametrize("command", ["verify a proof", "price a file", "submit", "replay a tape"])
def test_a_real_process_reads_no_device_to_its_end(command: str, place: Path) -> None:
    """Address space is limited by the system here: what reads a device to its end dies of it."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments(place, command, HOSTILE["device"][0])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)),
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("novate: error [no_plain_file]: given is neither a file nor a pipe.")


def test_a_pipe_of_a_million_rows_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who pipes a large file in needs longer than ten seconds, and has them."""
    monkeypatch.setattr(small_files, "PIPE_S_MAX", 5)
    pipe, data = tmp_path / "pipe", b"0123456789abcdef\n" * 1_000_000
    os.mkfifo(pipe)
    with subprocess.Popen(["tee", str(pipe)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as writer:
        assert writer.stdin is not None
        feeder = threading.Thread(target=writer.communicate, args=(data,))
        feeder.start()
        try:
            assert read_small(pipe, 2**28) == data
        finally:
            feeder.join()


def test_a_pipe_that_drips_ends_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never silent for long, and never done: the whole has a bound of its own."""
    monkeypatch.setattr(small_files, "PIPE_S_MAX", 1.5)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    over = threading.Event()

    def drip() -> None:
        with pipe.open("wb", buffering=0) as opened:
            while not over.wait(0.05):
                opened.write(b".")

    dripping = threading.Thread(target=drip)
    dripping.start()
    held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that a late drop breaks no pipe
    try:
        with pytest.raises(Rejected, match="did not end within"):
            read_small(pipe, 1_000)
    finally:
        over.set()
        dripping.join()
        os.close(held)


def test_a_file_of_the_bound_is_read_and_of_one_byte_more_is_known(tmp_path: Path) -> None:
    """The bound itself is allowed; what is beyond it is never read in full."""
    file = tmp_path / "given"
    for size, read in ((10, 10), (11, 11), (5_000, 11)):
        file.write_bytes(bytes(size))
        assert len(read_small(file, 10)) == read


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_may_read_is_refused_whatever_it_is(mode: int, tmp_path: Path) -> None:
    """Before a byte of it is read, be it a file or a pipe that would never end."""
    for name, make in (("file", lambda path: path.write_bytes(b"x")), ("pipe", os.mkfifo)):
        make(tmp_path / name)
        (tmp_path / name).chmod(mode)
        with pytest.raises(Rejected, match="open to other users"):
            read_small(tmp_path / name, 10, private=True)


def test_more_than_a_file_of_transactions_may_hold_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is stated and not kept is none."""
    monkeypatch.setattr("cli.tx.LARGE_BYTES_MAX", 100)
    (place / "given").write_bytes(b"92\n" * 40)
    done = CliRunner().invoke(novate, ["tx", "submit", "given", "--url", "http://127.0.0.1:1"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "[too_large]" in done.stderr
    assert "size_max=100" in done.stderr


def test_a_tape_that_unpacks_to_more_than_a_tape_may_be_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small gzip file can hold a thousand times its size."""
    monkeypatch.setattr("cli.replay.LARGE_BYTES_MAX", 1_000)
    (place / "tape.csv.gz").write_bytes(gzip.compress(bytes(100_000)))
    done = CliRunner().invoke(novate, ["replay", "tape.csv.gz", "--dir", "testnet"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "[bad_tape]" in done.stderr
    assert "size_max=1000" in done.stderr


def test_a_scenario_that_nests_too_deeply_is_refused(place: Path) -> None:
    """Python's parser gives up in another way than at a syntax error."""
    (place / "given").write_bytes(b"[" * 200_000)
    done = CliRunner().invoke(novate, ["sim", "twins", "given"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "[bad_scenario]" in done.stderr
