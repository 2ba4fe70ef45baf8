"""What a contract's text says: its syntax tree, as frozen records with their positions.

Chains of one operator are one node with many parts, not a node in a node: so the tree is only as deep as the text nests
brackets, blocks and choices, which `contracts.vm.language.parser` bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.vm.bytecode import Rounding
from contracts.vm.language.lexer import At


class Unit(Enum):
    """What a number was written with."""

    BARE = "bare"
    TICKS = "ticks"
    DURATION = "duration"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Identifier:
    """A name where it is declared or, outside an expression, used."""

    at: At
    text: str


@dataclass(frozen=True, slots=True)
class TypeName:
    """A type as written: ``word`` of ``bool time quantity price money ratio``; money names its asset."""

    at: At
    word: str
    asset: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """``LOW..HIGH``."""

    low: Number
    high: Number


# --- expressions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A number, in the unit of its type (ticks, milliseconds, parts per thousand million)."""

    at: At
    value: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Truth:
    """``true`` or ``false``."""

    at: At
    value: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A name that stands for a value."""

    at: At
    text: str


@dataclass(frozen=True, slots=True)
class Negation:
    """``-of``."""

    at: At
    of: Expression


@dataclass(frozen=True, slots=True)
class Sum:
    """Two terms or more; ``is_minus`` says of each whether it is taken away (of the first it is never)."""

    at: At
    terms: tuple[Expression, ...]
    is_minus: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """``f1 * f2 * ... / divisor round rounding``: one factor only where there is a divisor."""

    at: At
    factors: tuple[Expression, ...]
    divisor: Expression | None
    rounding: Rounding | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left operator right``; the operator is one of ``< <= > >= == !=``."""

    at: At
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Logic:
    """Two parts or more joined by ``and`` or ``or``."""

    at: At
    operator: str
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """``not of``."""

    at: At
    of: Expression


@dataclass(frozen=True, slots=True)
class Choice:
    """``if condition then positive else negative``; both are computed."""

    at: At
    condition: Expression
    positive: Expression
    negative: Expression


@dataclass(frozen=True, slots=True)
class Fold:
    """``min``, ``max``, ``mean``, ``first`` or ``last`` of something."""

    at: At
    function: str
    arguments: tuple[Expression, ...]
    rounding: Rounding | None


Expression = Number | Truth | Name | Negation | Sum | Product | Comparison | Logic | Not | Choice | Fold


# --- statements -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Let:
    """``let name [: type] = value``; also a declaration."""

    at: At
    name: Identifier
    type: TypeName | None
    value: Expression


@dataclass(frozen=True, slots=True)
class When:
    """``when name arrives { arrived } timeout { absent }``."""

    at: At
    name: Identifier
    arrived: Block
    absent: Block


@dataclass(frozen=True, slots=True)
class Wait:
    """``wait until name``."""

    at: At
    name: Identifier


@dataclass(frozen=True, slots=True)
class If:
    """``if condition { positive } else { negative }``."""

    at: At
    condition: Expression
    positive: Block
    negative: Block


@dataclass(frozen=True, slots=True)
class Pay:
    """``pay amount to party``."""

    at: At
    amount: Expression
    party: Expression


@dataclass(frozen=True, slots=True)
class Close:
    """``close``."""

    at: At


Statement = Let | When | Wait | If | Pay | Close
Block = tuple[Statement, ...]


# --- declarations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartyDeclaration:
    """``party name``."""

    name: Identifier


@dataclass(frozen=True, slots=True)
class AssetDeclaration:
    """``asset name rest to party``."""

    name: Identifier
    rest: Identifier


@dataclass(frozen=True, slots=True)
class FeedDeclaration:
    """``feed name``."""

    name: Identifier


@dataclass(frozen=True, slots=True)
class ParameterDeclaration:
    """``parameter name: type [in limits]``."""

    name: Identifier
    type: TypeName
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class LockDeclaration:
    """``lock party amount``."""

    party: Identifier
    amount: Expression


@dataclass(frozen=True, slots=True)
class ObserveDeclaration:
    """One price of a feed (``count`` is 1, ``every`` None) or a window of ``count`` prices."""

    name: Identifier
    feed: Identifier
    count: int
    opens: Expression
    every: Expression | None
    until: Expression
    limits: Limits


@dataclass(frozen=True, slots=True)
class ElectionDeclaration:
    """``election name: type by party from opens until until [in limits] [locks deposit]``."""

    name: Identifier
    type: TypeName
    party: Identifier
    opens: Expression
    until: Expression
    limits: Limits | None
    deposit: Expression | None


@dataclass(frozen=True, slots=True)
class MomentDeclaration:
    """``moment name at time``."""

    name: Identifier
    time: Expression


Declaration = (
    PartyDeclaration
    | AssetDeclaration
    | FeedDeclaration
    | ParameterDeclaration
    | Let
    | LockDeclaration
    | ObserveDeclaration
    | ElectionDeclaration
    | MomentDeclaration
)


@dataclass(frozen=True, slots=True)
class ContractText:
    """A whole contract as written; ``comment`` is its opening one, as one paragraph."""

    name: Identifier
    comment: str
    declarations: tuple[Declaration, ...]
    statements: Block
