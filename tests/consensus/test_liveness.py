"""The cluster makes progress, at the pace and with the number of timeouts that the rules promise."""

from __future__ import annotations

import pytest

from genesis.document import ENGINES
from tests.consensus.cluster import Cluster

pytestmark = [pytest.mark.usefixtures("fast_signatures"), pytest.mark.parametrize("engine", ENGINES)]


@pytest.mark.parametrize("powers", [(1,), (1, 1, 1, 1), (1,) * 5, (1,) * 6, (1,) * 7, (5, 3, 3, 2, 1), (10, 1, 1, 1)])
def test_any_set_of_validators_commits_what_is_ordered(engine: str, powers: tuple[int, ...]) -> None:
    """Any n from 1, any weights: the same blocks everywhere, without a single timeout."""
    cluster = Cluster(powers, engine=engine).start()
    items = [cluster.order(f"{i}") for i in range(3)]
    cluster.run(3_000)
    for node in cluster.nodes:
        assert cluster.ordered(node) == items
        assert node.timeouts_sent == 0


def test_a_payload_commits_within_a_few_message_delays(engine: str) -> None:
    """Latency is two rounds of proposal and vote, not a timer."""
    cluster = Cluster(engine=engine).start().run(2_500)
    item = cluster.order("urgent")
    took_ms = cluster.run_until(lambda: all(item in cluster.ordered(node) for node in cluster.nodes), 500)
    assert took_ms <= 60


def test_an_idle_chain_makes_a_block_every_idle_interval(engine: str) -> None:
    """Block time moves to the next expiry without load, and an idle chain is no storm of blocks or of timeouts."""
    cluster = Cluster(engine=engine).start().run(20_500)
    assert 17 <= min(cluster.heights) <= max(cluster.heights) <= 21
    assert sum(node.timeouts_sent for node in cluster.nodes) == 0


def test_views_are_paced_under_load(engine: str) -> None:
    """A leader waits `block_interval_ms_min` after the parent's arrival, so views cannot outrun everything else."""
    cluster = Cluster(engine=engine)
    cluster.delay_ms = (0, 0)
    cluster.start()
    cluster.load(1)
    cluster.run(1_000)
    assert 100 <= min(cluster.heights) <= 200
