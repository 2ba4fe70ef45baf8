"""Snapshots on disk, as they are served: ``data/snapshots/HEIGHT/``, one file a piece.

Rules:

1. A snapshot appears whole or not at all: it is written to a directory of another name, every file synced, and renamed.
   What a crash left of one is removed at the next start.
2. Every file opens with its checksum. A file that does not match it is not served: whoever sends a damaged piece would
   be taken for a liar. The node does not stop for it; a snapshot is a copy.
3. The last `keep` snapshots are kept.
"""

from __future__ import annotations

import os
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Final

from contracts.snapshot import CutState
from node.files import make_private_directory, sync_directory, write_all
from node.snapshot_wire import Offer, PieceKind, PieceName, encode_offer

CHECKSUM_BYTES: Final = 16
_OFFER_FILE: Final = "offer"
_UNFINISHED: Final = ".new"


class SnapshotFiles:
    """The snapshots of one node. All methods block.

    Args:
        directory: ``data/snapshots``; made when the first snapshot is written.
        keep: How many are kept.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep
        for each in self._found(_UNFINISHED):
            shutil.rmtree(each, ignore_errors=True)

    @property
    def heights(self) -> list[int]:
        """The heights of the snapshots there are, ascending."""
        return sorted(int(each.name) for each in self._found("") if each.name.isdigit())

    def offer(self, height_min: int) -> bytes | None:
        """The encoded offer of the highest snapshot, not below this height, whose offer is whole."""
        for height in reversed(self.heights):
            if height >= height_min and (found := self._read(self._directory / str(height) / _OFFER_FILE)) is not None:
                return found
        return None

    def piece(self, name: PieceName) -> bytes | None:
        """A piece, if it is here and whole."""
        return self._read(self._directory / str(name.height) / _piece_file(name.kind, name.place))

    def write(self, offer: Offer, cut: CutState) -> None:
        """Add a snapshot, in place of one of the same height, and remove the oldest beyond `keep`.

        Raises:
            OSError: The disk is full or failing; nothing of it is left.
        """
        final = self._directory / str(offer.height)
        unfinished = self._directory / f"{offer.height}{_UNFINISHED}"
        make_private_directory(self._directory)
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir(mode=0o700)
            for kind, pieces in ((PieceKind.SLICE, cut.slices), (PieceKind.REPLAY, cut.replay)):
                for place, data in enumerate(pieces):
                    _write(unfinished / _piece_file(kind, place), data)
            _write(unfinished / _OFFER_FILE, encode_offer(offer))
            sync_directory(unfinished)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(unfinished, final)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        sync_directory(self._directory)
        for height in self.heights[: -self._keep]:
            shutil.rmtree(self._directory / str(height), ignore_errors=True)

    def _found(self, suffix: str) -> list[Path]:
        if not self._directory.is_dir():
            return []
        return [each for each in self._directory.iterdir() if each.is_dir() and each.name.endswith(suffix)]

    def _read(self, path: Path) -> bytes | None:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        return data[CHECKSUM_BYTES:] if data[:CHECKSUM_BYTES] == _checksum(data[CHECKSUM_BYTES:]) else None


def _piece_file(kind: PieceKind, place: int) -> str:
    return f"{kind.name.lower()}-{place}"


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def _write(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, _checksum(data) + data, 0)
        os.fsync(file)
    finally:
        os.close(file)
