"""What a portfolio of options may lose: full revaluation over scenarios, in integer ticks.

A scenario moves every underlying's spot and vols at once, over a horizon: returns (logarithmic) are normal, correlated;
vols move by a lognormal factor that may be correlated with the own spot. Scenario i's normals are those of
`monte_carlo_kernel.pseudo_normals` at index i, and profits are integers: any division of the scenarios gives the same
profits. Quantile and expected shortfall are taken from the sorted integers.

Source: McNeil, Frey and Embrechts, Quantitative Risk Management, second edition, sections 2.2 and 9.2.3 (definitions,
full revaluation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contracts.pricing.correlation import factor_of
from contracts.pricing.inputs import Column, Inputs, Range, columns_of
from contracts.pricing.kernel import exp
from contracts.pricing.margin_kernel import profits, shocks
from contracts.pricing.monte_carlo import NORMAL_MAX, SEED_MAX, TICKS_PER_UNIT_MAX, Shard
from contracts.pricing.monte_carlo_kernel import TICKS_MAX, pseudo_normals
from contracts.pricing.vanilla import black_scholes_price
from genesis.errors import Rejected

Ticks = NDArray[np.int64]

OPTIONS_MAX: Final = 100_000
SCENARIOS_MAX: Final = 10_000_000
CHUNK_SCENARIOS: Final = 4096
"""What is revalued at a time: an underlying's shocks and the profits stay in the innermost cache."""
SUM_MAX: Final = 1 << 62
PPM: Final = 1_000_000

_MARKET: Final = Inputs(
    ("spot", "q", "r"),
)
_SHOCKS: Final = {
    "spot_deviation": Range(0.0, 2.0),
    "vol_deviation": Range(0.0, 1.0),
    "leverage": Range(-1.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class Scenarios:
    """How the market moves: arrays over the underlyings, and the draw.

    Args:
        spot, q, r: As in `contracts.pricing.inputs`.
        spot_deviation: Of the logarithmic return over the horizon, 0 to 2.
        vol_deviation: Of the logarithm of the factor on vols, 0 to 1.
        leverage: The correlation of a factor with its own spot's return, -1 to 1.
        correlation: Of the returns.
        horizon_years: What every option's time shrinks by; an option that has less is at its expiry.
        count: How many scenarios.
        seed: From 0 to 2⁶⁴ - 1.
    """

    spot: ArrayLike
    q: ArrayLike
    r: ArrayLike
    spot_deviation: ArrayLike
    vol_deviation: ArrayLike
    leverage: ArrayLike
    correlation: ArrayLike
    horizon_years: float
    count: int
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Portfolio:
    """European options: arrays of one length.

    Args:
        underlying: Positions in the scenarios' arrays.
        right, strike, t_years, vol: As in `contracts.pricing.inputs`.
        quantity: Of options, negative when short.
        ticks_per_unit: How many ticks are one unit of price.
    """

    underlying: ArrayLike
    right: ArrayLike
    strike: ArrayLike
    t_years: ArrayLike
    vol: ArrayLike
    quantity: ArrayLike
    ticks_per_unit: int


class MarginRun:
    """A portfolio and its scenarios, checked: `run` any part of the scenarios, in any order, on any thread.

    Raises:
        Rejected: ``pricing_shape``, ``pricing_range``; ``margin_range`` for what is said above; ``margin_overflow`` for
            a portfolio whose profit could leave 63 bits.
    """

    def __init__(self, portfolio: Portfolio, scenarios: Scenarios) -> None:
        self.count = scenarios.count
        _require(1 <= scenarios.count <= SCENARIOS_MAX, f"Scenarios: 1 to {SCENARIOS_MAX}.", found=scenarios.count)
        _require(0 <= scenarios.seed <= SEED_MAX, "The seed must be from 0 to 2^64 - 1.", found=scenarios.seed)
        ticks = portfolio.ticks_per_unit
        _require(1 <= ticks <= TICKS_PER_UNIT_MAX, f"Ticks per unit: 1 to {TICKS_PER_UNIT_MAX}.", found=ticks)
        horizon = scenarios.horizon_years
        _require(0.0 <= horizon <= 10.0, "The horizon is from 0 to 10 years.", found=repr(horizon))
        self._seed = np.array([scenarios.seed & 0xFFFFFFFF, scenarios.seed >> 32], dtype=np.uint64)
        self._ticks_per_unit = float(ticks)
        self._factor = factor_of(scenarios.correlation)
        self._market = _MARKET.checked(spot=scenarios.spot, q=scenarios.q, r=scenarios.r)
        self._shocks = _checked_shocks(scenarios)
        for name, column in (*self._market.items(), *self._shocks.items()):
            fits = column.size == self._factor.shape[0]
            _require(fits, f"{name} and the correlations are of different lengths.", found=column.size)
        self._underlying = _integers("underlying", portfolio.underlying, 0, self._factor.shape[0] - 1)
        self._quantity = _integers("quantity", portfolio.quantity, -TICKS_MAX, TICKS_MAX)
        self._options, self.values_ticks = self._valued(portfolio, horizon)
        self._check_sums()

    def _valued(self, portfolio: Portfolio, horizon: float) -> tuple[dict[str, Column], Ticks]:
        """The options' columns with the time that is left at the horizon, and the value of each one now."""
        at = self._underlying
        given = {"right": portfolio.right, "strike": portfolio.strike}
        own = columns_of(**given, t_years=portfolio.t_years, vol=portfolio.vol, of=at.astype(np.float64))
        fits = own["right"].size == at.size == self._quantity.size and at.size <= OPTIONS_MAX
        _require(fits, f"The portfolio's arrays must be of one length, at most {OPTIONS_MAX}.", found=at.size)
        prices = black_scholes_price(
            right=own["right"], strike=own["strike"], t_years=own["t_years"], vol=own["vol"],
            spot=self._market["spot"][at], q=self._market["q"][at], r=self._market["r"][at],
        )  # fmt: skip
        left = np.maximum(own["t_years"] - horizon, 0.0)
        options = {"right": own["right"], "strike": own["strike"], "t_years": left, "vol": own["vol"]}
        highest = float(np.max(prices, initial=0.0)) * self._ticks_per_unit
        _require(highest < TICKS_MAX, "An option's value is more ticks than are held.", ticks_max=TICKS_MAX)
        return options, np.rint(prices * self._ticks_per_unit).astype(np.int64)

    def _check_sums(self) -> None:
        """No option's value leaves 2⁵⁰ ticks, no profit 2⁶², at the furthest that normals of `NORMAL_MAX` go."""
        market, left = self._market, float(np.max(self._options["t_years"], initial=0.0))
        spots, strikes = [], []
        for u, row in enumerate(self._factor.tolist()):
            reach = NORMAL_MAX * sum(map(abs, row)) * float(self._shocks["spot_deviation"][u])
            carry = max(0.0, -float(market["q"][u])) * left
            spots.append(float(market["spot"][u]) * exp(min(reach + carry, 700.0)))
            strikes.append(exp(min(max(0.0, -float(market["r"][u])) * left, 700.0)))
        at = self._underlying
        highest = np.maximum(np.array(spots)[at], self._options["strike"] * np.array(strikes)[at])
        highest = np.ceil(highest * self._ticks_per_unit)
        _require(bool((highest < TICKS_MAX).all()), "An option may come to more ticks than are held.", max=TICKS_MAX)
        reachable = highest.astype(np.int64).tolist()
        total = sum(2 * ticks * abs(each) for ticks, each in zip(reachable, self._quantity.tolist(), strict=True))
        if total >= SUM_MAX:
            message = "The portfolio's profit could leave 62 bits; take fewer ticks per unit."
            raise Rejected("margin_overflow", message, bound=total, bound_max=SUM_MAX)

    def shards(self, count: int) -> tuple[Shard, ...]:
        """The scenarios in at most `count` parts of whole chunks."""
        size = -(-self.count // (max(1, count) * CHUNK_SCENARIOS)) * CHUNK_SCENARIOS
        return tuple(Shard(first, min(size, self.count - first)) for first in range(0, self.count, size))

    def run(self, shard: Shard) -> Ticks:
        """The portfolio's profit in each of the shard's scenarios, in ticks: int64[scenario]."""
        inside = shard.first >= 0 and shard.count >= 1 and shard.first + shard.count <= self.count
        _require(inside, "There are no such scenarios.", first=shard.first, count=shard.count)
        found = np.zeros(shard.count, dtype=np.int64)
        for at in range(0, shard.count, CHUNK_SCENARIOS):
            self._fill(shard.first + at, found[at : at + CHUNK_SCENARIOS])
        return found

    def _fill(self, first: int, out: Ticks) -> None:
        underlyings = self._factor.shape[0]
        normals = np.empty((2 * underlyings, out.size))
        pseudo_normals(self._seed, first, normals)
        returns, vol_factors = np.empty((underlyings, out.size)), np.empty((underlyings, out.size))
        shocks(normals, self._factor, *self._shocks.values(), returns, vol_factors)
        market, options = self._market, self._options
        profits(
            self._underlying, *options.values(), self._quantity, self.values_ticks,
            market["spot"], market["r"], market["q"], self._ticks_per_unit,
            returns, vol_factors, np.empty(out.size), out,
        )  # fmt: skip


def merge(parts: Sequence[tuple[Shard, Ticks]]) -> Ticks:
    """The profits of all scenarios in the order of their indices, from parts in any order.

    Raises:
        Rejected: ``shards_incomplete``: the parts do not follow each other from scenario 0.
    """
    ordered, at = sorted(parts, key=lambda each: each[0]), 0
    for shard, found in ordered:
        if (shard.first, shard.count) != (at, found.size):
            message = "The parts are not the scenarios from the first on, each once."
            raise Rejected("shards_incomplete", message, expected=at, found=shard.first, size=found.size)
        at += shard.count
    return np.concatenate([found for _, found in ordered]) if ordered else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Risk:
    """What the worst scenarios cost, in ticks; a loss is positive.

    Args:
        value_at_risk_ticks: The loss that at most the stated share of scenarios exceeds.
        expected_shortfall_ticks: The mean of the worst scenarios that make up that share, rounded up.
    """

    value_at_risk_ticks: int
    expected_shortfall_ticks: int


def risk(profits_ticks: Ticks, tail_ppm: int) -> Risk:
    """Quantile and expected shortfall of the losses.

    Args:
        profits_ticks: int64[scenario].
        tail_ppm: The share of scenarios that is the tail, in millionths, 1 to 500,000; rounded down to whole scenarios,
            but at least one.
    """
    _require(1 <= tail_ppm <= PPM // 2, "The tail is from 1 to 500,000 millionths.", found=tail_ppm)
    _require(profits_ticks.size >= 1, "There are no profits.", found=profits_ticks.size)
    tail = max(1, profits_ticks.size * tail_ppm // PPM)
    worst = np.sort(profits_ticks)
    losses = -sum(int(each) for each in worst[:tail])
    return Risk(-int(worst[min(tail, worst.size - 1)]), -(-losses // tail))


def _checked_shocks(scenarios: Scenarios) -> dict[str, Column]:
    given = {
        "spot_deviation": scenarios.spot_deviation,
        "vol_deviation": scenarios.vol_deviation,
        "leverage": scenarios.leverage,
    }
    columns = columns_of(**given)
    for name, column in columns.items():
        allowed = _SHOCKS[name]
        inside = (column >= allowed.low) & (column <= allowed.high)
        _require(bool(inside.all()), f"{name} must be {allowed}.")
    return columns


def _integers(name: str, given: ArrayLike, low: int, high: int) -> Ticks:
    found = np.asarray(given)
    whole = found.ndim == 1 and found.dtype.kind in "iu" and bool(((found >= low) & (found <= high)).all())
    _require(whole, f"{name} must be one-dimensional, integers from {low} to {high}.")
    return np.ascontiguousarray(found, dtype=np.int64)


def _require(holds: bool, message: str, **found: int | str) -> None:
    if not holds:
        raise Rejected("margin_range", message, **found)


def sample() -> tuple[NDArray[np.generic], ...]:
    """Both kernels over a small portfolio: a golden grid, and what compiles them."""
    portfolio = Portfolio(
        underlying=np.array([0, 1, 0, 1]), right=[1.0, -1.0, -1.0, 1.0], strike=[100.0, 90.0, 120.0, 60.0],
        t_years=[0.5, 0.001, 2.0, 0.1], vol=[0.2, 0.5, 0.3, 0.0], quantity=np.array([10, -20, 5, 1]),
        ticks_per_unit=1_000_000,
    )  # fmt: skip
    scenarios = Scenarios(
        spot=[100.0, 80.0], q=[0.01, 0.0], r=[0.03, 0.02], spot_deviation=[0.02, 0.04], vol_deviation=[0.1, 0.2],
        leverage=[-0.5, 0.0], correlation=[[1.0, 0.4], [0.4, 1.0]], horizon_years=0.005, count=64, seed=3,
    )  # fmt: skip
    run = MarginRun(portfolio, scenarios)
    return run.values_ticks, run.run(Shard(0, 64))
