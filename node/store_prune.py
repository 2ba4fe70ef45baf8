"""What a step of pruning removes from the ledger; `node.store.Store.prune` says when, and why it is safe.

A batch goes with the last block that orders it: one that was ordered again later stays for that block's sake. One that
an uncommitted block orders stays too, since a vote for that block may rest on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from consensus.wire import decode_proposal
from contracts.receipts import decode_receipt
from node.store_records import HEIGHT, PLACE, RECEIPT_KEY_BYTES, Entries, read_record, unpack

Get = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Doomed:
    """What the next step removes: all of the blocks below `below` that is still there; 0 for nothing.

    Attributes:
        below: The lowest height kept afterwards.
        digests: The batches that go.
        entries: Everything else.
    """

    below: int
    digests: frozenset[bytes]
    entries: Sequence[tuple[bytes, None]] = ()


NOTHING = Doomed(0, frozenset())


def plan_step(get: Get, lowest: int, below: int, entries_max: int) -> Doomed:
    """The step that begins at the height `lowest` and ends below `below`, with about `entries_max` entries."""
    entries: list[tuple[bytes, None]] = []
    digests: set[bytes] = set()
    height = lowest
    while height < below and len(entries) + 3 * len(digests) < entries_max:
        place = HEIGHT.pack(height)
        data = get(b"c" + place)
        if data is not None:
            block_hash = read_record(height, data).block_hash
            digests.update(_ordered_last(get, height, get(b"p" + block_hash)))
            entries += [(b"p" + block_hash, None), *_receipts(get, height), (b"c" + place, None)]
        height += 1
    return Doomed(height, frozenset(digests), tuple(entries))


def removals(get: Get, doomed: Doomed, wanted: Iterable[bytes]) -> Entries:
    """The entries that carry out a step, sparing batches that are `wanted` by now or were ordered again."""
    entries: Entries = list(doomed.entries)
    for digest in sorted(doomed.digests.difference(wanted)):
        ordered, ordinal = get(b"o" + digest), get(b"d" + digest)
        if ordinal is not None and (ordered is None or HEIGHT.unpack(ordered)[0] < doomed.below):
            entries += [(b"b" + ordinal, None), (b"d" + digest, None), (b"o" + digest, None)]
    entries.append((b"mlow", HEIGHT.pack(doomed.below)))
    return entries


def _ordered_last(get: Get, height: int, proposal: bytes | None) -> Iterable[bytes]:
    """The batches of a block that no later one orders."""
    if proposal is None:
        return
    for digest in decode_proposal(proposal).header.payload:
        ordered = get(b"o" + digest)
        if ordered is None or HEIGHT.unpack(ordered)[0] <= height:
            yield digest


def _receipts(get: Get, height: int) -> Iterable[tuple[bytes, None]]:
    """A block's receipts, and what finds them."""
    key = b"r" + HEIGHT.pack(height)
    data = get(key)
    for position, encoded in enumerate(unpack(data) if data is not None else ()):
        index = b"i" + decode_receipt(encoded).envelope_id[:RECEIPT_KEY_BYTES]
        if get(index) == PLACE.pack(height, position):
            yield index, None
    yield key, None
