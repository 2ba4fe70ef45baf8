"""Claims that pay when, or if, the spot first reaches a barrier: one-touch and no-touch options.

A logarithm that moves by m and spreads by s over the life reaches l before its end with probability

    Φ(η (l - m) / s) + exp(2 m l / s²) Φ(η (l + m) / s),    η = 1 where the barrier lies below (l < 0), else -1,

with m = ν t for cash at expiry, (ν + vol²) t for the asset, ν = r - q - vol²/2. Both tails share one exponential, as in
`contracts.pricing.vanilla_kernel`. A rounding of m l / s² shows in the result: where it is 1e6, six digits are gone.
What is paid at the hit is a rebate of `contracts.pricing.barrier_kernel`.
Source: Reiner and Rubinstein, Unscrambling the Binary Code, Risk 4 (1991), formulas 1 to 12.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import exp, exp_of_negative, exp_within, log, mills_ratio
from contracts.pricing.vanilla_kernel import S_MIN

AT_EXPIRY: Final = 1
NEVER_HIT: Final = 2


@inlined
def reaching(below: Any, distance: Any, m: Any, s: Any) -> Any:
    """The probability above, at most 1; `below` is η, `distance` l."""
    spread = s if s > S_MIN else S_MIN
    z1 = below * (distance - m) / spread
    z2 = below * (distance + m) / spread
    g = exp_of_negative(-0.5 * z1 * z1)
    tail1 = g * mills_ratio(abs(z1))
    tail2 = g * mills_ratio(abs(z2))
    first = tail1 if z1 < 0.0 else 1.0 - tail1
    second = tail2 if z2 < 0.0 else exp(2.0 * (m / spread) * (distance / spread)) - tail2
    return first + second if first + second < 1.0 else 1.0


@kernel
def touch_prices(
    is_asset: Any, when: Any,
    right: Any, spot: Any, barrier: Any, q: Any, r: Any, t_years: Any, vol: Any, cash: Any, price: Any,
) -> None:  # fmt: skip
    """Fill `price`; `when` is one of the constants above, and `cash` counts where `is_asset` is 0."""
    for i in range(price.size):
        t = t_years[i]
        variance = vol[i] * vol[i]
        s = vol[i] * sqrt(t)
        nu = r[i] - q[i] - 0.5 * variance
        distance = log(barrier[i] / spot[i])
        below = -right[i]
        is_reached = right[i] * (spot[i] - barrier[i]) >= 0.0
        at_expiry = spot[i] * exp_within(-q[i] * t) if is_asset == 1 else cash[i] * exp_within(-r[i] * t)
        drift = nu + variance if is_asset == 1 else nu
        reach = 1.0 if is_reached else reaching(below, distance, drift * t, s)
        price[i] = at_expiry * (reach if when == AT_EXPIRY else 1.0 - reach)
