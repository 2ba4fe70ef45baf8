"""The formulas mean what the interpreter does: each is held against it on numbers, or a proof would be of nothing."""

from __future__ import annotations

import random
from itertools import product

import pytest

z3 = pytest.importorskip("z3", reason="the extra `proofs` (z3-solver) is not installed")

from cli.proofs.encoding import Encoder, Reading, leaf_name  # noqa: E402
from cli.proofs.lemmas import lemmas  # noqa: E402
from contracts.vm.bytecode import Op, Rounding  # noqa: E402
from contracts.vm.intervals import divided  # noqa: E402
from contracts.vm.terms import Term, TermPool, cone, evaluated  # noqa: E402


def pinned(encoder: Encoder, term: Term, values: tuple[int, ...]) -> list[object]:
    """That the parameters have these values."""
    leaves = {each.value: each for each in cone([term]) if each.op is Op.PARAM}
    return [encoder.unknown(leaf_name(each)) == values[number] for number, each in leaves.items()]


def answer(*formulas: object) -> object:
    """What the solver says."""
    solver = z3.Solver()
    solver.add(*formulas)
    return solver.check()


@pytest.mark.parametrize("reading", Reading)
@pytest.mark.parametrize("rounding", Rounding)
def test_a_quotient_is_what_the_interpreter_rounds_to(reading: Reading, rounding: Rounding) -> None:
    """EXACT admits that value and no other; the weaker readings admit it, or what they prove would be of less."""
    pool = TermPool()
    for divisors in ((1, 4), (-4, -1)):
        leaves = [
            pool.leaf(Op.PARAM, number, False, values) for number, values in enumerate([(-3, 3), (-3, 3), divisors])
        ]
        term = pool.pure(Op.MULDIV, leaves, rounding)
        encoder = Encoder(reading)
        quotient = encoder.formula(term)
        for values in product((-3, -1, 2), (-2, 3), divisors):
            expected = divided(values[0] * values[1], values[2], rounding)
            assert evaluated(term, values, {}) == expected
            known = (*encoder.facts, *pinned(encoder, term, values))
            assert answer(*known, quotient == expected) == z3.sat
            if reading is Reading.EXACT:
                assert answer(*known, quotient != expected) == z3.unsat


def test_half_even_goes_to_the_even_side() -> None:
    """A tie is the only place where rounding to the nearest has a choice, and so where an encoding goes wrong."""
    pool = TermPool()
    term = pool.pure(Op.MULDIV, [pool.leaf(Op.PARAM, 0, False, (-9, 9)), pool.constant(1), pool.constant(2)], 2)
    encoder = Encoder(Reading.EXACT)
    quotient = encoder.formula(term)
    for value, expected in ((1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (4, 2)):
        known = (*encoder.facts, *pinned(encoder, term, (value,)))
        assert answer(*known, quotient == expected) == z3.sat
        assert answer(*known, quotient != expected) == z3.unsat


@pytest.mark.parametrize("reading", Reading)
def test_every_operation_has_its_value(reading: Reading) -> None:
    """One operation read wrongly would prove another contract."""
    source = random.Random(3)
    pool = TermPool()
    a, b = (pool.leaf(Op.PARAM, number, False, (-5, 5)) for number in range(2))
    truth = pool.leaf(Op.PARAM, 2, True, (0, 1))
    less, equal = pool.pure(Op.LT, [a, b]), pool.pure(Op.EQ, [a, b])
    terms = [pool.pure(op, [a, b]) for op in (Op.ADD, Op.SUB, Op.MIN, Op.MAX)]
    terms += [pool.pure(Op.SELECT, [each, a, b]) for each in (less, equal, truth, pool.pure(Op.LE, [b, a]))]
    conditions = [pool.pure(op, [less, truth]) for op in (Op.AND, Op.OR, Op.EQ)] + [pool.pure(Op.NOT, [less])]
    terms += [pool.pure(Op.SELECT, [each, a, b]) for each in conditions]
    for term in terms:
        encoder = Encoder(reading)
        formula = encoder.formula(term)
        for _ in range(5):
            values = (source.randint(-5, 5), source.randint(-5, 5), source.randint(0, 1))
            leaves = {each.value: each for each in cone([term]) if each.op is Op.PARAM}
            known = [
                z3.Bool(leaf_name(each)) == bool(values[number])
                if each.is_bool
                else encoder.unknown(leaf_name(each)) == values[number]
                for number, each in leaves.items()
            ]
            assert answer(*encoder.facts, *known, formula != evaluated(term, values, {})) == z3.unsat


@pytest.mark.parametrize("reading", [Reading.LINEAR, Reading.REAL])
def test_every_lemma_is_true_of_numbers(reading: Reading) -> None:
    """A lemma is given to the solver as a fact: a false one would prove anything."""
    source = random.Random(11)
    seen = 0
    for _ in range(25):
        pool = TermPool()
        leaves = [pool.leaf(Op.PARAM, number, False, (0, 5)) for number in range(3)]
        leaves += [pool.leaf(Op.PARAM, 3, False, (-5, 5)), pool.constant(2)]
        divisors = [pool.leaf(Op.PARAM, number, False, (1, 5)) for number in (4, 5)] + [pool.constant(1)]

        terms: list[Term] = []
        for first in (leaves, leaves, leaves, terms):
            operands = [source.choice(first), source.choice(leaves), source.choice(divisors)]
            terms.append(pool.pure(Op.MULDIV, operands, source.randrange(3)))
        encoder = Encoder(reading)
        formulas = [(each, encoder.formula(each)) for each in cone(terms)]
        given = lemmas(encoder)
        seen += len(given)
        for _ in range(4):
            ranges = [(0, 5)] * 3 + [(-5, 5)] + [(1, 5)] * 2
            values = tuple(source.randint(*each) for each in ranges)
            known = [formula == evaluated(term, values, {}) for term, formula in formulas if not term.is_constant]
            assert answer(*known, *given) == z3.sat
    assert seen > 50
