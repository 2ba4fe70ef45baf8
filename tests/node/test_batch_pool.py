"""The pool and its fetching between validators in memory: docs/FAULTS.md rows 14, 16, 28, 29, 31 and 48."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from genesis.codec import Value, encode
from genesis.envelope import SALT_BYTES, sign_envelope
from genesis.errors import Rejected
from node.batch_pool import BatchPool
from node.batch_table import BLOCKS_UNDER_DECISION
from node.batches import COPIES, Batch
from node.frames import FrameKind
from node.store import Store
from tests.node.dataplane import (
    CHAIN_ID,
    EXPIRES_AT_UNIX_MS,
    FORMAT,
    GOVERNOR,
    PARAMS,
    T0_UNIX_MS,
    Hub,
    Reports,
    Waiting,
    Wire,
    bad_signature_wire,
    chain_of,
    deadline,
    envelope_wire,
    envelopes_of,
    open_store,
    pool_of,
    write_of,
)
from tests.node.thread_clock import ThreadsAtWork

pytestmark = pytest.mark.trio

QUIET_S = 0.05
"""Real time without activity after which a test looks again, or goes on."""


@pytest.fixture
def clock(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock that jumps only when the worker threads are idle too."""
    ThreadsAtWork(autojump_clock, monkeypatch)
    return autojump_clock


@dataclass
class Node:
    """One validator's pool and what surrounds it."""

    pool: BatchPool
    wire: Wire
    store: Store
    waiting: Waiting
    reports: Reports

    async def until_offers(self, *batches: Batch) -> None:
        """Wait until exactly these batches can be proposed."""
        await self.waiting.until(lambda: set(self.pool.offer(frozenset(), 100)) == {each.digest for each in batches})


@asynccontextmanager
async def cluster(tmp_path: Path, **limits: int) -> AsyncIterator[tuple[Hub, list[Node]]]:
    """Four running pools on one network."""
    hub = Hub(4)
    nodes = []
    async with deadline() as nursery:
        for index in range(4):
            waiting, reports, store = Waiting(), Reports(), open_store(tmp_path / str(index))
            pool = pool_of(index, hub.wires[index], store, waiting, reports, **limits)
            nodes.append(Node(pool, hub.wires[index], store, waiting, reports))
            hub.handlers[index] = pool.handle
            nursery.start_soon(hub.run, index)
            nursery.start_soon(pool.run)
        yield hub, nodes
    for node in nodes:
        node.store.close()


def batch_of(author: int, number: int, numbers: Sequence[int] | None = None) -> Batch:
    """A batch with envelopes of its own."""
    return FORMAT.seal(author, number, envelopes_of(numbers if numbers is not None else [author * 1_000 + number]))


async def test_batch_is_proposable_everywhere_once_a_quorum_holds_it(tmp_path: Path) -> None:
    """Any leader may order any validator's batches, and only those that the others need not wait for."""
    async with cluster(tmp_path) as (_, nodes):
        batch = batch_of(1, 0)
        nodes[1].pool.add_own(batch)
        for node in nodes:
            await node.until_offers(batch)
            assert node.pool.batch(batch.digest) == batch
        assert nodes[1].pool.own_unacknowledged == 0


async def test_batch_without_a_quorum_is_not_proposable(tmp_path: Path, clock: object) -> None:
    """The author and one other are two of four: a block of such batches would wait for fetches."""
    async with cluster(tmp_path) as (hub, nodes):
        hub.up = {1, 2}
        nodes[1].pool.add_own(batch_of(1, 0))
        await trio.sleep(5)
        assert nodes[1].pool.offer(frozenset(), 10) == nodes[2].pool.offer(frozenset(), 10) == ()
        hub.up = {1, 2, 3}
        await nodes[2].waiting.until(lambda: len(nodes[2].pool.offer(frozenset(), 10)) == 1)


async def test_lost_batches_and_acknowledgements_are_sent_again(tmp_path: Path, clock: object) -> None:
    """Nothing is sent only once: a link that was down for a moment must not strand a client's envelope."""
    async with cluster(tmp_path) as (hub, nodes):
        hub.drop = lambda sender, recipient, kind: True
        batch = batch_of(1, 0)
        nodes[1].pool.add_own(batch)
        await trio.sleep(0.1)
        hub.drop = lambda sender, recipient, kind: kind is FrameKind.BATCH_ACK and trio.current_time() < 2
        for node in nodes:
            await node.until_offers(batch)


async def test_acknowledgement_may_overtake_its_batch(tmp_path: Path) -> None:
    """Lanes are independent: acknowledgements from fast peers come before the batch itself."""
    async with cluster(tmp_path) as (hub, nodes):
        batch = batch_of(1, 0)
        hub.drop = lambda sender, recipient, kind: sender != 3
        for peer in (1, 2):
            await nodes[0].pool.handle(peer, FrameKind.BATCH_ACK, batch.digest)
        assert nodes[0].pool.offer(frozenset(), 1) == ()
        await nodes[0].pool.handle(1, FrameKind.BATCH, batch.wire)
        await nodes[0].until_offers(batch)


async def test_batch_with_one_bad_signature_is_refused_and_its_author_cut(tmp_path: Path) -> None:
    """Its author vouched for it; nobody else is to blame, and nothing of it stays."""
    async with cluster(tmp_path) as (_, nodes):
        wire = encode([1, 0, [envelope_wire(1), bad_signature_wire(2)]])
        good = batch_of(3, 0)
        await nodes[0].pool.handle(1, FrameKind.BATCH, wire)
        await nodes[0].pool.handle(3, FrameKind.BATCH, good.wire)
        await nodes[0].pool.ensure([good.digest], 3)
        assert [peer for peer, _ in nodes[0].wire.cuts] == [1]
        assert "bad_signature" in str(nodes[0].wire.cuts[0][1])
        assert nodes[0].wire.sent_of(FrameKind.BATCH_ACK) == [(peer, good.digest) for peer in (1, 2, 3)]
        with pytest.raises(Rejected, match="bad_signature"):
            await nodes[0].pool.ensure([FORMAT.digest(wire)], 1)
        with pytest.raises(Rejected, match="bad_signature"):
            await nodes[0].pool.handle(1, FrameKind.BATCH, wire)


async def test_stolen_batch_costs_the_thief_and_not_its_author(tmp_path: Path) -> None:
    """Otherwise one validator could have every other's batches refused by sending them first."""
    async with cluster(tmp_path) as (_, nodes):
        batch = batch_of(1, 0)
        await nodes[0].pool.handle(2, FrameKind.BATCH, batch.wire)
        while not nodes[0].wire.cuts:
            await wait_all_tasks_blocked(QUIET_S)
        assert [(peer, why.code) for peer, why in nodes[0].wire.cuts] == [(2, "wrong_author")]
        await nodes[0].pool.handle(1, FrameKind.BATCH, batch.wire)
        await nodes[0].pool.ensure([batch.digest], 1)
        assert nodes[0].pool.batch(batch.digest) == batch


async def test_author_beyond_its_quota_is_dropped_and_others_are_not_delayed(tmp_path: Path, clock: object) -> None:
    """A validator that floods us, or never gets its batches ordered, fills its own quota and nothing else."""
    async with cluster(tmp_path, batches_open_per_author_max=4) as (_, nodes):
        flood = [batch_of(1, number) for number in range(10)]
        other = batch_of(2, 0)
        for batch in flood:
            await nodes[0].pool.handle(1, FrameKind.BATCH, batch.wire)
        await nodes[0].pool.handle(2, FrameKind.BATCH, other.wire)
        await nodes[0].pool.ensure([other.digest, *(each.digest for each in flood[:4])], 1)
        await trio.sleep(1.5 * PARAMS.resend_interval_ms / 1000)
        values = {"author": 1, "dropped": 6, "open": 4, "open_bytes": sum(each.memory_bytes for each in flood[:4])}
        assert nodes[0].reports.lines == [("batch_over_quota", values)]
        assert [nodes[0].pool.holds([each.digest]) for each in flood] == [True] * 4 + [False] * 6
        nodes[0].pool.order([flood[0].digest])
        await nodes[0].pool.handle(1, FrameKind.BATCH, flood[4].wire)
        await nodes[0].pool.ensure([flood[4].digest], 1)
        assert nodes[0].wire.cuts == []


def stuffed(number: int, field: Value, count: int = 1) -> bytes:
    """A batch of author 1 whose only envelope holds `count` operations with this field; who signs it is nobody."""
    expires_at = EXPIRES_AT_UNIX_MS
    wire = sign_envelope(CHAIN_ID, [GOVERNOR], [(9_999, field)] * count, expires_at, number.to_bytes(SALT_BYTES, "big"))
    return encode([1, number, [wire]])


@pytest.mark.parametrize(
    ("field", "count"), [(bytes(60_000), 1), (((300,),) * 4_000, 3)], ids=["opaque bytes", "tuples in tuples"]
)
async def test_authors_batches_are_bounded_by_what_they_take_decoded(tmp_path: Path, field: Value, count: int) -> None:
    """Row 48: 64 batches of 1 MB are 192 MB, and two gigabytes where two bytes of each decode into a tuple of 72."""
    quota = 4 * 2**20
    async with cluster(tmp_path, batches_open_bytes_per_author_max=quota) as (_, nodes):
        pool = nodes[0].pool
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(60):
            await pool.handle(1, FrameKind.BATCH, stuffed(number, field, count))
            assert max(pool._table.quotas.open_bytes(1), COPIES * pool._verifier.waiting_bytes(1)) <= quota
            await wait_all_tasks_blocked(0.001)
        while pool._verifier.waiting(1):
            await wait_all_tasks_blocked(QUIET_S)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0 < pool._table.quotas.open(1) < 60
        assert len(pool._table) == pool._table.quotas.open(1)
        assert after - before < quota + 2**19
        other = batch_of(2, 0)
        await pool.handle(2, FrameKind.BATCH, other.wire)
        await pool.ensure([other.digest], 2)


async def test_one_batch_is_taken_whatever_it_weighs(tmp_path: Path) -> None:
    """An honest author cannot know what its clients' envelopes take elsewhere; it must get on, one by one."""
    async with cluster(tmp_path, batches_open_bytes_per_author_max=65_536) as (_, nodes):
        pool = nodes[0].pool
        first, second = (FORMAT.open(stuffed(number, bytes(60_000)), bytes([number]) * 32, 1) for number in range(2))
        for batch in (first, second):
            await pool.handle(1, FrameKind.BATCH, batch.wire)
        await pool.ensure([FORMAT.digest(first.wire)], 1)
        assert pool._table.quotas.open(1) == 1
        pool.order([FORMAT.digest(first.wire)])
        assert pool._table.quotas.open_bytes(1) == 0
        await pool.handle(1, FrameKind.BATCH, second.wire)
        await pool.ensure([FORMAT.digest(second.wire)], 1)
        assert pool._table.quotas.open(1) == 1


async def test_offer_takes_turns_between_authors_oldest_first(tmp_path: Path) -> None:
    """No author can crowd out another, and nobody's old batch waits behind his new one."""
    async with cluster(tmp_path) as (_, nodes):
        batches = {author: [batch_of(author, number) for number in range(3)] for author in range(3)}
        for author, made in batches.items():
            for batch in made:
                nodes[author].pool.add_own(batch)
        await nodes[3].until_offers(*(each for made in batches.values() for each in made))
        assert {nodes[3].pool.offer(frozenset(), 1)[0] for _ in range(4)} == {
            made[0].digest for made in batches.values()
        }
        for _ in range(4):
            first_three = nodes[3].pool.offer(frozenset(), 3)
            assert set(first_three) == {made[0].digest for made in batches.values()}
        without = frozenset(made[0].digest for made in batches.values())
        assert set(nodes[3].pool.offer(without, 3)) == {made[1].digest for made in batches.values()}
        assert len(nodes[3].pool.offer(without, 100)) == 6


async def test_withheld_batch_is_fetched_from_whoever_holds_it(tmp_path: Path, clock: object) -> None:
    """A leader that orders a digest and withholds the batch costs time, not progress."""
    async with cluster(tmp_path) as (hub, nodes):
        batch = batch_of(1, 0)
        hub.drop = lambda sender, recipient, kind: sender == 1 and recipient == 0
        nodes[1].pool.add_own(batch)
        hub.drop = lambda sender, recipient, kind: (
            recipient == 0 and (sender == 1 or kind is not FrameKind.BATCH_RESPONSE)
        )
        await nodes[0].pool.ensure([batch.digest], 1)
        assert nodes[0].pool.batch(batch.digest) == batch
        asked = [peer for peer, _ in nodes[0].wire.sent_of(FrameKind.BATCH_REQUEST)]
        assert asked[0] == 1
        assert set(asked[1:]) <= {2, 3}


async def test_executed_batch_is_served_from_the_store(tmp_path: Path, clock: object) -> None:
    """A node that starts empty fetches batches that the others have long dropped from memory."""
    async with cluster(tmp_path) as (_, nodes):
        batch = batch_of(1, 0)
        [proposal] = chain_of(1, payloads=[[batch.digest]])
        nodes[2].store.commit([write_of(proposal, batches=[(batch.digest, batch.wire)])])
        await nodes[0].pool.ensure([batch.digest], 1)
        assert nodes[0].pool.batch(batch.digest) == batch


async def test_batches_of_a_block_voted_on_come_back_after_a_restart(tmp_path: Path) -> None:
    """The replica restarts with blocks it voted for, whose batches are on its own disk."""
    batch = batch_of(1, 0)
    store = open_store(tmp_path / "0")
    store.sync_proposal(chain_of(1, payloads=[[batch.digest]])[0], [(batch.digest, batch.wire)])
    store.close()
    async with cluster(tmp_path) as (hub, nodes):
        hub.up = {0}
        assert not nodes[0].pool.holds([batch.digest])
        await nodes[0].pool.ensure([batch.digest], 1)
        assert nodes[0].pool.holds([batch.digest])
        assert nodes[0].pool.unwritten([batch.digest]) == []
        assert nodes[0].pool.offer(frozenset(), 1) == ()


async def test_ordered_batch_is_never_offered_again(tmp_path: Path) -> None:
    """Between commit and execution a batch is still here; ordering it twice would be wasted space in a block."""
    async with cluster(tmp_path) as (_, nodes):
        first, second = batch_of(1, 0), batch_of(1, 1)
        nodes[1].pool.add_own(first)
        nodes[1].pool.add_own(second)
        await nodes[0].until_offers(first, second)
        nodes[0].pool.order([first.digest])
        assert nodes[0].pool.offer(frozenset(), 10) == (second.digest,)
        nodes[0].pool.executed([first.digest], T0_UNIX_MS)
        await nodes[0].pool.handle(1, FrameKind.BATCH, first.wire)
        assert first.digest not in nodes[0].pool._verifier
        await wait_all_tasks_blocked(QUIET_S)
        assert nodes[0].pool.offer(frozenset(), 10) == (second.digest,)
        assert not nodes[0].pool.holds([first.digest])


async def test_open_batch_whose_envelopes_are_dead_is_dropped(tmp_path: Path) -> None:
    """Batches that no leader will ever order must give back their place in the quota."""
    async with cluster(tmp_path) as (hub, nodes):
        forgotten, kept = batch_of(1, 0), batch_of(1, 1)
        hub.drop = lambda sender, recipient, kind: True
        for batch in (forgotten, kept):
            await nodes[0].pool.handle(1, FrameKind.BATCH, batch.wire)
        await nodes[0].pool.ensure([kept.digest], 1)
        while "batch_expired" not in nodes[0].reports.kinds:
            nodes[0].pool.executed([], EXPIRES_AT_UNIX_MS)
            await wait_all_tasks_blocked(QUIET_S)
        assert nodes[0].pool.holds([kept.digest])
        assert not nodes[0].pool.holds([forgotten.digest])
        nodes[0].pool.executed([], EXPIRES_AT_UNIX_MS + PARAMS.envelope_lifetime_ms_max)
        assert not nodes[0].pool.holds([kept.digest])


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        (FrameKind.BATCH_ACK, b"", "malformed"),
        (FrameKind.BATCH_ACK, bytes(33), "malformed"),
        (FrameKind.BATCH_REQUEST, bytes(31), "malformed"),
        (FrameKind.BATCH_REQUEST, bytes(32 * 33), "malformed"),
        (FrameKind.BATCH, bytes(PARAMS.batch_bytes_max + 1), "too_large"),
        (FrameKind.BATCH_RESPONSE, bytes(10), "unasked_batch"),
        (FrameKind.CONSENSUS, bytes(10), "unexpected_frame"),
    ],
)
async def test_frame_that_breaks_a_rule_costs_its_sender(
    tmp_path: Path, kind: FrameKind, payload: bytes, code: str
) -> None:
    """Random bytes are a peer's fault: counted, answered with the end of the connection, never a crash."""
    async with cluster(tmp_path) as (_, nodes):
        with pytest.raises(Rejected) as caught:
            await nodes[0].pool.handle(1, kind, payload)
        assert caught.value.code == code


async def test_flood_of_acknowledgements_for_nothing_is_bounded_and_forgets_only_its_own(tmp_path: Path) -> None:
    """A peer that acknowledges batches that do not exist must not push out what honest peers said."""
    async with cluster(tmp_path) as (hub, nodes):
        hub.drop = lambda sender, recipient, kind: True
        batch = batch_of(1, 0)
        await nodes[0].pool.handle(2, FrameKind.BATCH_ACK, batch.digest)
        for number in range(20):
            junk = b"".join((number * 2_048 + each).to_bytes(32, "little") for each in range(2_048))
            await nodes[0].pool.handle(3, FrameKind.BATCH_ACK, junk)
        assert sum(len(each) for each in nodes[0].pool._table._early) <= 1 + PARAMS.batches_open_per_author_max * 4
        await nodes[0].pool.handle(1, FrameKind.BATCH, batch.wire)
        await nodes[0].until_offers(batch)


def put_on_disk(store: Store, batches: Sequence[Batch]) -> None:
    """What a validator has after voting for a block with these batches."""
    [proposal] = chain_of(1, payloads=[[each.digest for each in batches]])
    store.sync_proposal(proposal, [(each.digest, each.wire) for each in batches])


async def up_for_vote(node: Node, batches: Sequence[Batch]) -> None:
    """What the replica does with a proposal that orders these batches."""
    digests = [each.digest for each in batches]
    if not node.pool.holds(digests):
        await node.pool.ensure(digests, 1)


async def test_old_batches_in_blocks_that_nobody_votes_for_leave_memory(tmp_path: Path) -> None:
    """A leader may order long-executed batches under a false anchor in each of its views: that must not fill us up."""
    async with cluster(tmp_path) as (_, nodes):
        node, old = nodes[0], [batch_of(1, number) for number in range(40)]
        put_on_disk(node.store, old)
        node.pool.executed([each.digest for each in old], T0_UNIX_MS)
        for start in range(0, len(old), 8):
            await up_for_vote(node, old[start : start + 8])
            assert len(node.pool._table) <= 8 * BLOCKS_UNDER_DECISION
        for _ in range(BLOCKS_UNDER_DECISION):
            assert node.pool.holds([])
        assert len(node.pool._table) == 0
        assert node.pool._table.quotas.open(1) == 0


async def test_dead_batch_from_disk_is_only_a_guest(tmp_path: Path) -> None:
    """After a restart nothing is remembered as executed; that its envelopes are dead says enough."""
    async with cluster(tmp_path) as (_, nodes):
        node, dead = nodes[0], batch_of(1, 0)
        put_on_disk(node.store, [dead])
        node.pool.executed([], EXPIRES_AT_UNIX_MS)
        await up_for_vote(node, [dead])
        assert node.pool._table.quotas.open(1) == 0
        for _ in range(BLOCKS_UNDER_DECISION):
            node.pool.holds([])
        assert len(node.pool._table) == 0


async def test_guest_stays_for_the_execution_of_its_block(tmp_path: Path) -> None:
    """A block that orders a batch for the second time may be committed all the same; the guest goes after that."""
    async with cluster(tmp_path) as (_, nodes):
        node, old = nodes[0], batch_of(1, 0)
        put_on_disk(node.store, [old])
        node.pool.executed([old.digest], T0_UNIX_MS)
        await up_for_vote(node, [old])
        node.pool.order([old.digest])
        node.pool.order([old.digest])
        for _ in range(BLOCKS_UNDER_DECISION + 1):
            node.pool.holds([])
        assert node.pool.batch(old.digest) == old
        node.pool.executed([old.digest], T0_UNIX_MS)
        assert node.pool.batch(old.digest) == old
        node.pool.executed([old.digest], T0_UNIX_MS)
        assert len(node.pool._table) == 0


async def test_fetched_batches_cannot_pass_their_authors_quota(tmp_path: Path) -> None:
    """A leader may order what a friend withheld, block after block: beyond the quota it stays for its block alone."""
    async with cluster(tmp_path, batches_open_per_author_max=4) as (_, nodes):
        node, batches = nodes[0], [batch_of(1, number) for number in range(12)]
        put_on_disk(nodes[1].store, batches)
        for start in range(0, len(batches), 3):
            await up_for_vote(node, batches[start : start + 3])
        assert node.pool._table.quotas.open(1) == 4
        await node.pool.handle(1, FrameKind.BATCH, batches[-1].wire)
        for _ in range(BLOCKS_UNDER_DECISION):
            node.pool.holds([])
        assert list(node.pool._table) == [each.digest for each in batches[:4]]
        acknowledged = b"".join(payload for _, payload in node.wire.sent_of(FrameKind.BATCH_ACK))
        assert [each.digest in acknowledged for each in batches] == [True] * 4 + [False] * 8
        await node.pool.handle(1, FrameKind.BATCH, batches[-1].wire)
        assert not node.pool.holds([batches[-1].digest])


async def test_batch_whose_envelopes_name_a_far_moment_is_dropped_after_one_lifetime(tmp_path: Path) -> None:
    """No envelope may live longer than that, so a later expiry is no reason to hold its author's place for ever."""
    async with cluster(tmp_path) as (hub, nodes):
        hub.drop = lambda sender, recipient, kind: True
        wire = encode([1, 0, [envelope_wire(1, expires_at=2**48 - 1)]])
        node, digest = nodes[0], FORMAT.digest(wire)
        await node.pool.handle(1, FrameKind.BATCH, wire)
        while digest not in node.pool._table:
            await wait_all_tasks_blocked(QUIET_S)
        node.pool.executed([], T0_UNIX_MS)
        node.pool.executed([], T0_UNIX_MS + PARAMS.envelope_lifetime_ms_max - 1)
        assert list(node.pool._table) == [digest]
        node.pool.executed([], T0_UNIX_MS + PARAMS.envelope_lifetime_ms_max)
        assert len(node.pool._table) == 0
        assert node.pool._table.quotas.open(1) == 0


async def test_batch_of_a_lost_block_is_offered_again_after_a_restart(tmp_path: Path) -> None:
    """Its clients were told that their envelopes are accepted; the block that ordered them may never be decided."""
    async with cluster(tmp_path) as (_, nodes):
        node, batch = nodes[0], batch_of(1, 0)
        put_on_disk(node.store, [batch])
        await up_for_vote(node, [batch])
        for _ in range(BLOCKS_UNDER_DECISION):
            node.pool.holds([])
        for peer in (1, 2):
            await node.pool.handle(peer, FrameKind.BATCH_ACK, batch.digest)
        assert node.pool.offer(frozenset(), 1) == (batch.digest,)
        assert node.pool.unwritten([batch.digest]) == []


async def test_batch_with_receipts_is_not_offered_again_after_a_restart(tmp_path: Path) -> None:
    """Ordering it would execute nothing."""
    async with cluster(tmp_path) as (_, nodes):
        node, batch = nodes[0], batch_of(1, 0)
        [proposal] = chain_of(1, payloads=[[batch.digest]])
        receipts = [(batch.envelopes[0].id, b"receipt")]
        node.store.commit([replace(write_of(proposal, batches=[(batch.digest, batch.wire)]), receipts=receipts)])
        await up_for_vote(node, [batch])
        for peer in (1, 2):
            await node.pool.handle(peer, FrameKind.BATCH_ACK, batch.digest)
        assert node.pool.offer(frozenset(), 1) == ()
