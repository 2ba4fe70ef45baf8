"""Double barriers against published values, against quadrature of the absorbed density, and where two series meet."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest

from contracts.pricing.barrier import barrier_price
from contracts.pricing.double_barrier import double_barrier_greeks, double_barrier_price
from contracts.pricing.double_barrier_kernel import part_by_eigenfunctions, part_by_images
from genesis.errors import Rejected
from tests.contracts.pricing.reference import at_many_digits, between, integral, normal_density, payoff

NAMES = ("right", "spot", "strike", "barrier", "barrier_high", "knock", "rebate", "q", "r", "t_years", "vol")
BASE = {
    "right": 1.0, "spot": 100.0, "strike": 97.0, "barrier": 85.0, "barrier_high": 120.0, "knock": -1.0, "rebate": 3.0,
    "q": 0.02, "r": 0.05, "t_years": 1.0, "vol": 0.2,
}  # fmt: skip

HAUG = [
    (50.0, 150.0, (4.3515, 6.1644, 7.0373)),
    (60.0, 140.0, (4.3505, 5.8500, 5.7726)),
    (70.0, 130.0, (4.3139, 4.8293, 3.7765)),
    (80.0, 120.0, (3.7516, 2.6387, 1.4903)),
    (90.0, 110.0, (1.2055, 0.3098, 0.0477)),
]


@pytest.mark.parametrize(("barrier", "barrier_high", "expected"), HAUG)
def test_published_values(barrier: float, barrier_high: float, expected: tuple[float, ...]) -> None:
    """Haug, 2nd edition, section 4.17.3, the table of knock-out calls: flat barriers, a quarter of a year, r 0.1."""
    found = double_barrier_price(
        right=1.0, spot=100.0, strike=100.0, barrier=barrier, barrier_high=barrier_high, knock=-1.0, rebate=0.0,
        q=0.0, r=0.1, t_years=0.25, vol=[0.15, 0.25, 0.35],
    )  # fmt: skip
    assert np.allclose(found, expected, rtol=0.0, atol=1e-4)


@at_many_digits
def exact(
    right: mp.mpf, spot: mp.mpf, strike: mp.mpf, barrier: mp.mpf, barrier_high: mp.mpf, knock: mp.mpf, rebate: mp.mpf,
    q: mp.mpf, r: mp.mpf, t: mp.mpf, vol: mp.mpf,
) -> mp.mpf:  # fmt: skip
    """Payoff and rebate over the density of what was not absorbed and of the times of absorption; 17 images."""
    low, high, nu = mp.log(barrier / spot), mp.log(barrier_high / spot), r - q - vol * vol / 2
    width, s = high - low, vol * mp.sqrt(t)
    images = range(-8, 9)

    def kept(x: mp.mpf) -> mp.mpf:
        both = sum(
            normal_density(x - 2 * n * width, s) - normal_density(x - 2 * low - 2 * n * width, s) for n in images
        )
        return mp.exp(nu * x / vol**2 - nu * nu * t / (2 * vol**2)) * both

    def touch(u: mp.mpf) -> mp.mpf:
        drift, deviation = -nu * nu * u / (2 * vol**2) - r * u, vol * mp.sqrt(u)
        total = mp.mpf(0)
        for wall, distance in ((low, -low), (high, high)):
            flux = sum((distance + 2 * n * width) * normal_density(distance + 2 * n * width, deviation) for n in images)
            total += mp.exp(nu * wall / vol**2 + drift) * flux / u
        return total

    discount = mp.exp(-r * t)
    places = between(low, high, mp.log(strike / spot), 2)
    out = discount * integral(lambda x: payoff(right, spot * mp.exp(x), strike) * kept(x), places)
    if knock < 0:
        if not rebate:
            return out
        fifths = [mp.mpf(n) / 5 for n in range(6)]
        return out + rebate * integral(lambda v: touch(t * v**4) * 4 * t * v**3 if v else mp.mpf(0), fifths)
    far = 10 * s + abs(nu) * t
    vanilla = integral(
        lambda x: payoff(right, spot * mp.exp(x), strike) * normal_density(x - nu * t, s),
        between(-far, far, mp.log(strike / spot), 8),
    )
    return discount * vanilla - out + (rebate * discount * integral(kept, places) if rebate else 0)


CASES = [
    (97.0, 85.0, 120.0, 0.0, 0.02, 0.05, 1.0, 0.05),
    (104.0, 85.0, 120.0, 3.0, 0.02, 0.05, 1.0, 0.2),
    (80.0, 90.0, 103.0, 3.0, 0.12, -0.05, 0.5, 0.15),
    (99.0, 96.0, 104.0, 3.0, 0.0, -0.05, 0.5, 0.25),
    (135.0, 73.0, 109.0, 3.0, 0.03, 0.01, 0.2, 0.3),
    (115.0, 99.0, 140.0, 0.0, 0.0, 0.3, 2.0, 0.12),
    (100.0, 60.0, 160.0, 5.0, 0.0, 0.02, 3.0, 0.9),
]


@pytest.mark.parametrize("knock", [-1.0, 1.0])
@pytest.mark.parametrize("right", [1.0, -1.0])
def test_prices_are_those_of_the_absorbed_density(knock: float, right: float) -> None:
    """Small and large volatilities, drifts of both signs, strikes in the corridor and outside of it."""
    for strike, barrier, barrier_high, *rest in CASES:
        rebate = rest[0] if right > 0.0 else 0.0
        row = (right, 100.0, strike, barrier, barrier_high, knock, rebate, *rest[1:])
        found = double_barrier_price(**dict(zip(NAMES, row, strict=True)))[0]
        assert abs(found - exact(*row)) < (1e-7 if rest[2] < 0.0 else 1e-10), row


@pytest.mark.parametrize("place", [0.03, 0.5, 0.9])
@pytest.mark.parametrize("moved", [-2.0, -0.1, 0.0, 0.4, 3.0])
def test_both_series_are_the_same_function(place: float, moved: float) -> None:
    """About the switch both have all their digits, so that it does not matter on which side of it a price falls."""
    for width in (0.01, 0.5, 3.0):
        low, high = -place * width, (1.0 - place) * width
        for tau in (0.08, 0.1, 0.13):
            s, shift = width * tau**0.5, moved * width
            for begin, end in ((low, high), (low + 0.3 * width, high), (low, low + 0.6 * width)):
                images = part_by_images(low, high, begin, end, shift, s)
                functions = part_by_eigenfunctions(low, high, begin, end, shift, shift / (s * s), s)
                assert abs(images - functions) < 2e-13


def test_a_touched_barrier_pays_the_rebate_or_is_the_vanilla() -> None:
    """Either barrier ends an out and makes an in."""
    touched = {**BASE, "spot": [85.0, 80.0, 120.0, 130.0]}
    assert list(double_barrier_price(**touched)) == [3.0] * 4
    vanilla = double_barrier_price(**{**touched, "barrier": 1e-9, "barrier_high": 1e12, "rebate": 0.0})
    assert np.allclose(double_barrier_price(**{**touched, "knock": 1.0}), vanilla, rtol=1e-12)


def test_far_barriers_make_the_vanilla_and_one_far_barrier_a_single_one() -> None:
    """A corridor without walls is no corridor."""
    for right in (1.0, -1.0):
        row = {**BASE, "right": right}
        single = {name: row[name] for name in NAMES if name != "barrier_high"}
        for rebate in (0.0, 3.0):
            below = barrier_price(**{**single, "direction": -1.0, "rebate": rebate})
            found = double_barrier_price(**{**row, "barrier_high": 1e9, "rebate": rebate})
            assert np.allclose(found, below, rtol=0.0, atol=1e-8)


def test_without_time_or_volatility_the_path_is_certain() -> None:
    """What is paid follows from the forward alone, and small volatilities must run into it."""
    now = {**BASE, "t_years": 0.0}
    assert double_barrier_price(**now)[0] == 3.0
    assert double_barrier_price(**{**now, "knock": 1.0})[0] == 3.0
    assert double_barrier_price(**{**now, "rebate": 0.0, "right": -1.0})[0] == 0.0
    still = {**BASE, "vol": [0.0, 1e-7, 1e-4]}
    intrinsic = 100.0 * np.exp(-0.02) - 97.0 * np.exp(-0.05)
    assert np.allclose(double_barrier_price(**still), intrinsic, rtol=1e-11)
    rising = {**still, "r": 0.25}
    at = np.log(1.2) / 0.23
    assert np.allclose(double_barrier_price(**rising), 3.0 * np.exp(-0.25 * at), rtol=1e-7)


def test_no_corner_of_the_ranges_gives_what_is_not_a_price() -> None:
    """The narrowest and the widest corridors, with every drift and volatility."""
    grid = np.meshgrid(
        [1.0, -1.0], [1e-9, 100.0, 1e12], [1e-9, 101.0, 1e12], [1e-9, 99.9999, 90.0], [100.0001, 115.0, 1e12],
        [-1.0, 1.0], [0.0, 5.0], [-1.0, 0.03, 5.0], [-1.0, 0.03, 5.0], [0.0, 1e-6, 1.0, 100.0],
        [0.0, 1e-7, 0.01, 0.3, 10.0],
    )  # fmt: skip
    prices = double_barrier_price(**{name: each.ravel() for name, each in zip(NAMES, grid, strict=True)})
    assert np.isfinite(prices).all()
    assert (prices >= 0.0).all()


@pytest.mark.parametrize("vol", [0.05, 0.3])
def test_greeks_are_the_derivatives_of_the_exact_price(vol: float) -> None:
    """In a narrow corridor the price bends on the corridor's scale, not on the volatility's."""
    row = [1.0, 100.0, 97.0, 85.0, 120.0, -1.0, 0.0, 0.02, 0.05, 1.0, vol]
    found = double_barrier_greeks(**dict(zip(NAMES, row, strict=True)))

    def slope(name: str, h: float) -> Any:
        place = NAMES.index(name)
        moved = [exact(*row[:place], row[place] + n * h, *row[place + 1 :]) for n in (1, -1, 2, -2)]
        return pytest.approx((8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * h), rel=1e-6)

    assert found.delta[0] == slope("spot", 0.02)
    assert found.vega[0] == slope("vol", 1e-3 * vol)
    assert found.rho[0] == slope("r", 1e-4)
    assert -found.theta[0] == slope("t_years", 1e-3)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"barrier_high": 85.0}, "must be above barrier"),
        ({"barrier_high": 80.0}, "must be above barrier"),
        ({"knock": 0.0}, "must be from"),
    ],
)
def test_what_is_no_corridor_is_refused(fault: dict[str, float], said: str) -> None:
    """Barriers in the wrong order are a mistake in a file."""
    with pytest.raises(Rejected, match=said):
        double_barrier_price(**{**BASE, **fault})
