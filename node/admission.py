"""Who may try to connect, and when: the bounds around connections that are not, or no longer, trusted.

Rules:

1. At most so many connections wait to prove who they are. One more puts out the one that has waited longest, never
   the newcomer: an honest peer needs milliseconds, so a stranger who fills every place and stays silent keeps nobody
   out.
2. A peer that broke a rule of the protocol is barred for a while, both ways, doubling with each offence up to a cap,
   and forgiven after a clean span. The cap is short: a validator that was upgraded or repaired comes back by itself.
3. Dialling backs off exponentially with jitter, starts short enough that nodes started together meet at once, and
   starts anew only after a connection that lasted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class Doorway:
    """The places in which connections wait while they prove who they are (rule 1)."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: dict[trio.CancelScope, None] = {}

    @contextmanager
    def enter(self, timeout_s: float) -> Iterator[trio.CancelScope]:
        """Take a place for the length of the block, which ends after `timeout_s` or when a newcomer needs the place."""
        if len(self._waiting) >= self._places:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
        with trio.move_on_after(timeout_s) as scope:
            self._waiting[scope] = None
            try:
                yield scope
            finally:
                self._waiting.pop(scope, None)


class Standing:
    """One peer's record of offences (rule 2). Times are of Trio's clock, in seconds."""

    def __init__(self, penalty_s_min: float, penalty_s_max: float) -> None:
        self._penalty_s_min = penalty_s_min
        self._penalty_s_max = penalty_s_max
        self._offences = 0
        self._barred_until_s = float("-inf")

    @property
    def offences(self) -> int:
        """Offences that count towards the next penalty."""
        return self._offences

    def offend(self, now_s: float) -> None:
        """Count an offence and bar the peer for it; offences older than ten longest penalties are forgiven."""
        if now_s > self._barred_until_s + 10 * self._penalty_s_max:
            self._offences = 0
        penalty_s = min(self._penalty_s_max, self._penalty_s_min * 2.0 ** min(self._offences, 32))
        self._offences += 1
        self._barred_until_s = max(self._barred_until_s, now_s + penalty_s)

    def barred_s(self, now_s: float) -> float:
        """For how many more seconds the peer is barred; 0 when it is welcome."""
        return max(0.0, self._barred_until_s - now_s)


class Backoff:
    """The pauses between attempts to reach one peer (rule 3): growing by half, up to `pause_s_max`.

    Each pause is drawn between half and all of its nominal length.

    Args:
        jitter: Draws uniformly from [0, 1).
    """

    def __init__(self, pause_s_min: float, pause_s_max: float, jitter: Callable[[], float]) -> None:
        self._pause_s_min = pause_s_min
        self._pause_s_max = pause_s_max
        self._jitter = jitter
        self._pause_s = pause_s_min

    def reset(self) -> None:
        """The next pause is the shortest again."""
        self._pause_s = self._pause_s_min

    def next_s(self) -> float:
        """How long to wait before the next attempt, in seconds."""
        pause_s = self._pause_s
        self._pause_s = min(self._pause_s_max, pause_s * 1.5)
        return pause_s * (0.5 + 0.5 * self._jitter())
