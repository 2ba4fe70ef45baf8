"""How a replica that has lost its safety state rejoins without ever contradicting what it signed before.

Its home may have been wiped (docs/FAULTS.md row 10) or its file lost. It does not know in which views it voted, so it
signs nothing and sends nothing, but follows the chain, until it can bound what it may have signed:

1. It takes reports, the `Certificates` messages of the others, verified. A report's view is the highest that its QC or
   TC certifies.
2. Reports of the first ``view_timeout_ms_max`` after the start do not count: they may have been queued before the
   crash.
3. When replicas that hold a quorum *without it* have reported, with c the highest view among their latest reports, it
   takes up c + 3 as its last voted and last proposed view, makes that durable, and joins.
4. Until then it sends no report of its own: one that forgot must not vouch.

Why c + 2 bounds what it signed: to be in view w it held a certificate of view w - 1 (or of w itself, of a block that is
only prepared), signed by a quorum in that view. That quorum shares an honest replica with the reporters. To sign in
view w - 1 it held a certificate of view w - 2 or more, which it keeps, so it reports w - 2 or more, and w <= c + 2. Why
one more: it may have voted in view c + 2 on a QC that it no longer has, so it must not give up that view either,
reporting a lower one; T1 lets it time out from its last voted view on. When it gets there, it has learnt that QC again
or a higher one: whoever made the view before fail, without it, was a quorum.

Across an edge. When a quorum without it reports from one epoch, it has signed nothing in the epoch after the next, for
to be there it needed the certificate that closes the next, and so honest replicas that had left this one. In the next
it may have been, the first to see this one closed, in view 1, which is c + 1 there with c = 0. So it carries the bar of
`VIEWS_SKIPPED` views over the edge (`SafetyState.next_epoch_view`, `consensus.safety.next_safety`). If the edge comes
before the reports do, it has forgotten in the next epoch as in this one.

When the others hold no quorum without it (equal powers: n up to 3), nobody can vouch for it: it follows the chain and
never signs again; its operator restores the safety file or replaces the validator.
"""

from __future__ import annotations

from typing import Final

from consensus.config import CoreConfig
from consensus.types import ReplicaIndex

VIEWS_SKIPPED: Final = 3


class Amnesia:
    """The reports gathered since the start."""

    def __init__(self, config: CoreConfig, running_since_ms: int | None) -> None:
        self._validators = config.validators
        self._others = frozenset(config.others)
        self._settle_ms = config.params.view_timeout_ms_max
        self._running_since_ms = running_since_ms
        self._counts_from_ms: int | None = None
        self._reports: dict[ReplicaIndex, int] = {}

    @property
    def is_curable(self) -> bool:
        """Whether the others hold a quorum without us."""
        return self._validators.power_of(self._others) >= self._validators.quorum_power

    def start(self, now_ms: int) -> None:
        """The core runs from here, and with it the process, unless that had another core before (rule 2)."""
        since_ms = self._running_since_ms if self._running_since_ms is not None else now_ms
        self._counts_from_ms = since_ms + self._settle_ms

    def report(self, sender: ReplicaIndex, certified_view: int, now_ms: int) -> None:
        """Take a verified report (rules 1 and 2); of one sender the latest counts."""
        if self._counts_from_ms is not None and now_ms >= self._counts_from_ms and sender in self._others:
            self._reports[sender] = certified_view

    def bound_view(self) -> int | None:
        """The view up to which we must stay silent, once a quorum has reported (rule 3)."""
        if self._validators.power_of(self._reports) < self._validators.quorum_power:
            return None
        return max(self._reports.values()) + VIEWS_SKIPPED
