"""The HTTP server against clients that mean harm: silent, slow, many, gone. docs/FAULTS.md rows 27 and 30."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, suppress

import msgpack
import pytest
import trio
import trio.testing

from genesis.errors import InvariantViolation
from node.http_api import HttpLimits, make_app
from node.http_server import serve
from tests.node.fake_node import FakeNode, serving

pytestmark = pytest.mark.trio

HEALTH = b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n"
PATIENCE_S = 60
STATUS = HEALTH.replace(b"health", b"status")
POST_HEAD = b"POST /v1/transactions?wait_ms=%d HTTP/1.1\r\nhost: x\r\ncontent-type: application/msgpack\r\n"


def post_of(wire: bytes, wait_ms: int = 0) -> bytes:
    """A whole request that posts one envelope."""
    body: bytes = msgpack.packb([wire])
    return POST_HEAD % wait_ms + b"content-length: %d\r\n\r\n" % len(body) + body


async def connect(port: int, data: bytes = b"") -> trio.SocketStream:
    """A raw connection that has sent `data`."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    if data:
        await stream.send_all(data)
    return stream


async def read_all(stream: trio.SocketStream) -> bytes:
    """Everything until the server closes; a reset counts as its end. Closes the stream."""
    received = b""
    async with stream:
        with trio.fail_after(PATIENCE_S), suppress(trio.BrokenResourceError):
            async for chunk in stream:
                received += chunk
    return received


async def send_without_reading(stream: trio.SocketStream, first: bytes = HEALTH) -> None:
    """Requests, until the server has cut the connection."""
    with trio.fail_after(PATIENCE_S):
        await stream.send_all(first)
        while True:
            await stream.send_all(HEALTH * 1_000)


async def answers(stream: trio.SocketStream, request: bytes = HEALTH) -> bytes:
    """The status line of the answer to one more request."""
    with trio.fail_after(PATIENCE_S):
        await stream.send_all(request)
        return (await stream.receive_some()).partition(b"\r\n")[0]


async def crowd_of(stack: AsyncExitStack, count: int, port: int, data: bytes = b"") -> list[trio.SocketStream]:
    """So many raw connections, closed with `stack`."""
    return [await stack.enter_async_context(await connect(port, data)) for _ in range(count)]


class LongWinded(FakeNode):
    """Its status is larger than all buffers between it and a client that does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.told = trio.Event()

    def status(self) -> object:
        self.told.set()
        return "x" * 30_000_000


async def test_a_connection_serves_many_requests() -> None:
    """Without keep-alive every submission would pay for a connection."""
    async with serving(FakeNode()) as port, await connect(port) as stream:
        for _ in range(3):
            assert await answers(stream) == b"HTTP/1.1 200 "


async def test_the_server_does_not_name_itself() -> None:
    """A version in every answer tells an attacker which fault to try."""
    async with serving(FakeNode()) as port, await connect(port, HEALTH) as stream:
        with trio.fail_after(PATIENCE_S):
            assert b"server:" not in (await stream.receive_some()).lower()


async def test_pipelined_requests_are_all_answered() -> None:
    """Requests that share a packet must not be lost with the first answer."""
    last = HEALTH.replace(b"host: x", b"host: x\r\nconnection: close")
    async with serving(FakeNode()) as port:
        stream = await connect(port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, HEALTH * 999 + last)
            assert (await read_all(stream)).count(b"HTTP/1.1 200") == 1_000


SILENT = [
    ("nothing", b""),
    ("half a request line", b"GET /v1/hea"),
    ("headers without an end", b"GET /v1/health HTTP/1.1\r\nhost: x\r\n"),
]


@pytest.mark.parametrize(("what", "sent"), SILENT)
async def test_a_client_that_sends_no_whole_head_is_cut(what: str, sent: bytes) -> None:
    """Slow-loris: a connection may not be held for nothing."""
    async with serving(FakeNode(), HttpLimits(idle_ms_max=80)) as port:
        assert b"HTTP/1.1 200" not in await read_all(await connect(port, sent))


async def test_an_idle_connection_is_closed_after_its_answer() -> None:
    """Keep-alive ends; the idle time begins anew with each answer."""
    async with serving(FakeNode(), HttpLimits(idle_ms_max=80)) as port:
        assert (await read_all(await connect(port, HEALTH))).startswith(b"HTTP/1.1 200")


async def test_a_waiting_client_is_not_idle() -> None:
    """A long wait for a receipt outlasts the idle limit by design."""
    node = FakeNode()
    async with serving(node, HttpLimits(idle_ms_max=50)) as port, await connect(port, post_of(b"good", 300)) as stream:
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_a_body_that_trickles_is_refused() -> None:
    """Slow-loris in the body: 408 and the connection ends."""
    async with serving(FakeNode(), HttpLimits(body_read_ms_max=80)) as port:
        stream = await connect(port, POST_HEAD % 0 + b"content-length: 100\r\n\r\nabc")
        received = await read_all(stream)
        assert received.startswith(b"HTTP/1.1 408")
        assert b"too_slow" in received


async def test_a_body_in_tiny_pieces_is_refused_and_leaves_nothing_behind() -> None:
    """The refusal comes while thousands of pieces wait for the application; it must not wait for them in turn."""
    pieces = b"1\r\nx\r\n" * 20_000
    async with serving(FakeNode(), HttpLimits(body_bytes_max=100)) as port:
        stream = await connect(port, POST_HEAD % 0 + b"transfer-encoding: chunked\r\n\r\n" + pieces)
        assert (await read_all(stream)).startswith(b"HTTP/1.1 413")


WRONG_HEADS = [
    ("headers over 16 KiB", b"GET /v1/health HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 4_000 + b"\r\n", b"HTTP/1.1 431"),
    ("a request line over 16 KiB", b"GET /" + b"a" * 20_000, b"HTTP/1.1 431"),
    ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"HTTP/1.1 400"),
    (
        "two content lengths",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 400",
    ),
    ("HTTP/2 from the start", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
    (
        "an upgrade to HTTP/2",
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\n"
        b"http2-settings: AAMAAABkAAQA\r\n\r\n",
        b"HTTP/1.1 101",
    ),
    (
        "a WebSocket",
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"HTTP/1.1 403",
    ),
]


@pytest.mark.parametrize(("what", "sent", "status"), WRONG_HEADS, ids=[row[0] for row in WRONG_HEADS])
async def test_a_wrong_head_ends_its_connection_alone(what: str, sent: bytes, status: bytes) -> None:
    """Whatever a stranger sends first, he is answered or cut, and the next client is served."""
    async with serving(FakeNode()) as port:
        received = await read_all(await connect(port, sent))
        assert received.startswith(status)
        assert len(received) < 1_000
        async with await connect(port) as next_client:
            assert await answers(next_client) == b"HTTP/1.1 200 "


async def test_a_crowd_of_silent_connections_does_not_lock_others_out() -> None:
    """The newcomer takes the place of whoever has been idle longest, so the crowd only evicts itself."""
    async with serving(FakeNode(), HttpLimits(connections_max=4)) as port, AsyncExitStack() as stack:
        crowd = await crowd_of(stack, 20, port, b"GET /")
        async with await connect(port) as client:
            assert await answers(client) == b"HTTP/1.1 200 "
        assert await read_all(crowd[0]) == b""


async def test_a_crowd_of_slow_bodies_does_not_lock_others_out() -> None:
    """A request that is still arriving is not being answered, and may be evicted."""
    async with serving(FakeNode(), HttpLimits(connections_max=4)) as port, AsyncExitStack() as stack:
        crowd = await crowd_of(stack, 20, port, POST_HEAD % 0 + b"content-length: 100\r\n\r\nabc")
        async with await connect(port) as client:
            assert await answers(client) == b"HTTP/1.1 200 "
        assert await read_all(crowd[0]) == b""


async def test_a_request_that_is_being_answered_is_never_evicted() -> None:
    """A client that waits for its receipt keeps its place; beyond the limit the newcomer is closed."""
    node = FakeNode()
    one = HttpLimits(connections_max=1)
    async with serving(node, one) as port, await connect(port, post_of(b"good", 5_000)) as waiting:
        await node.asked.wait()
        assert await read_all(await connect(port)) == b""
        node.arrived.set()
        with trio.fail_after(PATIENCE_S):
            assert (await waiting.receive_some()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_goes_away_ends_its_wait() -> None:
    """Otherwise connections that are gone would hold the places for waiting, a minute each."""
    node = FakeNode()
    async with serving(node) as port:
        stream = await connect(port, post_of(b"good", 60_000))
        await node.asked.wait()
        await stream.aclose()
        with trio.fail_after(PATIENCE_S):
            await node.left.wait()
        async with await connect(port) as client:
            assert await answers(client) == b"HTTP/1.1 200 "


async def test_a_client_that_does_not_read_its_answers_is_cut() -> None:
    """Hypercorn's writes are shielded; without a limit of our own such a client would hold a task for ever."""
    async with serving(LongWinded(), HttpLimits(send_ms_max=100)) as port, await connect(port) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await send_without_reading(stream)


async def test_a_client_that_only_sends_is_cut() -> None:
    """Its pieces would fill the queue to the application while its answer waits for it: nobody would ever give way."""
    pieces = b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000
    async with serving(LongWinded(), HttpLimits(send_ms_max=1_500)) as port:
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        async with await connect(port) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await send_without_reading(stream, STATUS[:-2] + pieces)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_cancelling_the_server_is_prompt_whatever_its_clients_do() -> None:
    """A node that is told to stop stops: idle, waiting, half-read and unread clients do not hold it."""
    node = LongWinded()
    async with trio.open_nursery() as nursery:
        limits = HttpLimits(send_ms_max=4_000 * PATIENCE_S)
        bound: str = await nursery.start(serve, make_app(node, limits), "127.0.0.1", 0, limits)
        port = int(bound.rpartition(":")[2])
        clients = [await connect(port), await connect(port, b"GET /"), await connect(port, post_of(b"good", 60_000))]
        await node.asked.wait()
        unread = await connect(port, STATUS)
        await node.told.wait()
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < PATIENCE_S  # a write that waits for its reader is given four times that
    for client in [*clients, unread]:
        await client.aclose()
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_flood_of_requests_leaves_the_event_loop_to_others() -> None:
    """Consensus runs in the same loop: between two of its steps only a few requests may be parsed."""
    limits = HttpLimits(active_connections_max=2)
    parsed = 0

    class Counting(FakeNode):
        def status(self) -> object:
            nonlocal parsed
            parsed += 1
            return {}

    async with serving(Counting(), limits) as port:
        clients = [await connect(port) for _ in range(30)]
        for client in clients:  # all in one pass of the loop: they must arrive together
            os.write(client.socket.fileno(), STATUS)
        most = 0
        while parsed < len(clients):
            before = parsed
            await trio.lowlevel.checkpoint()
            most = max(most, parsed - before)
        for client in clients:
            await client.aclose()
    # Trio starts the tasks of a pass in any order, so one pass may hold the turns of two.
    assert 0 < most <= 2 * limits.active_connections_max, most


async def test_nothing_is_logged_for_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each request would cost more than the request, and let a client fill the disk."""
    caplog.set_level("DEBUG")
    async with serving(FakeNode()) as port, await connect(port) as stream:
        assert await answers(stream) == b"HTTP/1.1 200 "
        assert await answers(stream, HEALTH.replace(b"health", b"nothing")) == b"HTTP/1.1 404 "
    assert [each for each in caplog.records if each.name != "trio"] == []


async def test_a_broken_promise_of_ours_stops_the_server() -> None:
    """An `InvariantViolation` in a handler must end the node, not become one client's 500."""

    class Broken(FakeNode):
        def status(self) -> object:
            raise InvariantViolation("longs differ from shorts")

    async def ask() -> None:
        async with serving(Broken()) as port, await connect(port, STATUS):
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught, trio.fail_after(PATIENCE_S):
        await ask()
    assert caught.value.subgroup(InvariantViolation) is not None
