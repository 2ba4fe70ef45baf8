"""Contradictions: two genuine statements of one key that no honest replica makes both.

Rules:

1. What is noted here has been verified: a statement, or the votes and timeouts inside a certificate.
2. Of each key, view and kind (of votes, each phase) the first statement is kept, wherever it was seen. One that differs
   from it is evidence, and leaves as `Accuse`.
3. An offence is told once: the key, the view and the kind. What follows of it is counted.
4. Kept are the views from `WITNESS_WINDOW_VIEWS` below the current one. Nothing comes here of views further ahead than
   votes are collected, so memory is bounded by the window, the validators and the phases.
5. A statement that comes too late for the agreement is not verified for its own sake, only when it differs from what is
   held (`is_rival`, `rivals`): the vote that comes after its QC costs nothing, unless it is a second one.

What is covered: proposals, votes and timeouts that reach this replica, by whatever way, both while their view is in the
window and the process runs. Two statements of which no honest replica ever sees both are not: evidence needs a witness.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from consensus.outbox import Outbox
from consensus.types import QC, TC, Proposal, ReplicaIndex, Timeout, Vote
from genesis.evidence import Half, Offence, make_evidence
from genesis.statements import Phase

WITNESS_WINDOW_VIEWS: Final = 8
CERTIFICATES_MAX: Final = 16
"""Different certificates of one view that are looked into."""

_Slot = tuple[Offence, Phase, ReplicaIndex]
"""What one key may say once in a view."""

_Certificate = tuple[Phase | None, bytes, tuple[ReplicaIndex, ...]]


@dataclass(slots=True)
class _View:
    """What was said in one view.

    Attributes:
        epoch: The epoch of all of it.
        said: The first statement of each slot.
        accused: The offences that were told.
        certificates: Those that were looked into.
    """

    epoch: int
    said: dict[_Slot, Half] = field(default_factory=dict)
    accused: set[tuple[Offence, ReplicaIndex]] = field(default_factory=set)
    certificates: set[_Certificate] = field(default_factory=set)


class Witness:
    """Remembers who said what, as long as a contradiction may still come."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._views: dict[int, _View] = {}
        self._oldest_view = 0

    def __len__(self) -> int:
        return sum(len(each.said) for each in self._views.values())

    def is_rival(self, statement: Vote | Timeout) -> bool:
        """Whether this statement, unchecked, would prove an offence that was not told yet."""
        view = self._views.get(statement.view)
        slot, half = _said_by(statement)
        if view is None or (slot[0], slot[2]) in view.accused:
            return False
        held = view.said.get(slot)
        return held is not None and held.statement != half.statement

    def rivals(self, proposal: Proposal) -> tuple[ReplicaIndex, ...]:
        """Who proposed another block in this view, and was not told of: if one of them signed this one too, it is
        evidence."""
        view = self._views.get(proposal.view)
        said = view.said.items() if view is not None else ()
        return tuple(
            signer
            for (offence, _, signer), half in said
            if offence is Offence.PROPOSAL
            and half.statement != (proposal.header.block_hash,)
            and view is not None
            and (offence, signer) not in view.accused
        )

    def note(self, statement: Vote | Timeout) -> bool:
        """Note a genuine vote or timeout; whether it contradicts what its key said before."""
        return self._note(statement.epoch, statement.view, *_said_by(statement))

    def note_proposal(self, proposal: Proposal, signer: ReplicaIndex) -> bool:
        """Note a genuine proposal and who signed it; whether that key proposed another block in the view."""
        slot = (Offence.PROPOSAL, Phase.CERTIFY, signer)
        return self._note(
            proposal.header.epoch, proposal.view, slot, Half((proposal.header.block_hash,), proposal.signature)
        )

    def note_qc(self, qc: QC) -> None:
        """Note the votes in a genuine QC."""
        if self._is_new(qc.epoch, qc.view, (qc.phase, qc.block_hash, tuple(voter for voter, _ in qc.signatures))):
            for voter, signature in qc.signatures:
                half = Half((qc.height, qc.block_hash), signature)
                self._note(qc.epoch, qc.view, (Offence.VOTE, qc.phase, voter), half)

    def note_tc(self, tc: TC) -> None:
        """Note the timeouts in a genuine TC."""
        if self._is_new(tc.epoch, tc.view, (None, b"", tuple(each.voter for each in tc.signatures))):
            for each in tc.signatures:
                half = Half((each.high_qc_view,), each.signature)
                self._note(tc.epoch, tc.view, (Offence.TIMEOUT, Phase.CERTIFY, each.voter), half)

    def forget(self, view: int) -> None:
        """The current view is `view`: drop what is out of the window (rule 4)."""
        self._oldest_view = view - WITNESS_WINDOW_VIEWS
        for each in [each for each in self._views if each < self._oldest_view]:
            del self._views[each]

    def _is_new(self, epoch: int, number: int, certificate: _Certificate) -> bool:
        """Whether a certificate has not been looked into; it counts as looked into from now on."""
        view = self._view(epoch, number)
        if view is None or certificate in view.certificates or len(view.certificates) >= CERTIFICATES_MAX:
            return False
        view.certificates.add(certificate)
        return True

    def _note(self, epoch: int, number: int, slot: _Slot, half: Half) -> bool:
        view = self._view(epoch, number)
        if view is None:
            return False
        held = view.said.setdefault(slot, half)
        if held.statement == half.statement:
            return False
        offence, phase, signer = slot
        if (offence, signer) in view.accused:
            self._outbox.report("contradiction", validator=signer, view=number)
        else:
            view.accused.add((offence, signer))
            self._outbox.accuse(make_evidence(offence, epoch, number, signer, held, half, phase))
        return True

    def _view(self, epoch: int, number: int) -> _View | None:
        if number < self._oldest_view:
            return None
        return self._views.setdefault(number, _View(epoch))


def _said_by(statement: Vote | Timeout) -> tuple[_Slot, Half]:
    if isinstance(statement, Vote):
        said = (statement.height, statement.block_hash)
        return (Offence.VOTE, statement.phase, statement.voter), Half(said, statement.signature)
    return (Offence.TIMEOUT, Phase.CERTIFY, statement.voter), Half((statement.high_qc.view,), statement.signature)
