"""Votes: ours for the proposal of the current view, and everybody's on their way to a QC.

Rules:

1. A proposal counts in its own view, if its signer may lead there on top of the block it extends (`consensus.turns`),
   and one view has one: the first that came. Another by the same leader is
   equivocation. A late one, of a view just past, only completes the tree.
2. The view's proposal enters the tree once its parent is there; then the shell gets its payload. It may wait for both
   as long as its view lasts.
3. With the payload here, the vote waits until the anchor is executed and block time is not too far ahead of our clock;
   it is refused when the engine's rules forbid it or the anchor's root is not ours. Either way that is the end of it.
4. In a small set votes go to everybody, so the loss of the next leader does not lose them. In a larger one they go to
   the next two leaders, and who makes a QC of them shows it to the others, unless the engine's go to all
   (`Rules.VOTES_TO_ALL`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consensus.certificates import Verifier
from consensus.chain import Chain
from consensus.collectors import VOTE_WINDOW_VIEWS, VoteCollector
from consensus.config import CoreConfig
from consensus.events import EnsurePayload, Now
from consensus.following import Following
from consensus.outbox import Outbox
from consensus.rules import Rules
from consensus.signatory import Signatory
from consensus.turns import Turns
from consensus.types import QC, Header, Proposal, ReplicaIndex, Vote
from consensus.witness import Witness
from genesis.errors import Rejected
from genesis.statements import Phase

_WAITING: Final = "waiting"
_ANCHOR_DIFFERS: Final = "the anchor's state root is not ours"
"""Not a refusal: the vote waits for execution or for the clock."""


@dataclass(slots=True)
class _Candidate:
    """The proposal of a view, on its way to a vote.

    Attributes:
        in_tree: Its ancestors are here, and it fits them.
        stored: Its payload is here.
        settled: Voted for or refused: nothing more to do.
    """

    proposal: Proposal
    sender: ReplicaIndex
    in_tree: bool = False
    stored: bool = False
    settled: bool = False


class Voting:
    """Owns the candidate of the current view."""

    def __init__(
        self,
        config: CoreConfig,
        rules: Rules,
        turns: Turns,
        verifier: Verifier,
        chain: Chain,
        following: Following,
        votes: VoteCollector,
        signatory: Signatory,
        witness: Witness,
        outbox: Outbox,
    ) -> None:
        self._me = config.index
        self._others = config.others
        self._block_time_ahead_ms_max = config.params.block_time_ahead_ms_max
        is_small = len(config.validators) <= config.params.broadcast_votes_validators_max
        self._is_broadcast = is_small or rules.VOTES_TO_ALL
        self._turns = turns
        self._verifier = verifier
        self._chain = chain
        self._following = following
        self._votes = votes
        self._signatory = signatory
        self._witness = witness
        self._outbox = outbox
        self._latest: _Candidate | None = None

    # --- the view's proposal (rules 1 and 2) --------------------------------------------------------------------------

    def on_proposal(self, sender: ReplicaIndex, proposal: Proposal, now_ms: int) -> None:
        """A proposal, unchecked."""
        header, view, tree = proposal.header, proposal.view, self._chain.tree
        oldest = max(tree.root_view, self._chain.view - VOTE_WINDOW_VIEWS)
        is_known = header.block_hash in tree
        if view <= oldest or (is_known and view < self._chain.view):
            self._notice_late(proposal)
            return
        self._verifier.check_proposal(proposal)
        was_judged = self._turns.knows(proposal.justify)
        self._following.learn_qc(proposal.justify, now_ms)
        if proposal.tc is not None:
            self._following.learn_tc(proposal.tc, now_ms)
        if not was_judged:
            # Its certificates may have committed what tells who leads. If not, we lack blocks, and it comes again.
            if not self._turns.knows(proposal.justify):
                return
            self._verifier.check_proposal(proposal)
        if view > self._chain.view:
            raise Rejected("unjustified_view", "No certificate in the proposal leads to its view.", view=view)
        if self.note(proposal):
            return
        if view == self._chain.view and self._candidate is None:
            self._following.informant = sender
            self._latest = _Candidate(proposal, sender)
        elif view < self._chain.view and not is_known and header.parent_hash in tree and not self._chain.has_backlog:
            self._following.insert(proposal, now_ms)

    def note(self, proposal: Proposal) -> bool:
        """Remember a genuine proposal; whether its leader proposed another block in the view: the first one counts."""
        signer = self._turns.leader(proposal.view, proposal.justify)
        return self._witness.note_proposal(proposal, signer)

    def _notice_late(self, proposal: Proposal) -> None:
        """A proposal of a view that is over counts no more, but it may be its leader's second."""
        for signer in self._witness.rivals(proposal):
            if self._verifier.is_signed_by(signer, proposal):
                self._witness.note_proposal(proposal, signer)

    def take_candidate_in(self, now_ms: int) -> None:
        """Put the view's proposal into the tree once its parent is there, and ask for its payload."""
        candidate = self._candidate
        if candidate is None or candidate.in_tree or candidate.settled:
            return
        header, tree = candidate.proposal.header, self._chain.tree
        if header.block_hash not in tree and (header.parent_hash not in tree or self._chain.has_backlog):
            return
        try:
            if header.block_hash not in tree:
                self._following.insert(candidate.proposal, now_ms)
        except Rejected as fault:
            candidate.settled = True
            self._outbox.report_rejected(candidate.sender, fault)
            return
        candidate.in_tree = True
        if self._chain.anchors.agrees(header.anchor) is False:
            # Nobody fetches for a block that cannot be voted for: a false anchor must not fill memories.
            self._settle(candidate, _ANCHOR_DIFFERS)
            return
        self._outbox.put(EnsurePayload(header, candidate.sender))

    def on_payload_stored(self, block_hash: bytes) -> None:
        """Everything that the block orders is here."""
        candidate = self._candidate
        if candidate is not None and candidate.proposal.header.block_hash == block_hash:
            candidate.stored = True

    @property
    def missing_parent(self) -> QC | None:
        """The certificate of the block that the view's proposal waits for."""
        candidate = self._candidate
        if candidate is None or candidate.in_tree or candidate.settled:
            return None
        return candidate.proposal.justify

    @property
    def _candidate(self) -> _Candidate | None:
        """The proposal of the current view: with its view it is forgotten."""
        latest = self._latest
        return latest if latest is not None and latest.proposal.view == self._chain.view else None

    # --- our vote (rules 3 and 4) -------------------------------------------------------------------------------------

    def vote_if_ready(self, now: Now) -> None:
        """Vote for the view's proposal, or refuse it, once all is here that decides."""
        candidate = self._candidate
        if candidate is None or not candidate.stored or candidate.settled or self._signatory.is_silent:
            return
        proposal = candidate.proposal
        refusal = self._signatory.vote_refusal(proposal) or self._outer_refusal(proposal.header, now)
        if refusal == _WAITING:
            return
        self._settle(candidate, refusal)
        if refusal is None:
            self._signatory.vote(proposal, self.recipients)

    def due_ms(self, now: Now) -> int | None:
        """When block time will have come close enough to our clock for a vote that waits only for that (monotonic).

        On a replay testnet, whose block time runs faster than the wall, it comes sooner than this; the beat looks.
        """
        candidate = self._candidate
        if candidate is None or not candidate.stored or candidate.settled:
            return None
        ahead_ms = candidate.proposal.header.time_unix_ms - now.chain_unix_ms - self._block_time_ahead_ms_max
        return now.monotonic_ms + ahead_ms if ahead_ms > 0 else None

    def _settle(self, candidate: _Candidate, refusal: str | None) -> None:
        header = candidate.proposal.header
        candidate.settled = True
        if refusal is not None:
            self._outbox.report("vote_refused", view=candidate.proposal.view, height=header.height, reason=refusal)

    @property
    def recipients(self) -> tuple[ReplicaIndex, ...]:
        """To whom our vote in the current view goes."""
        if self._is_broadcast:
            return self._others
        candidate, view = self._candidate, self._chain.view
        parent = candidate.proposal.header if candidate is not None else self._chain.base_qc
        next_leaders = {self._turns.leader(view + 1, parent), self._turns.leader(view + 2, parent)}
        return tuple(sorted(next_leaders - {self._me}))

    def _outer_refusal(self, header: Header, now: Now) -> str | None:
        """What a vote vouches for beyond safety: the anchor's root is ours, block time is not ahead of our clock."""
        agrees = self._chain.anchors.agrees(header.anchor)
        if agrees is False:
            return _ANCHOR_DIFFERS
        ahead_ms = header.time_unix_ms - now.chain_unix_ms
        return _WAITING if agrees is None or ahead_ms > self._block_time_ahead_ms_max else None

    # --- everybody's votes (rule 4) -----------------------------------------------------------------------------------

    def on_vote(self, sender: ReplicaIndex, vote: Vote, now_ms: int) -> None:
        """A vote, unchecked."""
        certified_view = self._chain.base_qc.view if vote.phase is Phase.COMMIT else self._chain.high_qc.view
        if not self._votes.wants(vote, certified_view, self._chain.view) and not self._witness.is_rival(vote):
            return
        self._verifier.check_vote(vote)
        if self._witness.note(vote):
            return
        qc = self._votes.add(vote)
        if qc is None:
            return
        self._following.learn_qc(qc, now_ms)
        if sender != self._me:
            self._following.informant = sender
        if not self._is_broadcast:
            self._signatory.send(self._chain.certificates, self._others)
