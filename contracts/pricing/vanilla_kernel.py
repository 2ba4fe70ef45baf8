"""European calls and puts, Black-Scholes and Black-76, in a form that keeps its accuracy far from the money.

With the present values of the asset and of the strike, A and C, x = ln(A / C), s = vol √t, h = abs(x) / s and
z1 = h - s/2, z2 = h + s/2, the option that is out of the money is worth min(A, C) Φ(-z1) - max(A, C) Φ(-z2), whichever
its right; and since A φ(d1) = C φ(d2), both tails share one exponential,

    g = min(A, C) exp(-z1²/2),    min(A, C) Φ(-z1) = g mills(z1),    max(A, C) Φ(-z2) = g mills(z2).

So a price of 1e-300 keeps its digits, call and put differ by A - C, and every greek comes from g and the two ratios.
Where s is below `S_MIN` it counts as 0, and what remains is the limit.
Source: Black and Scholes (1973), equations 13 and 14; Black (1976), equation 16; the form is this project's.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import INV_SQRT_2PI, exp_of_negative, exp_within, log_ratio, mills_ratio

S_MIN: Final = 1e-26


@inlined
def deviation(vol: Any, root_t: Any) -> Any:
    """s = vol √t, or 0 where it is below `S_MIN`."""
    s = vol * root_t
    return s if s > S_MIN else 0.0


@inlined
def inverse_of(s: Any) -> Any:
    """1 / s; where s is 0, a number so large that what is not at the money has no density."""
    return 1.0 / (s if s > S_MIN else S_MIN)


@inlined
def price_of(right: Any, asset: Any, cash: Any, x: Any, s: Any) -> Any:
    """The price: intrinsic value of the present values, and the value of what is out of the money."""
    h = abs(x) * inverse_of(s)
    z1 = h - 0.5 * s
    low = asset if asset < cash else cash
    m1 = mills_ratio(abs(z1))
    m2 = mills_ratio(h + 0.5 * s)
    g = low * exp_of_negative(-0.5 * z1 * z1)
    return intrinsic(right, asset, cash) + time_value(low, g, z1, m1, m2)


@inlined
def intrinsic(right: Any, asset: Any, cash: Any) -> Any:
    """The greater of 0 and what exercise is worth, in present value."""
    gain = right * (asset - cash)
    return gain if gain > 0.0 else 0.0


@inlined
def time_value(low: Any, g: Any, z1: Any, m1: Any, m2: Any) -> Any:
    """What is out of the money: g (mills(z1) - mills(z2)), where mills(z1) = exp(z1²/2) - mills(-z1) for z1 < 0."""
    value = (0.0 if z1 >= 0.0 else low) + g * ((m1 if z1 >= 0.0 else -m1) - m2)
    return value if value > 0.0 else 0.0


@inlined
def greeks_of(right: Any, asset: Any, cash: Any, x: Any, s: Any) -> Any:
    """What every greek is made of.

    Returns:
        price, A φ(d1), A Φ(right d1), C Φ(right d2), and 1 / s (0 where s is 0).
    """
    inverse_s = inverse_of(s)
    h = abs(x) * inverse_s
    z1 = h - 0.5 * s
    z2 = h + 0.5 * s
    low = asset if asset < cash else cash
    m1 = mills_ratio(abs(z1))
    m2 = mills_ratio(z2)
    g = low * exp_of_negative(-0.5 * z1 * z1)
    price = intrinsic(right, asset, cash) + time_value(low, g, z1, m1, m2)
    d1 = z2 if x > 0.0 else -z1
    d2 = z1 if x > 0.0 else -z2
    tail1 = g * (m2 if x > 0.0 else m1)
    tail2 = g * (m1 if x > 0.0 else m2)
    asset_part = asset - tail1 if right * d1 > 0.0 else tail1
    cash_part = cash - tail2 if right * d2 > 0.0 else tail2
    return price, g * INV_SQRT_2PI, asset_part, cash_part, (inverse_s if s > 0.0 else 0.0)


@kernel
def black_scholes_prices(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any, price: Any
) -> None:
    """Fill `price`; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        carry = -q[i] * t
        discount = -r[i] * t
        asset = spot[i] * exp_within(carry)
        cash = strike[i] * exp_within(discount)
        x = log_ratio(spot[i], strike[i]) + (carry - discount)
        price[i] = price_of(right[i], asset, cash, x, deviation(vol[i], sqrt(t)))


@kernel
def black_scholes_greeks(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any,
    price: Any, delta: Any, gamma: Any, vega: Any, theta: Any, rho: Any,
) -> None:  # fmt: skip
    """Fill the last six arrays; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        root_t = sqrt(t)
        carry = -q[i] * t
        discount = -r[i] * t
        asset = spot[i] * exp_within(carry)
        cash = strike[i] * exp_within(discount)
        x = log_ratio(spot[i], strike[i]) + (carry - discount)
        s = deviation(vol[i], root_t)
        value, density, asset_part, cash_part, inverse_s = greeks_of(right[i], asset, cash, x, s)
        inverse_spot = 1.0 / spot[i]
        price[i] = value
        delta[i] = right[i] * asset_part * inverse_spot
        steepness = density * inverse_s
        gamma[i] = steepness * inverse_spot * inverse_spot
        vega[i] = density * root_t
        carried = q[i] * asset_part - r[i] * cash_part
        theta[i] = right[i] * carried - steepness * (0.5 * vol[i] * vol[i])
        rho[i] = right[i] * t * cash_part


@inlined
def second_order_of(density: Any, x: Any, s: Any, root_t: Any) -> Any:
    """A φ(d1) times what makes it vanna times the spot, and volga; the limits where s is 0.

    d2 / vol is √t (x/s² - ½), which stays finite where vol is 0 and x is 0.
    """
    inverse_s = inverse_of(s) if s > 0.0 else 0.0
    d1 = x * inverse_s + 0.5 * s
    ratio = root_t * (x * inverse_s * inverse_s - 0.5)
    return -density * ratio, density * root_t * d1 * ratio


@inlined
def density_of(asset: Any, cash: Any, x: Any, s: Any) -> Any:
    """A φ(d1)."""
    z1 = abs(x) * inverse_of(s) - 0.5 * s
    return (asset if asset < cash else cash) * exp_of_negative(-0.5 * z1 * z1) * INV_SQRT_2PI


@kernel
def black_scholes_second_order(
    spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any, vanna: Any, volga: Any
) -> None:
    """Fill the last two arrays; every array has one length."""
    for i in range(vanna.size):
        t = t_years[i]
        root_t = sqrt(t)
        carry = -q[i] * t
        discount = -r[i] * t
        asset = spot[i] * exp_within(carry)
        cash = strike[i] * exp_within(discount)
        x = log_ratio(spot[i], strike[i]) + (carry - discount)
        s = deviation(vol[i], root_t)
        by_spot, by_vol = second_order_of(density_of(asset, cash, x, s), x, s, root_t)
        vanna[i] = by_spot / spot[i]
        volga[i] = by_vol


@kernel
def black_76_prices(right: Any, forward: Any, strike: Any, r: Any, t_years: Any, vol: Any, price: Any) -> None:
    """Fill `price`; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        discount = exp_within(-r[i] * t)
        x = log_ratio(forward[i], strike[i])
        price[i] = price_of(right[i], forward[i] * discount, strike[i] * discount, x, deviation(vol[i], sqrt(t)))


@kernel
def black_76_greeks(
    right: Any, forward: Any, strike: Any, r: Any, t_years: Any, vol: Any,
    price: Any, delta: Any, gamma: Any, vega: Any, theta: Any, rho: Any,
) -> None:  # fmt: skip
    """Fill the last six arrays; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        root_t = sqrt(t)
        discount = exp_within(-r[i] * t)
        x = log_ratio(forward[i], strike[i])
        s = deviation(vol[i], root_t)
        value, density, asset_part, _, inverse_s = greeks_of(
            right[i], forward[i] * discount, strike[i] * discount, x, s
        )
        inverse_forward = 1.0 / forward[i]
        price[i] = value
        delta[i] = right[i] * asset_part * inverse_forward
        steepness = density * inverse_s
        gamma[i] = steepness * inverse_forward * inverse_forward
        vega[i] = density * root_t
        theta[i] = r[i] * value - steepness * (0.5 * vol[i] * vol[i])
        rho[i] = -t * value


@kernel
def black_76_second_order(forward: Any, strike: Any, r: Any, t_years: Any, vol: Any, vanna: Any, volga: Any) -> None:
    """Fill the last two arrays; every array has one length."""
    for i in range(vanna.size):
        t = t_years[i]
        root_t = sqrt(t)
        discount = exp_within(-r[i] * t)
        x = log_ratio(forward[i], strike[i])
        s = deviation(vol[i], root_t)
        density = density_of(forward[i] * discount, strike[i] * discount, x, s)
        by_forward, by_vol = second_order_of(density, x, s, root_t)
        vanna[i] = by_forward / forward[i]
        volga[i] = by_vol
