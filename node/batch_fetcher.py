"""Fetches batches that a block orders and that have not arrived: from one peer after the other, until one answers.

Rules:

1. The peer that proposed the block is asked first, then those that acknowledged the batch, then the others in turn.
2. A peer has `ANSWER_S` to answer; then the next one is asked. A withheld batch costs time, never the chain: whoever
   voted for the block holds it.
3. A peer may send only as many batches as it was asked for; an unasked answer is its fault.
4. The request waits `GRACE_S` first, since a batch is usually on its way; nothing is asked for while it is being
   verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import trio

from genesis.errors import Rejected
from genesis.hashing import DIGEST_BYTES
from node.frames import FrameKind
from node.network import Network

GRACE_S: Final = 0.02
ANSWER_S: Final = 0.3
REQUEST_DIGESTS_MAX: Final = 32
OWED_MAX: Final = 1024


class _Wanted:
    """One batch that somebody waits for."""

    __slots__ = ("asked", "due", "hints", "refused", "settled", "users")

    def __init__(self, due: float) -> None:
        self.settled = trio.Event()
        self.refused: Rejected | None = None
        self.hints: list[int] = []
        self.users = 0
        self.asked = 0
        self.due = due


class BatchFetcher:
    """The batches that are missing and whom to ask. `run` is its loop.

    Args:
        network: Where to ask.
        holders: The peers that acknowledged a batch.
        arriving: Whether a batch is here already and only being verified.
    """

    def __init__(
        self, network: Network, holders: Callable[[bytes], Iterable[int]], arriving: Callable[[bytes], bool]
    ) -> None:
        self._network = network
        self._holders = holders
        self._arriving = arriving
        self._wanted: dict[bytes, _Wanted] = {}
        self._owed: dict[int, int] = {}
        self._wakeup = trio.Event()

    def __contains__(self, digest: bytes) -> bool:
        """Whether somebody waits for this batch."""
        return digest in self._wanted

    async def wait(self, digests: Sequence[bytes], hint_peer: int) -> None:
        """Return when every one of the batches has been settled; ask for them meanwhile.

        Raises:
            Rejected: One of them turned out to be invalid, so it can never arrive.
        """
        wanted = [self._want(each, hint_peer) for each in digests]
        try:
            for each in wanted:
                await each.settled.wait()
                if each.refused is not None:
                    raise each.refused
        finally:
            for digest in digests:
                self._release(digest)

    def settle(self, digest: bytes, refused: Rejected | None = None) -> None:
        """The batch is here, or (`refused`) known to be invalid: wake whoever waits for it."""
        wanted = self._wanted.get(digest)
        if wanted is not None:
            wanted.refused = refused
            wanted.settled.set()

    def answered(self, peer: int) -> None:
        """Count one answer of `peer`.

        Raises:
            Rejected: ``unasked_batch``: it was asked for no more.
        """
        if self._owed.get(peer, 0) <= 0:
            raise Rejected("unasked_batch", "A peer sent a batch that nobody asked it for.", peer=peer)
        self._owed[peer] -= 1

    async def run(self) -> None:
        """Ask for what is due until cancelled."""
        while True:
            self._wakeup = trio.Event()
            due = min((each.due for each in self._wanted.values() if not each.settled.is_set()), default=float("inf"))
            with trio.move_on_at(due):
                await self._wakeup.wait()
            self._ask(trio.current_time())

    def _want(self, digest: bytes, hint_peer: int) -> _Wanted:
        wanted = self._wanted.get(digest)
        if wanted is None:
            wanted = self._wanted[digest] = _Wanted(trio.current_time() + GRACE_S)
            self._wakeup.set()
        if hint_peer not in wanted.hints:
            wanted.hints.append(hint_peer)
        wanted.users += 1
        return wanted

    def _release(self, digest: bytes) -> None:
        wanted = self._wanted[digest]
        wanted.users -= 1
        if wanted.users == 0:
            del self._wanted[digest]

    def _ask(self, now: float) -> None:
        requests: dict[int, list[bytes]] = {}
        for digest, wanted in self._wanted.items():
            if wanted.settled.is_set() or wanted.due > now:
                continue
            wanted.due = now + ANSWER_S
            peer = None if self._arriving(digest) else self._candidate(digest, wanted)
            if peer is not None:
                requests.setdefault(peer, []).append(digest)
        for peer, digests in requests.items():
            self._request(peer, digests)

    def _candidate(self, digest: bytes, wanted: _Wanted) -> int | None:
        """The next peer to ask: each connected one in turn, the likeliest first."""
        connected = self._network.connected
        likely = [*wanted.hints, *sorted(self._holders(digest)), *sorted(connected)]
        order = [peer for peer in dict.fromkeys(likely) if peer in connected]
        if not order:
            return None
        peer = order[wanted.asked % len(order)]
        wanted.asked += 1
        return peer

    def _request(self, peer: int, digests: Sequence[bytes]) -> None:
        self._owed[peer] = min(self._owed.get(peer, 0) + len(digests), OWED_MAX)
        for start in range(0, len(digests), REQUEST_DIGESTS_MAX):
            self._network.send(peer, FrameKind.BATCH_REQUEST, b"".join(digests[start : start + REQUEST_DIGESTS_MAX]))


def split_digests(payload: bytes, digests_max: int) -> list[bytes]:
    """The digests in a request or an acknowledgement.

    Raises:
        Rejected: ``malformed``: not a whole number of digests, none, or more than `digests_max`.
    """
    count, rest = divmod(len(payload), DIGEST_BYTES)
    if rest or not 0 < count <= digests_max:
        raise Rejected("malformed", "Expected a list of digests.", size=len(payload), digests_max=digests_max)
    return [payload[start : start + DIGEST_BYTES] for start in range(0, len(payload), DIGEST_BYTES)]
