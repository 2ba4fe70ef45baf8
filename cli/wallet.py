"""The keys that a command signs with: unlocked once each, kept in memory for the length of the command."""

from __future__ import annotations

from pathlib import Path

from genesis.signing import SigningKey
from node.keystore import COST_TESTNET, KeyStore


class Wallet:
    """The keys of one home.

    Args:
        home: The directory that holds ``keys/``.
        passphrase: What unlocks them.
    """

    def __init__(self, home: Path, passphrase: bytes) -> None:
        self._store = KeyStore(home)
        self._passphrase = passphrase
        self._unlocked: dict[str, SigningKey] = {}

    def key(self, name: str) -> SigningKey:
        """The key `name`.

        Raises:
            Rejected: ``unknown_key``, ``wrong_passphrase`` and the other refusals of `KeyStore.unlock`.
        """
        if name not in self._unlocked:
            self._unlocked[name] = self._store.unlock(name, self._passphrase).signing_key
        return self._unlocked[name]

    def key_or_new(self, name: str) -> SigningKey:
        """The key `name`, made now if there is none; cheaply sealed, as a testnet's keys are."""
        if not self._store.path(name).exists():
            self._unlocked[name] = self._store.create(name, self._passphrase, COST_TESTNET).signing_key
        return self.key(name)
