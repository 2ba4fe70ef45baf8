"""European calls and puts: Black-Scholes on a spot with a yield, Black-76 on a forward.

Every function takes its arguments by name: one-dimensional arrays of one length, or scalars for every row, within
`contracts.pricing.inputs.RANGES`; what is out of range is refused with its row. Signs and units of greeks:
`contracts.pricing.greeks`. Nothing is NaN or infinite:

- ``t_years = 0`` or ``vol = 0``: the discounted intrinsic value on the forward; delta and rho of a certain exercise, or
  0; gamma 0; vega and theta's decay 0. Exactly at the money, where the limit has a kink, delta and rho are half of an
  exercise's, gamma is 0 (its limit is infinite), and vega is that of vol = 0, which is not 0 unless t_years is.
- A price below 1e-307 or so is 0.

Relative error of what is out of the money: within 1e-12 (1e-13 where vol √t is above 0.01).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing import vanilla_kernel as kernels
from contracts.pricing.greeks import Greeks, SecondOrder
from contracts.pricing.inputs import Column, Inputs

BLACK_SCHOLES: Final = Inputs(("right", "spot", "strike", "q", "r", "t_years", "vol"))
BLACK_76: Final = Inputs(("right", "forward", "strike", "r", "t_years", "vol"))


def black_scholes_price(**given: ArrayLike) -> Column:
    """The Black-Scholes price of each row, in the unit of the strike.

    Args:
        given: The columns of `BLACK_SCHOLES`.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: Black and Scholes, The Pricing of Options and Corporate Liabilities (1973), with Merton's yield (1973).
    """
    columns = BLACK_SCHOLES.checked(**given)
    price = np.empty(columns["right"].size)
    kernels.black_scholes_prices(*columns.values(), price)
    return price


def black_scholes_greeks(**given: ArrayLike) -> Greeks:
    """Price, delta, gamma, vega, theta and rho of each row; arguments and errors as `black_scholes_price`."""
    columns = BLACK_SCHOLES.checked(**given)
    greeks = Greeks.empty(columns["right"].size)
    kernels.black_scholes_greeks(*columns.values(), *greeks.columns())
    return greeks


def black_scholes_second_order(**given: ArrayLike) -> SecondOrder:
    """Vanna and volga of each row, which calls and puts share; arguments and errors as `black_scholes_price`."""
    columns = BLACK_SCHOLES.checked(**given)
    found = SecondOrder(np.empty(columns["right"].size), np.empty(columns["right"].size))
    kernels.black_scholes_second_order(*list(columns.values())[1:], found.vanna, found.volga)
    return found


def black_76_price(**given: ArrayLike) -> Column:
    """The price of an option on a forward, paid for now, of each row.

    Args:
        given: The columns of `BLACK_76`; `r` discounts.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: Black, The Pricing of Commodity Contracts (1976), equation 16.
    """
    columns = BLACK_76.checked(**given)
    price = np.empty(columns["right"].size)
    kernels.black_76_prices(*columns.values(), price)
    return price


def black_76_greeks(**given: ArrayLike) -> Greeks:
    """Price, delta and gamma by the forward, vega, theta and rho of each row, as `black_76_price` has them."""
    columns = BLACK_76.checked(**given)
    greeks = Greeks.empty(columns["right"].size)
    kernels.black_76_greeks(*columns.values(), *greeks.columns())
    return greeks


def black_76_second_order(**given: ArrayLike) -> SecondOrder:
    """Vanna (by the forward) and volga of each row, as `black_76_price` has them."""
    columns = BLACK_76.checked(**given)
    found = SecondOrder(np.empty(columns["right"].size), np.empty(columns["right"].size))
    kernels.black_76_second_order(*list(columns.values())[1:], found.vanna, found.volga)
    return found


def sample() -> tuple[Column, ...]:
    """A few rows through every kernel, for the guard: both rights, all moneyness, and the edges."""
    rows: dict[str, ArrayLike] = {
        "right": np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]),
        "strike": np.array([100.0, 100.0, 1000.0, 10.0, 90.0, 130.0, 100.0, 103.5, 100.0]),
        "r": np.array([0.05, 0.05, 0.03, -0.01, 0.5, 0.0, 0.0, 0.01, 0.02]),
        "t_years": np.array([0.5, 0.5, 0.25, 3.0, 10.0, 0.01, 1.0, 0.0, 2.0]),
        "vol": np.array([0.2, 0.2, 0.3, 1.5, 0.01, 0.6, 0.0, 0.4, 0.35]),
    }
    first: dict[str, ArrayLike] = {
        "spot": 100.0,
        "q": np.array([0.0, 0.0, 0.02, 0.03, 0.1, 0.0, 0.0, 0.02, 0.02]),
        **rows,
    }
    second: dict[str, ArrayLike] = {"forward": 100.0, **rows}
    scholes, black = black_scholes_second_order(**first), black_76_second_order(**second)
    return (
        black_scholes_price(**first),
        *black_scholes_greeks(**first).columns(),
        scholes.vanna,
        scholes.volga,
        black_76_price(**second),
        *black_76_greeks(**second).columns(),
        black.vanna,
        black.volga,
    )
