"""Drives the consensus core: one loop takes events in, and carries its effects out in order.

Theory of operation:

* Everything that concerns agreement goes through one queue and one task, so the core is never entered twice and needs
  no lock.
* The effects of one event are carried out in order, each complete before the next: what must be durable is on disk
  before a signature over it exists. This task waits for the disk; a write that is large or slow runs in a worker
  thread, so that the event loop goes on serving peers (`node.offload`).
* A block that is merely kept (`StoreProposal`) is written with the next durable write, or when all that was queued has
  been handled. The vote that follows at once makes it durable itself: then it is written once.
* A peer has at most one list of messages in the queue. Its reader waits until the list has been handled, so a peer that
  floods us fills its own socket, not our memory, and cannot starve another. What a peer had waiting goes with its
  connection.
* A wake-up that is due waits for what is queued, never for what comes after that.
* When an epoch is over (`EpochClosed`) its core is replaced, here and at once: `Succession` makes durable what the next
  one rests on. Where the validators change as well, this replica's part is over: `run` returns.
* Our own signed statements come back to the core at once, before anything that waits in the queue.
* A signature may come from another process (`node.signing`). The loop waits for it, and goes on without it when that
  process is out of reach: what is unsigned, the last of each kind, is asked for again, in order, before anything newer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import trio

from consensus.engine import Engine
from consensus.events import (
    Accuse,
    Commit,
    Effect,
    EnsurePayload,
    EpochClosed,
    Event,
    FetchBlocks,
    Halt,
    Now,
    PayloadOffered,
    PayloadStored,
    PersistSafety,
    Received,
    Report,
    RequestPayload,
    SafetyState,
    Send,
    SignAndSend,
    Started,
    StoreProposal,
    WakeAt,
    WokenUp,
)
from consensus.types import Header, Message, Proposal
from consensus.wire import decode_message, encode_message
from genesis.errors import Rejected
from genesis.evidence import Evidence
from node.failures import ReplicaHalted
from node.frames import FrameKind
from node.network import Network
from node.offload import Offload
from node.signer_guard import Kind
from node.signing import Signing, fields_of


class Payloads(Protocol):
    """The batches that blocks order, by digest."""

    def offer(self, ordered: frozenset[bytes], limit: int) -> tuple[bytes, ...]: ...

    def holds(self, digests: Sequence[bytes]) -> bool: ...

    async def ensure(self, digests: Sequence[bytes], hint_peer: int) -> None: ...


class Disk(Protocol):
    """Durable writes; all calls but the estimates block, and may be made from a worker thread. `writes` decides where
    they run, and knows of the others who write.
    """

    @property
    def writes(self) -> Offload: ...

    def keep_cost_us(self, proposal: Proposal) -> int: ...

    def cost_us(self, proposal: Proposal | None) -> int: ...

    def put_proposal(self, proposal: Proposal) -> None: ...

    def persist_safety(self, state: SafetyState, proposal: Proposal | None) -> None: ...


class Committed(Protocol):
    """Where committed blocks go, oldest first; never blocks."""

    def submit(self, commit: Commit) -> None: ...


class Fetches(Protocol):
    """Asks peers for missing blocks; answers come back through `Replica.post`."""

    def fetch(self, request: FetchBlocks) -> None: ...

    def forget(self) -> None: ...


class Succession(Protocol):
    """Leads from one epoch to the next: the core of the next one, or None when its validators are others."""

    async def close(self, closed: EpochClosed) -> Engine | None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the replica acts upon."""

    network: Network
    signing: Signing
    payloads: Payloads
    disk: Disk
    committed: Committed
    fetches: Fetches
    succession: Succession
    now: Callable[[], Now]
    report: Callable[[Report], None]
    accuse: Callable[[Evidence], None]


class _Handled:
    """A peer's list of messages in the queue, and the event that tells its reader that it has been handled."""

    __slots__ = ("done", "messages", "sender")

    def __init__(self, sender: int, messages: list[Message]) -> None:
        self.sender = sender
        self.messages = messages
        self.done = trio.Event()


class _SignAgain:
    """In the queue: the signer can be reached again."""


class Replica:
    """One validator's seat in the agreement. Not thread-safe: everything but the disk runs in the Trio thread."""

    def __init__(self, core: Engine, index: int, ports: Ports, batches_max: int) -> None:
        self.core = core
        self._index = index
        self._ports = ports
        self._batches_max = batches_max
        self._queue: deque[Event | _Handled | _SignAgain] = deque()
        self._wakeup = trio.Event()
        self._wake_at_ms: int | None = None
        self._kept: list[Proposal] = []
        self._unsigned: dict[Kind, tuple[SignAndSend, int]] = {}
        self._lock_view = 0
        self._is_over = False
        self._nursery: trio.Nursery | None = None
        self._fetch_scope = trio.CancelScope()

    def post(self, event: Event) -> None:
        """Hand an event of our own to the core; returns at once."""
        self._queue.append(event)
        self._wakeup.set()

    async def deliver(self, sender: int, payloads: Sequence[bytes]) -> None:
        """Hand a peer's encoded messages to the core; returns when they have been handled.

        Raises:
            Rejected: A message is malformed; none of the list is handled.
        """
        handled = _Handled(sender, [decode_message(each) for each in payloads])
        self._queue.append(handled)
        self._wakeup.set()
        try:
            await handled.done.wait()
        except trio.Cancelled:
            handled.messages.clear()
            raise

    def sign_again(self) -> None:
        """The signer can be reached (again): ask it for what is unsigned."""
        self._queue.append(_SignAgain())
        self._wakeup.set()

    async def run(self) -> None:
        """Start the core and drive it until cancelled, or until an epoch ends and the next has other validators."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._step(Started())
            while not self._is_over:
                await self._wait()
                await self._drain()
            nursery.cancel_scope.cancel()

    async def _wait(self) -> None:
        """Sleep until an event is queued or the core's wake-up is due, and queue the wake-up."""
        if self._queue:
            await trio.lowlevel.checkpoint()
        else:
            self._wakeup = trio.Event()
            with trio.move_on_after(max(0, self._remaining_s())):
                await self._wakeup.wait()
        if self._remaining_s() <= 0:
            self._wake_at_ms = None
            self._queue.append(WokenUp())

    def _remaining_s(self) -> float:
        if self._wake_at_ms is None:
            return float("inf")
        return (self._wake_at_ms - self._ports.now().monotonic_ms) / 1000

    async def _drain(self) -> None:
        """Handle what is queued now; what is queued meanwhile comes after a look at the clock."""
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            if isinstance(item, _SignAgain):
                for event in await self._sign_unsigned():
                    await self._step(event)
                continue
            if not isinstance(item, _Handled):
                await self._step(item)
                continue
            for message in item.messages:
                await self._step(Received(item.sender, message))
            item.done.set()
        await self._flush()

    async def _step(self, event: Event) -> None:
        """One event through the core, and its effects out; our own statements follow at once."""
        own: deque[Event] = deque([event])
        while own:
            for effect in self.core.handle(own.popleft(), self._ports.now()):
                if isinstance(effect, EpochClosed):
                    own = await self._next_epoch(effect)
                    break
                own.extend(await self._carry_out(effect))

    async def _next_epoch(self, closed: EpochClosed) -> deque[Event]:
        """Replace the core; what the new one is told first. It is the last effect of the old one, and what that left
        unsigned nobody needs any more."""
        await self._flush()
        self._unsigned.clear()
        self._lock_view = 0
        self._fetch_scope.cancel()
        self._wake_at_ms = None
        self._ports.fetches.forget()
        core = await self._ports.succession.close(closed)
        if core is None:
            self._is_over = True
            return deque()
        self.core = core
        return deque((Started(), *closed.early))

    async def _carry_out(self, effect: Effect) -> Sequence[Event]:
        """Carry out one effect; answers that are ready at once are returned as the next events."""
        ports = self._ports
        match effect:
            case StoreProposal():
                self._kept.append(effect.proposal)
            case PersistSafety():
                self._lock_view = effect.state.high_qc.view
                await self._flush(effect)
            case SignAndSend():
                self._owe(effect)
                return await self._sign_unsigned()
            case Send():
                self._send(effect.message, effect.recipients)
            case RequestPayload():
                ordered = frozenset(digest for header in effect.ancestors for digest in header.payload)
                return [PayloadOffered(effect.view, ports.payloads.offer(ordered, self._batches_max))]
            case EnsurePayload():
                return self._ensure(effect.header, effect.sender)
            case FetchBlocks():
                ports.fetches.fetch(effect)
            case Commit():
                ports.committed.submit(effect)
            case WakeAt():
                self._wake_at_ms = effect.monotonic_ms
            case Report():
                ports.report(effect)
            case Accuse():
                ports.accuse(effect.evidence)
            case Halt():
                raise ReplicaHalted(effect.reason)
        return ()

    def _owe(self, effect: SignAndSend) -> None:
        """Take a statement up as unsigned, in place of the last of its kind; the same one keeps its place and lock."""
        kind = fields_of(effect.statement).kind
        owed = self._unsigned.get(kind)
        if owed is None or owed[0].statement != effect.statement:
            self._unsigned.pop(kind, None)
            self._unsigned[kind] = (effect, self._lock_view)

    async def _sign_unsigned(self) -> list[Event]:
        """Sign and send what is unsigned, in the order in which the core permitted it, as far as the signer answers."""
        own: list[Event] = []
        for kind, (effect, lock_view) in list(self._unsigned.items()):
            signature = await self._ports.signing.sign(effect.statement, lock_view)
            if signature is None:
                break
            del self._unsigned[kind]
            signed = replace(effect.statement, signature=signature)
            self._send(signed, effect.recipients)
            own.append(Received(self._index, signed))
        return own

    def _send(self, message: Message, recipients: tuple[int, ...]) -> None:
        if recipients:
            self._ports.network.broadcast(FrameKind.CONSENSUS, encode_message(message), recipients)

    def _ensure(self, header: Header, hint_peer: int) -> Sequence[Event]:
        """Only the latest proposal can still be voted for, so a fetch for an earlier one is given up."""
        self._fetch_scope.cancel()
        if self._ports.payloads.holds(header.payload):
            return [PayloadStored(header.block_hash)]
        self._fetch_scope = trio.CancelScope()
        if self._nursery is not None:
            self._nursery.start_soon(self._fetch_payload, header, hint_peer, self._fetch_scope)
        return ()

    async def _fetch_payload(self, header: Header, hint_peer: int, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await self._ports.payloads.ensure(header.payload, hint_peer)
        except Rejected as why:
            details = (("height", header.height), ("view", header.view), ("why", str(why)))
            self._ports.report(Report("invalid_payload", details))
            return
        if not scope.cancelled_caught:
            self.post(PayloadStored(header.block_hash))

    async def _flush(self, safety: PersistSafety | None = None) -> None:
        """Write what is to be kept, and then what must be durable, in one go."""
        disk, voted = self._ports.disk, safety.proposal if safety is not None else None
        kept = [each for each in self._kept if voted is None or each.header.block_hash != voted.header.block_hash]
        self._kept.clear()
        if not kept and safety is None:
            return

        def write() -> None:
            for each in kept:
                disk.put_proposal(each)
            if safety is not None:
                disk.persist_safety(safety.state, voted)

        cost_us = sum(map(disk.keep_cost_us, kept)) + (disk.cost_us(voted) if safety is not None else 0)
        await disk.writes.run(cost_us, write)
