"""Executes committed blocks, strictly in order of height, and makes their outcome durable before anyone hears of it.

Rules:

1. `submit` takes blocks in the order in which they were committed. Each is executed when every batch it orders is here;
   a missing one is fetched for as long as it takes, since a quorum that voted for the block holds it.
2. Blocks that wait together are executed together and share one synced write.
3. Only after the write has been synced do receipts go out. The replica learns the root before: whatever the disk does,
   executing the block again gives the same root, so a vote that names it promises nothing that a crash could take.
4. An envelope that is ordered twice executes once: the state machine refuses it the second time, and a refusal is never
   stored. Whoever waits hears of a refusal only if it is final (`FINAL_REFUSALS`). A replay has its real receipt. An
   envelope whose lifetime is too long as yet may execute when its bytes are ordered again: a client that heard of a
   rejection might sign another in its place. So its wait goes on and ends without an outcome.
5. At start-up the state is rebuilt from the store and its root must be the one that was stored with the last block.
6. At the edge of an epoch the replica learns the root after the write, for what it does then rests on the whole epoch.

Reading the state while a block changes it would show half a block, so queries go through `read`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from consensus.events import Commit
from consensus.types import Header, genesis_header, genesis_qc
from contracts.machine import (
    BlockInput,
    BlockOutput,
    State,
    apply_block,
    genesis_state,
    restore_state,
    system_work,
)
from contracts.operations import CONTRACT_CODES
from contracts.receipts import encode_receipt
from genesis.document import GenesisDocument
from genesis.epochs import is_edge
from genesis.errors import Rejected, invariant, violated
from node.batch_pool import BatchPool, ReportLine
from node.batches import Batch
from node.failures import StorageFailure
from node.intake import Intake
from node.offload import Offload
from node.receipt_waits import ReceiptWaits
from node.store import RESYNC, BlockWrite, CommittedBlock, Digested, Store

GROUP_BLOCKS_MAX: Final = 32
GROUP_BATCHES_MAX: Final = 64
FINAL_REFUSALS: Final = frozenset({"expired"})
"""Block time only moves forward: what came too late stays too late."""

BLOCK_US: Final = 100
"""The state machine's work for an empty block, or the store's write of one."""

ENVELOPE_US: Final = 40
"""The state machine's work for one trade."""

CONTRACT_US: Final = 1_000
"""And for one operation on a contract, which may run a program: more than is ever done in the event loop."""

SYSTEM_US: Final = 25
"""The state machine's work for one position, sample or replay entry that the system step touches, at most."""

ENTRY_US: Final = 3
"""The store's work for one entry."""

_T = TypeVar("_T")


def open_state(document: GenesisDocument, store: Store) -> tuple[State, Header]:
    """The state at the store's tip, and block 0. An empty store begins with the genesis state. Blocks.

    Raises:
        StorageFailure: The stored state is not the one the last block left.
    """
    state = genesis_state(document)
    header = genesis_header(document.chain_id, state.time_unix_ms, state.root)
    tip = store.tip()
    if tip is None:
        qc = genesis_qc(header.block_hash)
        block = CommittedBlock(0, header.block_hash, qc, state.root, state.time_unix_ms, 0, 0, 0)
        store.begin(block, state.entries())
        return state, header
    try:
        state = restore_state(document, store.state_entries())
    except Rejected as rejected:
        raise _unusable(str(rejected)) from rejected
    if (state.height, state.root) != (tip.height, tip.state_root):
        raise _unusable(
            f"its root at height {state.height} is {state.root.hex()}, "
            f"and the last block, {tip.height}, left {tip.state_root.hex()}"
        )
    return state, header


def _unusable(reason: str) -> StorageFailure:
    return StorageFailure("rebuild the state", reason, RESYNC)


@dataclass(frozen=True, slots=True)
class _Work:
    """A committed block with its batches at hand."""

    commit: Commit
    batches: tuple[Batch, ...]
    unwritten: Sequence[Digested]


@dataclass(frozen=True, slots=True)
class _Done:
    """A block that has been executed, and what it leaves to write."""

    write: BlockWrite
    output: BlockOutput

    @property
    def block(self) -> CommittedBlock:
        """Its record."""
        return self.write.block

    @property
    def payload(self) -> tuple[bytes, ...]:
        """The batches that it ordered."""
        return self.write.proposal.header.payload


def _nobody() -> None:
    """The default for `on_durable`."""


def _never(height: int) -> bool:
    """The default for `is_awaited`."""
    return False


class Executor:
    """Owns the state machine's state. `run` is its loop.

    Args:
        state: The state at the store's tip (`open_state`).
        store, pool, receipts, intake: Where blocks go, batches come from, receipts are awaited, ids are remembered.
        on_executed: Called with (height, block hash, state root) for each block, in order, once it is executed.
        report: Called with what an operator should know of.
        on_durable: Called whenever blocks have been written, before the next ones are.
        is_awaited: Whether `on_durable` shall be called right after the block of this height, before the next.
    """

    def __init__(
        self,
        state: State,
        store: Store,
        pool: BatchPool,
        receipts: ReceiptWaits,
        intake: Intake,
        on_executed: Callable[[int, bytes, bytes], None],
        report: ReportLine,
        on_durable: Callable[[], None] = _nobody,
        is_awaited: Callable[[int], bool] = _never,
    ) -> None:
        self._on_durable = on_durable
        self._is_awaited = is_awaited
        self._state = state
        self._store = store
        self._pool = pool
        self._receipts = receipts
        self._intake = intake
        self._on_executed = on_executed
        self._report = report
        self._queue: deque[Commit] = deque()
        self._submitted = state.height
        self._wakeup = trio.Event()
        self._state_lock = trio.Lock()
        self._applying = Offload()

    def attach(self, pool: BatchPool) -> None:
        """Batches come from there from now on. At an edge, where nothing waits for execution."""
        invariant(not self._queue, "nothing waits for execution between two validator sets")
        self._pool = pool

    def submit(self, commit: Commit) -> None:
        """Execute this block after those before it; returns at once. A block that was submitted before is ignored."""
        header = commit.proposal.header
        if header.height <= self._submitted:
            self._report("committed_again", {"height": header.height, "submitted": self._submitted})
            return
        invariant(
            header.height == self._submitted + 1, "Blocks commit in order.", got=header.height, last=self._submitted
        )
        self._submitted = header.height
        self._pool.order(header.payload)
        self._queue.append(commit)
        self._wakeup.set()

    async def read(self, query: Callable[[State], _T]) -> _T:
        """The answer of a query that sees the state between two blocks. The query must be short: blocks wait for it."""
        async with self._state_lock:
            return query(self._state)

    async def run(self) -> None:
        """Execute what is submitted until cancelled."""
        while True:
            group = self._take()
            if not group:
                self._wakeup = trio.Event()
                await self._wakeup.wait()
                continue
            work = await self._gather(group)
            async with self._state_lock:
                done = await self._applying.run(self._apply_cost_us(work), self._execute, work)
                edges = [each for each in done if self._is_edge(each.block.height)]
                self._tell([each for each in done if each not in edges])
                writes = [each.write for each in done]
                await self._store.writes.run(_write_cost_us(writes), self._store.commit, writes)
            self._on_durable()
            self._tell(edges)
            for each in done:
                self._publish(each)

    def _tell(self, done: Sequence[_Done]) -> None:
        for each in done:
            self._on_executed(each.block.height, each.block.block_hash, each.block.state_root)

    def _is_edge(self, height: int) -> bool:
        return is_edge(height, self._state.limits.epoch_blocks)

    def _take(self) -> list[Commit]:
        """The next blocks, as many as share one write without holding too many batches in memory."""
        group: list[Commit] = []
        batches = 0
        while self._queue and len(group) < GROUP_BLOCKS_MAX:
            batches += len(self._queue[0].proposal.header.payload)
            if group and batches > GROUP_BATCHES_MAX:
                break
            group.append(self._queue.popleft())
            if self._is_awaited(group[-1].proposal.header.height):
                break
        return group

    async def _gather(self, group: Sequence[Commit]) -> list[_Work]:
        digests = [each for commit in group for each in commit.proposal.header.payload]
        try:
            await self._pool.ensure(digests, group[0].proposal.header.proposer)
        except Rejected as rejected:
            violated("A quorum committed a batch that is invalid here.", why=str(rejected))
        written: set[bytes] = set()
        work = []
        for commit in group:
            payload = [each for each in commit.proposal.header.payload if each not in written]
            unwritten = self._pool.unwritten(payload)
            written.update(digest for digest, _ in unwritten)
            batches = tuple(self._pool.batch(each) for each in commit.proposal.header.payload)
            work.append(_Work(commit, batches, unwritten))
        return work

    def _execute(self, work: Sequence[_Work]) -> list[_Done]:
        """Run the state machine over the blocks; nothing is written yet."""
        tip = self._store.tip()
        total = tip.envelopes_total if tip is not None else 0
        done: list[_Done] = []
        for each in work:
            header = each.commit.proposal.header
            envelopes = [envelope for batch in each.batches for envelope in batch.envelopes]
            output = apply_block(self._state, BlockInput(header.height, header.time_unix_ms, envelopes))
            total += len(output.receipts)
            block = _committed_block(each.commit, output, total)
            receipts = [(receipt.envelope_id, encode_receipt(receipt)) for receipt in output.receipts]
            write = BlockWrite(block, each.commit.proposal, each.unwritten, receipts, output.writes)
            done.append(_Done(write, output))
        return done

    def _publish(self, done: _Done) -> None:
        """Tell everyone who waits; the block is durable."""
        block, output = done.block, done.output
        self._pool.executed(done.payload, block.time_unix_ms)
        self._intake.executed([each.envelope_id for each in (*output.receipts, *output.refused)], block.time_unix_ms)
        self._receipts.deliver([*output.receipts, *(each for each in output.refused if each.code in FINAL_REFUSALS)])
        for alarm in output.alarms:
            self._report("conservation_alarm", {"height": block.height, "alarm": str(alarm)})

    def _apply_cost_us(self, work: Sequence[_Work]) -> int:
        """About how long `_execute` takes. What the last block's time makes due is done by one of these blocks."""
        envelopes = [envelope for each in work for batch in each.batches for envelope in batch.envelopes]
        contracts = sum(operation[0] in CONTRACT_CODES for each in envelopes for operation in each.operations)
        due = system_work(self._state, work[-1].commit.proposal.header.time_unix_ms)
        return len(work) * BLOCK_US + len(envelopes) * ENVELOPE_US + contracts * CONTRACT_US + due * SYSTEM_US


def _write_cost_us(writes: Sequence[BlockWrite]) -> int:
    return BLOCK_US + ENTRY_US * sum(len(each.receipts) + len(each.state_writes) for each in writes)


def _committed_block(commit: Commit, output: BlockOutput, envelopes_total: int) -> CommittedBlock:
    header = commit.proposal.header
    return CommittedBlock(
        height=header.height,
        block_hash=header.block_hash,
        qc=commit.qc,
        state_root=output.root,
        time_unix_ms=header.time_unix_ms,
        envelopes=len(output.receipts),
        applied=sum(1 for each in output.receipts if each.applied),
        envelopes_total=envelopes_total,
    )
