"""What each author may have open here: batches that no committed block orders. The counts behind rule 2 of
`node.batch_pool`.

Rules:

1. An author has at most `batches_open_per_author_max` batches open, which take at most
   `batches_open_bytes_per_author_max` of memory (`Batch.memory_bytes`).
2. One batch is within the quota of bytes whatever it takes: an honest author cannot know what its clients' envelopes
   take elsewhere, and must get on.
3. What waits to be verified counts as well, as three times its wire. What it takes decoded is known only afterwards;
   then it is counted anew, and may be one too many after all.
"""

from __future__ import annotations

from collections.abc import Iterator

from genesis.params import ChainParams
from node.batches import COPIES, Batch


class BatchQuotas:
    """The open batches of every author, counted, and what was dropped because it would have been one too many."""

    def __init__(self, authors: int, params: ChainParams) -> None:
        self._params = params
        self._open = [0] * authors
        self._open_bytes = [0] * authors
        self._dropped = [0] * authors

    def open(self, author: int) -> int:
        """How many batches the author has open."""
        return self._open[author]

    def open_bytes(self, author: int) -> int:
        """What the author's open batches take."""
        return self._open_bytes[author]

    def admits(self, author: int, wire_bytes: int, waiting: int, waiting_bytes: int) -> bool:
        """Whether a batch of so many bytes may be verified, besides `waiting` ones of `waiting_bytes` (rule 3)."""
        return self._fits(author, COPIES * wire_bytes, waiting, COPIES * waiting_bytes)

    def has_room(self, batch: Batch) -> bool:
        """Whether a verified batch is within its author's quotas."""
        return self._fits(batch.author, batch.memory_bytes, 0, 0)

    def half_used(self, author: int) -> bool:
        """Whether the author's open batches take half of either quota."""
        count_max = max(1, self._params.batches_open_per_author_max // 2)
        bytes_max = self._params.batches_open_bytes_per_author_max // 2
        return self._open[author] >= count_max or self._open_bytes[author] >= bytes_max

    def take(self, batch: Batch) -> None:
        """A batch is open."""
        self._open[batch.author] += 1
        self._open_bytes[batch.author] += batch.memory_bytes

    def give_back(self, batch: Batch) -> None:
        """A batch is no longer open."""
        self._open[batch.author] -= 1
        self._open_bytes[batch.author] -= batch.memory_bytes

    def drop(self, author: int) -> None:
        """A batch of the author was dropped."""
        self._dropped[author] += 1

    def dropped(self) -> Iterator[dict[str, int | str]]:
        """What was dropped since this was asked last: one report for each author, however many batches it sent."""
        for author, dropped in enumerate(self._dropped):
            if dropped:
                self._dropped[author] = 0
                held = {"open": self._open[author], "open_bytes": self._open_bytes[author]}
                yield {"author": author, "dropped": dropped, **held}

    def _fits(self, author: int, memory_bytes: int, waiting: int, waiting_bytes: int) -> bool:
        count = self._open[author] + waiting
        if count >= self._params.batches_open_per_author_max:
            return False
        held_bytes = self._open_bytes[author] + waiting_bytes
        return count == 0 or held_bytes + memory_bytes <= self._params.batches_open_bytes_per_author_max
