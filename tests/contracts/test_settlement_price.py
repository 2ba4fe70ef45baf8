"""The time-weighted settlement price, against its rules and against real months of prices."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.settlement_price import (
    PriceRules,
    WeightedPrice,
    median_of_reports,
    round_half_even,
    time_weighted_price,
)
from genesis.params import ChainParams

PARAMS = ChainParams()
RULES = PriceRules(PARAMS.settlement_window_ms, PARAMS.settlement_sample_validity_ms, PARAMS.settlement_clamp_ppm)
SHORT = PriceRules(window_ms=100, validity_ms=50, clamp_ppm=1_000_000)
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("why", "samples", "expected"),
    [
        ("nothing at all", [], WeightedPrice(None, 0)),
        ("one price at the start holds for its validity", [(900, 7)], WeightedPrice(7, 500_000)),
        ("the last price before the window is carried in", [(880, 7)], WeightedPrice(7, 300_000)),
        ("one that is too old is not", [(850, 7)], WeightedPrice(None, 0)),
        ("only the last one before the window counts", [(860, 9), (880, 7)], WeightedPrice(7, 300_000)),
        ("a price lasts until the next", [(900, 10), (920, 20), (970, 30)], WeightedPrice(21, 1_000_000)),
        ("a price at the expiry has no duration", [(960, 10), (1_000, 99)], WeightedPrice(10, 400_000)),
        ("a price after the expiry has no effect", [(960, 10), (1_001, 99)], WeightedPrice(10, 400_000)),
        ("a gap is not covered", [(900, 10), (990, 20)], WeightedPrice(12, 600_000)),
        ("a tie rounds to the even tick below", [(950, 10), (975, 11)], WeightedPrice(10, 500_000)),
        ("a tie rounds to the even tick above", [(950, 11), (975, 12)], WeightedPrice(12, 500_000)),
    ],
)
def test_price_follows_its_rules(why: str, samples: list[tuple[int, int]], expected: WeightedPrice) -> None:
    """Each row is one clause of the convention, over the window [900, 1000)."""
    assert time_weighted_price(samples, 1_000, SHORT) == expected, why


def test_a_wild_print_is_clamped_to_the_median() -> None:
    """One minute of thirty at three times the price would move the mean by 7 %; the clamp lets through 0.5 %."""
    minutes = [(60_000 * n, 6_300_000) for n in range(30)]
    minutes[7] = (60_000 * 7, 20_000_000)
    price = time_weighted_price(minutes, 1_800_000, RULES).price_ticks
    assert price == 6_300_000 + 31_500
    minutes[7] = (60_000 * 7, 2_000_000)
    price = time_weighted_price(minutes, 1_800_000, RULES).price_ticks
    assert price == 6_300_000 - 31_500


def test_the_windows_median_is_weighted_by_time() -> None:
    """A burst of many prints in a second must not drag the median along with it."""
    burst = [(900_000 + n, 9_000_000) for n in range(500)]
    samples = (
        [(300_000 * n, 6_300_000) for n in range(3)] + burst + [(900_500 + 300_000 * n, 6_300_000) for n in range(3)]
    )
    price = time_weighted_price(samples, 1_800_000, RULES).price_ticks
    assert price == 6_300_000 + round_half_even(2_700_000 * 500, 1_800_000)


def test_the_median_of_an_even_number_of_oracles_is_the_lower() -> None:
    """With one oracle of three wrong, the median is an honest price; the even case is stated, not accidental."""
    assert median_of_reports([5, 900, 6]) == 6
    assert median_of_reports([6, 5]) == 5
    assert median_of_reports([4, 3, 2, 1]) == 2
    assert median_of_reports([6]) == 6


@given(
    st.dictionaries(st.integers(0, 4_000_000), st.integers(2_000_000, 20_000_000), max_size=40),
    st.integers(0, 1_000_000),
)
def test_the_price_stays_between_the_samples_and_near_the_exact_mean(prices: dict[int, int], clamp_ppm: int) -> None:
    """Collateral is computed for the band, so a price outside the samples' range could break solvency."""
    samples = sorted(prices.items())
    rules = PriceRules(RULES.window_ms, RULES.validity_ms, clamp_ppm)
    found = time_weighted_price(samples, 3_000_000, rules)
    assert 0 <= found.coverage_ppm <= 1_000_000
    if found.price_ticks is not None:
        assert min(prices.values()) <= found.price_ticks <= max(prices.values())


@given(st.integers(0, 10**30), st.integers(1, 10**20))
def test_rounding_is_half_to_even(numerator: int, denominator: int) -> None:
    """Python's own rounding of an exact fraction is the oracle."""
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


def test_price_is_within_6_bp_of_the_official_one_on_every_day_of_january_2022(
    shared_data: Callable[[str], Path],
) -> None:
    """The convention must reproduce what an exchange published; the last price alone misses by up to 63 bp."""
    with gzip.open(shared_data("market/btc_perp_minute_202201.csv.gz"), "rt") as file:
        # The first bar is stamped a minute past the hour: a stamp is its bar's end, when the close is known.
        closes = sorted((int(row["ts_utc_ms"]), cents(row["close"])) for row in csv.DictReader(file))
    with shared_data("market/deribit_delivery_prices_public.csv").open() as file:
        official = {
            row["date"]: cents(row["delivery_price"])
            for row in csv.DictReader(file)
            if row["index"] == "btc_usd" and row["date"].startswith("2022-01-")
        }
    assert len(official) == 31
    first_expiry_unix_ms = 1_640_995_200_000 + 8 * 3_600_000
    for day in range(31):
        found = time_weighted_price(closes, first_expiry_unix_ms + day * DAY_MS, RULES)
        expected = official[f"2022-01-{day + 1:02}"]
        assert found.price_ticks is not None
        assert found.coverage_ppm == 1_000_000
        assert abs(found.price_ticks - expected) * 10_000 <= 6 * expected, (day + 1, found.price_ticks, expected)


def cents(price: str) -> int:
    """A decimal price in cents, exactly."""
    return int(Fraction(price) * 100)
