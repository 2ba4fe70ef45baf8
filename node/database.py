"""LevelDB as the ledger uses it: checksums verified on every read, failures that end the process, nothing after one.

A database that failed once refuses everything: after a failed write LevelDB may report success for writes that are
gone. One that fails its check is never repaired and never reopened with weaker settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import plyvel

from genesis.errors import Rejected
from node.failures import DISK_ADVICE, StorageFailure
from node.store_records import Entries

WRITE_BUFFER_BYTES: Final = 32 * 2**20
BLOOM_BITS_PER_KEY: Final = 10
RESYNC: Final = (
    "Stop the node, move the directory data/ledger of its home away, and nothing else (data/safety must stay), and "
    "start it again: it fetches the chain from the other validators"
)
_LOCK_REFUSED: Final = "IO error: lock "
"""How LevelDB begins when another process, or this one, holds the lock of a ledger."""


def open_database(path: Path) -> Any:
    """Open or create a LevelDB in the directory `path`.

    Raises:
        StorageFailure: It is damaged, or in use by another process.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (path / "CURRENT").exists() and any(each.suffix in (".ldb", ".log") for each in path.iterdir()):
            raise plyvel.CorruptionError("CURRENT is missing, and LevelDB would begin an empty ledger in its place")
        return plyvel.DB(
            str(path),
            create_if_missing=True,
            paranoid_checks=True,
            write_buffer_size=WRITE_BUFFER_BYTES,
            bloom_filter_bits=BLOOM_BITS_PER_KEY,
            compression=None,
        )
    except (plyvel.Error, OSError) as error:
        raise _opening_failed(path, error) from error


class Database:
    """An open LevelDB. `node.store.Store` gives it tables."""

    def __init__(self, db: Any, path: Path) -> None:
        self._db = db
        self._path = path
        self._failure: str | None = None

    def close(self) -> None:
        """Release the files. Everything acknowledged is already durable."""
        self._db.close()

    def _get(self, key: bytes) -> bytes | None:
        with self._guarded("read the ledger"):
            value: bytes | None = self._db.get(key, verify_checksums=True)
            return value

    def _write(self, entries: Entries, *, sync: bool) -> None:
        writing = self._db.write_batch(sync=sync)
        for key, value in entries:
            if value is None:
                writing.delete(key)
            else:
                writing.put(key, value)
        writing.write()

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Turn a failure of the disk into the end of the process, and let nothing happen after one."""
        if self._failure is not None:
            raise StorageFailure(doing, f"an earlier failure closed the ledger: {self._failure}", DISK_ADVICE)
        try:
            yield
        except (plyvel.Error, OSError) as error:
            self._failure = str(error)
            if _is_damage(error):
                raise StorageFailure(doing, f"{self._path} is damaged: {_reason(error)}", RESYNC) from error
            raise StorageFailure(doing, _reason(error), DISK_ADVICE) from error

    @contextmanager
    def _readable(self, what: str) -> Iterator[None]:
        """What we stored ourselves must decode; if not, the ledger is damaged in spite of its checksums."""
        try:
            yield
        except (Rejected, IndexError) as error:
            raise StorageFailure(f"read {what}", f"{self._path} is damaged: {error}", RESYNC) from error


class StateView:
    """The state as it was after one block, while later ones are written. LevelDB keeps what is overwritten meanwhile.

    Attributes:
        height, block_hash: Which block.
    """

    def __init__(self, height: int, block_hash: bytes, snapshot: Any) -> None:
        self.height = height
        self.block_hash = block_hash
        self._snapshot = snapshot

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry, in the order of the keys, checksums verified. Blocks.

        Raises:
            StorageFailure: The disk cannot be read.
        """
        try:
            for key, value in self._snapshot.iterator(prefix=b"s", verify_checksums=True, fill_cache=False):
                yield key[1:], value
        except (plyvel.Error, OSError) as error:
            if _is_damage(error):
                raise StorageFailure("read the state", f"it is damaged: {_reason(error)}", RESYNC) from error
            raise StorageFailure("read the state", _reason(error), DISK_ADVICE) from error

    def close(self) -> None:
        """Let LevelDB forget what has been overwritten."""
        self._snapshot.close()


def _opening_failed(path: Path, error: Exception) -> StorageFailure:
    reason = _reason(error)
    if reason.startswith(_LOCK_REFUSED):
        return StorageFailure(f"open {path}", reason, "Another process uses this ledger: stop it first")
    if _is_damage(error):
        return StorageFailure(f"open {path}", f"it is damaged: {reason}", RESYNC)
    return StorageFailure(f"open {path}", reason, DISK_ADVICE)


def _is_damage(error: Exception) -> bool:
    """A file of LevelDB's that is gone or too short is damage; any other refusal of the system (a full disk) is not."""
    reason = _reason(error).lower()
    signs = ("no such file", "invalid argument", "is a directory")
    return isinstance(error, plyvel.CorruptionError) or any(each in reason for each in signs)


def _reason(error: Exception) -> str:
    """What LevelDB or the system said, without the bytes marker that plyvel leaves around it."""
    text = str(error)
    return text[2:-1] if text.startswith(("b'", 'b"')) else text
