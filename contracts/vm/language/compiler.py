"""From a checked contract to bytecode.

Rules:

1. What follows from constants and parameters alone goes to the preamble, in the order of its first use; the rest
   stands where it is used. Equal operations on equal operands are computed once: in the preamble for the whole program,
   elsewhere for the block they stand in and those inside it; so a register is read only where every path wrote it.
2. ``when`` becomes, for each of its inputs, AWAIT and a jump to the timeout's block; ``wait`` becomes AWAIT, which a
   moment always answers with yes; ``if`` becomes one jump. A window's n-th price, counted from 1, is the input
   ``window[n]``; it is due at ``from + (n - 1) * every``.
3. The same text gives the same bytes: nothing here depends on anything else.

Work is bounded: compiling stops at the bytecode's limit of instructions, and at `VALUES_MAX` values looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contracts.vm.bytecode import (
    CODE_LENGTH_MAX,
    CONSTANTS_MAX,
    NO_DEPOSIT,
    Constant,
    Input,
    Instruction,
    Lock,
    Op,
    Program,
    Type,
)
from contracts.vm.language import typed
from contracts.vm.language.checker import check_contract
from contracts.vm.language.lexer import At, fault
from contracts.vm.language.parser import parse_contract
from contracts.vm.language.typed import CheckedContract, Expected, TypedBlock, Value
from contracts.vm.verifier import Verified, verify
from genesis.errors import Rejected, violated

VALUES_MAX: Final = 2**18

_BODY: Final = 2**32
"""Registers of the body, while the preamble's length is unknown, are numbered from here."""


@dataclass(frozen=True)
class Compiled:
    """A program, and where in the text each of its instructions comes from."""

    contract: CheckedContract
    program: Program
    origins: tuple[At, ...]


def compile_text(source: bytes) -> Compiled:
    """Parse, check and compile a contract's text.

    Args:
        source: UTF-8.

    Raises:
        Rejected: As `parse_contract`, `check_contract` and `compile_contract`.
    """
    return compile_contract(check_contract(parse_contract(source)))


def compile_verified(source: bytes, gas_max: int) -> tuple[Compiled, Verified]:
    """The program of a text, held to what every node checks; a refusal of the verifier says where in the text.

    Args:
        source: UTF-8.
        gas_max: The most gas that a program may need.

    Raises:
        Rejected: As `compile_text` and `contracts.vm.verifier.verify`.
    """
    compiled = compile_text(source)
    try:
        return compiled, verify(compiled.program, gas_max)
    except Rejected as error:
        number = error.details.get("instruction")
        if not isinstance(number, int) or number >= len(compiled.origins):
            raise
        raise fault(error.code, error.message, compiled.origins[number]) from error


def compile_contract(contract: CheckedContract) -> Compiled:
    """The program of a checked contract. It is well-formed; whether it may be stored is for the verifier.

    Raises:
        Rejected: ``program_too_long``.
    """
    return _Compiler(contract).compiled()


class _Code:
    """Instructions as they are added, with what is shared between them."""

    def __init__(self) -> None:
        self._preamble: list[Instruction] = []
        self._body: list[Instruction] = []
        self._origins: tuple[list[At], list[At]] = ([], [])
        self._constants: dict[Constant, int] = {}
        self._shared: list[dict[Instruction, int]] = [{}]
        self._registers: list[dict[int, int]] = [{}]

    def constant(self, at: At, of: Type, value: int) -> int:
        """The register of a literal."""
        constant = Constant(of, value)
        if constant not in self._constants and len(self._constants) >= CONSTANTS_MAX:
            raise fault("program_too_long", "There are too many different constants.", at, constants_max=CONSTANTS_MAX)
        return self.pure(at, Instruction(Op.CONST, self._constants.setdefault(constant, len(self._constants))))

    def pure(self, at: At, instruction: Instruction) -> int:
        """The register of an operation without effects, which may have been computed already."""
        for level in reversed(self._shared):
            if instruction in level:
                return level[instruction]
        is_fixed = instruction.op is not Op.INPUT and all(each < _BODY for each in instruction.reads)
        if not is_fixed:
            register = self.effect(at, instruction)
            self._shared[-1][instruction] = register
            return register
        self._preamble.append(instruction)
        self._count(at, self._origins[0])
        self._shared[0][instruction] = len(self._preamble) - 1
        return len(self._preamble) - 1

    def effect(self, at: At, instruction: Instruction) -> int:
        """Add an instruction to the body, whatever was before."""
        self._body.append(instruction)
        self._count(at, self._origins[1])
        return _BODY + len(self._body) - 1

    def land(self, jumps: list[int]) -> None:
        """These jumps lead to what comes next."""
        for register in jumps:
            jump = self._body[register - _BODY]
            target = _BODY + len(self._body)
            moved = Instruction(Op.JUMP, target) if jump.op is Op.JUMP else Instruction(jump.op, jump.a, target)
            self._body[register - _BODY] = moved

    def enter(self) -> None:
        """What is computed from here on is known in this block alone."""
        self._shared.append({})
        self._registers.append({})

    def leave(self) -> None:
        """The end of the block."""
        self._shared.pop()
        self._registers.pop()

    def name(self, number: int, register: int) -> None:
        """A ``let``'s value is in that register."""
        self._registers[-1][number] = register

    def named(self, number: int) -> int:
        """The register of a ``let``."""
        return next(level[number] for level in reversed(self._registers) if number in level)

    @property
    def constants(self) -> tuple[Constant, ...]:
        return tuple(self._constants)

    @property
    def preamble_length(self) -> int:
        return len(self._preamble)

    def joined(self) -> tuple[tuple[Instruction, ...], tuple[At, ...]]:
        """Preamble and body with the final registers and targets, and the origins."""
        shift = self.preamble_length - _BODY
        body = (
            Instruction(each.op, *(operand + shift if operand >= _BODY else operand for operand in each.operands))
            for each in self._body
        )
        return (*self._preamble, *body), (*self._origins[0], *self._origins[1])

    def _count(self, at: At, origins: list[At]) -> None:
        if len(self._preamble) + len(self._body) > CODE_LENGTH_MAX:
            message = "The program is too long: shorten its windows, or split it."
            raise fault("program_too_long", message, at, instructions_max=CODE_LENGTH_MAX)
        origins.append(at)


class _Compiler:
    """One contract while it is compiled."""

    def __init__(self, contract: CheckedContract) -> None:
        self._contract = contract
        self._code = _Code()
        self._values = 0

    def compiled(self) -> Compiled:
        """Names, locks and inputs first, for they are the preamble; then the statements."""
        contract = self._contract
        for each in contract.namings:
            self._naming(each)
        locks = tuple(Lock(each.party, self._register(each.amount)) for each in contract.locks)
        inputs = tuple(one for each in contract.inputs for one in self._inputs(each))
        self._block(contract.body)
        code, origins = self._code.joined()
        program = Program(
            contract.text.name.text,
            contract.parties,
            contract.assets,
            contract.feeds,
            contract.parameters,
            self._code.constants,
            locks,
            inputs,
            self._code.preamble_length,
            code,
        )
        return Compiled(contract, program, origins)

    def _inputs(self, each: Expected) -> list[Input]:
        opens = self._register(each.opens)
        until = self._register(each.until)
        every = self._register(each.every) if each.every is not None else None
        deposit = self._register(each.deposit) if each.deposit is not None else NO_DEPOSIT
        found = []
        for nth in range(1, each.count + 1):
            if every is not None and nth > 1:
                opens = self._code.pure(each.at, Instruction(Op.ADD, opens, every))
            name = each.name if every is None else f"{each.name}[{nth}]"
            source = (name, each.kind, each.source, each.type)
            found.append(Input(*source, each.low, each.high, opens, until, deposit))
        return found

    # --- statements ---------------------------------------------------------------------------------------------------

    def _block(self, block: TypedBlock) -> None:
        for each in block.steps:
            match each:
                case typed.Naming():
                    self._naming(each)
                case typed.Waiting():
                    self._waiting(each)
                case typed.Pausing():
                    self._code.effect(each.at, Instruction(Op.AWAIT, each.number))
                case typed.Branching():
                    condition = self._register(each.condition)
                    jump = self._code.effect(each.at, Instruction(Op.JUMP_UNLESS, condition))
                    self._two_ways(each.at, [jump], each.positive, each.negative)
                case typed.Paying():
                    amount, party = self._register(each.amount), self._register(each.party)
                    self._code.effect(each.at, Instruction(Op.PAY, amount, party))
                case typed.Closing():
                    self._code.effect(each.at, Instruction(Op.CLOSE))

    def _waiting(self, each: typed.Waiting) -> None:
        jumps = []
        for number in range(each.first, each.first + each.count):
            arrived = self._code.effect(each.at, Instruction(Op.AWAIT, number))
            jumps.append(self._code.effect(each.at, Instruction(Op.JUMP_UNLESS, arrived)))
        self._two_ways(each.at, jumps, each.arrived, each.absent)

    def _two_ways(self, at: At, jumps: list[int], first: TypedBlock, second: TypedBlock) -> None:
        """The first block, over which `jumps` lead to the second."""
        self._inner(first)
        over = [self._code.effect(at, Instruction(Op.JUMP))] if second.steps and not first.closes else []
        self._code.land(jumps)
        self._inner(second)
        self._code.land(over)

    def _inner(self, block: TypedBlock) -> None:
        self._code.enter()
        self._block(block)
        self._code.leave()

    def _naming(self, each: typed.Naming) -> None:
        if each.number in self._contract.names_used:
            self._code.name(each.number, self._register(each.value))

    # --- values -------------------------------------------------------------------------------------------------------

    def _register(self, value: Value) -> int:
        """The register that holds it."""
        self._values += 1
        if self._values > VALUES_MAX:
            raise fault("program_too_long", "There is too much to compute.", value.at, values_max=VALUES_MAX)
        op = value.op
        if op is None:
            return self._code.named(value.number)
        if value.type is None:
            violated("a value without a type got past the checker", line=value.at.line, column=value.at.column)
        if op is Op.CONST:
            return self._code.constant(value.at, value.type, value.number)
        if op in (Op.PARAM, Op.INPUT):
            return self._code.pure(value.at, Instruction(op, value.number))
        parts = [self._register(each) for each in value.parts]
        if op is Op.MULDIV:
            return self._code.pure(value.at, Instruction(op, parts[0], parts[1], parts[2], value.rounding))
        if op in (Op.ADD, Op.MIN, Op.MAX, Op.AND, Op.OR):
            return self._chain(value, op, parts)
        return self._code.pure(value.at, Instruction(op, *parts))

    def _chain(self, value: Value, op: Op, parts: list[int]) -> int:
        """Two parts or more, from the left."""
        register = parts[0]
        for at, part in enumerate(parts[1:], 1):
            each = Op.SUB if value.is_minus and value.is_minus[at] else op
            register = self._code.pure(value.at, Instruction(each, register, part))
        return register
