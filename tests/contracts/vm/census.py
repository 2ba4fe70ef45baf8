"""What random programs are made of and what happens in their runs, as shares of the programs, and how many are enough.

Agreement over programs that never round, halt or fall short says little, and a generator that has stopped making
something looks just like one that makes it. So every figure has a floor, and what falls below it is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from contracts.vm.bytecode import InputKind, Kind, Op, Program, Rounding
from tests.contracts.vm.oracle import Evaluation

Seen = Counter[str]
"""By what may be seen in a program's runs, the number of programs in which it was."""


COMMON_PERCENT: Final = 10
RARE_PERCENT: Final = dict.fromkeys([f"halted at {each.name}" for each in InputKind], 4)
"""In at least this share of the programs; what is not rare is common."""


def seen_in(run: Evaluation) -> Iterator[str]:
    """What happened in a run: operations, roundings, the types that were paid of, and how each kind of input was."""
    program, settled = run.program, run.settled
    for at in run.path:
        each = program.code[at]
        yield f"ran {each.op.name}"
        if each.op is Op.MULDIV:
            yield f"rounded {Rounding(each.d).name}"
        if each.op is Op.AWAIT:
            kind = program.inputs[each.a].kind.name
            if each.a not in settled:
                yield f"halted at {kind}"
            else:
                yield f"met {'absent' if settled[each.a] is None else 'arrived'} {kind}"
        if each.op is Op.INPUT:
            yield f"read {program.inputs[each.a].kind.name}"
    yield from _taken_in(program)
    if any(due > amount for _, _, amount, due in run.paid):
        yield "fell short"
    if run.waits_for is None:
        yield "closed"


def _taken_in(program: Program) -> Iterator[str]:
    """What an instance was given."""
    for parameter in program.parameters:
        yield f"took a {parameter.type.kind.name}"
    if program.locks:
        yield "locked"


def everything() -> set[str]:
    """All that may be seen, by the lists of operations, roundings, types and kinds of input."""
    kinds = [each.name for each in InputKind]
    names = {f"ran {each.name}" for each in Op} | {f"rounded {each.name}" for each in Rounding}
    names |= {f"{what} {kind}" for kind in kinds for what in ("halted at", "met arrived", "met absent", "read")}
    names |= {f"took a {each.name}" for each in Kind} | {"locked", "fell short", "closed"}
    return names - {f"met absent {InputKind.MOMENT.name}"}


def lacking(seen: Seen, programs: int) -> list[str]:
    """What is in too few of the programs."""
    floors = {name: RARE_PERCENT.get(name, COMMON_PERCENT) for name in everything()}
    return sorted(name for name, percent in floors.items() if 100 * seen[name] < percent * programs)
