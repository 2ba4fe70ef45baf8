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

A batch is decoded and verified once for as long as it is in memory: rule 6 apart, until it is executed. Here batches
come and go; what is held meanwhile, and for how long, is `node.batch_table`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import trio

from consensus.validators import ValidatorSet
from genesis.envelope import Envelope
from genesis.errors import InvariantViolation, Rejected, invariant
from node.batch_fetcher import REQUEST_DIGESTS_MAX, BatchFetcher, split_digests
from node.batch_server import BatchServer
from node.batch_table import BatchTable, remember
from node.batch_verifier import Arrival, BatchVerifier, Outcome
from node.batches import WRONG_AUTHOR, Batch, BatchFormat
from node.frames import FrameKind
from node.network import Network
from node.store import Digested, Store

REFUSED_REMEMBERED: Final = 1_024

ACKNOWLEDGED_MAX: Final = 2_048
"""Digests in one acknowledgement frame."""

ReportLine = Callable[[str, dict[str, int | str]], None]
"""(stable kind, values): one log line and a counter."""


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
        self._format = batch_format
        self._network = network
        self._store = store
        self._on_waiting = on_waiting
        self._report = report
        self._table = BatchTable(index, validators, batch_format.params)
        self._refused: OrderedDict[bytes, Rejected] = OrderedDict()
        self._verifier = BatchVerifier(batch_format, self._sort)
        self._fetcher = BatchFetcher(network, self._table.holders_of, self._verifier.__contains__)
        self._server = BatchServer(network, store, self._wire_of)

    async def run(self) -> None:
        """Verify, fetch and repeat until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._verifier.run)
            nursery.start_soon(self._fetcher.run)
            nursery.start_soon(self._beat)

    # --- what the replica asks -------------------------------------------------------------------------------------

    def offer(self, ordered: frozenset[bytes], limit: int) -> tuple[bytes, ...]:
        """Up to `limit` batches to propose now, without those in `ordered`; fair over authors, oldest first."""
        return self._table.offer(ordered, limit)

    def holds(self, digests: Sequence[bytes]) -> bool:
        """A block that orders these is up for our vote: whether all of them are in memory."""
        self._table.decide(digests)
        return not self._table.keep(digests)

    async def ensure(self, digests: Sequence[bytes], hint_peer: int) -> None:
        """Return when every one of the batches is here: from memory, our store, or the peers, `hint_peer` first.

        Waits as long as it takes; cancel it when the answer no longer matters.

        Raises:
            Rejected: One of them is invalid: no honest validator votes for a block that orders it.
        """
        missing = self._table.keep(digests)
        if missing:
            await self._load(missing)
            missing = self._table.keep(missing)
        for digest in missing:
            refused = self._refused.get(digest)
            if refused is not None:
                raise refused
            self._verifier.hurry(digest)
        if missing:
            await self._fetcher.wait(missing, hint_peer)
            self._table.keep(missing)

    # --- what the maker asks ---------------------------------------------------------------------------------------

    @property
    def own_unacknowledged(self) -> int:
        """Our own batches that no quorum holds yet."""
        return self._table.own_unacknowledged

    @property
    def own_half_used(self) -> bool:
        """Whether our own open batches take half of what others grant us."""
        return self._table.own_half_used

    def own_envelopes(self) -> tuple[Envelope, ...]:
        """What our own open batches hold, in order."""
        return self._table.own_envelopes()

    def watch_own(self, on_progress: Callable[[], None]) -> None:
        """Call this when our own batches have got on."""
        self._table.on_own_progress = on_progress

    def add_own(self, batch: Batch) -> None:
        """Put in a batch that we made, and send it to everyone."""
        invariant(batch.author == self._index, "Only our own batches are added unverified.", author=batch.author)
        if self._insert(batch, (), mine=True):
            self._on_waiting()
        self._network.broadcast(FrameKind.BATCH, batch.wire)

    # --- what the executor and the disk ask ------------------------------------------------------------------------

    def order(self, digests: Iterable[bytes]) -> None:
        """A committed block orders these: they are never offered again."""
        self._table.order(digests)

    def batch(self, digest: bytes) -> Batch:
        """A batch that `ensure` has made sure of."""
        batch = self._table.get(digest)
        if batch is None:
            raise InvariantViolation("A batch that was ensured is gone.", digest=digest.hex())
        return batch

    def unwritten(self, digests: Iterable[bytes]) -> list[Digested]:
        """Those of the batches, held in memory, that are not on disk yet."""
        return self._table.unwritten(digests)

    def on_disk(self, digest: bytes) -> bool:
        """Whether the batch is known to be on disk (False: it may be)."""
        return self._table.is_on_disk(digest)

    def written(self, digests: Iterable[bytes]) -> None:
        """These are on disk now, synced."""
        self._table.written(digests)

    def executed(self, digests: Iterable[bytes], time_unix_ms: int) -> None:
        """A block with these batches has been executed and is durable; block time is now `time_unix_ms`."""
        for dropped in self._table.executed(digests, time_unix_ms):
            self._report("batch_expired", {"author": dropped.author, "digest": dropped.digest.hex()})

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
        digest, table = self._format.digest(wire), self._table
        if digest in table:
            if not table.is_guest(digest):
                self._network.send(peer, FrameKind.BATCH_ACK, digest)
        elif digest in self._verifier or table.was_executed(digest) or self._comes_later(digest, len(wire)):
            return
        elif digest in self._refused:
            raise self._refused[digest]
        elif self._over_quota(peer, len(wire)) and not self._is_needed(digest):
            table.quotas.drop(peer)
        else:
            self._verifier.put(Arrival(digest, wire, peer, peer))
            if digest in self._fetcher:
                self._verifier.hurry(digest)

    def _over_quota(self, author: int, wire_bytes: int) -> bool:
        waiting, waiting_bytes = self._verifier.waiting(author), self._verifier.waiting_bytes(author)
        return not self._table.quotas.admits(author, wire_bytes, waiting, waiting_bytes)

    def _is_needed(self, digest: bytes) -> bool:
        return digest in self._fetcher or self._table.is_needed(digest)

    def _comes_later(self, digest: bytes, wire_bytes: int) -> bool:
        """Rule 6, for a batch that arrives: it is asked for again when its block's turn comes."""
        return digest not in self._fetcher and self._table.must_wait(digest, wire_bytes)

    def _answer(self, peer: int, wire: bytes) -> None:
        digest = self._format.digest(wire)
        self._fetcher.answered(peer)
        if digest in self._fetcher and digest not in self._table and digest not in self._verifier:
            self._verifier.put(Arrival(digest, wire, peer, None))

    def _wire_of(self, digest: bytes) -> bytes | None:
        batch = self._table.get(digest)
        return None if batch is None else batch.wire

    def _acknowledged(self, peer: int, digests: Sequence[bytes]) -> None:
        progress = False
        for digest in digests:
            progress |= self._table.acknowledge(peer, digest)
        if progress:
            self._on_waiting()

    # --- what was verified, and what our disk has ------------------------------------------------------------------

    def _sort(self, outcomes: Sequence[Outcome]) -> None:
        """What the verifier found: valid batches come in and are acknowledged together; others cost their sender."""
        accepted: list[bytes] = []
        progress, table = False, self._table
        for arrival, outcome in outcomes:
            if isinstance(outcome, Rejected):
                self._refuse(arrival, outcome)
            elif arrival.digest in table or table.was_executed(arrival.digest):
                continue
            elif not table.has_room(outcome) and not self._is_needed(arrival.digest):
                table.quotas.drop(arrival.sender)
            else:
                progress |= self._insert(outcome, (outcome.author, arrival.sender))
                if not table.is_guest(arrival.digest):
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
            remember(self._refused, arrival.digest, why, REFUSED_REMEMBERED)
            self._fetcher.settle(arrival.digest, why)
        self._report("batch_refused", {"sender": arrival.sender, "digest": arrival.digest.hex(), "why": str(why)})
        if arrival.author is not None:
            self._network.cut(arrival.sender, why)

    def _insert(self, batch: Batch, holders: Iterable[int], *, mine: bool = False, is_spent: bool = False) -> bool:
        """Put a verified batch in; True if that makes it proposable."""
        progress = self._table.insert(batch, holders, trio.current_time(), mine=mine, is_spent=is_spent)
        self._fetcher.settle(batch.digest)
        return progress

    async def _load(self, digests: Sequence[bytes]) -> None:
        """Bring batches back from our own store. The block that orders them may lose, or have lost: what has not been
        executed can then be offered again.
        """

        def read() -> list[tuple[Batch, bool]]:
            wires = ((each, self._store.batch(each)) for each in digests)
            batches = [self._format.reopen(wire, each) for each, wire in wires if wire is not None]
            return [(each, self._is_spent(each)) for each in batches]

        for batch, is_spent in await trio.to_thread.run_sync(read):
            if batch.digest not in self._table:
                self._insert(batch, (), is_spent=is_spent or self._table.was_executed(batch.digest))
                self._table.written([batch.digest])

    def _is_spent(self, batch: Batch) -> bool:
        """Whether ordering it would execute nothing: its envelopes are dead, or have been executed."""
        is_dead = batch.expires_at_unix_ms <= self._table.time_unix_ms
        return is_dead or all(self._store.has_receipt(each.id) for each in batch.envelopes)

    async def _beat(self) -> None:
        """Repeat what may have been lost (rule 8)."""
        interval_s = self._format.params.resend_interval_ms / 1000
        while True:
            await trio.sleep(interval_s)
            for values in self._table.quotas.dropped():
                self._report("batch_over_quota", values)
            old = self._table.open_before(trio.current_time() - interval_s)
            again = [each.batch.digest for each in old if not each.mine]
            for start in range(0, len(again), ACKNOWLEDGED_MAX):
                self._network.broadcast(FrameKind.BATCH_ACK, b"".join(again[start : start + ACKNOWLEDGED_MAX]))
            for entry in old:
                if entry.mine and not self._table.is_held(entry):
                    for peer in sorted(self._network.connected - entry.holders):
                        self._network.send(peer, FrameKind.BATCH, entry.batch.wire)
