"""Programs made to harm: whatever comes in is refused with a reason, or runs by the rules, at a bounded cost."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from random import Random
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.vm.bytecode import (
    ASSETS_MAX,
    CODE_LENGTH_MAX,
    FEEDS_MAX,
    INPUTS_MAX,
    NO_ASSET,
    NO_DEPOSIT,
    PROGRAM_BYTES_MAX,
    RATIO_ONE,
    WORD_MAX,
    Constant,
    Input,
    InputKind,
    Instruction,
    Kind,
    Op,
    Parameter,
    Program,
    Rounding,
    Type,
    decode_program,
    encode_program,
)
from contracts.vm.interpreter import run
from contracts.vm.verifier import verify
from genesis.errors import Rejected
from tests.contracts.vm.differential import GAS_MAX, REAL, Plan, examine_program
from tests.contracts.vm.programs import PRICE, TIME, forward_call
from tests.contracts.vm.random_programs import random_program
from tests.fuzz.shapes import mutated

EXAMPLES: Final = int(os.environ.get("NOVATE_FUZZ_EXAMPLES", "60"))
CHANGED: Final = 600
MEMORY_BYTES_MAX: Final = 32 * 2**20

PLAN: Final = Plan(instances=1, observations=6, oracle_every=2)
programs = st.integers(0, 10**6).map(lambda seed: encode_program(random_program(seed)))
fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def stored(data: bytes) -> bool:
    """Whether a node would store these bytes; anything but a refusal escapes."""
    try:
        program = decode_program(data)
        verify(program, GAS_MAX)
    except Rejected:
        return False
    assert encode_program(program) == data
    return True


@fuzzed
@given(data=mutated(programs))
def test_a_damaged_encoding_is_refused_or_is_a_program(data: bytes) -> None:
    """Any member may send any bytes, and every validator looks at them."""
    stored(data)


@fuzzed
@given(data=st.binary(max_size=400))
def test_noise_is_no_program(data: bytes) -> None:
    """Not by accident either."""
    assert not stored(data)


def number(rng: Random, most: int) -> int:
    """From 0 on, mostly small or near the end."""
    return rng.choice((0, 1, 2, rng.randint(0, most), max(0, most - 1), most, rng.randint(0, min(40, most))))


def some_type(rng: Random) -> Type:
    """Any that decodes; not all of them exist."""
    return Type(
        Kind(rng.randrange(len(Kind))), rng.randint(NO_ASSET, ASSETS_MAX - 1) if rng.random() < 0.5 else NO_ASSET
    )


def changed_instruction(rng: Random, each: Instruction, length: int) -> Instruction:
    """One operand, or the operation."""
    if rng.random() < 0.3:
        return replace(each, op=Op(rng.randrange(len(Op))))
    return replace(each, **{rng.choice("abcd"): number(rng, length)})


def changed_code(rng: Random, program: Program) -> Program:
    """An instruction changed, moved, doubled, left out, or exchanged for another."""
    code, at = list(program.code), rng.randrange(len(program.code))
    match rng.randrange(6):
        case 0:
            del code[at]
        case 1:
            code.insert(at, code[rng.randrange(len(code))])
        case 2:
            other = rng.randrange(len(code))
            code[at], code[other] = code[other], code[at]
        case _:
            code[at] = changed_instruction(rng, code[at], len(code))
    return replace(program, code=tuple(code))


def changed_table(rng: Random, program: Program) -> Program:
    """One field of a constant, a parameter, a lock or an input; or where the preamble ends."""
    name = rng.choice(("constants", "parameters", "locks", "inputs", "assets", "preamble_length"))
    if name == "preamble_length":
        return replace(program, preamble_length=number(rng, len(program.code)))
    rows = list(getattr(program, name))
    if not rows:
        return program
    at = rng.randrange(len(rows))
    field = rng.choice(fields(rows[at])).name
    drawn: dict[str, Callable[[], Any]] = {
        "type": lambda: some_type(rng),
        "kind": lambda: rng.choice(list(InputKind)),
        "name": lambda: rng.choice(("w", "P0", "A0")),
        "value": lambda: rng.choice((0, 1, -1, 2, WORD_MAX, -WORD_MAX, RATIO_ONE)),
        "low": lambda: rng.choice((0, 1, -1, -WORD_MAX)),
        "high": lambda: rng.choice((0, 1, 2, WORD_MAX)),
        "deposit": lambda: rng.choice((NO_DEPOSIT, number(rng, len(program.code) - 1))),
    }
    rows[at] = replace(rows[at], **{field: drawn.get(field, lambda: number(rng, FEEDS_MAX - 1))()})
    return replace(program, **{name: tuple(rows)})


@contextmanager
def suppress_bad_window() -> Iterator[None]:
    """An instance whose inputs end before they open is refused when it starts."""
    try:
        yield
    except Rejected as refused:
        if refused.code != "bad_window":
            raise


def test_a_changed_program_is_refused_or_runs_by_the_rules() -> None:
    """What the verifier lets through is all that stands between a hostile program and every validator."""
    passed = 0
    for seed in range(CHANGED):
        rng = Random(f"changed {seed}")
        program = random_program(seed)
        for _ in range(rng.choice((1, 1, 2, 5))):
            program = changed_code(rng, program) if rng.random() < 0.7 else changed_table(rng, program)
        if not stored(encode_program(program)):
            continue
        passed += 1
        with suppress_bad_window():
            examine_program(REAL, program, seed, PLAN)
    assert passed > CHANGED // 20


def largest() -> Program:
    """As long as may be: 1,024 inputs, 512 joins, and a chain of divisions whose products need up to 252 bits."""
    code = [
        Instruction(Op.PARAM, 0),
        Instruction(Op.CONST, 0),
        Instruction(Op.CONST, 1),
        Instruction(Op.MULDIV, 1, 1, 2),
    ]
    code += [
        Instruction(Op.PARAM, 1),
        Instruction(Op.CONST, 2),
        Instruction(Op.ADD, 4, 5),
        Instruction(Op.MULDIV, 0, 1, 2),
    ]
    preamble_length, last = len(code), 7
    for block in range(512):
        at = len(code)
        code += [
            Instruction(Op.AWAIT, 2 * block),
            Instruction(Op.JUMP_UNLESS, at, at + 3),
            Instruction(Op.INPUT, 2 * block),
        ]
        for _ in range(4):
            code.append(Instruction(Op.MULDIV, last, 3, 3, Rounding(block % 3)))
            last = len(code) - 1
    while len(code) < CODE_LENGTH_MAX - 1:
        code.append(Instruction(Op.MULDIV, last, 3, 3, Rounding.HALF_EVEN))
        last = len(code) - 1
    code.append(Instruction(Op.CLOSE))
    inputs = tuple(
        Input(f"w[{each + 1}]", InputKind.PRICE, 0, PRICE, -WORD_MAX, WORD_MAX, 4, 6) for each in range(INPUTS_MAX)
    )
    return replace(
        forward_call(),
        parameters=(Parameter("p", PRICE, -WORD_MAX, WORD_MAX), Parameter("t", TIME, 0, 2**53)),
        constants=(Constant(PRICE, WORD_MAX), Constant(PRICE, 1), Constant(TIME, 1)),
        locks=(),
        inputs=inputs,
        preamble_length=preamble_length,
        code=tuple(code),
    )


def test_the_largest_program_is_verified_and_run_within_its_gas_and_a_bound_of_memory() -> None:
    """A transaction that held up every validator for seconds would be an attack; docs/PERFORMANCE.md has the times."""
    data = encode_program(largest())
    assert len(data) < PROGRAM_BYTES_MAX
    verified = verify(decode_program(data), GAS_MAX)
    assert verified.ranges[-2] == (-(WORD_MAX**2), WORD_MAX**2)
    done = run(verified, (WORD_MAX, 0), dict.fromkeys(range(INPUTS_MAX), WORD_MAX))
    assert done.waits_for is None
    assert done.gas == verified.program.gas
    tracemalloc.start()
    try:
        verify(decode_program(data), GAS_MAX)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX
