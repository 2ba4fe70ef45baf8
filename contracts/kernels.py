"""All compiled code of the contracts at once: what a node checks at its start, and the hash it shows its peers."""

from __future__ import annotations

from functools import cache
from typing import Final

from contracts import merkle
from contracts.pricing import guard
from genesis.codec import encode
from genesis.hashing import Domain, digest

VERSION: Final = 2
"""Raised by hand when what is hashed changes its meaning."""


def self_test() -> None:
    """Compile or load every kernel, and check what each computes.

    Raises:
        InvariantViolation: One computes something else on this machine.
    """
    merkle.self_test()
    guard.self_test()


@cache
def kernel_hash() -> bytes:
    """The 32-byte digest of what the tree's kernel and every pricing model compute; equal in every honest peer."""
    models = [part for name, found in guard.digests().items() for part in (name, bytes.fromhex(found))]
    return digest(Domain.KERNEL, encode((VERSION, merkle.kernel_hash(), *models)))
