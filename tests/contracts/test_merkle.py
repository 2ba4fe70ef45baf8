"""The compiled tree against a plain one, and what its proofs prove."""

from __future__ import annotations

from hashlib import blake2s

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import merkle
from contracts.merkle import MerkleTree
from contracts.merkle_proof import bucket_of, hash_bucket, hash_pair
from genesis.codec import encode

DEPTH = 4
writes = st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.none() | st.binary(max_size=40)), max_size=30)


def plain_root(entries: dict[bytes, bytes], depth: int = DEPTH) -> bytes:
    """The root by the three rules alone, with nothing remembered and the standard library's BLAKE2s."""
    level = []
    for index in range(1 << depth):
        held = sorted(key for key in entries if bucket_of(key, depth) == index)
        level.append(hash_bucket(encode((key, entries[key])) for key in held))
    while len(level) > 1:
        level = [blake2s(level[i] + level[i + 1], person=b"nv/node1").digest() for i in range(0, len(level), 2)]
    return level[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(writes, max_size=5))
def test_the_compiled_tree_equals_the_plain_one(blocks: list[list[tuple[bytes, bytes | None]]]) -> None:
    """A wrong dirty path would make a root that a restart does not reproduce."""
    tree, entries = MerkleTree(DEPTH), dict[bytes, bytes]()
    for block in blocks:
        latest = dict(block)
        tree.update((key, value) for key, value in latest.items() if value is not None or key in entries)
        for key, value in latest.items():
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        assert tree.root == plain_root(entries)


def test_the_kernel_passes_its_own_test() -> None:
    """The node calls it before it joins."""
    merkle.self_test()


@pytest.mark.parametrize("depth", [1, 8, 16])
def test_the_root_does_not_depend_on_the_order_of_writes(depth: int) -> None:
    """Replicas that restored from disk saw another order than those that executed."""
    entries = [(bytes([n % 251, n // 251]), bytes([n % 256])) for n in range(600)]
    ahead, behind = MerkleTree(depth), MerkleTree(depth)
    ahead.update(entries)
    for entry in reversed(entries):
        behind.update([entry])
    assert ahead.root == behind.root


def test_a_removed_entry_leaves_no_trace() -> None:
    """The empty tree has one root."""
    tree = MerkleTree(DEPTH)
    empty = tree.root
    tree.update([(b"k", b"v")])
    assert tree.root != empty
    tree.update([(b"k", None)])
    assert tree.root == empty


@pytest.mark.parametrize(("key", "held"), [(b"\x05", True), (b"absent", False)])
def test_a_path_proves_presence_and_absence(key: bytes, held: bool) -> None:
    """A light client recomputes the root from the bucket's pairs and the siblings alone."""
    tree = MerkleTree(DEPTH)
    tree.update([(bytes([n]), b"value") for n in range(40)])
    proof = tree.prove(key)
    pairs, path = proof.pairs, proof.path
    assert (encode((key, b"value")) in pairs) is held
    node, place = hash_bucket(pairs), bucket_of(key, DEPTH)
    for sibling in path:
        node = hash_pair(sibling + node if place & 1 else node + sibling)
        place >>= 1
    assert node == tree.root


def test_the_root_of_a_known_tree_is_golden() -> None:
    """A change of any hash rule must be seen: it makes another chain."""
    tree = MerkleTree(16)
    tree.update([(n.to_bytes(2, "big"), bytes([n % 256]) * (n % 50)) for n in range(1_000)])
    assert tree.root.hex() == "2e4ffd79c8c8cc914e2beac2101d63cb55bd9bf251ed48a9c75561fa00bf6444"


def test_the_kernel_hash_is_golden() -> None:
    """Peers compare it in their handshake: it names what the kernel computes, whatever the comments in its file say."""
    assert merkle.kernel_hash().hex() == "86a0af2e7b9af6daeca6d4ef4c96ddf0bd565594e85c3c872e7467976206fd42"


def test_the_kernel_hash_follows_behaviour_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer whose kernel computes anything else must not get past the handshake."""
    right = merkle.kernel_hash()
    with monkeypatch.context() as changed:
        changed.setattr(merkle, "KERNEL_VERSION", merkle.KERNEL_VERSION + 1)
        assert merkle.kernel_hash() != right
    monkeypatch.setattr(merkle, "hash_bucket", lambda pairs: hash_bucket([*pairs, b""])[::-1])
    assert merkle.kernel_hash() != right


def test_the_kernel_hash_does_not_read_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that packaging moved or compressed, or a comment in it, must not part a validator from its network."""
    right = merkle.kernel_hash()
    monkeypatch.setattr(merkle, "__file__", "/nowhere/merkle.py")
    assert merkle.kernel_hash() == right
