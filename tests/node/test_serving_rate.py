"""What a peer may have read and sent for it: docs/FAULTS.md rows 29, 34 and 48."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from consensus.types import genesis_qc
from genesis.codec import encode
from node.blocksync import BlockServer
from node.frames import FrameKind
from node.serving_rate import BURST_BYTES, BYTES_PER_S, ITEM_BYTES, REQUEST_BYTES, ServingRate
from node.set_history import LINKS_MAX
from node.snapshot_files import SnapshotFiles
from node.snapshot_wire import (
    Offer,
    PieceKind,
    PieceName,
    encode_piece_request,
    encode_snapshot_offer,
    encode_snapshot_request,
)
from node.snapshots import SnapshotServer
from node.store import Store
from tests.node.dataplane import (
    FORMAT,
    PARAMS,
    Hub,
    Reports,
    Waiting,
    certificate,
    chain_of,
    open_store,
    pool_of,
    write_of,
)

pytestmark = pytest.mark.trio

CHAIN = chain_of(3)
BURST_S = BURST_BYTES / BYTES_PER_S
Serve = Callable[[int], Awaitable[None]]


async def test_a_peer_waits_for_what_it_has_had_and_nobody_else_does(autojump_clock: object) -> None:
    """Row 29: in the long run the bytes a second are all there is, however a peer asks."""
    rate = ServingRate[int]()
    began = trio.current_time()
    for _ in range(100):
        await rate.turn(1)
        rate.charge(1, 0, BYTES_PER_S // 10 - REQUEST_BYTES)
    took = trio.current_time() - began
    assert took == pytest.approx(10 - BURST_S, abs=0.11)
    await rate.turn(2)
    assert trio.current_time() - began == took
    await trio.sleep(60)
    began = trio.current_time()
    await rate.turn(1)
    rate.charge(1, 0, BURST_BYTES // 2)
    await rate.turn(1)
    assert trio.current_time() == began


async def test_a_node_that_catches_up_5000_blocks_never_waits(autojump_clock: object) -> None:
    """Row 34: the bound is for who asks again and again; 5,000 small blocks in answers of 64 are within the burst."""
    rate = ServingRate[int]()
    began = trio.current_time()
    for _ in range(-(-5_000 // PARAMS.sync_blocks_max)):
        await rate.turn(1)
        rate.charge(1, PARAMS.sync_blocks_max, 64 * 600)
    assert trio.current_time() == began


def blocks_of(store: Store, hub: Hub) -> Serve:
    """Asks for blocks."""
    server = BlockServer(store, PARAMS, hub.wires[0], lambda: certificate(CHAIN[-1].header), lambda _: None)
    return lambda peer: server.handle(peer, encode([0, 0]))


def pieces_of(store: Store, hub: Hub) -> Serve:
    """Asks for a piece of a snapshot."""
    server = SnapshotServer(SnapshotFiles(Path(), 2), store, PARAMS.epoch_blocks, hub.wires[0])
    request = encode_piece_request(PieceName(1, PieceKind.SLICE, 0))
    return lambda peer: server.handle(peer, FrameKind.PIECE_REQUEST, request)


def offers_of(store: Store, hub: Hub) -> Serve:
    """Asks for an offer of a snapshot."""
    server = SnapshotServer(SnapshotFiles(Path(), 2), store, PARAMS.epoch_blocks, hub.wires[0])
    return lambda peer: server.handle(peer, FrameKind.SNAPSHOT_REQUEST, encode_snapshot_request(0))


def batches_of(store: Store, hub: Hub) -> Serve:
    """Asks for batches, none of which exists."""
    pool = pool_of(0, hub.wires[0], store, Waiting(), Reports())
    digests = b"".join(bytes([number]) * 32 for number in range(32))
    return lambda peer: pool.handle(peer, FrameKind.BATCH_REQUEST, digests)


@pytest.mark.parametrize(
    ("server", "items"), [(blocks_of, PARAMS.sync_blocks_max), (pieces_of, 1), (offers_of, 1), (batches_of, 32)]
)
async def test_a_flood_of_requests_is_served_at_a_bounded_rate(
    tmp_path: Path, autojump_clock: object, server: Callable[[Store, Hub], Serve], items: int
) -> None:
    """Row 29: what is not here costs us its look-up, and must cost the peer its time."""
    store = open_store(tmp_path / "ledger")
    serve = server(store, Hub(4))
    cost = REQUEST_BYTES + items * ITEM_BYTES
    count = 3 * BURST_BYTES // cost
    began = trio.current_time()
    for _ in range(count):
        await serve(1)
    took = trio.current_time() - began
    assert took > 1.9 * BURST_S
    await serve(2)
    assert trio.current_time() - began == took
    store.close()


async def test_an_offer_that_is_refused_costs_the_way_that_was_looked_for(
    tmp_path: Path, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 29: from a block far above an edge the way is thousands of headers, and "no" is a short answer."""
    store, hub, height = open_store(tmp_path / "ledger"), Hub(4), PARAMS.epoch_blocks + 900
    monkeypatch.setattr(SnapshotFiles, "offer", lambda _files, _height_min: b"an offer")
    monkeypatch.setattr("node.snapshots.decode_offer", lambda _data: Offer(0, (CHAIN[0], CHAIN[1]), genesis_qc(b"")))
    server = SnapshotServer(SnapshotFiles(Path(), 2), store, PARAMS.epoch_blocks, hub.wires[0])
    began, cost = trio.current_time(), (900 + LINKS_MAX) * ITEM_BYTES
    for _ in range(3 * BURST_BYTES // cost):
        await server.handle(1, FrameKind.SNAPSHOT_REQUEST, encode_snapshot_request(height))
    assert trio.current_time() - began > BURST_S
    [(_, answer), *_] = hub.wires[0].sent_of(FrameKind.SNAPSHOT_OFFER)
    assert answer == encode_snapshot_offer(height, None)
    store.close()


async def test_no_more_is_read_for_an_answer_than_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 29: 32 digests name 32 MB on our disk, and an answer holds four."""
    store, hub = open_store(tmp_path / "ledger"), Hub(4)
    wires = [encode([1, number, [bytes([number]) * 1_000] * 1_000]) for number in range(8)]
    digests = [FORMAT.digest(each) for each in wires]
    [proposal] = chain_of(1, payloads=[digests])
    store.commit([write_of(proposal, batches=list(zip(digests, wires, strict=True)))])
    pool = pool_of(0, hub.wires[0], store, Waiting(), Reports())
    read: list[bytes] = []
    kept = Store.batch

    def noted(store: Store, digest: bytes) -> bytes | None:
        read.append(digest)
        return kept(store, digest)

    monkeypatch.setattr(Store, "batch", noted)
    await pool.handle(1, FrameKind.BATCH_REQUEST, b"".join(digests))
    assert hub.wires[0].sent_of(FrameKind.BATCH_RESPONSE) == [(1, each) for each in wires[:4]]
    assert read == digests[:5]
    store.close()
