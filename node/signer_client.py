"""What a node uses when its key is with a signer: the other end of `node.signer`'s socket.

Rules:

1. Out of reach is not a failure: `sign` then answers None at once, and the node follows the chain without a voice. The
   signer is dialled again until it answers; then `on_back` is called, and the replica asks again for what it is owed.
2. A refusal by the high-water rule is final: another process signs with this key, or the node's memory is an old copy.
   The node halts (`ReplicaHalted`). So it does when signer and node know contradicting statements at the greeting.
3. A signer of another chain, key or version is the operator's mistake; the node stops and says so (`Rejected`).
4. Every greeting shows what this node knows its key to have signed: what its safety state remembers from its start, and
   every signature it was given since. That raises the mark of a signer whose directory was restored from a backup.
5. A signature is checked before it is used. One that is wrong, or no answer within `ANSWER_S_MAX`, costs the
   connection; the question is asked again on the next one, where it is at most a repetition.

Theory of operation. `run` owns the connection: it dials, greets and then reads every answer. `sign` writes one question
and waits for `run` to hand the answer over. The replica calls `sign` from one task, so there is one question at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
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
CONTRADICTIONS: Final = frozenset(
    {"signed_otherwise", "below_mark", "given_up", "voted_beyond", "below_lock", "old_epoch"}
)
"""The codes of `node.signer_guard`."""

MISTAKES: Final = frozenset({"wrong_chain", "wrong_key", "wrong_version"})
_RECEIVE_BYTES: Final = 4_096
_BROKEN: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)

Report = Callable[[str, dict[str, int | str]], None]


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
        chain_id, public_key: Which key is meant.
        known: What this key has signed, as far as the safety state tells.
        on_back: Called each time the signer can be reached (again).
        report: Told when it is lost and found.
    """

    def __init__(
        self,
        path: Path,
        chain_id: bytes,
        public_key: bytes,
        known: Mark,
        on_back: Callable[[], None],
        report: Report,
    ) -> None:
        self._path = path
        self._chain_id = chain_id
        self._public_key = public_key
        self._known = known
        self._on_back = on_back
        self._report = report
        self._link: _Link | None = None
        self._is_lost = False

    @property
    def is_connected(self) -> bool:
        """Whether the signer can be asked now."""
        return self._link is not None

    async def run(self) -> None:
        """Keep a connection until cancelled.

        Raises:
            Rejected: Rule 3.
            ReplicaHalted: Rule 2, at the greeting.
        """
        while True:
            try:
                async with await trio.open_unix_socket(self._path) as stream:
                    why = await self._use(_Link(stream))
            except _BROKEN as error:
                why = str(error)
            if not self._is_lost:
                self._report("signer_unreachable", {"socket": str(self._path), "why": why})
            self._is_lost = True
            await trio.sleep(RETRY_S)

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

    async def _use(self, link: _Link) -> str:
        """Greet, then serve `sign` until the connection is lost; why it is."""
        failure = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.read)
            answer = await link.ask(Hello(VERSION, self._chain_id, self._public_key, self._known))
            failure = _failure(answer)
            if isinstance(answer, Welcome):
                await self._serve(link)
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return link.why or f"it answered the greeting with {answer}"

    async def _serve(self, link: _Link) -> None:
        self._link, self._is_lost = link, False
        self._report("signer_reached", {"socket": str(self._path)})
        self._on_back()
        try:
            await link.lost.wait()
        finally:
            self._link = None


async def ask_standing(path: Path) -> Standing:
    """How the signer at this socket stands.

    Raises:
        Rejected: ``no_signer``, or what it answers instead.
    """
    try:
        async with await trio.open_unix_socket(path) as stream, trio.open_nursery() as nursery:
            link = _Link(stream)
            nursery.start_soon(link.read)
            answer = await link.ask(Ask())
            nursery.cancel_scope.cancel()
    except OSError as error:
        raise Rejected("no_signer", f"No signer answers at this socket: {error}.", socket=str(path)) from error
    if isinstance(answer, Standing):
        return answer
    raise Rejected("no_signer", f"The signer does not tell how it stands: {link.why or answer}.", socket=str(path))


def _failure(answer: Answer | None) -> Rejected | ReplicaHalted | None:
    """What ends the node, when this is the answer to its greeting or question (rules 2 and 3)."""
    if not isinstance(answer, Refusal):
        return None
    if answer.code in MISTAKES:
        return answer.error()
    if answer.code in CONTRADICTIONS:
        return ReplicaHalted(f"its signer refuses: {answer.error()}")
    return None
