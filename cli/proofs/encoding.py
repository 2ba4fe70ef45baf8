"""Terms as formulas of Z3, in one of three readings.

- `LINEAR`: integers; a product or quotient of two unknowns is an unknown of its own, within its range. Fast, and weak.
- `REAL`: reals instead of integers, products as they are, a quotient by the inequalities that define it. Decidable.
- `EXACT`: integers, everything as it is. What it answers is so, but it may not answer.

The first two allow more than the program does: what holds in them holds of the program, but an answer with values may
be none of the program's. A quotient q of n by c > 0 rounded down is defined by ``c q <= n <= c q + c - 1``; up by
``n <= c q <= n + c - 1``; half to even by ``-c <= 2 (n - c q) <= c``, and q even where either side is reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import z3

from contracts.vm.bytecode import Op, Rounding
from contracts.vm.terms import Term, cone


class Reading(Enum):
    """How terms are read."""

    LINEAR = "linear"
    REAL = "real"
    EXACT = "exact"


class Encoder:
    """Formulas for terms; `facts` holds what is true of them."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.facts: list[Any] = []
        self.terms: dict[int, Term] = {}
        self._formulas: dict[int, Any] = {}

    def formula(self, term: Term) -> Any:
        """The formula of `term`; its definition, and those of all that it depends on, are among the facts."""
        for each in cone([term]):
            if each.number not in self._formulas:
                self.terms[each.number] = each
                self._formulas[each.number] = self._encoded(each)
        return self._formulas[term.number]

    def total(self, terms: Iterable[Term]) -> Any:
        """The sum of `terms`."""
        return sum((self.formula(each) for each in terms), self.number(0))

    def unknown(self, name: str) -> Any:
        return z3.Real(name) if self.reading is Reading.REAL else z3.Int(name)

    def implies(self, condition: Any, conclusion: Any) -> Any:
        return z3.Implies(condition, conclusion)

    def number(self, value: int) -> Any:
        return z3.RealVal(value) if self.reading is Reading.REAL else z3.IntVal(value)

    def _encoded(self, term: Term) -> Any:
        args = [self._formulas[each.number] for each in term.args]
        if term.is_constant:
            return z3.BoolVal(bool(term.value)) if term.is_bool else self.number(term.value)
        if term.op in (Op.PARAM, Op.INPUT):
            return self._leaf(term)
        if term.op is Op.MULDIV:
            return self._quotient(term, *args)
        if term.op in (Op.MIN, Op.MAX):
            first_is = args[0] <= args[1] if term.op is Op.MIN else args[0] >= args[1]
            return z3.If(first_is, args[0], args[1])
        return self._combined(term, args)

    def _leaf(self, term: Term) -> Any:
        name = leaf_name(term)
        return z3.Bool(name) if term.is_bool else self._bounded(self.unknown(name), term)

    def _bounded(self, formula: Any, term: Term) -> Any:
        self.facts += [formula >= term.low, formula <= term.high]
        return formula

    def _combined(self, term: Term, args: list[Any]) -> Any:
        op = term.op
        if op is Op.LT:
            # Over the integers; the reals are told so.
            return args[0] + 1 <= args[1]
        if op is Op.LE:
            return args[0] <= args[1]
        if op is Op.ADD:
            return args[0] + args[1]
        if op is Op.SUB:
            return args[0] - args[1]
        if op is Op.NOT:
            return z3.Not(args[0])
        if op is Op.SELECT:
            return z3.If(*args)
        if op is Op.EQ:
            return args[0] == args[1]
        return z3.And(*args) if op is Op.AND else z3.Or(*args)

    def _quotient(self, term: Term, a: Any, b: Any, c: Any) -> Any:
        of_a, of_b, of_c = term.args
        is_linear = of_c.is_constant and (of_a.is_constant or of_b.is_constant)
        if term.is_exact_product and (is_linear or self.reading is not Reading.LINEAR):
            return a * b
        quotient = self._bounded(self.unknown(f"t{term.number}"), term)
        if is_linear or self.reading is not Reading.LINEAR:
            numerator, divisor = (a * b, c) if of_c.low > 0 else (-(a * b), -c)
            self._define(quotient, numerator, divisor, term)
        return quotient

    def _define(self, quotient: Any, numerator: Any, divisor: Any, term: Term) -> None:
        rest = numerator - divisor * quotient
        if term.value == Rounding.DOWN:
            self.facts += [rest >= 0, rest <= divisor - 1]
        elif term.value == Rounding.UP:
            self.facts += [rest <= 0, -rest <= divisor - 1]
        else:
            self.facts += [2 * rest <= divisor, -2 * rest <= divisor]
            if self.reading is Reading.EXACT:
                half = self.unknown(f"h{term.number}")
                tied = z3.Or(2 * rest == divisor, -2 * rest == divisor)
                self.facts.append(z3.Implies(tied, quotient == 2 * half))


def leaf_name(term: Term) -> str:
    """The name of a parameter's or an input's unknown."""
    return f"{'parameter' if term.op is Op.PARAM else 'input'}_{term.value}"
