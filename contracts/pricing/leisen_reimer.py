"""American and European vanilla options by the binomial tree of Leisen and Reimer.

A second, independent way to the prices of `contracts.pricing.american`, and what that module falls back to where a
boundary cannot be iterated. The tree is centred on the strike, so that the price of a European option converges with
1 / steps² and without oscillation; that of an American one converges with 1 / steps.

Source: Leisen and Reimer, "Binomial models for option valuation: examining and improving convergence", Applied
Mathematical Finance 3 (1996), pages 319 to 346 (Peizer and Pratt's inversion, method 2).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from contracts.pricing import leisen_reimer_kernel
from contracts.pricing.inputs import Column, Inputs
from genesis.errors import Rejected

INPUTS: Final = Inputs(("right", "spot", "strike", "q", "r", "t_years", "vol"))
STEPS_MIN: Final = 3
STEPS_MAX: Final = 20_001
STEPS: Final = 1001


def price(
    *,
    right: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    q: ArrayLike,
    r: ArrayLike,
    t_years: ArrayLike,
    vol: ArrayLike,
    american: bool = True,
    steps: int = STEPS,
) -> Column:
    """The value of each option in units of the strike's currency.

    For vol · √t below 1e-7, and so for t = 0 and vol = 0, the price moves along its forward for certain and is
    exercised at the best time.

    Args:
        right, spot, strike, q, r, t_years, vol: Columns as `contracts.pricing.inputs` has them.
        american: Whether the option may be exercised early.
        steps: An odd number from `STEPS_MIN` to `STEPS_MAX`; the time taken grows with its square.

    Raises:
        Rejected: ``pricing_range`` or ``pricing_shape`` for inputs that are out of range or do not fit.
    """
    if not STEPS_MIN <= steps <= STEPS_MAX or steps % 2 == 0:
        raise Rejected("pricing_range", f"steps is {steps}; it must be odd and from {STEPS_MIN} to {STEPS_MAX}")
    columns = INPUTS.checked(right=right, spot=spot, strike=strike, q=q, r=r, t_years=t_years, vol=vol)
    found = np.empty_like(columns["right"])
    even, odd, values = np.empty((3, steps + 2))
    flag = 1.0 if american else 0.0
    leisen_reimer_kernel.tree_prices(*columns.values(), flag, steps, even, odd, values, np.empty(3), found)
    return found


def sample() -> tuple[Column, ...]:
    """One small run of every kernel of this file, for the start-up guard."""
    rows: dict[str, ArrayLike] = {
        "spot": [90.0, 100.0, 110.0],
        "strike": 100.0,
        "q": 0.03,
        "r": [0.05, 0.0, -0.02],
        "t_years": 0.5,
    }
    runs = [(1.0, 0.25, True), (-1.0, 0.25, True), (-1.0, 0.25, False), (1.0, 0.0, True)]
    return tuple(price(**rows, right=right, vol=vol, american=flag, steps=101) for right, vol, flag in runs)
