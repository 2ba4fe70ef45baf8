"""The volatility that a European price implies: four steps of Halley's method, the same for every row.

Per 1 of the lesser present value (see `contracts.pricing.vanilla_kernel`), what is out of the money is worth

    b(s) = Φ(-z1) - eˣ Φ(-z2),    z1 = x/s - s/2,  z2 = x/s + s/2,  x = abs(ln(A / C)),  s = vol √t,

which rises from 0 to 1 with slope φ(z1), and is convex up to s = √(2x), where its slope is greatest. Newton's method on
b itself would be slow on both sides, so a root is sought of what is nearly straight there:

    lower   1 / ln b - 1 / ln β     β below b(√(2x))
    middle  b - β                   up to halfway between b(√(2x)) and 1
    upper   ln((1 - β) / (1 - b))   beyond

Iterates stay where nothing under- or overflows, and what a region divides by is not 0 in the other two either, since
every row computes all three. For s below 0.04 b is a series in s/2 about x/s: the difference of tails loses digits.
Source: Jäckel, Let's Be Rational, Wilmott 75 (2015), for the three regions; guesses and series are this project's.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import INV_SQRT_2PI, exp_of_negative, exp_within, log, log_ratio, mills_ratio

BETA_MIN: Final = 1e-280
REMAINDER_MIN: Final = 4.440892098500626e-16
"""2⁻⁵¹: what rounding alone may leave of a sum of numbers about 1."""
DEVIATIONS_MAX: Final = 36.5
S_MAX: Final = 40.0
SERIES_BELOW: Final = 0.02
SQRT_2PI: Final = 2.5066282746310002
MONEYNESS_MIN: Final = 1e-24
"""For the guesses alone, which divide by it."""


@inlined
def value_of(x: Any, s: Any) -> Any:
    """b, 1 - b, and the slope of b, at `s`.

    The series is Taylor's for mills(h - t) - mills(h + t), by mills'(h) = h mills(h) - φ(0) and, in turn,
    mills⁽ⁿ⁺¹⁾ = h mills⁽ⁿ⁾ + n mills⁽ⁿ⁻¹⁾; what is left out is below 1e-16 of it.
    """
    h = x / s
    t = 0.5 * s
    z1 = h - t
    g = exp_of_negative(-0.5 * z1 * z1)
    m0 = mills_ratio(h if t < SERIES_BELOW else abs(z1))
    far = mills_ratio(h + t)
    m1 = h * m0 - INV_SQRT_2PI
    m2 = h * m1 + m0
    m3 = h * m2 + 2.0 * m1
    m4 = h * m3 + 3.0 * m2
    m5 = h * m4 + 4.0 * m3
    m7 = h * (h * m5 + 5.0 * m4) + 6.0 * m5
    square = t * t
    odd = m1 + square * (
        m3 * 0.16666666666666666 + square * (m5 * 0.008333333333333333 + square * (m7 * 0.0001984126984126984))
    )
    series = -2.0 * g * t * odd
    near = g * (m0 - far)
    rest = g * (m0 + far)
    direct = near if z1 >= 0.0 else 1.0 - rest
    b = series if t < SERIES_BELOW else direct
    remainder = 1.0 - b if z1 >= 0.0 or t < SERIES_BELOW else rest
    slope = g * INV_SQRT_2PI
    return (b if b > 1e-300 else 1e-300), (remainder if remainder > 1e-300 else 1e-300), slope


@inlined
def step(x: Any, s: Any, beta: Any, log_beta: Any, log_remainder: Any, is_upper: Any, is_lower: Any) -> Any:
    """The next s: Halley's step for the row's region, at most to a fifth or five times of `s`."""
    b, remainder, slope = value_of(x, s)
    h = x / s
    curvature = h * h / s - 0.25 * s
    logarithm = log(remainder if is_upper else b)
    bounded = logarithm if logarithm < -0.1 else -0.1
    newton_lower = (log_beta - bounded) * bounded / log_beta * (b / slope)
    newton_upper = (logarithm - log_remainder) * (remainder / slope)
    newton = newton_upper if is_upper else (newton_lower if is_lower else (beta - b) / slope)
    bent_lower = curvature - slope / b * (1.0 + 2.0 / bounded)
    bent_upper = curvature + slope / remainder
    bent = bent_upper if is_upper else (bent_lower if is_lower else curvature)
    divisor = 1.0 + 0.5 * bent * newton
    divisor = 0.5 if divisor < 0.5 else (2.0 if divisor > 2.0 else divisor)
    return within(x, s + newton / divisor, 0.2 * s, 5.0 * s)


@inlined
def within(x: Any, s: Any, low: Any, high: Any) -> Any:
    """`s` from `low` to `high`, and where b and its slope are far from under- and overflow."""
    inside = low if s < low else (high if s > high else s)
    floor = x / DEVIATIONS_MAX
    inside = floor if inside < floor else inside
    return S_MAX if inside > S_MAX else inside


@inlined
def deviation_of(x: Any, beta: Any) -> Any:
    """The s with b(s) = beta, for `beta` from `BETA_MIN` to 1 - `REMAINDER_MIN`."""
    moneyness = x if x > MONEYNESS_MIN else MONEYNESS_MIN
    s_bend = sqrt(2.0 * moneyness)
    b_bend, _, slope_bend = value_of(moneyness, s_bend)
    is_lower = beta < b_bend
    is_upper = beta > 0.5 * (1.0 + b_bend)
    log_beta = log(beta if is_lower else 0.5)
    log_remainder = log(1.0 - beta)
    middle = s_bend + (beta - b_bend) / slope_bend
    inverse_square = 0.5 / moneyness + 2.0 * (log(b_bend) - log_beta) / (moneyness * moneyness)
    wing = 1.0 / sqrt(inverse_square if is_lower else 1.0)
    straight = (beta + 0.5 * x) * SQRT_2PI
    square = straight * straight - 2.0 * x * x
    near = 0.5 * (straight + sqrt(square if square > 0.0 else 0.0))
    lower = near if square > 0.0 else (straight if x == 0.0 else wing)
    s = within(x, 1.5 * middle + 0.5 if is_upper else (lower if is_lower else middle), 0.0, S_MAX)
    s = step(x, s, beta, log_beta, log_remainder, is_upper, is_lower)
    s = step(x, s, beta, log_beta, log_remainder, is_upper, is_lower)
    s = step(x, s, beta, log_beta, log_remainder, is_upper, is_lower)
    return step(x, s, beta, log_beta, log_remainder, is_upper, is_lower)


@kernel
def implied_vols(moneyness: Any, time_value: Any, lesser: Any, t_years: Any, vol: Any) -> None:
    """Fill `vol` from abs(x), time value and lesser present value; what no volatility gives is taken at an end."""
    for i in range(vol.size):
        beta = time_value[i] / lesser[i]
        beta = beta if beta > BETA_MIN else BETA_MIN
        beta = beta if beta < 1.0 - REMAINDER_MIN else 1.0 - REMAINDER_MIN
        x = moneyness[i]
        vol[i] = deviation_of(x if x > MONEYNESS_MIN else 0.0, beta) / sqrt(t_years[i])


@inlined
def parts_of(right: Any, asset: Any, cash: Any, price: Any) -> Any:
    """Time value, the lesser present value, and how much of the time value may be rounding."""
    gain = right * (asset - cash)
    is_in = gain > 0.0
    lesser = asset if asset < cash else cash
    return price - (gain if is_in else 0.0), lesser, (REMAINDER_MIN * (asset + cash) if is_in else 0.0)


@kernel
def black_scholes_parts(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, price: Any,
    moneyness: Any, time_value: Any, lesser: Any, rounding: Any,
) -> None:  # fmt: skip
    """Fill the last four arrays; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        carry = -q[i] * t
        discount = -r[i] * t
        asset = spot[i] * exp_within(carry)
        cash = strike[i] * exp_within(discount)
        moneyness[i] = abs(log_ratio(spot[i], strike[i]) + (carry - discount))
        time_value[i], lesser[i], rounding[i] = parts_of(right[i], asset, cash, price[i])


@kernel
def black_76_parts(
    right: Any, forward: Any, strike: Any, r: Any, t_years: Any, price: Any,
    moneyness: Any, time_value: Any, lesser: Any, rounding: Any,
) -> None:  # fmt: skip
    """Fill the last four arrays; every array has one length."""
    for i in range(price.size):
        discount = exp_within(-r[i] * t_years[i])
        moneyness[i] = abs(log_ratio(forward[i], strike[i]))
        time_value[i], lesser[i], rounding[i] = parts_of(
            right[i], forward[i] * discount, strike[i] * discount, price[i]
        )
