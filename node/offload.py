"""Where blocking work runs: in place while it is short, in a worker thread when it is not.

A visit to a worker thread costs about 0.15 ms of processor time (two switches, two passes of the interpreter lock)
and, on a machine whose cores are busy, milliseconds until the result is back. A view visits the disk three times, so
at a low load these visits were half of a block's latency (docs/adr/0011). Checking two signatures or overwriting a
safety slot takes less time than the visit.

Rules:

1. Work whose estimated cost is at most `IN_PLACE_US_MAX` runs in place; all other work runs in a thread.
2. While a run of the same kind is in a thread, others use a thread too: they may need what it holds (a lock, the disk).
3. Estimates can be wrong: a disk can turn slow. After a run in place that took longer than `SLOW_NS`, the next
   `DETOURS` runs use a thread, whatever their estimate; so a slow disk costs the event loop one pause in so many.
4. Runs in place yield to the other tasks once they have held the loop for `YIELD_NS` together. A yield after each would
   put a pass of the scheduler, and whatever else is due in it, between a vote's disk write and the vote.
5. Each kind of work has threads of its own to wait for. Trio's common limit is shared with whatever is done for clients
   and peers: a crowd of them would stand between a vote and its disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

IN_PLACE_US_MAX: Final = 500
SLOW_NS: Final = 20_000_000
DETOURS: Final = 32
THREADS_MAX: Final = 16
"""Of one kind; more than one only where tasks share a kind."""

YIELD_NS: Final = 2_000_000

_T = TypeVar("_T")
_Args = TypeVarTuple("_Args")


class Offload:
    """Decides for one kind of work, by rules 2 to 5 from its own runs.

    Args:
        monotonic_ns: The clock that measures runs; replaced in tests.
    """

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._detours = 0
        self._in_threads = 0
        self._held_ns = 0
        self._threads = trio.CapacityLimiter(THREADS_MAX)

    async def run(self, cost_us: int, work: Callable[[*_Args], _T], *args: *_Args) -> _T:
        """The result of ``work(*args)``, which is estimated to take `cost_us` microseconds. Not always a checkpoint."""
        if cost_us > IN_PLACE_US_MAX or self._detours or self._in_threads:
            self._detours = max(0, self._detours - 1)
            self._in_threads += 1
            self._held_ns = 0
            try:
                return await trio.to_thread.run_sync(work, *args, limiter=self._threads)
            finally:
                self._in_threads -= 1
        begun = self._monotonic_ns()
        result = work(*args)
        lasted_ns = self._monotonic_ns() - begun
        if lasted_ns > SLOW_NS:
            self._detours = DETOURS
        self._held_ns += lasted_ns
        if self._held_ns >= YIELD_NS:
            self._held_ns = 0
            await trio.lowlevel.checkpoint()
        return result
