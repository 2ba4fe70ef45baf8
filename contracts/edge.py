"""The edge of an epoch: the system step after the last block's envelopes that installs the next validator set.

Rules:

1. The edge is at a fixed height (`genesis.epochs`). Approvals in the edge block itself still count.
2. The next set is the present one without the jailed, then every approved change in the order of approval. A change
   that does not fit any more, because of a jailing, is dropped. All approved proposals leave.
3. If that changes nothing, the present set stays in force and its row stays as it is. Else its row is given its last
   epoch, and the next set is in force from the new epoch. A row so says which epochs a set decides, and one proof of
   one row shows the set of any of them. The state keeps `validator_sets_max` sets; the oldest leave.
4. Proposals nobody approved in time leave, as do offences and jailings out of the window of evidence.
5. Bonds that are due are released, in every block.

The seam for consensus: after a block at which `genesis.epochs.is_edge` holds, `validator_set` of the state is the set
of the epoch that decides the next block, `validator_set_of` gives earlier ones, and `validator_set_key` names the entry
under the state root that proves a set to whoever has only the root.
"""

from __future__ import annotations

from dataclasses import astuple

from contracts import bonds, offences
from contracts.changes import plan
from contracts.governance import approved_changes
from contracts.operations_governance import AddValidator
from contracts.state import State
from contracts.step import Step
from contracts.tables import ValidatorSetRow
from genesis.document import GenesisValidator
from genesis.epochs import epoch_after_block, epoch_of_block, is_edge
from genesis.errors import Rejected


def validator_set(state: State) -> tuple[GenesisValidator, ...]:
    """The validators of the state's epoch, in order of index: who decides the block after the state's."""
    return state.standing.validators


def validator_set_of(state: State, epoch: int) -> tuple[GenesisValidator, ...]:
    """The validators of `epoch`, in order of index.

    Raises:
        Rejected: ``unknown_epoch`` when it is ahead of the state's, or its set is no longer kept.
    """
    _require_begun(state, epoch)
    return state.standing.validators_of(epoch)


def validator_set_key(state: State, epoch: int) -> bytes:
    """The key of the entry that holds the set of `epoch`, for `State.prove`.

    `genesis.validator_sets` reads the entry.

    Raises:
        Rejected: As `validator_set_of`.
    """
    _require_begun(state, epoch)
    return state.validator_sets.entry_key(state.standing.first_epoch_of(epoch))


def end_block(step: Step) -> None:
    """What follows the block's envelopes: rule 5, and at an edge all the others."""
    limits = step.state.limits
    epoch = epoch_after_block(step.height, limits.epoch_blocks)
    if is_edge(step.height, limits.epoch_blocks):
        _begin_epoch(step, epoch)
    bonds.release_due(step, epoch)


def work_due(state: State) -> int:
    """About how many rows `end_block` of the next block would touch."""
    height, blocks = state.height + 1, state.limits.epoch_blocks
    at_edge = len(state.proposals.rows) + len(state.jail.rows) if is_edge(height, blocks) else 0
    return at_edge + bonds.work_due(state, epoch_after_block(height, blocks))


def _begin_epoch(step: Step, epoch: int) -> None:
    state, present = step.state, step.state.standing.validators
    approved = approved_changes(state)
    changes = [change for _identity, change in approved]
    planned = plan(present, state.jail.rows, changes, state.limits.validators_max)
    for place, why in planned.dropped:
        step.emit("change_dropped", proposal=approved[place][0], reason=why.code)
    if planned.members != present:
        _install(state, epoch, planned.members)
    dropped = {place for place, _why in planned.dropped}
    for place, change in enumerate(changes):
        if place not in dropped and isinstance(change, AddValidator) and change.validator in state.jail.rows:
            state.jail.put(change.validator, None)
    _drop_proposals(step, epoch)
    offences.drop_old(step, epoch)
    step.emit("epoch_began", epoch=epoch, validators=len(planned.members), changed=planned.members != present)


def _install(state: State, epoch: int, members: tuple[GenesisValidator, ...]) -> None:
    sets, kept = state.validator_sets, state.standing.first_epochs
    sets.put(kept[-1], sets.rows[kept[-1]]._replace(last_epoch=epoch - 1))
    sets.put(epoch, ValidatorSetRow(None, tuple(astuple(each) for each in members)))
    while len(kept) > state.limits.validator_sets_max:
        sets.put(kept[0], None)


def _drop_proposals(step: Step, epoch: int) -> None:
    """The approved, which are done, and those that nobody approved in time."""
    state, limits = step.state, step.state.limits
    for identity, row in sorted(state.proposals.rows.items()):
        opened_epoch = epoch_of_block(row.opened_height, limits.epoch_blocks)
        if row.place:
            state.proposals.put(identity, None)
        elif opened_epoch + limits.proposal_epochs < epoch:
            state.proposals.put(identity, None)
            step.emit("change_expired", proposal=identity)


def _require_begun(state: State, epoch: int) -> None:
    if not 0 <= epoch <= state.epoch:
        raise Rejected("unknown_epoch", "That epoch has not begun.", epoch=epoch, present_epoch=state.epoch)
