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

Why no write may rest on an unsynced one: LevelDB's log is sequential only until it rotates. The old log is then closed
without a sync, so a synced write in the new one does not make earlier unsynced ones durable. Batches therefore stay in
memory until the vote that needs them, and a flood of batches that nobody orders never reaches the disk. A block without
receipts promises nothing, so its commit need not wait for a sync; but a later block that survives without it would be
a hole. What such commits wrote is therefore written again by every later write of a block or a vote, until one of them
was synced (`_unsynced`). A vote syncs anyway, so the blocks of an idle chain cost no sync of their own.

Tables, by the first byte of the key (all integers big-endian)::

    m name                     meta: format and chain id, height of the tip
    p block_hash               a proposal
    u height u64, block_hash   finds the proposals above the tip; dropped once their height is committed
    d digest                   -> ordinal u64 of a batch
    b ordinal u64              a batch; the keys ascend, so that compaction need not rewrite these large values
    c height u64               a committed block (`CommittedBlock`)
    r height u64               its receipts, in order: count u32, end offset u32 each, then the receipts
    i envelope_id[:16]         -> height u64, position u32 of an envelope's receipt
    s key                      an entry of the state, as the state machine wrote it

All methods block, some through a sync; callers on the event loop decide by `node.offload` where they run. Methods may
be called from several threads. Whoever writes goes through `writes`, since writers wait for one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import Any, Final

import plyvel

from consensus.types import QC, Proposal
from consensus.wire import decode_proposal, decode_qc, encode_proposal, encode_qc
from contracts.receipts import Receipt, decode_receipt
from genesis.codec import decode, encode, raw, record, uint
from genesis.errors import Rejected, invariant
from genesis.values import DIGEST, UNIX_MS
from node.failures import StorageFailure
from node.offload import Offload

FORMAT_VERSION: Final = 2
WRITE_BUFFER_BYTES: Final = 32 * 2**20
BLOOM_BITS_PER_KEY: Final = 10
RECEIPT_KEY_BYTES: Final = 16
UNSYNCED_ENTRIES_MAX: Final = 64
"""What is written again and again is small: about ten empty blocks. A commit that would leave more is synced."""

_HEIGHT: Final = Struct(">Q")
_PLACE: Final = Struct(">QI")
_COMMITTED_BYTES_MAX: Final = 2**20
_COMMITTED: Final = record(DIGEST, DIGEST, raw(1, 2**19), UNIX_MS, uint(32), uint(32), uint(64))
RESYNC: Final = (
    "Stop the node, move the directory data/ledger of its home away, and nothing else (data/safety must stay), and "
    "start it again: it fetches the chain from the other validators"
)
_CHECK_DISK: Final = "Check the disk's free space and health, then start the node again"

Digested = tuple[bytes, bytes]
"""(digest, the bytes it names)."""

StoredReceipt = tuple[bytes, bytes]
"""(envelope id, the encoded receipt)."""

Entries = list[tuple[bytes, bytes | None]]
"""(key, value) to set, (key, None) to delete, in order."""


@dataclass(frozen=True, slots=True)
class CommittedBlock:
    """What the store knows of a committed block besides its proposal.

    Attributes:
        height, block_hash: Which block.
        qc: A certificate of this very block.
        state_root: The root after executing it.
        time_unix_ms: Its block time.
        envelopes, applied: Its envelopes, and how many of them took effect.
        envelopes_total: Envelopes in the chain up to and including this block.
    """

    height: int
    block_hash: bytes
    qc: QC
    state_root: bytes
    time_unix_ms: int
    envelopes: int
    applied: int
    envelopes_total: int


@dataclass(frozen=True, slots=True)
class BlockWrite:
    """Everything one committed block leaves on disk.

    Attributes:
        block: Its record.
        proposal: The block itself; its hash is `block.block_hash`.
        batches: The batches it orders that are not on disk yet.
        receipts: One for each envelope that executed, in order; an envelope executes once, so has at most one ever.
        state_writes: (key, value) to set, (key, None) to delete.
    """

    block: CommittedBlock
    proposal: Proposal
    batches: Sequence[Digested]
    receipts: Sequence[StoredReceipt]
    state_writes: Sequence[tuple[bytes, bytes | None]]


class Store:
    """One validator's ledger. `Store.open` makes one; `close` ends it.

    Attributes:
        writes: Decides where writes run.
    """

    def __init__(self, db: Any, path: Path) -> None:
        self._db = db
        self._path = path
        self._lock = Lock()
        self._failure: str | None = None
        self.writes = Offload()
        self._pending: dict[int, dict[bytes, bool]] = {}
        """The blocks above the tip, by height and hash, and whether each has been synced."""
        self._unsynced: Entries = []
        self._tip: CommittedBlock | None = None
        self._next_ordinal = 0

    @classmethod
    def open(cls, path: Path, chain_id: bytes) -> Store:
        """Open or create the ledger at `path` (a directory), for one chain.

        Raises: StorageFailure: LevelDB refuses it: damaged, or in use by another process. Rejected: ``wrong_chain`` or
            ``wrong_store_format``: a healthy ledger, but not this chain's or this version's.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            db = plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=True,
                write_buffer_size=WRITE_BUFFER_BYTES,
                bloom_filter_bits=BLOOM_BITS_PER_KEY,
                compression=None,
            )
        except (plyvel.Error, OSError) as error:
            raise _opening_failed(path, error) from error
        store = cls(db, path)
        try:
            store._load(chain_id)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Release the files. Everything acknowledged is already durable."""
        self._db.close()

    # --- reading ---------------------------------------------------------------------------------------------------

    def tip(self) -> CommittedBlock | None:
        """The last committed block (height 0 after `begin`), or None for an empty store."""
        return self._tip

    def committed(self, height: int) -> CommittedBlock | None:
        """The committed block of this height, if the chain here has got that far.

        Raises:
            StorageFailure: The chain here has got that far, and the block is missing.
        """
        data = self._get(b"c" + _HEIGHT.pack(height))
        if data is None:
            if self._tip is not None and height <= self._tip.height:
                raise StorageFailure("read a committed block", f"block {height} is missing", RESYNC)
            return None
        with self._readable("a committed block"):
            block_hash, root, qc, *counts = decode(data, _COMMITTED, size_max=_COMMITTED_BYTES_MAX)
            return CommittedBlock(height, block_hash, decode_qc(qc), root, *counts)

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

    def batch(self, digest: bytes) -> bytes | None:
        """The batch of this digest as its canonical bytes. It was verified before it was stored."""
        ordinal = self._get(b"d" + digest)
        return None if ordinal is None else self._get(b"b" + ordinal)

    def has_batch(self, digest: bytes) -> bool:
        """Whether the batch is on disk."""
        return self._get(b"d" + digest) is not None

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
            height, position = _PLACE.unpack(place)
            if height not in blocks:
                blocks[height] = self._required(b"r" + _HEIGHT.pack(height), "the receipts of a block")
            with self._readable("a receipt"):
                receipt = decode_receipt(_packed_item(blocks[height], position))
            if receipt.envelope_id == envelope_id:
                found[envelope_id] = receipt
        return found

    def block_receipts(self, height: int) -> tuple[Receipt, ...]:
        """Every receipt of a committed block, in order; empty when there is no such block."""
        data = self._get(b"r" + _HEIGHT.pack(height))
        if data is None:
            return ()
        with self._readable("a receipt"):
            return tuple(decode_receipt(each) for each in _unpack(data))

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
            _put_record(first, genesis)
            self._write(first, sync=True)
            self._tip = genesis

    def put_proposal(self, proposal: Proposal) -> None:
        """Keep a block above the tip; not synced, since nothing rests on it but answers to peers."""
        header = proposal.header
        with self._guarded("write a proposal"), self._lock:
            if not self._is_above_tip(header.height) or header.block_hash in self._pending.get(header.height, {}):
                return
            self._write(_proposal_entries(proposal), sync=False)
            self._pending.setdefault(header.height, {})[header.block_hash] = False

    def sync_proposal(self, proposal: Proposal, batches: Sequence[Digested]) -> None:
        """Make a block and the given batches durable: what a vote for it promises. Returns once synced."""
        header = proposal.header
        with self._guarded("write a proposal"), self._lock:
            entries = _proposal_entries(proposal) if self._is_above_tip(header.height) else []
            self._put_batches(entries, batches)
            self._write_with_unsynced(entries, sync=True)
            if self._is_above_tip(header.height):
                self._pending.setdefault(header.height, {})[header.block_hash] = True

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

    def _write(self, entries: Entries, *, sync: bool) -> None:
        writing = self._db.write_batch(sync=sync)
        for key, value in entries:
            if value is None:
                writing.delete(key)
            else:
                writing.put(key, value)
        writing.write()

    def _is_above_tip(self, height: int) -> bool:
        return self._tip is None or height > self._tip.height

    def _put_block(self, entries: Entries, write: BlockWrite) -> None:
        block = write.block
        height = _HEIGHT.pack(block.height)
        rivals = self._pending.get(block.height, {})
        for other in rivals:
            entries.append((b"u" + height + other, None))
            if other != block.block_hash:
                entries.append((b"p" + other, None))
        if not rivals.get(block.block_hash, False):
            entries.append((b"p" + block.block_hash, encode_proposal(write.proposal)))
        self._put_batches(entries, write.batches)
        entries += [(b"s" + key, value) for key, value in write.state_writes]
        entries.append((b"r" + height, _pack([encoded for _, encoded in write.receipts])))
        for position, (envelope_id, _) in enumerate(write.receipts):
            entries.append((b"i" + envelope_id[:RECEIPT_KEY_BYTES], _PLACE.pack(block.height, position)))
        _put_record(entries, block)

    def _put_batches(self, entries: Entries, batches: Sequence[Digested]) -> None:
        for digest, wire in batches:
            ordinal = _HEIGHT.pack(self._next_ordinal)
            entries.append((b"d" + digest, ordinal))
            entries.append((b"b" + ordinal, wire))
            self._next_ordinal += 1

    # --- opening and failing ---------------------------------------------------------------------------------------

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
        tip = self._get(b"mtip")
        if tip is not None:
            self._tip = self.committed(_HEIGHT.unpack(tip)[0])
            if self._tip is None:
                raise StorageFailure("read the last block", "its record is missing", RESYNC)
        with self._guarded("read the uncommitted blocks"):
            for key in self._db.iterator(prefix=b"u", include_value=False, verify_checksums=True):
                self._pending.setdefault(_HEIGHT.unpack_from(key, 1)[0], {})[key[9:]] = False
            for key in self._db.iterator(prefix=b"b", include_value=False, reverse=True, verify_checksums=True):
                self._next_ordinal = _HEIGHT.unpack_from(key, 1)[0] + 1
                break

    def _get(self, key: bytes) -> bytes | None:
        with self._guarded("read the ledger"):
            value: bytes | None = self._db.get(key, verify_checksums=True)
            return value

    def _required(self, key: bytes, what: str) -> bytes:
        value = self._get(key)
        if value is None:
            raise StorageFailure(f"read {what}", "it is missing", RESYNC)
        return value

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Turn a failure of the disk into the end of the process, and let nothing happen after one."""
        if self._failure is not None:
            raise StorageFailure(doing, f"an earlier failure closed the ledger: {self._failure}", _CHECK_DISK)
        try:
            yield
        except plyvel.CorruptionError as error:
            self._failure = str(error)
            raise StorageFailure(doing, f"{self._path} is damaged: {_reason(error)}", RESYNC) from error
        except (plyvel.Error, OSError) as error:
            self._failure = str(error)
            raise StorageFailure(doing, _reason(error), _CHECK_DISK) from error

    @contextmanager
    def _readable(self, what: str) -> Iterator[None]:
        """What we stored ourselves must decode; if not, the ledger is damaged in spite of its checksums."""
        try:
            yield
        except (Rejected, IndexError) as error:
            raise StorageFailure(f"read {what}", f"{self._path} is damaged: {error}", RESYNC) from error


def _proposal_entries(proposal: Proposal) -> Entries:
    header = proposal.header
    place = _HEIGHT.pack(header.height)
    return [(b"p" + header.block_hash, encode_proposal(proposal)), (b"u" + place + header.block_hash, b"")]


def _put_record(entries: Entries, block: CommittedBlock) -> None:
    values = [
        block.block_hash,
        block.state_root,
        encode_qc(block.qc),
        block.time_unix_ms,
        block.envelopes,
        block.applied,
        block.envelopes_total,
    ]
    height = _HEIGHT.pack(block.height)
    entries.append((b"c" + height, encode(values)))
    entries.append((b"mtip", height))


def _opening_failed(path: Path, error: Exception) -> StorageFailure:
    reason = _reason(error)
    if "lock" in reason.lower():
        return StorageFailure(f"open {path}", reason, "Another process uses this ledger: stop it first")
    # A table or manifest that is gone is damage; any other refusal of the system (a full disk, say) is not.
    if isinstance(error, plyvel.CorruptionError) or "no such file" in reason.lower():
        return StorageFailure(f"open {path}", f"it is damaged: {reason}", RESYNC)
    return StorageFailure(f"open {path}", reason, _CHECK_DISK)


def _reason(error: Exception) -> str:
    """What LevelDB or the system said, without the bytes marker that plyvel leaves around it."""
    text = str(error)
    return text[2:-1] if text.startswith(("b'", 'b"')) else text


def _pack(items: Sequence[bytes]) -> bytes:
    """Items one after the other behind a table of their ends, so that one is read without decoding the others."""
    ends: list[int] = []
    total = 0
    for each in items:
        total += len(each)
        ends.append(total)
    return Struct(f">{1 + len(ends)}I").pack(len(ends), *ends) + b"".join(items)


def _packed_item(data: bytes, position: int) -> bytes:
    count = int.from_bytes(data[:4], "big")
    if not 0 <= position < count:
        raise IndexError(f"item {position} of {count}")
    base = 4 + 4 * count
    start = int.from_bytes(data[4 * position : 4 * position + 4], "big") if position else 0
    end = int.from_bytes(data[4 * position + 4 : 4 * position + 8], "big")
    return data[base + start : base + end]


def _unpack(data: bytes) -> list[bytes]:
    return [_packed_item(data, position) for position in range(int.from_bytes(data[:4], "big"))]
