"""The compiled part of `contracts.pricing.leisen_reimer`: one binomial tree for a put on a strike of 1.

Rules: those of `contracts.pricing.kernel`. A call is the put with spot and strike, r and q exchanged (McDonald and
Schroder, "A parity result for American options", Journal of Computational Finance 1 (1998), pages 5 to 13), so that
every payoff is bounded and no tree overflows.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import exp, log

CENTRE_MAX: Final = 10.0
DEVIATION_MIN: Final = 1e-7
"""Below this vol · √t the price is the limit for vol = 0, from which it differs by less than 4e-8 of the spot."""


@inlined
def tail_probability(z: Any, steps: Any) -> Any:
    """The smaller of p and 1 - p by the inversion of Peizer and Pratt, method 2, without loss in the far tail.

    Source: Leisen and Reimer, "Binomial models for option valuation: examining and improving convergence", Applied
    Mathematical Finance 3 (1996), pages 319 to 346, formula for h⁻¹(z).
    """
    y = z / (steps + 1.0 / 3.0 + 0.1 / (steps + 1.0))
    exponent = y * y * (steps + 1.0 / 6.0)
    series = exponent * (1.0 - exponent * (0.5 - exponent * (1.0 / 6.0 - exponent * (1.0 / 24.0))))
    gone = series if exponent < 1e-4 else 1.0 - exp(-exponent)
    return 0.5 * exp(-exponent) / (1.0 + sqrt(gone))


@kernel
def put_without_vol(x: Any, q: Any, r: Any, t: Any, american: Any) -> Any:
    """The best time to exercise a put on a certain price x e^((r-q)s) with strike 1, s from 0 to t.

    The payoff's value K e^(-rs) - x e^(-qs) has at most one stationary point; it and both ends are compared. Returns -1
    for never worth anything; for a European put t, or -1 out of the money.
    """
    best = t
    value = exp(-(r * t)) - x * exp(-(q * t))
    if american > 0.0:
        ratio = q * x / r if r > 0.0 or r < 0.0 else 0.0
        if ratio > 1e-300 and ratio < 1e300 and q != r:
            s = log(ratio) / (q - r)
            if s > 0.0 and s < t:
                there = exp(-(r * s)) - x * exp(-(q * s))
                if there > value:
                    best = s
                    value = there
        if 1.0 - x >= value:
            best = 0.0
            value = 1.0 - x
    return best if value > 0.0 else -1.0


@kernel
def tree_put(
    x: Any, q: Any, r: Any, t: Any, vol: Any, american: Any, steps: Any, even: Any, odd: Any, values: Any, found: Any
) -> None:
    """Price, delta and gamma of a put with strike 1 and spot x by a tree of `steps` (odd) steps, into `found`.

    The tree is centred on the strike; where the forward lies more than `CENTRE_MAX` deviations from it, on the point at
    that distance, so that its probabilities do not degenerate. Delta and gamma are those of the parabola through the
    three nodes after two steps. The node after n steps with j up is x e^(μn) e^(s(2j-n)); `even` and `odd` hold the
    second factor for even and odd n. vol · √t is at least `DEVIATION_MIN`.

    Args:
        american: 1.0 with early exercise, 0.0 without.
        even, odd, values: Room for steps + 2 numbers each.
    """
    n = 1.0 * steps
    dt = t / n
    deviation = vol * sqrt(t)
    centre = (log(x) + (r - q) * t) / deviation
    centre = CENTRE_MAX if centre > CENTRE_MAX else (-CENTRE_MAX if centre < -CENTRE_MAX else centre)
    d1 = centre + 0.5 * deviation
    d2 = centre - 0.5 * deviation
    tail1 = tail_probability(d1, n)
    tail2 = tail_probability(d2, n)
    up1 = 1.0 - tail1 if d1 > 0.0 else tail1
    down1 = tail1 if d1 > 0.0 else 1.0 - tail1
    up2 = 1.0 - tail2 if d2 > 0.0 else tail2
    down2 = tail2 if d2 > 0.0 else 1.0 - tail2
    log_up = log(up1 / up2)
    log_down = log(down1 / down2)
    drift = (r - q) * dt + 0.5 * (log_up + log_down)
    half = 0.5 * (log_up - log_down)
    middle = (steps + 1) >> 1
    for m in range(steps + 2):
        even[m] = exp(2.0 * half * (m - middle))
        odd[m] = exp(half * (2.0 * (m - middle) + 1.0))
    log_x = log(x)
    level = exp(log_x + drift * n)
    for j in range(steps + 1):
        payoff = 1.0 - level * odd[j]
        values[j] = payoff if payoff > 0.0 else 0.0
    discount = exp(-(r * dt))
    up = discount * up2
    down = discount * down2
    for back in range(steps):
        left = steps - 1 - back
        level = exp(log_x + drift * left)
        if left & 1:
            offset = middle - ((left + 1) >> 1)
            for j in range(left + 1):
                held = up * values[j + 1] + down * values[j]
                payoff = american * (1.0 - level * odd[j + offset])
                values[j] = held if held > payoff else payoff
        else:
            offset = middle - (left >> 1)
            for j in range(left + 1):
                held = up * values[j + 1] + down * values[j]
                payoff = american * (1.0 - level * even[j + offset])
                values[j] = held if held > payoff else payoff
        if left == 2:
            low = level * even[offset]
            mid = level * even[offset + 1]
            high = level * even[offset + 2]
            slope_low = (values[1] - values[0]) / (mid - low)
            slope_high = (values[2] - values[1]) / (high - mid)
            bend = (slope_high - slope_low) / (high - low)
            found[1] = slope_low + bend * ((x - low) + (x - mid))
            found[2] = 2.0 * bend
    found[0] = values[0]


@kernel
def tree_prices(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t: Any, vol: Any,
    american: Any, steps: Any, even: Any, odd: Any, values: Any, found: Any, price: Any,
) -> None:  # fmt: skip
    """The price of each row by one tree of `steps` steps."""
    for i in range(price.size):
        call = right[i] > 0.0
        x = strike[i] / spot[i] if call else spot[i] / strike[i]
        own_r = q[i] if call else r[i]
        own_q = r[i] if call else q[i]
        if vol[i] * sqrt(t[i]) < DEVIATION_MIN:
            at = put_without_vol(x, own_q, own_r, t[i], american)
            found[0] = exp(-(own_r * at)) - x * exp(-(own_q * at)) if at >= 0.0 else 0.0
        else:
            tree_put(x, own_q, own_r, t[i], vol[i], american, steps, even, odd, values, found)
        price[i] = (spot[i] if call else strike[i]) * found[0]
