"""Single barriers, watched continuously: all eight European kinds, with rebate.

With s = vol √t, level = ln(barrier / spot), k = ln(strike / spot), and m = (r - q) t ± s²/2 (plus for the asset's part,
minus for the cash's), a term reflected at the barrier has weight w = 2 m level / s² and argument
x = (2 level - k + m) / s, and

    w - x²/2 = -((m - k) / s)²/2 - 2 level (level - k) / s²,

in which nothing cancels. Source: Reiner and Rubinstein, Breaking Down the Barriers, Risk 4 (1991); Haug, The Complete
Guide to Option Pricing Formulas, 2nd edition, section 4.17.1, whose letters A to F the terms bear.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from contracts.compiled import kernel
from contracts.pricing.kernel import exp, log, normal_cdf
from contracts.pricing.tail_kernel import DEVIATION_MIN, deviation_of, forward_value, weighted_cdf
from contracts.pricing.vanilla_kernel import intrinsic


@kernel
def direct_pair(side: Any, asset: Any, cash: Any, k: Any, drift: Any, s: Any) -> Any:
    """A Φ(side x) - C Φ(side (x - s)) with x = (drift + s² - k) / s; `drift` is (r - q - vol²/2) t."""
    x = (drift - k) / s
    return asset * normal_cdf(side * (x + s)) - cash * normal_cdf(side * x)


@kernel
def reflected_pair(side: Any, asset: Any, cash: Any, k: Any, level: Any, drift: Any, s: Any) -> Any:
    """The same of the paths reflected at the barrier, whose logarithm over the spot is `level`."""
    variance = s * s
    upper = drift + variance
    away = 2.0 * level * (level - k) / variance
    x = (upper - k) / s
    first = weighted_cdf(2.0 * upper * level / variance, -0.5 * x * x - away, side * (x + 2.0 * level / s))
    x = (drift - k) / s
    second = weighted_cdf(2.0 * drift * level / variance, -0.5 * x * x - away, side * (x + 2.0 * level / s))
    return asset * first - cash * second


@kernel
def payoff_part(
    right: Any, side: Any, knock: Any, asset: Any, cash: Any, k: Any, level: Any, drift: Any, s: Any
) -> Any:
    """The price without its rebate. `side` is 1 for a barrier below the spot, -1 for one above."""
    a = right * direct_pair(right, asset, cash, k, drift, s)
    strike_inside = side * (k - level) > 0.0
    if right * side > 0.0:
        if strike_inside:
            c = right * reflected_pair(side, asset, cash, k, level, drift, s)
            return c if knock > 0.0 else a - c
        b = right * direct_pair(right, asset, cash, level, drift, s)
        d = right * reflected_pair(side, asset, cash, level, level, drift, s)
        return a - b + d if knock > 0.0 else b - d
    if not strike_inside:
        return a if knock > 0.0 else 0.0
    b = right * direct_pair(right, asset, cash, level, drift, s)
    c = right * reflected_pair(side, asset, cash, k, level, drift, s)
    d = right * reflected_pair(side, asset, cash, level, level, drift, s)
    return b - c + d if knock > 0.0 else (a - b) + (c - d)


@kernel
def untouched_probability(side: Any, level: Any, drift: Any, s: Any) -> Any:
    """That the barrier is not touched until t (term E over its discounted rebate)."""
    x = (drift - level) / s
    reflected = weighted_cdf(2.0 * drift * level / (s * s), -0.5 * x * x, side * (x + 2.0 * level / s))
    kept = normal_cdf(side * x) - reflected
    return kept if kept > 0.0 else 0.0


@kernel
def hit_value(side: Any, level: Any, drift: Any, s: Any, rt: Any, nodes: Any, weights: Any) -> Any:
    """What 1 is worth that is paid when the barrier is touched, if it is by t (term F); `rt` is r t.

    Where rates are so far below zero that the closed form has no real λ, it is integrated by parts,
    e^(-rt) P(t) + r ∫ e^(-ru) P(u) du with P(u) the probability of a touch by u, over u = t v⁴ with the given nodes.
    """
    variance = s * s
    under_root = drift * drift + 2.0 * rt * variance
    if under_root >= 0.0:
        root = sqrt(under_root)
        plus = drift + root if drift >= 0.0 else (2.0 * rt * variance / (root - drift))
        minus = drift - root if drift <= 0.0 else -(2.0 * rt * variance / (root + drift))
        x = (drift - level) / s
        exponent = -0.5 * x * x - rt
        first = weighted_cdf(plus * level / variance, exponent, side * (level + root) / s)
        return first + weighted_cdf(minus * level / variance, exponent, side * (level - root) / s)
    total = 0.0
    for n in range(nodes.size):
        square = nodes[n] * nodes[n]
        part = square * square
        touched = 1.0 - untouched_probability(side, level, drift * part, s * square)
        total = total + weights[n] * 4.0 * square * nodes[n] * exp(-rt * part) * touched
    return exp(-rt) * (1.0 - untouched_probability(side, level, drift, s)) + rt * total


@kernel
def certain_path_value(
    right: Any, direction: Any, knock: Any, asset: Any, cash: Any, level: Any, rebate: Any, carry: Any, rt: Any
) -> Any:
    """The limit without volatility: the spot follows its forward, and touches where that reaches the barrier."""
    reached = direction * (carry - level) >= 0.0
    value = intrinsic(right, asset, cash)
    if knock > 0.0:
        return value if reached else rebate * exp(-rt)
    return rebate * exp(-rt * (level / carry)) if reached else value


@kernel
def barrier_price(
    right: Any, spot: Any, strike: Any, barrier: Any, direction: Any, knock: Any, rebate: Any,
    q: Any, r: Any, t: Any, vol: Any, touched: Any, nodes: Any, weights: Any,
) -> Any:  # fmt: skip
    """The price of one option; `touched` is 1.0 where the barrier has been reached already, else 0.0."""
    s = deviation_of(vol, t)
    rt = r * t
    carry = (r - q) * t
    asset = spot * exp(-q * t)
    cash = strike * exp(-rt)
    if touched > 0.0:
        return forward_value(right, asset, cash, s) if knock > 0.0 else rebate
    level = log(barrier / spot)
    if s < DEVIATION_MIN:
        return certain_path_value(right, direction, knock, asset, cash, level, rebate, carry, rt)
    drift = carry - 0.5 * s * s
    value = payoff_part(right, -direction, knock, asset, cash, log(strike / spot), level, drift, s)
    value = value if value > 0.0 else 0.0
    if rebate == 0.0:
        return value
    if knock > 0.0:
        return value + rebate * exp(-rt) * untouched_probability(-direction, level, drift, s)
    return value + rebate * hit_value(-direction, level, drift, s, rt, nodes, weights)


@kernel
def barrier_prices(
    right: Any, spot: Any, strike: Any, barrier: Any, direction: Any, knock: Any, rebate: Any,
    q: Any, r: Any, t_years: Any, vol: Any, touched: Any, nodes: Any, weights: Any, price: Any,
) -> None:  # fmt: skip
    """Fill `price`; every array but the nodes and their weights has one length."""
    for i in range(price.size):
        price[i] = barrier_price(
            right[i], spot[i], strike[i], barrier[i], direction[i], knock[i], rebate[i],
            q[i], r[i], t_years[i], vol[i], touched[i], nodes, weights,
        )  # fmt: skip
