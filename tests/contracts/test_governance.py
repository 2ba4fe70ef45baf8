"""Governance: who may propose and approve, how much power it takes, and what no set of validators may become."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.changes import changed
from contracts.machine import admit
from contracts.operations import wire_of
from contracts.operations_governance import (
    AddValidator,
    Change,
    MoveValidator,
    RemoveValidator,
    ReweightValidator,
    RotateValidatorKey,
)
from genesis.document import GenesisValidator
from genesis.errors import Rejected
from tests.contracts.consortium import Consortium, bonded_consortium, double_vote, signer, validator
from tests.contracts.world import key_of, moved, operation


def add(name: str, power: int = 1, **changes: Any) -> AddValidator:
    """Propose the validator that `consortium.validator` makes, with changes."""
    entry = validator(name, power)
    fields = {
        "public_key": entry.public_key,
        "power": power,
        "address": entry.address,
        "certificate": entry.certificate,
        **changes,
    }
    return AddValidator(name, **fields)


def key(name: str) -> bytes:
    """A validator's public key."""
    return signer(name).public_key


@pytest.fixture
def world() -> Consortium:
    """Four validators of power 1, members with money."""
    return bonded_consortium(validators_max=5)


REFUSED_CHANGES: list[tuple[str, Change, str]] = [
    ("a name that is taken", add("v1", public_key=key_of("new"), certificate=b"new"), "already_exists"),
    ("a key that is taken", add("v9", public_key=key("v2")), "key_taken"),
    ("a certificate that is taken", add("v9", certificate=b"certificate of v2"), "certificate_taken"),
    ("more power than may be new at once", add("v9", 2), "too_much_change"),
    ("nobody of this name leaves", RemoveValidator("v9"), "unknown_validator"),
    ("nobody of this name is weighed", ReweightValidator("v9", 2), "unknown_validator"),
    ("a weight that is the present one", ReweightValidator("v1", 1), "no_change"),
    ("a weight that would decide alone", ReweightValidator("v1", 4), "too_much_change"),
    ("nobody of this name has a key", RotateValidatorKey("v9", key("v8")), "unknown_validator"),
    ("the key it has", RotateValidatorKey("v1", key("v1")), "no_change"),
    ("another's key", RotateValidatorKey("v1", key("v2")), "key_taken"),
    ("nobody of this name moves", MoveValidator("v9", "h:1", b"c"), "unknown_validator"),
    ("another's certificate", MoveValidator("v1", "h:1", b"certificate of v2"), "certificate_taken"),
]


@pytest.mark.parametrize(("change", "code"), [row[1:] for row in REFUSED_CHANGES], ids=[r[0] for r in REFUSED_CHANGES])
def test_a_change_that_no_set_can_take_is_refused_when_it_is_proposed(
    world: Consortium, change: Change, code: str
) -> None:
    """Validators should not spend their approvals on what the edge would have to drop."""
    before = moved(world.state)
    assert world.send("v0", wire_of(change)).code == code
    assert moved(world.state) == before


REFUSED_SIGNERS: list[tuple[str, str, Change, str]] = [
    ("a member", "M0", RemoveValidator("v1"), "not_authorised"),
    ("the governor", "governor", RemoveValidator("v1"), "not_authorised"),
    ("a key of nobody", "stranger", RemoveValidator("v1"), "not_authorised"),
    ("a validator to be", "v9", add("v9"), "not_authorised"),
]


@pytest.mark.parametrize(
    ("signers", "change", "code"), [row[1:] for row in REFUSED_SIGNERS], ids=[row[0] for row in REFUSED_SIGNERS]
)
def test_only_validators_of_the_epoch_propose(world: Consortium, signers: str, change: Change, code: str) -> None:
    """Whoever else could would be a governor over all validators."""
    assert world.send(signers, wire_of(change)).code == code
    assert not world.state.proposals.rows


REFUSED_APPROVALS: list[tuple[str, str, str, str]] = [
    ("twice by one validator", "v0", "open", "already_signed"),
    ("by a member", "M0", "open", "not_authorised"),
    ("of what is approved", "v3", "approved", "already_approved"),
    ("of nothing", "v3", "unknown", "unknown_proposal"),
]


@pytest.mark.parametrize(
    ("signers", "which", "code"), [row[1:] for row in REFUSED_APPROVALS], ids=[row[0] for row in REFUSED_APPROVALS]
)
def test_an_approval_that_adds_nothing_is_refused(world: Consortium, signers: str, which: str, code: str) -> None:
    """A script must be able to tell that its approval was in vain."""
    ids = {
        "open": world.propose("v0", ReweightValidator("v1", 2)),
        "approved": world.decide(ReweightValidator("v2", 2)),
        "unknown": bytes(32),
    }
    before = moved(world.state)
    assert world.approve(signers, ids[which]) == code
    assert moved(world.state) == before


QUORUMS: list[tuple[tuple[int, ...], str, bool]] = [
    ((1, 1, 1, 1), "v0 v1", False),
    ((1, 1, 1, 1), "v0 v1 v2", True),
    ((1, 1, 1, 1, 1), "v0 v1 v2", False),
    ((1, 1, 1, 1, 1), "v0 v1 v2 v3", True),
    ((1, 1, 1, 1, 1, 1), "v0 v1 v2 v3", False),
    ((1, 1, 1, 1, 1, 1), "v0 v1 v2 v3 v4", True),
    ((3, 3, 2, 1), "v0 v1", False),
    ((3, 3, 2, 1), "v0 v1 v3", True),
    ((3, 3, 2, 1), "v0 v2 v3", False),
    ((7, 5, 3, 1), "v0 v2", False),
    ((7, 5, 3, 1), "v0 v2 v3", True),
    ((2**32, 2**32 - 1, 2**32 - 2, 1), "v0 v1", True),
    ((2**32, 2**32 - 1, 2**32 - 2, 1), "v0 v2", False),
    ((2**32, 2**32 - 1, 2**32 - 2, 1), "v0 v2 v3", True),
    ((1,), "v0", True),
]


@pytest.mark.parametrize(("powers", "signers", "decided"), QUORUMS)
def test_a_change_takes_more_than_two_thirds_of_the_power(powers: tuple[int, ...], signers: str, decided: bool) -> None:
    """One unit of power too few, and a third of the power could be overruled; one too many, and it could block."""
    world = Consortium(powers)
    first, *others = signers.split()
    change = ReweightValidator("v0", powers[0] + 1) if powers[0] < 2**32 else MoveValidator("v0", "other:1", b"other")
    identity = world.propose(first, change)
    for name in others:
        assert world.approve(name, identity) == ""
    assert bool(world.state.proposals.rows[identity].place) == decided


def test_several_validators_may_sign_one_envelope(world: Consortium) -> None:
    """A meeting needs one transaction."""
    identity = world.propose("v0", add("v4"))
    assert world.approve("v1 v2", identity) == ""
    assert world.state.proposals.rows[identity].approvals == ("v0", "v1", "v2")
    assert world.state.proposals.rows[identity].place == 1


def test_an_approved_change_waits_for_the_edge_and_then_is_in_force(world: Consortium) -> None:
    """Within an epoch one set decides; a change in its midst would be two quorums that share nobody."""
    world.decide(add("v4"))
    assert "v4" not in world.powers
    world.to_edge()
    assert world.powers == {f"v{n}": 1 for n in range(5)}
    assert not world.state.proposals.rows


def test_every_kind_of_change_reaches_the_next_set(world: Consortium) -> None:
    """Each record is carried to the set in full: a wrong certificate would cut the validator off."""
    world.decide(ReweightValidator("v0", 2))
    world.decide(MoveValidator("v1", "elsewhere:9", b"another certificate"))
    world.to_edge()
    world.decide(RotateValidatorKey("v2", key("v2 again")))
    world.to_edge()
    world.decide(RemoveValidator("v3"), "v0 v1 v3")
    world.to_edge()
    assert world.state.standing.validators == (
        GenesisValidator("v0", key("v0"), 2, "v0:1", b"certificate of v0"),
        GenesisValidator("v1", key("v1"), 1, "elsewhere:9", b"another certificate"),
        GenesisValidator("v2", key("v2 again"), 1, "v2:1", b"certificate of v2"),
    )


def test_a_rotated_key_decides_from_the_edge_and_the_old_one_no_more(world: Consortium) -> None:
    """The old key may be in wrong hands: that is why keys are rotated."""
    identity = world.propose("v3", ReweightValidator("v0", 2))
    world.decide(RotateValidatorKey("v3", key("v3new")))
    world.to_edge()
    assert world.approve("v3", identity) == "not_authorised"
    assert world.approve("v3new", identity) == "already_signed"


def test_changes_that_do_not_fit_together_are_not_approved_together(world: Consortium) -> None:
    """Each fits alone; together they would leave too little power that goes on unchanged."""
    first, second = world.propose("v0", RemoveValidator("v3")), world.propose("v0", RotateValidatorKey("v2", key("w")))
    assert world.approve("v1 v2", first) == ""
    assert world.approve("v1 v2", second) == "too_much_change"
    assert world.state.proposals.rows[second].approvals == ("v0",)
    world.to_edge()
    assert world.approve("v1 v2", second) == ""


def test_two_that_want_one_key_name_or_place_are_not_approved_together() -> None:
    """A set in which two share a key could not tell their votes apart."""
    world = bonded_consortium((1,) * 7, validators_max=9)
    rivals = [
        (add("x"), add("x", address="y:1", public_key=key("x2"), certificate=b"x2"), "already_exists"),
        (add("y"), add("z", public_key=key("y")), "key_taken"),
    ]
    for first, second, code in rivals:
        one, other = world.propose("v0", first), world.propose("v0", second)
        assert world.approve("v1 v2 v3 v4", one) == ""
        assert world.approve("v1 v2 v3 v4", other) == code
    assert world.send("v0", wire_of(add("u"))).code == "limit_reached"


def test_the_last_validator_stays() -> None:
    """A set without power could not even decide to end."""
    world = Consortium((1,))
    assert world.send("v0", wire_of(RemoveValidator("v0"))).code == "empty_set"


def test_a_small_set_may_grow(world: Consortium) -> None:
    """Fewer than four tolerate no fault, so nothing is lost by letting a lone validator be joined."""
    lone = Consortium((1,))
    lone.decide(add("v1"), "v0")
    lone.to_edge()
    lone.decide(add("v2"), "v0 v1")
    lone.to_edge()
    lone.decide(add("v3"), "v0 v1 v2")
    lone.to_edge()
    assert len(lone.powers) == 4
    assert lone.send("v0", wire_of(add("v4", 2))).code == "too_much_change"


def test_a_proposal_is_bound_to_its_change_and_made_once(world: Consortium) -> None:
    """To approve an id is to approve exactly that change, and the same change has no second id meanwhile."""
    first = world.propose("v0", ReweightValidator("v1", 2))
    assert world.send("v1", wire_of(ReweightValidator("v1", 2))).code == "already_proposed"
    assert world.propose("v1", ReweightValidator("v2", 2)) != first


def test_a_proposer_withdraws_what_is_not_approved(world: Consortium) -> None:
    """A mistake should not wait for its expiry; an approved change is everybody's, and others may rest on it."""
    open_, done = world.propose("v0", add("v4")), world.decide(ReweightValidator("v1", 2))
    assert world.try_to("v1", "governance.withdraw", proposal=open_).code == "not_authorised"
    assert world.try_to("v0", "governance.withdraw", proposal=done).code == "already_approved"
    assert world.try_to("v0", "governance.withdraw", proposal=open_).code == ""
    assert world.try_to("v0", "governance.withdraw", proposal=open_).code == "unknown_proposal"
    assert list(world.state.proposals.rows) == [done]


def test_a_proposal_that_nobody_approves_expires(world: Consortium) -> None:
    """Else one that was forgotten could be completed years later; it stays open for two epochs more."""
    identity = world.propose("v0", add("v4"))
    world.to_edge(2)
    assert world.approve("v1", identity) == ""
    world.to_edge()
    assert world.approve("v2", identity) == "unknown_proposal"
    assert world.output is not None


def test_waiting_proposals_are_bounded_in_all_and_for_each_proposer() -> None:
    """One validator must not fill the table for the others."""
    world = Consortium((1,) * 4, proposals_max=3, proposals_per_validator_max=2)
    world.propose("v0", ReweightValidator("v0", 2))
    world.propose("v0", ReweightValidator("v1", 2))
    assert world.send("v0", wire_of(ReweightValidator("v2", 2))).code == "limit_reached"
    world.propose("v1", ReweightValidator("v2", 2))
    assert world.send("v2", wire_of(ReweightValidator("v3", 2))).code == "limit_reached"


def test_a_jailed_validator_decides_nothing_and_its_approvals_no_longer_count(world: Consortium) -> None:
    """It has proved that it breaks the rules; the quorum is still of the whole power, so it cannot be outvoted so."""
    identity = world.propose("v3", ReweightValidator("v0", 2))
    assert world.approve("v1", identity) == ""
    assert world.accuse(double_vote(world, 3)) == ""
    assert world.approve("v3", identity) == "jailed"
    assert world.send("v3", wire_of(ReweightValidator("v1", 2))).code == "jailed"
    assert world.approve("v2", identity) == ""
    assert not world.state.proposals.rows[identity].place
    assert world.approve("v0", identity) == ""
    assert world.state.proposals.rows[identity].place


def test_a_quorum_that_arose_at_an_edge_is_found_when_someone_signs_again() -> None:
    """Two of three remain after an edge and both have approved: nobody is left whose approval would be new."""
    world = Consortium((1, 1, 1))
    waiting = world.propose("v0", MoveValidator("v0", "new:1", b"new"))
    assert world.approve("v1", waiting) == ""
    world.decide(RemoveValidator("v2"))
    world.to_edge()
    assert world.approve("v1", waiting) == ""
    assert world.state.proposals.rows[waiting].place


MALFORMED: list[tuple[Any, ...]] = [
    (12, "v9", bytes(31), 1, "h:1", b"c"),
    (12, "v9", bytes(32), 0, "h:1", b"c"),
    (12, "v9", bytes(32), 2**32 + 1, "h:1", b"c"),
    (12, "v9", bytes(32), 1, "no address", b"c"),
    (12, "v9", bytes(32), 1, 7, b"c"),
    (12, "v9", bytes(32), 1, "h:1", b""),
    (12, "v9", bytes(32), 1, "h:1", bytes(1_025)),
    (12, "v 9", bytes(32), 1, "h:1", b"c"),
    (13,),
    (17, bytes(31)),
    (21, b""),
    (21, bytes(513)),
]


@pytest.mark.parametrize("wire", MALFORMED)
def test_what_is_malformed_is_refused_before_it_is_looked_at(world: Consortium, wire: tuple[Any, ...]) -> None:
    """Every field is bounded."""
    assert world.send("v0", wire).code == "malformed"


def test_a_validator_is_known_at_the_door_as_long_as_it_is_one(world: Consortium) -> None:
    """A validator is no member, and must yet be able to send its approval through any other."""
    admit(world.state, world.envelope("v3", operation("governance.approve", proposal=bytes(32))))
    world.decide(RemoveValidator("v3"))
    world.to_edge()
    with pytest.raises(Rejected, match="unknown_signer"):
        admit(world.state, world.envelope("v3"))


STEPS: list[tuple[tuple[int, ...], Change, str]] = [
    ((1, 1, 1, 1), RemoveValidator("v0"), ""),
    ((1, 1, 1, 1), RotateValidatorKey("v0", key("new")), ""),
    ((1, 1, 1, 1), add("v9"), ""),
    ((1, 1, 1, 1), add("v9", 2), "too_much_change"),
    ((1, 1, 1, 1), ReweightValidator("v0", 2), ""),
    ((1, 1, 1, 1), ReweightValidator("v0", 3), "too_much_change"),
    ((1, 1, 1, 1), MoveValidator("v0", "new:1", b"new"), ""),
    ((5, 1, 1, 1), RemoveValidator("v0"), "too_much_change"),
    ((5, 1, 1, 1), RotateValidatorKey("v0", key("new")), "too_much_change"),
    ((5, 1, 1, 1), ReweightValidator("v0", 3), ""),
    ((5, 1, 1, 1), ReweightValidator("v0", 2), "too_much_change"),
    ((5, 1, 1, 1), RemoveValidator("v1"), ""),
    ((10, 10, 10, 10), ReweightValidator("v0", 30), "too_much_change"),
    ((10, 10, 10, 10), ReweightValidator("v0", 29), ""),
    ((1, 1, 1), RotateValidatorKey("v0", key("new")), ""),
    ((1, 1, 1), add("v9", 1_000), ""),
]


@pytest.mark.parametrize(("powers", "change", "code"), STEPS)
def test_what_goes_on_unchanged_is_a_quorum_of_both_sets(powers: tuple[int, ...], change: Change, code: str) -> None:
    """Less in the old set, and who trusts it has no reason to trust the new; less in the new, and it may not start."""
    present = tuple(validator(f"v{n}", power) for n, power in enumerate(powers))
    try:
        changed(present, present, present, change, 9)
        found = ""
    except Rejected as error:
        found = error.code
    assert found == code
