"""Scenarios in numbers: run by the interpreter, searched for one that breaks a claim, and made small.

Whatever a solver or a guess proposes counts only if the interpreter, the code that settles, falls short on it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from contracts.vm.bytecode import NO_DEPOSIT, InputKind, Kind
from contracts.vm.interpreter import Payment, Settled, run, terms
from contracts.vm.intervals import Interval
from contracts.vm.symbolic import Outcome, Path
from contracts.vm.verifier import Verified
from genesis.errors import Rejected

DRAWS: Final = 600
DRAWS_SMALL: Final = 200
"""The first draws keep to the low ends, so that what they find is small from the start."""
SHRINKS_MAX: Final = 1_500
_SCALES: Final = (1, 3, 10, 100, 10_000, 2**40)
_SMALL_SCALES: Final = (1, 2, 3, 5, 10, 20)
"""How far drawn values lie from the ends of their range, or from each other."""


@dataclass(frozen=True)
class Scenario:
    """Numbers for every parameter, and what became of the inputs: as the interpreter takes them."""

    parameters: tuple[int, ...]
    settled: Settled


@dataclass(frozen=True)
class Counterexample:
    """A scenario on which a claim fails.

    Attributes:
        claim: ``no_shortfall`` or ``conservation``.
        locks: (party, asset, amount in minor units) each.
        deposits: (party, asset, amount) of the elections that were made.
        payments: What the interpreter paid.
        short_minor: By how much the first payment that falls short does; or how much too much or too little came out.
    """

    scenario: Scenario
    claim: str
    locks: tuple[tuple[int, int, int], ...]
    deposits: tuple[tuple[int, int, int], ...]
    payments: tuple[Payment, ...]
    short_minor: int


def tried(verified: Verified, scenario: Scenario) -> Counterexample | None:
    """What fails when the interpreter runs `scenario`; None if nothing does, or no instance can start so."""
    try:
        agreed = terms(verified, scenario.parameters)
    except Rejected:
        return None
    ran = run(verified, scenario.parameters, scenario.settled)
    deposits = tuple(
        (each.source, window.deposit_asset, window.deposit_minor)
        for number, (each, window) in enumerate(zip(verified.program.inputs, agreed.windows, strict=True))
        if each.deposit != NO_DEPOSIT and scenario.settled.get(number)
    )
    found = next((each for each in ran.payments if each.amount_minor < each.due_minor), None)
    if found is not None:
        short = found.due_minor - found.amount_minor
        return Counterexample(scenario, "no_shortfall", agreed.locks, deposits, ran.payments, short)
    if ran.waits_for is None:
        for asset in range(len(verified.program.assets)):
            came = sum(amount for _, of, amount in (*agreed.locks, *deposits) if of == asset)
            left = sum(each.amount_minor for each in ran.payments if each.asset == asset)
            if came != left:
                return Counterexample(scenario, "conservation", agreed.locks, deposits, ran.payments, abs(came - left))
    return None


def searched(
    verified: Verified, ranges: Sequence[Interval], start: Sequence[int], paths: Sequence[Path], deadline: float
) -> Counterexample | None:
    """The first drawn scenario that breaks a claim, made small; None if none of `DRAWS` does, or none by the deadline.

    Args:
        verified: The program.
        ranges: Of the parameters.
        start: Parameters with which an instance can start; times are taken from it.
        paths: What may become of the inputs.
        deadline: By `time.monotonic`.
    """
    paying = [each for each in paths if each.movements] or list(paths)
    source = random.Random(0)
    for draw in range(DRAWS):
        if time.monotonic() >= deadline:
            return None
        small = draw < DRAWS_SMALL
        scale = (_SMALL_SCALES if small else _SCALES)[draw % len(_SCALES)]
        scenario = _drawn(verified, ranges, start, source.choice(paying), _Draws(source, scale, small))
        found = tried(verified, scenario)
        if found is not None:
            return shrunk(verified, ranges, found, deadline)
    return None


def _drawn(
    verified: Verified,
    ranges: Sequence[Interval],
    start: Sequence[int],
    path: Path,
    draws: _Draws,
) -> Scenario:
    program = verified.program
    literals = [each.value for each in program.constants]
    parameters: list[int] = []
    for each, values, at_start in zip(program.parameters, ranges, start, strict=True):
        is_time = each.type.kind is Kind.TIME
        alike = [value for value, other in zip(parameters, program.parameters, strict=False) if other.type == each.type]
        parameters.append(at_start if is_time else draws.near(values, [*alike, *alike, *literals]))
    prices = [value for value, each in zip(parameters, program.parameters, strict=True) if each.type.kind is Kind.PRICE]
    settled: dict[int, int | None] = {}
    for number, declared in enumerate(program.inputs):
        outcome = path.outcomes.get(number, draws.source.choice([Outcome.ARRIVED, Outcome.ABSENT]))
        if declared.kind is InputKind.MOMENT:
            settled[number] = 1
            continue
        if outcome is not Outcome.ARRIVED:
            settled[number] = 0 if outcome is Outcome.DECLINED else None
            continue
        alike = prices if declared.kind is InputKind.PRICE else []
        settled[number] = draws.near((declared.low, declared.high), [*alike, *alike, *literals])
    return Scenario(tuple(parameters), settled)


@dataclass(frozen=True)
class _Draws:
    """Draws numbers that lie within `scale` of something notable."""

    source: random.Random
    scale: int
    small: bool

    def near(self, values: Interval, alike: Sequence[int]) -> int:
        """A value near one of its range's ends, or near one of `alike`; if `small`, near the low end."""
        low, high = values
        anchor = low if self.small else self.source.choice([low, low, high, *alike])
        return max(low, min(high, anchor + self.source.randint(-self.scale, self.scale)))


def shrunk(verified: Verified, ranges: Sequence[Interval], found: Counterexample, deadline: float) -> Counterexample:
    """A counterexample of the same claim in which no number can be lowered further: not within `SHRINKS_MAX` trials,
    and not by the deadline (of `time.monotonic`)."""
    left = SHRINKS_MAX
    while True:
        for candidate in islice(_smaller(verified, ranges, found), left):
            left -= 1
            if time.monotonic() >= deadline:
                return candidate or found
            if candidate is not None:
                found = candidate
                break
        else:
            return found


def _smaller(verified: Verified, ranges: Sequence[Interval], found: Counterexample) -> Iterator[Counterexample | None]:
    """`found` with one number lowered, or with the prices of all inputs lowered, or first made alike, together."""
    scenario, inputs = found.scenario, verified.program.inputs
    for number, (value, (low, _)) in enumerate(zip(scenario.parameters, ranges, strict=True)):
        for lower in _lower(value, low):
            changed = (*scenario.parameters[:number], lower, *scenario.parameters[number + 1 :])
            yield _same(verified, replace(scenario, parameters=changed), found)
    arrived = {number: value for number, value in scenario.settled.items() if value is not None}
    are_alike = len(set(arrived.values())) == 1
    together = _lower(max(arrived.values(), default=0), 0) if are_alike else sorted(set(arrived.values()))
    for value in together:
        changed_inputs = {number: max(inputs[number].low, min(inputs[number].high, value)) for number in arrived}
        if changed_inputs != arrived:
            yield _same(verified, replace(scenario, settled={**scenario.settled, **changed_inputs}), found)
    for number, value in () if are_alike else arrived.items():
        for lower in _lower(value, inputs[number].low):
            yield _same(verified, replace(scenario, settled={**scenario.settled, number: lower}), found)


def _same(verified: Verified, scenario: Scenario, found: Counterexample) -> Counterexample | None:
    other = tried(verified, scenario)
    return other if other is not None and other.claim == found.claim else None


def _lower(value: int, low: int) -> Iterator[int]:
    if value > low:
        yield from dict.fromkeys((low, (low + value) // 2, value - 1))
