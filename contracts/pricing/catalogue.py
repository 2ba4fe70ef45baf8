"""Every model that there is, by kind of option and exercise: one table for all who price by name.

A row that is not here is not supported. Columns have the names that `contracts.pricing.inputs` gives them; the signs
that a model takes for a kind of barrier are looked up here from the kind's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from numpy.typing import ArrayLike

from contracts.pricing import american, asian, barrier, digital, double_barrier, lookback, touch, vanilla
from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Inputs

_Answer = TypeVar("_Answer")
EUROPEAN: Final = "european"
AMERICAN: Final = "american"
EXERCISES: Final = (EUROPEAN, AMERICAN)
KINDS: Final = (
    "vanilla", "digital_cash", "digital_asset", "gap", "barrier", "double_barrier", "asian_arithmetic",
    "asian_geometric", "lookback_fixed", "lookback_floating",
)  # fmt: skip
"""Every kind that a row may name, whether or not a model stands behind it."""
GREEKS: Final = ("delta", "gamma", "vega", "theta", "rho")

_SINGLE: Final[Mapping[str, Mapping[str, float]]] = {
    "down_out": {"direction": -1.0, "knock": -1.0},
    "down_in": {"direction": -1.0, "knock": 1.0},
    "up_out": {"direction": 1.0, "knock": -1.0},
    "up_in": {"direction": 1.0, "knock": 1.0},
}
_DOUBLE: Final[Mapping[str, Mapping[str, float]]] = {"out": {"knock": -1.0}, "in": {"knock": 1.0}}


@dataclass(frozen=True)
class Model:
    """How options of one kind and exercise are valued.

    Args:
        inputs: The columns it takes, their ranges and relations.
        price: Prices from those columns by name.
        greeks: An object with `price` and each of `GREEKS`, from the same.
        barrier_kinds: For each name of a kind of barrier, the columns that it stands for; empty where there is none.
    """

    inputs: Inputs
    price: Callable[..., Column]
    greeks: Callable[..., Greeks]
    barrier_kinds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are given as numbers: all but those that a kind of barrier stands for."""
        signs = {name for columns in self.barrier_kinds.values() for name in columns}
        return tuple(name for name in self.inputs.names if name not in signs)


def _with_strike(inputs: Inputs) -> Inputs:
    """The same columns, with the barrier given as the strike."""
    names = tuple("strike" if name == "barrier" else name for name in inputs.names)
    return Inputs(names, inputs.relations, inputs.narrowed)


def _by_strike(model: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """An American digital pays when the spot first reaches its strike: it is a one-touch with that barrier."""

    def valued(*, strike: ArrayLike, **given: ArrayLike) -> _Answer:
        return model(barrier=strike, **given)

    return valued


MODELS: Final[Mapping[tuple[str, str], Model]] = {
    ("vanilla", EUROPEAN): Model(vanilla.BLACK_SCHOLES, vanilla.black_scholes_price, vanilla.black_scholes_greeks),
    ("vanilla", AMERICAN): Model(american.INPUTS, american.price, american.greeks),
    ("digital_cash", EUROPEAN): Model(digital.CASH, digital.cash_or_nothing_price, digital.cash_or_nothing_greeks),
    ("digital_cash", AMERICAN): Model(
        _with_strike(touch.CASH_AT_HIT), _by_strike(touch.cash_at_hit_price), _by_strike(touch.cash_at_hit_greeks)
    ),
    ("digital_asset", EUROPEAN): Model(digital.ASSET, digital.asset_or_nothing_price, digital.asset_or_nothing_greeks),
    ("digital_asset", AMERICAN): Model(
        _with_strike(touch.ASSET_AT_HIT), _by_strike(touch.asset_at_hit_price), _by_strike(touch.asset_at_hit_greeks)
    ),
    ("gap", EUROPEAN): Model(digital.GAP, digital.gap_price, digital.gap_greeks),
    ("barrier", EUROPEAN): Model(barrier.BARRIER, barrier.barrier_price, barrier.barrier_greeks, _SINGLE),
    ("double_barrier", EUROPEAN): Model(
        double_barrier.DOUBLE_BARRIER,
        double_barrier.double_barrier_price,
        double_barrier.double_barrier_greeks,
        _DOUBLE,
    ),
    ("asian_arithmetic", EUROPEAN): Model(
        asian.ARITHMETIC, asian.asian_arithmetic_price, asian.asian_arithmetic_greeks
    ),
    ("asian_geometric", EUROPEAN): Model(asian.GEOMETRIC, asian.asian_geometric_price, asian.asian_geometric_greeks),
    ("lookback_fixed", EUROPEAN): Model(lookback.FIXED, lookback.lookback_fixed_price, lookback.lookback_fixed_greeks),
    ("lookback_floating", EUROPEAN): Model(
        lookback.FLOATING, lookback.lookback_floating_price, lookback.lookback_floating_greeks
    ),
}
