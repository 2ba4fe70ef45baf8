"""The signer's mark on disk: durable before the signature that it records leaves.

Rules:

1. How it is written and read back, so that no crash ever makes it older, says `node.slot_file`: the very mechanism of
   the safety file.
2. The record names the key. A mark put beside another key is refused (``wrong_mark``).
3. A missing mark is never taken for that of a fresh key: `load` refuses (``lost_mark``). Only `create` makes one.

An older copy of the file put back loads: nothing in it shows its age. A node that connects shows what it knows this key
to have signed (`node.signer_client`), and that raises the mark again; docs/OPERATING.md says what remains uncovered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from genesis.codec import decode, encode, record
from genesis.errors import Rejected, invariant
from genesis.values import PUBLIC_KEY
from node.signer_guard import MARK, MARK_BYTES_MAX, Mark, mark_of, mark_values, raised
from node.slot_file import SlotFile, SlotFormat

FORMAT: Final = SlotFormat(
    magic=b"novate/signer/1\n",
    payload_bytes_max=MARK_BYTES_MAX,
    what="signer's mark",
    corrupt_code="corrupt_signer_mark",
    version_code="wrong_mark_format",
    advice=(
        "Never replace it by an older copy. If it cannot be read again, nothing tells what this key has signed: give "
        "the validator a new key (`novate signer new-key`)"
    ),
)
_RECORD: Final = record(PUBLIC_KEY, MARK)


class SignerFile:
    """One key's mark. Its methods block; one call at a time, from any thread."""

    def __init__(self, path: Path, chain_id: bytes, public_key: bytes) -> None:
        self._path = path
        self._public_key = public_key
        self._file = SlotFile(path, chain_id, FORMAT, _decode)
        self._saved: Mark | None = None

    def load(self) -> Mark:
        """The saved mark, durable on return.

        Raises:
            Rejected: ``lost_mark``, ``corrupt_signer_mark``, ``wrong_chain``, ``wrong_mark``; nothing may be signed.
            StorageFailure: The file exists and cannot be read or written.
        """
        mark = self._load()
        if mark is None:
            raise Rejected(
                "lost_mark", "This key's mark is missing, and the key may have signed.", path=str(self._path)
            )
        return mark

    def create(self, least: Mark) -> Mark:
        """Make the file, or raise the mark that is there, so that it forbids at least what `least` does.

        Raises:
            Rejected: As `load`, but for a missing file; ``signed_otherwise`` where the two contradict each other.
            StorageFailure: The disk refused.
        """
        found = self._load()
        mark = least if found is None else raised(found, least)
        self.save(mark)
        return mark

    def save(self, mark: Mark) -> None:
        """Make this the saved mark; durable on return.

        Raises:
            StorageFailure: The disk refused, now or at an earlier save; nothing that rests on `mark` may be signed.
        """
        invariant(self._saved is None or _covers(mark, self._saved), "The mark never falls.", got=mark)
        self._file.save(encode([self._public_key, mark_values(mark)]))
        self._saved = mark

    def close(self) -> None:
        """Give the descriptor back; may be repeated."""
        self._file.close()

    def _load(self) -> Mark | None:
        payload = self._file.load()
        if payload is None:
            return None
        public_key, mark = _decode(payload)
        if public_key != self._public_key:
            raise Rejected(
                "wrong_mark",
                "The mark belongs to another key.",
                path=str(self._path),
                file=public_key.hex(),
                key=self._public_key.hex(),
            )
        self._saved = mark
        return mark


def _decode(payload: bytes) -> tuple[bytes, Mark]:
    public_key, mark = decode(payload, _RECORD, size_max=MARK_BYTES_MAX)
    return public_key, mark_of(mark)


def _covers(mark: Mark, other: Mark) -> bool:
    """Whether `mark` forbids at least what `other` does, by views."""
    views = zip(mark.last, other.last, strict=True)
    if mark.epoch != other.epoch:
        return mark.epoch > other.epoch
    return mark.lock_view >= other.lock_view and all(ours.view >= theirs.view for ours, theirs in views)
