"""The last line of defence: a bug that makes or loses money is seen in its own block, and stays in its own market."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contracts import conservation, machine, queries
from contracts import operations as ops
from contracts.ledger import HOUSE, TRANSIT, balance
from contracts.machine import BlockInput, apply_block
from contracts.step import Step
from contracts.tables import BalanceRow, InterestRow, PositionRow
from tests.contracts.world import EXPIRY_UNIX_MS, World, list_series, set_up, trade_of

CALL, PUT = "BTC-A-63000-C", "BTC-A-63000-P"
ASSET = ("asset", "BTC", 0)
EXPIRY = ("expiry", "BTC_USD", EXPIRY_UNIX_MS)


@pytest.fixture
def world() -> World:
    """M0 long five calls of M1."""
    made = set_up(World(audited=False))
    for name in (CALL, PUT):
        assert list_series(made, name).code == ""
    assert made.send("M0 M1", trade_of(CALL, "M0", "M1", 5)).code == ""
    return made


def credit(step: Step, account: str, free: int, locked: int) -> None:
    """A posting without its counterpart: the bug to be caught."""
    before = balance(step.state, account, "BTC")
    step.state.balances.put((account, "BTC"), BalanceRow(before.free_minor + free, before.locked_minor + locked))


def open_position(step: Step, account: str, lots: int) -> None:
    """A position without its counterpart."""
    before = step.state.positions.rows.get((account, CALL), PositionRow(0))
    step.state.positions.put((account, CALL), PositionRow(before.lots + lots))


def open_interest(step: Step, lots: int) -> None:
    """Open interest that no position bears out."""
    step.state.interest.put(CALL, InterestRow(lots))


def _plant(monkeypatch: pytest.MonkeyPatch, bug: Callable[[Step], None]) -> None:
    """Put a bug in the place of opening an account."""
    rules = {**machine._APPLY, ops.OpenAccount: lambda step, _operation: bug(step)}
    monkeypatch.setattr(machine, "_APPLY", rules)


BUGS: list[tuple[str, Callable[[Step], None], tuple[str, str, int], str]] = [
    ("one unit from nowhere", lambda step: credit(step, "M0/main", 1, 0), ASSET, "assets"),
    ("one unit lost", lambda step: credit(step, "M0/main", -1, 0), ASSET, "assets"),
    ("collateral released too early", lambda step: credit(step, "M1/main", 1, -1), ASSET, "collateral"),
    ("collateral of nobody's position", lambda step: credit(step, "M2/main", -1, 1), ASSET, "collateral"),
    ("a payment left in transit", lambda step: credit(step, TRANSIT, 1, 0), ASSET, "signs"),
    ("a payment left with the house", lambda step: credit(step, HOUSE, 1, 0), ASSET, "signs"),
    ("a balance below zero", lambda step: credit(step, "M2/main", -(10**13), 0), ASSET, "signs"),
    ("a long without a short", lambda step: open_position(step, "M2/main", 1), EXPIRY, "positions"),
    ("a short without a long", lambda step: open_position(step, "M1/main", -1), EXPIRY, "positions"),
    ("wrong open interest", lambda step: open_interest(step, 6), EXPIRY, "positions"),
]


@pytest.mark.parametrize(("bug", "market", "rule"), [row[1:] for row in BUGS], ids=[row[0] for row in BUGS])
def test_a_breach_raises_an_alarm_and_quarantines_its_market(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    bug: Callable[[Step], None],
    market: tuple[str, str, int],
    rule: str,
) -> None:
    """Each row plants one bug in an operation; the check of the very block must see it, and the chain must go on."""
    _plant(monkeypatch, bug)
    planted = world.envelope("M0", (2, "M0/x"))
    output = apply_block(world.state, BlockInput(world.state.height + 1, world.now_unix_ms, [planted]))
    assert output.receipts[0].code == ""
    assert (market, rule) in {(alarm.market, alarm.rule) for alarm in output.alarms}
    assert (market, rule) in {(alarm.market, alarm.rule) for alarm in conservation.audit(world.state)}
    assert [row["reason"] for row in queries.quarantined(world.state)["quarantined"]]
    world.now_unix_ms += 1
    assert world.send("M0 M1", trade_of(CALL, "M0", "M1", 1)).code == "quarantined"


def test_a_quarantined_market_still_settles(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Obligations outlive the breach: what was collected is shared, and no unit is made."""
    _plant(monkeypatch, lambda step: open_position(step, "M2/main", 1))
    assert world.send("M0", (2, "M0/x")).code == ""
    world.oracles_say(6_400_000, world.now_unix_ms)
    world.expire(5_000 + 3_600_000)
    assert ("BTC_USD", EXPIRY_UNIX_MS) not in world.state.derived.unsettled
    won = {f"M{n}": world.free(f"M{n}/main") - 10**12 for n in range(3)}
    assert sum(won.values()) == 0
    paid = 5 * 10_000_000 * 100_000 // 6_400_000
    assert won["M1"] == 100_000 - paid
    assert won["M2"] in (paid // 6, paid // 6 + 1)
    assert conservation.audit(world.state) == ()


@pytest.mark.parametrize("missing", ["collateral", "everything"])
def test_settlement_never_fails_even_for_a_short_that_cannot_pay(
    world: World, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """A block that raised would stop every replica: what is there is shared among the longs, and that is all."""
    held = balance(world.state, "M1/main", "BTC")
    taken = (0, -held.locked_minor) if missing == "collateral" else (-held.free_minor - 9, -held.locked_minor)
    _plant(monkeypatch, lambda step: credit(step, "M1/main", *taken))
    assert world.send("M0", (2, "M0/x")).code == ""
    world.oracles_say(20_000_000, world.now_unix_ms)
    before = {n: world.free(f"M{n}/main") for n in range(2)}
    world.expire(5_000 + 3_600_000)
    assert ("BTC_USD", EXPIRY_UNIX_MS) not in world.state.derived.unsettled
    gained, lost = world.free("M0/main") - before[0], before[1] - world.free("M1/main")
    assert gained == lost == (5 * 6_850_000 if missing == "collateral" else 0)


def test_an_ordinary_block_raises_nothing(world: World) -> None:
    """An alarm that cries wolf would be switched off."""
    world.send("M0 M1", trade_of(PUT, "M1", "M0", 3))
    assert world.output is not None
    assert world.output.alarms == ()
    assert conservation.audit(world.state) == ()


def test_the_check_costs_what_the_block_touched(world: World) -> None:
    """Rows that a block leaves alone are not even looked at."""

    class Counting(dict[object, object]):
        looked = 0

        def get(self, key: object, default: object = None) -> object:
            Counting.looked += 1
            return super().get(key, default)

    for n in range(500):
        world.state.balances.rows[f"X{n}/main", "ETH"] = BalanceRow(1, 0)
    trade = world.envelope("M0 M1", trade_of(CALL, "M0", "M1", 1))
    changed = apply_block(world.state, BlockInput(world.state.height + 1, world.now_unix_ms, [trade]))
    assert changed.alarms == ()
    world.state.balances.rows = Counting(world.state.balances.rows)  # type: ignore[assignment]
    second = world.envelope("M0 M1", trade_of(CALL, "M0", "M1", 1))
    apply_block(world.state, BlockInput(world.state.height + 1, world.now_unix_ms + 1, [second]))
    assert 0 < Counting.looked < 50
