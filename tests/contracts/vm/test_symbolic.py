"""Programs over terms: every path of the interpreter, and the same payments."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from contracts.vm.bytecode import CODE_LENGTH_MAX, GAS, InputKind, Instruction, Kind, Op, Program
from contracts.vm.interpreter import run
from contracts.vm.intervals import divided
from contracts.vm.language.compiler import compile_verified
from contracts.vm.symbolic import PATHS_MAX, Due, Outcome, Path, Symbolic, symbolic
from contracts.vm.terms import Term, TermPool, evaluated
from contracts.vm.verifier import Verified, verify
from genesis.errors import Rejected
from tests.contracts.exchange_library import LIBRARY
from tests.contracts.vm.programs import exercise, forward_call

GAS_MAX = CODE_LENGTH_MAX * max(GAS)
CONTRACTS = sorted(each.stem for each in LIBRARY.glob("*.contract"))
DRAWS = 40


def library(name: str) -> Verified:
    """A contract of the standard library, compiled."""
    return compile_verified((LIBRARY / f"{name}.contract").read_bytes(), GAS_MAX)[1]


def drawn(whole: Symbolic, source: random.Random) -> tuple[tuple[int, ...], dict[int, int | None]]:
    """Parameters with which an instance starts, and inputs that are near them or absent."""
    program = whole.verified.program
    scale = source.choice((3, 50, 10**6))
    parameters = [source.randint(low, min(high, low + scale)) for low, high in whole.ranges]
    for number, each in enumerate(program.parameters):
        if each.type.kind is Kind.TIME and each.name != "step":
            parameters[number] = 10**12 * (1 + number)
    settled: dict[int, int | None] = {}
    may_fail = source.random() < 0.3
    for number, declared in enumerate(program.inputs):
        value = source.randint(declared.low, min(declared.high, declared.low + scale))
        is_absent = may_fail and declared.kind is not InputKind.MOMENT and source.random() < 0.2
        settled[number] = None if is_absent else value
    return tuple(parameters), settled


def is_taken(whole: Symbolic, path: Path, parameters: tuple[int, ...], settled: dict[int, int | None]) -> bool:
    """Whether a run over these values goes this way."""
    for number, outcome in path.outcomes.items():
        value = settled[number]
        made = value != 0 or whole.verified.program.inputs[number].kind is not InputKind.ELECTION
        found = Outcome.ABSENT if value is None else Outcome.ARRIVED if made else Outcome.DECLINED
        if found is not outcome:
            return False
    inputs = {number: value for number, value in settled.items() if value is not None}
    return all(evaluated(term, parameters, inputs) == int(truth) for term, truth in path.conditions)


@pytest.mark.parametrize("name", CONTRACTS)
def test_one_path_is_taken_and_pays_what_the_interpreter_pays(name: str) -> None:
    """What is proved of the paths is proved of what settles only if they are the same."""
    whole = symbolic(library(name))
    paths = tuple(whole.paths())
    source = random.Random(name)
    paid = 0
    for _ in range(DRAWS):
        parameters, settled = drawn(whole, source)
        taken = [each for each in paths if is_taken(whole, each, parameters, settled)]
        assert len(taken) == 1
        ran = run(whole.verified, parameters, settled)
        inputs = {number: value for number, value in settled.items() if value is not None}
        dues = [
            (each.asset, evaluated(each.party, parameters, inputs), evaluated(each.amount, parameters, inputs))
            for each in taken[0].movements
            if isinstance(each, Due)
        ]
        assert ran.waits_for is None
        assert dues == [(each.asset, each.party, each.due_minor) for each in ran.payments[: len(dues)]]
        paid += len(dues)
    assert paid > 0


@pytest.mark.parametrize(
    ("name", "paths"), [("asian", 25), ("barrier", 26), ("covered_call", 2), ("physical_delivery", 3), ("digital", 3)]
)
def test_there_is_a_path_for_each_input_that_stays_absent(name: str, paths: int) -> None:
    """A window of 24 prices can fail at each of them; an election can be declined, made or left."""
    assert sum(1 for _ in symbolic(library(name)).paths()) == paths


def test_a_deposit_enters_only_where_the_election_is_made() -> None:
    """Declined or absent, the party has put nothing in that could be paid out."""
    paths = list(symbolic(verify(exercise(), GAS_MAX)).paths())
    deposits = {each.outcomes[0]: sum(not isinstance(one, Due) for one in each.movements) for each in paths}
    assert deposits == {Outcome.ARRIVED: 1, Outcome.DECLINED: 0, Outcome.ABSENT: 0}


def branching(count: int) -> Program:
    """`count` times the same condition, which nothing decides."""
    call = forward_call()
    code = list(call.code[: call.preamble_length])
    for _ in range(count):
        at = len(code)
        code += [Instruction(Op.LT, 4, 3), Instruction(Op.JUMP_UNLESS, at, at + 2)]
    return replace(call, code=(*code, Instruction(Op.CLOSE)), inputs=())


def test_a_condition_that_is_known_forks_once() -> None:
    """The same question asked again has the same answer, so such a program has two paths and not a thousand."""
    assert sum(1 for _ in symbolic(verify(branching(10), GAS_MAX)).paths()) == 2


def test_too_many_paths_are_refused_with_the_limit() -> None:
    """Independent conditions double the paths each time; the work is bounded before it begins to hurt."""
    source = "contract many\nparty a\nparty b\nasset C rest to a\n"
    source += "".join(f"parameter p{n}: money C in 0..9\n" for n in range(13)) + "lock a p0\n"
    source += "".join(f"if p{n} > 4 {{ pay p{n} to b }}\n" for n in range(13)) + "close\n"
    whole = symbolic(compile_verified(source.encode(), GAS_MAX)[1])
    with pytest.raises(Rejected, match="too_many_paths") as refused:
        list(whole.paths())
    assert refused.value.details == {"paths_max": PATHS_MAX}


def test_a_range_outside_the_declared_one_is_refused() -> None:
    """A proof for parameters that no instance may have would prove nothing."""
    with pytest.raises(Rejected, match="bad_parameter"):
        symbolic(library("digital"), {1: (0, 5)})


def test_simplified_terms_have_the_values_of_what_they_replace() -> None:
    """A wrong simplification would prove a program that is not the one that runs."""
    source = random.Random(7)
    operations = [*range(Op.ADD, Op.SELECT + 1)]
    for _ in range(300):
        pool = TermPool()
        assignments = [tuple(source.randint(-3, 3) for _ in range(3)) for _ in range(6)]
        numbers: list[tuple[Term, list[int]]] = [
            (pool.leaf(Op.PARAM, number, False, (-3, 3)), [each[number] for each in assignments]) for number in range(3)
        ]
        numbers += [(pool.constant(value), [value] * len(assignments)) for value in (-1, 0, 1, 2)]
        truths = [(pool.constant(value, True), [value] * len(assignments)) for value in (0, 1)]
        for _ in range(12):
            op = Op(source.choice(operations))
            is_logic = op in (Op.AND, Op.OR, Op.NOT)
            operands = [source.choice(truths if is_logic else numbers) for _ in range(3)]
            if op is Op.SELECT:
                operands[0] = source.choice(truths)
            rounding = source.randrange(3)
            arity = {Op.MULDIV: 3, Op.SELECT: 3, Op.NOT: 1}.get(op, 2)
            if op is Op.MULDIV and operands[2][0].low <= 0 <= operands[2][0].high:
                continue
            term = pool.pure(op, [each for each, _ in operands[:arity]], rounding)
            values = [plain(op, *(column[at] for _, column in operands), rounding) for at in range(len(assignments))]
            assert [evaluated(term, each, {}) for each in assignments] == values
            assert all(term.low <= value <= term.high for value in values)
            (truths if term.is_bool else numbers).append((term, values))


def plain(op: Op, a: int, b: int, c: int, rounding: int) -> int:
    """The operation as docs/CONTRACTS.md, section 2, states it."""
    match op:
        case Op.ADD:
            return a + b
        case Op.SUB:
            return a - b
        case Op.MULDIV:
            return divided(a * b, c, rounding)
        case Op.MIN:
            return min(a, b)
        case Op.MAX:
            return max(a, b)
        case Op.LT:
            return int(a < b)
        case Op.LE:
            return int(a <= b)
        case Op.EQ:
            return int(a == b)
        case Op.AND:
            return int(a and b)
        case Op.OR:
            return int(a or b)
        case Op.NOT:
            return int(not a)
        case _:
            return b if a else c
