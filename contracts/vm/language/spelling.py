"""Hints for whoever mistyped a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_NAMES_COMPARED_MAX: Final = 256


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest known name that a slip or two of the finger away; else nothing."""
    allowed = 1 if len(written) < 4 else 2
    near = [(_distance(written.lower(), each.lower()), each) for each in sorted(known)[:_NAMES_COMPARED_MAX]]
    best = min(near, default=(allowed + 1, ""))
    return f" Did you mean '{best[1]}'?" if best[0] <= allowed else ""


def _distance(a: str, b: str) -> int:
    """How many letters must be changed, added or left out.

    Source: V. I. Levenshtein, Binary codes capable of correcting deletions, insertions and reversals, 1966.
    """
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != other))
    return row[-1]
