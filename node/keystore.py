"""Keys at rest: Ed25519 seeds, encrypted under a passphrase, in files that only their owner can read.

Rules:

1. A key is one file, ``HOME/keys/NAME.key``, mode 0600, JSON: what is public in clear, the seed in a secretbox
   (XSalsa20-Poly1305) under a key that Argon2id derives from the passphrase and a salt of its own.
2. The box holds the name and the seed. A file that was renamed, or whose public key was exchanged, is found out when it
   is unlocked: ``tampered_key``.
3. A file cannot ask for more memory or work than `OPERATIONS_MAX` and `MEMORY_BYTES_MAX` when it is unlocked.
4. A key is never overwritten, and a secret is never printed, logged or put into an error: `UnlockedKey` shows its
   public half alone.

Source: RFC 9106 (Argon2id, version 1.3, one lane as in libsodium); NaCl secretbox.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nacl.utils
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from genesis.codec import decode, encode, raw, record
from genesis.errors import Rejected
from genesis.signing import PUBLIC_KEY_BYTES, SEED_BYTES, SigningKey
from genesis.values import NAME
from node.files import create_private, make_private_directory, read_private

FILE_VERSION: Final = 1
KDF_ALGORITHM: Final = "argon2id13"
OPERATIONS_MAX: Final = 16
MEMORY_BYTES_MAX: Final = 2**30
KEY_FILE_BYTES_MAX: Final = 4_096
PASSPHRASE_BYTES_MAX: Final = 1_024
PASSPHRASE_FILE: Final = "passphrase"
_SECRET: Final = record(NAME, raw(SEED_BYTES))


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What Argon2id spends to try one passphrase.

    Attributes:
        operations: Passes over the memory, 1 to `OPERATIONS_MAX`.
        memory_bytes: 8 KiB to `MEMORY_BYTES_MAX`.
    """

    operations: int
    memory_bytes: int


COST_STRONG: Final = KdfCost(argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE)
"""For people's keys: 256 MiB, about 0.6 s."""

COST_INTERACTIVE: Final = KdfCost(argon2id.OPSLIMIT_INTERACTIVE, argon2id.MEMLIMIT_INTERACTIVE)
"""For a key that is unlocked often: 64 MiB, about 80 ms."""

COST_TESTNET: Final = KdfCost(argon2id.OPSLIMIT_MIN, 8 * 2**20)
"""For testnets on one machine, whose passphrase lies beside them: 8 MiB, about 6 ms. Real encryption, cheap to try."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What anyone may know about a stored key."""

    name: str
    public_key: bytes


class UnlockedKey:
    """A key in memory. `seed` is there for TLS, which needs it; everything else signs through `signing_key`."""

    __slots__ = ("name", "seed", "signing_key")

    def __init__(self, name: str, seed: bytes) -> None:
        self.name = name
        self.seed = seed
        self.signing_key = SigningKey(seed)

    @property
    def public_key(self) -> bytes:
        """The 32-byte public key."""
        return self.signing_key.public_key

    def __repr__(self) -> str:
        return f"UnlockedKey({self.name!r}, {self.public_key.hex()})"


class KeyStore:
    """The keys of one home directory.

    Args:
        home: The directory that holds ``keys/``; made when the first key is.
    """

    def __init__(self, home: Path) -> None:
        self.directory = home / "keys"

    def path(self, name: str) -> Path:
        """The file of the key `name`; `Rejected` ``malformed`` unless the name is one."""
        NAME(name)
        if name.startswith("."):
            raise Rejected("malformed", "A key's name does not begin with a dot.", name=name)
        return self.directory / f"{name}.key"

    def create(
        self, name: str, passphrase: bytes, cost: KdfCost = COST_STRONG, seed: bytes | None = None
    ) -> UnlockedKey:
        """Make a key and store it.

        Args:
            name: 1 to 32 characters of letters, digits, ``-_.``.
            passphrase: 1 to `PASSPHRASE_BYTES_MAX` bytes.
            cost: What guessing the passphrase shall cost.
            seed: The 32-byte seed; by default from the operating system's generator.

        Raises:
            Rejected: ``key_exists``, ``bad_passphrase``, ``malformed``.
        """
        _check_passphrase(passphrase)
        path = self.path(name)
        key = UnlockedKey(name, nacl.utils.random(SEED_BYTES) if seed is None else seed)
        if path.exists():
            raise _exists(name, path)
        make_private_directory(self.directory)
        try:
            create_private(path, _seal(key, passphrase, cost))
        except Rejected as error:
            raise _exists(name, path) from error
        return key

    def public(self, name: str) -> PublicKey:
        """The public half of a key, without a passphrase (and so on the file's word alone).

        Raises:
            Rejected: ``unknown_key``, ``tampered_key``, ``exposed_file``.
        """
        return _public(name, self._read(name))

    def list(self) -> tuple[PublicKey, ...]:
        """Every key of this home, by name."""
        if not self.directory.is_dir():
            return ()
        names = sorted(path.name.removesuffix(".key") for path in self.directory.glob("*.key"))
        return tuple(self.public(name) for name in names)

    def unlock(self, name: str, passphrase: bytes) -> UnlockedKey:
        """Decrypt a key; takes as long as its `KdfCost` says, and releases the interpreter lock meanwhile.

        Raises:
            Rejected: ``unknown_key``, ``wrong_passphrase``, ``tampered_key``, ``exposed_file``.
        """
        _check_passphrase(passphrase)
        document = self._read(name)
        return _open(name, document, passphrase)

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path(name)
        try:
            data = read_private(path, KEY_FILE_BYTES_MAX)
        except FileNotFoundError as error:
            raise Rejected("unknown_key", "There is no key of this name.", name=name, path=str(path)) from error
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _tampered(name, "is not JSON") from error
        if not isinstance(document, dict) or document.get("version") != FILE_VERSION:
            raise _tampered(name, f"is not a key file of version {FILE_VERSION}")
        return document


def find_passphrase(home: Path, environment: str | None, file: Path | None) -> bytes | None:
    """The passphrase for a home's keys from where it was left: `file`, else `environment`, else ``HOME/passphrase``.

    Args:
        home: The key or node home.
        environment: The value of NOVATE_PASSPHRASE, if set.
        file: An explicitly named file.

    Returns:
        The passphrase without its line end, or None when it is nowhere and a person must be asked.

    Raises:
        Rejected: ``exposed_file``, ``bad_passphrase``.
        FileNotFoundError: `file` does not exist.
    """
    if file is None and environment is not None:
        return _check_passphrase(os.fsencode(environment))
    path = file or home / PASSPHRASE_FILE
    if file is None and not path.exists():
        return None
    return _check_passphrase(read_private(path, PASSPHRASE_BYTES_MAX + 2).rstrip(b"\r\n"))


def _seal(key: UnlockedKey, passphrase: bytes, cost: KdfCost) -> bytes:
    salt = nacl.utils.random(argon2id.SALTBYTES)
    box = SecretBox(_derive(passphrase, salt, cost)).encrypt(encode([key.name, key.seed]))
    document = {
        "version": FILE_VERSION,
        "name": key.name,
        "public_key": key.public_key.hex(),
        "kdf": {
            "algorithm": KDF_ALGORITHM,
            "operations": cost.operations,
            "memory_bytes": cost.memory_bytes,
            "salt": salt.hex(),
        },
        "box": bytes(box).hex(),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _open(name: str, document: dict[str, Any], passphrase: bytes) -> UnlockedKey:
    stated = _public(name, document)
    kdf = document.get("kdf")
    if not isinstance(kdf, dict) or kdf.get("algorithm") != KDF_ALGORITHM:
        raise _tampered(name, "names an unknown key derivation")
    cost = KdfCost(
        _bounded(name, kdf, "operations", 1, OPERATIONS_MAX),
        _bounded(name, kdf, "memory_bytes", argon2id.MEMLIMIT_MIN, MEMORY_BYTES_MAX),
    )
    box = _hex(name, document, "box", SecretBox.NONCE_SIZE + SecretBox.MACBYTES, KEY_FILE_BYTES_MAX)
    salt = _hex(name, kdf, "salt", argon2id.SALTBYTES, argon2id.SALTBYTES)
    try:
        secret = SecretBox(_derive(passphrase, salt, cost)).decrypt(box)
    except CryptoError as error:
        raise Rejected("wrong_passphrase", "The passphrase does not open this key.", name=name) from error
    try:
        sealed_name, seed = decode(secret, _SECRET, size_max=KEY_FILE_BYTES_MAX)
    except Rejected as error:
        raise _tampered(name, "holds something else than a key") from error
    key = UnlockedKey(sealed_name, seed)
    if (key.name, key.public_key) != (stated.name, stated.public_key):
        raise _tampered(name, "states another name or public key than it holds")
    return key


def _derive(passphrase: bytes, salt: bytes, cost: KdfCost) -> bytes:
    return argon2id.kdf(SecretBox.KEY_SIZE, passphrase, salt, opslimit=cost.operations, memlimit=cost.memory_bytes)


def _public(name: str, document: dict[str, Any]) -> PublicKey:
    if document.get("name") != name:
        raise _tampered(name, "belongs to another name")
    return PublicKey(name, _hex(name, document, "public_key", PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES))


def _hex(name: str, table: dict[str, Any], field: str, low: int, high: int) -> bytes:
    text = table.get(field)
    try:
        value = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        value = b""
    if not low <= len(value) <= high:
        raise _tampered(name, f"has a damaged field {field}")
    return value


def _bounded(name: str, table: dict[str, Any], field: str, low: int, high: int) -> int:
    value = table.get(field)
    if type(value) is not int or not low <= value <= high:
        raise _tampered(name, f"has a field {field} outside {low} to {high}")
    return value


def _check_passphrase(passphrase: bytes) -> bytes:
    if not 0 < len(passphrase) <= PASSPHRASE_BYTES_MAX:
        raise Rejected("bad_passphrase", f"A passphrase has 1 to {PASSPHRASE_BYTES_MAX} bytes.", size=len(passphrase))
    return passphrase


def _exists(name: str, path: Path) -> Rejected:
    return Rejected("key_exists", "There is a key of this name already.", name=name, path=str(path))


def _tampered(name: str, what: str) -> Rejected:
    return Rejected("tampered_key", f"The key file {what}.", name=name)
