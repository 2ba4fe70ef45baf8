"""The settlement price of an expiry: a pure function of the oracles' samples.

Rules:

1. *Median per instant.* An instant has a price once `oracle_quorum` distinct oracles have reported it: their median,
   and of an even number the lower of the two in the middle.
2. *Window.* It is ``[expiry - window, expiry)``. A price holds from its instant until the next one, but no longer than
   `validity`; the last price before the window is carried in under the same validity. A price at the very instant
   of the expiry has no duration in the window.
3. *Coverage* is the share of the window during which a price holds, rounded down to parts per million.
4. *Mean.* The mean of the prices over the covered time, each weighted by how long it held, rounded half to even to the
   tick.
5. *Clamp.* The mean is clamped to the window's median ± ``median * clamp // 1_000_000``, so that a burst of wild prints
   moves the result by at most that. The window's median is the lowest price such that, for at least half of the covered
   time, the price was no higher.

Mean and median both lie between the lowest and the highest price, and so does the result: inside the index's band.

The clamp binds the mean, not each price before the mean. In a window in which the market truly moves by more than the
clamp, clamping each price would cut the honest ends off: on 21 January 2022 it misses the published delivery price by
11 basis points, the clamp of the mean by 5.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from genesis.params import PPM

PricedInstant = tuple[int, int]
"""(instant_unix_ms, price_ticks)."""


@dataclass(frozen=True, slots=True)
class PriceRules:
    """The market's convention.

    Attributes:
        window_ms: The averaging window before expiry.
        validity_ms: How long a price holds unless a later one replaces it.
        clamp_ppm: The half-width of the clamp around the median.
    """

    window_ms: int
    validity_ms: int
    clamp_ppm: int


@dataclass(frozen=True, slots=True)
class WeightedPrice:
    """A time-weighted price and the share of the window that it covers; no price where nothing is covered."""

    price_ticks: int | None
    coverage_ppm: int


def median_of_reports(prices: Sequence[int]) -> int:
    """Rule 1: the lower median of a quorum's reports or more; `prices` has one entry an oracle, in any order."""
    return sorted(prices)[(len(prices) - 1) // 2]


def time_weighted_price(samples: Sequence[PricedInstant], expiry_unix_ms: int, rules: PriceRules) -> WeightedPrice:
    """Rules 2 to 5.

    Args:
        samples: Priced instants, ascending and distinct; those outside the window and its carry-in have no effect.
        expiry_unix_ms: The end of the window.
        rules: The convention.
    """
    held = _durations(samples, expiry_unix_ms, rules)
    covered_ms = sum(duration for _price, duration in held)
    if not covered_ms:
        return WeightedPrice(None, 0)
    median = _weighted_median(held, covered_ms)
    spread = median * rules.clamp_ppm // PPM
    mean = round_half_even(sum(price * duration for price, duration in held), covered_ms)
    clamped = min(max(mean, median - spread), median + spread)
    return WeightedPrice(clamped, covered_ms * PPM // rules.window_ms)


def _durations(samples: Sequence[PricedInstant], expiry_unix_ms: int, rules: PriceRules) -> list[tuple[int, int]]:
    """Rule 2: (price, how long it holds within the window in ms) for every price that holds at all."""
    start = expiry_unix_ms - rules.window_ms
    first = max(0, bisect_left(samples, (start, 0)) - 1)
    held = []
    for place in range(first, bisect_left(samples, (expiry_unix_ms, 0))):
        instant, price = samples[place]
        until = samples[place + 1][0] if place + 1 < len(samples) else expiry_unix_ms
        duration = min(until, instant + rules.validity_ms, expiry_unix_ms) - max(instant, start)
        if duration > 0:
            held.append((price, duration))
    return held


def _weighted_median(held: Sequence[tuple[int, int]], covered_ms: int) -> int:
    ordered = sorted(held)
    reached = accumulate(duration for _price, duration in ordered)
    return next(price for (price, _), upto_ms in zip(ordered, reached, strict=True) if 2 * upto_ms >= covered_ms)


def round_half_even(numerator: int, denominator: int) -> int:
    """The integer nearest to ``numerator / denominator`` (denominator above zero); a tie goes to the even one."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient & 1 == 1))
