"""Edges: the next set is installed at its height, provable under the root, and the same after a restart."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import conservation
from contracts.edge import validator_set, validator_set_key, validator_set_of, work_due
from contracts.ledger import BOND, ISSUED, SLASHED
from contracts.machine import BlockInput, apply_block, restore_state, system_work
from contracts.operations import wire_of
from contracts.operations_governance import (
    Change,
    MoveValidator,
    RemoveValidator,
    ReweightValidator,
    RotateValidatorKey,
)
from contracts.tables import BondRow, UnbondingRow
from genesis.document import GenesisValidator
from genesis.errors import Rejected
from genesis.validator_sets import decode_validator_set
from tests.contracts.consortium import (
    EPOCH_BLOCKS,
    Consortium,
    bonded_consortium,
    double_vote,
    signer,
    submission,
)
from tests.contracts.test_governance import add
from tests.contracts.world import operation


@pytest.fixture
def world() -> Consortium:
    """Four validators with a bond each."""
    return bonded_consortium()


def test_the_state_of_genesis_names_the_validators_of_the_document() -> None:
    """Block 0's root proves the first set to whoever has the genesis document's hash alone."""
    world = Consortium((3, 2, 1))
    assert validator_set(world.state) == world.document.validators
    assert validator_set_of(world.state, 0) == world.document.validators
    assert world.state.epoch == 0


@pytest.mark.parametrize(("left", "changed"), [(0, False), (-1, True)])
def test_the_set_changes_with_the_edge_block_and_no_other(world: Consortium, left: int, changed: bool) -> None:
    """An approval in the edge block itself still counts; one block later it is for the edge after."""
    identity = world.propose("v0 v1", ReweightValidator("v0", 2))
    while world.state.height < EPOCH_BLOCKS + left:
        world.block()
    assert world.approve("v2", identity) == ""
    assert world.state.epoch == 1
    assert (world.powers["v0"] == 2) == changed


def test_the_set_of_every_epoch_is_one_row_and_a_quiet_epoch_adds_none(world: Consortium) -> None:
    """A row per epoch would grow for ever on a chain whose validators never change."""
    first = validator_set(world.state)
    world.to_edge(2)
    world.decide(ReweightValidator("v0", 2))
    world.to_edge(2)
    assert {key: row.last_epoch for key, row in world.state.validator_sets.rows.items()} == {0: 2, 3: None}
    assert [validator_set_of(world.state, epoch) == first for epoch in range(5)] == [True, True, True, False, False]
    assert validator_set_of(world.state, 4) == validator_set(world.state)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_set_is_proved_by_one_entry_under_the_root(world: Consortium, epoch: int) -> None:
    """A light client checks the leaf, then that the row covers its epoch."""
    world.decide(ReweightValidator("v0", 2))
    world.to_edge(2)
    key = validator_set_key(world.state, epoch)
    assert world.state.prove(key)
    entry = decode_validator_set(key, world.store[key])
    assert entry.members == validator_set_of(world.state, epoch)
    assert [entry.decides(each, world.state.epoch) for each in range(4)] == [epoch == 0, epoch > 0, epoch > 0, False]


def test_an_epoch_that_has_not_begun_has_no_set(world: Consortium) -> None:
    """Nobody may take today's set for tomorrow's."""
    for epoch in (1, -1):
        with pytest.raises(Rejected, match="unknown_epoch"):
            validator_set_of(world.state, epoch)
        with pytest.raises(Rejected, match="unknown_epoch"):
            validator_set_key(world.state, epoch)


def test_old_sets_leave_beyond_the_bound_and_the_window_stays(world: Consortium) -> None:
    """Every set of which evidence can still come is kept; what is older is bounded by a parameter."""
    for n in range(6):
        world.decide(MoveValidator("v2", f"v2:{n + 2}", b"certificate %d" % n))
        world.to_edge()
    assert len(world.state.validator_sets.rows) == world.state.limits.validator_sets_max == 4
    with pytest.raises(Rejected, match="unknown_epoch"):
        validator_set_of(world.state, 0)
    for epoch in range(world.state.epoch - world.state.limits.evidence_epochs, world.state.epoch + 1):
        assert validator_set_of(world.state, epoch)


def test_approved_changes_apply_in_the_order_of_their_approval(world: Consortium) -> None:
    """Every replica must come to the same indices."""
    world = bonded_consortium((1,) * 7)
    late, early = world.propose("v0", add("x")), world.propose("v0", add("y"))
    for identity in (early, late):
        assert world.approve("v1 v2 v3 v4", identity) == ""
    world.to_edge()
    assert list(world.powers)[-2:] == ["y", "x"]


def test_a_restart_at_an_edge_changes_nothing() -> None:
    """Before it, at it and after it: a restored state has the same root and goes on the same."""
    world = bonded_consortium()
    world.decide(RemoveValidator("v3"))
    world.propose("v0", add("v4"))
    world.do("M0", "bond.withdraw", validator="v1", account="M0/main", asset="BTC", amount_minor=5)
    assert world.accuse(double_vote(world, 3)) == ""
    while world.state.height < EPOCH_BLOCKS - 1:
        world.block()
    for _step in range(3 * EPOCH_BLOCKS):
        restored = world.restored()
        assert restored.root == world.state.root
        assert validator_set(restored) == validator_set(world.state)
        block = BlockInput(restored.height + 1, world.now_unix_ms, [])
        output = apply_block(restored, block)
        world.block()
        assert restored.root == world.state.root
        assert output.events == (world.output.events if world.output else ())
        if world.state.epoch == 1 and world.state.height % EPOCH_BLOCKS == 0:
            assert list(world.powers) == ["v0", "v1", "v2"]


def test_a_state_without_validators_is_refused(world: Consortium) -> None:
    """A store of an older version must not start a chain that nobody decides."""
    entries = [(key, value) for key, value in world.store.items() if key[:1] != b"\x10"]
    with pytest.raises(Rejected, match="bad_state"):
        restore_state(world.document, entries)


def test_the_work_of_an_edge_is_announced(world: Consortium) -> None:
    """The shell decides by it where the block is executed."""
    world.propose("v0", ReweightValidator("v0", 2))
    assert work_due(world.state) == 0
    while world.state.height < EPOCH_BLOCKS - 1:
        world.block()
    assert work_due(world.state) == 1
    assert system_work(world.state, world.now_unix_ms) >= 1


@pytest.mark.parametrize("bug", ["a bond from nowhere", "a bond lost", "released twice", "taken from the bonds"])
def test_a_bond_that_is_not_backed_raises_an_alarm(world: Consortium, bug: str) -> None:
    """Rule 5 of the conservation checks: each row is a bug that double entry alone would not see."""
    state, key = world.state, ("v0", "M0/main", "BTC")
    if bug == "a bond from nowhere":
        state.bonds.put(key, BondRow(1_000_001))
    elif bug == "a bond lost":
        state.bonds.put(key, None)
    elif bug == "released twice":
        state.unbonding.put((9, *key), UnbondingRow(1))
    else:
        held, other = state.balances.rows[BOND, "BTC"], state.balances.rows["M1/main", "BTC"]
        state.balances.put((BOND, "BTC"), held._replace(free_minor=held.free_minor - 1))
        state.balances.put(("M1/main", "BTC"), other._replace(free_minor=other.free_minor + 1))
    (alarm,) = conservation.check(state, state.changes())
    assert (alarm.market, alarm.rule) == (("asset", "BTC", 0), "bonds")
    assert conservation.audit(state) == (alarm,)


NAMES = st.sampled_from([f"v{n}" for n in range(7)])
SIGNERS = st.lists(st.sampled_from([f"v{n}" for n in range(7)]), min_size=1, max_size=4, unique=True).map(" ".join)
CHANGES = st.one_of(
    st.builds(add, NAMES, st.integers(1, 3)),
    st.builds(RemoveValidator, NAMES),
    st.builds(ReweightValidator, NAMES, st.integers(1, 4)),
    st.builds(RotateValidatorKey, NAMES, NAMES.map(lambda name: signer(name).public_key)),
    st.builds(MoveValidator, NAMES, st.just("new:1"), st.sampled_from([b"one", b"two"])),
)
MONEY = st.tuples(st.sampled_from(["bond.deposit", "bond.withdraw"]), NAMES, st.integers(0, 2), st.integers(1, 900))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("propose"), SIGNERS, CHANGES),
        st.tuples(st.just("approve"), SIGNERS, st.integers(0, 5)),
        st.tuples(st.just("approve"), SIGNERS, st.integers(0, 5)),
        st.tuples(st.just("bond"), MONEY),
        st.tuples(st.just("accuse"), st.integers(0, 5), st.integers(1, 3)),
        st.tuples(st.just("edge")),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_whatever_validators_do_the_set_stays_sound_and_money_conserved(actions: list[tuple[object, ...]]) -> None:
    """Every block is audited from scratch; sets are never empty, never ambiguous, never change too much at once."""
    world = bonded_consortium((2, 1, 1, 1, 1), amount_minor=1_000, epoch_blocks=16)
    for action in actions:
        before, jailed = validator_set(world.state), set(world.state.jail.rows)
        _act(world, action)
        _require_sound(before, validator_set(world.state), jailed | set(world.state.jail.rows))
        assert sum(row.free_minor + row.locked_minor for row in world.state.balances.rows.values()) == 0
    assert (
        world.free(ISSUED) + world.free(BOND) + world.free(SLASHED) + sum(world.free(f"M{n}/main") for n in range(3))
        == 0
    )
    restored = world.restored()
    assert restored.root == world.state.root
    for name in ("first_epochs", "bonds_of", "unbonding", "unbonding_of", "offences", "offence_count", "validators"):
        there, here = getattr(restored.standing, name), getattr(world.state.standing, name)
        assert _without_empty(there) == _without_empty(here), name


def _act(world: Consortium, action: tuple[object, ...]) -> None:
    kind, *rest = action
    if kind == "propose":
        signers, change = rest
        assert isinstance(change, Change)
        world.send(str(signers), wire_of(change))
    elif kind == "approve":
        ids = sorted(world.state.proposals.rows)
        if ids:
            signers, which = rest
            assert isinstance(which, int)
            world.approve(str(signers), ids[which % len(ids)])
    elif kind == "bond":
        (money,) = rest
        assert isinstance(money, tuple)
        name, validator, member, amount = money
        wire = operation(name, validator=validator, account=f"M{member}/main", asset="BTC", amount_minor=amount)
        world.send(f"M{member}", wire)
    elif kind == "accuse":
        place, view = rest
        assert isinstance(place, int)
        assert isinstance(view, int)
        members = validator_set(world.state)
        name = members[place % len(members)].name
        world.send("M0", submission(double_vote(world, place % len(members), view, epoch=world.state.epoch, name=name)))
    else:
        for _block in range(16):
            world.block()


def _require_sound(before: tuple[GenesisValidator, ...], after: tuple[GenesisValidator, ...], jailed: set[str]) -> None:
    assert after
    for field in ("name", "public_key", "certificate"):
        assert len({getattr(each, field) for each in after}) == len(after)
    if after != before and len([each for each in before if each.name not in jailed]) >= 4:
        powers = {each.public_key: each.power for each in before if each.name not in jailed}
        carried = sum(min(each.power, powers.get(each.public_key, 0)) for each in after)
        assert carried * 3 > 2 * sum(each.power for each in after)
        assert carried * 3 > 2 * sum(powers.values())
    assert all(len(astuple(each)) == 5 for each in after)


def _without_empty(index: object) -> object:
    return {key: value for key, value in index.items() if value} if isinstance(index, dict) else index
