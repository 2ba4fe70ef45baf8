"""The state machine's face: admit an envelope, apply a block.

A block executes in this order, and every replica arrives at the same bits:

1. The system step, which nobody signs: ended replay slots, old samples and contracts that closed long ago are dropped;
   expiries and contracts settle.
2. The envelopes, in the block's order, each whole or not at all. One that is expired, replayed or too long-lived is
   *refused*: it never counts as executed and leaves no receipt, for its id may have one already. Any other is
   executed: its id is remembered and it gets its one receipt, applied or rejected.
3. The end of the block: at the edge of an epoch the next validator set is installed; bonds that are due are released.
4. The conservation checks over what the block touched; a breach quarantines its market and raises an alarm.
5. The replay digests and the meta entry; then the state is sealed into a root and the writes that mirror it on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contracts import (
    bonds,
    conservation,
    edge,
    expiry,
    funds,
    governance,
    instances,
    offences,
    oracle,
    programs,
    registry,
    trading,
)
from contracts import operations as ops
from contracts import operations_contracts as con
from contracts import operations_governance as gov
from contracts.conservation import Alarm
from contracts.receipts import EVENTS_MAX, Event, Receipt
from contracts.state import State, Write, genesis_state, restore_state
from contracts.step import Meter, Step
from genesis.envelope import Envelope, UnverifiedEnvelope
from genesis.errors import Rejected, invariant

__all__ = [
    "Alarm",
    "BlockInput",
    "BlockOutput",
    "State",
    "admit",
    "apply_block",
    "genesis_state",
    "restore_state",
    "system_work",
]

MESSAGE_LENGTH_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class BlockInput:
    """A committed block: its place, its time (strictly above the last one's), its envelopes in order."""

    height: int
    time_unix_ms: int
    envelopes: Sequence[Envelope]


@dataclass(frozen=True, slots=True)
class BlockOutput:
    """What a block came to.

    Attributes:
        receipts: One for each envelope that executed, applied or rejected; final.
        refused: For envelopes that did not execute (``expired``, ``lifetime_too_long``, ``replayed``): an answer for
            whoever waits, not to be stored.
        root: The state root after the block.
        writes: The entries that changed, each key at most once; None removes.
        events: What the system step did.
        alarms: Conservation rules that broke; normally none.
    """

    receipts: tuple[Receipt, ...]
    refused: tuple[Receipt, ...]
    root: bytes
    writes: tuple[Write, ...]
    events: tuple[Event, ...]
    alarms: tuple[Alarm, ...]


_APPLY: Final[Mapping[type[ops.Operation], Callable[[Step, Any], None]]] = {
    ops.AdmitMember: registry.admit_member,
    ops.OpenAccount: registry.open_account,
    ops.RegisterAsset: registry.register_asset,
    ops.RegisterIndex: registry.register_index,
    ops.ListSeries: registry.list_series,
    ops.IssueAsset: funds.issue,
    ops.RedeemAsset: funds.redeem,
    ops.Transfer: funds.transfer,
    ops.Trade: trading.trade,
    ops.SampleOracle: oracle.sample,
    ops.DeclareSettlement: expiry.declare,
    gov.AddValidator: governance.propose,
    gov.RemoveValidator: governance.propose,
    gov.ReweightValidator: governance.propose,
    gov.RotateValidatorKey: governance.propose,
    gov.MoveValidator: governance.propose,
    gov.ApproveProposal: governance.approve,
    gov.WithdrawProposal: governance.withdraw,
    gov.DepositBond: bonds.deposit,
    gov.WithdrawBond: bonds.withdraw,
    gov.SubmitEvidence: offences.submit,
    con.StoreProgram: programs.store,
    con.RemoveProgram: programs.remove,
    con.StartContract: instances.start,
    con.ElectContract: instances.elect,
}


def admit(state: State, envelope: UnverifiedEnvelope) -> None:
    """The cheap check before an envelope is let into a batch; the block checks again.

    Before the first block there is no block time yet, so only the signers are checked.

    Raises:
        Rejected: ``expired``, ``lifetime_too_long``, ``replayed`` or ``unknown_signer``.
    """
    if state.height:
        state.replay.check(envelope.id, envelope.expires_at_unix_ms, state.time_unix_ms)
    for key in envelope.signers:
        known = key in state.derived.member_of_key or key in state.roles_of or state.standing.validator_of_key(key)
        if not known:
            raise Rejected(
                "unknown_signer", "A signer is no member, role or validator of this chain.", signer=key.hex()
            )


def apply_block(state: State, block: BlockInput) -> BlockOutput:
    """Change `state` by one committed block; see the head of this file.

    Raises:
        InvariantViolation: The block does not follow the last one, or the code contradicts itself.
    """
    invariant(block.height == state.height + 1, "Blocks apply in order.", height=block.height, last=state.height)
    invariant(block.time_unix_ms > state.time_unix_ms, "Block time moves forward.", time=block.time_unix_ms)
    system = Step(state, block.height, block.time_unix_ms)
    dropped = state.replay.drop_ended(block.time_unix_ms)
    expiry.settle_due(system)
    instances.drop_closed(system)
    instances.settle_due(system)
    oracle.drop_old_samples(system)
    receipts, refused = _execute_all(state, block)
    edge.end_block(system)
    alarms = conservation.check(state, state.changes())
    conservation.quarantine(state, block.height, alarms)
    remembered = state.replay.seal(block.height)
    state.advance(block.height, block.time_unix_ms)
    writes = state.seal()
    return BlockOutput(
        tuple(receipts), tuple(refused), state.root, (*writes, *dropped, *remembered), tuple(system.events), alarms
    )


def system_work(state: State, time_unix_ms: int) -> int:
    """About how much the system step of the next block has to do, if it has that time; changes nothing.

    Positions that settle, instants that are weighed or dropped, stored replay entries that are removed, proposals at
    the edge of an epoch and bonds that are released; each takes up to 25 microseconds. 0 when nothing is due. The
    positions counted go beyond `expiry.POSITIONS_PER_BLOCK_MAX` by those of one expiry at most.
    """
    return (
        expiry.work_due(state, time_unix_ms)
        + instances.work_due(state, time_unix_ms)
        + oracle.work_due(state, time_unix_ms)
        + state.replay.work_due(time_unix_ms)
        + edge.work_due(state)
    )


def _execute_all(state: State, block: BlockInput) -> tuple[list[Receipt], list[Receipt]]:
    receipts: list[Receipt] = []
    refused: list[Receipt] = []
    replay, height, now, meter = state.replay, block.height, block.time_unix_ms, Meter()
    for position, envelope in enumerate(block.envelopes):
        try:
            replay.check(envelope.id, envelope.expires_at_unix_ms, now)
        except Rejected as error:
            refused.append(_rejection(envelope, height, position, error))
            continue
        replay.remember(envelope.id, envelope.expires_at_unix_ms)
        receipts.append(_execute(Step(state, height, now, envelope.signers, meter=meter), envelope, position))
    return receipts, refused


def _execute(step: Step, envelope: Envelope, position: int) -> Receipt:
    """Every operation of one envelope, or none."""
    mark = step.state.mark()
    try:
        for each in envelope.operations:
            operation = ops.parse_operation(each)
            _APPLY[type(operation)](step, operation)
            _require_recordable(step)
    except Rejected as error:
        step.state.undo_to(mark)
        return _rejection(envelope, step.height, position, error)
    return Receipt(envelope.id, step.height, position, "", "", tuple(step.events))


def _require_recordable(step: Step) -> None:
    """A receipt holds so many events; one that cannot be read back must never be written."""
    if len(step.events) > EVENTS_MAX:
        raise Rejected("too_many_events", "The envelope does more than its receipt can hold.", events_max=EVENTS_MAX)


def _rejection(envelope: Envelope, height: int, position: int, error: Rejected) -> Receipt:
    message = str(error).removeprefix(f"{error.code}: ")[:MESSAGE_LENGTH_MAX]
    return Receipt(envelope.id, height, position, error.code, message, ())
