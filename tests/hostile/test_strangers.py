"""Connections of those who are no validators, against real processes: docs/FAULTS.md row 27, and 30 at the HTTP face.

Each test prints the figures that it saw (``pytest -rP``); docs/TESTING.md states them.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from genesis.addresses import split_address
from genesis.errors import Rejected
from node.certificates import make_certificate
from node.frames import HEADER, HELLO_BYTES_MAX, FrameKind, Lane
from node.peers import MeshLimits
from node.tls import Disconnected, TlsIdentity, TlsStream, client_context
from tests.hostile.conftest import HONEST
from tests.hostile.net import Net, watched
from tests.hostile.traitor import Traitor

pytestmark = [pytest.mark.trio, pytest.mark.process]

STRANGER = TlsIdentity(make_certificate(b"\xee" * 32, "v3"), b"\xee" * 32)
"""Somebody with another key who calls himself by a validator's name."""

ATTEMPTS = 10_000
AT_ONCE = 400
DROPS_A_BOUND = 20
"""Bytes of whoever sends one at a time, while the bound of handshake and hello passes once."""

FILES_MAX = 200
"""What a validator may have open under a crowd: the places for the unproved, its peers, its ledger, with room."""

GROWTH_KIB_MAX = 32_768


ELSEWHERE = "127.0.0.2"
"""Where the strangers come from; the validators come from 127.0.0.1."""


async def knock(net: Net, index: int, origin: str = ELSEWHERE) -> trio.SocketStream:
    """A TCP connection to a validator's peer port."""
    host, port = split_address(net.document.validators[index].address)
    return await trio.open_tcp_stream(host, port, local_address=origin)


async def proved(stream: TlsStream) -> None:
    """Shake hands and hear what the validator thinks of it."""
    await stream.handshake()
    await stream.receive()


async def until_closed(stream: trio.SocketStream) -> None:
    """Read until the other side closes."""
    try:
        while await stream.receive_some(65_536):
            pass
    except trio.BrokenResourceError:
        return


@asynccontextmanager
async def measured(net: Net, what: str) -> AsyncIterator[list[int]]:
    """All live on, none loses another, files and memory stay bounded; yields a list for the files seen meanwhile."""
    height, began = await net.height(0), time.monotonic()
    memory = net.memory_kib(0)
    files: list[int] = []
    async with watched(net, HONEST):
        yield files
        took = time.monotonic() - began
        rate = (await net.height(0) - height) / took
    files.append(net.files(0))
    growth = net.memory_kib(0) - memory
    print(f"{what}: {took:.1f} s, {rate:.1f} blocks/s, RSS +{growth} KiB, files at most {max(files)}, {files[-1]} left")
    assert growth < GROWTH_KIB_MAX
    assert max(files) < FILES_MAX


async def test_ten_thousand_connection_attempts_keep_no_validator_out(net: Net, traitor: Traitor) -> None:
    """A stranger's connection costs him a handshake that he cannot finish; ours are up all the while."""
    context = client_context(STRANGER, [net.document.validators[0].certificate])
    async with measured(net, f"{ATTEMPTS} connection attempts") as files:
        limiter = trio.CapacityLimiter(AT_ONCE)

        async def attempt(number: int) -> None:
            async with limiter:
                transport = await knock(net, 0)
                if number % 10 == 0:
                    stream = TlsStream(transport, context, server_side=False)
                    with pytest.raises(Rejected):
                        await proved(stream)
                    stream.close()
                elif number % 10 == 1:
                    await transport.send_all(b"\x16\x03\x01")
                    await transport.aclose()
                else:
                    await transport.aclose()
                if number % 500 == 0:
                    files.append(net.files(0))
                    (await traitor.dial(0, Lane.BULK)).stream.close()

        async with trio.open_nursery() as nursery:
            for number in range(ATTEMPTS):
                nursery.start_soon(attempt, number)


async def test_silent_strangers_fill_every_place_and_keep_no_validator_out(net: Net, traitor: Traitor) -> None:
    """Half-open TLS: those who never finish a handshake are put out by time, and before it by whoever comes next."""
    places = MeshLimits().unproved_max
    async with measured(net, f"{4 * places} half-open handshakes") as files:
        held = [await knock(net, 0) for _ in range(4 * places)]
        for each in held[::2]:
            await each.send_all(b"\x16\x03\x01\x02\x00\x01")
        async with traitor.lane(0, Lane.CONSENSUS):
            files.append(net.files(0))
        async with trio.open_nursery() as nursery:
            for each in held:
                nursery.start_soon(until_closed, each)
        for each in held:
            await each.aclose()


@pytest.mark.parametrize("stage", ["handshake", "hello"])
async def test_one_byte_at_a_time_does_not_stretch_the_time_to_prove_oneself(
    net: Net, traitor: Traitor, stage: str
) -> None:
    """Slow-loris: the whole of handshake and hello has one bound, not each byte of it."""
    pause_s = MeshLimits().handshake_ms_max / 1000 / DROPS_A_BOUND
    async with measured(net, f"slow {stage}"):
        if stage == "handshake":
            async with await knock(net, 0) as transport:
                drops = await drip(transport.send_all, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", pause_s)
        else:
            stream = await half_proved(net, traitor)
            drops = await drip(stream.send, HEADER.pack(HELLO_BYTES_MAX, FrameKind.HELLO), pause_s)
            stream.close()
    assert drops < 4 * DROPS_A_BOUND


async def drip(send: Callable[[bytes], Awaitable[None]], start: bytes, pause_s: float) -> int:
    """Send one byte after the other until the other side has had enough; how many went out."""
    sent = bytearray()
    with pytest.raises((Disconnected, trio.BrokenResourceError)):
        await drop_for_drop(send, start + bytes(500), pause_s, sent)
    return len(sent)


async def drop_for_drop(send: Callable[[bytes], Awaitable[None]], data: bytes, pause_s: float, sent: bytearray) -> None:
    """Send one byte after the other, noted in `sent`."""
    for byte in data:
        await send(bytes([byte]))
        sent.append(byte)
        await trio.sleep(pause_s)


async def half_proved(net: Net, traitor: Traitor) -> TlsStream:
    """A connection of a validator that has shaken hands and not yet said hello."""
    identity = TlsIdentity(net.document.validators[traitor.index].certificate, traitor.home.keys.network_seed)
    context = client_context(identity, [net.document.validators[0].certificate])
    stream = TlsStream(await knock(net, 0), context, server_side=False)
    await stream.handshake()
    return stream


@pytest.mark.parametrize(
    ("stage", "kind", "size"),
    [
        ("hello", FrameKind.HELLO, HELLO_BYTES_MAX + 1),
        ("hello", FrameKind.HELLO, 2**32 - 1),
        ("consensus", FrameKind.CONSENSUS, 2**32 - 1),
        ("bulk", FrameKind.BATCH, 2**32 - 1),
        ("bulk", FrameKind.BLOCKS_RESPONSE, 2**31),
    ],
)
async def test_oversized_frame_is_refused_from_its_header(
    net: Net, traitor: Traitor, stage: str, kind: FrameKind, size: int
) -> None:
    """Four gigabytes are announced in five bytes; not one of them may be awaited or kept."""
    async with measured(net, f"{kind.name} of {size} bytes"):
        if stage == "hello":
            stream = await half_proved(net, traitor)
            await stream.send(HEADER.pack(size, kind))
            with pytest.raises(Disconnected):
                await stream.receive()
            stream.close()
        else:
            async with traitor.lane(0, Lane.CONSENSUS if stage == "consensus" else Lane.BULK) as voice:
                await voice.stream.send(HEADER.pack(size, kind))
                await voice.until_closed()


async def test_nothing_on_a_connection_is_ever_decompressed(net: Net, traitor: Traitor) -> None:
    """A compressed bomb needs somebody who unpacks it: TLS 1.3 has no compression, and neither has the wire."""
    identity = TlsIdentity(net.document.validators[traitor.index].certificate, traitor.home.keys.network_seed)
    context = client_context(identity, [net.document.validators[0].certificate])
    context.options &= ~ssl.OP_NO_COMPRESSION
    stream = TlsStream(await knock(net, 0), context, server_side=False)
    await stream.handshake()
    assert stream._object.compression() is None
    stream.close()
    bomb = zlib.compress(bytes(2**24), 9)
    async with measured(net, f"a bomb of {len(bomb)} bytes for 16 MiB"):
        for kind in (FrameKind.CONSENSUS, FrameKind.BATCH):
            async with traitor.lane(0, Lane(kind is FrameKind.BATCH)) as voice:
                await voice.say(kind, bomb)
                await voice.until_closed()
