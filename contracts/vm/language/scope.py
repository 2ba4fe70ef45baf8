"""What a name stands for, and where it is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from contracts.vm.bytecode import Op, Type
from contracts.vm.language import typed
from contracts.vm.language.lexer import At, fault
from contracts.vm.language.spelling import did_you_mean
from contracts.vm.language.syntax import Identifier, Name
from contracts.vm.language.typed import Value


class Sort(Enum):
    """What a name was declared as; the value is what people call it."""

    PARTY = "a party"
    ASSET = "an asset"
    FEED = "a feed"
    PARAMETER = "a parameter"
    LET = "a value"
    OBSERVATION = "an observation"
    WINDOW = "a window of prices"
    ELECTION = "an election"
    MOMENT = "a moment"


@dataclass(frozen=True, slots=True)
class Entity:
    """What was declared.

    Attributes:
        number: Its number among its sort; of an observation, window, election or moment that of its first input.
        type: Of what has a value: its type.
        count: Of a window: how many prices.
    """

    sort: Sort
    at: At
    number: int
    type: Type | None = None
    count: int = 1

    @property
    def is_awaited(self) -> bool:
        """Whether its value comes from outside."""
        return self.sort in (Sort.OBSERVATION, Sort.WINDOW, Sort.ELECTION)


@dataclass
class Scope:
    """The names of the whole text, those of the blocks around a place, and what is known to have arrived there."""

    levels: list[dict[str, Entity]] = field(default_factory=lambda: [{}])
    arrived: list[str] = field(default_factory=list)
    names_used: set[int] = field(default_factory=set)

    def declare(self, name: Identifier, entity: Entity) -> None:
        """Give `name` a meaning until the end of its block.

        Raises:
            Rejected: ``name_taken``.
        """
        before = self._find(name.text)
        if before is not None:
            message = f"'{name.text}' is already {before.sort.value}, declared in line {before.at.line}."
            raise fault("name_taken", message, name.at)
        self.levels[-1][name.text] = entity

    def find(self, name: Identifier, *sorts: Sort) -> Entity:
        """What `name` stands for, which must be one of these.

        Raises:
            Rejected: ``unknown_name`` or ``wrong_type``.
        """
        found = self._find(name.text)
        if found is not None and found.sort in sorts:
            return found
        known = [text for level in self.levels for text, each in level.items() if each.sort in sorts]
        hint = did_you_mean(name.text, known)
        names = [each.value for each in sorts]
        wanted = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        if found is None:
            raise fault("unknown_name", f"There is no '{name.text}'; expected {wanted}.{hint}", name.at)
        raise fault("wrong_type", f"'{name.text}' is {found.sort.value}; expected {wanted}.{hint}", name.at)

    def value(self, name: Name) -> Value:
        """The value of `name` in an expression.

        Raises:
            Rejected: ``unknown_name``, ``wrong_type`` or ``not_yet_known``.
        """
        found = self._find(name.text)
        if found is None:
            known = [text for level in self.levels for text in level]
            raise fault("unknown_name", f"There is no '{name.text}'.{did_you_mean(name.text, known)}", name.at)
        if found.sort is Sort.PARTY:
            return Value(name.at, Op.CONST, typed.PARTY, number=found.number)
        if found.sort is Sort.PARAMETER:
            return Value(name.at, Op.PARAM, found.type, number=found.number)
        if found.sort is Sort.LET:
            self.names_used.add(found.number)
            return Value(name.at, None, found.type, number=found.number)
        if found.sort is Sort.WINDOW:
            message = f"'{name.text}' is a window of prices: take its mean, min, max, first or last."
            raise fault("wrong_type", message, name.at)
        if not found.is_awaited:
            raise fault("wrong_type", f"'{name.text}' is {found.sort.value} and has no value.", name.at)
        self.require_arrived(name)
        return Value(name.at, Op.INPUT, found.type, number=found.number)

    def window(self, name: Name) -> Entity | None:
        """The window of that name, or None if it is none.

        Raises:
            Rejected: ``not_yet_known``.
        """
        found = self._find(name.text)
        if found is None or found.sort is not Sort.WINDOW:
            return None
        self.require_arrived(name)
        return found

    def require_arrived(self, name: Name) -> None:
        """`name` comes from outside: it must have arrived here.

        Raises:
            Rejected: ``not_yet_known``.
        """
        if name.text not in self.arrived:
            message = (
                f"'{name.text}' is known only inside 'when {name.text} arrives {{ ... }}'; what is locked and when "
                "things happen must follow from parameters."
            )
            raise fault("not_yet_known", message, name.at)

    def _find(self, text: str) -> Entity | None:
        return next((level[text] for level in reversed(self.levels) if text in level), None)
