"""Frames without sockets: cutting a stream, and refusing from the header."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.errors import InvariantViolation, Rejected
from genesis.params import ChainParams
from node.frames import (
    HANDSHAKE_KINDS,
    HEADER,
    HELLO_TABLE,
    FrameKind,
    FrameReader,
    Lane,
    header_of,
    lane_of,
    lane_table,
    payload_bounds,
)

BOUNDS = payload_bounds(ChainParams())
CONSENSUS = lane_table(BOUNDS, Lane.CONSENSUS)
BULK = lane_table(BOUNDS, Lane.BULK)

frames_of_a_lane = st.lists(
    st.tuples(st.sampled_from([FrameKind.CONSENSUS, FrameKind.BATCH_ACK]), st.binary(max_size=300)), max_size=12
)


@given(frames=frames_of_a_lane, cuts=st.randoms(use_true_random=False))
def test_frames_survive_any_division_of_the_stream(frames: list[tuple[FrameKind, bytes]], cuts: random.Random) -> None:
    """TCP divides where it likes."""
    stream = b"".join(header_of(kind, payload, BOUNDS) + payload for kind, payload in frames)
    reader, found, start = FrameReader(), [], 0
    while start < len(stream):
        stop = start + cuts.randint(1, 40)
        reader.append(stream[start:stop])
        found += reader.take(CONSENSUS)
        start = stop
    reader.append(HEADER.pack(1, FrameKind.CONSENSUS) + b"x")
    assert found == frames
    assert reader.take(CONSENSUS) == [(FrameKind.CONSENSUS, b"x")], "nothing was left over"


@given(noise=st.binary(max_size=200))
def test_noise_is_rejected_or_awaited_but_never_an_error_of_ours(noise: bytes) -> None:
    """docs/FAULTS.md row 28: a peer's bytes may only ever cost the peer its connection."""
    reader = FrameReader()
    reader.append(noise)
    with suppress(Rejected):
        frames = reader.take(BULK)
        assert noise.startswith(b"".join(HEADER.pack(len(payload), kind) + payload for kind, payload in frames))


@pytest.mark.parametrize("lane", list(Lane))
def test_header_alone_decides(lane: Lane) -> None:
    """Row 27: each kind passes at its bound and fails one byte over it, before any payload has arrived."""
    table = CONSENSUS if lane is Lane.CONSENSUS else BULK
    own = {kind for kind in FrameKind if lane_of(kind) is lane} - HANDSHAKE_KINDS | {FrameKind.PING}
    for number in range(256):
        size_max = BOUNDS[FrameKind(number)] if number in own else -1
        over = FrameReader()
        over.append(HEADER.pack(size_max + 1, number))
        with pytest.raises(Rejected) as rejected:
            over.take(table)
        assert rejected.value.code == ("frame_too_large" if number in own else "unknown_frame")
        if size_max > 0:
            within = FrameReader()
            within.append(HEADER.pack(size_max, number))
            assert within.take(table) == []


def test_only_a_hello_may_come_first_and_what_follows_it_is_kept() -> None:
    """An acceptor may speak right after its answer, in the same packet."""
    reader = FrameReader()
    reader.append(HEADER.pack(2, FrameKind.HELLO) + b"hi" + HEADER.pack(1, FrameKind.CONSENSUS) + b"x")
    assert reader.take(HELLO_TABLE, 1) == [(FrameKind.HELLO, b"hi")]
    assert reader.take(CONSENSUS) == [(FrameKind.CONSENSUS, b"x")]
    early = FrameReader()
    early.append(HEADER.pack(1, FrameKind.CONSENSUS) + b"x")
    with pytest.raises(Rejected, match="unknown_frame"):
        early.take(HELLO_TABLE, 1)


def test_bounds_follow_the_chains_parameters() -> None:
    """A chain with larger batches must be able to carry them."""
    wide = payload_bounds(ChainParams(batch_bytes_max=2**22))
    assert wide[FrameKind.BATCH] > 2**22 > BOUNDS[FrameKind.BATCH]
    assert wide[FrameKind.BATCH_RESPONSE] > wide[FrameKind.BATCH]


def test_payload_over_its_bound_never_gets_a_header() -> None:
    """Sending it would have every peer cut us: the mistake is ours."""
    assert header_of(FrameKind.PING, b"", BOUNDS) == b"\x00\x00\x00\x00\x03"
    with pytest.raises(InvariantViolation):
        header_of(FrameKind.PING, b"x", BOUNDS)
