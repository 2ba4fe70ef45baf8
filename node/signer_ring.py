"""A signer's keys, each with its mark.

Rules:

1. Decide, make the mark durable, sign: in this order, one statement of a key at a time, whoever asks. A crash between
   any two steps leaves a mark that forbids too much and never too little, and the same question, asked again, is a
   repetition.
2. A key is served by its own mark alone. What one key has signed forbids another nothing, and a greeting raises the
   mark of the key that it names.
3. A key stands or falls by its mark. One whose mark is missing, damaged or another key's is *silent*: whoever means it
   is refused (``silent_key``), and the others sign. A signer all of whose keys are silent does not start.

Which key an epoch's validator set names, a signer cannot know. An old key goes on to refuse what contradicts what it
has signed; what else it signs, nobody counts.

Theory of operation. Who asks for one key waits at its lock, which is fair, so whoever asks without end delays another
by one statement at a time. The write takes place under the lock, in place or in a worker thread (`node.offload`), and
sets the mark in memory too, so that a task that is cancelled meanwhile leaves both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

import trio

from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.offload import Offload
from node.signer_file import SignerFile
from node.signer_guard import Mark, Statement, permit, raised
from node.signer_protocol import VERSION, Hello, Standing

SYNC_US: Final = 150
"""One synced write of the mark."""

Report = Callable[[str, dict[str, int | str]], None]
"""Told a kind and its values, for the log."""


class Signer:
    """One key and its mark.

    Attributes:
        public_key: Which key.
        mark: What it has signed; as durable as on disk.
        signed, repeated, refused: What it has done since it was started.
    """

    def __init__(self, key: SigningKey, chain_id: bytes, file: SignerFile) -> None:
        self.public_key = key.public_key
        self.mark = file.load()
        self.signed = 0
        self.repeated = 0
        self.refused = 0
        self._key = key
        self._chain_id = chain_id
        self._file = file
        self._turn = trio.Lock()
        self._writes = Offload()

    async def greet(self, shown: Mark) -> None:
        """Raise the mark to what an asker shows.

        Raises:
            Rejected: ``signed_otherwise`` when it shows a statement that contradicts one of ours: the key signs
                elsewhere too.
            StorageFailure: The disk refused.
        """
        async with self._turn:
            await self._raise(raised(self.mark, shown))

    async def sign(self, statement: Statement, lock_view: int) -> bytes:
        """The signature over a statement that contradicts nothing; rule 1.

        Raises:
            Rejected: As `node.signer_guard.permit`.
            StorageFailure: The disk refused; there is no signature.
        """
        async with self._turn:
            try:
                mark = permit(self.mark, statement, lock_view)
            except Rejected:
                self.refused += 1
                raise
            if mark is self.mark:
                self.repeated += 1
            else:
                await self._raise(mark)
                self.signed += 1
            return self._key.sign(statement.message(self._chain_id))

    async def _raise(self, mark: Mark) -> None:
        if mark != self.mark:
            await self._writes.run(SYNC_US, self._save, mark)

    def _save(self, mark: Mark) -> None:
        self._file.save(mark)
        self.mark = mark


@dataclass(frozen=True, slots=True)
class Silent:
    """A key that signs nothing, and why."""

    public_key: bytes
    why: Rejected


class SignerRing:
    """The keys, in the order in which they were made; at least one."""

    def __init__(self, chain_id: bytes, keys: Sequence[Signer | Silent]) -> None:
        self._chain_id = chain_id
        self._keys = {each.public_key: each for each in keys}

    def meant_by(self, hello: Hello) -> Signer:
        """The key that a greeting names.

        Raises:
            Rejected: ``wrong_version``, ``wrong_chain``; ``wrong_key`` when it is not here; ``silent_key``.
        """
        _same("wrong_version", "The node speaks another version of the signer's protocol.", hello.version, VERSION)
        _same("wrong_chain", "The node is on another chain.", hello.chain_id.hex(), self._chain_id.hex())
        found = self._keys.get(hello.public_key)
        if found is None:
            message = "This signer does not have the key that the node means."
            raise Rejected("wrong_key", message, public_key=hello.public_key.hex(), keys=len(self._keys))
        if isinstance(found, Silent):
            message = "Nothing tells what this key has signed, so it signs nothing."
            raise Rejected("silent_key", message, public_key=hello.public_key.hex(), why=found.why.code)
        return found

    def standing(self, place: int) -> Standing:
        """How the key at this place stands.

        Raises:
            Rejected: ``wrong_place``: there are fewer keys.
        """
        if place >= len(self._keys):
            raise Rejected("wrong_place", "There are fewer keys.", place=place, keys=len(self._keys))
        key = [*self._keys.values()][place]
        if isinstance(key, Silent):
            return Standing(self._chain_id, len(self._keys), key.public_key, key.why.code, Mark(), 0, 0, 0)
        counts = (key.signed, key.repeated, key.refused)
        return Standing(self._chain_id, len(self._keys), key.public_key, "", key.mark, *counts)


@contextmanager
def open_ring(
    chain_id: bytes, keys: Sequence[SigningKey], file_of: Callable[[bytes], SignerFile], report: Report
) -> Iterator[SignerRing]:
    """The ring of these keys, for as long as their marks' files are open.

    Args:
        chain_id: Their chain.
        keys: The keys, oldest first.
        file_of: The mark's file of a public key.
        report: Told ``silent_key`` of each that is.

    Raises:
        Rejected: What is wrong with the first one, when no key can sign.
        StorageFailure: A mark's file exists and cannot be read or written.
    """
    with ExitStack() as stack:
        found: list[Signer | Silent] = []
        for key in keys:
            file = stack.enter_context(closing(file_of(key.public_key)))
            try:
                found.append(Signer(key, chain_id, file))
            except Rejected as why:
                found.append(Silent(key.public_key, why))
        silent = [each for each in found if isinstance(each, Silent)]
        if len(silent) == len(found):
            raise silent[0].why
        for each in silent:
            report("silent_key", {"public_key": each.public_key.hex(), "code": each.why.code, "why": str(each.why)})
        yield SignerRing(chain_id, found)


def _same(code: str, message: str, theirs: int | str, ours: int | str) -> None:
    if theirs != ours:
        raise Rejected(code, message, theirs=theirs, ours=ours)
