"""Validators on real loopback sockets for the tests of the mesh, and hand-made peers that break its rules.

No test sleeps: each waits for a frame, a change of the connected set, or a log record, all under one generous deadline.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from cli.ports import free_ports
from genesis.params import ChainParams
from node.certificates import make_certificate
from node.frames import Frame, FrameReader, Lane, lane_table, payload_bounds
from node.hello import Farewell, Hello, say_hello
from node.peers import Mesh, MeshConfig, MeshLimits, PeerAddress
from node.tls import TlsIdentity, TlsStream, client_context

DEADLINE_S = 60
CHAIN_ID = b"\x11" * 32
KERNEL_HASH = b"\x22" * 32
BOUNDS = payload_bounds(ChainParams())
CONSENSUS_TABLE = lane_table(BOUNDS, Lane.CONSENSUS)


def identity_of(index: int) -> TlsIdentity:
    """Validator `index`'s certificate and seed."""
    seed = bytes([index + 1]) * 32
    return TlsIdentity(make_certificate(seed, f"v{index}"), seed)


STRANGER = TlsIdentity(make_certificate(b"\xee" * 32, "v1"), b"\xee" * 32)
"""Somebody with another key who calls himself by a validator's name."""


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    (port,) = free_ports(1)
    return port


def config_of(index: int, ports: dict[int, int], size: int, **changes: Any) -> MeshConfig:
    """The configuration of validator `index` of `size`; `ports` may lack those it never dials."""
    peers = tuple(
        PeerAddress(each, f"v{each}", "127.0.0.1", ports.get(each, 1), identity_of(each).certificate)
        for each in range(size)
        if each != index
    )
    config = MeshConfig(
        index=index,
        chain_id=CHAIN_ID,
        kernel_hash=KERNEL_HASH,
        listen_host="127.0.0.1",
        listen_port=ports.get(index, 0),
        identity=identity_of(index),
        peers=peers,
    )
    return replace(config, **changes)


@dataclass
class Validator:
    """A running mesh, what it received, and a way to kill it."""

    mesh: Mesh
    inbox: trio.MemoryReceiveChannel[tuple[int, Frame]]
    changes: trio.MemoryReceiveChannel[frozenset[int]]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def receive(self) -> tuple[int, Frame]:
        """The next frame from anyone."""
        return await self.inbox.receive()

    async def until_connected(self, *peers: int) -> None:
        """Wait until exactly these peers are connected."""
        while self.mesh.connected != frozenset(peers):
            await self.changes.receive()

    def kill(self) -> None:
        """Close every socket at once."""
        self.scope.cancel()


Interceptor = Callable[[int, list[Frame]], Awaitable[None]]


async def start(
    nursery: trio.Nursery,
    config: MeshConfig,
    intercept: Interceptor | None = None,
    *,
    listening: bool = True,
    farewell: Farewell | None = None,
) -> Validator:
    """Run a mesh; `intercept` sees the frames before they reach the inbox."""
    inbox_send, inbox = trio.open_memory_channel[tuple[int, Frame]](1_000_000)
    changes_send, changes = trio.open_memory_channel[frozenset[int]](1_000_000)

    async def handler(peer: int, frames: list[Frame]) -> None:
        if intercept is not None:
            await intercept(peer, frames)
        for frame in frames:
            inbox_send.send_nowait((peer, frame))

    mesh = Mesh(
        config,
        handler,
        jitter=random.Random(config.index).random,
        on_change=changes_send.send_nowait,
        farewell=farewell,
    )
    validator = Validator(mesh, inbox, changes)

    async def run(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with validator.scope:
            await mesh.run(task_status=task_status)

    if listening:
        await nursery.start(run)
    else:
        nursery.start_soon(run)
    return validator


@asynccontextmanager
async def deadline_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery that is cancelled when the block ends, and fails the test after `DEADLINE_S`."""
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def pair(
    intercept: Interceptor | None = None, limits: MeshLimits | None = None
) -> AsyncIterator[tuple[Validator, Validator]]:
    """Validators 0 and 1, connected; `intercept` and `limits` are for validator 0 (1 has the defaults)."""
    async with deadline_nursery() as nursery:
        zero = await start(nursery, config_of(0, {}, 2, limits=limits or MeshLimits()), intercept)
        one = await start(nursery, config_of(1, {0: zero.mesh.port}, 2))
        await zero.until_connected(1)
        await one.until_connected(0)
        yield zero, one


# --- hand-made peers ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def dialled(port: int, identity: TlsIdentity, trusted: tuple[bytes, ...] = ()) -> AsyncIterator[TlsStream]:
    """A TCP connection to a mesh, before TLS, as `identity`."""
    context = client_context(identity, trusted or (identity_of(0).certificate,))
    stream = TlsStream(await trio.open_tcp_stream("127.0.0.1", port), context, server_side=False)
    try:
        yield stream
    finally:
        stream.close()


@asynccontextmanager
async def greeted(port: int, index: int, lane: Lane) -> AsyncIterator[TlsStream]:
    """A connection of validator `index` to validator 0, past the hello, ready to misbehave."""
    async with dialled(port, identity_of(index)) as stream:
        await say_hello(stream, FrameReader(), hello_of(lane), 0, identity_of(0).certificate)
        yield stream


def hello_of(lane: Lane = Lane.CONSENSUS) -> Hello:
    """An honest dialler's hello."""
    return Hello(CHAIN_ID, KERNEL_HASH, lane)


async def next_frames(stream: TlsStream, reader: FrameReader) -> list[Frame]:
    """The next frames of the consensus lane that a hand-made peer hears."""
    while True:
        frames = reader.take(CONSENSUS_TABLE)
        if frames:
            return frames
        reader.append(await stream.receive())


async def until_closed(stream: TlsStream) -> None:
    """Read until the mesh closes the connection, which raises `Disconnected`."""
    while True:
        await stream.receive()


# --- what the mesh says in its log ---------------------------------------------------------------------------------


class LogWatch(logging.Handler):
    """The mesh's log records, to be awaited."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._send, self._receive = trio.open_memory_channel[logging.LogRecord](1_000_000)

    def emit(self, record: logging.LogRecord) -> None:
        self._send.send_nowait(record)

    async def code_of(self, message: str) -> str:
        """The code of the next record with this message."""
        while True:
            record = await self._receive.receive()
            if record.getMessage() == message:
                code: str = vars(record)["code"]
                return code


@contextmanager
def watched_log() -> Iterator[LogWatch]:
    """Listen to the mesh's log for the length of the block."""
    log, watch = logging.getLogger("novate.mesh"), LogWatch()
    before = log.level
    log.addHandler(watch)
    log.setLevel(logging.DEBUG)
    try:
        yield watch
    finally:
        log.removeHandler(watch)
        log.setLevel(before)
