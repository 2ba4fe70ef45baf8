"""Random well-typed programs, their parameters and their observations, each drawn from a seed and nothing else.

How it works. Code is laid down instruction by instruction; the builder keeps what the verifier keeps (each register's
type and range, which registers every path has written, which inputs it has seen arrive) and picks only operands that
fit. A jump goes to a label that is placed later, where the paths meet; several jumps may share one, and labels are
placed in any order, so jumps cross. A pick whose value would be too large is drawn again. So the verifier accepts every
program; that it does is a test, not an assumption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from contracts.vm import intervals
from contracts.vm.bytecode import (
    CONSTANTS_MAX,
    NO_DEPOSIT,
    VALUE_MAX,
    WORD_MAX,
    Asset,
    Constant,
    Input,
    InputKind,
    Instruction,
    Kind,
    Lock,
    Op,
    Parameter,
    Program,
    Rounding,
    Type,
)
from contracts.vm.intervals import BOOLS, Interval
from contracts.vm.verifier import COUNTED, PRODUCT_MAX

BOOL, TIME, QUANTITY = Type(Kind.BOOL), Type(Kind.TIME), Type(Kind.QUANTITY)
PRICE, RATIO, PARTY = Type(Kind.PRICE), Type(Kind.RATIO), Type(Kind.PARTY)
TRIES: Final = 20
SPANS: Final = ((0, 3), (-5, 5), (-2, 1), (1, 6), (-9, -1), (0, 1000), (1, 10**6), (-(10**6), 10**6), (-(10**6), -3))
WIDE_SPANS: Final = ((1, 10**12), (-(10**12), 10**12), (0, 2**53))
VAST_SPANS: Final = ((1, WORD_MAX), (-WORD_MAX, WORD_MAX), (2**62, WORD_MAX), (-WORD_MAX, -1), (-WORD_MAX, -(2**61)))
PURE: Final = (Op.ADD, Op.SUB, Op.MIN, Op.MAX, Op.LT, Op.LE, Op.EQ, Op.AND, Op.OR, Op.NOT, Op.SELECT) + (Op.MULDIV,) * 5
INPUT_KINDS: Final = (InputKind.PRICE,) * 4 + (InputKind.ELECTION,) * 2 + (InputKind.MOMENT,) * 2
_ARITHMETIC: Final[dict[Op, Callable[[Interval, Interval], Interval]]] = {
    Op.ADD: intervals.add,
    Op.SUB: intervals.subtract,
    Op.MIN: intervals.minimum,
    Op.MAX: intervals.maximum,
}
Settled = dict[int, int | None]
Found = tuple[Instruction, Type, Interval]


def random_program(seed: int, *, is_word_sized: bool | None = None) -> Program:
    """The program of this seed; 64 bits hold it where `is_word_sized`, and else (or by lot, for None) may not."""
    rng = Random(seed)
    fits = rng.random() < 0.5 if is_word_sized is None else is_word_sized
    return _Builder(rng, fits).program(f"random_{seed}")


def random_parameters(rng: Random, program: Program) -> tuple[int, ...]:
    """One instance's, often at the edges of their ranges."""
    return tuple(edge(rng, each.low, each.high) for each in program.parameters)


def random_settled(rng: Random, program: Program) -> Settled:
    """Which inputs are settled, and how: mostly all of them, at times many absent or open."""
    open_share = rng.choice((0.0, 0.0, 0.0, 0.1, 0.5))
    absent_share = rng.choice((0.0, 0.05, 0.2, 0.8))
    settled: Settled = {}
    for number, each in enumerate(program.inputs):
        if rng.random() >= open_share:
            is_absent = rng.random() < absent_share and each.kind is not InputKind.MOMENT
            settled[number] = None if is_absent else edge(rng, each.low, each.high)
    return settled


def edge(rng: Random, low: int, high: int) -> int:
    """A value from `low` to `high`: an end of the range, a small number, or any."""
    near = (low, high, low + 1, high - 1, 0, 1, -1, (low + high) // 2)
    match rng.randrange(4):
        case 0:
            return min(max(rng.choice(near), low), high)
        case 1:
            return min(max(rng.randint(-12, 12), low), high)
        case 2:
            return min(low + rng.getrandbits(rng.randint(1, 63)), high)
        case _:
            return rng.randint(low, high)


@dataclass
class _Label:
    """A place to be: which jumps lead there, and what holds on all of these paths."""

    sources: list[int]
    written: frozenset[int]
    arrived: frozenset[int]


@dataclass
class _Builder:
    """The program so far. `written` is None where no path leads on."""

    rng: Random
    fits_words: bool
    parties: int = 0
    assets: int = 0
    parameters: list[Parameter] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    types: list[Type | None] = field(default_factory=list)
    ranges: list[Interval] = field(default_factory=list)
    written: list[int] | None = field(default_factory=list)
    arrived: frozenset[int] = frozenset()
    labels: list[_Label] = field(default_factory=list)
    pots: list[int] = field(default_factory=list)

    @property
    def value_max(self) -> int:
        return WORD_MAX if self.fits_words else VALUE_MAX

    @property
    def product_max(self) -> int:
        return WORD_MAX if self.fits_words else PRODUCT_MAX

    def program(self, name: str) -> Program:
        """Everything: declarations, preamble, body, close."""
        rng = self.rng
        self.parties, self.assets = rng.randint(1, 4), rng.randint(1, 3)
        self.pots = [0] * self.assets
        feeds = tuple(f"F{each}" for each in range(rng.randint(0, 2)))
        self._preamble()
        locks = tuple(self._locks())
        self._windows(len(feeds))
        preamble_length = len(self.code)
        length = preamble_length + rng.choice((3, 10, 10, 25, 25, 60, rng.randint(60, 300)))
        while len(self.code) < length:
            self._step()
        while self.labels:
            self._place(rng.choice(self.labels))
            self._step_in_place()
        self._flow(Instruction(Op.CLOSE))
        parties = tuple(f"P{each}" for each in range(self.parties))
        assets = tuple(Asset(f"A{each}", rng.randrange(self.parties)) for each in range(self.assets))
        declared = tuple(self.parameters), tuple(self.constants), locks, tuple(self.inputs)
        return Program(name, parties, assets, feeds, *declared, preamble_length, tuple(self.code))

    # --- declarations and preamble ------------------------------------------------------------------------------------

    def _span(self) -> Interval:
        spans = SPANS * 3 + WIDE_SPANS + (() if self.fits_words and self.rng.random() < 0.9 else VAST_SPANS * 4)
        low, high = self.rng.choice(spans)
        return (low, high) if self.rng.random() < 0.8 else (value := edge(self.rng, low, high), value)

    def _type(self) -> Type:
        money = Type(Kind.MONEY, self.rng.randrange(self.assets))
        return self.rng.choice((money, money, PRICE, PRICE, QUANTITY, RATIO, TIME, BOOL, PARTY))

    def _range(self, of: Type) -> Interval:
        if of.kind in (Kind.BOOL, Kind.PARTY):
            high = 1 if of == BOOL else self.parties - 1
            return self.rng.choice(((0, high), (0, high), (high, high)))
        return self._span()

    def _preamble(self) -> None:
        rng = self.rng
        for number in range(rng.randint(0, 6)):
            of = self._type()
            self.parameters.append(Parameter(f"p{number}", of, *self._range(of)))
            self._emit((Instruction(Op.PARAM, number), of, (self.parameters[-1].low, self.parameters[-1].high)))
        self._emit(self._constant(BOOL, rng.randrange(2)))
        self._emit(self._constant(PARTY, rng.randrange(self.parties)))
        for of in (TIME, PRICE, *(Type(Kind.MONEY, each) for each in range(self.assets))):
            self._emit(self._constant(of, rng.choice((0, 1, 1, 1, 2, 2, -2, 4))))
        for _ in range(rng.choice((0, 2, 5, 12))):
            self._emit(self._pure())

    def _locks(self) -> list[Lock]:
        amounts = [self._lockable() for _ in range(self.rng.choice((0, 1, 1, 2, 3)))]
        return [Lock(self.rng.randrange(self.parties), each) for each in amounts if each is not None]

    def _lockable(self) -> int | None:
        """Money that is not negative; in a word-sized program, no more than fits in the pot of its asset."""
        register = self._pick(lambda of, values: of.kind is Kind.MONEY and values[0] >= 0)
        of = self.types[register] if register is not None else None
        if register is None or of is None:
            return None
        pot = self.pots[of.asset] + self.ranges[register][1]
        if self.fits_words and pot > WORD_MAX:
            return None
        self.pots[of.asset] = pot
        return register

    def _windows(self, feeds: int) -> None:
        """Inputs: moments, elections, single prices, and runs of prices from one feed."""
        rng = self.rng
        for group in range(rng.randint(0, 4)):
            kind = rng.choice([each for each in INPUT_KINDS if feeds or each is not InputKind.PRICE])
            if kind is InputKind.MOMENT:
                opens, _ = self._window()
                self.inputs.append(Input(f"m{group}", kind, 0, BOOL, 1, 1, opens, opens))
                continue
            if kind is InputKind.PRICE:
                low, high = self._span()
                prices = (kind, rng.randrange(feeds), PRICE, low, high)
                for number in range(rng.choice((1, 1, 2, 5))):
                    self.inputs.append(Input(f"w{group}[{number + 1}]", *prices, *self._window()))
                continue
            of = rng.choice((BOOL, QUANTITY))
            low, high = (0, 1) if of == BOOL else (rng.choice((0, 0, 1)), rng.choice((1, 7, 10**6)))
            deposit = self._lockable() if rng.random() < 0.7 else None
            elected = (kind, rng.randrange(self.parties), of, low, high)
            window = self._window()
            self.inputs.append(Input(f"e{group}", *elected, *window, NO_DEPOSIT if deposit is None else deposit))

    def _window(self) -> tuple[int, int]:
        """Registers with an instant that is not negative, and with a later one."""
        opens = self._pick(lambda of, values: of == TIME and values[0] >= 0 and values[1] <= 2**60)
        if opens is None:
            opens = self._emit(self._constant(TIME, self.rng.choice((0, 1, 10**12))))
        step = self._emit(self._constant(TIME, self.rng.choice((1, 60_000, 86_400_000))))
        values = intervals.add(self.ranges[opens], self.ranges[step])
        return opens, self._emit((Instruction(Op.ADD, opens, step), TIME, values))

    # --- the body -----------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """One more instruction or two; where no path leads on, a label first."""
        rng = self.rng
        if self.written is None or (self.labels and rng.random() < 0.12):
            self._place(rng.choice(self.labels))
            if rng.random() < 0.3 and (found := self._scaled()) is not None:
                self._emit(found)  # a division is where the kernel's lanes that sit out differ from those that come in
        self._step_in_place()

    def _step_in_place(self) -> None:
        rng = self.rng
        match rng.choices(range(5), weights=(55, 12, 14, 15, 4 if self.labels else 0))[0]:
            case 0:
                self._emit(self._pure() if rng.random() < 0.92 else self._loaded())
            case 1:
                self._wait()
            case 2:
                self._pay()
            case 3:
                condition = self._pick(lambda of, _: of == BOOL)
                if condition is not None:
                    self._jump_unless(condition)
            case _ if rng.random() < 0.7:
                self._flow(Instruction(Op.JUMP), self._label())
            case _:
                self._flow(Instruction(Op.CLOSE))

    def _wait(self) -> None:
        """AWAIT, mostly with the jump that makes its value known, and the value."""
        if not self.inputs:
            return
        number = self.rng.randrange(len(self.inputs))
        awaited = self._emit((Instruction(Op.AWAIT, number), BOOL, BOOLS))
        if self.rng.random() < 0.9:
            self._jump_unless(awaited)
            self.arrived |= {number}
            each = self.inputs[number]
            self._emit((Instruction(Op.INPUT, number), each.type, (each.low, each.high)))

    def _pay(self) -> None:
        amount, party = self._amount(), self._pick(lambda of, _: of == PARTY)
        if amount is not None and party is not None:
            self._flow(Instruction(Op.PAY, amount, party))

    def _amount(self) -> int | None:
        """Money that is not negative, often made of a value of another type, so that this shows in what is paid."""
        money = self._pick(lambda of, _: of.kind is Kind.MONEY)
        source = self._pick(lambda of, _: of.kind is not Kind.PARTY) if self.rng.random() < 0.7 else None
        if money is not None and source is not None and source != money:
            money = self._as_money(source, money)
        of = self.types[money] if money is not None else None
        if money is None or of is None or self.ranges[money][0] >= 0:
            return money
        zero = self._emit(self._constant(of, 0))
        values = intervals.maximum(self.ranges[money], (0, 0))
        return self._emit((Instruction(Op.MAX, money, zero), of, values))

    def _as_money(self, source: int, money: int) -> int:
        """A choice by a bool; or so much for each unit of what is counted; or `money` where that may be too large."""
        of, unit = self.types[source], self.types[money]
        if of is None or unit is None or of.kind is Kind.MONEY:
            return money if of is None or self.rng.random() < 0.5 else source
        each = self._emit(self._constant(unit, self.rng.choice((1, 3, -1))))
        if of == BOOL:
            hull = intervals.hull(self.ranges[money], self.ranges[each])
            return self._emit((Instruction(Op.SELECT, source, money, each), unit, hull))
        one = self._emit(self._constant(of, self.rng.choice((1, 1, 2, -4))))
        found = self._quotient(source, each, one)
        return money if found is None else self._emit(found)

    def _jump_unless(self, condition: int) -> None:
        self._flow(Instruction(Op.JUMP_UNLESS, condition), self._label())

    def _label(self) -> _Label:
        """A new one, or one that other jumps lead to."""
        if self.labels and self.rng.random() < 0.4:
            return self.rng.choice(self.labels)
        self.labels.append(_Label([], frozenset(self.written or ()), self.arrived))
        return self.labels[-1]

    def _flow(self, instruction: Instruction, label: _Label | None = None) -> None:
        """An instruction without a value; with its jump's label, if it has one."""
        if label is not None:
            label.sources.append(len(self.code))
            label.written &= frozenset(self.written or ())
            label.arrived &= self.arrived
        self.code.append(instruction)
        self.types.append(None)
        self.ranges.append((0, 0))
        if instruction.op in (Op.JUMP, Op.CLOSE):
            self.written = None

    def _place(self, label: _Label) -> None:
        """Its jumps lead here; what holds here is what holds on every path."""
        self.labels.remove(label)
        for source in label.sources:
            side = {"a": len(self.code)} if self.code[source].op is Op.JUMP else {"b": len(self.code)}
            self.code[source] = replace(self.code[source], **side)
        if self.written is None:
            self.written, self.arrived = sorted(label.written), label.arrived
        else:
            self.written = [each for each in self.written if each in label.written]
            self.arrived &= label.arrived

    # --- values -------------------------------------------------------------------------------------------------------

    def _emit(self, found: Found) -> int:
        instruction, of, values = found
        self.code.append(instruction)
        self.types.append(of)
        self.ranges.append(values)
        (self.written if self.written is not None else []).append(len(self.code) - 1)
        return len(self.code) - 1

    def _pick(self, fits: Callable[[Type, Interval], bool]) -> int | None:
        """A register that every path has written: often a recent one."""
        written: Sequence[int] = self.written or ()
        fitting = [each for each in written if (of := self.types[each]) and fits(of, self.ranges[each])]
        if not fitting:
            return None
        return self.rng.choice(fitting[-4:] if self.rng.random() < 0.6 else fitting)

    def _constant(self, of: Type, value: int) -> Found:
        wanted = Constant(of, value)
        if wanted not in self.constants:
            self.constants.append(wanted)
        return Instruction(Op.CONST, self.constants.index(wanted)), of, (value, value)

    def _loaded(self) -> Found:
        """A constant, a parameter or an input that has arrived."""
        rng = self.rng
        if self.arrived and rng.random() < 0.5:
            number = rng.choice(sorted(self.arrived))
            source: Input | Parameter = self.inputs[number]
            return Instruction(Op.INPUT, number), source.type, (source.low, source.high)
        if self.parameters and rng.random() < 0.4:
            number = rng.randrange(len(self.parameters))
            source = self.parameters[number]
            return Instruction(Op.PARAM, number), source.type, (source.low, source.high)
        of = self._type() if len(self.constants) < CONSTANTS_MAX else BOOL
        return self._constant(of, self._range(of)[0])

    def _pure(self) -> Found:
        """A pure operation whose value and product stay within the limits."""
        for _ in range(TRIES):
            op = self.rng.choice(PURE)
            found = self._scaled() if op is Op.MULDIV else self._combined(op)
            if found is not None and intervals.magnitude(found[2]) <= self.value_max:
                return found
        return self._loaded()

    def _scaled(self) -> Found | None:
        rng = self.rng
        divisor = self._pick(lambda of, values: of.kind in COUNTED and not values[0] <= 0 <= values[1])
        unit = self.types[divisor] if divisor is not None else None
        if divisor is None or unit is None:
            return None
        same = self._pick(lambda of, _: of == unit)
        other = self._pick(lambda of, _: of.kind in COUNTED)
        if same is None or other is None:
            return None
        return self._quotient(*((same, other) if rng.random() < 0.5 else (other, same)), divisor)

    def _quotient(self, a: int, b: int, divisor: int) -> Found | None:
        """``a * b / divisor``, rounded; None where it may be too large. One of a and b has the divisor's type."""
        product = intervals.multiply(self.ranges[a], self.ranges[b])
        needs = max(intervals.magnitude(product), 2 * intervals.magnitude(self.ranges[divisor]))
        of = self.types[a] if self.types[b] == self.types[divisor] else self.types[b]
        if needs > self.product_max or of is None:
            return None
        rounding = self.rng.choice((Rounding.DOWN, Rounding.UP, Rounding.HALF_EVEN, Rounding.HALF_EVEN))
        values = intervals.divide(product, self.ranges[divisor], rounding)
        if intervals.magnitude(values) > self.value_max:
            return None
        return Instruction(Op.MULDIV, a, b, divisor, rounding), of, values

    def _combined(self, op: Op) -> Found | None:
        kinds = set(Kind) if op in (Op.EQ, Op.SELECT) else ({Kind.BOOL} if Op.AND <= op <= Op.NOT else COUNTED)
        a = self._pick(lambda of, _: of.kind in kinds)
        of = self.types[a] if a is not None else None
        if a is None or of is None:
            return None
        b = self._pick(lambda each, _: each == of)
        if b is None:
            return None
        if op is Op.NOT:
            return Instruction(op, a), BOOL, BOOLS
        if op is Op.SELECT:
            condition = self._pick(lambda each, _: each == BOOL)
            hull = intervals.hull(self.ranges[a], self.ranges[b])
            return None if condition is None else (Instruction(op, condition, a, b), of, hull)
        if op not in _ARITHMETIC:
            return Instruction(op, a, b), BOOL, BOOLS
        return Instruction(op, a, b), of, _ARITHMETIC[op](self.ranges[a], self.ranges[b])
