"""What closed forms with reflected paths are made of: normal tails under weights that alone would overflow.

A path reflected at a level carries a weight exp(w), and the model needs exp(w) Φ(x). For small volatilities w and x²/2
are both large and nearly cancel; so each model states w - x²/2 in a form without cancellation, and these functions put
it together with the Mills ratio, whose argument is never negative.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import exp, log, mills_ratio
from contracts.pricing.vanilla_kernel import intrinsic, price_of

DEVIATION_MIN: Final = 1e-8
"""Below this vol √t a path counts as certain: the price is its limit, which is nearer than this times the spot."""


@kernel
def weighted_cdf(weight_log: Any, exponent: Any, x: Any) -> Any:
    """exp(weight_log) Φ(x), with a relative error that does not grow with the weight.

    Args:
        weight_log: The weight's logarithm; used, and to be at most 709, where x > 0.
        exponent: weight_log - x²/2, computed without their cancellation.
        x: The argument.
    """
    tail = exp(exponent) * mills_ratio(abs(x))
    return exp(weight_log) - tail if x > 0.0 else tail


@kernel
def forward_value(right: Any, forward: Any, strike: Any, s: Any) -> Any:
    """The undiscounted price on a lognormal variable of mean `forward` whose logarithm deviates by `s`.

    A strike of 0 or less is always passed. With present values in place of mean and strike, the price of the vanilla.
    """
    if strike <= 0.0:
        return intrinsic(right, forward, strike)
    return price_of(right, forward, strike, log(forward / strike), s)


@kernel
def exponential_slope(z: Any) -> Any:
    """(eᶻ - 1) / z, and 1 at 0."""
    if abs(z) > 0.5:
        return (exp(z) - 1.0) / z
    total = 1.0
    for n in range(15, 1, -1):
        total = 1.0 + total * z / n
    return total


@inlined
def deviation_of(vol: Any, t: Any) -> Any:
    """vol √t, the standard deviation of the logarithm of the spot at t."""
    return vol * sqrt(t)
