"""Giving up a view: our timeout, and everybody's on their way to a TC.

Rules:

1. A view is given up when its time is over (`consensus.pacemaker`), or when so much power has given it up that one of
   them is honest. Once a view; whether it may be signed, `consensus.safety` says. A view that was given up before a
   restart stays given up: what was said then is said again.
2. A timeout's certificates are taken in first. It is collected in its own view only.
3. Who makes a TC shows it to the leader of the view that it leads to, who may not have all the timeouts.
"""

from __future__ import annotations

from consensus.certificates import Verifier
from consensus.chain import Chain
from consensus.collectors import TimeoutCollector
from consensus.config import CoreConfig
from consensus.following import Following
from consensus.outbox import Outbox
from consensus.pacemaker import Pacemaker
from consensus.signatory import Signatory
from consensus.types import ReplicaIndex, Timeout
from consensus.witness import Witness


class GivingUp:
    """Owns the timeouts of the current view."""

    def __init__(
        self,
        config: CoreConfig,
        verifier: Verifier,
        chain: Chain,
        pacemaker: Pacemaker,
        following: Following,
        signatory: Signatory,
        witness: Witness,
        outbox: Outbox,
    ) -> None:
        self._me = config.index
        self._honest_power = config.validators.honest_power
        self._timeouts = TimeoutCollector(config.validators)
        self._verifier = verifier
        self._chain = chain
        self._pacemaker = pacemaker
        self._following = following
        self._signatory = signatory
        self._witness = witness
        self._outbox = outbox

    def on_timeout(self, sender: ReplicaIndex, timeout: Timeout, now_ms: int) -> None:
        """A timeout, unchecked."""
        is_news = self._chain.is_news(timeout.high_qc)
        if timeout.view < self._chain.view and not is_news:
            self._notice_late(timeout)
            return
        self._verifier.check_timeout(timeout)
        is_rival = self._witness.note(timeout)
        if is_news:
            self._following.informant = sender
        self._following.learn_qc(timeout.high_qc, now_ms)
        if timeout.tc is not None:
            self._following.learn_tc(timeout.tc, now_ms)
        if timeout.view == self._chain.view and not is_rival:
            self._collect(timeout, now_ms)

    def restore(self) -> None:
        """Say again what was said about the current view before the restart, if it was given up then."""
        if self._signatory.said_of(self._chain.view) is not None:
            self._give_up("restarted")

    def give_up_if_due(self, now_ms: int) -> None:
        """Rule 1, the first half."""
        due_ms = self.due_ms(now_ms)
        if due_ms is not None and now_ms >= due_ms:
            self._give_up("silence")

    def due_ms(self, now_ms: int) -> int | None:
        """When to look whether the view is to be given up; None once it is, and while we are silent. Up to the deadline
        of a leader that may not idle nobody asks whether this one may."""
        if self._pacemaker.timed_out or self._signatory.is_silent:
            return None
        certified_view = self._chain.base_qc.view
        soonest_ms = self._pacemaker.deadline_ms(certified_view, False)
        if now_ms < soonest_ms:
            return soonest_ms
        return self._pacemaker.deadline_ms(certified_view, self._chain.may_idle)

    def _notice_late(self, timeout: Timeout) -> None:
        """A timeout of a view that is over counts no more, but it may be its signer's second."""
        if self._witness.is_rival(timeout):
            self._verifier.check_timeout_signature(timeout)
            self._witness.note(timeout)

    def _collect(self, timeout: Timeout, now_ms: int) -> None:
        self._timeouts.add(timeout)
        tc = self._timeouts.certificate(timeout.view)
        if tc is not None:
            self._following.learn_tc(tc, now_ms)
            leader = self._chain.leader
            self._signatory.send(self._chain.certificates, (leader,) if leader != self._me else ())
        elif self._timeouts.power(timeout.view) >= self._honest_power:
            self._give_up("joined")

    def _give_up(self, reason: str) -> None:
        if self._pacemaker.timed_out or self._signatory.is_silent:
            return
        self._pacemaker.timed_out = True
        view = self._chain.view
        if not self._signatory.give_up(view, self._chain.high_qc, self._chain.entry_tc):
            return
        self._outbox.report("view_timeout", view=view, leader=self._chain.leader, reason=reason)
