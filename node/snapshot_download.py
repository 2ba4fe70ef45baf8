"""The pieces of one snapshot on their way: what is missing, who is asked for it, who is not asked any more.

Rules:

1. Each source is asked for `WINDOW` pieces at a time, whoever owes least first.
2. What a source does not answer within `PIECE_S` is asked for elsewhere; after `MISSES_MAX` such pieces it is no source
   any more. Its late answers still count if the piece is missing then.
3. The replay pieces follow the slices, one after the other: each shows what the next one has to lead to.

No IO, no clock: time comes in as an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts.snapshot import Entry, ReplayCheck, check_slice
from node.snapshot_wire import Offer, PieceKind, PieceName

PIECE_S: Final = 10.0
MISSES_MAX: Final = 3
WINDOW: Final = 4


@dataclass(slots=True)
class _Source:
    """A peer that offers the snapshot, and what it owes us: piece -> when we ask elsewhere, in seconds."""

    owes: dict[PieceName, float] = field(default_factory=dict)
    misses: int = 0


class Download:
    """One snapshot's pieces.

    Args:
        offer: The snapshot, checked.
        peers: Who offers it.
        depth: The Merkle tree's.
    """

    def __init__(self, offer: Offer, peers: Iterable[int], depth: int) -> None:
        self.offer = offer
        self._depth = depth
        self._sources = {peer: _Source() for peer in peers}
        self._todo = deque(PieceName(offer.height, PieceKind.SLICE, place) for place in range(1 << offer.level))
        self._missing = set(self._todo)
        self._replay = ReplayCheck(offer.height)

    @property
    def is_complete(self) -> bool:
        """Whether every piece has been taken."""
        return not self._missing

    @property
    def sources(self) -> frozenset[int]:
        """Who is still asked."""
        return frozenset(self._sources)

    def lacks(self, name: PieceName) -> bool:
        """Whether this piece is missing yet."""
        return name in self._missing

    def next_request(self, now_s: float) -> tuple[int, PieceName] | None:
        """Whom to ask for what now; None when all are busy or nothing is left to ask for."""
        free = [(len(source.owes), peer) for peer, source in self._sources.items() if len(source.owes) < WINDOW]
        if not self._todo or not free:
            return None
        peer, name = min(free)[1], self._todo.popleft()
        self._sources[peer].owes[name] = now_s + PIECE_S
        return peer, name

    def answered(self, peer: int, name: PieceName) -> None:
        """A source has answered, whatever it said."""
        source = self._sources.get(peer)
        if source is not None:
            source.owes.pop(name, None)

    def check(self, name: PieceName, data: bytes) -> Sequence[Entry]:
        """The entries of a missing piece; raises `Rejected` (``bad_piece``)."""
        if name.kind is PieceKind.SLICE:
            return check_slice(data, self.offer.state_root, self._depth, self.offer.level, name.place)
        return self._replay.take(data)

    def taken(self, name: PieceName, entries: Sequence[Entry]) -> None:
        """A piece has been checked and is on disk (rule 3)."""
        self._missing.discard(name)
        if name.kind is PieceKind.SLICE:
            self._replay.expect(entries)
        if not self._missing and not self._replay.is_complete:
            place = name.place + 1 if name.kind is PieceKind.REPLAY else 0
            following = PieceName(self.offer.height, PieceKind.REPLAY, place)
            self._missing.add(following)
            self._todo.append(following)

    def again(self, name: PieceName) -> None:
        """Ask for a piece again, unless it is here or on its way."""
        is_owed = any(name in source.owes for source in self._sources.values())
        if name in self._missing and name not in self._todo and not is_owed:
            self._todo.append(name)

    def drop(self, peer: int) -> None:
        """Ask this peer no more; what it owes is asked for elsewhere."""
        source = self._sources.pop(peer, None)
        for name in source.owes if source is not None else ():
            self.again(name)

    def expire(self, now_s: float) -> list[int]:
        """Rule 2; returns the peers that are dropped for it."""
        dropped = []
        for peer, source in list(self._sources.items()):
            for name in [each for each, until_s in source.owes.items() if until_s <= now_s]:
                del source.owes[name]
                source.misses += 1
                self.again(name)
            if source.misses >= MISSES_MAX:
                self.drop(peer)
                dropped.append(peer)
        return dropped

    def deadline_s(self) -> float:
        """When `expire` has something to do."""
        return min((until_s for each in self._sources.values() for until_s in each.owes.values()), default=float("inf"))
