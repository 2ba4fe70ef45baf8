"""PBFT's rules in scenarios that need them, and the same scenarios with the rule taken out, which must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus import safety as common
from consensus.collectors import VoteCollector
from consensus.events import SafetyState
from consensus.pbft import safety
from consensus.types import QC, TC, Certificates, Header, Proposal, Vote
from genesis.statements import Phase
from tests.consensus.bench import GENESIS_QC, Bench
from tests.consensus.test_pbft import FIRST, RIVAL, TC_OF_PREPARED, again, prepared, propose, vote

pytestmark = pytest.mark.usefixtures("fast_signatures")


def prepares_once_in_a_view() -> None:
    """V1, rows 1 and 3: an equivocating leader and a restart between its two blocks."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.restart()
    bench.receive(RIVAL)
    assert len(bench.votes) == 1


def gives_up_and_does_not_prepare() -> None:
    """T4: after its timeout, nothing in this view."""
    bench = Bench("pbft")
    bench.wait(5_000)
    bench.restart()
    bench.receive(FIRST)
    assert bench.votes == []


def gives_up_and_does_not_commit() -> None:
    """L2: the next leader was told that nothing is prepared here."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.wait(5_000)
    bench.receive(Certificates(prepared(FIRST.header), None))
    assert bench.commits == []


def proposes_no_rival_of_a_prepared_block() -> None:
    """V4: a leader hides what its own TC shows to be prepared (row 18)."""
    bench = Bench("pbft")
    bench.receive(propose(2, tc=TC_OF_PREPARED), sender=2)
    assert bench.votes == []


def repeats_no_other_block_than_the_prepared_one() -> None:
    """V4c: the TC vouches for one block."""
    bench = Bench("pbft")
    bench.receive(again(2, RIVAL, TC_OF_PREPARED), sender=2)
    assert bench.votes == []


def commits_only_what_a_quorum_commits() -> None:
    """D1: a prepared block may yet be replaced."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(prepared(FIRST.header), None))
    assert bench.committed == []


def reports_the_prepared_block_over_a_restart() -> None:
    """L5, T3: the lock is durable before the COMMIT vote."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(prepared(FIRST.header), None))
    bench.restart()
    bench.wait(5_000)
    assert [each.high_qc.rank for each in bench.timeouts] == [(1, Phase.PREPARE)]


def says_one_thing_about_a_view_it_gave_up() -> None:
    """T5: also when it has learnt more since, and was restarted."""
    bench = Bench("pbft")
    bench.wait(5_000)
    bench.receive(FIRST)
    bench.receive(Certificates(prepared(FIRST.header), None))
    bench.restart()
    bench.wait(20_000)
    assert {each.high_qc for each in bench.timeouts} == {GENESIS_QC}


def takes_a_qc_of_a_quorum_only() -> None:
    """Two of four prepare nothing."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(vote(FIRST.header, Phase.PREPARE, 1), sender=1)
    assert bench.commits == []


def counts_each_phase_by_itself() -> None:
    """PREPARE votes and COMMIT votes together are no quorum of either."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(vote(FIRST.header, Phase.COMMIT, 1), sender=1)
    bench.receive(vote(FIRST.header, Phase.COMMIT, 2), sender=2)
    assert (bench.commits, bench.committed) == ([], [])


def refuses_a_root_that_is_not_its_own() -> None:
    """Row 15: no vote for a header whose anchor root differs from what was executed."""
    bench = Bench("pbft")
    wrong = replace(FIRST.header.anchor, state_root=b"\1" * 32)
    bench.receive(propose(1, anchor=wrong))
    assert bench.votes == []


Scenario = Callable[[], None]
Mutate = Callable[[pytest.MonkeyPatch], None]
REAL_REMEMBER = common.remember
REAL_REFUSAL = safety.commit_refusal


def forget_the_view(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state remembers certificates and not views."""
    return replace(REAL_REMEMBER(state, high_qc, high_tc), last_voted_view=0)


def forget_the_lock(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state remembers views and not certificates."""
    return replace(REAL_REMEMBER(state, high_qc, high_tc), high_qc=GENESIS_QC, high_tc=None)


def forget_the_timeout(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state remembers all but what was said in giving up."""
    return replace(REAL_REMEMBER(state, high_qc, high_tc), last_timeout=None)


def commit_in_spite_of_a_timeout(state: SafetyState, qc: QC) -> str | None:
    """L2 gone."""
    return REAL_REFUSAL(replace(state, last_timeout=None), qc)


def follow_any_tc(proposal: Proposal) -> bool:
    """V4 without what the TC shows."""
    tc = proposal.tc
    return proposal.view == proposal.justify.view + 1 or (tc is not None and proposal.view == tc.view + 1)


def decide_when_prepared(_qc: QC, block: Header, _parent: Header | None) -> Header | None:
    """D1 gone."""
    return block


def swap(target: str, mutant: object) -> Mutate:
    return lambda patch: patch.setattr(target, mutant)


def mix_the_phases(self: VoteCollector, each: Vote) -> QC | None:
    """A collector that takes a COMMIT vote for a PREPARE vote as well."""
    return REAL_ADD(self, replace(each, phase=Phase.PREPARE))


REAL_ADD = VoteCollector.add

SCENARIOS: list[tuple[Scenario, Mutate]] = [
    (prepares_once_in_a_view, swap("consensus.signatory.remember", forget_the_view)),
    (gives_up_and_does_not_prepare, swap("consensus.signatory.remember", forget_the_view)),
    (gives_up_and_does_not_commit, swap("consensus.pbft.safety.commit_refusal", commit_in_spite_of_a_timeout)),
    (gives_up_and_does_not_commit, swap("consensus.signatory.remember", forget_the_timeout)),
    (proposes_no_rival_of_a_prepared_block, swap("consensus.pbft.safety.follows", follow_any_tc)),
    (repeats_no_other_block_than_the_prepared_one, swap("consensus.pbft.safety.follows", follow_any_tc)),
    (commits_only_what_a_quorum_commits, swap("consensus.pbft.safety.decided_by", decide_when_prepared)),
    (reports_the_prepared_block_over_a_restart, swap("consensus.signatory.remember", forget_the_lock)),
    (says_one_thing_about_a_view_it_gave_up, swap("consensus.signatory.remember", forget_the_timeout)),
    (takes_a_qc_of_a_quorum_only, swap("consensus.validators.ValidatorSet.quorum_power", 2)),
    (counts_each_phase_by_itself, swap("consensus.collectors.VoteCollector.add", mix_the_phases)),
    (refuses_a_root_that_is_not_its_own, swap("consensus.anchors.AnchorRule.agrees", lambda *_: True)),
]


@pytest.mark.parametrize("scenario", dict.fromkeys(scenario for scenario, _ in SCENARIOS))
def test_the_rule_holds(scenario: Scenario) -> None:
    """What the rule protects against does not happen."""
    scenario()


@pytest.mark.parametrize(("scenario", "mutate"), SCENARIOS)
def test_the_scenario_catches_the_mutant(scenario: Scenario, mutate: Mutate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scenario fails on a core with the rule taken out."""
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        scenario()
