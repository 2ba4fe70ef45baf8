"""A real expiry, end to end, against a calculation that shares no code with the product."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from contracts import queries
from genesis.document import ChainClock
from tests.contracts.world import World, document, list_series, operation, set_up, trade_of

EXPIRY_UNIX_MS = 1_786_953_600_000
WINDOW_MS = 1_800_000
VALIDITY_MS = 600_000
OFFICIAL_TICKS = 6_348_606
LOT = Fraction(1, 10)
LOT_SATOSHI = 10_000_000
DEPOSIT = 10**13


@dataclass(frozen=True)
class TapeTrade:
    """One trade of the tape, its parties assigned by its number."""

    series: str
    buyer: str
    seller: str
    lots: int
    price_ticks: int
    unix_ms: int


def read_tape(path: Path) -> tuple[list[TapeTrade], dict[int, int]]:
    """The trades of the expiry in file order, and the index in cents by time (the last row of an instant stands)."""
    trades: list[TapeTrade] = []
    index: dict[int, int] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            at = int(row["ts_utc_ms"])
            index[at] = int(Fraction(row["index_price"]) * 100)
            if "-17AUG26-" not in row["instrument"]:
                continue
            i = len(trades)
            taker, maker = i % 6, (i + 1 + (i // 6) % 5) % 6
            buyer, seller = (taker, maker) if row["direction"] == "buy" else (maker, taker)
            lots, ticks = Fraction(row["amount"]) / LOT, Fraction(row["price"]) * 10_000
            assert lots.denominator == ticks.denominator == 1
            trades.append(TapeTrade(row["instrument"], f"M{buyer}", f"M{seller}", int(lots), int(ticks), at))
    return trades, index


def exact_price(index: dict[int, int]) -> Fraction:
    """The time-weighted mean, by walking the window millisecond by millisecond."""
    total, covered, price, since = 0, 0, 0, -VALIDITY_MS - WINDOW_MS
    start = EXPIRY_UNIX_MS - WINDOW_MS
    for at in sorted(each for each in index if each < start):
        price, since = index[at], at
    for now in range(start, EXPIRY_UNIX_MS):
        if now in index:
            price, since = index[now], now
        if now - since < VALIDITY_MS:
            total += price
            covered += 1
    return Fraction(total, covered)


def exact_payoff(series: str, price_ticks: int) -> Fraction:
    """What a long lot of an inverse series receives, in satoshi."""
    _btc, _expiry, strike, right = series.split("-")
    move = price_ticks - int(strike) * 100
    return Fraction(LOT_SATOSHI * max(0, move if right == "C" else -move), price_ticks)


def replayed(trades: list[TapeTrade], index: dict[int, int]) -> World:
    """The chain after the tape and its expiry, one block an instant."""
    world = World(document(clock=ChainClock(0, min(index) - 100_000, 1)))
    world.now_unix_ms = min(index) - 50_000
    set_up(world, members=6, deposit_minor=DEPOSIT)
    for series in sorted({each.series for each in trades}):
        assert list_series(world, series, expiry_unix_ms=EXPIRY_UNIX_MS).code == ""
    by_time: dict[int, list[TapeTrade]] = defaultdict(list)
    for each in trades:
        by_time[each.unix_ms].append(each)
    for at in sorted(index):
        world.now_unix_ms = at
        sample = operation("oracle.sample", index="BTC_USD", instant_unix_ms=at, price_ticks=index[at])
        envelopes = [world.envelope("oracle0 oracle1 oracle2", sample)]
        for each in by_time.get(at, ()):
            wire = trade_of(each.series, each.buyer, each.seller, each.lots, each.price_ticks)
            envelopes.append(world.envelope(f"{each.buyer} {each.seller}", wire))
        output = world.block(*envelopes, at_unix_ms=at)
        assert [receipt.code for receipt in output.receipts] == [""] * len(envelopes)
    world.block(at_unix_ms=max(EXPIRY_UNIX_MS, world.now_unix_ms), step_ms=5_000)
    world.block()
    return world


def test_the_deribit_expiry_settles_as_an_independent_calculation_says(shared_data: Callable[[str], Path]) -> None:
    """277 trades of 17 August 2026: price, every position within a satoshi, every member, conserved."""
    trades, index = read_tape(shared_data("market/deribit_btc_option_trades_20260817.csv"))
    assert len(trades) == 277
    world = replayed(trades, index)
    record = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    price = exact_price({at: value for at, value in index.items() if at < EXPIRY_UNIX_MS})
    assert record["price_ticks"] == round(price)
    assert abs(record["price_ticks"] - OFFICIAL_TICKS) * 10_000 <= 10 * OFFICIAL_TICKS
    assert record["source"] == "time_weighted"
    assert record["complete"]
    assert len(record["series"]) == 11

    positions: dict[tuple[str, str], int] = defaultdict(int)
    cash: dict[str, int] = defaultdict(int)
    for each in trades:
        premium = each.lots * each.price_ticks * 1_000
        positions[each.series, each.buyer] += each.lots
        positions[each.series, each.seller] -= each.lots
        cash[each.buyer] -= premium
        cash[each.seller] += premium
    settled = {
        (series["series"], row["account"].split("/")[0]): row["amount_minor"]
        for series in record["series"]
        for row in series["positions"]
    }
    assert settled.keys() == {key for key, lots in positions.items() if lots}
    for (series, member), amount in settled.items():
        exact = positions[series, member] * exact_payoff(series, record["price_ticks"])
        assert abs(amount - exact) < 1, (series, member)
        cash[member] += amount
    for n in range(6):
        assert world.free(f"M{n}/main") == DEPOSIT + cash[f"M{n}"]
        assert world.locked(f"M{n}/main") == 0
    assert sum(cash.values()) == 0
    assert world.restored().root == world.state.root
