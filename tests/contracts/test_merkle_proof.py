"""Proofs against the tree that makes them, and slices against the whole."""

from __future__ import annotations

import pytest

from contracts.merkle import MerkleTree
from contracts.merkle_proof import (
    BucketProof,
    bucket_of,
    empty_nodes,
    proved_entries,
    slice_paths,
    slice_root,
)
from genesis.codec import encode
from genesis.errors import Rejected

DEPTH = 6
ENTRIES = {bytes([1, number]): bytes([number]) * 3 for number in range(90)}


def tree_of(entries: dict[bytes, bytes], depth: int = DEPTH) -> MerkleTree:
    """The compiled tree over these entries."""
    tree = MerkleTree(depth)
    tree.update(list(entries.items()))
    return tree


@pytest.mark.parametrize("key", [b"\x01\x05", b"\x01\x59", b"absent"])
def test_a_bucket_proves_presence_and_absence(key: bytes) -> None:
    """A light client recomputes the root from the bucket's pairs and the siblings alone."""
    tree = tree_of(ENTRIES)
    assert proved_entries(tree.prove(key), tree.root, DEPTH).get(key) == ENTRIES.get(key)


def test_a_bucket_whose_bytes_were_changed_proves_nothing() -> None:
    """Every byte of a proof bears on the root."""
    tree = tree_of(ENTRIES)
    proof = tree.prove(b"\x01\x05")
    changed = 0
    for part, values in (("pairs", proof.pairs), ("path", proof.path)):
        for place, value in enumerate(values):
            for at in range(len(value)):
                other = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
                fields = {
                    "pairs": proof.pairs,
                    "path": proof.path,
                    part: (*values[:place], other, *values[place + 1 :]),
                }
                with pytest.raises(Rejected, match="bad_proof"):
                    proved_entries(BucketProof(proof.bucket, **fields), tree.root, DEPTH)
                changed += 1
    assert changed > DEPTH * 32


@pytest.mark.parametrize(
    ("fault", "proof"),
    [
        ("another bucket", lambda p: BucketProof(p.bucket ^ 1, p.pairs, p.path)),
        ("a bucket that is none", lambda p: BucketProof(p.bucket + (1 << DEPTH), p.pairs, p.path)),
        ("an entry left out", lambda p: BucketProof(p.bucket, p.pairs[1:], p.path)),
        ("entries in another order", lambda p: BucketProof(p.bucket, p.pairs[::-1], p.path)),
        ("a shorter path", lambda p: BucketProof(p.bucket, p.pairs, p.path[:-1])),
        ("a longer path", lambda p: BucketProof(p.bucket, p.pairs, (*p.path, bytes(32)))),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_false_bucket_is_refused(fault: str, proof: object) -> None:
    """Absence is what a dishonest prover would like to show."""
    tree = tree_of(ENTRIES)
    key = next(each for each in ENTRIES if len(tree.prove(each).pairs) > 1)
    with pytest.raises(Rejected, match="bad_proof"):
        proved_entries(proof(tree.prove(key)), tree.root, DEPTH)  # type: ignore[operator]


@pytest.mark.parametrize("pairs", [(b"\xc1",), (encode((b"", b"v")),), (encode((b"k", b"v", b"x")),)])
def test_a_leaf_of_something_else_than_entries_is_refused(pairs: tuple[bytes, ...]) -> None:
    """Even where the hashes fit: a root is only as good as the quorum that certified it."""
    bucket = bucket_of(b"k", 1)
    proof = BucketProof(bucket, pairs, (bytes(32),))
    tree = MerkleTree(1)
    tree._buckets[bucket] = {b"k": b"".join(pairs)}
    tree._rehash([bucket])
    with pytest.raises(Rejected, match="bad_proof"):
        proved_entries(proof, tree.root, 1)


def test_an_entry_in_anothers_bucket_is_refused() -> None:
    """A prover could otherwise hide an entry where nobody looks for it."""
    key = b"k"
    wrong = 1 - bucket_of(key, 1)
    tree = MerkleTree(1)
    tree._buckets[wrong] = {key: encode((key, b"v"))}
    tree._rehash([wrong])
    with pytest.raises(Rejected, match="another bucket"):
        proved_entries(BucketProof(wrong, (encode((key, b"v")),), (bytes(32),)), tree.root, 1)


def test_an_empty_tree_has_the_roots_of_the_compiled_one() -> None:
    """The constant is computed in two places."""
    assert empty_nodes(9)[9] == MerkleTree(9).root


@pytest.mark.parametrize("level", range(DEPTH + 1))
@pytest.mark.parametrize("count", [0, 1, 90])
def test_slices_of_every_level_lead_to_the_root(level: int, count: int) -> None:
    """A snapshot's chunks are slices; each must stand by itself."""
    entries = dict(list(ENTRIES.items())[:count])
    tree = tree_of(entries)
    width = 1 << (DEPTH - level)
    roots = []
    for place in range(1 << level):
        buckets = {}
        for bucket in range(place * width, (place + 1) * width):
            pairs = tuple(encode((key, entries[key])) for key in sorted(entries) if bucket_of(key, DEPTH) == bucket)
            if pairs:
                buckets[bucket] = pairs
        roots.append(slice_root(buckets, DEPTH, level, place))
    root, paths = slice_paths(roots)
    assert root == tree.root
    assert [len(path) for path in paths] == [level] * (1 << level)
