"""Twins, partitions, losses and restarts at once, at random; the oracles S stand in `tests.consensus.cluster`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus.types import Message, Proposal, Timeout, Vote
from genesis.document import ENGINES
from tests.consensus.cluster import PARAMS, Cluster

pytestmark = pytest.mark.usefixtures("fast_signatures")

FAST = replace(
    PARAMS,
    view_timeout_ms=80,
    view_timeout_ms_max=160,
    resend_interval_ms=40,
    block_interval_idle_ms=40,
    block_interval_ms_min=20,
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(12))
def test_twins_partitions_losses_and_restarts_together_never_split_the_chain(engine: str, seed: int) -> None:
    """f of 3f + 1 validators run as two nodes with one key, and the network does its worst at random; S throughout."""
    cluster = Cluster(engine=engine, seed=seed, twins=(3,), params=FAST)
    chance = cluster.random
    cluster.nodes[4].clock_skew_ms = 7
    cluster.delay_ms = (1, 25)
    cluster.start()
    cluster.load(60)
    for _ in range(25):
        cluster.link = random_link(cluster)
        cluster.run(chance.randint(50, 300))
        victim = chance.choice(cluster.nodes[:3])
        if victim.up and chance.random() < 0.3:
            victim.crash()
            cluster.at(chance.randint(1, 100), victim.start)
    cluster.link = lambda _sender, _recipient, _message: True
    cluster.run(200)
    cluster.grow(3, 20_000, cluster.nodes[:3])


def random_link(cluster: Cluster) -> Callable[[int, int, Message], bool]:
    """Two groups, or one, and a rate of loss for each kind of message."""
    chance = cluster.random
    side = {node.name: chance.random() < 0.5 for node in cluster.nodes}
    split = chance.random() < 0.6
    rate: dict[type, float] = {kind: chance.choice((0.0, 0.3)) for kind in (Vote, Timeout, Proposal)}

    def link(sender: int, recipient: int, message: Message) -> bool:
        crosses = split and side[sender] != side[recipient]
        return not crosses and chance.random() >= rate.get(type(message), 0.0)

    return link
