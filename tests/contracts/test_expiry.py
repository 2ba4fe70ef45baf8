"""Expiry: an answer for every state of the oracles, one price for every series, and nothing made or lost."""

from __future__ import annotations

import pytest

from contracts import expiry, queries
from genesis.document import GenesisDocument
from tests.contracts.world import (
    EXPIRY_UNIX_MS,
    HOUR_MS,
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
DELAY_MS = 2_000
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS - 1, step_ms=1)
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    before, price = world.free("M0/main"), record(world)
    world.oracles_say(9_000_000, EXPIRY_UNIX_MS - 1)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + GRACE_MS * 3)
    assert (world.free("M0/main"), record(world)) == (before, price)


def test_a_sample_at_the_very_instant_of_expiry_does_not_split_the_series() -> None:
    """The catalogue's row 39: one expiry, one price, whatever arrives between."""
    world = traded()
    window_of_samples(world, 6_400_000)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(9_000_000, EXPIRY_UNIX_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS + 30_000)
    assert record(world) == (6_100_000, 1_000_000, expiry.TIME_WEIGHTED)


def test_one_oracle_that_is_half_off_changes_nothing() -> None:
    """The median per instant is an honest oracle's price."""
    world = traded()
    for left in range(30, 0, -5):
        at = EXPIRY_UNIX_MS - left * MINUTE_MS
        world.block(at_unix_ms=at)
        world.oracles_say(6_400_000, at, "oracle0 oracle1")
        world.oracles_say(9_600_000, at, "oracle2")
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert record(world) == (6_400_000, 1_000_000, expiry.TIME_WEIGHTED)


def test_a_single_oracle_makes_no_price() -> None:
    """Below the quorum an instant has no price, however often it is reported."""
    world = traded()
    for left in range(30, 0, -5):
        at = EXPIRY_UNIX_MS - left * MINUTE_MS
        world.block(at_unix_ms=at)
        world.oracles_say(9_600_000, at, "oracle2")
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert not settled(world)


def test_a_governor_decides_while_the_coverage_falls_short() -> None:
    """Step 3 of the ladder; the next block settles on it."""
    world = traded()
    window_of_samples(world, 6_400_000, minutes=1)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert not settled(world)
    world.do("governor", "settlement.declare", index="BTC_USD", expiry_unix_ms=EXPIRY_UNIX_MS, price_ticks=6_200_000)
    assert not settled(world)
    world.block()
    assert settled(world)
    assert record(world) == (6_200_000, 33_333, expiry.DECLARED)


def test_samples_that_arrive_during_the_grace_still_make_the_price() -> None:
    """An outage of the oracles' network is not an outage of the market."""
    world = traded()
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS + GRACE_MS - 1, step_ms=1)
    assert not settled(world)
    world.block()
    assert record(world) == (6_100_000, 0, expiry.LAST_PRICE)
    assert settled(world)


def test_without_any_price_every_position_is_void() -> None:
    """Step 5: nobody wins, nobody loses, nothing stays locked."""
    world = traded()
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS + GRACE_MS)
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert settled(world)
    assert world.locked("M1/main") == 6_850_000
    world.block(at_unix_ms=EXPIRY_UNIX_MS + 2 * HOUR_MS + DELAY_MS + GRACE_MS)
    row = world.state.settlements.rows["BTC_USD", EXPIRY_UNIX_MS + 2 * HOUR_MS]
    assert (row.price_ticks, row.source) == (6_400_000, expiry.LAST_PRICE)
    assert world.locked("M1/main") == 0


def test_old_samples_are_dropped_but_an_open_expiry_keeps_its_window() -> None:
    """The state stays bounded, and no fallback loses the price that it needs."""
    world = traded(with_params(settlement_grace_ms=6 * HOUR_MS))
    window_of_samples(world, 6_400_000, minutes=5)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + 3 * HOUR_MS)
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
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS + GRACE_MS)
    assert settled(world)
    assert queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)["series"][0]["positions"] == []
