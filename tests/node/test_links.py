"""One link, its beats given by hand, over a real TLS connection on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from genesis.errors import Rejected
from node.frames import HEADER, Frame, FrameKind, FrameReader, Lane
from node.links import PING, Link, LinkLimits
from node.tls import TlsStream, client_context, server_context
from tests.node.network import CONSENSUS_TABLE, deadline_nursery, identity_of, next_frames

pytestmark = pytest.mark.trio

HOLD = b"hold"
"""The handler never returns from this payload."""

LIMITS = LinkLimits(queue_bytes_max=1_000, silent_beats_max=3, frames_per_beat_max=10, bytes_per_beat_max=1_000_000)


class Driven:
    """A running link, the peer's end of its connection, what it delivered, and why it ended."""

    def __init__(self, link: Link, peer: TlsStream) -> None:
        self.link = link
        self.peer = peer
        self.reader = FrameReader()
        self.sender, self.delivered = trio.open_memory_channel[list[Frame]](1_000)
        self.ended = trio.Event()
        self.reason: Rejected | None = None

    async def run(self) -> None:
        async def handler(peer: int, frames: list[Frame]) -> None:
            self.sender.send_nowait(frames)
            if frames[0][1] == HOLD:
                await trio.sleep_forever()

        self.reason = await self.link.run(handler)
        self.ended.set()

    async def why(self) -> str:
        await self.ended.wait()
        assert self.reason is not None
        return self.reason.code

    async def exchange(self, position: int) -> None:
        """One frame each way, so that both tasks of the link have run and wait again."""
        payload = b"%d" % position
        await self.peer.send(HEADER.pack(len(payload), FrameKind.CONSENSUS) + payload)
        assert await self.delivered.receive() == [(FrameKind.CONSENSUS, payload)]
        self.link.offer(HEADER.pack(len(payload), FrameKind.CONSENSUS), payload)
        assert (FrameKind.CONSENSUS, payload) in await next_frames(self.peer, self.reader)


@asynccontextmanager
async def driven(limits: LinkLimits = LIMITS) -> AsyncIterator[Driven]:
    """A link between two ends of one loopback connection."""
    zero, one = identity_of(0), identity_of(1)
    async with deadline_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        dialled = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        accepted = await listener.accept()
        await listener.aclose()
        server = TlsStream(accepted, server_context(zero, [one.certificate]), server_side=True)
        client = TlsStream(dialled, client_context(one, [zero.certificate]), server_side=False)
        async with trio.open_nursery() as both:
            both.start_soon(server.handshake)
            both.start_soon(client.handshake)
        link = Driven(Link(1, Lane.CONSENSUS, server, FrameReader(), CONSENSUS_TABLE, limits), client)
        nursery.start_soon(link.run)
        await link.exchange(0)
        try:
            yield link
        finally:
            client.close()


async def test_idle_link_pings_and_busy_link_does_not() -> None:
    """The peer's judgement of silence rests on it; under load it would be waste."""
    async with driven() as each:
        each.link.beat()  # the exchange counted as sending
        assert each.link.queued_bytes == 0
        each.link.beat()
        assert await next_frames(each.peer, each.reader) == [(FrameKind.PING, b"")]


async def test_pings_keep_a_link_alive_and_are_not_delivered() -> None:
    """An idle chain must not lose its peers."""
    async with driven(replace(LIMITS, frames_per_beat_max=1_000)) as each:
        for position in range(10):
            each.link.beat()
            await each.peer.send(PING)
            await each.exchange(position)
        assert not each.ended.is_set()


async def test_silent_peer_is_given_up() -> None:
    """A peer without power sends no farewell."""
    async with driven() as each:
        for _ in range(4):
            assert not each.ended.is_set()
            each.link.beat()
        assert await each.why() == "silent"


async def test_peer_that_never_reads_is_given_up() -> None:
    """A send that is stuck for ever would hold its queue for ever."""
    async with driven(replace(LIMITS, queue_bytes_max=2**26, silent_beats_max=3)) as each:
        each.link.offer(HEADER.pack(2**25, FrameKind.CONSENSUS), bytes(2**25))
        for _ in range(4):
            assert not each.ended.is_set()
            await each.peer.send(HEADER.pack(0, FrameKind.CONSENSUS))
            await each.delivered.receive()
            each.link.beat()
        assert await each.why() == "stuck"


async def test_slow_handler_is_not_the_peers_silence() -> None:
    """While we do not read, we cannot hear."""
    async with driven() as each:
        await each.peer.send(HEADER.pack(len(HOLD), FrameKind.CONSENSUS) + HOLD)
        await each.delivered.receive()
        for _ in range(10):
            each.link.beat()
        await trio.testing.wait_all_tasks_blocked()
        assert not each.ended.is_set()


async def test_queue_is_bounded_in_bytes() -> None:
    """One frame over the bound ends the link instead of growing the queue."""
    async with driven() as each:
        each.link.offer(HEADER.pack(900, FrameKind.CONSENSUS), bytes(900))
        assert each.link.queued_bytes == 905
        each.link.offer(HEADER.pack(91, FrameKind.CONSENSUS), bytes(91))
        assert each.link.queued_bytes == 905
        assert await each.why() == "queue_overflow"


async def test_frames_over_a_beats_allowance_wait_for_the_next_beat() -> None:
    """Row 29: a flood is read at a bounded pace, and an honest burst loses nothing."""
    frame = HEADER.pack(1, FrameKind.CONSENSUS) + b"x"
    async with driven() as each:
        await each.peer.send(frame * 20)
        assert len(await each.delivered.receive()) == 20
        await each.peer.send(frame * 3)
        each.link.offer(frame, b"")
        await next_frames(each.peer, each.reader)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert each.delivered.statistics().current_buffer_used == 0
        each.link.beat()
        assert len(await each.delivered.receive()) == 3


@pytest.mark.parametrize("whole", [True, False], ids=["whole frames", "part of a frame"])
async def test_bytes_over_a_beats_allowance_wait_for_the_next_beat(whole: bool) -> None:
    """Row 48: whatever we think of a frame in the end, its bytes cost us decryption, and large ones a hash."""
    over = HEADER.pack(300, FrameKind.CONSENSUS) + bytes(300 if whole else 299)
    last = HEADER.pack(1, FrameKind.CONSENSUS) + b"x"
    async with driven(replace(LIMITS, bytes_per_beat_max=300)) as each:
        await each.peer.send(over)
        if whole:
            await each.delivered.receive()
        each.link.offer(HEADER.pack(0, FrameKind.CONSENSUS), b"")
        await next_frames(each.peer, each.reader)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await each.peer.send(last if whole else b"\0" + last)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert each.delivered.statistics().current_buffer_used == 0
        each.link.beat()
        frames = await each.delivered.receive()
        assert frames[-1] == (FrameKind.CONSENSUS, b"x")


async def test_burst_is_joined_into_one_send_and_handed_over_as_one_list() -> None:
    """The budget of a node rests on paying for bursts, not for frames."""
    async with driven(replace(LIMITS, queue_bytes_max=100_000, frames_per_beat_max=1_000)) as each:
        for _ in range(50):
            each.link.offer(HEADER.pack(100, FrameKind.CONSENSUS), bytes(100))
        each.reader.append(await each.peer.receive())
        assert len(each.reader.take(CONSENSUS_TABLE)) == 50
        await each.peer.send((HEADER.pack(100, FrameKind.CONSENSUS) + bytes(100)) * 50)
        assert len(await each.delivered.receive()) == 50
