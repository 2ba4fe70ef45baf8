"""What this replica says in its own name. No other file asks for a signature.

Rules:

1. `consensus.safety` and the engine's rules say what may be signed. `PersistSafety` stands before every `SignAndSend`
   that it permits, and the certificates known by then are remembered with it.
2. A replica that has lost its safety state signs nothing and sends nothing, until `consensus.amnesia` bounds what it
   may have signed. One that only observes never does.
3. A certificate that our key signed in a view in which we did not comes from an old copy of the safety state, or from a
   second process with our key (docs/FAULTS.md row 4): we stop. We may have signed up to the last voted view with which
   the process started, and from where it first signed up to the last voted view; the views between it has skipped.

Whoever wants to say something asks for the refusal first; a statement against the rules is an `InvariantViolation`.
"""

from __future__ import annotations

from collections.abc import Iterable

from consensus.amnesia import VIEWS_SKIPPED, Amnesia
from consensus.chain import Chain, Halted
from consensus.config import CoreConfig, Recovery
from consensus.events import PersistSafety, SafetyState, Send, SignAndSend
from consensus.outbox import Outbox
from consensus.rules import Rules
from consensus.safety import after_proposal, after_timeout, propose_refusal, remember, timeout_refusal
from consensus.types import QC, TC, Message, Proposal, ReplicaIndex, Timeout, Vote
from genesis.errors import invariant, violated


class Signatory:
    """The keeper of the safety state."""

    def __init__(self, config: CoreConfig, rules: Rules, recovery: Recovery, chain: Chain, outbox: Outbox) -> None:
        safety = recovery.safety
        self._rules = rules
        self._me = config.index
        self._epoch = config.validators.epoch
        self._others = config.others
        invariant(safety is None or safety.epoch == config.epoch, "a safety state is of its epoch", epoch=config.epoch)
        self._safety = None if config.observes else safety
        self._amnesia = Amnesia(config, recovery.running_since_ms) if safety is None and not config.observes else None
        self._recovered_view = safety.last_voted_view if safety is not None else 0
        self._first_signed_view: int | None = None
        self._chain = chain
        self._outbox = outbox

    # --- a lost memory (rule 2) ---------------------------------------------------------------------------------------

    @property
    def is_silent(self) -> bool:
        """Whether nothing is signed or sent: the safety state is lost, or we only observe."""
        return self._safety is None

    @property
    def is_amnesiac(self) -> bool:
        """Whether the safety state is lost."""
        return self._amnesia is not None

    @property
    def silent_below_view(self) -> int:
        """The view that `recover_if_bounded` has barred us from, while it is ahead of the current one; else 0."""
        last = self.state.last_voted_view if self._safety is not None else 0
        return last if last > self._chain.view else 0

    def start(self, now_ms: int) -> None:
        """The process runs from here."""
        if self._amnesia is not None:
            self._amnesia.start(now_ms)
            self._outbox.report("amnesia", curable=int(self._amnesia.is_curable))

    def hear(self, sender: ReplicaIndex, certified_view: int, now_ms: int) -> None:
        """A verified report of the highest view that `sender` knows to be certified."""
        if self._amnesia is not None:
            self._amnesia.report(sender, certified_view, now_ms)

    def recover_if_bounded(self) -> None:
        """Take up a safety state that covers all that may have been signed, once there is one."""
        bound = self._amnesia.bound_view() if self._amnesia is not None else None
        if bound is None:
            return
        self._amnesia = None
        self._recovered_view = bound
        high_qc, high_tc = self._chain.high_qc, self._chain.high_tc
        self._persist(SafetyState(self._epoch, bound, bound, high_qc, high_tc, next_epoch_view=VIEWS_SKIPPED))
        self._outbox.report("amnesia_over", silent_to_view=bound)

    # --- statements (rule 1) ------------------------------------------------------------------------------------------

    def vote_refusal(self, proposal: Proposal) -> str | None:
        """Why we must not vote for `proposal`; None when we may."""
        return self._rules.vote_refusal(self.state, proposal)

    def vote(self, proposal: Proposal, recipients: tuple[ReplicaIndex, ...]) -> None:
        """Vote for a proposal; the shell makes it durable with the state."""
        self._persist(self._rules.after_vote(self.state, proposal), proposal)
        header = proposal.header
        phase = self._rules.PHASES[0]
        vote = Vote(header.epoch, proposal.view, phase, header.height, header.block_hash, self._me)
        self._outbox.put(SignAndSend(vote, recipients))

    def vote_again(self, state: SafetyState, vote: Vote, recipients: tuple[ReplicaIndex, ...]) -> None:
        """A vote of a later phase; `state` is what the engine's rules leave behind it."""
        self._persist(state)
        self._outbox.put(SignAndSend(vote, recipients))

    def said_of(self, view: int) -> Timeout | None:
        """Our timeout of `view`, unsigned, if we have given it up."""
        last = self._safety.last_timeout if self._safety is not None else None
        return last if last is not None and last.view == view else None

    def give_up(self, view: int, qc: QC, tc: TC | None) -> bool:
        """Tell everybody that we give up `view`, or tell them again what we then said; whether it may be said."""
        timeout = self.said_of(view)
        if timeout is None:
            timeout = Timeout(self._epoch, view, qc, tc, self._me)
            if timeout_refusal(self.state, timeout) is not None:
                return False
            self._persist(after_timeout(self.state, timeout))
        self._outbox.put(SignAndSend(timeout, self._others))
        return True

    def may_propose(self, view: int) -> bool:
        """Whether we, the leader of `view`, may propose in it."""
        return propose_refusal(self.state, view) is None

    def propose(self, proposal: Proposal) -> None:
        """Propose a block to everybody."""
        self._persist(after_proposal(self._rules, self.state, proposal))
        self._outbox.put(SignAndSend(proposal, self._others))

    def send(self, message: Message, recipients: tuple[ReplicaIndex, ...]) -> None:
        """Send what needs no new signature, unless we are silent or there is nobody to send it to."""
        if recipients and not self.is_silent:
            self._outbox.put(Send(message, recipients))

    # --- a twin (rule 3) ----------------------------------------------------------------------------------------------

    def stop_if_impersonated(self, view: int, signers: Iterable[ReplicaIndex]) -> None:
        """Raise `Halted` if our key signed what our safety state has not allowed."""
        if self._safety is None or view <= self._recovered_view:
            return
        first, last = self._first_signed_view, self._safety.last_voted_view
        if first is not None and first <= view <= last:
            return
        if self._me in signers:
            ended = f"our safety state ended at view {self._recovered_view} and ends at view {last}"
            raise Halted(f"our key signed in view {view}, {ended}: an old copy, or a twin")

    @property
    def state(self) -> SafetyState:
        """The safety state; only a replica that is not silent has one."""
        if self._safety is None:
            violated("a replica without a safety state signs nothing")
        return self._safety

    def _persist(self, state: SafetyState, proposal: Proposal | None = None) -> None:
        self._safety = remember(state, self._chain.high_qc, self._chain.high_tc)
        if self._first_signed_view is None and state.last_voted_view > self._recovered_view:
            self._first_signed_view = state.last_voted_view
        self._outbox.put(PersistSafety(self._safety, proposal))
