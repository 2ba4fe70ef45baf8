"""Prices of barriers and lookbacks to many digits by mpmath, and their greeks as the derivatives of those.

The forms hold on both sides of a barrier: they know nothing of a touch, and are differentiated at 40 digits. A root
that is not real is a complex number here, as no kernel can have it.
Source: Haug, The Complete Guide to Option Pricing Formulas, second edition, sections 4.15, 4.17.1 and 4.17.3; Pelsser,
Pricing Double Barrier Options Using Laplace Transforms, Finance and Stochastics 4 (2000).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import mpmath as mp

DIGITS = 40
Number = mp.mpf
Form = Callable[..., Number]
BUMPED = {"delta": "spot", "vega": "vol", "rho": "r", "theta": "t_years"}


def greeks_of(form: Form, row: Mapping[str, float]) -> dict[str, float]:
    """Price and greeks of a row by central differences of 1e-10 at `DIGITS` digits."""
    with mp.workdps(DIGITS):
        exact = {name: mp.mpf(value) for name, value in row.items()}
        price = form(**exact)
        found = {"price": price}
        for greek, name in BUMPED.items():
            h = mp.mpf(10) ** -10 * max(abs(exact[name]), mp.mpf("1e-4"))
            up, down = (form(**{**exact, name: exact[name] + step}) for step in (h, -h))
            found[greek] = (up - down) / (2 * h)
            if greek == "delta":
                found["gamma"] = (up + down - 2 * price) / (h * h)
        found["theta"] = -found["theta"]
        return {name: float(value) for name, value in found.items()}


def cdf(x: Number) -> Number:
    """The normal distribution, of complex numbers too."""
    return mp.erfc(-x / mp.sqrt(2)) / 2


class Market:
    """What every form is made of: s = vol √t, m = (r - q - vol²/2) t, present values of asset and strike."""

    def __init__(self, spot: Number, strike: Number, q: Number, r: Number, t: Number, vol: Number) -> None:
        self.s, self.rt = vol * mp.sqrt(t), r * t
        self.m = (r - q) * t - self.s**2 / 2
        self.asset, self.cash = spot * mp.exp(-q * t), strike * mp.exp(-r * t)
        self.root = mp.sqrt(mp.mpc(self.m**2 + 2 * self.rt * self.s**2))

    def between(self, share: int, begin: Number, end: Number, image: Number) -> Number:
        """Of the asset (share 1) or cash (0), the part of paths that start at `image` and end from begin to end."""
        moved = self.m + share * self.s**2
        ends = (cdf((x - image - moved) / self.s) for x in (end, begin))
        return mp.exp(moved * image / self.s**2) * (next(ends) - next(ends))

    def paid(self, right: Number, begin: Number, end: Number, images: Sequence[tuple[int, Number]]) -> Number:
        """right · (asset - strike) where the path ends from begin to end, over signed images."""
        parts = (
            sign * (self.asset * self.between(1, begin, end, c) - self.cash * self.between(0, begin, end, c))
            for sign, c in images
        )
        return right * mp.fsum(parts)

    def hit(self, near: Number, wall: Number) -> Number:
        """What 1 is worth that is paid when a level is touched that is `near` away, its image's wall at `wall`."""
        s, root = self.s, self.root
        both = mp.exp(-near * root / s**2) * cdf((root - near) / s) + mp.exp(near * root / s**2) * cdf(
            -(root + near) / s
        )
        return mp.re(mp.exp(self.m * wall / s**2) * both)


def _payoff_range(right: Number, low: Number, high: Number, kink: Number) -> tuple[Number, Number]:
    begin, end = (max(low, kink), high) if right > 0 else (low, min(high, kink))
    return begin, max(begin, end)


def single(
    *, right: Number, spot: Number, strike: Number, barrier: Number, direction: Number, knock: Number, rebate: Number,
    q: Number, r: Number, t_years: Number, vol: Number,
) -> Number:  # fmt: skip
    """A single barrier that has not been touched."""
    at = Market(spot, strike, q, r, t_years, vol)
    level, kink, far = mp.log(barrier / spot), mp.log(strike / spot), mp.inf
    images = [(1, mp.mpf(0)), (-1, 2 * level)]
    low, high = (level, far) if direction < 0 else (-far, level)
    out = at.paid(right, *_payoff_range(right, low, high, kink), images)
    if knock > 0:
        vanilla = at.paid(right, *_payoff_range(right, -far, far, kink), images[:1])
        kept = mp.fsum(sign * at.between(0, low, high, c) for sign, c in images)
        return vanilla - out + rebate * mp.exp(-at.rt) * kept
    return out + rebate * at.hit(-direction * -level, level)


def double(
    *, right: Number, spot: Number, strike: Number, barrier: Number, barrier_high: Number, knock: Number,
    rebate: Number, q: Number, r: Number, t_years: Number, vol: Number,
) -> Number:  # fmt: skip
    """A corridor that has not been left: images for a wide one, eigenfunctions for a narrow one."""
    at = Market(spot, strike, q, r, t_years, vol)
    low, high, kink = (mp.log(x / spot) for x in (barrier, barrier_high, strike))
    width = high - low
    begin, end = _payoff_range(right, low, high, kink)
    if at.s < width / 2:
        count = range(-3, 4)
        images = [each for n in count for each in ((1, 2 * n * width), (-1, 2 * low + 2 * n * width))]
        out = at.paid(right, begin, end, images)
        kept = mp.fsum(sign * at.between(0, low, high, c) for sign, c in images)
        walls = ((low, -low), (high, high))
        signs = [(n, 1 if n >= 0 else -1) for n in count]
        hit = mp.fsum(i * at.hit(i * (near + 2 * n * width), wall) for wall, near in walls for n, i in signs)
    else:
        out = right * (
            at.asset * _absorbed(at, 1, low, width, begin, end, (r - q) * t_years)
            - at.cash * _absorbed(at, 0, low, width, begin, end, mp.mpf(0))
        )
        kept = _absorbed(at, 0, low, width, low, high, mp.mpf(0))
        hit = _hit_at_last(at, low, high) - _hit_late(at, low, high)
    if knock > 0:
        return at.paid(right, *_payoff_range(right, -mp.inf, mp.inf, kink), [(1, mp.mpf(0))]) - out + (
            rebate * mp.exp(-at.rt) * kept
        )  # fmt: skip
    return out + rebate * hit


def _waves(at: Market, width: Number) -> list[tuple[int, Number]]:
    """The eigenfunctions that count to `DIGITS` digits."""
    count = int(mp.sqrt(2 * 2.31 * DIGITS) * width / (at.s * mp.pi)) + 2
    return [(n, n * mp.pi / width) for n in range(1, count + 1)]


def _absorbed(at: Market, share: int, low: Number, width: Number, begin: Number, end: Number, grown: Number) -> Number:
    slope = at.m / at.s**2 + share

    def antiderivative(wave: Number, x: Number) -> Number:
        phase = wave * (x - low)
        return mp.exp(slope * x) * (slope * mp.sin(phase) - wave * mp.cos(phase)) / (slope**2 + wave**2)

    total = mp.fsum(
        mp.sin(-wave * low) * mp.exp(-((wave * at.s) ** 2) / 2)
        * (antiderivative(wave, end) - antiderivative(wave, begin))
        for _, wave in _waves(at, width)
    )  # fmt: skip
    return total * 2 / width * mp.exp(-(at.m**2) / (2 * at.s**2) - share * grown)


def _hit_at_last(at: Market, low: Number, high: Number) -> Number:
    ends = ((low, high), (high, -low))
    return mp.re(
        mp.fsum(
            mp.exp(at.m * wall / at.s**2)
            * mp.sinh(at.root * other / at.s**2)
            / mp.sinh(at.root * (high - low) / at.s**2)
            for wall, other in ends
        )
    )


def _hit_late(at: Market, low: Number, high: Number) -> Number:
    total, variance = mp.mpf(0), at.s**2
    for n, wave in _waves(at, high - low):
        decay = at.rt + at.m**2 / (2 * variance) + wave**2 * variance / 2
        ends = mp.exp(at.m * low / variance) - (-1) ** n * mp.exp(at.m * high / variance)
        total += wave * mp.sin(-wave * low) * mp.exp(-decay) / decay * ends
    return total * variance / (high - low)


def _gain(
    side: Number, spot: Number, level: Number, q: Number, r: Number, t: Number, vol: Number
) -> Number:  # fmt: skip
    """What the extremum is expected to lie beyond `level`, discounted; r is not q."""
    s, carry = vol * mp.sqrt(t), r - q
    d = (mp.log(spot / level) + (carry + vol**2 / 2) * t) / s
    power = 2 * carry / vol**2
    plain = side * (spot * mp.exp(-q * t) * cdf(side * d) - level * mp.exp(-r * t) * cdf(side * (d - s)))
    turned = (spot / level) ** -power * cdf(side * (d - 2 * carry * t / s))
    return plain + side * spot * mp.exp(-r * t) / power * (mp.exp(carry * t) * cdf(side * d) - turned)


def floating(
    *, right: Number, spot: Number, extremum_so_far: Number, q: Number, r: Number, t_years: Number, vol: Number
) -> Number:
    """A floating lookback whose extremum does not move with the spot."""
    held = right * (spot * mp.exp(-q * t_years) - extremum_so_far * mp.exp(-r * t_years))
    return held + _gain(-right, spot, extremum_so_far, q, r, t_years, vol)


def fixed(
    *, right: Number, spot: Number, strike: Number, extremum_so_far: Number, q: Number, r: Number, t_years: Number,
    vol: Number,
) -> Number:  # fmt: skip
    """A fixed lookback, likewise."""
    level = max(extremum_so_far, strike) if right > 0 else min(extremum_so_far, strike)
    return right * (level - strike) * mp.exp(-r * t_years) + _gain(right, spot, level, q, r, t_years, vol)
