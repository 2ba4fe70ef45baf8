"""Greeks next to a barrier or an extremum, against derivatives of closed forms at 40 digits that pass through both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import exp, nextafter, sqrt
from typing import Any

import numpy as np
import pytest

from contracts.pricing.barrier import barrier_greeks
from contracts.pricing.double_barrier import double_barrier_greeks
from contracts.pricing.greeks import Greeks
from contracts.pricing.lookback import lookback_fixed_greeks, lookback_floating_greeks
from contracts.pricing.touch import asset_at_hit_greeks, cash_at_hit_greeks
from contracts.pricing.vanilla import black_scholes_greeks
from tests.contracts.pricing.closed_forms import double, fixed, floating, greeks_of, single

Row = dict[str, float]
NAMES = ("price", "delta", "gamma", "vega", "theta", "rho")
DISTANCES = (0.0, 1e-6, 1e-4, 1e-3, 1e-2)
"""Of the barrier; 0 stands for one unit in the last place, since a spot at its barrier has touched it."""
MARKETS = (
    {"q": 0.0, "r": 0.05, "t_years": 1.0, "vol": 0.2},
    {"q": 0.0, "r": 0.0, "t_years": 0.25, "vol": 0.8},
    {"q": -0.04, "r": 0.18, "t_years": 20.0, "vol": 0.03},
    {"q": 0.03, "r": -0.01, "t_years": 1 / 8766, "vol": 4.0},
)


def beside(barrier: float, direction: float, distance: float) -> float:
    """A spot at that distance inside of a barrier above (direction 1) or below it."""
    return barrier * (1.0 - direction * distance) if distance else nextafter(barrier, -direction * 1e9)


def assert_exact(greeks: Callable[..., Greeks], form: Any, rows: list[Row], truths: list[Row], rel: float) -> None:
    """Every greek to `rel` of itself, or to 1e-9 of what an option's greek can be where it is smaller than that."""
    found = greeks(**{name: np.array([row[name] for row in rows]) for name in rows[0]})
    for at, (row, truth) in enumerate(zip(rows, truths, strict=True)):
        exact = greeks_of(form, truth)
        s, worth = row["vol"] * sqrt(row["t_years"]), row["spot"] + truth.get("strike", 0.0) + truth.get("rebate", 0.0)
        worth *= exp(max(0.0, -row["q"], -row["r"]) * row["t_years"])
        drift = 1.0 + abs(row["r"] - row["q"]) * row["t_years"] / s
        scale = min(1.0, s / (2.0 * drift), row.get("barrier_high", 1e9) / row.get("barrier", 1.0) - 1.0)
        per_spot = worth / (row["spot"] * scale)
        units = {
            "price": 1e-3 * worth, "delta": per_spot, "gamma": per_spot / (row["spot"] * scale),
            "vega": drift * worth / row["vol"], "theta": drift * worth / row["t_years"],
            "rho": max(worth * row["t_years"] / s, worth),
        }  # fmt: skip
        for name in NAMES:
            expected = pytest.approx(exact[name], rel=rel, abs=1e-9 * units[name])
            assert getattr(found, name)[at] == expected, (name, row)


def barrier_rows(market: Mapping[str, float]) -> Iterator[Row]:
    for direction, knock, right, rebate, distance in product(
        (1.0, -1.0), (1.0, -1.0), (1.0, -1.0), (0.0, 3.0), DISTANCES
    ):
        barrier = 100.0
        strike = barrier * exp(0.4 * (1.0 if rebate else -1.0) * market["vol"] * sqrt(market["t_years"]))
        yield {
            "right": right, "spot": beside(barrier, direction, distance), "strike": strike, "barrier": barrier,
            "direction": direction, "knock": knock, "rebate": rebate, **market,
        }  # fmt: skip


@pytest.mark.parametrize("market", MARKETS, ids=str)
def test_greeks_of_every_single_barrier_hold_up_to_it(market: Mapping[str, float]) -> None:
    """A hedge is largest there: differences that reached through the barrier gave a theta a million times too large."""
    rows = list(barrier_rows(market))
    assert_exact(barrier_greeks, single, rows, rows, 1e-5)


@pytest.mark.parametrize(("low", "high", "vol"), [(99.95, 100.05, 0.01), (95.0, 104.0, 0.2), (70.0, 150.0, 0.2)])
def test_greeks_of_every_double_barrier_hold_up_to_both(low: float, high: float, vol: float) -> None:
    """Corridors from a thousandth wide, each beside both of its walls and in the middle; by either series."""
    market = {"q": 0.01, "r": 0.05, "t_years": 0.02 if vol < 0.1 else 0.75, "vol": vol}
    rows = [
        {
            "right": right, "spot": spot, "strike": low + part * (high - low), "barrier": low, "barrier_high": high,
            "knock": knock, "rebate": rebate, **market,
        }
        for right, knock, (rebate, part) in product((1.0, -1.0), (1.0, -1.0), ((0.0, 0.4), (3.0, 1.5)))
        for direction, distance in product((1.0, -1.0), DISTANCES[:: 2 if high > 140.0 else 1])
        if low < (spot := beside(high if direction > 0.0 else low, direction, distance)) < high
    ]  # fmt: skip
    assert_exact(double_barrier_greeks, double, rows, rows, 1e-5)


@pytest.mark.parametrize(("r", "q", "rel"), [(0.05, 0.0, 1e-5), (-0.02, -0.02, 1e-3), (-0.05, 0.04, 1e-5)])
def test_greeks_of_american_digitals_hold_up_to_their_strike(r: float, q: float, rel: float) -> None:
    """Below zero rates some are integrated numerically, which is smooth but not exact: to a thousandth there."""
    for right, distance, paid in product((1.0, -1.0), DISTANCES, (10.0, None)):
        market: Row = {"q": q, "r": r, "t_years": 1.0, "vol": 0.2}
        row = {"right": right, "spot": beside(100.0, right, distance), "barrier": 100.0, **market}
        rebate = 100.0 if paid is None else paid
        truth = row | {"strike": 100.0, "direction": right, "knock": -1.0, "rebate": rebate}
        cash: Row = {} if paid is None else {"cash": paid}
        assert_exact(asset_at_hit_greeks if paid is None else cash_at_hit_greeks, single, [row | cash], [truth], rel)


@pytest.mark.parametrize("market", [MARKETS[0], MARKETS[2], MARKETS[3]], ids=str)
def test_greeks_of_lookbacks_hold_up_to_the_extremum(market: Mapping[str, float]) -> None:
    """There the extremum begins to move with the spot; these go on smoothly, and have no wall."""
    for right, distance in product((1.0, -1.0), DISTANCES):
        row = {"right": right, "spot": 100.0, "extremum_so_far": 100.0 * (1.0 - right * distance), **market}
        assert_exact(lookback_floating_greeks, floating, [row], [row], 1e-5)
        row = {**row, "extremum_so_far": 100.0 * (1.0 + right * distance)}
        for strike in (90.0, 100.0, 110.0):
            assert_exact(lookback_fixed_greeks, fixed, [row | {"strike": strike}], [row | {"strike": strike}], 1e-5)


def test_greeks_at_the_barrier_itself_are_those_of_what_is_left() -> None:
    """A touch has happened: out is an amount, in is the vanilla, and no point of a difference may undo it."""
    market = {"strike": 97.0, "q": 0.02, "r": 0.05, "t_years": 0.5, "vol": 0.3}
    vanilla = black_scholes_greeks(right=-1.0, spot=100.0, **market)
    for direction, knock in product((1.0, -1.0), (1.0, -1.0)):
        row = {"right": -1.0, "spot": 100.0, "knock": knock, "rebate": 3.0, **market}
        other = (
            {"barrier": 100.0, "barrier_high": 120.0} if direction < 0.0 else {"barrier": 80.0, "barrier_high": 100.0}
        )
        found = (barrier_greeks(barrier=100.0, direction=direction, **row), double_barrier_greeks(**row, **other))
        for greeks, name in product(found, NAMES):
            settled = 3.0 if name == "price" else 0.0
            expected = getattr(vanilla, name)[0] if knock > 0.0 else settled
            assert getattr(greeks, name)[0] == pytest.approx(expected, rel=1e-7, abs=1e-11), (name, knock)


def test_greeks_of_the_narrowest_corridor_stay_in_it() -> None:
    """A corridor may be a millionth wide, which is no wider than the least step elsewhere."""
    row = {"right": 1.0, "strike": 90.0, "barrier": 100.0, "barrier_high": 100.0001, "knock": -1.0, "rebate": 0.0}
    spots = 100.0 + np.array([1e-13, 2.5e-5, 5e-5, 7.5e-5, 1e-4 - 1e-13])
    found = double_barrier_greeks(spot=spots, q=0.0, r=0.0, t_years=1e-6, vol=1e-4, **row)
    assert (np.diff(found.delta) < 0.0).all(), "the price is an arch"
    assert found.delta[2] == pytest.approx(0.0, abs=1e-4 * found.delta[0])
    assert found.delta[0] == pytest.approx(-found.delta[4], rel=1e-3)
