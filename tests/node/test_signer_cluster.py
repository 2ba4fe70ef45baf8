"""Whole networks of cores whose keys are with signers: honest ones are never refused, twins and backups always in time.

The cluster's own oracles judge: no key signs two statements of one kind and view, no two blocks at one height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus.types import Message, Statement
from genesis.document import ENGINES
from genesis.errors import Rejected
from node.signer_guard import Mark, permit, raised
from node.signing import fields_of, known_of
from tests.consensus.cluster import Cluster, Node
from tests.consensus.conftest import fast_signatures

__all__ = ["fast_signatures"]

pytestmark = [pytest.mark.usefixtures("fast_signatures"), pytest.mark.parametrize("engine", ENGINES)]


class Refused(Exception):
    """The signer refused; the node halts."""


class SignedCluster(Cluster):
    """A cluster in which one signer a key stands before every signature; twins share it, and so do incarnations.

    Attributes:
        guarded: Whether the signers refuse anything, or only sign.
        refusals: The codes of what they refused.
    """

    def __init__(self, **options: object) -> None:
        self.guarded = True
        self.refusals: list[str] = []
        self._marks: dict[int, Mark] = {}
        super().__init__(**options)  # type: ignore[arg-type]
        self.byzantine.clear()

    def greet(self, node: Node) -> None:
        """The node starts, and shows the signer its safety state."""
        self._marks[node.index] = raised(self._marks.get(node.index, Mark()), known_of(node.disk.safety))

    def sign(self, node: Node, statement: Statement) -> Message:
        """By the signer of this node's key."""
        assert node.disk.safety is not None
        mark = self._marks.get(node.index, Mark())
        if self.guarded:
            try:
                self._marks[node.index] = permit(mark, fields_of(statement), node.disk.safety.high_qc.view)
            except Rejected as refusal:
                self.refusals.append(refusal.code)
                raise Refused from refusal
        return super().sign(node, statement)


def start(cluster: SignedCluster, node: Node) -> None:
    """Start a process: greet, then run."""
    if cluster.guarded:
        cluster.greet(node)
    node.start()


def start_trusting(cluster: SignedCluster, node: Node) -> None:
    """The same, but the core does not stop by itself when it meets its key's later signatures: the signer is alone."""
    start(cluster, node)
    node.core._signatory.stop_if_impersonated = lambda *_: None


def halt_when_refused(node: Node) -> None:
    """From here on a refusal ends this node, as the replica does."""
    handle = node.handle

    def guarded(event: object) -> None:
        try:
            handle(event)  # type: ignore[arg-type]
        except Refused:
            node.halted = "its signer refuses"
            node.crash()

    node.handle = guarded  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("seed", range(6))
def test_honest_nodes_are_never_refused(engine: str, seed: int) -> None:
    """Loss, delay, crashes between any two effects: a false refusal would halt a validator that did nothing wrong."""
    cluster = SignedCluster(engine=engine, seed=seed)
    cluster.loss, cluster.delay_ms = 0.03, (1, 60)
    for node in cluster.nodes:
        start(cluster, node)
    cluster.load(20)
    for _ in range(30):
        victim = cluster.random.choice(cluster.nodes)
        victim.effects_until_crash = cluster.random.randint(0, 30)
        cluster.run(cluster.random.randint(50, 600))
        for node in cluster.nodes:
            if not node.up and cluster.random.random() < 0.7:
                node.effects_until_crash = None
                start(cluster, node)
    cluster.loss = 0
    for node in cluster.nodes:
        node.effects_until_crash = None
        if not node.up:
            start(cluster, node)
    cluster.grow(5, 60_000)
    assert cluster.refusals == []
    assert not any(node.halted for node in cluster.nodes)


def twins(engine: str, seed: int, *, guarded: bool = True) -> SignedCluster:
    """Two processes with validator 0's key, each seeing a part of the network; after a while the others go on."""
    cluster = SignedCluster(engine=engine, seed=seed, twins=(0,))
    cluster.guarded = guarded
    for node in cluster.nodes:
        halt_when_refused(node)
    sides = [{0, 1, 2}, {4, 2, 3}]
    cluster.link = lambda sender, recipient, _: any({sender, recipient} <= side for side in sides)
    for node in cluster.nodes:
        start_trusting(cluster, node)
    cluster.load(15)
    cluster.run(4_000)
    cluster.link = lambda _sender, _recipient, _message: True
    cluster.run(1_000)
    return cluster


def backup(engine: str, seed: int, *, guarded: bool = True) -> SignedCluster:
    """A validator that is a chain by itself is put back from a copy of its disk: nobody else could tell it so."""
    cluster = SignedCluster(powers=(1,), engine=engine, seed=seed)
    cluster.guarded = guarded
    [node] = cluster.nodes
    halt_when_refused(node)
    start(cluster, node)
    cluster.load(15)
    cluster.run(300 + 7 * seed)
    disk = node.disk
    copied = replace(disk, proposals=dict(disk.proposals), committed=list(disk.committed))
    cluster.run(2_000)
    node.crash()
    node.disk = copied
    start(cluster, node)
    cluster.run(10_000)
    return cluster


@pytest.mark.parametrize("seed", range(4))
def test_two_processes_with_one_key_are_no_worse_than_one_that_stops(engine: str, seed: int) -> None:
    """The key counts as honest for every oracle: nothing contradicting leaves, and the others go on."""
    cluster = twins(engine, seed)
    assert cluster.refusals
    assert [node.name for node in cluster.nodes if node.halted] in ([0], [4], [0, 4])
    cluster.grow(3, 20_000, [cluster.nodes[each] for each in (1, 2, 3)])


@pytest.mark.parametrize("seed", range(4))
def test_node_from_a_backup_halts_at_its_first_contradicting_word(engine: str, seed: int) -> None:
    """Its disk says that it never was any further; its signer says otherwise, and no second block ever leaves."""
    cluster = backup(engine, seed)
    assert len(cluster.refusals) == 1
    assert cluster.nodes[0].halted == "its signer refuses"


def first_contradiction(engine: str, scenario: Callable[..., SignedCluster]) -> None:
    """Play the scenario unguarded under one seed after the other."""
    for seed in range(12):
        scenario(engine, seed, guarded=False)


@pytest.mark.parametrize("scenario", [twins, backup])
def test_without_the_high_water_rule_the_oracle_trips(engine: str, scenario: Callable[..., SignedCluster]) -> None:
    """The scenarios are real: with signers that only sign, the key signs twice in a view."""
    with pytest.raises(AssertionError, match=r"signed two (Vote|Timeout|Proposal)s in view"):
        first_contradiction(engine, scenario)
