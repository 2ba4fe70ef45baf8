"""A replica around a core that follows a script, with ports that take notes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from consensus.events import (
    Commit,
    Effect,
    Event,
    Executed,
    FetchBlocks,
    Now,
    PayloadStored,
    PersistSafety,
    Received,
    SafetyState,
    SignAndSend,
)
from consensus.types import Certificates, Proposal, Statement, Vote, signing_message
from consensus.wire import decode_message, encode_message
from genesis.errors import Rejected
from genesis.signing import SigningKey
from genesis.statements import Phase
from node.failures import StorageFailure
from node.frames import FrameKind
from node.offload import IN_PLACE_US_MAX, Offload
from node.replica import Ports, Replica
from tests.node.dataplane import CHAIN_ID, Waiting, certificate, chain_of, safety_of

SLOW_US = IN_PLACE_US_MAX + 1
QUICK_US = 0
PATIENCE_S = 30
EVENTS_MAX = 500
BATCHES_MAX = 7
ME = 0
KEY = SigningKey(b"\x33" * 32)
CHAIN = chain_of(4, payloads=[[b"a" * 32, b"b" * 32], [b"c" * 32], [b"d" * 32]])
FIRST, SECOND, THIRD, FOURTH = CHAIN
CERTIFICATES = Certificates(certificate(FIRST.header), None)

Note = tuple[Any, ...]
Script = Callable[[Event], Sequence[Effect]]


def vote_for(proposal: Proposal, voter: int = ME) -> Vote:
    """An unsigned vote."""
    header = proposal.header
    return Vote(0, header.view, Phase.CERTIFY, header.height, header.block_hash, voter)


def wire_of(number: int) -> bytes:
    """A peer's message that is told from the others by its view."""
    return encode_message(Vote(0, number, Phase.CERTIFY, 1, b"\x01" * 32, 1, b"\x07" * 64))


def executed(height: int) -> Executed:
    """An event of our own that is told from the others by its height."""
    return Executed(height, b"\x01" * 32, b"\x02" * 32)


def name_of(event: Event) -> str:
    """An event in one word: ``heard 3.7`` is the message of view 7 from peer 3."""
    match event:
        case Received(sender, Vote() as vote):
            return f"heard {sender}.{vote.view}"
        case Executed(height):
            return f"executed {height}"
        case PayloadStored(block_hash):
            return f"stored {next(each.header.height for each in CHAIN if each.header.block_hash == block_hash)}"
    return type(event).__name__


@dataclass
class Rig:
    """A replica, its script, and the notes of everything that it did.

    Attributes:
        script: What the core answers to an event.
        notes: What reached the ports, in order.
        seen: The events that reached the core, with the time it was told.
        disk_cost_us: The disk's estimate of a vote; `SLOW_US` sends writes to a thread.
        keep_us: The disk's estimate of a block that is merely kept.
        writes: What decides where writes run.
        disk_gate: A write waits for it.
        disk_fails: Whether a write fails.
        held: The batches that are here.
        arrivals: Whoever ensures a batch waits for its event.
        signer_gone: Whether the signer is out of reach.
        signed: What it signed, and the lock that it was told.
    """

    script: Script
    notes: list[Note] = field(default_factory=list)
    seen: list[tuple[Event, Now]] = field(default_factory=list)
    disk_cost_us: int = QUICK_US
    keep_us: int = QUICK_US
    writes: Offload = field(default_factory=Offload)
    disk_gate: threading.Event = field(default_factory=threading.Event)
    disk_fails: bool = False
    held: set[bytes] = field(default_factory=set)
    arrivals: dict[bytes, trio.Event] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    signer_gone: bool = False
    signed: list[tuple[Statement, int]] = field(default_factory=list)
    progress: Waiting = field(default_factory=Waiting)
    loop: int = field(default_factory=threading.get_ident)

    def __post_init__(self) -> None:
        self.disk_gate.set()
        here: Any = self
        ports = Ports(
            *(here,) * 7,
            self.now,
            lambda report: self.note("reported", report.kind),
            lambda evidence: self.note("accused", evidence.validator),
        )
        self.replica = Replica(here, ME, ports, BATCHES_MAX)

    def note(self, *what: Any) -> None:
        """Write down what happened, from whatever thread, and wake the test."""
        self.notes.append(what)
        if threading.get_ident() == self.loop:
            self.progress()
        else:
            trio.from_thread.run_sync(self.progress)

    @property
    def kinds(self) -> list[str]:
        """The first word of each note."""
        return [str(each[0]) for each in self.notes]

    @property
    def events(self) -> list[str]:
        """The events in one word each, `Started` left out."""
        return [name_of(each) for each, _ in self.seen][1:]

    async def until(self, *what: Any) -> None:
        """Wait for a note."""
        with trio.fail_after(PATIENCE_S):
            await self.progress.until(lambda: what in self.notes)

    async def until_events(self, count: int) -> None:
        """Wait until this many events have reached the core, `Started` not counted."""
        with trio.fail_after(PATIENCE_S):
            await self.progress.until(lambda: len(self.events) >= count)
        await wait_all_tasks_blocked()

    def now(self) -> Now:
        """The test's clock, in milliseconds."""
        return Now(round(trio.current_time() * 1000), 0)

    # --- the core ---------------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: Now) -> Sequence[Effect]:
        """The core's part."""
        self.seen.append((event, now))
        if len(self.seen) > EVENTS_MAX:
            raise RuntimeError("The loop goes round without end.")
        self.progress()
        return tuple(self.script(event))

    # --- the key, the network, the pool, the disk, the executor, the fetcher ------------------------------------------

    async def sign(self, statement: Statement, lock_view: int) -> bytes | None:
        """The key's part; nothing while the signer is out of reach."""
        if self.signer_gone:
            self.note("asked in vain", statement)
            return None
        self.note("signed")
        self.signed.append((statement, lock_view))
        return KEY.sign(signing_message(CHAIN_ID, statement))

    def broadcast(self, kind: FrameKind, payload: bytes, recipients: Sequence[int]) -> None:
        """The network's part."""
        self.note("sent", kind, decode_message(payload), recipients)

    def offer(self, ordered: frozenset[bytes], limit: int) -> tuple[bytes, ...]:
        """The pool's part."""
        self.note("offered", ordered, limit)
        return (b"e" * 32,)

    def holds(self, digests: Sequence[bytes]) -> bool:
        """The pool's part."""
        return self.held.issuperset(digests)

    async def ensure(self, digests: Sequence[bytes], hint_peer: int) -> None:
        """The pool's part."""
        self.note("ensures", *digests, hint_peer)
        for digest in digests:
            try:
                await self.arrivals.setdefault(digest, trio.Event()).wait()
            except trio.Cancelled:
                self.note("gave up", digest)
                raise
            if digest in self.refused:
                raise Rejected("bad_signature", "An envelope of the batch is invalid.")

    def keep_cost_us(self, proposal: Proposal) -> int:
        """The disk's part."""
        return self.keep_us

    def cost_us(self, proposal: Proposal | None) -> int:
        """The disk's part."""
        return self.disk_cost_us

    def put_proposal(self, proposal: Proposal) -> None:
        """The disk's part."""
        self.note("kept", proposal)

    def persist_safety(self, state: SafetyState, proposal: Proposal | None) -> None:
        """The disk's part."""
        self.note("writes", state.last_voted_view)
        if self.disk_fails:
            raise StorageFailure("write a block", "the test's disk is full", "Make room")
        if not self.disk_gate.wait(PATIENCE_S):
            raise TimeoutError("Nobody let the disk go on: the event loop waits for it.")
        self.note("persisted", state.last_voted_view, proposal, threading.get_ident() == self.loop)

    def submit(self, commit: Commit) -> None:
        """The executor's part."""
        self.note("submitted", commit)

    def fetch(self, request: FetchBlocks) -> None:
        """The fetcher's part."""
        self.note("fetched", request)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[trio.Nursery]:
    """The replica at work; a nursery for readers. Both end with the body."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.replica.run)
        await wait_all_tasks_blocked()
        yield nursery
        nursery.cancel_scope.cancel()
        rig.disk_gate.set()


def on(*answers: tuple[str, Sequence[Effect]]) -> Script:
    """A script: the effects of the events that are named; none of the others."""
    table = dict(answers)
    return lambda event: table.get(name_of(event), ())


def voting(*names: str) -> Script:
    """A script: at each event that is named, vote."""
    effects = (PersistSafety(safety_of(3), FIRST), SignAndSend(vote_for(FIRST), (1, 2)))
    return on(*((name, effects) for name in names))
