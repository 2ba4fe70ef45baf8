"""The state's Merkle tree: a fixed binary tree over hashed buckets, kept in memory, updated along dirty paths only.

The tree's rules and what it proves stand in `contracts.merkle_proof`, in plain Python; here it is kept up to date.

The compression function is written out for Numba, which re-hashes a block's dirty paths without the interpreter. All
compiled code of the tree is in this one file: Numba's cache does not notice an edited callee in another file.
`self_test` holds the kernel against the standard library. `kernel_hash`, which peers compare in their handshake, is a
digest of what the kernel computes, and of a version: comments may differ between peers, results may not.
Source: RFC 7693 (BLAKE2), section 3; the personalisation is the parameter block of section 2.8 of the BLAKE2 paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2s
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.merkle_proof import NODE, BucketProof, bucket_of, hash_bucket, hash_pair
from genesis.codec import encode
from genesis.errors import invariant
from genesis.hashing import ZERO_DIGEST, Domain, digest

KERNEL_VERSION: Final = 1
"""Raised by hand when what validators compute changes in a way that the sample trees would not show."""

_u4 = np.uint32
_P0: Final = _u4(int.from_bytes(NODE[:4], "little"))
_P1: Final = _u4(int.from_bytes(NODE[4:], "little"))


@njit(cache=True, nogil=True, inline="always")
def _g(a: Any, b: Any, c: Any, d: Any, x: Any, y: Any) -> Any:
    a = _u4(a + b + x)
    d = _u4(d ^ a)
    d = _u4((d >> _u4(16)) | (d << _u4(16)))
    c = _u4(c + d)
    b = _u4(b ^ c)
    b = _u4((b >> _u4(12)) | (b << _u4(20)))
    a = _u4(a + b + y)
    d = _u4(d ^ a)
    d = _u4((d >> _u4(8)) | (d << _u4(24)))
    c = _u4(c + d)
    b = _u4(b ^ c)
    b = _u4((b >> _u4(7)) | (b << _u4(25)))
    return a, b, c, d


@njit(cache=True, nogil=True)
def _hash_node(tree: Any, node: Any) -> None:
    """``tree[node] = BLAKE2s(tree[2 node] ‖ tree[2 node + 1], person=NODE)``: one block of 64 bytes."""
    left = 2 * node
    right = left + 1
    m0, m1, m2, m3 = tree[left, 0], tree[left, 1], tree[left, 2], tree[left, 3]
    m4, m5, m6, m7 = tree[left, 4], tree[left, 5], tree[left, 6], tree[left, 7]
    m8, m9, ma, mb = tree[right, 0], tree[right, 1], tree[right, 2], tree[right, 3]
    mc, md, me, mf = tree[right, 4], tree[right, 5], tree[right, 6], tree[right, 7]
    h0 = _u4(0x6A09E667 ^ 0x01010020)
    h1 = _u4(0xBB67AE85)
    h2 = _u4(0x3C6EF372)
    h3 = _u4(0xA54FF53A)
    h4 = _u4(0x510E527F)
    h5 = _u4(0x9B05688C)
    h6 = _u4(_u4(0x1F83D9AB) ^ _P0)
    h7 = _u4(_u4(0x5BE0CD19) ^ _P1)
    v0, v1, v2, v3, v4, v5, v6, v7 = h0, h1, h2, h3, h4, h5, h6, h7
    v8, v9, va, vb = _u4(0x6A09E667), _u4(0xBB67AE85), _u4(0x3C6EF372), _u4(0xA54FF53A)
    vc, vd, ve, vf = _u4(0x510E527F ^ 64), _u4(0x9B05688C), _u4(0x1F83D9AB ^ 0xFFFFFFFF), _u4(0x5BE0CD19)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, m0, m1)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m2, m3)
    v2, v6, va, ve = _g(v2, v6, va, ve, m4, m5)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m6, m7)
    v0, v5, va, vf = _g(v0, v5, va, vf, m8, m9)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, ma, mb)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, mc, md)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, me, mf)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, me, ma)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m4, m8)
    v2, v6, va, ve = _g(v2, v6, va, ve, m9, mf)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, md, m6)
    v0, v5, va, vf = _g(v0, v5, va, vf, m1, mc)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m0, m2)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, mb, m7)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m5, m3)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, mb, m8)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, mc, m0)
    v2, v6, va, ve = _g(v2, v6, va, ve, m5, m2)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, mf, md)
    v0, v5, va, vf = _g(v0, v5, va, vf, ma, me)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m3, m6)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m7, m1)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m9, m4)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, m7, m9)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m3, m1)
    v2, v6, va, ve = _g(v2, v6, va, ve, md, mc)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, mb, me)
    v0, v5, va, vf = _g(v0, v5, va, vf, m2, m6)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m5, ma)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m4, m0)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, mf, m8)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, m9, m0)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m5, m7)
    v2, v6, va, ve = _g(v2, v6, va, ve, m2, m4)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, ma, mf)
    v0, v5, va, vf = _g(v0, v5, va, vf, me, m1)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, mb, mc)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m6, m8)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m3, md)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, m2, mc)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m6, ma)
    v2, v6, va, ve = _g(v2, v6, va, ve, m0, mb)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m8, m3)
    v0, v5, va, vf = _g(v0, v5, va, vf, m4, md)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m7, m5)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, mf, me)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m1, m9)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, mc, m5)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m1, mf)
    v2, v6, va, ve = _g(v2, v6, va, ve, me, md)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m4, ma)
    v0, v5, va, vf = _g(v0, v5, va, vf, m0, m7)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m6, m3)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m9, m2)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m8, mb)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, md, mb)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m7, me)
    v2, v6, va, ve = _g(v2, v6, va, ve, mc, m1)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m3, m9)
    v0, v5, va, vf = _g(v0, v5, va, vf, m5, m0)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, mf, m4)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m8, m6)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, m2, ma)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, m6, mf)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, me, m9)
    v2, v6, va, ve = _g(v2, v6, va, ve, mb, m3)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m0, m8)
    v0, v5, va, vf = _g(v0, v5, va, vf, mc, m2)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, md, m7)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m1, m4)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, ma, m5)
    v0, v4, v8, vc = _g(v0, v4, v8, vc, ma, m2)
    v1, v5, v9, vd = _g(v1, v5, v9, vd, m8, m4)
    v2, v6, va, ve = _g(v2, v6, va, ve, m7, m6)
    v3, v7, vb, vf = _g(v3, v7, vb, vf, m1, m5)
    v0, v5, va, vf = _g(v0, v5, va, vf, mf, mb)
    v1, v6, vb, vc = _g(v1, v6, vb, vc, m9, me)
    v2, v7, v8, vd = _g(v2, v7, v8, vd, m3, mc)
    v3, v4, v9, ve = _g(v3, v4, v9, ve, md, m0)
    tree[node, 0] = h0 ^ v0 ^ v8
    tree[node, 1] = h1 ^ v1 ^ v9
    tree[node, 2] = h2 ^ v2 ^ va
    tree[node, 3] = h3 ^ v3 ^ vb
    tree[node, 4] = h4 ^ v4 ^ vc
    tree[node, 5] = h5 ^ v5 ^ vd
    tree[node, 6] = h6 ^ v6 ^ ve
    tree[node, 7] = h7 ^ v7 ^ vf


@njit(cache=True, nogil=True)
def _hash_paths(tree: Any, nodes: Any) -> None:
    """Re-hash every ancestor of `nodes` (ascending, distinct, of one level), level by level; destroys `nodes`."""
    count = nodes.size
    while nodes[0] > 1:
        kept = 0
        last = np.int64(-1)
        for i in range(count):
            parent = nodes[i] >> 1
            if parent != last:
                _hash_node(tree, parent)
                nodes[kept] = parent
                kept += 1
                last = parent
        count = kept


def kernel_hash() -> bytes:
    """The 32-byte digest of `KERNEL_VERSION` and of the roots of sample trees: equal behaviour, equal bits.

    The samples reach every step of the kernel: full, sparse and emptied buckets, and levels of odd width.
    """
    roots = []
    for depth in (1, 4, 9):
        tree = MerkleTree(depth)
        for count in (1, 40, 700):
            entries = [(place.to_bytes(4, "big"), bytes([place % 251]) * (place % 70)) for place in range(count)]
            tree.update(entries)
            roots.append(tree.root)
        tree.update([(place.to_bytes(4, "big"), None) for place in range(0, 700, 3)])
        roots.append(tree.root)
    return digest(Domain.KERNEL, encode((KERNEL_VERSION, *roots)))


def self_test() -> None:
    """Compile the kernels, and check them against the standard library's BLAKE2s; the node calls it before it joins.

    Raises:
        InvariantViolation: The kernel computes something else on this machine.
    """
    tree = np.zeros((4, 8), np.uint32)
    for seed in range(16):
        children = blake2s(bytes([seed])).digest() + blake2s(bytes([seed, seed])).digest()
        tree[2:] = np.frombuffer(children, "<u4").reshape(2, 8)
        _hash_node(tree, 1)
        found = _digest_bytes(tree[1])
        invariant(found == hash_pair(children), "The Merkle kernel disagrees with BLAKE2s.", seed=seed)
    small = MerkleTree(1)
    small.update([(b"key", b"value")])
    leaves = [ZERO_DIGEST, hash_bucket([encode((b"key", b"value"))])]
    expected = hash_pair(b"".join(leaves if bucket_of(b"key", 1) else reversed(leaves)))
    invariant(small.root == expected, "The Merkle tree disagrees with its rules.", root=small.root.hex())


def _digest_bytes(words: NDArray[np.uint32]) -> bytes:
    return bytes(words.astype("<u4").tobytes())


class MerkleTree:
    """The tree over all entries of one state.

    Args:
        depth: 1 to 24; memory is 64 bytes a bucket and about the size of the entries.
    """

    __slots__ = ("_bucket_of_key", "_buckets", "_size", "_tree", "depth")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._size = 1 << depth
        self._tree: NDArray[np.uint32] = np.zeros((2 * self._size, 8), np.uint32)
        self._buckets: dict[int, dict[bytes, bytes]] = {}
        self._bucket_of_key: dict[bytes, int] = {}
        self._hash_empty()

    def _hash_empty(self) -> None:
        level = ZERO_DIGEST
        for exponent in reversed(range(self.depth)):
            level = hash_pair(level + level)
            self._tree[1 << exponent : 2 << exponent] = np.frombuffer(level, "<u4")

    @property
    def root(self) -> bytes:
        """The 32-byte root over every entry."""
        return _digest_bytes(self._tree[1])

    def update(self, writes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Set (or, with None, remove) entries and re-hash what that made dirty."""
        dirty = set()
        located, buckets = self._bucket_of_key, self._buckets
        for key, value in writes:
            index = located.get(key)
            if index is None:
                index = located[key] = bucket_of(key, self.depth)
            bucket = buckets.get(index)
            if bucket is None:
                bucket = buckets[index] = {}
            if value is None:
                bucket.pop(key, None)
                del located[key]
            else:
                bucket[key] = encode((key, value))
            dirty.add(index)
        if dirty:
            self._rehash(sorted(dirty))

    def _rehash(self, dirty: list[int]) -> None:
        leaves = b"".join([self._leaf(index) for index in dirty])
        nodes = np.array(dirty, np.int64) + self._size
        self._tree[nodes] = np.frombuffer(leaves, "<u4").reshape(-1, 8)
        _hash_paths(self._tree, nodes)

    def _leaf(self, index: int) -> bytes:
        bucket = self._buckets[index]
        if not bucket:
            del self._buckets[index]
            return ZERO_DIGEST
        return hash_bucket(bucket.values() if len(bucket) == 1 else [bucket[key] for key in sorted(bucket)])

    def prove(self, key: bytes) -> BucketProof:
        """What shows the entry of `key`, or that it has none."""
        index = bucket_of(key, self.depth)
        bucket = self._buckets.get(index, {})
        node = index + self._size
        path = tuple(_digest_bytes(self._tree[(node >> level) ^ 1]) for level in range(self.depth))
        return BucketProof(index, tuple(bucket[each] for each in sorted(bucket)), path)
