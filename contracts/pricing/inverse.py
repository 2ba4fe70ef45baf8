"""Inverse options, margined and settled in the coin that is their underlying; strike and spot are in cash.

At expiry a call pays max(S - K, 0) / S coins. Its premium in coins is the Black-Scholes price over the spot. Where a
future, not a spot, is quoted, give it as `spot` with ``q = r = 0``: Black-76 over the future, as exchanges mark.

Greeks are of the premium in coins: delta is its change per 1.0 of the spot, so coins per unit of cash; gamma, vega,
theta and rho likewise (`contracts.pricing.greeks`). Limits as in `contracts.pricing.vanilla`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing import inverse_kernel as kernels
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Inputs

INVERSE: Final = Inputs(("right", "spot", "strike", "q", "r", "t_years", "vol"))


def inverse_price(**given: ArrayLike) -> Column:
    """The premium in coins of each row.

    Args:
        given: The columns of `INVERSE`, by name.

    Raises:
        Rejected: As `Inputs.checked`.
    """
    columns = INVERSE.checked(**given)
    price = np.empty(columns["right"].size)
    kernels.inverse_prices(*columns.values(), price)
    return price


def inverse_greeks(**given: ArrayLike) -> Greeks:
    """Premium and greeks in coins of each row; arguments and errors as `inverse_price`."""
    columns = INVERSE.checked(**given)
    greeks = Greeks.empty(columns["right"].size)
    kernels.inverse_greeks(*columns.values(), *greeks.columns())
    return greeks


def sample() -> tuple[Column, ...]:
    """A few rows through every kernel, for the guard."""
    rows: dict[str, ArrayLike] = {
        "right": np.array([1.0, -1.0, 1.0, -1.0, 1.0]),
        "spot": 60_000.0,
        "strike": np.array([60_000.0, 55_000.0, 120_000.0, 90_000.0, 50_000.0]),
        "q": np.array([0.0, 0.0, 0.01, 0.0, 0.0]),
        "r": np.array([0.0, 0.05, 0.03, 0.0, 0.0]),
        "t_years": np.array([0.1, 0.02, 0.5, 1.0, 0.0]),
        "vol": np.array([0.6, 0.8, 0.7, 1.2, 0.5]),
    }
    return (inverse_price(**rows), *inverse_greeks(**rows).columns())
