"""What the models answer with beside a price, and the sign and unit of each.

A price is what the holder's claim is worth now, in the unit of the strike. With it, per option held long:

    delta   its change per 1.0 of the spot (Black-76: of the forward)
    gamma   the change of delta per 1.0 of the same
    vega    its change per 1.0 of volatility, so per 100 points; per point it is a hundredth
    theta   its change per year that passes: minus the derivative by `t_years`, so mostly negative
    rho     its change per 1.0 of the rate r, q held (Black-76: the forward held)
    vanna   the change of delta per 1.0 of volatility
    volga   the change of vega per 1.0 of volatility
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.pricing.inputs import Column


@dataclass(frozen=True)
class Greeks:
    """Price and first greeks, one number a row in each array."""

    price: Column
    delta: Column
    gamma: Column
    vega: Column
    theta: Column
    rho: Column

    @classmethod
    def empty(cls, rows: int) -> Greeks:
        """Arrays of that length for a kernel to fill."""
        return cls(*(np.empty(rows) for _ in range(6)))

    def columns(self) -> tuple[Column, ...]:
        """The six arrays in the order of their names above: a kernel's last arguments."""
        return self.price, self.delta, self.gamma, self.vega, self.theta, self.rho


@dataclass(frozen=True)
class SecondOrder:
    """How delta and vega change with volatility, one number a row in each array."""

    vanna: Column
    volga: Column
