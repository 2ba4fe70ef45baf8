"""Averages against published values, against nested quadrature, and at the edges of their schedules."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

from contracts.pricing.asian import (
    asian_arithmetic_greeks,
    asian_arithmetic_price,
    asian_geometric_greeks,
    asian_geometric_price,
)
from genesis.errors import Rejected
from tests.contracts.pricing.reference import at_many_digits, integral, normal_density

BASE = {
    "right": 1.0, "spot": 100.0, "strike": 100.0, "q": 0.02, "r": 0.05, "t_years": 1.0, "vol": 0.3, "fixings": 4.0,
    "first_fixing_years": 0.25, "average_so_far": 0.0,
}  # fmt: skip

LINETSKY = [
    (0.02, 0.10, 1.0, 2.0, 0.0559860415),
    (0.18, 0.30, 1.0, 2.0, 0.2183875466),
    (0.0125, 0.25, 2.0, 2.0, 0.1722687410),
    (0.05, 0.50, 1.0, 1.9, 0.1931737903),
    (0.05, 0.50, 1.0, 2.0, 0.2464156905),
    (0.05, 0.50, 1.0, 2.1, 0.3062203648),
    (0.05, 0.50, 2.0, 2.0, 0.3500952190),
]


@pytest.mark.parametrize(("r", "vol", "t_years", "spot", "expected"), LINETSKY)
def test_published_continuous_averages(r: float, vol: float, t_years: float, spot: float, expected: float) -> None:
    """Linetsky, Spectral Expansions for Asian Options, Operations Research 52 (2004), table 3: strike 2."""
    row = {"spot": spot, "strike": 2.0, "q": 0.0, "r": r, "t_years": t_years, "vol": vol, "fixings": 0.0}
    found = asian_arithmetic_price(**{**BASE, **row, "first_fixing_years": 0.0})
    assert found[0] == pytest.approx(expected, abs=2e-8)


def test_published_geometric_averages() -> None:
    """Haug, Option Pricing Formulas (1998), page 97, and Clewlow and Strickland (1998), page 122."""
    continuous = {**BASE, "right": -1.0, "spot": 80.0, "strike": 85.0, "q": -0.03, "t_years": 0.25, "vol": 0.2}
    found = asian_geometric_price(**{**continuous, "fixings": 0.0, "first_fixing_years": 0.0})
    assert found[0] == pytest.approx(4.6922, abs=1e-4)
    discrete = {**BASE, "q": 0.03, "r": 0.06, "vol": 0.2, "fixings": 10.0, "first_fixing_years": 0.1}
    assert asian_geometric_price(**discrete)[0] == pytest.approx(5.3425606635, abs=1e-9)


LEVY = [
    (2.0, 1.3942835683),
    (4.0, 1.5852442983),
    (8.0, 1.66970673),
    (12.0, 1.6980019214),
    (52.0, 1.7401553533),
    (100.0, 1.7478303712),
    (250.0, 1.7490291943),
    (500.0, 1.7515113291),
    (1000.0, 1.7537344885),
]


@pytest.mark.parametrize(("fixings", "expected"), LEVY)
def test_published_discrete_averages(fixings: float, expected: float) -> None:
    """Levy in Clewlow and Strickland, Exotic Options: The State of the Art (1997): simulated, so to 2.5e-3."""
    row = {"right": -1.0, "spot": 90.0, "strike": 87.0, "q": 0.06, "r": 0.025, "t_years": 11 / 12, "vol": 0.13}
    found = asian_arithmetic_price(**{**BASE, **row, "fixings": fixings, "first_fixing_years": 0.0})
    assert found[0] == pytest.approx(expected, abs=2.5e-3)


@at_many_digits
def of_two(
    right: mp.mpf, spot: mp.mpf, strike: mp.mpf, q: mp.mpf, r: mp.mpf, vol: mp.mpf, first: mp.mpf, spacing: mp.mpf
) -> mp.mpf:
    """The option on the sum of the spot at two times, integrated over the growth between them."""
    nu, step = r - q - vol * vol / 2, vol * mp.sqrt(spacing)
    forward, s = spot * mp.exp((r - q) * first), vol * mp.sqrt(first)

    def black(level: mp.mpf) -> mp.mpf:
        d = mp.log(forward * level / strike) / s + s / 2
        return right * (forward * level * mp.ncdf(right * d) - strike * mp.ncdf(right * (d - s)))

    places = [step * (1.5 * n - 9) for n in range(14)]
    value = integral(lambda x: normal_density(x, step) * black(1 + mp.exp(x + nu * spacing)), places)
    return mp.exp(-r * (first + spacing)) * value


def of_three(
    right: float, spot: float, strike: float, q: float, r: float, vol: float, first: float, spacing: float
) -> float:
    """The same at three times: the trapezoidal rule over both growths, a tenth of a deviation apart."""
    nu, step = r - q - vol * vol / 2, vol * spacing**0.5
    forward, s = spot * np.exp((r - q) * first), vol * first**0.5
    z = np.arange(-95, 96) / 10.0
    growth = np.exp(step * z + nu * spacing)
    level = forward * (1.0 + growth[:, None] * (1.0 + growth[None, :]))
    cdf = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2.0)))
    d = np.log(level / strike) / s + s / 2
    value = right * (level * cdf(right * d) - strike * cdf(right * (d - s)))
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) / 10.0
    return float(np.exp(-r * (first + 2 * spacing)) * (density @ value @ density))


@pytest.mark.parametrize("right", [1.0, -1.0])
@pytest.mark.parametrize(
    ("vol", "first", "spacing", "points"),
    [
        (0.3, 0.5, 0.5, 2.0),
        (0.3, 0.05, 0.95, 2.0),
        (0.05, 0.0004, 1.0, 2.0),
        (1.2, 0.6, 1.0, 2.0),
        (2.0, 1.0, 1.0, 2.0),
        (1.5, 0.02, 0.98, 2.0),
        (0.5, 0.3, 0.25, 3.0),
        (0.5, 0.1, 0.45, 3.0),
        (0.3, 0.12, 0.8, 2.0),
        (0.3, 0.08, 0.85, 2.0),
        (0.3, 0.1, 0.9, 3.0),
    ],
)
def test_few_fixings_are_exact(right: float, vol: float, first: float, spacing: float, points: float) -> None:
    """The recursion is the same for any number; two and three fixings show each of its parts against quadrature."""
    for strike in (75.0 * points, 110.0 * points):
        row = {"right": right, "strike": strike / points, "vol": vol, "fixings": points, "first_fixing_years": first}
        found = asian_arithmetic_price(**{**BASE, **row, "t_years": first + spacing * (points - 1.0)})[0]
        exact = of_two if points == 2.0 else of_three
        expected = exact(right, 100.0, strike, 0.02, 0.05, vol, first, spacing) / points
        assert abs(found - expected) < 5e-8, strike


def test_many_fixings_run_into_few_and_into_the_continuous_average() -> None:
    """Twenty-five are summed, twenty-six extrapolated: the price must not show where one hands over to the other."""
    for vol, allowed in ((0.1, 1e-7), (0.5, 1e-6), (1.0, 2e-5)):
        fixings = np.arange(18.0, 36.0)
        prices = asian_arithmetic_price(**{**BASE, "vol": vol, "fixings": fixings, "first_fixing_years": 1.0 / fixings})
        smooth = np.polynomial.Polynomial.fit(1.0 / fixings, prices, 5)
        assert abs(prices - smooth(1.0 / fixings)).max() < allowed
        many = asian_arithmetic_price(**{**BASE, "vol": vol, "fixings": 10_000.0, "first_fixing_years": 1e-4})[0]
        endless = asian_arithmetic_price(**{**BASE, "vol": vol, "fixings": 0.0, "first_fixing_years": 0.0})[0]
        assert abs(many - endless) < 0.006 * vol


def test_parity_holds_to_the_last_digits() -> None:
    """A call less a put is the forward of the average: whatever the model, nobody may disagree about that."""
    fixings = np.array([2.0, 5.0, 25.0, 26.0, 700.0])
    rows = {
        **BASE,
        "fixings": fixings,
        "first_fixing_years": 1.0 / fixings,
        "strike": [60.0, 99.0, 101.0, 140.0, 100.0],
    }
    both = [asian_arithmetic_price(**{**rows, "right": right}) for right in (1.0, -1.0)]
    means = [np.exp(0.03 * np.arange(1.0, n + 1.0) / n).mean() for n in fixings]
    expected = np.exp(-0.05) * (100.0 * np.array(means) - rows["strike"])
    assert np.allclose(both[0] - both[1], expected, rtol=0.0, atol=1e-11)


def test_the_arithmetic_average_lies_above_the_geometric_one() -> None:
    """The inequality of the means holds path by path."""
    for fixings, first in ((12.0, 1 / 12), (300.0, 1 / 300), (0.0, 0.0), (12.0, -0.5)):
        row = {**BASE, "fixings": fixings, "first_fixing_years": first, "strike": np.arange(60.0, 150.0, 10.0)}
        row["average_so_far"] = 103.0 if first <= 0.0 else 0.0
        assert (asian_arithmetic_price(**row) >= asian_geometric_price(**row)).all()


def test_past_fixings_shift_the_strike() -> None:
    """Five of twelve months have been fixed: the rest is an average of seven with what is left of the strike."""
    for model, strike in (
        (asian_arithmetic_price, (12.0 * 100.0 - 5.0 * 104.0) / 7.0),
        (asian_geometric_price, (100.0**12 / 104.0**5) ** (1 / 7)),
    ):
        past = {**BASE, "fixings": 12.0, "first_fixing_years": -4 / 12, "t_years": 7 / 12, "average_so_far": 104.0}
        rest = {**BASE, "fixings": 7.0, "first_fixing_years": 1 / 12, "t_years": 7 / 12, "strike": strike}
        if model is asian_arithmetic_price:
            assert model(**past)[0] == pytest.approx(model(**rest)[0] * 7.0 / 12.0, rel=1e-12)
        else:
            fallen = asian_geometric_price(**{**past, "average_so_far": [1e-9, 1e12]})
            assert fallen[0] < 1e-6 < model(**past)[0] < fallen[1]


def test_an_average_that_is_decided_is_what_it_is() -> None:
    """Where the past alone exceeds the strike, a call is the forward of the average, and a put nothing."""
    decided = {**BASE, "fixings": [10.0, 0.0], "first_fixing_years": [-8.0, -9.0], "average_so_far": 200.0}
    assert list(asian_arithmetic_price(**{**decided, "right": -1.0})) == [0.0, 0.0]
    calls = asian_arithmetic_price(**decided)
    discount = np.exp(-0.05)
    assert calls[0] == pytest.approx(discount * (0.9 * 200.0 + 0.1 * 100.0 * np.exp(0.03) - 100.0), rel=1e-13)
    assert calls[1] == pytest.approx(discount * (180.0 + 10.0 * (np.exp(0.03) - 1.0) / 0.03 - 100.0), rel=1e-13)


def test_what_is_fixed_now_is_past() -> None:
    """At a fixing the spot and the average so far must not both count for it; an unknown average is the spot."""
    now = {**BASE, "fixings": 4.0, "first_fixing_years": 0.0, "t_years": 0.75}
    unknown, spot, other = asian_arithmetic_price(**{**now, "average_so_far": [0.0, 100.0, 120.0]})
    assert unknown == spot < other
    later = {**BASE, "fixings": 3.0, "first_fixing_years": 0.25, "t_years": 0.75}
    assert spot == pytest.approx(0.75 * asian_arithmetic_price(**later)[0], rel=1e-12)


@pytest.mark.parametrize("greeks", [asian_arithmetic_greeks, asian_geometric_greeks])
def test_greeks_at_a_fixing_are_those_of_the_moment_before(greeks: object) -> None:
    """Until the average is given the spot that is fixed now may still move, as a holder who hedges must count it."""
    row = {**BASE, "fixings": 4.0, "t_years": 0.75, "strike": 102.0}
    now, soon = (greeks(**row | {"first_fixing_years": first}) for first in (0.0, 1e-6))  # type: ignore[operator]
    for name in ("delta", "gamma", "vega", "theta", "rho"):
        assert getattr(now, name)[0] == pytest.approx(getattr(soon, name)[0], rel=1e-4), name
    known = greeks(**row | {"first_fixing_years": 0.0, "average_so_far": 100.0})  # type: ignore[operator]
    assert known.price == now.price
    assert known.delta[0] == pytest.approx(0.75 * now.delta[0], rel=0.05)


def test_one_fixing_is_the_vanilla_and_none_in_no_time_too() -> None:
    """The smallest averages are known otherwise: here d1 is 0.25 and d2 -0.05."""
    vanilla = float(100 * mp.exp(-0.02) * mp.ncdf(0.25) - 100 * mp.exp(-0.05) * mp.ncdf(-0.05))
    single = {**BASE, "fixings": [1.0, 1.0, 0.0, 5.0], "first_fixing_years": [1.0, 0.3, 1.0, 1.0]}
    for model in (asian_arithmetic_price, asian_geometric_price):
        assert np.allclose(model(**single), vanilla, rtol=1e-12)
        ended = {**single, "t_years": 0.0, "first_fixing_years": [0.0, -1.0, -1.0, -1.0], "average_so_far": 107.0}
        assert np.allclose(model(**ended), 7.0, rtol=1e-13)


def test_without_volatility_the_forward_decides() -> None:
    """The limit is the average of the forward, and small volatilities must run into it."""
    still = {**BASE, "vol": [0.0, 1e-9, 1e-5], "fixings": 12.0, "first_fixing_years": 1 / 12, "strike": 95.0}
    mean = 100.0 * np.exp(0.03 * np.arange(1.0, 13.0) / 12.0).mean()
    assert np.allclose(asian_arithmetic_price(**still), np.exp(-0.05) * (mean - 95.0), rtol=1e-12)
    at_the_mean = {**still, "strike": mean, "vol": np.linspace(0.5e-4, 2e-4, 31)}
    assert abs(np.diff(asian_arithmetic_price(**at_the_mean), 2)).max() < 1e-9


def test_no_corner_of_the_ranges_gives_what_is_not_a_price() -> None:
    """A grid that is too small, or a mass that leaves it, would show here first."""
    grid = np.meshgrid(
        [1.0, -1.0], [1e-9, 100.0, 1e12], [1e-9, 101.0, 1e12], [-1.0, 0.03, 5.0], [-1.0, 5.0],
        [0.0, 1e-6, 1.0, 100.0], [0.0, 1e-7, 0.01, 0.5], [0.0, 2.0, 9_999.0], [-100.0, 0.0], [0.0, 1e12],
    )  # fmt: skip
    rows = {name: each.ravel() for name, each in zip(BASE, grid, strict=True)}
    for model in (asian_arithmetic_price, asian_geometric_price):
        prices = model(**rows)
        assert np.isfinite(prices).all()
        assert (prices >= 0.0).all()


def test_prices_at_extreme_volatility_stay_between_their_bounds() -> None:
    """At vol √t of 5 the average is nearly never near its mean; a mass lost in the tails would lose value."""
    for fixings, first in ((2.0, 0.5), (2.0, 0.001), (20.0, 0.05), (500.0, 0.002), (0.0, 0.0)):
        row = {**BASE, "q": 0.0, "r": 0.0, "vol": 5.0, "fixings": fixings, "first_fixing_years": first}
        calls = asian_arithmetic_price(**{**row, "strike": [1e-6, 1.0, 50.0, 100.0, 400.0, 1e4]})
        assert (np.diff(calls) < 0.0).all()
        assert 100.0 - 1e-4 < calls[0] <= 100.0
        assert (np.diff(calls) / np.diff([1e-6, 1.0, 50.0, 100.0, 400.0, 1e4]) >= -1.0 - 1e-9).all()


@pytest.mark.parametrize(
    ("fixings", "first"), [(4.0, 0.25), (3.0, 0.02), (60.0, 0.05), (0.0, 0.0), (0.0, 0.1), (12.0, -0.3)]
)
def test_greeks_agree_with_coarse_differences(fixings: float, first: float) -> None:
    """The helper's steps are small; steps a hundred times as large must see the same slopes, and time the theta."""
    row = {**BASE, "fixings": fixings, "first_fixing_years": first, "strike": 98.0}
    row["average_so_far"] = 101.0 if first <= 0.0 else 0.0
    for prices, greeks in (
        (asian_arithmetic_price, asian_arithmetic_greeks),
        (asian_geometric_price, asian_geometric_greeks),
    ):
        found = greeks(**row)

        def moved(prices: object = prices, **change: float) -> float:
            return float(prices(**{**row, **change})[0])  # type: ignore[operator]

        up, down, centre = moved(spot=100.25), moved(spot=99.75), moved()
        assert found.delta[0] == pytest.approx(2.0 * (up - down), abs=1e-5)
        assert found.gamma[0] == pytest.approx((up + down - 2.0 * centre) * 16.0, rel=1e-3)
        assert found.vega[0] == pytest.approx((moved(vol=0.301) - moved(vol=0.299)) / 0.002, rel=1e-4)
        assert found.rho[0] == pytest.approx((moved(r=0.051) - moved(r=0.049)) / 0.002, rel=1e-4)
        if fixings > 0.0:
            day = 1e-3
            later, sooner = (moved(t_years=1.0 - h, first_fixing_years=first - h) for h in (day, -day))
            assert found.theta[0] == pytest.approx((later - sooner) / (2.0 * day), rel=1e-3)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"fixings": 2.5}, "whole number"),
        ({"fixings": 10_001.0}, "must be from 0 to 10000"),
        ({"first_fixing_years": 1.5}, "must not come after"),
        ({"vol": 6.0}, "at most 25"),
        ({"average_so_far": -1.0}, "must be from"),
        ({"average_so_far": 150.0}, "average_so_far has a meaning where first_fixing_years is at or below 0"),
        ({"average_so_far": 150.0, "fixings": 0.0, "first_fixing_years": 1e-6}, "average_so_far has a meaning where"),
        ({"average_so_far": 150.0, "fixings": 1.0, "first_fixing_years": -1.0}, "average_so_far has a meaning where"),
    ],
)
def test_what_is_no_average_is_refused(fault: dict[str, float], said: str) -> None:
    """A schedule that runs backwards, or a volatility outside the stated error, must not give a number."""
    with pytest.raises(Rejected, match=said):
        asian_arithmetic_price(**{**BASE, **fault})
