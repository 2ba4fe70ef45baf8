"""A state in pieces, each of which can be checked by itself against the root that a quorum certified.

Rules:

1. *Slices.* The Merkle tree is cut at one level: slice `place` of level L holds every entry of the buckets below node
   ``2**L + place``, in order of bucket and key, and the siblings of that node. So one slice leads to the root without
   the others (`contracts.merkle_proof`, rule 5).
2. The level is the lowest at which no slice has more than `SLICE_BYTES_MAX` bytes of entries, so that everyone who cuts
   the same state cuts it alike. A single bucket may exceed that; up to `PIECE_BYTES_MAX` it still makes a piece.
3. *Replay pieces.* The ids of replay memory stand beside the tree; the tree has the digest of each slot, a chain over
   the blocks that added to it (`contracts.replay`, rule 2). A part is consecutive blocks of one slot with the digest
   before them, a piece some parts; the parts of a slot come from its end backwards. The last blocks lead to the slot's
   digest in the tree; so the digest before them is certified too, and is what the part that follows has to lead to; the
   first blocks begin at zero. A piece is checked as soon as those before it were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from contracts.entries import FORMS
from contracts.merkle_proof import (
    ENTRY_BYTES_MAX,
    bucket_of,
    climb,
    parse_pair,
    slice_paths,
    slice_root,
)
from contracts.tables import REPLAY_IDS_PREFIX
from genesis.codec import ARRAY_LENGTH_MAX, decode, encode, raw, record, sequence, uint
from genesis.errors import Rejected
from genesis.hashing import DIGEST_BYTES, ZERO_DIGEST, Domain, digest
from genesis.values import DIGEST

SLICE_BYTES_MAX: Final = 2**19
"""What a slice aims at: half a mebibyte of entries."""

PIECE_BYTES_MAX: Final = 2**22
"""What no piece exceeds."""

LEVEL_MAX: Final = 16
"""At most 65,536 slices, so 32 GiB of entries that are evenly spread."""

_SLOTS_PREFIX: Final = bytes((FORMS["replay_slots"].prefix,))
_IDS_BYTES_MAX: Final = 2**21
_GROUP: Final = sequence(raw(1, 2 * ENTRY_BYTES_MAX), 1, ARRAY_LENGTH_MAX)
_SLICE: Final = record(sequence(DIGEST, 0, LEVEL_MAX), sequence(_GROUP, 0, ARRAY_LENGTH_MAX))
_PART: Final = record(
    uint(64), DIGEST, sequence(record(uint(64), raw(DIGEST_BYTES, _IDS_BYTES_MAX)), 1, ARRAY_LENGTH_MAX)
)
_REPLAY: Final = sequence(_PART, 1, ARRAY_LENGTH_MAX)

Entry = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class CutState:
    """A state, cut.

    Attributes:
        root: The root over the slices.
        level: Rule 2; there are ``2**level`` slices.
        slices, replay: The pieces, in order.
    """

    root: bytes
    level: int
    slices: tuple[bytes, ...]
    replay: tuple[bytes, ...]


def cut_state(entries: Iterable[Entry], depth: int) -> CutState:
    """Cut the stored entries of a state (`contracts.state.State.entries`), in any order.

    Raises:
        Rejected: ``snapshot_too_large``: a bucket, or the ids that one block added to a slot, make no piece.
    """
    buckets: dict[int, list[Entry]] = {}
    ids: list[Entry] = []
    for key, value in entries:
        if key[:1] == REPLAY_IDS_PREFIX:
            ids.append((key, value))
        else:
            buckets.setdefault(bucket_of(key, depth), []).append((key, encode((key, value))))
    level = _level({bucket: sum(len(pair) for _, pair in found) for bucket, found in buckets.items()}, depth)
    by_slice: list[dict[int, list[bytes]]] = [{} for _ in range(1 << level)]
    # Freed bucket by bucket: all at once, a large state would hold the interpreter for a quarter of a second.
    for bucket in sorted(buckets):
        by_slice[bucket >> (depth - level)][bucket] = [pair for _, pair in sorted(buckets.pop(bucket))]
    root, paths = slice_paths([slice_root(each, depth, level, place) for place, each in enumerate(by_slice)])
    slices = []
    for place, path in enumerate(paths):
        slices.append(_slice(path, by_slice[place]))
        by_slice[place] = {}
    return CutState(root, level, tuple(slices), tuple(_replay_pieces(ids)))


def check_slice(data: bytes, root: bytes, depth: int, level: int, place: int) -> list[Entry]:
    """The entries of a slice that leads to this root.

    Raises:
        Rejected: ``bad_piece``.
    """
    try:
        path, groups = decode(data, _SLICE, size_max=PIECE_BYTES_MAX)
        pairs = [pair for group in groups for pair in group]
        entries = [parse_pair(pair) for pair in pairs]
    except Rejected as error:
        raise Rejected("bad_piece", f"A slice cannot be decoded: {error.message}", place=place) from error
    buckets: dict[int, list[bytes]] = {}
    last = (-1, b"")
    for (key, _), pair in zip(entries, pairs, strict=True):
        bucket = bucket_of(key, depth)
        if bucket >> (depth - level) != place or (bucket, key) <= last:
            raise Rejected("bad_piece", "The entries of a slice are not its own, in order.", place=place)
        last = (bucket, key)
        buckets.setdefault(bucket, []).append(pair)
    if len(path) != level or climb(slice_root(buckets, depth, level, place), place, path) != root:
        raise Rejected("bad_piece", "A slice does not lead to the certified root.", place=place)
    return entries


class ReplayCheck:
    """Takes the replay pieces in order (rule 3). `expect` first the digests that the slices bring.

    Args:
        height: Of the state: no block above it has added anything.
    """

    def __init__(self, height: int) -> None:
        self._height = height
        self._expected: dict[int, bytes] = {}
        self._next_height: dict[int, int] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every slot's ids are here."""
        return not self._expected

    def expect(self, entries: Iterable[Entry]) -> None:
        """Note the slots among certified entries."""
        for key, value in entries:
            if key[:1] == _SLOTS_PREFIX:
                [slot_digest] = decode(value, record(DIGEST), size_max=64)
                self._expected[decode(key[1:], uint(64), size_max=9)] = slot_digest

    def take(self, data: bytes) -> list[Entry]:
        """The entries of the next piece.

        Raises:
            Rejected: ``bad_piece``.
        """
        try:
            parts = decode(data, _REPLAY, size_max=PIECE_BYTES_MAX)
        except Rejected as error:
            raise Rejected("bad_piece", f"A replay piece cannot be decoded: {error.message}") from error
        # Checked as a whole before anything is taken up: a refused piece leaves what is expected as it was.
        expected, heights = dict(self._expected), defaultdict(lambda: self._height + 1, self._next_height)
        entries = [entry for part in parts for entry in _take_part(part, expected, heights)]
        self._expected, self._next_height = expected, dict(heights)
        return entries


def _take_part(
    part: tuple[int, bytes, Sequence[tuple[int, bytes]]], expected: dict[int, bytes], heights: defaultdict[int, int]
) -> list[Entry]:
    slot, before, blocks = part
    reached = before
    last = -1
    for height, ids in blocks:
        if height <= last or len(ids) % DIGEST_BYTES:
            raise Rejected("bad_piece", "The blocks of a slot ascend, each with whole ids.", slot=slot)
        reached, last = digest(Domain.REPLAY, reached + ids), height
    if expected.get(slot) != reached or last >= heights[slot]:
        raise Rejected("bad_piece", "The ids of a slot do not lead to its digest.", slot=slot)
    if before == ZERO_DIGEST:
        del expected[slot]
        heights.pop(slot, None)
    else:
        expected[slot], heights[slot] = before, blocks[0][0]
    return [(REPLAY_IDS_PREFIX + slot.to_bytes(8, "big") + height.to_bytes(8, "big"), ids) for height, ids in blocks]


def _level(sizes: Mapping[int, int], depth: int) -> int:
    """Rule 2."""
    if max(sizes.values(), default=0) > PIECE_BYTES_MAX // 2:
        raise Rejected("snapshot_too_large", "One bucket of the state makes no piece.", size=max(sizes.values()))
    for level in range(min(depth, LEVEL_MAX)):
        slices: dict[int, int] = {}
        for bucket, size in sizes.items():
            place = bucket >> (depth - level)
            slices[place] = slices.get(place, 0) + size
        if max(slices.values(), default=0) <= SLICE_BYTES_MAX:
            return level
    return min(depth, LEVEL_MAX)


def _slice(path: Sequence[bytes], buckets: Mapping[int, Sequence[bytes]]) -> bytes:
    pairs = [pair for found in buckets.values() for pair in found]
    groups = [pairs[start : start + ARRAY_LENGTH_MAX] for start in range(0, len(pairs), ARRAY_LENGTH_MAX)]
    data = encode([path, groups])
    if len(data) > PIECE_BYTES_MAX:
        raise Rejected("snapshot_too_large", "A slice of the state makes no piece.", size=len(data))
    return data


def _replay_pieces(ids: Iterable[Entry]) -> list[bytes]:
    """Parts of one slot each, gathered into pieces; a slot that one piece cannot hold is cut from its end."""
    pieces: list[bytes] = []
    gathered: list[list[object]] = []
    size = 0
    for part, part_size in _parts(ids):
        if gathered and (size + part_size > SLICE_BYTES_MAX or len(gathered) == ARRAY_LENGTH_MAX):
            pieces.append(encode(gathered))
            gathered, size = [], 0
        gathered.append(part)
        size += part_size
    if gathered:
        pieces.append(encode(gathered))
    return pieces


def _parts(ids: Iterable[Entry]) -> Iterable[tuple[list[object], int]]:
    """(slot, the digest before, its blocks) with their size, slot after slot, each from its end backwards."""
    for slot, found in groupby(sorted(ids), key=lambda entry: int.from_bytes(entry[0][1:9], "big")):
        blocks = [(int.from_bytes(key[9:], "big"), value) for key, value in found]
        before = [ZERO_DIGEST]
        for _, value in blocks:
            if len(value) > _IDS_BYTES_MAX:
                raise Rejected("snapshot_too_large", "The ids of one block make no piece.", size=len(value))
            before.append(digest(Domain.REPLAY, before[-1] + value))
        end = len(blocks)
        while end:
            start, size = end, 0
            while (
                start
                and end - start < ARRAY_LENGTH_MAX
                and (start == end or size + len(blocks[start - 1][1]) <= SLICE_BYTES_MAX)
            ):
                start -= 1
                size += len(blocks[start][1]) + 16
            yield [slot, before[start], blocks[start:end]], size
            end = start
