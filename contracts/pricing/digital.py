"""Digital and gap options of European exercise: what is paid depends on which side of the strike the spot ends.

- cash-or-nothing pays `cash`, asset-or-nothing one asset, where a call ends above or a put below `strike`;
- a gap call pays the spot less `second_strike` where it ends above `strike`, which may be less than nothing; a gap put
  the reverse below. So `strike` decides whether, `second_strike` how much.

Arguments and limits as in `contracts.pricing.vanilla`: with ``t_years = 0`` or ``vol = 0`` the price is what is certain
to be paid, half of it exactly at the strike, and greeks there are those of what is certain, the jump left out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing import digital_kernel as kernels
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns, Inputs

_EUROPEAN: Final = ("right", "spot", "strike", "q", "r", "t_years", "vol")
CASH: Final = Inputs((*_EUROPEAN, "cash"))
ASSET: Final = Inputs(_EUROPEAN)
GAP: Final = Inputs((*_EUROPEAN, "second_strike"))


def cash_or_nothing_price(**given: ArrayLike) -> Column:
    """The price of each row.

    Args:
        given: The columns of `CASH`, by name.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: Haug, Option Pricing Formulas (1998), page 88 and following.
    """
    return _price(CASH.checked(**given))


def cash_or_nothing_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments and errors as `cash_or_nothing_price`."""
    return _greeks(CASH.checked(**given))


def asset_or_nothing_price(**given: ArrayLike) -> Column:
    """The price of each row; the columns of `ASSET`, otherwise as `cash_or_nothing_price`."""
    return _price(ASSET.checked(**given))


def asset_or_nothing_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments and errors as `asset_or_nothing_price`."""
    return _greeks(ASSET.checked(**given))


def gap_price(**given: ArrayLike) -> Column:
    """The price of each row; the columns of `GAP`, otherwise as `cash_or_nothing_price`."""
    return _price(GAP.checked(**given))


def gap_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments and errors as `gap_price`."""
    return _greeks(GAP.checked(**given))


def _price(columns: Columns) -> Column:
    price = np.empty(columns["spot"].size)
    kernels.digital_prices(*(columns[name] for name in _EUROPEAN), *_paid(columns), price)
    return price


def _greeks(columns: Columns) -> Greeks:
    greeks = Greeks.empty(columns["spot"].size)
    kernels.digital_greeks(*(columns[name] for name in _EUROPEAN), *_paid(columns), *greeks.columns())
    return greeks


def _paid(columns: Columns) -> tuple[Column, Column]:
    """How many assets, and how much cash, are paid beyond the strike."""
    right = columns["right"]
    if "cash" in columns:
        return np.zeros_like(right), columns["cash"]
    if "second_strike" in columns:
        return right, -right * columns["second_strike"]
    return np.ones_like(right), np.zeros_like(right)


def sample() -> tuple[Column, ...]:
    """A few rows through every kernel, for the guard."""
    rows: dict[str, ArrayLike] = {
        "right": np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]),
        "spot": 100.0,
        "strike": np.array([100.0, 105.0, 160.0, 60.0, 100.0, 130.0]),
        "q": np.array([0.01, 0.0, 0.02, 0.03, 0.0, 0.05]),
        "r": np.array([0.05, 0.05, 0.0, 0.03, 0.0, -0.01]),
        "t_years": np.array([0.5, 0.5, 0.25, 2.0, 1.0, 0.0]),
        "vol": np.array([0.2, 0.3, 0.4, 0.6, 0.0, 0.2]),
    }
    gap = gap_greeks(second_strike=95.0, **rows)
    cash = cash_or_nothing_greeks(cash=10.0, **rows)
    return (
        *cash.columns(),
        *asset_or_nothing_greeks(**rows).columns(),
        *gap.columns(),
        gap_price(second_strike=95.0, **rows),
    )
