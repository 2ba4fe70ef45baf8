"""The safety file: what is saved is read back, damage is met, the disk refuses. docs/FAULTS.md rows 3, 4, 7, 8."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from hashlib import blake2b
from itertools import product
from pathlib import Path

import pytest

from consensus.events import SafetyState
from consensus.types import QC, TC, Timeout, TimeoutSignature
from consensus.wire import encode_safety
from genesis.document import VALIDATORS_MAX
from genesis.errors import InvariantViolation, Rejected
from genesis.statements import Phase
from node.failures import StorageFailure
from node.safety_file import COPIES, MAGIC, PAIRS, SLOT_BYTES, SafetyFile
from tests.node.dataplane import CHAIN_ID, safety_of
from tests.node.safety_images import (
    NEW,
    OLD,
    RECORD_BYTES,
    failing,
    flipped,
    images,
    load,
    record,
    running,
    with_slot,
)

VIEW_MAX = 2**48


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the safety file is, or will be."""
    return tmp_path / "safety"


def test_saved_state_is_read_back(path: Path) -> None:
    """What a vote rests on must survive a restart, to the bit."""
    for view in (0, 7, 8):
        with closing(SafetyFile(path, CHAIN_ID)) as file:
            file.save(safety_of(view))
        assert load(path) == safety_of(view)


def test_every_save_of_a_process_counts(path: Path) -> None:
    """The slots are taken in turns: after any number of saves the last one wins."""
    with closing(running(path)) as file:
        for view in range(6, 13):
            file.save(safety_of(view))
            assert load(path) == safety_of(view)
            file.load()


def test_largest_state_fits(path: Path) -> None:
    """With the most validators that a chain can have, and every number at its longest."""
    signatures = tuple((index, b"\xff" * 64) for index in range(VALIDATORS_MAX))
    qc = QC(0, VIEW_MAX, Phase.CERTIFY, VIEW_MAX, b"\xff" * 32, signatures)
    shares = tuple(TimeoutSignature(index, VIEW_MAX, b"\xff" * 64) for index in range(VALIDATORS_MAX))
    tc = TC(0, VIEW_MAX, qc, shares)
    state = SafetyState(0, VIEW_MAX, VIEW_MAX, qc, tc, Timeout(0, VIEW_MAX, qc, tc, VALIDATORS_MAX - 1))
    with closing(running(path)) as file:
        file.save(state)
    assert load(path) == state


def test_missing_file_is_an_answer_not_an_error(path: Path) -> None:
    """Amnesia is recovered from by asking the others; only the replica can decide that."""
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        assert file.load() is None
        file.save(safety_of(9))
    assert load(path) == safety_of(9)


def test_going_back_is_our_own_bug(path: Path) -> None:
    """A lower last voted or proposed view would allow a second vote or proposal; also right after a restart."""
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        file.save(safety_of(9))
    for older in (replace(safety_of(9), last_voted_view=8), replace(safety_of(9), last_proposed_view=8)):
        with closing(SafetyFile(path, CHAIN_ID)) as file, pytest.raises(InvariantViolation):
            file.save(older)


def test_whole_older_file_loads(path: Path) -> None:
    """Nothing in an old backup shows its age. C20 is the defence: the core stops on meeting its later signatures."""
    with closing(running(path)) as file:
        backup = path.read_bytes()
        file.save(NEW)
    path.write_bytes(backup)
    assert load(path) == OLD


def test_closed_file_opens_again(path: Path) -> None:
    """`close` gives a descriptor back, not the right to save."""
    file = running(path)
    file.close()
    file.close()
    file.save(NEW)
    file.close()
    assert load(path) == NEW


@pytest.mark.parametrize(("pair", "copy"), [*product(range(PAIRS), range(COPIES))])
def test_rot_in_one_copy_leaves_the_other(path: Path, pair: int, copy: int) -> None:
    """A state acted upon is there twice."""
    _, after = images(path, pair)
    for position in range(0, RECORD_BYTES, 3):
        path.write_bytes(flipped(after, pair, copy, position))
        assert load(path) == NEW, position


@pytest.mark.parametrize("pair", range(PAIRS))
def test_rot_in_both_copies_is_never_taken_for_the_older_state(path: Path, pair: int) -> None:
    """The older state would allow a second vote in the view that the lost one records."""
    _, after = images(path, pair)
    for position in range(0, RECORD_BYTES, 3):
        path.write_bytes(flipped(flipped(after, pair, 0, position), pair, 1, RECORD_BYTES - 1 - position))
        with pytest.raises(Rejected, match=r"corrupt_safety_file.*both copies"):
            load(path)


def test_a_start_makes_every_copy_good_again(path: Path) -> None:
    """Rot in one copy today and in the other next year must not add up."""
    for pair, copy in [*product(range(PAIRS), range(COPIES))] * 2:
        if not path.exists():
            running(path).close()
        path.write_bytes(flipped(path.read_bytes(), pair, copy, 60))
        assert load(path) == OLD


def _table_of_damage() -> dict[str, tuple[str, Callable[[bytes], bytes]]]:
    """One fault a row: its name, what the message says of it, how it changes a file with `OLD` in number 1, pair 1."""

    def both(pair: int, content: bytes) -> Callable[[bytes], bytes]:
        return lambda image: with_slot(with_slot(image, pair, 0, content), pair, 1, content)

    return {
        "empty": ("truncated, 0 bytes", lambda image: b""),
        "truncated": ("truncated", lambda image: image[:-1]),
        "too long": ("too long", lambda image: image + b"\0"),
        "of another format": ("truncated, 500 bytes", lambda image: image[:500]),
        "all zeros": (r"blank, blank", lambda image: bytes(len(image))),
        "newest pair blank": (r"blank, blank", both(1, bytes(SLOT_BYTES))),
        "older pair blank": (r"blank, blank", both(0, bytes(SLOT_BYTES))),
        "one blank, one torn": (
            r"blank, torn or altered",
            lambda image: flipped(with_slot(image, 1, 0, bytes(SLOT_BYTES)), 1, 1, 3),
        ),
        "length beyond the slot": ("torn or altered", both(1, record(1, OLD)[:56] + b"\xff" * 4)),
        "another pair's records": ("in the wrong place", both(1, record(0, OLD))),
        "two contents of one number": ("contradict", lambda image: with_slot(image, 1, 1, record(1, NEW))),
        "copies four apart": ("contradict", lambda image: with_slot(image, 1, 1, record(5, NEW))),
        "a pair of long ago": ("not of one order", both(1, record(3, NEW))),
        "no state in a whole record": (r"malformed", both(1, _reckoned(b"\x01"))),
        "no record at all": ("torn or altered", both(1, _reckoned(encode_safety(OLD), b"no/such/thing/9\n"))),
    }


def _reckoned(payload: bytes, magic: bytes = MAGIC) -> bytes:
    """Record 1 with any payload and magic, and the right checksum."""
    body = magic + CHAIN_ID + (1).to_bytes(8, "big") + len(payload).to_bytes(4, "big") + payload
    return body + blake2b(body, digest_size=32).digest()


def test_the_file_of_another_version_is_refused_as_such(path: Path) -> None:
    """Nothing is damaged, so nobody should be told to move it away and start without a memory."""
    running(path).close()
    other = _reckoned(encode_safety(OLD), b"novate/safety/2\n")
    path.write_bytes(with_slot(with_slot(path.read_bytes(), 1, 0, other), 1, 1, other))
    with pytest.raises(Rejected, match="wrong_safety_format"):
        load(path)


@pytest.mark.parametrize("name", _table_of_damage())
def test_damage_is_refused_and_left_alone(path: Path, name: str) -> None:
    """Whether asked to load or to save, and again: the evidence stays for whoever can read more from it."""
    says, damage = _table_of_damage()[name]
    running(path).close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        for call in (file.load, lambda: file.save(NEW), file.load):
            with pytest.raises(Rejected, match=f"corrupt_safety_file.*{says}.*Never replace it by an older copy"):
                call()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("copies", [1, 2])
def test_another_chains_file_is_refused(path: Path, copies: int) -> None:
    """A file copied from another network says nothing about this one's votes; nor does one mixed from two."""
    running(path).close()
    image = path.read_bytes()
    for copy in range(copies):
        image = with_slot(image, 1, copy, record(1, OLD, b"\x42" * 32))
    path.write_bytes(image)
    with pytest.raises(Rejected, match="wrong_chain"):
        load(path)


@pytest.mark.parametrize("bad", [1, 2])
def test_bad_block_counts_as_one_copys_damage(path: Path, monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    """Rot mostly shows as EIO; the other copy is what it is kept for. Both unreadable: refused."""
    running(path).close()
    pread = os.pread

    def read(file: int, size: int, offset: int) -> bytes:
        if offset in [(copy * PAIRS + 1) * SLOT_BYTES for copy in range(bad)]:
            raise OSError(errno.EIO, "Input/output error")
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", read)
    if bad == 1:
        assert load(path) == OLD
    else:
        with pytest.raises(Rejected, match="unreadable, unreadable"):
            load(path)


@pytest.mark.parametrize("call", ["pwrite", "fsync", "replace"])
def test_disk_error_at_creation_ends_the_process_with_advice(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """EIO or a full disk must never be taken for a saved vote."""
    monkeypatch.setattr(os, call, failing(getattr(os, call), 1, OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(StorageFailure, match=r"cannot create .*safety: .*No space left.*free space"):
        SafetyFile(path, CHAIN_ID).save(OLD)


@pytest.mark.parametrize(("call", "nth"), [("pwrite", 1), ("pwrite", 2), ("fdatasync", 1)])
def test_failed_save_is_the_last_of_its_process(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    """A failed sync may have dropped the pages and the next one says nothing of it: nothing is tried again."""
    with closing(running(path)) as file:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(getattr(os, call), nth, OSError(errno.EIO, "I/O error")))
            with pytest.raises(StorageFailure, match=r"cannot write .*safety: .*I/O error.*health"):
                file.save(NEW)
        for again in (lambda: file.save(NEW), file.load):
            with pytest.raises(StorageFailure, match="an earlier write"):
                again()
    assert load(path) in (OLD, NEW)


def test_start_on_a_disk_that_refuses_is_a_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be made durable must not be acted upon."""
    running(path).close()
    monkeypatch.setattr(os, "fdatasync", failing(os.fdatasync, 1, OSError(errno.EIO, "I/O error")))
    with pytest.raises(StorageFailure, match="cannot write"):
        load(path)


def test_file_that_cannot_be_opened_is_a_failure(path: Path) -> None:
    """Not readable is not missing: amnesia is for files that are gone."""
    path.mkdir()
    with pytest.raises(StorageFailure, match=r"cannot read .*owner"):
        load(path)


@pytest.mark.parametrize("how", ["removed", "replaced", "moved aside", "restored"])
def test_file_taken_away_under_a_running_node_fails_the_next_save(tmp_path: Path, how: str) -> None:
    """The open descriptor would take saves that no start finds again: also where the whole directory was moved aside,
    and a backup put in its place, from which a second process may be signing by now."""
    path = tmp_path / "data" / "safety"
    with closing(running(path)) as file:
        if how == "removed":
            path.unlink()
        elif how in ("moved aside", "restored"):
            aside = path.parent.rename(path.parent.with_name("aside"))
            if how == "restored":
                shutil.copytree(aside, path.parent)
        else:
            other = path.with_name("other")
            other.write_bytes(path.read_bytes())
            other.replace(path)
        with pytest.raises(StorageFailure, match="removed or replaced"):
            file.save(NEW)
