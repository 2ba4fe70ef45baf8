"""One-touch and no-touch options: what is paid depends on whether the spot ever reaches a barrier, watched always.

`right` says from where, as the published tables do: 1 (a call) for a barrier that is reached from below, -1 (a put)
from above. A spot at or beyond the barrier has reached it. Paid is `cash`, or the asset, which at the hit is worth the
barrier. With ``t_years = 0`` only what has been reached pays. What pays at the hit has greeks too, what pays at expiry
prices only.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contracts.pricing import barrier as knock_out
from contracts.pricing import touch_kernel as kernels
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns, Inputs, Range
from contracts.pricing.touch_kernel import AT_EXPIRY, NEVER_HIT

_COLUMNS: Final = ("right", "spot", "barrier", "q", "r", "t_years", "vol")
_VOL: Final = Range(0.001, 10.0, "a square root of a year")
CASH_AT_HIT: Final = Inputs((*_COLUMNS, "cash"))
ASSET_AT_HIT: Final = Inputs(_COLUMNS)
CASH_AT_EXPIRY: Final = Inputs((*_COLUMNS, "cash"), narrowed={"vol": _VOL})
ASSET_AT_EXPIRY: Final = Inputs(_COLUMNS, narrowed={"vol": _VOL})


def cash_at_hit_price(**given: ArrayLike) -> Column:
    """The price of `cash`, paid when the barrier is reached, of each row.

    Args:
        given: The columns of `CASH_AT_HIT`, by name.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: Haug, The Complete Guide to Option Pricing Formulas, second edition, section 4.19.5.
    """
    columns = CASH_AT_HIT.checked(**given)
    return knock_out.barrier_price(**_rebate_of(columns, columns["cash"]))


def cash_at_hit_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments and errors as `cash_at_hit_price`, differences as `barrier_greeks`."""
    columns = CASH_AT_HIT.checked(**given)
    return knock_out.barrier_greeks(**_rebate_of(columns, columns["cash"]))


def asset_at_hit_price(**given: ArrayLike) -> Column:
    """The price of one asset, handed over when the barrier is reached; the columns of `ASSET_AT_HIT`."""
    columns = ASSET_AT_HIT.checked(**given)
    return knock_out.barrier_price(**_rebate_of(columns, _worth_at_hit(columns)))


def asset_at_hit_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments as `asset_at_hit_price`. What has been reached moves with the spot."""
    columns = ASSET_AT_HIT.checked(**given)
    greeks = knock_out.barrier_greeks(**_rebate_of(columns, _worth_at_hit(columns)))
    greeks.delta[_is_reached(columns)] = 1.0
    return greeks


def _is_reached(columns: Columns) -> NDArray[np.bool_]:
    reached: NDArray[np.bool_] = columns["right"] * (columns["spot"] - columns["barrier"]) >= 0.0
    return reached


def _worth_at_hit(columns: Columns) -> Column:
    return np.where(_is_reached(columns), columns["spot"], columns["barrier"])


def _rebate_of(columns: Columns, amount: Column) -> dict[str, Column]:
    """The knock-out whose rebate, paid at the hit, is `amount`: with its strike at its barrier it pays nothing else."""
    right, barrier = columns["right"], columns["barrier"]
    market = {name: columns[name] for name in ("spot", "q", "r", "t_years", "vol")}
    out = np.full_like(right, -1.0)
    return {
        "right": right,
        "direction": right,
        "knock": out,
        "strike": barrier,
        "barrier": barrier,
        "rebate": amount,
        **market,
    }


def cash_if_touched_price(**given: ArrayLike) -> Column:
    """The price of `cash`, paid at expiry if the barrier was reached; the columns of `CASH_AT_EXPIRY`."""
    return _price(CASH_AT_EXPIRY, given, AT_EXPIRY)


def asset_if_touched_price(**given: ArrayLike) -> Column:
    """The price of one asset at expiry if the barrier was reached; the columns of `ASSET_AT_EXPIRY`."""
    return _price(ASSET_AT_EXPIRY, given, AT_EXPIRY)


def cash_if_untouched_price(**given: ArrayLike) -> Column:
    """The price of `cash`, paid at expiry if the barrier was never reached; the columns of `CASH_AT_EXPIRY`."""
    return _price(CASH_AT_EXPIRY, given, NEVER_HIT)


def asset_if_untouched_price(**given: ArrayLike) -> Column:
    """The price of one asset at expiry if the barrier was never reached; the columns of `ASSET_AT_EXPIRY`."""
    return _price(ASSET_AT_EXPIRY, given, NEVER_HIT)


def _price(inputs: Inputs, given: dict[str, ArrayLike], when: int) -> Column:
    columns = inputs.checked(**given)
    price = np.empty(columns["spot"].size)
    cash = columns.get("cash", columns["spot"])
    kernels.touch_prices(int("cash" not in columns), when, *(columns[name] for name in _COLUMNS), cash, price)
    return price


def sample() -> tuple[Column, ...]:
    """A few rows of every kind, for the guard."""
    rows: dict[str, ArrayLike] = {
        "right": np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]),
        "spot": 100.0,
        "barrier": np.array([105.0, 95.0, 160.0, 60.0, 90.0, 99.0]),
        "q": np.array([0.01, 0.0, 0.2, 0.03, 0.0, 0.05]),
        "r": np.array([0.05, 0.05, 0.0, 0.03, 0.1, 0.01]),
        "t_years": np.array([0.5, 0.5, 0.25, 2.0, 1.0, 0.0]),
        "vol": np.array([0.2, 0.3, 0.4, 0.6, 0.1, 0.2]),
    }
    return (
        cash_at_hit_price(cash=15.0, **rows),
        asset_at_hit_price(**rows),
        cash_if_touched_price(cash=15.0, **rows),
        asset_if_touched_price(**rows),
        cash_if_untouched_price(cash=15.0, **rows),
        asset_if_untouched_price(**rows),
    )
