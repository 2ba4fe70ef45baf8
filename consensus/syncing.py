"""Catching up: asking for blocks that are certified but not here, and taking in the answers.

Rules:

1. A certified block above the last committed one is missing: ask for what lies between. Shortly after noticing, for its
   proposal is usually on its way on another link; then on every beat until it is here.
2. An answer that brought blocks is followed by the next request at once.
3. Ask from the last committed height; while answers bring blocks that commit nothing yet, from the last of those, also
   where they were here before; after an answer that led no further, or none within a beat, from the committed height
   again: that last block may stand on a fork, or close an epoch by a certificate that whoever sent it had not seen yet.
4. Not while the executor is far behind (`consensus.chain`, rule 6).
5. A message of a later epoch shows that ours is over: blocks above the committed height are missing, those that close
   the epoch among them. Who only observes hears nothing, and asks on every beat; so to be asked for blocks of a later
   epoch shows as much. Whoever an edge removes may be alone in having seen how the epoch was closed, and says nothing.
6. An answer is taken in block by block, oldest first, each certified by its successor and connected to what is here,
   the same way as if it had come as a proposal. The first that is not ends it; those before it stay.

What is of another epoch in it was asked for by the core before this one, and says nothing.

`FetchPlan` holds the timing (rules 1 to 3), `Syncing` asks and takes in.
"""

from __future__ import annotations

from typing import Final

from consensus.certificates import Verifier
from consensus.chain import Chain
from consensus.config import CoreConfig
from consensus.events import BlocksReceived, FetchBlocks
from consensus.following import Following
from consensus.outbox import Outbox
from consensus.types import QC, Proposal, ReplicaIndex
from consensus.voting import Voting
from genesis.errors import Rejected
from genesis.params import ChainParams

GRACE_DIVISOR: Final = 10


class FetchPlan:
    """The timing of `FetchBlocks`."""

    def __init__(self, params: ChainParams) -> None:
        self._params = params
        self._next_ms: int | None = None
        self._cursor_height = 0
        self._was_led_further = False

    @property
    def next_ms(self) -> int | None:
        """When the next request is due; None while nothing is missing."""
        return self._next_ms

    def nothing_missing(self) -> None:
        """Everything certified is here."""
        self._next_ms = None
        self._cursor_height = 0

    def is_due(self, now_ms: int) -> bool:
        """A block is missing: whether to ask now; if so, the next request is set (rule 1)."""
        if self._next_ms is None:
            self._next_ms = now_ms + self._params.resend_interval_ms // GRACE_DIVISOR
        if now_ms < self._next_ms:
            return False
        self._next_ms = now_ms + self._params.resend_interval_ms
        if not self._was_led_further:
            self._cursor_height = 0
        self._was_led_further = False
        return True

    def from_height(self, committed_height: int) -> int:
        """Rule 3."""
        return max(committed_height, self._cursor_height)

    def is_beyond(self, height: int) -> bool:
        """Whether a block of this height is beyond all that answers have brought."""
        return height > self._cursor_height

    def answered(self, now_ms: int, last_added_height: int) -> None:
        """An answer came; `last_added_height` is 0 when it led no further (rules 2 and 3)."""
        self._cursor_height = last_added_height
        self._was_led_further = last_added_height > 0
        if self._was_led_further:
            self._next_ms = now_ms


class Syncing:
    """Completes the chain below the highest certificate and below the view's proposal."""

    def __init__(
        self, config: CoreConfig, verifier: Verifier, chain: Chain, following: Following, voting: Voting, outbox: Outbox
    ) -> None:
        self._blocks_max = config.params.sync_blocks_max
        self._resend_interval_ms = config.params.resend_interval_ms
        self._epoch = config.epoch
        self._observes = config.observes
        self._behind_until_ms = 0
        self._plan = FetchPlan(config.params)
        self._verifier = verifier
        self._chain = chain
        self._following = following
        self._voting = voting
        self._outbox = outbox

    @property
    def next_ms(self) -> int | None:
        """When the next request is due; None while nothing is missing."""
        return self._plan.next_ms

    def hear_later_epoch(self, sender: ReplicaIndex, now_ms: int) -> None:
        """A peer is in a later epoch, or says so (rule 5); it says so, or asks, on every beat."""
        self._behind_until_ms = now_ms + 2 * self._resend_interval_ms
        self._following.informant = sender

    def fetch_if_missing(self, now_ms: int) -> None:
        """Ask for what is missing, if it is time to (rules 1 to 5)."""
        target = self._missing(now_ms)
        if target is None:
            self._plan.nothing_missing()
            return
        if self._chain.has_backlog:
            return
        if self._plan.is_due(now_ms):
            from_height = self._plan.from_height(self._chain.tree.root.height)
            self._outbox.put(FetchBlocks(self._following.informant, from_height, target))

    def on_blocks(self, answer: BlocksReceived, now_ms: int) -> None:
        """An answer, unchecked (rule 6)."""
        last_added_height = 0
        try:
            if len(answer.proposals) > self._blocks_max:
                raise Rejected("bad_sync", "More blocks than an answer may hold.", blocks=len(answer.proposals))
            certificates = [*(each.justify for each in answer.proposals[1:]), answer.high_qc]
            for proposal, qc in zip(answer.proposals, certificates, strict=False):
                known = proposal.header.block_hash in self._chain.tree and self._plan.is_beyond(proposal.header.height)
                if self._take_in(proposal, qc, now_ms) or known:
                    last_added_height = proposal.header.height
        finally:
            self._plan.answered(now_ms, last_added_height)

    def _missing(self, now_ms: int) -> QC | None:
        """The certificate of a block that we need and do not have; or, where there is none, of the highest we have."""
        is_behind = self._observes or now_ms < self._behind_until_ms
        if is_behind or not self._chain.is_complete:
            return self._chain.high_qc
        return self._voting.missing_parent

    def _take_in(self, proposal: Proposal, qc: QC, now_ms: int) -> bool:
        """Check and insert one block of an answer; False when it was known already. Its certificate may be new."""
        header, tree = proposal.header, self._chain.tree
        if header.epoch != self._epoch or header.height <= tree.root.height:
            return False
        if qc.block_hash != header.block_hash:
            raise Rejected("bad_sync", "A block is not certified by its successor.", height=header.height)
        is_known = header.block_hash in tree
        if is_known and not self._chain.is_news(qc):
            return False
        if not is_known and header.parent_hash not in tree:
            raise Rejected("bad_sync", "A block does not connect to what we have.", height=header.height)
        self._verifier.check_qc(qc)
        if not is_known:
            self._verifier.check_certified(proposal)
            self._following.insert(proposal, now_ms)
        self._following.learn_qc(qc, now_ms)
        return not is_known
