"""One simulated process: an engine, its disk, and the shell that carries out its effects as `node.replica` does.

Rules:

1. The effects of one event are carried out in order, each complete before the next. While a sync takes its time,
   further events wait; batches and blocks are served meanwhile.
2. Our own signed statements, and answers that are ready at once, come back to the engine before anything that waits.
3. A crash may come before any effect, and within one: a sync is then done or not done, a message is sent to some of
   its recipients. A disk that fails ends the process at the next sync, and nobody knows whether that was done. A new
   process starts on what the disk holds, with a monotonic clock that begins anew.
4. A stopped process (SIGSTOP) does nothing; what arrives waits, `FROZEN_MAX` frames at most, and is handled when it
   goes on. Its monotonic clock does not stop.
5. A Byzantine replica is the same process with a `Strategy` between the engine and the world.
6. When an epoch is over its engine is replaced by that of the next, as `node.epochs` and `node.replica` do it: first
   the end of the old one is durable, then the safety state of the new one. An edge that changes the set ends what was
   built for the old one: what was under way between its members is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from consensus import events as ev
from consensus.config import Recovery
from consensus.engine import Engine
from consensus.types import OBSERVER, Message, Proposal, Statement, signing_message
from consensus.wire import encode_message
from genesis.errors import InvariantViolation, Rejected
from node.simulator import catchup
from node.simulator.byzantine import Strategy
from node.simulator.catchup import CatchUp
from node.simulator.checks import Violation
from node.simulator.disk import Disk
from node.simulator.executor import Executor
from node.simulator.payloads import Payloads
from node.simulator.settings import Fault
from node.simulator.terms import Term, term_of

if TYPE_CHECKING:
    from node.simulator.cluster import Cluster

FROZEN_MAX: Final = 2_000
S = TypeVar("S", bound=Statement)


class Replica:
    """A place in the network. The process at it comes and goes; the disk stays."""

    def __init__(self, world: Cluster, place: int, operator: int, name: str, strategy: Strategy | None) -> None:
        self.world = world
        self.place = place
        self.operator = operator
        self.index = operator
        self.public_key = world.signatures.public_key(operator, 0)
        self.name = name
        self.strategy = strategy
        self.is_honest = strategy is None
        self.is_restored = False
        self.has_forgotten = False
        self.disk = Disk(world.first_safety)
        self.core: Engine | None = None
        self.term: Term
        self.executor: Executor
        self.payloads: Payloads
        self.catchup: CatchUp
        self.is_up = False
        self.halted: str | None = None
        self.skew_ms = 0
        self.handled = 0
        self.steps_left: int | None = None
        self.crash_at: type[ev.Effect] | None = None
        self.disk_fails = False
        self._incarnation = 0
        self._clock_base_ms = 0
        self._since_ms = 0
        self._views_before = 0
        self._wake_ms: int | None = None
        self._is_syncing = False
        self._is_stopped = False
        self._frozen: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._waiting: deque[tuple[ev.Event, bytes]] = deque()
        self._own: deque[tuple[ev.Event, bytes]] = deque()
        self._effects: deque[ev.Effect] = deque()

    # --- the process --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process, on what the disk holds."""
        self._incarnation += 1
        self.is_up = True
        self._clock_base_ms = self.world.heap.now_ms - self._incarnation * 1_000
        self._since_ms = self.now.monotonic_ms
        self.executor = Executor(self)
        self.payloads = Payloads(self)
        self.catchup = CatchUp(self)
        if self._begin_epoch():
            self.take(ev.Started(), b"start")

    def crash(self) -> None:
        """Power loss."""
        if not self.is_up:
            return
        self.world.note(self, "crashes")
        self.is_up = False
        self._incarnation += 1
        self.steps_left = self.crash_at = None
        self._is_syncing = self._is_stopped = False
        for queue in (self._frozen, self._waiting, self._own, self._effects):
            queue.clear()
        self.disk.lose_unsynced()

    def stop(self) -> None:
        """SIGSTOP."""
        self._is_stopped = self.is_up

    def go_on(self) -> None:
        """SIGCONT: what has waited is handled, in order."""
        self._is_stopped = False
        frozen, self._frozen = self._frozen, []
        incarnation = self._incarnation
        for action, args in frozen:
            if self._incarnation == incarnation:
                action(*args)

    def after(self, delay_ms: int, action: Callable[..., None], *args: Any) -> None:
        """Do something in this process after a while."""
        self.world.heap.after(delay_ms, self._due, self._incarnation, action, args)

    def _due(self, incarnation: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self._incarnation != incarnation:
            return
        if self._is_stopped:
            self._frozen.append((action, args))
        else:
            action(*args)

    def hear(self, sender: int, handler: str, *args: Any) -> None:
        """A frame from this operator: only members of the epoch are connected with us."""
        if not self.is_up:
            return
        if sender in self.term.places:
            self.arrive(handler, *args)
            return
        accomplice = self.world.accomplice(sender, self) if handler == "on_message" else None
        if accomplice is None:
            self.world.oracle.counts["frames of strangers"] += 1
        else:
            self.arrive(handler, accomplice, *args[1:])

    def arrive(self, handler: str, *args: Any) -> None:
        """A frame from the network."""
        if not self.is_up:
            return
        if self._is_stopped:
            if len(self._frozen) < FROZEN_MAX:
                self._frozen.append((getattr(self, handler), args))
        else:
            getattr(self, handler)(*args)

    @property
    def waiting(self) -> int:
        """How many events wait for the disk."""
        return len(self._waiting)

    @property
    def now(self) -> ev.Now:
        """Time as this process reads it."""
        now_ms = self.world.heap.now_ms
        return ev.Now(now_ms - self._clock_base_ms, max(0, self.world.origin_unix_ms + now_ms + self.skew_ms))

    # --- events -------------------------------------------------------------------------------------------------------

    def post(self, event: ev.Event) -> None:
        """An event of the shell's own, soon."""
        self.after(0, self.take, event, b"")

    def take(self, event: ev.Event, mark: bytes) -> None:
        """An event for the engine: now, or once the disk is done (rule 1). `mark` is its content as bytes."""
        if self._is_syncing or self._effects or self._own:
            self._waiting.append((event, mark))
            return
        self._own.append((event, mark))
        self._pump()

    def _pump(self) -> None:
        """Go on until everything has been carried out, or a sync or a crash is in the way."""
        effects, own = self._effects, self._own
        while not self._is_syncing:
            if effects:
                self._carry_out(effects.popleft())
            elif own:
                self._handle(*own.popleft())
            elif self._waiting:
                own.append(self._waiting.popleft())
            else:
                return

    def _handle(self, event: ev.Event, mark: bytes) -> None:
        core, world = self.core, self.world
        if core is None:
            return
        self.handled += 1
        try:
            effects = core.handle(event, self.now)
        except InvariantViolation as defect:
            self._on_defect(event, mark, defect)
            return
        world.transcript.event(world.heap.now_ms, self.name, event, mark, effects)
        self._effects.extend(effects)
        if self.is_honest:
            world.view = max(world.view, self._views_before + core.view)
            world.oracle.after_event(self)

    def _on_defect(self, event: ev.Event, mark: bytes, defect: InvariantViolation) -> None:
        """Rule 9 of the oracles. A Byzantine replica that trips over its own deeds is down for good."""
        self.world.transcript.event(self.world.heap.now_ms, self.name, event, mark, ())
        if self.is_honest:
            raise Violation("defect", f"{self.name}: {defect}") from defect
        self.halted = str(defect)
        self.crash()

    # --- epochs (rule 6) ----------------------------------------------------------------------------------------------

    def _begin_epoch(self) -> bool:
        """An engine of the epoch that the disk has come to; False if the process crashes meanwhile."""
        self.term = term = term_of(self)
        seat = term.seat
        self.index = seat.index
        if term.place != OBSERVER:
            self.public_key = term.members[term.place].public_key
        if seat.safety is not None and seat.safety != self.disk.saved:
            self.disk.persist(seat.safety, None)
            if not self.survives_a_step():
                return False
        self._wake_ms = None
        self._views_before = self.world.begin_epoch(self)
        self.core = self.world.make_core(self)
        return True

    def make_recovery(self) -> Recovery:
        """What the engine of the present term finds."""
        term = self.term
        return self.disk.recovery(self.world.codec, term.seat.safety, term.base.height, self._since_ms)

    def _close_epoch(self, closed: ev.EpochClosed) -> None:
        """The engine has nothing more to do."""
        if self.disk_fails:
            self.world.oracle.count(Fault.DISK_ERROR)
            self._crash_within(closed)
        elif self.disk.latency_ms:
            self._is_syncing = True
            self.after(self.disk.latency_ms, self._closed, closed)
        else:
            self._closed(closed)

    def _closed(self, closed: ev.EpochClosed) -> None:
        was_syncing, self._is_syncing = self._is_syncing, False
        before = self.term
        if self.is_honest:
            self.world.oracle.on_closed(self, closed)
        self.disk.close(before.epoch, closed)
        if not self.survives_a_step() or not self._begin_epoch():
            return
        self._own.clear()
        if self.term.members == before.members:
            self.catchup.forget()
            early = [(each, encode_message(each.message)) for each in closed.early]
        else:
            self.payloads, self.catchup, early = Payloads(self), CatchUp(self), []
            self._waiting.clear()
        self._own.extend([(ev.Started(), b"start"), *early])
        if self.strategy is not None:
            self.strategy.begins(self)
        if was_syncing:
            self._pump()

    # --- effects ------------------------------------------------------------------------------------------------------

    def survives_a_step(self) -> bool:
        """Count one step towards a planned crash; False when it has come (rule 3)."""
        if self.steps_left is None:
            return True
        if self.steps_left > 0:
            self.steps_left -= 1
            return True
        self.crash()
        return False

    def _carry_out(self, effect: ev.Effect) -> None:
        if self.steps_left is not None:
            if self.steps_left == 0:
                self._crash_within(effect)
                return
            self.steps_left -= 1
        if self.crash_at is type(effect):
            self._crash_within(effect)
            return
        match effect:
            case ev.WakeAt(monotonic_ms):
                self._wake_ms = monotonic_ms
                delay_ms = max(0, monotonic_ms + self._clock_base_ms - self.world.heap.now_ms)
                self.after(delay_ms, self._wake, monotonic_ms)
            case ev.SignAndSend(statement, recipients):
                self._sign_and_send(statement, recipients)
            case ev.PersistSafety(state, proposal):
                self._persist(state, proposal)
            case ev.StoreProposal(proposal):
                self.disk.keep(proposal)
            case ev.EnsurePayload(header, _):
                if self.payloads.want(header):
                    self._own.append((ev.PayloadStored(header.block_hash), b"stored"))
            case ev.Commit(proposal, _):
                self._commit(effect, proposal)
            case ev.Send(message, recipients):
                self.send(message, recipients)
            case ev.RequestPayload(view, _, ancestors):
                ordered = {each for header in ancestors for each in header.payload}
                offer = self.payloads.offer(ordered)
                if self.strategy is not None:
                    offer = self.strategy.offer(self, offer)
                self._own.append((ev.PayloadOffered(view, offer), b"".join(offer)))
            case ev.FetchBlocks():
                self.catchup.fetch(effect)
            case ev.Accuse(evidence):
                if self.is_honest:
                    self.world.oracle.on_accusation(self, evidence)
                    if self.world.settings.real_signatures:
                        self.world.ledger.accuse(evidence)
            case ev.Report(kind, _):
                self.world.oracle.counts[f"report {kind}"] += 1
            case ev.EpochClosed():
                self._close_epoch(effect)
            case ev.Halt(reason):
                self._halt(reason)

    def _persist(self, state: ev.SafetyState, proposal: Proposal | None) -> None:
        if self.disk_fails:
            self.world.oracle.count(Fault.DISK_ERROR)
            self._crash_within(ev.PersistSafety(state, proposal))
        elif self.disk.latency_ms:
            self._is_syncing = True
            self.after(self.disk.latency_ms, self._synced, state, proposal)
        else:
            self._durable(state, proposal)

    def _synced(self, state: ev.SafetyState, proposal: Proposal | None) -> None:
        self._is_syncing = False
        self._durable(state, proposal)
        self._pump()

    def _durable(self, state: ev.SafetyState, proposal: Proposal | None) -> None:
        self.disk.persist(state, proposal)
        if proposal is not None:
            self.world.oracle.on_voted(self, proposal)

    def _commit(self, commit: ev.Commit, proposal: Proposal) -> None:
        if self.is_honest:
            self.world.oracle.on_commit(self, proposal.header, self.executor.submitted + 1)
        self.executor.submit(commit)

    def _halt(self, reason: str) -> None:
        self.world.note(self, f"halts: {reason}")
        if self.is_honest:
            self.world.oracle.on_halt(self, reason)
        self.halted = reason
        self.crash()

    def _crash_within(self, effect: ev.Effect) -> None:
        """Rule 3: the effect is done, or half done, or not at all."""
        chance = self.world.chance
        match effect:
            case ev.PersistSafety(state, proposal) if chance.random() < 0.5:
                self._durable(state, proposal)
            case ev.EpochClosed() if chance.random() < 0.5:
                self.disk.close(self.term.epoch, effect)
            case ev.SignAndSend(statement, recipients) if chance.random() < 0.5:
                some = tuple(each for each in recipients if chance.random() < 0.5)
                self.send(self.sign(statement), some)
        self.world.oracle.count(f"crash at {type(effect).__name__}")
        self.crash()

    # --- saying things ------------------------------------------------------------------------------------------------

    def _sign_and_send(self, statement: Statement, recipients: tuple[int, ...]) -> None:
        signed = self.sign(statement)
        data = self.send(signed, recipients)
        self._own.append((ev.Received(self.index, signed), data))

    def sign(self, statement: S) -> S:
        """The statement, signed with this replica's key."""
        if self.is_honest:
            self.world.oracle.on_sign(self, statement)
        message = signing_message(self.world.chain_id, statement)
        return replace(statement, signature=self.world.signatures.sign(self.public_key, message))

    def send(self, message: Message, recipients: tuple[int, ...]) -> bytes:
        """Send a signed message, as the strategy would have it; the bytes of the message itself."""
        data = encode_message(message)
        if self.strategy is None:
            self.send_bytes(data, message, recipients)
            return data
        for sent, to in self.strategy.outgoing(self, message, recipients):
            self.send_bytes(encode_message(sent), sent, to)
        return data

    def broadcast(self, message: Message) -> None:
        """Send a signed message to everyone, past the strategy: it is the strategy's own."""
        self.send_bytes(encode_message(message), message, self.term.validators.others(self.term.place))

    def send_bytes(self, data: bytes, message: Message | None, recipients: tuple[int, ...]) -> None:
        """One frame to everyone at these indices, twins included."""
        operators = self.term.operators
        for index in recipients:
            self.send_frame(data, message, operators[index])

    def send_frame(self, data: bytes, message: Message | None, operator: int) -> None:
        """One frame to an operator."""
        world = self.world
        for other in world.of_operator[operator]:
            if world.may_pass(self, other, message):
                world.links.send(self.place, other.place, other.hear, self.operator, "on_message", self.operator, data)

    def send_to(self, operator: int, handler: str, *args: Any) -> None:
        """A frame of the data plane to this operator."""
        for other in self.world.of_operator[operator]:
            self.answer(other.place, handler, *args)

    def answer(self, place: int, handler: str, *args: Any) -> None:
        """A frame of the data plane to one place."""
        other = self.world.replicas[place]
        if self.world.may_pass(self, other, None):
            self.world.links.send(self.place, place, other.hear, self.operator, handler, *args)

    # --- hearing things -----------------------------------------------------------------------------------------------

    def on_message(self, sender: int, data: bytes) -> None:
        """A consensus frame from this operator."""
        index = self.term.places.get(sender)
        if index is None:
            return
        try:
            message = self.world.codec.message(data)
        except Rejected:
            self.world.oracle.counts["frames malformed"] += 1
            return
        if self.strategy is not None and self.index != OBSERVER:
            self.strategy.heard(self, message)
        self.take(ev.Received(index, message), data)

    def on_batch(self, author: int, name: bytes, wire: bytes, asked: bool) -> None:
        """A batch, from its author or in answer to a request."""
        self.payloads.on_batch(author, name, wire, asked)

    def on_batch_request(self, place: int, names: tuple[bytes, ...]) -> None:
        """A peer lacks batches."""
        for name in names:
            wire = self.payloads.wire(name)
            if wire is not None and (self.strategy is None or self.strategy.serves(self, name)):
                self.answer(place, "on_batch", self.payloads.author(name), name, wire, True)

    def on_blocks_request(self, place: int, number: int, epoch: int, from_height: int) -> None:
        """A peer lacks blocks; of a later epoch, if we do."""
        index = self.term.places.get(self.world.replicas[place].operator)
        if epoch > self.term.epoch and index is not None:
            self.take(ev.AskedAhead(index), b"asked ahead %d" % index)
        blocks, qc = catchup.answer(self, epoch, from_height)
        if self.strategy is not None:
            blocks = self.strategy.blocks(self, blocks)
        self.answer(place, "on_blocks", self.operator, number, blocks, qc)

    def on_blocks(self, sender: int, number: int, blocks: list[bytes], qc: bytes) -> None:
        """An answer to our own request."""
        if sender in self.term.places:
            self.catchup.on_answer(self.term.places[sender], number, blocks, qc)

    def submit(self, name: bytes, wire: bytes) -> None:
        """A client's batch: keep it, and send it to the others."""
        self.payloads.on_batch(self.operator, name, wire, False)
        for operator in self.term.peers:
            if self.strategy is None or self.strategy.sends_batch(self, operator):
                self.send_to(operator, "on_batch", self.operator, name, wire, False)

    def _wake(self, monotonic_ms: int) -> None:
        if self._wake_ms == monotonic_ms:
            self._wake_ms = None
            self.take(ev.WokenUp(), b"wake")
