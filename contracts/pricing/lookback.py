"""Lookback options, European, watched continuously: on the extremum against the spot (floating) or a strike (fixed).

A floating call pays the last spot less the minimum, a floating put the maximum less the last spot; a fixed call pays
the maximum over the strike, a fixed put the strike over the minimum. `extremum_so_far` is the minimum or maximum that
counts, since the option began: 0 says that none is known, and a spot beyond it is the new one. The cost of carry may be
zero or anything near it. Without time or volatility the price is that of the forward's certain path, and so are greeks
where volatility bends the price over less than `LAYER_MIN` of the spot (vol² < 2e-5 (r - q), or vol √t < 1e-5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing.bumped import bumped_greeks
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns, Inputs, Range
from contracts.pricing.lookback_kernel import fixed_prices, floating_prices

LAYER_MIN: Final = 1e-5
"""Of the spot: ten times the least step of `bumped_greeks`. A move that is no wider cannot be hedged."""
_NARROWED: Final = {"extremum_so_far": Range(0.0, 1e12, "(0 for the spot)")}
FLOATING: Final = Inputs(("right", "spot", "extremum_so_far", "q", "r", "t_years", "vol"), narrowed=_NARROWED)
FIXED: Final = Inputs(("right", "spot", "strike", "extremum_so_far", "q", "r", "t_years", "vol"), narrowed=_NARROWED)


def lookback_floating_price(**given: ArrayLike) -> Column:
    """The price of each row, in the unit of the spot, absolute error below 1e-12 of the largest present value in it.

    Args:
        given: The columns of `FLOATING`, by name: a call looks at the minimum, a put at the maximum.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: Goldman, Sosin and Gatto, Journal of Finance 34 (1979); Haug, second edition, section 4.15.1.
    """
    return _floating(_with_extremum(FLOATING.checked(**given), side=-1.0))


def lookback_floating_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row, the extremum so far held fixed; arguments as `lookback_floating_price`."""
    columns = _with_extremum(FLOATING.checked(**given), side=-1.0)
    return _greeks(_floating, columns)


def lookback_fixed_price(**given: ArrayLike) -> Column:
    """The price of each row; accuracy and errors as `lookback_floating_price`.

    Args:
        given: The columns of `FIXED`, by name: a call looks at the maximum, a put at the minimum.

    Source: Conze and Viswanathan, Journal of Finance 46 (1991); Haug, second edition, section 4.15.2.
    """
    return _fixed(_with_extremum(FIXED.checked(**given), side=1.0))


def lookback_fixed_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row, the extremum so far held fixed; arguments as `lookback_fixed_price`."""
    columns = _with_extremum(FIXED.checked(**given), side=1.0)
    return _greeks(_fixed, columns)


def sample() -> tuple[Column, ...]:
    """A few rows through each kernel: zero, small and large carry, fresh and old extrema, a certain path."""
    rows = np.arange(16)
    common: dict[str, ArrayLike] = {
        "right": np.where(rows & 1, 1.0, -1.0), "spot": 100.0, "r": 0.0625,
        "q": np.array([0.0625, 0.0634765625, 0.0, 0.25])[rows >> 2], "t_years": 1.5,
        "vol": np.where(rows == 15, 0.0, 0.375),
    }  # fmt: skip
    low_or_high = np.where(rows & 2, 0.0, np.where(rows & 1, 75.0, 125.0))
    floating = lookback_floating_price(extremum_so_far=low_or_high, **common)
    other = np.where(rows & 2, 0.0, np.where(rows & 1, 125.0, 75.0))
    return floating, lookback_fixed_price(strike=96.0, extremum_so_far=other, **common)


def _with_extremum(columns: dict[str, Column], *, side: float) -> dict[str, Column]:
    """The columns with the extremum that counts: for `side` times right of 1 the maximum, else the minimum."""
    spot, known = columns["spot"], columns["extremum_so_far"]
    known = np.where(known == 0.0, spot, known)
    of_maximum = side * columns["right"] > 0.0
    return {**columns, "extremum_so_far": np.where(of_maximum == (known > spot), known, spot)}


def _greeks(price: Callable[[Columns], Column], columns: dict[str, Column]) -> Greeks:
    """Differences of `price`, of the certain path where the layer in which the spot is turned back is too thin."""
    scale = _scale(columns)
    certain = {**columns, "vol": np.where(scale < LAYER_MIN, 0.0, columns["vol"])}
    greeks = bumped_greeks(price, certain, scale=scale)
    return replace(greeks, price=price(columns))


def _scale(columns: Columns) -> Column:
    """vol √t, or less where the price bends in a layer next to the extremum, of vol² / 2 (r - q) of it."""
    s = columns["vol"] * np.sqrt(columns["t_years"])
    carry = abs(columns["r"] - columns["q"]) * columns["t_years"]
    return s * s / np.where(s > 0.0, s + 2.0 * carry, 1.0)


def _floating(columns: Columns) -> Column:
    price = np.empty_like(columns["spot"])
    floating_prices(*(columns[name] for name in FLOATING.names), price)
    return price


def _fixed(columns: Columns) -> Column:
    price = np.empty_like(columns["spot"])
    fixed_prices(*(columns[name] for name in FIXED.names), price)
    return price
