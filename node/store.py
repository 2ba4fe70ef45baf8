"""The ledger on disk: LevelDB, written so that what it acknowledges survives a power failure.

Rules:

1. Whatever a vote or a receipt rests on is written in one synced write batch: a proposal together with the batches it
   orders, before the vote (`sync_proposal`); a block together with its receipts, its changed state and any batch not
   yet here (`commit`).
2. Checksums are verified on every read and LevelDB runs in paranoid mode. Any failure ends the process
   (`StorageFailure`), and a store that has failed once refuses everything: after a failed write LevelDB may report
   success for writes that are gone.
3. A database that fails its check is never repaired and never reopened with weaker settings: the node resyncs from its
   peers.
4. Blocks are committed in order of height, each exactly once, and a power failure leaves a whole number of them: what
   is on disk after it is every block up to some height, and nothing of those above.
5. `prune` removes blocks, batches and receipts from below, the state never. It goes in steps, each one synced write
   batch that also says what is the lowest height kept: after a crash a step was done, or was not. The batches of a step
   count as gone from the call before on, so that nobody comes to rest on one that is about to go.

Why no write may rest on an unsynced one: LevelDB's log is sequential only until it rotates. The old log is then closed
without a sync, so a synced write in the new one does not make earlier unsynced ones durable. Batches therefore stay in
memory until the vote that needs them, and a flood of batches that nobody orders never reaches the disk. A block without
receipts promises nothing, so its commit need not wait for a sync; but a later block that survives without it would be
a hole. What such commits wrote is therefore written again by every later write of a block or a vote, until one of them
was synced (`_unsynced`). A vote syncs anyway, so the blocks of an idle chain cost no sync of their own.

Tables, by the first byte of the key (all integers big-endian)::

    m name                     meta: format and chain id, height of the tip, lowest height of which all is kept, first
                               epoch from which on all links are kept
    p block_hash               a proposal
    u height u64, block_hash   finds the proposals above the tip; dropped once their height is committed
    d digest                   -> ordinal u64 of a batch
    b ordinal u64              a batch; the keys ascend, so that compaction need not rewrite these large values
    c height u64               a committed block (`CommittedBlock`)
    r height u64               its receipts, in order: count u32, end offset u32 each, then the receipts
    i envelope_id[:16]         -> height u64, position u32 of an envelope's receipt
    o digest                   -> height u64 of the last committed block that orders the batch
    e epoch u64                how an epoch ended (`ClosedEpoch`); one for each, never pruned
    w epoch u64                the bucket of the next epoch's validator set, under the root after the edge; never pruned
    t epoch u64                a link (`node.set_history`), where the edge changed the set; never pruned
    s key                      an entry of the state, as the state machine wrote it

All methods block, some through a sync; callers on the event loop decide by `node.offload` where they run. Methods may
be called from several threads. Whoever writes goes through `writes`, since writers wait for one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Final

from consensus.types import Proposal
from consensus.wire import decode_proposal, encode_proposal
from contracts.receipts import Receipt, decode_receipt
from genesis.errors import Rejected, invariant, violated
from node.database import RESYNC, WRITE_BUFFER_BYTES, Database, StateView, open_database
from node.failures import StorageFailure
from node.offload import Offload
from node.store_prune import NOTHING, plan_step, removals
from node.store_records import (
    HEIGHT,
    PLACE,
    RECEIPT_KEY_BYTES,
    BlockWrite,
    ClosedEpoch,
    CommittedBlock,
    Digested,
    Entries,
    StoredReceipt,
    closed_bytes,
    pack,
    packed_item,
    proposal_entries,
    put_record,
    read_closed,
    read_record,
    unpack,
)

__all__ = [
    "RESYNC",
    "UNSYNCED_ENTRIES_MAX",
    "WRITE_BUFFER_BYTES",
    "BlockWrite",
    "CommittedBlock",
    "Digested",
    "Store",
    "StoredReceipt",
]

FORMAT_VERSION: Final = 3
UNSYNCED_ENTRIES_MAX: Final = 64
"""What is written again and again is small: about ten empty blocks. A commit that would leave more is synced."""

PRUNE_DISTANCE: Final = 64
"""No block so near to the tip is pruned: what was not synced yet is written again, and the next start reads the tip."""


class Store(Database):
    """One validator's ledger. `Store.open` makes one; `close` ends it.

    Attributes:
        writes: Decides where writes run.
    """

    def __init__(self, db: Any, path: Path) -> None:
        super().__init__(db, path)
        self._lock = Lock()
        self.writes = Offload()
        self._pending: dict[int, dict[bytes, bool]] = {}
        """The blocks above the tip, by height and hash, and whether each has been synced."""
        self._unsynced: Entries = []
        self._tip: CommittedBlock | None = None
        self._next_ordinal = 0
        self._lowest = 1
        self._doomed = NOTHING

    @classmethod
    def open(cls, path: Path, chain_id: bytes) -> Store:
        """Open or create the ledger at `path` (a directory), for one chain.

        Raises: StorageFailure: LevelDB refuses it: damaged, or in use by another process. Rejected: ``wrong_chain`` or
            ``wrong_store_format``: a healthy ledger, but not this chain's or this version's.
        """
        store = cls(open_database(path), path)
        try:
            store._load(chain_id)
        except BaseException:  # Whatever ends this, the caller gets no store to close, and LevelDB would stay locked.
            store.close()
            raise
        return store

    # --- reading ---------------------------------------------------------------------------------------------------

    def tip(self) -> CommittedBlock | None:
        """The last committed block (height 0 after `begin`), or None for an empty store."""
        return self._tip

    @property
    def lowest(self) -> int:
        """The lowest height whose block, batches and receipts are kept: 1, unless this ledger was pruned or began with
        a snapshot; above the tip as long as it has nothing but its snapshot."""
        return self._lowest

    def check_kept(self, height: int) -> None:
        """Raise `Rejected` (``pruned``) if the block of this height is below what is kept: why something is missing."""
        if height < self._lowest:
            message = "This block is below what is kept here."
            raise Rejected("pruned", message, height=height, lowest_height=self._lowest)

    def committed(self, height: int) -> CommittedBlock | None:
        """The committed block of this height, if the chain here has got that far.

        Raises:
            Rejected: ``pruned``: it is below what is kept.
            StorageFailure: The chain here has got that far, and the block is missing.
        """
        data = self._get(b"c" + HEIGHT.pack(height))
        if data is None:
            self.check_kept(height)
            if self._tip is not None and height <= self._tip.height:
                raise StorageFailure("read a committed block", f"block {height} is missing", RESYNC)
            return None
        with self._readable("a committed block"):
            return read_record(height, data)

    def proposal(self, block_hash: bytes) -> Proposal | None:
        """The block of this hash, committed or not."""
        data = self.proposal_wire(block_hash)
        if data is None:
            return None
        with self._readable("a proposal"):
            return decode_proposal(data)

    def proposal_wire(self, block_hash: bytes) -> bytes | None:
        """The block of this hash as its canonical bytes."""
        return self._get(b"p" + block_hash)

    def pending(self) -> tuple[Proposal, ...]:
        """The stored blocks above the tip, by height: the uncommitted chain and its forks."""
        with self._lock:
            hashes = [each for height in sorted(self._pending) for each in sorted(self._pending[height])]
        found = (self.proposal(each) for each in hashes)
        return tuple(each for each in found if each is not None)

    def closed(self, epoch: int) -> ClosedEpoch | None:
        """How an epoch ended, if it has ended here."""
        data = self._get(b"e" + HEIGHT.pack(epoch))
        if data is None:
            return None
        with self._readable("the end of an epoch"):
            return read_closed(data)

    @property
    def linked_since(self) -> int:
        """The epoch from which on every link is kept: 0, unless this ledger began with a snapshot."""
        data = self._get(b"mlinks")
        return HEIGHT.unpack(data)[0] if data is not None else 0

    def links(self, from_epoch: int) -> Iterator[bytes]:
        """The links of the epochs from this one on whose edges changed the validator set, encoded, in order."""
        with self._guarded("read the changes of the validator set"):
            for _, value in self._db.iterator(start=b"t" + HEIGHT.pack(from_epoch), stop=b"u", verify_checksums=True):
                yield value

    def next_set(self, epoch: int) -> bytes | None:
        """The encoded bucket that shows, under the root after the edge of `epoch`, the set of the epoch after it."""
        return self._get(b"w" + HEIGHT.pack(epoch))

    def batch(self, digest: bytes) -> bytes | None:
        """The batch of this digest as its canonical bytes. It was verified before it was stored."""
        if digest in self._doomed.digests:
            return None
        ordinal = self._get(b"d" + digest)
        return None if ordinal is None else self._get(b"b" + ordinal)

    def has_batch(self, digest: bytes) -> bool:
        """Whether the batch is on disk, and stays there."""
        return digest not in self._doomed.digests and self._get(b"d" + digest) is not None

    def has_receipt(self, envelope_id: bytes) -> bool:
        """Whether the envelope has been executed, by the half of its id that the index holds."""
        return self._get(b"i" + envelope_id[:RECEIPT_KEY_BYTES]) is not None

    def receipts(self, envelope_ids: Iterable[bytes]) -> dict[bytes, Receipt]:
        """The receipts of those of the envelopes that have one; each block is read once."""
        blocks: dict[int, bytes] = {}
        found: dict[bytes, Receipt] = {}
        for envelope_id in envelope_ids:
            place = self._get(b"i" + envelope_id[:RECEIPT_KEY_BYTES])
            if place is None:
                continue
            height, position = PLACE.unpack(place)
            if height not in blocks:
                packed = self._get(b"r" + HEIGHT.pack(height))
                if packed is None and height < self._lowest:
                    continue
                if packed is None:
                    raise StorageFailure("read the receipts of a block", f"those of block {height} are missing", RESYNC)
                blocks[height] = packed
            with self._readable("a receipt"):
                receipt = decode_receipt(packed_item(blocks[height], position))
            if receipt.envelope_id == envelope_id:
                found[envelope_id] = receipt
        return found

    def block_receipts(self, height: int) -> tuple[Receipt, ...]:
        """Every receipt of a committed block, in order; empty when there is no such block."""
        data = self._get(b"r" + HEIGHT.pack(height))
        if data is None:
            return ()
        with self._readable("a receipt"):
            return tuple(decode_receipt(each) for each in unpack(data))

    def state_entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Every entry of the state at the tip, in the order of the keys, checksums verified."""
        with self._guarded("read the state"):
            for key, value in self._db.iterator(prefix=b"s", verify_checksums=True, fill_cache=False):
                yield key[1:], value

    # --- writing ---------------------------------------------------------------------------------------------------

    def begin(self, genesis: CommittedBlock, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Write block 0 and the state before the first block; synced. The store must be empty."""
        invariant(self._tip is None and genesis.height == 0, "Only an empty store begins with block 0.")
        with self._guarded("write the genesis state"), self._lock:
            first: Entries = [(b"s" + key, value) for key, value in entries]
            put_record(first, genesis)
            self._write(first, sync=True)
            self._tip = genesis

    def put_proposal(self, proposal: Proposal) -> None:
        """Keep a block above the tip; not synced, since nothing rests on it but answers to peers."""
        header = proposal.header
        with self._guarded("write a proposal"), self._lock:
            if not self._is_above_tip(header.height) or header.block_hash in self._pending.get(header.height, {}):
                return
            self._write(proposal_entries(proposal), sync=False)
            self._pending.setdefault(header.height, {})[header.block_hash] = False

    def sync_proposal(self, proposal: Proposal, batches: Sequence[Digested]) -> None:
        """Make a block and the given batches durable: what a vote for it promises. Returns once synced."""
        header = proposal.header
        with self._guarded("write a proposal"), self._lock:
            entries = proposal_entries(proposal) if self._is_above_tip(header.height) else []
            self._put_batches(entries, batches)
            self._write_with_unsynced(entries, sync=True)
            if self._is_above_tip(header.height):
                self._pending.setdefault(header.height, {})[header.block_hash] = True

    def put_closed(self, epoch: int, closed: ClosedEpoch, next_set: bytes, link: bytes | None) -> None:
        """Make the end of an epoch durable, with everything up to it: the next begins on that.

        Args:
            epoch, closed: How it ended.
            next_set: What `next_set` returns.
            link: What leads to another validator set, encoded; None where the edge left the set as it was.
        """
        key = HEIGHT.pack(epoch)
        entries: Entries = [(b"e" + key, closed_bytes(closed)), (b"w" + key, next_set)]
        entries += [] if link is None else [(b"t" + key, link)]
        with self._guarded("write the end of an epoch"), self._lock:
            self._write_with_unsynced(entries, sync=True)

    def commit(self, blocks: Sequence[BlockWrite]) -> None:
        """Write consecutive committed blocks with all they leave behind, in one write batch.

        It is synced when one of them has receipts: those are promises. Blocks without any bind us to nothing: the
        blocks themselves became durable with our votes or can be fetched, and executing them again gives the same.

        Raises:
            StorageFailure: Nothing of it may be relied on; the process must stop.
        """
        if not blocks:
            return
        with self._guarded("write a block"), self._lock:
            entries: Entries = []
            expected = 0 if self._tip is None else self._tip.height + 1
            for offset, each in enumerate(blocks):
                invariant(
                    each.block.height == expected + offset, "Blocks are committed in order.", got=each.block.height
                )
                self._put_block(entries, each)
            is_large = len(self._unsynced) + len(entries) > UNSYNCED_ENTRIES_MAX
            sync = is_large or any(each.receipts or each.batches for each in blocks)
            self._write_with_unsynced(entries, sync=sync)
            self._tip = blocks[-1].block
            for height in [each for each in self._pending if each <= self._tip.height]:
                del self._pending[height]

    def _write_with_unsynced(self, entries: Entries, *, sync: bool) -> None:
        """Write a vote's or a block's entries, and before them what earlier blocks have not got synced (rule 4)."""
        entries = self._unsynced + entries
        self._write(entries, sync=sync)
        self._unsynced = [] if sync else entries

    def _is_above_tip(self, height: int) -> bool:
        return self._tip is None or height > self._tip.height

    def _put_block(self, entries: Entries, write: BlockWrite) -> None:
        block = write.block
        height = HEIGHT.pack(block.height)
        rivals = self._pending.get(block.height, {})
        for other in rivals:
            entries.append((b"u" + height + other, None))
            if other != block.block_hash:
                entries.append((b"p" + other, None))
        if not rivals.get(block.block_hash, False):
            entries.append((b"p" + block.block_hash, encode_proposal(write.proposal)))
        self._put_batches(entries, write.batches)
        entries += [(b"o" + digest, height) for digest in write.proposal.header.payload]
        entries += [(b"s" + key, value) for key, value in write.state_writes]
        entries.append((b"r" + height, pack([encoded for _, encoded in write.receipts])))
        for position, (envelope_id, _) in enumerate(write.receipts):
            entries.append((b"i" + envelope_id[:RECEIPT_KEY_BYTES], PLACE.pack(block.height, position)))
        put_record(entries, block)

    def _put_batches(self, entries: Entries, batches: Sequence[Digested]) -> None:
        for digest, wire in batches:
            if digest in self._doomed.digests:
                self._spare(entries, digest)
            ordinal = HEIGHT.pack(self._next_ordinal)
            entries.append((b"d" + digest, ordinal))
            entries.append((b"b" + ordinal, wire))
            self._next_ordinal += 1

    def view(self) -> StateView:
        """The state at the tip as it is now, whatever is committed later; close it after use."""
        tip = self._known_tip
        with self._guarded("look at the state"):
            return StateView(tip.height, tip.block_hash, self._db.snapshot())

    def prune(self, below: int, entries_max: int) -> bool:
        """One step towards keeping nothing below the height `below` (rule 5); False when nothing is left to do.

        Args:
            below: At least `PRUNE_DISTANCE` below the tip.
            entries_max: About how many entries a step removes; it removes one block at least.
        """
        tip = self._known_tip
        invariant(
            below <= tip.height - PRUNE_DISTANCE, "The last blocks are never pruned.", below=below, tip=tip.height
        )
        with self._guarded("prune"), self._lock:
            doomed, self._doomed = self._doomed, NOTHING
            if doomed.below:
                # Told before it is done: who finds something missing looks here to learn why.
                self._lowest = doomed.below
                self._write(removals(self._get, doomed, self._ordered_by_pending()), sync=True)
        # Reading what goes next takes longer than removing it, so nobody is kept waiting for that.
        if self._lowest < below:
            self._doomed = plan_step(self._get, self._lowest, below, entries_max)
        return bool(doomed.below or self._doomed.below)

    def _ordered_by_pending(self) -> set[bytes]:
        hashes = [each for found in self._pending.values() for each in found]
        proposals = (self.proposal(each) for each in hashes)
        return {digest for each in proposals if each is not None for digest in each.header.payload}

    @property
    def _known_tip(self) -> CommittedBlock:
        if self._tip is None:
            violated("An empty store has no state.")
        return self._tip

    # --- opening and failing ---------------------------------------------------------------------------------------

    def _spare(self, entries: Entries, digest: bytes) -> None:
        """A batch is written anew that was about to be pruned: the old copy goes at once."""
        ordinal = self._get(b"d" + digest)
        if ordinal is not None:
            entries.append((b"b" + ordinal, None))
        self._doomed = replace(self._doomed, digests=self._doomed.digests - {digest})

    def _load(self, chain_id: bytes) -> None:
        found = self._get(b"mchain")
        if found is None:
            with self._guarded("write the chain id"):
                self._db.put(b"mchain", bytes([FORMAT_VERSION]) + chain_id, sync=True)
        elif found[0] != FORMAT_VERSION:
            raise Rejected(
                "wrong_store_format", "Another version wrote this ledger.", found=found[0], known=FORMAT_VERSION
            )
        elif found[1:] != chain_id:
            raise Rejected(
                "wrong_chain",
                "The ledger belongs to another chain; give this node a data directory of its own.",
                path=str(self._path),
                ledger=found[1:].hex(),
                chain=chain_id.hex(),
            )
        lowest = self._get(b"mlow")
        self._lowest = HEIGHT.unpack(lowest)[0] if lowest is not None else 1
        tip = self._get(b"mtip")
        if tip is not None:
            self._tip = self.committed(HEIGHT.unpack(tip)[0])
            if self._tip is None:
                raise StorageFailure("read the last block", "its record is missing", RESYNC)
        with self._guarded("read the uncommitted blocks"):
            for key in self._db.iterator(prefix=b"u", include_value=False, verify_checksums=True):
                self._pending.setdefault(HEIGHT.unpack_from(key, 1)[0], {})[key[9:]] = False
            for key in self._db.iterator(prefix=b"b", include_value=False, reverse=True, verify_checksums=True):
                self._next_ordinal = HEIGHT.unpack_from(key, 1)[0] + 1
                break
