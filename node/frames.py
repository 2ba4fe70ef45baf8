"""Frames: how messages lie in a peer's byte stream, and how large each kind may be.

Rules:

1. A frame is a header of five bytes, a big-endian u32 payload length and a u8 kind, then the payload.
2. A kind that is unknown, or not allowed on this lane at this point, ends the connection; so does a length over the
   kind's bound. Both are decided from the header alone: not one byte of such a payload is kept.
3. The payload is opaque here. Its owner decodes it, within the bound that was checked.

Two lanes join each pair of validators, so that consensus never waits behind transactions: kinds below 64 belong to
the consensus lane, the others to the bulk lane. HELLO opens both lanes, and PING keeps both warm.

Theory of operation: `FrameReader` is a state machine without IO. Bytes are appended as they come, and `take` cuts
every whole frame out of them at once, so that a burst of small frames costs one pass and one copy each. A frame
reserves nothing ahead of its arrival: the buffer holds at most one incomplete frame plus one receive.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from struct import Struct
from types import MappingProxyType
from typing import Final

from genesis.errors import Rejected, invariant
from genesis.evidence import EVIDENCE_BYTES_MAX
from genesis.params import ChainParams
from node.set_history import HISTORY_BYTES_MAX


class Lane(IntEnum):
    """One of the two connections that join a pair of validators."""

    CONSENSUS = 0
    BULK = 1


class FrameKind(IntEnum):
    """What a payload is. The numbers are the wire's."""

    HELLO = 0
    CONSENSUS = 1
    BATCH_ACK = 2
    PING = 3
    BATCH = 65
    BATCH_REQUEST = 66
    BATCH_RESPONSE = 67
    BLOCKS_REQUEST = 68
    BLOCKS_RESPONSE = 69
    BLOCKS_PRUNED = 70
    SNAPSHOT_REQUEST = 71
    SNAPSHOT_OFFER = 72
    PIECE_REQUEST = 73
    PIECE_RESPONSE = 74
    EVIDENCE = 75
    LINKS_REQUEST = 76
    LINKS = 77


Frame = tuple[FrameKind, bytes]
"""(kind, payload)."""

FrameTable = Mapping[int, tuple[FrameKind, int]]
"""The kinds that are allowed now, by their number, each with the largest payload in bytes."""

HEADER: Final = Struct(">IB")
BULK_KIND_MIN: Final = 64
HELLO_BYTES_MAX: Final = 512
PING_BYTES_MAX: Final = 0
CONSENSUS_BYTES_MAX: Final = 262_144
ACKNOWLEDGEMENT_BYTES_MAX: Final = 65_536
REQUEST_BYTES_MAX: Final = 65_536
RESPONSE_BYTES_MAX: Final = 4_194_304
SNAPSHOT_REQUEST_BYTES_MAX: Final = 64
OFFER_BYTES_MAX: Final = 8 * CONSENSUS_BYTES_MAX
BATCH_OVERHEAD_BYTES: Final = 4_096


def lane_of(kind: FrameKind) -> Lane:
    """The lane that frames of this kind travel on (PING, which has no lane of its own, counts as consensus)."""
    return Lane.CONSENSUS if kind < BULK_KIND_MIN else Lane.BULK


def payload_bounds(params: ChainParams) -> Mapping[FrameKind, int]:
    """The largest payload of each kind, in bytes, on a chain with these parameters.

    These only bound what is read before anyone looks into it, with room to spare: the protocols above hold a batch to
    `batch_bytes_max` and a consensus message to `consensus.wire.MESSAGE_BYTES_MAX`.
    """
    batch = params.batch_bytes_max + params.envelope_bytes_max + 8 * params.batch_envelopes_max + BATCH_OVERHEAD_BYTES
    return MappingProxyType(
        {
            FrameKind.HELLO: HELLO_BYTES_MAX,
            FrameKind.CONSENSUS: CONSENSUS_BYTES_MAX,
            FrameKind.BATCH_ACK: ACKNOWLEDGEMENT_BYTES_MAX,
            FrameKind.PING: PING_BYTES_MAX,
            FrameKind.BATCH: batch,
            FrameKind.BATCH_REQUEST: REQUEST_BYTES_MAX,
            FrameKind.BATCH_RESPONSE: RESPONSE_BYTES_MAX + batch,
            FrameKind.BLOCKS_REQUEST: REQUEST_BYTES_MAX,
            FrameKind.BLOCKS_RESPONSE: RESPONSE_BYTES_MAX + CONSENSUS_BYTES_MAX,
            FrameKind.BLOCKS_PRUNED: SNAPSHOT_REQUEST_BYTES_MAX,
            FrameKind.SNAPSHOT_REQUEST: SNAPSHOT_REQUEST_BYTES_MAX,
            FrameKind.SNAPSHOT_OFFER: OFFER_BYTES_MAX + HISTORY_BYTES_MAX,
            FrameKind.PIECE_REQUEST: SNAPSHOT_REQUEST_BYTES_MAX,
            FrameKind.PIECE_RESPONSE: RESPONSE_BYTES_MAX + CONSENSUS_BYTES_MAX,
            FrameKind.EVIDENCE: EVIDENCE_BYTES_MAX,
        }
    )


def lane_table(bounds: Mapping[FrameKind, int], lane: Lane) -> FrameTable:
    """What an open lane accepts: its own kinds and PING, never a second HELLO."""
    allowed = [kind for kind in bounds if kind is not FrameKind.HELLO and lane_of(kind) is lane]
    return MappingProxyType({int(kind): (kind, bounds[kind]) for kind in [*allowed, FrameKind.PING]})


HANDSHAKE_KINDS: Final = frozenset({FrameKind.HELLO, FrameKind.LINKS_REQUEST, FrameKind.LINKS})
"""What no open lane accepts."""

HELLO_TABLE: Final[FrameTable] = MappingProxyType({0: (FrameKind.HELLO, HELLO_BYTES_MAX)})
"""What a connection accepts before its hello."""

LINKS_REQUEST_TABLE: Final[FrameTable] = MappingProxyType(
    {int(FrameKind.LINKS_REQUEST): (FrameKind.LINKS_REQUEST, SNAPSHOT_REQUEST_BYTES_MAX)}
)
LINKS_TABLE: Final[FrameTable] = MappingProxyType({int(FrameKind.LINKS): (FrameKind.LINKS, HISTORY_BYTES_MAX)})
"""What follows the hello of a validator that was removed, on either side, and nothing else (`node.retirement`)."""


def header_of(kind: FrameKind, payload: bytes, bounds: Mapping[FrameKind, int]) -> bytes:
    """The five bytes that go before `payload`.

    Raises:
        InvariantViolation: The payload is over its kind's bound, so every peer would cut us.
    """
    size = len(payload)
    invariant(size <= bounds[kind], "A payload is over the bound of its kind.", kind=kind.name, size=size)
    return HEADER.pack(size, kind)


class FrameReader:
    """The frames in a stream of bytes.

    ``reader.append(data)`` whenever bytes arrive, then ``reader.take(table)`` for every whole frame so far.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def append(self, data: bytes) -> None:
        """Add what was received."""
        self._buffer += data

    def take(self, table: FrameTable, count_max: int | None = None) -> list[Frame]:
        """Remove and return the whole frames so far, oldest first, `count_max` of them at most.

        Raises:
            Rejected: ``unknown_frame`` for a kind that is not in `table`, ``frame_too_large`` for a length over its
                bound; frames before it are lost with the connection, which has to end.
        """
        frames: list[Frame] = []
        buffer, start, end = self._buffer, 0, len(self._buffer)
        with memoryview(buffer) as view:
            while end - start >= 5 and len(frames) != count_max:
                size, number = HEADER.unpack_from(view, start)
                kind = _checked(table, number, size)
                stop = start + 5 + size
                if stop > end:
                    break
                frames.append((kind, bytes(view[start + 5 : stop])))
                start = stop
        if start:
            del buffer[:start]
        return frames


def _checked(table: FrameTable, number: int, size: int) -> FrameKind:
    """The kind with this number, unless the table or its bound forbids the frame."""
    allowed = table.get(number)
    if allowed is None:
        raise Rejected("unknown_frame", "This kind of frame is unknown or not allowed here.", kind=number, size=size)
    kind, size_max = allowed
    if size > size_max:
        message = "A frame is over the bound of its kind."
        raise Rejected("frame_too_large", message, kind=kind.name, size=size, size_max=size_max)
    return kind
