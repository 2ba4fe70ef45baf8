"""European claims that pay, beyond the strike, a number of assets and an amount of cash: digitals and gap options.

With a assets and k in cash paid where right · (S - K) > 0, and the present values A and C of asset and strike:

    price = a A Φ(right d1) + (k / K) C Φ(right d2),        and since A φ(d1) = C φ(d2) = n,

the payoff's jump at the strike, j = a + k/K strikes, gives c = right n j, and all greeks follow:

    delta = a A Φ(right d1) / S + c / (S s)       vega = right a n √t - c d1 / vol
    gamma = (right a n - c d1 / s) / (S² s)       rho  = -t (k/K) C Φ(right d2) + c t / s
    theta = q a A Φ(right d1) + r (k/K) C Φ(right d2) - c ∂d2/∂t - right a n vol / (2 √t)

Source: Reiner and Rubinstein, Unscrambling the Binary Code, Risk 4 (1991); the greeks are derived here.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import exp_within, log_ratio
from contracts.pricing.vanilla_kernel import deviation, greeks_of


@inlined
def price_of(right: Any, assets: Any, strikes: Any, vanilla: Any, asset_part: Any, cash_part: Any) -> Any:
    """The price of `assets` and of k = `strikes` · K: of the asset alone, or of a vanilla option and the jump.

    Written so, a gap option whose two strikes are one is the vanilla option, far out of the money too.
    """
    return assets * asset_part if strikes == 0.0 else assets * right * vanilla + (strikes + assets) * cash_part


@kernel
def digital_prices(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any, assets: Any, cash: Any, price: Any
) -> None:
    """Fill `price` for claims to `assets` and `cash`; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        carry = -q[i] * t
        discount = -r[i] * t
        asset = spot[i] * exp_within(carry)
        struck = strike[i] * exp_within(discount)
        x = log_ratio(spot[i], strike[i]) + (carry - discount)
        value, _, asset_part, cash_part, _ = greeks_of(right[i], asset, struck, x, deviation(vol[i], sqrt(t)))
        price[i] = price_of(right[i], assets[i], cash[i] / strike[i], value, asset_part, cash_part)


@kernel
def digital_greeks(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any, assets: Any, cash: Any,
    price: Any, delta: Any, gamma: Any, vega: Any, theta: Any, rho: Any,
) -> None:  # fmt: skip
    """Fill the last six arrays; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        root_t = sqrt(t)
        carry = -q[i] * t
        discount = -r[i] * t
        asset = spot[i] * exp_within(carry)
        struck = strike[i] * exp_within(discount)
        x = log_ratio(spot[i], strike[i]) + (carry - discount)
        s = deviation(vol[i], root_t)
        strikes = cash[i] / strike[i]
        value, density, asset_part, cash_part, inverse_s = greeks_of(right[i], asset, struck, x, s)
        price[i] = price_of(right[i], assets[i], strikes, value, asset_part, cash_part)
        held = assets[i] * asset_part
        paid = strikes * cash_part
        bend = right[i] * assets[i] * density
        jump = right[i] * (assets[i] + strikes) * density
        d1 = x * inverse_s + 0.5 * s
        inverse_spot = 1.0 / spot[i]
        delta[i] = (held + jump * inverse_s) * inverse_spot
        gamma[i] = (bend - jump * d1 * inverse_s) * inverse_spot * inverse_spot * inverse_s
        vega[i] = (bend - jump * d1 * inverse_s) * root_t
        inverse_t = 1.0 / t if inverse_s > 0.0 else 0.0
        d2_by_t = (r[i] - q[i]) * inverse_s - 0.5 * (x * inverse_s * inverse_t) - 0.25 * vol[i] * vol[i] * inverse_s
        theta[i] = q[i] * held + r[i] * paid - jump * d2_by_t - 0.5 * bend * vol[i] * vol[i] * inverse_s
        rho[i] = t * (jump * inverse_s - paid)
