"""What a node uses when its key is with a signer: the other end of `node.signer`'s socket.

Rules:

1. Out of reach is not a failure: `sign` then answers None at once, and the node follows the chain without a voice. The
   signer is dialled again until it answers; then `on_back` is called, and the replica asks again for what it is owed.
2. A refusal by the high-water rule is final: another process signs with this key, or the node's memory is an old copy.
   The node halts (`ReplicaHalted`). So it does when signer and node know contradicting statements at the greeting.
3. A signer of another chain or version is the operator's mistake; the node stops and says so (`Rejected`).
4. Every greeting shows what this node knows its key to have signed: what its safety state remembers, and every
   signature it was given since. That raises the mark of a signer whose directory was restored from a backup.
5. A signature is checked before it is used. One that is wrong, or no answer within `ANSWER_S_MAX`, costs the
   connection; the question is asked again on the next one, where it is at most a repetition.
6. A connection is for one key: the one that the epoch's validator set names. `use` names another, which ends the
   connection and greets anew. In an epoch one key of ours is named, so what the safety state says of its own epoch is
   that key's doing, and what it says of earlier ones forbids nothing that is still to be signed.
7. A signer that lacks the key, or the key's mark, is not the end: governance may name a key before its operator has
   made it. The node goes on without a voice as by rule 1, says which key is missing, and asks again.

Theory of operation. `run` owns the connection: it dials, greets and then reads every answer. `sign` writes one question
and waits for `run` to hand the answer over. The replica calls `sign` from one task, so there is one question at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from consensus.types import Statement
from genesis.errors import Rejected
from genesis.signing import is_valid
from node.failures import ReplicaHalted
from node.signer_guard import Mark, signed
from node.signer_protocol import (
    VERSION,
    Answer,
    Ask,
    FrameBuffer,
    Hello,
    Refusal,
    Request,
    Sign,
    Signed,
    Standing,
    Welcome,
    decode_answer,
    encode_request,
    peer_uid,
)
from node.signing import fields_of

ANSWER_S_MAX: Final = 2.0
RETRY_S: Final = 0.25
RETRY_REFUSED_S: Final = 2.0
"""Until a signer that refuses the key is asked again; each refusal is a line in its log."""

CONTRADICTIONS: Final = frozenset(
    {"signed_otherwise", "below_mark", "given_up", "voted_beyond", "below_lock", "old_epoch"}
)
"""The codes of `node.signer_guard`."""

MISTAKES: Final = frozenset({"wrong_chain", "wrong_version"})
LACKING: Final = frozenset({"wrong_key", "silent_key"})
"""The codes of rule 7."""

_RECEIVE_BYTES: Final = 4_096
_BROKEN: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)

Report = Callable[[str, dict[str, int | str]], None]


@dataclass(frozen=True, slots=True)
class _Loss:
    """Why there is no signer: as it is reported, and as clients are told."""

    kind: str
    code: str
    why: str
    told: str
    retry_s: float

    @classmethod
    def unreachable(cls, why: str) -> _Loss:
        """Rule 1."""
        return cls("signer_unreachable", "no_signer", why, "its signer is out of reach", RETRY_S)

    @classmethod
    def lacking(cls, refusal: Rejected) -> _Loss:
        """Rule 7."""
        told = "its signer cannot sign with the key that the validator set names"
        return cls("signer_lacks_key", refusal.code, str(refusal), told, RETRY_REFUSED_S)


class _Link:
    """One connection: a question at a time, and every answer read by `read`.

    Attributes:
        lost: Set when the connection is of no more use.
        why: The reason, then.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.lost = trio.Event()
        self.why = ""
        self._stream = stream
        self._answer: Answer | None = None
        self._answered = trio.Event()

    async def ask(self, request: Request) -> Answer | None:
        """The answer; None when there is none in time, or the connection is lost."""
        self._answer, self._answered = None, trio.Event()
        with trio.move_on_after(ANSWER_S_MAX):
            try:
                await self._stream.send_all(encode_request(request))
            except _BROKEN as error:
                self.drop(str(error))
            if not self.lost.is_set():
                await self._answered.wait()
        return self._answer

    async def read(self) -> None:
        """Hand every answer to who asked, until the connection is lost."""
        try:
            uid = peer_uid(self._stream.socket.getsockopt)
            if uid != os.getuid():
                raise Rejected("wrong_user", "Another user listens at the signer's socket.", uid=uid)
            await self._read()
            self.drop("it closed the connection")
        except (Rejected, *_BROKEN) as error:
            self.drop(str(error))

    async def _read(self) -> None:
        buffer = FrameBuffer()
        while data := await self._stream.receive_some(_RECEIVE_BYTES):
            buffer.append(data)
            while (payload := buffer.take()) is not None:
                self._answer = decode_answer(payload)
                self._answered.set()

    def drop(self, why: str) -> None:
        """Give the connection up; the first reason counts."""
        self.why = self.why or why
        self.lost.set()
        self._answered.set()


class RemoteSigning:
    """`node.signing.Signing` by a signer in a process of its own.

    Args:
        path: Its socket.
        chain_id, public_key: Which key is meant, until `use` names another.
        known: What the key that is meant has signed, as far as the safety state tells; asked when a key is named.
        on_back: Called each time the signer can be reached (again).
        report: Told when it is lost and found.
    """

    def __init__(
        self,
        path: Path,
        chain_id: bytes,
        public_key: bytes,
        known: Callable[[], Mark],
        on_back: Callable[[], None],
        report: Report,
    ) -> None:
        self._path = path
        self._chain_id = chain_id
        self._public_key = public_key
        self._known_of_state = known
        self._known = known()
        self._on_back = on_back
        self._report = report
        self._link: _Link | None = None
        self._renamed = trio.Event()
        self._loss: _Loss | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the signer can be asked now."""
        return self._link is not None

    @property
    def why_not(self) -> str:
        """Why it cannot be asked, for clients."""
        return (self._loss or _Loss.unreachable("")).told

    def use(self, public_key: bytes) -> None:
        """Sign with this key from now on; rule 6."""
        if public_key == self._public_key:
            return
        self._public_key, self._known = public_key, self._known_of_state()
        self._link, self._loss = None, None
        self._renamed.set()

    async def run(self) -> None:
        """Keep a connection until cancelled.

        Raises:
            Rejected: Rule 3.
            ReplicaHalted: Rule 2, at the greeting.
        """
        while True:
            self._renamed = renamed = trio.Event()
            try:
                async with await trio.open_unix_socket(self._path) as stream:
                    loss = await self._talk(_Link(stream), renamed)
            except _BROKEN as error:
                loss = _Loss.unreachable(str(error))
            if renamed.is_set():
                continue
            self._lose(loss)
            with trio.move_on_after(loss.retry_s):
                await renamed.wait()

    async def sign(self, statement: Statement, lock_view: int) -> bytes | None:
        """As `node.signing.Signing.sign`."""
        link = self._link
        if link is None:
            await trio.lowlevel.checkpoint()
            return None
        fields = fields_of(statement)
        answer = await link.ask(Sign(fields, lock_view))
        failure = _failure(answer)
        if failure is not None:
            raise failure
        if not isinstance(answer, Signed) or not is_valid(
            self._public_key, fields.message(self._chain_id), answer.signature
        ):
            link.drop(f"it answered a question with {answer}" if answer is not None else "it does not answer")
            return None
        self._known = signed(self._known, fields, lock_view)
        return answer.signature

    def _lose(self, loss: _Loss) -> None:
        """There is no signer now; say so once of each kind of loss."""
        if self._loss is None or self._loss.kind != loss.kind:
            named = {"socket": str(self._path), "public_key": self._public_key.hex()}
            self._report(loss.kind, {**named, "code": loss.code, "why": loss.why})
        self._loss = loss

    async def _talk(self, link: _Link, renamed: trio.Event) -> _Loss:
        """Greet, then serve `sign` until the connection is lost, as it is when another key is named; why it is."""
        failure = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.read)
            nursery.start_soon(_drop_at, renamed, link)
            answer = await link.ask(Hello(VERSION, self._chain_id, self._public_key, self._known))
            failure = _failure(answer)
            if isinstance(answer, Welcome) and not renamed.is_set():
                await self._serve(link)
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if isinstance(answer, Refusal) and answer.code in LACKING:
            return _Loss.lacking(answer.error())
        return _Loss.unreachable(link.why or f"it answered the greeting with {answer}")

    async def _serve(self, link: _Link) -> None:
        self._link, self._loss = link, None
        self._report("signer_reached", {"socket": str(self._path), "public_key": self._public_key.hex()})
        self._on_back()
        try:
            await link.lost.wait()
        finally:
            self._link = None


async def ask_standings(path: Path) -> tuple[Standing, ...]:
    """How the keys of the signer at this socket stand, oldest first.

    Raises:
        Rejected: ``no_signer``, or what it answers instead.
    """
    try:
        async with await trio.open_unix_socket(path) as stream, trio.open_nursery() as nursery:
            link = _Link(stream)
            nursery.start_soon(link.read)
            standings, answer = await _ask_of_each(link)
            nursery.cancel_scope.cancel()
    except OSError as error:
        raise Rejected("no_signer", f"No signer answers at this socket: {error}.", socket=str(path)) from error
    if not isinstance(answer, Standing):
        raise Rejected("no_signer", f"The signer does not tell how it stands: {link.why or answer}.", socket=str(path))
    return standings


async def _ask_of_each(link: _Link) -> tuple[tuple[Standing, ...], Answer | None]:
    """The standings of all keys, and the last answer; without the rest where that is something else."""
    found: tuple[Standing, ...] = ()
    while True:
        answer = await link.ask(Ask(len(found)))
        if not isinstance(answer, Standing):
            return found, answer
        found = (*found, answer)
        if len(found) >= found[0].keys:
            return found, answer


async def _drop_at(event: trio.Event, link: _Link) -> None:
    await event.wait()
    link.drop("another key is meant")


def _failure(answer: Answer | None) -> Rejected | ReplicaHalted | None:
    """What ends the node, when this is the answer to its greeting or question (rules 2 and 3)."""
    if not isinstance(answer, Refusal):
        return None
    if answer.code in MISTAKES:
        return answer.error()
    if answer.code in CONTRADICTIONS:
        return ReplicaHalted(f"its signer refuses: {answer.error()}")
    return None
