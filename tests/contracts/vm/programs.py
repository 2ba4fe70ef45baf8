"""Programs that tests share, written out by hand."""

from __future__ import annotations

from contracts.vm.bytecode import (
    Asset,
    Constant,
    Input,
    InputKind,
    Instruction,
    Kind,
    Lock,
    Op,
    Parameter,
    Program,
    Rounding,
    Type,
)

TIME = Type(Kind.TIME)
PRICE = Type(Kind.PRICE)
QUANTITY = Type(Kind.QUANTITY)
BOOL = Type(Kind.BOOL)
PARTY = Type(Kind.PARTY)
MONEY = Type(Kind.MONEY, 0)
DAY_MS = 86_400_000
EXPIRY_UNIX_MS = 1_800_000_000_000
WRITER, HOLDER = 0, 1


def forward_call() -> Program:
    """A cash-settled call: the writer locks `cap`; the holder gets the move above the strike, at most the cap."""
    return Program(
        name="capped_call",
        parties=("writer", "holder"),
        assets=(Asset("COIN", WRITER),),
        feeds=("INDEX",),
        parameters=(
            Parameter("lot", MONEY, 1, 10**6),
            Parameter("strike", PRICE, 1, 10**6),
            Parameter("cap", MONEY, 1, 10**12),
            Parameter("expiry", TIME, 0, 2**53),
        ),
        constants=(Constant(TIME, DAY_MS), Constant(PRICE, 0), Constant(PRICE, 1), Constant(PARTY, HOLDER)),
        locks=(Lock(WRITER, 2),),
        inputs=(Input("settlement", InputKind.PRICE, 0, PRICE, 0, 10**6, 3, 5),),
        preamble_length=9,
        code=(
            Instruction(Op.PARAM, 0),
            Instruction(Op.PARAM, 1),
            Instruction(Op.PARAM, 2),
            Instruction(Op.PARAM, 3),
            Instruction(Op.CONST, 0),
            Instruction(Op.ADD, 3, 4),
            Instruction(Op.CONST, 1),
            Instruction(Op.CONST, 2),
            Instruction(Op.CONST, 3),
            Instruction(Op.AWAIT, 0),
            Instruction(Op.JUMP_UNLESS, 9, 17),
            Instruction(Op.INPUT, 0),
            Instruction(Op.SUB, 11, 1),
            Instruction(Op.MAX, 6, 12),
            Instruction(Op.MULDIV, 0, 13, 7, Rounding.DOWN),
            Instruction(Op.MIN, 14, 2),
            Instruction(Op.PAY, 15, 8),
            Instruction(Op.CLOSE),
        ),
    )


def exercise() -> Program:
    """Physical delivery: the holder may put in `cash` to get the writer's `goods`; else the writer gets them back."""
    cash = Type(Kind.MONEY, 1)
    return Program(
        name="delivery",
        parties=("writer", "holder"),
        assets=(Asset("GOODS", WRITER), Asset("CASH", WRITER)),
        feeds=(),
        parameters=(
            Parameter("goods", MONEY, 0, 10**9),
            Parameter("cash", cash, 0, 10**9),
            Parameter("expiry", TIME, 1, 2**53),
        ),
        constants=(Constant(TIME, 0), Constant(PARTY, HOLDER)),
        locks=(Lock(WRITER, 0),),
        inputs=(Input("elected", InputKind.ELECTION, HOLDER, BOOL, 0, 1, 3, 2, deposit=1),),
        preamble_length=5,
        code=(
            Instruction(Op.PARAM, 0),
            Instruction(Op.PARAM, 1),
            Instruction(Op.PARAM, 2),
            Instruction(Op.CONST, 0),
            Instruction(Op.CONST, 1),
            Instruction(Op.AWAIT, 0),
            Instruction(Op.JUMP_UNLESS, 5, 10),
            Instruction(Op.INPUT, 0),
            Instruction(Op.JUMP_UNLESS, 7, 10),
            Instruction(Op.PAY, 0, 4),
            Instruction(Op.CLOSE),
        ),
    )
