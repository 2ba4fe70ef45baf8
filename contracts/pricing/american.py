"""American vanilla options, by iterating on the boundary at which they are exercised.

A put with strike K is worth its European value and the integral of what early exercise earns, r K - q S, over the times
at which the price lies below the boundary B (Kim 1990). B solves an integral equation; here ln²(B / B₀) is a polynomial
in √τ through `american_nodes.CHEBYSHEV`, brought to the solution by a fixed number of fixed-point steps (Andersen, Lake
and Offengenden, "High-performance American option pricing", Journal of Computational Finance 20 (2016), pages 39 to 87,
system FP-B). Deviation: the integrals are taken in θ with s = τ sin²θ, which is smooth at both ends, and not by
tanh-sinh. A call is the put with spot and strike, r and q exchanged (McDonald and Schroder 1998); what follows speaks
of puts.

Which way a row is priced:

1. vol · √t below 1e-7, and so t = 0 and vol = 0: the price moves along its forward for certain, exercise is at the best
   time.
2. r ≤ 0 and q ≥ r: exercise earns nothing at any price below the strike, the value is European.
3. r < 0 and q < r: exercise pays between two boundaries (Andersen and Lake, "Fast American option pricing: the
   double-boundary case", Wilmott 2021). Not iterated here; two Leisen-Reimer trees of 501 and 1001 steps, extrapolated.
4. r t above 17: the value is within 4e-8 of the strike of the perpetual put's.
5. abs(q) t above 4, vol · √t above 4, or abs(r - q) √t above 2 vol: the two trees as well, since the fixed steps do not
   always reach the solution there. Seen over 223 random rows against trees of 2,001 and 4,001 steps: 9 of 10 within
   5e-5 of the strike, at worst 1.5e-3.
6. Otherwise the boundary: absolute error within 5e-5 at a strike of 100 for r and q from 0 to 0.1, vol from 0.1 to 0.6,
   t from a month to 3 years, spot over strike from 0.8 to 1.25. Seen over 1,738 random rows of the whole of this
   domain: within 1e-5 of the strike, 99 of 100 within 1e-6, against more nodes and iterations.

Rates within 1e-14 of 0 count as 0. Delta and gamma are derivatives of the integral, or of the parabola through the
trees' nodes; theta follows from the Black-Scholes equation; vega and rho are differences over vol · (1 ± 0.001) and
r ± 0.0001, with rho on one side alone where the other is priced another way. In the exercise region delta is ±1 and the
others are 0; with t = 0 and out of the money all are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contracts.pricing import american_kernel, american_nodes
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Inputs

INPUTS: Final = Inputs(("right", "spot", "strike", "q", "r", "t_years", "vol"))


@dataclass(frozen=True)
class Ways:
    """Price of each row and the way it was found, one of the constants of `american_kernel`."""

    price: Column
    way: NDArray[np.int64]


def price(
    *,
    right: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    q: ArrayLike,
    r: ArrayLike,
    t_years: ArrayLike,
    vol: ArrayLike,
) -> Column:
    """The value of each option in units of the strike's currency.

    Args:
        right, spot, strike, q, r, t_years, vol: Columns as `contracts.pricing.inputs` has them.

    Returns:
        Prices, at least the intrinsic and the European value, at most the spot (call) or strike (put), or what either
        is worth at expiry where its rate is negative.

    Raises:
        Rejected: ``pricing_range`` or ``pricing_shape`` for inputs that are out of range or do not fit.
    """
    return priced(right=right, spot=spot, strike=strike, q=q, r=r, t_years=t_years, vol=vol).price


def priced(
    *,
    right: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    q: ArrayLike,
    r: ArrayLike,
    t_years: ArrayLike,
    vol: ArrayLike,
) -> Ways:
    """The same, with the way in which each row was priced."""
    columns = INPUTS.checked(right=right, spot=spot, strike=strike, q=q, r=r, t_years=t_years, vol=vol)
    found = np.empty_like(columns["right"])
    ways = np.empty(found.shape, dtype=np.int64)
    american_kernel.american_prices(*columns.values(), _tables(), _room(), found, ways)
    return Ways(found, ways)


def greeks(
    *,
    right: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    q: ArrayLike,
    r: ArrayLike,
    t_years: ArrayLike,
    vol: ArrayLike,
) -> Greeks:
    """Price and greeks of each option; arguments and errors are those of `price`."""
    columns = INPUTS.checked(right=right, spot=spot, strike=strike, q=q, r=r, t_years=t_years, vol=vol)
    found = np.empty((6, columns["right"].size))
    american_kernel.american_greeks(*columns.values(), _tables(), _room(), found)
    return Greeks(*found)


def sample() -> tuple[NDArray[Any], ...]:
    """One small run of every kernel of this file and every way, for the start-up guard."""
    rows: dict[str, ArrayLike] = {
        "right": [1.0, -1.0, -1.0, -1.0, 1.0, -1.0],
        "spot": [90.0, 100.0, 110.0, 100.0, 95.0, 80.0],
        "strike": 100.0,
        "q": [0.03, 0.0, 0.02, -0.05, 0.0, 0.01],
        "r": [0.02, 0.05, 0.0, -0.01, 0.03, 0.5],
        "t_years": [0.5, 1.0, 0.25, 0.5, 0.0, 40.0],
        "vol": [0.25, 0.2, 0.4, 0.3, 0.3, 0.2],
    }
    found = greeks(**rows)
    return (price(**rows), found.price, found.delta, found.gamma, found.vega, found.theta, found.rho)


@cache
def _tables() -> tuple[NDArray[np.float64], ...]:
    """The kernel's constant arrays, from the frozen nodes by + - * / alone."""
    nodes, ends = american_nodes.CHEBYSHEV, len(american_nodes.CHEBYSHEV) - 1
    inner = (american_nodes.INNER_SINE, american_nodes.INNER_COSINE, american_nodes.INNER_WEIGHT)
    outer = (american_nodes.OUTER_SINE, american_nodes.OUTER_COSINE, american_nodes.OUTER_WEIGHT)
    rows = [[_interpolation((1.0 + node) * c - 1.0) for c in inner[1]] + [[0.0] * ends] for node in nodes[:ends]]
    inner_matrix = np.array([[at[j] for row in rows for at in row] for j in range(ends)])
    across = [_interpolation(2.0 * c - 1.0) for c in outer[1]]
    outer_matrix = np.array([[at[j] for at in across] for j in range(ends)])
    ages = np.array([0.25 * (1.0 + node) * (1.0 + node) for node in nodes])
    points = [np.array([[s * s for s in sines], sines, weights]) for sines, _, weights in (inner, outer)]
    return ages, points[0], inner_matrix, points[1], outer_matrix


def _interpolation(z: float) -> list[float]:
    """The weight of each node but the last, where h is 0, in the polynomial's value at `z`, by the barycentric formula.

    Source: Berrut and Trefethen, "Barycentric Lagrange interpolation", SIAM Review 46 (2004), pages 501 to 517.
    """
    last = len(american_nodes.CHEBYSHEV) - 1
    terms = []
    for j, node in enumerate(american_nodes.CHEBYSHEV):
        sign = 1.0 if j % 2 == 0 else -1.0
        terms.append((0.5 * sign if j in (0, last) else sign) / (z - node))
    total = 0.0
    for term in terms:
        total += term
    return [term / total for term in terms[:last]]


def _room() -> tuple[NDArray[np.float64], ...]:
    """The kernel's scratch arrays; new for every call, so that threads do not share them."""
    n, width = len(american_nodes.CHEBYSHEV), (len(american_nodes.CHEBYSHEV) - 1) * (len(american_nodes.INNER_SINE) + 1)
    tree = american_kernel.STEPS_HIGH + 2
    shapes: tuple[tuple[int, ...], ...] = ((5, width), (3, width), (4, len(american_nodes.OUTER_SINE)), (n,), (n,))
    shapes += ((tree,), (tree,), (tree,), (3,))
    return tuple(np.empty(shape) for shape in shapes)
