"""What must be on disk before a signature leaves: the safety file and the ledger, behind one call.

`persist_safety` writes in the order that a crash between any two steps leaves harmless: first the block and the
batches it orders (synced), then the safety state that records the vote (synced). Crash after the first: a block is
stored that we never voted for. Only when both are durable does the caller sign.
"""

from __future__ import annotations

from typing import Final

from consensus.events import SafetyState
from consensus.types import Proposal
from genesis.errors import invariant
from node.batch_pool import BatchPool
from node.safety_file import SafetyFile
from node.store import Store

SYNC_US: Final = 300
"""One synced write of the safety file and one of the ledger."""

KEEP_US: Final = 40
"""One block written without a sync, and for each batch that it orders `DIGEST_NS`."""

DIGEST_NS: Final = 100

BYTES_PER_US: Final = 200
"""What LevelDB's log takes in, with its checksums and the copy into its memory table."""


class Durable:
    """The disk as the replica sees it. Its calls block; they are made one at a time, wherever `writes` decides.

    Attributes:
        writes: Decides where writes run, for the ledger's other writers too.
    """

    def __init__(self, store: Store, safety: SafetyFile, pool: BatchPool) -> None:
        self.writes = store.writes
        self._store = store
        self._safety = safety
        self._pool = pool

    def keep_cost_us(self, proposal: Proposal) -> int:
        """About how long `put_proposal` takes."""
        return KEEP_US + len(proposal.header.payload) * DIGEST_NS // 1000

    def cost_us(self, proposal: Proposal | None) -> int:
        """About how long `persist_safety` takes, from the bytes it has to write."""
        batches = self._pool.unwritten(proposal.header.payload) if proposal is not None else []
        return SYNC_US + sum(len(wire) for _, wire in batches) // BYTES_PER_US

    def put_proposal(self, proposal: Proposal) -> None:
        """Keep a block; not synced."""
        self._store.put_proposal(proposal)

    def persist_safety(self, state: SafetyState, proposal: Proposal | None) -> None:
        """Make `proposal` with its batches durable, then `state`.

        Raises:
            StorageFailure: The disk refused; nothing may be signed.
            InvariantViolation: A batch of the block is neither in memory nor on disk, so a vote would promise too much.
        """
        if proposal is not None:
            self._sync(proposal)
        self._safety.save(state)

    def _sync(self, proposal: Proposal) -> None:
        payload = proposal.header.payload
        batches = self._pool.unwritten(payload)
        here = {digest for digest, _ in batches}
        for digest in payload:
            invariant(
                digest in here or self._pool.on_disk(digest) or self._store.has_batch(digest),
                "A vote needs every batch of its block.",
                digest=digest.hex(),
                height=proposal.header.height,
            )
        self._store.sync_proposal(proposal, batches)
        self._pool.written(here)
