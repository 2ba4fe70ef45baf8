"""The types of expressions, from the inside out (docs/CONTRACTS.md, section 1, "Types and arithmetic").

A bare number has no type of its own. It and what is made of such numbers alone wait (`Value.type` is None) until
something that has a type stands beside them or asks for them; then `given` types them, each once. So the work is
linear in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from contracts.vm.bytecode import RATIO_ONE, Kind, Op, Rounding, Type
from contracts.vm.language import syntax, typed
from contracts.vm.language.lexer import At, fault
from contracts.vm.language.scope import Entity, Scope
from contracts.vm.language.typed import QUANTITY, RATIO, Value, type_words

FACTORS_MAX: Final = 16

_COUNTED: Final = (Kind.TIME, Kind.QUANTITY, Kind.PRICE, Kind.MONEY, Kind.RATIO)
_BARE: Final = (Kind.QUANTITY, Kind.PRICE, Kind.MONEY)
_UNIT_TYPES: Final = {
    syntax.Unit.BARE: None,
    syntax.Unit.TICKS: typed.PRICE,
    syntax.Unit.DURATION: typed.TIME,
    syntax.Unit.RATIO: RATIO,
}
_WRITTEN: Final = {Kind.TIME: "'5s', '30m', '2h' or '7d'", Kind.RATIO: "'2.5%' or '0.25x'"}


class Expressions:
    """Types expressions in a scope.

    Args:
        scope: What names stand for; it changes as the checker enters and leaves blocks.
        assets: The names of the assets so far.
    """

    def __init__(self, scope: Scope, assets: list[str]) -> None:
        self._scope = scope
        self._assets = assets
        self._windows: dict[int, tuple[Value, ...]] = {}

    def of_type(self, expression: syntax.Expression, wanted: Type, what: str) -> Value:
        """The expression, which must be of that type.

        Raises:
            Rejected: ``unknown_name``, ``not_yet_known``, ``wrong_type``, ``no_type``, ``bad_rounding``, ``too_many``.
        """
        value = self._given(self._value(expression), wanted)
        if value.type != wanted:
            raise self._wrong(value, f"{what} is of type {self._words(wanted)}")
        return value

    def money(self, expression: syntax.Expression, what: str) -> Value:
        """The expression, which must be money of any asset.

        Raises:
            Rejected: As `of_type`.
        """
        value = self._value(expression)
        if value.type is None:
            if len(self._assets) != 1:
                raise fault("no_type", f"{what} is money, but nothing says of which asset.", value.at)
            value = self._given(value, typed.money(0))
        if value.type is None or value.type.kind is not Kind.MONEY:
            raise self._wrong(value, f"{what} is money")
        return value

    def any_type(self, expression: syntax.Expression, what: str) -> Value:
        """The expression, which must have a type by itself.

        Raises:
            Rejected: As `of_type`.
        """
        return self._settled([self._value(expression)], what)[0]

    # --- one form each ------------------------------------------------------------------------------------------------

    def _value(self, of: syntax.Expression) -> Value:
        match of:
            case syntax.Number():
                return Value(of.at, Op.CONST, _UNIT_TYPES[of.unit], number=of.value)
            case syntax.Truth():
                return Value(of.at, Op.CONST, typed.BOOL, number=int(of.value))
            case syntax.Name():
                return self._scope.value(of)
            case syntax.Negation():
                return self._negation(of)
            case syntax.Sum():
                parts = self._alike([self._value(each) for each in of.terms], "Sums are")
                self._need_counted(parts[0], "'+' and '-'")
                return Value(of.at, Op.ADD, parts[0].type, parts, is_minus=of.is_minus)
            case syntax.Product():
                return self._product(of)
            case syntax.Comparison():
                return self._comparison(of)
            case syntax.Logic():
                op = Op.AND if of.operator == "and" else Op.OR
                parts = tuple(self.of_type(each, typed.BOOL, f"A part of '{of.operator}'") for each in of.parts)
                return Value(of.at, op, typed.BOOL, parts)
            case syntax.Not():
                return Value(of.at, Op.NOT, typed.BOOL, (self.of_type(of.of, typed.BOOL, "What follows 'not'"),))
            case syntax.Choice():
                condition = self.of_type(of.condition, typed.BOOL, "What follows 'if'")
                sides = self._alike([self._value(of.positive), self._value(of.negative)], "Both sides of a choice are")
                return Value(of.at, Op.SELECT, sides[0].type, (condition, *sides))
            case syntax.Fold():
                return self._fold(of)

    def _negation(self, of: syntax.Negation) -> Value:
        inner = self._value(of.of)
        self._need_counted(inner, "'-'")
        if inner.op is Op.CONST:
            return replace(inner, at=of.at, number=-inner.number)
        return Value(of.at, Op.SUB, inner.type, (Value(of.at, Op.CONST, inner.type), inner))

    def _comparison(self, of: syntax.Comparison) -> Value:
        """By ``<``, ``<=`` and ``==``: the others are these with sides changed or denied."""
        sides = self._alike([self._value(of.left), self._value(of.right)], "What is compared is")
        left, right = self._settled(sides, "What is compared")
        if of.operator in ("==", "!="):
            equal = Value(of.at, Op.EQ, typed.BOOL, (left, right))
            return equal if of.operator == "==" else Value(of.at, Op.NOT, typed.BOOL, (equal,))
        self._need_counted(left, f"'{of.operator}'")
        op = Op.LE if of.operator in ("<=", ">=") else Op.LT
        return Value(of.at, op, typed.BOOL, (left, right) if of.operator in ("<", "<=") else (right, left))

    def _fold(self, of: syntax.Fold) -> Value:
        first = of.arguments[0]
        window = self._scope.window(first) if isinstance(first, syntax.Name) else None
        if window is not None and len(of.arguments) == 1:
            return self._of_window(of, self._prices(window))
        if of.function not in ("min", "max"):
            raise fault("wrong_type", f"'{of.function}' is of one window of prices.", of.at)
        if len(of.arguments) < 2:
            raise fault("wrong_type", f"'{of.function}' is of two values or more, or of one window of prices.", of.at)
        parts = self._alike([self._value(each) for each in of.arguments], f"What '{of.function}' compares is")
        self._need_counted(parts[0], f"'{of.function}'")
        return Value(of.at, Op.MIN if of.function == "min" else Op.MAX, parts[0].type, parts)

    def _prices(self, window: Entity) -> tuple[Value, ...]:
        """Its prices, in order; made once, for a text may fold one window many times."""
        if window.number not in self._windows:
            numbers = range(window.number, window.number + window.count)
            self._windows[window.number] = tuple(
                Value(window.at, Op.INPUT, window.type, number=number) for number in numbers
            )
        return self._windows[window.number]

    def _of_window(self, of: syntax.Fold, prices: tuple[Value, ...]) -> Value:
        of_price = prices[0].type
        if of.function in ("first", "last"):
            return prices[0] if of.function == "first" else prices[-1]
        if of.function in ("min", "max"):
            return Value(of.at, Op.MIN if of.function == "min" else Op.MAX, of_price, prices)
        if of.rounding is None:
            raise fault("bad_rounding", "A mean is rounded: add 'round down', 'round up' or 'round half_even'.", of.at)
        total = Value(of.at, Op.ADD, of_price, prices, is_minus=(False,) * len(prices))
        return _muldiv(of.at, total, _count(of.at, 1), _count(of.at, len(prices)), of.rounding, of_price)

    # --- products -----------------------------------------------------------------------------------------------------

    def _product(self, of: syntax.Product) -> Value:
        if len(of.factors) > FACTORS_MAX:
            raise fault("too_many", "A product has too many factors.", of.at, factors_max=FACTORS_MAX)
        factors = [self._value(each) for each in of.factors]
        for each in factors:
            self._need_counted(each, "'*' and '/'")
        if of.divisor is None:
            return self._undivided(of, factors)
        divisor = self._value(of.divisor)
        self._need_counted(divisor, "'/'")
        if of.rounding is None:
            message = "A division is rounded: add 'round down', 'round up' or 'round half_even'."
            raise fault("bad_rounding", message, of.at)
        if len(factors) == 1:
            return self._quotient(of, factors[0], divisor, of.rounding)
        return self._muldiv(of, *self._two(of, factors), divisor, of.rounding)

    def _undivided(self, of: syntax.Product, factors: list[Value]) -> Value:
        """Quantities times something, exact; or rounded, times a ratio."""
        ratios = [at for at, each in enumerate(factors) if each.type == RATIO]
        others = [each for each in factors if each.type not in (None, QUANTITY)]
        if of.rounding is None:
            if ratios and len(others) > 1:
                raise fault("bad_rounding", "A product with a ratio is rounded: add 'round down' or another.", of.at)
            return self._exact(of, factors)
        if not ratios or len(factors) == 1:
            raise fault("bad_rounding", "Nothing here is divided, so there is nothing to round.", of.at)
        ratio = factors.pop(ratios[-1])
        base = self._exact(of, factors)
        return _muldiv(of.at, base, ratio, Value(of.at, Op.CONST, RATIO, number=RATIO_ONE), of.rounding, base.type)

    def _exact(self, of: syntax.Product, factors: Sequence[Value]) -> Value:
        """The product of quantities and at most one value of another type; a bare number is a quantity."""
        known = [each if each.type is not None else self._given(each, QUANTITY) for each in factors]
        product = known[0]
        for each in known[1:]:
            base, times = (product, each) if each.type == QUANTITY else (each, product)
            if times.type != QUANTITY:
                message = (
                    f"{self._words(product.type)} times {self._words(each.type)} has no unit: divide by one of the "
                    "two, or multiply by a quantity."
                )
                raise fault("wrong_type", message, of.at)
            product = _muldiv(of.at, base, times, _count(of.at, 1), Rounding.DOWN, base.type)
        return product

    def _two(self, of: syntax.Product, factors: list[Value]) -> tuple[Value, Value]:
        """The factors as two, whose product is divided: all but one are multiplied before, exactly."""
        if len(factors) == 2:
            return factors[0], factors[1]
        others = [at for at, each in enumerate(factors) if each.type not in (None, QUANTITY)]
        last = factors.pop(others[-1] if len(others) > 1 else -1)
        return self._exact(of, factors), last if last.type is not None else self._given(last, QUANTITY)

    def _quotient(self, of: syntax.Product, a: Value, c: Value, rounding: Rounding) -> Value:
        """``a / c``: by a quantity or a ratio of a's type, by a value of a's type a ratio."""
        if c.type is None:
            c = self._given(c, QUANTITY)
        if c.type in (QUANTITY, RATIO) and a.type != c.type:
            one = Value(of.at, Op.CONST, c.type, number=1 if c.type == QUANTITY else RATIO_ONE)
            return _muldiv(of.at, a, one, c, rounding, a.type)
        if a.type is None and c.type is not None:
            a = self._given(a, c.type)
        if a.type != c.type:
            raise self._unfit(of, f"{self._words(a.type)} / {self._words(c.type)}")
        return _muldiv(of.at, a, Value(of.at, Op.CONST, RATIO, number=RATIO_ONE), c, rounding, RATIO)

    def _muldiv(self, of: syntax.Product, a: Value, b: Value, c: Value, rounding: Rounding) -> Value:
        """``a * b / c``: b and c of one type gives a's, a and c of one type gives b's; bare numbers fit in."""
        if c.type is None:
            is_bare = a.type is None or b.type is None or QUANTITY in (a.type, b.type)
            c = self._given(c, QUANTITY if is_bare or b.type is None else b.type)
        divisor = c.type or QUANTITY
        if b.type is None:
            b = self._given(b, divisor)
        elif a.type is None and b.type != divisor:
            a = self._given(a, divisor)
        if b.type == divisor:
            return _muldiv(of.at, a, b, c, rounding, a.type)
        if a.type == divisor:
            return _muldiv(of.at, a, b, c, rounding, b.type)
        raise self._unfit(of, f"{self._words(a.type)} * {self._words(b.type)} / {self._words(c.type)}")

    # --- types --------------------------------------------------------------------------------------------------------

    def _given(self, value: Value, of: Type) -> Value:
        """The value with that type wherever it waits for one; a value that has a type stays."""
        if value.type is not None:
            return value
        if of.kind not in _BARE:
            written = _WRITTEN.get(of.kind)
            hint = f"; write it as {written}" if written else ""
            message = f"A bare number cannot be of type {self._words(of)}{hint}."
            raise fault("wrong_type", message, value.at)
        parts = tuple(self._given(each, of) for each in value.parts)
        return replace(value, type=of, parts=parts)

    def _alike(self, values: list[Value], what: str) -> tuple[Value, ...]:
        """Values of one type, the bare ones given that of the others; all bare stay so."""
        known = next((each.type for each in values if each.type is not None), None)
        if known is None:
            return tuple(values)
        for each in values:
            if each.type not in (None, known):
                raise self._wrong(each, f"{what} of one type, here {self._words(known)}")
        return tuple(self._given(each, known) for each in values)

    def _settled(self, values: Sequence[Value], what: str) -> Sequence[Value]:
        for each in values:
            if each.type is None:
                message = (
                    f"{what} needs a type, but nothing gives this number one: write '3 ticks' for a price, or name it "
                    "with 'let NAME: TYPE = ...'."
                )
                raise fault("no_type", message, each.at)
        return values

    def _need_counted(self, value: Value, what: str) -> None:
        if value.type is not None and value.type.kind not in _COUNTED:
            raise self._wrong(value, f"{what} is for numbers")

    def _words(self, of: Type | None) -> str:
        return "a bare number" if of is None else type_words(of, tuple(self._assets))

    def _wrong(self, value: Value, rule: str) -> Exception:
        return fault("wrong_type", f"{rule}; this is of type {self._words(value.type)}.", value.at)

    def _unfit(self, of: syntax.Product, shown: str) -> Exception:
        message = f"The units of {shown} do not fit: the divisor has the type of one factor, or both are alike."
        return fault("wrong_type", message, of.at)


def _muldiv(at: At, a: Value, b: Value, c: Value, rounding: Rounding, of: Type | None) -> Value:
    return Value(at, Op.MULDIV, of, (a, b, c), rounding=rounding)


def _count(at: At, number: int) -> Value:
    return Value(at, Op.CONST, QUANTITY, number=number)
