"""The interpreter that settles: Python's integers, one instance at a time.

A run starts from the beginning every time, over the instance's parameters and those inputs that are settled; it pays in
order and either closes or halts at the first input that is still open. So a later run repeats the payments of an
earlier one and goes on from there, and an instance needs no machine state.

The order of payments is that of the code; at the close the deposits of elections that were never awaited go back, in
the order of the inputs, and then what is left of each asset goes to its rest party, in the order of the assets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.vm.bytecode import GAS, NO_DEPOSIT, Input, InputKind, Kind, Op, Program
from contracts.vm.intervals import divided
from contracts.vm.verifier import Verified
from genesis.errors import Rejected, invariant

Settled = Mapping[int, int | None]
"""By input, its value, or None if it was absent at its deadline; an open input has no entry."""


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that leaves the pot.

    Attributes:
        asset: The asset's number.
        party: The party's number.
        amount_minor: What is paid.
        due_minor: What the program asked for: more than `amount_minor` only where the pot fell short.
    """

    asset: int
    party: int
    amount_minor: int
    due_minor: int


@dataclass(frozen=True, slots=True)
class Window:
    """When an input can be settled, and the money that an election brings in (0 for none).

    Attributes:
        opens_unix_ms: A price's instant; the first time at which a party may elect; or the moment.
        until_unix_ms: From here on an input that has not arrived is absent; of a moment, that same time.
        deposit_minor: In the asset `deposit_asset`.
    """

    opens_unix_ms: int
    until_unix_ms: int
    deposit_asset: int
    deposit_minor: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What follows from the parameters alone: (party, asset, amount) of each lock, and each input's window."""

    locks: tuple[tuple[int, int, int], ...]
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """How far an instance came.

    Attributes:
        payments: All of them, in order.
        waits_for: The input at which it halted; None when it closed.
        gas: What the run used.
    """

    payments: tuple[Payment, ...]
    waits_for: int | None
    gas: int


def terms(verified: Verified, parameters: Sequence[int]) -> Terms:
    """What an instance with these parameters locks, and when its inputs can be settled.

    Raises:
        Rejected: ``bad_parameter`` for one out of its range, ``bad_window`` for an input that ends before it opens.
    """
    return _terms(verified, _preamble(verified, parameters))


def run(verified: Verified, parameters: Sequence[int], settled: Settled) -> Run:
    """Run an instance over what is settled so far.

    Args:
        verified: The program.
        parameters: Within their ranges.
        settled: Values within their inputs' ranges.

    Raises:
        Rejected: ``bad_parameter``, ``bad_window``, ``bad_input``.
    """
    _require_settled(verified.program, settled)
    registers = _preamble(verified, parameters)
    return _Machine(verified, registers, settled).run()


class _Machine:
    """One run, from behind the preamble: registers, pot and payments."""

    def __init__(self, verified: Verified, registers: list[int], settled: Settled) -> None:
        self.verified, self.program, self.settled = verified, verified.program, settled
        self.registers = registers
        self.payments: list[Payment] = []
        self.awaited: set[int] = set()
        agreed = _terms(verified, registers)
        self.windows = agreed.windows
        self.pot = [0] * len(self.program.assets)
        for _party, asset, amount in agreed.locks:
            self.pot[asset] += amount

    def run(self) -> Run:
        steps, registers = self.verified.steps, self.registers
        at = self.program.preamble_length
        gas = sum(GAS[step[0]] for step in steps[:at])
        while True:
            op, a, b, c, d = steps[at]
            gas += GAS[op]
            if Op.ADD <= op <= Op.SELECT:
                registers[at] = _PURE[op](registers[a], registers[b], registers[c], d)
                at += 1
            elif op < Op.ADD:
                at += 1  # `_preamble` has filled in every constant and parameter
            elif op == Op.AWAIT and a not in self.settled:
                return Run(tuple(self.payments), a, gas)
            elif op == Op.CLOSE:
                self._close()
                return Run(tuple(self.payments), None, gas)
            else:
                at = self._effect(at, op, a, b)

    def _effect(self, at: int, op: int, a: int, b: int) -> int:
        """Everything that needs more than registers; returns where to go on."""
        registers = self.registers
        if op == Op.JUMP:
            return a
        if op == Op.JUMP_UNLESS:
            return at + 1 if registers[a] else b
        if op == Op.AWAIT:
            registers[at] = self._await(a)
        elif op == Op.INPUT:
            value = self.settled[a]
            invariant(value is not None, "an absent input is read", input=a)
            registers[at] = value or 0
        elif op == Op.PAY:
            self._pay(_asset(self.verified, a), registers[b], registers[a])
        return at + 1

    def _await(self, number: int) -> int:
        """Whether the input arrived; its deposit enters the pot the first time that this is asked."""
        value, window = self.settled[number], self.windows[number]
        if value and number not in self.awaited:
            self.pot[window.deposit_asset] += window.deposit_minor
        self.awaited.add(number)
        return int(value is not None)

    def _pay(self, asset: int, party: int, due_minor: int) -> None:
        paid = min(due_minor, self.pot[asset])
        self.pot[asset] -= paid
        self.payments.append(Payment(asset, party, paid, due_minor))

    def _close(self) -> None:
        for number, (each, window) in enumerate(zip(self.program.inputs, self.windows, strict=True)):
            if each.deposit != NO_DEPOSIT and number not in self.awaited and self.settled.get(number):
                amount = window.deposit_minor
                self.payments.append(Payment(window.deposit_asset, each.source, amount, amount))
        for asset, left in enumerate(self.pot):
            self._pay(asset, self.program.assets[asset].rest, left)


_Pure = Callable[[int, int, int, int], int]
_PURE: Final[Mapping[int, _Pure]] = {
    Op.ADD: lambda a, b, _c, _d: a + b,
    Op.SUB: lambda a, b, _c, _d: a - b,
    Op.MULDIV: lambda a, b, c, d: divided(a * b, c, d),
    Op.MIN: lambda a, b, _c, _d: a if a < b else b,
    Op.MAX: lambda a, b, _c, _d: a if a > b else b,
    Op.LT: lambda a, b, _c, _d: int(a < b),
    Op.LE: lambda a, b, _c, _d: int(a <= b),
    Op.EQ: lambda a, b, _c, _d: int(a == b),
    Op.AND: lambda a, b, _c, _d: a & b,
    Op.OR: lambda a, b, _c, _d: a | b,
    Op.NOT: lambda a, _b, _c, _d: 1 - a,
    Op.SELECT: lambda a, b, c, _d: b if a else c,
}
"""Operands that an operation does not use are register 0's value, which it ignores."""


def _preamble(verified: Verified, parameters: Sequence[int]) -> list[int]:
    """All registers, those of constants, of parameters and of the preamble filled in."""
    program = verified.program
    _require_parameters(program, parameters)
    registers = list(verified.blank)
    for register, number in verified.parameter_registers:
        registers[register] = parameters[number]
    for at, (op, a, b, c, d) in enumerate(verified.steps[: program.preamble_length]):
        if op > Op.PARAM:
            registers[at] = _PURE[op](registers[a], registers[b], registers[c], d)
    return registers


def _terms(verified: Verified, registers: Sequence[int]) -> Terms:
    program = verified.program
    windows = tuple(_window(verified, each, registers) for each in program.inputs)
    locks = tuple((each.party, _asset(verified, each.amount), registers[each.amount]) for each in program.locks)
    return Terms(locks, windows)


def _asset(verified: Verified, register: int) -> int:
    kind = verified.types[register]
    invariant(kind is not None and kind.kind is Kind.MONEY, "a verified program's amount is money", register=register)
    return kind.asset if kind is not None else 0


def _window(verified: Verified, each: Input, registers: Sequence[int]) -> Window:
    opens, until = registers[each.opens], registers[each.until]
    if opens < 0 or (opens >= until and each.kind is not InputKind.MOMENT):
        raise Rejected(
            "bad_window", "An input must end after it opens.", input=each.name, opens_unix_ms=opens, until_unix_ms=until
        )
    if each.deposit == NO_DEPOSIT:
        return Window(opens, until, 0, 0)
    return Window(opens, until, _asset(verified, each.deposit), registers[each.deposit])


def _require_parameters(program: Program, parameters: Sequence[int]) -> None:
    if len(parameters) != len(program.parameters):
        raise Rejected(
            "bad_parameter", "Every parameter needs a value.", given=len(parameters), needed=len(program.parameters)
        )
    for declared, value in zip(program.parameters, parameters, strict=True):
        if not declared.low <= value <= declared.high:
            raise Rejected(
                "bad_parameter",
                "A parameter is out of its range.",
                parameter=declared.name,
                value=value,
                low=declared.low,
                high=declared.high,
            )


def _require_settled(program: Program, settled: Settled) -> None:
    for number, value in settled.items():
        if not 0 <= number < len(program.inputs):
            raise Rejected("bad_input", "There is no such input.", input=number, inputs=len(program.inputs))
        declared = program.inputs[number]
        if value is None and declared.kind is InputKind.MOMENT:
            raise Rejected("bad_input", "A moment always comes; it cannot be absent.", input=declared.name)
        if value is not None and not declared.low <= value <= declared.high:
            raise Rejected(
                "bad_input",
                "An input's value is out of its range.",
                input=declared.name,
                value=value,
                low=declared.low,
                high=declared.high,
            )
