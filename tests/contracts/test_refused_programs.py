"""Row 45 on the ledger: a program that overflows, needs too much gas, mixes units or need not close is never stored,
and what fails at a start has moved nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.holdings import pot_account
from contracts.vm.bytecode import GAS, Instruction, Op, Program, encode_program
from contracts.vm.language.compiler import compile_text
from tests.contracts.vm.programs import forward_call
from tests.contracts.vm.test_verifier import body, code, squares, sums
from tests.contracts.world import World, moved, operation, set_up, with_params

CALL = forward_call()
GAS_NEEDED = sum(GAS[each.op] for each in CALL.code)


def refused(program: Program, **params: int) -> tuple[str, str]:
    """The code and the reason with which storing a program is refused; nothing in the state has changed."""
    world = set_up(World(with_params(**params)))
    before = moved(world.state)
    receipt = world.try_to("M0", "program.store", program=encode_program(program))
    assert receipt.code != "", "it was stored"
    assert moved(world.state) == before
    assert not world.state.programs.rows
    return receipt.code, receipt.message


@pytest.mark.parametrize(
    ("program", "bits"),
    [(squares(3), 161), (sums(Instruction(Op.ADD, 4, 4)), 128),
     (sums(Instruction(Op.SUB, 1, 4), Instruction(Op.ADD, 6, 6), Instruction(Op.SUB, 7, 5)), 128)],
)  # fmt: skip
def test_a_program_that_may_overflow_is_not_stored(program: Program, bits: int) -> None:
    """The intervals know it before any value does; a run never meets a number that it cannot hold."""
    reason = f"may need {bits} bits; at most 127"
    found, message = refused(program)
    assert (found, reason in message) == ("bad_program", True)


@pytest.mark.parametrize("room", [GAS_NEEDED - 1, 16])
def test_a_program_over_the_chains_gas_is_not_stored(room: int) -> None:
    """Gas is a sum that is known before the first run, so that none is ever cut off half way."""
    found, message = refused(CALL, contract_gas_max=room)
    assert (found, f"gas={GAS_NEEDED}, gas_max={room}" in message) == ("gas_limit", True)
    world = set_up(World(with_params(contract_gas_max=GAS_NEEDED)))
    assert world.try_to("M0", "program.store", program=encode_program(CALL)).code == ""


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (code(14, Instruction(Op.MULDIV, 0, 13, 3)), "do not cancel"),
        (code(12, Instruction(Op.SUB, 11, 0)), "of two types"),
        (code(16, Instruction(Op.PAY, 13, 8)), "which is no money"),
    ],
)
def test_a_program_that_mixes_units_is_not_stored(program: Program, why: str) -> None:
    """Ticks that are paid as satoshi are a loss that no rounding explains."""
    found, message = refused(program)
    assert (found, why in message) == ("bad_program", True)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (replace(CALL, code=CALL.code[:-1]), "end with CLOSE"),
        (code(17, Instruction(Op.PAY, 2, 8)), "end with CLOSE"),
        (body(Instruction(Op.AWAIT, 0), Instruction(Op.JUMP_UNLESS, 9, 12)), "jumps go forward and stay inside"),
        (code(10, Instruction(Op.JUMP_UNLESS, 9, 9)), "jumps go forward and stay inside"),
        (code(12, Instruction(Op.CLOSE)), "no path leads here"),
    ],
)
def test_a_program_that_has_a_path_without_a_close_is_not_stored(program: Program, why: str) -> None:
    """Collateral of a contract that never closes is lost for ever."""
    found, message = refused(program)
    assert (found, why in message) == ("bad_program", True)


TWO_LOCKS = compile_text(
    b"""
    contract two_locks
    party one
    party other
    asset COIN rest to one
    parameter amount: money COIN in 1..4_000_000_000_000_000_000
    parameter end: time
    lock one 5
    lock other amount
    election asked: bool by one from 0s until end
    pay 3 to other
    when asked arrives { } timeout { }
    close
    """
).program


@pytest.mark.parametrize(
    ("amount", "end_unix_ms", "found"),
    [(10**15, 2 * 10**12, "insufficient_funds"), (7, 1, "bad_window"), (0, 2 * 10**12, "bad_parameter")],
)
def test_a_start_that_fails_half_way_has_moved_nothing(amount: int, end_unix_ms: int, found: str) -> None:
    """The first lock is taken before the second is known to be covered; so may whole operations before it be."""
    world = set_up(World())
    world.do("M0", "program.store", program=encode_program(TWO_LOCKS))
    bound = {"accounts": "M0/main,M1/main", "assets": "BTC", "feeds": "", "program": TWO_LOCKS.program_id}
    good = operation("contract.start", contract="C1", **bound, parameters=f"7,{2 * 10**12}")
    bad = operation("contract.start", contract="C2", **bound, parameters=f"{amount},{end_unix_ms}")
    before = moved(world.state)
    assert world.send("M0 M1", good, bad).code == found
    assert moved(world.state) == before
    assert not list(world.state.open_inputs.names)
    assert world.send("M0 M1", good).code == ""
    assert world.free("M1/main") == 10**12 - 7 + 3
    assert sum(world.state.balances.rows[pot_account("C1"), "BTC"]) == 5 + 7 - 3
