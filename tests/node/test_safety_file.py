"""The safety file: fault catalogue rows 3 to 7."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from genesis.errors import InvariantViolation, Rejected
from node.failures import StorageFailure
from node.safety_file import SafetyFile
from tests.node.dataplane import CHAIN_ID, safety_of


class PowerLoss(BaseException):
    """The machine stops here."""


def test_saved_state_is_read_back(tmp_path: Path) -> None:
    """What a vote rests on must survive a restart, to the bit."""
    path = tmp_path / "data" / "safety"
    for view in (0, 7, 8):
        SafetyFile(path, CHAIN_ID).save(safety_of(view))
        assert SafetyFile(path, CHAIN_ID).load() == safety_of(view)


def test_missing_file_is_an_answer_not_an_error(tmp_path: Path) -> None:
    """Amnesia is recovered from by asking the others; only the replica can decide that."""
    assert SafetyFile(tmp_path / "safety", CHAIN_ID).load() is None


def test_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    """A damaged last vote must never be believed: it could allow a second one."""
    path = tmp_path / "safety"
    SafetyFile(path, CHAIN_ID).save(safety_of(9))
    good = path.read_bytes()
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        with pytest.raises(Rejected, match="corrupt_safety_file"):
            SafetyFile(path, CHAIN_ID).load()


@pytest.mark.parametrize("kept", [0, 1, 16, 51, 52, 84, -1])
def test_torn_file_is_refused(tmp_path: Path, kept: int) -> None:
    """Part of a state is no state, and an empty file is not a missing one."""
    path = tmp_path / "safety"
    SafetyFile(path, CHAIN_ID).save(safety_of(9))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Rejected, match="corrupt_safety_file"):
        SafetyFile(path, CHAIN_ID).load()


def test_another_chains_file_is_refused(tmp_path: Path) -> None:
    """A file copied from another network says nothing about this one's votes."""
    SafetyFile(tmp_path / "safety", b"\x42" * 32).save(safety_of(9))
    with pytest.raises(Rejected, match="wrong_chain"):
        SafetyFile(tmp_path / "safety", CHAIN_ID).load()


def test_going_back_is_our_own_bug(tmp_path: Path) -> None:
    """A lower last voted or proposed view would allow a second vote or proposal."""
    file = SafetyFile(tmp_path / "safety", CHAIN_ID)
    file.save(safety_of(9))
    for field in ("last_voted_view", "last_proposed_view"):
        with pytest.raises(InvariantViolation):
            file.save(replace(safety_of(9), **{field: 8}))


@pytest.mark.parametrize(
    ("call", "nth", "expected_view"),
    [
        ("write", 1, 5),
        ("fsync", 1, 5),
        ("replace", 1, 5),
        ("fsync", 2, 6),
    ],
)
def test_crash_between_any_two_steps_leaves_a_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, expected_view: int
) -> None:
    """The file is the old state or the new one at every instant; `save` has not returned, so nothing was signed."""
    file = SafetyFile(tmp_path / "safety", CHAIN_ID)
    file.save(safety_of(5))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, _failing(getattr(os, call), nth, PowerLoss()))
        with pytest.raises(PowerLoss):
            file.save(safety_of(6))
    assert SafetyFile(tmp_path / "safety", CHAIN_ID).load() == safety_of(expected_view)


def test_file_and_directory_are_both_synced_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename is only durable with its directory: the mutant without that sync dies here."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(file: int) -> None:
        steps.append("sync directory" if Path(f"/proc/self/fd/{file}").resolve() == tmp_path else "sync file")
        fsync(file)

    def note_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    SafetyFile(tmp_path / "safety", CHAIN_ID).save(safety_of(1))
    assert steps == ["sync file", "rename", "sync directory"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_disk_error_ends_the_process_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """EIO or a full disk must never be taken for a saved vote."""
    file = SafetyFile(tmp_path / "safety", CHAIN_ID)
    monkeypatch.setattr(os, call, _failing(getattr(os, call), 1, OSError(28, "No space left on device")))
    with pytest.raises(StorageFailure, match=r"cannot write .*safety: .*No space left.*free space"):
        file.save(safety_of(1))


def _failing(real: Callable[..., object], nth: int, error: BaseException) -> Callable[..., object]:
    """`real`, but its `nth` call raises."""
    calls = 0

    def call(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise error
        return real(*arguments)

    return call
