"""What work on contracts costs, in gas of about a microsecond each, and what one block may spend on it.

Rules:

1. To settle an input costs its program's gas, and `GAS_PER_INPUT` for each of the program's inputs: a run goes over
   them, too. To start or to elect costs twice that.
2. The first use of a program in a block costs `GAS_PER_PROGRAM_BYTE` for each of its bytes besides, as much as to store
   it: whether it is in a node's memory is for that node alone to know.
3. The envelopes of one block spend no more than `ENVELOPES_GAS_PER_BLOCK_MAX`, those of one signer no more than
   `SIGNER_GAS_PER_BLOCK_MAX`. A signer's first work in a block may be larger. It is charged before the work is done,
   and for work that is refused, too.
"""

from __future__ import annotations

from typing import Final

from contracts.step import Meter, Step
from contracts.tables import ProgramRow
from genesis.errors import Rejected

GAS_PER_INPUT: Final = 4
GAS_PER_PROGRAM_BYTE: Final = 2
ENVELOPES_GAS_PER_BLOCK_MAX: Final = 1_000_000
SIGNER_GAS_PER_BLOCK_MAX: Final = 200_000
"""So that several must collude to crowd out everybody else."""


def work(program: ProgramRow) -> int:
    """Rule 1: what settling one input of a program costs."""
    return program.gas + GAS_PER_INPUT * program.inputs


def reading(meter: Meter, program_id: bytes, program: ProgramRow) -> int:
    """Rule 2: what a program costs besides, unless the block has paid for it."""
    return 0 if program_id in meter.read else GAS_PER_PROGRAM_BYTE * len(program.encoded)


def charge_run(step: Step, program_id: bytes, program: ProgramRow) -> None:
    """Charge what starting or electing costs.

    Raises:
        Rejected: ``block_full``.
    """
    charge(step, 2 * work(program) + reading(step.meter, program_id, program))
    step.meter.read.add(program_id)


def charge(step: Step, gas: int) -> None:
    """Rule 3. What is charged stays charged when the envelope is refused: it is what the refusal may cost.

    Raises:
        Rejected: ``block_full``.
    """
    meter = step.meter
    spent = max((meter.gas_of.get(key, 0) for key in step.signers), default=0)
    signer_is_over = bool(spent) and spent + gas > SIGNER_GAS_PER_BLOCK_MAX
    if signer_is_over or meter.gas + gas > ENVELOPES_GAS_PER_BLOCK_MAX:
        raise Rejected(
            "block_full",
            "This block has no room for so much more work on contracts.",
            gas=gas,
            gas_spent=meter.gas,
            gas_max=ENVELOPES_GAS_PER_BLOCK_MAX,
            signer_gas_spent=spent,
            signer_gas_max=SIGNER_GAS_PER_BLOCK_MAX,
        )
    meter.gas += gas
    for key in step.signers:
        meter.gas_of[key] = meter.gas_of.get(key, 0) + gas
