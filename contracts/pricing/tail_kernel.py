"""What closed forms with reflected paths are made of: normal tails under weights that alone would overflow.

A path reflected at a level carries a weight exp(w), and the model needs exp(w) Φ(x). For small volatilities w and x²/2
are both large and nearly cancel; so each model states w - x²/2 in a form without cancellation, and these functions put
it together with the Mills ratio, whose argument is never negative.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import exp, log, mills_ratio, normal_cdf

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


@inlined
def certain_value(right: Any, asset: Any, cash: Any) -> Any:
    """What an option is worth whose asset is certain: the positive part of right (asset - cash), in present values."""
    gain = right * (asset - cash)
    return gain if gain > 0.0 else 0.0


@kernel
def forward_value(right: Any, forward: Any, strike: Any, deviation: Any) -> Any:
    """The undiscounted price on a lognormal variable of mean `forward` whose logarithm deviates by `deviation`.

    The option out of the money is computed and the other one follows by parity, so that both keep their digits; a
    strike of 0 or less is always passed. Source: Black (1976), equation 16.
    """
    gain = certain_value(right, forward, strike)
    if strike <= 0.0 or deviation < DEVIATION_MIN:
        return gain
    side = 1.0 if strike > forward else -1.0
    d = log(forward / strike) / deviation + 0.5 * deviation
    value = side * (forward * normal_cdf(side * d) - strike * normal_cdf(side * (d - deviation)))
    return gain + (value if value > 0.0 else 0.0)


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
