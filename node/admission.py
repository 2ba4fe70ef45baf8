"""Who may try to connect, and when: the bounds around connections that are not, or no longer, trusted.

Rules:

1. At most so many connections wait to prove who they are. One more puts out the one that has waited longest of the
   origin that holds the most places, the newcomer's counted: an honest peer needs one place of its own origin and some
   milliseconds, so a stranger keeps nobody out, whether he fills every place and stays silent or comes back thousands
   of times a second. An origin is an IPv4 address or an IPv6 network of 64 bits, which is what one subscriber has.
2. A peer that broke a rule of the protocol is barred for a while, both ways, doubling with each offence up to a cap,
   and forgiven after a clean span. The cap is short: a validator that was upgraded or repaired comes back by itself.
3. Dialling backs off exponentially with jitter, starts short enough that nodes started together meet at once, and
   starts anew only after a connection that lasted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

import trio


class Doorway:
    """The places in which connections wait while they prove who they are (rule 1)."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: dict[trio.CancelScope, str] = {}

    @contextmanager
    def enter(self, timeout_s: float, origin: str = "") -> Iterator[trio.CancelScope]:
        """Take a place for the length of the block, which ends after `timeout_s` or when a newcomer needs the place."""
        with trio.move_on_after(timeout_s) as scope:
            self._waiting[scope] = origin
            if len(self._waiting) > self._places:
                self._put_one_out()
            try:
                yield scope
            finally:
                self._waiting.pop(scope, None)

    def _put_one_out(self) -> None:
        [(crowd, _)] = Counter(self._waiting.values()).most_common(1)
        oldest = next(scope for scope, origin in self._waiting.items() if origin == crowd)
        del self._waiting[oldest]
        oldest.cancel()


def origin_of(host: str) -> str:
    """The origin that an address belongs to (rule 1); an address that is none is its own."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))


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
