"""Offences: evidence that a validator contradicted itself, and what follows from it.

Rules:

1. Anyone known to the chain may submit evidence: a member, the holder of a role, a validator of the present epoch. It
   proves itself, so nothing else about who sends it matters, and nothing is paid for it.
2. It is taken for offences of the present epoch and of the `evidence_epochs` before it, and judged in full against
   the validator set of its own epoch.
3. An offence (validator, epoch, kind, view) is punished once, whichever contradiction proves it. In one epoch a
   validator is punished for at most `offences_per_epoch_max` of them: what more it does changes nothing for it.
4. The punishment: every deposit behind the validator is slashed (`contracts.bonds`), and the validator is *jailed*.
   From then on it decides nothing; at the next edge it loses its power. Governance alone brings it back, with
   `validator.add` after that edge.
5. A name leaves the jail when it is added again, or when its last offence is out of the window.
"""

from __future__ import annotations

from contracts import bonds
from contracts.governance import drop_in_favour_of
from contracts.operations_governance import SubmitEvidence
from contracts.standing import OffenceKey
from contracts.state import State
from contracts.step import Step
from contracts.tables import JailRow, OffenceRow
from genesis.document import GenesisValidator
from genesis.errors import Rejected
from genesis.evidence import Evidence, decode_evidence, verify_evidence


def submit(step: Step, operation: SubmitEvidence) -> None:
    """Judge evidence and punish the offender. The cheap checks come first."""
    state = step.state
    _require_known_signer(step)
    evidence = decode_evidence(operation.evidence)
    validators, key = _offence(state, evidence)
    offender = key[1]
    verify_evidence(evidence, state.chain_id, [each.public_key for each in validators])
    state.offences.put(key, OffenceRow(step.height, evidence.id))
    step.emit(
        "validator_jailed",
        validator=offender,
        epoch=evidence.epoch,
        view=evidence.view,
        offence=evidence.offence.name.lower(),
        evidence=evidence.id,
    )
    state.jail.put(offender, JailRow(state.epoch))
    drop_in_favour_of(step, offender)
    bonds.slash(step, offender)


def refusal_of(state: State, evidence: Evidence) -> str:
    """The code with which the next block would refuse this evidence, were it genuine; empty when it would be taken."""
    try:
        _offence(state, evidence)
    except Rejected as refusal:
        return refusal.code
    return ""


def drop_old(step: Step, epoch: int) -> None:
    """At the edge into `epoch`: forget the offences that evidence of can no longer be taken, and rule 5."""
    state, oldest = step.state, epoch - step.state.limits.evidence_epochs
    offences = state.standing.offences
    while offences and offences[0][0] < oldest:
        state.offences.put(offences[0], None)
    for name, row in sorted(state.jail.rows.items()):
        if row.since_epoch < oldest:
            state.jail.put(name, None)


def _offence(state: State, evidence: Evidence) -> tuple[tuple[GenesisValidator, ...], OffenceKey]:
    """Who judges the evidence's signatures, and the offence that it would prove; `Rejected` unless that can be
    punished."""
    _require_window(state, evidence.epoch)
    validators = state.standing.validators_of(evidence.epoch)
    key = (evidence.epoch, _offender(validators, evidence), int(evidence.offence), evidence.view)
    _require_unpunished(state, key)
    return validators, key


def _require_known_signer(step: Step) -> None:
    state = step.state
    for key in step.signers:
        if key in state.derived.member_of_key or key in state.roles_of or state.standing.validator_of_key(key):
            return
    raise Rejected("not_authorised", "Evidence comes from a member, a role or a validator.")


def _require_window(state: State, epoch: int) -> None:
    present, window = state.epoch, state.limits.evidence_epochs
    if epoch > present:
        raise Rejected("evidence_ahead", "That epoch has not begun.", epoch=epoch, present_epoch=present)
    if epoch < present - window:
        raise Rejected("evidence_too_old", "That epoch is too long ago.", epoch=epoch, oldest_epoch=present - window)


def _offender(validators: tuple[GenesisValidator, ...], evidence: Evidence) -> str:
    if evidence.validator >= len(validators):
        raise Rejected(
            "unknown_validator",
            "The validator set of that epoch has no such place.",
            index=evidence.validator,
            validators=len(validators),
        )
    return validators[evidence.validator].name


def _require_unpunished(state: State, key: OffenceKey) -> None:
    if key in state.offences.rows:
        raise Rejected("already_punished", "This offence has been punished.", height=state.offences.rows[key].height)
    epoch, offender, _kind, _view = key
    punished, most = state.standing.offence_count.get((epoch, offender), 0), state.limits.offences_per_epoch_max
    if punished >= most:
        raise Rejected("limit_reached", "The validator is punished enough for this epoch.", count_max=most)
