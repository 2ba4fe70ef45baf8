"""A third evaluation of programs, written unlike the two of the product: what both get wrong alike is seen here.

A register's value is a recursion over the graph of operands, in exact fractions; nothing is computed in the order of
the code. Gas is read from the table of docs/CONTRACTS.md. What is held of an asset is never kept: it is what came in
less what went out, summed anew for each payment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from contracts.vm.bytecode import NO_DEPOSIT, Instruction, Program, Rounding

CONTRACTS: Final = Path(__file__).parents[3] / "docs" / "CONTRACTS.md"
Paid = tuple[int, int, int, int]
"""(asset, party, amount, due)."""


def documented_gas() -> dict[str, int]:
    """By operation's name, from the table of section 2."""
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \|.*\| (\d+) \|$", CONTRACTS.read_text(), re.MULTILINE)
    return {name: int(gas) for names, gas in rows for name in re.findall(r"[A-Z_]+", names)}


ROUNDED: Final[Mapping[int, Callable[[Fraction], int]]] = {
    Rounding.DOWN: math.floor,
    Rounding.UP: math.ceil,
    Rounding.HALF_EVEN: round,
}
COMPUTED: Final[Mapping[str, Callable[..., Fraction]]] = {
    "ADD": lambda a, b: sum((a, b), Fraction()),
    "SUB": lambda a, b: a + -b,
    "MIN": lambda a, b: sorted((a, b))[0],
    "MAX": lambda a, b: sorted((a, b))[1],
    "LT": lambda a, b: Fraction(b - a > 0),
    "LE": lambda a, b: Fraction(not a - b > 0),
    "EQ": lambda a, b: Fraction(a - b == 0),
    "AND": lambda a, b: Fraction(a + b == 2),
    "OR": lambda a, b: Fraction(a + b > 0),
    "NOT": lambda a: Fraction(a == 0),
    "SELECT": lambda c, a, b: c * a + (1 - c) * b,
}


@dataclass
class Evaluation:
    """One run, by the oracle.

    Attributes:
        gas_of: By operation's name.
        path: The instructions that ran, in order.
        paid: The payments, in order.
        waits_for: The input at which it halted; None when it closed.
    """

    program: Program
    parameters: Sequence[int]
    settled: Mapping[int, int | None]
    gas_of: Mapping[str, int]
    path: list[int] = field(default_factory=list)
    paid: list[Paid] = field(default_factory=list)
    waits_for: int | None = None
    _known: dict[int, Fraction] = field(default_factory=dict)
    _units: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def gas(self) -> int:
        return sum(self.gas_of[self.program.code[at].op.name] for at in self.path)

    def evaluate(self) -> Evaluation:
        """Follow the path to its end."""
        at: int | None = 0
        while at is not None:
            self.path.append(at)
            at = self._next(at, self.program.code[at])
        return self

    def value(self, register: int) -> int:
        """The register's value, which is always a whole number."""
        return int(self._exact(register))

    def _next(self, at: int, each: Instruction) -> int | None:
        match each.op.name:
            case "JUMP":
                return each.a
            case "JUMP_UNLESS":
                return (each.b, at + 1)[self.value(each.a)]
            case "AWAIT" if each.a not in self.settled:
                self.waits_for = each.a
                return None
            case "PAY":
                self._pay(self._asset(each.a), self.value(each.b), self.value(each.a))
            case "CLOSE":
                self._close()
                return None
        return at + 1

    def _exact(self, register: int) -> Fraction:
        if register not in self._known:
            self._known[register] = self._computed(self.program.code[register])
        return self._known[register]

    def _computed(self, each: Instruction) -> Fraction:
        match each.op.name:
            case "CONST":
                return Fraction(self.program.constants[each.a].value)
            case "PARAM":
                return Fraction(self.parameters[each.a])
            case "AWAIT":
                return Fraction(self.settled[each.a] is not None)
            case "INPUT":
                return Fraction(self.settled[each.a] or 0)
            case "MULDIV":
                product = self._exact(each.a) * self._exact(each.b)
                return Fraction(ROUNDED[each.d](product / self._exact(each.c)))
        return COMPUTED[each.op.name](*map(self._exact, each.reads))

    def brought_in(self, asset: int, *, everything: bool = False) -> int:
        """What locks and deposits have put in: those of the inputs on the path, or `everything` that is settled."""
        program = self.program
        awaited = {program.code[at].a for at in self.path if program.code[at].op.name == "AWAIT"}
        amounts = [each.amount for each in program.locks]
        amounts += [
            each.deposit
            for number, each in enumerate(program.inputs)
            if each.deposit != NO_DEPOSIT and self.settled.get(number) and (everything or number in awaited)
        ]
        return sum(self.value(each) for each in amounts if self._asset(each) == asset)

    def _pay(self, asset: int, party: int, due: int) -> None:
        held = self.brought_in(asset) - sum(amount for each, _, amount, _ in self.paid if each == asset)
        self.paid.append((asset, party, min(due, held), due))

    def _close(self) -> None:
        program, before = self.program, tuple(self.paid)
        awaited = {program.code[at].a for at in self.path if program.code[at].op.name == "AWAIT"}
        returned = [
            (self._asset(each.deposit), each.source, self.value(each.deposit), self.value(each.deposit))
            for number, each in enumerate(program.inputs)
            if each.deposit != NO_DEPOSIT and self.settled.get(number) and number not in awaited
        ]
        left = [
            self.brought_in(asset) - sum(amount for each, _, amount, _ in before if each == asset)
            for asset in range(len(program.assets))
        ]
        rests = [(asset, program.assets[asset].rest, amount, amount) for asset, amount in enumerate(left)]
        self.paid += returned + rests

    def _asset(self, register: int) -> int:
        return self._unit(register)[1]

    def _unit(self, register: int) -> tuple[int, int]:
        """(kind, asset) of a register that counts something, from where its unit comes."""
        if register not in self._units:
            self._units[register] = self._derived_unit(self.program.code[register])
        return self._units[register]

    def _derived_unit(self, each: Instruction) -> tuple[int, int]:
        program = self.program
        match each.op.name:
            case "CONST":
                of = program.constants[each.a].type
            case "PARAM":
                of = program.parameters[each.a].type
            case "INPUT":
                of = program.inputs[each.a].type
            case "SELECT":
                return self._unit(each.b)
            case "MULDIV":
                # The divisor's unit cancels one of the two; where both are the same, that is what is left.
                cancelled = self._unit(each.c)
                return ({self._unit(each.a), self._unit(each.b)} - {cancelled} or {cancelled}).pop()
            case _:
                return self._unit(each.a)
        return int(of.kind), of.asset
