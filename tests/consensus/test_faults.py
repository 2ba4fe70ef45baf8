"""Rows of docs/FAULTS.md against a cluster of real cores; the oracles S stand in `tests.consensus.cluster`."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from consensus import events as ev
from consensus.chain import BACKLOG_ANSWERS_MAX
from consensus.safety import fresh_safety
from consensus.types import QC, TC, Certificates, Message, Proposal, Timeout, TimeoutSignature, Vote, genesis_qc
from genesis.document import ENGINES
from tests.consensus.cluster import GENESIS, PARAMS, Cluster, Disk, Link, Node, sign

pytestmark = [pytest.mark.usefixtures("fast_signatures"), pytest.mark.parametrize("engine", ENGINES)]


def everyone(_sender: int, _recipient: int, _message: Message) -> bool:
    """No link is cut."""
    return True


def crash(*nodes: Node) -> None:
    for node in nodes:
        node.crash()


def wipe(node: Node, *, keep_safety: bool) -> None:
    node.disk = Disk(node.disk.safety if keep_safety else None)


def groups(*parts: set[int]) -> Link:
    """Links only inside each part."""
    return lambda sender, recipient, _message: any({sender, recipient} <= part for part in parts)


def timeouts(cluster: Cluster) -> int:
    return max(node.timeouts_sent for node in cluster.nodes)


# --- leaders ----------------------------------------------------------------------------------------------------------


def test_a_silent_leader_delays_a_payload_by_one_view_timeout(engine: str) -> None:
    """Votes go to everyone, so the loss of the next leader does not lose the votes for the block before."""
    cluster = Cluster(engine=engine).start()
    cluster.load(20)
    cluster.run(500)
    crash(cluster.nodes[1])
    alive = [cluster.nodes[index] for index in (0, 2, 3)]
    took_ms = cluster.grow(4, 3_000, alive)
    assert took_ms <= PARAMS.view_timeout_ms * 2 + 200


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        pytest.param(4, 1, id="one short of a quorum of 4"),
        pytest.param(4, 2, id="a quorum of 4"),
        pytest.param(7, 2, id="f + 1 of 7"),
        pytest.param(7, 3, id="one short of a quorum of 7"),
        pytest.param(7, 4, id="a quorum of 7"),
    ],
)
def test_a_proposal_that_reaches_only_some_does_not_stop_the_chain(engine: str, size: int, shown: int) -> None:
    """Row 13: one leader shows its proposals, itself apart, to so many replicas only; all commit nevertheless."""
    cluster = Cluster((1,) * size, engine=engine)
    in_favour = set(range(2, 2 + shown))
    cluster.link = lambda sender, recipient, message: (
        not (isinstance(message, Proposal) and sender == 1 and recipient not in in_favour)
    )
    cluster.start()
    cluster.load(20)
    cluster.grow(20, 30_000)


def test_the_view_timeout_grows_and_is_capped(engine: str) -> None:
    """Row 23: without a quorum nobody floods, and a long outage is not followed by a longer one."""
    cluster = Cluster(engine=engine).start().run(100)
    crash(*cluster.nodes[2:])
    cluster.run(120_000)
    pacemaker = cluster.nodes[0].core._pacemaker
    assert pacemaker.span_ms(0, idle=False) <= PARAMS.view_timeout_ms_max
    pacemaker.view = 10**6
    assert pacemaker.span_ms(0, idle=False) == PARAMS.view_timeout_ms_max


# --- network ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_loss_duplicates_and_reordering_cost_time_only(engine: str, seed: int) -> None:
    """Row 19: 5 % loss, 5 % duplicates, delays from 1 to 100 ms."""
    cluster = Cluster(engine=engine, seed=seed)
    cluster.loss, cluster.duplication, cluster.delay_ms = 0.05, 0.05, (1, 100)
    cluster.start()
    cluster.load(100)
    cluster.run(20_000)
    assert min(cluster.heights) >= 20


@pytest.mark.parametrize(
    ("parts", "goes_on"),
    [(({0, 1}, {2, 3}), set()), (({0}, {1, 2, 3}), {1, 2, 3}), (({0, 1, 2}, {2, 3}), {0, 1, 2, 3})],
)
def test_a_partition_never_splits_the_chain_and_heals(
    engine: str, parts: tuple[set[int], ...], goes_on: set[int]
) -> None:
    """Row 20: 2/2, 1/3, and a bridge over which the fourth follows. Who has a quorum goes on; healed, all do."""
    cluster = Cluster(engine=engine).start()
    cluster.load(50)
    cluster.run(1_000)
    before = cluster.heights
    cluster.link = groups(*parts)
    cluster.run(10_000)
    for node in cluster.nodes:
        assert (node.height > before[node.index] + 5) == (node.index in goes_on), node.index
    cluster.link = everyone
    cluster.grow(5, 3 * PARAMS.view_timeout_ms_max)


def test_after_half_an_hour_of_partition_views_agree_within_a_few_timeouts(engine: str) -> None:
    """Row 21."""
    cluster = Cluster(engine=engine).start().run(1_000)
    cluster.link = groups({0, 1}, {2, 3})
    cluster.run(1_800_000)
    cluster.link = everyone
    cluster.grow(3, 3 * PARAMS.view_timeout_ms_max)
    assert max(node.core.view for node in cluster.nodes) - min(node.core.view for node in cluster.nodes) <= 1


def test_one_way_links_do_not_stop_the_others(engine: str) -> None:
    """Row 20: a replica that hears everyone and is heard by nobody."""
    cluster = Cluster(engine=engine)
    cluster.link = lambda sender, _recipient, _message: sender != 3
    cluster.start()
    cluster.load(50)
    cluster.grow(15, 30_000)


def test_every_first_timeout_message_may_be_lost(engine: str) -> None:
    """Row 22: timeouts are sent again, never only once."""
    lost: set[tuple[int, int, int]] = set()

    def drop_first(sender: int, recipient: int, message: Message) -> bool:
        if not isinstance(message, Timeout):
            return True
        key = (sender, recipient, message.view)
        known = key in lost
        lost.add(key)
        return known

    cluster = Cluster(engine=engine).start().run(500)
    cluster.link = drop_first
    crash(cluster.nodes[1])
    cluster.load(50)
    cluster.grow(10, 30_000, [cluster.nodes[index] for index in (0, 2, 3)])


@pytest.mark.parametrize("kind", [Vote, Proposal])
def test_every_first_vote_or_proposal_may_be_lost(engine: str, kind: type[Message]) -> None:
    """Votes and proposals are sent again within the view, so their loss costs a beat a round and not a view change."""
    lost: set[tuple[int, int, object]] = set()

    def drop_first(sender: int, recipient: int, message: Message) -> bool:
        if not isinstance(message, kind):
            return True
        key = (sender, recipient, message)
        known = key in lost
        lost.add(key)
        return known

    rounds_ms = 4 * PARAMS.resend_interval_ms
    cluster = Cluster(engine=engine, params=replace(PARAMS, view_timeout_ms=rounds_ms))
    cluster.link = drop_first
    cluster.start()
    cluster.load(50)
    cluster.run(30_000)
    assert min(cluster.heights) >= 20
    assert timeouts(cluster) == 0


def test_clock_skew_on_one_replica_only_costs_its_own_views(engine: str) -> None:
    """Row 26: a leader whose clock is minutes ahead gets no votes; block time stays near the others' clocks."""
    cluster = Cluster(engine=engine)
    cluster.nodes[2].clock_skew_ms = 600_000
    cluster.start()
    cluster.load(50)
    cluster.grow(15, 60_000)
    times = [proposal.header.time_unix_ms for proposal, _, _ in cluster.nodes[0].disk.committed]
    assert times == sorted(set(times))
    ahead_ms = times[-1] - GENESIS.time_unix_ms - cluster.now_ms
    assert ahead_ms <= PARAMS.block_time_ahead_ms_max


# --- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_ms", range(200, 230, 2))
def test_all_replicas_crash_together_and_go_on(engine: str, at_ms: int) -> None:
    """Row 10: whatever was pending, the chain goes on from the last committed block."""
    cluster = Cluster(engine=engine).start()
    cluster.load(3)
    cluster.run(at_ms)
    held = dict(cluster.decided)
    crash(*cluster.nodes)
    for node in cluster.nodes:
        node.start()
    cluster.grow(10, 5_000)
    assert held.items() <= cluster.decided.items()


@pytest.mark.parametrize("keep_safety", [True, False])
def test_a_replica_with_an_empty_store_catches_up_and_votes_again(engine: str, keep_safety: bool) -> None:
    """Row 10: a deleted data directory, with and without the safety state in it."""
    cluster = Cluster(engine=engine).start()
    cluster.load(25)
    cluster.run(2_000)
    victim = cluster.nodes[3]
    victim.crash()
    wipe(victim, keep_safety=keep_safety)
    victim.start()
    assert victim.core.is_amnesiac is not keep_safety
    cluster.run_until(lambda: victim.height > 100, 5_000)
    cluster.run(PARAMS.view_timeout_ms_max + 2_000)
    assert not victim.core.is_amnesiac
    assert victim.core.silent_below_view == 0
    crash(cluster.nodes[0])
    cluster.grow(10, 10_000, cluster.nodes[1:])


def test_an_amnesiac_says_nothing_until_a_quorum_of_others_has_reported(engine: str) -> None:
    """Row 3: it must not contradict what it forgot, so it neither votes nor gives up a view nor vouches for others."""
    cluster = Cluster(engine=engine).start()
    cluster.load(10)
    cluster.run(1_000)
    victim = cluster.nodes[3]
    victim.crash()
    wipe(victim, keep_safety=False)
    said: list[Message] = []

    def listen(sender: int, _recipient: int, message: Message) -> bool:
        if sender == 3:
            said.append(message)
        return True

    cluster.link = listen
    victim.start()
    crash(cluster.nodes[2])
    cluster.run(60_000)
    assert victim.core.is_amnesiac
    assert said == []


def test_an_amnesiac_in_a_set_whose_others_are_no_quorum_never_signs_again(engine: str) -> None:
    """With three validators nobody can vouch: it follows, and says so."""
    cluster = Cluster((1, 1, 1), engine=engine).start().run(500)
    victim = cluster.nodes[2]
    victim.crash()
    wipe(victim, keep_safety=False)
    victim.start()
    cluster.run(30_000)
    assert victim.core.is_amnesiac
    assert victim.reports["amnesia"] == 1


def test_an_old_copy_of_the_safety_state_stops_the_replica(engine: str) -> None:
    """Row 4: our own signature in a certificate that our state does not know of."""
    cluster = Cluster(engine=engine).start().run(500)
    victim = cluster.nodes[1]
    backup = victim.disk.safety
    cluster.run(10_000)
    victim.crash()
    victim.disk = Disk(backup)
    victim.start()
    cluster.run(2_000)
    assert victim.halted is not None
    assert "our key signed" in victim.halted


def test_an_old_copy_is_noticed_by_one_that_signs_before_it_sees_its_own_signatures(engine: str) -> None:
    """Row 4: it gives up a later view with the others, and only then fetches the blocks that it helped to certify."""
    cluster = Cluster(engine=engine).start()
    cluster.load(50)
    cluster.run(500)
    victim = cluster.nodes[1]
    backup = victim.disk.safety
    cluster.run(5_000)
    crash(*cluster.nodes[2:])
    cluster.run(100)
    victim.crash()
    victim.disk = Disk(backup)
    cluster.link = lambda _sender, recipient, _message: recipient != 1
    tc = timeout_certificate(cluster)
    victim.start()
    victim.handle(ev.Received(0, Certificates(genesis_qc(GENESIS.block_hash), tc)))
    cluster.run(20_000)
    assert victim.disk.safety is not None
    assert (victim.halted, victim.disk.safety.last_voted_view) == (None, tc.view + 1)
    cluster.link = everyone
    for node in cluster.nodes[2:]:
        node.start()
    cluster.run(5_000)
    assert victim.halted is not None
    assert "our key signed" in victim.halted


def timeout_certificate(cluster: Cluster) -> TC:
    """Of the present view, by all but validator 1, who report nothing."""
    view, qc = cluster.nodes[0].core.view, genesis_qc(GENESIS.block_hash)
    timeouts = [sign(Timeout(0, view, qc, None, voter), voter) for voter in (0, 2, 3)]
    marks = tuple(TimeoutSignature(each.voter, 0, each.signature) for each in timeouts)
    return TC(0, view, qc, marks)


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_replica_whose_root_differs_halts_and_the_others_go_on(engine: str) -> None:
    """Row 37: the replica stops itself, not the chain."""
    cluster = Cluster(engine=engine)
    cluster.nodes[1].wrong_root_from = 5
    cluster.start()
    cluster.load(20)
    cluster.run(10_000)
    assert cluster.nodes[1].halted is not None
    assert "state root at height 5" in cluster.nodes[1].halted
    assert all(node.height > 20 for node in cluster.nodes if node.index != 1)


def test_a_slow_executor_slows_the_chain_and_nothing_else(engine: str) -> None:
    """The certified root ties the pace to execution: nobody runs ahead of what has been executed."""
    cluster = Cluster(engine=engine)
    cluster.execute_ms = 200
    cluster.start()
    cluster.load(20)
    cluster.run(10_000)
    assert min(cluster.heights) >= 20
    assert timeouts(cluster) == 0
    assert all(node.core.committed.height - node.height <= 2 for node in cluster.nodes)


def test_a_replica_that_executes_too_slowly_takes_no_more_than_a_bounded_backlog(engine: str) -> None:
    """Row 9: blocks come as proposals as well as by sync, and each holds batches in memory until it is executed."""
    params = replace(PARAMS, sync_blocks_max=4)
    bound = (BACKLOG_ANSWERS_MAX + 1) * params.sync_blocks_max
    cluster = Cluster(engine=engine, params=params)
    slow, waiting = cluster.nodes[3], deque[tuple[Proposal, QC]]()
    execute = slow.execute
    slow.execute = lambda proposal, qc: waiting.append((proposal, qc))  # type: ignore[method-assign]
    cluster.start()
    cluster.load(20)
    quick = cluster.nodes[:3]
    cluster.grow(3 * bound, 60_000, quick)
    assert bound - 2 * params.sync_blocks_max < len(waiting) <= bound
    assert dict(slow.core.held)["anchors"] <= 3 * bound
    slow.execute = execute  # type: ignore[method-assign]
    while waiting:
        execute(*waiting.popleft())
    cluster.run(1_000)
    assert slow.height > 3 * bound
    assert max(cluster.heights) - slow.height <= 2


def test_the_tree_and_the_collectors_stay_bounded_without_a_quorum(engine: str) -> None:
    """Oracle B: proposals and votes of a hundred failed views do not pile up."""
    cluster = Cluster(engine=engine)
    cluster.link = lambda _sender, _recipient, message: not isinstance(message, Vote)
    cluster.start()
    cluster.run(600_000)
    for node in cluster.nodes:
        assert node.core.view > 50
        assert len(node.core._chain.tree) <= 12
        assert len(node.core._votes._views) <= 18


def test_equivocating_leaders_and_voters_are_named_and_nobody_else(engine: str) -> None:
    """Rows 1 and 2: a twin of validator 3 runs on the other side of a split; safety holds, reports name 3 alone."""
    named: set[int] = set()
    for seed in range(2):
        cluster = Cluster(engine=engine, seed=seed, twins=(3,))
        cluster.nodes[4].clock_skew_ms = 7
        cluster.delay_ms = (1, 30)
        cluster.start()
        cluster.load(30)
        cluster.run(6_000)
        assert min(node.height for node in cluster.nodes[:3]) >= 5
        named |= {each.validator for node in cluster.nodes[:3] for each in node.accusations}
    assert named == {3}


def test_large_sets_send_votes_to_the_next_leaders(engine: str) -> None:
    """Above `broadcast_votes_validators_max` votes are not broadcast, and the chain still moves and commits."""
    cluster = Cluster((1,) * 7, engine=engine, params=replace(PARAMS, broadcast_votes_validators_max=4)).start()
    cluster.load(20)
    cluster.run(2_000)
    assert min(cluster.heights) > 50
    assert timeouts(cluster) == 0


def test_a_fresh_validator_may_sign_at_once(engine: str) -> None:
    """`node init` writes a safety state, so a new chain is not a chain of amnesiacs."""
    assert fresh_safety(GENESIS).last_voted_view == 0
    cluster = Cluster(engine=engine).start()
    assert not any(node.core.is_amnesiac for node in cluster.nodes)
