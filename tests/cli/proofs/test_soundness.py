"""The prover's verdict against all that can happen, one by one: random contracts small enough to try everything."""

from __future__ import annotations

import random
import time
from itertools import product

import pytest

pytest.importorskip("z3", reason="the extra `proofs` (z3-solver) is not installed")

from cli.proofs import prover
from contracts.vm.bytecode import CODE_LENGTH_MAX, GAS
from contracts.vm.interpreter import run
from contracts.vm.language.compiler import compile_verified
from contracts.vm.verifier import Verified

CONTRACTS = 16
HEAD = """contract drawn
party writer
party holder
asset CASH rest to writer
feed INDEX
parameter a: quantity in 1..3
parameter b: quantity in 1..2
parameter p: price in 1..3
parameter m: money CASH in 0..3
parameter expiry: time in 5..5
observe s: price of INDEX at expiry until expiry + 1ms in 1..3
election go: quantity by holder from expiry until expiry + 1ms in 0..2 locks m
"""


def money(source: random.Random, depth: int, quantities: str, prices: str) -> str:
    """An amount that is never negative, over these names."""
    if depth == 0:
        return source.choice(["m", "m", "1", "2"])

    def part() -> str:
        return money(source, depth - 1, quantities, prices)

    rounding = source.choice(["down", "up", "half_even"])
    q, r, x, y = (source.choice(names) for names in (quantities, quantities, prices, prices))
    return source.choice(
        [
            f"({part()} + {part()})",
            f"max(0, {part()} - {part()})",
            f"min({part()}, {part()})",
            f"(if {x} < {y} then {part()} else {part()})",
            f"(({part()}) * {q} / 2 round {rounding})",
            f"((m + {part()}) * max(1, {q}) / (1 + {r}) round {rounding})",
            f"((m + {part()}) * {x} / {y} round {rounding})",
        ]
    )


def drawn_contract(source: random.Random) -> str:
    """Locks and payments that may or may not fit each other."""
    lock = money(source, 3, "ab", "p")
    first, second = (money(source, 2, "ab", "ps") for _ in range(2))
    elected = money(source, 1, ["a", "go"], "p")  # type: ignore[arg-type]
    return HEAD + (
        f"lock writer {lock} + {source.choice([lock, '8', '6 * m + 6', '9 * m + 9', '12 * m + 12'])}\n"
        f"when s arrives {{\n  pay {first} to holder\n  if s > p {{ pay {second} to writer }}\n}} timeout {{ }}\n"
        f"when go arrives {{ pay {elected} to holder }} timeout {{ pay 1 to holder }}\nclose\n"
    )


def can_fall_short(verified: Verified) -> bool:
    """Whether the interpreter falls short on any values at all."""
    for parameters in product((1, 2, 3), (1, 2), (1, 2, 3), (0, 1, 2, 3), (5,)):
        for price, elected in product((None, 1, 2, 3), (None, 0, 1, 2)):
            ran = run(verified, parameters, {0: price, 1: elected})
            if any(each.amount_minor < each.due_minor for each in ran.payments):
                return True
    return False


def test_a_verdict_is_what_trying_everything_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proved where a scenario falls short would be the one fault that a prover must not have."""
    monkeypatch.setattr(prover, "searched", lambda *_: None)  # so that the solver decides
    found = {"proved": 0, "refuted": 0}
    for seed in range(CONTRACTS):
        source = drawn_contract(random.Random(seed))
        verified = compile_verified(source.encode(), CODE_LENGTH_MAX * max(GAS))[1]
        proof = prover.prove(verified, {}, time.monotonic() + 600, lambda _paths: lambda: None)
        assert proof.verdict == ("refuted" if can_fall_short(verified) else "proved"), source
        found[proof.verdict] += 1
    assert min(found.values()) >= 3, found
