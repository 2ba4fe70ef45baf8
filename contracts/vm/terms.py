"""Terms: what the registers of a program hold for all parameters and observations at once.

A term is an operation over other terms, down to constants, parameters and inputs; a `TermPool` makes each once, so that
two registers that always hold the same value are one term. It folds constants, and what the ranges of its operands
already decide; every rule of `_simplified` is an identity over the integers, with the divisor not zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.vm import intervals
from contracts.vm.bytecode import Op, Rounding
from contracts.vm.intervals import BOOLS, Interval, divided

_COMMUTES: Final = frozenset({Op.ADD, Op.MULDIV, Op.MIN, Op.MAX, Op.EQ, Op.AND, Op.OR})
"""The first two operands may be exchanged."""
_BOOLEAN: Final = frozenset({Op.LT, Op.LE, Op.EQ, Op.AND, Op.OR, Op.NOT})


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One value. Two terms of a pool are equal only if they are the same object.

    Attributes:
        op: `Op.CONST`, `Op.PARAM`, `Op.INPUT` or a pure operation.
        args: Its operands.
        value: A constant's value; a parameter's or input's number; the `Rounding` of a `MULDIV`, 0 if it is exact.
        is_bool: Whether it is a truth (0 or 1).
        low: No smaller value is possible.
        high: No larger one.
        number: Larger than those of its operands.
    """

    op: Op
    args: tuple[Term, ...]
    value: int
    is_bool: bool
    low: int
    high: int
    number: int

    @property
    def is_constant(self) -> bool:
        return self.op is Op.CONST

    @property
    def is_exact_product(self) -> bool:
        """``a * b``, with nothing to round."""
        return self.op is Op.MULDIV and self.args[2].is_constant and self.args[2].value == 1


class TermPool:
    """Makes terms, each once."""

    def __init__(self) -> None:
        self._terms: dict[tuple[int, ...], Term] = {}

    def constant(self, value: int, is_bool: bool = False) -> Term:
        return self._intern(Op.CONST, (), value, is_bool, (value, value))

    def leaf(self, op: Op, number: int, is_bool: bool, values: Interval) -> Term:
        """A parameter or an input; if its range is a single value, that constant."""
        if values[0] == values[1]:
            return self.constant(values[0], is_bool)
        return self._intern(op, (), number, is_bool, values)

    def pure(self, op: Op, args: Sequence[Term], rounding: int = 0) -> Term:
        """The result of a pure operation."""
        if op in _COMMUTES:
            first, second = sorted(args[:2], key=lambda each: each.number)
            args = (first, second, *args[2:])
        simple = _simplified(self, op, args, rounding)
        if simple is not None:
            return simple
        is_bool = op in _BOOLEAN or (op is Op.SELECT and args[1].is_bool)
        exact = op is Op.MULDIV and args[2].is_constant and args[2].value == 1
        return self._intern(op, tuple(args), 0 if exact else rounding, is_bool, _range(op, args, rounding))

    def _intern(self, op: Op, args: tuple[Term, ...], value: int, is_bool: bool, values: Interval) -> Term:
        # The range belongs to the key: an input that is known to be above zero on one path is another term there.
        key = (int(op), value, int(is_bool), *values, *(each.number for each in args))
        found = self._terms.get(key)
        if found is None:
            found = self._terms[key] = Term(op, args, value, is_bool, values[0], values[1], len(self._terms))
        return found


def cone(roots: Iterable[Term]) -> list[Term]:
    """`roots` and everything that they depend on, operands first."""
    found: dict[int, Term] = {}
    open_terms = list(roots)
    while open_terms:
        term = open_terms.pop()
        if term.number not in found:
            found[term.number] = term
            open_terms.extend(term.args)
    return [found[number] for number in sorted(found)]


def evaluated(term: Term, parameters: Sequence[int], inputs: Mapping[int, int]) -> int:
    """The value of `term` for these parameters and arrived inputs."""
    values: dict[int, int] = {}
    for each in cone([term]):
        if each.op is Op.PARAM:
            values[each.number] = parameters[each.value]
        elif each.op is Op.INPUT:
            values[each.number] = inputs[each.value]
        elif each.is_constant:
            values[each.number] = each.value
        else:
            values[each.number] = _folded(each.op, [values[arg.number] for arg in each.args], each.value)
    return values[term.number]


def _folded(op: Op, values: Sequence[int], rounding: int) -> int:
    """The operation on plain integers, as the interpreter has it."""
    a, b, c = (*values, 0, 0)[:3]
    if op is Op.MULDIV:
        return divided(a * b, c, rounding)
    if op is Op.SELECT:
        return b if a else c
    results: dict[Op, int] = {
        Op.ADD: a + b,
        Op.SUB: a - b,
        Op.MIN: min(a, b),
        Op.MAX: max(a, b),
        Op.LT: int(a < b),
        Op.LE: int(a <= b),
        Op.EQ: int(a == b),
        Op.AND: a & b,
        Op.OR: a | b,
        Op.NOT: 1 - a,
    }
    return results[op]


def _simplified(pool: TermPool, op: Op, args: Sequence[Term], rounding: int) -> Term | None:
    """A term already known to equal the operation; None if there is none."""
    if all(each.is_constant for each in args):
        is_bool = op in _BOOLEAN or args[-1].is_bool
        return pool.constant(_folded(op, [each.value for each in args], rounding), is_bool)
    if op in _BOOLEAN:
        return _decided(pool, op, args)
    if op is Op.SELECT:
        return _chosen(args)
    if op is Op.MULDIV:
        return _cancelled(pool, args)
    first, second = args
    if op in (Op.MIN, Op.MAX):
        smaller = first if first is second or first.high <= second.low else second if second.high <= first.low else None
        if smaller is None or op is Op.MIN:
            return smaller
        return second if smaller is first else first
    if op is Op.SUB and first is second:
        return pool.constant(0)
    if _is(second, 0):
        return first
    return second if op is Op.ADD and _is(first, 0) else None


def _chosen(args: Sequence[Term]) -> Term | None:
    """A SELECT whose condition is known, or whose sides are one."""
    condition, first, second = args
    if condition.is_constant:
        return first if condition.value else second
    return first if first is second else None


def _decided(pool: TermPool, op: Op, args: Sequence[Term]) -> Term | None:
    """A comparison or connective that the ranges or a constant settle."""
    first, second = args[0], args[-1]
    if op in (Op.LT, Op.LE, Op.EQ):
        if first is second:
            return pool.constant(int(op is not Op.LT), True)
        if op is Op.EQ:
            for known, other in ((first, second), (second, first)):
                if known.is_constant and other.is_bool:
                    return other if known.value else pool.pure(Op.NOT, [other])
            apart = first.high < second.low or second.high < first.low
            return pool.constant(0, True) if apart else None
        yes = first.high < second.low if op is Op.LT else first.high <= second.low
        no = first.low >= second.high if op is Op.LT else first.low > second.high
        return pool.constant(int(yes), True) if yes or no else None
    if op is Op.NOT:
        return first.args[0] if first.op is Op.NOT else None
    if first is second:
        return first
    for known, other in ((first, second), (second, first)):
        if known.is_constant:
            # The neutral element leaves the other side, the absorbing one itself.
            return other if known.value == int(op is Op.AND) else known
    return None


def _cancelled(pool: TermPool, args: Sequence[Term]) -> Term | None:
    """``a * b / c`` where c is a or b, or a factor is 0, or a constant is c."""
    a, b, c = args
    for factor, other in ((a, b), (b, a)):
        if _is(factor, 0):
            return pool.constant(0)
        if factor is c or (factor.is_constant and _is(c, factor.value)):
            return other
    return None


def _is(term: Term, value: int) -> bool:
    return term.is_constant and term.value == value


def _range(op: Op, args: Sequence[Term], rounding: int) -> Interval:
    """The range of the result, by the ranges of the operands."""
    ranges = [(each.low, each.high) for each in args]
    if op in _BOOLEAN:
        return BOOLS
    if op is Op.SELECT:
        return intervals.hull(ranges[1], ranges[2])
    if op is Op.MULDIV:
        return intervals.divide(intervals.multiply(ranges[0], ranges[1]), ranges[2], Rounding(rounding))
    combine = {Op.ADD: intervals.add, Op.SUB: intervals.subtract, Op.MIN: intervals.minimum, Op.MAX: intervals.maximum}
    return combine[op](ranges[0], ranges[1])
