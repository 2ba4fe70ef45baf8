"""The safety state on disk: the few hundred bytes that keep this validator from ever contradicting itself.

Rules:

1. `save` returns only when the new state would survive a power failure, and `load` only when the state it found would.
2. After a crash the file yields the state whose `save` returned last or the one whose `save` was under way, whole; or
   it is refused. It never yields an older one.
3. Missing, damaged and foreign are three outcomes. Missing is an answer (`None`): the replica has forgotten and
   recovers through its peers. Damaged or another chain's is refused: the node does not start, because guessing here
   could sign twice.
4. The views only go forward: a state older than the one saved before is our own bug.
5. A write or sync that failed is final for this process. The kernel may have dropped the pages and report success for
   the next sync, so nothing is tried again: the process stops.

Theory of operation. A vote waits for this file, so a save overwrites blocks that the file already owns and syncs data
only: no rename, no journal (ADR 0010). The file has a fixed size and is created whole, under another name, with every
byte written. It holds two pairs of slots. Records are numbered; one with an even number goes into both slots of pair
0, one with an odd number into both of pair 1, and then one ``fdatasync`` covers both copies. So the pair that is not
being written holds the record before, untouched. With n the last record acted upon, each slot of the pair under way
holds n - 1, something torn, or n + 1. `load` takes the intact record with the highest number:

- A record was acted upon only after the sync returned, so both its copies were whole, and the rot of one leaves one.
- A pair with one damaged slot whose other slot holds n - 1 was not acted upon since: both would hold n + 1. So n
  counts. If the other slot holds n + 1, that counts: newer only forbids more.
- A pair with both slots damaged may have been acted upon and have rotted, or have torn under way. Nobody can tell; the
  file is refused. So it is when intact records contradict each other: two contents of one number, or numbers that no
  order of saves leaves behind. Power lost in the middle of a sync can thus cost a restart by `consensus.amnesia`, if it
  tears both copies; no vote is ever forgotten.
- What `load` reads may be in the page cache alone, left there by a killed process or a failed sync. So it first writes
  the record that it chose into its own pair again and syncs, which completes a save that was under way; then, as the
  next record, into the other pair, which makes that whole too. Every start so begins with four good copies.

A whole older file put in its place loads: nothing in it shows its age. The core stops when it meets its own later
signatures (`consensus.core`). A file taken away under a running node fails the next save.

One process at a time: `node.home.exclusive` holds the lock of the whole home.

Layout: slots of `SLOT_BYTES`, in the order pair 0, pair 1, pair 0, pair 1, so that the copies of a pair lie far apart.
A record, at a slot's start: magic (16 bytes), chain id (32), number u64, length u32, the encoded state, BLAKE2b-256 of
everything before it. What follows it in the slot is left over and means nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Final

from consensus.events import SafetyState
from consensus.wire import MESSAGE_BYTES_MAX, decode_safety, encode_safety
from genesis.errors import Rejected, invariant
from node.failures import StorageFailure
from node.files import make_private_directory, sync_directory, write_all, write_private

_MAGIC_STEM: Final = b"novate/safety/"
MAGIC: Final = _MAGIC_STEM + b"3\n"
PAIRS: Final = 2
COPIES: Final = 2
_ALIGNMENT_BYTES: Final = 4_096
_CHAIN_ID_BYTES: Final = 32
_NUMBER_BYTES: Final = 8
_LENGTH_BYTES: Final = 4
_CHECKSUM_BYTES: Final = 32
_HEADER_BYTES: Final = len(MAGIC) + _CHAIN_ID_BYTES + _NUMBER_BYTES + _LENGTH_BYTES
RECORD_BYTES_MAX: Final = _HEADER_BYTES + MESSAGE_BYTES_MAX + _CHECKSUM_BYTES
SLOT_BYTES: Final = -(-RECORD_BYTES_MAX // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
"""Room for the longest state that `decode_safety` takes; a multiple of the disk's and the page cache's unit."""
FILE_BYTES: Final = PAIRS * COPIES * SLOT_BYTES
_ADVICE: Final = (
    "Never replace it by an older copy. If it cannot be read again, move it away and start the node: it then learns "
    "from a quorum of the others from which view on it may sign"
)
_WRITE_ADVICE: Final = "Check the disk's free space and health, then start the node again"


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


class SafetyFile:
    """One validator's safety file. Its methods block; one call at a time, from any thread."""

    def __init__(self, path: Path, chain_id: bytes) -> None:
        self._path = path
        self._chain_id = chain_id
        self._file: int | None = None
        self._number = 0
        self._saved: SafetyState | None = None
        self._failed = False

    def load(self) -> SafetyState | None:
        """The saved state, durable on return, or None when there is no file.

        Raises:
            Rejected: ``corrupt_safety_file``, ``wrong_chain`` or ``wrong_safety_format``; the node must not start.
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
            number, state = self._read(file)
            for each in (number, number + 1):
                self._write(file, each, state)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return state

    def save(self, state: SafetyState) -> None:
        """Make this the saved state; durable on return. Creates the file if there is none.

        Raises:
            Rejected: As `load`, when there is a file that was not loaded before.
            StorageFailure: The disk refused, now or at an earlier save; nothing that rests on `state` may be signed.
        """
        self._refuse_after_failure()
        if self._file is None:
            self.load()
        saved = self._saved
        invariant(
            saved is None
            or (
                state.last_voted_view >= saved.last_voted_view and state.last_proposed_view >= saved.last_proposed_view
            ),
            "The safety state never goes back.",
            saved=saved,
            got=state,
        )
        if self._file is None:
            self._create(state)
        else:
            self._write(self._file, self._number + 1, state)

    def close(self) -> None:
        """Give the descriptor back; may be repeated. A later `load` or `save` opens the file again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _create(self, state: SafetyState) -> None:
        """A file whose every slot holds `state`: no slot is ever blank but by damage."""
        payload = encode_safety(state)
        slots = [self._record(number, payload).ljust(SLOT_BYTES, b"\0") for number in range(PAIRS)] * COPIES
        self._failed = True
        try:
            make_private_directory(self._path.parent)
            write_private(self._path, b"".join(slots))
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StorageFailure(f"create {self._path}", str(error), _WRITE_ADVICE) from error
        self._failed = False
        self._number, self._saved = PAIRS - 1, state

    def _write(self, file: int, number: int, state: SafetyState) -> None:
        """Both copies, then one sync. Left by any other way than its end, the outcome is unknown and stays so."""
        record = self._record(number, encode_safety(state))
        self._failed = True
        try:
            if os.fstat(file).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "it was removed or replaced while the node ran")
            for copy in range(COPIES):
                write_all(file, record, _offset(number % PAIRS, copy))
            os.fdatasync(file)
        except OSError as error:
            raise StorageFailure(f"write {self._path}", str(error), _WRITE_ADVICE) from error
        self._failed = False
        self._number, self._saved = number, state

    def _record(self, number: int, payload: bytes) -> bytes:
        body = b"".join(
            (
                MAGIC,
                self._chain_id,
                number.to_bytes(_NUMBER_BYTES, "big"),
                len(payload).to_bytes(_LENGTH_BYTES, "big"),
                payload,
            )
        )
        invariant(len(payload) <= MESSAGE_BYTES_MAX, "A safety state fits its slot.", bytes=len(payload))
        return body + _checksum(body)

    def _read(self, file: int) -> tuple[int, SafetyState]:
        """The record to go on from: its number and the state."""
        try:
            # A process that was killed while it created the file may have left it without a durable name.
            sync_directory(self._path.parent)
            newest = self._newest(file)
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            return newest.number, decode_safety(newest.payload)
        except Rejected as error:
            raise self._corrupt(str(error)) from error

    def _newest(self, file: int) -> _Record:
        """The intact record with the highest number; refuses a file that does not tell which that is."""
        size = os.fstat(file).st_size
        if size != FILE_BYTES:
            raise self._corrupt(f"it is {'truncated' if size < FILE_BYTES else 'too long'}, {size} bytes")
        pairs = [[_read_slot(file, pair, copy) for copy in range(COPIES)] for pair in range(PAIRS)]
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
                "The safety file belongs to another chain.",
                path=str(self._path),
                file=record.chain_id.hex(),
                chain=self._chain_id.hex(),
            )

    def _corrupt(self, why: str) -> Rejected:
        message = f"The safety file is damaged: {why}. {_ADVICE}."
        return Rejected("corrupt_safety_file", message, path=str(self._path))

    def _of_another_version(self) -> Rejected:
        message = "Another version of this node wrote the safety file, and a chain of that version cannot be continued."
        return Rejected("wrong_safety_format", message, path=str(self._path), known=MAGIC.decode().strip())

    def _unreadable(self, error: OSError) -> StorageFailure:
        return StorageFailure(f"read {self._path}", str(error), "Check the disk and the file's owner")

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise StorageFailure(f"write {self._path}", "an earlier write of it failed", _WRITE_ADVICE)


def _offset(pair: int, copy: int) -> int:
    return (copy * PAIRS + pair) * SLOT_BYTES


def _read_slot(file: int, pair: int, copy: int) -> _Record | _Damage:
    """One slot's record. A bad block is this slot's damage, since the other copy may be good."""
    try:
        data = os.pread(file, SLOT_BYTES, _offset(pair, copy))
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
    if not body.startswith(MAGIC):
        return _Damage.OF_ANOTHER_VERSION if body.startswith(_MAGIC_STEM) else _Damage.TORN
    number = int.from_bytes(header[-_LENGTH_BYTES - _NUMBER_BYTES : -_LENGTH_BYTES], "big")
    if number % PAIRS != pair:
        return _Damage.MISPLACED
    return _Record(number, header[len(MAGIC) : len(MAGIC) + _CHAIN_ID_BYTES], body[_HEADER_BYTES:])


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECKSUM_BYTES).digest()
