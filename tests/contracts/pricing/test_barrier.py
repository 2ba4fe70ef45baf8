"""Single barriers against published values, against quadrature of the killed density, and at their edges."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from contracts.pricing.barrier import barrier_greeks, barrier_price
from genesis.errors import Rejected
from tests.contracts.pricing.reference import at_many_digits, between, integral, normal_density, payoff

KINDS = {"down_out": (-1.0, -1.0), "down_in": (-1.0, 1.0), "up_out": (1.0, -1.0), "up_in": (1.0, 1.0)}

HAUG = [
    ("down_out", 1.0, 95.0, 0.25, (9.0246, 6.7924, 4.8759)),
    ("down_out", 1.0, 100.0, 0.25, (3.0000, 3.0000, 3.0000)),
    ("up_out", 1.0, 105.0, 0.25, (2.6789, 2.3580, 2.3453)),
    ("down_in", 1.0, 95.0, 0.25, (7.7627, 4.0109, 2.0576)),
    ("down_in", 1.0, 100.0, 0.25, (13.8333, 7.8494, 3.9795)),
    ("up_in", 1.0, 105.0, 0.25, (14.1112, 8.4482, 4.5910)),
    ("down_out", 1.0, 95.0, 0.30, (8.8334, 7.0285, 5.4137)),
    ("up_out", 1.0, 105.0, 0.30, (2.6341, 2.4389, 2.4315)),
    ("down_in", 1.0, 95.0, 0.30, (9.0093, 5.1370, 2.8517)),
    ("down_in", 1.0, 100.0, 0.30, (14.8816, 9.2045, 5.3043)),
    ("up_in", 1.0, 105.0, 0.30, (15.2098, 9.7278, 5.8350)),
    ("down_out", -1.0, 95.0, 0.25, (2.2798, 2.2947, 2.6252)),
    ("up_out", -1.0, 105.0, 0.25, (3.7760, 5.4932, 7.5187)),
    ("down_in", -1.0, 95.0, 0.25, (2.9586, 6.5677, 11.9752)),
    ("down_in", -1.0, 100.0, 0.25, (2.2845, 5.9085, 11.6465)),
    ("up_in", -1.0, 105.0, 0.25, (1.4653, 3.3721, 7.0846)),
]


@pytest.mark.parametrize(("kind", "right", "barrier", "vol", "expected"), HAUG)
def test_published_values(kind: str, right: float, barrier: float, vol: float, expected: tuple[float, ...]) -> None:
    """Haug, The Complete Guide to Option Pricing Formulas (1998), page 72: rebate 3, strikes 90, 100, 110."""
    direction, knock = KINDS[kind]
    found = barrier_price(
        right=right, spot=100.0, strike=[90.0, 100.0, 110.0], barrier=barrier, direction=direction, knock=knock,
        rebate=3.0, q=0.04, r=0.08, t_years=0.5, vol=vol,
    )  # fmt: skip
    assert np.allclose(found, expected, rtol=0.0, atol=1e-4)


@at_many_digits
def exact(
    right: mp.mpf, spot: mp.mpf, strike: mp.mpf, barrier: mp.mpf, direction: mp.mpf, knock: mp.mpf, rebate: mp.mpf,
    q: mp.mpf, r: mp.mpf, t: mp.mpf, vol: mp.mpf,
) -> mp.mpf:  # fmt: skip
    """Payoff and rebate integrated over the density of what was not absorbed and of the time of the first touch."""
    s, level = vol * mp.sqrt(t), mp.log(barrier / spot)
    nu = r - q - vol * vol / 2
    far = 9 * s + abs(nu) * t + abs(level)
    kink = mp.log(strike / spot)

    def kept(x: mp.mpf) -> mp.mpf:
        image = mp.exp(2 * nu * level / vol**2) * normal_density(x - 2 * level - nu * t, s)
        return normal_density(x - nu * t, s) - image

    def touch(u: mp.mpf) -> mp.mpf:
        return abs(level) / u * normal_density(level - nu * u, vol * mp.sqrt(u)) * mp.exp(-r * u) if u else mp.mpf(0)

    alive = between(level, far, kink, 6) if direction < 0 else between(-far, level, kink, 6)
    discount = mp.exp(-r * t)
    out = discount * integral(lambda x: payoff(right, spot * mp.exp(x), strike) * kept(x), alive)
    if knock < 0:
        return out + rebate * integral(lambda v: touch(t * v**4) * 4 * t * v**3, [mp.mpf(n) / 4 for n in range(5)])
    vanilla = discount * integral(
        lambda x: payoff(right, spot * mp.exp(x), strike) * normal_density(x - nu * t, s), between(-far, far, kink, 8)
    )
    return vanilla - out + rebate * discount * integral(kept, alive)


CASES = [
    (100.0, 95.0, 8.0, 3.0, 0.04, 0.08, 0.5, 0.25),
    (100.0, 120.0, 30.0, 10.0, 0.09, 0.02, 3.0, 0.6),
    (50.0, 49.0, 0.5, 2.0, 0.3, 0.05, 1.0, 0.08),
    (50.0, 52.0, 0.25, 2.0, 0.01, 0.25, 1.0, 0.05),
    (1.25, 1.2, 0.1, 0.02, 0.03, -0.2, 1.5, 0.5),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("right", [1.0, -1.0])
def test_prices_are_those_of_the_killed_density(kind: str, right: float) -> None:
    """Each kind and order of strike and barrier has its own combination of terms; a wrong one prices another option."""
    direction, knock = KINDS[kind]
    for spot, strike, distance, *rest in CASES:
        for turned in (strike, spot * spot / strike):
            row = (right, spot, turned, spot + direction * distance, direction, knock, *rest)
            found = barrier_price(**dict(zip(_NAMES, row, strict=True)))[0]
            assert abs(found - exact(*row)) < 2e-10 * spot, row


_NAMES = ("right", "spot", "strike", "barrier", "direction", "knock", "rebate", "q", "r", "t_years", "vol")
BASE = {
    "right": 1.0, "spot": 100.0, "strike": 95.0, "barrier": 90.0, "direction": -1.0, "knock": -1.0, "rebate": 3.0,
    "q": 0.02, "r": 0.05, "t_years": 1.0, "vol": 0.3,
}  # fmt: skip


def test_a_touched_barrier_pays_the_rebate_or_is_the_vanilla() -> None:
    """A position that was not closed yet must not be priced as if nothing had happened."""
    out = barrier_price(**{**BASE, "spot": [90.0, 80.0], "rebate": 3.0})
    knocked_in = barrier_price(**{**BASE, "spot": [90.0, 80.0], "knock": 1.0})
    never = barrier_price(**{**BASE, "spot": [90.0, 80.0], "barrier": 1e-9, "rebate": 0.0})
    assert list(out) == [3.0, 3.0]
    assert np.allclose(knocked_in, never, rtol=1e-13)


def test_out_and_in_make_the_vanilla() -> None:
    """Whoever holds both holds the option, whatever the spot does."""
    for direction, barrier in ((-1.0, 88.0), (1.0, 115.0)):
        for right in (1.0, -1.0):
            both = [
                barrier_price(**{**BASE, "right": right, "strike": [80.0, 90.0, 100.0, 110.0, 125.0],
                                  "direction": direction, "barrier": barrier, "knock": knock, "rebate": 0.0})
                for knock in (-1.0, 1.0)
            ]  # fmt: skip
            far = 1e-9 if direction < 0 else 1e12
            vanilla = barrier_price(**{**BASE, "right": right, "strike": [80.0, 90.0, 100.0, 110.0, 125.0],
                                        "direction": direction, "barrier": far, "rebate": 0.0})  # fmt: skip
            assert np.allclose(both[0] + both[1], vanilla, rtol=0.0, atol=1e-12)


def test_without_time_the_price_is_what_is_paid() -> None:
    """At expiry nothing is uncertain: an untouched out pays its payoff, an untouched in its rebate."""
    now = {**BASE, "t_years": 0.0}
    assert barrier_price(**now)[0] == 5.0
    assert barrier_price(**{**now, "knock": 1.0})[0] == 3.0
    assert barrier_price(**{**now, "right": -1.0})[0] == 0.0


def test_without_volatility_the_forward_decides() -> None:
    """The limit is the certain path, which touches when the forward gets there, and the formula must run into it."""
    falling = {**BASE, "q": 0.25, "vol": [0.0, 1e-7, 1e-4]}
    rebate_at = np.log(90.0 / 100.0) / (0.05 - 0.25)
    assert np.allclose(barrier_price(**falling), 3.0 * np.exp(-0.05 * rebate_at), rtol=1e-6)
    rising = {**BASE, "vol": [0.0, 1e-7, 1e-4]}
    intrinsic = 100.0 * np.exp(-0.02) - 95.0 * np.exp(-0.05)
    assert np.allclose(barrier_price(**rising), intrinsic, rtol=1e-12)
    assert np.allclose(barrier_price(**{**rising, "knock": 1.0}), 3.0 * np.exp(-0.05), rtol=1e-12)


def test_no_corner_of_the_ranges_gives_what_is_not_a_price() -> None:
    """Weights overflow where volatility is small and the drift is not; a NaN would have other bits elsewhere."""
    grid = np.meshgrid(
        [1.0, -1.0], [1e-9, 100.0, 1e12], [1e-9, 101.0, 1e12], [1e-9, 99.0, 1e12], [-1.0, 1.0], [-1.0, 1.0],
        [0.0, 5.0], [-1.0, 0.03, 5.0], [-1.0, 0.03, 5.0], [0.0, 1e-6, 1.0, 100.0], [0.0, 1e-7, 0.01, 0.3, 10.0],
    )  # fmt: skip
    prices = barrier_price(**{name: each.ravel() for name, each in zip(_NAMES, grid, strict=True)})
    assert np.isfinite(prices).all()
    assert (prices >= 0.0).all()


def test_greeks_are_the_derivatives_of_the_exact_price() -> None:
    """Hedges are read off them; theta comes from the pricing equation, so it is held against time itself."""
    for kind, right in (("down_out", 1.0), ("up_in", -1.0)):
        direction, knock = KINDS[kind]
        row = [right, 100.0, 98.0, 100.0 + 9.0 * direction, direction, knock, 3.0, 0.02, 0.05, 0.75, 0.3]
        found = barrier_greeks(**dict(zip(_NAMES, row, strict=True)))

        def slope(place: int, row: list[float] = row) -> float:
            h = 1e-3 * row[place]
            moved = [exact(*row[:place], row[place] + n * h, *row[place + 1 :]) for n in (1, -1, 2, -2)]
            return (8 * (moved[0] - moved[1]) - (moved[2] - moved[3])) / (12 * h)

        assert found.delta[0] == pytest.approx(slope(1), rel=1e-7)
        assert found.vega[0] == pytest.approx(slope(10), rel=1e-7)
        assert found.rho[0] == pytest.approx(slope(8), rel=1e-7)
        assert found.theta[0] == pytest.approx(-slope(9), rel=1e-6)
        above, below = (exact(*row[:1], 100.0 + h, *row[2:]) for h in (0.125, -0.125))
        assert found.gamma[0] == pytest.approx((above + below - 2 * exact(*row)) / 0.125**2, rel=1e-4)


def test_a_settled_row_has_no_greeks() -> None:
    """What is paid now moves with nothing."""
    greeks = barrier_greeks(**{**BASE, "spot": 85.0})
    assert (greeks.price[0], greeks.delta[0], greeks.gamma[0], greeks.vega[0], greeks.theta[0], greeks.rho[0]) == (
        3.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    )  # fmt: skip


@pytest.mark.parametrize("fault", [{"knock": 0.0}, {"direction": 0.5}, {"rebate": -1.0}, {"barrier": 0.0}])
def test_what_is_no_barrier_is_refused(fault: dict[str, float]) -> None:
    """A sign between out and in would price a mixture."""
    with pytest.raises(Rejected, match=r"it must be from"):
        barrier_price(**{**BASE, **fault})


def test_greeks_of_a_small_volatility_beside_the_barrier_are_numbers() -> None:
    """A difference taken through the barrier overflowed, and what is no number is no JSON."""
    for t_years in (0.0, 0.5):
        row = {"right": 1.0, "strike": 90.0, "barrier": 95.0, "direction": -1.0, "knock": -1.0, "rebate": 3.0}
        row |= {"spot": 95.0001, "q": -1.0, "r": 0.03, "t_years": t_years, "vol": 1e-6}
        found = barrier_greeks(**row)
        assert np.isfinite(np.array(found.columns())).all()
        assert found.price == barrier_price(**row)
        assert found.delta[0] == pytest.approx(np.exp(t_years), rel=1e-6)
