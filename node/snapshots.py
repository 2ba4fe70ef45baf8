"""Takes snapshots of the state while the node runs, and serves them.

Rules:

1. A snapshot is due at every multiple of `interval`, of the first block from there on whose root is certified together
   with its parent's (`node.snapshot_wire`). So validators with the same interval have snapshots of the same heights,
   and a joiner can fetch pieces of one from all of them.
2. Nothing waits for a snapshot. A view of the state is taken when a block has become durable; its certificate comes
   with later blocks; what is left is done by a worker thread, with pauses, while blocks go on. At most `VIEWS_MAX`
   views are held, and one snapshot is written at a time; one that falls due meanwhile comes after it. While the node
   is far behind the others none is taken: it has something better to do, and they have newer ones.
3. A snapshot that fails is reported and given up: the chain does not need it.
4. With an offer goes what leads from the asker's trusted block to the offer's validators; where this node cannot show
   that, it has no snapshot for who asks.
5. What one peer has read and sent for it is bounded in time (`node.serving_rate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import trio

from consensus.types import Proposal
from contracts.snapshot import cut_state
from genesis.errors import Rejected
from node.database import RESYNC, StateView
from node.failures import StorageFailure
from node.frames import FrameKind
from node.network import Network
from node.serving_rate import ServingRate
from node.snapshot_files import SnapshotFiles
from node.snapshot_wire import (
    OFFER_BLOCKS_MAX,
    Offer,
    are_offerable,
    decode_offer,
    decode_piece_request,
    decode_snapshot_request,
    encode_piece,
    encode_snapshot_offer,
)
from node.store import CommittedBlock, Store
from node.transitions import history_for, reads_max

VIEWS_MAX: Final = 8
ENTRIES_PER_TURN: Final = 1_000
"""Read in about 2 ms; then the thread rests as long, so that a snapshot takes half a core at most."""

REST_S: Final = 0.002


class SnapshotMaker:
    """Decides when a snapshot is taken, and takes it. `run` is its loop.

    Args:
        store: Where state and certificates are.
        files: Where snapshots go.
        interval: Rule 1; 0 for none.
        depth: The Merkle tree's.
        report: Called with (kind, values) for a log line.
        is_behind: Whether the node is far behind the best certificate that it knows.
    """

    def __init__(
        self,
        store: Store,
        files: SnapshotFiles,
        interval: int,
        depth: int,
        report: Callable[[str, dict[str, int | str]], None],
        is_behind: Callable[[], bool],
    ) -> None:
        self._is_behind = is_behind
        self._store = store
        self._files = files
        self._interval = interval
        self._depth = depth
        self._report = report
        tip = store.tip()
        self._due = self._after(tip.height if tip is not None else 0)
        self._views: list[StateView] = []
        self._progress = trio.Event()

    def is_due(self, height: int) -> bool:
        """Whether the state after the block of this height shall be looked at, before the next block changes it."""
        is_due = self._interval > 0 and self._due <= height
        return is_due and len(self._views) < VIEWS_MAX and not self._is_behind()

    def progressed(self) -> None:
        """Blocks have become durable, and the next ones have not been executed (rule 2)."""
        tip = self._store.tip()
        if tip is not None and self.is_due(tip.height):
            self._views.append(self._store.view())
        self._progress.set()

    async def run(self) -> None:
        """Write what falls due, until cancelled."""
        try:
            while True:
                await self._progress.wait()
                self._progress = trio.Event()
                while self._views and await self._settled(self._views[0]):
                    pass
        finally:
            self._drop(lambda view: True)

    async def _settled(self, view: StateView) -> bool:
        """Write the snapshot of a view, or drop it where no header will ever name it; False while none has yet."""
        blocks = await trio.to_thread.run_sync(offered_blocks, self._store, view.height)
        if blocks is None:
            return False
        try:
            if blocks:
                self._due = self._after(view.height)
                self._drop(lambda other: view.height < other.height < self._due)
                await self._write(view, blocks)
        finally:
            self._drop(lambda other: other is view)
        return True

    async def _write(self, view: StateView, blocks: list[tuple[Proposal, CommittedBlock]]) -> None:
        try:
            pieces = await trio.to_thread.run_sync(self._cut_and_write, view, blocks)
        except (Rejected, OSError) as error:
            self._report("snapshot_failed", {"height": view.height, "why": str(error)})
        else:
            self._report("snapshot", {"height": view.height, "pieces": pieces})

    def _cut_and_write(self, view: StateView, blocks: list[tuple[Proposal, CommittedBlock]]) -> int:
        cut = cut_state(_at_leisure(view.entries()), self._depth)
        offer = Offer(cut.level, tuple(proposal for proposal, _ in blocks), blocks[-1][1].qc)
        if cut.root != offer.state_root:
            reason = f"its root at height {view.height} is {cut.root.hex()}, not {offer.state_root.hex()}"
            raise StorageFailure("read the state", reason, RESYNC)
        self._files.write(offer, cut)
        return len(cut.slices) + len(cut.replay)

    def _drop(self, wanted: Callable[[StateView], bool]) -> None:
        for view in [each for each in self._views if wanted(each)]:
            self._views.remove(view)
            view.close()

    def _after(self, height: int) -> int:
        return (height // self._interval + 1) * self._interval if self._interval else 0


def offered_blocks(store: Store, height: int) -> list[tuple[Proposal, CommittedBlock]] | None:
    """The committed blocks from below `height` to the header that certifies it, for an offer of that height.

    None while no committed header names the height or a later one; empty when none ever will in the form that an offer
    needs. Blocks.
    """
    tip = store.tip()
    if height - 1 < store.lowest and store.lowest > 1:
        return []
    found: list[tuple[Proposal, CommittedBlock]] = []
    for each in range(height - 1, tip.height + 1 if tip is not None else 0):
        block = store.committed(each)
        proposal = store.proposal(block.block_hash) if block is not None else None
        if block is None or proposal is None or len(found) == OFFER_BLOCKS_MAX:
            return []
        found.append((proposal, block))
        if proposal.header.anchor.height >= height:
            return found if are_offerable([proposal.header for proposal, _ in found]) else []
    return None


class SnapshotServer:
    """Answers peers that join (rules 4 and 5)."""

    def __init__(self, files: SnapshotFiles, store: Store, epoch_blocks: int, network: Network) -> None:
        self._files = files
        self._store = store
        self._epoch_blocks = epoch_blocks
        self._network = network
        self._rate = ServingRate[int]()

    async def handle(self, peer: int, kind: FrameKind, payload: bytes) -> None:
        """Answer one request; a peer's next one is read only after that.

        Raises:
            Rejected: ``malformed``.
        """
        if kind is FrameKind.SNAPSHOT_REQUEST:
            height_min = decode_snapshot_request(payload)
            await self._rate.turn(peer)
            answer, items = await trio.to_thread.run_sync(self._offer, height_min)
            self._send(peer, FrameKind.SNAPSHOT_OFFER, answer, items)
        else:
            name = decode_piece_request(payload)
            await self._rate.turn(peer)
            data = await trio.to_thread.run_sync(self._files.piece, name)
            self._send(peer, FrameKind.PIECE_RESPONSE, encode_piece(name, data), 1)

    def _send(self, peer: int, kind: FrameKind, payload: bytes, items: int) -> None:
        self._rate.charge(peer, items, len(payload))
        self._network.send(peer, kind, payload)

    def _offer(self, height_min: int) -> tuple[bytes, int]:
        """The answer, and how much was looked up for it, at most: whoever is refused has cost us as much."""
        offer = self._files.offer(height_min)
        if offer is None:
            return encode_snapshot_offer(height_min, None), 1
        items = 1 + reads_max(self._epoch_blocks, height_min)
        try:
            history = history_for(self._store, self._epoch_blocks, height_min, decode_offer(offer).header.epoch)
        except Rejected:
            return encode_snapshot_offer(height_min, None), items
        return encode_snapshot_offer(height_min, offer, history), items


def _at_leisure(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The entries, with pauses in which the event loop has the interpreter; ends when the node does."""
    for number, entry in enumerate(entries):
        if number % ENTRIES_PER_TURN == ENTRIES_PER_TURN - 1:
            trio.from_thread.run(trio.sleep, REST_S)
        yield entry
