"""Makes our own batches from admitted envelopes.

Rules:

1. A batch is sealed when it is full (`batch_envelopes_max`, `batch_bytes_max`, or what it may take decoded) or its
   first envelope has waited `batch_age_ms`.
2. While `UNACKNOWLEDGED_MAX` of our batches wait for a quorum's acknowledgement, nothing is sealed and the next batch
   goes on filling: batches grow with the load by themselves, and a slow network is not sent more than it takes.
3. While half of either quota that others grant us (`node.batch_quotas`) is open, nothing is sealed: a peer that is a
   little behind still counts batches that are committed here.
4. What waits is bounded, in number and in bytes, by whoever adds it: see `node.intake`. A change of the validators
   besides gives back to the next maker what waited in our own open batches, at most half of their quotas and a batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio

from genesis.envelope import Envelope, UnverifiedEnvelope
from node.batch_pool import BatchPool
from node.batches import ENVELOPE_OVERHEAD_BYTES, WIRE_OVERHEAD_BYTES, BatchFormat, envelope_memory_bytes

UNACKNOWLEDGED_MAX: Final = 2


class BatchMaker:
    """The batch that is filling. `add` is called with verified envelopes; `run` seals.

    Args:
        index: Our place in the validator set.
        batch_format: What a batch looks like, and the limits.
        pool: Where sealed batches go.
        first_sequence: The sequence number of the first batch; the wall clock in milliseconds keeps restarts apart.
    """

    def __init__(self, index: int, batch_format: BatchFormat, pool: BatchPool, first_sequence: int) -> None:
        self._index = index
        self._format = batch_format
        self._params = batch_format.params
        self._pool = pool
        self._sequence = first_sequence
        self._filling: deque[tuple[Envelope, float]] = deque()
        self._filling_bytes = 0
        self._filling_memory_bytes = 0
        self._wakeup = trio.Event()
        pool.watch_own(self._wake)

    @property
    def waiting(self) -> int:
        """Envelopes that are in no batch yet."""
        return len(self._filling)

    @property
    def waiting_bytes(self) -> int:
        """What they take decoded, at most."""
        return self._filling_memory_bytes

    def add(self, envelopes: Sequence[Envelope]) -> None:
        """Queue verified envelopes for the next batches."""
        was_idle, now = not self._filling, trio.current_time()
        for each in envelopes:
            self._filling.append((each, now))
            self._filling_bytes += _wire_bytes(each)
            self._filling_memory_bytes += held_bytes(each)
        if was_idle or self._full():
            self._wake()

    def take_all(self) -> tuple[Envelope, ...]:
        """What is in no batch yet; it is here no longer."""
        taken = tuple(envelope for envelope, _ in self._filling)
        self._filling.clear()
        self._filling_bytes = self._filling_memory_bytes = 0
        return taken

    async def run(self) -> None:
        """Seal batches until cancelled."""
        while True:
            if self._ready_at() > trio.current_time():
                self._wakeup = trio.Event()
                with trio.move_on_at(self._ready_at()):
                    await self._wakeup.wait()
            else:
                self._seal()
                await trio.lowlevel.checkpoint()

    def _ready_at(self) -> float:
        """When the next batch may be sealed; infinity when something else has to happen first."""
        window_closed = self._pool.own_unacknowledged >= UNACKNOWLEDGED_MAX
        if not self._filling or window_closed or self._pool.own_half_used:
            return float("inf")
        oldest = self._filling[0][1]
        return oldest if self._full() else oldest + self._params.batch_age_ms / 1000

    def _full(self) -> bool:
        return (
            len(self._filling) >= self._params.batch_envelopes_max
            or self._filling_bytes + WIRE_OVERHEAD_BYTES >= self._params.batch_bytes_max
            or self._filling_memory_bytes + WIRE_OVERHEAD_BYTES >= self._format.memory_bytes_max
        )

    def _seal(self) -> None:
        taken: list[Envelope] = []
        size = memory_bytes = WIRE_OVERHEAD_BYTES
        while self._filling and len(taken) < self._params.batch_envelopes_max:
            first = self._filling[0][0]
            needed, needed_memory = _wire_bytes(first), held_bytes(first)
            is_over = size + needed > self._params.batch_bytes_max
            if taken and (is_over or memory_bytes + needed_memory > self._format.memory_bytes_max):
                break
            taken.append(self._filling.popleft()[0])
            size += needed
            memory_bytes += needed_memory
        self._filling_bytes -= size - WIRE_OVERHEAD_BYTES
        self._filling_memory_bytes -= memory_bytes - WIRE_OVERHEAD_BYTES
        batch = self._format.seal(self._index, self._sequence, taken)
        self._sequence += 1
        self._pool.add_own(batch)

    def _wake(self) -> None:
        self._wakeup.set()


def _wire_bytes(envelope: Envelope) -> int:
    """What an envelope adds to its batch's wire, at most."""
    return len(envelope.wire) + ENVELOPE_OVERHEAD_BYTES


def held_bytes(envelope: UnverifiedEnvelope) -> int:
    """What an envelope adds to what its batch takes decoded, at most."""
    return envelope_memory_bytes(envelope) + ENVELOPE_OVERHEAD_BYTES
