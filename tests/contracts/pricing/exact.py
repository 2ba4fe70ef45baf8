"""Exact values to hold the kernel against: Python's `decimal`, at as many digits as it takes."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache

DIGITS = 400
"""Enough for tails to 37 standard deviations: 0.5 less what differs from it by 1e-300."""


@cache
def pi() -> Decimal:
    """Machin's formula, 16 arctan(1/5) - 4 arctan(1/239)."""
    with localcontext(prec=DIGITS + 10):
        return 4 * (4 * _arctan_of_inverse(5) - _arctan_of_inverse(239))


def _arctan_of_inverse(n: int) -> Decimal:
    power = total = Decimal(1) / n
    odd = 1
    while abs(power) > Decimal(10) ** -(DIGITS + 5):
        power, odd = -power / (n * n), odd + 2
        total += power / odd
    return total


def normal_density(x: float) -> Decimal:
    """exp(-x²/2) / √(2π)."""
    with localcontext(prec=DIGITS):
        return (-Decimal(x) * Decimal(x) / 2).exp() / (2 * pi()).sqrt()


def normal_tail(a: float) -> Decimal:
    """Φ(-a) for 0 ≤ a ≤ 37, as ½ - φ(a) Σ a²ⁿ⁺¹ / (1·3·5···(2n+1)).

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.11.
    """
    with localcontext(prec=DIGITS):
        term = total = Decimal(a)
        odd = 1
        while term > total * Decimal(10) ** -(DIGITS - 10):
            odd += 2
            term = term * Decimal(a) * Decimal(a) / odd
            total += term
        return Decimal("0.5") - total * normal_density(a)
