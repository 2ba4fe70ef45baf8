"""Replay protection: an envelope's id is remembered until its expiry has passed, so it executes at most once.

Rules:

1. Time is cut into slots, a second of the wall each (so ``1000 * speed`` milliseconds of block time). An id lives in
   the slot of its envelope's expiry.
2. A slot's digest starts as 32 zero bytes and becomes ``H(REPLAY, digest ‖ ids)`` with the ids that a block adds to
   it, in the block's order. The digest, one entry a slot, is what the Merkle tree covers.
3. The ids themselves are stored beside the tree, one entry for each block and slot, so that a block writes one string
   of bytes however many envelopes it holds. A million live ids cost a million members of a set, and no tree.
4. A slot is dropped when it ends at or before block time: everything in it has expired and is refused for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from contracts.tables import REPLAY_IDS_PREFIX, SlotRow, Table
from genesis.errors import Rejected
from genesis.hashing import DIGEST_BYTES, ZERO_DIGEST, Domain, digest

SLOT_WALL_MS: Final = 1_000


class ReplayMemory:
    """The ids that may not execute again.

    Args:
        slots: The table of slot digests.
        slot_ms: The width of a slot in block time.
        lifetime_ms_max: How far ahead of block time an expiry may be.
    """

    __slots__ = ("_blocks", "_fresh", "_ids", "_lifetime_ms_max", "_slot_ms", "_slots")

    def __init__(self, slots: Table[int, SlotRow], slot_ms: int, lifetime_ms_max: int) -> None:
        self._slots = slots
        self._slot_ms = slot_ms
        self._lifetime_ms_max = lifetime_ms_max
        self._ids: dict[int, set[bytes]] = {}
        self._blocks: dict[int, dict[int, bytes]] = {}
        self._fresh: dict[int, list[bytes]] = {}

    def check(self, envelope_id: bytes, expires_at_unix_ms: int, time_unix_ms: int) -> None:
        """Raise unless the envelope may execute at this block time.

        Raises:
            Rejected: ``expired``, ``lifetime_too_long`` or ``replayed``.
        """
        ahead_ms = expires_at_unix_ms - time_unix_ms
        if ahead_ms <= 0:
            raise Rejected(
                "expired",
                "The envelope has expired; sign it again.",
                expires_at_unix_ms=expires_at_unix_ms,
                block_time_unix_ms=time_unix_ms,
            )
        if ahead_ms > self._lifetime_ms_max:
            raise Rejected(
                "lifetime_too_long",
                "The envelope expires too far in the future; sign it with an earlier expiry.",
                ahead_ms=ahead_ms,
                ahead_ms_max=self._lifetime_ms_max,
            )
        known = self._ids.get(expires_at_unix_ms // self._slot_ms)
        if known is not None and envelope_id in known:
            raise Rejected("replayed", "The envelope has been executed already.", envelope=envelope_id.hex())

    def remember(self, envelope_id: bytes, expires_at_unix_ms: int) -> None:
        """Take note of an id that this block executes."""
        slot = expires_at_unix_ms // self._slot_ms
        fresh = self._fresh.get(slot)
        if fresh is None:
            fresh = self._fresh[slot] = []
            self._ids.setdefault(slot, set())
        fresh.append(envelope_id)
        self._ids[slot].add(envelope_id)

    def work_due(self, time_unix_ms: int) -> int:
        """How many stored entries `drop_ended` would remove at that time."""
        current = time_unix_ms // self._slot_ms
        return sum(len(blocks) for slot, blocks in self._blocks.items() if slot < current)

    def drop_ended(self, time_unix_ms: int) -> list[tuple[bytes, bytes | None]]:
        """Forget the slots that have ended (rule 4); returns the stored entries to remove."""
        current = time_unix_ms // self._slot_ms
        writes: list[tuple[bytes, bytes | None]] = []
        for slot in sorted(slot for slot in self._ids if slot < current):
            del self._ids[slot]
            self._slots.put(slot, None)
            writes.extend((_ids_key(slot, height), None) for height in self._blocks.pop(slot))
        return writes

    def seal(self, height: int) -> list[tuple[bytes, bytes | None]]:
        """Fold this block's ids into their slots' digests (rule 2); returns the entries to store (rule 3)."""
        writes: list[tuple[bytes, bytes | None]] = []
        for slot, fresh in sorted(self._fresh.items()):
            ids = b"".join(fresh)
            before = self._slots.rows.get(slot)
            self._slots.put(slot, SlotRow(digest(Domain.REPLAY, (before.digest if before else ZERO_DIGEST) + ids)))
            self._blocks.setdefault(slot, {})[height] = ids
            writes.append((_ids_key(slot, height), ids))
        self._fresh.clear()
        return writes

    def load(self, key: bytes, ids: bytes) -> None:
        """Take in one stored entry at start-up; entries of a slot may come in any order. `Rejected`: ``bad_state``."""
        if len(ids) % DIGEST_BYTES or len(key) != 17:
            raise Rejected("bad_state", "A stored replay entry is malformed.", key=key.hex())
        slot, height = int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
        self._blocks.setdefault(slot, {})[height] = ids
        known = self._ids.setdefault(slot, set())
        known.update(ids[start : start + DIGEST_BYTES] for start in range(0, len(ids), DIGEST_BYTES))

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """The stored entries of rule 3."""
        for slot, blocks in self._blocks.items():
            for height, ids in blocks.items():
                yield _ids_key(slot, height), ids


def _ids_key(slot: int, height: int) -> bytes:
    return REPLAY_IDS_PREFIX + slot.to_bytes(8, "big") + height.to_bytes(8, "big")
