"""Single-barrier options, European, watched continuously: down or up, in or out, call or put, with rebate.

The four kinds are two columns of signs: `direction` is -1 for a barrier below the spot (down) and 1 for one above (up),
`knock` is -1 for out and 1 for in. So down_out is (-1, -1), down_in (-1, 1), up_out (1, -1), up_in (1, 1).

The rebate of an option that is knocked out is paid at once when the barrier is touched, that of one that was never
knocked in at expiry. A spot at or beyond its barrier has touched it: out is worth the rebate now, in is the vanilla
option. At expiry, and without volatility, the price is that of the forward's certain path.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing.barrier_kernel import barrier_prices
from contracts.pricing.bumped import greeks_within
from contracts.pricing.gauss_legendre import NODES, WEIGHTS
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns, Inputs

BARRIER: Final = Inputs(
    ("right", "spot", "strike", "barrier", "direction", "knock", "rebate", "q", "r", "t_years", "vol")
)


def barrier_price(**given: ArrayLike) -> Column:
    """The price of each row, in the unit of spot and strike, absolute error below 1e-13 of the larger of the two.

    Where r is below zero and (r - q - vol²/2)² < -2 r vol², the rebate of a knock-out is integrated numerically, to
    1e-7 of the rebate for r t_years down to -1.

    Args:
        given: The columns of `BARRIER`, by name.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: Reiner and Rubinstein, Breaking Down the Barriers, Risk 4 (1991); Haug, The Complete Guide to Option Pricing
    Formulas, second edition, section 4.17.1.
    """
    return _price(_with_touched(BARRIER.checked(**given)))


def barrier_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments and errors as `barrier_price`, differences as `greeks_within`.

    Where the rebate is integrated numerically, greeks hold to a few thousandths; otherwise to 1e-4 and mostly 1e-8.
    """
    columns = _with_touched(BARRIER.checked(**given))
    touched, barrier, above = columns["touched"] > 0.0, columns["barrier"], columns["direction"] > 0.0
    return greeks_within(
        _price,
        columns,
        low=np.where(touched | above, 0.0, barrier),
        high=np.where(touched | ~above, np.inf, barrier),
        scale=scale_of(columns),
        settled=touched & (columns["knock"] < 0.0),
    )


def sample() -> tuple[Column, ...]:
    """A few rows through the kernel: every kind, a rate that needs the quadrature, a touched and a certain path."""
    rows = np.arange(32)
    sign = np.where(rows & 1, 1.0, -1.0), np.where(rows & 2, 1.0, -1.0), np.where(rows & 4, 1.0, -1.0)
    prices = barrier_price(
        right=sign[0], direction=sign[1], knock=sign[2],
        spot=100.0, strike=np.where(rows & 8, 88.0, 112.0), barrier=np.where(rows == 31, 100.0, 100.0 + 8.0 * sign[1]),
        rebate=3.0, q=0.03125, r=np.where(rows & 16, 0.0625, -0.125), t_years=0.75, vol=np.where(rows == 30, 0.0, 0.25),
    )  # fmt: skip
    return (prices,)


def scale_of(columns: Columns) -> Column:
    """How far ln spot must move for a price to change its curve: vol √t, less where drift or discounting are steeper.

    A weight exp(2 (r - q) t x / s²) goes with a distance x to the barrier, exp(√(2 r t) x / s) with a payment there.
    """
    t = columns["t_years"]
    s = columns["vol"] * np.sqrt(t)
    steeper = 2.0 * abs(columns["r"] - columns["q"]) * t + s * np.sqrt(2.0 * abs(columns["r"]) * t)
    scale: Column = s * s / np.where(s > 0.0, s + steeper, 1.0)
    return scale


def _with_touched(columns: dict[str, Column]) -> dict[str, Column]:
    beyond = columns["direction"] * (columns["spot"] - columns["barrier"]) >= 0.0
    return {**columns, "touched": beyond.astype(np.float64)}


def _price(columns: Columns) -> Column:
    price = np.empty_like(columns["spot"])
    barrier_prices(*(columns[name] for name in (*BARRIER.names, "touched")), NODES, WEIGHTS, price)
    return price
