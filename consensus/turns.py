"""Who leads a view, given what the chain shows: validators that failed their turns are passed over for a while.

Rules:

1. Who leads in `view` on top of block P depends on the view and on P's ancestors up to `LAG_BLOCKS` below P, and on
   nothing else. So everybody who has these judges a proposal alike, whatever he has heard himself. Such a block is
   known almost always when P itself is still on its way.
2. The views between a block's and that of the certificate that it extends brought nothing. Each is held against
   whoever led it on top of the block's parent; of one validator and block once. The proposer of a block has answered:
   nothing is held against it any more.
3. Who has failed `count` times in a row is passed over for its next ``SKIP_BASE ** count`` turns, `SKIPPED_TURNS_MAX`
   at most, counted from its last failure; then it is tried again.
4. Whoever follows in the rotation and is not passed over takes the turn.
5. Never more power is passed over than may be faulty: of several those who failed most often, then the lowest index.
6. All is forgiven at every height that `FORGIVEN_BLOCKS` divides, and where an epoch begins. So a replica that starts
   needs no more than so many headers, and one that joins by a snapshot in between is right again from that height on.
7. A gap of as many views as the rotation has slots, or of more than `GAP_VIEWS_MAX`, is held against nobody: that was
   the network.

Why only liveness rests on it: an engine's safety rules never ask who proposed. Two replicas whose highest certificates
differ may for a moment expect different leaders; then two may propose, each to be judged by the block that it extends,
a replica votes for one, and the next certificate is the same basis for all. A leader may choose its parent only as far
as the TC lets it (V4).

Theory of operation: `follow` folds a block that enters the tree into a mark, which is its parent's with the block's gap
and proposer taken in. Marks are kept for the tree and `KEPT_BLOCKS` below its root. A replica asks for the leader of
its view after every event, so the last answer is kept: rule 1 makes it the same for ever.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from consensus.leaders import LeaderSchedule, Rotation
from consensus.types import Header, ReplicaIndex
from consensus.validators import ValidatorSet

LAG_BLOCKS: Final = 2
SKIP_BASE: Final = 4
SKIPPED_TURNS_MAX: Final = 64
FORGIVEN_BLOCKS: Final = 500
GAP_VIEWS_MAX: Final = 64
KEPT_BLOCKS: Final = 16

Failures = tuple[tuple[ReplicaIndex, int, int], ...]
"""(validator, failures in a row, view of the last), ascending; those against whom nothing is held are absent."""


class Parent(Protocol):
    """A block by name: its header, or a certificate of it."""

    @property
    def block_hash(self) -> bytes:
        """Its hash."""

    @property
    def height(self) -> int:
        """Its height."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the chain up to a block holds against whom."""

    height: int
    parent_hash: bytes
    failures: Failures


class Turns:
    """The leaders of one epoch."""

    def __init__(self, validators: ValidatorSet, base: Header, rotation: Rotation | None = None) -> None:
        """With a `rotation` that is given nobody is ever passed over: a script says who leads."""
        self._validators = validators
        self._script = rotation
        self._slots = LeaderSchedule(validators).slots
        self._places = _places(self._slots)
        self._base_height = base.height
        self._marks = {base.block_hash: _Mark(base.height, base.parent_hash, ())}
        self._committed = {base.height: base.block_hash}
        self._root_height = self._known_from = base.height
        self._asked: tuple[int, bytes] | None = None
        self._answered: ReplicaIndex = 0

    def __len__(self) -> int:
        return len(self._marks)

    # --- what the chain shows -----------------------------------------------------------------------------------------

    def restore(self, history: Sequence[Header], root: Header) -> None:
        """Take in committed headers from before the start, consecutive, the last the root (`history_start`). Where the
        first of them are missing, what they showed is not held against anybody."""
        ours = [each for each in history if self._base_height < each.height < root.height]
        ours += [root] if root.height > self._base_height else []
        if not ours:
            return
        first = ours[0]
        if first.parent_hash not in self._marks:
            self._known_from = first.height
            self._marks[first.parent_hash] = _Mark(first.height - 1, b"", ())
        for header in ours:
            self.follow(header)
            self._committed[header.height] = header.block_hash
        self._root_height = ours[-1].height
        self._prune()

    def follow(self, header: Header) -> None:
        """A block whose parent was followed enters the tree."""
        parent = self._marks.get(header.parent_hash)
        if parent is not None and header.block_hash not in self._marks:
            failures = () if header.height % FORGIVEN_BLOCKS == 0 else self._after(parent, header)
            self._marks[header.block_hash] = _Mark(header.height, header.parent_hash, failures)

    def commit(self, root: Header) -> None:
        """This block is the last committed one."""
        block_hash = root.block_hash
        mark = self._marks.get(block_hash)
        while mark is not None and mark.height > self._root_height:
            self._committed[mark.height] = block_hash
            block_hash = mark.parent_hash
            mark = self._marks.get(block_hash)
        self._root_height = root.height
        self._prune()

    # --- who leads ----------------------------------------------------------------------------------------------------

    def knows(self, parent: Parent) -> bool:
        """Whether what decides who leads on top of `parent` is here."""
        return self._script is not None or self._basis(parent) is not None

    def leader(self, view: int, parent: Parent) -> ReplicaIndex:
        """The validator that may propose in `view` on top of `parent`; where that is not known, our best guess."""
        if self._script is not None:
            return self._script.leader(view)
        asked = (view, parent.block_hash)
        if asked == self._asked:
            return self._answered
        failures = self._basis(parent)
        if failures is None:
            return self._leader(view, self._marks[self._committed[self._root_height]].failures)
        self._asked, self._answered = asked, self._leader(view, failures)
        return self._answered

    def _leader(self, view: int, failures: Failures) -> ReplicaIndex:
        """Rules 3 to 5."""
        slots = self._slots
        owner = slots[view % len(slots)]
        if not failures:
            return owner
        passed_over = self._passed_over(view, failures)
        following = (slots[(view + offset) % len(slots)] for offset in range(len(slots)))
        return next((each for each in following if each not in passed_over), owner)

    def _passed_over(self, view: int, failures: Failures) -> set[ReplicaIndex]:
        room = self._validators.honest_power - 1
        passed_over: set[ReplicaIndex] = set()
        for index, count, last_view in sorted(failures, key=lambda each: (-each[1], each[0])):
            skipped = min(SKIP_BASE**count, SKIPPED_TURNS_MAX)
            power = self._validators.member(index).power
            if self._turns_between(index, last_view, view) < skipped and power <= room:
                room -= power
                passed_over.add(index)
        return passed_over

    def _turns_between(self, index: ReplicaIndex, last_view: int, view: int) -> int:
        """How many slots of its own a validator has had behind `last_view` and before `view`."""
        return self._turns_before(index, view) - self._turns_before(index, last_view + 1)

    def _turns_before(self, index: ReplicaIndex, view: int) -> int:
        cycles, rest = divmod(view, len(self._slots))
        return cycles * len(self._places[index]) + bisect_left(self._places[index], rest)

    # --- what is held against whom ------------------------------------------------------------------------------------

    def _basis(self, parent: Parent) -> Failures | None:
        """Rule 1; None if that block is not here."""
        height = parent.height - LAG_BLOCKS
        if height < max(self._known_from, parent.height - parent.height % FORGIVEN_BLOCKS):
            return ()
        mark = self._marks.get(parent.block_hash)
        while mark is not None and mark.height > height:
            mark = self._marks.get(mark.parent_hash)
        if mark is None and height in self._committed:
            mark = self._marks[self._committed[height]]
        return mark.failures if mark is not None else None

    def _after(self, parent: _Mark, header: Header) -> Failures:
        """Rules 2 and 7."""
        held = {index: (count, last_view) for index, count, last_view in parent.failures}
        for leader, view in self._failed(header).items():
            held[leader] = (held.get(leader, (0, 0))[0] + 1, view)
        held.pop(header.proposer, None)
        return tuple((index, *held[index]) for index in sorted(held))

    def _failed(self, header: Header) -> dict[ReplicaIndex, int]:
        """Who led the views that brought nothing before this block, and the last such view of each."""
        gap = range(header.parent_view + 1, header.view)
        if not gap or len(gap) >= len(self._slots) or len(gap) > GAP_VIEWS_MAX:
            return {}
        basis = self._basis(_Name(header.parent_hash, header.height - 1)) or ()
        return {self._leader(view, basis): view for view in gap}

    def _prune(self) -> None:
        lowest = self._root_height - KEPT_BLOCKS
        self._committed = {height: each for height, each in self._committed.items() if height >= lowest}
        ours = set(self._committed.values())
        self._marks = {
            name: mark for name, mark in self._marks.items() if mark.height > self._root_height or name in ours
        }


def history_start(tip_height: int) -> int:
    """The first height of the headers that a core which starts at this tip needs (`Turns.restore`)."""
    needed = max(1, tip_height - KEPT_BLOCKS)
    return max(1, needed - needed % FORGIVEN_BLOCKS)


@dataclass(frozen=True, slots=True)
class _Name:
    block_hash: bytes
    height: int


def _places(slots: Sequence[ReplicaIndex]) -> dict[ReplicaIndex, list[int]]:
    places: dict[ReplicaIndex, list[int]] = {}
    for place, index in enumerate(slots):
        places.setdefault(index, []).append(place)
    return places
