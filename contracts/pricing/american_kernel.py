"""The compiled part of `contracts.pricing.american`: the exercise boundary of a put with strike 1, and what follows.

Rules: those of `contracts.pricing.kernel`. Every quantity is scaled by the strike; a call is the put with spot and
strike, r and q exchanged. `x` is the spot, a boundary is held as h = ln²(B / X) with X its limit just before expiry.

Arrays, whose numbers `contracts.pricing.american` fills in once, for n Chebyshev nodes and their end, l points of the
inner quadrature and p of the outer: `ages` (n + 1), the nodes as parts of t; `inner` (3, l) and `outer` (3, p), at each
point sin²θ, sin θ and the weight for 2 sin θ cos θ dθ; `inner_matrix` (n, n (l + 1)) and `outer_matrix` (n, p), which
interpolate h from nodes to points (each last column of l + 1 is 0). Room: `coefficients` (5, n (l + 1)), `line`
(3, n (l + 1)), `at_points` (4, p), `h` and `log_b` (n + 1 each), `found` (3).
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import exp, exp_of_negative, log, mills_ratio, normal_cdf
from contracts.pricing.leisen_reimer_kernel import DEVIATION_MIN, put_without_vol, tree_put

INV_SQRT_2PI: Final = 0.3989422804014327
RATE_MIN: Final = 1e-14
RATE_TIME_MAX: Final = 17.0
ITERATIONS: Final = 11
BLEND: Final = 0.1
VOL_BUMP: Final = 1e-3
RATE_BUMP: Final = 1e-4
STEPS_LOW: Final = 501
STEPS_HIGH: Final = 1001
CERTAIN: Final = 0
EUROPEAN: Final = 1
PERPETUAL: Final = 2
BOUNDARY: Final = 3
TREE: Final = 4
EXERCISED: Final = 5


@kernel
def method(q: Any, r: Any, t: Any, vol: Any) -> Any:
    """Which way a put is priced; the rule is in the docstring of `contracts.pricing.american`."""
    if vol * sqrt(t) < DEVIATION_MIN:
        return CERTAIN
    if r <= 0.0 and q >= r:
        return EUROPEAN
    if r < 0.0:
        return TREE
    if r * t > RATE_TIME_MAX:
        return PERPETUAL
    moderate = abs(q) * t <= 4.0 and vol * sqrt(t) <= 4.0
    return BOUNDARY if moderate and abs(r - q) * sqrt(t) <= 2.0 * vol else TREE


@inlined
def european_put(x: Any, q: Any, r: Any, t: Any, vol: Any, found: Any) -> None:
    """Price, delta and gamma of the European put with strike 1, into `found`."""
    deviation = vol * sqrt(t)
    d1 = (log(x) + (r - q) * t) / deviation + 0.5 * deviation
    carried = exp(-(q * t))
    found[0] = exp(-(r * t)) * normal_cdf(deviation - d1) - x * carried * normal_cdf(-d1)
    found[1] = -(carried * normal_cdf(-d1))
    found[2] = carried * INV_SQRT_2PI * exp(-0.5 * d1 * d1) / (x * deviation)


@inlined
def perpetual_exponent(q: Any, r: Any, vol: Any) -> Any:
    """The negative root β of ½ vol² β (β - 1) + (r - q) β - r = 0, r ≥ 0."""
    half = 0.5 - (r - q) / (vol * vol)
    root = sqrt(half * half + 2.0 * r / (vol * vol))
    return -(2.0 * r / (vol * vol)) / (half + root) if half > 0.0 else half - root


@kernel
def prepare(q: Any, r: Any, t: Any, vol: Any, ages: Any, inner: Any, coefficients: Any, h: Any, log_b: Any) -> None:
    """The first guess of the boundary, and what every iteration needs and none changes.

    The guess is the boundary of Bjerksund and Stensland, "Closed-form approximation of American options", Scandinavian
    Journal of Management 9 (1993), pages S87 to S99.
    """
    n = ages.size - 1
    points = inner.shape[1]
    b = r - q
    limit = 1.0 if r >= q else r / q
    beta = perpetual_exponent(q, r, vol)
    forever = beta / (beta - 1.0)
    log_limit = log(limit)
    h[n] = 0.0
    log_b[n] = log_limit
    for i in range(n):
        age = t * ages[i]
        deviation = vol * sqrt(age)
        grown = exp((b * age - 2.0 * deviation) / (limit - forever)) if limit - forever > 1e-9 * limit else 1.0
        grown = 1.0 if grown > 1.0 else grown
        guess = log((forever + (limit - forever) * grown) / limit + 1e-300)
        log_b[i] = log_limit + guess
        h[i] = guess * guess
        for k in range(points + 1):
            at = i * (points + 1) + k
            spread = deviation * (inner[1, k] if k < points else 1.0)
            left = age * (inner[0, k] if k < points else 1.0)
            coefficients[0, at] = 1.0 / spread
            coefficients[1, at] = b * left / spread + 0.5 * spread
            coefficients[2, at] = spread
            coefficients[3, at] = (r * age * inner[2, k] if k < points else 1.0) * exp(-(r * left))
            coefficients[4, at] = (q * age * inner[2, k] if k < points else 1.0) * exp(-(q * left))


@kernel
def iterate(points: Any, inner_matrix: Any, coefficients: Any, line: Any, h: Any, log_b: Any) -> None:
    """One step of the fixed point at all nodes, from the boundary in `h` and `log_b` to the next.

    B = N / D with N = e^(-rτ) Φ(d₋(τ, B)) + ∫ r e^(-rs) Φ(d₋(s, B / B(τ-s))) ds and D the same with q and d₊. The term
    before the integral is carried as one point more of the quadrature. Sums run from the first point to the last.
    Source: Andersen, Lake and Offengenden, "High-performance American option pricing", Journal of Computational Finance
    20 (2016), pages 39 to 87, the fixed point system FP-B.
    """
    n = h.size - 1
    width = inner_matrix.shape[1]
    log_limit = log_b[n]
    for at in range(width):
        line[0, at] = inner_matrix[0, at] * h[0]
    for j in range(n - 1):
        at_node = h[j + 1]
        for at in range(width):
            line[0, at] = line[0, at] + inner_matrix[j + 1, at] * at_node
    for at in range(width):
        line[0, at] = sqrt(line[0, at] if line[0, at] > 0.0 else 0.0)
    for i in range(n):
        line[0, i * points + points - 1] = log_limit
        own = log_b[i] - log_limit
        for k in range(points):
            line[0, i * points + k] = line[0, i * points + k] + own
    for at in range(width):
        d1 = line[0, at] * coefficients[0, at] + coefficients[1, at]
        line[1, at] = coefficients[3, at] * normal_cdf(d1 - coefficients[2, at])
        line[2, at] = coefficients[4, at] * normal_cdf(d1)
    for i in range(n):
        above = 0.0
        below = 0.0
        for k in range(points):
            above = above + line[1, i * points + k]
            below = below + line[2, i * points + k]
        above = above if above > 1e-290 else 1e-290
        below = below if below > 1e-290 else 1e-290
        line[0, i] = above / below
    for i in range(n):
        found = log(line[0, i])
        found = found - log_limit if found < log_limit else 0.0
        log_b[i] = log_limit + found
        h[i] = found * found


@kernel
def held_put(
    x: Any, q: Any, r: Any, t: Any, vol: Any, outer: Any, outer_matrix: Any, at_points: Any, h: Any, log_b: Any,
    found: Any,
) -> None:  # fmt: skip
    """Price, delta and gamma above the boundary: the European put and the integral of what early exercise earns.

    The sums run from the first point to the last, in a loop of their own, so that the one before it is vectorised.
    Source: Kim, "The analytic valuation of American options", Review of Financial Studies 3 (1990), pages 547 to 572.
    """
    n = h.size - 1
    points = outer.shape[1]
    log_x = log(x) - log_b[n]
    deviation = vol * sqrt(t)
    european_put(x, q, r, t, vol, found)
    for k in range(points):
        at_points[0, k] = 0.0
    for j in range(n):
        at_node = h[j]
        for k in range(points):
            at_points[0, k] = at_points[0, k] + outer_matrix[j, k] * at_node
    for k in range(points):
        squared = at_points[0, k] if at_points[0, k] > 0.0 else 0.0
        age = t * outer[0, k]
        spread = deviation * outer[1, k]
        d1 = (log_x + sqrt(squared) + (r - q) * age) / spread + 0.5 * spread
        d2 = d1 - spread
        earned = outer[2, k] * r * exp(-(r * age))
        paid = outer[2, k] * q * exp(-(q * age))
        size1 = abs(d1)
        size2 = abs(d2)
        bell1 = exp_of_negative(-0.5 * size1 * size1)
        bell2 = exp_of_negative(-0.5 * size2 * size2)
        tail1 = bell1 * mills_ratio(size1)
        tail2 = bell2 * mills_ratio(size2)
        tail1 = tail1 if d1 > 0.0 else 1.0 - tail1
        tail2 = tail2 if d2 > 0.0 else 1.0 - tail2
        steep1 = paid * INV_SQRT_2PI * bell1 / spread
        steep2 = earned * INV_SQRT_2PI * bell2 / (x * spread)
        at_points[1, k] = earned * tail2 - x * (paid * tail1)
        at_points[2, k] = (steep1 - steep2) - paid * tail1
        at_points[3, k] = steep2 * (d2 / spread + 1.0) - steep1 * (d1 / spread - 1.0)
    price = 0.0
    delta = 0.0
    gamma = 0.0
    for k in range(points):
        price = price + at_points[1, k]
        delta = delta + at_points[2, k]
        gamma = gamma + at_points[3, k]
    found[0] = found[0] + t * price
    found[1] = found[1] + t * delta
    found[2] = found[2] + t * gamma / x


@inlined
def perpetual_put(x: Any, q: Any, r: Any, vol: Any, found: Any) -> None:
    """Price, delta and gamma of the put that never expires, above its boundary; 1 - x below.

    Source: Merton, "Theory of rational option pricing", Bell Journal of Economics and
    Management Science 4 (1973), pages 141 to 183, section 8.
    """
    beta = perpetual_exponent(q, r, vol)
    above = log(x) - log(beta / (beta - 1.0))
    found[0] = exp(beta * above) / (1.0 - beta) if above > 0.0 else 1.0 - x
    found[1] = beta * found[0] / x
    found[2] = (beta - 1.0) * found[1] / x


@inlined
def boundary_put(x: Any, q: Any, r: Any, t: Any, vol: Any, tables: Any, room: Any) -> None:
    """Price, delta and gamma by the boundary.

    Within `BLEND` deviations of the boundary gamma is a straight line in ln x, from its exact value at the boundary,
    2 (r - q B) / (vol B)², to the integral's, whose integrand is too steep for the quadrature there.
    """
    ages, inner, inner_matrix, outer, outer_matrix = tables
    coefficients, line, at_points, h, log_b = room[0], room[1], room[2], room[3], room[4]
    found = room[8]
    prepare(q, r, t, vol, ages, inner, coefficients, h, log_b)
    for _ in range(ITERATIONS):
        iterate(inner.shape[1] + 1, inner_matrix, coefficients, line, h, log_b)
    above = (log(x) - log_b[0]) / (vol * sqrt(t))
    if above <= 0.0:
        found[0] = 1.0 - x
        found[1] = -1.0
        found[2] = 0.0
    elif above < BLEND:
        edge = exp(log_b[0])
        held_put(edge * exp(BLEND * vol * sqrt(t)), q, r, t, vol, outer, outer_matrix, at_points, h, log_b, found)
        there = found[2]
        held_put(x, q, r, t, vol, outer, outer_matrix, at_points, h, log_b, found)
        here = 2.0 * (r - q * edge) / (vol * vol * edge * edge)
        found[2] = here + (there - here) * (above / BLEND)
    else:
        held_put(x, q, r, t, vol, outer, outer_matrix, at_points, h, log_b, found)


@inlined
def extrapolated_put(x: Any, q: Any, r: Any, t: Any, vol: Any, room: Any) -> None:
    """Price, delta and gamma by two trees, less the part of their error that goes with 1 / steps."""
    even, odd, values, found = room[5], room[6], room[7], room[8]
    tree_put(x, q, r, t, vol, 1.0, STEPS_LOW, even, odd, values, found)
    price = found[0]
    delta = found[1]
    gamma = found[2]
    tree_put(x, q, r, t, vol, 1.0, STEPS_HIGH, even, odd, values, found)
    share = (1.0 * STEPS_LOW) / (STEPS_HIGH - STEPS_LOW)
    found[0] = found[0] + (found[0] - price) * share
    found[1] = found[1] + (found[1] - delta) * share
    found[2] = found[2] + (found[2] - gamma) * share


@kernel
def american_put(x: Any, q: Any, r: Any, t: Any, vol: Any, tables: Any, room: Any) -> Any:
    """Price, delta and gamma of the American put with strike 1 into `found`; the way, or `EXERCISED`.

    Whatever the way, the price lies within what holds for every American put: at least the intrinsic and the European
    value, at most the strike or what it is worth at expiry, whichever is more.
    """
    found = room[8]
    way = method(q, r, t, vol)
    if way == EUROPEAN:
        european_put(x, q, r, t, vol, found)
        return way
    if way == CERTAIN:
        at = put_without_vol(x, q, r, t, 1.0)
        found[0] = exp(-(r * at)) - x * exp(-(q * at)) if at >= 0.0 else 0.0
        found[1] = -exp(-(q * at)) if at >= 0.0 else 0.0
        found[2] = 0.0
        return EXERCISED if at == 0.0 else way
    european_put(x, q, r, t, vol, found)
    least = found[0] if found[0] > 0.0 else 0.0
    if way == PERPETUAL:
        perpetual_put(x, q, r, vol, found)
    elif way == BOUNDARY:
        boundary_put(x, q, r, t, vol, tables, room)
    else:
        extrapolated_put(x, q, r, t, vol, room)
    most = exp(-(r * t)) if r < 0.0 else 1.0
    found[0] = found[0] if found[0] > least else least
    found[0] = found[0] if found[0] < most else most
    if found[0] <= 1.0 - x:
        found[0] = 1.0 - x
        found[1] = -1.0
        found[2] = 0.0
        return EXERCISED
    return way


@kernel
def vanilla(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t: Any, vol: Any, tables: Any, room: Any
) -> Any:  # fmt: skip
    """Price, delta and gamma of one American option into `found`; the way, or `EXERCISED`."""
    found = room[8]
    own_r = r if abs(r) > RATE_MIN else 0.0
    own_q = q if abs(q) > RATE_MIN else 0.0
    if right < 0.0:
        way = american_put(spot / strike, own_q, own_r, t, vol, tables, room)
        found[0] = strike * found[0]
        found[2] = found[2] / strike
        found[0] = strike - spot if way == EXERCISED else found[0]
    else:
        x = strike / spot
        way = american_put(x, own_r, own_q, t, vol, tables, room)
        found[1] = 1.0 if way == EXERCISED else found[0] - x * found[1]
        found[2] = x * x * found[2] / spot
        found[0] = spot - strike if way == EXERCISED else spot * found[0]
    intrinsic = right * (spot - strike)
    found[0] = found[0] if found[0] >= intrinsic else intrinsic
    return way


@kernel
def american_prices(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t: Any, vol: Any, tables: Any, room: Any, price: Any, ways: Any
) -> None:
    """The price of each row, and which way it was found."""
    for i in range(price.size):
        ways[i] = vanilla(right[i], spot[i], strike[i], q[i], r[i], t[i], vol[i], tables, room)
        price[i] = room[8][0]


@kernel
def american_greeks(
    right: Any, spot: Any, strike: Any, q: Any, r: Any, t: Any, vol: Any, tables: Any, room: Any, greeks: Any
) -> None:
    """Price, delta, gamma, vega, theta and rho of each row, in the rows of `greeks` (6, rows)."""
    found = room[8]
    for i in range(greeks.shape[1]):
        way = vanilla(right[i], spot[i], strike[i], q[i], r[i], t[i], vol[i], tables, room)
        price = found[0]
        carried = r[i] * price - (r[i] - q[i]) * spot[i] * found[1]
        spread = vol[i] * spot[i]
        greeks[0, i] = price
        greeks[1, i] = found[1]
        greeks[2, i] = found[2]
        greeks[3, i] = 0.0
        greeks[4, i] = 0.0
        greeks[5, i] = 0.0
        if way != EXERCISED and t[i] > 0.0:
            greeks[4, i] = carried - 0.5 * spread * spread * greeks[2, i]
            if way != CERTAIN:
                step = VOL_BUMP * vol[i]
                vanilla(right[i], spot[i], strike[i], q[i], r[i], t[i], vol[i] + step, tables, room)
                up = found[0]
                vanilla(right[i], spot[i], strike[i], q[i], r[i], t[i], vol[i] - step, tables, room)
                greeks[3, i] = (up - found[0]) / (2.0 * step)
            above = vanilla(right[i], spot[i], strike[i], q[i], r[i] + RATE_BUMP, t[i], vol[i], tables, room)
            up = found[0] if above == way else price
            below = vanilla(right[i], spot[i], strike[i], q[i], r[i] - RATE_BUMP, t[i], vol[i], tables, room)
            down = found[0] if below == way else price
            steps = (1.0 if above == way else 0.0) + (1.0 if below == way else 0.0)
            greeks[5, i] = (up - down) / (steps * RATE_BUMP) if steps > 0.0 else 0.0
