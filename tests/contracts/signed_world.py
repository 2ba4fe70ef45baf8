"""A world in which nothing is taken as verified: envelopes are signed, go over the wire, and are admitted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.machine import admit
from genesis.document import ChainClock, GenesisDocument
from genesis.envelope import SALT_BYTES, Envelope, decode_envelope, sign_envelope, verify_all
from genesis.params import ChainParams
from genesis.signing import SigningKey
from tests.contracts.world import PARAMS, World, document, key_of


def signing_key(name: str) -> SigningKey:
    """A key that signs, found again by its name."""
    return SigningKey(key_of(f"seed of {name}"))


def signed_document(begins_unix_ms: int, params: ChainParams = PARAMS) -> GenesisDocument:
    """The usual document, its roles held by keys that sign, its clock at `begins_unix_ms`."""
    usual = document(params, ChainClock(0, begins_unix_ms - 1_000, 1))
    roles = tuple(replace(each, public_key=signing_key(each.name).public_key) for each in usual.roles)
    return replace(usual, roles=roles)


class SignedWorld(World):
    """A chain that begins at a time of one's own."""

    def __init__(self, begins_unix_ms: int, params: ChainParams = PARAMS) -> None:
        super().__init__(signed_document(begins_unix_ms, params))
        self.now_unix_ms = begins_unix_ms

    def key(self, name: str) -> bytes:
        """The public key of a name."""
        return signing_key(name).public_key

    def envelope(
        self, signers: str, *operations: tuple[Any, ...], expires_in_ms: int = 60_000, salt: int | None = None
    ) -> Envelope:
        """Signed by the named keys, encoded, decoded, admitted (once there is a block) and verified."""
        self._salt += 1
        number = self._salt if salt is None else salt
        chain, params = self.document.chain_id, self.document.params
        keys = [signing_key(each) for each in signers.split()]
        expires_at_unix_ms = self.now_unix_ms + expires_in_ms
        wire = sign_envelope(chain, keys, operations, expires_at_unix_ms, number.to_bytes(SALT_BYTES, "big"))
        unverified = decode_envelope(wire, chain, params)
        admit(self.state, unverified)
        (envelope,) = verify_all([unverified])
        return envelope
