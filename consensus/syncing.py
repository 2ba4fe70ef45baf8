"""When to ask for blocks that are certified but not here, and from which height.

Rules:

1. A certified block above the last committed one is missing: ask for what lies between. Shortly after noticing, for its
   proposal is usually on its way on another link; then on every beat until it is here.
2. An answer that brought blocks is followed by the next request at once.
3. Ask from the last committed height; while answers bring blocks that commit nothing yet, from the last of those; after
   an answer that brought nothing, from the committed height again (that last block may stand on a fork).
4. Not while the executor is far behind: committed blocks that wait for execution are bounded.
"""

from __future__ import annotations

from typing import Final

from genesis.params import ChainParams

GRACE_DIVISOR: Final = 10
BACKLOG_ANSWERS_MAX: Final = 4


class FetchPlan:
    """The timing of `FetchBlocks`."""

    def __init__(self, params: ChainParams) -> None:
        self._params = params
        self._next_ms: int | None = None
        self._cursor_height = 0

    @property
    def next_ms(self) -> int | None:
        """When the next request is due; None while nothing is missing."""
        return self._next_ms

    def nothing_missing(self) -> None:
        """Everything certified is here."""
        self._next_ms = None
        self._cursor_height = 0

    def is_due(self, now_ms: int) -> bool:
        """A block is missing: whether to ask now; if so, the next request is set (rule 1)."""
        if self._next_ms is None:
            self._next_ms = now_ms + self._params.resend_interval_ms // GRACE_DIVISOR
        if now_ms < self._next_ms:
            return False
        self._next_ms = now_ms + self._params.resend_interval_ms
        return True

    def is_held_back(self, committed_height: int, executed_height: int) -> bool:
        """Rule 4."""
        return committed_height - executed_height > BACKLOG_ANSWERS_MAX * self._params.sync_blocks_max

    def from_height(self, committed_height: int) -> int:
        """Rule 3."""
        return max(committed_height, self._cursor_height)

    def answered(self, now_ms: int, last_added_height: int) -> None:
        """An answer came; `last_added_height` is 0 when it added nothing (rules 2 and 3)."""
        self._cursor_height = last_added_height
        if last_added_height > 0:
            self._next_ms = now_ms
