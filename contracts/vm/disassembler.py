"""Bytecode as text, for people: one line a declaration and one an instruction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from contracts.vm.bytecode import (
    NO_DEPOSIT,
    OPERANDS,
    Input,
    InputKind,
    Instruction,
    Kind,
    Op,
    Program,
    Rounding,
    Type,
)

_NAMED: Final = frozenset({Op.CONST, Op.PARAM, Op.AWAIT, Op.INPUT})


def disassemble(program: Program) -> str:
    """All of `program`: numbered instructions, registers as ``r3``, and the names that numbers stand for."""
    return "\n".join((*_declarations(program), *_instructions(program))) + "\n"


def type_name(program: Program, of: Type) -> str:
    """``price``, ``money COIN``."""
    return f"money {program.assets[of.asset].name}" if of.kind is Kind.MONEY else of.kind.name.lower()


def _declarations(program: Program) -> Iterator[str]:
    yield f"program {program.name}  ; {program.program_id.hex()}"
    yield from (f"party {number} {name}" for number, name in enumerate(program.parties))
    yield from (f"asset {n} {each.name} rest {program.parties[each.rest]}" for n, each in enumerate(program.assets))
    yield from (f"feed {number} {name}" for number, name in enumerate(program.feeds))
    for number, each in enumerate(program.parameters):
        yield f"parameter {number} {each.name}: {type_name(program, each.type)} in {each.low}..{each.high}"
    yield from (f"lock {program.parties[each.party]} r{each.amount}" for each in program.locks)
    yield from (_input(program, number, each) for number, each in enumerate(program.inputs))


def _input(program: Program, number: int, each: Input) -> str:
    if each.kind is InputKind.MOMENT:
        return f"input {number} moment {each.name} at r{each.opens}"
    source = program.feeds[each.source] if each.kind is InputKind.PRICE else program.parties[each.source]
    deposit = "" if each.deposit == NO_DEPOSIT else f" deposit r{each.deposit}"
    of = f"{each.kind.name.lower()} {each.name} of {source}: {type_name(program, each.type)}"
    return f"input {number} {of} in {each.low}..{each.high} opens r{each.opens} until r{each.until}{deposit}"


def _instructions(program: Program) -> Iterator[str]:
    for at, instruction in enumerate(program.code):
        if at == program.preamble_length:
            yield "; the preamble ends here"
        note = _note(program, instruction)
        yield f"{at:5} {instruction.op.name.lower():12} {_operands(instruction)}" + (f"  ; {note}" if note else "")


def _operands(instruction: Instruction) -> str:
    registers = len(instruction.reads)
    used = enumerate(instruction.operands[: OPERANDS[instruction.op]])
    texts = [f"r{value}" if place < registers else str(value) for place, value in used]
    if instruction.op is Op.MULDIV:
        texts[3] = Rounding(instruction.d).name.lower()
    return ", ".join(texts)


def _note(program: Program, instruction: Instruction) -> str:
    if instruction.op is Op.CONST:
        constant = program.constants[instruction.a]
        return f"{constant.value} {type_name(program, constant.type)}"
    if instruction.op is Op.PARAM:
        return program.parameters[instruction.a].name
    return program.inputs[instruction.a].name if instruction.op in _NAMED else ""
