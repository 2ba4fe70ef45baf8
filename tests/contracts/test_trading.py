"""Block trades: premium against position, novated, with both sides' collateral re-locked."""

from __future__ import annotations

import pytest

from contracts import queries
from contracts.ledger import HOUSE, ISSUED, TRANSIT
from tests.contracts.world import World, list_series, set_up, trade_of, with_params

CALL, PUT = "BTC-A-63000-C", "BTC-A-63000-P"
CALL_LOCK, PUT_LOCK = 6_850_000, 21_500_000
DEPOSIT = 10**12


@pytest.fixture
def world() -> World:
    """Three members with a deposit, a call and a put."""
    made = set_up(World())
    for name in (CALL, PUT):
        assert list_series(made, name).code == ""
    return made


def position(world: World, member: str, series: str = CALL) -> int:
    rows = queries.positions(world.state, f"{member}/main")["positions"]
    return sum(row["lots"] for row in rows if row["series"] == series)


def test_a_trade_moves_premium_positions_and_collateral_together(world: World) -> None:
    """Five lots at 20 ticks of 1,000 satoshi."""
    receipt = world.send("M0 M1", trade_of(CALL, "M0", "M1", 5, 20))
    assert receipt.code == ""
    assert receipt.events[0][0] == "traded"
    assert dict(receipt.events[0][1])["premium_minor"] == 100_000
    assert (position(world, "M0"), position(world, "M1")) == (5, -5)
    assert world.free("M0/main") == DEPOSIT - 100_000
    assert world.free("M1/main") == DEPOSIT + 100_000 - 5 * CALL_LOCK
    assert world.locked("M1/main") == 5 * CALL_LOCK
    assert world.locked("M0/main") == 0
    assert queries.series(world.state, CALL)["open_interest_lots"] == 5
    for account in (HOUSE, TRANSIT):
        assert queries.account(world.state, account)["balances"] == {}
    assert queries.account(world.state, ISSUED)["balances"]["BTC"]["free_minor"] == -3 * DEPOSIT


@pytest.mark.parametrize(
    ("trades", "positions", "open_interest", "locked"),
    [
        ([("M0", "M1", 5)], (5, -5, 0), 5, (0, 5, 0)),
        ([("M0", "M1", 5), ("M1", "M0", 5)], (0, 0, 0), 0, (0, 0, 0)),
        ([("M0", "M1", 5), ("M1", "M0", 8)], (-3, 3, 0), 3, (3, 0, 0)),
        ([("M0", "M1", 5), ("M2", "M0", 5)], (0, -5, 5), 5, (0, 5, 0)),
        ([("M0", "M1", 5), ("M2", "M0", 7)], (-2, -5, 7), 7, (2, 5, 0)),
        ([("M0", "M1", 5), ("M1", "M2", 5)], (5, 0, -5), 5, (0, 0, 5)),
        ([("M0", "M1", 5), ("M1", "M2", 2)], (5, -3, -2), 5, (0, 3, 2)),
    ],
)
def test_positions_against_the_house_net(
    world: World,
    trades: list[tuple[str, str, int]],
    positions: tuple[int, ...],
    open_interest: int,
    locked: tuple[int, ...],
) -> None:
    """Novation: what was bought from one member may be sold to another and is gone."""
    for buyer, seller, lots in trades:
        assert world.send(f"{buyer} {seller}", trade_of(CALL, buyer, seller, lots)).code == ""
    assert tuple(position(world, f"M{n}") for n in range(3)) == positions
    assert queries.series(world.state, CALL)["open_interest_lots"] == open_interest
    assert tuple(world.locked(f"M{n}/main") for n in range(3)) == tuple(CALL_LOCK * lots for lots in locked)


def test_the_premium_received_counts_towards_the_collateral() -> None:
    """Delivery against payment: a seller needs the collateral less the premium, to the unit."""
    for deposit, code in ((PUT_LOCK - 50_000, ""), (PUT_LOCK - 50_001, "insufficient_collateral")):
        world = set_up(World(), deposit_minor=deposit)
        list_series(world, PUT)
        assert world.send("M0 M1", trade_of(PUT, "M0", "M1", 1, 50)).code == code
        assert world.locked("M1/main") == (0 if code else PUT_LOCK)


def test_the_collateral_that_a_buy_back_releases_pays_its_premium() -> None:
    """A short without a free unit must be able to close."""
    world = set_up(World(), deposit_minor=PUT_LOCK)
    list_series(world, PUT)
    assert world.send("M0 M1", trade_of(PUT, "M0", "M1", 1, 0)).code == ""
    assert world.free("M1/main") == 0
    assert world.send("M0 M1", trade_of(PUT, "M1", "M0", 1, 1_000)).code == ""
    assert world.free("M1/main") == PUT_LOCK - 1_000_000


def test_collateral_cannot_leave_the_account(world: World) -> None:
    """Locked units are out of reach of transfers, redemptions and premiums."""
    world.send("M0 M1", trade_of(PUT, "M0", "M1", 10, 0))
    free = world.free("M1/main")
    for signers, kind, fields in (
        ("M1", "transfer", {"source": "M1/main", "destination": "M2/main"}),
        ("M1 issuer", "asset.redeem", {"account": "M1/main"}),
    ):
        assert world.try_to(signers, kind, asset="BTC", amount_minor=free + 1, **fields).code == "insufficient_funds"
    world.do("M1", "transfer", source="M1/main", destination="M2/main", asset="BTC", amount_minor=free)
    assert world.locked("M1/main") == 10 * PUT_LOCK


def test_sub_accounts_are_apart() -> None:
    """A member's desks do not share collateral, and may trade with each other."""
    world = set_up(World(with_params(positions_per_account_max=5)))
    list_series(world, CALL)
    world.do("M0", "account.open", account="M0/desk")
    trade = (9, CALL, "M0/main", "M0/desk", 1, 1)
    assert world.send("M0", trade).code == "insufficient_collateral"
    world.do("M0", "transfer", source="M0/main", destination="M0/desk", asset="BTC", amount_minor=CALL_LOCK)
    assert world.send("M0", trade).code == ""
    assert world.locked("M0/desk") == CALL_LOCK


def test_one_envelope_may_hold_many_trades(world: World) -> None:
    """One signature pays for a market maker's hundred."""
    receipt = world.send("M0 M1", *[trade_of(CALL, "M0", "M1", 1) for _ in range(100)])
    assert len(receipt.events) == 100
    assert position(world, "M0") == 100
