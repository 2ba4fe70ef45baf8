"""Who leads a view: weighted round robin, the same on every replica.

Each cycle of views holds every validator in proportion to its power, spread out as evenly as the weights allow (the
smooth weighted round robin of nginx: everyone earns its weight each turn, the richest leads and pays the total). Equal
powers give plain rotation. Of equally rich ones the lowest index leads. Powers whose reduced total exceeds `SLOTS_MAX`
are scaled to about that many slots, rounded down, at least one each, so that a cycle stays small.

This is the rotation; `consensus.turns` says whom it passes over, and is what the rest of the core asks.
"""

from __future__ import annotations

from math import gcd
from typing import Final, Protocol

from consensus.types import ReplicaIndex
from consensus.validators import ValidatorSet

SLOTS_MAX: Final = 1_024


class Rotation(Protocol):
    """Maps each view to the validator whose turn it is."""

    def leader(self, view: int) -> ReplicaIndex:
        """The validator whose turn `view` is."""


class LeaderSchedule:
    """Smooth weighted round robin over a validator set."""

    def __init__(self, validators: ValidatorSet) -> None:
        self._slots = _spread(_weights(validators))

    @property
    def slots(self) -> tuple[ReplicaIndex, ...]:
        """One cycle."""
        return self._slots

    def leader(self, view: int) -> ReplicaIndex:
        """The validator whose turn `view` (0 or more) is."""
        return self._slots[view % len(self._slots)]


def _weights(validators: ValidatorSet) -> list[int]:
    powers = [member.power for member in validators.members]
    divisor = gcd(*powers)
    weights = [power // divisor for power in powers]
    total = sum(weights)
    if total <= SLOTS_MAX:
        return weights
    return [max(1, weight * SLOTS_MAX // total) for weight in weights]


def _spread(weights: list[int]) -> tuple[ReplicaIndex, ...]:
    total = sum(weights)
    credit = [0] * len(weights)
    slots = []
    for _ in range(total):
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        richest = max(range(len(credit)), key=lambda index: (credit[index], -index))
        credit[richest] -= total
        slots.append(richest)
    return tuple(slots)
