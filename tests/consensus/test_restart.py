"""A crash between any two effects: no conflicting signature leaves, and the chain goes on (docs/FAULTS.md row 5)."""

from __future__ import annotations

import pytest

from genesis.document import ENGINES
from tests.consensus.cluster import Cluster

pytestmark = [pytest.mark.usefixtures("fast_signatures"), pytest.mark.parametrize("engine", ENGINES)]


@pytest.mark.parametrize("effects", range(60))
def test_a_crash_before_any_effect_of_a_leader_or_voter_is_harmless(engine: str, effects: int) -> None:
    """Every boundary of several views, on each validator in turn; the oracle watches the signatures."""
    cluster = Cluster(engine=engine, seed=effects).start()
    cluster.load(5)
    cluster.run(100)
    victim = cluster.nodes[effects % 4]
    victim.effects_until_crash = effects
    cluster.run_until(lambda: not victim.up, 5_000)
    cluster.at(effects % 7, victim.start)
    cluster.run(20)
    cluster.grow(5, 10_000)


@pytest.mark.parametrize("seed", range(10))
def test_random_crashes_of_everyone_under_loss_never_break_agreement(engine: str, seed: int) -> None:
    """Many crashes at random boundaries, several nodes at once, on a lossy network; then liveness returns."""
    cluster = Cluster(engine=engine, seed=seed)
    cluster.loss, cluster.delay_ms = 0.02, (1, 40)
    cluster.start()
    cluster.load(20)
    for _ in range(25):
        victim = cluster.random.choice(cluster.nodes)
        victim.effects_until_crash = cluster.random.randint(0, 30)
        cluster.run(cluster.random.randint(50, 600))
        for node in cluster.nodes:
            if not node.up and cluster.random.random() < 0.7:
                node.effects_until_crash = None
                node.start()
    cluster.loss = 0
    for node in cluster.nodes:
        node.effects_until_crash = None
        if not node.up:
            node.start()
    cluster.grow(5, 60_000)
