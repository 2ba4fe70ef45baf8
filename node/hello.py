"""The hello: each side of a new connection says who it is and which chain it means, before anything else.

Rules:

1. The dialler's first frame is HELLO; the acceptor checks it and answers with its own HELLO and a verdict; only then
   may other frames follow. The answer is what tells a dialler that it was let in: under TLS 1.3 the client finishes
   its handshake before the server has judged its certificate.
2. Both sides check the other's wire version, chain id and kernel hash against their own. Who it is, the certificate
   proves that the TLS handshake pinned; its index is the one that the certificate has in our own epoch. The epochs may
   differ: one that is behind has to reach those who are ahead.
3. Of two validators the one with the higher index dials; one that has no index, because it is not in the set of the
   epoch that its ledger has come to, dials everyone. A connection the other way round is refused, but not by one that
   has no index.
4. A validator that was removed is refused as ``retired``. It may then ask, once, how that came about
   (LINKS_REQUEST), and the acceptor answers (LINKS): see `node.retirement`.
5. A refusal names its rule to the peer as a short code, and nothing else.

The hello is not signed: both ends of the TLS channel it travels in have just proved their pinned keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final, NoReturn, Protocol

from genesis.codec import decode, encode, integer, raw, record, text, uint
from genesis.errors import Detail, Rejected
from genesis.values import DIGEST
from node.frames import (
    HEADER,
    HELLO_BYTES_MAX,
    HELLO_TABLE,
    LINKS_REQUEST_TABLE,
    LINKS_TABLE,
    FrameKind,
    FrameReader,
    FrameTable,
    Lane,
)
from node.tls import TlsStream

WIRE_VERSION: Final = 3
WELCOME: Final = ""
RETIRED: Final = "retired"
_CODE: Final = text(0, 32, "abcdefghijklmnopqrstuvwxyz_")
_SHAPE: Final = record(uint(16), DIGEST, raw(1, 32), integer(0, 1), _CODE)


@dataclass(frozen=True, slots=True)
class Hello:
    """One side's introduction.

    Attributes:
        chain_id: The chain's 32-byte digest.
        kernel_hash: The digest of the kernels that decide consensus results, 1 to 32 bytes.
        lane: What the connection is for.
        verdict: In an answer, `WELCOME` or the code of the rule that the dialler broke; in a dialler's hello `WELCOME`.
        version: The wire's version.
    """

    chain_id: bytes
    kernel_hash: bytes
    lane: Lane
    verdict: str = WELCOME
    version: int = WIRE_VERSION


def encode_hello(hello: Hello) -> bytes:
    """The payload of a HELLO frame."""
    return encode(
        [
            hello.version,
            hello.chain_id,
            hello.kernel_hash,
            int(hello.lane),
            hello.verdict,
        ]
    )


def decode_hello(payload: bytes) -> Hello:
    """The inverse of `encode_hello`; `Rejected` as ``malformed`` or ``too_large``."""
    version, chain_id, kernel_hash, lane, verdict = decode(payload, _SHAPE, size_max=HELLO_BYTES_MAX)
    return Hello(chain_id, kernel_hash, Lane(lane), verdict, version)


def check_hello(theirs: Hello, ours: Hello) -> None:
    """Whether `theirs` may speak to `ours` (rule 2; the lane and rule 3 are the caller's).

    Args:
        theirs: What the peer said.
        ours: What we say.

    Raises:
        Rejected: ``wrong_wire_version``, ``wrong_chain`` or ``wrong_kernels``, with the values compared.
    """
    _same("wrong_wire_version", "The peer speaks another version of the wire.", theirs.version, ours.version)
    _same("wrong_chain", "The peer is on another chain.", theirs.chain_id.hex(), ours.chain_id.hex())
    _same(
        "wrong_kernels",
        "The peer computes with other kernels; its results would differ from ours.",
        theirs.kernel_hash.hex(),
        ours.kernel_hash.hex(),
    )


class Farewell(Protocol):
    """What is said to a validator that was removed, and by one: `node.retirement.Retirement`."""

    @property
    def former(self) -> Set[bytes]:
        """The certificates of those who were removed."""

    def request(self) -> bytes:
        """What one that was removed asks."""

    async def answer(self, certificate: bytes, payload: bytes) -> bytes:
        """What the one of this certificate is told."""

    async def hear(self, payload: bytes) -> None:
        """What becomes of that."""


async def say_hello(
    stream: TlsStream,
    reader: FrameReader,
    ours: Hello,
    index: int,
    certificate: bytes,
    farewell: Farewell | None = None,
) -> None:
    """The dialler's side, from the TLS handshake to the answer.

    Args:
        stream: The connection, before its handshake.
        reader: Keeps what follows the answer.
        ours: What we say.
        index, certificate: Whom we mean to reach, and its pinned certificate (DER).
        farewell: Rule 4; None leaves it at the refusal.

    Raises:
        Rejected: The peer is another, differs from us, or refused us (``refused``); or `Disconnected`.
    """
    if await stream.handshake() != certificate:
        raise Rejected("wrong_certificate", "The peer's certificate is not the one pinned for its index.", index=index)
    await stream.send(_frame(ours))
    theirs = await _hear(stream, reader)
    check_hello(theirs, ours)
    if theirs.lane is not ours.lane:
        raise Rejected("wrong_lane", "The peer answered for another lane.", theirs=theirs.lane, ours=ours.lane)
    if theirs.verdict == RETIRED and farewell is not None:
        await stream.send(_framed(FrameKind.LINKS_REQUEST, farewell.request()))
        await farewell.hear(await _next(stream, reader, LINKS_TABLE))
    if theirs.verdict != WELCOME:
        raise Rejected("refused", "The peer refused us.", verdict=theirs.verdict)


async def welcome(
    stream: TlsStream,
    reader: FrameReader,
    ours: Hello,
    pinned: Mapping[bytes, int],
    may_enter: Callable[[int], None],
    farewell: Farewell | None = None,
) -> tuple[int, Lane]:
    """The acceptor's side, from the TLS handshake to the answer; returns who it is and for which lane.

    Args:
        stream: The connection, before its handshake.
        reader: Keeps what follows the hello.
        ours: What we say; its lane is replaced by the dialler's.
        pinned: The validators' indices by their certificates (DER).
        may_enter: Raises `Rejected` for a validator that may not enter now.
        farewell: Rule 4, if anybody was removed.

    Raises:
        Rejected: The peer broke a rule, and was told which; or `Disconnected`.
    """
    certificate = await stream.handshake()
    proved = pinned.get(certificate)
    if proved is None and farewell is not None and certificate in farewell.former:
        await _take_leave(stream, reader, ours, certificate, farewell)
    if proved is None:
        raise Rejected("wrong_certificate", "The certificate is not one of the pinned.")
    theirs = await _hear(stream, reader)
    answer = replace(ours, lane=theirs.lane)
    try:
        check_hello(theirs, ours)
        may_enter(proved)
    except Rejected as refusal:
        await stream.send(_frame(replace(answer, verdict=refusal.code)))
        raise
    await stream.send(_frame(answer))
    return proved, theirs.lane


async def _take_leave(
    stream: TlsStream, reader: FrameReader, ours: Hello, certificate: bytes, farewell: Farewell
) -> NoReturn:
    """Rule 4, for one that was removed."""
    theirs = await _hear(stream, reader)
    check_hello(theirs, ours)
    await stream.send(_frame(replace(ours, lane=theirs.lane, verdict=RETIRED)))
    links = await farewell.answer(certificate, await _next(stream, reader, LINKS_REQUEST_TABLE))
    await stream.send(_framed(FrameKind.LINKS, links))
    raise Rejected(RETIRED, "The peer was removed from the validators, and has been told so.")


def _frame(hello: Hello) -> bytes:
    return _framed(FrameKind.HELLO, encode_hello(hello))


def _framed(kind: FrameKind, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), kind) + payload


async def _hear(stream: TlsStream, reader: FrameReader) -> Hello:
    """The peer's hello, its first frame."""
    return decode_hello(await _next(stream, reader, HELLO_TABLE))


async def _next(stream: TlsStream, reader: FrameReader, table: FrameTable) -> bytes:
    """The payload of the next frame, which this table allows."""
    frames = reader.take(table, 1)
    while not frames:
        reader.append(await stream.receive())
        frames = reader.take(table, 1)
    return frames[0][1]


def _same(code: str, message: str, theirs: Detail, ours: Detail) -> None:
    if theirs != ours:
        raise Rejected(code, message, theirs=theirs, ours=ours)
