"""Interval arithmetic over integers: the range of every value that a program can compute.

An interval is (low, high), both included, low <= high. Every function returns the smallest interval that holds the
result for all operands in theirs, or one that is wider only in the ways stated.
Source: R. E. Moore, Interval Analysis (1966), chapter 3.
"""

from __future__ import annotations

from typing import Final

from contracts.vm.bytecode import Rounding

Interval = tuple[int, int]

BOOLS: Interval = (0, 1)


def add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def subtract(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def multiply(a: Interval, b: Interval) -> Interval:
    corners = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    return min(corners), max(corners)


def divide(a: Interval, b: Interval, rounding: Rounding) -> Interval:
    """The range of ``a / b``, rounded; `b` does not hold 0. Rounding is monotonic, so the corners bound it."""
    corners = [divided(x, y, rounding) for x in a for y in b]
    return min(corners), max(corners)


def divided(numerator: int, denominator: int, rounding: int) -> int:
    """``numerator / denominator`` rounded down to minus infinity, up to plus infinity, or half to even."""
    return _ROUNDED[rounding](numerator, denominator)


def _down(numerator: int, denominator: int) -> int:
    return numerator // denominator


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _half_even(numerator: int, denominator: int) -> int:
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * abs(rest) - abs(denominator)
    return quotient + (twice > 0 or (twice == 0 and quotient % 2 == 1))


_ROUNDED: Final = (_down, _up, _half_even)
"""By `Rounding`."""


def minimum(a: Interval, b: Interval) -> Interval:
    return min(a[0], b[0]), min(a[1], b[1])


def maximum(a: Interval, b: Interval) -> Interval:
    return max(a[0], b[0]), max(a[1], b[1])


def hull(a: Interval, b: Interval) -> Interval:
    """What holds both."""
    return min(a[0], b[0]), max(a[1], b[1])


def magnitude(a: Interval) -> int:
    """The largest absolute value."""
    return max(abs(a[0]), abs(a[1]))
