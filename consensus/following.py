"""Following certificates: whoever shows a genuine one leads us on.

Rules:

1. A message's certificates are taken in before the message itself is considered: they commit blocks and lead to views.
2. Only this file writes to the `Chain`, save for executed roots; so wherever the chain's view moves, it is entered at
   once: its timer starts, and what the views behind it have left over is forgotten.
3. Who last showed us something new is the first to ask for a block that is missing (`informant`).

All that comes in here has been verified, except in `on_certificates`, which verifies what it needs.
"""

from __future__ import annotations

from consensus.certificates import Verifier
from consensus.chain import Chain
from consensus.collectors import VOTE_WINDOW_VIEWS, VoteCollector
from consensus.config import CoreConfig
from consensus.outbox import Outbox
from consensus.pacemaker import Pacemaker
from consensus.signatory import Signatory
from consensus.types import QC, TC, Certificates, Proposal, ReplicaIndex
from consensus.witness import Witness


class Following:
    """Takes certificates and blocks into the chain, and enters the views that they lead to."""

    def __init__(
        self,
        config: CoreConfig,
        verifier: Verifier,
        chain: Chain,
        pacemaker: Pacemaker,
        votes: VoteCollector,
        signatory: Signatory,
        witness: Witness,
        outbox: Outbox,
    ) -> None:
        self.informant: ReplicaIndex = config.others[0] if config.others else config.index
        self._verifier = verifier
        self._chain = chain
        self._pacemaker = pacemaker
        self._votes = votes
        self._signatory = signatory
        self._witness = witness
        self._outbox = outbox

    def restore(self, pending: tuple[Proposal, ...], now_ms: int) -> None:
        """Take in the stored proposals above the tip."""
        self._chain.restore(pending, now_ms)
        self._enter_view(now_ms)

    def on_certificates(self, sender: ReplicaIndex, certificates: Certificates, now_ms: int) -> None:
        """What a peer knows, sent on every beat."""
        qc, tc = certificates.high_qc, certificates.high_tc
        if self._chain.is_news(qc):
            self._verifier.check_qc(qc)
            self.learn_qc(qc, now_ms)
            self.informant = sender
        if tc is not None and tc.view >= self._chain.view:
            self._verifier.check_tc(tc)
            self.learn_tc(tc, now_ms)
            self.informant = sender
        self._signatory.hear(sender, max(qc.view, tc.view if tc is not None else 0), now_ms)

    def learn_qc(self, qc: QC, now_ms: int) -> None:
        """Take in a genuine QC."""
        self._signatory.stop_if_impersonated(qc.view, (voter for voter, _ in qc.signatures))
        self._witness.note_qc(qc)
        self._chain.learn_qc(qc)
        self._enter_view(now_ms)

    def learn_tc(self, tc: TC, now_ms: int) -> None:
        """Take in a genuine TC."""
        self._signatory.stop_if_impersonated(tc.view, (each.voter for each in tc.signatures))
        self._witness.note_tc(tc)
        self._witness.note_qc(tc.high_qc)
        if tc.view >= self._chain.view:
            self._outbox.report("view_change", view=tc.view, leader=self._chain.leader_of(tc.view))
        self._chain.learn_tc(tc)
        self._enter_view(now_ms)

    def insert(self, proposal: Proposal, now_ms: int) -> None:
        """Add a genuine proposal whose parent is here.

        Raises:
            Rejected: ``bad_block``: it does not fit its parent or the chain's bounds.
        """
        self._chain.insert(proposal, now_ms)
        self._enter_view(now_ms)

    def _enter_view(self, now_ms: int) -> None:
        """Rule 2, if the view is a new one."""
        view = self._chain.view
        if view == self._pacemaker.view:
            return
        self._pacemaker.enter(view, now_ms)
        self._votes.forget(self._chain.base_qc.view, view)
        self._witness.forget(view)
        self._chain.tree.drop_uncertified(view - VOTE_WINDOW_VIEWS, self._chain.high_qc)
