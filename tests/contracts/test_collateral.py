"""The collateral rule: whatever the price, a short has locked what it must pay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.collateral import collateral_per_lot_minor, payoff, required_minor
from contracts.expiry import share
from contracts.tables import IndexRow, SeriesRow
from tests.contracts.exchange_library import LIBRARY, rendered

BAND = IndexRow(2, 2_000_000, 20_000_000, 2)


def series(
    right: str = "C", settlement: str = "inverse", strike: int = 6_300_000, lot: int = 10_000_000, band: IndexRow = BAND
) -> SeriesRow:
    """A series that locks what the rule says."""
    row = SeriesRow("BTC_USD", strike, 1, right, settlement, "BTC", lot, 1_000, 0, False)
    return row._replace(collateral_minor=collateral_per_lot_minor(row, band))


@pytest.mark.parametrize(
    ("right", "settlement", "strike", "lot", "expected"),
    [
        ("C", "inverse", 6_300_000, 10_000_000, 6_850_000),
        ("P", "inverse", 6_300_000, 10_000_000, 21_500_000),
        ("C", "linear", 6_300_000, 3, 3 * 13_700_000),
        ("P", "linear", 6_300_000, 3, 3 * 4_300_000),
        ("C", "inverse", 20_000_000, 10_000_000, 0),
        ("P", "linear", 2_000_000, 1, 0),
        ("C", "inverse", 19_999_999, 1, 1),
    ],
)
def test_a_lot_locks_its_worst_case_rounded_up(
    right: str, settlement: str, strike: int, lot: int, expected: int
) -> None:
    """By hand: the call is worst at the top of the band, the put at the bottom."""
    assert series(right, settlement, strike, lot).collateral_minor == expected


@given(
    st.sampled_from("CP"),
    st.sampled_from(["inverse", "linear"]),
    st.integers(1, 10**8),
    st.integers(1, 10**8),
    st.integers(1, 10**8),
    st.data(),
)
def test_collateral_covers_every_price_in_the_band(
    right: str, settlement: str, strike: int, low: int, width: int, data: st.DataObject
) -> None:
    """The share of any short, rounding included, is within what it locked: settlement cannot fall short."""
    band = IndexRow(2, low, low + width, 1)
    row = series(right, settlement, strike, data.draw(st.integers(1, 10**9)), band)
    price = data.draw(st.integers(low, low + width))
    lots = data.draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
    for quantity, paid in zip(lots, share(lots, payoff(row, band, price)), strict=True):
        assert 0 <= paid <= required_minor(row, -quantity)


def test_a_long_position_locks_nothing() -> None:
    """Its premium is paid; it can lose no more."""
    assert required_minor(series(), 5) == required_minor(series(), 0) == 0
    assert required_minor(series(), -5) == 5 * 6_850_000


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_collateral_is_monotonic_in_the_short(fewer: int, more: int) -> None:
    """Selling more never frees anything."""
    low, high = sorted((fewer, more))
    assert required_minor(series("P"), -low) <= required_minor(series("P"), -high)


@given(st.lists(st.integers(1, 10**9), max_size=12), st.integers(0, 10**18), st.integers(1, 10**9))
def test_shares_conserve_and_are_within_one_unit(lots: list[int], numerator: int, denominator: int) -> None:
    """Pro-rata rounding may move a unit between members, never make one or lose one."""
    shares = share(lots, lambda quantity: quantity * numerator // denominator)
    assert sum(shares) == sum(lots) * numerator // denominator
    for quantity, got in zip(lots, shares, strict=True):
        assert abs(got * denominator - quantity * numerator) < denominator


def test_one_unit_over_seven_members_is_one_unit() -> None:
    """docs/FAULTS.md row 43: six get nothing, one gets it."""
    assert share([1] * 7, lambda lots: lots // 7) == [0, 0, 0, 0, 0, 0, 1]


@given(
    st.sampled_from("CP"),
    st.sampled_from(["inverse", "linear"]),
    st.integers(1, 10**8),
    st.integers(1, 10**9),
    st.integers(1, 2**40),
    st.integers(BAND.price_min_ticks, BAND.price_max_ticks),
)
def test_the_programs_pay_what_the_textbook_says(
    right: str, settlement: str, strike: int, lot: int, lots: int, price: int
) -> None:
    """J. Hull, Options, Futures, and Other Derivatives, 10th ed., section 10.1; inverse: converted at the price."""
    move = max(0, price - strike if right == "C" else strike - price)
    exact = lots * lot * move // (price if settlement == "inverse" else 1)
    assert payoff(series(right, settlement, strike, lot), BAND, price)(lots) == exact
    assert payoff(series(right, settlement, strike, lot), BAND, None)(lots) == 0


def test_the_bytecode_is_that_of_the_texts() -> None:
    """What validators run must be what a member can read; `make library` writes it anew."""
    assert (LIBRARY / "exchange.py").read_text() == rendered("exchange")
    assert (LIBRARY / "actus.py").read_text() == rendered("actus")
