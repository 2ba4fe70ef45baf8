"""Average-price (Asian) options, European: on the arithmetic or the geometric average against a fixed strike.

When the average is taken: with `fixings` N of 2 or more, at N times of equal spacing, the first of them
`first_fixing_years` from now and the last at `t_years`, both included; with 1, at `t_years`; with 0, continuously from
`first_fixing_years` to `t_years`. Times are from now and below zero in the past. What is fixed at or before now (to
within 1e-9 years) is past, and its average is `average_so_far`, of the same kind as the option's; 0 stands for the
spot, which is right where the only past fixing is now. Where nothing is past it must be 0: another one is refused,
since it would not be looked at. (A continuous average that begins now may have one, which weighs nothing yet.)

Greeks hold the past average fixed where it is given; one that is not moves with the spot, so that they are those of the
moment before a fixing that is now. Theta is that between fixings.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing.asian_arithmetic_kernel import POINTS_MAX, SIZE, arithmetic_prices
from contracts.pricing.asian_kernel import NOW_YEARS, geometric_prices
from contracts.pricing.bumped import bumped_greeks
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns, Inputs, Relation

VARIANCE_MAX: Final = 25.0
_NAMES: Final = (
    "right", "spot", "strike", "q", "r", "t_years", "vol", "fixings", "first_fixing_years", "average_so_far",
)  # fmt: skip
_WHOLE: Final = Relation("fixings must be a whole number", ("fixings",), lambda c: c["fixings"] == c["fixings"].round())
_IN_ORDER: Final = Relation(
    "the first fixing must not come after the last, which is at expiry",
    ("first_fixing_years", "t_years"),
    lambda c: (c["first_fixing_years"] <= c["t_years"]) | (c["fixings"] == 1.0),
)
_BOUNDED: Final = Relation(
    f"vol² t_years must be at most {VARIANCE_MAX:g} for an arithmetic average",
    ("vol", "t_years"),
    lambda c: c["vol"] * c["vol"] * c["t_years"] <= VARIANCE_MAX,
)
_PAST: Final = Relation(
    "average_so_far has a meaning where first_fixing_years is at or below 0, or t_years is 0",
    ("average_so_far", "first_fixing_years", "t_years", "fixings"),
    lambda c: (
        (c["average_so_far"] == 0.0)
        | (c["t_years"] <= NOW_YEARS)
        | ((c["first_fixing_years"] <= NOW_YEARS) & (c["fixings"] != 1.0))
    ),
)
GEOMETRIC: Final = Inputs(_NAMES, (_WHOLE, _IN_ORDER, _PAST))
ARITHMETIC: Final = Inputs(_NAMES, (_WHOLE, _IN_ORDER, _BOUNDED, _PAST))


def asian_arithmetic_price(**given: ArrayLike) -> Column:
    """The price on the arithmetic average of each row, in the unit of spot and strike.

    For vol √t_years up to 1.5 the error is below 1e-6 of the forward of the average, up to 0.7 below 1e-8; up to the
    5 that are allowed it is below 1e-3. (Held against quadrature, Linetsky's values, and twice as many intervals.)

    Args:
        given: The columns of `ARITHMETIC`, by name; `fixings` counts the past ones too.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: see `asian_arithmetic_kernel`.
    """
    return _arithmetic(ARITHMETIC.checked(**given))


def asian_arithmetic_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments as `asian_arithmetic_price`, differences as `bumped_greeks`."""
    columns = ARITHMETIC.checked(**given)
    return bumped_greeks(_arithmetic, columns, scale=_scale(columns))


def asian_geometric_price(**given: ArrayLike) -> Column:
    """The price on the geometric average of each row, relative error below 1e-12 of the forward.

    Args:
        given: The columns of `GEOMETRIC`, by name.

    Raises:
        Rejected: As `Inputs.checked`.

    Source: Kemna and Vorst (1990) for the continuous average; Clewlow and Strickland, Implementing Derivatives Models
    (1998), pages 118 to 123, for fixings.
    """
    return _geometric(GEOMETRIC.checked(**given))


def asian_geometric_greeks(**given: ArrayLike) -> Greeks:
    """Price and greeks of each row; arguments as `asian_geometric_price`, differences as `bumped_greeks`."""
    columns = GEOMETRIC.checked(**given)
    return bumped_greeks(_geometric, columns, scale=_scale(columns))


def sample() -> tuple[Column, ...]:
    """A few rows through each kernel: few, many, endless, near and past fixings; a volatility that is nearly none."""
    rows: dict[str, ArrayLike] = {
        "right": [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 1.0],
        "spot": 100.0,
        "strike": [96.0, 101.0, 110.0, 90.0, 104.0, 100.0, 40.0, 100.0],
        "q": 0.03125,
        "r": 0.0625,
        "t_years": [1.0, 0.75, 0.5, 1.0, 2.0, 1.0, 0.25, 1.0],
        "vol": [0.25, 0.5, 1.5, 0.375, 0.25, 0.125, 0.5, 1e-6],
        "fixings": [4.0, 3.0, 2.0, 40.0, 0.0, 0.0, 9.0, 5.0],
        "first_fixing_years": [0.25, 0.03125, 0.0, 0.0625, 0.0, -1.0, -2.0, 0.125],
        "average_so_far": [0.0, 0.0, 0.0, 0.0, 0.0, 102.0, 98.0, 0.0],
    }
    return asian_arithmetic_price(**rows), asian_geometric_price(**rows)


def _average_of(columns: Columns) -> Column:
    """The past average, the spot in place of one that is not known: so that it moves with the spot."""
    known = columns["average_so_far"]
    return np.where(known == 0.0, columns["spot"], known)


def _scale(columns: Columns) -> Column:
    """Half of vol √t: an average moves by less than the spot."""
    return 0.5 * columns["vol"] * np.sqrt(columns["t_years"])


def _arithmetic(columns: Columns) -> Column:
    price = np.empty_like(columns["spot"])
    room = np.empty(POINTS_MAX), *(np.empty(SIZE) for _ in range(4))
    arithmetic_prices(*(columns[name] for name in _NAMES[:-1]), _average_of(columns), *room, price)
    return price


def _geometric(columns: Columns) -> Column:
    price = np.empty_like(columns["spot"])
    geometric_prices(*(columns[name] for name in _NAMES[:-1]), _average_of(columns), price)
    return price
