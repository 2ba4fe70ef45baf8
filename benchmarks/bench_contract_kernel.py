"""The contract machine: the kernel in nanoseconds an instruction and scenario, the interpreter in microseconds a run.

Both run the library's vanilla_inverse and vanilla_linear, and two long programs without divisions or waits, one of them
of constants alone, over the same scenarios; the best of several rounds is printed, as one JSON document. One thread;
the kernel is compiled before the clock starts. Run: ``python -m benchmarks.bench_contract_kernel [--scenarios 10000]
[--rounds 50]``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from contracts.library.exchange import VANILLA_INVERSE, VANILLA_LINEAR
from contracts.vm.bytecode import CODE_LENGTH_MAX, Instruction, Op, Program, decode_program
from contracts.vm.columns import ARRIVED, Valuer
from contracts.vm.interpreter import run
from contracts.vm.verifier import Verified, verify

PARAMETERS: Final = (1, 10, 100_000_000, 60_000, 1, 1_000_000, 1_800_000_000_000)
"""A call of ten lots of a coin, struck at 60,000 ticks, valued up to 1,000,000."""
RUNS: Final = 200
STEPS: Final = 400


def lengthened(program: Program, name: str, step: Callable[[int, int], Instruction]) -> Program:
    """`program` with `STEPS` more instructions before its close: `step` of a count and of the price's register."""
    code = list(program.code[:-2])
    price = next(at for at, each in enumerate(code) if each.op is Op.INPUT)
    code += [step(each, price) for each in range(STEPS)]
    code += [*program.code[-2:]]
    close = len(code) - 1
    code = [replace(each, b=close) if each.op is Op.JUMP_UNLESS else each for each in code]
    return replace(program, name=name, code=tuple(code))


def arithmetic(program: Program) -> Program:
    """With many sums, differences, comparisons and choices: what the compiler vectorises."""
    kinds = (Op.ADD, Op.SUB, Op.MIN, Op.MAX)
    return lengthened(program, "arithmetic", lambda each, price: Instruction(kinds[each % 4], price, 0))


def constants(program: Program) -> Program:
    """With many constants, which cost one gas each and so should cost the interpreter least."""
    return lengthened(program, "constants", lambda _each, _price: Instruction(Op.CONST, 0))


def best(rounds: int, work: Callable[[], object]) -> float:
    """The shortest of `rounds`, in seconds."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def figures(verified: Verified, scenarios: int, rounds: int) -> dict[str, float]:
    """One program's."""
    prices = np.random.default_rng(1).integers(1, 1_000_000, (1, scenarios), dtype=np.int64)
    states = np.full((1, scenarios), ARRIVED, dtype=np.int64)
    valuer = Valuer(verified, PARAMETERS)
    valuer.over(prices, states)
    kernel = best(rounds, lambda: valuer.over(prices, states))
    some = prices[0, :RUNS].tolist()
    interpreter = best(rounds, lambda: [run(verified, PARAMETERS, {0: each}) for each in some])
    instructions = len(verified.program.code)
    return {
        "instructions": instructions,
        "kernel_ns_per_instruction_and_scenario": round(kernel / scenarios / instructions * 1e9, 3),
        "kernel_ns_per_scenario": round(kernel / scenarios * 1e9, 1),
        "interpreter_us_per_run": round(interpreter / len(some) * 1e6, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenarios", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    inverse, linear = decode_program(VANILLA_INVERSE), decode_program(VANILLA_LINEAR)
    document = {
        each.name: figures(verify(each, 16 * CODE_LENGTH_MAX), given.scenarios, given.rounds)
        for each in (inverse, linear, arithmetic(linear), constants(linear))
    }
    print(json.dumps({**document, "python": platform.python_version(), "machine": platform.machine()}, indent=2))


if __name__ == "__main__":
    main()
