"""Virtual time: what is to happen, in order.

Rules:

1. Whole milliseconds. What is due at the same moment happens in the order in which it was asked for.
2. Nothing is ever taken back: who no longer wants something to happen lets it find nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Heap:
    """The event heap. `now_ms` counts from the start of the run."""

    __slots__ = ("_entries", "_order", "now_ms")

    def __init__(self) -> None:
        self.now_ms = 0
        self._entries: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._entries)

    def after(self, delay_ms: int, action: Callable[..., None], *args: Any) -> None:
        """Call ``action(*args)`` so many milliseconds (0 or more) from now."""
        self._order += 1
        heappush(self._entries, (self.now_ms + delay_ms, self._order, action, args))

    def run_until(self, condition: Callable[[], bool], end_ms: int) -> bool:
        """Let time pass until the condition, looked at after each entry, holds; False if the end comes first."""
        entries = self._entries
        while not condition():
            if not entries or entries[0][0] > end_ms:
                self.now_ms = max(self.now_ms, end_ms)
                return False
            self.now_ms, _, action, args = heappop(entries)
            action(*args)
        return True

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        self.run_until(lambda: False, self.now_ms + for_ms)
