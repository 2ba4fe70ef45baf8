"""Each main safety rule taken out: the cluster's oracles must notice. A test that cannot fail is a defect.

The adversary is a split-brained validator (twins: two nodes with one key) and a network that, for random spans, cuts the
nodes into groups and drops kinds of messages, within what the rules must survive: f of 3f + 1 faulty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from consensus import safety
from consensus.core import Core
from consensus.events import SafetyState
from consensus.types import QC, TC, Header, Message, Proposal, Timeout, Vote
from tests.consensus.cluster import PARAMS, Cluster

pytestmark = pytest.mark.usefixtures("fast_signatures")

FAST = replace(PARAMS, view_timeout_ms=60, view_timeout_ms_max=120, resend_interval_ms=40, block_interval_idle_ms=20)


class Unscrupulous(Core):
    """A Byzantine node: it does not stop for its twin."""

    def _check_impostor(self, view: int, signers: Iterable[int]) -> None:
        return


def storm(seed: int, spans: int = 40) -> None:
    """Run twins of validator 3 through random partitions, losses and restarts; the oracles raise AssertionError."""
    cluster = Cluster(seed=seed, twins=(3,), core_types={3: Unscrupulous}, params=FAST)
    chance = cluster.random
    cluster.nodes[4].clock_skew_ms = 7
    cluster.delay_ms = (1, 25)
    cluster.start()
    cluster.load(15)
    for _ in range(spans):
        side = {node.name: chance.random() < 0.5 for node in cluster.nodes}
        rate = {
            Vote: chance.choice((0.0, 0.3)),
            Timeout: chance.choice((0.0, 0.3)),
            Proposal: chance.choice((0.0, 0.4)),
        }
        split = chance.random() < 0.7

        def link(
            sender: int,
            recipient: int,
            message: Message,
            side: dict[int, bool] = side,
            rate: dict[type, float] = rate,
            split: bool = split,
        ) -> bool:
            crosses = split and side[sender] != side[recipient]
            return not crosses and chance.random() >= rate.get(type(message), 0.0)

        cluster.link = link
        cluster.run(chance.randint(50, 300))
        victim = chance.choice(cluster.nodes[:3])
        if victim.up and chance.random() < 0.3:
            victim.crash()
            cluster.at(chance.randint(1, 100), victim.start)


def caught(seeds: Iterable[int]) -> bool:
    for seed in seeds:
        try:
            storm(seed)
        except AssertionError:
            return True
    return False


def vote_again(state: SafetyState, proposal: Proposal) -> str | None:
    """V1 gone."""
    return None if safety.follows(proposal.header.view, proposal.justify, proposal.tc) else "V4"


def any_justify(view: int, justify: QC, tc: TC | None) -> bool:
    """V4 without the TC's highest QC: a leader may ignore it."""
    return view == justify.view + 1 or (tc is not None and view == tc.view + 1)


def decides_over_gaps(parent: Header, child: Header) -> bool:
    """C2 gone: any two certified blocks in a row commit (row 17)."""
    return child.parent_hash == parent.block_hash


Mutate = Callable[[pytest.MonkeyPatch], None]


def forget_votes(patch: pytest.MonkeyPatch) -> None:
    """V1 gone from the persistent state: what was voted is not remembered over a restart."""
    real = safety.remember

    def forgetful(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
        return replace(real(state, high_qc, high_tc), last_voted_view=0, last_proposed_view=0)

    patch.setattr("consensus.core.remember", forgetful)


def test_the_storm_without_a_mutant_is_survived() -> None:
    """The control: the real rules hold against the adversary that catches the mutants."""
    for seed in range(12):
        storm(seed)


@pytest.mark.parametrize(
    ("mutant", "mutate"),
    [
        ("V1 and P1 are not persisted", forget_votes),
        ("C2 is gone", lambda patch: patch.setattr("consensus.tree.decides", decides_over_gaps)),
    ],
)
def test_the_storm_catches_a_mutant(mutant: str, mutate: Mutate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule matters, and this suite would notice its loss."""
    mutate(monkeypatch)
    assert caught(range(40)), mutant
