"""Expressions in words, for people who read a contract and not its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contracts.vm.bytecode import RATIO_ONE, Rounding
from contracts.vm.language import syntax
from contracts.vm.language.lexer import DURATIONS_MS

_COMPARED: Final = {
    "<": "is below",
    "<=": "is at or below",
    ">": "is above",
    ">=": "is at or above",
    "==": "equals",
    "!=": "differs from",
}
_ROUNDED: Final = {
    Rounding.DOWN: ", rounded down",
    Rounding.UP: ", rounded up",
    Rounding.HALF_EVEN: ", rounded half to even",
}
_DURATION_NAMES: Final = {"ms": "millisecond", "s": "second", "m": "minute", "h": "hour", "d": "day"}


@dataclass(frozen=True)
class Words:
    """Says expressions in words; `parties` are the names that get an article."""

    parties: frozenset[str]

    def of(self, expression: syntax.Expression) -> str:
        """The expression, as part of a sentence."""
        match expression:
            case syntax.Number():
                return number_words(expression)
            case syntax.Truth():
                return "yes" if expression.value else "no"
            case syntax.Name():
                return self.party(expression.text)
            case syntax.Negation():
                return f"minus {self.bound(expression.of)}"
            case syntax.Sum():
                return self._sum(expression)
            case syntax.Product():
                return self._product(expression)
            case syntax.Comparison():
                operator = _COMPARED[expression.operator]
                return f"{self.bound(expression.left)} {operator} {self.bound(expression.right)}"
            case syntax.Logic():
                return f" {expression.operator} ".join(self.bound(each) for each in expression.parts)
            case syntax.Not():
                return f"not {self.bound(expression.of)}"
            case syntax.Choice():
                condition = self.of(expression.condition)
                return f"{self.bound(expression.positive)} if {condition}, else {self.bound(expression.negative)}"
            case syntax.Fold():
                return self._fold(expression)

    def party(self, name: str) -> str:
        """``the writer``; any other name as it is."""
        return f"the {name}" if name in self.parties else name

    def bound(self, expression: syntax.Expression) -> str:
        """In brackets if it is of several words that could be read with their neighbours."""
        said = self.of(expression)
        return said if isinstance(expression, syntax.Number | syntax.Truth | syntax.Name) else f"({said})"

    def _sum(self, of: syntax.Sum) -> str:
        said = self.bound(of.terms[0])
        for each, is_minus in zip(of.terms[1:], of.is_minus[1:], strict=True):
            said += f" {'minus' if is_minus else 'plus'} {self.bound(each)}"
        return said

    def _product(self, of: syntax.Product) -> str:
        said = " times ".join(self.bound(each) for each in of.factors)
        if isinstance(of.divisor, syntax.Number) and of.divisor.value == 1 and of.divisor.unit is not syntax.Unit.RATIO:
            return said  # to divide by one changes the unit alone
        divided = f" divided by {self.bound(of.divisor)}" if of.divisor is not None else ""
        return said + divided + (_ROUNDED[of.rounding] if of.rounding is not None else "")

    def _fold(self, of: syntax.Fold) -> str:
        if len(of.arguments) == 1:
            window = self.of(of.arguments[0])
            named = {"min": "the lowest price", "max": "the highest price", "mean": "the mean"}
            rounded = _ROUNDED[of.rounding] if of.rounding is not None else ""
            return f"{named.get(of.function, f'the {of.function} price')} of {window}{rounded}"
        degree = ("smaller", "smallest") if of.function == "min" else ("larger", "largest")
        return f"the {degree[len(of.arguments) > 2]} of {listed([self.bound(each) for each in of.arguments])}"


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part) if parts else ""


def number_words(number: syntax.Number) -> str:
    """``1,000``, ``3 ticks``, ``2 hours``, ``2.5 %``."""
    value = number.value
    if number.unit is syntax.Unit.TICKS:
        return f"{value:,} tick" + ("" if value == 1 else "s")
    if number.unit is syntax.Unit.DURATION:
        return duration_words(value)
    if number.unit is syntax.Unit.RATIO:
        return ratio_words(value)
    return f"{value:,}"


def duration_words(milliseconds: int) -> str:
    """In the largest unit that divides it."""
    unit = next(unit for unit in reversed(DURATIONS_MS) if milliseconds % DURATIONS_MS[unit] == 0)
    count = milliseconds // DURATIONS_MS[unit]
    return f"{count:,} {_DURATION_NAMES[unit]}" + ("" if count == 1 else "s")


def ratio_words(parts: int) -> str:
    """In per cent, exactly."""
    whole, rest = divmod(abs(parts), RATIO_ONE // 100)
    fraction = f".{rest:07}".rstrip("0") if rest else ""
    return f"{'-' if parts < 0 else ''}{whole:,}{fraction} %"
