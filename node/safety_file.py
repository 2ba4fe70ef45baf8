"""The safety state on disk: the few hundred bytes that keep this validator from ever contradicting itself.

Rules:

1. How it is written and read back, so that no crash ever makes it older, says `node.slot_file`.
2. Missing, damaged and foreign are three outcomes. Missing is an answer (`None`): the replica has forgotten and
   recovers through its peers. Damaged or another chain's is refused: the node does not start, because guessing here
   could sign twice.
3. Epochs, and the views of an epoch, only go forward: a state older than the one saved before is our own bug.

A whole older file put in its place loads: nothing in it shows its age. The core stops when it meets its own later
signatures (`consensus.core`); a signer of its own refuses before that (`node.signer_guard`).

One process at a time: `node.home.exclusive` holds the lock of the whole home.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from consensus.events import SafetyState
from consensus.wire import MESSAGE_BYTES_MAX, decode_safety, encode_safety
from genesis.errors import invariant
from node.slot_file import COPIES, PAIRS, SlotFile, SlotFormat

__all__ = ["COPIES", "FILE_BYTES", "MAGIC", "PAIRS", "SLOT_BYTES", "SafetyFile"]

MAGIC: Final = b"novate/safety/4\n"
FORMAT: Final = SlotFormat(
    magic=MAGIC,
    payload_bytes_max=MESSAGE_BYTES_MAX,
    what="safety file",
    corrupt_code="corrupt_safety_file",
    version_code="wrong_safety_format",
    advice=(
        "Never replace it by an older copy. If it cannot be read again, move it away and start the node: it then "
        "learns from a quorum of the others from which view on it may sign"
    ),
)
SLOT_BYTES: Final = FORMAT.slot_bytes
FILE_BYTES: Final = FORMAT.file_bytes


class SafetyFile:
    """One validator's safety file. Its methods block; one call at a time, from any thread."""

    def __init__(self, path: Path, chain_id: bytes) -> None:
        self._file = SlotFile(path, chain_id, FORMAT, decode_safety)
        self._saved: SafetyState | None = None

    @property
    def saved(self) -> SafetyState | None:
        """What was last loaded or saved; None before that, and while there is no file."""
        return self._saved

    def load(self) -> SafetyState | None:
        """The saved state, durable on return, or None when there is no file.

        Raises:
            Rejected: ``corrupt_safety_file``, ``wrong_chain`` or ``wrong_safety_format``; the node must not start.
            StorageFailure: The file exists and cannot be read or written.
        """
        payload = self._file.load()
        if payload is None:
            return None
        self._saved = decode_safety(payload)
        return self._saved

    def save(self, state: SafetyState) -> None:
        """Make this the saved state; durable on return. Creates the file if there is none.

        Raises:
            Rejected: As `load`, when there is a file that was not loaded before.
            StorageFailure: The disk refused, now or at an earlier save; nothing that rests on `state` may be signed.
        """
        if not self._file.is_open:
            self.load()
        saved = self._saved
        invariant(
            saved is None
            or (
                (state.epoch, state.last_voted_view) >= (saved.epoch, saved.last_voted_view)
                and (state.epoch, state.last_proposed_view) >= (saved.epoch, saved.last_proposed_view)
            ),
            "The safety state never goes back.",
            saved=saved,
            got=state,
        )
        self._file.save(encode_safety(state))
        self._saved = state

    def close(self) -> None:
        """Give the descriptor back; may be repeated. A later `load` or `save` opens the file again."""
        self._file.close()
