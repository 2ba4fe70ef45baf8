"""Whether a contract's text makes sense: names, types, ranges, and that every path closes.

Rules:

1. A name is declared once, before it is used; one that a block declares is known until the block's end.
2. What is locked, when observations and elections open and end, and when moments come, follows from parameters.
3. An observation's or election's value is known only in the first block of its ``when``; each, and each moment, is
   waited for somewhere.
4. Every path ends in ``close``, and nothing stands behind it.
5. Counts stay within those of the bytecode.

What this promises is that `contracts.vm.language.compiler` finds a program for it; whether that program may be stored
(overflow, gas, payments that cannot be negative) is for the verifier, which every node runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contracts.vm.bytecode import (
    ASSETS_MAX,
    FEEDS_MAX,
    INPUTS_MAX,
    LOCKS_MAX,
    PARAMETERS_MAX,
    PARTIES_MAX,
    Asset,
    InputKind,
    Kind,
    Parameter,
    Type,
)
from contracts.vm.language import syntax, typed
from contracts.vm.language.expressions import Expressions
from contracts.vm.language.lexer import At, fault
from contracts.vm.language.scope import Entity, Scope, Sort
from contracts.vm.language.typed import CheckedContract, Expected, Locking, Naming, TypedBlock

WINDOW_MIN: Final = 2
WINDOW_MAX: Final = 512
TIME_MAX: Final = 2**48
"""The latest time that a parameter without a range may have: the chain's own bound."""

_UNIT_OF: Final = {
    Kind.PRICE: syntax.Unit.TICKS,
    Kind.TIME: syntax.Unit.DURATION,
    Kind.RATIO: syntax.Unit.RATIO,
}
_RANGES: Final = {Kind.BOOL: (0, 1), Kind.TIME: (0, TIME_MAX)}


def check_contract(text: syntax.ContractText) -> CheckedContract:
    """The contract with its names resolved and its values typed.

    Raises:
        Rejected: ``unknown_name``, ``name_taken``, ``not_yet_known``, ``wrong_type``, ``no_type``, ``bad_rounding``,
            ``bad_range``, ``too_many``, ``not_reached``, ``no_close`` or ``never_used``, with ``line``, ``column``
            and ``length``.
    """
    return _Checker(text).contract()


class _Checker:
    """One contract while it is checked."""

    def __init__(self, text: syntax.ContractText) -> None:
        self._text = text
        self._scope = Scope()
        self._asset_names: list[str] = []
        self._expressions = Expressions(self._scope, self._asset_names)
        self._parties: list[str] = []
        self._assets: list[Asset] = []
        self._feeds: list[str] = []
        self._parameters: list[Parameter] = []
        self._namings: list[Naming] = []
        self._names = 0
        self._locks: list[Locking] = []
        self._inputs: list[Expected] = []
        self._awaited: set[str] = set()

    def contract(self) -> CheckedContract:
        """Declarations, then statements, then what concerns the whole."""
        for each in self._text.declarations:
            self._declare(each)
        name = self._text.name
        if not self._parties:
            raise fault("too_few", "A contract has at least one party.", name.at)
        if not self._assets:
            raise fault("too_few", "A contract has at least one asset.", name.at)
        body = self._block(self._text.statements)
        if not body.closes:
            at = self._text.statements[-1].at if self._text.statements else name.at
            raise fault("no_close", "Not every path ends in 'close': let it be the last statement.", at)
        for each_input in self._inputs:
            if each_input.name not in self._awaited:
                is_moment = each_input.kind is InputKind.MOMENT
                form = f"wait until {each_input.name}" if is_moment else f"when {each_input.name} arrives {{ ... }}"
                message = f"Nothing waits for '{each_input.name}': add '{form}'."
                raise fault("never_used", message, each_input.at)
        return CheckedContract(
            self._text,
            tuple(self._parties),
            tuple(self._assets),
            tuple(self._feeds),
            tuple(self._parameters),
            tuple(self._namings),
            tuple(self._locks),
            tuple(self._inputs),
            body,
            frozenset(self._scope.names_used),
        )

    # --- declarations -------------------------------------------------------------------------------------------------

    def _declare(self, each: syntax.Declaration) -> None:
        match each:
            case syntax.PartyDeclaration():
                number = _room(self._parties, PARTIES_MAX, "parties", each.name.at)
                self._scope.declare(each.name, Entity(Sort.PARTY, each.name.at, number, typed.PARTY))
                self._parties.append(each.name.text)
            case syntax.AssetDeclaration():
                number = _room(self._assets, ASSETS_MAX, "assets", each.name.at)
                rest = self._scope.find(each.rest, Sort.PARTY)
                self._scope.declare(each.name, Entity(Sort.ASSET, each.name.at, number))
                self._assets.append(Asset(each.name.text, rest.number))
                self._asset_names.append(each.name.text)
            case syntax.FeedDeclaration():
                number = _room(self._feeds, FEEDS_MAX, "feeds", each.name.at)
                self._scope.declare(each.name, Entity(Sort.FEED, each.name.at, number))
                self._feeds.append(each.name.text)
            case syntax.ParameterDeclaration():
                self._parameter(each)
            case syntax.Let():
                self._namings.append(self._let(each))
            case syntax.LockDeclaration():
                _room(self._locks, LOCKS_MAX, "locks", each.party.at)
                party = self._scope.find(each.party, Sort.PARTY)
                amount = self._expressions.money(each.amount, "What is locked")
                self._locks.append(Locking(each.amount.at, party.number, amount))
            case syntax.ObserveDeclaration():
                self._observe(each)
            case syntax.ElectionDeclaration():
                self._election(each)
            case syntax.MomentDeclaration():
                self._moment(each)

    def _parameter(self, each: syntax.ParameterDeclaration) -> None:
        number = _room(self._parameters, PARAMETERS_MAX, "parameters", each.name.at)
        of = self._type(each.type)
        low, high = self._range(of, each.limits, each.name)
        self._scope.declare(each.name, Entity(Sort.PARAMETER, each.name.at, number, of))
        self._parameters.append(Parameter(each.name.text, of, low, high))

    def _observe(self, each: syntax.ObserveDeclaration) -> None:
        feed = self._scope.find(each.feed, Sort.FEED)
        is_window = each.every is not None
        if is_window and not WINDOW_MIN <= each.count <= WINDOW_MAX:
            message = f"A window has from {WINDOW_MIN} to {WINDOW_MAX} prices."
            raise fault("bad_range", message, each.name.at, prices=each.count)
        first = self._first_input(each.count, each.name.at)
        low, high = self._range(typed.PRICE, each.limits, each.name)
        opens = self._expressions.of_type(each.opens, typed.TIME, "The time of a price")
        every = self._expressions.of_type(each.every, typed.TIME, "What follows 'every'") if each.every else None
        until = self._expressions.of_type(each.until, typed.TIME, "What follows 'until'")
        sort = Sort.WINDOW if is_window else Sort.OBSERVATION
        self._scope.declare(each.name, Entity(sort, each.name.at, first, typed.PRICE, each.count))
        source = (each.name.at, each.name.text, InputKind.PRICE, feed.number, typed.PRICE)
        self._inputs.append(Expected(*source, low, high, first, each.count, opens, every, until, None))

    def _election(self, each: syntax.ElectionDeclaration) -> None:
        party = self._scope.find(each.party, Sort.PARTY)
        of = self._type(each.type)
        if of not in (typed.BOOL, typed.QUANTITY):
            raise fault("wrong_type", "An election is of type bool or quantity.", each.type.at)
        first = self._first_input(1, each.name.at)
        low, high = self._range(of, each.limits, each.name)
        if low < 0:
            raise fault("bad_range", "A party cannot elect less than nothing.", each.name.at, low=low)
        opens = self._expressions.of_type(each.opens, typed.TIME, "What follows 'from'")
        until = self._expressions.of_type(each.until, typed.TIME, "What follows 'until'")
        deposit = self._expressions.money(each.deposit, "What an election locks") if each.deposit else None
        self._scope.declare(each.name, Entity(Sort.ELECTION, each.name.at, first, of))
        source = (each.name.at, each.name.text, InputKind.ELECTION, party.number, of)
        self._inputs.append(Expected(*source, low, high, first, 1, opens, None, until, deposit))

    def _moment(self, each: syntax.MomentDeclaration) -> None:
        first = self._first_input(1, each.name.at)
        comes = self._expressions.of_type(each.time, typed.TIME, "What follows 'at'")
        self._scope.declare(each.name, Entity(Sort.MOMENT, each.name.at, first))
        source = (each.name.at, each.name.text, InputKind.MOMENT, 0, typed.BOOL)
        self._inputs.append(Expected(*source, 1, 1, first, 1, comes, None, comes, None))

    def _first_input(self, count: int, at: At) -> int:
        first = self._inputs[-1].first + self._inputs[-1].count if self._inputs else 0
        if first + count > INPUTS_MAX:
            message = "There are too many prices, elections and moments to wait for."
            raise fault("too_many", message, at, count=first + count, count_max=INPUTS_MAX)
        return first

    def _type(self, of: syntax.TypeName) -> Type:
        asset = self._scope.find(of.asset, Sort.ASSET) if of.asset is not None else None
        return typed.money(asset.number) if asset is not None else Type(Kind[of.word.upper()])

    def _range(self, of: Type, limits: syntax.Limits | None, name: syntax.Identifier) -> tuple[int, int]:
        if limits is None:
            if of.kind not in _RANGES:
                raise fault("bad_range", f"'{name.text}' needs a range: add 'in LOW..HIGH'.", name.at)
            return _RANGES[of.kind]
        if of.kind is Kind.BOOL:
            raise fault("bad_range", "A bool has no range.", limits.low.at)
        for each in (limits.low, limits.high):
            if each.unit not in (syntax.Unit.BARE, _UNIT_OF.get(of.kind)):
                words = typed.type_words(of, tuple(self._asset_names))
                raise fault("wrong_type", f"This is no {words}, of which '{name.text}' is.", each.at)
        low, high = limits.low.value, limits.high.value
        if low > high:
            raise fault("bad_range", "The range is empty: its low end is above its high end.", limits.low.at)
        return low, high

    # --- statements ---------------------------------------------------------------------------------------------------

    def _block(self, statements: syntax.Block) -> TypedBlock:
        steps: list[typed.Step] = []
        closes = False
        for each in statements:
            if closes:
                raise fault("not_reached", "This is never reached: every path has closed before it.", each.at)
            step = self._statement(each)
            closes = _closes(step)
            steps.append(step)
        return TypedBlock(tuple(steps), closes)

    def _inner(self, statements: syntax.Block) -> TypedBlock:
        self._scope.levels.append({})
        block = self._block(statements)
        self._scope.levels.pop()
        return block

    def _statement(self, each: syntax.Statement) -> typed.Step:
        match each:
            case syntax.Let():
                return self._let(each)
            case syntax.When():
                return self._when(each)
            case syntax.Wait():
                found = self._scope.find(each.name, Sort.MOMENT)
                self._awaited.add(each.name.text)
                return typed.Pausing(each.at, found.number)
            case syntax.If():
                condition = self._expressions.of_type(each.condition, typed.BOOL, "What follows 'if'")
                return typed.Branching(each.at, condition, self._inner(each.positive), self._inner(each.negative))
            case syntax.Pay():
                amount = self._expressions.money(each.amount, "What is paid")
                return typed.Paying(each.at, amount, self._expressions.of_type(each.party, typed.PARTY, "Who is paid"))
            case syntax.Close():
                return typed.Closing(each.at)

    def _when(self, each: syntax.When) -> typed.Waiting:
        found = self._scope.find(each.name, Sort.OBSERVATION, Sort.WINDOW, Sort.ELECTION)
        self._awaited.add(each.name.text)
        self._scope.arrived.append(each.name.text)
        arrived = self._inner(each.arrived)
        self._scope.arrived.pop()
        return typed.Waiting(each.at, found.number, found.count, arrived, self._inner(each.absent))

    def _let(self, each: syntax.Let) -> Naming:
        if each.type is None:
            value = self._expressions.any_type(each.value, f"'{each.name.text}'")
        else:
            value = self._expressions.of_type(each.value, self._type(each.type), f"'{each.name.text}'")
        number, self._names = self._names, self._names + 1
        self._scope.declare(each.name, Entity(Sort.LET, each.name.at, number, value.type))
        return Naming(each.at, number, value)


def _closes(step: typed.Step) -> bool:
    match step:
        case typed.Closing():
            return True
        case typed.Waiting():
            return step.arrived.closes and step.absent.closes
        case typed.Branching():
            return step.positive.closes and step.negative.closes
        case _:
            return False


def _room(declared: Sequence[object], count_max: int, what: str, at: At) -> int:
    """The number of the next one."""
    if len(declared) >= count_max:
        raise fault("too_many", f"There are too many {what}.", at, count_max=count_max)
    return len(declared)
