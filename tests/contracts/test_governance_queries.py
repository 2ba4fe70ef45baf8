"""What clients see of validators, proposals and epochs, as plain values."""

from __future__ import annotations

import json

import pytest

from contracts import queries
from contracts.operations import parse_operation
from contracts.operations_governance import MoveValidator, RemoveValidator, ReweightValidator, proposal_id
from tests.contracts.consortium import EPOCH_BLOCKS, Consortium, bonded_consortium, double_vote
from tests.contracts.test_governance import add


@pytest.fixture
def world() -> Consortium:
    """Four validators with a bond each."""
    return bonded_consortium()


def test_validators_show_power_bond_and_jail(world: Consortium) -> None:
    """What an operator looks at before approving anything."""
    world.decide(add("v4"))
    world.do("M0", "bond.withdraw", validator="v1", account="M0/main", asset="BTC", amount_minor=400)
    assert world.accuse(double_vote(world, 3)) == ""
    answer = queries.validators(world.state)
    json.dumps(answer)
    assert (answer["epoch"], answer["total_power"], answer["quorum_power"]) == (0, 4, 3)
    first, second, _third, fourth = answer["validators"]
    assert (first["name"], first["power"], first["next_power"], first["jailed"]) == ("v0", 1, 1, False)
    assert second["bonds"] == [{"asset": "BTC", "deposited_minor": 999_600, "releasing_minor": 400}]
    assert second["deposits"] == [
        {"account": "M0/main", "asset": "BTC", "amount_minor": 999_600, "release_epoch": None},
        {"account": "M0/main", "asset": "BTC", "amount_minor": 400, "release_epoch": 3},
    ]
    assert (fourth["power"], fourth["next_power"], fourth["jailed"]) == (1, 0, True)
    assert fourth["bonds"][0]["deposited_minor"] == 950_000
    assert (answer["joining"], answer["jailed"]) == ([{"name": "v4", "power": 1}], ["v3"])


def test_a_proposal_shows_all_that_its_id_stands_for(world: Consortium) -> None:
    """Whoever is asked to approve an id can compute it from what is shown."""
    world.propose("v0", MoveValidator("v1", "new:1", b"new"))
    world.decide(ReweightValidator("v2", 2))
    answer = queries.proposals(world.state)
    json.dumps(answer)
    approved, waiting = answer["proposals"]
    assert (approved["approved"], approved["power"], approved["approvals"]) == (True, 3, ["v0", "v1", "v2"])
    assert (waiting["approved"], waiting["power"], waiting["proposer"]) == (False, 1, "v0")
    assert waiting["fields"] == {"validator": "v1", "address": "new:1", "certificate": b"new".hex()}
    assert waiting["last_height"] == (1 + world.state.limits.proposal_epochs) * EPOCH_BLOCKS
    wire = (16, "v1", "new:1", b"new")
    assert parse_operation(wire) == MoveValidator("v1", "new:1", b"new")
    assert proposal_id(wire, waiting["opened_height"]).hex() == waiting["proposal"]
    assert (answer["edge_height"], answer["quorum_power"]) == (EPOCH_BLOCKS, 3)


def test_epochs_show_the_sets_and_what_comes(world: Consortium) -> None:
    """The newest set first; the next as it would be if nothing else happened."""
    world.decide(ReweightValidator("v0", 2))
    world.to_edge()
    world.decide(RemoveValidator("v3"))
    answer = queries.epochs(world.state)
    json.dumps(answer)
    assert (answer["epoch"], answer["first_height"], answer["edge_height"]) == (1, 33, 64)
    assert [(each["first_epoch"], each["last_epoch"]) for each in answer["validator_sets"]] == [(1, None), (0, 0)]
    assert [each["power"] for each in answer["validator_sets"][0]["validators"]] == [2, 1, 1, 1]
    assert answer["next"] == [{"name": "v0", "power": 2}, {"name": "v1", "power": 1}, {"name": "v2", "power": 1}]
    assert (answer["sets_kept"], answer["epoch_blocks"]) == (2, EPOCH_BLOCKS)


def test_the_last_height_of_a_proposal_is_the_last(world: Consortium) -> None:
    """What is shown is what the chain does."""
    identity = world.propose("v0", add("v4"))
    last = queries.proposals(world.state)["proposals"][0]["last_height"]
    while world.state.height < last - 1:
        world.block()
    assert world.approve("v1", identity) == ""
    assert world.state.height == last
    assert identity not in world.state.proposals.rows
