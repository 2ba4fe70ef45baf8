"""Offences: who is punished, how often, and that nobody else ever is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.ledger import BOND, SLASHED
from contracts.operations import wire_of
from contracts.operations_governance import MoveValidator, RemoveValidator, ReweightValidator, RotateValidatorKey
from genesis.evidence import Evidence, Half, Offence, make_evidence
from genesis.signing import SigningKey
from tests.contracts.consortium import (
    Consortium,
    bonded_consortium,
    double_vote,
    proposal_half,
    signer,
    submission,
    timeout_half,
    vote_half,
)
from tests.contracts.test_governance import add
from tests.contracts.world import key_of, moved


@pytest.fixture
def world() -> Consortium:
    """Four validators with a bond of a million each."""
    return bonded_consortium()


def genuine(world: Consortium, offence: Offence, view: int = 7) -> Evidence:
    """Evidence of each kind against v3."""
    half = {Offence.PROPOSAL: proposal_half, Offence.VOTE: vote_half}
    if offence is Offence.TIMEOUT:
        one, other = timeout_half(world, "v3", view, 2), timeout_half(world, "v3", view, 4)
    else:
        one, other = (half[offence](world, "v3", view, block) for block in ("A", "B"))
    return make_evidence(offence, 0, view, 3, one, other)


@pytest.mark.parametrize("offence", Offence)
def test_an_offence_slashes_the_bond_and_takes_the_power_at_the_edge(world: Consortium, offence: Offence) -> None:
    """The consortium's one sanction; within the epoch the set stays, for two sets must not decide one epoch."""
    assert world.accuse(genuine(world, offence)) == ""
    assert world.bonded("v3") == 950_000
    assert (world.free(SLASHED), world.free(BOND)) == (50_000, 3_950_000)
    assert all(world.bonded(name) == 1_000_000 for name in ("v0", "v1", "v2"))
    assert world.powers["v3"] == 1
    world.to_edge()
    assert world.powers == {"v0": 1, "v1": 1, "v2": 1}
    assert list(world.state.jail.rows) == ["v3"]


@pytest.mark.parametrize(
    ("by", "code"),
    [("M0", ""), ("oracle0", ""), ("v1", ""), ("v3", ""), ("stranger", "not_authorised"), ("v9", "not_authorised")],
)
def test_whoever_the_chain_knows_may_submit(world: Consortium, by: str, code: str) -> None:
    """It proves itself. Only strangers are kept out: they could make every validator verify for nothing."""
    assert world.accuse(double_vote(world, 3), by) == code


def second_pair(world: Consortium) -> Evidence:
    """Another contradiction of the same offence."""
    one, other = (vote_half(world, "v3", 7, block) for block in ("B", "C"))
    return make_evidence(Offence.VOTE, 0, 7, 3, one, other)


def altered_signature(world: Consortium) -> Evidence:
    """The same contradiction with one signature changed."""
    evidence = double_vote(world, 3)
    return replace(evidence, first=replace(evidence.first, signature=bytes(64)))


REPEATED = [("the same again", lambda world: double_vote(world, 3)), ("another pair", second_pair)]


@pytest.mark.parametrize("again", [row[1] for row in REPEATED], ids=[row[0] for row in REPEATED])
def test_an_offence_is_punished_once(world: Consortium, again: Any) -> None:
    """Else three rival blocks would cost three bonds, and a malleated signature another."""
    assert world.accuse(double_vote(world, 3)) == ""
    assert world.accuse(again(world)) == "already_punished"
    assert world.accuse(altered_signature(world)) == "already_punished"
    assert world.bonded("v3") == 950_000


def test_two_in_one_envelope_or_block_are_punished_once(world: Consortium) -> None:
    """Every validator submits what it has seen, in the same moment."""
    evidence = submission(double_vote(world, 3))
    envelopes = [world.envelope(name, evidence) for name in ("v0", "v1", "v2")]
    codes = [receipt.code for receipt in world.block(*envelopes).receipts]
    assert codes == ["", "already_punished", "already_punished"]
    other = submission(double_vote(world, 2))
    assert world.send("M0", other, other).code == "already_punished"
    assert world.bonded("v2") == 1_000_000
    assert list(world.state.jail.rows) == ["v3"]
    assert world.state.standing.offence_count == {(0, "v3"): 1}


def test_every_offence_costs_until_the_epochs_bound(world: Consortium) -> None:
    """Kinds and views are offences of their own; what the state remembers of them is bounded."""
    small = bonded_consortium(offences_per_epoch_max=3)
    assert small.accuse(double_vote(small, 3, 7)) == ""
    assert small.accuse(double_vote(small, 3, 8)) == ""
    assert small.accuse(genuine(small, Offence.TIMEOUT, 8)) == ""
    assert small.accuse(double_vote(small, 3, 9)) == "limit_reached"
    assert small.bonded("v3") == 1_000_000 - 50_000 - 47_500 - 45_125
    assert len(small.state.offences.rows) == 3


FORGERIES: list[tuple[str, Any, str]] = [
    ("against another", lambda world: replace(double_vote(world, 3), validator=2), "bad_signature"),
    ("against nobody", lambda world: replace(double_vote(world, 3), validator=4), "unknown_validator"),
    ("for another view", lambda world: replace(double_vote(world, 3), view=8), "bad_signature"),
    ("with a signature made up", altered_signature, "bad_signature"),
    ("of an epoch to come", lambda world: double_vote(world, 3, epoch=1), "evidence_ahead"),
    ("of another key", lambda world: double_vote(world, 3, name="v9"), "bad_signature"),
]


@pytest.mark.parametrize(("forge", "code"), [row[1:] for row in FORGERIES], ids=[row[0] for row in FORGERIES])
def test_forged_evidence_punishes_nobody(world: Consortium, forge: Any, code: str) -> None:
    """An accusation that anyone could make up would be the cheapest attack on a validator."""
    before = moved(world.state)
    assert world.accuse(forge(world)) == code
    assert moved(world.state) == before


@pytest.mark.parametrize("data", [b"\x90", b"\xc1", bytes(512)])
def test_what_is_no_evidence_is_malformed(world: Consortium, data: bytes) -> None:
    """Bytes are decoded by the strict form alone."""
    assert world.try_to("M0", "evidence.submit", evidence=data).code == "malformed"


def test_evidence_is_judged_by_the_set_of_its_own_epoch(world: Consortium) -> None:
    """A key rotated since still answers; and the place it had then may be another's now."""
    world.decide(RemoveValidator("v0"), "v1 v2 v3")
    world.to_edge()
    assert list(world.powers) == ["v1", "v2", "v3"]
    assert world.accuse(double_vote(world, 1, epoch=0, name="v1")) == ""
    assert world.accuse(double_vote(world, 1, epoch=1, name="v1")) == "bad_signature"
    assert world.accuse(double_vote(world, 1, epoch=1, name="v2")) == ""
    assert sorted(world.state.jail.rows) == ["v1", "v2"]


def test_a_rotated_key_still_answers_for_its_epoch(world: Consortium) -> None:
    """To rotate a key must not be a way to escape."""
    world.decide(RotateValidatorKey("v3", signer("v3new").public_key))
    world.to_edge()
    assert world.accuse(double_vote(world, 3, epoch=1)) == "bad_signature"
    assert world.accuse(double_vote(world, 3, epoch=0)) == ""
    assert list(world.state.jail.rows) == ["v3"]
    world.to_edge()
    assert "v3" not in world.powers


@pytest.mark.parametrize(("epochs", "code"), [(2, ""), (3, "evidence_too_old")])
def test_evidence_is_taken_within_its_window(world: Consortium, epochs: int, code: str) -> None:
    """Old sets, offences and bonds are kept for that long and no longer."""
    world.to_edge(epochs)
    assert world.accuse(double_vote(world, 3)) == code


def test_a_bond_in_release_answers_too(world: Consortium) -> None:
    """Whoever offends first asks for the money back; it is there as long as evidence is taken."""
    world.do("M0", "bond.withdraw", validator="v3", account="M0/main", asset="BTC", amount_minor=1_000_000)
    free = world.free("M0/main")
    world.to_edge(world.state.limits.evidence_epochs)
    assert world.accuse(double_vote(world, 3)) == ""
    assert world.bonded("v3") == 950_000
    world.to_edge()
    assert world.free("M0/main") == free + 950_000


def test_every_depositor_of_the_offender_answers_by_its_share(world: Consortium) -> None:
    """A share of each deposit, so nobody pays for another's."""
    world.do("M1", "bond.deposit", validator="v3", account="M1/main", asset="BTC", amount_minor=333)
    assert world.accuse(double_vote(world, 3)) == ""
    assert world.state.bonds.rows["v3", "M1/main", "BTC"].amount_minor == 333 - 17
    assert world.state.bonds.rows["v3", "M0/main", "BTC"].amount_minor == 950_000


def test_a_validator_without_a_bond_is_jailed_all_the_same(world: Consortium) -> None:
    """Its power is what is dangerous."""
    bare = Consortium()
    assert bare.accuse(double_vote(bare, 2), "v0") == ""
    bare.to_edge()
    assert "v2" not in bare.powers


def test_only_governance_brings_a_jailed_validator_back_and_after_the_edge(world: Consortium) -> None:
    """Not before it has been out: an offender with friends would never be."""
    assert world.accuse(double_vote(world, 3)) == ""
    assert world.send("v0", wire_of(add("v3"))).code == "already_exists"
    world.to_edge()
    world.decide(add("v3"))
    world.to_edge()
    assert world.powers["v3"] == 1
    assert not world.state.jail.rows
    assert world.approve("v3", world.propose("v0", ReweightValidator("v1", 2))) == ""


def test_what_was_approved_in_favour_of_an_offender_is_dropped(world: Consortium) -> None:
    """It was approved by validators who did not know."""
    favour, removal = world.decide(ReweightValidator("v3", 2)), world.propose("v0", RemoveValidator("v3"))
    other = world.propose("v0", MoveValidator("v1", "new:1", b"new"))
    assert world.accuse(double_vote(world, 3)) == ""
    assert favour not in world.state.proposals.rows
    assert {removal, other} == set(world.state.proposals.rows)


def test_an_approved_return_is_dropped_when_a_further_offence_is_found(world: Consortium) -> None:
    """The readmission did not know of it either."""
    assert world.accuse(double_vote(world, 3, 7)) == ""
    world.to_edge()
    world.decide(add("v3"))
    assert world.accuse(double_vote(world, 3, 8)) == ""
    world.to_edge()
    assert "v3" not in world.powers


def test_jailing_takes_power_beyond_what_governance_may_change_at_once() -> None:
    """The bound protects against mistakes of governance, not offenders against their punishment."""
    world = bonded_consortium((1,) * 7)
    for place in (4, 5, 6):
        assert world.accuse(double_vote(world, place)) == ""
    world.to_edge()
    assert list(world.powers) == ["v0", "v1", "v2", "v3"]


def test_if_all_are_jailed_all_stay(world: Consortium) -> None:
    """A set without power could never decide again; what is left then is for people to solve."""
    for place in range(4):
        assert world.accuse(double_vote(world, place)) == ""
    world.to_edge()
    assert len(world.powers) == 4
    assert world.send("v0", wire_of(ReweightValidator("v1", 2))).code == "jailed"
    world.to_edge(world.state.limits.evidence_epochs)
    world.decide(ReweightValidator("v1", 2))


def test_offences_and_jailings_are_forgotten_after_the_window(world: Consortium) -> None:
    """The state does not grow with the sins of years."""
    assert world.accuse(double_vote(world, 3)) == ""
    world.to_edge(2)
    assert world.state.offences.rows
    assert world.state.jail.rows
    world.to_edge()
    assert not world.state.offences.rows
    assert not world.state.jail.rows
    assert not world.state.standing.offence_count


def test_signed_envelopes_accuse_nobody(world: Consortium) -> None:
    """A validator's key signs approvals too; domains keep them apart from its statements."""
    key: SigningKey = signer("v3")
    envelope_id = key_of("an envelope")
    halves = [Half((block,), key.sign(envelope_id)) for block in (key_of("A"), key_of("B"))]
    assert world.accuse(make_evidence(Offence.PROPOSAL, 0, 7, 3, *halves)) == "bad_signature"
