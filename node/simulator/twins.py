"""Twins: replicas of which a second instance runs with the same key, under partitions and leaders written down by view.

Rules:

1. A scenario's views are 1, 2, ...; each names its leader and the groups that hear each other in it. An instance that
   no group names hears nobody; without groups all hear all. ``0'`` is the second instance of replica 0's key; where 0
   leads, both do, each with a clock of its own and with other batches to order, so that they equivocate.
2. A message belongs to the view that it speaks of; certificates, batches and blocks to the view their sender is in.
3. After the list the network is whole and leaders take turns, for `calm_views` views. Of later views no proposal
   passes; every instance then gets what was committed so far. A view in which nobody can get on is whole as well once
   it has lasted `STALLED_TIMEOUTS` full timeouts.
4. *Safe*: at no height do two instances commit different blocks, and no oracle of `node.simulator.checks` is broken.
   With twins of less than a third of the power every scenario is safe.

Source: Bano, Sonnino, Chursin, Perelman, Li, Ching, Malkhi, "Twins: BFT Systems Made Robust", OPODIS 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from consensus.types import Certificates, Message, Proposal
from node.simulator.cast import Cast
from node.simulator.checks import Violation
from node.simulator.cluster import Cluster
from node.simulator.engines import check_engine
from node.simulator.replica import Replica
from node.simulator.scenarios import Scenario
from node.simulator.settings import Fault, Settings

STALLED_TIMEOUTS: Final = 2
VIEW_TIMEOUTS_MAX: Final = 8
SETTLE_TIMEOUTS: Final = 5
LOAD_MS: Final = 15


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a scenario. `why` says what was not safe."""

    name: str
    safe: bool
    heights: Mapping[str, int]
    why: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "safe": self.safe, "heights": dict(self.heights)}


class ScriptedLeaders:
    """The leaders of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self._leaders = [each.leader for each in scenario.views]
        self._size = scenario.replicas

    def leader(self, view: int) -> int:
        """Rules 1 and 3."""
        if 1 <= view <= len(self._leaders):
            return self._leaders[view - 1]
        return view % self._size


class ScenarioCluster(Cluster):
    """A cluster whose links follow the script."""

    def __init__(self, scenario: Scenario, settings: Settings) -> None:
        cast = Cast(tuple((index, Fault.TWIN) for index in scenario.twins))
        super().__init__(settings, Random(settings.seed), cast, leaders=ScriptedLeaders(scenario))
        self._groups = [_places(self, each.partitions) for each in scenario.views]
        self._last_view = scenario.last_view
        self._stalled_ms = STALLED_TIMEOUTS * settings.params.view_timeout_ms_max
        self._top_view = 0
        self._moved_ms = 0

    def may_pass(self, sender: Replica, recipient: Replica, message: Message | None) -> bool:
        """Rules 1 to 3."""
        view = sender.core.view if sender.core is not None else 0
        if view > self._top_view:
            self._top_view, self._moved_ms = view, self.heap.now_ms
        if message is not None and not isinstance(message, Certificates):
            view = message.view
        if isinstance(message, Proposal) and view > self._last_view:
            return False
        if not 1 <= view <= len(self._groups) or self.heap.now_ms - self._moved_ms > self._stalled_ms:
            return True
        group = self._groups[view - 1]
        return group is None or (sender.place in group and group[sender.place] == group.get(recipient.place))


def run_scenario(scenario: Scenario, engine: str) -> Result:
    """Play a scenario.

    Raises:
        Rejected: ``bad_settings``: there is no such engine.
    """
    check_engine(engine)
    settings = Settings(0, engine, (1,) * scenario.replicas, max(1, scenario.last_view), ())
    cluster = ScenarioCluster(scenario, settings)
    try:
        _play(cluster, scenario)
    except Violation as violation:
        return Result(scenario.name, False, cluster.heights, str(violation))
    fork = _fork(cluster)
    return Result(scenario.name, fork is None, cluster.heights, fork or "")


def _play(cluster: Cluster, scenario: Scenario) -> None:
    cluster.start()
    _load(cluster)
    limit_ms = VIEW_TIMEOUTS_MAX * cluster.params.view_timeout_ms_max * scenario.last_view
    last = scenario.last_view

    def is_over() -> bool:
        return all(each.core is not None and each.core.view > last for each in cluster.replicas)

    cluster.heap.run_until(is_over, limit_ms)
    settled_ms = cluster.heap.now_ms + SETTLE_TIMEOUTS * cluster.params.view_timeout_ms_max
    cluster.heap.run_until(lambda: all(each.disk.height == cluster.height for each in cluster.replicas), settled_ms)


def _load(cluster: Cluster) -> None:
    """Something new to order at every instance."""
    for replica in cluster.replicas:
        cluster.submit(replica)
    cluster.heap.after(LOAD_MS, _load, cluster)


def _fork(cluster: Cluster) -> str | None:
    """Two different blocks at one height, if any instance committed such."""
    decided: dict[int, bytes] = {}
    for replica in cluster.replicas:
        for block in replica.disk.committed:
            if decided.setdefault(block.height, block.block_hash) != block.block_hash:
                return f"{replica.name} commits another block at height {block.height}"
    return None


def _places(cluster: Cluster, partitions: tuple[tuple[str, ...], ...]) -> dict[int, int] | None:
    """The group of each place; None when all hear all."""
    if not partitions:
        return None
    places = {replica.name: replica.place for replica in cluster.replicas}
    return {places[name]: number for number, group in enumerate(partitions) for name in group}
