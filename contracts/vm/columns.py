"""A program over columns of scenarios: the public side of the kernel that values contracts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.vm import kernel
from contracts.vm.bytecode import GAS, NO_DEPOSIT, WORD_MAX, InputKind, Op
from contracts.vm.interpreter import terms
from contracts.vm.verifier import Verified, of_instance
from genesis.errors import Rejected

OPEN: Final = kernel.OPEN
ARRIVED: Final = kernel.ARRIVED
ABSENT: Final = kernel.ABSENT
CLOSED: Final = kernel.CLOSED

Words = NDArray[np.int64]


@dataclass(frozen=True)
class Valued:
    """What the runs of one instance over many scenarios came to.

    Attributes:
        received: [parties, assets, scenarios]: what each party receives in minor units, the close included.
        waits_for: [scenarios]: the input at which the run halted, or `CLOSED`.
        gas: [scenarios]: what the run used.
        shortfall: [scenarios]: whether some payment was larger than what was locked.
    """

    received: Words
    waits_for: Words
    gas: Words
    shortfall: NDArray[np.bool_]


class Valuer:
    """One instance, made ready for the kernel; `over` values it. `verified` is its program.

    Raises:
        Rejected: ``not_word_sized`` where, with these parameters, 64 bits are not proved to hold every value; what
            `terms` raises.
    """

    def __init__(self, verified: Verified, parameters: Sequence[int]) -> None:
        terms(verified, parameters)
        _require_word_sized(of_instance(verified, parameters))
        program = verified.program
        self.verified = verified
        self._program = program
        self._parameters = np.array(parameters, dtype=np.int64)
        code = np.array([(each.op, *each.operands) for each in program.code], dtype=np.int64)
        constants = np.array([each.value for each in program.constants], dtype=np.int64)
        asset_of = np.array([_asset_of(verified, at) for at in range(len(program.code))], dtype=np.int64)
        locks = [(each.amount, _asset(verified, each.amount)) for each in program.locks]
        deposits = [
            (each.deposit, _asset(verified, each.deposit) if each.deposit != NO_DEPOSIT else 0, each.source)
            for each in program.inputs
        ]
        self._code = (code, constants, asset_of, _table(locks, 2), program.preamble_length)
        self._tables = (_table(deposits, 3), np.array([each.rest for each in program.assets], dtype=np.int64))
        self._gas_until = np.array(list(accumulate(GAS[each.op] for each in program.code)), dtype=np.int64)

    def over(self, values: Words, states: Words) -> Valued:
        """Run the instance over scenarios.

        Args:
            values: [inputs, scenarios]: each input's value where it arrived, within its range; else anything.
            states: [inputs, scenarios]: `OPEN`, `ARRIVED` or `ABSENT`.

        Raises:
            Rejected: ``bad_input`` for a wrong shape, an unknown state or a value out of its range.
        """
        self._require_inputs(values, states)
        inputs, scenarios = values.shape
        lanes = max(1, min(scenarios, kernel.BLOCK_LANES))
        padded = -(-scenarios // lanes) * lanes
        columns = _padded(values, padded), _padded(states, padded)
        parties, assets = len(self._program.parties), len(self._program.assets)
        of_inputs = inputs, lanes
        shapes = [(lanes,)] * 5 + [of_inputs, (assets, lanes), (parties, assets, lanes), of_inputs, of_inputs]
        scratch = tuple(np.zeros(shape, dtype=np.int64) for shape in shapes)
        registers = np.zeros((len(self._program.code), lanes), dtype=np.int64)
        received = np.zeros((parties, assets, padded), dtype=np.int64)
        waits_for, gas, short = (np.zeros(padded, dtype=np.int64) for _ in range(3))
        outputs = received, waits_for, gas, short
        kernel.run_columns(
            self._code, self._tables, self._parameters, columns, registers, scratch, outputs, self._gas_until
        )
        return Valued(
            received[:, :, :scenarios], waits_for[:scenarios], gas[:scenarios], short[:scenarios].astype(np.bool_)
        )

    def _require_inputs(self, values: Words, states: Words) -> None:
        declared = self._program.inputs
        if values.shape != states.shape or values.ndim != 2 or values.shape[0] != len(declared):
            shapes = f"values {values.shape}, states {states.shape}"
            raise Rejected("bad_input", f"There must be one row of scenarios for each input; here {shapes}.")
        for number, each in enumerate(declared):
            arrived = states[number] == ARRIVED
            out = arrived & ((values[number] < each.low) | (values[number] > each.high))
            absent = states[number] == (OPEN if each.kind is InputKind.MOMENT else ABSENT)  # a moment always comes
            if out.any() or not (arrived | absent | (states[number] == OPEN)).all():
                where = int(np.flatnonzero(out)[0]) if out.any() else -1
                raise Rejected(
                    "bad_input",
                    "An input's value is out of its range, or its state is unknown.",
                    input=each.name,
                    scenario=where,
                    low=each.low,
                    high=each.high,
                )


def _padded(columns: Words, scenarios: int) -> Words:
    """The columns, followed by open ones up to a whole number of blocks."""
    padded = np.full((columns.shape[0], scenarios), OPEN, dtype=np.int64)
    padded[:, : columns.shape[1]] = columns
    return padded


def _table(rows: Sequence[tuple[int, ...]], width: int) -> Words:
    return np.array(rows, dtype=np.int64).reshape(len(rows), width)


def _asset(verified: Verified, register: int) -> int:
    kind: Any = verified.types[register]
    return int(kind.asset)


def _asset_of(verified: Verified, at: int) -> int:
    """The asset that an instruction pays in; 0 for one that pays nothing."""
    instruction = verified.program.code[at]
    return _asset(verified, instruction.a) if instruction.op is Op.PAY else 0


def _require_word_sized(verified: Verified) -> None:
    """Values and products fit, and so does all that can ever be in the pot of one asset."""
    program, pots = verified.program, [0] * len(verified.program.assets)
    amounts = [each.amount for each in program.locks]
    amounts += [each.deposit for each in program.inputs if each.deposit != NO_DEPOSIT]
    for register in amounts:
        values = verified.ranges[register]
        pots[_asset(verified, register)] += values[1] if values is not None else 0
    if not verified.word_sized or max(pots) > WORD_MAX:
        raise Rejected(
            "not_word_sized",
            "With these parameters the contract may need more than 64 bits; value fewer lots, or narrow its ranges.",
            pot_bits=max(pots).bit_length(),
        )
