"""Snapshots on disk: whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.snapshot import CutState
from node.snapshot_files import SnapshotFiles
from node.snapshot_wire import Offer, PieceKind, PieceName, decode_offer, encode_offer
from tests.node.dataplane import certificate, chain_of

CUT = CutState(bytes(32), 1, (b"left", b"right"), (b"ids",))


def offer_of(height: int) -> Offer:
    """An offer of this height; nobody here looks into it."""
    proposals = chain_of(height + 2)[height - 2 :]
    return Offer(1, tuple(proposals), certificate(proposals[-1].header))


def piece(files: SnapshotFiles, height: int, kind: PieceKind, place: int) -> bytes | None:
    """One piece."""
    return files.piece(PieceName(height, kind, place))


def test_what_was_written_is_served(tmp_path: Path) -> None:
    """By another process as well."""
    SnapshotFiles(tmp_path / "s", 2).write(offer_of(4), CUT)
    files = SnapshotFiles(tmp_path / "s", 2)
    found = files.offer(4)
    assert found is not None
    assert decode_offer(found) == offer_of(4)
    assert piece(files, 4, PieceKind.SLICE, 1) == b"right"
    assert piece(files, 4, PieceKind.REPLAY, 0) == b"ids"
    assert (piece(files, 4, PieceKind.SLICE, 2), piece(files, 5, PieceKind.SLICE, 0)) == (None, None)
    assert files.offer(5) is None


def test_the_last_ones_are_kept_and_the_highest_is_offered(tmp_path: Path) -> None:
    """The disk does not fill up with the past."""
    files = SnapshotFiles(tmp_path / "s", 2)
    for height in (4, 5, 12):
        files.write(offer_of(height), CUT)
    assert files.heights == [5, 12]
    found = files.offer(0)
    assert found is not None
    assert decode_offer(found).height == 12


def test_a_snapshot_of_a_height_that_is_there_takes_its_place(tmp_path: Path) -> None:
    """A node that fetched the chain anew comes to the same heights again."""
    files = SnapshotFiles(tmp_path / "s", 2)
    files.write(offer_of(4), CUT)
    files.write(offer_of(4), CutState(bytes(32), 0, (b"whole",), ()))
    assert (files.heights, piece(files, 4, PieceKind.SLICE, 0)) == ([4], b"whole")
    assert piece(files, 4, PieceKind.SLICE, 1) is None


@pytest.mark.parametrize("name", ["offer", "slice-0", "replay-0"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"\xff", lambda data: data[:5], lambda data: b""])
def test_a_damaged_file_is_not_served(tmp_path: Path, name: str, damage: object) -> None:
    """Row 7: a peer would take us for a liar."""
    files = SnapshotFiles(tmp_path / "s", 2)
    files.write(offer_of(4), CUT)
    path = tmp_path / "s" / "4" / name
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    served = {
        "offer": lambda: files.offer(0),
        "slice-0": lambda: piece(files, 4, PieceKind.SLICE, 0),
        "replay-0": lambda: piece(files, 4, PieceKind.REPLAY, 0),
    }
    assert served[name]() is None


def test_where_the_highest_is_damaged_the_one_before_is_offered(tmp_path: Path) -> None:
    """One bad sector would leave a node that has a good snapshot with nothing to give."""
    files = SnapshotFiles(tmp_path / "s", 2)
    files.write(offer_of(4), CUT)
    files.write(offer_of(8), CUT)
    assert files.offer(0) == encode_offer(offer_of(8))
    (tmp_path / "s" / "8" / "offer").write_bytes(b"")
    assert files.offer(0) == encode_offer(offer_of(4))
    assert files.offer(5) is None


def test_what_a_crash_left_of_a_snapshot_is_removed(tmp_path: Path) -> None:
    """Row 34: half a snapshot must never be offered."""
    half = tmp_path / "s" / "8.new"
    half.mkdir(parents=True)
    (half / "slice-0").write_bytes(b"x")
    files = SnapshotFiles(tmp_path / "s", 2)
    assert (files.heights, files.offer(0), half.exists()) == ([], None, False)


def test_a_snapshot_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 8: a full disk costs the snapshot, and what it filled is free again."""
    files = SnapshotFiles(tmp_path / "s", 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node.snapshot_files.write_all", full)
    with pytest.raises(OSError, match="No space"):
        files.write(offer_of(4), CUT)
    assert list((tmp_path / "s").iterdir()) == []
