"""PBFT's rules against hand-made messages: each safety rule by itself, then the view change as one replica sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus import events as ev
from consensus.pbft import safety
from consensus.safety import after_timeout, fresh_safety
from consensus.types import QC, TC, Certificates, Header, Message, Proposal, Vote
from genesis.errors import InvariantViolation
from genesis.statements import Phase
from tests.consensus.bench import GENESIS_QC, Bench, make_proposal, make_qc, make_tc, make_timeout
from tests.consensus.cluster import GENESIS, PARAMS, sign

pytestmark = pytest.mark.usefixtures("fast_signatures")


def propose(view: int, parent: Header = GENESIS, justify: QC | None = None, tc: TC | None = None, **changes: object):
    """A new block of the leader of `view`."""
    return make_proposal(view, parent, justify, tc, safety, **changes)


def again(view: int, proposal: Proposal, tc: TC) -> Proposal:
    """The block of an earlier proposal, proposed again by the leader of `view`."""
    return sign(Proposal(view, proposal.header, proposal.justify, tc), view % 4)


def prepared(header: Header, view: int | None = None) -> QC:
    """A PREPARE certificate."""
    return make_qc(header, phase=Phase.PREPARE, view=view)


def committed(header: Header, view: int | None = None) -> QC:
    """A COMMIT certificate."""
    return make_qc(header, phase=Phase.COMMIT, view=view)


FIRST = propose(1)
RIVAL = propose(1, time_unix_ms=GENESIS.time_unix_ms + 9)
SECOND = propose(2, FIRST.header)
TC_OF_NOTHING = make_tc(1, *[GENESIS_QC] * 3)
TC_OF_PREPARED = make_tc(1, GENESIS_QC, prepared(FIRST.header), GENESIS_QC)
TC_OF_COMMITTED = make_tc(2, *[committed(FIRST.header)] * 3)
FRESH = fresh_safety(GENESIS)
VOTED = replace(FRESH, last_voted_view=1)
GIVEN_UP = after_timeout(FRESH, make_timeout(1, GENESIS_QC, 0))
AFTER_A_LOSS = replace(FRESH, last_voted_view=4)
OF_EPOCH_1 = replace(FIRST, header=replace(FIRST.header, epoch=1))
UNREAL = propose(2, FIRST.header, prepared(FIRST.header))

PREPARING: list[tuple[str, ev.SafetyState, Proposal, str | None]] = [
    ("the first block", FRESH, FIRST, None),
    ("a second block of the view", VOTED, RIVAL, "V1"),
    ("a view that was given up", GIVEN_UP, FIRST, "V1"),
    ("a block of another epoch", FRESH, OF_EPOCH_1, "V2"),
    ("a parent that is only prepared", FRESH, UNREAL, "V3"),
    ("a parent that the certificate does not name", FRESH, replace(SECOND, justify=committed(RIVAL.header)), "V3"),
    ("a block on the commit of the view before", FRESH, SECOND, None),
    ("a gap in the views without a TC", FRESH, propose(3, FIRST.header), "V4"),
    ("a new block where nothing was prepared", FRESH, propose(2, tc=TC_OF_NOTHING), None),
    ("a new block where one was prepared", FRESH, propose(2, tc=TC_OF_PREPARED), "V4"),
    ("the prepared block again", FRESH, again(2, FIRST, TC_OF_PREPARED), None),
    ("another block than the prepared one again", FRESH, again(2, RIVAL, TC_OF_PREPARED), "V4"),
    ("an old block again where none was prepared", FRESH, again(2, FIRST, TC_OF_NOTHING), "V4"),
    ("an old block again over a gap", FRESH, again(3, FIRST, TC_OF_PREPARED), "V4"),
    ("a new block on the commit that the TC shows", FRESH, propose(3, FIRST.header, tc=TC_OF_COMMITTED), None),
    ("a new block below the commit that the TC shows", FRESH, propose(3, tc=TC_OF_COMMITTED), "V4"),
    (
        "a new block on the commit of what the TC shows prepared",
        FRESH,
        propose(2, FIRST.header, tc=make_tc(1, *[prepared(FIRST.header)] * 3)),
        None,
    ),
    (
        "a new block on the commit of what the TC shows prepared once more",
        FRESH,
        propose(3, FIRST.header, tc=make_tc(2, *[prepared(FIRST.header, 2)] * 3)),
        None,
    ),
    (
        "a new block on an older commit than what the TC shows prepared",
        FRESH,
        propose(4, FIRST.header, tc=make_tc(3, *[prepared(SECOND.header)] * 3)),
        "V4",
    ),
]


@pytest.mark.parametrize(("case", "state", "proposal", "rule"), PREPARING, ids=[case for case, *_ in PREPARING])
def test_what_may_be_prepared(case: str, state: ev.SafetyState, proposal: Proposal, rule: str | None) -> None:
    """V1 to V4, one fault a row."""
    refusal = safety.vote_refusal(state, proposal)
    assert (refusal and refusal[:2]) == rule, case
    if rule is not None:
        with pytest.raises(InvariantViolation):
            safety.after_vote(state, proposal)


COMMITTING: list[tuple[str, ev.SafetyState, QC, str | None]] = [
    ("a block that it prepared", VOTED, prepared(FIRST.header), None),
    ("a block that it did not prepare", FRESH, prepared(FIRST.header), None),
    ("a later view was voted in", replace(FRESH, last_voted_view=2), prepared(FIRST.header), "L1"),
    ("a view covered by a lost memory", AFTER_A_LOSS, prepared(FIRST.header, 3), "L1"),
    ("the view was given up", GIVEN_UP, prepared(FIRST.header), "L2"),
    ("another epoch", FRESH, replace(prepared(FIRST.header), epoch=1), "L3"),
    ("a block that is committed already", FRESH, committed(FIRST.header), "L4"),
]


@pytest.mark.parametrize(("case", "state", "qc", "rule"), COMMITTING, ids=[case for case, *_ in COMMITTING])
def test_what_may_be_committed(case: str, state: ev.SafetyState, qc: QC, rule: str | None) -> None:
    """L1 to L4, one fault a row; and L5: the certificate is in the state that is made durable."""
    refusal = safety.commit_refusal(state, qc)
    assert (refusal and refusal[:2]) == rule, case
    if rule is None:
        after = safety.after_commit(state, qc)
        assert (after.high_qc, after.last_voted_view) == (qc, qc.view)
        return
    with pytest.raises(InvariantViolation):
        safety.after_commit(state, qc)


def test_a_block_goes_through_prepare_and_commit() -> None:
    """The normal case of the paper: pre-prepare, prepare, commit, each vote durable before it leaves."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    assert (len(bench.votes), bench.commits) == (1, [])
    for voter in (1, 2):
        bench.receive(vote(FIRST.header, Phase.PREPARE, voter), sender=voter)
    assert bench.commits == [(1, FIRST.header.block_hash)]
    assert bench.safety is not None
    assert bench.safety.high_qc.rank == (1, Phase.PREPARE)
    assert bench.committed == []
    for voter in (1, 2):
        bench.receive(vote(FIRST.header, Phase.COMMIT, voter), sender=voter)
    assert bench.committed == [FIRST.header]
    assert bench.core.view == 2


def vote(header: Header, phase: Phase, voter: int, view: int | None = None) -> Vote:
    """A signed vote."""
    view = header.view if view is None else view
    return sign(Vote(0, view, phase, header.height, header.block_hash, voter), voter)


def test_a_prepared_block_is_not_committed() -> None:
    """D1: a quorum of PREPARE votes decides nothing: another quorum may not know of it."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(prepared(FIRST.header), None))
    assert bench.committed == []
    assert bench.core.view == 1


def test_after_giving_up_a_view_it_commits_nothing_in_it_also_over_a_restart() -> None:
    """L2: the next leader was told that nothing is prepared here."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.wait(5_000)
    bench.receive(Certificates(prepared(FIRST.header), None))
    bench.restart()
    bench.receive(FIRST)
    bench.receive(Certificates(prepared(FIRST.header), None))
    assert bench.commits == []


def test_a_timeout_reports_the_prepared_block_also_over_a_restart() -> None:
    """T3: what it gave its COMMIT vote, every later leader hears of."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(prepared(FIRST.header), None))
    assert len(bench.commits) == 1
    bench.restart()
    bench.wait(5_000)
    assert [each.high_qc for each in bench.timeouts] == [prepared(FIRST.header)]


def test_a_commit_vote_is_repeated_after_a_restart_and_on_every_beat() -> None:
    """Row 22: the same vote, so nothing is said twice that differs."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(prepared(FIRST.header), None))
    bench.restart()
    bench.receive(FIRST)
    assert bench.commits == [(1, FIRST.header.block_hash)] * 2
    bench.effects.clear()
    bench.wait(PARAMS.resend_interval_ms)
    sent = [each.message for each in bench.effects if isinstance(each, ev.Send)]
    assert [type(each) for each in sent] == [Vote, Certificates]
    assert isinstance(sent[0], Vote)
    assert sent[0].phase is Phase.COMMIT


# --- the view change --------------------------------------------------------------------------------------------------

THIRD_TC = make_tc(3, GENESIS_QC, prepared(FIRST.header), GENESIS_QC)
"""It leads to view 4, which validator 0, the one on the bench, leads."""


def test_the_new_leader_proposes_the_prepared_block_again_at_once() -> None:
    """Byte for byte the same header, under the new view, with the TC that says so; no payload is asked for."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(GENESIS_QC, THIRD_TC))
    assert [(each.view, each.header, each.tc) for each in bench.proposals] == [(4, FIRST.header, THIRD_TC)]
    assert not any(isinstance(each, ev.RequestPayload) for each in bench.effects)
    assert bench.votes == [FIRST.header.block_hash] * 2


def test_a_new_leader_without_the_prepared_block_fetches_it_first() -> None:
    """A quorum prepared it, so somebody has it; a new block instead could not be voted for."""
    bench = Bench("pbft")
    bench.receive(Certificates(GENESIS_QC, THIRD_TC))
    bench.wait(PARAMS.resend_interval_ms // 10)
    fetch = next(each for each in bench.effects if isinstance(each, ev.FetchBlocks))
    assert (fetch.from_height, fetch.target) == (0, prepared(FIRST.header))
    assert bench.proposals == []
    bench.feed(ev.BlocksReceived(1, (FIRST,), prepared(FIRST.header)))
    assert [each.header for each in bench.proposals] == [FIRST.header]
    assert bench.committed == []


def test_a_new_leader_that_knows_the_commit_goes_on_above_it() -> None:
    """The TC's signers had only heard of the preparation."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(committed(FIRST.header), None))
    bench.receive(Certificates(GENESIS_QC, THIRD_TC))
    asked = [each for each in bench.effects if isinstance(each, ev.RequestPayload)]
    assert [each.parent_hash for each in asked] == [FIRST.header.block_hash]
    bench.feed(ev.PayloadOffered(4, ()))
    assert [(each.header.height, each.justify) for each in bench.proposals] == [(2, committed(FIRST.header))]


def test_a_new_leader_goes_on_above_a_block_that_was_prepared_once_more_after_its_commit() -> None:
    """Those who had not heard of the commit prepared it again and failed; its leader need not repeat what is done."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(committed(FIRST.header), None))
    bench.receive(Certificates(GENESIS_QC, make_tc(3, *[prepared(FIRST.header, 2)] * 3)))
    bench.feed(ev.PayloadOffered(4, ()))
    assert [(each.header.height, each.justify) for each in bench.proposals] == [(2, committed(FIRST.header))]


def test_a_leader_that_makes_a_new_block_takes_nothing_from_the_abandoned_one() -> None:
    """What a block that is not its ancestor orders must be ordered again."""
    bench = Bench("pbft")
    bench.receive(propose(1, payload=(bytes(32),)))
    bench.receive(Certificates(GENESIS_QC, make_tc(3, *[GENESIS_QC] * 3)))
    asked = next(each for each in bench.effects if isinstance(each, ev.RequestPayload))
    assert (asked.parent_hash, asked.ancestors) == (GENESIS.block_hash, ())


def test_a_view_entered_over_a_failed_one_with_a_prepared_block_survives_a_restart() -> None:
    """The TC has the very view of the certificate in it. Without it the replica would be back in the failed view, in
    which it may not say anything any more: it has prepared in the next."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(GENESIS_QC, TC_OF_PREPARED))
    bench.receive(again(2, FIRST, TC_OF_PREPARED), sender=2)
    assert bench.votes == [FIRST.header.block_hash] * 2
    bench.restart()
    assert bench.core.view == 2
    bench.wait(20_000)
    assert [each.view for each in bench.timeouts] == [2]


def test_a_block_is_committed_in_a_later_view_than_its_own() -> None:
    """And its child names that later view, which the chain takes."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(GENESIS_QC, TC_OF_PREPARED))
    bench.receive(again(2, FIRST, TC_OF_PREPARED), sender=2)
    bench.receive(Certificates(prepared(FIRST.header, 2), None))
    bench.receive(Certificates(committed(FIRST.header, 2), None))
    child = propose(3, FIRST.header, committed(FIRST.header, 2))
    bench.receive(child, sender=3)
    assert bench.committed == [FIRST.header]
    assert bench.commits == [(2, FIRST.header.block_hash)]
    assert bench.votes == [FIRST.header.block_hash] * 2 + [child.header.block_hash]


def test_one_that_has_committed_helps_those_who_prepare_the_block_again() -> None:
    """It may be needed for the quorum, and nothing forbids the votes."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(Certificates(committed(FIRST.header), None))
    bench.receive(again(2, FIRST, TC_OF_PREPARED), sender=2)
    bench.receive(Certificates(prepared(FIRST.header, 2), None))
    assert bench.votes == [FIRST.header.block_hash] * 2
    assert bench.commits == [(2, FIRST.header.block_hash)]
    assert bench.committed == [FIRST.header]


def test_a_pending_chain_is_committed_again_after_a_restart() -> None:
    """A COMMIT certificate in the safety state commits its block, wherever the executor had got to."""
    bench = Bench("pbft")
    for message in (FIRST, SECOND, Certificates(committed(SECOND.header), None)):
        bench.receive(message)
    assert bench.committed == [FIRST.header, SECOND.header]
    assert bench.safety is not None
    pending = (SECOND, FIRST)
    bench.safety = replace(bench.safety, high_qc=committed(SECOND.header))
    bench.restart(pending)
    assert bench.committed == [FIRST.header, SECOND.header]


REFUSALS: list[tuple[str, Callable[[], Message], str]] = [
    ("a certificate of HotStuff", lambda: Certificates(make_qc(FIRST.header), None), "wrong_phase"),
    ("a vote of HotStuff", lambda: vote(FIRST.header, Phase.CERTIFY, 2), "wrong_phase"),
    ("a block on one that is only prepared", lambda: UNREAL, "bad_certificate"),
    ("a TC that shows a commit of its own view", lambda: tc_of(committed(FIRST.header)), "bad_certificate"),
    ("a block of a view to come", lambda: sign(replace(propose(5), view=1), 1), "bad_block"),
    (
        "a block again by another than the leader",
        lambda: sign(Proposal(2, FIRST.header, GENESIS_QC, TC_OF_PREPARED), 3),
        "bad_signature",
    ),
    (
        "a timeout of the view that its certificate leads out of",
        lambda: make_timeout(1, committed(FIRST.header), 2),
        "unjustified_view",
    ),
    (
        "an anchor that is not the parent",
        lambda: propose(2, FIRST.header, anchor=FIRST.header.anchor),
        "bad_block",
    ),
]


def tc_of(qc: QC) -> Certificates:
    """Certificates with a TC of view 1 that carries this QC."""
    return Certificates(GENESIS_QC, replace(make_tc(1, *[qc] * 3), high_qc=qc))


@pytest.mark.parametrize(("fault", "message", "code"), REFUSALS, ids=[fault for fault, *_ in REFUSALS])
def test_a_faulty_message_is_refused_and_its_sender_named(
    fault: str, message: Callable[[], Message], code: str
) -> None:
    """Rows 15 and 25, for what only PBFT says: refused without a crash, and nothing is signed."""
    bench = Bench("pbft")
    if "anchor" in fault:
        bench.receive(FIRST)
        bench.signed.clear()
    bench.receive(message(), sender=3)
    assert bench.rejections() == [code], fault
    assert bench.signed == []


def test_a_prepared_root_that_differs_from_ours_halts_us() -> None:
    """Row 37: a quorum has executed the parent and found another root; we stop before our COMMIT vote."""
    bench = Bench("pbft")
    bench.wrong_roots = True
    bench.receive(FIRST)
    bench.receive(SECOND, sender=2)
    before = bench.halted
    bench.receive(Certificates(prepared(SECOND.header), None))
    assert (before, bench.halted is None) == (None, False)
    assert bench.commits == []


def test_two_votes_of_one_phase_are_equivocation_and_one_of_each_is_not() -> None:
    """Row 2: a replica says two things in each view."""
    bench = Bench("pbft")
    bench.receive(FIRST)
    bench.receive(vote(FIRST.header, Phase.PREPARE, 2), sender=2)
    bench.receive(vote(FIRST.header, Phase.COMMIT, 2), sender=2)
    assert [each for each in bench.reports if each["kind"] == "equivocation"] == []
    bench.receive(vote(RIVAL.header, Phase.COMMIT, 2), sender=2)
    found = [each for each in bench.reports if each["kind"] == "equivocation"]
    assert [(each["statement"], each["validator"]) for each in found] == [("vote", 2)]


def test_prepared_blocks_of_failed_views_do_not_pile_up() -> None:
    """Oracle B: each view may prepare a block that hardly anybody hears of; only the highest counts."""
    bench = Bench("pbft")
    tc = None
    for view in range(1, 40):
        proposal = propose(view, tc=tc, time_unix_ms=GENESIS.time_unix_ms + view)
        bench.receive(proposal)
        bench.receive(Certificates(prepared(proposal.header), None))
        tc = make_tc(view, *[GENESIS_QC] * 3)
        bench.receive(Certificates(GENESIS_QC, tc))
    assert dict(bench.core.held)["blocks"] <= 10
