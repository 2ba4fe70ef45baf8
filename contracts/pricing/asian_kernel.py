"""What an average is made of: what is past, what is to come, and the closed form of the geometric average.

A schedule is (weight, first, spacing, points): the part of the average that is still to come, the years to the first
point that is, the years from one to the next, and their number; for a continuous average `points` is 0 and `spacing` is
the length of the window. Sources: Kemna and Vorst (1990); Clewlow and Strickland, Implementing Derivatives Models
(1998), pages 118 to 123; Haug, 2nd edition, sections 4.20.1 and 4.20.4.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

import numpy as np

from contracts.compiled import kernel
from contracts.pricing.kernel import exp, log
from contracts.pricing.tail_kernel import exponential_slope, forward_value

NOW_YEARS: Final = 1e-9
"""What is fixed within this time from now, a thirtieth of a second, is past: roundings of the spacing do not count."""


@kernel
def schedule_of(fixings: Any, first_fixing: Any, t: Any) -> Any:
    """The schedule of the module's docstring; (0, 0, 0, 1) where the whole average is past."""
    if fixings == 1.0 or t - first_fixing <= NOW_YEARS:
        return (0.0 if fixings > 0.0 and t <= NOW_YEARS else 1.0), t, 0.0, 1
    if fixings == 0.0:
        begins = first_fixing if first_fixing > 0.0 else 0.0
        return (t - begins) / (t - first_fixing), begins, t - begins, 0
    if t <= NOW_YEARS:
        return 0.0, 0.0, 0.0, 1
    spacing = (t - first_fixing) / (fixings - 1.0)
    points = np.int64(fixings)
    past = np.int64(0)
    if first_fixing <= NOW_YEARS:
        past = np.int64((NOW_YEARS - first_fixing) / spacing) + 1
        past = past if past < points else points - 1
    return (fixings - past) / fixings, first_fixing + past * spacing, spacing, points - past


@kernel
def geometric_prices(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any, fixings: Any, first_fixing_years: Any,
    average: Any, price: Any,
) -> None:  # fmt: skip
    """Fill `price`: the logarithm of the average is normal, so that the price is Black's on its mean."""
    for i in range(price.size):
        t = t_years[i]
        weight, first, spacing, points = schedule_of(fixings[i], first_fixing_years[i], t)
        mean_time = first + 0.5 * spacing * (points - 1 if points > 0 else 1)
        step = (points - 1) * (2 * points - 1) / (6.0 * points) if points > 0 else 1.0 / 3.0
        variance = weight * weight * vol[i] * vol[i] * (first + spacing * step)
        drift = r[i] - q[i] - 0.5 * vol[i] * vol[i]
        mean = (1.0 - weight) * log(average[i]) + weight * (log(spot[i]) + drift * mean_time)
        forward = exp(mean + 0.5 * variance)
        price[i] = exp(-r[i] * t) * forward_value(right[i], forward, strike[i], sqrt(variance))


@kernel
def mean_growth(carry: Any, first: Any, spacing: Any, points: Any) -> Any:
    """The forward of the average of what is to come, over the spot: a geometric series, or its integral.

    The series is summed from its largest term, whichever end that is.
    """
    if points == 0:
        return exp(carry * first) * exponential_slope(carry * spacing)
    step = carry * spacing
    if step > 0.0:
        last = carry * (first + spacing * (points - 1))
        return exp(last) * (exponential_slope(-step * points) / exponential_slope(-step))
    return exp(carry * first) * (exponential_slope(step * points) / exponential_slope(step))
