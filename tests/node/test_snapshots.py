"""Snapshots that are taken while the chain goes on, and served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from genesis.errors import Rejected
from node.database import StateView
from node.failures import StorageFailure
from node.frames import FrameKind
from node.snapshot_files import SnapshotFiles
from node.snapshot_wire import (
    PieceKind,
    PieceName,
    check_offer,
    decode_offer,
    decode_piece,
    decode_snapshot_offer,
    encode_piece_request,
    encode_snapshot_request,
)
from node.snapshots import VIEWS_MAX, SnapshotMaker, SnapshotServer, offered_blocks
from node.store import PRUNE_DISTANCE, Store
from node.trust import Trust
from tests.node.dataplane import GOVERNOR, T0_UNIX_MS, Hub, Reports, deadline, document_of
from tests.node.scripted_chain import ScriptedChain
from tests.node.test_proof import KEYS

pytestmark = pytest.mark.trio

DOCUMENT = document_of()
EPOCH_BLOCKS = DOCUMENT.limits.epoch_blocks
DEPTH = DOCUMENT.limits.merkle_depth
INTERVAL = 5


@dataclass
class Rig:
    """A maker, and a chain that grows into its store block by block, as an executor would write it."""

    chain: ScriptedChain
    store: Store
    files: SnapshotFiles
    maker: SnapshotMaker
    reports: Reports
    behind: list[int]

    async def grow(self, skipped: Sequence[int] = (), to: int = 0) -> None:
        """Commit blocks up to this height, each followed by the maker's look."""
        while len(self.chain.writes) < to:
            height = len(self.chain.writes) + 1
            self.chain.grow(self.chain.operations(2), views_skipped=1 if height in skipped else 0)
            self.chain.store_into(self.store)
            self.maker.progressed()
            await wait_all_tasks_blocked()


@asynccontextmanager
async def rig_of(directory: Path, interval: int = INTERVAL) -> AsyncIterator[Rig]:
    """A running maker over an empty store."""
    store = Store.open(directory / "ledger", DOCUMENT.chain_id)
    chain = ScriptedChain(DOCUMENT, KEYS, GOVERNOR, T0_UNIX_MS)
    chain.store_into(store)
    files, reports = SnapshotFiles(directory / "snapshots", 2), Reports()
    behind: list[int] = []
    maker = SnapshotMaker(store, files, interval, DEPTH, reports, lambda: bool(behind))
    async with deadline() as nursery:
        nursery.start_soon(maker.run)
        yield Rig(chain, store, files, maker, reports, behind)
    store.close()


async def until_taken(rig: Rig, count: int) -> None:
    """Wait until so many snapshots have been reported."""
    while len(rig.reports.lines) < count:
        await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_snapshot_is_of_its_height_whatever_came_after(tmp_path: Path) -> None:
    """It is read while later blocks are written over it."""
    async with rig_of(tmp_path) as rig:
        await rig.grow(to=INTERVAL)
        root = rig.chain.roots[INTERVAL]
        await rig.grow(to=2 * INTERVAL + 2)
        await until_taken(rig, 2)
        assert rig.files.heights == [INTERVAL, 2 * INTERVAL]
        data = (tmp_path / "snapshots" / str(INTERVAL) / "offer").read_bytes()[16:]
        offer = decode_offer(data)
        check_offer(Trust(DOCUMENT), offer)
        assert (offer.height, offer.state_root) == (INTERVAL, root)


@pytest.mark.parametrize(
    ("skipped", "height"),
    [((), 5), ((4,), 5), ((5,), 6), ((6,), 7), ((7,), 5), ((5, 6), 7), ((5, 7), 8), ((6, 8, 10), 11)],
)
async def test_the_first_height_whose_root_is_certified_is_taken(
    tmp_path: Path, skipped: tuple[int, ...], height: int
) -> None:
    """Where a leader is down, no header ever names some heights: a snapshot of those could not be verified."""
    async with rig_of(tmp_path) as rig:
        await rig.grow(skipped, to=height + 2)
        await until_taken(rig, 1)
        assert rig.files.heights == [height]


async def test_views_of_the_state_are_few_and_let_go(tmp_path: Path) -> None:
    """While one is held, LevelDB keeps everything that is overwritten."""
    async with rig_of(tmp_path) as rig:
        await rig.grow(skipped=range(INTERVAL, 60, 2), to=50)
        assert len(rig.maker._views) <= VIEWS_MAX
        assert rig.files.heights == []
        await rig.grow(to=56)
        await until_taken(rig, 1)
        assert all(view.height > rig.files.heights[-1] for view in rig.maker._views)


async def test_views_that_nobody_takes_up_are_few(tmp_path: Path) -> None:
    """The thread that writes snapshots may be slow; the chain goes on."""
    async with rig_of(tmp_path, interval=0) as rig:
        idle = SnapshotMaker(rig.store, rig.files, INTERVAL, DEPTH, rig.reports, lambda: False)
        for height in range(1, INTERVAL + 2 * VIEWS_MAX):
            await rig.grow(to=height)
            idle.progressed()
        assert [view.height for view in idle._views] == list(range(INTERVAL, INTERVAL + VIEWS_MAX))
        idle._drop(lambda view: True)


async def test_without_an_interval_nothing_is_taken(tmp_path: Path) -> None:
    """The operator's choice."""
    async with rig_of(tmp_path, interval=0) as rig:
        await rig.grow(to=20)
        assert (rig.files.heights, rig.maker._views) == ([], [])


async def test_a_node_that_catches_up_takes_none(tmp_path: Path) -> None:
    """It would spend half its time on snapshots of a past that its peers have left behind."""
    async with rig_of(tmp_path) as rig:
        rig.behind.append(1)
        await rig.grow(to=3 * INTERVAL + 1)
        assert rig.maker._views == []
        rig.behind.clear()
        await rig.grow(to=4 * INTERVAL)
        await until_taken(rig, 1)
        assert rig.files.heights == [3 * INTERVAL + 2]


async def test_blocks_go_on_while_a_snapshot_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a block's way waits for it."""
    gate = trio.Event()
    entered = trio.Event()
    write = SnapshotFiles.write

    def slow(files: SnapshotFiles, *what: object) -> None:
        trio.from_thread.run_sync(entered.set)
        trio.from_thread.run(gate.wait)
        write(files, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(SnapshotFiles, "write", slow)
    async with rig_of(tmp_path) as rig:
        await rig.grow(to=INTERVAL + 2)
        await entered.wait()
        await rig.grow(to=3 * INTERVAL)
        tip = rig.store.tip()
        assert tip is not None
        assert tip.height == 3 * INTERVAL
        assert rig.files.heights == []
        gate.set()
        await rig.grow(to=3 * INTERVAL + 2)
        await until_taken(rig, 3)
        taken = [values["height"] for _, values in rig.reports.lines]
        assert taken == [INTERVAL, 2 * INTERVAL, 3 * INTERVAL]


async def test_a_snapshot_that_fails_is_reported_and_the_next_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends the ledger soon enough; a snapshot need not."""
    write, failed = SnapshotFiles.write, []

    def fails_once(files: SnapshotFiles, *what: object) -> None:
        if not failed:
            failed.append(what)
            raise OSError(28, "No space left on device")
        write(files, *what)  # type: ignore[arg-type]

    monkeypatch.setattr(SnapshotFiles, "write", fails_once)
    async with rig_of(tmp_path) as rig:
        await rig.grow(to=INTERVAL + 2)
        await until_taken(rig, 1)
        await rig.grow(to=2 * INTERVAL + 2)
        await until_taken(rig, 2)
        assert rig.reports.kinds == ["snapshot_failed", "snapshot"]
        assert rig.files.heights == [2 * INTERVAL]


async def test_a_view_whose_blocks_have_been_pruned_is_let_go(tmp_path: Path) -> None:
    """A disk so slow that the chain has left the view behind costs a snapshot, not the node."""
    async with rig_of(tmp_path, interval=0) as rig:
        await rig.grow(to=PRUNE_DISTANCE + 20)
        late = SnapshotMaker(rig.store, rig.files, INTERVAL, DEPTH, rig.reports, lambda: False)
        late._views.append(StateView(INTERVAL, bytes(32), rig.store._db.snapshot()))
        while rig.store.prune(15, 100):
            pass
        assert offered_blocks(rig.store, INTERVAL) == []
        assert offered_blocks(rig.store, 15) == []
        assert offered_blocks(rig.store, 16)
        assert await late._settled(late._views[0])
        assert (late._views, rig.files.heights) == ([], [])


async def test_a_state_on_disk_that_is_not_the_certified_one_stops_the_node(tmp_path: Path) -> None:
    """Row 8: it would go on to vote from a damaged ledger."""
    store = Store.open(tmp_path / "ledger", DOCUMENT.chain_id)
    chain = ScriptedChain(DOCUMENT, KEYS, GOVERNOR, T0_UNIX_MS)
    chain.grow(chain.operations(1))
    for _ in range(5):
        chain.grow()
    chain.store_into(store, 4)
    store._db.put(b"s\x04\xa2A9", b"\x91\x02")
    maker = SnapshotMaker(store, SnapshotFiles(tmp_path / "s", 2), 1, DEPTH, Reports(), lambda: False)
    maker._due = 4
    maker.progressed()
    chain.store_into(store)
    with trio.fail_after(60):
        with pytest.raises(StorageFailure, match="its root at height 4"):
            await maker.run()
    store.close()


# --- serving ----------------------------------------------------------------------------------------------------------


async def ask(server: SnapshotServer, hub: Hub, kind: FrameKind, payload: bytes) -> bytes | None:
    """The last answer to validator 1 after a question of its."""
    before = len(hub.wires[0].sent)
    await server.handle(1, kind, payload)
    sent = hub.wires[0].sent
    return sent[-1][2] if len(sent) > before else None


async def test_offers_and_pieces_are_served_and_what_is_not_here_is_said(tmp_path: Path) -> None:
    """A joiner must not wait for what never comes."""
    async with rig_of(tmp_path) as rig:
        await rig.grow(to=INTERVAL + 2)
        await until_taken(rig, 1)
        hub = Hub(2)
        server = SnapshotServer(rig.files, rig.store, EPOCH_BLOCKS, hub.wires[0])
        for height_min, there in ((0, True), (INTERVAL, True), (INTERVAL + 1, False)):
            payload = await ask(server, hub, FrameKind.SNAPSHOT_REQUEST, encode_snapshot_request(height_min))
            assert payload is not None
            assert (decode_snapshot_offer(payload)[1] is not None) is there
        for name, there in (
            (PieceName(INTERVAL, PieceKind.SLICE, 0), True),
            (PieceName(INTERVAL, PieceKind.SLICE, 1), False),
            (PieceName(INTERVAL + 1, PieceKind.SLICE, 0), False),
        ):
            payload = await ask(server, hub, FrameKind.PIECE_REQUEST, encode_piece_request(name))
            assert payload is not None
            answered, data = decode_piece(payload)
            assert (answered, data is not None) == (name, there)


@pytest.mark.parametrize("kind", [FrameKind.SNAPSHOT_REQUEST, FrameKind.PIECE_REQUEST])
async def test_a_malformed_request_costs_its_sender(tmp_path: Path, kind: FrameKind) -> None:
    """As every other frame."""
    store = Store.open(tmp_path / "ledger", DOCUMENT.chain_id)
    server = SnapshotServer(SnapshotFiles(tmp_path / "s", 2), store, EPOCH_BLOCKS, Hub(2).wires[0])
    with pytest.raises(Rejected, match="malformed"):
        await server.handle(1, kind, b"\xc1")
