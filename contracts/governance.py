"""Governance: validators propose changes of their set and approve them; an edge of an epoch carries them out.

Rules:

1. Who acts is a validator of the present epoch, by its consensus key among the envelope's signers, and not jailed. If
   several sign one envelope, all of them act.
2. A proposal's id is ``H(CHANGE, [change, opened_height])``: to approve an id is to approve exactly that change,
   whoever showed it. One change is proposed once at a time.
3. Who proposes approves. A change is approved once validators with a quorum of the present set's power, in its present
   weights and the jailed not counted, have approved it. If it then does not fit what was approved before it
   (`contracts.changes`), the last approval is refused, and may be given again after the next edge.
4. Approved changes take effect at the next edge, in the order of their approval (`contracts.edge`). They cannot be
   withdrawn, for later ones may rest on them.
5. An open proposal leaves when its proposer withdraws it, or at the edge that ends the `proposal_epochs`-th epoch after
   its own. A proposal that favours a validator leaves when that validator is jailed: nobody approved it knowing that.
"""

from __future__ import annotations

from contracts.changes import changed, plan, quorum_power, without_jailed
from contracts.operations import parse_change, wire_of
from contracts.operations_governance import ApproveProposal, Change, RemoveValidator, WithdrawProposal, proposal_id
from contracts.state import State
from contracts.step import Step
from contracts.tables import ProposalRow
from genesis.codec import Value
from genesis.errors import Rejected


def propose(step: Step, operation: Change) -> None:
    """Open a proposal, approved by those who sign."""
    state, names, wire = step.state, acting_validators(step), wire_of(operation)
    _require_room(state, names[0], wire)
    require_fits(state, operation)
    identity = proposal_id(wire, step.height)
    step.emit("change_proposed", proposal=identity, validator=operation.validator, proposer=names[0])
    _put(step, identity, ProposalRow(wire, names[0], step.height, (), 0), names)


def approve(step: Step, operation: ApproveProposal) -> None:
    """Approve a proposal in the name of every validator that signs."""
    names, row = acting_validators(step), _open_proposal(step.state, operation.proposal)
    _put(step, operation.proposal, row, names)


def withdraw(step: Step, operation: WithdrawProposal) -> None:
    """Take a proposal back."""
    names, row = acting_validators(step), _open_proposal(step.state, operation.proposal)
    if row.proposer not in names:
        raise Rejected("not_authorised", "Only its proposer may withdraw a proposal.", proposer=row.proposer)
    step.state.proposals.put(operation.proposal, None)
    step.emit("change_withdrawn", proposal=operation.proposal)


def acting_validators(step: Step) -> list[str]:
    """The names of the validators that sign (rule 1), in the order of their signatures.

    Raises:
        Rejected: ``not_authorised`` if there is none, ``jailed`` if one is.
    """
    signing = [step.state.standing.validator_of_key(key) for key in step.signers]
    names = [each.name for each in signing if each is not None]
    if not names:
        raise Rejected("not_authorised", "Only a validator of this epoch may do this.", epoch=step.state.epoch)
    for name in names:
        if name in step.state.jail.rows:
            raise Rejected("jailed", "This validator is jailed and decides nothing.", validator=name)
    return names


def approved_changes(state: State) -> list[tuple[bytes, Change]]:
    """The approved changes with their ids, in the order of their approval."""
    approved = [(row.place, identity, row.change) for identity, row in state.proposals.rows.items() if row.place]
    return [(identity, parse_change(change)) for _place, identity, change in sorted(approved)]


def approving_power(state: State, row: ProposalRow) -> int:
    """The power behind a proposal now (rule 3)."""
    jail = state.jail.rows
    return sum(each.power for each in state.standing.validators if each.name in row.approvals and each.name not in jail)


def require_fits(state: State, change: Change) -> None:
    """Refuse a change that does not fit the present set and what is approved already."""
    present, jail, most = state.standing.validators, state.jail.rows, state.limits.validators_max
    planned = plan(present, jail, [each for _identity, each in approved_changes(state)], most)
    changed(present, without_jailed(present, jail), planned.members, change, most)


def drop_in_favour_of(step: Step, validator: str) -> None:
    """Rule 5's last sentence; a proposal to remove the offender stays."""
    proposals = step.state.proposals
    for identity in sorted(proposals.rows):
        change = parse_change(proposals.rows[identity].change)
        if change.validator == validator and not isinstance(change, RemoveValidator):
            proposals.put(identity, None)
            step.emit("change_dropped", proposal=identity, reason="jailed")


def _open_proposal(state: State, identity: bytes) -> ProposalRow:
    row = state.proposals.rows.get(identity)
    if row is None:
        raise Rejected("unknown_proposal", "There is no proposal with this id.", proposal=identity.hex())
    if row.place:
        raise Rejected("already_approved", "The change is approved; the next edge carries it out.")
    return row


def _require_room(state: State, proposer: str, wire: tuple[Value, ...]) -> None:
    rows, limits = state.proposals.rows, state.limits
    for identity, row in rows.items():
        if row.change == wire:
            raise Rejected("already_proposed", "This change is proposed already.", proposal=identity.hex())
    if len(rows) >= limits.proposals_max:
        raise Rejected("limit_reached", "No more proposals may wait.", count_max=limits.proposals_max)
    own = sum(1 for row in rows.values() if row.proposer == proposer)
    if own >= limits.proposals_per_validator_max:
        raise Rejected("limit_reached", "The proposer has as many proposals as it may.", count_max=own)


def _put(step: Step, identity: bytes, row: ProposalRow, names: list[str]) -> None:
    """Rule 3: the proposal with these approvals; approved, if they suffice and the change fits."""
    state = step.state
    after = row._replace(approvals=tuple(sorted({*row.approvals, *names})))
    power, needed = approving_power(state, after), quorum_power(state.standing.validators)
    if power >= needed:
        require_fits(state, parse_change(row.change))
        last = max((each.place for each in state.proposals.rows.values()), default=0)
        after = after._replace(place=last + 1)
    elif after == row:
        raise Rejected("already_signed", "The validator has approved this already.", power=power, needed=needed)
    state.proposals.put(identity, after)
    event = "change_approved" if after.place else "approval_counted"
    step.emit(event, proposal=identity, power=power, needed_power=needed)
