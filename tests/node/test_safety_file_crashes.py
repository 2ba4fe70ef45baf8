"""The safety file through crashes and power loss: docs/FAULTS.md rows 5 to 7."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from consensus.events import SafetyState
from genesis.errors import Rejected
from node.failures import StorageFailure
from node.safety_file import COPIES, FILE_BYTES, PAIRS, SLOT_BYTES, SafetyFile
from tests.node.dataplane import CHAIN_ID
from tests.node.safety_images import (
    NEW,
    OLD,
    RECORD_BYTES,
    Disk,
    PowerLoss,
    failing,
    images,
    load,
    note_steps,
    running,
    slot,
    with_slot,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the safety file is, or will be."""
    return tmp_path / "safety"


@pytest.mark.parametrize(("pair", "copy"), [*product(range(PAIRS), range(COPIES))])
def test_crash_at_any_byte_of_a_save_leaves_the_old_state_or_the_new(path: Path, pair: int, copy: int) -> None:
    """Every prefix of every write; and the start after it, which writes too, must not change the answer."""
    before, after = images(path, pair)
    for written in range(RECORD_BYTES + 1):
        image = before
        for each in range(copy):
            image = with_slot(image, pair, each, after[slot(after, pair, each)])
        image = with_slot(image, pair, copy, after[slot(after, pair, copy)][:written])
        path.write_bytes(image)
        expected = NEW if copy > 0 or written == RECORD_BYTES else OLD
        assert load(path) == expected, written
        assert load(path) == expected, written


@pytest.mark.parametrize("pair", range(PAIRS))
def test_power_loss_during_the_sync_may_keep_any_part_of_either_copy(path: Path, pair: int) -> None:
    """A disk writes the two copies in any order. Both torn could also be rot of a state acted upon: refused."""
    before, after = images(path, pair)
    torn = after[slot(after, pair, 0)][: RECORD_BYTES - 9] + b"\xee" * 9
    for first, second in product(("old", "torn", "new"), repeat=2):
        image = before
        for copy, left in enumerate((first, second)):
            parts = {"old": b"", "torn": torn, "new": after[slot(after, pair, copy)]}
            image = with_slot(image, pair, copy, parts[left])
        path.write_bytes(image)
        if (first, second) == ("torn", "torn"):
            with pytest.raises(Rejected, match="corrupt_safety_file"):
                load(path)
        else:
            assert load(path) == (NEW if "new" in (first, second) else OLD), (first, second)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("pair", range(PAIRS))
def test_crash_at_any_byte_of_a_start_leaves_the_state(path: Path, pair: int, nth: int) -> None:
    """A start writes four slots; one that dies there, halfway through a byte range, must leave what it found."""
    image, _ = images(path, pair)[::-1]
    for written in range(0, RECORD_BYTES + 1, 5):
        path.write_bytes(image)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "pwrite", _torn(os.pwrite, nth, written))
            with pytest.raises(PowerLoss):
                load(path)
        assert load(path) == NEW, written


@pytest.mark.parametrize("how", ["killed before the sync", "the sync failed"])
@pytest.mark.parametrize("pair", range(PAIRS))
def test_loaded_state_survives_power_loss_even_if_its_save_never_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch, pair: int, how: str
) -> None:
    """The page cache shows what is not on disk; a timeout signed on that would be forgotten with it."""
    with closing(running(path, pair)) as file:
        disk = Disk(path, monkeypatch)
        disk.sync_fails = how == "the sync failed"
        with monkeypatch.context() as patch:
            if not disk.sync_fails:
                patch.setattr(os, "fdatasync", failing(os.fdatasync, 1, PowerLoss()))
            with pytest.raises((StorageFailure, PowerLoss)):
                file.save(NEW)
    disk.sync_fails = False
    assert load(path) == NEW
    disk.lose_power()
    assert load(path) == NEW


@pytest.mark.parametrize("pair", range(PAIRS))
def test_saved_state_survives_power_loss(path: Path, monkeypatch: pytest.MonkeyPatch, pair: int) -> None:
    """`save` has returned and the vote has left: the mutant without its sync dies here."""
    with closing(running(path, pair)) as file:
        disk = Disk(path, monkeypatch)
        file.save(NEW)
        disk.lose_power()
    assert load(path) == NEW


def test_short_writes_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may write less than it was given."""
    pwrite = os.pwrite
    with closing(running(path)) as file:
        monkeypatch.setattr(os, "pwrite", lambda to, data, offset: pwrite(to, data[:7], offset))
        file.save(NEW)
    assert load(path) == NEW


@pytest.mark.parametrize(
    ("call", "nth", "expected"),
    [
        ("pwrite", 1, None),
        ("fsync", 1, None),
        ("replace", 1, None),
        ("fsync", 2, OLD),
    ],
)
def test_crash_between_any_two_steps_of_creation_leaves_no_file_or_the_whole_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, expected: SafetyState | None
) -> None:
    """A half-made file would look like a damaged one and keep a new validator from starting."""
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(getattr(os, call), nth, PowerLoss()))
        with closing(SafetyFile(path, CHAIN_ID)) as file, pytest.raises(PowerLoss):
            file.save(OLD)
    assert load(path) == expected
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        file.save(NEW)
    assert load(path) == NEW


def test_creation_writes_every_byte_and_syncs_file_and_directory_in_order(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename is only durable with its directory, and a file with holes would allocate at a save."""
    steps: list[str] = []
    note_steps(steps, tmp_path, monkeypatch)
    running(path).close()
    assert steps == [f"write {FILE_BYTES} at 0", "sync file", "rename", "sync directory"]


@pytest.mark.parametrize("pair", range(PAIRS))
def test_save_is_two_aligned_writes_and_one_sync(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, pair: int
) -> None:
    """What makes it cheap: no rename, no growth, no second sync, no byte more than the record."""
    steps: list[str] = []
    with closing(running(path, pair)) as file:
        note_steps(steps, tmp_path, monkeypatch)
        file.save(NEW)
    offsets = [(copy * PAIRS + pair) * SLOT_BYTES for copy in range(COPIES)]
    assert steps == [*(f"write {RECORD_BYTES} at {each}" for each in offsets), "sync data"]
    assert all(each % 4_096 == 0 for each in offsets)
    assert path.stat().st_size == FILE_BYTES


def test_start_completes_the_save_that_may_have_been_under_way_before_it_begins_another(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest record may be in the cache alone: synced before the other pair, the last durable one, is touched."""
    running(path, 1).close()
    steps: list[str] = []
    note_steps(steps, tmp_path, monkeypatch)
    assert load(path) == OLD
    pairs = [
        [f"write {RECORD_BYTES} at {(copy * PAIRS + pair) * SLOT_BYTES}" for copy in range(COPIES)] for pair in (0, 1)
    ]
    assert steps == ["sync directory", *pairs[0], "sync data", *pairs[1], "sync data"]


def _torn(pwrite: Callable[[int, bytes, int], int], nth: int, kept: int) -> Callable[[int, bytes, int], int]:
    """`pwrite`, but its `nth` call writes only the first `kept` bytes and the power fails."""
    calls = 0

    def call(file: int, data: bytes, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == nth:
            pwrite(file, data[:kept], offset)
            raise PowerLoss
        return pwrite(file, data, offset)

    return call
