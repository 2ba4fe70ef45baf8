"""A test clock that jumps when nothing is left to do, in worker threads neither: however slow they are."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock


class ThreadsAtWork:
    """While a thread is at work the clock does not jump; otherwise it does so as soon as all tasks wait.

    Args:
        clock: The test's clock.
        patch: Undone at the end of the test.
    """

    def __init__(self, clock: MockClock, patch: pytest.MonkeyPatch) -> None:
        self._clock = clock
        self._count = 0
        self._real = trio.to_thread.run_sync
        clock.autojump_threshold = 0
        patch.setattr(trio.to_thread, "run_sync", self._run_sync)

    async def _run_sync(self, *arguments: Any, **options: Any) -> Any:
        """As ``trio.to_thread.run_sync``."""
        self._count += 1
        self._clock.autojump_threshold = inf
        try:
            return await self._real(*arguments, **options)
        finally:
            self._count -= 1
            if not self._count:
                self._clock.autojump_threshold = 0
