"""What an option pays along simulated prices, in integer ticks: the seam between simulation and contracts.

A payoff is anything with the two methods of `Payoff`: it is given observations as columns of int64 and returns one
int64 a scenario. Those below are written out; the contract machine's kernel offers the same for any program.
Everything is integer arithmetic, so neither the order nor the number of scenarios in a call matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.pricing.monte_carlo_kernel import TICKS_MAX, geometric_means
from genesis.errors import Rejected

Ticks = NDArray[np.int64]

CALL: Final = 1
PUT: Final = -1
WEIGHT_UNIT: Final = 1_000_000
"""Weights of a basket are in millionths."""


class Payoff(Protocol):
    """What a simulation asks of an option; a frozen value that can be sent to another process."""

    def check(self, underlyings: int) -> None:
        """Refuse terms that are out of range, or another number of underlyings than the terms name.

        Raises:
            Rejected: ``payoff_terms``.
        """

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        """What is paid at the last time.

        Args:
            prices_ticks: int64[underlying, time, scenario], from 0 to `TICKS_MAX`.

        Returns:
            int64[scenario], within `TICKS_MAX` of zero.
        """


def _refuse_unless(holds: bool, message: str, **found: int | str) -> None:
    if not holds:
        raise Rejected("payoff_terms", message, **found)


def _check_right(right: int) -> None:
    _refuse_unless(right in (CALL, PUT), "A right is 1 for a call, -1 for a put.", right=right)


def _check_ticks(**named: int) -> None:
    for name, value in named.items():
        _refuse_unless(0 <= value <= TICKS_MAX, f"{name} must be from 0 to {TICKS_MAX}.", value=value)


def _check_one(underlyings: int) -> None:
    _refuse_unless(underlyings == 1, "This payoff is on one underlying.", underlyings=underlyings)


def _intrinsic(right: int, prices: Ticks, strikes: Ticks | int) -> Ticks:
    gains: Ticks = np.maximum(right * (prices - strikes), 0)
    return gains


@dataclass(frozen=True)
class Vanilla:
    """max(±(price at the last time - strike), 0)."""

    right: int
    strike_ticks: int

    def check(self, underlyings: int) -> None:
        """See `Payoff`."""
        _check_right(self.right)
        _check_ticks(strike_ticks=self.strike_ticks)
        _check_one(underlyings)

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        """See `Payoff`."""
        return _intrinsic(self.right, prices_ticks[0, -1], self.strike_ticks)


@dataclass(frozen=True)
class Asian:
    """max(±(average of all prices - strike), 0); an arithmetic average is rounded down, a geometric one to nearest."""

    right: int
    strike_ticks: int
    geometric: bool = False

    def check(self, underlyings: int) -> None:
        """See `Payoff`."""
        _check_right(self.right)
        _check_ticks(strike_ticks=self.strike_ticks)
        _check_one(underlyings)

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        """See `Payoff`."""
        prices = prices_ticks[0]
        if self.geometric:
            averages = np.empty(prices.shape[1], dtype=np.int64)
            geometric_means(np.maximum(prices, 1), np.empty(prices.shape[1]), averages)
        else:
            averages = prices.sum(axis=0) // prices.shape[0]
        return _intrinsic(self.right, averages, self.strike_ticks)


@dataclass(frozen=True)
class Barrier:
    """A vanilla option that a touch at one of the times knocks out or in; the rebate is paid at the last time instead.

    Args:
        up: Whether the barrier is touched from below (price ≥ barrier) or from above (price ≤ barrier).
        knock_in: Whether the touch makes the option (else it ends it).
    """

    right: int
    strike_ticks: int
    barrier_ticks: int
    up: bool
    knock_in: bool
    rebate_ticks: int = 0

    def check(self, underlyings: int) -> None:
        """See `Payoff`."""
        _check_right(self.right)
        _check_ticks(strike_ticks=self.strike_ticks, barrier_ticks=self.barrier_ticks, rebate_ticks=self.rebate_ticks)
        _check_one(underlyings)

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        """See `Payoff`."""
        prices = prices_ticks[0]
        touched = (prices.max(axis=0) >= self.barrier_ticks) if self.up else (prices.min(axis=0) <= self.barrier_ticks)
        alive = touched == self.knock_in
        return np.where(alive, _intrinsic(self.right, prices[-1], self.strike_ticks), self.rebate_ticks)


@dataclass(frozen=True)
class Lookback:
    """On the extremum over the times: fixed strike (best price against it), or floating (last price against the worst).

    Args:
        strike_ticks: None for a floating strike.
    """

    right: int
    strike_ticks: int | None = None

    def check(self, underlyings: int) -> None:
        """See `Payoff`."""
        _check_right(self.right)
        _check_ticks(strike_ticks=self.strike_ticks or 0)
        _check_one(underlyings)

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        """See `Payoff`."""
        prices = prices_ticks[0]
        high, low = prices.max(axis=0), prices.min(axis=0)
        if self.strike_ticks is None:
            return _intrinsic(self.right, prices[-1], low if self.right == CALL else high)
        return _intrinsic(self.right, high if self.right == CALL else low, self.strike_ticks)


@dataclass(frozen=True)
class Basket:
    """A vanilla option on Σ weight · price at the last time, rounded down; weights in millionths, of either sign."""

    right: int
    strike_ticks: int
    weights_ppm: tuple[int, ...]

    def check(self, underlyings: int) -> None:
        """See `Payoff`."""
        _check_right(self.right)
        _check_ticks(strike_ticks=self.strike_ticks)
        found = len(self.weights_ppm)
        _refuse_unless(found == underlyings, "A basket has a weight for each underlying.", weights=found)
        total = sum(map(abs, self.weights_ppm))
        _refuse_unless(total <= 8 * WEIGHT_UNIT, "Weights together are at most 8.", total_ppm=total)

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        """See `Payoff`."""
        whole = np.zeros(prices_ticks.shape[2], dtype=np.int64)
        rest = np.zeros_like(whole)
        for weight, prices in zip(self.weights_ppm, prices_ticks[:, -1], strict=True):
            whole += weight * (prices // WEIGHT_UNIT)
            rest += weight * (prices % WEIGHT_UNIT)
        return _intrinsic(self.right, whole + rest // WEIGHT_UNIT, self.strike_ticks)
