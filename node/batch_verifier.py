"""Verifies the batches of peers: fair over the peers, and many small batches in one visit.

Rules:

1. Each peer has a queue of its own, and a visit takes from the queues in turn: a peer that floods us delays only
   itself.
2. What a vote or a commit waits for (`hurry`, or a fetched batch) goes before everything else.
3. A visit takes small batches together up to `VISIT_BYTES`, so that all that waits pays for one visit to a worker
   thread, and a full batch travels alone. Each batch passes or fails by itself. A visit of a few envelopes is short and
   is made in place (`node.offload`).

The queues are bounded by the caller, which counts what each author has open (see `node.batch_pool`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from genesis.errors import Rejected
from node.batches import Batch, BatchFormat
from node.offload import Offload

VISIT_BYTES: Final = 96 * 1024
VERIFY_NS_PER_BYTE: Final = 400
"""An envelope of 310 bytes carries two signatures, 55 us each, and decodes in 14 us."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch as it came in. `author` is who must have made it; None for an answer to a request, which anyone may
    give.
    """

    digest: bytes
    wire: bytes
    sender: int
    author: int | None


Outcome = tuple[Arrival, Batch | Rejected]
"""An arrival and what it turned out to be."""


class BatchVerifier:
    """The queue of batches to verify. `run` is its loop."""

    def __init__(self, batch_format: BatchFormat, on_outcomes: Callable[[Sequence[Outcome]], None]) -> None:
        self._format = batch_format
        self._on_outcomes = on_outcomes
        self._urgent: deque[Arrival] = deque()
        self._queues: dict[int, deque[Arrival]] = {}
        self._turns: deque[int] = deque()
        self._known: dict[bytes, Arrival] = {}
        self._waiting: dict[int, int] = {}
        self._waiting_bytes: dict[int, int] = {}
        self._wakeup = trio.Event()
        self._offload = Offload()

    def __contains__(self, digest: bytes) -> bool:
        """Whether this batch is queued or being verified."""
        return digest in self._known

    def waiting(self, author: int) -> int:
        """How many batches sent by `author` are queued or being verified."""
        return self._waiting.get(author, 0)

    def waiting_bytes(self, author: int) -> int:
        """The bytes of those batches."""
        return self._waiting_bytes.get(author, 0)

    def put(self, arrival: Arrival) -> None:
        """Queue a batch; a fetched one (its author None) before the others."""
        self._known[arrival.digest] = arrival
        if arrival.author is None:
            self._urgent.append(arrival)
        else:
            self._waiting[arrival.author] = self.waiting(arrival.author) + 1
            self._waiting_bytes[arrival.author] = self.waiting_bytes(arrival.author) + len(arrival.wire)
            queue = self._queues.setdefault(arrival.author, deque())
            if not queue:
                self._turns.append(arrival.author)
            queue.append(arrival)
        self._wakeup.set()

    def hurry(self, digest: bytes) -> None:
        """Move a queued batch to the front; nothing if it is not queued."""
        arrival = self._known.get(digest)
        if arrival is None or arrival.author is None:
            return
        queue = self._queues[arrival.author]
        if arrival not in queue:
            return
        queue.remove(arrival)
        if not queue:
            self._turns.remove(arrival.author)
        self._urgent.append(arrival)

    async def run(self) -> None:
        """Verify what is queued until cancelled."""
        while True:
            group = self._take()
            if not group:
                self._wakeup = trio.Event()
                await self._wakeup.wait()
                continue
            await self._visit(group)
            del group

    async def _visit(self, group: list[Arrival]) -> None:
        """Verify these. A method of its own, so that nothing here holds on to them while the next ones are decoded."""
        cost_us = sum(len(each.wire) for each in group) * VERIFY_NS_PER_BYTE // 1000
        outcomes = await self._offload.run(cost_us, self._verify, group)
        for arrival in group:
            self._forget(arrival)
        self._on_outcomes(outcomes)

    def _take(self) -> list[Arrival]:
        group: list[Arrival] = []
        size = 0
        while size < VISIT_BYTES:
            arrival = self._next()
            if arrival is None:
                break
            group.append(arrival)
            size += len(arrival.wire)
        return group

    def _next(self) -> Arrival | None:
        if self._urgent:
            return self._urgent.popleft()
        if not self._turns:
            return None
        author = self._turns.popleft()
        queue = self._queues[author]
        arrival = queue.popleft()
        if queue:
            self._turns.append(author)
        return arrival

    def _forget(self, arrival: Arrival) -> None:
        del self._known[arrival.digest]
        if arrival.author is not None:
            self._waiting[arrival.author] -= 1
            self._waiting_bytes[arrival.author] -= len(arrival.wire)

    def _verify(self, group: Sequence[Arrival]) -> list[Outcome]:
        return [(arrival, self._open(arrival)) for arrival in group]

    def _open(self, arrival: Arrival) -> Batch | Rejected:
        try:
            return self._format.open(arrival.wire, arrival.digest, arrival.author)
        except Rejected as rejected:
            return rejected
