"""American prices: against the tree, against published values, at every limit, and over all that may come in."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.pricing import american, american_kernel, american_nodes, leisen_reimer
from contracts.pricing.inputs import CALL, PUT
from genesis.errors import Rejected
from tests.contracts.pricing.grid import digest_of

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = "0dd2b8db78a91580d55f02534ffbccaa"
Rows = dict[str, Any]

BROADIE_DETEMPLE: tuple[tuple[float, float, float, tuple[float, ...]], ...] = (
    (0.03, 0.07, 0.2, (0.2194, 1.3864, 4.7825, 11.0978, 20.0004)),
    (0.03, 0.07, 0.4, (2.6889, 5.7223, 10.2385, 16.1812, 23.3598)),
    (0.00, 0.07, 0.3, (1.0373, 3.1233, 7.0354, 12.9552, 20.7173)),
    (0.07, 0.03, 0.3, (1.6644, 4.4947, 9.2506, 15.7975, 23.7062)),
)
"""r, q, vol, and the "true" values of calls with strike 100 and half a year left at spots 80, 90, 100, 110, 120.

They are of binomial trees of 15,000 steps, and so off by up to 3e-4 themselves. Source: Broadie and Detemple, "American
option valuation: new bounds, approximations, and a comparison of existing methods", Review of Financial Studies 9
(1996), pages 1211 to 1250, table 1.
"""


def rows_of(*columns: Any) -> Rows:
    names = ("right", "spot", "strike", "q", "r", "t_years", "vol")
    return dict(zip(names, np.array(list(product(*columns)), dtype=float).T, strict=True))


def fine_tree(rows: Rows, steps: int = 2001) -> Any:
    """Two trees, extrapolated to no step at all: error below 1e-5 for the rows of these tests."""
    low = leisen_reimer.price(**rows, steps=steps)
    high = leisen_reimer.price(**rows, steps=2 * steps - 1)
    return high + (high - low) * steps / (steps - 1)


@pytest.mark.parametrize(("r", "q", "vol", "values"), BROADIE_DETEMPLE)
def test_published_values_are_met(r: float, q: float, vol: float, values: tuple[float, ...]) -> None:
    """A table that others computed by another method."""
    found = american.price(right=CALL, spot=[80, 90, 100, 110, 120], strike=100, q=q, r=r, t_years=0.5, vol=vol)
    assert np.abs(found - values).max() < 3e-4


def test_the_boundary_agrees_with_the_tree() -> None:
    """Two methods that share no line but exp, log and the cdf."""
    rows = rows_of((CALL, PUT), (88.0, 107.0), (100.0,), (0.0, 0.06), (0.01, 0.08), (0.1, 3.0), (0.12, 0.45))
    found = american.priced(**rows)
    assert np.abs(found.price - fine_tree(rows)).max() < 1e-4
    assert set(found.way) <= {american_kernel.BOUNDARY, american_kernel.EUROPEAN, american_kernel.EXERCISED}


def test_the_nodes_are_those_of_chebyshev_and_of_gauss_and_legendre() -> None:
    """A digit that is wrong costs accuracy that no other test is sharp enough to see."""
    nodes = np.array(american_nodes.CHEBYSHEV)
    assert np.abs(nodes - np.cos(np.pi * np.arange(nodes.size) / (nodes.size - 1))).max() < 1e-15
    for sine, cosine, weight in (
        (american_nodes.INNER_SINE, american_nodes.INNER_COSINE, american_nodes.INNER_WEIGHT),
        (american_nodes.OUTER_SINE, american_nodes.OUTER_COSINE, american_nodes.OUTER_WEIGHT),
    ):
        at, part = np.polynomial.legendre.leggauss(len(sine))
        theta = np.pi / 4 * (1 + at)
        assert np.abs(np.sin(theta) - sine).max() < 1e-14
        assert np.abs(np.cos(theta) - cosine).max() < 1e-14
        assert np.abs(part * np.pi / 4 * np.sin(2 * theta) - weight).max() < 1e-14


@pytest.mark.parametrize(
    ("row", "way", "price"),
    [
        ((CALL, 100, 90, 0.02, 0.03, 0.0, 0.2), american_kernel.EXERCISED, 10.0),
        ((PUT, 100, 90, 0.02, 0.03, 0.0, 0.2), american_kernel.CERTAIN, 0.0),
        ((CALL, 100, 90, 0.0, 0.1, 1.0, 0.0), american_kernel.CERTAIN, 100.0 - 90.0 * np.exp(-0.1)),
        ((PUT, 100, 101, 0.2, 0.1, 1.0, 0.0), american_kernel.CERTAIN, 101.0 * np.exp(-0.1) - 100.0 * np.exp(-0.2)),
        ((PUT, 60, 100, 0.0, 0.05, 1.0, 0.2), american_kernel.EXERCISED, 40.0),
        ((CALL, 170, 100, 0.1, 0.0, 1.0, 0.2), american_kernel.EXERCISED, 70.0),
        ((PUT, 100, 100, 0.01, 0.0, 1.0, 0.2), american_kernel.EUROPEAN, None),
        ((PUT, 100, 100, -0.01, -0.02, 1.0, 0.2), american_kernel.EUROPEAN, None),
        ((CALL, 100, 100, 0.0, 0.05, 1.0, 0.2), american_kernel.EUROPEAN, None),
        ((PUT, 100, 100, -0.06, -0.01, 1.0, 0.2), american_kernel.TREE, None),
        ((PUT, 100, 100, 0.0, 0.2, 90.0, 0.3), american_kernel.PERPETUAL, 100.0 * 9 / 49 * (40 / 49) ** (40 / 9)),
        ((PUT, 100, 100, 0.0, 0.05, 1.0, 0.01), american_kernel.TREE, None),
        ((PUT, 100, 100, 0.0, 0.05, 30.0, 0.2), american_kernel.BOUNDARY, None),
    ],
)
def test_every_way_is_taken_where_it_is_stated(row: Any, way: int, price: float | None) -> None:
    """A limit that falls to the wrong method gives a number that looks right."""
    found = american.priced(**rows_of(*([value] for value in row)))
    assert found.way[0] == way
    if price is not None:
        assert found.price[0] == pytest.approx(price, abs=1e-9)


def test_what_is_never_exercised_is_european() -> None:
    """The tree without early exercise is the reference; its own error is of the order 1e-5."""
    rows = rows_of((PUT,), (90.0, 110.0), (100.0,), (0.0, 0.05), (-0.05, 0.0), (0.5, 2.0), (0.2, 0.6))
    assert np.abs(american.price(**rows) - leisen_reimer.price(**rows, american=False)).max() < 1e-4


def test_greeks_are_the_derivatives_of_the_tree() -> None:
    """Delta and gamma come from the integral, theta from the equation: differences of another method check both."""
    rows = rows_of((CALL, PUT), (92.0, 104.0), (100.0,), (0.05,), (0.04,), (0.75,), (0.25,))
    found = american.greeks(**rows)
    assert np.array_equal(found.price, american.price(**rows))

    def slope(name: str, step: float) -> Any:
        up, down = (fine_tree(rows | {name: rows[name] + sign * step}, 1001) for sign in (1, -1))
        return (up - down) / (2 * step)

    up, down = (fine_tree(rows | {"spot": rows["spot"] + sign * 2.0}, 1001) for sign in (1, -1))
    assert np.abs(found.delta - slope("spot", 0.5)).max() < 1e-3
    assert np.abs(found.gamma - (up - 2 * fine_tree(rows, 1001) + down) / 4.0).max() < 5e-4
    assert np.abs(found.vega - slope("vol", 0.01)).max() < 0.05
    assert np.abs(found.theta + slope("t_years", 0.01)).max() < 0.02
    assert np.abs(found.rho - slope("r", 0.002)).max() < 0.05


def test_gamma_meets_its_value_at_the_boundary() -> None:
    """The quadrature alone is wrong there by a multiple, which a hedger would trade on."""
    spots = np.arange(75.0, 95.0, 0.02)
    found = american.greeks(right=PUT, spot=spots, strike=100.0, q=0.0, r=0.05, t_years=1.0, vol=0.2)
    held = found.delta > -1.0
    edge = spots[held][0]
    assert found.gamma[held][0] == pytest.approx(2 * 0.05 * 100 / (0.2 * edge) ** 2, rel=0.01)
    assert np.abs(np.diff(found.gamma[held])).max() < 1e-3
    delta, gamma = found.delta[held], found.gamma[held]
    assert np.abs((delta[20:] - delta[:-20]) / 0.4 - gamma[10:-10]).max() < 1e-3
    assert not found.vega[~held].any()


AMOUNTS = st.one_of(st.floats(1e-9, 1e12), st.floats(50.0, 200.0))
RATES = st.one_of(st.floats(-1.0, 5.0), st.floats(-0.1, 0.1), st.sampled_from((0.0, 1e-300, -1e-300, 1e-12)))
TIMES = st.one_of(st.floats(0.0, 100.0), st.floats(0.0, 1.0), st.sampled_from((0.0, 1e-300, 1e-9)))
VOLS = st.one_of(st.floats(0.0, 10.0), st.floats(0.05, 1.0), st.sampled_from((0.0, 1e-300, 1e-7, 1e-3)))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from((CALL, PUT)), AMOUNTS, AMOUNTS, RATES, RATES, TIMES, VOLS)
def test_whatever_comes_in_a_price_within_its_bounds_comes_out(
    right: float, spot: float, strike: float, q: float, r: float, t: float, vol: float
) -> None:
    """One NaN, and two machines disagree; a price outside the bounds is free money."""
    found = american.greeks(right=right, spot=[spot], strike=strike, q=q, r=r, t_years=t, vol=vol)
    for column in (found.price, found.delta, found.gamma, found.vega, found.theta, found.rho):
        assert np.isfinite(column).all()
    own, rate = (spot, q) if right > 0 else (strike, r)
    assert max(right * (spot - strike), 0.0) <= found.price[0] <= own * max(1.0, np.exp(-rate * t)) * (1 + 1e-12)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from((CALL, PUT)), st.floats(50, 200), RATES, RATES, TIMES, VOLS)
def test_a_price_moves_with_spot_and_strike(
    right: float, spot: float, q: float, r: float, t: float, vol: float
) -> None:
    """A call that falls when the spot rises is an arbitrage; by more than the method's error it must not."""
    spots = spot * np.array([1.0, 1.01, 1.1, 2.0])
    up = american.price(right=right, spot=spots, strike=100.0, q=q, r=r, t_years=t, vol=vol)
    across = american.price(right=right, spot=100.0, strike=spots, q=q, r=r, t_years=t, vol=vol)
    allowed = 2e-3 * max(1.0, np.exp(-q * t), np.exp(-r * t)) * spots[:-1]
    assert (right * np.diff(up) >= -allowed).all()
    assert (-right * np.diff(across) >= -allowed).all()


def test_the_tree_refuses_a_number_of_steps_out_of_range() -> None:
    """An even tree has no node pair around the strike; a huge one would hold a core for hours."""
    rows = rows_of([CALL], [100.0], [100.0], [0.0], [0.0], [1.0], [0.2])
    for steps in (1, 200, 20_003):
        with pytest.raises(Rejected, match="steps is"):
            leisen_reimer.price(**rows, steps=steps)


def test_the_european_tree_meets_the_closed_form() -> None:
    """Its error falls with the square of the steps: 1001 give five digits."""
    rows = {"right": [CALL, PUT], "spot": 100.0, "strike": 100.0, "q": 0.0, "r": 0.05, "t_years": 1.0, "vol": 0.2}
    assert leisen_reimer.price(**rows, american=False) == pytest.approx(
        [10.450583572185565, 5.573526022256971], abs=2e-5
    )


def test_bits_are_the_same_compiled_and_interpreted() -> None:
    """Settlement by one node's compiler must be settlement by every node's."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.contracts.pricing.test_american"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert digest() == GOLDEN
    assert shown.split() == ["interpreted", GOLDEN]


def digest() -> str:
    """Of prices and greeks and a small tree's prices, over a grid that takes both rights and all but the large tree."""
    rows: Rows = {
        "right": [CALL, PUT, CALL, PUT, PUT],
        "spot": [90.0, 100.0, 120.0, 110.0, 70.0],
        "strike": 100.0,
        "q": [0.03125, 0.0, 0.0625, -0.03125, 0.0],
        "r": [0.015625, 0.0625, 0.03125, 0.0, 0.5],
        "t_years": [0.5, 1.0, 0.25, 0.5, 40.0],
        "vol": [0.25, 0.125, 0.5, 0.25, 0.25],
    }
    found = american.greeks(**rows)
    columns = (found.price, found.delta, found.gamma, found.vega, found.theta, found.rho)
    trees = leisen_reimer.price(**rows, steps=51)
    return digest_of(float(value) for column in (*columns, trees) for value in column)


if __name__ == "__main__":
    print("compiled" if hasattr(american_kernel.iterate, "py_func") else "interpreted", digest())
