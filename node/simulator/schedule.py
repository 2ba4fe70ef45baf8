"""Who validates in each epoch of a run: a plan that the seed decides, carried out by the product's own rules of change.

Rules:

1. An *operator* is whoever runs a replica; its number names it for the whole run, in whatever place of whatever set it
   is. Those of the settings' powers are there from the beginning, `JOINERS` more may join, and all may leave and come
   back.
2. At most edges one or two changes are asked for: somebody joins, leaves, gets another power or another key.
   `contracts.changes.plan` says what comes of them, so that no set of the run is one that governance would refuse.
3. With the state that only hashes, the set of an epoch is a function of its number, so that all replicas agree on it;
   after the last one that is planned it stays. With the real state machine the first set is that of the genesis
   document, and `node.simulator.governance` asks for changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from contracts.changes import Members, plan
from contracts.operations_governance import (
    AddValidator,
    Change,
    RemoveValidator,
    ReweightValidator,
    RotateValidatorKey,
)
from genesis.document import GenesisValidator
from node.simulator.settings import Settings

JOINERS: Final = 2
PLANNED_EPOCHS: Final = 40
SET_MIN: Final = 4
SET_MAX: Final = 8
POWER_MAX: Final = 4
CHANGES: Final = (0, 1, 1, 2)
"""How many changes an edge is asked for, each as often."""

Keys = Callable[[int, int], bytes]
"""The public key of an operator, and of which of its keys, from 0."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The sets of a run, by epoch; `operators` is how many there are."""

    sets: tuple[Members, ...]
    operators: int

    def members(self, epoch: int) -> Members:
        """The validators of an epoch, in order of index (rule 3)."""
        return self.sets[min(epoch, len(self.sets) - 1)]

    @property
    def powers(self) -> tuple[Mapping[int, int], ...]:
        """Of each different epoch the power of each operator in it."""
        return tuple({operator_of(each): each.power for each in members} for members in self.sets)


def operator_of(member: GenesisValidator) -> int:
    """The operator behind a validator."""
    return int(member.name.removeprefix("v"))


def make_member(operator: int, public_key: bytes, power: int) -> GenesisValidator:
    """An operator as a validator."""
    return GenesisValidator(
        f"v{operator}", public_key, power, f"127.0.0.1:{operator + 1}", b"certificate %d" % operator
    )


def fixed_schedule(settings: Settings, keys: Keys, joiners: int = 0) -> Schedule:
    """One set for ever, as far as nobody else changes it; so many more operators wait to join."""
    members = tuple(make_member(number, keys(number, 0), power) for number, power in enumerate(settings.powers))
    return Schedule((members,), len(members) + joiners)


def draw_schedule(settings: Settings, keys: Keys, chance: Random) -> Schedule:
    """A plan of changes (rule 2)."""
    sets = list(fixed_schedule(settings, keys).sets)
    operators = len(settings.powers) + JOINERS
    generations = [0] * operators
    limit = max(SET_MAX, len(settings.powers))
    for _ in range(PLANNED_EPOCHS):
        present = sets[-1]
        changes = [draw_change(present, operators, generations, keys, chance) for _ in range(chance.choice(CHANGES))]
        members = plan(present, {}, changes, limit).members
        sets.append(members if len(members) >= min(SET_MIN, len(settings.powers)) else present)
    return Schedule(tuple(sets), operators)


def draw_change(present: Members, operators: int, generations: list[int], keys: Keys, chance: Random) -> Change:
    """Something that somebody might want; whether it may be is not decided here."""
    inside = [operator_of(each) for each in present]
    outside = [each for each in range(operators) if each not in inside]
    one = chance.choice(inside)
    kinds = ["remove", "reweight", "rotate", *(["add"] * 2 if outside else [])]
    match chance.choice(kinds):
        case "add":
            new = make_member(chance.choice(outside), b"", 1 + int(chance.random() * POWER_MAX))
            number = operator_of(new)
            return AddValidator(new.name, keys(number, generations[number]), new.power, new.address, new.certificate)
        case "remove":
            return RemoveValidator(f"v{one}")
        case "reweight":
            return ReweightValidator(f"v{one}", 1 + int(chance.random() * POWER_MAX))
    generations[one] += 1
    return RotateValidatorKey(f"v{one}", keys(one, generations[one]))
