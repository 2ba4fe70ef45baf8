"""Each main safety rule in a scenario that needs it, and the same scenario with the rule taken out, which must fail.
Rows are those of docs/FAULTS.md.

A test that cannot fail is a defect: the second half shows that the first can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus import safety
from consensus.events import SafetyState
from consensus.types import QC, TC, Certificates, Header, Message, Proposal, Timeout, Vote
from genesis.document import ENGINES
from tests.consensus.bench import GENESIS_QC, Bench, make_proposal, make_qc, make_tc, make_timeout
from tests.consensus.cluster import PARAMS, Cluster

pytestmark = pytest.mark.usefixtures("fast_signatures")


def votes_once_in_a_view() -> None:
    """Row 1, 3: an equivocating leader and a restart between its two blocks."""
    bench = Bench()
    bench.receive(make_proposal(1))
    bench.restart()
    bench.receive(make_proposal(1, time_unix_ms=1_000_005))
    assert len(bench.votes) == 1


def gives_up_and_does_not_vote() -> None:
    """A replica that reported its QC for a view must not vote in it afterwards (T4)."""
    bench = Bench()
    bench.wait(5_000)
    assert [each.view for each in bench.timeouts] == [1]
    bench.restart()
    bench.receive(make_proposal(1))
    assert bench.votes == []


def respects_the_highest_qc_of_a_tc() -> None:
    """A leader hides a certified block: its TC shows that a quorum's member knew of it (row 18)."""
    bench = Bench()
    first = make_proposal(1)
    bench.receive(first)
    tc = make_tc(2, make_qc(first.header), GENESIS_QC, GENESIS_QC)
    hiding = make_proposal(3, tc=tc)
    bench.receive(hiding)
    assert hiding.header.block_hash not in bench.votes


def commits_only_over_consecutive_views() -> None:
    """Row 17: a certified block and a certified child two views later commit nothing."""
    bench = Bench()
    first = make_proposal(1)
    gap = make_proposal(3, first.header, tc=make_tc(2, *[make_qc(first.header)] * 3))
    bench.receive(first)
    bench.receive(gap)
    bench.receive(make_proposal(4, gap.header))
    assert bench.committed == []


def reports_the_qc_it_voted_on_over_a_restart() -> None:
    """The lock: a timeout never carries a lower QC than one that was voted on top of (V5, T3)."""
    bench = Bench()
    first = make_proposal(1)
    bench.receive(first)
    bench.receive(make_proposal(2, first.header))
    assert len(bench.votes) == 2
    bench.restart()
    bench.wait(20_000)
    assert [each.high_qc.view for each in bench.timeouts] == [1]


def says_one_thing_about_a_view_it_gave_up() -> None:
    """T5: also when it has learnt of a higher QC since, and was restarted."""
    bench = Bench()
    bench.receive(make_timeout(2, GENESIS_QC, 1, make_tc(1, *[GENESIS_QC] * 3)))
    bench.wait(20_000)
    bench.restart()
    bench.receive(Certificates(make_qc(make_proposal(1).header), None))
    bench.wait(20_000)
    assert {each.high_qc for each in bench.timeouts} == {GENESIS_QC}


def refuses_a_root_that_is_not_its_own() -> None:
    """Row 15: no vote for a header whose anchor root differs from what was executed."""
    bench = Bench()
    wrong = replace(make_proposal(1).header.anchor, state_root=b"\1" * 32)
    bench.receive(make_proposal(1, anchor=wrong))
    assert bench.votes == []


Scenario = Callable[[], None]
Mutate = Callable[[pytest.MonkeyPatch], None]


def never_refuse(_state: SafetyState, _proposal: Proposal) -> None:
    """V1 to V4 gone."""


def ignore_the_tcs_qcs(view: int, justify: QC, tc: TC | None) -> bool:
    """V4 without its last clause."""
    return view == justify.view + 1 or (tc is not None and view == tc.view + 1)


def decide_over_gaps(parent: Header, child: Header) -> bool:
    """D2 gone."""
    return child.parent_hash == parent.block_hash


def forget_the_view(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state remembers certificates and not views."""
    return replace(REAL_REMEMBER(state, high_qc, high_tc), last_voted_view=0)


def forget_the_lock(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state remembers views and not certificates."""
    return replace(REAL_REMEMBER(state, high_qc, high_tc), high_qc=GENESIS_QC, high_tc=None)


def forget_the_timeout(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state remembers all but what was said in giving up."""
    return replace(REAL_REMEMBER(state, high_qc, high_tc), last_timeout=None)


REAL_REMEMBER = safety.remember


def swap(target: str, mutant: object) -> Mutate:
    return lambda patch: patch.setattr(target, mutant)


SCENARIOS: list[tuple[Scenario, Mutate]] = [
    (votes_once_in_a_view, swap("consensus.signatory.remember", forget_the_view)),
    (gives_up_and_does_not_vote, swap("consensus.signatory.remember", forget_the_view)),
    (respects_the_highest_qc_of_a_tc, swap("consensus.hotstuff.safety.follows", ignore_the_tcs_qcs)),
    (commits_only_over_consecutive_views, swap("consensus.hotstuff.safety.decides", decide_over_gaps)),
    (reports_the_qc_it_voted_on_over_a_restart, swap("consensus.signatory.remember", forget_the_lock)),
    (says_one_thing_about_a_view_it_gave_up, swap("consensus.signatory.remember", forget_the_timeout)),
    (refuses_a_root_that_is_not_its_own, swap("consensus.anchors.AnchorRule.agrees", lambda *_: True)),
]


@pytest.mark.parametrize("scenario", [scenario for scenario, _ in SCENARIOS])
def test_the_rule_holds(scenario: Scenario) -> None:
    """What the rule protects against does not happen."""
    scenario()


@pytest.mark.parametrize(("scenario", "mutate"), SCENARIOS)
def test_the_scenario_catches_the_mutant(scenario: Scenario, mutate: Mutate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario fails on a core with the rule taken out."""
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        scenario()


# --- a storm ----------------------------------------------------------------------------------------------------------

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
