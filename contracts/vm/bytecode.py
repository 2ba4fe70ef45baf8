"""The bytecode of contracts: what a program consists of, and its one canonical encoding.

A program is straight-line code in static single assignment with forward jumps: instruction i, if it yields a value,
defines register i, and an operand is the number of an earlier instruction (docs/CONTRACTS.md, section 2). What is here
is form alone; whether a program makes sense is for `contracts.vm.verifier`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final

from genesis.codec import Shape, Value, decode, encode, integer, record, sequence, text
from genesis.errors import Rejected
from genesis.hashing import Domain, digest

VALUE_BITS: Final = 127
VALUE_MAX: Final = 2**VALUE_BITS - 1
"""The largest magnitude of a value; a product before its division may have twice the bits."""
RATIO_ONE: Final = 10**9
WORD_MAX: Final = 2**63 - 1
"""Constants, parameters and observations lie within ± this; only computed values may be larger."""

NAME_LENGTH_MAX: Final = 32
CODE_LENGTH_MAX: Final = 4096
CONSTANTS_MAX: Final = 1024
PARTIES_MAX: Final = 8
ASSETS_MAX: Final = 8
FEEDS_MAX: Final = 8
PARAMETERS_MAX: Final = 64
LOCKS_MAX: Final = 16
INPUTS_MAX: Final = 1024
PROGRAM_BYTES_MAX: Final = 2**18


class Kind(IntEnum):
    """The kind of a value; with its asset, its type."""

    BOOL = 0
    TIME = 1
    QUANTITY = 2
    PRICE = 3
    MONEY = 4
    RATIO = 5
    PARTY = 6


NO_ASSET: Final = -1


@dataclass(frozen=True, slots=True)
class Type:
    """A value's type.

    Attributes:
        kind: What it counts.
        asset: For money, the asset's number in the program; else `NO_ASSET`.
    """

    kind: Kind
    asset: int = NO_ASSET


class Rounding(IntEnum):
    """Where an inexact quotient goes."""

    DOWN = 0
    UP = 1
    HALF_EVEN = 2


class Op(IntEnum):
    """The operations; operands a, b, c, d in this order."""

    CONST = 0
    PARAM = 1
    ADD = 2
    SUB = 3
    MULDIV = 4
    MIN = 5
    MAX = 6
    LT = 7
    LE = 8
    EQ = 9
    AND = 10
    OR = 11
    NOT = 12
    SELECT = 13
    AWAIT = 14
    INPUT = 15
    PAY = 16
    JUMP = 17
    JUMP_UNLESS = 18
    CLOSE = 19


GAS: Final = (1, 1, 2, 2, 8, 2, 2, 2, 2, 2, 1, 1, 1, 2, 4, 2, 16, 1, 2, 16)
"""By operation."""
REGISTERS_READ: Final = (0, 0, 2, 2, 3, 2, 2, 2, 2, 2, 2, 2, 1, 3, 0, 0, 2, 0, 1, 0)
"""How many of the first operands are registers, by operation."""
OPERANDS: Final = (1, 1, 2, 2, 4, 2, 2, 2, 2, 2, 2, 2, 1, 3, 1, 1, 2, 1, 2, 0)
"""How many operands an operation uses; the rest are zero."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation and its operands; unused ones are 0."""

    op: Op
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0

    @property
    def operands(self) -> tuple[int, int, int, int]:
        return self.a, self.b, self.c, self.d

    @property
    def reads(self) -> tuple[int, ...]:
        """The registers that it reads."""
        return self.operands[: REGISTERS_READ[self.op]]


@dataclass(frozen=True, slots=True)
class Asset:
    """A formal asset; what is left of it at the close goes to the party numbered `rest`."""

    name: str
    rest: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal, of magnitude at most `WORD_MAX`."""

    type: Type
    value: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """What is fixed when an instance starts, from `low` to `high`."""

    name: str
    type: Type
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Lock:
    """What a party locks for an instance to start: the money in the preamble's register `amount`."""

    party: int
    amount: int


class InputKind(IntEnum):
    """Where an input comes from."""

    PRICE = 0
    ELECTION = 1
    MOMENT = 2


NO_DEPOSIT: Final = -1


@dataclass(frozen=True, slots=True)
class Input:
    """Something that an instance waits for.

    Attributes:
        name: For people; the n-th price of a window is named ``window[n]``.
        kind: A feed's price, a party's election, or a moment: a time that comes by itself.
        source: The number of the feed or of the party; of a moment 0.
        type: A price; or for an election a bool or a quantity; of a moment a bool, which is true.
        low: The smallest value it may have.
        high: The largest.
        opens: The preamble's register with the price's instant, the first time at which a party may elect, or the
            moment.
        until: The register with the time from which on, if it has not arrived, it is absent. A moment is never absent:
            here is its `opens` again.
        deposit: The register with the money that a party puts in when it elects true or above zero; or `NO_DEPOSIT`.
    """

    name: str
    kind: InputKind
    source: int
    type: Type
    low: int
    high: int
    opens: int
    until: int
    deposit: int = NO_DEPOSIT


@dataclass(frozen=True)
class Program:
    """A contract in bytecode. Parties and feeds are formal names, bound when an instance starts."""

    name: str
    parties: tuple[str, ...]
    assets: tuple[Asset, ...]
    feeds: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    constants: tuple[Constant, ...]
    locks: tuple[Lock, ...]
    inputs: tuple[Input, ...]
    preamble_length: int
    code: tuple[Instruction, ...]

    @cached_property
    def gas(self) -> int:
        """More than any run needs: the sum over all instructions, none of which runs twice."""
        return sum(GAS[each.op] for each in self.code)

    @cached_property
    def program_id(self) -> bytes:
        """The digest of its encoding: what an instance refers to."""
        return digest(Domain.PROGRAM, encode_program(self))


def _named(form: str, length_max: int) -> Shape:
    """Text of this form: names are shown in terminals and logs, and must hold nothing that acts on them."""
    pattern, is_text = re.compile(form), text(1, length_max)

    def check(value: Value) -> None:
        is_text(value)
        if pattern.fullmatch(value) is None:
            raise Rejected("malformed", "A name is of letters, digits and underscores.", found=ascii(value))

    return check


_NAME = _named("[A-Za-z_][A-Za-z0-9_]*", NAME_LENGTH_MAX)
_WORD = integer(-WORD_MAX, WORD_MAX)
_REGISTER = integer(0, CODE_LENGTH_MAX - 1)
_TYPE = record(integer(0, len(Kind) - 1), integer(NO_ASSET, ASSETS_MAX - 1))
_INPUT = record(
    _named(r"[A-Za-z_][A-Za-z0-9_]*(\[[1-9][0-9]*\])?", NAME_LENGTH_MAX + 8),
    integer(0, len(InputKind) - 1),
    integer(0, max(PARTIES_MAX, FEEDS_MAX) - 1),
    _TYPE,
    _WORD,
    _WORD,
    _REGISTER,
    _REGISTER,
    integer(NO_DEPOSIT, CODE_LENGTH_MAX - 1),
)
_INSTRUCTION = record(integer(0, len(Op) - 1), *[integer(0, CODE_LENGTH_MAX)] * 4)
_SHAPE = record(
    _NAME,
    sequence(_NAME, 1, PARTIES_MAX),
    sequence(record(_NAME, integer(0, PARTIES_MAX - 1)), 1, ASSETS_MAX),
    sequence(_NAME, 0, FEEDS_MAX),
    sequence(record(_NAME, _TYPE, _WORD, _WORD), 0, PARAMETERS_MAX),
    sequence(record(_TYPE, _WORD), 0, CONSTANTS_MAX),
    sequence(record(integer(0, PARTIES_MAX - 1), _REGISTER), 0, LOCKS_MAX),
    sequence(_INPUT, 0, INPUTS_MAX),
    integer(0, CODE_LENGTH_MAX),
    sequence(_INSTRUCTION, 1, CODE_LENGTH_MAX),
)


def encode_program(program: Program) -> bytes:
    """The canonical bytes of a program."""
    return encode(
        (
            program.name,
            program.parties,
            [(each.name, each.rest) for each in program.assets],
            program.feeds,
            [(each.name, _encoded(each.type), each.low, each.high) for each in program.parameters],
            [(_encoded(each.type), each.value) for each in program.constants],
            [(each.party, each.amount) for each in program.locks],
            [_encoded_input(each) for each in program.inputs],
            program.preamble_length,
            [(int(each.op), *each.operands) for each in program.code],
        )
    )


def decode_program(data: bytes) -> Program:
    """The program that has these bytes: well-formed, not yet verified.

    Raises:
        Rejected: ``too_large`` (over `PROGRAM_BYTES_MAX`) or ``malformed``.
    """
    fields = decode(data, _SHAPE, size_max=PROGRAM_BYTES_MAX)
    name, parties, assets, feeds, parameters, constants, locks, inputs, preamble_length, code = fields
    return Program(
        name,
        parties,
        tuple(Asset(*each) for each in assets),
        feeds,
        tuple(Parameter(each, _type(kind), low, high) for each, kind, low, high in parameters),
        tuple(Constant(_type(kind), value) for kind, value in constants),
        tuple(Lock(*each) for each in locks),
        tuple(_input(each) for each in inputs),
        preamble_length,
        tuple(Instruction(Op(op), *operands) for op, *operands in code),
    )


def _encoded(of: Type) -> tuple[int, int]:
    return int(of.kind), of.asset


def _type(encoded: tuple[int, int]) -> Type:
    return Type(Kind(encoded[0]), encoded[1])


def _encoded_input(each: Input) -> tuple[object, ...]:
    kind, of = int(each.kind), _encoded(each.type)
    return each.name, kind, each.source, of, each.low, each.high, each.opens, each.until, each.deposit


def _input(fields: tuple[str, int, int, tuple[int, int], int, int, int, int, int]) -> Input:
    name, kind, source, of, low, high, opens, until, deposit = fields
    return Input(name, InputKind(kind), source, _type(of), low, high, opens, until, deposit)
