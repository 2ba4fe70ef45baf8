"""Signatures of simulated validators: Ed25519, or a keyed digest that takes a hundredth of the time.

With the digest, who knows the public key could forge; nobody in a simulation does: a Byzantine strategy signs through
`Signatures.sign` with its own index alone. Ed25519's answers are remembered for all replicas together, which changes
the cost and nothing else.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from genesis.signing import SIGNATURE_BYTES, SigningKey, is_valid

REMEMBERED_MAX: Final = 65_536


class Signatures:
    """The keys of all validators, and the rule by which their signatures are checked."""

    def __init__(self, validators: int, real: bool) -> None:
        self._real = real
        self._seen: dict[tuple[bytes, bytes, bytes], bool] = {}
        seeds = [bytes([index + 1]) * 32 for index in range(validators)]
        self._keys = [SigningKey(seed) for seed in seeds] if real else []
        self.public_keys = [key.public_key for key in self._keys] if real else seeds

    def sign(self, index: int, message: bytes) -> bytes:
        """The signature of validator `index`."""
        return self._keys[index].sign(message) if self._real else _mark(self.public_keys[index], message)

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
