"""The pool: every batch between its arrival and its execution, and who has acknowledged it.

Rules:

1. A batch enters the pool verified, from its author or in answer to our own request. Every validator tells all others
   what it holds; the author's sending counts as its own acknowledgement. A batch held by a quorum may be proposed.
2. An author may have so many batches here that no committed block orders, of so many bytes (`node.batch_quotas`). What
   comes beyond is dropped unacknowledged, and unread where its size or their number says so: it can still be fetched
   if a block ever orders it, so the bound costs the flooder and nobody else.
3. `offer` takes the oldest batches, one author at a time in turn: no author can crowd out another.
4. A batch beyond rule 2 that a block needs, fetched or brought back from our own disk, is a *guest*: here for that
   block alone, not acknowledged, not offered. It goes when neither the last `BLOCKS_UNDER_DECISION` blocks that were
   up for our vote (`holds`) nor a committed one that waits for execution needs it. So the blocks of a leader that
   nobody votes for leave nothing in memory, whatever they order.
5. Any other batch is dropped once block time has passed the last of its envelopes, or one envelope lifetime after its
   arrival, if its envelopes name a moment that is further away; one that a block needed stays a lifetime longer.
6. What committed blocks wait with takes at most `ORDERED_BYTES_MAX`, decoded, besides what is under decision: beyond, a
   batch leaves when its block commits, and comes back in its turn, from our disk or from those who voted for it.
7. Acknowledgements are hints for the proposer, kept in memory. What makes a batch available is the vote, which writes
   it to disk (`node.durable`), so a batch that nobody orders never reaches the disk.
8. Nothing is sent only once: on a beat, our own batches go again to those who have not acknowledged them, and old open
   batches are acknowledged again.

A batch is decoded and verified once for as long as it is in memory: rule 6 apart, until it is executed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import trio

from consensus.types import OBSERVER
from consensus.validators import ValidatorSet
from genesis.envelope import Envelope
from genesis.errors import InvariantViolation, Rejected, invariant
from node.batch_fetcher import REQUEST_DIGESTS_MAX, BatchFetcher, split_digests
from node.batch_offers import BatchOffers
from node.batch_quotas import BatchQuotas
from node.batch_server import BatchServer
from node.batch_verifier import Arrival, BatchVerifier, Outcome
from node.batches import COPIES, WRONG_AUTHOR, Batch, BatchFormat
from node.frames import FrameKind
from node.network import Network
from node.store import Digested, Store

EXECUTED_REMEMBERED: Final = 8_192
REFUSED_REMEMBERED: Final = 1_024
BLOCKS_UNDER_DECISION: Final = 2
"""The block up for our vote and its parent, which the vote for it may decide."""

ORDERED_BYTES_MAX: Final = 256 * 2**20

ACKNOWLEDGED_MAX: Final = 2_048
"""Digests in one acknowledgement frame."""

_T = TypeVar("_T")

ReportLine = Callable[[str, dict[str, int | str]], None]
"""(stable kind, values): one log line and a counter."""


class _Entry:
    """A batch in the pool and what we know about it. `is_open`: it counts against its author and may be offered."""

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


class BatchPool:
    """See the module. Runs in the Trio thread; `unwritten`, `on_disk` and `written` may also be called from a worker
    thread.

    Args:
        index: Our own place in the validator set, or `OBSERVER`.
        validators: Whose acknowledgements count, and for how much.
        batch_format: What a batch looks like.
        network: The mesh.
        store: Where committed and voted batches are found again.
        on_waiting: Called when a batch has become proposable.
        report: Called with what an operator should know of.
    """

    def __init__(
        self,
        index: int,
        validators: ValidatorSet,
        batch_format: BatchFormat,
        network: Network,
        store: Store,
        on_waiting: Callable[[], None],
        report: ReportLine,
    ) -> None:
        self._index = index
        self._powers = tuple(each.power for each in validators.members)
        self._members = frozenset(range(len(self._powers)))
        self._quorum_power = validators.quorum_power
        self._format = batch_format
        self._params = batch_format.params
        self._network = network
        self._store = store
        self._on_waiting = on_waiting
        self._report = report
        self._entries: dict[bytes, _Entry] = {}
        self._offers = BatchOffers(len(self._powers))
        self._quotas = BatchQuotas(len(self._powers), self._params)
        self._early: list[OrderedDict[bytes, None]] = [OrderedDict() for _ in self._powers]
        self._ordered: Counter[bytes] = Counter()
        self._guests: set[bytes] = set()
        self._under_decision: deque[frozenset[bytes]] = deque(maxlen=BLOCKS_UNDER_DECISION)
        self._time_unix_ms = 0
        self._executed: OrderedDict[bytes, None] = OrderedDict()
        self._refused: OrderedDict[bytes, Rejected] = OrderedDict()
        self._verifier = BatchVerifier(batch_format, self._sort)
        self._fetcher = BatchFetcher(network, self._holders_of, self._verifier.__contains__)
        self._server = BatchServer(network, store, self._wire_of)
        self._own_unacknowledged = 0
        self.on_own_progress: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Verify, fetch and repeat until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._verifier.run)
            nursery.start_soon(self._fetcher.run)
            nursery.start_soon(self._beat)

    # --- what the replica asks -------------------------------------------------------------------------------------

    def offer(self, ordered: frozenset[bytes], limit: int) -> tuple[bytes, ...]:
        """Up to `limit` batches to propose now, without those in `ordered`; fair over authors, oldest first."""
        return self._offers.take(ordered, limit)

    def holds(self, digests: Sequence[bytes]) -> bool:
        """A block that orders these is up for our vote: whether all of them are in memory. Guests of blocks that are
        no longer under decision leave.
        """
        self._under_decision.append(frozenset(digests))
        self._release_guests()
        return not self._keep(digests)

    async def ensure(self, digests: Sequence[bytes], hint_peer: int) -> None:
        """Return when every one of the batches is here: from memory, our store, or the peers, `hint_peer` first.

        Waits as long as it takes; cancel it when the answer no longer matters.

        Raises:
            Rejected: One of them is invalid: no honest validator votes for a block that orders it.
        """
        missing = self._keep(digests)
        if missing:
            await self._load(missing)
            missing = self._keep(missing)
        for digest in missing:
            refused = self._refused.get(digest)
            if refused is not None:
                raise refused
            self._verifier.hurry(digest)
        if missing:
            await self._fetcher.wait(missing, hint_peer)
            self._keep(missing)

    # --- what the maker asks ---------------------------------------------------------------------------------------

    @property
    def own_unacknowledged(self) -> int:
        """Our own batches that no quorum holds yet."""
        return self._own_unacknowledged

    @property
    def own_half_used(self) -> bool:
        """Whether our own open batches take half of what others grant us."""
        return self._index != OBSERVER and self._quotas.half_used(self._index)

    def own_envelopes(self) -> tuple[Envelope, ...]:
        """What our own open batches hold, in order."""
        mine = (entry.batch for entry in self._entries.values() if entry.mine and entry.is_open)
        return tuple(envelope for batch in mine for envelope in batch.envelopes)

    def add_own(self, batch: Batch) -> None:
        """Put in a batch that we made, and send it to everyone."""
        invariant(batch.author == self._index, "Only our own batches are added unverified.", author=batch.author)
        if self._insert(batch, (), mine=True):
            self._on_waiting()
        self._network.broadcast(FrameKind.BATCH, batch.wire)

    # --- what the executor and the disk ask ------------------------------------------------------------------------

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

    def batch(self, digest: bytes) -> Batch:
        """A batch that `ensure` has made sure of."""
        entry = self._entries.get(digest)
        if entry is None:
            raise InvariantViolation("A batch that was ensured is gone.", digest=digest.hex())
        return entry.batch

    def unwritten(self, digests: Iterable[bytes]) -> list[Digested]:
        """Those of the batches, held in memory, that are not on disk yet."""
        entries = (self._entries.get(each) for each in dict.fromkeys(digests))
        return [(each.batch.digest, each.batch.wire) for each in entries if each is not None and not each.on_disk]

    def on_disk(self, digest: bytes) -> bool:
        """Whether the batch is known to be on disk (False: it may be)."""
        entry = self._entries.get(digest)
        return entry is not None and entry.on_disk

    def written(self, digests: Iterable[bytes]) -> None:
        """These are on disk now, synced."""
        for digest in digests:
            entry = self._entries.get(digest)
            if entry is not None:
                entry.on_disk = True

    def executed(self, digests: Iterable[bytes], time_unix_ms: int) -> None:
        """A block with these batches has been executed and is durable; block time is now `time_unix_ms`."""
        self._time_unix_ms = time_unix_ms
        for digest in digests:
            self._executed_once(digest)
            _remember(self._executed, digest, None, EXECUTED_REMEMBERED)
        self._release_guests()
        self._expire()

    # --- frames ----------------------------------------------------------------------------------------------------

    async def handle(self, peer: int, kind: FrameKind, payload: bytes) -> None:
        """Take a frame of kind BATCH, BATCH_ACK, BATCH_REQUEST or BATCH_RESPONSE.

        Raises:
            Rejected: The peer broke a rule and should be cut.
        """
        match kind:
            case FrameKind.BATCH:
                self._arrive(peer, payload)
            case FrameKind.BATCH_ACK:
                self._acknowledged(peer, split_digests(payload, ACKNOWLEDGED_MAX))
            case FrameKind.BATCH_REQUEST:
                await self._server.serve(peer, split_digests(payload, REQUEST_DIGESTS_MAX))
            case FrameKind.BATCH_RESPONSE:
                self._answer(peer, payload)
            case _:
                raise Rejected("unexpected_frame", "Not a frame about batches.", kind=int(kind))

    def _arrive(self, peer: int, wire: bytes) -> None:
        digest = self._format.digest(wire)
        if digest in self._entries:
            if digest not in self._guests:
                self._network.send(peer, FrameKind.BATCH_ACK, digest)
        elif digest in self._verifier or digest in self._executed or self._comes_later(digest, len(wire)):
            return
        elif digest in self._refused:
            raise self._refused[digest]
        elif self._over_quota(peer, len(wire)) and not self._is_needed(digest):
            self._quotas.drop(peer)
        else:
            self._verifier.put(Arrival(digest, wire, peer, peer))
            if digest in self._fetcher:
                self._verifier.hurry(digest)

    def _over_quota(self, author: int, wire_bytes: int) -> bool:
        waiting, waiting_bytes = self._verifier.waiting(author), self._verifier.waiting_bytes(author)
        return not self._quotas.admits(author, wire_bytes, waiting, waiting_bytes)

    def _is_needed(self, digest: bytes) -> bool:
        """Whether a block that is under decision, or waits for execution, orders this batch."""
        return digest in self._fetcher or digest in self._ordered or self._is_under_decision(digest)

    def _is_under_decision(self, digest: bytes) -> bool:
        return any(digest in each for each in self._under_decision)

    def _ordered_bytes(self) -> int:
        ordered = (self._entries.get(each) for each in self._ordered)
        return sum(each.batch.memory_bytes for each in ordered if each is not None)

    def _comes_later(self, digest: bytes, wire_bytes: int) -> bool:
        """Rule 6, for a batch that arrives: it is asked for again when its block's turn comes."""
        waits = digest in self._ordered and digest not in self._fetcher and not self._is_under_decision(digest)
        return waits and self._ordered_bytes() + COPIES * wire_bytes > ORDERED_BYTES_MAX

    def _answer(self, peer: int, wire: bytes) -> None:
        digest = self._format.digest(wire)
        self._fetcher.answered(peer)
        if digest in self._fetcher and digest not in self._entries and digest not in self._verifier:
            self._verifier.put(Arrival(digest, wire, peer, None))

    def _wire_of(self, digest: bytes) -> bytes | None:
        entry = self._entries.get(digest)
        return None if entry is None else entry.batch.wire

    def _acknowledged(self, peer: int, digests: Sequence[bytes]) -> None:
        progress = False
        for digest in digests:
            entry = self._entries.get(digest)
            if entry is not None:
                progress |= self._count(entry, peer)
            elif digest not in self._executed:
                self._note_early(digest, peer)
        if progress:
            self._on_waiting()

    def _note_early(self, digest: bytes, peer: int) -> None:
        """Remember an acknowledgement that overtook its batch; a peer's oldest are forgotten, and come on the beat."""
        count_max = self._params.batches_open_per_author_max * len(self._powers)
        _remember(self._early[peer], digest, None, count_max)

    # --- entries ---------------------------------------------------------------------------------------------------

    def _sort(self, outcomes: Sequence[Outcome]) -> None:
        """What the verifier found: valid batches come in and are acknowledged together; others cost their sender."""
        accepted: list[bytes] = []
        progress = False
        for arrival, outcome in outcomes:
            if isinstance(outcome, Rejected):
                self._refuse(arrival, outcome)
            elif arrival.digest in self._entries or arrival.digest in self._executed:
                continue
            elif not self._has_room(outcome) and not self._is_needed(arrival.digest):
                self._quotas.drop(arrival.sender)
            else:
                progress |= self._insert(outcome, (outcome.author, arrival.sender))
                if arrival.digest not in self._guests:
                    accepted.append(arrival.digest)
        if accepted:
            self._network.broadcast(FrameKind.BATCH_ACK, b"".join(accepted))
        if progress:
            self._on_waiting()

    def _refuse(self, arrival: Arrival, why: Rejected) -> None:
        """Remember an invalid batch. One that only came from the wrong hands may be valid, and stays welcome from its
        author.
        """
        if why.code != WRONG_AUTHOR:
            _remember(self._refused, arrival.digest, why, REFUSED_REMEMBERED)
            self._fetcher.settle(arrival.digest, why)
        self._report("batch_refused", {"sender": arrival.sender, "digest": arrival.digest.hex(), "why": str(why)})
        if arrival.author is not None:
            self._network.cut(arrival.sender, why)

    def _insert(self, batch: Batch, holders: Iterable[int], *, mine: bool = False, is_spent: bool = False) -> bool:
        """Put a verified batch in; True if that makes it proposable. One that is spent can only be a guest."""
        entry = self._entries[batch.digest] = _Entry(batch, trio.current_time(), mine=mine)
        if not is_spent and (mine or self._has_room(batch)):
            entry.is_open = True
            self._quotas.take(batch)
            self._own_unacknowledged += mine
        else:
            self._guests.add(batch.digest)
        progress = False
        for peer in {self._index, *holders, *self._holders_of(batch.digest)} & self._members:
            self._early[peer].pop(batch.digest, None)
            progress |= self._count(entry, peer)
        if batch.digest in self._ordered:
            self._close(entry)
        self._fetcher.settle(batch.digest)
        return progress and entry.is_open

    def _has_room(self, batch: Batch) -> bool:
        return batch.author in self._members and self._quotas.has_room(batch)

    def _is_held(self, entry: _Entry) -> bool:
        """Whether a quorum holds the batch, as far as we know."""
        return entry.power >= self._quorum_power

    def _count(self, entry: _Entry, holder: int) -> bool:
        """Count one acknowledgement; True if it makes the batch proposable."""
        if holder in entry.holders or self._is_held(entry):
            return False
        entry.holders.add(holder)
        entry.power += self._powers[holder]
        if not self._is_held(entry) or not entry.is_open:
            return False
        self._offers.add(entry.batch.author, entry.batch.digest)
        if entry.mine:
            self._own_unacknowledged -= 1
            self.on_own_progress()
        return True

    def _close(self, entry: _Entry) -> None:
        """The entry is no longer open: neither offered nor counted against its author."""
        if not entry.is_open:
            return
        entry.is_open = False
        self._quotas.give_back(entry.batch)
        self._offers.discard(entry.batch.author, entry.batch.digest)
        if entry.mine and not self._is_held(entry):
            self._own_unacknowledged -= 1

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._close(entry)
        self._guests.discard(digest)

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

    def _expire(self) -> None:
        """Drop open batches that can no longer be of use (rule 5)."""
        lifetime_ms = self._params.envelope_lifetime_ms_max
        for digest, entry in list(self._entries.items()):
            if entry.expires_at_unix_ms is None:
                entry.expires_at_unix_ms = min(entry.batch.expires_at_unix_ms, self._time_unix_ms + lifetime_ms)
            grace_ms = lifetime_ms if entry.kept else 0
            if not entry.is_open or self._time_unix_ms < entry.expires_at_unix_ms + grace_ms:
                continue
            self._drop(digest)
            self._report("batch_expired", {"author": entry.batch.author, "digest": digest.hex()})
            self.on_own_progress()

    def _keep(self, digests: Sequence[bytes]) -> list[bytes]:
        """Note that a block needs these (rule 5); returns those that are not here."""
        missing = []
        for digest in digests:
            entry = self._entries.get(digest)
            if entry is None:
                missing.append(digest)
            else:
                entry.kept = True
        return missing

    async def _load(self, digests: Sequence[bytes]) -> None:
        """Bring batches back from our own store. The block that orders them may lose, or have lost: what has not been
        executed can then be offered again.
        """

        def read() -> list[tuple[Batch, bool]]:
            wires = ((each, self._store.batch(each)) for each in digests)
            batches = [self._format.reopen(wire, each) for each, wire in wires if wire is not None]
            return [(each, self._is_spent(each)) for each in batches]

        for batch, is_spent in await trio.to_thread.run_sync(read):
            if batch.digest not in self._entries:
                self._insert(batch, (), is_spent=is_spent or batch.digest in self._executed)
                self._entries[batch.digest].on_disk = True

    def _is_spent(self, batch: Batch) -> bool:
        """Whether ordering it would execute nothing: its envelopes are dead, or have been executed."""
        is_dead = batch.expires_at_unix_ms <= self._time_unix_ms
        return is_dead or all(self._store.has_receipt(each.id) for each in batch.envelopes)

    def _holders_of(self, digest: bytes) -> list[int]:
        """The peers that acknowledged a batch which is not here."""
        return [peer for peer, early in enumerate(self._early) if digest in early]

    async def _beat(self) -> None:
        """Repeat what may have been lost (rule 8)."""
        interval_s = self._params.resend_interval_ms / 1000
        while True:
            await trio.sleep(interval_s)
            for values in self._quotas.dropped():
                self._report("batch_over_quota", values)
            before = trio.current_time() - interval_s
            old = [each for each in self._entries.values() if each.is_open and each.arrived < before]
            again = [each.batch.digest for each in old if not each.mine]
            for start in range(0, len(again), ACKNOWLEDGED_MAX):
                self._network.broadcast(FrameKind.BATCH_ACK, b"".join(again[start : start + ACKNOWLEDGED_MAX]))
            for entry in old:
                if entry.mine and not self._is_held(entry):
                    for peer in sorted(self._network.connected - entry.holders):
                        self._network.send(peer, FrameKind.BATCH, entry.batch.wire)


def _remember(table: OrderedDict[bytes, _T], digest: bytes, value: _T, count_max: int) -> None:
    """Add to a table that forgets its oldest entries."""
    table[digest] = value
    if len(table) > count_max:
        table.popitem(last=False)
