"""No honest replica ever commits a fault that counts against it: `node.conduct` may cut whoever does.

Loss, reordering, long delays, partitions, crashes and wiped homes are what makes honest replicas late and stale. What
they say then is refused now and then, but never by one of the codes that prove a fault.
"""

from __future__ import annotations

from collections import Counter

import pytest

from consensus.events import Effect, Report
from genesis.document import ENGINES
from node.conduct import COUNTED
from tests.consensus.cluster import Cluster, Node

pytestmark = [pytest.mark.usefixtures("fast_signatures"), pytest.mark.parametrize("engine", ENGINES)]


class Listening:
    """Counts by code what the honest nodes of all clusters have refused."""

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()

    def hear(self, effect: Effect) -> None:
        if isinstance(effect, Report) and effect.kind == "rejected":
            self.refused[str(dict(effect.details)["code"])] += 1
        if isinstance(effect, Report) and effect.kind in ("equivocation", "contradiction"):
            self.refused[effect.kind] += 1


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Listening:
    """Hears every effect of every node."""
    found, real = Listening(), Node.carry_out

    def carry_out(node: Node, effect: Effect) -> None:
        found.hear(effect)
        real(node, effect)

    monkeypatch.setattr(Node, "carry_out", carry_out)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_no_honest_replica_commits_a_fault_that_counts(engine: str, seed: int, listening: Listening) -> None:
    """A cut costs a validator its place for a while; whoever is merely late needs it most."""
    cluster = Cluster(engine=engine, seed=seed)
    cluster.loss, cluster.duplication, cluster.delay_ms = 0.05, 0.05, (1, 400)
    cluster.start()
    cluster.load(20)
    for turn in range(12):
        side = {cluster.random.randrange(4) for _ in range(2)}
        cluster.link = lambda sender, recipient, _, side=side: (sender in side) == (recipient in side)  # type: ignore[misc]
        cluster.run(cluster.random.randint(200, 2_500))
        cluster.link = lambda _sender, _recipient, _message: True
        victim = cluster.random.choice(cluster.nodes)
        victim.effects_until_crash = cluster.random.randint(0, 30)
        cluster.run(cluster.random.randint(200, 2_500))
        for node in cluster.nodes:
            node.effects_until_crash = None
            if not node.up:
                node.start()
        cluster.delay_ms = (1, 5) if turn % 2 else (1, 3_000)
    cluster.loss, cluster.delay_ms = 0, (1, 5)
    cluster.grow(5, 60_000)
    assert not set(listening.refused) & set(COUNTED), listening.refused


def test_a_twin_is_heard_to_contradict_itself(engine: str, listening: Listening) -> None:
    """The ears of the test above are open: two processes with one key do say what counts."""
    cluster = Cluster(engine=engine, seed=1, twins=(0,)).start()
    cluster.load(5)
    cluster.run(2_000)
    assert listening.refused["equivocation"] > 0
