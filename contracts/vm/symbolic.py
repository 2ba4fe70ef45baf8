"""Every way that a program can take, over terms instead of numbers: what `novate contract prove` reasons about.

The walk follows the interpreter (`contracts.vm.interpreter`) instruction by instruction, and forks

- at the first AWAIT of an input: it is absent, or it has arrived, as a moment always does; an election that has arrived
  is false (zero), or true (above zero), and in the second case its deposit enters the pot;
- at a conditional jump that the ranges, and what the path has already assumed, do not decide.

So a path fixes which inputs arrived and which way each jump went, and holds for all values that meet its conditions. A
run that halts at an open input has paid the first payments of a path and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from contracts.vm.bytecode import NO_DEPOSIT, InputKind, Kind, Op
from contracts.vm.intervals import Interval
from contracts.vm.terms import Term, TermPool
from contracts.vm.verifier import Verified
from genesis.errors import InvariantViolation, Rejected

PATHS_MAX: Final = 2_048


class Outcome(Enum):
    """What became of an input on a path."""

    ABSENT = "absent"
    DECLINED = "false or zero"
    ARRIVED = "arrived"


@dataclass(frozen=True, slots=True)
class Deposit:
    """An election's money enters the pot: of input `number`."""

    number: int
    asset: int
    amount: Term


@dataclass(frozen=True, slots=True)
class Due:
    """The PAY at instruction `at` asks for `amount`, to the party that the term `party` numbers."""

    at: int
    asset: int
    amount: Term
    party: Term


@dataclass(frozen=True, slots=True)
class SymbolicLock:
    """What a party locks at the start."""

    party: int
    asset: int
    amount: Term


@dataclass(frozen=True, slots=True)
class SymbolicWindow:
    """When an input opens and ends; to start, ``0 <= opens < until`` must hold, of a moment ``0 <= opens``."""

    opens: Term
    until: Term
    is_moment: bool


@dataclass(frozen=True, slots=True)
class Path:
    """One way through the program, to its end.

    Attributes:
        outcomes: By input, in the order in which they were awaited.
        conditions: Truths, and which of 0 and 1 each is on this path.
        movements: Deposits and payments, in order.
        closed_at: The CLOSE that ends it.
    """

    outcomes: Mapping[int, Outcome]
    conditions: tuple[tuple[Term, bool], ...]
    movements: tuple[Deposit | Due, ...]
    closed_at: int


@dataclass(frozen=True)
class Symbolic:
    """A program over terms.

    Attributes:
        ranges: Each parameter's range: the declared one, or a narrower one that was asked for.
        parameters: Each parameter's term.
        locks, windows: In the order of the program's locks and inputs.
        deposits: By input, the money that electing it brings in.
    """

    verified: Verified
    ranges: tuple[Interval, ...]
    parameters: tuple[Term, ...]
    locks: tuple[SymbolicLock, ...]
    windows: tuple[SymbolicWindow, ...]
    deposits: Mapping[int, Deposit]
    pool: TermPool
    registers: tuple[Term | None, ...]

    def paths(self) -> Iterator[Path]:
        """Every path, those on which inputs arrive first.

        Raises:
            Rejected: ``too_many_paths`` beyond `PATHS_MAX`.
        """
        return _paths(self)


def symbolic(verified: Verified, ranges: Mapping[int, Interval] | None = None) -> Symbolic:
    """The program over terms, its preamble computed.

    Args:
        verified: The program.
        ranges: Narrower ranges of some parameters, by number.

    Raises:
        Rejected: ``bad_parameter`` for a range that is empty or not within the declared one.
    """
    program, pool = verified.program, TermPool()
    bounds = [_narrowed(verified, number, (ranges or {}).get(number)) for number in range(len(program.parameters))]
    parameters = tuple(
        pool.leaf(Op.PARAM, number, each.type.kind is Kind.BOOL, bounds[number])
        for number, each in enumerate(program.parameters)
    )
    registers = [_loaded(verified, pool, parameters, at) for at in range(len(program.code))]
    for at, instruction in enumerate(program.code[: program.preamble_length]):
        if instruction.op > Op.PARAM:
            registers[at] = _value(verified, pool, registers, at)
    locks = tuple(
        SymbolicLock(each.party, _asset(verified, each.amount), _read(registers, each.amount)) for each in program.locks
    )
    windows = tuple(
        SymbolicWindow(_read(registers, each.opens), _read(registers, each.until), each.kind is InputKind.MOMENT)
        for each in program.inputs
    )
    deposits = {
        number: Deposit(number, _asset(verified, each.deposit), _read(registers, each.deposit))
        for number, each in enumerate(program.inputs)
        if each.deposit != NO_DEPOSIT
    }
    return Symbolic(verified, tuple(bounds), parameters, locks, windows, deposits, pool, tuple(registers))


def _narrowed(verified: Verified, number: int, asked: Interval | None) -> Interval:
    declared = verified.program.parameters[number]
    low, high = asked if asked is not None else (declared.low, declared.high)
    if not declared.low <= low <= high <= declared.high:
        raise Rejected(
            "bad_parameter",
            "A parameter's range must lie within the declared one.",
            parameter=declared.name,
            low=low,
            high=high,
            declared_low=declared.low,
            declared_high=declared.high,
        )
    return low, high


@dataclass
class _Walker:
    """A path under way."""

    at: int
    registers: list[Term | None]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    conditions: tuple[tuple[Term, bool], ...] = ()
    movements: tuple[Deposit | Due, ...] = ()

    def fork(self) -> _Walker:
        return replace(self, registers=list(self.registers), outcomes=dict(self.outcomes))


def _paths(whole: Symbolic) -> Iterator[Path]:
    program = whole.verified.program
    waiting = [_Walker(program.preamble_length, list(whole.registers))]
    found = 0
    while waiting:
        walker = waiting.pop()
        while program.code[walker.at].op is not Op.CLOSE:
            _step(whole, walker, waiting)
        found += 1
        if found > PATHS_MAX:
            raise Rejected("too_many_paths", "The program has too many paths.", paths_max=PATHS_MAX)
        yield Path(walker.outcomes, walker.conditions, walker.movements, walker.at)


def _step(whole: Symbolic, walker: _Walker, waiting: list[_Walker]) -> None:
    """One instruction; another way that it may go is left on `waiting`."""
    at, instruction = walker.at, whole.verified.program.code[walker.at]
    walker.at += 1
    if instruction.op is Op.JUMP:
        walker.at = instruction.a
    elif instruction.op is Op.JUMP_UNLESS:
        _branch(walker, _read(walker.registers, instruction.a), instruction.b, waiting)
    elif instruction.op is Op.AWAIT:
        _await(whole, walker, instruction.a, at, waiting)
    elif instruction.op is Op.PAY:
        due = Due(
            at,
            _asset(whole.verified, instruction.a),
            _read(walker.registers, instruction.a),
            _read(walker.registers, instruction.b),
        )
        walker.movements = (*walker.movements, due)
    elif instruction.op is Op.INPUT:
        walker.registers[at] = _input(whole, walker, instruction.a)
    elif instruction.op > Op.PARAM:
        walker.registers[at] = _value(whole.verified, whole.pool, walker.registers, at)


def _branch(walker: _Walker, condition: Term, target: int, waiting: list[_Walker]) -> None:
    known = {term.number: truth for term, truth in walker.conditions}.get(condition.number)
    if condition.is_constant:
        known = bool(condition.value)
    if known is None:
        other = walker.fork()
        other.conditions = (*other.conditions, (condition, False))
        other.at = target
        waiting.append(other)
        walker.conditions = (*walker.conditions, (condition, True))
    elif not known:
        walker.at = target


def _await(whole: Symbolic, walker: _Walker, number: int, at: int, waiting: list[_Walker]) -> None:
    if number not in walker.outcomes:
        for outcome in _others(whole, number):
            other = walker.fork()
            other.outcomes[number] = outcome
            other.registers[at] = whole.pool.constant(int(outcome is not Outcome.ABSENT), True)
            waiting.append(other)
        walker.outcomes[number] = Outcome.ARRIVED
        if number in whole.deposits and whole.verified.program.inputs[number].high > 0:
            walker.movements = (*walker.movements, whole.deposits[number])
    walker.registers[at] = whole.pool.constant(int(walker.outcomes[number] is not Outcome.ABSENT), True)


def _others(whole: Symbolic, number: int) -> tuple[Outcome, ...]:
    """What else than ARRIVED may become of an input."""
    declared = whole.verified.program.inputs[number]
    if declared.kind is InputKind.MOMENT:
        return ()
    may_decline = declared.kind is InputKind.ELECTION and declared.low == 0 < declared.high
    return (Outcome.ABSENT, Outcome.DECLINED) if may_decline else (Outcome.ABSENT,)


def _input(whole: Symbolic, walker: _Walker, number: int) -> Term:
    declared = whole.verified.program.inputs[number]
    is_bool, low = declared.type.kind is Kind.BOOL, declared.low
    if walker.outcomes[number] is Outcome.DECLINED:
        return whole.pool.constant(0, is_bool)
    if declared.kind is InputKind.ELECTION and declared.high > 0:
        low = max(1, low)
    return whole.pool.leaf(Op.INPUT, number, is_bool, (low, declared.high))


def _loaded(verified: Verified, pool: TermPool, parameters: Sequence[Term], at: int) -> Term | None:
    """What the register of a constant or a parameter holds from the start, wherever it stands."""
    instruction, program = verified.program.code[at], verified.program
    if instruction.op is Op.CONST:
        constant = program.constants[instruction.a]
        return pool.constant(constant.value, constant.type.kind is Kind.BOOL)
    return parameters[instruction.a] if instruction.op is Op.PARAM else None


def _value(verified: Verified, pool: TermPool, registers: list[Term | None], at: int) -> Term:
    instruction = verified.program.code[at]
    return pool.pure(instruction.op, [_read(registers, each) for each in instruction.reads], instruction.d)


def _read(registers: list[Term | None], register: int) -> Term:
    term = registers[register]
    if term is None:
        raise InvariantViolation("a verified program reads what was written", register=register)
    return term


def _asset(verified: Verified, register: int) -> int:
    kind = verified.types[register]
    return kind.asset if kind is not None else 0
