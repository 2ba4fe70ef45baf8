"""What a member with a valid key may try against everybody else by way of contracts, and what it must not reach."""

from __future__ import annotations

from dataclasses import replace

from contracts.receipts import EVENTS_MAX, decode_receipt, encode_receipt
from contracts.vm.bytecode import (
    Asset,
    Constant,
    Instruction,
    Op,
    Program,
    Rounding,
    encode_program,
)
from genesis.codec import I64_MAX
from tests.contracts.vm.programs import MONEY, PARTY
from tests.contracts.world import World, operation, set_up, with_params

PAYS = Program(
    name="pays",
    parties=("only",),
    assets=(Asset("COIN", 0),),
    feeds=(),
    parameters=(),
    constants=(Constant(MONEY, 2**62), Constant(MONEY, 1), Constant(PARTY, 0)),
    locks=(),
    inputs=(),
    preamble_length=0,
    code=(),
)
SMALL = {"accounts": "M0/main", "assets": "BTC", "feeds": "", "parameters": ""}


def pays_from_nothing(code: tuple[Instruction, ...]) -> Program:
    """A program without a lock whose payments all fall short."""
    head = tuple(Instruction(Op.CONST, n) for n in range(len(PAYS.constants)))
    return replace(PAYS, code=(*head, *code, Instruction(Op.CLOSE)))


def with_program(program: Program, **params: int) -> World:
    world = set_up(World(with_params(**params)))
    world.do("M0", "program.store", program=encode_program(program))
    return world


def test_a_shortfall_beyond_64_bits_leaves_a_receipt_that_can_be_written() -> None:
    """A value may have 127 bits, a receipt 64: a receipt that cannot be encoded halts every validator."""
    huge = pays_from_nothing((Instruction(Op.MULDIV, 0, 0, 1, Rounding.DOWN), Instruction(Op.PAY, 3, 2)))
    world = with_program(huge)
    receipt = world.do("M0", "contract.start", contract="C1", program=huge.program_id, **SMALL)
    assert decode_receipt(encode_receipt(receipt)) == receipt
    paid = dict(dict(receipt.events)["contract_paid"])
    assert (paid["amount_minor"], paid["shortfall_minor"]) == (0, I64_MAX)


def test_an_envelope_with_more_events_than_a_receipt_holds_is_refused_whole() -> None:
    """A receipt that was stored and cannot be read back stops the pruner and every client that asks for it."""
    many = pays_from_nothing(tuple(Instruction(Op.PAY, 1, 2) for _ in range(900)))
    world = with_program(many)
    starts = [operation("contract.start", contract=f"C{n}", program=many.program_id, **SMALL) for n in range(5)]
    receipt = world.send("M0", *starts)
    assert (receipt.code, len(world.state.contracts.rows)) == ("too_many_events", 0)
    fits = world.send("M0", *starts[:4])
    assert fits.code == "" and len(fits.events) <= EVENTS_MAX
    assert decode_receipt(encode_receipt(fits)) == fits
