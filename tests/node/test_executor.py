"""Execution of committed blocks on the real state machine and a real store: docs/FAULTS.md rows 10, 16, 31 and 35."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from consensus.events import Commit
from consensus.types import Header
from contracts.machine import BlockInput, BlockOutput, State, admit, apply_block
from contracts.operations import KINDS, build_operation
from contracts.receipts import Receipt
from genesis.envelope import decode_envelope, sign_envelope, verify_all
from genesis.errors import InvariantViolation
from node import batch_table
from node.batch_fetcher import REQUEST_DIGESTS_MAX, split_digests
from node.batch_maker import BatchMaker
from node.batch_pool import BatchPool
from node.batches import Batch
from node.executor import SYSTEM_US, Executor, open_state
from node.failures import StorageFailure
from node.frames import FrameKind
from node.intake import Intake
from node.offload import IN_PLACE_US_MAX
from node.receipt_waits import ReceiptWaits
from node.store import Store
from tests.node.dataplane import (
    CHAIN_ID,
    DOCUMENT,
    EXPIRES_AT_UNIX_MS,
    FORMAT,
    GOVERNOR,
    PARAMS,
    T0_UNIX_MS,
    Hub,
    Reports,
    Waiting,
    Wire,
    chain_of,
    commit_of,
    deadline,
    envelope_wire,
    envelopes_of,
    pool_of,
)

pytestmark = pytest.mark.trio

QUIET_S = 0.05


@dataclass
class Rig:
    """An executor and what surrounds it."""

    hub: Hub
    store: Store
    wire: Wire
    pool: BatchPool
    waits: ReceiptWaits
    intake: Intake
    executor: Executor
    genesis: Header
    reports: Reports
    executed: list[tuple[int, bytes, bytes]]
    progress: Waiting = field(default_factory=Waiting)

    def hold(self, *batches: Batch) -> None:
        """Put our own batches into the pool."""
        for batch in batches:
            self.pool.add_own(batch)

    async def until(self, height: int) -> None:
        """Wait until this height has been executed."""
        await self.progress.until(lambda: bool(self.executed) and self.executed[-1][0] >= height)


@asynccontextmanager
async def rig_of(path: Path) -> AsyncIterator[Rig]:
    """A running executor of validator 0 on the ledger at `path`."""
    hub, store, reports = Hub(4), Store.open(path, CHAIN_ID), Reports()
    state, genesis = open_state(DOCUMENT, store)
    pool = pool_of(0, hub.wires[0], store, Waiting(), reports)
    waits = ReceiptWaits(store)
    intake = Intake(CHAIN_ID, PARAMS, lambda envelope: admit(state, envelope), BatchMaker(0, FORMAT, pool, 0))
    executed: list[tuple[int, bytes, bytes]] = []
    progress = Waiting()

    def on_executed(height: int, block_hash: bytes, state_root: bytes) -> None:
        executed.append((height, block_hash, state_root))
        progress()

    executor = Executor(state, store, pool, waits, intake, on_executed, reports)
    rig = Rig(hub, store, hub.wires[0], pool, waits, intake, executor, genesis, reports, executed, progress)
    async with deadline() as nursery:
        nursery.start_soon(executor.run)
        nursery.start_soon(pool.run)
        yield rig
    store.close()


def batches_of(*groups: Sequence[int]) -> list[Batch]:
    """One batch of validator 0 for each group of envelope numbers."""
    return [FORMAT.seal(0, number, envelopes_of(group)) for number, group in enumerate(groups)]


def commits(genesis: Header, payloads: Sequence[Sequence[Batch]], length: int | None = None) -> list[Commit]:
    """The commits of a chain with these batches."""
    digests = [[each.digest for each in payload] for payload in payloads]
    return [commit_of(each) for each in chain_of(length or len(payloads), genesis, digests)]


async def test_blocks_execute_in_order_and_each_is_announced_once_durable(tmp_path: Path) -> None:
    """The replica may vouch for a root only when no crash can take it back."""
    async with rig_of(tmp_path) as rig:
        one, two, three = batches_of([1, 2], [3], [4, 5, 6])
        rig.hold(one, two, three)
        made = commits(rig.genesis, [[one, two], [], [three]])
        for commit in made:
            rig.executor.submit(commit)
        await rig.until(3)
        assert [(height, name) for height, name, _ in rig.executed] == [
            (each.proposal.header.height, each.proposal.header.block_hash) for each in made
        ]
        tip = rig.store.tip()
        assert tip is not None
        assert (tip.height, tip.state_root, tip.envelopes_total) == (3, rig.executed[-1][2], 6)
        assert [each.code for each in rig.store.block_receipts(1)] == ["", "", ""]
        assert rig.pool.own_envelopes() == ()


async def test_same_blocks_give_the_same_roots_alone_or_together(tmp_path: Path) -> None:
    """A node that catches up in large steps must arrive where the others arrived in small ones."""
    roots = []
    for name, singly in (("a", True), ("b", False)):
        async with rig_of(tmp_path / name) as rig:
            batches = batches_of(*([number] for number in range(6)))
            rig.hold(*batches)
            for commit in commits(rig.genesis, [[each] for each in batches]):
                rig.executor.submit(commit)
                if singly:
                    await rig.until(commit.proposal.header.height)
            await rig.until(6)
            roots.append([root for _, _, root in rig.executed])
    assert roots[0] == roots[1]
    assert len(set(roots[0])) == 6


async def test_envelope_ordered_twice_executes_once_and_keeps_its_first_receipt(tmp_path: Path) -> None:
    """Clients post to several validators; batches overlap."""
    async with rig_of(tmp_path) as rig:
        one, two, three = batches_of([1, 2], [2, 3], [1, 4])
        rig.hold(one, two, three)
        for commit in commits(rig.genesis, [[one, two], [three]]):
            rig.executor.submit(commit)
        await rig.until(2)
        ids = [each.id for each in envelopes_of([1, 2, 3, 4])]
        assert [(rig.store.receipts(ids)[each].height, rig.store.receipts(ids)[each].code) for each in ids] == [
            (1, ""),
            (1, ""),
            (1, ""),
            (2, ""),
        ]
        assert [len(rig.store.block_receipts(height)) for height in (1, 2)] == [3, 1]


async def test_batch_ordered_twice_executes_once(tmp_path: Path) -> None:
    """A leader may order a batch that is committed already; it comes back from the store and moves nothing."""
    async with rig_of(tmp_path) as rig:
        [batch] = batches_of([1, 2])
        rig.hold(batch)
        for commit in commits(rig.genesis, [[batch], [batch, batch]]):
            rig.executor.submit(commit)
            await rig.until(commit.proposal.header.height)
        assert len(rig.store.block_receipts(1)) == 2
        assert rig.store.block_receipts(2) == ()


async def test_receipt_is_given_only_after_the_block_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt that a client was given is never lost: at the moment of delivery the store already has it."""
    async with rig_of(tmp_path) as rig:
        [batch] = batches_of([1])
        rig.hold(batch)
        seen: list[bool] = []
        deliver = rig.waits.deliver

        def check(receipts: Sequence[object]) -> None:
            tip = rig.store.tip()
            seen.append(tip is not None and tip.height == 1 and rig.store.has_receipt(batch.envelopes[0].id))
            deliver(receipts)  # type: ignore[arg-type]

        monkeypatch.setattr(rig.waits, "deliver", check)
        async with trio.open_nursery() as nursery:

            async def client() -> None:
                [receipt] = (await rig.waits.wait_many([batch.envelopes[0].id], 10)).values()
                assert receipt.applied

            nursery.start_soon(client)
            await wait_all_tasks_blocked(QUIET_S)
            rig.executor.submit(commits(rig.genesis, [[batch]])[0])
        assert seen == [True]


async def test_expired_envelope_is_answered_but_leaves_no_receipt(tmp_path: Path) -> None:
    """A client that waits learns that its envelope came too late; the chain stores nothing of it."""
    async with rig_of(tmp_path) as rig:
        dead = FORMAT.seal(0, 0, envelopes_of([1]))
        rig.hold(dead)
        envelope_id = dead.envelopes[0].id
        length = (EXPIRES_AT_UNIX_MS - rig.genesis.time_unix_ms) // 1_000 if rig.genesis.time_unix_ms else 60
        payloads: list[list[Batch]] = [[] for _ in range(length)]
        payloads[-1] = [dead]
        answers: list[Receipt] = []
        async with trio.open_nursery() as nursery:

            async def client() -> None:
                answers.extend((await rig.waits.wait_many([envelope_id], 15)).values())

            nursery.start_soon(client)
            await wait_all_tasks_blocked(QUIET_S)
            for commit in commits(rig.genesis, payloads):
                rig.executor.submit(commit)
        assert [each.code for each in answers] == ["expired"]
        assert not rig.store.has_receipt(envelope_id)


async def test_missing_batch_is_fetched_before_its_block_executes(tmp_path: Path) -> None:
    """Execution waits for a withheld batch and goes on when anyone sends it."""
    async with rig_of(tmp_path) as rig:
        batch = FORMAT.seal(2, 0, envelopes_of([1]))
        asked = trio.Event()
        rig.hub.drop = lambda sender, recipient, kind: asked.set() is None
        rig.executor.submit(commits(rig.genesis, [[batch]])[0])
        await asked.wait()
        assert rig.executed == []
        peer, request = rig.wire.sent_of(FrameKind.BATCH_REQUEST)[0]
        assert request == batch.digest
        await rig.pool.handle(peer, FrameKind.BATCH_RESPONSE, batch.wire)
        await rig.until(1)
        assert rig.store.batch(batch.digest) == batch.wire


async def test_backlog_of_a_slow_executor_is_bounded_in_bytes_and_executes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 28: others go on while our disk hangs; 256 blocks of full batches would be gigabytes. What left memory comes
    back from those who voted for its block."""
    held_max = 3
    async with rig_of(tmp_path) as rig, trio.open_nursery() as nursery:
        batches = batches_of(*([number] for number in range(1, 13)))
        monkeypatch.setattr(batch_table, "ORDERED_BYTES_MAX", held_max * batches[0].memory_bytes + 100)
        rig.hold(*batches)
        asked: list[bytes] = []

        async def give(peer: int, sender: int, kind: FrameKind, payload: bytes) -> None:
            if kind is FrameKind.BATCH_REQUEST:
                for digest in split_digests(payload, REQUEST_DIGESTS_MAX):
                    asked.append(digest)
                    wire = next(each.wire for each in batches if each.digest == digest)
                    rig.hub.wires[peer].send(sender, FrameKind.BATCH_RESPONSE, wire)

        for commit in commits(rig.genesis, [[each] for each in batches]):
            rig.executor.submit(commit)
        assert [each for each in batches if rig.pool.unwritten([each.digest])] == batches[:held_max]
        late = FORMAT.seal(1, 0, envelopes_of([99]))
        rig.executor.submit(commits(rig.genesis, [*([each] for each in batches), [late]])[-1])
        await rig.pool.handle(1, FrameKind.BATCH, late.wire)
        assert rig.pool._verifier.waiting(1) == 0
        batches.append(late)
        rig.hub.handlers[0] = rig.pool.handle
        for peer in range(4):
            rig.hub.handlers.setdefault(peer, partial(give, peer))
            nursery.start_soon(rig.hub.run, peer)
        await rig.until(len(batches))
        assert set(asked) == {each.digest for each in batches[held_max:]}
        assert all(rig.store.batch(each.digest) == each.wire for each in batches)
        nursery.cancel_scope.cancel()


async def test_block_committed_again_is_ignored_and_a_gap_is_our_own_bug(tmp_path: Path) -> None:
    """Sync may deliver a committed block again; a hole in the chain can only be our mistake."""
    async with rig_of(tmp_path) as rig:
        first, _, third = commits(rig.genesis, [[], [], []])
        rig.executor.submit(first)
        await rig.until(1)
        rig.executor.submit(first)
        assert rig.reports.kinds == ["committed_again"]
        with pytest.raises(InvariantViolation):
            rig.executor.submit(third)


async def test_restart_goes_on_from_the_last_block_with_the_same_state(tmp_path: Path) -> None:
    """kill -9 at any moment between blocks changes nothing."""
    reference, restarted = tmp_path / "reference", tmp_path / "restarted"
    batches = batches_of([1], [2], [3], [1, 4])
    roots: dict[Path, list[bytes]] = {reference: [], restarted: []}
    async with rig_of(reference) as rig:
        made = commits(rig.genesis, [[each] for each in batches])
        rig.hold(*batches)
        for commit in made:
            rig.executor.submit(commit)
        await rig.until(4)
        roots[reference] = [root for _, _, root in rig.executed]
    for commit, batch in zip(made, batches, strict=True):
        async with rig_of(restarted) as rig:
            rig.hold(batch)
            rig.executor.submit(commit)
            await rig.until(commit.proposal.header.height)
            roots[restarted].append(rig.executed[-1][2])
    assert roots[restarted] == roots[reference]


async def test_state_that_does_not_match_its_root_is_refused_at_start(tmp_path: Path) -> None:
    """A validator with a wrong state must not take part."""
    async with rig_of(tmp_path) as rig:
        [batch] = batches_of([1])
        rig.hold(batch)
        rig.executor.submit(commits(rig.genesis, [[batch]])[0])
        await rig.until(1)
    store = Store.open(tmp_path, CHAIN_ID)
    key, value = next((key, value) for key, value in store.state_entries() if b"A1" in key)
    store._db.delete(b"s" + key)
    with pytest.raises(StorageFailure, match=r"cannot rebuild the state: its root at height 1 .*data/ledger"):
        open_state(DOCUMENT, store)
    store._db.put(b"s" + key, value)
    assert open_state(DOCUMENT, store)[0].height == 1
    store.close()


async def test_query_sees_the_state_between_blocks(tmp_path: Path) -> None:
    """Half a block is no state."""
    async with rig_of(tmp_path) as rig:
        heights = []
        for commit in commits(rig.genesis, [[]] * 5):
            rig.executor.submit(commit)
            heights.append(await rig.executor.read(lambda state: state.height))
        await rig.until(5)
        assert await rig.executor.read(lambda state: state.height) == 5
        assert heights == sorted(heights)


async def test_intake_forgets_what_was_executed(tmp_path: Path) -> None:
    """What has its receipt is refused as replayed from then on, not accepted as still waiting."""
    async with rig_of(tmp_path) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.intake.run)
        assert (await rig.intake.submit([envelope_wire(1)]))[0].accepted
        [batch] = batches_of([1])
        rig.hold(batch)
        rig.executor.submit(commits(rig.genesis, [[batch]])[0])
        await rig.until(1)
        assert [each.code for each in await rig.intake.submit([envelope_wire(1)])] == ["replayed"]
        nursery.cancel_scope.cancel()


async def test_envelope_that_lives_too_long_as_yet_leaves_its_client_without_an_outcome(tmp_path: Path) -> None:
    """Its bytes may execute when they are ordered again: who is told of a rejection might sign another in its place."""
    wire = envelope_wire(1, expires_at=T0_UNIX_MS + PARAMS.envelope_lifetime_ms_max + 2_000)
    batch = FORMAT.seal(0, 0, verify_all([decode_envelope(wire, CHAIN_ID, PARAMS)]))
    answers: list[Receipt] = []
    async with rig_of(tmp_path) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(rig.intake.run)
        assert (await rig.intake.submit([wire]))[0].accepted
        rig.hold(batch)

        async def client() -> None:
            answers.extend((await rig.waits.wait_many([batch.envelopes[0].id], 15)).values())
            nursery.cancel_scope.cancel()

        nursery.start_soon(client)
        await wait_all_tasks_blocked(QUIET_S)
        first, second = commits(rig.genesis, [[batch], [batch]])
        rig.executor.submit(first)
        await rig.until(1)
        await wait_all_tasks_blocked(QUIET_S)
        assert (answers, rig.waits.waiting) == ([], 1)
        assert rig.intake._live == {}
        rig.executor.submit(second)
    assert [(each.height, each.code) for each in answers] == [(2, "")]


@pytest.mark.parametrize(("due", "in_place"), [(0, True), (IN_PLACE_US_MAX // SYSTEM_US, False)])
async def test_due_system_work_is_done_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: int, in_place: bool
) -> None:
    """An empty block may settle thousands of positions; peers and clients are served meanwhile."""
    asked: list[int] = []
    threads: list[int] = []

    def system_work(state: State, time_unix_ms: int) -> int:
        asked.append(time_unix_ms)
        return due

    def apply(state: State, block: BlockInput) -> BlockOutput:
        threads.append(threading.get_ident())
        return apply_block(state, block)

    monkeypatch.setattr("node.executor.system_work", system_work)
    monkeypatch.setattr("node.executor.apply_block", apply)
    async with rig_of(tmp_path) as rig:
        made = commits(rig.genesis, [[], []])
        for commit in made:
            rig.executor.submit(commit)
        await rig.until(2)
    assert asked == [made[-1].proposal.header.time_unix_ms]
    assert [each == threading.get_ident() for each in threads] == [in_place] * 2


@pytest.mark.parametrize(("operation", "in_place"), [(("account.open", "X/a"), True), (("program.store", "c0"), False)])
async def test_programs_are_verified_and_run_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: tuple[str, str], in_place: bool
) -> None:
    """One envelope may ask for a fifth of a second of it; the loop that votes must not wait for that."""
    threads: list[int] = []

    def apply(state: State, block: BlockInput) -> BlockOutput:
        threads.append(threading.get_ident())
        return apply_block(state, block)

    monkeypatch.setattr("node.executor.apply_block", apply)
    kind, value = operation
    wire = build_operation(kind, {KINDS[kind].fields[0].name: value})
    signed = sign_envelope(CHAIN_ID, [GOVERNOR], [wire], EXPIRES_AT_UNIX_MS, bytes(16))
    batch = FORMAT.seal(0, 0, verify_all([decode_envelope(signed, CHAIN_ID, PARAMS)]))
    async with rig_of(tmp_path) as rig:
        rig.hold(batch)
        rig.executor.submit(commits(rig.genesis, [[batch]])[0])
        await rig.until(1)
    assert [each == threading.get_ident() for each in threads] == [in_place]
