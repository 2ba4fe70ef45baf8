"""The mesh on real loopback sockets. docs/FAULTS.md rows 25 and 27 to 30."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from genesis.errors import InvariantViolation, Rejected
from node.frames import HEADER, Frame, FrameKind, FrameReader, Lane
from node.hello import Hello, say_hello
from node.peers import MeshLimits, PeerAddress
from node.tls import Disconnected, TlsStream, client_context
from tests.node.network import (
    BOUNDS,
    STRANGER,
    config_of,
    deadline_nursery,
    dialled,
    free_port,
    greeted,
    hello_of,
    identity_of,
    next_frames,
    pair,
    start,
    until_closed,
    watched_log,
)

pytestmark = pytest.mark.trio


# --- coming together ---------------------------------------------------------------------------------------------


async def test_four_validators_started_together_form_a_full_mesh() -> None:
    """Nobody can be first: each must go on dialling the ones that do not listen yet."""
    ports = {index: free_port() for index in range(4)}
    async with deadline_nursery() as nursery:
        validators = [await start(nursery, config_of(each, ports, 4), listening=False) for each in reversed(range(4))]
        for validator in validators:
            await validator.until_connected(*({0, 1, 2, 3} - {validators.index(validator) ^ 3}))


async def test_frames_arrive_whole_in_order_and_with_their_sender() -> None:
    """The protocols above rely on the order of a lane, and on the mesh for who said it."""
    payloads = [bytes([position % 251]) * (position * 37 % 5_000) for position in range(300)]
    async with pair() as (zero, one):
        for payload in payloads:
            one.mesh.send(0, FrameKind.CONSENSUS, payload)
            zero.mesh.broadcast(FrameKind.BATCH, payload)
        for payload in payloads:
            assert await zero.receive() == (1, (FrameKind.CONSENSUS, payload))
            assert await one.receive() == (0, (FrameKind.BATCH, payload))


async def test_frame_at_its_bound_passes() -> None:
    """The largest batch a chain allows must reach its peers, or its author is stuck."""
    async with pair() as (zero, one):
        largest = bytes(BOUNDS[FrameKind.BATCH])
        one.mesh.send(0, FrameKind.BATCH, largest)
        assert await zero.receive() == (1, (FrameKind.BATCH, largest))


async def test_broadcast_reaches_only_the_named_recipients() -> None:
    """A leader's votes and a test's splits both depend on it."""
    async with deadline_nursery() as nursery:
        zero = await start(nursery, config_of(0, {}, 3))
        ports = {0: zero.mesh.port}
        one = await start(nursery, config_of(1, ports, 3))
        two = await start(nursery, config_of(2, ports | {1: one.mesh.port}, 3))
        await zero.until_connected(1, 2)
        zero.mesh.broadcast(FrameKind.CONSENSUS, b"for two", [2])
        zero.mesh.broadcast(FrameKind.CONSENSUS, b"for all")
        assert (await one.receive())[1][1] == b"for all"
        assert [(await two.receive())[1][1] for _ in range(2)] == [b"for two", b"for all"]


async def test_validator_alone_listens_and_has_nobody_to_tell() -> None:
    """A chain of one validator is a valid chain."""
    async with deadline_nursery() as nursery:
        zero = await start(nursery, config_of(0, {}, 1))
        zero.mesh.broadcast(FrameKind.CONSENSUS, b"nobody hears")
        assert zero.mesh.connected == frozenset()


async def test_frame_for_an_absent_peer_is_dropped() -> None:
    """Sending never blocks and never fails, whoever is down."""
    async with deadline_nursery() as nursery:
        zero = await start(nursery, config_of(0, {}, 2))
        zero.mesh.send(1, FrameKind.CONSENSUS, b"nobody hears")
        zero.mesh.broadcast(FrameKind.BATCH, b"nobody hears")
        assert zero.mesh.connected == frozenset()


# --- who may come in -----------------------------------------------------------------------------------------------


def anonymous() -> ssl.SSLContext:
    """A client that shows no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=identity_of(0).certificate)
    return context


def outdated() -> ssl.SSLContext:
    """Validator 1, speaking TLS 1.2 at most."""
    context = client_context(identity_of(1), [identity_of(0).certificate])
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.parametrize(
    "context",
    [lambda: client_context(STRANGER, [identity_of(0).certificate]), anonymous, outdated],
    ids=["stranger's certificate", "no certificate", "TLS 1.2"],
)
async def test_only_validators_speaking_tls_1_3_get_past_the_handshake(context: Callable[[], ssl.SSLContext]) -> None:
    """Rows 25 and 27: only keys of the registry may speak, whatever name they give themselves."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            zero = await start(nursery, config_of(0, {}, 2))
            transport = await trio.open_tcp_stream("127.0.0.1", zero.mesh.port)
            stream = TlsStream(transport, context(), server_side=False)
            with pytest.raises(Rejected, match=r"(?i)alert"):
                await say_hello(stream, FrameReader(), hello_of(), 0, identity_of(0).certificate)
            stream.close()
            assert await log.code_of("refused a connection") == "tls_failed"
            assert zero.mesh.connected == frozenset()


async def test_dialler_does_not_speak_to_a_strangers_server() -> None:
    """Whoever takes over a validator's address must learn nothing and be believed in nothing."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            peers = (PeerAddress(1, "v1", "127.0.0.1", 1, identity_of(1).certificate),)
            impostor = await start(nursery, config_of(0, {}, 2, identity=STRANGER, peers=peers))
            await start(nursery, config_of(1, {0: impostor.mesh.port}, 2))
            assert await log.code_of("cannot reach a peer") == "tls_failed"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (lambda hello: replace(hello, version=hello.version + 1), "wrong_wire_version"),
        (lambda hello: replace(hello, chain_id=b"\x99" * 32), "wrong_chain"),
        (lambda hello: replace(hello, kernel_hash=b"\x99" * 32), "wrong_kernels"),
    ],
    ids=["version", "chain", "kernels"],
)
async def test_hello_that_differs_is_refused_by_its_rule(fault: Callable[[Hello], Hello], code: str) -> None:
    """Row 25: a proved key is not enough; a node of another chain or build must not be heard; both sides see why."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            zero = await start(nursery, config_of(0, {}, 3))
            async with dialled(zero.mesh.port, identity_of(1)) as stream:
                with pytest.raises(Rejected) as refusal:
                    await say_hello(stream, FrameReader(), fault(hello_of()), 0, identity_of(0).certificate)
                assert code in str(refusal.value)
            assert await log.code_of("refused a connection") == code
            assert zero.mesh.connected == frozenset()


async def test_dialler_refuses_a_server_that_is_another_validator() -> None:
    """A validator at a wrong address must not be taken for the one we meant."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            zero = await start(nursery, config_of(0, {}, 3))
            await start(nursery, config_of(2, {0: zero.mesh.port, 1: zero.mesh.port}, 3))
            codes = {await log.code_of("cannot reach a peer") for _ in range(2)}
            assert codes == {"wrong_certificate"}


async def test_lower_index_may_not_dial_a_higher_one() -> None:
    """Two connections a lane would otherwise replace each other for ever."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            one = await start(nursery, config_of(1, {0: free_port()}, 2))
            async with dialled(one.mesh.port, identity_of(0), (identity_of(1).certificate,)) as stream:
                with pytest.raises(Rejected, match="refused") as refusal:
                    await say_hello(stream, FrameReader(), hello_of(), 1, identity_of(1).certificate)
                assert refusal.value.details["verdict"] == "wrong_direction"
            assert await log.code_of("refused a connection") == "wrong_direction"


@pytest.mark.parametrize("stage", ["tcp", "part of a record", "tls", "part of a hello"])
async def test_connection_that_does_not_prove_itself_in_time_is_closed(stage: str) -> None:
    """Row 27, half-open TLS and slow-loris: a place is lent for a bounded time, however far its holder has come."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            zero = await start(nursery, config_of(0, {}, 2, limits=MeshLimits(handshake_ms_max=200)))
            if stage in ("tcp", "part of a record"):
                raw = await trio.open_tcp_stream("127.0.0.1", zero.mesh.port)
                await raw.send_all(b"\x16\x03" if stage == "part of a record" else b"")
                assert await raw.receive_some() == b""
                await raw.aclose()
            else:
                async with dialled(zero.mesh.port, identity_of(1)) as stream:
                    await stream.handshake()
                    if stage == "part of a hello":
                        await stream.send(HEADER.pack(100, FrameKind.HELLO) + bytes(50))
                    with pytest.raises(Disconnected):
                        await until_closed(stream)
            assert await log.code_of("refused a connection") == "handshake_timeout"


async def test_strangers_who_fill_every_place_keep_no_validator_out() -> None:
    """Row 27, connection flood: places for the unproved are bounded, and the newcomer takes the oldest's."""
    limits = MeshLimits(unproved_max=4, handshake_ms_max=60_000)
    async with deadline_nursery() as nursery:
        zero = await start(nursery, config_of(0, {}, 2, limits=limits))
        silent = [await trio.open_tcp_stream("127.0.0.1", zero.mesh.port) for _ in range(50)]
        one = await start(nursery, config_of(1, {0: zero.mesh.port}, 2))
        await one.until_connected(0)
        for stream in silent[:46]:
            assert await stream.receive_some() == b""
        for stream in silent:
            await stream.aclose()


# --- what they may say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lane", "wire", "code"),
    [
        (Lane.CONSENSUS, HEADER.pack(BOUNDS[FrameKind.CONSENSUS] + 1, FrameKind.CONSENSUS), "frame_too_large"),
        (Lane.BULK, HEADER.pack(2**32 - 1, FrameKind.BATCH), "frame_too_large"),
        (Lane.CONSENSUS, HEADER.pack(1, FrameKind.PING), "frame_too_large"),
        (Lane.CONSENSUS, HEADER.pack(0, 200), "unknown_frame"),
        (Lane.CONSENSUS, HEADER.pack(0, FrameKind.BATCH), "unknown_frame"),
        (Lane.BULK, HEADER.pack(0, FrameKind.CONSENSUS), "unknown_frame"),
        (Lane.CONSENSUS, HEADER.pack(0, FrameKind.HELLO), "unknown_frame"),
        (Lane.BULK, b"GET / HTTP/1.1\r\n\r\n", "unknown_frame"),
    ],
    ids=["oversized", "oversized batch", "stuffed ping", "unknown", "batch", "vote on bulk", "second hello", "http"],
)
async def test_frame_that_breaks_a_rule_is_cut_from_its_header(lane: Lane, wire: bytes, code: str) -> None:
    """Rows 27 and 28: only the header is ever sent here, so nothing but the header can have decided; others stay."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            zero = await start(nursery, config_of(0, {}, 3))
            two = await start(nursery, config_of(2, {0: zero.mesh.port, 1: free_port()}, 3))
            await zero.until_connected(2)
            async with greeted(zero.mesh.port, 1, lane) as stream:
                await stream.send(wire)
                with pytest.raises(Disconnected):
                    await until_closed(stream)
            assert await log.code_of("cut a peer") == code
            two.mesh.send(0, FrameKind.CONSENSUS, b"still here")
            assert await zero.receive() == (2, (FrameKind.CONSENSUS, b"still here"))


@pytest.mark.parametrize("seed", range(8))
async def test_noise_from_a_proved_peer_harms_nobody_else(seed: int) -> None:
    """Row 28: mutated frames may be cut or delivered as opaque bytes, but the node and its other peers go on."""
    noise = random.Random(seed)
    wire = bytearray(b"".join(HEADER.pack(40, FrameKind.CONSENSUS) + noise.randbytes(40) for _ in range(20)))
    for _ in range(10):
        wire[noise.randrange(len(wire))] ^= 1 << noise.randrange(8)
    async with deadline_nursery() as nursery:
        zero = await start(nursery, config_of(0, {}, 3))
        two = await start(nursery, config_of(2, {0: zero.mesh.port, 1: free_port()}, 3))
        await two.until_connected(0)
        async with greeted(zero.mesh.port, 1, Lane.CONSENSUS) as stream:
            await stream.send(wire)
        two.mesh.send(0, FrameKind.CONSENSUS, b"still here")
        while await zero.receive() != (2, (FrameKind.CONSENSUS, b"still here")):
            pass


async def test_peer_whose_frame_the_handler_rejects_is_cut_on_both_lanes_and_comes_back() -> None:
    """Rows 28 and 29: a bad message costs its sender both lanes for a while, but a repaired peer returns by itself."""

    async def reject_bad(peer: int, frames: list[Frame]) -> None:
        if any(payload == b"bad" for _, payload in frames):
            raise Rejected("malformed", "A test's bad message.")

    with watched_log() as log:
        async with pair(reject_bad, MeshLimits(penalty_ms_min=100)) as (zero, one):
            one.mesh.send(0, FrameKind.CONSENSUS, b"bad")
            await zero.until_connected()
            assert await log.code_of("cut a peer") == "malformed"
            await zero.until_connected(1)
            await one.until_connected(0)
            one.mesh.send(0, FrameKind.CONSENSUS, b"good")
            assert await zero.receive() == (1, (FrameKind.CONSENSUS, b"good"))


async def test_barred_peer_is_refused_until_its_time_is_over() -> None:
    """Row 29: who floods with invalid messages must not return at once."""
    async with pair(limits=MeshLimits(penalty_ms_min=600_000, penalty_ms_max=600_000)) as (zero, one):
        zero.mesh.cut(1, Rejected("bad_signature", "Found by a worker, after the fact."))
        await one.until_connected()
        async with dialled(zero.mesh.port, identity_of(1)) as stream:
            with pytest.raises(Rejected) as refusal:
                await say_hello(stream, FrameReader(), hello_of(), 0, identity_of(0).certificate)
            assert refusal.value.details["verdict"] == "barred"


async def test_our_own_mistakes_stop_the_node() -> None:
    """An invariant that breaks inside a handler must not be mistaken for a peer's fault."""

    async def broken(peer: int, frames: list[Frame]) -> None:
        raise InvariantViolation("A test's broken promise.")

    async def provoke() -> None:
        async with pair(broken) as (zero, one):
            one.mesh.send(0, FrameKind.CONSENSUS, b"anything")
            await zero.receive()

    with pytest.raises(BaseExceptionGroup) as caught:
        await provoke()
    assert caught.group_contains(InvariantViolation)


async def test_payload_over_its_bound_is_our_own_mistake() -> None:
    """Every peer would cut us for it, so it must not leave."""
    async with deadline_nursery() as nursery:
        zero = await start(nursery, config_of(0, {}, 2))
        with pytest.raises(InvariantViolation):
            zero.mesh.send(1, FrameKind.CONSENSUS, bytes(BOUNDS[FrameKind.CONSENSUS] + 1))


# --- staying together ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", [0, 1], ids=["the listener", "the dialler"])
async def test_killed_peer_is_connected_again_when_it_returns(victim: int) -> None:
    """A crash of either side heals without anybody's help."""
    ports = {0: free_port(), 1: free_port()}
    async with deadline_nursery() as nursery:
        validators = [await start(nursery, config_of(each, ports, 2)) for each in (0, 1)]
        survivor = validators[1 - victim]
        await survivor.until_connected(victim)
        validators[victim].kill()
        await survivor.until_connected()
        returned = await start(nursery, config_of(victim, ports, 2))
        await survivor.until_connected(victim)
        await returned.until_connected(1 - victim)
        survivor.mesh.send(victim, FrameKind.CONSENSUS, b"welcome back")
        assert await returned.receive() == (1 - victim, (FrameKind.CONSENSUS, b"welcome back"))


async def test_newer_link_replaces_the_older_one() -> None:
    """After a crash the dead connection may look alive for a while; the live one must win."""
    with watched_log() as log:
        async with deadline_nursery() as nursery:
            zero = await start(nursery, config_of(0, {}, 2))
            async with (
                greeted(zero.mesh.port, 1, Lane.CONSENSUS) as older,
                greeted(zero.mesh.port, 1, Lane.BULK),
                greeted(zero.mesh.port, 1, Lane.CONSENSUS) as newer,
            ):
                assert await log.code_of("lost a peer") == "superseded"
                with pytest.raises(Disconnected):
                    await until_closed(older)
                await zero.until_connected(1)
                zero.mesh.send(1, FrameKind.CONSENSUS, b"for the newer")
                assert await next_frames(newer, FrameReader()) == [(FrameKind.CONSENSUS, b"for the newer")]


async def test_consensus_passes_while_the_bulk_lane_is_stuffed() -> None:
    """Row 30: a peer that is behind with batches must still hear votes."""
    stuck = trio.Event()

    async def hold_batches(peer: int, frames: list[Frame]) -> None:
        if frames[0][0] is FrameKind.BATCH:
            stuck.set()
            await trio.sleep_forever()

    async with pair(hold_batches) as (zero, one):
        for _ in range(30):
            one.mesh.send(0, FrameKind.BATCH, bytes(2**20))
        await stuck.wait()
        for position in range(10):
            one.mesh.send(0, FrameKind.CONSENSUS, bytes([position]))
            assert await zero.receive() == (1, (FrameKind.CONSENSUS, bytes([position])))
            zero.mesh.send(1, FrameKind.BATCH_ACK, bytes([position]))
            assert await one.receive() == (0, (FrameKind.BATCH_ACK, bytes([position])))


async def test_queue_that_overflows_cuts_the_link_and_dials_again() -> None:
    """Memory for a peer that does not read is bounded; it loses the queue, not its place."""
    released = trio.Event()

    async def hold_batches(peer: int, frames: list[Frame]) -> None:
        if frames[0] == (FrameKind.BATCH, bytes(2**20)):
            await released.wait()

    with watched_log() as log:
        async with pair(hold_batches) as (zero, one):
            for _ in range(80):
                one.mesh.send(0, FrameKind.BATCH, bytes(2**20))
            assert await log.code_of("lost a peer") == "queue_overflow"
            released.set()
            await one.until_connected()
            await one.until_connected(0)
            one.mesh.send(0, FrameKind.BATCH, b"after")
            while (await zero.receive())[1] != (FrameKind.BATCH, b"after"):
                pass
