"""Lookbacks, watched continuously, in a form that holds for every cost of carry, zero among them.

Everything follows from what the extremum is expected to gain on what it is so far, m. For side 1 (the maximum; -1 for
the minimum) that is the vanilla option of strike m and that right, plus A s D with A the asset's present value,
s = vol √t, d1 as in the vanilla option, a = -side d1, δ = -2 side (r - q) √t / vol, and

    D = exp(-a²/2) (M(a - δ) - M(a)) / δ,      M(a) = Φ(-a) exp(a²/2),

a difference quotient of the Mills ratio: the published vol² / 2 (r - q) times a difference of two cdfs, whose densities
at their arguments are equal. For small δ it is taken from the derivatives of M at the middle, with which the limit
r = q is exact and not a case of its own.
Source: Goldman, Sosin and Gatto (1979); Conze and Viswanathan (1991); Haug, 2nd edition, sections 4.15.1 and 4.15.2;
the form is this project's.
"""

from __future__ import annotations

from typing import Any

from contracts.compiled import kernel
from contracts.pricing.kernel import INV_SQRT_2PI, exp, log, mills_ratio, normal_cdf
from contracts.pricing.tail_kernel import DEVIATION_MIN, deviation_of, exponential_slope, forward_value, weighted_cdf


@kernel
def mills_slope(c: Any, delta: Any) -> Any:
    """(M(c + δ/2) - M(c - δ/2)) / δ for c ≥ -1.1 and abs(δ) ≤ 0.05, as M'(c) + M'''(c) δ²/24 + ... to δ⁶.

    M' = c M - 1/√(2π), and the next derivatives by M⁽ⁿ⁺¹⁾ = c M⁽ⁿ⁾ + n M⁽ⁿ⁻¹⁾.
    """
    tail = mills_ratio(abs(c))
    m0 = tail if c >= 0.0 else exp(0.5 * c * c) - tail
    m1 = c * m0 - INV_SQRT_2PI
    m2 = c * m1 + m0
    m3 = c * m2 + 2.0 * m1
    m4 = c * m3 + 3.0 * m2
    m5 = c * m4 + 4.0 * m3
    m6 = c * m5 + 5.0 * m4
    m7 = c * m6 + 6.0 * m5
    square = delta * delta
    return m1 + square * (m3 / 24.0 + square * (m5 / 1920.0 + square * (m7 / 322560.0)))


@kernel
def quotient(a: Any, delta: Any) -> Any:
    """D of the module's docstring."""
    middle = a - 0.5 * delta
    exponent = -0.5 * a * a
    if abs(delta) > 0.05:
        return (weighted_cdf(-delta * middle, exponent, delta - a) - normal_cdf(-a)) / delta
    if a > -1.0:
        return -exp(exponent) * mills_slope(middle, delta)
    return -middle * exponential_slope(-delta * middle) - exp(exponent) * mills_slope(-middle, delta)


@kernel
def extremum_gain(side: Any, spot: Any, level: Any, q: Any, r: Any, t: Any, vol: Any) -> Any:
    """The present value of what the extremum at t lies beyond `level`; the spot does not lie beyond it."""
    s = deviation_of(vol, t)
    asset = spot * exp(-q * t)
    gain = forward_value(side, asset, level * exp(-r * t), s)
    if s < DEVIATION_MIN:
        return gain
    carry = (r - q) * t
    d = (log(spot / level) + carry) / s + 0.5 * s
    further = asset * s * quotient(-side * d, -2.0 * side * carry / s)
    return gain + (further if further > 0.0 else 0.0)


@kernel
def floating_prices(right: Any, spot: Any, extremum: Any, q: Any, r: Any, t_years: Any, vol: Any, price: Any) -> None:
    """Fill `price`: of the spot over its minimum (call), of the maximum over the spot (put)."""
    for i in range(price.size):
        t = t_years[i]
        held = right[i] * (spot[i] * exp(-q[i] * t) - extremum[i] * exp(-r[i] * t))
        value = held + extremum_gain(-right[i], spot[i], extremum[i], q[i], r[i], t, vol[i])
        price[i] = value if value > 0.0 else 0.0


@kernel
def fixed_prices(
    right: Any, spot: Any, strike: Any, extremum: Any, q: Any, r: Any, t_years: Any, vol: Any, price: Any
) -> None:
    """Fill `price`: of the maximum over the strike (call), of the strike over the minimum (put)."""
    for i in range(price.size):
        t = t_years[i]
        passed = right[i] * (extremum[i] - strike[i]) > 0.0
        level = extremum[i] if passed else strike[i]
        held = right[i] * (level - strike[i]) * exp(-r[i] * t)
        price[i] = held + extremum_gain(right[i], spot[i], level, q[i], r[i], t, vol[i])
