"""The mark of a consensus key that has never signed: ``keys/consensus.unused``.

A validator that has lost its safety state must not sign, and one whose key is new may. Both look alike: a home without
a safety state. Neither the ledger nor the genesis document tells them apart, since a wiped home lacks both. So the key
itself carries a mark from its making to its first run, and only a marked key is given an initial safety state.

Rules:

1. The mark is made before its key, and names it by its public half. No mark ever fits a key that came from elsewhere.
2. The mark is gone, durably, before the node that uses the key takes part.
3. Whenever in doubt the mark is missing. That costs a start by `consensus.amnesia`; a mark too many could cost a second
   vote in one view.

A copy of the whole home made before its first run, and put back after it, brings mark and key back together. Nothing
in the home shows its age; the core stops when it meets its own later signatures (`consensus.signatory`).
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from genesis.signing import SEED_BYTES, SigningKey
from node.files import make_private_directory, remove_durably, write_private
from node.keystore import KdfCost, KeyStore, UnlockedKey

CONSENSUS_KEY: Final = "consensus"


def create_unused(store: KeyStore, passphrase: bytes, cost: KdfCost) -> UnlockedKey:
    """Make the consensus key, with its mark.

    Raises:
        Rejected: As `KeyStore.create`; the mark that is left then fits no key.
    """
    seed = secrets.token_bytes(SEED_BYTES)
    make_private_directory(store.directory)
    write_private(_mark(store), SigningKey(seed).public_key.hex().encode())
    return store.create(CONSENSUS_KEY, passphrase, cost, seed)


def is_unused(store: KeyStore) -> bool:
    """Whether the consensus key of this home has certainly never signed."""
    try:
        named = _mark(store).read_bytes()
    except FileNotFoundError:
        return False
    return named == store.public(CONSENSUS_KEY).public_key.hex().encode()


def mark_used(store: KeyStore) -> None:
    """Remove the mark: from here on the key may sign. Durable on return; blocks.

    Raises:
        OSError: The mark may still be there, so nothing may be signed.
    """
    remove_durably(_mark(store))


def _mark(store: KeyStore) -> Path:
    return store.directory / f"{CONSENSUS_KEY}.unused"
