"""A small record on disk that must never go back: overwritten in place, two copies, one sync.

What may be signed rests on such records: the consensus core's safety state (`node.safety_file`) and the signer's mark
(`node.signer_file`). This file knows nothing of what a record says.

Rules:

1. `save` returns only when the new record would survive a power failure, and `load` only when the record it found
   would.
2. After a crash the file yields the record whose `save` returned last or the one whose `save` was under way, whole; or
   it is refused. It never yields an older one.
3. Missing, damaged and foreign are three outcomes. Missing is an answer (`None`). Damaged or another chain's is
   refused, because guessing here could sign twice.
4. A write or sync that failed is final for this process. The kernel may have dropped the pages and report success for
   the next sync, so nothing is tried again: the process stops.

Theory of operation. A signature waits for this file, so a save overwrites blocks that the file already owns and syncs
data only: no rename, no journal (ADR 0010). The file has a fixed size and is created whole, under another name, with
every byte written. It holds two pairs of slots. Records are numbered; one with an even number goes into both slots of
pair 0, one with an odd number into both of pair 1, and then one ``fdatasync`` covers both copies. So the pair that is
not being written holds the record before, untouched. With n the last record acted upon, each slot of the pair under
way holds n - 1, something torn, or n + 1. `load` takes the intact record with the highest number:

- A record was acted upon only after the sync returned, so both its copies were whole, and the rot of one leaves one.
- A pair with one damaged slot whose other slot holds n - 1 was not acted upon since: both would hold n + 1. So n
  counts. If the other slot holds n + 1, that counts: newer only forbids more.
- A pair with both slots damaged may have been acted upon and have rotted, or have torn under way. Nobody can tell; the
  file is refused. So it is when intact records contradict each other: two contents of one number, or numbers that no
  order of saves leaves behind. Power lost in the middle of a sync can thus cost a refused file, if it tears both
  copies; nothing signed is ever forgotten.
- What `load` reads may be in the page cache alone, left there by a killed process or a failed sync. So it first writes
  the record that it chose into its own pair again and syncs, which completes a save that was under way; then, as the
  next record, into the other pair, which makes that whole too. Every start so begins with four good copies.

A whole older file put in its place loads: nothing in it shows its age. A file taken away under a running process, by
itself or with the directory around it, fails the next save: another process may go on from what was put in its place.
One process at a time: that is the caller's to ensure, by the lock of the home.

Layout: slots of `SlotFormat.slot_bytes`, in the order pair 0, pair 1, pair 0, pair 1, so that the copies of a pair lie
far apart. A record, at a slot's start: magic (16 bytes), chain id (32), number u64, length u32, the payload,
BLAKE2b-256 of everything before it. What follows it in the slot is left over and means nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Final

from genesis.errors import Rejected, invariant
from node.failures import DISK_ADVICE, StorageFailure
from node.files import make_private_directory, sync_directory, write_all, write_private

PAIRS: Final = 2
COPIES: Final = 2
_ALIGNMENT_BYTES: Final = 4_096
_MAGIC_BYTES: Final = 16
_CHAIN_ID_BYTES: Final = 32
_NUMBER_BYTES: Final = 8
_LENGTH_BYTES: Final = 4
_CHECKSUM_BYTES: Final = 32
_HEADER_BYTES: Final = _MAGIC_BYTES + _CHAIN_ID_BYTES + _NUMBER_BYTES + _LENGTH_BYTES


@dataclass(frozen=True, slots=True)
class SlotFormat:
    """What tells one kind of slot file from another.

    Attributes:
        magic: The 16 bytes that open each of its records: what it is, a slash, its version and a line's end.
        payload_bytes_max: The longest record.
        what: The file in a message, e.g. ``safety file``.
        corrupt_code: The code of a refusal for damage.
        version_code: The code of a refusal of another version's file, which is not damaged.
        advice: What the operator can do about damage, without its last full stop.
    """

    magic: bytes
    payload_bytes_max: int
    what: str
    corrupt_code: str
    version_code: str
    advice: str

    def __post_init__(self) -> None:
        invariant(len(self.magic) == _MAGIC_BYTES, "A record's magic has its length.", bytes=len(self.magic))

    @property
    def stem(self) -> bytes:
        """What the records of every version open with."""
        return self.magic[: self.magic.rindex(b"/") + 1]

    @property
    def slot_bytes(self) -> int:
        """Room for the longest record; a multiple of the disk's and the page cache's unit."""
        return -(-(_HEADER_BYTES + self.payload_bytes_max + _CHECKSUM_BYTES) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

    @property
    def file_bytes(self) -> int:
        """The size that the file always has."""
        return PAIRS * COPIES * self.slot_bytes


class _Damage(StrEnum):
    """Why a slot holds no record."""

    BLANK = "blank"
    TORN = "torn or altered"
    MISPLACED = "in the wrong place"
    UNREADABLE = "unreadable"
    OF_ANOTHER_VERSION = "of another version"


@dataclass(frozen=True, slots=True)
class _Record:
    """What an intact slot holds."""

    number: int
    chain_id: bytes
    payload: bytes


class SlotFile:
    """One such file. Its methods block; one call at a time, from any thread.

    Args:
        path: Where it is, or will be.
        chain_id: Whose records it takes, 32 bytes.
        slot_format: Which kind of file it is.
        check: Raises `Rejected` for a payload that makes no sense; such a file is damaged, and left as it was found.
    """

    def __init__(self, path: Path, chain_id: bytes, slot_format: SlotFormat, check: Callable[[bytes], object]) -> None:
        self._path = path
        self._chain_id = chain_id
        self._format = slot_format
        self._check = check
        self._file: int | None = None
        self._number = 0
        self._failed = False

    def load(self) -> bytes | None:
        """The saved record, durable on return, or None when there is no file.

        Raises:
            Rejected: The format's `corrupt_code` or `version_code`, or ``wrong_chain``.
            StorageFailure: The file exists and cannot be read or written.
        """
        self._refuse_after_failure()
        self.close()
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            newest = self._read(file)
            for each in (newest.number, newest.number + 1):
                self._write(file, each, newest.payload)
        except BaseException:  # Whatever ends this, nobody else has the descriptor to close it.
            os.close(file)
            raise
        self._file = file
        return newest.payload

    def save(self, payload: bytes) -> None:
        """Make this the saved record; durable on return. Creates the file if there is none.

        Raises:
            Rejected: As `load`, when there is a file that was not loaded before.
            StorageFailure: The disk refused, now or at an earlier save; nothing that rests on `payload` may be signed.
        """
        self._refuse_after_failure()
        if self._file is None:
            self.load()
        if self._file is None:
            self._create(payload)
        else:
            self._write(self._file, self._number + 1, payload)

    @property
    def is_open(self) -> bool:
        """Whether a record has been loaded or saved since the file was last closed."""
        return self._file is not None

    def close(self) -> None:
        """Give the descriptor back; may be repeated. A later `load` or `save` opens the file again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _corrupt(self, why: str) -> Rejected:
        message = f"The {self._format.what} is damaged: {why}. {self._format.advice}."
        return Rejected(self._format.corrupt_code, message, path=str(self._path))

    def _create(self, payload: bytes) -> None:
        """A file whose every slot holds `payload`: no slot is ever blank but by damage."""
        slot_bytes = self._format.slot_bytes
        slots = [self._record(number, payload).ljust(slot_bytes, b"\0") for number in range(PAIRS)] * COPIES
        self._failed = True
        try:
            make_private_directory(self._path.parent)
            write_private(self._path, b"".join(slots))
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StorageFailure(f"create {self._path}", str(error), DISK_ADVICE) from error
        self._failed = False
        self._number = PAIRS - 1

    def _write(self, file: int, number: int, payload: bytes) -> None:
        """Both copies, then one sync. Left by any other way than its end, the outcome is unknown and stays so."""
        record = self._record(number, payload)
        self._failed = True
        try:
            if not self._is_in_place(file):
                raise FileNotFoundError(errno.ENOENT, "it was removed or replaced while the process ran")
            for copy in range(COPIES):
                write_all(file, record, self._offset(number % PAIRS, copy))
            os.fdatasync(file)
        except OSError as error:
            raise StorageFailure(f"write {self._path}", str(error), DISK_ADVICE) from error
        self._failed = False
        self._number = number

    def _is_in_place(self, file: int) -> bool:
        """Whether the path still leads to the open file."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _record(self, number: int, payload: bytes) -> bytes:
        size_max = self._format.payload_bytes_max
        invariant(len(payload) <= size_max, "A record fits its slot.", bytes=len(payload), bytes_max=size_max)
        body = b"".join(
            (
                self._format.magic,
                self._chain_id,
                number.to_bytes(_NUMBER_BYTES, "big"),
                len(payload).to_bytes(_LENGTH_BYTES, "big"),
                payload,
            )
        )
        return body + _checksum(body)

    def _read(self, file: int) -> _Record:
        """The record to go on from."""
        try:
            # A process that was killed while it created the file may have left it without a durable name.
            sync_directory(self._path.parent)
            newest = self._newest(file)
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            self._check(newest.payload)
        except Rejected as error:
            raise self._corrupt(str(error)) from error
        return newest

    def _newest(self, file: int) -> _Record:
        """The intact record with the highest number; refuses a file that does not tell which that is."""
        size, expected = os.fstat(file).st_size, self._format.file_bytes
        if size != expected:
            raise self._corrupt(f"it is {'truncated' if size < expected else 'too long'}, {size} bytes")
        pairs = [[self._read_slot(file, pair, copy) for copy in range(COPIES)] for pair in range(PAIRS)]
        if any(each is _Damage.OF_ANOTHER_VERSION for pair in pairs for each in pair):
            raise self._of_another_version()
        for record in (each for pair in pairs for each in pair if isinstance(each, _Record)):
            self._check_chain(record)
        older, newest = sorted((self._newer_of(pair) for pair in pairs), key=lambda record: record.number)
        if newest.number != older.number + 1:
            raise self._corrupt(f"records {older.number} and {newest.number} are not of one order of saves")
        return newest

    def _newer_of(self, pair: Sequence[_Record | _Damage]) -> _Record:
        """The newer intact record of a pair: two equal ones, or the second one of a save that was under way."""
        intact = sorted((each for each in pair if isinstance(each, _Record)), key=lambda record: record.number)
        if not intact:
            raise self._corrupt(f"both copies of a record are damaged ({', '.join(map(str, pair))})")
        first, last = intact[0], intact[-1]
        if first != last and last.number != first.number + PAIRS:
            raise self._corrupt(f"the copies of records {first.number} and {last.number} contradict each other")
        return last

    def _check_chain(self, record: _Record) -> None:
        if record.chain_id != self._chain_id:
            raise Rejected(
                "wrong_chain",
                f"The {self._format.what} belongs to another chain.",
                path=str(self._path),
                file=record.chain_id.hex(),
                chain=self._chain_id.hex(),
            )

    def _of_another_version(self) -> Rejected:
        message = f"Another version of this program wrote the {self._format.what}; its chain cannot be continued here."
        return Rejected(
            self._format.version_code, message, path=str(self._path), known=self._format.magic.decode().strip()
        )

    def _unreadable(self, error: OSError) -> StorageFailure:
        return StorageFailure(f"read {self._path}", str(error), "Check the disk and the file's owner")

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise StorageFailure(f"write {self._path}", "an earlier write of it failed", DISK_ADVICE)

    def _offset(self, pair: int, copy: int) -> int:
        return (copy * PAIRS + pair) * self._format.slot_bytes

    def _read_slot(self, file: int, pair: int, copy: int) -> _Record | _Damage:
        """One slot's record. A bad block is this slot's damage, since the other copy may be good."""
        try:
            data = os.pread(file, self._format.slot_bytes, self._offset(pair, copy))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return _Damage.UNREADABLE
        header = data[:_HEADER_BYTES]
        if not any(header):
            return _Damage.BLANK
        end = _HEADER_BYTES + int.from_bytes(header[-_LENGTH_BYTES:], "big")
        body, checksum = data[:end], data[end : end + _CHECKSUM_BYTES]
        if len(body) != end or checksum != _checksum(body):
            return _Damage.TORN
        if not body.startswith(self._format.magic):
            return _Damage.OF_ANOTHER_VERSION if body.startswith(self._format.stem) else _Damage.TORN
        number = int.from_bytes(header[-_LENGTH_BYTES - _NUMBER_BYTES : -_LENGTH_BYTES], "big")
        if number % PAIRS != pair:
            return _Damage.MISPLACED
        return _Record(number, header[_MAGIC_BYTES : _MAGIC_BYTES + _CHAIN_ID_BYTES], body[_HEADER_BYTES:])


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECKSUM_BYTES).digest()
