"""What is pruned, what never is, and that a crash in the middle leaves a ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from consensus.types import Proposal
from contracts.snapshot import CutState
from genesis.errors import InvariantViolation, Rejected
from node.blocksync import BlockServer
from node.executor import open_state
from node.pruner import Pruner
from node.snapshot_files import SnapshotFiles
from node.snapshot_wire import Offer
from node.store import PRUNE_DISTANCE, Store
from tests.node.dataplane import (
    GENESIS_BLOCK,
    GOVERNOR,
    T0_UNIX_MS,
    Hub,
    Reports,
    certificate,
    chain_of,
    deadline,
    document_of,
    header_of,
    open_store,
    receipt_of,
    write_of,
)
from tests.node.scripted_chain import BLOCK_MS, ScriptedChain
from tests.node.test_proof import KEYS
from tests.node.thread_clock import ThreadsAtWork

DOCUMENT = document_of()
BLOCKS = 300
WITH_BATCHES = range(1, BLOCKS, 10)
LIFETIME_MS = 20 * BLOCK_MS


@pytest.fixture
def chain() -> ScriptedChain:
    """Every tenth block orders a batch."""
    made = ScriptedChain(DOCUMENT, KEYS, GOVERNOR, T0_UNIX_MS)
    for height in range(1, BLOCKS + 1):
        made.grow(made.operations(1) if height in WITH_BATCHES else ())
    return made


@pytest.fixture
def store(tmp_path: Path, chain: ScriptedChain) -> Iterator[Store]:
    """The chain's ledger."""
    store = Store.open(tmp_path / "ledger", DOCUMENT.chain_id)
    chain.store_into(store)
    yield store
    store.close()


def snapshot_at(directory: Path, *heights: int) -> SnapshotFiles:
    """Snapshots of these heights; nobody here looks into them."""
    files = SnapshotFiles(directory / "snapshots", 64)
    for height in heights:
        proposals = chain_of(height + 2)[height - 2 :]
        files.write(Offer(0, tuple(proposals), certificate(proposals[-1].header)), CutState(bytes(32), 0, (b"",), ()))
    return files


def pruner_of(store: Store, files: SnapshotFiles, keep_blocks: int, lifetime_ms: int = LIFETIME_MS) -> Pruner:
    """A pruner."""
    return Pruner(store, files, keep_blocks, lifetime_ms, Reports())


def prune_all(pruner: Pruner) -> int:
    """Every step at once; how many there were."""
    steps = 0
    while pruner.step():
        steps += 1
    return steps


def kept(store: Store, chain: ScriptedChain) -> tuple[set[int], set[int], set[int]]:
    """The heights whose blocks, batches and receipts are here."""
    blocks, batches, receipts = set(), set(), set()
    for write in chain.writes:
        height = write.block.height
        if store.proposal(write.block.block_hash) is not None:
            blocks.add(height)
        if any(store.batch(digest) == wire for digest, wire in write.batches):
            batches.add(height)
        if store.receipts([envelope_id for envelope_id, _ in write.receipts]) or store.block_receipts(height):
            receipts.add(height)
    return blocks, batches, receipts


def test_blocks_batches_and_receipts_below_the_window_are_gone_and_all_others_here(
    tmp_path: Path, store: Store, chain: ScriptedChain
) -> None:
    """The disk stays bounded; the state and the promises stay."""
    prune_all(pruner_of(store, snapshot_at(tmp_path, 200), 120))
    lowest = BLOCKS - 120 + 1
    assert store.lowest == lowest
    window = set(range(lowest, BLOCKS + 1))
    assert kept(store, chain) == (window, window & set(WITH_BATCHES), window & set(WITH_BATCHES))
    with pytest.raises(Rejected, match="pruned") as caught:
        store.committed(lowest - 1)
    assert caught.value.details == {"height": lowest - 1, "lowest_height": lowest}
    assert store.committed(lowest) == chain.writes[lowest - 1].block
    state, _ = open_state(DOCUMENT, store)
    assert state.root == chain.roots[-1]


def test_nothing_of_what_is_pruned_stays_on_the_disk(tmp_path: Path, store: Store, chain: ScriptedChain) -> None:
    """A table that nobody remembers would grow for ever."""
    before = sum(1 for _ in store._db.iterator(include_value=False))
    prune_all(pruner_of(store, snapshot_at(tmp_path, 200), 120))
    pruned = range(1, BLOCKS - 120 + 1)
    batches = len([height for height in pruned if height in WITH_BATCHES])
    # A block: its record, proposal, receipts. A batch: itself, its digest, its height; and an index entry a receipt.
    assert before - sum(1 for _ in store._db.iterator(include_value=False)) == 3 * len(pruned) + 4 * batches - 1


@pytest.mark.parametrize(
    ("keep_blocks", "snapshots", "lifetime_ms", "lowest"),
    [
        (0, (200,), LIFETIME_MS, 1),
        (120, (), LIFETIME_MS, 1),
        (120, (50,), LIFETIME_MS, 51),
        (120, (50, 250), LIFETIME_MS, 51),
        (120, (250,), LIFETIME_MS, 181),
        (1, (299,), 1, BLOCKS - PRUNE_DISTANCE),
        (120, (250,), 100 * BLOCK_MS, 100),
        (120, (250,), 10_000 * BLOCK_MS, 1),
    ],
)
def test_the_window_ends_at_the_strictest_of_its_bounds(
    tmp_path: Path, store: Store, keep_blocks: int, snapshots: tuple[int, ...], lifetime_ms: int, lowest: int
) -> None:
    """An archive, no snapshot to join by, its blocks, an envelope that may still be asked about: each forbids it."""
    prune_all(pruner_of(store, snapshot_at(tmp_path, *snapshots), keep_blocks, lifetime_ms))
    assert store.lowest == lowest


def test_pruning_goes_in_bounded_steps(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that is due must not wait for a thousand others to be removed."""
    monkeypatch.setattr("node.pruner.ENTRIES_PER_STEP", 50)
    sizes: list[int] = []
    write = store._write

    def noting(entries: Any, *, sync: bool) -> None:
        sizes.append(len(entries))
        assert sync
        write(entries, sync=sync)

    monkeypatch.setattr(store, "_write", noting)
    assert prune_all(pruner_of(store, snapshot_at(tmp_path, 200), 120)) >= 10
    assert max(sizes) <= 60
    assert store.lowest == 181


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_crash_between_two_steps_leaves_a_ledger_that_goes_on(
    tmp_path: Path, store: Store, chain: ScriptedChain, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """What was removed is below what the ledger says it keeps; what was only meant to go is still here."""
    monkeypatch.setattr("node.pruner.ENTRIES_PER_STEP", 50)
    files = snapshot_at(tmp_path, 200)
    pruner = pruner_of(store, files, 120)
    for _ in range(steps):
        pruner.step()
    lowest = store.lowest
    store.close()
    again = Store.open(tmp_path / "ledger", DOCUMENT.chain_id)
    assert again.lowest == lowest
    window = set(range(lowest, BLOCKS + 1))
    assert kept(again, chain) == (window, window & set(WITH_BATCHES), window & set(WITH_BATCHES))
    prune_all(pruner_of(again, files, 120))
    assert again.lowest == 181
    again.close()


def test_the_last_blocks_are_never_pruned(store: Store) -> None:
    """The next start reads them, and what was not synced is written again."""
    with pytest.raises(InvariantViolation):
        store.prune(BLOCKS - PRUNE_DISTANCE + 1, 100)


def test_what_is_pruned_while_it_is_read_is_no_damage(
    tmp_path: Path, store: Store, chain: ScriptedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that has found the first half of something must not stop the node for the second."""
    receipts, once = dict(chain.writes[0].receipts), iter([True])
    get, hub = store._get, Hub(2)

    def pruned_meanwhile(key: bytes) -> bytes | None:
        found = get(key)
        if next(once, False):
            prune_all(pruner)
        return found

    pruner = pruner_of(store, snapshot_at(tmp_path, 200), 120)
    monkeypatch.setattr(store, "_get", pruned_meanwhile)
    assert store.receipts(receipts) == {}
    assert store.lowest == 181
    with pytest.raises(Rejected, match="pruned"):
        store.check_kept(180)
    store.check_kept(181)
    server = BlockServer(store, DOCUMENT.limits, hub.wires[0], lambda: chain.certificate(chain.tip), lambda _: None)
    assert server._answer(0, 179, chain.certificate(chain.tip)) is None
    assert server._answer(0, 180, chain.certificate(chain.tip)) is not None


def test_a_block_that_is_pruned_under_an_answer_is_said_to_be(
    tmp_path: Path, store: Store, chain: ScriptedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record was still here, the block itself no longer: neither damage nor the peer's fault."""
    server = BlockServer(store, DOCUMENT.limits, Hub(2).wires[0], lambda: chain.certificate(chain.tip), lambda _: None)
    wire = store.proposal_wire

    pruner = pruner_of(store, snapshot_at(tmp_path, 200), 120)

    def too_late(block_hash: bytes) -> bytes | None:
        prune_all(pruner)
        return wire(block_hash)

    monkeypatch.setattr(store, "proposal_wire", too_late)
    assert server._answer(0, 0, chain.certificate(chain.tip)) is None


# --- batches that are ordered again ---------------------------------------------------------------------------------

BATCH = (b"d" * 32, b"wire")
FAR = 2 * PRUNE_DISTANCE


def ledger_with_a_batch(directory: Path, again_at: int = 0) -> tuple[Store, list[Proposal]]:
    """A batch that block 1 orders, and perhaps a later block as well."""
    payloads = [[BATCH[0]] if height in (1, again_at) else [] for height in range(1, FAR + 1)]
    proposals = chain_of(FAR, payloads=payloads)
    store = open_store(directory / "ledger")
    writes = [write_of(each) for each in proposals]
    store.commit([write_of(proposals[0], batches=[BATCH], receipts=[receipt_of(1, 1, 0)]), *writes[1:]])
    return store, proposals


def prune_to(store: Store, below: int) -> None:
    """Prune at once."""
    while store.prune(below, 100):
        pass


@pytest.mark.parametrize(("again_at", "is_kept"), [(0, False), (5, False), (40, True)])
def test_a_batch_goes_with_the_last_block_that_orders_it(tmp_path: Path, again_at: int, is_kept: bool) -> None:
    """A faulty leader may order one twice; peers fetch it for the later block."""
    store, _ = ledger_with_a_batch(tmp_path, again_at)
    store.prune(20, 100)
    assert store.has_batch(BATCH[0]) is is_kept
    prune_to(store, 20)
    assert (store.batch(BATCH[0]) is not None, store.has_batch(BATCH[0])) == (is_kept, is_kept)
    prune_to(store, 50)
    assert not store.has_batch(BATCH[0])
    store.close()


def test_a_batch_that_a_vote_rests_on_is_kept(tmp_path: Path) -> None:
    """The vote promised that it is on disk; an uncommitted block orders it."""
    store, proposals = ledger_with_a_batch(tmp_path)
    voted = Proposal(
        FAR + 1,
        header_of(FAR + 1, proposals[-1].header, [BATCH[0]]),
        certificate(proposals[-1].header),
        None,
        bytes(64),
    )
    assert store.has_batch(BATCH[0])
    store.sync_proposal(voted, [])
    prune_to(store, 20)
    assert store.batch(BATCH[0]) == BATCH[1]
    store.close()


def test_nobody_comes_to_rest_on_a_batch_that_is_about_to_go(tmp_path: Path) -> None:
    """Between looking and voting it would vanish; so it counts as gone one step before it goes."""
    store, proposals = ledger_with_a_batch(tmp_path)
    assert store.prune(20, 100)
    assert not store.has_batch(BATCH[0])
    voted = Proposal(
        FAR + 1,
        header_of(FAR + 1, proposals[-1].header, [BATCH[0]]),
        certificate(proposals[-1].header),
        None,
        bytes(64),
    )
    store.sync_proposal(voted, [BATCH])
    prune_to(store, 20)
    assert store.batch(BATCH[0]) == BATCH[1]
    assert len(list(store._db.iterator(prefix=b"b"))) == 1
    store.close()
    again = open_store(tmp_path / "ledger")
    assert again.batch(BATCH[0]) == BATCH[1]
    again.close()


def test_the_genesis_block_is_not_counted_among_what_is_kept(tmp_path: Path) -> None:
    """Block 0 stays: it is in nobody's way."""
    store, _ = ledger_with_a_batch(tmp_path)
    prune_to(store, 20)
    assert store.committed(0) == GENESIS_BLOCK
    store.close()


@pytest.mark.trio
async def test_a_running_pruner_follows_the_chain(
    tmp_path: Path, store: Store, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps until a block becomes durable, and reports how far it got."""
    ThreadsAtWork(autojump_clock, monkeypatch)
    reports = Reports()
    pruner = Pruner(store, snapshot_at(tmp_path, 200), 120, LIFETIME_MS, reports)
    async with deadline() as nursery:
        nursery.start_soon(pruner.run)
        await trio.sleep(5)
        assert store.lowest == 1
        pruner.progressed()
        await trio.sleep(10)
    assert reports.lines == [("pruned", {"lowest_height": 181})]
