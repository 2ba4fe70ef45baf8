"""What the core hands out after one event: effects, in the order in which they must be carried out.

Every part appends here and none reads it. Reports are made here as well, so that each kind looks the same whoever makes
it.
"""

from __future__ import annotations

from consensus.events import Accuse, Effect, Report
from consensus.types import ReplicaIndex
from genesis.errors import Rejected, violated
from genesis.evidence import Evidence, Half


class Outbox:
    """The effects of the event in hand."""

    def __init__(self, me: ReplicaIndex) -> None:
        self._me = me
        self._effects: list[Effect] = []

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

    def accuse(self, evidence: Evidence) -> None:
        """A validator contradicted itself: say so, and hand on what proves it."""
        validator, view, what = evidence.validator, evidence.view, evidence.offence.name.lower()
        first, second = (_said(half) for half in (evidence.first, evidence.second))
        self.report("equivocation", statement=what, validator=validator, view=view, first=first, second=second)
        self.put(Accuse(evidence))

    def report_rejected(self, sender: ReplicaIndex | None, fault: Rejected) -> None:
        """What `sender` sent was refused; None is our own shell. What we ourselves said is never at fault, unless this
        core or the shell's key is wrong."""
        if sender is None or sender == self._me:
            violated("our own statement was refused: a wrong key or a broken core", fault=str(fault))
        self.report("rejected", sender=sender, code=fault.code, reason=str(fault))


def _said(half: Half) -> str:
    """What a statement says, for a log line: a block's hash, or the view of a timeout's QC."""
    last = half.statement[-1]
    return last.hex() if isinstance(last, bytes) else f"high_qc of view {last}"
