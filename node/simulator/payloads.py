"""The data plane of one simulated replica: batches, who has them, and how a missing one is fetched.

Rules:

1. An author sends its batch to every other replica, once; what gets lost is fetched when a block orders it.
2. A batch is what its digest says, whoever sent it.
3. A missing batch is asked for from the one who proposed it, then from the others in turn, again and again for as long
   as somebody needs it: the latest proposal, and every committed block.
4. Of one author, `batches_open_per_author_max` batches may wait unordered; more are not taken unasked.

It stands in for the node's batch pool, which is tested by itself (tests/node), and is simpler: what was asked for and
is never ordered stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from consensus.events import PayloadStored, PayloadWaiting
from consensus.types import Header
from genesis.hashing import Domain, digest

if TYPE_CHECKING:
    from node.simulator.replica import Replica

ASK_AGAIN_MS: Final = 40
ASKED_MAX: Final = 128


class Payloads:
    """The batches of one process."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._held: dict[bytes, tuple[int, bytes]] = dict(replica.disk.batches)
        self._ordered: set[bytes] = {each for block in replica.disk.committed for each in block.payload}
        self._waiting = {name: author for name, (author, _) in self._held.items() if name not in self._ordered}
        self._open: Counter[int] = Counter(self._waiting.values())
        self._wanted: Header | None = None
        self._needed: tuple[bytes, ...] = ()
        self._on_needed: Callable[[], None] | None = None
        self._ahead: tuple[bytes, ...] = ()
        self._asked_until_ms: dict[bytes, int] = {}
        self._turn = 0

    def wire(self, name: bytes) -> bytes | None:
        """The bytes of a batch, if it is here."""
        held = self._held.get(name)
        return held[1] if held is not None else None

    def author(self, name: bytes) -> int:
        """Who made a batch that is here."""
        return self._held[name][0]

    # --- taking in ----------------------------------------------------------------------------------------------------

    def is_full(self, author: int) -> bool:
        """Whether so many batches of this author wait that no more are taken (rule 4)."""
        return self._open[author] >= self._replica.world.params.batches_open_per_author_max

    def on_batch(self, author: int, name: bytes, wire: bytes, asked: bool) -> None:
        """A batch that its author sends, or one that we asked for."""
        if name in self._held or digest(Domain.BATCH, wire) != name:
            return
        if not asked and self.is_full(author):
            self._replica.world.oracle.count("batches over the quota")
            return
        self._held[name] = author, wire
        self._replica.disk.keep_batch(name, author, wire)
        if name not in self._ordered:
            self._waiting[name] = author
            self._open[author] += 1
            self._replica.post(PayloadWaiting())
        self._check()

    def has_executed(self, name: bytes) -> bool:
        """Whether a committed block orders this batch, and execution has come to it."""
        return name in self._ordered and all(
            name not in each.proposal.header.payload for each in self._replica.executor.backlog
        )

    def offer(self, ordered: set[bytes]) -> tuple[bytes, ...]:
        """What a block may order now, oldest first."""
        limit = self._replica.world.params.block_batches_max
        return tuple(each for each in self._waiting if each not in ordered)[:limit]

    def order(self, payload: Sequence[bytes]) -> None:
        """A committed block orders these."""
        for name in payload:
            self._ordered.add(name)
            author = self._waiting.pop(name, None)
            if author is not None:
                self._open[author] -= 1

    # --- what is missing ----------------------------------------------------------------------------------------------

    def want(self, header: Header) -> bool:
        """The latest proposal needs its batches; True if they are all here, else `PayloadStored` follows."""
        self._wanted = None
        if all(each in self._held for each in header.payload):
            return True
        self._wanted = header
        self._turn = header.proposer
        self._ask()
        return False

    def need(self, payload: tuple[bytes, ...], ahead: tuple[bytes, ...], then: Callable[[], None]) -> bool:
        """A committed block needs its batches; True if they are all here, else `then` is called.

        What the blocks after it need (`ahead`) is asked for at the same time.
        """
        if all(each in self._held for each in payload):
            return True
        self._needed, self._ahead, self._on_needed = payload, ahead, then
        self._ask()
        return False

    def _check(self) -> None:
        wanted, then = self._wanted, self._on_needed
        if wanted is not None and all(each in self._held for each in wanted.payload):
            self._wanted = None
            self._replica.post(PayloadStored(wanted.block_hash))
        if then is not None and all(each in self._held for each in self._needed):
            self._on_needed, self._needed, self._ahead = None, (), ()
            then()

    def _missing(self) -> list[bytes]:
        wanted = self._wanted.payload if self._wanted is not None else ()
        return [each for each in dict.fromkeys((*self._needed, *wanted, *self._ahead)) if each not in self._held]

    def _ask(self) -> None:
        """Rule 3: ask for what is missing and was not asked for a moment ago."""
        replica = self._replica
        now_ms = replica.world.heap.now_ms
        due = [each for each in self._missing() if self._asked_until_ms.get(each, 0) <= now_ms][:ASKED_MAX]
        if not due:
            return
        operators = replica.term.operators
        if not replica.term.peers or replica.payloads is not self:
            return
        at = self._turn % len(operators)
        peer = operators[at] if operators[at] != replica.operator else operators[(at + 1) % len(operators)]
        self._turn = (replica.term.places[peer] + 1) % len(operators)
        self._asked_until_ms = {name: at_ms for name, at_ms in self._asked_until_ms.items() if at_ms > now_ms}
        self._asked_until_ms |= dict.fromkeys(due, now_ms + ASK_AGAIN_MS)
        replica.world.oracle.count("batches fetched", len(due))
        replica.send_to(peer, "on_batch_request", replica.place, tuple(due))
        replica.after(ASK_AGAIN_MS, self._ask)
