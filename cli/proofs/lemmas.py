"""What monotonic rounding says of two quotients, where the solver's own arithmetic does not see it.

Let t and u be the terms ``a b / c`` and ``d e / f``, rounded, with positive divisors. If ``a b f <= d e c`` then
t <= u, provided that both round alike, or t rounds down, or u rounds up, or one of them is exact; else t <= u + 1. A
factor that both share, and that is not negative, may be left out of the condition: then it is often linear, and no
product has to be understood.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import mul
from typing import Any, Final

from cli.proofs.encoding import Encoder, Reading
from contracts.vm.bytecode import Op, Rounding
from contracts.vm.terms import Term

QUOTIENTS_MAX: Final = 24
_FACTORS_MAX: Final = 3


def lemmas(encoder: Encoder) -> list[Any]:
    """Implications between the products and quotients that `encoder` has met."""
    met = list(encoder.terms.values())
    quotients = [each for each in met if each.op is Op.MULDIV][:QUOTIENTS_MAX]
    factors = {factor.number: factor for each in quotients for factor in _numerator(each) if not factor.is_constant}
    others = [each for each in factors.values() if each.op is not Op.MULDIV]
    pairs = [(t, u) for t in (*quotients, *others) for u in (*quotients, *others) if t is not u]
    return [lemma for t, u in pairs if t in quotients or u in quotients for lemma in _lemma(encoder, t, u)]


def _lemma(encoder: Encoder, t: Term, u: Term) -> Iterator[Any]:
    if any(each.low <= 0 for each in (*_divisor(t), *_divisor(u))):
        return
    left, right = _without_common([*_numerator(t), *_divisor(u)], [*_numerator(u), *_divisor(t)])
    if encoder.reading is Reading.LINEAR:
        is_simple = all(sum(not each.is_constant for each in side) <= 1 for side in (left, right))
    else:
        # The reals know the rest by themselves.
        is_simple = max(len(left), len(right)) <= _FACTORS_MAX and (
            _rounding(t) not in (None, Rounding.DOWN) or _rounding(u) not in (None, Rounding.UP)
        )
    if is_simple:
        condition = _product(encoder, left) <= _product(encoder, right)
        slack = 0 if _keeps_order(_rounding(t), _rounding(u)) else 1
        from_t, to_u = encoder.formula(t), encoder.formula(u)
        yield encoder.implies(condition, from_t <= to_u + slack)


def _keeps_order(of_t: Rounding | None, of_u: Rounding | None) -> bool:
    return of_t is None or of_u is None or of_t == of_u or of_t is Rounding.DOWN or of_u is Rounding.UP


def _rounding(term: Term) -> Rounding | None:
    """None where nothing is rounded."""
    return None if term.op is not Op.MULDIV or term.is_exact_product else Rounding(term.value)


def _numerator(term: Term) -> list[Term]:
    """The factors above the line; a term that is no quotient is its own."""
    return _factors(term.args[0]) + _factors(term.args[1]) if term.op is Op.MULDIV else [term]


def _divisor(term: Term) -> list[Term]:
    return _factors(term.args[2]) if term.op is Op.MULDIV else []


def _factors(term: Term) -> list[Term]:
    if term.is_exact_product:
        return _factors(term.args[0]) + _factors(term.args[1])
    return [] if term.is_constant and term.value == 1 else [term]


def _without_common(left: Sequence[Term], right: Sequence[Term]) -> tuple[list[Term], list[Term]]:
    rest, kept = list(right), []
    for factor in left:
        if factor in rest and factor.low >= 0:
            rest.remove(factor)
        else:
            kept.append(factor)
    return kept, rest


def _product(encoder: Encoder, factors: Sequence[Term]) -> Any:
    return reduce(mul, (encoder.formula(each) for each in factors), encoder.number(1))
