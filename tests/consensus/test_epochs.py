"""Epochs (docs/PROTOCOL.md EP6 to EP9): every edge is crossed, by both engines, and nothing is ever said twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus import events as ev
from consensus.safety import fresh_safety, next_safety
from consensus.types import OBSERVER, Certificates, Message, Vote, epoch_of
from genesis.statements import Phase
from tests.consensus.cluster import GENESIS, PARAMS, Cluster, Node

ENGINES = ("hotstuff", "pbft")
BLOCKS = 8
SHORT = replace(PARAMS, epoch_blocks=BLOCKS)

pytestmark = [pytest.mark.usefixtures("fast_signatures"), pytest.mark.parametrize("engine", ENGINES)]


def epochs(cluster: Cluster) -> list[int]:
    """The epoch in which each node is."""
    return [node.core.epoch for node in cluster.nodes]


def crosses(cluster: Cluster, edges: int, within_ms: int, nodes: list[Node] | None = None) -> int:
    """Let time pass until these nodes (or all that are up) are so many epochs beyond the latest of now."""
    target = max(epochs(cluster)) + edges
    watched = nodes if nodes is not None else [node for node in cluster.nodes if node.up]
    return cluster.run_until(lambda: all(node.core.epoch >= target for node in watched), within_ms)


def check_closings(cluster: Cluster) -> None:
    """Every closing record holds what EP7 says, whoever keeps it."""
    for node in cluster.nodes:
        for epoch, closed in node.disk.closings.items():
            edge, _, root = node.disk.committed[(epoch + 1) * BLOCKS - 1]
            last = closed.closing[-1].header
            assert closed.qc.block_hash == last.block_hash
            assert (last.anchor.height, last.anchor.block_hash) == (edge.header.height, edge.header.block_hash)
            assert last.anchor.state_root == root == closed.state_root
            assert all(not each.header.payload and each.header.epoch == epoch for each in closed.closing)
        for proposal, _, _ in node.disk.committed:
            assert proposal.header.epoch == (proposal.header.height - 1) // BLOCKS


@pytest.mark.parametrize("powers", [(1,), (1, 1, 1, 1), (5, 1, 3, 2, 2)])
def test_a_chain_crosses_edge_after_edge_under_load(engine: str, powers: tuple[int, ...]) -> None:
    """The good case: the edge costs a few views, and what waited is ordered in the next epoch."""
    cluster = Cluster(powers, engine=engine, params=SHORT, seed=1).start()
    cluster.load(20)
    crosses(cluster, 10, 20_000)
    item = cluster.order("last")
    cluster.run_until(lambda: all(item in cluster.ordered(node) for node in cluster.nodes), 1_000)
    check_closings(cluster)
    assert not any(node.reports["view_timeout"] or node.reports["rejected"] for node in cluster.nodes)


def test_an_idle_chain_crosses_its_edges_too(engine: str) -> None:
    """Closing blocks do not idle, and the epochs of an idle chain end as well."""
    cluster = Cluster(engine=engine, params=SHORT).start()
    crosses(cluster, 3, 40_000)
    check_closings(cluster)


@pytest.mark.parametrize("seed", range(6))
def test_edges_are_crossed_through_loss_duplication_and_reordering(engine: str, seed: int) -> None:
    """Whatever a lost message held back is asked for, across the edge too."""
    cluster = Cluster(engine=engine, params=SHORT, seed=seed).start()
    cluster.loss, cluster.duplication, cluster.delay_ms = 0.1, 0.1, (1, 60)
    cluster.load(50)
    crosses(cluster, 6, 400_000)
    cluster.loss = 0.0
    crosses(cluster, 1, 60_000)
    check_closings(cluster)
    assert not any(node.halted for node in cluster.nodes)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_crash_at_every_effect_around_an_edge_costs_nothing(engine: str, victim: int) -> None:
    """Between any two effects the power may fail: before the edge, while it closes, before the next epoch's state."""
    for effects in range(0, 90, 3):
        cluster = Cluster(engine=engine, params=SHORT, seed=effects).start()
        cluster.load(20)
        node = cluster.nodes[victim]
        cluster.run_until(lambda node=node: node.height >= BLOCKS - 2, 10_000)
        node.effects_until_crash = effects
        cluster.run_until(lambda node=node: not node.up, 60_000)
        node.start()
        crosses(cluster, 2, 60_000)
        check_closings(cluster)


def test_all_crash_together_at_an_edge_and_go_on(engine: str) -> None:
    """Nothing that the next epoch rests on is in memory alone."""
    for effects in range(0, 60, 4):
        cluster = Cluster(engine=engine, params=SHORT, seed=effects).start()
        cluster.load(20)
        cluster.run_until(lambda cluster=cluster: max(cluster.heights) >= BLOCKS - 1, 10_000)
        for node in cluster.nodes:
            node.effects_until_crash = effects + node.key
        cluster.run_until(lambda cluster=cluster: not any(node.up for node in cluster.nodes), 60_000)
        cluster.start()
        crosses(cluster, 2, 60_000)
        check_closings(cluster)


def test_a_partition_across_an_edge_heals(engine: str) -> None:
    """Those who closed the epoch and those who did not find together again."""
    for seed in range(6):
        cluster = Cluster(engine=engine, params=SHORT, seed=seed).start()
        cluster.load(20)
        cluster.run_until(lambda cluster=cluster: max(cluster.heights) >= BLOCKS - 2, 10_000)
        cluster.run(cluster.random.randint(0, 60))
        cluster.link = lambda sender, recipient, _message: (sender < 2) == (recipient < 2)
        cluster.run(5_000)
        cluster.link = lambda *_: True
        crosses(cluster, 2, 30_000)
        check_closings(cluster)


def test_one_that_slept_through_many_epochs_catches_up(engine: str) -> None:
    """A message of a later epoch is no fault: it asks, and steps from edge to edge on certificates of each old set."""
    cluster = Cluster(engine=engine, params=SHORT, seed=3).start()
    cluster.load(20)
    sleeper = cluster.nodes[3]
    cluster.run(200)
    sleeper.crash()
    crosses(cluster, 12, 120_000, cluster.nodes[:3])
    sleeper.start()
    took = cluster.run_until(lambda: sleeper.core.epoch >= cluster.nodes[0].core.epoch, 30_000)
    assert took < 12 * PARAMS.resend_interval_ms
    check_closings(cluster)
    assert not sleeper.reports["rejected"]


def test_an_empty_ledger_beside_a_later_safety_state_follows_and_then_votes_again(engine: str) -> None:
    """Row 11 across edges: in the epochs before that of its safety state it signs nothing."""
    cluster = Cluster(engine=engine, params=SHORT, seed=4).start()
    cluster.load(20)
    crosses(cluster, 4, 60_000)
    node = cluster.nodes[1]
    node.crash()
    node.disk.committed.clear()
    node.disk.closings.clear()
    node.disk.proposals.clear()
    node.start()
    assert node.index == OBSERVER
    cluster.run_until(lambda: node.index == 1, 30_000)
    cluster.nodes[0].crash()
    crosses(cluster, 1, 60_000)
    check_closings(cluster)


@pytest.mark.parametrize("seed", range(8))
def test_one_that_lost_its_memory_at_an_edge_contradicts_nothing(engine: str, seed: int) -> None:
    """Row 10 across an edge: it may have been the first in the next epoch, and must not speak there as if it were new.
    The cluster fails at once if its key ever signs two statements of one view."""
    cluster = Cluster(engine=engine, params=SHORT, seed=seed).start()
    node = cluster.nodes[1]
    cluster.run_until(lambda: node.core.epoch == 1, 20_000)
    cluster.run(cluster.random.randint(0, 30))
    node.crash()
    node.disk.safety = None
    for wiped in (node.disk.committed, node.disk.closings, node.disk.proposals):
        wiped.clear()
    node.start()
    cluster.run(20_000)
    crosses(cluster, 1, 60_000)
    assert node.disk.safety is not None
    check_closings(cluster)


def test_the_first_in_an_epoch_that_then_lost_its_memory_does_not_propose_there_again(engine: str) -> None:
    """It alone saw the old epoch closed, and led the first view of the new one. The others report from the old epoch,
    and it recovers there; without the bar it would propose anew where it has proposed already."""
    cluster = Cluster(engine=engine, params=SHORT, seed=7).start()
    node = cluster.nodes[1]
    cluster.run_until(lambda: node.height == BLOCKS - 1, 20_000)
    closing = BLOCKS + (2 if engine == "hotstuff" else 1)

    def is_last_vote(message: Message) -> bool:
        is_last = not isinstance(message, Vote) or message.phase is not Phase.PREPARE
        return isinstance(message, Vote) and is_last and message.height == closing

    cluster.link = lambda sender, recipient, message: (
        epoch_of(message) == 0 and (recipient == 1 or not is_last_vote(message))
    )
    cluster.run_until(lambda: node.core.epoch == 1 and node.core._signatory.state.last_proposed_view == 1, 20_000)
    cluster.link = lambda _sender, _recipient, message: isinstance(message, Certificates) and epoch_of(message) == 0
    node.crash()
    node.disk.safety = None
    for wiped in (node.disk.committed, node.disk.closings, node.disk.proposals):
        wiped.clear()
    node.start()
    cluster.run_until(lambda: node.disk.safety is not None, 30_000)
    assert (node.core.epoch, cluster.nodes[0].core.epoch) == (0, 0)
    cluster.link = lambda *_: True
    crosses(cluster, 2, 60_000)
    check_closings(cluster)


def test_the_bar_of_a_lost_memory_reaches_over_the_edge(engine: str) -> None:
    """E1 to E4 of `next_safety`."""
    state = replace(fresh_safety(GENESIS), last_voted_view=9, last_proposed_view=7, next_epoch_view=3)
    assert next_safety(state, GENESIS, 0) == state
    following = next_safety(state, GENESIS, 1)
    assert following is not None
    assert (following.last_voted_view, following.last_proposed_view, following.next_epoch_view) == (3, 3, 0)
    assert next_safety(state, GENESIS, 2) == fresh_safety(GENESIS, 2)
    assert next_safety(fresh_safety(GENESIS, 2), GENESIS, 1) is None
    assert engine


# --- changing sets ----------------------------------------------------------------------------------------------------


def test_added_removed_and_reweighted_validators_take_effect_at_the_edge(engine: str) -> None:
    """The set of an epoch decides it: a newcomer syncs from nothing and votes, one that left signs nothing more."""

    def members(epoch: int) -> tuple[tuple[int, int], ...]:
        old, joined = ((0, 1), (1, 1), (2, 1), (3, 1)), ((0, 1), (1, 1), (2, 1), (3, 1), (4, 1))
        left = ((1, 1), (2, 2), (3, 1), (4, 1))
        return (old, old, joined, joined)[epoch] if epoch < 4 else left

    cluster = Cluster(engine=engine, params=SHORT, members=members, joiners=1, seed=5).start()
    cluster.load(20)
    newcomer, gone = cluster.nodes[4], cluster.nodes[0]
    assert newcomer.index == OBSERVER
    cluster.run_until(lambda: newcomer.index == 4, 60_000)
    crosses(cluster, 1, 60_000)
    cluster.run_until(lambda: all(node.core.epoch >= 4 for node in cluster.nodes[1:]), 60_000)
    crosses(cluster, 2, 60_000, cluster.nodes[1:])
    assert newcomer.index == 3
    assert gone.index == OBSERVER
    assert gone.core.epoch == 4
    cluster.nodes[1].crash()
    crosses(cluster, 1, 60_000, cluster.nodes[2:])
    check_closings(cluster)


def test_one_that_was_removed_and_does_not_know_it_is_not_heard(engine: str) -> None:
    """A removed leader goes on proposing in the old epoch: nobody in the new one listens."""
    everybody = tuple((key, 1) for key in range(5))

    def members(epoch: int) -> tuple[tuple[int, int], ...]:
        return everybody if epoch == 0 else everybody[1:]

    cluster = Cluster((1,) * 5, engine=engine, params=SHORT, members=members, seed=6).start()
    cluster.load(20)
    removed = cluster.nodes[0]
    cluster.run_until(lambda: removed.height >= BLOCKS - 3, 10_000)
    cluster.link = lambda sender, recipient, _message: recipient != 0 or sender == 0
    crosses(cluster, 3, 60_000, cluster.nodes[1:])
    assert removed.core.epoch == 0
    old = [p for p, _, _ in cluster.nodes[1].disk.committed if p.header.proposer == 0 and p.header.epoch == 0][-1]
    before = cluster.nodes[1].core.view
    cluster.nodes[1].handle(ev.Received(0, old))
    assert cluster.nodes[1].core.view == before
    assert not any(node.reports["rejected"] for node in cluster.nodes[1:])
