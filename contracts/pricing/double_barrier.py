"""Double-barrier options, European, watched continuously: a corridor from `barrier` to `barrier_high`, in or out.

`knock` is -1 for out and 1 for in, at whichever barrier is touched first. The rebate of an option that is knocked out
is paid at once, that of one that was never knocked in at expiry. A spot at or beyond a barrier has touched it: out is
worth the rebate now, in is the vanilla option. At expiry, and without volatility, the price is that of the forward's
certain path.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing.barrier import scale_of
from contracts.pricing.bumped import greeks_within
from contracts.pricing.double_barrier_kernel import double_barrier_prices
from contracts.pricing.gauss_legendre import NODES, WEIGHTS
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns, Inputs, Relation

DOUBLE_BARRIER: Final = Inputs(
    ("right", "spot", "strike", "barrier", "barrier_high", "knock", "rebate", "q", "r", "t_years", "vol"),
    (
        Relation(
            "barrier_high must be above barrier, by at least a millionth of it",
            ("barrier", "barrier_high"),
            lambda c: c["barrier_high"] >= 1.000001 * c["barrier"],
        ),
    ),
)


def double_barrier_price(**given: ArrayLike) -> Column:
    """The price of each row, in the unit of spot and strike, absolute error below 1e-12 of the larger of the two.

    Where r is below zero and (r - q - vol²/2)² < -2 r vol², the rebate of a knock-out is integrated numerically, to
    1e-7 of the rebate for r t_years down to -1.

    Args:
        given: The columns of `DOUBLE_BARRIER`, by name; the corridor may lie anywhere about the strike.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: see `double_barrier_kernel`.
    """
    return _price(_with_touched(DOUBLE_BARRIER.checked(**given)))


def double_barrier_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments and errors as `double_barrier_price`, differences as `greeks_within`."""
    columns = _with_touched(DOUBLE_BARRIER.checked(**given))
    touched = columns["touched"] > 0.0
    corridor = columns["barrier_high"] / columns["barrier"] - 1.0
    return greeks_within(
        _price,
        columns,
        low=np.where(touched, 0.0, columns["barrier"]),
        high=np.where(touched, np.inf, columns["barrier_high"]),
        scale=np.minimum(scale_of(columns), 0.5 * corridor),
        settled=touched & (columns["knock"] < 0.0),
    )


def sample() -> tuple[Column, ...]:
    """A few rows through the kernel: both series, both kinds and rights, with rebate, a touched and a certain path."""
    rows = np.arange(16)
    prices = double_barrier_price(
        right=np.where(rows & 1, 1.0, -1.0), knock=np.where(rows & 2, 1.0, -1.0), spot=100.0,
        strike=np.where(rows & 4, 96.0, 108.0), barrier=np.where(rows == 14, 100.0, 80.0),
        barrier_high=125.0, rebate=np.where(rows & 4, 3.0, 0.0), q=0.03125, r=0.0625, t_years=0.5,
        vol=np.where(rows == 15, 0.0, np.where(rows & 8, 0.5, 0.125)),
    )  # fmt: skip
    return (prices,)


def _with_touched(columns: dict[str, Column]) -> dict[str, Column]:
    beyond = (columns["spot"] <= columns["barrier"]) | (columns["spot"] >= columns["barrier_high"])
    return {**columns, "touched": beyond.astype(np.float64)}


def _price(columns: Columns) -> Column:
    price = np.empty_like(columns["spot"])
    double_barrier_prices(*(columns[name] for name in (*DOUBLE_BARRIER.names, "touched")), NODES, WEIGHTS, price)
    return price
