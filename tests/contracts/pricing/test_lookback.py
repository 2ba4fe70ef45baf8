"""Lookbacks against published values, against quadrature of the extremum, and where the carry is zero."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

from contracts.pricing.lookback import (
    lookback_fixed_greeks,
    lookback_fixed_price,
    lookback_floating_greeks,
    lookback_floating_price,
)
from genesis.errors import Rejected
from tests.contracts.pricing.reference import at_many_digits, integral

HAUG_FIXED = [
    (1.0, 0.5, 95.0, (13.2687, 18.9263, 24.9857)),
    (1.0, 0.5, 100.0, (8.5126, 14.1702, 20.2296)),
    (1.0, 0.5, 105.0, (4.3908, 9.8905, 15.8512)),
    (1.0, 1.0, 95.0, (18.3241, 26.0731, 34.7116)),
    (1.0, 1.0, 100.0, (13.8000, 21.5489, 30.1874)),
    (1.0, 1.0, 105.0, (9.5445, 17.2965, 25.9002)),
    (-1.0, 0.5, 95.0, (0.6899, 4.4448, 8.9213)),
    (-1.0, 0.5, 100.0, (3.3917, 8.3177, 13.1579)),
    (-1.0, 0.5, 105.0, (8.1478, 13.0739, 17.9140)),
    (-1.0, 1.0, 95.0, (1.0534, 6.2813, 12.2376)),
    (-1.0, 1.0, 100.0, (3.8079, 10.1294, 16.3889)),
    (-1.0, 1.0, 105.0, (8.3321, 14.6536, 20.9130)),
]


@pytest.mark.parametrize(("right", "t_years", "strike", "expected"), HAUG_FIXED)
def test_published_fixed_strikes(right: float, t_years: float, strike: float, expected: tuple[float, ...]) -> None:
    """Haug, Option Pricing Formulas (1998), pages 63 and 64: spot and extremum 100, r 0.1, vol 0.1, 0.2, 0.3."""
    found = lookback_fixed_price(
        right=right, spot=100.0, strike=strike, extremum_so_far=100.0, q=0.0, r=0.1, t_years=t_years,
        vol=[0.1, 0.2, 0.3],
    )  # fmt: skip
    assert np.allclose(found, expected, rtol=0.0, atol=1e-4)


def test_a_published_floating_strike() -> None:
    """Haug, Option Pricing Formulas (1998), page 62."""
    found = lookback_floating_price(right=1.0, spot=120.0, extremum_so_far=100.0, q=0.06, r=0.1, t_years=0.5, vol=0.3)
    assert found[0] == pytest.approx(25.3533, abs=1e-4)


def expected_gain(side: mp.mpf, spot: mp.mpf, level: mp.mpf, q: mp.mpf, r: mp.mpf, t: mp.mpf, vol: mp.mpf) -> mp.mpf:
    """The undiscounted expectation of what the extremum lies beyond `level`: its tail, integrated."""
    nu, s = side * (r - q - vol * vol / 2), vol * mp.sqrt(t)

    def beyond(x: mp.mpf) -> mp.mpf:
        """The probability that side ln(extremum / spot) > x ≥ 0 (Harrison, Brownian Motion, 1985, page 14)."""
        return mp.ncdf((nu * t - x) / s) + mp.exp(2 * nu * x / vol**2) * mp.ncdf((-x - nu * t) / s)

    low = side * mp.log(level / spot)
    high = low + abs(nu) * t + 14 * s + (s * s if side > 0 else 0)
    points = [low + (high - low) * n / 8 for n in range(9)]
    return integral(lambda x: spot * mp.exp(side * x) * beyond(x), points)


@at_many_digits
def exact_floating(
    right: mp.mpf, spot: mp.mpf, extremum: mp.mpf, q: mp.mpf, r: mp.mpf, t: mp.mpf, vol: mp.mpf
) -> mp.mpf:
    held = right * (spot * mp.exp((r - q) * t) - extremum)
    return mp.exp(-r * t) * (held + expected_gain(-right, spot, extremum, q, r, t, vol))


@at_many_digits
def exact_fixed(
    right: mp.mpf, spot: mp.mpf, strike: mp.mpf, extremum: mp.mpf, q: mp.mpf, r: mp.mpf, t: mp.mpf, vol: mp.mpf
) -> mp.mpf:
    level = max(extremum, strike) if right > 0 else min(extremum, strike)
    return mp.exp(-r * t) * (right * (level - strike) + expected_gain(right, spot, level, q, r, t, vol))


FLOATING = ("right", "spot", "extremum_so_far", "q", "r", "t_years", "vol")
FIXED = ("right", "spot", "strike", "extremum_so_far", "q", "r", "t_years", "vol")
MARKETS = [
    (0.0, 0.1, 0.5, 0.1),
    (0.03, 0.03, 1.0, 0.3),
    (0.03, 0.0300001, 1.0, 0.3),
    (0.036, 0.03, 1.0, 0.3),
    (0.03, 0.044, 0.25, 0.3),
    (0.4, -0.2, 2.0, 0.15),
    (0.0, 0.02, 4.0, 1.5),
]


@pytest.mark.parametrize("right", [1.0, -1.0])
@pytest.mark.parametrize("market", MARKETS)
def test_prices_are_those_of_the_extremum(right: float, market: tuple[float, ...]) -> None:
    """Zero and small carries divide by nothing, and both signs of it and both extrema have their own branches."""
    for away in (0.0, 0.05, 0.4):
        row = (right, 100.0, 100.0 * float(np.exp(-right * away)), *market)
        found = lookback_floating_price(**dict(zip(FLOATING, row, strict=True)))[0]
        assert abs(found - exact_floating(*row)) < 1e-11 * 100.0, row
        row = (right, 100.0, 97.0, 100.0 * float(np.exp(right * away)), *market)
        found = lookback_fixed_price(**dict(zip(FIXED, row, strict=True)))[0]
        assert abs(found - exact_fixed(*row)) < 1e-11 * 100.0, row


def test_the_price_is_smooth_through_zero_carry() -> None:
    """A jump where one form hands over to another would be a jump in somebody's margin."""
    carry = np.linspace(-0.05, 0.05, 2001)
    for right in (1.0, -1.0):
        for extremum in (100.0, 100.0 - 20.0 * right):
            prices = lookback_floating_price(
                right=right, spot=100.0, extremum_so_far=extremum, q=0.05 - carry, r=0.05, t_years=1.0, vol=0.4
            )
            assert abs(np.diff(prices, 3)).max() < 1e-8


BASE = {"right": 1.0, "spot": 100.0, "q": 0.02, "r": 0.05, "t_years": 1.0, "vol": 0.3}


def test_no_extremum_is_the_spot_and_a_spot_beyond_is_the_new_one() -> None:
    """The spot is part of the path: an extremum inside it is out of date."""
    for right, inside, outside in ((1.0, 110.0, 90.0), (-1.0, 90.0, 110.0)):
        base = {**BASE, "right": right}
        floating = lookback_floating_price(**{**base, "extremum_so_far": [0.0, 100.0, inside, outside]})
        assert floating[0] == floating[1] == floating[2] < floating[3]
        fixed = lookback_fixed_price(**{**base, "strike": 100.0, "extremum_so_far": [0.0, 100.0, outside, inside]})
        assert fixed[0] == fixed[1] == fixed[2] < fixed[3]


def test_without_time_or_volatility_the_path_is_certain() -> None:
    """At expiry the extremum is what it is; without volatility the forward makes it."""
    now = {**BASE, "t_years": 0.0, "extremum_so_far": 90.0}
    assert lookback_floating_price(**now)[0] == 10.0
    assert lookback_fixed_price(**{**now, "extremum_so_far": 110.0, "strike": 95.0})[0] == 15.0
    still = {**BASE, "vol": [0.0, 1e-7], "extremum_so_far": 0.0}
    risen = 100.0 * np.exp(-0.02) - 100.0 * np.exp(-0.05)
    assert np.allclose(lookback_floating_price(**still), risen, rtol=1e-7)
    assert np.allclose(lookback_floating_price(**{**still, "right": -1.0}), 0.0, atol=1e-5)
    assert np.allclose(lookback_fixed_price(**{**still, "strike": 100.0}), risen, rtol=1e-7)


def test_no_corner_of_the_ranges_gives_what_is_not_a_price() -> None:
    """Where drift, time and volatility are extreme, exponents must not leave their range."""
    grid = np.meshgrid(
        [1.0, -1.0], [1e-9, 100.0, 1e12], [1e-9, 99.0, 1e12], [0.0, 1e-9, 101.0, 1e12], [-1.0, 0.03, 5.0],
        [-1.0, 0.03, 5.0], [0.0, 1e-6, 1.0, 100.0], [0.0, 1e-7, 0.01, 0.3, 10.0],
    )  # fmt: skip
    rows = {name: each.ravel() for name, each in zip(FIXED, grid, strict=True)}
    fixed = lookback_fixed_price(**rows)
    floating = lookback_floating_price(**{name: rows[name] for name in FLOATING})
    for prices in (fixed, floating):
        assert np.isfinite(prices).all()
        assert (prices >= 0.0).all()


@pytest.mark.parametrize("right", [1.0, -1.0])
def test_greeks_are_the_derivatives_of_the_exact_price(right: float) -> None:
    """Differences step over the extremum, where only the smooth continuation has the right slope."""
    floating = [right, 100.0, 100.0 - 8.0 * right, 0.02, 0.05, 0.75, 0.3]
    fixed = [right, 100.0, 103.0, 100.0, 0.05, 0.05, 0.75, 0.3]
    for greeks, exact, names, row in (
        (lookback_floating_greeks, exact_floating, FLOATING, floating),
        (lookback_fixed_greeks, exact_fixed, FIXED, fixed),
    ):
        found = greeks(**dict(zip(names, row, strict=True)))

        def slope(
            name: str, h: float, exact: Any = exact, names: tuple[str, ...] = names, row: list[float] = row
        ) -> float:
            place = names.index(name)
            moved = [exact(*row[:place], row[place] + n * h, *row[place + 1 :]) for n in (1, -1, 2, -2)]
            return (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * h)

        assert found.vega[0] == pytest.approx(slope("vol", 1e-3), rel=1e-7)
        assert found.rho[0] == pytest.approx(slope("r", 1e-3), rel=1e-7)
        assert found.theta[0] == pytest.approx(-slope("t_years", 1e-3), rel=1e-6)
        if greeks is lookback_floating_greeks:
            assert found.delta[0] == pytest.approx(slope("spot", 0.05), rel=1e-7)


@pytest.mark.parametrize("fault", [{"extremum_so_far": -1.0}, {"vol": 11.0}, {"right": 0.0}])
def test_what_is_no_lookback_is_refused(fault: dict[str, float]) -> None:
    """An extremum below zero is a mistake in a file."""
    with pytest.raises(Rejected, match=r"it must be from"):
        lookback_floating_price(**{**BASE, "extremum_so_far": 90.0, **fault})


def test_greeks_of_a_small_volatility_are_numbers() -> None:
    """A spot at its extremum is turned back within vol² / 2 (r - q): a wider step through it overflows."""
    base = {"right": 1.0, "spot": 100.0, "extremum_so_far": 0.0, "q": 0.0, "r": 0.05, "t_years": 1.0}
    for vol in (1e-9, 1e-6, 1e-4, 3e-3):
        found = lookback_floating_greeks(**base, vol=vol)
        assert all(np.isfinite(each).all() for each in found.columns())
        assert found.price == lookback_floating_price(**base, vol=vol)
    assert abs(found.delta[0] - found.price[0] / 100.0) < 1e-7, "the price of a fresh one is a multiple of the spot"
    thin = lookback_floating_greeks(**base, vol=1e-4)
    assert [thin.delta[0], thin.gamma[0], thin.vega[0]] == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)
