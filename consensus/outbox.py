"""What the core hands out after one event: effects, in the order in which they must be carried out.

Every part appends here and none reads it. Reports are made here as well, so that each kind looks the same whoever makes
it.
"""

from __future__ import annotations

from typing import Final

from consensus.events import Accuse, Effect, Report
from consensus.types import Proposal, ReplicaIndex, Statement, Vote
from genesis.errors import Rejected, violated
from genesis.evidence import Evidence, Half, Offence, make_evidence
from genesis.statements import Phase

OFFENCES_REMEMBERED_MAX: Final = 1_024


class Outbox:
    """The effects of the event in hand."""

    def __init__(self, me: ReplicaIndex) -> None:
        self._me = me
        self._effects: list[Effect] = []
        self._accused: dict[tuple[int, ...], None] = {}

    def clear(self) -> None:
        """A new event is in hand."""
        self._effects.clear()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Everything put since the event came, in order."""
        return tuple(self._effects)

    def put(self, effect: Effect) -> None:
        """Append an effect: it is carried out after those before it."""
        self._effects.append(effect)

    def report(self, kind: str, **details: int | str) -> None:
        """Something worth a log line and a counter."""
        self._effects.append(Report(kind, tuple(details.items())))

    def accuse(self, validator: ReplicaIndex, one: Statement, other: Statement) -> None:
        """Two genuine statements of one key and view that no honest replica makes both: say so, and hand on what proves
        it. Each offence once, as far as the last `OFFENCES_REMEMBERED_MAX` are remembered; what follows is counted."""
        evidence = _evidence(validator, one, other)
        offence = (evidence.validator, evidence.epoch, evidence.view, evidence.offence, evidence.phase)
        if offence in self._accused:
            self.report("contradiction", validator=validator, view=one.view)
            return
        if len(self._accused) >= OFFENCES_REMEMBERED_MAX:
            del self._accused[next(iter(self._accused))]
        self._accused[offence] = None
        what = evidence.offence.name.lower()
        first, second = (_said(half) for half in (evidence.first, evidence.second))
        self.report("equivocation", statement=what, validator=validator, view=one.view, first=first, second=second)
        self.put(Accuse(evidence))

    def report_rejected(self, sender: ReplicaIndex | None, fault: Rejected) -> None:
        """What `sender` sent was refused; None is our own shell. What we ourselves said is never at fault, unless this
        core or the shell's key is wrong."""
        if sender is None or sender == self._me:
            violated("our own statement was refused: a wrong key or a broken core", fault=str(fault))
        self.report("rejected", sender=sender, code=fault.code, reason=str(fault))


def _evidence(validator: ReplicaIndex, one: Statement, other: Statement) -> Evidence:
    phase = one.phase if isinstance(one, Vote) else Phase.CERTIFY
    epoch = one.header.epoch if isinstance(one, Proposal) else one.epoch
    return make_evidence(_offence(one), epoch, one.view, validator, _half(one), _half(other), phase)


def _offence(statement: Statement) -> Offence:
    match statement:
        case Vote():
            return Offence.VOTE
        case Proposal():
            return Offence.PROPOSAL
    return Offence.TIMEOUT


def _half(statement: Statement) -> Half:
    match statement:
        case Vote():
            return Half((statement.height, statement.block_hash), statement.signature)
        case Proposal():
            return Half((statement.header.block_hash,), statement.signature)
    return Half((statement.high_qc.view,), statement.signature)


def _said(half: Half) -> str:
    """What a statement says, for a log line: a block's hash, or the view of a timeout's QC."""
    last = half.statement[-1]
    return last.hex() if isinstance(last, bytes) else f"high_qc of view {last}"
