"""The Ed25519 rule, one on every code path: transactions, votes, certificates and hellos.

A signature ``R ‖ S`` by public key ``A`` over message ``M`` is valid if and only if

1. ``S < L`` (no malleable signatures);
2. ``A`` and ``R`` are canonical encodings of points on the curve, and neither has small order;
3. ``[S]B = R + [k]A`` with ``k = SHA-512(R ‖ A ‖ M) mod L``, without multiplying by the cofactor.

This is libsodium's rule, and libsodium (through PyNaCl) is what checks it. OpenSSL's differs on edge cases, so nothing
that the chain agrees on is ever verified by it. Held against RFC 8032, Wycheproof and speccheck in ``tests/genesis``.
Source: RFC 8032 section 5.1.7; Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", SSR 2020, table 5.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

PUBLIC_KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

Signed = tuple[bytes, bytes, bytes]
"""(public key of 32 bytes, message, signature of 64 bytes)."""


class SigningKey:
    """An Ed25519 private key. Never printed: its representation shows the public half alone."""

    __slots__ = ("_secret", "public_key")

    def __init__(self, seed: bytes) -> None:
        public_key, secret = crypto_sign_seed_keypair(seed)
        self.public_key: bytes = public_key
        self._secret: bytes = secret

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`; deterministic (RFC 8032)."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey({self.public_key.hex()})"


def is_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` satisfies the rule above; any malformed length is simply invalid."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def first_invalid(items: Iterable[Signed]) -> int | None:
    """The position of the first invalid signature, or None when all are valid.

    libsodium releases the interpreter lock while it computes, so a worker thread may call this beside the event loop.
    """
    for position, (public_key, message, signature) in enumerate(items):
        if not is_valid(public_key, message, signature):
            return position
    return None
