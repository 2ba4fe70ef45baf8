"""The PBFT engine: the common core, and one part more: the second vote.

A replica that sees its view's block prepared gives it a COMMIT vote, and so does everybody; a quorum of these is the
certificate that commits the block (`consensus.pbft.safety`). Everything else, from the proposal to the view change, is
the common core's, under PBFT's rules.
"""

from __future__ import annotations

from consensus.chain import Chain
from consensus.config import CoreConfig, Recovery
from consensus.core import Core
from consensus.events import Now
from consensus.pbft import safety
from consensus.signatory import Signatory
from consensus.types import ReplicaIndex, Vote
from genesis.statements import Phase


class Committing:
    """Our COMMIT vote.

    It is given in the current view alone, once, when the PREPARE certificate and the block are here; the block must be,
    because a root that a quorum certified and we do not share has to stop us first (`consensus.anchors`).
    """

    def __init__(self, me: ReplicaIndex, others: tuple[ReplicaIndex, ...], chain: Chain, signatory: Signatory) -> None:
        self._me = me
        self._others = others
        self._chain = chain
        self._signatory = signatory
        self._last_view = 0

    def commit_if_prepared(self) -> None:
        """Give the COMMIT vote, if the view's block is prepared and the rules allow it."""
        qc = self._chain.high_qc
        is_prepared = qc.phase is Phase.PREPARE and qc.view == self._chain.view and qc.block_hash in self._chain.tree
        if not is_prepared or qc.view == self._last_view or self._signatory.is_silent:
            return
        self._last_view = qc.view
        state = self._signatory.state
        if safety.commit_refusal(state, qc) is None:
            vote = Vote(qc.epoch, qc.view, Phase.COMMIT, qc.height, qc.block_hash, self._me)
            self._signatory.vote_again(safety.after_commit(state, qc), vote, self._others)


class PbftCore(Core):
    """One replica's part in the agreement by PBFT."""

    def __init__(self, config: CoreConfig, recovery: Recovery) -> None:
        super().__init__(config, recovery, safety)
        self._committing = Committing(config.index, config.others, self._chain, self._signatory)

    def _vote(self, now: Now) -> None:
        super()._vote(now)
        self._committing.commit_if_prepared()
