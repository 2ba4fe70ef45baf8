"""Double barriers, watched continuously, by two series of which a fixed, small number of terms is always enough.

The logarithm of the spot (0 now) is absorbed at both ends, `low` and `high`, of a corridor of width w. What remains of
its density is a sum over images, which falls off fast where τ = vol² t / w² is small, and a sum over the corridor's
eigenfunctions, fast where it is large. The payoff is integrated over each term in closed form.

- τ below 0.1: the path itself, its two nearest images of the same sign, at ±2 w, and the four nearest reflected ones.
  With c the image's place, M = (r - q) t ± s²/2 (plus for the asset's part), s = vol √t and e an end of the integral,
  a tail is exp(E) times a Mills ratio, where E = -((e - M) / s)²/2 - c (c - 2 e) / (2 s²) has no term above 0. So no
  image counts for more than exp(-c (c - 2 e) / (2 s²)), whatever the drift, and those left out for less than
  exp(-4 / τ) < 5e-18 each.
- τ of 0.1 and more: 9 eigenfunctions; those left out are below exp(1/(2 τ) - 50 π² τ) < 1e-19 each.

Both in units of the asset's and the strike's present values. Rebates at the touch are summed likewise.
Source: Ikeda and Kunitomo, Pricing Options with Curved Boundaries, Mathematical Finance 2 (1992), for flat ones; Haug,
2nd edition, section 4.17.3; Pelsser, Pricing Double Barrier Options Using Laplace Transforms, Finance and Stochastics 4
(2000); the bounds are this project's.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import kernel
from contracts.pricing.kernel import exp, log, mills_ratio
from contracts.pricing.tail_kernel import (
    DEVIATION_MIN,
    deviation_of,
    exponential_slope,
    forward_value,
    weighted_cdf,
)
from contracts.pricing.vanilla_kernel import intrinsic

SWITCH: Final = 0.1
PI: Final = 3.141592653589793


@kernel
def image_part(c: Any, begin: Any, end: Any, moved: Any, s: Any) -> Any:
    """One image's part between `begin` and `end`: exp(M c / s²) times the normal's probability there about c + M."""
    below = (begin - c - moved) / s
    above = (end - c - moved) / s
    inverse = 0.5 / (s * s)
    x = (begin - moved) / s
    tail_below = exp(-0.5 * x * x - c * (c - 2.0 * begin) * inverse) * mills_ratio(abs(below))
    x = (end - moved) / s
    tail_above = exp(-0.5 * x * x - c * (c - 2.0 * end) * inverse) * mills_ratio(abs(above))
    if below > 0.0:
        return tail_below - tail_above
    if above < 0.0:
        return tail_above - tail_below
    return exp(2.0 * moved * c * inverse) - tail_below - tail_above


@kernel
def part_by_images(low: Any, high: Any, begin: Any, end: Any, moved: Any, s: Any) -> Any:
    """The seven images' sum, the largest last."""
    width = high - low
    total = image_part(2.0 * width, begin, end, moved, s) + image_part(-2.0 * width, begin, end, moved, s)
    for n in range(2):
        total = total - image_part(2.0 * (low - (1 - n) * width), begin, end, moved, s)
        total = total - image_part(2.0 * (high + (1 - n) * width), begin, end, moved, s)
    return total + image_part(0.0, begin, end, moved, s)


@kernel
def sine_and_cosine(u: Any) -> Any:
    """sin πu and cos πu for u from 0 to 1, within 2e-16, by their series about ½."""
    x = PI * (u - 0.5)
    square = x * x
    even, odd = 1.0, 1.0
    for n in range(22, 0, -2):
        even = 1.0 - square * even / (n * (n - 1))
        odd = 1.0 - square * odd / (n * (n + 1))
    return even, -x * odd


@kernel
def part_by_eigenfunctions(low: Any, high: Any, begin: Any, end: Any, moved: Any, kappa: Any, s: Any) -> Any:
    """The nine eigenfunctions' sum; `kappa` is M / s², the slope of the integrand's exponential."""
    width = high - low
    sine, cosine = sine_and_cosine(-low / width)
    begin_sine, begin_cosine = sine_and_cosine((begin - low) / width)
    end_sine, end_cosine = sine_and_cosine((end - low) / width)
    begin_x, end_x = (begin - moved) / s, (end - moved) / s
    inverse = 1.0 / (s * s)
    begin_weight = exp(0.5 * (begin * begin * inverse - begin_x * begin_x))
    end_weight = exp(0.5 * (end * end * inverse - end_x * end_x))
    wave = PI / width
    decay = 0.5 * wave * wave * s * s
    s1, s2, s3 = sine, begin_sine, end_sine
    c1, c2, c3 = cosine, begin_cosine, end_cosine
    total = 0.0
    for n in range(1, 10):
        theta = n * wave
        whole = end_weight * (kappa * s3 - theta * c3) - begin_weight * (kappa * s2 - theta * c2)
        total = total + s1 * exp(-decay * (n * n)) * whole / (kappa * kappa + theta * theta)
        s1, c1 = s1 * cosine + c1 * sine, c1 * cosine - s1 * sine
        s2, c2 = s2 * begin_cosine + c2 * begin_sine, c2 * begin_cosine - s2 * begin_sine
        s3, c3 = s3 * end_cosine + c3 * end_sine, c3 * end_cosine - s3 * end_sine
    return total * 2.0 / width


@kernel
def surviving_part(share: Any, low: Any, high: Any, begin: Any, end: Any, drift: Any, s: Any) -> Any:
    """Of the cash (share 0) or the asset (share 1), the part that is never absorbed and ends from `begin` to `end`.

    Args:
        drift: (r - q - vol²/2) t.
    """
    moved = drift + share * s * s
    width = high - low
    if s * s < SWITCH * width * width:
        value = part_by_images(low, high, begin, end, moved, s)
    else:
        value = part_by_eigenfunctions(low, high, begin, end, moved, share + drift / (s * s), s)
    return value if value > 0.0 else 0.0


@kernel
def knocked_out_value(right: Any, asset: Any, cash: Any, k: Any, low: Any, high: Any, drift: Any, s: Any) -> Any:
    """The option that dies at both barriers, without rebate; k = ln(strike / spot)."""
    begin, end = low, high
    if right > 0.0:
        begin = k if k > low else low
    else:
        end = k if k < high else high
    if begin >= end:
        return 0.0
    assets = asset * surviving_part(1.0, low, high, begin, end, drift, s)
    value = right * (assets - cash * surviving_part(0.0, low, high, begin, end, drift, s))
    return value if value > 0.0 else 0.0


@kernel
def touch_by_images(wall: Any, width: Any, drift: Any, root: Any, s: Any, rt: Any) -> Any:
    """What 1 is worth that is paid when `wall` is touched first: the three nearest of its images.

    Args:
        wall: The logarithm of the barrier over the spot.
        root: √(drift² + 2 r t s²).
    """
    variance = s * s
    near = abs(wall)
    toward = drift if wall < 0.0 else -drift
    rate = toward + root if toward >= 0.0 else 2.0 * rt * variance / (root - toward)
    x = (wall - drift) / s
    total = 0.0
    for n in range(-1, 2):
        place = near + 2.0 * n * width
        far = abs(place)
        exponent = -0.5 * x * x - 0.5 * (far * far - near * near) / variance - rt
        weight_log = -(near * rate + (far - near) * root) / variance
        both = weighted_cdf(weight_log, exponent, (root - far) / s) + weighted_cdf(0.0, exponent, -(root + far) / s)
        total = total + (both if place > 0.0 else -both)
    return total


@kernel
def touch_at_last(wall: Any, other: Any, width: Any, drift: Any, root: Any, variance: Any, rt: Any) -> Any:
    """What 1 is worth that is paid when `wall` is touched before `other`, whenever that is."""
    toward = drift if wall < 0.0 else -drift
    rate = toward + root if toward >= 0.0 else 2.0 * rt * variance / (root - toward)
    twice = -2.0 * root / variance
    share = abs(other) / width * exponential_slope(twice * abs(other)) / exponential_slope(twice * width)
    return exp(-abs(wall) * rate / variance) * share


@kernel
def touch_after_expiry(low: Any, high: Any, drift: Any, s: Any, rt: Any) -> Any:
    """The part of that at either wall which falls after t: nine eigenfunctions."""
    width = high - low
    sine, cosine = sine_and_cosine(-low / width)
    wave = PI / width
    inverse = 0.5 / (s * s)
    at_low = exp((low * low - (low - drift) * (low - drift)) * inverse - rt)
    at_high = exp((high * high - (high - drift) * (high - drift)) * inverse - rt)
    sn, cn = sine, cosine
    total = 0.0
    for n in range(1, 10):
        theta = n * wave
        decay = 0.5 * theta * theta * s * s
        both = at_low + at_high if n & 1 == 1 else at_low - at_high
        total = total + theta * sn * exp(-decay) / (rt + drift * drift * inverse + decay) * both
        sn, cn = sn * cosine + cn * sine, cn * cosine - sn * sine
    return total * s * s / width


@kernel
def touch_value(low: Any, high: Any, drift: Any, s: Any, rt: Any, nodes: Any, weights: Any) -> Any:
    """What 1 is worth that is paid when either barrier is touched, if one is by t; `rt` is r t.

    Where rates are so far below zero that `root` would not be real, it is integrated by parts,
    e^(-rt) P(t) + r ∫ e^(-ru) P(u) du with P(u) the probability of a touch by u, over u = t v⁴ with the given nodes.
    """
    width, variance = high - low, s * s
    under_root = drift * drift + 2.0 * rt * variance
    if under_root >= 0.0:
        root = sqrt(under_root)
        if variance < SWITCH * width * width:
            value = touch_by_images(low, width, drift, root, s, rt)
            return value + touch_by_images(high, width, drift, root, s, rt)
        value = touch_at_last(low, high, width, drift, root, variance, rt)
        value = value + touch_at_last(high, low, width, drift, root, variance, rt)
        value = value - touch_after_expiry(low, high, drift, s, rt)
        return value if value > 0.0 else 0.0
    total = 0.0
    for n in range(nodes.size):
        square = nodes[n] * nodes[n]
        part = square * square
        kept = surviving_part(0.0, low, high, low, high, drift * part, s * square)
        total = total + weights[n] * 4.0 * square * nodes[n] * exp(-rt * part) * (1.0 - kept)
    return exp(-rt) * (1.0 - surviving_part(0.0, low, high, low, high, drift, s)) + rt * total


@kernel
def certain_double_value(knock: Any, gain: Any, low: Any, high: Any, carry: Any, rebate: Any, rt: Any) -> Any:
    """The limit without volatility: the spot follows its forward, and touches where that reaches a barrier."""
    reached = carry <= low or carry >= high
    if knock > 0.0:
        return gain if reached else rebate * exp(-rt)
    wall = low if carry < 0.0 else high
    return rebate * exp(-rt * (wall / carry)) if reached else gain


@kernel
def double_barrier_price(
    right: Any, spot: Any, strike: Any, barrier: Any, barrier_high: Any, knock: Any, rebate: Any,
    q: Any, r: Any, t: Any, vol: Any, touched: Any, nodes: Any, weights: Any,
) -> Any:  # fmt: skip
    """The price of one option; `touched` is 1.0 where a barrier has been reached already, else 0.0."""
    s = deviation_of(vol, t)
    rt = r * t
    asset = spot * exp(-q * t)
    cash = strike * exp(-rt)
    if touched > 0.0:
        return forward_value(right, asset, cash, s) if knock > 0.0 else rebate
    low, high = log(barrier / spot), log(barrier_high / spot)
    carry = (r - q) * t
    if s < DEVIATION_MIN:
        return certain_double_value(knock, intrinsic(right, asset, cash), low, high, carry, rebate, rt)
    drift = carry - 0.5 * s * s
    value = knocked_out_value(right, asset, cash, log(strike / spot), low, high, drift, s)
    if knock > 0.0:
        value = forward_value(right, asset, cash, s) - value
        value = value if value > 0.0 else 0.0
        if rebate == 0.0:
            return value
        return value + rebate * exp(-rt) * surviving_part(0.0, low, high, low, high, drift, s)
    return value if rebate == 0.0 else value + rebate * touch_value(low, high, drift, s, rt, nodes, weights)


@kernel
def double_barrier_prices(
    right: Any, spot: Any, strike: Any, barrier: Any, barrier_high: Any, knock: Any, rebate: Any,
    q: Any, r: Any, t_years: Any, vol: Any, touched: Any, nodes: Any, weights: Any, price: Any,
) -> None:  # fmt: skip
    """Fill `price`; every array but the nodes and their weights has one length."""
    for i in range(price.size):
        price[i] = double_barrier_price(
            right[i], spot[i], strike[i], barrier[i], barrier_high[i], knock[i], rebate[i],
            q[i], r[i], t_years[i], vol[i], touched[i], nodes, weights,
        )  # fmt: skip
