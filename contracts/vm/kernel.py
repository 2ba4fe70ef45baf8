"""The kernel that values: any verified, word-sized program over columns of scenarios, without compiling it.

A program is data here. Scenarios (lanes) are worked off in blocks that stay in the processor's cache; within a block
each instruction runs over all lanes before the next. A jump sets the lane's `resume`: it sits out every instruction
before that. Pure operations run for all lanes, since what a sitting lane computes is never looked at; whatever is seen
outside (payments, waits, gas) is masked.

All numbers are int64. `contracts.vm.columns` refuses a program whose intervals do not prove that this is enough, so
nothing that is looked at overflows. Integer ``//`` rounds down on every machine, so the lint allows it in this file.
"""

from __future__ import annotations

from typing import Any, Final

from contracts.compiled import inlined, kernel

BLOCK_LANES: Final = 256
OPEN: Final = 0
ARRIVED: Final = 1
ABSENT: Final = 2
CLOSED: Final = -1

_CONST: Final = 0
_PARAM: Final = 1
_ADD: Final = 2
_SUB: Final = 3
_MULDIV: Final = 4
_MIN: Final = 5
_MAX: Final = 6
_LT: Final = 7
_LE: Final = 8
_EQ: Final = 9
_AND: Final = 10
_OR: Final = 11
_NOT: Final = 12
_SELECT: Final = 13
_AWAIT: Final = 14
_INPUT: Final = 15
_PAY: Final = 16
_JUMP: Final = 17
_JUMP_UNLESS: Final = 18
_ROUND_DOWN: Final = 0
_ROUND_UP: Final = 1


@inlined
def _divided(numerator: Any, denominator: Any, rounding: Any) -> Any:
    """As `contracts.vm.intervals.divided`."""
    if rounding == _ROUND_UP:
        return -((-numerator) // denominator)
    quotient = numerator // denominator
    if rounding == _ROUND_DOWN:
        return quotient
    twice = 2 * abs(numerator - quotient * denominator) - abs(denominator)
    return quotient + 1 if twice > 0 or (twice == 0 and (quotient & 1) == 1) else quotient


@kernel
def _loaded(op: Any, a: Any, constants: Any, parameters: Any, column: Any, out: Any) -> None:
    """CONST, PARAM and INPUT."""
    for lane in range(out.size):
        out[lane] = constants[a] if op == _CONST else (parameters[a] if op == _PARAM else column[lane])


@kernel
def _arithmetic(op: Any, x: Any, y: Any, out: Any) -> None:
    """ADD, SUB, MIN and MAX."""
    if op == _ADD:
        for lane in range(out.size):
            out[lane] = x[lane] + y[lane]
    elif op == _SUB:
        for lane in range(out.size):
            out[lane] = x[lane] - y[lane]
    elif op == _MIN:
        for lane in range(out.size):
            out[lane] = x[lane] if x[lane] < y[lane] else y[lane]
    else:
        for lane in range(out.size):
            out[lane] = x[lane] if x[lane] > y[lane] else y[lane]


@kernel
def _muldiv(x: Any, y: Any, z: Any, rounding: Any, at: Any, resume: Any, out: Any) -> None:
    """MULDIV; a lane that sits out may hold a divisor of 0, and divides by 1."""
    for lane in range(out.size):
        divisor = z[lane] if resume[lane] <= at else 1
        out[lane] = _divided(x[lane] * y[lane], divisor, rounding)


@kernel
def _logic(op: Any, x: Any, y: Any, z: Any, out: Any) -> None:
    """Comparisons, connectives and SELECT."""
    for lane in range(out.size):
        a, b = x[lane], y[lane]
        if op == _LT:
            out[lane] = 1 if a < b else 0
        elif op == _LE:
            out[lane] = 1 if a <= b else 0
        elif op == _EQ:
            out[lane] = 1 if a == b else 0
        elif op == _AND:
            out[lane] = a & b
        elif op == _OR:
            out[lane] = a | b
        elif op == _NOT:
            out[lane] = 1 - a
        else:
            out[lane] = b if a != 0 else z[lane]


@kernel
def _await(at: Any, number: Any, state: Any, values: Any, deposit: Any, registers: Any, block: Any, pot: Any) -> None:
    """AWAIT: open lanes halt, settled ones learn whether it arrived; a deposit enters the pot once."""
    resume, waits_for, gas, skipped_gas, gas_until, awaited = block
    size = gas_until.size - 1
    for lane in range(resume.size):
        if resume[lane] <= at:
            if state[number, lane] == OPEN:
                waits_for[lane] = number
                gas[lane] = gas_until[at] - skipped_gas[lane]
                resume[lane] = size + 1
            else:
                arrived = state[number, lane] == ARRIVED
                brings = (
                    arrived and values[number, lane] != 0 and deposit[number, 0] >= 0 and awaited[number, lane] == 0
                )
                if brings:
                    asset = deposit[number, 1]
                    pot[asset, lane] = pot[asset, lane] + registers[deposit[number, 0], lane]
                awaited[number, lane] = 1
                registers[at, lane] = 1 if arrived else 0


@kernel
def _pay(at: Any, asset: Any, amount: Any, party: Any, resume: Any, pot: Any, paid: Any, short: Any) -> None:
    """PAY: never more than the pot holds."""
    for lane in range(resume.size):
        if resume[lane] <= at:
            due = amount[lane]
            amount_minor = due if due < pot[asset, lane] else pot[asset, lane]
            pot[asset, lane] = pot[asset, lane] - amount_minor
            paid[party[lane], asset, lane] = paid[party[lane], asset, lane] + amount_minor
            if amount_minor < due:
                short[lane] = 1


@kernel
def _jump(at: Any, target: Any, condition: Any, always: Any, block: Any) -> None:
    """JUMP and JUMP_UNLESS: the lane sits out until `target`, and what it skips costs no gas."""
    resume, _waits_for, _gas, skipped_gas, gas_until, _awaited = block
    for lane in range(resume.size):
        if resume[lane] <= at and (always == 1 or condition[lane] == 0):
            resume[lane] = target
            skipped_gas[lane] = skipped_gas[lane] + gas_until[target - 1] - gas_until[at]


@kernel
def _close(at: Any, tables: Any, state: Any, values: Any, registers: Any, block: Any, pot: Any, paid: Any) -> None:
    """CLOSE: deposits that were never awaited go back, what is left goes to each asset's rest party."""
    deposit, rest = tables
    resume, waits_for, gas, skipped_gas, gas_until, awaited = block
    for lane in range(resume.size):
        if resume[lane] <= at:
            waits_for[lane] = CLOSED
            gas[lane] = gas_until[at] - skipped_gas[lane]
            resume[lane] = gas_until.size
            for number in range(deposit.shape[0]):
                elected = state[number, lane] == ARRIVED and values[number, lane] != 0
                if deposit[number, 0] >= 0 and elected and awaited[number, lane] == 0:
                    party, asset = deposit[number, 2], deposit[number, 1]
                    paid[party, asset, lane] = paid[party, asset, lane] + registers[deposit[number, 0], lane]
            for asset in range(rest.size):
                paid[rest[asset], asset, lane] = paid[rest[asset], asset, lane] + pot[asset, lane]
                pot[asset, lane] = 0


@kernel
def run_block(
    start: Any,
    program: Any,
    tables: Any,
    parameters: Any,
    values: Any,
    state: Any,
    registers: Any,
    block: Any,
    pot: Any,
    paid: Any,
    short: Any,
) -> None:
    """Run the lanes of one block.

    Args:
        start: The first instruction to run: 0, or the preamble's length where `registers` has the preamble's values,
            which are the same in every scenario.
        program: (code[n, 5], constants, each instruction's asset, locks[l, (register, asset)], preamble's length).
        tables: (deposits[inputs, (register or -1, asset, party)], each asset's rest party).
        parameters: One instance's.
        values: [inputs, lanes].
        state: [inputs, lanes]: `OPEN`, `ARRIVED` or `ABSENT`.
        registers: [n, lanes], scratch; a former block's may be left in it.
        block: (resume, waits_for, gas, skipped_gas, gas up to each instruction, awaited[inputs, lanes]).
        pot: [assets, lanes], zeros.
        paid: [parties, assets, lanes], zeros: what each party receives.
        short: [lanes], zeros: 1 where a payment fell short.
    """
    code, constants, asset_of, locks, preamble_length = program
    resume = block[0]
    for at in range(start, code.shape[0]):
        op, a, b, c = code[at, 0], code[at, 1], code[at, 2], code[at, 3]
        if at == preamble_length:
            for lock in range(locks.shape[0]):
                for lane in range(resume.size):
                    pot[locks[lock, 1], lane] = pot[locks[lock, 1], lane] + registers[locks[lock, 0], lane]
        if op <= _PARAM:
            _loaded(op, a, constants, parameters, registers[at], registers[at])
        elif op == _INPUT:
            _loaded(op, a, constants, parameters, values[a], registers[at])
        elif op == _MULDIV:
            _muldiv(registers[a], registers[b], registers[c], code[at, 4], at, resume, registers[at])
        elif op <= _MAX:
            _arithmetic(op, registers[a], registers[b], registers[at])
        elif op <= _SELECT:
            _logic(op, registers[a], registers[b], registers[c], registers[at])
        elif op == _AWAIT:
            _await(at, a, state, values, tables[0], registers, block, pot)
        elif op == _PAY:
            _pay(at, asset_of[at], registers[a], registers[b], resume, pot, paid, short)
        elif op == _JUMP:
            _jump(at, a, registers[at], 1, block)
        elif op == _JUMP_UNLESS:
            _jump(at, b, registers[a], 0, block)
        else:
            _close(at, tables, state, values, registers, block, pot, paid)


@kernel
def _cleared(scratch: Any, columns: Any, start: Any) -> None:
    """What a block begins with: nothing paid, nothing awaited, and its own columns of the scenarios."""
    resume, skipped_gas, short, _waits_for, _gas, awaited, pot, paid, block_values, block_state = scratch
    values, state = columns
    for lane in range(resume.size):
        resume[lane] = 0
        skipped_gas[lane] = 0
        short[lane] = 0
    for number in range(block_values.shape[0]):
        for lane in range(resume.size):
            awaited[number, lane] = 0
            block_values[number, lane] = values[number, start + lane]
            block_state[number, lane] = state[number, start + lane]
    for asset in range(pot.shape[0]):
        for lane in range(resume.size):
            pot[asset, lane] = 0
    for party in range(paid.shape[0]):
        for asset in range(paid.shape[1]):
            for lane in range(resume.size):
                paid[party, asset, lane] = 0


@kernel
def run_columns(
    program: Any, tables: Any, parameters: Any, columns: Any, registers: Any, scratch: Any, outputs: Any, gas_until: Any
) -> None:
    """Run whole blocks, one after the other; the preamble, the same in every scenario, only in the first.

    Args:
        program: As `run_block`.
        tables: As `run_block`.
        parameters: As `run_block`.
        columns: (values, state)[inputs, scenarios]; the scenarios are a multiple of the lanes.
        registers: [n, lanes], scratch.
        scratch: (resume, skipped_gas, short, waits_for, gas [lanes], awaited[inputs, lanes], pot[assets, lanes],
            paid[parties, assets, lanes], values, state [inputs, lanes]).
        outputs: (received[parties, assets, scenarios], waits_for, gas, short [scenarios]).
        gas_until: [n]: the gas of all instructions up to each.
    """
    resume, skipped_gas, short, waits_for, gas, awaited, pot, paid, values, state = scratch
    received, all_waits_for, all_gas, all_short = outputs
    block = (resume, waits_for, gas, skipped_gas, gas_until, awaited)
    for start in range(0, all_gas.size, resume.size):
        _cleared(scratch, columns, start)
        first = 0 if start == 0 else program[4]
        run_block(first, program, tables, parameters, values, state, registers, block, pot, paid, short)
        for lane in range(resume.size):
            all_waits_for[start + lane] = waits_for[lane]
            all_gas[start + lane] = gas[lane]
            all_short[start + lane] = short[lane]
        for party in range(paid.shape[0]):
            for asset in range(paid.shape[1]):
                for lane in range(resume.size):
                    received[party, asset, start + lane] = paid[party, asset, lane]
