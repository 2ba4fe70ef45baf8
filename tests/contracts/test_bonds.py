"""Bonds: in and out with nothing lost, out only when no offence can be found any more, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from contracts import bonds, queries
from contracts.ledger import BOND
from contracts.operations import wire_of
from contracts.operations_governance import AddValidator, RemoveValidator
from contracts.tables import QuarantineRow
from tests.contracts.consortium import Consortium, bonded_consortium, double_vote, validator
from tests.contracts.world import moved, operation

START = 10**12


@pytest.fixture
def world() -> Consortium:
    """M0 has put a million behind each of four validators."""
    return bonded_consortium()


def deposit(validator: str = "v0", account: str = "M1/main", asset: str = "BTC", amount: int = 5) -> tuple[Any, ...]:
    return operation("bond.deposit", validator=validator, account=account, asset=asset, amount_minor=amount)


def withdraw(validator: str = "v0", account: str = "M0/main", asset: str = "BTC", amount: int = 5) -> tuple[Any, ...]:
    return operation("bond.withdraw", validator=validator, account=account, asset=asset, amount_minor=amount)


REFUSALS: list[tuple[str, str, tuple[Any, ...], str]] = [
    ("behind nobody", "M1", deposit("v9"), "unknown_validator"),
    ("from no account", "M1", deposit(account="M9/main"), "unknown_account"),
    ("of no asset", "M1", deposit(asset="NONE"), "unknown_asset"),
    ("from another's account", "M2", deposit(), "missing_signature"),
    ("by the validator alone", "v0", deposit(), "missing_signature"),
    ("of more than is there", "M1", deposit(amount=START + 1), "insufficient_funds"),
    ("of nothing", "M1", (19, "v0", "M1/main", "BTC", 0), "malformed"),
    ("out of another's deposit", "M1", withdraw(), "missing_signature"),
    ("out of no deposit", "M1", withdraw(account="M1/main"), "insufficient_bond"),
    ("out of another validator's", "M0", withdraw("v9"), "insufficient_bond"),
    ("of another asset", "M0", withdraw(asset="ETH"), "insufficient_bond"),
    ("of more than was deposited", "M0", withdraw(amount=1_000_001), "insufficient_bond"),
]


@pytest.mark.parametrize(("signers", "wire", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_refused_deposit_or_withdrawal_moves_nothing(
    world: Consortium, signers: str, wire: tuple[Any, ...], code: str
) -> None:
    """It is money."""
    before = moved(world.state)
    assert world.send(signers, wire).code == code
    assert moved(world.state) == before


def test_a_deposit_leaves_the_account_and_stands_behind_the_validator(world: Consortium) -> None:
    """Double entry: what the account lost, `@bond` holds."""
    assert world.send("M1", deposit(amount=7)).code == ""
    assert world.send("M1", deposit(amount=3)).code == ""
    assert world.free("M1/main") == START - 10
    assert world.bonded("v0") == 1_000_010
    assert world.free(BOND) == 4_000_010


def test_a_withdrawal_is_released_after_its_span_and_not_before(world: Consortium) -> None:
    """Until then evidence of anything that happened before it can still be taken."""
    assert world.send("M0", withdraw(amount=400)).code == ""
    assert world.send("M0", withdraw(amount=600)).code == ""
    free = world.free("M0/main")
    world.to_edge(world.state.limits.unbonding_epochs - 1)
    assert (world.free("M0/main"), world.bonded("v0")) == (free, 1_000_000)
    world.to_edge()
    assert (world.free("M0/main"), world.bonded("v0")) == (free + 1_000, 999_000)
    assert not world.state.unbonding.rows


def test_a_whole_deposit_can_be_withdrawn_even_when_its_validator_has_left(world: Consortium) -> None:
    """Money never depends on somebody else's standing."""
    world.decide(RemoveValidator("v3"))
    world.to_edge()
    assert world.send("M1", deposit("v3")).code == "unknown_validator"
    assert world.send("M0", withdraw("v3", amount=1_000_000)).code == ""
    world.to_edge(world.state.limits.unbonding_epochs)
    assert world.free("M0/main") == START - 3_000_000


def test_a_candidate_may_be_bonded_before_it_has_power(world: Consortium) -> None:
    """A careful consortium looks at the bond before it approves."""
    entry = validator("v9")
    change = AddValidator("v9", entry.public_key, 1, entry.address, entry.certificate)
    assert world.send("v0", wire_of(change)).code == ""
    assert world.send("M1", deposit("v9")).code == ""
    assert world.bonded("v9") == 5


def test_an_account_is_bounded_in_its_deposits() -> None:
    """An edge and an offence touch as many rows as members may make."""
    world = bonded_consortium(bonds_per_member_max=4)
    assert world.send("M0", deposit("v0", "M0/main")).code == ""
    world.do("M0", "account.open", account="M0/more")
    world.do("M0", "transfer", source="M0/main", destination="M0/more", asset="BTC", amount_minor=50)
    assert world.send("M0", deposit("v0", "M0/more")).code == "limit_reached"
    assert world.send("M1", deposit("v0", "M1/main")).code == ""
    assert world.send("M0", withdraw("v1", amount=1_000_000)).code == ""
    assert world.send("M0", deposit("v0", "M0/more")).code == ""


def test_a_large_release_is_spread_over_blocks(world: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    """No edge may stall the chain; what waits is still there and is paid, the oldest first."""
    for name in ("v0", "v1", "v2"):
        assert world.send("M0", withdraw(name, amount=1_000_000)).code == ""
    monkeypatch.setattr(bonds, "RELEASES_PER_BLOCK_MAX", 2)
    world.to_edge(world.state.limits.unbonding_epochs)
    assert world.free("M0/main") == START - 2_000_000
    world.block()
    assert world.free("M0/main") == START - 1_000_000


def test_a_quarantined_asset_takes_no_deposit_but_is_released(world: Consortium) -> None:
    """Obligations outlive a breach; new ones are not taken on."""
    assert world.send("M0", withdraw(amount=5)).code == ""
    world.state.quarantine.put(("asset", "BTC", 0), QuarantineRow(1, "a test"))
    assert world.send("M1", deposit()).code == "quarantined"
    assert world.send("M0", withdraw()).code == "quarantined"
    world.to_edge(world.state.limits.unbonding_epochs)
    assert world.bonded("v0") == 999_995


@pytest.mark.parametrize(
    ("amount", "ppm", "cut"),
    [(1_000_000, 50_000, 50_000), (1, 1, 1), (19, 50_000, 1), (20, 50_000, 1), (21, 50_000, 2), (7, 1_000_000, 7)],
)
def test_a_slash_rounds_up_and_never_takes_more_than_there_is(amount: int, ppm: int, cut: int) -> None:
    """Rounded down, a bond of many tiny deposits could never lose anything."""
    world = bonded_consortium(amount_minor=amount, slash_ppm=ppm)
    assert world.accuse(double_vote(world, 0)) == ""
    assert world.bonded("v0") == amount - cut
    assert queries.account(world.state, "@slashed")["balances"]["BTC"]["free_minor"] == cut
