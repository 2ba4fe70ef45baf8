"""Prunes the ledger: keeps a window of blocks, batches and receipts, and the whole state.

Rules:

1. The last `keep_blocks` blocks are kept, and all blocks above the oldest snapshot: whoever joins by it fetches the
   rest of the chain from here. Without a snapshot nothing is pruned.
2. Blocks younger than two lifetimes of an envelope are kept, by block time: until then somebody may ask for a receipt
   because his envelope is refused as replayed.
3. It goes in steps of about `ENTRIES_PER_STEP` entries, with a pause between two, so that a step never holds a block up
   for longer than one more block would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from genesis.errors import Rejected
from node.snapshot_files import SnapshotFiles
from node.store import PRUNE_DISTANCE, Store

ENTRIES_PER_STEP: Final = 2_000
PAUSE_S: Final = 1.0
LIFETIMES_KEPT: Final = 2


class Pruner:
    """`run` is its loop.

    Args:
        store: What is pruned.
        files: The snapshots that rule 1 is about.
        keep_blocks: Rule 1; 0 prunes nothing, ever.
        lifetime_ms: The longest lifetime of an envelope, in block time.
        report: Called with (kind, values) for a log line.
    """

    def __init__(
        self,
        store: Store,
        files: SnapshotFiles,
        keep_blocks: int,
        lifetime_ms: int,
        report: Callable[[str, dict[str, int | str]], None],
    ) -> None:
        self._store = store
        self._files = files
        self._keep_blocks = keep_blocks
        self._lifetime_ms = lifetime_ms
        self._report = report
        self._progress = trio.Event()

    def progressed(self) -> None:
        """Blocks have become durable."""
        self._progress.set()

    async def run(self) -> None:
        """Prune until cancelled."""
        while self._keep_blocks:
            await self._progress.wait()
            self._progress = trio.Event()
            before = self._store.lowest
            while await trio.to_thread.run_sync(self.step):
                await trio.sleep(PAUSE_S)
            if self._store.lowest > before:
                self._report("pruned", {"lowest_height": self._store.lowest})
            await trio.sleep(PAUSE_S)

    def step(self) -> bool:
        """One step, if there is anything to prune. Blocks."""
        below = self.target()
        return below > self._store.lowest and self._store.prune(below, ENTRIES_PER_STEP)

    def target(self) -> int:
        """The lowest height that rules 1 and 2 keep. Blocks."""
        tip, heights = self._store.tip(), self._files.heights
        if tip is None or not heights or not self._keep_blocks:
            return 0
        highest = min(tip.height - max(self._keep_blocks - 1, PRUNE_DISTANCE), heights[0] + 1)
        return self._oldest_young(self._store.lowest, highest, tip.time_unix_ms - LIFETIMES_KEPT * self._lifetime_ms)

    def _oldest_young(self, low: int, high: int, moment_unix_ms: int) -> int:
        """The lowest height from `low` to `high` whose block is not older than the moment; `high` if there is none."""
        while low < high:
            middle = (low + high) // 2
            try:
                block = self._store.committed(middle)
            except Rejected:
                block = None
            if block is not None and block.time_unix_ms >= moment_unix_ms:
                high = middle
            else:
                low = middle + 1
        return low
