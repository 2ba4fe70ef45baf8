"""Independent values of exotic options: mpmath's quadrature of payoffs over densities, at 18 digits; no closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mpmath as mp

DIGITS = 18


def at_many_digits(function: Callable[..., mp.mpf]) -> Callable[..., float]:
    """The function, computed with `DIGITS` digits from the floats it is given, rounded once at the end."""

    def wrapped(*args: float) -> float:
        with mp.workdps(DIGITS):
            return float(function(*(mp.mpf(each) for each in args)))

    return wrapped


def integral(function: Callable[[mp.mpf], mp.mpf], points: Sequence[mp.mpf]) -> mp.mpf:
    """The integral over the pieces between `points`."""
    return mp.quad(function, list(points), method="gauss-legendre", maxdegree=4)


def normal_density(x: mp.mpf, deviation: mp.mpf) -> mp.mpf:
    return mp.exp(-((x / deviation) ** 2) / 2) / (deviation * mp.sqrt(2 * mp.pi))


def payoff(right: mp.mpf, spot: mp.mpf, strike: mp.mpf) -> mp.mpf:
    return max(right * (spot - strike), mp.mpf(0))


def between(low: mp.mpf, high: mp.mpf, kink: mp.mpf, pieces: int = 4) -> list[mp.mpf]:
    """Points from low to high, with the payoff's kink where it lies between."""
    points = [low + (high - low) * n / pieces for n in range(pieces + 1)]
    return sorted({*points, *([kink] if low < kink < high else [])})
