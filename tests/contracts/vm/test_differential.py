"""Interpreter, kernel and oracle agree on random programs; the long form makes a million pairs of it.

The long form: ``make test-long ARGS="tests/contracts/vm/test_differential.py -rP"`` prints each chunk's figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Final

import pytest

from contracts.vm.bytecode import CODE_LENGTH_MAX, NO_DEPOSIT, InputKind, Op, Rounding, decode_program, encode_program
from contracts.vm.verifier import verify
from tests.contracts.vm import random_programs
from tests.contracts.vm.census import everything, lacking
from tests.contracts.vm.differential import GAS_MAX, REAL, Plan, Tally, examine
from tests.contracts.vm.oracle import documented_gas
from tests.contracts.vm.programs import forward_call
from tests.contracts.vm.random_programs import edge, random_parameters, random_program, random_settled

ROOT: Final = Path(__file__).parents[3]
CHUNK: Final = 250
"""Programs of one test of the long form."""
PAIRS: Final = 100
LONG: Final = Plan(instances=2, observations=PAIRS // 2, oracle_every=10, is_word_sized=True)
CENSUS: Final = Plan(instances=2, observations=4, oracle_every=1, uses_kernel=False)
LARGE: Final = Plan(instances=2, observations=10, oracle_every=2, is_word_sized=False)


def examined(seeds: range, plan: Plan) -> Tally:
    """All of these programs."""
    tally = Tally()
    for seed in seeds:
        tally.add(examine(REAL, seed, plan))
    return tally


@pytest.mark.parametrize("seeds", [range(each, each + 50) for each in range(0, 300, 50)], ids=str)
def test_interpreter_kernel_and_oracle_agree(seeds: range) -> None:
    """What settles, what values, and what the document says are one thing; see `Disagreement` for the rules."""
    tally = examined(seeds, Plan(instances=2, observations=6))
    assert tally.pairs > tally.runs // 2
    assert tally.closed > tally.runs // 2
    assert 0 < tally.short < tally.runs


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(40))
def test_a_million_pairs_agree(chunk: int) -> None:
    """10,000 programs and 100 observations of each: issue 4 asks for it, so that it is once done."""
    tally = examined(range(chunk * CHUNK, (chunk + 1) * CHUNK), LONG)
    print(tally)
    assert tally.pairs == CHUNK * PAIRS
    assert lacking(tally.seen, tally.programs) == []


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(8))
def test_programs_larger_than_words_agree_with_the_oracle(chunk: int) -> None:
    """The kernel refuses most of these, so only the oracle stands beside the interpreter."""
    print(examined(range(chunk * CHUNK, (chunk + 1) * CHUNK), LARGE))


@pytest.fixture(name="whole", scope="module")
def whole_population() -> Tally:
    """Enough programs, run often enough, that what is rare shows."""
    return examined(range(200), CENSUS)


def test_what_ran_is_the_whole_machine(whole: Tally) -> None:
    """Agreement on what never happens says nothing: each operation, rounding, type and kind of input has its share."""
    assert lacking(whole.seen, whole.programs) == []
    assert set(whole.seen) == everything()


ELSEWHERE: Final = {Op.ADD, Op.MAX, Op.MULDIV, Op.SELECT}
"""Windows and amounts are made with these as well."""


@pytest.mark.parametrize("op", sorted(set(random_programs.PURE) - ELSEWHERE), ids=lambda op: op.name)
def test_a_generator_that_never_makes_an_operation_is_noticed(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random programs are drawn by code of ours too, and what it leaves out nobody misses by looking."""
    monkeypatch.setattr(random_programs, "PURE", tuple(each for each in random_programs.PURE if each is not op))
    tally = examined(range(40), CENSUS)
    assert lacking(tally.seen, tally.programs) == [f"ran {op.name}"]


@pytest.mark.parametrize(
    ("step", "unseen"),
    [
        ("_pay", {"ran PAY", "fell short"}),
        ("_wait", {"ran AWAIT", "ran INPUT", "halted at PRICE", "met absent ELECTION", "read MOMENT"}),
    ],
)
def test_a_generator_that_never_takes_a_step_is_noticed(
    step: str, unseen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, where the step makes more than one thing."""
    monkeypatch.setattr(random_programs._Builder, step, lambda _builder: None)
    tally = examined(range(40), CENSUS)
    assert unseen <= set(lacking(tally.seen, tally.programs))


@pytest.mark.parametrize("kind", InputKind, ids=lambda kind: kind.name)
def test_a_generator_that_never_makes_a_kind_of_input_is_noticed(
    kind: InputKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments were once missing from a million pairs."""
    kinds = tuple(each for each in random_programs.INPUT_KINDS if each is not kind)
    monkeypatch.setattr(random_programs, "INPUT_KINDS", kinds)
    tally = examined(range(40), CENSUS)
    assert {f"{what} {kind.name}" for what in ("halted at", "met arrived", "read")} <= set(
        lacking(tally.seen, tally.programs)
    )


def test_one_seed_is_one_program() -> None:
    """A failure names its seed, and must come back from it on any machine."""
    assert random_program(7) == random_program(7)
    assert random_program(7) != random_program(8)
    program = random_program(11)
    assert [random_settled(Random(1), program)] * 2 == [random_settled(Random(1), program) for _ in range(2)]
    assert random_parameters(Random(1), program) == random_parameters(Random(1), program)


def test_the_programs_use_the_whole_machine() -> None:
    """Agreement on programs that never round, wait, cross jumps or fall short would say little."""
    ops: Counter[Op] = Counter()
    seen: Counter[str] = Counter()
    programs = [random_program(seed) for seed in range(200)]
    for program in programs:
        verified = verify(program, GAS_MAX)
        seen["words" if verified.word_sized else "larger"] += 1
        seen["long"] += len(program.code) > 200
        seen["joins"] += len(targets := [target for _, target in jumps(program)]) > len(set(targets))
        seen["crossings"] += any(a < c < b < d for a, b in jumps(program) for c, d in jumps(program))
        seen["deposits"] += any(each.deposit != NO_DEPOSIT for each in program.inputs)
        seen["windows"] += any(each.name.endswith("[4]") for each in program.inputs)
        for each in program.code:
            ops[each.op] += 1
            if each.op is Op.MULDIV:
                seen[Rounding(each.d).name] += 1
                seen["negative divisors"] += (verified.ranges[each.c] or (0, 0))[1] < 0
        assert decode_program(encode_program(program)) == program
    assert set(ops) == set(Op)
    assert min(ops.values()) > 100
    for what in ("words", "larger", "long", "joins", "crossings", "deposits", "windows", "DOWN", "UP", "HALF_EVEN"):
        assert seen[what] >= 10, (what, seen)
    assert seen["negative divisors"] > 20


def jumps(program: object) -> list[tuple[int, int]]:
    """(from, to) of each."""
    code = program.code  # type: ignore[attr-defined]
    return [(at, each.a if each.op is Op.JUMP else each.b) for at, each in enumerate(code) if "JUMP" in each.op.name]


def test_values_are_drawn_from_their_range_and_its_edges() -> None:
    """Off-by-one mistakes live at the ends."""
    drawn = [edge(Random(seed), -7, 10**15) for seed in range(400)]
    assert min(drawn) == -7
    assert max(drawn) == 10**15
    assert len(set(drawn)) > 150


def test_the_document_states_the_gas_of_every_operation() -> None:
    """The oracle takes it from there."""
    assert set(documented_gas()) == {each.name for each in Op}
    assert forward_call().gas == sum(documented_gas()[each.op.name] for each in forward_call().code)
    assert CODE_LENGTH_MAX * max(documented_gas().values()) <= GAS_MAX


INTERPRETED: Final = """
from contracts.compiled import config
from tests.contracts.vm import random_programs
from tests.contracts.vm.census import everything, lacking
from tests.contracts.vm.differential import REAL, Plan, Tally, examine
assert config.DISABLE_JIT and not hasattr(REAL.kernel.run_block, "py_func")
tally = Tally()
for seed in range(30):
    tally.add(examine(REAL, seed, Plan(instances=1, observations=4, is_word_sized=True)))
print(tally.pairs)
"""


def test_the_interpreted_kernel_agrees_as_well() -> None:
    """Compiled and interpreted are one function: whoever doubts the compiler can do without it."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", INTERPRETED]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "120\n", done.stderr
