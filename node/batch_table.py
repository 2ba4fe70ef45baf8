"""What the pool holds: every batch in memory, who has it, what it counts against, and how long it stays.

The bookkeeping of rules 2 to 6 of `node.batch_pool`. Nothing here waits, sends or reads a disk; time comes in.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from consensus.types import OBSERVER
from consensus.validators import ValidatorSet
from genesis.envelope import Envelope
from genesis.params import ChainParams
from node.batch_offers import BatchOffers
from node.batch_quotas import BatchQuotas
from node.batches import COPIES, Batch
from node.store import Digested

EXECUTED_REMEMBERED: Final = 8_192
BLOCKS_UNDER_DECISION: Final = 2
"""The block up for our vote and its parent, which the vote for it may decide."""

ORDERED_BYTES_MAX: Final = 256 * 2**20

_T = TypeVar("_T")


class Entry:
    """A batch in memory and what we know about it. `is_open`: it counts against its author and may be offered."""

    __slots__ = ("arrived", "batch", "expires_at_unix_ms", "holders", "is_open", "kept", "mine", "on_disk", "power")

    def __init__(self, batch: Batch, arrived: float, *, mine: bool) -> None:
        self.batch = batch
        self.arrived = arrived
        self.mine = mine
        self.holders: set[int] = set()
        self.power = 0
        self.is_open = False
        self.kept = False
        self.on_disk = False
        self.expires_at_unix_ms: int | None = None


class BatchTable:
    """See the module. Changed in the Trio thread alone; `unwritten`, `is_on_disk` and `written` may also be called from
    a worker thread.

    Args:
        index: Our own place in the validator set, or `OBSERVER`.
        validators: Whose acknowledgements count, and for how much.
        params: The chain's limits.

    Attributes:
        quotas: What each author has open.
        own_unacknowledged: Our own batches that no quorum holds yet.
        on_own_progress: Called when our own batches have got on, or room has come.
        time_unix_ms: Block time, as far as blocks are executed.
    """

    def __init__(self, index: int, validators: ValidatorSet, params: ChainParams) -> None:
        self._index = index
        self._powers = tuple(each.power for each in validators.members)
        self._members = frozenset(range(len(self._powers)))
        self._quorum_power = validators.quorum_power
        self._params = params
        self._entries: dict[bytes, Entry] = {}
        self._offers = BatchOffers(len(self._powers))
        self.quotas = BatchQuotas(len(self._powers), params)
        self._early: list[OrderedDict[bytes, None]] = [OrderedDict() for _ in self._powers]
        self._ordered: Counter[bytes] = Counter()
        self._guests: set[bytes] = set()
        self._under_decision: deque[frozenset[bytes]] = deque(maxlen=BLOCKS_UNDER_DECISION)
        self._executed: OrderedDict[bytes, None] = OrderedDict()
        self.time_unix_ms = 0
        self.own_unacknowledged = 0
        self.on_own_progress: Callable[[], None] = lambda: None

    # --- what is here ----------------------------------------------------------------------------------------------

    def __contains__(self, digest: bytes) -> bool:
        """Whether the batch is in memory."""
        return digest in self._entries

    def __iter__(self) -> Iterator[bytes]:
        """The digests of what is in memory, the oldest first."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many batches are in memory."""
        return len(self._entries)

    def get(self, digest: bytes) -> Batch | None:
        """The batch, if it is in memory."""
        entry = self._entries.get(digest)
        return None if entry is None else entry.batch

    def is_guest(self, digest: bytes) -> bool:
        """Whether the batch is here for a block alone (rule 4)."""
        return digest in self._guests

    def was_executed(self, digest: bytes) -> bool:
        """Whether a block executed the batch not long ago."""
        return digest in self._executed

    def is_needed(self, digest: bytes) -> bool:
        """Whether a block that is under decision, or waits for execution, orders this batch."""
        return digest in self._ordered or self._is_under_decision(digest)

    def has_room(self, batch: Batch) -> bool:
        """Whether the batch is within its author's quotas (rule 2)."""
        return batch.author in self._members and self.quotas.has_room(batch)

    def must_wait(self, digest: bytes, wire_bytes: int) -> bool:
        """Whether a batch that arrives would be one too many for memory (rule 6); nobody asked for it just now."""
        waits = digest in self._ordered and not self._is_under_decision(digest)
        return waits and self._ordered_bytes() + COPIES * wire_bytes > ORDERED_BYTES_MAX

    def own_envelopes(self) -> tuple[Envelope, ...]:
        """What our own open batches hold, in order."""
        mine = (entry.batch for entry in self._entries.values() if entry.mine and entry.is_open)
        return tuple(envelope for batch in mine for envelope in batch.envelopes)

    @property
    def own_half_used(self) -> bool:
        """Whether our own open batches take half of what others grant us."""
        return self._index != OBSERVER and self.quotas.half_used(self._index)

    # --- who has it ------------------------------------------------------------------------------------------------

    def offer(self, without: frozenset[bytes], limit: int) -> tuple[bytes, ...]:
        """Up to `limit` batches that a quorum holds, without those in `without`; fair over authors, oldest first."""
        return self._offers.take(without, limit)

    def holders_of(self, digest: bytes) -> list[int]:
        """The peers that acknowledged a batch which is not here."""
        return [peer for peer, early in enumerate(self._early) if digest in early]

    def acknowledge(self, peer: int, digest: bytes) -> bool:
        """`peer` has the batch; True if that makes it proposable.

        One that overtook its batch is remembered; a peer's oldest are forgotten, and come again on the beat.
        """
        entry = self._entries.get(digest)
        if entry is not None:
            return self._count(entry, peer)
        if digest not in self._executed:
            remember(self._early[peer], digest, None, self._params.batches_open_per_author_max * len(self._powers))
        return False

    def open_before(self, arrived: float) -> list[Entry]:
        """The open batches that came before a moment of our own clock."""
        return [each for each in self._entries.values() if each.is_open and each.arrived < arrived]

    def is_held(self, entry: Entry) -> bool:
        """Whether a quorum holds the batch, as far as we know."""
        return entry.power >= self._quorum_power

    def _count(self, entry: Entry, holder: int) -> bool:
        """Count one acknowledgement; True if it makes the batch proposable."""
        if holder in entry.holders or self.is_held(entry):
            return False
        entry.holders.add(holder)
        entry.power += self._powers[holder]
        if not self.is_held(entry) or not entry.is_open:
            return False
        self._offers.add(entry.batch.author, entry.batch.digest)
        if entry.mine:
            self.own_unacknowledged -= 1
            self.on_own_progress()
        return True

    # --- coming and going ------------------------------------------------------------------------------------------

    def insert(
        self, batch: Batch, holders: Iterable[int], now: float, *, mine: bool = False, is_spent: bool = False
    ) -> bool:
        """Put a verified batch in; True if that makes it proposable. One that is spent can only be a guest."""
        entry = self._entries[batch.digest] = Entry(batch, now, mine=mine)
        if not is_spent and (mine or self.has_room(batch)):
            entry.is_open = True
            self.quotas.take(batch)
            self.own_unacknowledged += mine
        else:
            self._guests.add(batch.digest)
        progress = False
        for peer in {self._index, *holders, *self.holders_of(batch.digest)} & self._members:
            self._early[peer].pop(batch.digest, None)
            progress |= self._count(entry, peer)
        if batch.digest in self._ordered:
            self._close(entry)
        return progress and entry.is_open

    def decide(self, digests: Sequence[bytes]) -> None:
        """A block that orders these is up for our vote. Guests of blocks that are no longer under decision leave."""
        self._under_decision.append(frozenset(digests))
        self._release_guests()

    def keep(self, digests: Sequence[bytes]) -> list[bytes]:
        """Note that a block needs these (rule 5); returns those that are not here."""
        missing = []
        for digest in digests:
            entry = self._entries.get(digest)
            if entry is None:
                missing.append(digest)
            else:
                entry.kept = True
        return missing

    def order(self, digests: Iterable[bytes]) -> None:
        """A committed block orders these: they are never offered again."""
        room = ORDERED_BYTES_MAX - self._ordered_bytes()
        for digest in digests:
            self._ordered[digest] += 1
            entry = self._entries.get(digest)
            if entry is not None:
                self._close(entry)
                room -= entry.batch.memory_bytes
                if room < 0 and self._ordered[digest] == 1 and not self._is_under_decision(digest):
                    self._drop(digest)
        self.on_own_progress()

    def executed(self, digests: Iterable[bytes], time_unix_ms: int) -> list[Batch]:
        """A block with these batches has been executed and is durable; block time is now `time_unix_ms`.

        Returns the open batches that were dropped because they can no longer be of use (rule 5).
        """
        self.time_unix_ms = time_unix_ms
        for digest in digests:
            self._executed_once(digest)
            remember(self._executed, digest, None, EXECUTED_REMEMBERED)
        self._release_guests()
        return self._expire()

    def _executed_once(self, digest: bytes) -> None:
        """Another committed block may still order it; then it stays, but not as one that could be offered."""
        if self._ordered[digest] > 1:
            self._ordered[digest] -= 1
        else:
            del self._ordered[digest]
            self._drop(digest)

    def _release_guests(self) -> None:
        """Drop the guests that no block needs any more (rule 4)."""
        needed = frozenset().union(self._ordered, *self._under_decision)
        for digest in self._guests - needed:
            self._drop(digest)

    def _expire(self) -> list[Batch]:
        lifetime_ms, dropped = self._params.envelope_lifetime_ms_max, []
        for digest, entry in list(self._entries.items()):
            if entry.expires_at_unix_ms is None:
                entry.expires_at_unix_ms = min(entry.batch.expires_at_unix_ms, self.time_unix_ms + lifetime_ms)
            grace_ms = lifetime_ms if entry.kept else 0
            if entry.is_open and self.time_unix_ms >= entry.expires_at_unix_ms + grace_ms:
                self._drop(digest)
                dropped.append(entry.batch)
        if dropped:
            self.on_own_progress()
        return dropped

    def _close(self, entry: Entry) -> None:
        """The entry is no longer open: neither offered nor counted against its author."""
        if not entry.is_open:
            return
        entry.is_open = False
        self.quotas.give_back(entry.batch)
        self._offers.discard(entry.batch.author, entry.batch.digest)
        if entry.mine and not self.is_held(entry):
            self.own_unacknowledged -= 1

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._close(entry)
        self._guests.discard(digest)

    def _is_under_decision(self, digest: bytes) -> bool:
        return any(digest in each for each in self._under_decision)

    def _ordered_bytes(self) -> int:
        ordered = (self._entries.get(each) for each in self._ordered)
        return sum(each.batch.memory_bytes for each in ordered if each is not None)

    # --- the disk --------------------------------------------------------------------------------------------------

    def unwritten(self, digests: Iterable[bytes]) -> list[Digested]:
        """Those of the batches, held in memory, that are not on disk yet."""
        entries = (self._entries.get(each) for each in dict.fromkeys(digests))
        return [(each.batch.digest, each.batch.wire) for each in entries if each is not None and not each.on_disk]

    def is_on_disk(self, digest: bytes) -> bool:
        """Whether the batch is known to be on disk (False: it may be)."""
        entry = self._entries.get(digest)
        return entry is not None and entry.on_disk

    def written(self, digests: Iterable[bytes]) -> None:
        """These are on disk now, synced."""
        for digest in digests:
            entry = self._entries.get(digest)
            if entry is not None:
                entry.on_disk = True


def remember(table: OrderedDict[bytes, _T], digest: bytes, value: _T, count_max: int) -> None:
    """Add to a table that forgets its oldest entries."""
    table[digest] = value
    if len(table) > count_max:
        table.popitem(last=False)
