"""What the state's Merkle tree proves, in plain Python: whoever checks a root needs this file and no compiled code.

Rules:

1. There are ``2**depth`` buckets. An entry's bucket is the first eight bytes of ``BLAKE2s(key)``, big-endian, modulo
   that number.
2. A bucket's leaf is ``BLAKE2s(pairs, person=LEAF)`` where `pairs` is the concatenation of ``encode((key, value))``
   of its entries in ascending order of key; an empty bucket's leaf is 32 zero bytes.
3. A node is ``BLAKE2s(left ‖ right, person=NODE)``. Node 1 is the root, node i has the children 2i and 2i + 1.
4. The proof of a key is its whole bucket, and the siblings on the way to the root, leaf first. Because a leaf names
   every key of its bucket, that shows the absence of a key as well as its presence.
5. The proof of a *slice* is every entry of a subtree and the siblings of that subtree's node. Slice `place` of level L
   has node ``2**L + place``: the buckets from ``place * 2**(depth - L)`` on, ``2**(depth - L)`` of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2s
from itertools import pairwise
from typing import Final

from genesis.codec import decode, raw, record
from genesis.errors import Rejected
from genesis.hashing import ZERO_DIGEST

LEAF: Final = b"nv/leaf1"
NODE: Final = b"nv/node1"
KEY: Final = b"nv/key-1"

ENTRY_BYTES_MAX: Final = 2**20
"""The key and value of one entry together; the largest row, an index's samples of one instant, has some hundreds."""

_PAIR: Final = record(raw(1, ENTRY_BYTES_MAX), raw(0, ENTRY_BYTES_MAX))


def hash_pair(children: bytes) -> bytes:
    """Rule 3, of the 64 bytes of two children."""
    return blake2s(children, person=NODE).digest()


def hash_bucket(pairs: Iterable[bytes]) -> bytes:
    """Rule 2; `pairs` in ascending order of key."""
    joined = b"".join(pairs)
    return blake2s(joined, person=LEAF).digest() if joined else ZERO_DIGEST


def bucket_of(key: bytes, depth: int) -> int:
    """Rule 1."""
    return int.from_bytes(blake2s(key, person=KEY).digest()[:8], "big") % (1 << depth)


@dataclass(frozen=True, slots=True)
class BucketProof:
    """Rule 4.

    Attributes:
        bucket: Which bucket, below ``2**depth``.
        pairs: Its entries as they are hashed, in ascending order of key.
        path: The siblings, leaf first, `depth` of them.
    """

    bucket: int
    pairs: tuple[bytes, ...]
    path: tuple[bytes, ...]


def proved_entries(proof: BucketProof, root: bytes, depth: int) -> dict[bytes, bytes]:
    """Every entry of the bucket under this root; a key of this bucket that is not among them has no entry.

    Raises:
        Rejected: ``bad_proof``: the proof does not lead to the root, or the bucket is not as rule 2 makes one.
    """
    if len(proof.path) != depth or not 0 <= proof.bucket < 1 << depth:
        raise Rejected("bad_proof", "A path has another length than the tree is deep.", siblings=len(proof.path))
    if climb(hash_bucket(proof.pairs), proof.bucket, proof.path) != root:
        raise Rejected("bad_proof", "A bucket does not lead to the certified root.", bucket=proof.bucket)
    entries = [parse_pair(pair) for pair in proof.pairs]
    if any(bucket_of(key, depth) != proof.bucket for key, _ in entries):
        raise Rejected("bad_proof", "An entry stands in another bucket than its key's.", bucket=proof.bucket)
    if any(left >= right for (left, _), (right, _) in pairwise(entries)):
        raise Rejected("bad_proof", "The entries of a bucket stand in ascending order of key.", bucket=proof.bucket)
    return dict(entries)


def climb(node: bytes, place: int, path: Sequence[bytes]) -> bytes:
    """The root over a node that has this place on its level, by the siblings from there up."""
    for sibling in path:
        node = hash_pair(sibling + node if place & 1 else node + sibling)
        place >>= 1
    return node


def parse_pair(pair: bytes) -> tuple[bytes, bytes]:
    """The key and the value of one hashed entry.

    Raises:
        Rejected: ``bad_proof``.
    """
    try:
        key, value = decode(pair, _PAIR, size_max=2 * ENTRY_BYTES_MAX)
    except Rejected as error:
        raise Rejected("bad_proof", f"What a bucket holds is no entry: {error.message}") from error
    return key, value


def slice_root(buckets: Mapping[int, Sequence[bytes]], depth: int, level: int, place: int) -> bytes:
    """The node of a slice (rule 5) whose non-empty buckets are these; `buckets` maps to pairs in ascending order."""
    nodes = {bucket: hash_bucket(pairs) for bucket, pairs in buckets.items()}
    for each in empty_nodes(depth)[: depth - level]:
        nodes = _parents(nodes, each)
    return nodes.get(place, empty_nodes(depth)[depth - level])


def empty_nodes(depth: int) -> tuple[bytes, ...]:
    """The nodes of a tree without entries, from an empty leaf to the root: ``depth + 1`` of them."""
    nodes = [ZERO_DIGEST]
    for _ in range(depth):
        nodes.append(hash_pair(nodes[-1] + nodes[-1]))
    return tuple(nodes)


def slice_paths(slices: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root over all slices of a level, and the siblings of each (rule 5), nearest first."""
    levels = [list(slices)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([hash_pair(below[place] + below[place + 1]) for place in range(0, len(below), 2)])
    paths = [tuple(nodes[(place >> up) ^ 1] for up, nodes in enumerate(levels[:-1])) for place in range(len(slices))]
    return levels[-1][0], paths


def _parents(nodes: Mapping[int, bytes], empty: bytes) -> dict[int, bytes]:
    """The level above, of the nodes that are not `empty`'s."""
    places = dict.fromkeys(place >> 1 for place in nodes)
    return {place: hash_pair(nodes.get(2 * place, empty) + nodes.get(2 * place + 1, empty)) for place in places}
