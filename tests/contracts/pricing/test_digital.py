"""Digitals, gap and touch options against exact values, their own derivatives, and every published table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from contracts.pricing import digital, touch, vanilla
from tests.contracts.pricing import black, vectors

MARKET = {"spot": 100.0, "q": 0.01, "r": 0.05, "t_years": 0.5, "vol": 0.3}


def exact_cash(cash: float, right: float, **market: mpf) -> mpf:
    """Cash-or-nothing from the textbook."""
    forward = market["spot"] * mp.exp((market["r"] - market["q"]) * market["t_years"])
    _, d2 = black.d1_d2(forward, market["strike"], market["vol"] * mp.sqrt(market["t_years"]))
    return cash * mp.exp(-market["r"] * market["t_years"]) * black.cdf(right * d2)


def exact_asset(right: float, **market: mpf) -> mpf:
    """Asset-or-nothing from the textbook."""
    forward = market["spot"] * mp.exp((market["r"] - market["q"]) * market["t_years"])
    d1, _ = black.d1_d2(forward, market["strike"], market["vol"] * mp.sqrt(market["t_years"]))
    return market["spot"] * mp.exp(-market["q"] * market["t_years"]) * black.cdf(right * d1)


def exact_gap(second_strike: float, right: float, **market: mpf) -> mpf:
    """A gap option as the difference of the two."""
    return right * (exact_asset(right, **market) - exact_cash(second_strike, right, **market))


MODELS: tuple[tuple[str, dict[str, float], Callable[..., mpf]], ...] = (
    ("cash_or_nothing", {"cash": 10.0}, exact_cash),
    ("asset_or_nothing", {}, exact_asset),
    ("gap", {"second_strike": 90.0}, exact_gap),
)


@pytest.mark.parametrize(("model", "more", "exact"), MODELS, ids=[each[0] for each in MODELS])
def test_price_and_greeks_are_exact(model: str, more: dict[str, float], exact: Callable[..., mpf]) -> None:
    """The greeks of a jump are large near the strike, and of either sign: a wrong one hedges the wrong way."""
    for index, row in enumerate(black.rows(11, 40, deviations_max=4.0)):
        given = {**row, **more}
        greeks = getattr(digital, f"{model}_greeks")(**given)
        value = exact(**{name: mpf(number) for name, number in given.items()})
        size = max([row["spot"], *more.values()])
        assert abs(greeks.price[0] - value) <= 1e-13 * abs(value) + 2e-15 * size, (index, row)
        assert greeks.price[0] == getattr(digital, f"{model}_price")(**given)[0]
        deviation = row["vol"] * row["t_years"] ** 0.5
        for greek, column, order, sign in black.DERIVATIVES:
            if greek == "volga":
                continue
            derivative = sign * black.derivative(exact, given, column, order)
            scale = size / (row[column] * (deviation if column == "spot" else 1.0)) ** order
            found = getattr(greeks, greek)[0]
            assert abs(found - derivative) <= 1e-12 * abs(derivative) + 1e-13 * abs(scale), (greek, row)


def test_a_gap_option_of_one_strike_is_the_vanilla_option() -> None:
    """Two ways to one price must agree, in the wings too."""
    rows = black.rows(12, 500, deviations_max=8.0)
    given = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    gap = digital.gap_price(**given, second_strike=given["strike"])
    assert np.allclose(gap, vanilla.black_scholes_price(**given), rtol=1e-15, atol=0.0)


@pytest.mark.parametrize(
    ("spot", "t_years", "vol", "paid"),
    [
        (101.0, 0.0, 0.2, 10.0),
        (99.0, 0.0, 0.2, 0.0),
        (100.0, 0.0, 0.2, 5.0),
        (101.0, 1.0, 0.0, 10.0),
        (100.0, 1.0, 0.0, 5.0),
    ],
)
def test_limits_are_numbers(spot: float, t_years: float, vol: float, paid: float) -> None:
    """At expiry a digital is decided; exactly at the strike it is worth the mean of both sides."""
    greeks = digital.cash_or_nothing_greeks(
        right=1.0, spot=spot, strike=100.0, q=0.0, r=0.0, t_years=t_years, vol=vol, cash=10.0
    )
    assert greeks.price[0] == paid
    assert [float(each[0]) for each in greeks.columns()[1:5]] == [0.0] * 4


def test_corners_of_every_range_give_numbers() -> None:
    """NaN has other bits on other machines."""
    amounts, rates, times = (1e-9, 1e12), (-1.0, 5.0), (0.0, 1e-300, 1e-150, 1e-9, 100.0)
    ends = [(1.0, -1.0), amounts, amounts, rates, rates, times, (0.0, 1e-308, 0.3, 10.0)]
    grid = dict(zip(digital.ASSET.names, [each.ravel() for each in np.meshgrid(*ends)], strict=True))
    for greeks in (digital.gap_greeks(**grid, second_strike=1e12), digital.cash_or_nothing_greeks(**grid, cash=1e12)):
        assert all(np.isfinite(each).all() for each in greeks.columns())
    grid = {"barrier" if name == "strike" else name: values for name, values in grid.items()}
    grid |= {"vol": np.maximum(grid["vol"], 0.001), "r": np.maximum(grid["r"], 0.0)}
    for price in (touch.cash_at_hit_price(**grid, cash=1.0), touch.cash_if_touched_price(**grid, cash=1.0)):
        assert np.isfinite(price).all()
        assert price.min() >= 0.0
        assert price.max() <= 1.0


def first_passage(row: dict[str, float], discount: float) -> mpf:
    """The expectation of exp(-discount τ) over the first passage times τ within the life, by quadrature."""
    vol, nu = mpf(row["vol"]), mpf(row["r"]) - mpf(row["q"]) - mpf(row["vol"]) ** 2 / 2
    distance = mp.log(mpf(row["barrier"]) / mpf(row["spot"]))

    def density(t: mpf) -> mpf:
        spread = vol * mp.sqrt(t)
        return abs(distance) / (t * spread) * mp.npdf((distance - nu * t) / spread) * mp.exp(-discount * t)

    pieces = [mpf(row["t_years"]) * k / 8 for k in range(9)]
    with mp.workdps(25):
        return mp.quad(density, pieces)


def test_touch_prices_are_the_integral_over_first_passages() -> None:
    """The formula has four signs that are easily swapped; the integral has none of them."""
    for right, barrier in ((1.0, 108.0), (1.0, 135.0), (-1.0, 93.0), (-1.0, 70.0)):
        for q in (0.0, 0.15):
            row = {**MARKET, "right": right, "barrier": barrier, "q": q}
            hit, reached = first_passage(row, row["r"]), first_passage(row, 0.0)
            discount = mp.exp(-mpf(row["r"]) * mpf(row["t_years"]))
            assert abs(touch.cash_at_hit_price(**row, cash=10.0)[0] - 10 * hit) < 1e-13
            assert abs(touch.asset_at_hit_price(**row)[0] - barrier * hit) < 1e-12
            assert abs(touch.cash_if_touched_price(**row, cash=10.0)[0] - 10 * reached * discount) < 1e-13
            assert abs(touch.cash_if_untouched_price(**row, cash=10.0)[0] - 10 * (1 - reached) * discount) < 1e-13


def test_what_waits_for_a_hit_has_a_price_for_negative_rates() -> None:
    """Cash that costs interest to hold is worth more than itself if it comes late: the integral says how much."""
    for right, barrier in ((1.0, 108.0), (-1.0, 70.0)):
        for r in (-0.01, -0.2):
            row = {**MARKET, "right": right, "barrier": barrier, "r": r, "q": -0.02}
            assert abs(touch.cash_at_hit_price(**row, cash=10.0)[0] - 10 * first_passage(row, r)) < 1e-6


def test_greeks_at_the_hit_agree_with_coarse_differences() -> None:
    """Sign and unit of each, and nothing left to move where the amount is due: but the asset moves with the spot."""
    for right, barrier in ((1.0, 112.0), (-1.0, 88.0)):
        row = {**MARKET, "right": right, "barrier": barrier, "q": 0.02}
        for prices, greeks, more in (
            (touch.cash_at_hit_price, touch.cash_at_hit_greeks, {"cash": 10.0}),
            (touch.asset_at_hit_price, touch.asset_at_hit_greeks, {}),
        ):
            found = greeks(**row, **more)
            assert found.price == prices(**row, **more)
            for name, greek, step in (("spot", "delta", 0.05), ("vol", "vega", 1e-3), ("r", "rho", 1e-3)):
                up, down = (prices(**row | {name: row[name] + h}, **more)[0] for h in (step, -step))
                assert getattr(found, greek)[0] == pytest.approx((up - down) / (2 * step), rel=1e-3)
            later, sooner = (prices(**row | {"t_years": row["t_years"] + h}, **more)[0] for h in (-1e-3, 1e-3))
            assert found.theta[0] == pytest.approx((later - sooner) / 2e-3, rel=1e-3)
            due = greeks(**row | {"spot": barrier + right}, **more)
            assert [due.price[0], due.delta[0]] == ([10.0, 0.0] if more else [barrier + right, 1.0])
            assert not any(each[0] for each in (due.gamma, due.vega, due.theta, due.rho))


def test_touched_and_untouched_make_the_whole() -> None:
    """Whoever holds both holds the asset, or the cash, for certain."""
    rows = black.rows(13, 300, deviations_max=4.0)
    given = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    given["barrier"] = given.pop("strike")
    asset = given["spot"] * np.exp(-given["q"] * given["t_years"])
    whole = touch.asset_if_touched_price(**given) + touch.asset_if_untouched_price(**given)
    assert np.allclose(whole, asset, rtol=1e-14, atol=0.0)


TABLES: tuple[tuple[str, Callable[..., Any], dict[str, float]], ...] = (
    ("testCashOrNothingEuropeanValues", digital.cash_or_nothing_price, {"cash": 10.0}),
    ("testAssetOrNothingEuropeanValues", digital.asset_or_nothing_price, {}),
    ("testGapEuropeanValues", digital.gap_price, {"second_strike": 57.0}),
    ("testCashAtHitOrNothingAmericanValues", touch.cash_at_hit_price, {"cash": 15.0}),
    ("testAssetAtHitOrNothingAmericanValues", touch.asset_at_hit_price, {}),
    ("testCashAtExpiryOrNothingAmericanValues", touch.cash_if_touched_price, {"cash": 15.0}),
    ("testAssetAtExpiryOrNothingAmericanValues", touch.asset_if_touched_price, {}),
    ("testMCCashAtHit", touch.cash_at_hit_price, {"cash": 15.0}),
)
"""Table, model, and what the table takes for granted: the amounts are of Haug's examples on the same pages."""
UNTOUCHED = {
    "testCashAtExpiryOrNothingAmericanValues": touch.cash_if_untouched_price,
    "testAssetAtExpiryOrNothingAmericanValues": touch.asset_if_untouched_price,
}
"""The model of the rows that are no knock-in."""


@vectors.NEEDS_DATA
@pytest.mark.parametrize(("table", "model", "more"), TABLES, ids=[each[0] for each in TABLES])
def test_published_tables(table: str, model: Callable[..., Any], more: dict[str, float]) -> None:
    """Every row of every digital table, at its tolerance."""
    rows = vectors.european_tables()[table]
    assert rows
    for row in rows:
        given = {**vectors.market(row), **more}
        if "American" in table or table == "testMCCashAtHit":
            given["barrier"] = given.pop("strike")
        price = (model if row["knockin"] else UNTOUCHED[table])(**given)[0]
        assert abs(price - row["result"]) <= row["tol"], (row, price)
