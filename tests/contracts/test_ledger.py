"""Double entry: postings that do not balance never reach a balance."""

from __future__ import annotations

import pytest

from contracts.ledger import ISSUED, NOTHING, balance, post
from genesis.errors import InvariantViolation, Rejected
from tests.contracts.world import World, set_up


def test_postings_that_do_not_sum_to_zero_stop_the_node() -> None:
    """An unbalanced entry can only be our own bug; it must not become anybody's money."""
    world = set_up(World())
    with pytest.raises(InvariantViolation, match="sum to zero"):
        post(world.state, "BTC", (("M0/main", -5, 0), ("M1/main", 4, 0)))


def test_more_collateral_cannot_be_released_than_is_locked() -> None:
    """That, too, could only be our own bug."""
    world = set_up(World())
    with pytest.raises(InvariantViolation, match="locked"):
        post(world.state, "BTC", (("M0/main", 5, -5),))


def test_only_the_liability_account_goes_below_zero() -> None:
    """What members lack is refused; what issuers owe is on the books."""
    world = set_up(World(), members=1, deposit_minor=7)
    assert balance(world.state, ISSUED, "BTC").free_minor == -7
    with pytest.raises(Rejected, match="insufficient_funds"):
        post(world.state, "BTC", (("M0/main", -8, 0), ("M1/main", 8, 0)))


def test_an_empty_balance_has_no_row() -> None:
    """A state that kept every account that ever held a unit would grow for ever."""
    world = set_up(World(), members=1, deposit_minor=7)
    world.do("issuer M0", "asset.redeem", asset="BTC", account="M0/main", amount_minor=7)
    assert not world.state.balances.rows
    assert balance(world.state, "M0/main", "BTC") == NOTHING
