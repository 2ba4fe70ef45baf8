"""The agreement core of one replica: events in, effects out.

Rules:

1. ``handle`` is a function of the core's state, the event and the time it is given. No clock, no socket, no disk, no
   chance.
2. What a peer sent is verified before it changes anything. `Rejected` becomes a `Report` that names the sender.
3. Whatever a message's certificates prove is taken in first (`following`): they commit blocks and lead to views. Only
   then is the message itself considered, for the current view alone.
4. After every event `_progress` does all that has become possible or due, in one fixed order: take in the view's
   proposal, give the view up, vote, propose, fetch, repeat, set the timer. A handler only notes what is new, and need
   not know what waits for it.
5. `PersistSafety` stands before every signature that it permits (`signatory`).
6. A core lives for one epoch. What others say of an older one is past, and what they say of a later one shows that ours
   is over. It ends when the epoch's last block is executed here and a certificate closes it (`EpochClosed`).

This file hands each event to the part that owns the matter, and wires the parts:

* What is known: `chain` what is certified and committed (over `tree` and `anchors`), `certificates` what is genuine,
  `turns` who leads (over the rotation of `leaders`).
* What is done: `following` takes certificates in and enters views, `voting` brings a proposal to our vote and votes to
  a QC, `giving_up` brings a view to its end and timeouts to a TC (`collectors` holds both on their way, `pacemaker` the
  time), `proposing` leads, `syncing` completes the chain, `repeating` says things again.
* What is noticed: `witness` keeps what others said, and accuses whoever contradicts itself.
* What is said: `signatory` keeps the safety state and alone asks for signatures, by the rules of `safety` and of the
  engine; `amnesia` tells it how to come back when that state is lost. `outbox` holds the effects.
* What differs from engine to engine: `rules`.

Each part owns its own state. They call one another downwards only: `outbox`, `chain`, `signatory`, `following`, then
`voting`, `giving_up` and `proposing`, then `syncing` and `repeating`.
"""

from __future__ import annotations

from consensus import events as ev
from consensus.certificates import Verifier
from consensus.chain import Chain, Halted
from consensus.collectors import VoteCollector
from consensus.config import CoreConfig, Recovery
from consensus.early import Early
from consensus.events import Effect, Event, Now
from consensus.following import Following
from consensus.giving_up import GivingUp
from consensus.outbox import Outbox
from consensus.pacemaker import Pacemaker
from consensus.proposing import Leading
from consensus.repeating import Repeating
from consensus.rules import Rules
from consensus.signatory import Signatory
from consensus.syncing import Syncing
from consensus.turns import Turns
from consensus.types import QC, Certificates, Header, Message, Proposal, ReplicaIndex, Timeout, Vote, epoch_of
from consensus.voting import Voting
from consensus.witness import Witness
from genesis.errors import Rejected, invariant


class Core:
    """One replica's part in the agreement. Not thread-safe: `handle` takes one event at a time."""

    def __init__(self, config: CoreConfig, recovery: Recovery, rules: Rules) -> None:
        self._config = config
        self._pending = recovery.pending
        self._started = False
        self._is_over = False
        self._armed_ms: int | None = None

        self._outbox = outbox = Outbox(config.index)
        self._turns = turns = Turns(config.validators, config.base, config.leaders)
        verifier = Verifier(config, rules, turns)
        self._chain = chain = Chain(config, rules, recovery, turns, outbox)
        self._votes = votes = VoteCollector(config.validators)
        self._pacemaker = pacemaker = Pacemaker(config.params, chain.view)
        self._signatory = signatory = Signatory(config, rules, recovery, chain, outbox)
        self._witness = witness = Witness(outbox)
        self._following = following = Following(config, verifier, chain, pacemaker, votes, signatory, witness, outbox)
        self._voting = Voting(config, rules, turns, verifier, chain, following, votes, signatory, witness, outbox)
        self._giving_up = GivingUp(config, verifier, chain, pacemaker, following, signatory, witness, outbox)
        self._leading = Leading(config, rules, chain, pacemaker, signatory, outbox)
        self._syncing = Syncing(config, verifier, chain, following, self._voting, outbox)
        self._repeating = Repeating(config, chain, self._voting, signatory)
        self._early = Early(config.epoch)

    # --- what the shell may read --------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch that this core decides."""
        return self._config.epoch

    @property
    def view(self) -> int:
        """The current view."""
        return self._chain.view

    @property
    def leader(self) -> ReplicaIndex:
        """The leader of the current view."""
        return self._chain.leader

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
        return self._signatory.is_amnesiac

    @property
    def uncommitted(self) -> tuple[Proposal, ...]:
        """The certified chain above the last committed block, oldest first, the last certified by `high_qc`; empty
        while a block of it is missing. For shells that answer sync requests from memory; the node reads its store."""
        return self._chain.uncommitted

    @property
    def silent_below_view(self) -> int:
        """Views below this one see no signature of ours, after a loss of memory; 0 when nothing is barred."""
        return self._signatory.silent_below_view

    @property
    def held(self) -> tuple[tuple[str, int], ...]:
        """What is kept for later, (name, entries): all of it is bounded, and a simulator watches that it is."""
        anchors, votes = len(self._chain.anchors), len(self._votes)
        early, witnessed = len(self._early), len(self._witness)
        held = (("votes", votes), ("anchors", anchors), ("witnessed", witnessed), ("early", early))
        return (("blocks", len(self._chain.tree)), *held)

    # --- dispatch -----------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: Now) -> tuple[Effect, ...]:
        """Take one event in; what the shell must do, in order, each effect complete before the next.

        After a `Halt` or an `EpochClosed` every further event is ignored.

        Raises:
            InvariantViolation: The shell or this core broke its promise.
        """
        if self._is_over:
            return ()
        invariant(self._started != isinstance(event, ev.Started), "Started comes first, once", event=event)
        self._outbox.clear()
        try:
            try:
                self._dispatch(event, now)
            except Rejected as fault:
                self._outbox.report_rejected(_sender(event), fault)
            self._progress(now)
        except Halted as stop:
            self._is_over = True
            self._outbox.put(ev.Halt(str(stop)))
        return self._outbox.effects

    def _dispatch(self, event: Event, now: Now) -> None:
        match event:
            case ev.Received(sender, message):
                self._on_message(sender, message, now.monotonic_ms)
            case ev.PayloadStored(block_hash):
                self._voting.on_payload_stored(block_hash)
            case ev.PayloadOffered(view, payload):
                self._leading.on_payload_offered(view, payload, now)
            case ev.PayloadWaiting():
                self._leading.on_payload_waiting()
            case ev.Executed(height, block_hash, state_root):
                self._chain.executed(height, block_hash, state_root)
            case ev.BlocksReceived():
                self._syncing.on_blocks(event, now.monotonic_ms)
            case ev.AskedAhead(sender):
                self._syncing.hear_later_epoch(sender, now.monotonic_ms)
            case ev.WokenUp():
                self._armed_ms = None
            case ev.Started():
                self._on_started(now.monotonic_ms)

    def _on_message(self, sender: ReplicaIndex, message: Message, now_ms: int) -> None:
        epoch = epoch_of(message)
        if epoch > self.epoch:
            self._early.keep(sender, message, epoch)
            self._syncing.hear_later_epoch(sender, now_ms)
        if epoch != self.epoch:
            return
        self._repeating.keep_own(sender, message)
        match message:
            case Proposal():
                self._voting.on_proposal(sender, message, now_ms)
            case Vote():
                self._voting.on_vote(sender, message, now_ms)
            case Timeout():
                self._giving_up.on_timeout(sender, message, now_ms)
            case Certificates():
                self._following.on_certificates(sender, message, now_ms)

    def _on_started(self, now_ms: int) -> None:
        self._started = True
        for part in (self._pacemaker, self._repeating, self._leading, self._signatory):
            part.start(now_ms)
        self._following.restore(self._pending, now_ms)
        self._pending = ()
        self._giving_up.restore()

    # --- what follows -------------------------------------------------------------------------------------------------

    def _progress(self, now: Now) -> None:
        """Rule 4."""
        if self._close_epoch_if_over():
            return
        self._signatory.recover_if_bounded()
        self._voting.take_candidate_in(now.monotonic_ms)
        self._giving_up.give_up_if_due(now.monotonic_ms)
        self._vote(now)
        self._leading.propose_if_due(now)
        self._syncing.fetch_if_missing(now.monotonic_ms)
        self._repeating.repeat_if_due(now.monotonic_ms)
        self._set_timer(now)

    def _close_epoch_if_over(self) -> bool:
        """Rule 6; whether it is so."""
        chain, qc = self._chain, self._chain.closing_qc
        root = chain.anchors.root(self._config.edge_height)
        if qc is None or root is None:
            return False
        self._is_over = True
        closing = tuple(block.proposal for block in chain.tree.path(qc.block_hash))
        self._outbox.put(ev.EpochClosed(chain.tree.root, root, closing, qc, self._early.messages))
        return True

    def _vote(self, now: Now) -> None:
        """Our vote for the view's proposal; an engine of more phases adds to it."""
        self._voting.vote_if_ready(now)

    def _set_timer(self, now: Now) -> None:
        """Wake up at the earliest of what is yet to come. The beat always is."""
        now_ms = now.monotonic_ms
        moments = (
            self._voting.due_ms(now),
            self._repeating.beat_ms,
            self._syncing.next_ms,
            self._leading.due_ms,
            self._giving_up.due_ms(now_ms),
        )
        earliest_ms = min(each for each in moments if each is not None and each > now_ms)
        if earliest_ms != self._armed_ms:
            self._armed_ms = earliest_ms
            self._outbox.put(ev.WakeAt(earliest_ms))


def _sender(event: Event) -> ReplicaIndex | None:
    return event.sender if isinstance(event, ev.Received | ev.BlocksReceived) else None
