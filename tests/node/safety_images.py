"""Safety files for the tests: made, taken apart slot by slot, and put together again with a fault."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import pytest

from consensus.events import SafetyState
from consensus.wire import encode_safety
from node.safety_file import FILE_BYTES, MAGIC, PAIRS, SLOT_BYTES, SafetyFile
from tests.node.dataplane import CHAIN_ID, safety_of

OLD, NEW = safety_of(5), safety_of(6)
RECORD_BYTES = len(MAGIC) + 32 + 8 + 4 + len(encode_safety(NEW)) + 32


class PowerLoss(BaseException):
    """The machine stops here."""


class Disk:
    """What power loss leaves of a file. As on Linux, a failed sync forgets what was pending and the next succeeds."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.sync_fails = False
        self._path = path
        self._durable = bytearray(path.read_bytes())
        self._pending: list[tuple[int, bytes]] = []
        self._pwrite = os.pwrite
        patch.setattr(os, "pwrite", self._write)
        patch.setattr(os, "fdatasync", self._sync)

    def lose_power(self) -> None:
        """The page cache is gone."""
        self._path.write_bytes(self._durable)
        self._pending.clear()

    def _write(self, file: int, data: bytes, offset: int) -> int:
        self._pending.append((offset, bytes(data)))
        return self._pwrite(file, data, offset)

    def _sync(self, _file: int) -> None:
        pending, self._pending = self._pending, []
        if self.sync_fails:
            raise OSError(errno.EIO, "Input/output error")
        for offset, data in pending:
            self._durable[offset : offset + len(data)] = data


def running(path: Path, pair: int = 0) -> SafetyFile:
    """A new file that holds `OLD` and whose next save goes into `pair`."""
    file = SafetyFile(path, CHAIN_ID)
    for _ in range(1 + pair):
        file.save(OLD)
    return file


def load(path: Path) -> SafetyState | None:
    """What a process that starts now takes for its state."""
    with closing(SafetyFile(path, CHAIN_ID)) as file:
        return file.load()


def slot(image: bytes, pair: int, copy: int) -> slice:
    """Where a slot lies in the file."""
    assert len(image) == FILE_BYTES
    start = (copy * PAIRS + pair) * SLOT_BYTES
    return slice(start, start + SLOT_BYTES)


def with_slot(image: bytes, pair: int, copy: int, content: bytes) -> bytes:
    """The file with another content at the start of one slot."""
    where = slot(image, pair, copy)
    return image[: where.start] + content + image[where.start + len(content) :]


def flipped(image: bytes, pair: int, copy: int, position: int) -> bytes:
    """The file with one bit of a slot changed."""
    content = image[slot(image, pair, copy)]
    return with_slot(image, pair, copy, content[:position] + bytes([content[position] ^ 16]))


def record(number: int, state: SafetyState, chain_id: bytes = CHAIN_ID) -> bytes:
    """A record as the module's docstring lays it out, made independently."""
    payload = encode_safety(state)
    body = MAGIC + chain_id + number.to_bytes(8, "big") + len(payload).to_bytes(4, "big") + payload
    return body + blake2b(body, digest_size=32).digest()


def images(path: Path, pair: int) -> tuple[bytes, bytes]:
    """The file before and after `NEW` is saved over `OLD` into `pair`."""
    with closing(running(path, pair)) as file:
        before = path.read_bytes()
        file.save(NEW)
    return before, path.read_bytes()


def note_steps(steps: list[str], directory: Path, patch: pytest.MonkeyPatch) -> None:
    """Record what is written, synced and renamed, in order."""
    pwrite, fsync, fdatasync, rename = os.pwrite, os.fsync, os.fdatasync, os.replace

    def note_pwrite(file: int, data: bytes, offset: int) -> int:
        steps.append(f"write {len(data)} at {offset}")
        return pwrite(file, data, offset)

    def note_fsync(file: int) -> None:
        steps.append("sync directory" if Path(f"/proc/self/fd/{file}").resolve() == directory else "sync file")
        fsync(file)

    def note_fdatasync(file: int) -> None:
        steps.append("sync data")
        fdatasync(file)

    def note_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        rename(source, target)

    for name, note in [
        ("pwrite", note_pwrite),
        ("fsync", note_fsync),
        ("fdatasync", note_fdatasync),
        ("replace", note_replace),
    ]:
        patch.setattr(os, name, note)


def failing(real: Callable[..., object], nth: int, error: BaseException) -> Callable[..., object]:
    """`real`, but its `nth` call raises."""
    calls = 0

    def call(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise error
        return real(*arguments)

    return call
