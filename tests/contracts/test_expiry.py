"""Expiry: an answer for every state of the oracles, one price for every series, and nothing made or lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from contracts import expiry, queries
from contracts.machine import system_work
from contracts.settlement_price import PricedInstant, PriceRules, WeightedPrice, time_weighted_price
from genesis.document import ChainClock, GenesisDocument
from tests.contracts.world import (
    EXPIRY_UNIX_MS,
    HOUR_MS,
    START_UNIX_MS,
    World,
    document,
    list_series,
    operation,
    set_up,
    trade_of,
    with_params,
)

CALL, PUT = "BTC-A-63000-C", "BTC-A-63000-P"
DEPOSIT = 10**12
DELAY_MS = 5_000
GRACE_MS = HOUR_MS
MINUTE_MS = 60_000


def traded(genesis: GenesisDocument | None = None) -> World:
    """M0 is long seven calls of M1 and three puts of M2."""
    world = set_up(World(genesis))
    for name in (CALL, PUT):
        assert list_series(world, name).code == ""
    assert world.send("M0 M1", trade_of(CALL, "M0", "M1", 7, 0)).code == ""
    assert world.send("M0 M2", trade_of(PUT, "M0", "M2", 3, 0)).code == ""
    return world


def window_of_samples(world: World, price_ticks: int, minutes: int = 30) -> None:
    """A sample a minute over the last `minutes` before expiry."""
    for left in range(minutes, 0, -1):
        at = EXPIRY_UNIX_MS - left * MINUTE_MS
        world.block(at_unix_ms=at)
        world.oracles_say(price_ticks, at)


def record(world: World) -> tuple[int, int, str]:
    """Price, coverage and source of the settlement."""
    row = world.state.settlements.rows["BTC_USD", EXPIRY_UNIX_MS]
    return row.price_ticks, row.coverage_ppm, row.source


def settled(world: World) -> bool:
    """Whether the expiry is over."""
    return ("BTC_USD", EXPIRY_UNIX_MS) not in world.state.derived.unsettled


def test_every_series_settles_on_the_time_weighted_price() -> None:
    """The plain case, in numbers: seven calls at 64,000 pay 1,000/64,000 of 0.1 BTC each."""
    world = traded()
    window_of_samples(world, 6_400_000)
    assert not settled(world)
    world.expire(DELAY_MS - 1, step_ms=1)
    assert not settled(world)
    output = world.block()
    assert settled(world)
    assert record(world) == (6_400_000, 1_000_000, expiry.TIME_WEIGHTED)
    assert [event[0] for event in output.events] == ["settlement_decided", "series_settled", "series_settled"]
    paid = 7 * 10_000_000 * 100_000 // 6_400_000
    assert world.free("M0/main") == DEPOSIT + paid
    assert world.free("M1/main") == DEPOSIT - paid
    assert world.free("M2/main") == DEPOSIT
    assert world.locked("M1/main") == world.locked("M2/main") == 0
    assert queries.positions(world.state, "M0/main")["positions"] == []
    assert queries.series(world.state, CALL)["open_interest_lots"] == 0


def test_settlement_happens_once() -> None:
    """Later blocks, and later samples, change nothing."""
    world = traded()
    window_of_samples(world, 6_400_000)
    world.expire(DELAY_MS)
    before, price = world.free("M0/main"), record(world)
    world.oracles_say(9_000_000, EXPIRY_UNIX_MS - 1)
    world.expire(GRACE_MS * 3)
    assert (world.free("M0/main"), record(world)) == (before, price)


def test_a_sample_at_the_very_instant_of_expiry_does_not_split_the_series() -> None:
    """docs/FAULTS.md row 39: one expiry, one price, whatever arrives between."""
    world = traded()
    window_of_samples(world, 6_400_000)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(9_000_000, EXPIRY_UNIX_MS)
    world.expire(DELAY_MS)
    assert record(world) == (6_400_000, 1_000_000, expiry.TIME_WEIGHTED)
    assert settled(world)


def test_a_late_sample_still_counts_until_the_delay_is_over() -> None:
    """The oracles' last minute needs a moment to arrive."""
    world = traded()
    world.block(at_unix_ms=EXPIRY_UNIX_MS + 1)
    for left in range(30, 0, -5):
        world.now_unix_ms = EXPIRY_UNIX_MS + 10 + left
        world.block(at_unix_ms=world.state.time_unix_ms + 1, step_ms=1)
        world.send(
            "oracle0 oracle2",
            operation(
                "oracle.sample",
                index="BTC_USD",
                instant_unix_ms=EXPIRY_UNIX_MS - left * MINUTE_MS,
                price_ticks=6_100_000,
            ),
        )
        world.now_unix_ms = world.state.time_unix_ms + 1
    world.expire(DELAY_MS + 30_000)
    assert record(world) == (6_100_000, 1_000_000, expiry.TIME_WEIGHTED)


def test_one_oracle_that_is_half_off_changes_nothing() -> None:
    """The median per instant is an honest oracle's price."""
    world = traded()
    for left in range(30, 0, -5):
        at = EXPIRY_UNIX_MS - left * MINUTE_MS
        world.block(at_unix_ms=at)
        world.oracles_say(6_400_000, at, "oracle0 oracle1")
        world.oracles_say(9_600_000, at, "oracle2")
    world.expire(DELAY_MS)
    assert record(world) == (6_400_000, 1_000_000, expiry.TIME_WEIGHTED)


def test_a_single_oracle_makes_no_price() -> None:
    """Below the quorum an instant has no price, however often it is reported."""
    world = traded()
    for left in range(30, 0, -5):
        at = EXPIRY_UNIX_MS - left * MINUTE_MS
        world.block(at_unix_ms=at)
        world.oracles_say(9_600_000, at, "oracle2")
    world.expire(DELAY_MS)
    assert not settled(world)


def test_a_governor_decides_while_the_coverage_falls_short() -> None:
    """Step 3 of the ladder; the next block settles on it."""
    world = traded()
    window_of_samples(world, 6_400_000, minutes=1)
    world.expire(DELAY_MS)
    assert not settled(world)
    world.do("governor", "settlement.declare", index="BTC_USD", expiry_unix_ms=EXPIRY_UNIX_MS, price_ticks=6_200_000)
    assert not settled(world)
    world.block()
    assert settled(world)
    assert record(world) == (6_200_000, 33_333, expiry.DECLARED)


def test_samples_that_arrive_during_the_grace_still_make_the_price() -> None:
    """An outage of the oracles' network is not an outage of the market."""
    world = traded()
    world.expire(DELAY_MS)
    assert not settled(world)
    instants = [EXPIRY_UNIX_MS - left * MINUTE_MS for left in range(30, 0, -10)]
    late = [operation("oracle.sample", index="BTC_USD", instant_unix_ms=at, price_ticks=6_250_000) for at in instants]
    assert world.send("oracle0 oracle1", *late).code == ""
    world.block()
    assert record(world) == (6_250_000, 1_000_000, expiry.TIME_WEIGHTED)


def test_the_last_price_decides_when_the_grace_is_over() -> None:
    """Step 4: the last median at or before the expiry, however old, and not one after it."""
    world = traded()
    world.oracles_say(6_000_000, world.now_unix_ms)
    world.oracles_say(6_100_000, world.now_unix_ms)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(9_000_000, EXPIRY_UNIX_MS + 1_000)
    world.expire(DELAY_MS + GRACE_MS - 1, step_ms=1)
    assert not settled(world)
    world.block()
    assert record(world) == (6_100_000, 0, expiry.LAST_PRICE)
    assert settled(world)


def test_without_any_price_every_position_is_void() -> None:
    """Step 5: nobody wins, nobody loses, nothing stays locked."""
    world = traded()
    world.expire(DELAY_MS + GRACE_MS)
    assert record(world) == (0, 0, expiry.VOID)
    assert settled(world)
    for n in range(3):
        assert world.free(f"M{n}/main") == DEPOSIT
        assert world.locked(f"M{n}/main") == 0


def test_rounding_at_expiry_conserves() -> None:
    """Seven longs of one lot each against one short of seven: the cents go to someone, and only once."""
    world = set_up(World(), members=8)
    list_series(world, CALL)
    for n in range(1, 8):
        assert world.send(f"M0 M{n}", trade_of(CALL, f"M{n}", "M0", 1, 0)).code == ""
    window_of_samples(world, 6_400_007)
    world.expire(DELAY_MS)
    won = [world.free(f"M{n}/main") - DEPOSIT for n in range(1, 8)]
    exact = 10_000_000 * 100_007 / 6_400_007
    assert sum(won) == DEPOSIT - world.free("M0/main") == 7 * 10_000_000 * 100_007 // 6_400_007
    assert all(abs(amount - exact) < 1 for amount in won)
    assert len(set(won)) == 2


def test_a_large_expiry_is_spread_over_blocks_on_one_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block does unbounded work; the record says when all of it is done."""
    monkeypatch.setattr(expiry, "POSITIONS_PER_BLOCK_MAX", 2)
    world = traded()
    window_of_samples(world, 6_400_000)
    world.expire(DELAY_MS)
    assert not settled(world)
    assert not queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)["complete"]
    assert world.restored().root == world.state.root
    world.block()
    assert settled(world)
    answer = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    assert answer["complete"]
    assert [series["series"] for series in answer["series"]] == [CALL, PUT]


def test_two_expiries_settle_apart() -> None:
    """A second expiry on the same index neither waits for the first nor shares its price."""
    world = traded()
    later = "BTC-B-63000-C"
    list_series(world, later, expiry_unix_ms=EXPIRY_UNIX_MS + 2 * HOUR_MS)
    world.send("M0 M1", trade_of(later, "M0", "M1", 1, 0))
    window_of_samples(world, 6_400_000)
    world.expire(DELAY_MS)
    assert settled(world)
    assert world.locked("M1/main") == 6_850_000
    world.block(at_unix_ms=EXPIRY_UNIX_MS + 2 * HOUR_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + 2 * HOUR_MS + DELAY_MS + GRACE_MS)
    row = world.state.settlements.rows["BTC_USD", EXPIRY_UNIX_MS + 2 * HOUR_MS]
    assert (row.price_ticks, row.source) == (6_400_000, expiry.LAST_PRICE)
    assert world.locked("M1/main") == 0


def test_old_samples_are_dropped_but_an_open_expiry_keeps_its_window() -> None:
    """The state stays bounded, and no fallback loses the price that it needs."""
    world = traded(with_params(settlement_grace_ms=6 * HOUR_MS))
    window_of_samples(world, 6_400_000, minutes=5)
    world.expire(3 * HOUR_MS)
    assert len(world.state.derived.instants["BTC_USD"]) == 5
    world.do("governor", "settlement.declare", index="BTC_USD", expiry_unix_ms=EXPIRY_UNIX_MS, price_ticks=6_200_000)
    world.block()
    world.block()
    assert world.state.derived.instants["BTC_USD"] == [EXPIRY_UNIX_MS - MINUTE_MS]
    assert world.restored().root == world.state.root


def test_an_expiry_with_no_positions_is_quiet() -> None:
    """A listed series that nobody traded settles too."""
    world = set_up(World(document()))
    list_series(world, CALL)
    world.expire(DELAY_MS + GRACE_MS)
    assert settled(world)
    assert queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)["series"][0]["positions"] == []


SECOND_INDEX, SECOND_CALL = "ZZZ_USD", "ZZZ-A-63000-C"
SECOND_KEY = (SECOND_INDEX, EXPIRY_UNIX_MS)


def add_second_index(world: World) -> None:
    """Another index with an expiry at the same moment, in the order behind BTC_USD."""
    band = {"price_min_ticks": 2_000_000, "price_max_ticks": 20_000_000}
    world.do("governor", "index.register", index=SECOND_INDEX, tick_decimals=2, oracle_quorum=2, **band)
    assert list_series(world, SECOND_CALL, index=SECOND_INDEX).code == ""
    assert world.send("M0 M1", trade_of(SECOND_CALL, "M0", "M1", 5, 0)).code == ""


def declaring(index: str, price_ticks: int) -> tuple[Any, ...]:
    """The governor's declaration for the usual expiry of an index."""
    return operation("settlement.declare", index=index, expiry_unix_ms=EXPIRY_UNIX_MS, price_ticks=price_ticks)


def sampling(index: str, price_ticks: int, instant_unix_ms: int) -> tuple[Any, ...]:
    """A report of one instant."""
    return operation("oracle.sample", index=index, instant_unix_ms=instant_unix_ms, price_ticks=price_ticks)


def in_window(index: str, price_ticks: int) -> list[tuple[Any, ...]]:
    """Reports that cover the whole window."""
    return [sampling(index, price_ticks, EXPIRY_UNIX_MS - left * MINUTE_MS) for left in (30, 20, 10)]


def test_a_price_does_not_wait_for_another_expirys_settlement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that settles as much as it may must still decide: else a governor could declare over a valid price."""
    monkeypatch.setattr(expiry, "POSITIONS_PER_BLOCK_MAX", 2)
    world = traded()
    add_second_index(world)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    for index in ("BTC_USD", SECOND_INDEX):
        world.send("oracle0 oracle1", *in_window(index, 6_500_000))
    world.now_unix_ms = EXPIRY_UNIX_MS + DELAY_MS
    output = world.block(world.envelope("governor", declaring(SECOND_INDEX, 20_000_000)))
    assert output.receipts[0].code == "settlement_decided"
    assert not settled(world)
    decided = world.state.settlements.rows[SECOND_KEY]
    assert (decided.price_ticks, decided.source) == (6_500_000, expiry.TIME_WEIGHTED)


def test_nobody_declares_over_samples_that_suffice() -> None:
    """Within one block, too: the samples that arrive before the declaration are the market's answer."""
    world = traded()
    world.expire(DELAY_MS)
    output = world.block(
        world.envelope("oracle0 oracle1", *in_window("BTC_USD", 6_250_000)),
        world.envelope("governor", declaring("BTC_USD", 20_000_000)),
    )
    assert [receipt.code for receipt in output.receipts] == ["", "coverage_suffices"]
    assert system_work(world.state, world.now_unix_ms) > 0
    world.block()
    assert record(world) == (6_250_000, 1_000_000, expiry.TIME_WEIGHTED)


def test_a_chain_that_stood_still_across_an_expiry_awaits_its_samples_first() -> None:
    """After an outage longer than delay and grace, the oracles' backlog must count before any fallback does."""
    world = traded()
    world.oracles_say(6_000_000, world.now_unix_ms)
    back = EXPIRY_UNIX_MS + 10 * HOUR_MS
    world.now_unix_ms = back
    assert world.send("oracle0 oracle1", *in_window("BTC_USD", 6_250_000)).code == ""
    assert not settled(world)
    world.block(at_unix_ms=back + DELAY_MS)
    assert record(world) == (6_250_000, 1_000_000, expiry.TIME_WEIGHTED)
    assert not world.state.expired.rows


@pytest.mark.parametrize("stall_wall_ms", [3_000, 8_000, 20_000])
def test_a_fast_replay_loses_no_sample_to_a_change_of_leaders(stall_wall_ms: int) -> None:
    """At speed 3,000 a stall of some seconds is hours of block time, right across the window and the expiry."""
    speed = 3_000
    world = traded(document(clock=ChainClock(0, START_UNIX_MS - 1_000, speed)))
    world.block(at_unix_ms=EXPIRY_UNIX_MS - HOUR_MS // 2 - 1)
    world.now_unix_ms += stall_wall_ms * speed
    assert world.send("oracle0 oracle1", *in_window("BTC_USD", 6_250_000)).code == ""
    assert world.send("oracle2", sampling("BTC_USD", 6_250_000, EXPIRY_UNIX_MS - MINUTE_MS)).code == ""
    world.block(at_unix_ms=world.now_unix_ms + DELAY_MS * speed)
    assert record(world) == (6_250_000, 1_000_000, expiry.TIME_WEIGHTED)
    assert world.restored().root == world.state.root


def test_the_grace_does_not_weigh_the_same_samples_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of blocks over thousands of samples each would slow every one of them; a new sample must still count."""
    weighed = []

    def counting(samples: Sequence[PricedInstant], at: int, rules: PriceRules) -> WeightedPrice:
        weighed.append(len(samples))
        return time_weighted_price(samples, at, rules)

    monkeypatch.setattr(expiry, "time_weighted_price", counting)
    world = traded()
    window_of_samples(world, 6_400_000, minutes=5)
    world.expire(DELAY_MS)
    for _ in range(5):
        world.oracles_say(6_000_000, world.now_unix_ms - 500)
        assert system_work(world.state, world.now_unix_ms) == 0
    assert weighed == [5]
    world.oracles_say(6_400_000, EXPIRY_UNIX_MS - 30 * MINUTE_MS)
    assert system_work(world.state, world.now_unix_ms) > 0
    world.block()
    assert weighed == [5, 6]
    assert record(world) == (6_400_000, 500_000, expiry.TIME_WEIGHTED)


def test_work_that_is_due_is_announced() -> None:
    """A block that settles is computed off the event loop; an idle one in place: the node asks before it executes."""
    world = traded()
    world.oracles_say(6_400_000, world.now_unix_ms)
    due = EXPIRY_UNIX_MS + DELAY_MS
    idle_at = EXPIRY_UNIX_MS - HOUR_MS // 2
    world.block(at_unix_ms=idle_at)
    assert system_work(world.state, idle_at + 1) == 0
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    assert system_work(world.state, due - 1) == 0
    assert system_work(world.state, due) == 2 + 4
    world.block(at_unix_ms=due)
    assert system_work(world.state, due + GRACE_MS - 1) == 0
    assert system_work(world.state, due + GRACE_MS) == 2 + 4
    world.block(at_unix_ms=due + GRACE_MS)
    assert settled(world)
    assert system_work(world.state, due + GRACE_MS + 1) == 0


def test_samples_to_drop_are_work() -> None:
    """After a long pause a block may drop thousands of instants."""
    world = set_up(World())
    for n in range(5):
        world.oracles_say(6_400_000, world.now_unix_ms - n)
    later = world.now_unix_ms + HOUR_MS
    assert system_work(world.state, later) >= 4
    world.block(at_unix_ms=later)
    assert len(world.state.derived.instants["BTC_USD"]) == 1
    assert system_work(world.state, later + 1) == 0
