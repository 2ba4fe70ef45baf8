"""The volatility that a European price implies, by Black-Scholes or Black-76.

A price implies one if it lies above the intrinsic value of the present values and below the lesser of them above that
(a call's bound is the asset, a put's the strike). Refused, with the values compared:

- a price below the one or above the other;
- one that is within rounding of either (2⁻⁵¹ of the present values): what is left of it is no time value but noise;
- one whose time value is below 1e-280 of the lesser present value.

Where it is identifiable, the relative error is within 1e-13, for a forward up to e¹⁵⁰ from the strike, times how
strongly the volatility depends on the last bit of the price where that is more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing import implied_volatility_kernel as kernels
from contracts.pricing.inputs import Column, Columns, Inputs, Range
from genesis.errors import Rejected

_TIME: Final = {"t_years": Range(1e-9, 100.0, "years")}
BLACK_SCHOLES: Final = Inputs(("right", "spot", "strike", "q", "r", "t_years", "price"), narrowed=_TIME)
BLACK_76: Final = Inputs(("right", "forward", "strike", "r", "t_years", "price"), narrowed=_TIME)


@dataclass(frozen=True)
class ImpliedVolatilities:
    """The volatility of each row, 0 where none is implied; and why not, by row."""

    vol: Column
    offences: Mapping[int, str]

    def of_every_row(self) -> Column:
        """The volatilities, if every row has one.

        Raises:
            Rejected: ``no_implied_volatility``, with the first row that has none.
        """
        for row, why in self.offences.items():
            raise Rejected("no_implied_volatility", f"row {row}: {why}")
        return self.vol


def black_scholes_implied_volatility(**given: ArrayLike) -> ImpliedVolatilities:
    """The volatility at which Black-Scholes gives each price.

    Args:
        given: The columns of `BLACK_SCHOLES`, by name.

    Raises:
        Rejected: As `Inputs.checked`; not for a price that implies none, which is said by its row.
    """
    return _implied(BLACK_SCHOLES.checked(**given), kernels.black_scholes_parts)


def black_76_implied_volatility(**given: ArrayLike) -> ImpliedVolatilities:
    """The volatility at which Black-76 gives each price; the columns of `BLACK_76`, otherwise as for Black-Scholes."""
    return _implied(BLACK_76.checked(**given), kernels.black_76_parts)


def _implied(columns: Columns, parts: Callable[..., Any]) -> ImpliedVolatilities:
    rows = columns["price"].size
    moneyness, time_value, lesser, rounding, vol = (np.empty(rows) for _ in range(5))
    parts(*columns.values(), moneyness, time_value, lesser, rounding)
    kernels.implied_vols(moneyness, time_value, lesser, columns["t_years"], vol)
    floor = np.maximum(rounding, kernels.BETA_MIN * lesser)
    refused = (time_value <= floor) | (lesser - time_value <= kernels.REMAINDER_MIN * lesser + rounding)
    vol[refused] = 0.0
    found = {
        int(row): _offence(*(float(each[row]) for each in (columns["price"], time_value, lesser, rounding)))
        for row in np.flatnonzero(refused)
    }
    return ImpliedVolatilities(vol, found)


def _offence(price: float, time_value: float, lesser: float, rounding: float) -> str:
    intrinsic = price - time_value
    bound = intrinsic + lesser
    if time_value < -rounding:
        return f"price is {price!r}, below its intrinsic value {intrinsic!r}"
    if time_value > lesser + rounding:
        return f"price is {price!r}, above its bound {bound!r}"
    if time_value < 0.5 * lesser:
        return f"price is {price!r}, within rounding of its intrinsic value {intrinsic!r}: it identifies no volatility"
    return f"price is {price!r}, within rounding of its bound {bound!r}: it identifies no volatility"


def sample() -> tuple[Column, ...]:
    """A few rows through every kernel, for the guard: every region, both rights, and the ends."""
    rows: dict[str, ArrayLike] = {
        "right": np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0, -1.0]),
        "strike": np.array([100.0, 105.0, 160.0, 60.0, 100.0, 100.0, 250.0, 40.0]),
        "r": np.array([0.05, 0.05, 0.0, 0.03, 0.0, 0.0, 0.01, -0.01]),
        "t_years": np.array([0.5, 0.5, 0.25, 2.0, 1.0, 0.003, 10.0, 0.1]),
        "price": np.array([6.5, 7.25, 1e-7, 58.0, 0.015, 0.2, 80.0, 1e-30]),
    }
    scholes = black_scholes_implied_volatility(spot=100.0, q=0.01, **rows)
    return scholes.vol, black_76_implied_volatility(forward=100.0, **rows).vol
