"""Each rule of the verifier refuses the program that breaks it, and no other rule is needed to see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from contracts.vm.bytecode import (
    VALUE_MAX,
    Asset,
    Constant,
    Instruction,
    Kind,
    Lock,
    Op,
    Parameter,
    Program,
    Type,
)
from contracts.vm.verifier import verify
from genesis.errors import Rejected
from tests.contracts.vm.later import later
from tests.contracts.vm.programs import MONEY, PRICE, QUANTITY, TIME, exercise, forward_call

GAS_MAX = 65_536
CALL = forward_call()
DELIVERY = exercise()


def code(at: int, instruction: Instruction, program: Program = CALL) -> Program:
    """`program` with one instruction put in the place of another."""
    return replace(program, code=(*program.code[:at], instruction, *program.code[at + 1 :]))


def test_the_programs_of_the_tests_pass() -> None:
    """A verifier that refuses everything would pass every other test here."""
    verified = verify(CALL, GAS_MAX)
    assert verified.paid_max == (10**6 * (10**6 - 1),)
    assert verified.ranges[14] == (0, 10**6 * (10**6 - 1))
    assert verified.word_sized
    assert verify(exercise(), GAS_MAX).paid_max == (10**9, 0)


def squares(count: int) -> Program:
    """A register is squared `count` times, scaled back by nothing: 2^(20 · 2^count)."""
    body = [Instruction(Op.PARAM, 0), Instruction(Op.CONST, 0)]
    body += [Instruction(Op.MULDIV, at, at, 1) for at in [0, *range(2, 1 + count)]]
    price = Parameter("price", PRICE, 1, 2**20)
    one = Constant(PRICE, 1)
    closing = Instruction(Op.CLOSE)
    parts = {"parameters": (price,), "constants": (one,), "locks": (), "inputs": (), "preamble_length": len(body)}
    return replace(CALL, code=(*body, closing), **parts)


def body(*instructions: Instruction, program: Program = CALL) -> Program:
    """`program` with these instructions behind its preamble, and a close."""
    preamble = program.code[: program.preamble_length]
    return replace(program, code=(*preamble, *instructions, Instruction(Op.CLOSE)))


def merging(last: Instruction) -> Program:
    """Two jumps to one place, where the input's register (11) is written, and has arrived, only on one of the paths."""
    jump = Instruction(Op.JUMP_UNLESS, 9, 13)
    return body(Instruction(Op.AWAIT, 0), jump, Instruction(Op.INPUT, 0), jump, last)


def sums(*last: Instruction) -> Program:
    """Register 4 is up to 2^126, register 5 up to 2^126 - 1; then comes `last`."""
    powers = [Instruction(Op.PARAM, 0), Instruction(Op.CONST, 0), Instruction(Op.MULDIV, 0, 0, 1)]
    powers += [Instruction(Op.ADD, 2, 2), Instruction(Op.ADD, 3, 3), Instruction(Op.SUB, 4, 1)]
    price, one = Parameter("price", PRICE, 1, 2**62), Constant(PRICE, 1)
    parts = {"parameters": (price,), "constants": (one,), "locks": (), "inputs": (), "preamble_length": len(powers)}
    return replace(CALL, code=(*powers, *last, Instruction(Op.CLOSE)), **parts)


def election(**changes: object) -> Program:
    """A delivery whose election is changed."""
    return replace(DELIVERY, inputs=(replace(DELIVERY.inputs[0], **changes),))  # type: ignore[arg-type]


def moment(**changes: object) -> Program:
    """A contract that waits for a price and then for a moment, which is changed."""
    program = later().program
    return replace(program, inputs=(program.inputs[0], replace(program.inputs[1], **changes)))  # type: ignore[arg-type]


REFUSED: tuple[tuple[str, Program | Callable[[], Program], str], ...] = (
    ("a read of a later register", code(12, Instruction(Op.SUB, 13, 1)), "reads register 13"),
    ("a read of itself", code(12, Instruction(Op.SUB, 12, 1)), "reads register 12"),
    ("a read of what one path skips", code(10, Instruction(Op.JUMP_UNLESS, 9, 14)), "reads register 13"),
    ("an input before its wait", code(9, Instruction(Op.INPUT, 0)), "not every path has seen arrive"),
    ("an input on the path of its absence", code(10, Instruction(Op.JUMP_UNLESS, 9, 11)), "not every path has seen"),
    ("a read of what one of two jumps skips", merging(Instruction(Op.SUB, 11, 1)), "reads register 11"),
    ("an input that one of two jumps skips", merging(Instruction(Op.INPUT, 0)), "not every path has seen arrive"),
    ("an input behind another condition",
     body(Instruction(Op.LT, 1, 7), Instruction(Op.JUMP_UNLESS, 9, 12), Instruction(Op.INPUT, 0)), "not every path"),
    ("a jump back", code(10, Instruction(Op.JUMP_UNLESS, 9, 9)), "jumps go forward"),
    ("a jump to itself", code(10, Instruction(Op.JUMP_UNLESS, 9, 10)), "jumps go forward"),
    ("a jump past the end", code(10, Instruction(Op.JUMP_UNLESS, 9, 18)), "jumps go forward"),
    ("code that no path reaches", code(12, Instruction(Op.CLOSE)), "Instruction 13: no path leads here"),
    ("a jump on a number", code(10, Instruction(Op.JUMP_UNLESS, 0, 17)), "its condition is no bool"),
    ("no close at the end", code(17, Instruction(Op.PAY, 2, 8)), "end with CLOSE"),
    ("a sum of two units", code(12, Instruction(Op.SUB, 11, 0)), "of two types"),
    ("units that do not cancel", code(14, Instruction(Op.MULDIV, 0, 13, 3)), "units of money of asset 0"),
    ("a scaling of parties", code(14, Instruction(Op.MULDIV, 8, 8, 8)), "units of party * party / party"),
    ("an order of parties", code(12, Instruction(Op.MAX, 8, 8)), "MAX is not for party"),
    ("a logic of numbers", code(12, Instruction(Op.AND, 1, 1)), "no bools"),
    ("a choice by a number", code(12, Instruction(Op.SELECT, 1, 1, 1)), "its condition is no bool"),
    ("a divisor that may be zero", code(14, Instruction(Op.MULDIV, 0, 1, 13)), "may be zero: it lies from 0 to 999999"),
    ("a payment that may be negative", code(15, Instruction(Op.SUB, 14, 2)), "the payment may be negative"),
    ("a payment of prices", code(16, Instruction(Op.PAY, 13, 8)), "which is no money"),
    ("a payment to a price", code(16, Instruction(Op.PAY, 15, 13)), "what is no party"),
    ("a wait in the preamble", replace(CALL, preamble_length=10), "AWAIT may not stand in the preamble"),
    ("an operand to spare", code(17, Instruction(Op.CLOSE, 1)), "does not use is not 0"),
    ("a constant that is not there", code(6, Instruction(Op.CONST, 4)), "names none of 4"),
    ("a parameter that is not there", code(1, Instruction(Op.PARAM, 4)), "names none of 4"),
    ("an input that is not there", code(9, Instruction(Op.AWAIT, 1)), "names none of 1"),
    ("an unknown rounding", code(14, Instruction(Op.MULDIV, 0, 13, 7, 3)), "rounding 3 is unknown"),
    ("a value over 127 bits", squares(3), "its value may need 161 bits; at most 127"),
    ("a value of 2^127", sums(Instruction(Op.ADD, 4, 4)), "its value may need 128 bits; at most 127"),
    ("a value below -2^127",
     sums(Instruction(Op.SUB, 1, 4), Instruction(Op.ADD, 6, 6), Instruction(Op.SUB, 7, 5)),
     "its value may need 128 bits; at most 127"),
    ("a lock that may be negative",
     replace(body(), parameters=(*CALL.parameters[:2], Parameter("cap", MONEY, -1, 9), CALL.parameters[3])),
     "is locked"),
    ("a lock of a price", replace(CALL, locks=(Lock(0, 1),)), "Register 1 is locked"),
    ("a lock after the preamble", replace(CALL, locks=(Lock(0, 15),)), "lock 0 is out of range"),
    ("a lock of nobody", replace(CALL, locks=(Lock(2, 2),)), "lock 0 is out of range"),
    ("a moment of a party", moment(source=1), "input 1 is out of range"),
    ("a moment that is a price", moment(type=PRICE), "input 1 is out of range"),
    ("a moment that is a time", moment(type=TIME), "input 1 is out of range"),
    ("a moment that may be false", moment(low=0), "input 1 is out of range"),
    ("a moment that lasts", moment(until=later().program.inputs[0].until), "input 1 is out of range"),
    ("a moment with a deposit", moment(deposit=0), "input 1 is out of range"),
    ("a window that is no time", replace(CALL, inputs=(replace(CALL.inputs[0], until=1),)), "is no time"),
    ("a price of no feed", replace(CALL, feeds=()), "input 0 is out of range"),
    ("a price that is money", replace(CALL, inputs=(replace(CALL.inputs[0], type=MONEY),)), "input 0 is out of range"),
    ("a price with a deposit", replace(CALL, inputs=(replace(CALL.inputs[0], deposit=0),)), "input 0 is out of range"),
    ("a price that is a quantity", replace(CALL, inputs=(replace(CALL.inputs[0], type=QUANTITY),)), "input 0 is out"),
    ("an input of an empty range", replace(CALL, inputs=(replace(CALL.inputs[0], low=2, high=1),)), "input 0 is out"),
    ("a window after the preamble",
     replace(body(Instruction(Op.ADD, 3, 4)), inputs=(replace(CALL.inputs[0], until=9),)), "input 0 is out of range"),
    ("an election of nobody", election(source=2), "input 0 is out of range"),
    ("an election of a price", election(type=PRICE), "input 0 is out of range"),
    ("an election below zero", election(type=QUANTITY, low=-1), "input 0 is out of range"),
    ("a deposit of a time", election(deposit=2), "Register 2 is locked, but is no money"),
    ("a deposit after the preamble",
     body(Instruction(Op.ADD, 1, 1), program=election(deposit=5)), "input 0 is out of range"),
    ("money of no asset", replace(CALL, constants=(Constant(Type(Kind.MONEY), 0),)), "constant 0 is out of range"),
    ("a price of an asset", replace(CALL, constants=(Constant(Type(Kind.PRICE, 0), 0),)), "constant 0 is out of range"),
    ("a price of no asset", replace(CALL, constants=(Constant(Type(Kind.PRICE, 1), 0),)), "constant 0 is out of range"),
    ("a party not there", replace(CALL, constants=(Constant(Type(Kind.PARTY), 2),)), "constant 0 is out of range"),
    ("a bool of 2", replace(CALL, constants=(Constant(Type(Kind.BOOL), 2),)), "constant 0 is out of range"),
    ("an empty range", replace(CALL, parameters=(Parameter("lot", TIME, 2, 1),)), "parameter 0 is out of range"),
    ("a rest for nobody", replace(CALL, assets=(Asset("COIN", 2),)), "asset 0 is out of range"),
    ("two things of one name", replace(CALL, feeds=("writer",)), "have one name"),
)  # fmt: skip


@pytest.mark.parametrize(("program", "why"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_a_program_that_breaks_a_rule_is_refused(program: Program, why: str) -> None:
    """What is stored runs on every validator: a hole here stops or splits the chain."""
    with pytest.raises(Rejected) as caught:
        verify(program, GAS_MAX)
    assert caught.value.code == "bad_program"
    assert why in caught.value.message


def test_a_program_over_the_gas_limit_is_refused_with_both_figures() -> None:
    """A contract must not be able to fill a block."""
    with pytest.raises(Rejected, match=f"gas={CALL.gas}, gas_max={CALL.gas - 1}"):
        verify(CALL, CALL.gas - 1)
    assert verify(CALL, CALL.gas)


def test_values_up_to_127_bits_pass_and_are_not_word_sized() -> None:
    """The interpreter counts further than the kernel, which must know it."""
    assert verify(squares(2), GAS_MAX).ranges[3] == (1, 2**80)
    assert not verify(squares(2), GAS_MAX).word_sized
    assert VALUE_MAX == 2**127 - 1
    assert verify(sums(Instruction(Op.ADD, 4, 5)), GAS_MAX).ranges[6] == (7, VALUE_MAX)


def test_a_sum_that_fits_no_word_is_not_word_sized() -> None:
    """Nothing but the kernel's proof keeps a sum from wrapping around."""
    wide = replace(CALL.parameters[0], high=2**62)
    assert not verify(
        replace(body(Instruction(Op.ADD, 0, 0)), parameters=(wide, *CALL.parameters[1:])), GAS_MAX
    ).word_sized


def test_a_product_that_fits_no_word_is_not_word_sized_though_its_quotient_is() -> None:
    """The kernel multiplies before it divides, and doubles the rest of a division."""
    assert not verify(scaled(lot_max=2**50, divisor=10**6), GAS_MAX).word_sized
    assert verify(scaled(lot_max=2**43, divisor=10**6), GAS_MAX).word_sized
    assert not verify(scaled(lot_max=1, divisor=2**62), GAS_MAX).word_sized
    assert verify(scaled(lot_max=1, divisor=2**62 - 1), GAS_MAX).word_sized


def scaled(*, lot_max: int, divisor: int) -> Program:
    """The call whose payment, up to `lot_max` times 10^6, is divided by `divisor`."""
    wide = replace(CALL.parameters[0], high=lot_max)
    constants = (*CALL.constants[:2], Constant(PRICE, divisor), CALL.constants[3])
    return replace(CALL, parameters=(wide, *CALL.parameters[1:]), constants=constants)


ACCEPTED: tuple[Callable[[], None], ...] = (
    test_the_programs_of_the_tests_pass,
    test_a_program_over_the_gas_limit_is_refused_with_both_figures,
    test_values_up_to_127_bits_pass_and_are_not_word_sized,
    test_a_sum_that_fits_no_word_is_not_word_sized,
    test_a_product_that_fits_no_word_is_not_word_sized_though_its_quotient_is,
)
"""What must pass, and what is known of it: with `REFUSED`, what `tests.contracts.vm.mutants` holds a verifier to."""
