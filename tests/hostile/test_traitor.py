"""A validator that attacks the others, over real TLS against real processes: docs/FAULTS.md rows 24, 28, 29, 31 and 48.

Each test prints the figures that it saw (``pytest -rP``); docs/TESTING.md states them.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from cli.client import Connection
from consensus.types import Certificates, Message, Timeout, Vote
from contracts.operations import build_operation
from genesis.codec import encode
from genesis.envelope import SALT_BYTES, Operation, sign_envelope
from genesis.errors import Rejected
from genesis.evidence import Half, Offence, encode_evidence, make_evidence
from genesis.signing import SigningKey
from genesis.statements import Phase
from node.conduct import TOO_MANY_FAULTS
from node.frames import FrameKind, Lane, lane_of
from node.peers import MeshLimits
from node.snapshot_wire import (
    PieceKind,
    PieceName,
    encode_piece,
    encode_piece_request,
    encode_pruned,
    encode_snapshot_offer,
    encode_snapshot_request,
)
from node.tls import Disconnected
from tests.hostile.conftest import BARRING, HONEST, LENIENT
from tests.hostile.net import PATIENCE_S, QUICK, Net, watched
from tests.hostile.traitor import Traitor, Voice, an_envelope

pytestmark = [pytest.mark.trio, pytest.mark.process]

GROWTH_KIB_MAX = 65_536
"""What a flood may add to a validator's memory: far below what it sends, and the same however long it lasts."""

SLACK_KIB = 65_536
"""The one batch that is taken whatever it weighs and the one that is being decoded, 31 MB each at worst, and frames."""

FLOOD_S = 4.0
FLOODS_MAX = 5
"""So often somebody who floods is given its time again, if a slow machine has left it too little for its faults."""

BARRED_TRIES_MAX = 10
UNKNOWN_KINDS = (4, 63, 64, 100, 255)


@asynccontextmanager
async def measured(net: Net, what: str) -> AsyncIterator[None]:
    """All live on, none loses another, and memory stays bounded while the block runs; prints the figures."""
    heights = [await net.height(index) for index in HONEST]
    before = [net.memory_kib(index) for index in HONEST]
    began = time.monotonic()
    async with watched(net, HONEST):
        yield
        took = time.monotonic() - began
        rates = [(await net.height(index) - low) / took for index, low in zip(HONEST, heights, strict=True)]
    after = [net.memory_kib(index) for index in HONEST]
    print(f"{what}: {took:.1f} s, {min(rates):.1f} blocks/s, RSS {before} -> {after} KiB")
    assert max(now - then for now, then in zip(after, before, strict=True)) < GROWTH_KIB_MAX


def current_vote(traitor: Traitor, view: int, number: int) -> Vote:
    """An unsigned vote of the traitor for a block that does not exist."""
    return Vote(0, view, Phase.CERTIFY, 5, number.to_bytes(32, "big"), traitor.index, bytes(64))


def valid_payloads(traitor: Traitor, view: int) -> dict[FrameKind, bytes]:
    """A payload of every kind that decodes."""
    key = SigningKey(b"\x31" * 32)
    batch = encode([traitor.index, 1, [an_envelope(traitor, key, 1)]])
    return {
        FrameKind.HELLO: b"",
        FrameKind.CONSENSUS: traitor.wire(current_vote(traitor, view, 1)),
        FrameKind.BATCH_ACK: bytes(64),
        FrameKind.PING: b"",
        FrameKind.BATCH: batch,
        FrameKind.BATCH_REQUEST: bytes(64),
        FrameKind.BATCH_RESPONSE: batch,
        FrameKind.BLOCKS_REQUEST: encode([0, 0]),
        FrameKind.BLOCKS_RESPONSE: encode([0, 0, [], bytes(40)]),
        FrameKind.BLOCKS_PRUNED: encode_pruned(0, 9),
        FrameKind.SNAPSHOT_REQUEST: encode_snapshot_request(0),
        FrameKind.SNAPSHOT_OFFER: encode_snapshot_offer(0, None),
        FrameKind.PIECE_REQUEST: encode_piece_request(PieceName(9, PieceKind.SLICE, 0)),
        FrameKind.PIECE_RESPONSE: encode_piece(PieceName(9, PieceKind.SLICE, 0), b"piece"),
        FrameKind.LINKS_REQUEST: encode([0]),
        FrameKind.LINKS: encode([None, []]),
        FrameKind.EVIDENCE: encode_evidence(
            make_evidence(
                Offence.VOTE, 0, 0, 0, Half((1, bytes(32)), bytes(64)), Half((1, bytes(range(32))), bytes(64))
            )
        ),
    }


def damaged(chance: random.Random, payload: bytes) -> list[bytes]:
    """The payload with a byte flipped, cut short, and followed by another; noise, and nothing."""
    data = bytearray(payload or b"\0")
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    return [bytes(data), payload[:-1], payload + b"\0", chance.randbytes(chance.randrange(1, 200)), b""]


async def test_noise_in_every_kind_of_frame_costs_at_most_the_connection(net: Net, traitor: Traitor) -> None:
    """Row 28: a validator's bytes are as little to be trusted as a stranger's."""
    chance = random.Random(28)
    view = int((await net.status(0))["view"])
    payloads: dict[int, bytes] = {int(kind): payload for kind, payload in valid_payloads(traitor, view).items()}
    payloads |= dict.fromkeys(UNKNOWN_KINDS, b"")
    since = net.log_size(0)
    async with measured(net, "noise in every kind"):
        for number, payload in payloads.items():
            lane = Lane(number >= 64) if number in UNKNOWN_KINDS else lane_of(FrameKind(number))
            for each in damaged(chance, payload):
                async with traitor.lane(0, lane) as voice:
                    await voice.say(number, each)
                    with trio.move_on_after(0.1) as waiting:
                        await voice.until_closed()
                    if waiting.cancelled_caught:
                        with suppress(Disconnected):  # a slow validator may close the lane just now
                            await voice.say(FrameKind.PING, b"not empty")
                        await voice.until_closed()
    cuts = [each["code"] for each in net.log(0, since) if each["msg"] == "cut a peer"]
    assert {"malformed", "unknown_frame", "frame_too_large"} <= set(cuts)


async def test_half_a_frame_and_then_silence_is_cut_by_the_beats(net: Net, traitor: Traitor) -> None:
    """Row 27: neither a frame's header nor its body may be drawn out for ever; the lane is nobody else's."""
    async with measured(net, "half frames"), trio.open_nursery() as nursery:
        for half in (b"\0\0", b"\0\0\1\0\x41" + bytes(100)):

            async def loiter(half: bytes = half) -> None:
                async with traitor.lane(0, Lane(len(half) > 2)) as voice:
                    await voice.stream.send(half)
                    await voice.until_closed()

            nursery.start_soon(loiter)
    assert "silent" in [each.get("code") for each in net.log(0) if each["msg"] == "lost a peer"]


# --- statements that prove a fault ------------------------------------------------------------------------------------


def false_statements(traitor: Traitor, view: int, count: int) -> list[bytes]:
    """Votes, timeouts and certificates of the current view with signatures that nobody made."""
    false = os.urandom(64)
    qc = traitor.genesis_qc
    forged = type(qc)(0, view, Phase.CERTIFY, 5, bytes(32), tuple((voter, false) for voter in range(3)))
    messages: list[Message] = []
    for number in range(count):
        vote = current_vote(traitor, view + 1, number)
        messages += [vote, Timeout(0, view + 1, forged, None, traitor.index, false), Certificates(forged, None)]
    return [traitor.wire(each) for each in messages[:count]]


def is_cut(net: Net, target: int, since: int) -> bool:
    """Whether a validator has cut somebody for its faults, behind this byte of its log."""
    return any(each.get("code") == TOO_MANY_FAULTS for each in net.log(target, since))


async def flood(net: Net, traitor: Traitor, target: int, flood_s: float) -> int:
    """Say false statements as fast as they are taken, coming back as often as we are let in; how many went out."""
    said = 0
    with trio.move_on_after(flood_s):
        while True:
            view = int((await net.status(target))["view"])
            try:
                async with traitor.lane(target, Lane.CONSENSUS) as voice:
                    while True:
                        await voice.say_all(FrameKind.CONSENSUS, false_statements(traitor, view + 2, 300))
                        said += 300
                        await trio.lowlevel.checkpoint()
            except Rejected:
                await trio.lowlevel.checkpoint()
    return said


async def test_flood_of_false_signatures_ends_with_the_connection_and_delays_nobody(net: Net, traitor: Traitor) -> None:
    """Row 29: the sender is found and cut each time it comes; where nothing counts, nobody is."""
    sizes = [net.log_size(index) for index in HONEST]
    said = dict.fromkeys(HONEST, 0)

    async def attack(target: int) -> None:
        for _ in range(FLOODS_MAX):
            said[target] += await flood(net, traitor, target, FLOOD_S)
            if target == LENIENT or is_cut(net, target, sizes[target]):
                break

    async with measured(net, "false signatures"), trio.open_nursery() as nursery:
        for target in HONEST:
            nursery.start_soon(attack, target)
    for index, since in zip(HONEST, sizes, strict=True):
        if index == LENIENT:
            assert "too_many_faults" not in [each.get("code") for each in net.log(index, since)]
        else:
            line = await net.until_logged(index, "cut a peer", TOO_MANY_FAULTS, since)
            assert line["peer"] == net.network.validators[traitor.index].name
    print(f"false statements said: {said}")


async def test_a_peer_that_was_cut_for_its_faults_stays_out_for_a_while(net: Net, traitor: Traitor) -> None:
    """Without a bar it would come back at once, and each time its handshake would cost us more than its frames."""
    for _ in range(BARRED_TRIES_MAX):
        view = int((await net.status(BARRING))["view"])
        async with traitor.lane(BARRING, Lane.CONSENSUS) as voice:
            began = time.monotonic()
            with suppress(Disconnected):
                await voice.say_all(FrameKind.CONSENSUS, false_statements(traitor, view + 2, 300))
            await voice.until_closed()
        try:
            again = await traitor.dial(BARRING, Lane.CONSENSUS)
        except Rejected as refusal:
            if refusal.details.get("verdict") == "barred":
                return
            raise
        again.stream.close()
        # Let in again: only if this process stood still for longer than the bar; then the attempt shows nothing.
        assert time.monotonic() - began >= MeshLimits().penalty_ms_min / 1000
    pytest.fail(f"never quick enough to find itself barred, in {BARRED_TRIES_MAX} attempts")


async def test_late_and_stale_statements_never_cost_a_connection(net: Net, traitor: Traitor) -> None:
    """An honest validator that wakes after an hour says nothing else; it needs its lanes to catch up."""
    qc = traitor.genesis_qc
    stale = [
        traitor.wire(Certificates(qc, None)),
        traitor.wire(traitor.signed(current_vote(traitor, 1, 1))),
        traitor.wire(traitor.signed(Timeout(0, 1, qc, None, traitor.index))),
        traitor.wire(traitor.signed(Timeout(1, 1, qc, None, traitor.index))),
    ]
    view = int((await net.status(0))["view"])
    stale.append(traitor.wire(traitor.signed(Vote(7, view, Phase.CERTIFY, 5, bytes(32), traitor.index))))
    async with measured(net, "stale statements"), traitor.lane(0, Lane.CONSENSUS) as voice:
        for _ in range(20):
            await voice.say_all(FrameKind.CONSENSUS, stale * 20)
        await still_heard(traitor, voice)


async def still_heard(traitor: Traitor, voice: Voice) -> None:
    """Return once the validator has spoken on this lane again, after all that was said."""
    frames = 0
    while frames < 20:
        frames += len(await traitor.hear(voice, Lane.CONSENSUS))


async def test_valid_statements_for_views_far_ahead_take_no_memory(net: Net, traitor: Traitor) -> None:
    """Row 24: a signature over view ten million is as easily made as one over the next."""
    view = int((await net.status(0))["view"]) + 1_000_000
    votes = [traitor.wire(traitor.signed(current_vote(traitor, view + each, each))) for each in range(3_000)]
    async with measured(net, "votes a million views ahead"), traitor.lane(0, Lane.CONSENSUS) as voice:
        for start in range(0, len(votes), 300):
            await voice.say_all(FrameKind.CONSENSUS, votes[start : start + 300])
        await still_heard(traitor, voice)


async def test_endless_contradictions_of_one_key_are_cut(net: Net, traitor: Traitor) -> None:
    """Each vote for another block costs a verification and is evidence enough by itself."""
    since = net.log_size(0)
    async with measured(net, "contradicting votes"):
        until = time.monotonic() + PATIENCE_S
        while not is_cut(net, 0, since) and time.monotonic() < until:
            view = int((await net.status(0))["view"])
            try:
                async with traitor.lane(0, Lane.CONSENSUS) as voice:
                    votes = [traitor.signed(current_vote(traitor, view + 1, number)) for number in range(60)]
                    await voice.say_all(FrameKind.CONSENSUS, [traitor.wire(each) for each in votes])
                    with trio.move_on_after(1):
                        await voice.until_closed()
            except Rejected:
                continue
    line = await net.until_logged(0, "cut a peer", TOO_MANY_FAULTS, since)
    assert (
        "equivocation=" in line["reason"]
    )  # at least the first; what earlier attacks left may have been nearly enough


# --- batches ----------------------------------------------------------------------------------------------------------


def batches(traitor: Traitor, count: int, first: int, copies: int = 1) -> list[bytes]:
    """Well-formed batches of the traitor's own; `copies` of one envelope in each."""
    key = SigningKey(b"\x48" * 32)
    return [
        encode([traitor.index, number, [an_envelope(traitor, key, number)] * copies])
        for number in range(first, first + count)
    ]


async def latencies(net: Net, index: int, assets: Sequence[str]) -> list[float]:
    """How long each of these transactions of an honest client takes to its receipt, in seconds, one after the other."""
    governor = net.network.wallet().key("governor")
    found = []
    for asset in assets:
        operation = build_operation("asset.register", {"asset": asset, "decimals": "2"})
        expiry = time.time_ns() // 1_000_000 + 60_000
        wire = sign_envelope(net.document.chain_id, [governor], [operation], expiry, asset.encode().ljust(SALT_BYTES))

        def post(wire: bytes = wire) -> str:
            with Connection(net.network.urls[index]) as connection:
                return str(connection.submit([wire], 30_000)[0]["status"])

        began = time.monotonic()
        assert await trio.to_thread.run_sync(post) == "committed"
        found.append(time.monotonic() - began)
    return sorted(found)


HELD_MS = 60_000
"""Longer than a slow machine takes to judge all batches: one that dies on the way makes room for another."""

STUFFED: list[Operation] = [(9_999, bytes(59_000))]
NESTED: list[Operation] = [(9_999, *(((300,),) for _ in range(4_000)))] * 2
"""27 times its size once it is decoded."""


@pytest.mark.parametrize(
    ("target", "operations", "copies", "count", "kept_max"),
    [(1, STUFFED, 17, 4 * QUICK.batches_open_per_author_max, 12), (0, NESTED, 3, 24, 7)],
    ids=["bytes", "tuples"],
)
async def test_memory_for_one_authors_batches_has_a_ceiling(
    net: Net, traitor: Traitor, target: int, operations: list[Operation], copies: int, count: int, kept_max: int
) -> None:
    """Row 48: the largest batches, many more than the quota of bytes holds, shown to one validator alone."""
    key = SigningKey(b"\x49" * 32)
    expiry = time.time_ns() // 1_000_000 + HELD_MS
    first = 4_000_000 + 1_000 * len(operations)
    await net.until_heights((target,), 3)
    before, since, began = net.memory_kib(target), net.log_size(target), await net.height(target)
    started = time.monotonic()
    peak, sent = before, 0
    async with watched(net, HONEST), traitor.lane(target, Lane.BULK) as voice:
        for number in range(first, first + count):
            salt = number.to_bytes(SALT_BYTES, "big")
            wire = sign_envelope(net.document.chain_id, [key], operations, expiry, salt)
            batch = encode([traitor.index, number, [wire] * copies])
            await voice.say(FrameKind.BATCH, batch)
            sent += len(batch)
            peak = max(peak, net.memory_kib(target))

        async def all_judged() -> bool:
            nonlocal peak
            peak = max(peak, net.memory_kib(target))
            lines = [each for each in net.log(target, since) if each["msg"] == "batch_over_quota"]
            return sum(each["dropped"] for each in lines) >= count - kept_max

        await net.until(all_judged, "all but those that are kept are dropped")
        rate = (await net.height(target) - began) / (time.monotonic() - started)
    print(f"{sent >> 20} MiB in {count} batches of one author: RSS {before} -> {peak} KiB, {rate:.1f} blocks/s")
    assert peak - before < QUICK.batches_open_bytes_per_author_max // 1024 + SLACK_KIB


@pytest.mark.parametrize("targets", [(0,), HONEST], ids=["shown to one", "shown to all"])
async def test_flood_of_well_formed_batches_delays_nobody_elses(
    net: Net, traitor: Traitor, targets: tuple[int, ...]
) -> None:
    """Row 48: what one author has open is bounded, so what it sends beyond is dropped, and others keep their turns."""
    name = "ABCD"[len(targets)]
    quiet = await latencies(net, 0, [f"Q{name}{number}" for number in range(8)])
    wires = batches(traitor, 2_000, len(targets) * 1_000_000)
    since = net.log_size(0)
    busy: list[float] = []
    async with measured(net, f"batches to {len(targets)}"), trio.open_nursery() as nursery:

        async def pour(target: int) -> None:
            async with traitor.lane(target, Lane.BULK) as voice:
                while True:
                    for start in range(0, len(wires), 100):
                        await voice.say_all(FrameKind.BATCH, wires[start : start + 100])
                        await trio.lowlevel.checkpoint()

        for target in targets:
            nursery.start_soon(pour, target)
        await net.until_logged(0, "batch_over_quota", since=since)
        busy = await latencies(net, 0, [f"F{name}{number}" for number in range(8)])
        nursery.cancel_scope.cancel()
    print(
        f"latency, median: {quiet[4] * 1e3:.0f} ms quiet, {busy[4] * 1e3:.0f} ms under the flood; worst {busy[-1]:.2f}"
    )


async def test_one_envelope_in_many_batches_executes_once_and_takes_no_memory(net: Net, traitor: Traitor) -> None:
    """Row 31: replays are the author's own waste."""
    key = SigningKey(b"\x31" * 32)
    envelope = an_envelope(traitor, key, 31)
    wires = [encode([traitor.index, number, [envelope] * 20]) for number in range(3_000_000, 3_000_200)]
    async with measured(net, "one envelope in 200 batches"), trio.open_nursery() as nursery:

        async def show(target: int) -> None:
            async with traitor.lane(target, Lane.BULK) as voice:
                for start in range(0, len(wires), 20):
                    await voice.say_all(FrameKind.BATCH, wires[start : start + 20])
                    await trio.lowlevel.checkpoint()
                await net.until_heights((target,), await net.height(target) + 5)

        for target in HONEST:
            nursery.start_soon(show, target)
    await net.agreed(HONEST)


async def test_noise_covers_every_kind_of_frame(traitor: Traitor) -> None:
    """A new kind of message needs its noise, too."""
    assert set(valid_payloads(traitor, 1)) == set(FrameKind)
