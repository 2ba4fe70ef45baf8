"""A checked contract: its syntax tree with every name resolved and every value typed, ready to be compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from contracts.vm.bytecode import NO_ASSET, Asset, InputKind, Kind, Op, Parameter, Rounding, Type
from contracts.vm.language.lexer import At
from contracts.vm.language.syntax import ContractText

BOOL: Final = Type(Kind.BOOL)
TIME: Final = Type(Kind.TIME)
QUANTITY: Final = Type(Kind.QUANTITY)
PRICE: Final = Type(Kind.PRICE)
RATIO: Final = Type(Kind.RATIO)
PARTY: Final = Type(Kind.PARTY)


def money(asset: int) -> Type:
    """Money of the asset with that number."""
    return Type(Kind.MONEY, asset)


def type_words(of: Type, assets: tuple[str, ...]) -> str:
    """``money COIN``, ``price``: a type as it is written."""
    return of.kind.name.lower() + (f" {assets[of.asset]}" if of.asset != NO_ASSET else "")


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression computes.

    Attributes:
        at: Where it stands.
        op: The operation; None for a name that a ``let`` gave.
        type: Its type; None while it is made of bare numbers alone and no context has given it one.
        parts: The operands. ``ADD``, ``MIN``, ``MAX``, ``AND``, ``OR`` take two or more, from the left.
        number: Of ``CONST`` the value, of ``PARAM`` the parameter, of ``INPUT`` the input, of a name its ``let``.
        is_minus: Of ``ADD``: which parts are taken away.
        rounding: Of ``MULDIV``.
    """

    at: At
    op: Op | None
    type: Type | None
    parts: tuple[Value, ...] = ()
    number: int = 0
    is_minus: tuple[bool, ...] = ()
    rounding: Rounding = Rounding.DOWN


@dataclass(frozen=True, slots=True)
class Naming:
    """``let``, as the number by which `Value` refers to it."""

    at: At
    number: int
    value: Value


@dataclass(frozen=True, slots=True)
class Locking:
    """What a party locks."""

    at: At
    party: int
    amount: Value


@dataclass(frozen=True, slots=True)
class Expected:
    """An observation, election or moment: `count` inputs from number `first` on."""

    at: At
    name: str
    kind: InputKind
    source: int
    type: Type
    low: int
    high: int
    first: int
    count: int
    opens: Value
    every: Value | None
    until: Value
    deposit: Value | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """``when``: for `count` inputs from number `first` on."""

    at: At
    first: int
    count: int
    arrived: TypedBlock
    absent: TypedBlock


@dataclass(frozen=True, slots=True)
class Pausing:
    """``wait``: until the moment that is that input."""

    at: At
    number: int


@dataclass(frozen=True, slots=True)
class Branching:
    """``if``."""

    at: At
    condition: Value
    positive: TypedBlock
    negative: TypedBlock


@dataclass(frozen=True, slots=True)
class Paying:
    """``pay``."""

    at: At
    amount: Value
    party: Value


@dataclass(frozen=True, slots=True)
class Closing:
    """``close``."""

    at: At


Step = Naming | Waiting | Pausing | Branching | Paying | Closing


@dataclass(frozen=True, slots=True)
class TypedBlock:
    """Statements in order, and whether every path through them closes."""

    steps: tuple[Step, ...]
    closes: bool


@dataclass(frozen=True)
class CheckedContract:
    """A contract that makes sense.

    Attributes:
        text: What it was read from.
        namings: The ``let`` declarations.
        names_used: The numbers of the ``let`` that something refers to.
    """

    text: ContractText
    parties: tuple[str, ...]
    assets: tuple[Asset, ...]
    feeds: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    namings: tuple[Naming, ...]
    locks: tuple[Locking, ...]
    inputs: tuple[Expected, ...]
    body: TypedBlock
    names_used: frozenset[int]
