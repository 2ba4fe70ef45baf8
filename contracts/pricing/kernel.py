"""The arithmetic under every price: the same bits on every machine, compiled or interpreted.

Rules, which `tests/contracts/test_kernel_lint.py` holds against the syntax tree of this file:

1. Nothing but ``+ - * /``, `sqrt`, `abs`, comparison, choice, shifts and bit casts between float64 and int64: what
   IEEE 754 rounds in one way only. No libm, no ufunc, no reduction, no ``**``, no fused multiply-add, no fastmath.
2. Constants are literals, frozen: another constant is another result.
3. What a model computes with these functions stands in a kernel file of its own, under the same rules.
4. Ranges and NaN are the callers' matter: no function here is given what its docstring excludes. NaN and conversions
   out of range have other bits on other machines, so none may arise.

The functions are also plain Python: under ``NUMBA_DISABLE_JIT=1`` they give the same bits.
Long polynomials are evaluated by Horner's rule for their even and for their odd part: one multiplication more than the
rule for the whole, half as long a chain. The order is part of the result. What a function costs is its multiplications
and additions: an AVX-512 processor that does one vector of them a cycle divides beside them.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

import numpy as np

from contracts.compiled import inlined

EXP_ARGUMENT_MIN: Final = -708.0
EXP_ARGUMENT_MAX: Final = 709.0
INV_SQRT_2PI: Final = 0.3989422804014327
_ROUNDER: Final = 6755399441055744.0
"""1.5 · 2⁵²: added to a number below 2⁵¹, it leaves the nearest integer, ties to even, in the low bits."""
_ROUNDER_BITS: Final = 0x4338000000000000
_SQRT_HALF_BITS: Final = 0x3FE6A09E667F3BCD
_INV_LN2: Final = 1.4426950408889634
_LN2: Final = 0.6931471805599453
_LN2_HIGH: Final = 0.6931471803691238
_LN2_LOW: Final = 1.9082149292705877e-10
"""ln 2 in two parts, the first with 21 trailing zero bits, so that its product with an exponent is exact (fdlibm)."""


@inlined
def exp(x: Any) -> Any:
    """eˣ for finite x, within 1 ulp; 0 below `EXP_ARGUMENT_MIN`, e⁷⁰⁹ above `EXP_ARGUMENT_MAX`."""
    return exp_of_negative(709.0 if x > 709.0 else x)


@inlined
def exp_of_negative(x: Any) -> Any:
    """eˣ for x up to `EXP_ARGUMENT_MAX`, which is not looked at; 0 below `EXP_ARGUMENT_MIN`."""
    return 0.0 if x < -708.0 else exp_within(-708.0 if x < -708.0 else x)


@inlined
def exp_within(x: Any) -> Any:
    """eˣ for x from `EXP_ARGUMENT_MIN` to `EXP_ARGUMENT_MAX`, which is not looked at.

    x = k ln 2 + r with abs(r) ≤ ln 2 / 2; the polynomial stands for (eʳ - 1 - r) / r². What rounding takes from r is at
    most a quarter of the last place of eʳ. 2ᵏ is multiplied by adding k to the exponent, which stays a normal one.
    Source: the reduction of fdlibm, `e_exp.c`; the coefficients are a minimax fit of this project.
    """
    shifted = x * _INV_LN2 + _ROUNDER
    k = shifted - _ROUNDER
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    r2 = r * r
    even = 0.0013888888917690603 + r2 * (2.480152055701783e-05 + r2 * 2.762043894863442e-07)
    even = 0.5000000000000001 + r2 * (0.04166666666662317 + r2 * even)
    odd = 0.0001984126986342035 + r2 * (2.755726789174553e-06 + r2 * 2.510065503606659e-08)
    odd = 0.16666666666666669 + r2 * (0.008333333333329989 + r2 * odd)
    mantissa = 1.0 + (r + r2 * (even + r * odd))
    return np.int64(np.float64(mantissa).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)).view(np.float64)


@inlined
def log(x: Any) -> Any:
    """The natural logarithm of a positive, finite, normal x, within 1 ulp.

    x = 2ᵏ m with m in [√½, √2); log m by a polynomial in s² with s = f / (2 + f), f = m - 1.
    Source: fdlibm, `e_log.c`, whose coefficients these are.
    """
    bits = np.float64(x).view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    m = np.int64(bits - (exponent << 52)).view(np.float64)
    k = np.int64(exponent + _ROUNDER_BITS).view(np.float64) - _ROUNDER
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    low = 0.2857142874366239 + z * (0.22222198432149784 + z * (0.1818357216161805 + z * 0.15313837699209373))
    tail = z * (0.6666666666666735 + z * (0.3999999999940942 + z * (low + z * z * z * z * 0.14798198605116586)))
    half_square = 0.5 * f * f
    return k * _LN2_HIGH - ((half_square - (s * (half_square + tail) + k * _LN2_LOW)) - f)


@inlined
def log_ratio(a: Any, b: Any) -> Any:
    """ln(a / b) for a and b from 1e-150 to 1e150, within 3 ulp: near a = b too, where a rounding of a / b costs digits.

    a / b = 2ᵏ m with m in [⅔, 3/2], since k is the difference of the logarithms read off the bits, which are straight
    between powers of two, to the nearest; ln m = 2 artanh s with s = (m - 1) / (m + 1), by a polynomial in s² that
    starts with 2 exactly, a minimax fit of this project.
    """
    a_bits = np.float64(a).view(np.int64)
    exponent = (a_bits - np.float64(b).view(np.int64) + 0x0008000000000000) >> 52
    m = np.int64(a_bits - (exponent << 52)).view(np.float64)
    k = np.int64(exponent + _ROUNDER_BITS).view(np.float64) - _ROUNDER
    s = (m - b) / (m + b)
    z = s * s
    z2 = z * z
    odd = 0.6666666666667268 + z2 * (0.285714293928297 + z2 * (0.18186349198314883 + z2 * 0.1536727214875087))
    even = 0.3999999999617691 + z2 * (0.22222138684374945 + z2 * 0.1525031564287004)
    return k * _LN2 + s * (2.0 + z * (odd + z * even))


@inlined
def mills_ratio(a: Any) -> Any:
    """Φ(-a) exp(a²/2) for a from 0 to 1e30, the tail without its exponential: relative error within 1e-15 up to 40.

    P / (2 P + a T) with polynomials P and T of degree 9 without a negative coefficient, so that nothing cancels;
    exactly ½ at 0, and falling from there, whatever is rounded in P. A minimax fit of this project to [0, 150], whose
    error may grow with the third power of a beyond 40: 6e-15 at 140, 2e-13 where a has no bound.
    """
    y = a * a
    even = 1096.610535409101 + y * 10.431499601387568
    even = 149151.01806555648 + y * (25301.788060399354 + y * even)
    even = 121498.75483242734 + y * even
    odd = 134.1908956985681 + y * 0.39894228040136026
    odd = 73760.05679260581 + y * (6220.766996300345 + y * odd)
    odd = 191577.7603640754 + y * odd
    above = even + a * odd
    even = 2506.5610741264686 + y * 25.350007286777394
    even = 284531.59821556945 + y * (53677.14146061773 + y * even)
    even = 193883.9612751281 + y * even
    odd = 316.5036941615641 + y
    odd = 149215.91202704233 + y * (13734.29609705999 + y * odd)
    odd = 338912.13883184 + y * odd
    return above / (2.0 * above + a * (even + a * odd))


@inlined
def normal_cdf(x: Any) -> Any:
    """Φ(x) for abs(x) up to 1e150: absolute error within 2.3e-16, in the lower tail relative error within 2e-13.

    ``normal_cdf(x) == 1 - normal_cdf(-x)`` for positive x, bit for bit; exactly ½ at 0; 0 below about -37.6.
    """
    size = abs(x)
    a = size if size < 40.0 else 40.0
    tail = exp_of_negative(-0.5 * a * a) * mills_ratio(a)
    return 1.0 - tail if x > 0.0 else tail


@inlined
def normal_density(x: Any) -> Any:
    """φ(x) = exp(-x²/2) / √(2π) for abs(x) up to 1e150, relative error within 2e-13; 0 beyond about 37.6."""
    return exp(-0.5 * x * x) * INV_SQRT_2PI


@inlined
def inverse_normal_cdf(p: Any) -> Any:
    """The x with Φ(x) = p, for p from 1e-300 to 1 - 2⁻⁵³, relative error within 2e-15 (at 0.5: exactly 0).

    Source: Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988), pages 477 to 484.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        above = 2509.0809287301226727 * r + 33430.575583588128105
        above = ((above * r + 67265.770927008700853) * r + 45921.953931549871457) * r + 13731.693765509461125
        above = ((above * r + 1971.5909503065514427) * r + 133.14166789178437745) * r + 3.387132872796366608
        below = 5226.495278852545925 * r + 28729.085735721942674
        below = ((below * r + 39307.89580009271061) * r + 21213.794301586595867) * r + 5394.1960214247511077
        below = ((below * r + 687.1870074920579083) * r + 42.313330701600911252) * r + 1.0
        return q * above / below
    r = sqrt(-log(p if q < 0.0 else 1.0 - p))
    if r <= 5.0:
        r = r - 1.6
        above = 7.7454501427834140764e-4 * r + 0.0227238449892691845833
        above = ((above * r + 0.24178072517745061177) * r + 1.27045825245236838258) * r + 3.64784832476320460504
        above = ((above * r + 5.7694972214606914055) * r + 4.6303378461565452959) * r + 1.42343711074968357734
        below = 1.05075007164441684324e-9 * r + 5.475938084995344946e-4
        below = ((below * r + 0.0151986665636164571966) * r + 0.14810397642748007459) * r + 0.68976733498510000455
        below = ((below * r + 1.6763848301838038494) * r + 2.05319162663775882187) * r + 1.0
    else:
        r = r - 5.0
        above = 2.01033439929228813265e-7 * r + 2.71155556874348757815e-5
        above = ((above * r + 0.0012426609473880784386) * r + 0.026532189526576123093) * r + 0.29656057182850489123
        above = ((above * r + 1.7848265399172913358) * r + 5.4637849111641143699) * r + 6.6579046435011037772
        below = 2.04426310338993978564e-15 * r + 1.4215117583164458887e-7
        below = ((below * r + 1.8463183175100546818e-5) * r + 7.868691311456132591e-4) * r + 0.0148753612908506148525
        below = ((below * r + 0.13692988092273580531) * r + 0.59983220655588793769) * r + 1.0
    return -(above / below) if q < 0.0 else above / below
