"""The arithmetic average's distribution by recursion backwards over its points, from which the price is a sum.

Seen from the spot at point j, the sum of what is to come is w + R X, with R the growth to the next point and X the sum
seen from there. Over its own mean, with a the part of the mean that point j itself has, and M = exp(s Z - s²/2),

    X_j = a_j + (1 - a_j) M X_{j+1},   X_n = 1.

V = ln(M X) is kept as masses on a grid of spacing d = 0.65 s (at most 0.8, less where the first point is nearer than
the others and s is large): one step sends the mass at u to a normal of
deviation s about ln(a + (1 - a) eᵘ) - s²/2, again read off on the grid. That is the trapezoidal rule over an analytic
integrand, whose error is of order exp(-(π s / d)²), under 1e-10, and not of a power of d. The last step is Black's
formula under the masses. Normals are cut at 6.8 + s deviations, masses where they and their share in the mean are
below 1e-14.

More than `POINTS_MAX` points, or a continuous average, are priced by coarser sums with 6, 12 and 24 intervals (whose
weights keep what the ends add), and the price as a function of 1/intervals² is carried on to the wanted number by the
parabola through the three: the trapezoidal rule's error in the distribution has even powers alone.
Source: the recursion is that of Carverhill and Clewlow, Flexible Convolution, Risk 3 (1990), and Benhamou, Fast Fourier
Transform for Discrete Asian Options (2002); the quadrature without interpolation and the extrapolation are this
project's.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

import numpy as np

from contracts.compiled import kernel
from contracts.pricing.asian_kernel import mean_growth, schedule_of
from contracts.pricing.kernel import INV_SQRT_2PI, exp, log
from contracts.pricing.tail_kernel import forward_value
from contracts.pricing.vanilla_kernel import intrinsic

POINTS_MAX: Final = 25
CENTRE: Final = 640
SIZE: Final = 1281
"""The grid has `CENTRE` cells on each side of 0: enough for vol √t of 5 and any number of points."""
MASS_MIN: Final = 1e-14
CELL: Final = 0.65
CELL_MAX: Final = 0.8
REACH: Final = 6.8
SMALL: Final = 1e-4
"""Below this vol √t the logarithm is normal to 1e-9 of the spot, with the variance of the recursion made linear."""


@kernel
def spread_masses(
    masses: Any, target: Any, growth: Any, table: Any, a: Any, d: Any, s: Any, reach: Any, low: Any, high: Any
) -> Any:
    """One step of the recursion, from `masses` into `target`; `growth` holds eᵘ, `table` the normal at whole cells.

    Returns:
        The first and the last cell that hold more than `MASS_MIN`.
    """
    shift = 0.5 * s * s / d
    margin = reach + np.int64(shift) + 2
    begin = low - margin if low > margin else np.int64(0)
    end = high + margin if high + margin < SIZE else np.int64(SIZE)
    for i in range(begin, end):
        target[i] = 0.0
    ratio = d / s
    square = ratio * ratio
    for i in range(low, high + 1):
        position = log(a + (1.0 - a) * growth[i]) / d - shift + CENTRE
        if position > reach and position < SIZE - 1 - reach:
            cell = np.int64(position + 0.5)
            offset = position - cell
            factor = exp(square * offset)
            inverse = 1.0 / factor
            up = masses[i] * exp(-0.5 * square * offset * offset)
            down = up
            target[cell] = target[cell] + up * table[0]
            for k in range(1, reach + 1):
                up = up * factor
                down = down * inverse
                target[cell + k] = target[cell + k] + up * table[k]
                target[cell - k] = target[cell - k] + down * table[k]
    first, last = end, begin
    for i in range(begin, end):
        if target[i] > MASS_MIN or target[i] * growth[i] > MASS_MIN:
            first = i if i < first else first
            last = i
    return first, last


@kernel
def fill_tables(growth: Any, table: Any, d: Any, s: Any) -> Any:
    """Fill eᵘ over the cells and the normal over a step; returns how many cells the normal reaches."""
    ratio = d / s
    reach = np.int64((REACH + s) / ratio) + 1
    for k in range(reach + 1):
        table[k] = exp(-0.5 * ratio * ratio * k * k) * ratio * INV_SQRT_2PI
    for i in range(SIZE):
        growth[i] = exp((i - CENTRE) * d)
    return reach


@kernel
def weighted_value(
    side: Any, masses: Any, growth: Any, low: Any, high: Any, a: Any, forward: Any, strike: Any, s: Any
) -> Any:
    """The option on forward (a + (1 - a) eᵘ) M under the masses of u, in ascending order."""
    total = 0.0
    for i in range(low, high + 1):
        total = total + masses[i] * forward_value(side, forward * (a + (1.0 - a) * growth[i]), strike, s)
    return total


@kernel
def value_before_close_first(
    side: Any, masses: Any, growth: Any, low: Any, high: Any,
    a: Any, a_next: Any, forward: Any, strike: Any, first_s: Any, s: Any,
) -> Any:  # fmt: skip
    """The same where the first point is so close that Black's formula over it would be too sharp for the grid.

    The growth to the first point is summed over 27 places half of its deviations apart; the formula is taken over the
    step to the second, with what the first adds taken from the strike. Where the first is closer still, and s not so
    large that the sum is no smooth function of the growth, the nine nodes of Gauss and Hermite are as good.
    """
    nodes = (0.0, 1.0232556637891326, 2.07684797867783, 3.20542900285647, 4.512745863399783)
    weights = (
        0.40634920634920635, 0.24409750289493945, 0.04991640676521787, 0.002789141321231769, 2.2345844007746583e-05,
    )  # fmt: skip
    closer = first_s < 0.32 * s and s < 0.3
    side_count = 4 if closer else 13
    total = 0.0
    for k in range(-side_count, side_count + 1):
        place = k if k > 0 else -k
        node = nodes[place if closer else 0]
        z = (node if k > 0 else -node) if closer else 0.5 * k
        weight = weights[place] if closer else 0.5 * INV_SQRT_2PI * exp(-0.5 * z * z)
        moved = forward * exp(first_s * z - 0.5 * first_s * first_s)
        value = weighted_value(side, masses, growth, low, high, a_next, (1.0 - a) * moved, strike - a * moved, s)
        total = total + weight * value
    return total


@kernel
def sum_value(
    side: Any, forward: Any, strike: Any, first_s: Any, s: Any, growth_a_step: Any,
    first_weight: Any, weight: Any, last_weight: Any, points: Any,
    parts: Any, masses: Any, target: Any, growth: Any, table: Any,
) -> Any:  # fmt: skip
    """The undiscounted option on a weighted sum at equally spaced points, of mean `forward`.

    Args:
        first_s, s: Deviations of the logarithm to the first point, and from one to the next.
        growth_a_step: The forward's growth from one point to the next.
        first_weight, weight, last_weight: Of the first point, those between, and the last; only ratios matter.
        parts, masses, target, growth, table: Room to work in.
    """
    if points == 1 or strike <= 0.0:
        return forward_value(side, forward, strike, first_s)
    mean = last_weight
    variance = s * s
    for j in range(points - 2, -1, -1):
        own = first_weight if j == 0 else weight
        mean = own + growth_a_step * mean
        parts[j] = own / mean
        variance = (1.0 - parts[j]) * (1.0 - parts[j]) * variance + (s * s if j > 0 else first_s * first_s)
    if first_s * first_s + (points - 1) * s * s < SMALL * SMALL:
        return forward_value(side, forward, strike, sqrt(variance))
    least = 0.05 if points <= 3 else 0.2  # a narrower grid serves instead, which few points can afford
    close = first_s < (0.8 * s if s < 0.3 else least * s)
    narrow = s if close or first_s > 0.8 * s else 1.25 * first_s
    d = CELL * narrow if CELL * narrow < CELL_MAX else CELL_MAX
    reach = fill_tables(growth, table, d, s)
    masses[CENTRE] = 1.0
    low, high = np.int64(CENTRE), np.int64(CENTRE)
    a = 0.0
    for j in range(points - 2, 1 if close else 0, -1):
        low, high = spread_masses(masses, target, growth, table, a, d, s, reach, low, high)
        masses, target = target, masses
        a = parts[j]
    if close:
        a_next = parts[1] if points > 2 else 1.0
        if points > 2:
            low, high = spread_masses(masses, target, growth, table, a, d, s, reach, low, high)
            masses, target = target, masses
        return value_before_close_first(side, masses, growth, low, high, parts[0], a_next, forward, strike, first_s, s)
    low, high = spread_masses(masses, target, growth, table, a, d, s, reach, low, high)
    return weighted_value(side, target, growth, low, high, parts[0], forward, strike, first_s)


@kernel
def coarse_value(
    side: Any, forward: Any, known: Any, strike: Any, first: Any, spacing: Any, points: Any, intervals: Any,
    carry: Any, vol: Any, parts: Any, masses: Any, target: Any, growth: Any, table: Any,
) -> Any:  # fmt: skip
    """The option on the sum with `intervals` instead of points - 1, or in place of the integral (points 0).

    A sum over m = points - 1 intervals is m times the trapezoidal rule and half of each end, whatever stands for the
    rule. `known` is the spot times the weight of what is to come: where the window begins now, the first point is no
    longer uncertain and goes to the strike.
    """
    whole = points - 1.0 if points > 0 else 1.0
    weight = whole / intervals
    half = 0.5 * weight + (0.5 if points > 0 else 0.0)
    step = spacing * weight
    s = vol * sqrt(step)
    fresh = first > 0.0
    fixed = 0.0 if fresh else known * 0.5 / intervals
    return sum_value(
        side, forward - fixed, strike - fixed, vol * sqrt(first) if fresh else s, s, exp(carry * step),
        half if fresh else weight, weight, half, intervals + 1 if fresh else intervals,
        parts, masses, target, growth, table,
    )  # fmt: skip


@kernel
def parabola(at6: Any, at12: Any, at24: Any, points: Any) -> Any:
    """Through x = 36 / intervals² = 1, 1/4 and 1/16, at the wanted number of intervals (points 0: x = 0)."""
    x = 36.0 / ((points - 1.0) * (points - 1.0)) if points > 0 else 0.0
    first_slope = (at6 - at12) / 0.75
    second_slope = (at12 - at24) / 0.1875
    curve = (first_slope - second_slope) / 0.9375
    value = at24 + (x - 0.0625) * (second_slope + (x - 0.25) * curve)
    return value if value > 0.0 else 0.0


@kernel
def arithmetic_price(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t: Any, vol: Any, fixings: Any, first_fixing: Any,
    average: Any, parts: Any, masses: Any, target: Any, growth: Any, table: Any,
) -> Any:  # fmt: skip
    """The price of one option: of the side that is out of the money, the other one by parity."""
    weight, first, spacing, points = schedule_of(fixings, first_fixing, t)
    carry = r - q
    forward = spot * weight * mean_growth(carry, first, spacing, points)
    left = strike - (1.0 - weight) * average
    discount = exp(-r * t)
    gain = intrinsic(right, forward, left)
    if left <= 0.0 or weight == 0.0:
        return discount * gain
    if points == 1:
        return discount * forward_value(right, forward, left, vol * sqrt(first))
    side = 1.0 if left > forward else -1.0
    exact = points > 0 and points <= POINTS_MAX
    at6, at12, at24 = 0.0, 0.0, 0.0
    for n in range(1 if exact else 3):
        at6, at12 = at12, at24
        at24 = coarse_value(
            side, forward, spot * weight, left, first, spacing, points, points - 1 if exact else 6 << n, carry, vol,
            parts, masses, target, growth, table,
        )  # fmt: skip
    value = at24 if exact else parabola(at6, at12, at24, points)
    return discount * (gain + value)


@kernel
def arithmetic_prices(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any, fixings: Any, first_fixing_years: Any,
    average: Any, parts: Any, masses: Any, target: Any, growth: Any, table: Any, price: Any,
) -> None:  # fmt: skip
    """Fill `price`; the five arrays before it are room to work in, `POINTS_MAX` and four times `SIZE` long."""
    for i in range(price.size):
        price[i] = arithmetic_price(
            right[i], spot[i], strike[i], q[i], r[i], t_years[i], vol[i], fixings[i], first_fixing_years[i],
            average[i], parts, masses, target, growth, table,
        )  # fmt: skip
