"""One core against hand-made messages: what it refuses, what it names, what it does not spend memory on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus import events as ev
from consensus.config import CoreConfig, Recovery, Tip
from consensus.engine import make_engine
from consensus.types import Certificates, Message, Vote
from genesis.errors import InvariantViolation
from genesis.evidence import Offence, decode_evidence, encode_evidence, verify_evidence
from genesis.statements import Phase
from tests.consensus.bench import (
    GENESIS_QC,
    VALIDATORS,
    Bench,
    make_proposal,
    make_qc,
    make_tc,
    make_timeout,
    state_root,
)
from tests.consensus.cluster import CHAIN_ID, GENESIS, PARAMS, Cluster, fast_is_valid, sign

pytestmark = pytest.mark.usefixtures("fast_signatures")

FIRST = make_proposal(1)
GENESIS_ANCHOR = FIRST.header.anchor
SECOND = make_proposal(2, FIRST.header)
VOTE = sign(Vote(0, 1, Phase.CERTIFY, 1, FIRST.header.block_hash, 2), 2)
BAD = bytes(64)
SKIPPING = replace(FIRST.header.anchor, height=1)
FORGED = replace(make_qc(FIRST.header), signatures=((1, BAD), (2, BAD), (3, BAD)))
DIGESTS = tuple(bytes([i]) * 32 for i in range(PARAMS.block_batches_max + 1))

REFUSALS: list[tuple[str, Callable[[], Message], str]] = [
    ("a proposal whose signature is wrong", lambda: replace(FIRST, signature=BAD), "bad_signature"),
    ("a proposal by another than the leader", lambda: make_proposal(1, proposer=2), "wrong_leader"),
    ("a view far ahead with no certificate", lambda: make_proposal(1_000_001), "unjustified_view"),
    ("a block time that stands still", lambda: make_proposal(1, time_unix_ms=GENESIS.time_unix_ms), "bad_block"),
    ("a height that skips", lambda: make_proposal(1, height=2), "bad_block"),
    ("an anchor that is not the ancestry's", lambda: make_proposal(1, anchor=SKIPPING), "bad_block"),
    ("a batch ordered twice", lambda: make_proposal(1, payload=(BAD[:32],) * 2), "bad_block"),
    ("more batches than a block may hold", lambda: make_proposal(1, payload=DIGESTS), "bad_block"),
    ("a QC without a quorum", lambda: make_proposal(2, FIRST.header, make_qc(FIRST.header, (0, 1))), "no_quorum"),
    (
        "a QC that counts a voter twice",
        lambda: make_proposal(2, FIRST.header, make_qc(FIRST.header, (0, 1, 1))),
        "bad_certificate",
    ),
    (
        "a QC with a forged signature",
        lambda: make_proposal(2, FIRST.header, FORGED),
        "bad_signature",
    ),
    ("a QC that claims to be of genesis", lambda: Certificates(replace(GENESIS_QC, view=1), None), "bad_certificate"),
    ("a vote whose signature is wrong", lambda: replace(VOTE, signature=BAD), "bad_signature"),
    ("a vote by nobody", lambda: replace(VOTE, voter=9), "unknown_validator"),
    ("a timeout of a view far ahead", lambda: make_timeout(10**6, GENESIS_QC, 1), "unjustified_view"),
    (
        "a timeout whose signature is wrong",
        lambda: replace(make_timeout(1, GENESIS_QC, 1), signature=BAD),
        "bad_signature",
    ),
    (
        "a TC that hides its signers' highest QC",
        lambda: Certificates(GENESIS_QC, replace(make_tc(2, *[make_qc(FIRST.header)] * 3), high_qc=GENESIS_QC)),
        "bad_certificate",
    ),
    ("a TC without a quorum", lambda: Certificates(GENESIS_QC, make_tc(2, GENESIS_QC)), "no_quorum"),
]


@pytest.mark.parametrize(("fault", "message", "code"), REFUSALS, ids=[fault for fault, _, _ in REFUSALS])
def test_a_faulty_message_is_refused_and_its_sender_named(
    fault: str, message: Callable[[], Message], code: str
) -> None:
    """Row 15, 24, 25: refused without a crash, no vote, nothing moves."""
    bench = Bench()
    bench.receive(message(), sender=3)
    assert bench.rejections() == [code], fault
    assert bench.reports[-1]["sender"] == 3
    assert bench.signed == []


def test_a_statement_of_another_chain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 25: every signature covers the chain id."""
    bench = Bench()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("tests.consensus.cluster.CHAIN_ID", bytes([7]) * 32)
        foreign = make_proposal(1)
    bench.receive(foreign)
    assert bench.rejections() == ["bad_signature"]


def test_a_vote_is_durable_with_its_block_before_it_is_signed() -> None:
    """The order of the effects is the promise on which every restart rests."""
    bench = Bench()
    bench.receive(FIRST)
    kinds = [type(effect) for effect in bench.effects]
    persisted = next(each for each in bench.effects if isinstance(each, ev.PersistSafety))
    assert kinds.index(ev.PersistSafety) < kinds.index(ev.SignAndSend)
    assert persisted.proposal == FIRST
    assert persisted.state.last_voted_view == 1


def test_two_consecutive_certified_views_commit_the_first() -> None:
    """The commit rule, at its earliest moment: the QC of the child."""
    bench = Bench()
    bench.receive(FIRST)
    bench.receive(SECOND)
    assert bench.committed == []
    bench.receive(Certificates(make_qc(SECOND.header), None))
    assert bench.committed == [FIRST.header]


def test_a_quorum_of_votes_commits_without_waiting_for_the_next_proposal() -> None:
    """Votes go to everyone, so everyone commits as soon as a quorum of votes for the child is seen."""
    bench = Bench()
    bench.receive(FIRST)
    bench.receive(SECOND)
    for voter in (1, 2):
        bench.receive(sign(Vote(0, 2, Phase.CERTIFY, 2, SECOND.header.block_hash, voter), voter), sender=voter)
    assert bench.committed == [FIRST.header]


def test_a_block_time_ahead_of_the_clock_waits_for_it() -> None:
    """Row 15, 26: no vote until the clock is within the bound; then there is one."""
    bench = Bench()
    ahead = GENESIS.time_unix_ms + PARAMS.block_time_ahead_ms_max + 400
    bench.receive(make_proposal(1, time_unix_ms=ahead))
    assert bench.votes == []
    bench.wait(500)
    assert len(bench.votes) == 1


def test_a_vote_that_waits_for_the_clock_wakes_up_when_it_may() -> None:
    """Row 26: a leader whose clock is a little ahead costs what it is ahead, not a beat more."""
    bench = Bench()
    bench.receive(make_proposal(1, time_unix_ms=GENESIS.time_unix_ms + PARAMS.block_time_ahead_ms_max + 40))
    assert [each.monotonic_ms for each in bench.effects if isinstance(each, ev.WakeAt)][-1] == 40
    bench.wait(40)
    assert len(bench.votes) == 1


def test_nothing_is_fetched_for_a_block_with_a_false_anchor() -> None:
    """Row 16: a leader must not make everybody load batches for a block that nobody can vote for."""
    bench = Bench()
    false = replace(GENESIS_ANCHOR, state_root=b"\x07" * 32)
    bench.receive(make_proposal(1, anchor=false))
    assert not any(isinstance(each, ev.EnsurePayload) for each in bench.effects)
    assert [report["kind"] for report in bench.reports] == ["vote_refused"]


def test_a_certified_root_that_differs_from_ours_halts_us() -> None:
    """Row 37: a quorum vouches for another state, so ours is wrong; nothing is signed after that."""
    bench = Bench()
    bench.wrong_roots = True
    third = make_proposal(3, SECOND.header)
    for proposal in (FIRST, SECOND, third):
        bench.receive(proposal)
    halted_early = bench.halted
    bench.receive(make_proposal(4, third.header))
    assert (halted_early, bench.halted is None) == (None, False)
    assert bench.core.handle(ev.WokenUp(), ev.Now(0, 0)) == ()


def test_f_plus_one_timeouts_are_joined_and_one_is_not() -> None:
    """One liar cannot end a view; an honest voice among f + 1 can."""
    bench = Bench()
    bench.receive(make_timeout(1, GENESIS_QC, 1))
    assert bench.timeouts == []
    bench.receive(make_timeout(1, GENESIS_QC, 2), sender=2)
    assert [each.view for each in bench.timeouts] == [1]
    assert bench.core.view == 2


def test_a_timeout_is_said_again_word_for_word_after_a_restart() -> None:
    """T5: a higher QC that came later must not change what was said: two timeouts of one view are evidence."""
    bench = Bench()
    bench.receive(FIRST)
    bench.receive(make_timeout(2, GENESIS_QC, 1, make_tc(1, *[GENESIS_QC] * 3)), sender=1)
    bench.wait(20_000)
    bench.receive(Certificates(make_qc(FIRST.header), None))
    bench.restart()
    bench.wait(20_000)
    assert [(each.view, each.high_qc.view) for each in bench.timeouts] == [(2, 0)] * 2
    assert len(set(bench.timeouts)) == 1


def test_a_view_that_was_given_up_is_given_up_again_at_once_after_a_restart() -> None:
    """Row 22: nobody else can say it, and nobody should wait for a second time-out to hear it."""
    bench = Bench()
    bench.wait(5_000)
    bench.restart()
    assert [each.view for each in bench.timeouts] == [1, 1]


def test_two_timeouts_of_one_view_that_differ_are_equivocation() -> None:
    """The first one counts; both are shown."""
    bench = Bench()
    tc = make_tc(1, *[GENESIS_QC] * 3)
    bench.receive(make_timeout(2, GENESIS_QC, 2, tc), sender=2)
    bench.receive(make_timeout(2, make_qc(FIRST.header), 2), sender=2)
    found = [each for each in bench.reports if each["kind"] == "equivocation"]
    assert [(each["statement"], each["validator"]) for each in found] == [("timeout", 2)]


def test_equivocation_is_reported_and_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 1 and 2: the log names key, view and both statements, and what is handed on convinces anybody."""
    monkeypatch.setattr("genesis.signing.is_valid", fast_is_valid)
    bench = Bench()
    rival = make_proposal(1, time_unix_ms=GENESIS.time_unix_ms + 9)
    bench.receive(FIRST)
    bench.receive(rival)
    bench.receive(VOTE, sender=2)
    bench.receive(sign(replace(VOTE, block_hash=rival.header.block_hash), 2), sender=2)
    found = [each for each in bench.reports if each["kind"] == "equivocation"]
    assert [(each["statement"], each["validator"]) for each in found] == [("proposal", 1), ("vote", 2)]
    hashes = {FIRST.header.block_hash.hex(), rival.header.block_hash.hex()}
    assert all({each["first"], each["second"]} == hashes for each in found)
    keys = [each.public_key for each in VALIDATORS.members]
    for each in bench.accusations:
        verify_evidence(decode_evidence(encode_evidence(each)), CHAIN_ID, keys)
    assert [(each.offence, each.validator) for each in bench.accusations] == [(Offence.PROPOSAL, 1), (Offence.VOTE, 2)]


def test_an_offence_is_told_once() -> None:
    """Row 29: whoever repeats itself a thousand times makes one accusation; what follows only counts against it."""
    bench = Bench()
    bench.receive(FIRST)
    for time in range(9, 12):
        bench.receive(make_proposal(1, time_unix_ms=GENESIS.time_unix_ms + time))
    assert [report["kind"] for report in bench.reports] == ["equivocation", "contradiction", "contradiction"]
    assert len(bench.accusations) == 1


def test_votes_far_ahead_are_not_kept() -> None:
    """Row 24: a million views of votes take no memory."""
    bench = Bench()
    for view in (10**6, 10**6 + 1, 20, 9):
        bench.receive(sign(replace(VOTE, view=view), 2), sender=2)
    assert {view for view, _ in bench.core._votes._views} == {9}


def test_a_missing_ancestor_is_fetched_and_the_view_goes_on() -> None:
    """A lost proposal costs a fetch: blocks are asked for, checked, and the waiting proposal is voted for."""
    bench = Bench()
    bench.receive(SECOND)
    assert bench.votes == []
    bench.wait(PARAMS.resend_interval_ms // 10)
    fetch = next(each for each in bench.effects if isinstance(each, ev.FetchBlocks))
    assert (fetch.peer, fetch.from_height, fetch.target.block_hash) == (1, 0, FIRST.header.block_hash)
    bench.feed(ev.BlocksReceived(1, (FIRST,), make_qc(FIRST.header)))
    assert bench.votes == [SECOND.header.block_hash]


@pytest.mark.parametrize(
    ("fault", "event"),
    [
        ("not certified", ev.BlocksReceived(2, (FIRST,), GENESIS_QC)),
        ("not connected", ev.BlocksReceived(2, (SECOND,), make_qc(SECOND.header))),
        ("too many", ev.BlocksReceived(2, (FIRST,) * (PARAMS.sync_blocks_max + 1), make_qc(FIRST.header))),
    ],
)
def test_a_faulty_answer_to_a_sync_request_is_refused(fault: str, event: ev.BlocksReceived) -> None:
    """Nothing that a peer serves is trusted."""
    bench = Bench()
    bench.feed(event)
    assert bench.rejections() == ["bad_sync"], fault


def test_a_block_delivered_again_changes_nothing() -> None:
    """Row 35: sync is idempotent."""
    bench = Bench()
    blocks = ev.BlocksReceived(1, (FIRST, SECOND), make_qc(SECOND.header))
    bench.feed(blocks)
    bench.feed(blocks)
    assert bench.committed == [FIRST.header]
    assert bench.rejections() == []


def test_nothing_is_sent_only_once() -> None:
    """Row 22: vote and certificates go out again on every beat of the view."""
    bench = Bench()
    bench.receive(FIRST)
    bench.effects.clear()
    bench.wait(PARAMS.resend_interval_ms)
    repeated = [type(each.message) for each in bench.effects if isinstance(each, ev.Send)]
    assert repeated == [Vote, Certificates]


def test_a_pending_chain_is_taken_up_after_a_restart() -> None:
    """What was certified before the crash commits again after it, from the last executed block."""
    third = make_proposal(3, SECOND.header)
    fourth = make_proposal(4, third.header)
    tip = Tip(SECOND, make_qc(SECOND.header))
    executed = tuple(
        ev.Executed(h.height, h.block_hash, state_root(h.height, h.block_hash)) for h in (FIRST.header, SECOND.header)
    )
    safety = ev.SafetyState(0, 4, 0, make_qc(third.header), None)
    recovery = Recovery(safety, tip, executed, (fourth, third, FIRST))
    core = make_engine("hotstuff", CoreConfig(CHAIN_ID, 0, VALIDATORS, PARAMS, GENESIS), recovery)
    core.handle(ev.Started(), ev.Now(0, GENESIS.time_unix_ms))
    assert [each.header.height for each in core.uncommitted] == [3]
    effects = core.handle(ev.Received(1, Certificates(make_qc(fourth.header), None)), ev.Now(1, GENESIS.time_unix_ms))
    assert [each.proposal for each in effects if isinstance(each, ev.Commit)] == [third]


def test_a_wrong_key_stops_the_process() -> None:
    """Our own statement that does not verify is nobody else's fault."""
    bench = Bench()
    with pytest.raises(InvariantViolation, match="our own statement"):
        bench.receive(replace(VOTE, voter=0, signature=BAD), sender=0)


def test_events_come_only_after_the_start() -> None:
    """A shell that forgets `Started` has no timers; better to stop."""
    core = make_engine("hotstuff", CoreConfig(CHAIN_ID, 0, VALIDATORS, PARAMS, GENESIS), Recovery(None))
    with pytest.raises(InvariantViolation, match="Started"):
        core.handle(ev.WokenUp(), ev.Now(0, 0))


def test_real_signatures_agree_with_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole protocol once over Ed25519, so the fast stand-in hides nothing."""
    monkeypatch.undo()
    cluster = Cluster(real_signatures=True).start()
    item = cluster.order("real")
    cluster.run(300)
    assert all(cluster.ordered(node) == [item] for node in cluster.nodes)
