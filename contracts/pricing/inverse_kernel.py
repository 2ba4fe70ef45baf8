"""Options whose premium and payoff are in the coin that is the underlying: the price in cash over the spot.

Differentiated by the spot, what is left of (S delta - price) / S² is the cash part alone, right C Φ(right d2) / S²,
so nothing cancels; see `contracts.pricing.vanilla_kernel` for the parts.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from contracts.compiled import kernel
from contracts.pricing.kernel import exp_within, log_ratio
from contracts.pricing.vanilla_kernel import deviation, greeks_of, price_of


@kernel
def inverse_prices(right: Any, spot: Any, strike: Any, q: Any, r: Any, t_years: Any, vol: Any, price: Any) -> None:
    """Fill `price`; every array has one length."""
    for i in range(price.size):
        t = t_years[i]
        carry = -q[i] * t
        discount = -r[i] * t
        asset = spot[i] * exp_within(carry)
        cash = strike[i] * exp_within(discount)
        x = log_ratio(spot[i], strike[i]) + (carry - discount)
        price[i] = price_of(right[i], asset, cash, x, deviation(vol[i], sqrt(t))) / spot[i]


@kernel
def inverse_greeks(
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
        paid = right[i] * cash_part
        price[i] = value / spot[i]
        delta[i] = paid * inverse_spot * inverse_spot
        gamma[i] = (density * inverse_s - 2.0 * paid) * inverse_spot * inverse_spot * inverse_spot
        vega[i] = density * root_t * inverse_spot
        carried = right[i] * (q[i] * asset_part - r[i] * cash_part)
        theta[i] = (carried - 0.5 * density * vol[i] * vol[i] * inverse_s) * inverse_spot
        rho[i] = t * paid * inverse_spot
