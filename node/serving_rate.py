"""How much a peer may have read and sent for it: the same bound for requests as `node.links` has for what is received.

Rules:

1. An answer costs its bytes, `ITEM_BYTES` for each thing that was looked up for it, found or not, and `REQUEST_BYTES`.
2. A peer may run up `BURST_BYTES` at once and `BYTES_PER_S` in the long run. Who has had more waits before its next
   request is looked at, and so does all behind it on its own lane, through TCP: nothing piles up, and nothing is
   refused to an honest peer. A wait ends by itself.

5,000 small blocks for a node that catches up are 79 requests and 28 MiB by this count: within the burst.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

import trio

REQUEST_BYTES: Final = 65_536
ITEM_BYTES: Final = 4_096
"""Looking up a record in LevelDB takes about as long as encrypting so much."""

BYTES_PER_S: Final = 33_554_432
BURST_BYTES: Final = 33_554_432


_Peer = TypeVar("_Peer", bound=Hashable)


class ServingRate(Generic[_Peer]):
    """What each peer has had. Bounded: one number a peer."""

    def __init__(self) -> None:
        self._paid_at_s: dict[_Peer, float] = {}

    async def turn(self, peer: _Peer) -> None:
        """Return when this peer may be served again (rule 2)."""
        earliest_s = self._paid_at_s.get(peer, 0.0) - BURST_BYTES / BYTES_PER_S
        if earliest_s > trio.current_time():
            await trio.sleep_until(earliest_s)

    def charge(self, peer: _Peer, items: int, answer_bytes: int) -> None:
        """The peer was served (rule 1)."""
        cost = REQUEST_BYTES + items * ITEM_BYTES + answer_bytes
        begun_s = max(self._paid_at_s.get(peer, 0.0), trio.current_time())
        self._paid_at_s[peer] = begun_s + cost / BYTES_PER_S
