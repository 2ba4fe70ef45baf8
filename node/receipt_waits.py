"""Who waits for which receipt.

A waiter is woken when the block that executed its envelope is durable (`deliver` is called only then), never before: a
receipt that a client was given is never lost. One registration serves any number of envelopes, so a client that posts
a thousand costs one task, not a thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import trio

from contracts.receipts import Receipt
from node.offload import Offload
from node.store import Store

LOOK_US: Final = 20
"""Finding that the store has no receipt of an envelope, or reading the one it has."""


class _Wait:
    """One client's wait for some envelopes."""

    __slots__ = ("done", "found", "missing")

    def __init__(self, missing: set[bytes]) -> None:
        self.missing = missing
        self.found: dict[bytes, Receipt] = {}
        self.done = trio.Event()

    def have(self, stored: Mapping[bytes, Receipt]) -> None:
        """What the store has is final, whatever a later block said of a repetition."""
        self.found.update(stored)
        self.missing.difference_update(stored)
        if not self.missing:
            self.done.set()

    def take(self, receipt: Receipt) -> None:
        if receipt.envelope_id in self.missing:
            self.missing.discard(receipt.envelope_id)
            self.found[receipt.envelope_id] = receipt
            if not self.missing:
                self.done.set()


class ReceiptWaits:
    """The registry. Runs in the Trio thread; receipts of earlier blocks are looked up in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waits: dict[bytes, list[_Wait]] = {}
        self._looking = Offload()

    @property
    def waiting(self) -> int:
        """Envelopes that somebody waits for."""
        return len(self._waits)

    async def wait_many(self, envelope_ids: Sequence[bytes], timeout_s: float) -> dict[bytes, Receipt]:
        """The receipts of these envelopes: all of them, or those that exist after `timeout_s` seconds (0: now)."""
        wait = _Wait(set(envelope_ids))
        ids = tuple(wait.missing)
        if not ids:
            return {}
        for each in ids:
            self._waits.setdefault(each, []).append(wait)
        try:
            stored = await self._looking.run(len(ids) * LOOK_US, self._store.receipts, ids)
            wait.have(stored)
            with trio.move_on_after(timeout_s):
                await wait.done.wait()
        finally:
            self._forget(ids, wait)
        return wait.found

    def deliver(self, receipts: Iterable[Receipt]) -> None:
        """Wake whoever waits for these receipts. The block that holds them is durable."""
        if not self._waits:
            return
        for receipt in receipts:
            for wait in self._waits.get(receipt.envelope_id, ()):
                wait.take(receipt)

    def _forget(self, envelope_ids: Iterable[bytes], wait: _Wait) -> None:
        for each in envelope_ids:
            waits = self._waits[each]
            waits.remove(wait)
            if not waits:
                del self._waits[each]
