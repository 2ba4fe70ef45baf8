"""The safety state on disk: the few hundred bytes that keep this validator from ever contradicting itself.

Rules:

1. `save` returns only when the new state would survive a power failure: written to a temporary file, synced, renamed
   over the old one, and the directory synced, since a rename is only durable with its directory.
2. At every instant the file is either the old state or the new one, whole.
3. Missing, damaged and foreign are three outcomes. Missing is an answer (`None`): the replica has forgotten and
   recovers through its peers. Damaged or another chain's is refused: the node does not start, because guessing here
   could sign twice.
4. The views only go forward: a state older than the one saved before is our own bug.

Layout: magic (16 bytes), chain id (32), length u32, the encoded state, BLAKE2b-256 of everything before it.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Final

from consensus.events import SafetyState
from consensus.wire import decode_safety, encode_safety
from genesis.errors import Rejected, invariant
from node.failures import StorageFailure

MAGIC: Final = b"novate/safety/1\n"
SAFETY_BYTES_MAX: Final = 2**20
_CHAIN_ID_BYTES: Final = 32
_CHECKSUM_BYTES: Final = 32
_HEADER_BYTES: Final = len(MAGIC) + _CHAIN_ID_BYTES + 4
_ADVICE: Final = (
    "Never replace it by an older copy. If it cannot be read again, move it away and start the node: it then learns "
    "from a quorum of the others from which view on it may sign"
)


class SafetyFile:
    """One validator's safety file. Its methods block; `save` is called from a worker thread, one call at a time."""

    def __init__(self, path: Path, chain_id: bytes) -> None:
        self._path = path
        self._chain_id = chain_id
        self._saved: SafetyState | None = None

    def load(self) -> SafetyState | None:
        """The saved state, or None when there is no file.

        Raises:
            Rejected: ``corrupt_safety_file`` or ``wrong_chain``; the node must not start.
            StorageFailure: The file exists and cannot be read.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFailure(f"read {self._path}", str(error), "Check the disk and the file's owner") from error
        state = self._parse(data)
        self._saved = state
        return state

    def save(self, state: SafetyState) -> None:
        """Replace the saved state; durable on return.

        Raises:
            StorageFailure: The disk refused; nothing that rests on `state` may be signed.
        """
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
        payload = encode_safety(state)
        body = MAGIC + self._chain_id + len(payload).to_bytes(4, "big") + payload
        try:
            _replace_durably(self._path, body + _checksum(body))
        except OSError as error:
            advice = "Check the disk's free space and health, then start the node again"
            raise StorageFailure(f"write {self._path}", str(error), advice) from error
        self._saved = state

    def _parse(self, data: bytes) -> SafetyState:
        body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        size = int.from_bytes(body[_HEADER_BYTES - 4 : _HEADER_BYTES], "big")
        whole = len(body) >= _HEADER_BYTES and len(body) == _HEADER_BYTES + size and len(data) <= SAFETY_BYTES_MAX
        if not whole or not body.startswith(MAGIC) or checksum != _checksum(body):
            raise self._corrupt("it is torn or altered", len(data))
        chain_id = body[len(MAGIC) : len(MAGIC) + _CHAIN_ID_BYTES]
        if chain_id != self._chain_id:
            raise Rejected(
                "wrong_chain",
                "The safety file belongs to another chain.",
                path=str(self._path),
                file=chain_id.hex(),
                chain=self._chain_id.hex(),
            )
        try:
            return decode_safety(body[_HEADER_BYTES:])
        except Rejected as error:
            raise self._corrupt(str(error), len(data)) from error

    def _corrupt(self, why: str, size: int) -> Rejected:
        return Rejected(
            "corrupt_safety_file", f"The safety file is damaged: {why}. {_ADVICE}.", path=str(self._path), bytes=size
        )


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _replace_durably(path: Path, data: bytes) -> None:
    """Write, sync, rename, sync the directory."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(path.name + ".new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
