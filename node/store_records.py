"""What the ledger's records hold, and how they look as bytes on this disk. No other node ever sees these bytes.

Receipts of a block are packed: items one after the other behind a table of their ends, so that one is read without
decoding the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from consensus.types import QC, Proposal
from consensus.wire import decode_proposal, decode_qc, encode_proposal, encode_qc
from genesis.codec import decode, encode, raw, record, uint
from genesis.values import DIGEST, UNIX_MS

HEIGHT: Final = Struct(">Q")
PLACE: Final = Struct(">QI")
RECEIPT_KEY_BYTES: Final = 16
"""How much of an envelope's id the index of receipts holds."""

_COMMITTED_BYTES_MAX: Final = 2**20
_COMMITTED: Final = record(DIGEST, DIGEST, raw(1, 2**19), UNIX_MS, uint(32), uint(32), uint(64))

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


@dataclass(frozen=True, slots=True)
class ClosedEpoch:
    """How an epoch ended: what leads whoever is still in it to the next one, and what the next one stands on.

    Attributes:
        edge: Its last block, committed and executed.
        state_root: The root after that.
        closing: The blocks above it that nobody executes, oldest first; the last names the edge and its root.
        qc: The certificate of the last of them.
    """

    edge: Proposal
    state_root: bytes
    closing: tuple[Proposal, ...]
    qc: QC


def closed_bytes(closed: ClosedEpoch) -> bytes:
    """A closed epoch as this disk keeps it."""
    wires = [encode_proposal(each) for each in closed.closing]
    return pack([encode_proposal(closed.edge), closed.state_root, encode_qc(closed.qc), *wires])


def read_closed(data: bytes) -> ClosedEpoch:
    """The inverse of `closed_bytes`; raises `Rejected` or `IndexError` when the bytes are no such record."""
    edge, root, qc, *closing = unpack(data)
    if not closing:
        raise IndexError("an epoch is closed by at least one block")
    return ClosedEpoch(decode_proposal(edge), root, tuple(map(decode_proposal, closing)), decode_qc(qc))


def proposal_entries(proposal: Proposal) -> Entries:
    """What keeps a block above the tip."""
    header = proposal.header
    place = HEIGHT.pack(header.height)
    return [(b"p" + header.block_hash, encode_proposal(proposal)), (b"u" + place + header.block_hash, b"")]


def put_record(entries: Entries, block: CommittedBlock) -> None:
    """Add a committed block's record, and that it is the tip now."""
    values = [
        block.block_hash,
        block.state_root,
        encode_qc(block.qc),
        block.time_unix_ms,
        block.envelopes,
        block.applied,
        block.envelopes_total,
    ]
    height = HEIGHT.pack(block.height)
    entries.append((b"c" + height, encode(values)))
    entries.append((b"mtip", height))


def read_record(height: int, data: bytes) -> CommittedBlock:
    """The inverse of `put_record`; raises `Rejected` when the bytes are not a record."""
    block_hash, root, qc, *counts = decode(data, _COMMITTED, size_max=_COMMITTED_BYTES_MAX)
    return CommittedBlock(height, block_hash, decode_qc(qc), root, *counts)


def pack(items: Sequence[bytes]) -> bytes:
    """The items in one value; see the head of this file."""
    ends: list[int] = []
    total = 0
    for each in items:
        total += len(each)
        ends.append(total)
    return Struct(f">{1 + len(ends)}I").pack(len(ends), *ends) + b"".join(items)


def packed_item(data: bytes, position: int) -> bytes:
    """One item of what `pack` made; `IndexError` when there is none at this position."""
    count = int.from_bytes(data[:4], "big")
    base = 4 + 4 * count
    if not 0 <= position < count or len(data) < base:
        raise IndexError(f"item {position} of {count}")
    start = int.from_bytes(data[4 * position : 4 * position + 4], "big") if position else 0
    end = int.from_bytes(data[4 * position + 4 : 4 * position + 8], "big")
    return data[base + start : base + end]


def unpack(data: bytes) -> list[bytes]:
    """Every item, in order."""
    return [packed_item(data, position) for position in range(int.from_bytes(data[:4], "big"))]
