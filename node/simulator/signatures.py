"""Signatures of simulated validators: Ed25519, or a keyed digest that takes a hundredth of the time.

With the digest, who knows the public key could forge; nobody in a simulation does: a Byzantine strategy signs through
its replica, with keys of its own operator alone. Ed25519's answers are remembered for all replicas together, which
changes the cost and nothing else.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from genesis.signing import SIGNATURE_BYTES, SigningKey, is_valid

REMEMBERED_MAX: Final = 65_536


class Signatures:
    """The keys of all operators, and the rule by which their signatures are checked.

    Args:
        real: Whether statements are signed with Ed25519.
        real_keys: Whether at least the keys are Ed25519's, for a state machine that checks what they sign.
    """

    def __init__(self, *, real: bool, real_keys: bool = False) -> None:
        self._real = real
        self._real_keys = real or real_keys
        self._seen: dict[tuple[bytes, bytes, bytes], bool] = {}
        self._signing: dict[bytes, SigningKey] = {}

    def public_key(self, operator: int, generation: int) -> bytes:
        """The public key of an operator; it has one after the other, from 0."""
        seed = bytes([operator + 1]) * (30 if generation else 32) + generation.to_bytes(2, "big") * bool(generation)
        if not self._real_keys:
            return seed
        key = SigningKey(seed)
        self._signing[key.public_key] = key
        return key.public_key

    def signing_key(self, public_key: bytes) -> SigningKey:
        """The Ed25519 key of this public key, which was asked for before."""
        return self._signing[public_key]

    def sign(self, public_key: bytes, message: bytes) -> bytes:
        """The signature of this key."""
        return self._signing[public_key].sign(message) if self._real else _mark(public_key, message)

    def is_valid(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the signature is genuine; stands in for `genesis.signing.is_valid`."""
        if not self._real:
            return _mark(public_key, message) == signature
        key = (public_key, message, signature)
        known = self._seen.get(key)
        if known is None:
            if len(self._seen) >= REMEMBERED_MAX:
                self._seen.clear()
            known = self._seen[key] = is_valid(*key)
        return known


def _mark(public_key: bytes, message: bytes) -> bytes:
    return blake2b(message, key=public_key, digest_size=SIGNATURE_BYTES).digest()
