"""The node's two clocks, read together: monotonic for timers, block time for proposals and votes.

This is the one place where the node reads the time for the consensus core. The wall clock is taken as it is, also when
an operator or NTP sets it back: the core keeps block time monotonic, and a replica whose clock is wrong refuses to
vote, which is visible, where a smoothed clock would be wrong in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from consensus.events import Now
from genesis.document import ChainClock

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Reads the time for one chain.

    Args:
        chain: How block time follows the wall.
        wall_ns: Nanoseconds since 1970; replaced in tests.
        monotonic_ns: Nanoseconds from a fixed moment, never going back; replaced in tests.
    """

    chain: ChainClock
    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns

    def now(self) -> Now:
        """Both clocks, in whole milliseconds, rounded down."""
        return Now(self.monotonic_ns() // _NS_PER_MS, self.chain.chain_unix_ms(self.wall_ns() // _NS_PER_MS))
