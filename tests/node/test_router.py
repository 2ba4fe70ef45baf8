"""Whom a frame concerns, and that its sender waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from genesis.errors import InvariantViolation, Rejected
from node.frames import Frame, FrameKind
from node.router import Router

pytestmark = pytest.mark.trio


class Parts:
    """The replica, the pool, the fetcher and the server as one list of what each was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Any, ...]] = []
        self.refuses: bytes | None = None
        self.gate = trio.Event()
        self.gate.set()

    def part(self, name: str) -> Any:
        """The part of that name."""
        parts = self

        class Part:
            async def handle(self, peer: int, *frame: Any) -> None:
                await parts._take((name, peer, *frame))

            def handle_pruned(self, peer: int, payload: bytes) -> None:
                parts.given.append((name, peer, "pruned", payload))

            async def deliver(self, sender: int, payloads: Sequence[bytes]) -> None:
                await parts._take((name, sender, list(payloads)))

        return cast(Any, Part())

    async def _take(self, given: tuple[Any, ...]) -> None:
        if given[-1] == self.refuses:
            raise Rejected("malformed", "Refused by the test.")
        self.given.append(given)
        await self.gate.wait()

    def router(self) -> Router:
        """A router in front of them."""
        router = Router()
        names = ("replica", "pool", "fetcher", "server", "snapshots", "evidence")
        router.connect(*map(self.part, names))
        return router


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FrameKind.CONSENSUS, ("replica", 2, [b"x"])),
        (FrameKind.BATCH_ACK, ("pool", 2, FrameKind.BATCH_ACK, b"x")),
        (FrameKind.BATCH, ("pool", 2, FrameKind.BATCH, b"x")),
        (FrameKind.BATCH_REQUEST, ("pool", 2, FrameKind.BATCH_REQUEST, b"x")),
        (FrameKind.BATCH_RESPONSE, ("pool", 2, FrameKind.BATCH_RESPONSE, b"x")),
        (FrameKind.BLOCKS_REQUEST, ("server", 2, b"x")),
        (FrameKind.BLOCKS_RESPONSE, ("fetcher", 2, b"x")),
        (FrameKind.BLOCKS_PRUNED, ("fetcher", 2, "pruned", b"x")),
        (FrameKind.SNAPSHOT_REQUEST, ("snapshots", 2, FrameKind.SNAPSHOT_REQUEST, b"x")),
        (FrameKind.PIECE_REQUEST, ("snapshots", 2, FrameKind.PIECE_REQUEST, b"x")),
        (FrameKind.EVIDENCE, ("evidence", 2, b"x")),
    ],
)
async def test_each_kind_reaches_its_part_with_its_sender(kind: FrameKind, expected: tuple[Any, ...]) -> None:
    """Another part would refuse the frame and have an honest peer cut."""
    parts = Parts()
    await parts.router()(2, [(kind, b"x")])
    assert parts.given == [expected]


async def test_frames_keep_their_order_and_statements_travel_together() -> None:
    """Statements in one list cost the replica one entry in its queue, and the peer one wait."""
    parts = Parts()
    frames: list[Frame] = [
        (FrameKind.CONSENSUS, b"1"),
        (FrameKind.BATCH_ACK, b"a"),
        (FrameKind.CONSENSUS, b"2"),
        (FrameKind.BATCH_ACK, b"b"),
    ]
    await parts.router()(1, frames)
    acknowledgements = [("pool", 1, FrameKind.BATCH_ACK, b"a"), ("pool", 1, FrameKind.BATCH_ACK, b"b")]
    assert parts.given == [*acknowledgements, ("replica", 1, [b"1", b"2"])]


@pytest.mark.parametrize("kind", [FrameKind.CONSENSUS, FrameKind.BATCH, FrameKind.BLOCKS_REQUEST])
async def test_sender_waits_until_its_frames_are_handled(kind: FrameKind) -> None:
    """Otherwise a flood would pile up in our memory rather than in the peer's socket."""
    parts = Parts()
    parts.gate = trio.Event()
    returned = trio.Event()

    async def read() -> None:
        await parts.router()(1, [(kind, b"x")])
        returned.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        assert len(parts.given) == 1
        assert not returned.is_set()
        parts.gate.set()
    assert returned.is_set()


async def test_refusal_reaches_the_mesh_and_ends_the_list() -> None:
    """The mesh cuts the peer; what it sent after its fault is not trusted."""
    parts = Parts()
    parts.refuses = b"bad"
    frames: list[Frame] = [(FrameKind.CONSENSUS, b"1"), (FrameKind.BATCH_ACK, b"bad"), (FrameKind.BATCH_ACK, b"c")]
    with pytest.raises(Rejected, match="malformed"):
        await parts.router()(1, frames)
    assert parts.given == []


@pytest.mark.parametrize("kind", [FrameKind.SNAPSHOT_OFFER, FrameKind.PIECE_RESPONSE])
async def test_a_snapshot_that_nobody_asked_for_costs_its_sender(kind: FrameKind) -> None:
    """A node that runs has a state; only one that joins takes another's."""
    with pytest.raises(Rejected, match="unasked_snapshot"):
        await Parts().router()(1, [(kind, b"x")])


async def test_frame_before_the_wiring_is_our_own_bug() -> None:
    """A frame that went nowhere would be lost in silence."""
    with pytest.raises(InvariantViolation, match="before the node was wired"):
        await Router()(1, [(FrameKind.CONSENSUS, b"x")])
