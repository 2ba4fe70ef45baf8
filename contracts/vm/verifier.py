"""What every node checks before a program is stored: one pass, no solver, time linear in the program.

The checks are those of docs/CONTRACTS.md, section 3. Whoever runs a `Verified` program relies on them: no register is
read before it is written, no value has more than `VALUE_BITS` bits, no divisor is zero, no payment is negative, and
every path closes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, NoReturn

from contracts.vm import intervals
from contracts.vm.bytecode import (
    NO_ASSET,
    NO_DEPOSIT,
    OPERANDS,
    VALUE_MAX,
    WORD_MAX,
    Input,
    InputKind,
    Instruction,
    Kind,
    Op,
    Program,
    Rounding,
    Type,
)
from contracts.vm.intervals import BOOLS, Interval
from genesis.errors import Rejected

BOOL: Final = Type(Kind.BOOL)
TIME: Final = Type(Kind.TIME)
COUNTED: Final = frozenset({Kind.TIME, Kind.QUANTITY, Kind.PRICE, Kind.MONEY, Kind.RATIO})
"""What has an order and can be added."""
PRODUCT_MAX: Final = VALUE_MAX * VALUE_MAX


@dataclass(frozen=True)
class Verified:
    """A program that passed, and what is known of it.

    Attributes:
        types: Each register's type; None where an instruction yields nothing.
        ranges: Each register's range.
        word_sized: Whether 64 bits hold every value and every product, so that the kernel may run it.
        paid_max: By asset, no run pays out more than this before the close.
    """

    program: Program
    types: tuple[Type | None, ...]
    ranges: tuple[Interval | None, ...]
    word_sized: bool
    paid_max: tuple[int, ...]

    @cached_property
    def steps(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """The code as plain integers, (operation, a, b, c, d): what an interpreter reads quickly."""
        return tuple((int(each.op), *each.operands) for each in self.program.code)

    @cached_property
    def blank(self) -> tuple[int, ...]:
        """A run's registers at its start: constants are there already, the others are 0."""
        code, constants = self.program.code, self.program.constants
        return tuple(constants[each.a].value if each.op is Op.CONST else 0 for each in code)

    @cached_property
    def parameter_registers(self) -> tuple[tuple[int, int], ...]:
        """(register, parameter) of each PARAM."""
        return tuple((at, each.a) for at, each in enumerate(self.program.code) if each.op is Op.PARAM)


def verify(program: Program, gas_max: int) -> Verified:
    """`program`, if it holds to every rule.

    Args:
        program: Well-formed, as `decode_program` returns it.
        gas_max: The chain's limit.

    Raises:
        Rejected: ``bad_program`` with the instruction and the rule; ``gas_limit``.
    """
    if program.gas > gas_max:
        raise Rejected("gas_limit", "The program may need too much gas.", gas=program.gas, gas_max=gas_max)
    _check_declarations(program)
    walk = _Walk(program)
    for at, instruction in enumerate(program.code):
        walk.step(at, instruction)
    _check_tables(walk)
    return Verified(program, tuple(walk.types), tuple(walk.ranges), walk.word_sized, tuple(walk.paid_max))


def of_instance(verified: Verified, parameters: Sequence[int]) -> Verified:
    """The same program with every parameter's range narrowed to its value: what is known of one instance.

    Args:
        parameters: Within their ranges; then every interval lies in that of `verified`, and nothing can be refused.
    """
    program = verified.program
    known = zip(program.parameters, parameters, strict=True)
    fixed = tuple(replace(each, low=value, high=value) for each, value in known)
    return verify(replace(program, parameters=fixed), program.gas)


@dataclass
class _Walk:
    """The pass over the code. Sets of registers and of inputs are bit masks, joined by `&` where paths meet."""

    program: Program
    types: list[Type | None] = field(default_factory=list)
    ranges: list[Interval | None] = field(default_factory=list)
    written: int | None = 0
    arrived: int = 0
    awaited_by: dict[int, int] = field(default_factory=dict)
    joining: dict[int, tuple[int, int]] = field(default_factory=dict)
    word_sized: bool = True
    paid_max: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.paid_max = [0] * len(self.program.assets)

    def step(self, at: int, instruction: Instruction) -> None:
        """Check one instruction and note what it yields."""
        self._join(at)
        if self.written is None:
            _refuse(at, "no path leads here")
        _check_operands(at, instruction, self.program)
        for register in instruction.reads:
            if register >= at or not self.written >> register & 1:
                _refuse(at, f"reads register {register}, which not every path has written")
        if at < self.program.preamble_length and instruction.op >= Op.AWAIT:
            _refuse(at, f"{instruction.op.name} may not stand in the preamble")
        kind, values = self._yields(at, instruction)
        if values is not None:
            self._note_size(at, values)
            self.written |= 1 << at
        self.types.append(kind)
        self.ranges.append(values)

    def _join(self, at: int) -> None:
        """What holds on every path that leads to `at`."""
        if at not in self.joining:
            return
        written, arrived = self.joining.pop(at)
        self.arrived = arrived if self.written is None else self.arrived & arrived
        self.written = written if self.written is None else self.written & written

    def _note_size(self, at: int, values: Interval) -> None:
        size = intervals.magnitude(values)
        if size > VALUE_MAX:
            _refuse(at, f"its value may need {size.bit_length()} bits; at most {VALUE_MAX.bit_length()}")
        self.word_sized &= size <= WORD_MAX

    def _yields(self, at: int, instruction: Instruction) -> tuple[Type | None, Interval | None]:
        op = instruction.op
        if op in (Op.CONST, Op.PARAM, Op.INPUT):
            return self._loaded(at, instruction)
        if op is Op.MULDIV:
            return self._scaled(at, instruction)
        if op is Op.AWAIT:
            self.awaited_by[at] = instruction.a
            return BOOL, BOOLS
        if op >= Op.PAY:
            self._flow(at, instruction)
            return None, None
        return self._combined(at, instruction)

    def _loaded(self, at: int, instruction: Instruction) -> tuple[Type, Interval]:
        program, number = self.program, instruction.a
        if instruction.op is Op.CONST:
            constant = program.constants[number]
            return constant.type, (constant.value, constant.value)
        if instruction.op is Op.INPUT and not self.arrived >> number & 1:
            _refuse(at, f"reads input {number}, which not every path has seen arrive")
        source = program.parameters[number] if instruction.op is Op.PARAM else program.inputs[number]
        return source.type, (source.low, source.high)

    def _operand(self, at: int, register: int) -> tuple[Type, Interval]:
        kind, values = self.types[register], self.ranges[register]
        if kind is None or values is None:
            _refuse(at, f"register {register} has no value")
        return kind, values

    def _scaled(self, at: int, instruction: Instruction) -> tuple[Type, Interval]:
        """``a * b / c``: the unit of c cancels one of the product's."""
        (a, of_a), (b, of_b), (c, of_c) = (self._operand(at, each) for each in instruction.reads)
        if not {a.kind, b.kind, c.kind} <= COUNTED or c not in (a, b):
            _refuse(at, f"the units of {_name(a)} * {_name(b)} / {_name(c)} do not cancel")
        if of_c[0] <= 0 <= of_c[1]:
            _refuse(at, f"its divisor may be zero: it lies from {of_c[0]} to {of_c[1]}")
        product = intervals.multiply(of_a, of_b)
        if intervals.magnitude(product) > PRODUCT_MAX:
            _refuse(at, f"its product may need {intervals.magnitude(product).bit_length()} bits; at most 254")
        # Rounding half to even doubles the remainder, which is below the divisor.
        self.word_sized &= max(intervals.magnitude(product), 2 * intervals.magnitude(of_c)) <= WORD_MAX
        return (a if b == c else b), intervals.divide(product, of_c, Rounding(instruction.d))

    def _combined(self, at: int, instruction: Instruction) -> tuple[Type, Interval]:
        """The pure operations on values of one type."""
        op = instruction.op
        operands = [self._operand(at, each) for each in instruction.reads]
        if op is Op.SELECT:
            condition, *operands = operands
            _require(at, condition[0] == BOOL, "its condition is no bool")
        kind, first = operands[0]
        _require(at, all(each == kind for each, _ in operands), "its operands are of two types")
        if op in (Op.AND, Op.OR, Op.NOT):
            _require(at, kind == BOOL, "its operands are no bools")
            return BOOL, BOOLS
        if op in (Op.EQ, Op.SELECT):
            return (BOOL, BOOLS) if op is Op.EQ else (kind, intervals.hull(first, operands[1][1]))
        _require(at, kind.kind in COUNTED, f"{op.name} is not for {_name(kind)}")
        if op in (Op.LT, Op.LE):
            return BOOL, BOOLS
        return kind, _ARITHMETIC[op](first, operands[1][1])

    def _flow(self, at: int, instruction: Instruction) -> None:
        """Payments, jumps and the close: what they need, and what holds where they lead."""
        written = self.written
        if instruction.op is Op.PAY:
            self._pay(at, instruction)
        elif instruction.op is Op.CLOSE:
            self.written = None
        elif written is not None:
            self._jump(at, instruction, written)

    def _pay(self, at: int, instruction: Instruction) -> None:
        (amount, values), (party, _) = (self._operand(at, each) for each in instruction.reads)
        _require(at, amount.kind is Kind.MONEY, f"it pays {_name(amount)}, which is no money")
        _require(at, party.kind is Kind.PARTY, "it pays to what is no party")
        _require(at, values[0] >= 0, f"the payment may be negative: it lies from {values[0]} to {values[1]}")
        self.paid_max[amount.asset] += values[1]

    def _jump(self, at: int, instruction: Instruction, written: int) -> None:
        conditional = instruction.op is Op.JUMP_UNLESS
        target = instruction.b if conditional else instruction.a
        _require(at, at < target < len(self.program.code), f"it jumps to {target}; jumps go forward and stay inside")
        if conditional:
            _require(at, self._operand(at, instruction.a)[0] == BOOL, "its condition is no bool")
        before = self.joining.get(target, (written, self.arrived))
        self.joining[target] = before[0] & written, before[1] & self.arrived
        if not conditional:
            self.written = None
        elif instruction.a in self.awaited_by:
            self.arrived |= 1 << self.awaited_by[instruction.a]


_ARITHMETIC: Final = {
    Op.ADD: intervals.add,
    Op.SUB: intervals.subtract,
    Op.MIN: intervals.minimum,
    Op.MAX: intervals.maximum,
}


def _refuse(at: int, why: str) -> NoReturn:
    raise Rejected("bad_program", f"Instruction {at}: {why}.", instruction=at)


def _require(at: int, holds: bool, why: str) -> None:
    if not holds:
        _refuse(at, why)


def _name(of: Type) -> str:
    return of.kind.name.lower() + (f" of asset {of.asset}" if of.kind is Kind.MONEY else "")


def _check_operands(at: int, instruction: Instruction, program: Program) -> None:
    """Unused operands are zero, and those that are no registers name something that there is."""
    used = OPERANDS[instruction.op]
    _require(at, not any(instruction.operands[used:]), "an operand that it does not use is not 0")
    counts = {
        Op.CONST: len(program.constants),
        Op.PARAM: len(program.parameters),
        Op.AWAIT: len(program.inputs),
        Op.INPUT: len(program.inputs),
    }
    there = counts.get(instruction.op)
    _require(at, there is None or instruction.a < there, f"operand {instruction.a} names none of {there}")
    _require(
        at, instruction.op is not Op.MULDIV or instruction.d < len(Rounding), f"rounding {instruction.d} is unknown"
    )


def _check_declarations(program: Program) -> None:
    """Names are told apart, types are whole, ranges are not empty."""
    names = [
        *program.parties,
        *(each.name for each in program.assets),
        *program.feeds,
        *(each.name for each in program.parameters),
        *(each.name for each in program.inputs),
    ]
    if len(set(names)) != len(names):
        raise Rejected("bad_program", "Two things in the program have one name.")
    for what, faulty in _faulty_declarations(program):
        if faulty:
            raise Rejected("bad_program", f"The program's {what} is out of range.")
    if not 0 <= program.preamble_length < len(program.code) or program.code[-1].op is not Op.CLOSE:
        raise Rejected("bad_program", "The program must go on after its preamble and end with CLOSE.")


def _faulty_declarations(program: Program) -> Iterator[tuple[str, bool]]:
    parties, assets = len(program.parties), len(program.assets)
    for number, asset in enumerate(program.assets):
        yield f"asset {number}", asset.rest >= parties
    for number, constant in enumerate(program.constants):
        yield f"constant {number}", not _is_within(constant.type, constant.value, constant.value, parties, assets)
    for number, parameter in enumerate(program.parameters):
        yield f"parameter {number}", not _is_within(parameter.type, parameter.low, parameter.high, parties, assets)
    for number, lock in enumerate(program.locks):
        yield f"lock {number}", lock.party >= parties or lock.amount >= program.preamble_length
    for number, each in enumerate(program.inputs):
        yield f"input {number}", not _is_sound_input(program, each)


def _is_within(of: Type, low: int, high: int, parties: int, assets: int) -> bool:
    """Whether a range is one of its type."""
    if (of.kind is Kind.MONEY) != (0 <= of.asset < assets) or (of.kind is not Kind.MONEY and of.asset != NO_ASSET):
        return False
    bounds = {Kind.BOOL: (0, 1), Kind.PARTY: (0, parties - 1)}.get(of.kind, (-WORD_MAX, WORD_MAX))
    return bounds[0] <= low <= high <= bounds[1]


def _is_sound_input(program: Program, each: Input) -> bool:
    registers = [each.opens, each.until, *([each.deposit] if each.deposit != NO_DEPOSIT else [])]
    if max(registers) >= program.preamble_length or not _is_within(each.type, each.low, each.high, 0, 0):
        return False
    if each.kind is InputKind.PRICE:
        return each.source < len(program.feeds) and each.type.kind is Kind.PRICE and each.deposit == NO_DEPOSIT
    if each.kind is InputKind.MOMENT:
        is_true = each.type == BOOL and each.low == each.high == 1
        return is_true and each.source == 0 and each.until == each.opens and each.deposit == NO_DEPOSIT
    return each.source < len(program.parties) and each.type.kind in (Kind.BOOL, Kind.QUANTITY) and each.low >= 0


def _check_tables(walk: _Walk) -> None:
    """Locks and deposits are money that is not negative; windows are times."""
    program = walk.program
    amounts = [each.amount for each in program.locks]
    amounts += [each.deposit for each in program.inputs if each.deposit != NO_DEPOSIT]
    for register in amounts:
        kind, values = walk.types[register], walk.ranges[register]
        if kind is None or values is None or kind.kind is not Kind.MONEY or values[0] < 0:
            raise Rejected(
                "bad_program",
                f"Register {register} is locked, but is no money or may be negative.",
                instruction=register,
            )
    for register in [register for each in program.inputs for register in (each.opens, each.until)]:
        if walk.types[register] != TIME:
            raise Rejected(
                "bad_program", f"Register {register} bounds an input's window, but is no time.", instruction=register
            )
