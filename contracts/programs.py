"""Programs of contracts: stored by members, who hold them, and removed when nobody needs them.

Rules:

1. *Store.* A member stores a program that passes the checks of docs/CONTRACTS.md, section 3, and holds it from then on.
   A program that is stored already is not stored again; the member becomes one more holder.
2. *Remove.* A holder gives a program up. It stays while somebody else holds it, or a contract of it is in the state.
3. What a program takes counts for those who need it (`contracts.holdings`). So nobody loses a program by what another
   does, and nobody is kept from giving one up.
"""

from __future__ import annotations

from contracts.holdings import Share, counted_bytes, require_room
from contracts.metering import GAS_PER_PROGRAM_BYTE, charge
from contracts.operations_contracts import RemoveProgram, StoreProgram
from contracts.state import State
from contracts.step import Step
from contracts.tables import HolderRow, ProgramRow
from contracts.vm.bytecode import decode_program
from contracts.vm.verifier import verify
from genesis.errors import Rejected


def store(step: Step, operation: StoreProgram) -> None:
    """Rule 1, for the first signer that is a member."""
    state, encoded = step.state, operation.program
    member = _member(step)
    charge(step, GAS_PER_PROGRAM_BYTE * len(encoded))
    program = decode_program(encoded)
    program_id = program.program_id
    if (program_id, member) in state.program_holders.rows:
        raise Rejected("already_exists", "The member holds this program.", program=program_id.hex(), member=member)
    added = 0 if state.holdings.needs(member, program_id) else counted_bytes(encoded)
    require_room(state.limits, state.holdings, member, Share(0, 0, added))
    if program_id not in state.programs.rows:
        state.buckets.require_room_for_program(program_id, encoded)
        verified = verify(program, state.limits.contract_gas_max)
        state.programs.put(program_id, ProgramRow(encoded, program.name, program.gas, len(program.inputs)))
        state.stored_programs.remember(program_id, verified, len(encoded))
        step.meter.read.add(program_id)
    state.program_holders.put((program_id, member), HolderRow(step.height))
    step.emit("program_stored", program=program_id, name=program.name, gas=program.gas, member=member)


def remove(step: Step, operation: RemoveProgram) -> None:
    """Rule 2, for the first signer that is a member."""
    state, program_id, member = step.state, operation.program, _member(step)
    if program_id not in state.programs.rows:
        raise Rejected("unknown_program", "There is no program of this id.", program=program_id.hex())
    if (program_id, member) not in state.program_holders.rows:
        raise Rejected("not_held", "The member does not hold this program.", program=program_id.hex(), member=member)
    state.program_holders.put((program_id, member), None)
    step.emit("program_given_up", program=program_id, member=member)
    drop_if_unneeded(step, program_id)


def drop_if_unneeded(step: Step, program_id: bytes) -> None:
    """Remove a program that nobody holds and that no contract is of."""
    state: State = step.state
    if not state.holdings.is_needed(program_id):
        state.programs.put(program_id, None)
        step.emit("program_removed", program=program_id)


def _member(step: Step) -> str:
    for key in step.signers:
        member = step.state.derived.member_of_key.get(key)
        if member is not None:
            return member
    raise Rejected("not_authorised", "Only a member may do this.", role="member")
