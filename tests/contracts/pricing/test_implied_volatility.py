"""Implied volatilities against those that exact prices were made with, and the prices that imply none."""

from __future__ import annotations

import time

import numpy as np
import pytest
from mpmath import mp, mpf

from contracts.pricing import implied_volatility, vanilla
from genesis.errors import Rejected
from tests.contracts.pricing import black

EPSILON = 2.0**-53


def condition(row: dict[str, float], price: mpf) -> float:
    """By how many units in its last place the volatility moves when every present value moves by one."""
    exact = {name: mpf(value) for name, value in row.items()}
    asset = exact["spot"] * mp.exp(-exact["q"] * exact["t_years"])
    cash = exact["strike"] * mp.exp(-exact["r"] * exact["t_years"])
    d1, _ = black.d1_d2(asset, cash, exact["vol"] * mp.sqrt(exact["t_years"]))
    vega = asset * mp.npdf(d1) * mp.sqrt(exact["t_years"])
    is_in_the_money = row["right"] * (asset - cash) > 0
    return float((asset + cash if is_in_the_money else price) / (vega * exact["vol"]))


@pytest.mark.parametrize(("seed", "deviations_max", "count"), [(1, 6.0, 700), (2, 30.0, 300), (3, 0.01, 300)])
def test_the_volatility_is_found_to_its_stated_error(seed: int, deviations_max: float, count: int) -> None:
    """A surface is fitted to it; from a day to ten years, 3 to 300 %, at the money and far in the wings."""
    rows = black.rows(seed, count, deviations_max)
    exact = [black.black_scholes(**{name: mpf(value) for name, value in row.items()}) for row in rows]
    given = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "vol"}
    found = implied_volatility.black_scholes_implied_volatility(**given, price=[float(each) for each in exact])
    errors = []
    for index, (row, price) in enumerate(zip(rows, exact, strict=True)):
        conditioned = condition(row, price)
        if index in found.offences:
            assert conditioned > 1e12 or price < 1e-270, (row, found.offences[index])
            continue
        error = abs(found.vol[index] / row["vol"] - 1.0)
        assert error < max(1e-12, 8 * EPSILON * conditioned), row
        errors += [error] if conditioned < 100.0 else []
    assert len(errors) > count / 3
    assert max(errors) < 1e-13


def test_black_76_finds_what_black_scholes_finds() -> None:
    """An option on a forward is one on a spot that yields what the rate takes."""
    rows = black.rows(4, 2000, deviations_max=3.0)
    given = {name: np.array([row[name] for row in rows]) for name in ("right", "strike", "r", "t_years", "vol")}
    forward = np.array([row["spot"] for row in rows])
    price = vanilla.black_76_price(forward=forward, **given)
    del given["vol"]
    found = implied_volatility.black_76_implied_volatility(forward=forward, price=price, **given)
    same = implied_volatility.black_scholes_implied_volatility(spot=forward, q=given["r"], price=price, **given)
    assert found.offences.keys() == same.offences.keys()
    usual = [index for index in range(2000) if index not in found.offences]
    assert len(usual) > 1900
    assert np.allclose(found.vol[usual], same.vol[usual], rtol=1e-12, atol=0.0)


REFUSED: tuple[tuple[dict[str, float], str], ...] = (
    ({"strike": 90.0, "price": 9.5}, r"price is 9\.5, below its intrinsic value 10\.0"),
    ({"strike": 90.0, "price": 10.0}, "within rounding of its intrinsic value 10.0: it identifies no volatility"),
    ({"strike": 90.0, "price": 10.000000000000002}, "within rounding of its intrinsic value"),
    ({"strike": 90.0, "price": 100.5}, r"price is 100\.5, above its bound 100\.0"),
    ({"strike": 90.0, "price": 100.0}, "within rounding of its bound 100.0: it identifies no volatility"),
    ({"strike": 110.0, "price": 0.0}, "within rounding of its intrinsic value 0.0: it identifies no volatility"),
    ({"strike": 110.0, "price": 1e-290}, "within rounding of its intrinsic value"),
    ({"strike": 110.0, "price": 110.0}, "above its bound 100.0"),
    ({"strike": 110.0, "price": 112.0, "right": -1.0}, "above its bound 110.0"),
)


@pytest.mark.parametrize(("changed", "why"), REFUSED)
def test_a_price_that_implies_no_volatility_is_refused_with_its_values(changed: dict[str, float], why: str) -> None:
    """A number for it would be noise that looks like a quote; the other rows keep theirs."""
    row = {"right": 1.0, "spot": 100.0, "q": 0.0, "r": 0.0, "t_years": 0.5} | changed
    given = {name: np.array([value, value]) for name, value in row.items()}
    given["price"][0] = max(row["right"] * (100.0 - row["strike"]), 0.0) + 5.0
    found = implied_volatility.black_scholes_implied_volatility(**given)
    assert list(found.offences) == [1]
    assert found.vol[0] > 0.1
    assert found.vol[1] == 0.0
    with pytest.raises(Rejected, match=why):
        found.of_every_row()


def test_no_time_left_is_out_of_range() -> None:
    """At expiry no price tells anything of volatility."""
    with pytest.raises(Rejected, match="t_years is 0"):
        implied_volatility.black_76_implied_volatility(
            right=1.0, forward=100.0, strike=100.0, r=0.0, t_years=0.0, price=1.0
        )


def test_every_price_in_range_gives_a_number_or_a_reason() -> None:
    """NaN has other bits on other machines; the corners of every range come in through an interface."""
    amounts, rates = (1e-9, 3.0, 1e12), (-1.0, 0.0, 5.0)
    prices = (0.0, 1e-300, 1e-12, 1.0, 2.999, 1e12)
    ends = [(1.0, -1.0), amounts, amounts, rates, rates, (1e-9, 1.0, 100.0), prices]
    grid = dict(zip(implied_volatility.BLACK_SCHOLES.names, [each.ravel() for each in np.meshgrid(*ends)], strict=True))
    found = implied_volatility.black_scholes_implied_volatility(**grid)
    assert np.isfinite(found.vol).all()
    assert np.array_equal(np.flatnonzero(found.vol == 0.0), sorted(found.offences))


def test_a_surface_of_a_million_quotes_takes_a_moment() -> None:
    """The bound is generous: it is there to see the loop fall out of the processor's vectors."""
    rows = 100_000
    given = {"right": 1.0, "forward": 100.0, "strike": np.linspace(60.0, 170.0, rows), "r": 0.0, "t_years": 0.5}
    price = vanilla.black_76_price(**given, vol=0.6)
    implied_volatility.black_76_implied_volatility(**given, price=price)
    started = time.process_time()
    found = implied_volatility.black_76_implied_volatility(**given, price=price).of_every_row()
    assert time.process_time() - started < 0.2
    assert np.abs(found - 0.6).max() < 1e-12
