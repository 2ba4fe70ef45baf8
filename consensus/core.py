"""The agreement core of one replica: events in, effects out.

Rules:

1. ``handle`` is a function of the core's state, the event and the time it is given. No clock, no socket, no disk, no
   chance.
2. What a peer sent is verified before it changes anything. `Rejected` becomes a `Report` that names the sender.
3. Whatever a message's certificates prove is taken in first (`_learn_qc`, `_learn_tc`): they commit blocks and lead to
   views. Only then is the message itself considered, for the current view alone.
4. After every event `_progress` does all that has become possible or due, in one fixed order: take in the view's
   proposal, give the view up, vote, propose, fetch, repeat, set the timer. A handler only notes what is new, and need
   not know what waits for it.
5. `PersistSafety` stands before every signature that it permits (`consensus.safety`).

The parts: `safety` says what may be signed and what is decided, `certificates` what is genuine, `chain` what is
certified and committed (over `tree` and `anchors`), `pacemaker` when a view is over, `proposing` when a leader speaks,
`syncing` when to ask for blocks, `amnesia` how one that forgot comes back. This file is their wiring.

Source: Jolteon; see `consensus.safety`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from consensus import events as ev
from consensus.amnesia import Amnesia
from consensus.certificates import Verifier
from consensus.chain import Chain, Halted
from consensus.collectors import VOTE_WINDOW_VIEWS, TimeoutCollector, VoteCollector
from consensus.config import CoreConfig, Recovery, Tip
from consensus.events import Effect, Event, Now, SafetyState
from consensus.leaders import LeaderSchedule
from consensus.pacemaker import Pacemaker
from consensus.proposing import ProposalPlan, Turn, make_header
from consensus.safety import (
    after_proposal,
    after_timeout,
    after_vote,
    fresh_safety,
    propose_refusal,
    remember,
    timeout_refusal,
    vote_refusal,
)
from consensus.syncing import FetchPlan
from consensus.types import QC, TC, Certificates, Header, Message, Proposal, ReplicaIndex, Statement, Timeout, Vote
from genesis.errors import Rejected, invariant, violated

__all__ = ["Core", "CoreConfig", "Recovery", "Tip", "fresh_safety"]

_WAITING: Final = "waiting"
"""Not a refusal: the vote waits for execution or for the clock."""


@dataclass(slots=True)
class _Candidate:
    """The proposal of the current view, on its way to a vote.

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


@dataclass(slots=True)
class _View:
    """What belongs to one view and is forgotten with it: its proposal, and what we said in it, to be said again."""

    number: int
    candidate: _Candidate | None = None
    said: dict[type[Statement], Statement] = field(default_factory=dict)


class Core:
    """One replica's part in the agreement. Not thread-safe: `handle` takes one event at a time."""

    def __init__(self, config: CoreConfig, recovery: Recovery) -> None:
        self._config = config
        self._params = config.params
        self._me = config.index
        self._epoch = config.validators.epoch
        self._effects: list[Effect] = []
        self._now = Now(0, 0)
        self._started_ms: int | None = None
        self._armed_ms: int | None = None
        self._halted = False

        self._leaders = LeaderSchedule(config.validators)
        self._verifier = Verifier(config.chain_id, config.validators, self._leaders, config.genesis.block_hash)
        self._votes = VoteCollector(config.validators)
        self._timeouts = TimeoutCollector(config.validators)
        self._fetching = FetchPlan(config.params)
        self._proposing = ProposalPlan(config.params)
        self._informant: ReplicaIndex = config.others[0] if config.others else config.index

        self._safety: SafetyState | None = recovery.safety
        self._amnesia = Amnesia(config) if recovery.safety is None else None
        self._pending = recovery.pending
        self._chain = Chain(config, recovery, self._effects)
        self._pacemaker = Pacemaker(config.params, self._chain.view)
        self._current = _View(self._chain.view)

    # --- what the shell may read --------------------------------------------------------------------------------------

    @property
    def view(self) -> int:
        """The current view."""
        return self._chain.view

    @property
    def leader(self) -> ReplicaIndex:
        """The leader of the current view."""
        return self._leaders.leader(self.view)

    @property
    def high_qc(self) -> QC:
        """The highest QC known."""
        return self._chain.high_qc

    @property
    def committed(self) -> Header:
        """The last committed block."""
        return self._chain.tree.root

    @property
    def executed_height(self) -> int:
        """The height up to which the shell has executed."""
        return self._chain.anchors.executed_height

    @property
    def is_amnesiac(self) -> bool:
        """Whether this replica has lost its safety state and signs nothing yet."""
        return self._safety is None

    @property
    def uncommitted(self) -> tuple[Proposal, ...]:
        """The certified chain above the last committed block, oldest first, the last certified by `high_qc`; empty
        while a block of it is missing. Answers a sync request after the committed blocks."""
        return self._chain.uncommitted

    # --- dispatch -----------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: Now) -> tuple[Effect, ...]:
        """Take one event in; what the shell must do, in order, each effect complete before the next.

        After a `Halt` every further event is ignored.

        Raises:
            InvariantViolation: The shell or this core broke its promise.
        """
        if self._halted:
            return ()
        invariant((self._started_ms is None) == isinstance(event, ev.Started), "Started comes first, once", event=event)
        self._now = now
        self._effects.clear()
        try:
            try:
                self._dispatch(event)
            except Rejected as fault:
                self._blame(event, fault)
            self._progress()
        except Halted as stop:
            self._halted = True
            self._effects.append(ev.Halt(str(stop)))
        return tuple(self._effects)

    def _dispatch(self, event: Event) -> None:
        match event:
            case ev.Received(sender, message):
                self._on_message(sender, message)
            case ev.PayloadStored(block_hash):
                self._on_payload_stored(block_hash)
            case ev.PayloadOffered(view, payload):
                self._on_payload_offered(view, payload)
            case ev.PayloadWaiting():
                self._proposing.payload_waits()
            case ev.Executed(height, block_hash, state_root):
                self._chain.executed(height, block_hash, state_root)
            case ev.BlocksReceived():
                self._on_blocks(event)
            case ev.WokenUp():
                self._armed_ms = None
            case ev.Started():
                self._on_started()

    def _on_message(self, sender: ReplicaIndex, message: Message) -> None:
        match message:
            case Proposal():
                self._keep_own(sender, message, message.header.view)
                self._on_proposal(sender, message)
            case Vote():
                self._keep_own(sender, message, message.view)
                self._on_vote(sender, message)
            case Timeout():
                self._keep_own(sender, message, message.view)
                self._on_timeout(sender, message)
            case Certificates():
                self._on_certificates(sender, message)

    def _keep_own(self, sender: ReplicaIndex, statement: Statement, view: int) -> None:
        if sender == self._me and view == self.view:
            self._current.said[type(statement)] = statement

    def _progress(self) -> None:
        """Rule 4."""
        self._recover_memory()
        self._take_candidate_in()
        self._give_up_if_due()
        self._vote_if_ready()
        self._propose_if_due()
        self._fetch_if_missing()
        self._repeat_if_due()
        self._set_timer()

    def _on_started(self) -> None:
        self._started_ms = self._now.monotonic_ms
        self._pacemaker.start(self._started_ms)
        if self._amnesia is not None:
            self._amnesia.start(self._started_ms)
            self._report("amnesia", curable=int(self._amnesia.is_curable))
        self._chain.restore(self._pending, self._started_ms)
        self._pending = ()
        self._enter_view()

    def _recover_memory(self) -> None:
        bound = self._amnesia.bound_view() if self._amnesia is not None else None
        if bound is None:
            return
        self._amnesia = None
        self._persist(SafetyState(self._epoch, bound, bound, self._chain.high_qc, self._chain.high_tc))
        self._report("amnesia_over", silent_to_view=bound)

    # --- certificates -------------------------------------------------------------------------------------------------

    def _learn_qc(self, qc: QC) -> None:
        self._check_impostor(qc.view, (voter for voter, _ in qc.signatures))
        self._chain.learn_qc(qc)
        self._enter_view()

    def _learn_tc(self, tc: TC) -> None:
        self._check_impostor(tc.view, (each.voter for each in tc.signatures))
        if tc.view >= self.view:
            self._report("view_change", view=tc.view, leader=self._leaders.leader(tc.view))
        self._chain.learn_tc(tc)
        self._enter_view()

    def _insert(self, proposal: Proposal) -> None:
        self._chain.insert(proposal, self._now.monotonic_ms)
        self._enter_view()

    def _enter_view(self) -> None:
        """Follow the certificates into their view, if it is a new one."""
        view = self._chain.view
        if view == self._current.number:
            return
        self._current = _View(view)
        self._pacemaker.enter(view, self._now.monotonic_ms)
        self._votes.forget(self._chain.high_qc.view, view)
        self._chain.tree.drop_uncertified(view - VOTE_WINDOW_VIEWS)

    def _check_impostor(self, view: int, signers: Iterable[ReplicaIndex]) -> None:
        """Stop if our key signed what our safety state has not allowed: the state was restored from an old backup, or a
        second process runs with our key (catalogue row 4)."""
        if self._safety is not None and view > self._safety.last_voted_view and self._me in signers:
            last = self._safety.last_voted_view
            raise Halted(f"our key signed in view {view}, our safety state ends at view {last}: an old copy, or a twin")

    # --- proposals and votes ------------------------------------------------------------------------------------------

    def _on_proposal(self, sender: ReplicaIndex, proposal: Proposal) -> None:
        header = proposal.header
        oldest = max(self.committed.view, self.view - VOTE_WINDOW_VIEWS)
        is_known = header.block_hash in self._chain.tree
        if header.view <= oldest or (is_known and header.view < self.view):
            return
        self._verifier.check_proposal(proposal)
        self._learn_qc(proposal.justify)
        if proposal.tc is not None:
            self._learn_tc(proposal.tc)
        if header.view > self.view:
            raise Rejected("unjustified_view", "No certificate in the proposal leads to its view.", view=header.view)
        if self._has_rival(header):
            return
        if header.view == self.view and self._current.candidate is None:
            self._informant = sender
            self._current.candidate = _Candidate(proposal, sender)
        elif header.view < self.view and not is_known and header.parent_hash in self._chain.tree:
            self._insert(proposal)

    def _has_rival(self, header: Header) -> bool:
        """Whether another block of the view is here: its leader equivocates, and the first is the one that counts."""
        candidate = self._current.candidate
        held = self._chain.tree.of_view(header.view)
        if candidate is not None and candidate.proposal.header.view == header.view:
            held = candidate.proposal.header
        if held is None or held.block_hash == header.block_hash:
            return False
        self._report_equivocation("proposal", header.proposer, header.view, held.block_hash, header.block_hash)
        return True

    def _take_candidate_in(self) -> None:
        """Put the view's proposal into the tree once its parent is there, and ask for its payload."""
        candidate = self._current.candidate
        if candidate is None or candidate.in_tree or candidate.settled:
            return
        header = candidate.proposal.header
        if header.parent_hash not in self._chain.tree:
            return
        try:
            if header.block_hash not in self._chain.tree:
                self._insert(candidate.proposal)
        except Rejected as fault:
            candidate.settled = True
            self._blame(ev.Received(candidate.sender, candidate.proposal), fault)
            return
        candidate.in_tree = True
        self._effects.append(ev.EnsurePayload(header, candidate.sender))

    def _on_payload_stored(self, block_hash: bytes) -> None:
        candidate = self._current.candidate
        if candidate is not None and candidate.proposal.header.block_hash == block_hash:
            candidate.stored = True

    def _vote_if_ready(self) -> None:
        candidate = self._current.candidate
        if candidate is None or not candidate.stored or candidate.settled or self._safety is None:
            return
        proposal, header = candidate.proposal, candidate.proposal.header
        refusal = vote_refusal(self._safety, proposal) or self._outer_refusal(header)
        if refusal == _WAITING:
            return
        candidate.settled = True
        if refusal is not None:
            self._report("vote_refused", view=header.view, height=header.height, reason=refusal)
            return
        self._persist(after_vote(self._safety, proposal), proposal)
        vote = Vote(header.epoch, header.view, header.height, header.block_hash, self._me)
        self._effects.append(ev.SignAndSend(vote, self._vote_recipients()))

    def _outer_refusal(self, header: Header) -> str | None:
        """What a vote vouches for beyond safety: the anchor's root is ours, block time is not ahead of our clock."""
        agrees = self._chain.anchors.agrees(header.anchor)
        if agrees is False:
            return "the anchor's state root is not ours"
        ahead_ms = header.time_unix_ms - self._now.chain_unix_ms
        return _WAITING if agrees is None or ahead_ms > self._params.block_time_ahead_ms_max else None

    def _vote_recipients(self) -> tuple[ReplicaIndex, ...]:
        if self._votes_are_broadcast:
            return self._config.others
        next_leaders = {self._leaders.leader(self.view + 1), self._leaders.leader(self.view + 2)}
        return tuple(sorted(next_leaders - {self._me}))

    @property
    def _votes_are_broadcast(self) -> bool:
        return len(self._config.validators) <= self._params.broadcast_votes_validators_max

    def _on_vote(self, sender: ReplicaIndex, vote: Vote) -> None:
        if not self._votes.wants(vote, self._chain.high_qc.view, self.view):
            return
        self._verifier.check_vote(vote)
        rival = self._votes.rival(vote)
        if rival is not None:
            self._report_equivocation("vote", vote.voter, vote.view, rival.block_hash, vote.block_hash)
            return
        qc = self._votes.add(vote)
        if qc is None:
            return
        self._learn_qc(qc)
        self._informant = sender if sender != self._me else self._informant
        if not self._votes_are_broadcast:
            self._send(self._chain.certificates, self._config.others)

    # --- timeouts -----------------------------------------------------------------------------------------------------

    def _on_timeout(self, sender: ReplicaIndex, timeout: Timeout) -> None:
        if timeout.view < self.view and timeout.high_qc.view <= self._chain.high_qc.view:
            return
        self._verifier.check_timeout(timeout)
        self._informant = sender if timeout.high_qc.view > self._chain.high_qc.view else self._informant
        self._learn_qc(timeout.high_qc)
        if timeout.tc is not None:
            self._learn_tc(timeout.tc)
        if timeout.view != self.view:
            return
        self._timeouts.add(timeout)
        tc = self._timeouts.certificate(self.view)
        if tc is not None:
            self._learn_tc(tc)
            self._send(self._chain.certificates, tuple({self.leader} - {self._me}))
        elif self._timeouts.power(self.view) >= self._config.validators.honest_power:
            self._give_up("joined")

    def _on_certificates(self, sender: ReplicaIndex, certificates: Certificates) -> None:
        qc, tc = certificates.high_qc, certificates.high_tc
        if qc.view > self._chain.high_qc.view:
            self._verifier.check_qc(qc)
            self._learn_qc(qc)
            self._informant = sender
        if tc is not None and tc.view >= self.view:
            self._verifier.check_tc(tc)
            self._learn_tc(tc)
            self._informant = sender
        if self._amnesia is not None:
            certified_view = max(qc.view, tc.view if tc is not None else 0)
            self._amnesia.report(sender, certified_view, self._now.monotonic_ms)

    def _give_up_if_due(self) -> None:
        if self._now.monotonic_ms >= self._deadline_ms():
            self._give_up("silence")

    def _give_up(self, reason: str) -> None:
        if self._pacemaker.timed_out or self._safety is None:
            return
        self._pacemaker.timed_out = True
        qc, tc = self._chain.high_qc, self._chain.entry_tc
        if timeout_refusal(self._safety, self.view, qc, tc) is not None:
            return
        self._persist(after_timeout(self._safety, self.view, qc, tc))
        self._effects.append(ev.SignAndSend(Timeout(self._epoch, self.view, qc, tc, self._me), self._config.others))
        self._report("view_timeout", view=self.view, leader=self.leader, reason=reason)

    def _deadline_ms(self) -> int:
        idle = self._chain.entry_tc is None and self._chain.is_idle
        return self._pacemaker.deadline_ms(self._chain.high_qc.view, idle)

    # --- leading ------------------------------------------------------------------------------------------------------

    def _turn(self) -> Turn | None:
        """Our turn to propose, when it is ours and the parent is here (`consensus.proposing`, rule 1)."""
        qc, tc = self._chain.high_qc, self._chain.entry_tc
        parent = self._chain.tree.header(qc.block_hash)
        if self.leader != self._me or self._safety is None or self._pacemaker.timed_out or parent is None:
            return None
        if propose_refusal(self._safety, self.view, qc, tc) is not None:
            return None
        block = self._chain.tree.get(parent.block_hash)
        arrived_ms = block.arrived_monotonic_ms if block is not None else self._started_ms or 0
        return Turn(self.view, parent, arrived_ms, tc is None and self._chain.is_idle, tc is not None)

    def _propose_if_due(self) -> None:
        turn = self._turn()
        due_ms = self._proposing.due_ms(turn) if turn is not None else None
        if turn is None or due_ms is None or self._now.monotonic_ms < due_ms:
            return
        if self._header(turn, ()) is None:
            return
        self._proposing.ask(turn)
        ancestors = tuple(proposal.header for proposal in self._chain.uncommitted)
        self._effects.append(ev.RequestPayload(turn.view, turn.parent.block_hash, ancestors))

    def _on_payload_offered(self, view: int, payload: tuple[bytes, ...]) -> None:
        turn = self._turn()
        if not self._proposing.answered(view, turn) or turn is None or self._safety is None:
            return
        if self._proposing.declines(turn, payload, self._now.monotonic_ms):
            return
        invariant(len(payload) <= self._params.block_batches_max, "an offer fits a block", batches=len(payload))
        header = self._header(turn, payload)
        if header is None:
            violated("an executed anchor stays known", view=view)
        qc, tc = self._chain.high_qc, self._chain.entry_tc
        self._persist(after_proposal(self._safety, view, qc, tc))
        self._effects.append(ev.SignAndSend(Proposal(header, qc, tc), self._config.others))

    def _header(self, turn: Turn, payload: tuple[bytes, ...]) -> Header | None:
        return make_header(turn, self._me, self._epoch, payload, self._now.chain_unix_ms, self._chain.anchors)

    # --- sync ---------------------------------------------------------------------------------------------------------

    def _missing(self) -> QC | None:
        """The certificate of a block that we need and do not have."""
        if not self._chain.is_complete:
            return self._chain.high_qc
        candidate = self._current.candidate
        if candidate is not None and not candidate.in_tree and not candidate.settled:
            return candidate.proposal.justify
        return None

    def _fetch_if_missing(self) -> None:
        target = self._missing()
        if target is None:
            self._fetching.nothing_missing()
            return
        if self._fetching.is_held_back(self.committed.height, self.executed_height):
            return
        if self._fetching.is_due(self._now.monotonic_ms):
            from_height = self._fetching.from_height(self.committed.height)
            self._effects.append(ev.FetchBlocks(self._informant, from_height, target))

    def _on_blocks(self, event: ev.BlocksReceived) -> None:
        last_added_height = 0
        try:
            if len(event.proposals) > self._params.sync_blocks_max:
                raise Rejected("bad_sync", "More blocks than an answer may hold.", blocks=len(event.proposals))
            certificates = [*(each.justify for each in event.proposals[1:]), event.high_qc]
            for proposal, qc in zip(event.proposals, certificates, strict=False):
                if self._take_block(proposal, qc):
                    last_added_height = proposal.header.height
        finally:
            self._fetching.answered(self._now.monotonic_ms, last_added_height)

    def _take_block(self, proposal: Proposal, qc: QC) -> bool:
        """Check and insert one block of an answer; False when it was known already."""
        header = proposal.header
        if header.height <= self.committed.height or header.block_hash in self._chain.tree:
            return False
        if qc.block_hash != header.block_hash:
            raise Rejected("bad_sync", "A block is not certified by its successor.", height=header.height)
        if header.parent_hash not in self._chain.tree:
            raise Rejected("bad_sync", "A block does not connect to what we have.", height=header.height)
        self._verifier.check_qc(qc)
        self._verifier.check_proposal(proposal)
        self._insert(proposal)
        self._learn_qc(qc)
        return True

    # --- repetition, timer, small things ------------------------------------------------------------------------------

    def _repeat_if_due(self) -> None:
        """Nothing is sent only once: what we said in this view, and the highest certificates, go out on every beat."""
        if not self._pacemaker.beat_is_due(self._now.monotonic_ms):
            return
        for statement in self._current.said.values():
            self._send(statement, self._vote_recipients() if isinstance(statement, Vote) else self._config.others)
        self._send(self._chain.certificates, self._config.others)

    def _set_timer(self) -> None:
        """Wake up at the earliest of what is yet to come. The beat always is."""
        turn = self._turn()
        moments = [self._pacemaker.beat_ms, self._fetching.next_ms]
        if turn is not None:
            moments.append(self._proposing.due_ms(turn))
        if not self._pacemaker.timed_out and self._safety is not None:
            moments.append(self._deadline_ms())
        earliest_ms = min(each for each in moments if each is not None and each > self._now.monotonic_ms)
        if earliest_ms != self._armed_ms:
            self._armed_ms = earliest_ms
            self._effects.append(ev.WakeAt(earliest_ms))

    def _persist(self, state: SafetyState, proposal: Proposal | None = None) -> None:
        self._safety = remember(state, self._chain.high_qc, self._chain.high_tc)
        self._effects.append(ev.PersistSafety(self._safety, proposal))

    def _send(self, message: Message, recipients: tuple[ReplicaIndex, ...]) -> None:
        """Send without signing; an amnesiac replica stays silent (`consensus.amnesia`, rule 4)."""
        if recipients and self._safety is not None:
            self._effects.append(ev.Send(message, recipients))

    def _report(self, kind: str, **details: int | str) -> None:
        self._effects.append(ev.Report(kind, tuple(details.items())))

    def _report_equivocation(self, what: str, validator: ReplicaIndex, view: int, first: bytes, second: bytes) -> None:
        """The seam for evidence: two genuine statements of one key that an honest replica never both makes."""
        hashes = {"first": first.hex(), "second": second.hex()}
        self._report("equivocation", statement=what, validator=validator, view=view, **hashes)

    def _blame(self, event: Event, fault: Rejected) -> None:
        """Rule 2. What we ourselves said is never at fault, unless this core or the shell's key is wrong."""
        if not isinstance(event, ev.Received | ev.BlocksReceived) or event.sender == self._me:
            violated("our own statement was refused: a wrong key or a broken core", fault=str(fault))
        self._report("rejected", sender=event.sender, code=fault.code, reason=str(fault))
