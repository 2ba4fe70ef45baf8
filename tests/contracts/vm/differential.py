"""Interpreter, kernel and oracle over the same programs and observations, and what must hold of their results.

A `Machine` is the modules under test, so that the mutants of `tests.contracts.vm.mutants` can stand in their place.
The interpreter's registers are watched while it runs: the list that it writes to is one that looks at each value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from types import ModuleType
from typing import Any, Final, SupportsIndex
from unittest.mock import patch

import numpy as np

from contracts.vm import columns, interpreter, kernel, verifier
from contracts.vm.bytecode import VALUE_MAX, WORD_MAX, Op, Program
from contracts.vm.columns import ABSENT, ARRIVED, CLOSED, OPEN
from genesis.errors import Rejected
from tests.contracts.vm.census import Seen, seen_in
from tests.contracts.vm.oracle import Evaluation, documented_gas
from tests.contracts.vm.random_programs import Settled, random_parameters, random_program, random_settled

GAS_MAX: Final = 65_536
BLOCK_LANES: Final = 4
JUNK: Final = (-(2**63), 123_456_789, 2**63 - 1, 0, -1)
DOCUMENTED_GAS: Final = documented_gas()


class Disagreement(AssertionError):
    """Two evaluations differ, or one breaks a rule."""


@dataclass(frozen=True)
class Machine:
    """The modules under test."""

    verifier: ModuleType
    interpreter: ModuleType
    kernel: ModuleType
    columns: ModuleType


@dataclass(frozen=True)
class Plan:
    """How much of a program is looked at.

    Attributes:
        instances: Sets of parameters.
        observations: Scenarios for each.
        oracle_every: One scenario in so many goes to the oracle and to the prefix rule too.
        is_word_sized: As `random_program`.
        uses_kernel: Whether the kernel runs.
    """

    instances: int = 2
    observations: int = 12
    oracle_every: int = 3
    is_word_sized: bool | None = None
    uses_kernel: bool = True


@dataclass
class Tally:
    """What was looked at; what the oracle saw in it is counted by programs."""

    programs: int = 0
    runs: int = 0
    pairs: int = 0
    oracle_runs: int = 0
    closed: int = 0
    short: int = 0
    seen: Seen = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        for name in vars(other):
            setattr(self, name, getattr(self, name) + getattr(other, name))


REAL: Final = Machine(verifier, interpreter, kernel, columns)


class Watched(list[int]):
    """A run's registers; each value written must lie where `of_instance` says, and be made within the bounds."""

    def __init__(self, values: Sequence[int], verified: Any) -> None:
        super().__init__(values)
        self.steps, self.ranges = verified.steps, verified.ranges
        self.value_max = WORD_MAX if verified.word_sized else VALUE_MAX
        self.product_max = WORD_MAX if verified.word_sized else VALUE_MAX * VALUE_MAX
        for at in range(verified.program.preamble_length):
            self._look(at, self[at])

    def __setitem__(self, at: Any, value: Any) -> None:
        self._look(at, value)
        super().__setitem__(at, value)

    def _look(self, at: SupportsIndex, value: int) -> None:
        low, high = self.ranges[at]
        op, a, b, c, _ = self.steps[at]
        _same("value in range", at, low <= value <= high and abs(value) <= self.value_max, True)
        if op == Op.MULDIV:
            product = max(abs(self[a] * self[b]), 2 * abs(self[c]) if self.value_max == WORD_MAX else 0)
            _same("product in range", at, product <= self.product_max, True)


@contextmanager
def watched(machine: Machine, narrowed: Any) -> Iterator[list[Watched]]:
    """The interpreter writes to watched registers; here are those of every run so far."""
    kept: list[Watched] = []
    real = machine.interpreter._preamble

    def watching(verified: Any, parameters: Sequence[int]) -> list[int]:
        kept.append(Watched(real(verified, parameters), narrowed))
        return kept[-1]

    with patch.object(machine.interpreter, "_preamble", watching):
        yield kept


def examine(machine: Machine, seed: int, plan: Plan) -> Tally:
    """One random program through everything.

    Raises:
        Disagreement: With seed, parameters and observation of what differs.
    """
    return examine_program(machine, random_program(seed, is_word_sized=plan.is_word_sized), seed, plan)


def examine_program(machine: Machine, program: Program, seed: int, plan: Plan) -> Tally:
    """A program over random parameters and observations, drawn from `seed`."""
    rng, tally = Random(f"observations {seed}"), Tally(programs=1)
    try:
        verified = machine.verifier.verify(program, GAS_MAX)
    except Rejected as refused:
        raise Disagreement(f"seed {seed}: the verifier refuses it: {refused}") from None
    seen: set[str] = set()
    for _ in range(plan.instances):
        parameters = random_parameters(rng, program)
        observed = [random_settled(rng, program) for _ in range(plan.observations)]
        try:
            tally.add(_instance(machine, verified, parameters, observed, plan, rng, seen))
        except Disagreement as found:
            raise Disagreement(f"seed {seed}, {program.name}, parameters {parameters}: {found}") from None
    tally.seen.update(seen)
    return tally


def _instance(
    machine: Machine,
    verified: Any,
    parameters: tuple[int, ...],
    observed: Sequence[Settled],
    plan: Plan,
    rng: Random,
    seen: set[str],
) -> Tally:
    tally = Tally(runs=len(observed))
    narrowed = _narrowed(machine, verified, parameters)
    with watched(machine, narrowed) as kept:
        runs = [machine.interpreter.run(verified, parameters, settled) for settled in observed]
        for number, (settled, done) in enumerate(zip(observed, runs, strict=True)):
            tally.closed += done.waits_for is None
            tally.short += any(each.amount_minor < each.due_minor for each in done.payments)
            _same("gas within its bound", settled, done.gas <= verified.program.gas, True)
            if number % plan.oracle_every == 0:
                tally.oracle_runs += 1
                seen.update(_against_oracle(verified.program, parameters, settled, done, kept[number]))
                _prefix(machine, verified, parameters, settled, done, rng)
    if plan.uses_kernel:
        tally.pairs += _against_kernel(machine, verified, narrowed, parameters, observed, runs)
    return tally


def _narrowed(machine: Machine, verified: Any, parameters: tuple[int, ...]) -> Any:
    """What is known of the instance: never refused, its ranges inside the program's, its parameters exact."""
    try:
        narrowed = machine.verifier.of_instance(verified, parameters)
    except Rejected as refused:
        raise Disagreement(f"the instance is refused: {refused}") from None
    for at, (inner, outer) in enumerate(zip(narrowed.ranges, verified.ranges, strict=True)):
        inside = inner == outer or (outer[0] <= inner[0] and inner[1] <= outer[1])
        _same("an instance's range in its program's", at, inside, True)
    for register, number in verified.parameter_registers:
        value = parameters[number]
        _same("a parameter's range in an instance", register, narrowed.ranges[register], (value, value))
    return narrowed


def _against_oracle(
    program: Program, parameters: tuple[int, ...], settled: Settled, done: Any, registers: Watched
) -> Iterator[str]:
    """What happened in the run, as the oracle sees it."""
    expected = Evaluation(program, parameters, settled, DOCUMENTED_GAS).evaluate()
    for at in expected.path if expected.waits_for is None else expected.path[:-1]:
        if program.code[at].op < Op.PAY:
            _same(f"the oracle's register {at}", settled, registers[at], expected.value(at))
    _same("the oracle's payments", settled, _paid(done), expected.paid)
    _same("the oracle's wait", settled, done.waits_for, expected.waits_for)
    _same("the oracle's gas", settled, done.gas, expected.gas)
    for asset in range(len(program.assets)) if done.waits_for is None else ():
        out = sum(each.amount_minor for each in done.payments if each.asset == asset)
        _same("conservation", settled, out, expected.brought_in(asset, everything=True))
    return seen_in(expected)


def _prefix(
    machine: Machine, verified: Any, parameters: tuple[int, ...], settled: Settled, done: Any, rng: Random
) -> None:
    """A run over fewer settled inputs has paid the first of the payments."""
    fewer = {number: value for number, value in settled.items() if rng.random() < 0.6}
    earlier = machine.interpreter.run(verified, parameters, fewer)
    if earlier.waits_for is not None:
        _same("the open input that it waits for", fewer, earlier.waits_for in fewer, False)
        _same("the prefix of the payments", fewer, _paid(done)[: len(earlier.payments)], _paid(earlier))
        _same("no more gas than later", fewer, earlier.gas <= done.gas, True)


def _paid(done: Any) -> list[tuple[int, int, int, int]]:
    return [(each.asset, each.party, each.amount_minor, each.due_minor) for each in done.payments]


def _against_kernel(
    machine: Machine,
    verified: Any,
    narrowed: Any,
    parameters: tuple[int, ...],
    observed: Sequence[Settled],
    runs: Iterable[Any],
) -> int:
    """Pairs compared: 0 where a value, a product or a pot may need more than 64 bits."""
    try:
        valuer = machine.columns.Valuer(verified, parameters)
    except Rejected as refused:
        _same("why the kernel refuses", parameters, refused.code, "not_word_sized")
        _same("what the kernel refuses", parameters, narrowed.word_sized and _fits(narrowed), False)
        return 0
    program = verified.program
    values, states = as_columns(program, observed)
    # Short blocks, so that there are several; and lanes that sit out may compute anything.
    with patch.object(machine.kernel, "BLOCK_LANES", BLOCK_LANES), np.errstate(all="ignore"):
        valued = valuer.over(values, states)
    received, waits_for = valued.received.tolist(), valued.waits_for.tolist()
    gas, shortfall = valued.gas.tolist(), valued.shortfall.tolist()
    for lane, (settled, done) in enumerate(zip(observed, runs, strict=True)):
        sums = [[0] * len(program.assets) for _ in program.parties]
        for each in done.payments:
            sums[each.party][each.asset] += each.amount_minor
        expected = (sums, CLOSED if done.waits_for is None else done.waits_for, done.gas, is_short(done))
        found = (
            [[received[party][asset][lane] for asset in range(len(program.assets))] for party in range(len(sums))],
            waits_for[lane],
            gas[lane],
            shortfall[lane],
        )
        _same("kernel and interpreter", settled, found, expected)
    return len(observed)


def _fits(narrowed: Any) -> bool:
    """Whether all locks and deposits of each asset together fit 64 bits."""
    program = narrowed.program
    amounts = [each.amount for each in program.locks] + [each.deposit for each in program.inputs if each.deposit >= 0]
    assets = range(len(program.assets))
    return all(
        sum(narrowed.ranges[each][1] for each in amounts if narrowed.types[each].asset == asset) <= WORD_MAX
        for asset in assets
    )


def is_short(done: Any) -> bool:
    """Whether some payment was larger than what was left."""
    return any(each.amount_minor < each.due_minor for each in done.payments)


def as_columns(program: Program, observed: Sequence[Mapping[int, int | None]]) -> tuple[Any, Any]:
    """Values and states as the kernel takes them; what has not arrived has a value that nothing may look at."""
    shape = len(program.inputs), len(observed)
    values, states = np.resize(np.array(JUNK, dtype=np.int64), shape), np.full(shape, OPEN, dtype=np.int64)
    for lane, settled in enumerate(observed):
        for number, value in settled.items():
            states[number, lane] = ABSENT if value is None else ARRIVED
            if value is not None:
                values[number, lane] = value
    return values, states


def _same(what: str, where: object, found: object, expected: object) -> None:
    if found != expected:
        raise Disagreement(f"{what}, at {where}: {found}, expected {expected}")
