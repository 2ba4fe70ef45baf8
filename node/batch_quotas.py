"""What each author may have open here: batches that no committed block orders. The count behind rule 2 of
`node.batch_pool`.
"""

from __future__ import annotations

from collections.abc import Iterator

from genesis.params import ChainParams


class BatchQuotas:
    """The open batches of every author, counted, and what was dropped because it would have been one too many."""

    def __init__(self, authors: int, params: ChainParams) -> None:
        self._params = params
        self._open = [0] * authors
        self._dropped = [0] * authors

    def open(self, author: int) -> int:
        """How many batches the author has open."""
        return self._open[author]

    def has_room(self, author: int, arriving: int = 0) -> bool:
        """Whether one more batch is within the author's quota, besides `arriving` that are being verified."""
        return self._open[author] + arriving < self._params.batches_open_per_author_max

    def take(self, author: int) -> None:
        """The author has one more batch open."""
        self._open[author] += 1

    def give_back(self, author: int) -> None:
        """One of the author's batches is no longer open."""
        self._open[author] -= 1

    def drop(self, author: int) -> None:
        """A batch of the author was dropped."""
        self._dropped[author] += 1

    def dropped(self) -> Iterator[dict[str, int | str]]:
        """What was dropped since this was asked last: one report for each author, however many batches it sent."""
        for author, dropped in enumerate(self._dropped):
            if dropped:
                self._dropped[author] = 0
                yield {"author": author, "dropped": dropped, "open": self._open[author]}
