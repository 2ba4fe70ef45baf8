"""What a pricing function accepts: columns of equal length, each within its range, and how they must relate.

Every public function of `contracts.pricing` takes its arguments by name as arrays (or scalars, which stand for every
row), asks its `Inputs` for checked columns, and hands those to a kernel, which relies on them: a NaN or a number out of
range never reaches compiled code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genesis.errors import Rejected

Column = NDArray[np.float64]
Columns = Mapping[str, Column]

ROWS_MAX: Final = 10_000_000
CALL: Final = 1.0
PUT: Final = -1.0
SIGNS: Final = ("right", "direction", "knock")
"""Columns that hold 1 or -1 and nothing between."""


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included; nothing that is not finite is ever in."""

    low: float
    high: float
    unit: str = ""

    def holds(self, values: Column) -> bool:
        """Whether every number is in: the least and the greatest are, which a NaN among them would be itself."""
        return values.size == 0 or bool(values.min() >= self.low and values.max() <= self.high)

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}{self.unit and ' ' + self.unit}"


_AMOUNT: Final = Range(1e-9, 1e12)
_AMOUNT_OR_NONE: Final = Range(0.0, 1e12)
RANGES: Final[Mapping[str, Range]] = {
    "right": Range(PUT, CALL, "(1 for a call, -1 for a put, nothing between)"),
    "direction": Range(-1.0, 1.0, "(1 for a barrier above the spot, -1 for one below, nothing between)"),
    "knock": Range(-1.0, 1.0, "(1 for in, -1 for out, nothing between)"),
    "spot": _AMOUNT,
    "forward": _AMOUNT,
    "strike": _AMOUNT,
    "second_strike": _AMOUNT,
    "price": _AMOUNT_OR_NONE,
    "r": Range(-1.0, 5.0, "a year, continuous"),
    "q": Range(-1.0, 5.0, "a year, continuous"),
    "t_years": Range(0.0, 100.0, "years"),
    "vol": Range(0.0, 10.0, "a square root of a year"),
    "barrier": _AMOUNT,
    "barrier_high": _AMOUNT,
    "rebate": _AMOUNT_OR_NONE,
    "cash": _AMOUNT_OR_NONE,
    "fixings": Range(0.0, 10_000.0, "(0 for a continuous average)"),
    "first_fixing_years": Range(-100.0, 100.0, "years"),
    "average_so_far": _AMOUNT_OR_NONE,
    "extremum_so_far": _AMOUNT,
    "log_moneyness": Range(-100.0, 100.0, "(ln strike / forward)"),
    "svi_a": Range(-100.0, 100.0),
    "svi_b": Range(0.0, 100.0),
    "svi_rho": Range(-1.0, 1.0),
    "svi_m": Range(-50.0, 50.0),
    "svi_sigma": Range(1e-6, 50.0),
}
"""Outside these no market quotes; inside them no kernel overflows. `Inputs` may narrow one."""


@dataclass(frozen=True)
class Relation:
    """Something that must hold within each row, beyond each column's range: `text` says it, with the columns' names."""

    text: str
    columns: tuple[str, ...]
    holds: Callable[[Columns], NDArray[np.bool_]]


@dataclass(frozen=True)
class Inputs:
    """The columns that a model takes, the ranges that it narrows, and its relations."""

    names: tuple[str, ...]
    relations: tuple[Relation, ...] = ()
    narrowed: Mapping[str, Range] | None = None

    def range_of(self, name: str) -> Range:
        return (self.narrowed or {}).get(name, RANGES[name])

    def offences(self, columns: Columns) -> dict[int, str]:
        """The first thing that is wrong in each row that has something wrong, by row.

        Args:
            columns: Every name of `names`, arrays of one length.
        """
        found: dict[int, str] = {}
        for name in self.names:
            allowed, values = self.range_of(name), columns[name]
            if name not in SIGNS and allowed.holds(values):
                continue
            inside = (values >= allowed.low) & (values <= allowed.high)
            inside &= abs(values) == 1.0 if name in SIGNS else True
            for row in np.flatnonzero(~inside):
                found.setdefault(int(row), f"{name} is {values[row]:g}; it must be {allowed}")
        for relation in self.relations:
            # Rows that are out of range are among these: what they overflow to is of no interest.
            with np.errstate(over="ignore", invalid="ignore"):
                broken = np.flatnonzero(~relation.holds(columns))
            for row in broken:
                values_text = ", ".join(f"{name} {columns[name][row]:g}" for name in relation.columns)
                found.setdefault(int(row), f"{relation.text}; here {values_text}")
        return found

    def checked(self, **given: ArrayLike) -> dict[str, Column]:
        """`given` as contiguous columns of one length, every row of which is within ranges and relations.

        Args:
            given: Every name of `names`: one-dimensional arrays of one length, or scalars, which stand for every row.

        Raises:
            Rejected: ``pricing_shape`` for arrays that do not fit together or are too long, ``pricing_range`` for the
                first row that holds something wrong.
        """
        columns = columns_of(**{name: given[name] for name in self.names})
        offences = self.offences(columns)
        if offences:
            row = min(offences)
            raise Rejected("pricing_range", f"row {row}: {offences[row]}")
        return columns


def columns_of(**given: ArrayLike) -> dict[str, Column]:
    """Arrays of one length and scalars as contiguous float64 columns of that length (1 when all are scalars).

    Raises:
        Rejected: ``pricing_shape``: two lengths, more than one dimension, or more than `ROWS_MAX` rows.
    """
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in given.items()}
    lengths = {name: array.size for name, array in arrays.items() if array.ndim}
    if any(array.ndim > 1 for array in arrays.values()) or len(set(lengths.values())) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise Rejected("pricing_shape", f"columns must be one-dimensional and of one length; here {shapes}")
    rows = max(lengths.values(), default=1)
    if rows > ROWS_MAX:
        raise Rejected("pricing_shape", f"{rows} rows; at most {ROWS_MAX}")
    return {name: np.ascontiguousarray(np.broadcast_to(array, (rows,))) for name, array in arrays.items()}
