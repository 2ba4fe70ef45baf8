"""A list that stays sorted, for tens of thousands of entries that come and go one at a time.

Theory of operation. The entries lie in chunks of bounded length, in order, with the last entry of each in a list of its
own. Two bisections find an entry; a change moves one chunk and, now and then, splits one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

from genesis.errors import violated

CHUNK_LENGTH_MAX: Final = 1_024

T = TypeVar("T", bound=Any)


class SortedList(Generic[T]):
    """Distinct entries in ascending order."""

    __slots__ = ("_chunks", "_lasts", "_length")

    def __init__(self) -> None:
        self._chunks: list[list[T]] = []
        self._lasts: list[T] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for chunk in self._chunks:
            yield from chunk

    def add(self, entry: T) -> None:
        """Take in an entry that is not there."""
        if not self._chunks:
            self._chunks.append([])
            self._lasts.append(entry)
        place = min(bisect_left(self._lasts, entry), len(self._chunks) - 1)
        chunk = self._chunks[place]
        insort(chunk, entry)
        if len(chunk) > CHUNK_LENGTH_MAX:
            half = len(chunk) // 2
            self._chunks.insert(place + 1, chunk[half:])
            self._lasts.insert(place + 1, chunk[-1])
            del chunk[half:]
        self._lasts[place] = chunk[-1]
        self._length += 1

    def remove(self, entry: T) -> None:
        """Take out an entry that is there.

        Raises:
            InvariantViolation: It is not.
        """
        place = bisect_left(self._lasts, entry)
        chunk = self._chunks[place] if place < len(self._chunks) else []
        at = bisect_left(chunk, entry)
        if chunk[at : at + 1] != [entry]:
            violated("An entry that is to leave a sorted list is not in it.", entry=str(entry))
        del chunk[at]
        self._length -= 1
        if chunk:
            self._lasts[place] = chunk[-1]
        else:
            del self._chunks[place], self._lasts[place]

    def between(self, low: T, high: T) -> Iterator[T]:
        """The entries in ``[low, high)``, ascending; the list may not change meanwhile."""
        for entry in self._from(bisect_left(self._lasts, low), bisect_left, low):
            if entry >= high:
                return
            yield entry

    def above(self, low: T) -> Iterator[T]:
        """The entries beyond `low`, ascending; the list may not change meanwhile."""
        return self._from(bisect_right(self._lasts, low), bisect_right, low)

    def _from(self, place: int, bisect: Any, low: T) -> Iterator[T]:
        if place < len(self._chunks):
            yield from self._chunks[place][bisect(self._chunks[place], low) :]
        for each in range(place + 1, len(self._chunks)):
            yield from self._chunks[each]
