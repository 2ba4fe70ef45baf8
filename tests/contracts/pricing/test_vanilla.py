"""European prices and greeks against exact values, published tables, and the limits that they state."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from mpmath import mpf

from contracts.pricing import vanilla
from genesis.errors import Rejected
from tests.contracts.pricing import black, vectors

GREEKS = ("price", "delta", "gamma", "vega", "theta", "rho")


def columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def on_forward(row: dict[str, float]) -> dict[str, float]:
    """A Black-Scholes row as one of Black-76: the spot is the forward."""
    kept = {name: value for name, value in row.items() if name not in ("spot", "q")}
    return {**kept, "forward": row["spot"]}


def out_of_the_money(row: dict[str, float]) -> dict[str, float]:
    """The same row with the right that is worthless to exercise."""
    forward = row["spot"] * np.exp((row["r"] - row["q"]) * row["t_years"])
    return {**row, "right": 1.0 if forward < row["strike"] else -1.0}


def test_out_of_the_money_prices_keep_their_digits() -> None:
    """A wing's price is a difference of tails: computed as the textbook writes it, nothing of it is left."""
    rows = [out_of_the_money(row) for row in [*black.rows(1, 500), *black.rows(2, 100, deviations_max=30.0)]]
    exact = [black.black_scholes(**{name: mpf(value) for name, value in row.items()}) for row in rows]
    found = vanilla.black_scholes_price(**columns(rows))
    # a change of an input by one unit in its last place moves a price at z deviations by about z² of them
    errors = [abs(mpf(value) / price - 1) for value, price in zip(found, exact, strict=True) if price > 1e-290]
    assert max(errors[:500]) < 1e-12
    assert max(errors) < 1e-11


def test_every_price_is_exact_to_the_size_of_its_terms() -> None:
    """In the money the intrinsic value rules, and its own rounding is all that may be lost."""
    rows = black.rows(3, 500)
    exact = [black.black_scholes(**{name: mpf(value) for name, value in row.items()}) for row in rows]
    found = vanilla.black_scholes_price(**columns(rows))
    for row, value, price in zip(rows, found, exact, strict=True):
        size = max(row["spot"] * np.exp(-row["q"] * row["t_years"]), row["strike"] * np.exp(-row["r"] * row["t_years"]))
        assert abs(mpf(value) - price) < 1e-15 * size, row
    black_76 = [on_forward(row) for row in rows]
    exact = [black.black_76(**{name: mpf(value) for name, value in row.items()}) for row in black_76]
    found = vanilla.black_76_price(**columns(black_76))
    for row, value, price in zip(black_76, found, exact, strict=True):
        assert abs(mpf(value) - price) < 1e-15 * max(row["forward"], row["strike"]) * np.exp(0.2), row


@pytest.mark.parametrize("model", ["black_scholes", "black_76"])
def test_greeks_are_the_derivatives_of_the_price(model: str) -> None:
    """A hedge follows them; each is held against differences of the exact price, not against a formula."""
    rows = black.rows(4, 60, deviations_max=4.0)
    rows = rows if model == "black_scholes" else [on_forward(row) for row in rows]
    price = getattr(black, model)
    greeks = getattr(vanilla, f"{model}_greeks")(**columns(rows))
    second = getattr(vanilla, f"{model}_second_order")(**columns(rows))
    spot = "spot" if model == "black_scholes" else "forward"
    for index, row in enumerate(rows):
        for greek, column, order, sign in black.DERIVATIVES:
            column = spot if column == "spot" else column
            exact = sign * black.derivative(price, row, column, order)
            found = getattr(second if greek == "volga" else greeks, greek)[index]
            size = max(row[spot], row["strike"]) / row[column] ** order
            assert abs(found - exact) <= 1e-12 * max(abs(exact), 1e-3 * size), (greek, row)
        exact = black.mixed_derivative(price, row, spot, "vol")
        assert abs(second.vanna[index] - exact) <= 1e-12 * max(abs(exact), 1.0), ("vanna", row)


def test_price_and_greeks_agree_on_the_price() -> None:
    """A book that is marked by one and hedged by the other must not show a difference."""
    given = columns(black.rows(5, 2000))
    assert np.array_equal(vanilla.black_scholes_price(**given), vanilla.black_scholes_greeks(**given).price)
    del given["q"]
    given["forward"] = given.pop("spot")
    assert np.array_equal(vanilla.black_76_price(**given), vanilla.black_76_greeks(**given).price)


def test_call_less_put_is_the_forward_less_the_strike() -> None:
    """Whoever may trade both would take the difference."""
    given = columns(black.rows(6, 2000))
    call = vanilla.black_scholes_price(**{**given, "right": 1.0})
    put = vanilla.black_scholes_price(**{**given, "right": -1.0})
    asset, cash = (
        given["spot"] * np.exp(-given["q"] * given["t_years"]),
        given["strike"] * np.exp(-given["r"] * given["t_years"]),
    )
    assert np.all(np.abs(call - put - (asset - cash)) <= 4e-16 * (asset + cash))


LIMITS: tuple[tuple[str, dict[str, float], dict[str, float]], ...] = (
    ("expired in the money", {"t_years": 0.0, "strike": 90.0}, {"price": 10.0, "delta": 1.0, "theta": 0.0, "rho": 0.0}),
    ("expired out of the money", {"t_years": 0.0, "strike": 110.0}, {"price": 0.0, "delta": 0.0, "theta": 0.0}),
    ("expired at the money", {"t_years": 0.0}, {"price": 0.0, "delta": 0.5, "vega": 0.0, "theta": 0.0, "rho": 0.0}),
    ("certain in the money", {"vol": 0.0, "strike": 90.0}, {"price": 10.0, "delta": 1.0, "vega": 0.0, "rho": 90.0}),
    ("certain out of the money", {"vol": 0.0, "strike": 110.0}, {"price": 0.0, "delta": 0.0, "vega": 0.0, "rho": 0.0}),
    ("certain at the money", {"vol": 0.0}, {"price": 0.0, "delta": 0.5, "vega": 39.89422804014327, "rho": 50.0}),
    ("an underflow", {"vol": 1e-300, "t_years": 1e-300, "strike": 90.0}, {"price": 10.0, "delta": 1.0, "vega": 0.0}),
)


@pytest.mark.parametrize(("changed", "expected"), [each[1:] for each in LIMITS], ids=[each[0] for each in LIMITS])
def test_limits_are_numbers(changed: dict[str, float], expected: dict[str, float]) -> None:
    """An expiry is the one moment at which every series is priced with no time left."""
    row = {"right": 1.0, "spot": 100.0, "strike": 100.0, "q": 0.0, "r": 0.0, "t_years": 1.0, "vol": 0.2} | changed
    greeks, second = vanilla.black_scholes_greeks(**row), vanilla.black_scholes_second_order(**row)
    found = {name: float(getattr(greeks, name)[0]) for name in GREEKS}
    assert {name: found[name] for name in expected} == expected
    assert found["gamma"] == 0.0
    assert np.isfinite([*found.values(), second.vanna[0], second.volga[0]]).all()


def test_the_corners_of_every_range_give_numbers() -> None:
    """A NaN has other bits on other machines, and infinity is no price."""
    amounts, rates, times = (1e-9, 1e12), (-1.0, 5.0), (0.0, 1e-300, 1e-9, 100.0)
    ends = [(1.0, -1.0), amounts, amounts, rates, rates, times, (0.0, 1e-308, 10.0)]
    grid = dict(zip(vanilla.BLACK_SCHOLES.names, [each.ravel() for each in np.meshgrid(*ends)], strict=True))
    second = vanilla.black_scholes_second_order(**grid)
    found = [*vanilla.black_scholes_greeks(**grid).columns(), second.vanna, second.volga]
    assert all(np.isfinite(each).all() for each in found)
    assert found[0].min() == 0.0


def test_a_row_out_of_range_is_refused() -> None:
    """A negative volatility has a price in the formula, and none in the world."""
    with pytest.raises(Rejected, match=r"row 1: vol is -0\.2"):
        vanilla.black_scholes_price(right=1.0, spot=100.0, strike=100.0, q=0.0, r=0.0, t_years=1.0, vol=[0.2, -0.2])


@vectors.NEEDS_DATA
def test_published_prices_and_greeks_of_haug() -> None:
    """The book that the trade quotes; every row of the European tables."""
    tables = vectors.european_tables()
    for row in tables["testValues"]:
        assert abs(vanilla.black_scholes_price(**vectors.market(row))[0] - row["result"]) <= row["tol"], row
    for row in tables["testGreekValues"]:
        assert abs(greek_of_haug(row["greek"], vectors.market(row)) - row["result"]) <= row["tol"], row
    assert len(tables["testValues"]) + len(tables["testGreekValues"]) == 54


def greek_of_haug(name: str, market: dict[str, float]) -> float:
    """A greek under the table's name for it."""
    greeks = vanilla.black_scholes_greeks(**market)
    if name == "elasticity":
        return float(greeks.delta[0] * market["spot"] / greeks.price[0])
    if name == "thetaPerDay(theta/365)":
        return float(greeks.theta[0] / 365)
    if name == "dividendRho":  # by q: -t spot delta
        return float(-market["t_years"] * market["spot"] * greeks.delta[0])
    return float(getattr(greeks, name)[0])


@vectors.NEEDS_DATA
def test_published_greeks_of_py_vollib() -> None:
    """1,300 numbers of another implementation, each to half a unit of its last written digit."""
    named = {"D": "delta", "G": "gamma", "T": "theta", "V": "vega", "R": "rho"}
    for row in vectors.py_vollib_rows():
        spot, strike, rate, t_years, vol = (float(row[name]) for name in "SKRtv")
        for right, letter, price in ((1.0, "C", "bs_call"), (-1.0, "P", "bs_put")):
            found = vanilla.black_scholes_greeks(
                right=right, spot=spot, strike=strike, q=0.0, r=rate, t_years=t_years, vol=vol
            )
            expected = {price: found.price} | {letter + key: getattr(found, name) for key, name in named.items()}
            expected |= {"call_vals": found.price} if right > 0 else {}
            for column, values in expected.items():
                assert abs(float(values[0]) - float(row[column])) <= last_digit(row[column]), (column, row)


def last_digit(text: str) -> float:
    """Half a unit of where the file rounds: 10 digits, or 9 decimals below 1; tiny numbers have 5 digits or 6."""
    size = abs(float(text))
    if 0.0 < size < 1e-15:
        return 5.1e-5 * size
    return 0.51 * 10.0 ** max(-9, Decimal(text).adjusted() - 9)
