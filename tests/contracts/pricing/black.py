"""European prices at sixty digits, straight from the textbook, and their derivatives by differences; with rows to try.

Source: Haug, The Complete Guide to Option Pricing Formulas, second edition, section 1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from mpmath import mp, mpf

mp.dps = 60
Row = Mapping[str, float]
DERIVATIVES: tuple[tuple[str, str, int, int], ...] = (
    ("delta", "spot", 1, 1),
    ("gamma", "spot", 2, 1),
    ("vega", "vol", 1, 1),
    ("theta", "t_years", 1, -1),
    ("rho", "r", 1, 1),
    ("volga", "vol", 2, 1),
)
"""Greek, column, order, sign. Of Black-76 the column is the forward, where it says spot."""


def cdf(x: mpf) -> mpf:
    """Φ, accurate in its lower tail."""
    return mp.erfc(-x / mp.sqrt(2)) / 2


def d1_d2(forward: mpf, strike: mpf, deviation: mpf) -> tuple[mpf, mpf]:
    """The two arguments of Φ."""
    d1 = mp.log(forward / strike) / deviation + deviation / 2
    return d1, d1 - deviation


def black_scholes(right: float, spot: mpf, strike: mpf, q: mpf, r: mpf, t_years: mpf, vol: mpf) -> mpf:
    """The price on a spot."""
    return black_76(right, spot * mp.exp((r - q) * t_years), strike, r, t_years, vol)


def black_76(right: float, forward: mpf, strike: mpf, r: mpf, t_years: mpf, vol: mpf) -> mpf:
    """The price on a forward."""
    d1, d2 = d1_d2(forward, strike, vol * mp.sqrt(t_years))
    return right * mp.exp(-r * t_years) * (forward * cdf(right * d1) - strike * cdf(right * d2))


def derivative(price: Callable[..., mpf], row: Row, column: str, order: int) -> mpf:
    """The derivative of `price` at `row` by one column: central differences in twice the digits."""
    exact = {name: mpf(value) for name, value in row.items()}
    return mp.diff(lambda x: price(**{**exact, column: x}), exact[column], order)


def mixed_derivative(price: Callable[..., mpf], row: Row, first: str, second: str) -> mpf:
    """The second derivative by two columns."""
    exact = {name: mpf(value) for name, value in row.items()}

    def at(x: mpf, y: mpf) -> mpf:
        return price(**{**exact, first: x, second: y})

    return mp.diff(at, (exact[first], exact[second]), (1, 1))


def rows(seed: int, count: int, deviations_max: float = 6.0) -> list[dict[str, float]]:
    """Black-Scholes rows from a day to ten years, 3 to 300 % of volatility, to `deviations_max` from the money."""
    random = Random(seed)
    found = []
    for _ in range(count):
        t_years, vol = 10 ** random.uniform(-2.56, 1.0), 10 ** random.uniform(-1.52, 0.47)
        spread = random.uniform(-deviations_max, deviations_max) * vol * t_years**0.5
        spot = 10 ** random.uniform(-3.0, 5.0)
        strike = spot * float(mp.exp(max(-12.0, min(12.0, spread))))
        rates = {"q": random.uniform(-0.02, 0.1), "r": random.uniform(-0.02, 0.2)}
        found.append(
            {
                "right": random.choice([1.0, -1.0]),
                "spot": spot,
                "strike": strike,
                "t_years": t_years,
                "vol": vol,
                **rates,
            }
        )
    return found
