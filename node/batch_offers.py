"""Whose batch is proposed next: the batches that a quorum holds, oldest first, one author after the other.

An author's place in the turn moves with each offer, so no author can crowd out another, and none is always first.
"""

from __future__ import annotations


class BatchOffers:
    """The batches that may be proposed, by author."""

    def __init__(self, authors: int) -> None:
        self._ready: list[dict[bytes, None]] = [{} for _ in range(authors)]
        self._turn = 0

    def add(self, author: int, digest: bytes) -> None:
        """This batch may be proposed, after the author's earlier ones."""
        self._ready[author][digest] = None

    def discard(self, author: int, digest: bytes) -> None:
        """This batch is not offered any more; nothing if it was not."""
        self._ready[author].pop(digest, None)

    def take(self, without: frozenset[bytes], limit: int) -> tuple[bytes, ...]:
        """Up to `limit` batches to propose now, without those in `without`; they stay on offer."""
        authors = len(self._ready)
        self._turn = (self._turn + 1) % authors
        queues = [iter(self._ready[(self._turn + step) % authors]) for step in range(authors)]
        chosen: list[bytes] = []
        while queues and len(chosen) < limit:
            left = []
            for queue in queues:
                digest = next((each for each in queue if each not in without), None)
                if digest is not None and len(chosen) < limit:
                    chosen.append(digest)
                    left.append(queue)
            queues = left
        return tuple(chosen)
