"""The plan of a replay: parties, schedule, samples, deposits."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cli.replay_plan import MEMBERS, TRADE_LEAD_WALL_MS, PlannedTrade, Schedule, make_plan, parties
from cli.tape import Sample, Tape, parse_tape
from genesis.errors import Rejected
from genesis.params import ChainParams

EXPIRY = 1_786_953_600_000
PARAMS = ChainParams()


def tape_of(*rows: str) -> Tape:
    """A tape of rows ``instrument price amount direction before_expiry_ms index_price``."""
    lines = ["instrument,price,amount,direction,ts_utc_ms,index_price"]
    for row in rows:
        name, price, amount, direction, before, index = row.split()
        lines.append(",".join((name, price, amount, direction, str(EXPIRY - int(before)), index)))
    return parse_tape("\n".join(lines))


TAPE = tape_of(
    "BTC-17AUG26-63000-P 0.002 0.1 sell 9000000 63000",
    "BTC-21AUG26-63000-C 0.05 1 buy 8000000 63100",
    "BTC-17AUG26-63000-C 0.003 0.5 buy 1000000 63200",
)


@pytest.mark.parametrize(
    ("number", "taker", "maker"), [(0, 0, 1), (1, 1, 2), (5, 5, 0), (6, 0, 2), (11, 5, 1), (29, 5, 4), (30, 0, 1)]
)
def test_parties_follow_the_stated_rule(number: int, taker: int, maker: int) -> None:
    """An independent calculation from the tape must find the same members."""
    assert parties(number) == (taker, maker)


def test_every_ordered_pair_of_members_trades_and_nobody_with_itself() -> None:
    """A pair that never meets is a path that is never tested."""
    met = {parties(number) for number in range(30)}
    assert met == {(one, two) for one in range(6) for two in range(6) if one != two}


def test_trades_are_numbered_within_the_chosen_expiry() -> None:
    """Rows of other expiries must not shift the parties."""
    plan = make_plan(TAPE, PARAMS, "17AUG26")
    assert [(each.number, each.taker, each.maker) for each in plan.trades] == [(0, 0, 1), (1, 1, 2)]
    assert [(each.buyer, each.seller) for each in plan.trades] == [(1, 0), (1, 2)]
    assert [each.name for each in plan.series] == ["BTC-17AUG26-63000-C", "BTC-17AUG26-63000-P"]


def test_samples_come_from_every_row_up_to_the_expiry() -> None:
    """Also from rows of other expiries; nothing after the expiry can matter."""
    plan = make_plan(TAPE, PARAMS, "17AUG26")
    assert [EXPIRY - each.ts_unix_ms for each in plan.samples] == [9_000_000, 8_000_000, 1_000_000]


def test_the_earliest_expiry_is_the_default_and_unknown_ones_are_refused() -> None:
    """The refusal names what there is."""
    assert make_plan(TAPE, PARAMS).expiry == "17AUG26"
    assert make_plan(TAPE, PARAMS, "21aug26").expiry == "21AUG26"
    with pytest.raises(Rejected, match="it has 17AUG26, 21AUG26"):
        make_plan(TAPE, PARAMS, "18AUG26")


def test_an_index_file_replaces_the_samples() -> None:
    """And is cut at the expiry too."""
    samples = (Sample(EXPIRY - 5, 1), Sample(EXPIRY, 2), Sample(EXPIRY + 1, 3))
    assert make_plan(TAPE, PARAMS, index_samples=samples).samples == samples[:2]


def test_a_dictated_price_fills_the_whole_window_and_nothing_else() -> None:
    """The settlement price must be exactly the one that was asked for."""
    plan = make_plan(TAPE, PARAMS, settlement_price_ticks=6_400_000)
    start = EXPIRY - PARAMS.settlement_window_ms
    inside = [each for each in plan.samples if each.ts_unix_ms >= start]
    assert inside[0].ts_unix_ms == start
    assert inside[-1].ts_unix_ms == EXPIRY
    assert {each.price_ticks for each in inside} == {6_400_000}
    gaps = [b.ts_unix_ms - a.ts_unix_ms for a, b in pairwise(inside)]
    assert max(gaps) <= PARAMS.settlement_sample_validity_ms
    assert [each.price_ticks for each in plan.samples if each.ts_unix_ms < start] == [6_300_000, 6_310_000]


def test_deposits_cover_premiums_and_the_collateral_of_every_sale() -> None:
    """A replay that fails for want of collateral shows nothing."""
    plan = make_plan(TAPE, PARAMS, "17AUG26")
    collateral = {"BTC-17AUG26-63000-P": 150_000_000, "BTC-17AUG26-63000-C": 9_000_000}
    deposits = plan.deposits_minor(collateral)
    unit = 10**8
    assert len(deposits) == len(MEMBERS)
    assert deposits[0] == 3 * unit  # sold one put: 1.5, rounded up, and one more
    assert deposits[1] == 2 * unit  # bought both: premiums of 20,000 and 150,000
    assert deposits[3] == unit


@pytest.mark.parametrize("speed", [1, 3_000])
def test_trades_go_out_ahead_and_samples_never_do(speed: int) -> None:
    """No oracle knows the future, and no change of leaders may push a trade past its expiry."""
    plan = make_plan(TAPE, PARAMS, "17AUG26")
    schedule = Schedule(plan, speed)
    lead = TRADE_LEAD_WALL_MS * speed
    sent: list[tuple[int, int]] = []
    while (due := schedule.next_due_unix_ms) is not None:
        assert schedule.take(due - 1, 100) == []
        for item in schedule.take(due, 100):
            own = item.trade.ts_unix_ms - lead if isinstance(item, PlannedTrade) else item.ts_unix_ms
            assert own <= due
            sent.append((own, due))
    assert len(sent) == len(plan.trades) + len(plan.samples)
    assert [own for own, _ in sent] == sorted(own for own, _ in sent)


def test_a_late_start_takes_what_is_due_in_bounded_portions() -> None:
    """Everything is due at once, and a post holds only so much."""
    plan = make_plan(TAPE, PARAMS, "17AUG26")
    schedule = Schedule(plan, 1)
    portions = [len(schedule.take(EXPIRY, 2)) for _ in range(4)]
    assert portions == [2, 2, 1, 0]
    assert schedule.next_due_unix_ms is None
