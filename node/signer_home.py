"""A signer's directory: the validator's consensus keys, their marks, and where it listens.

::

    signer.toml             whose keys they are, of which chain, the first key, and the socket's path
    keys/consensus.key      the first key (`node.keystore`)
    keys/consensus-2.key    the next, and so on (`node.rotation`)
    passphrase              optional, mode 0600; opens them all
    mark                    what the first key has signed (`node.signer_file`)
    mark-KEY                what another has signed, by its public key in hexadecimal
    run/signer.sock         the socket, unless signer.toml says otherwise

`hand_over` takes the keys out of a validator's home and puts them into a signer's. Its steps, in this order, so that a
key can sign in one place at a time whenever the power fails:

1. the keys are copied, as they are, encrypted;
2. their marks are made from the validator's safety state, which covers all that they have signed: what it says of an
   epoch was signed by the key of that epoch, and it bars every earlier epoch;
3. ``node.toml`` names the socket: from here on the node leaves its own key files alone;
4. the node's key files are removed, the newest first, and its mark of an unused key;
5. ``signer.toml`` is written. Without it no signer starts.

It may be repeated until it succeeds: step 2 then raises the marks to what the node has signed meanwhile. Whatever reads
or writes a mark holds the signer's lock: a process that has a mark open numbers its records by itself, so beside a
running signer even a repetition would put an older record before a newer one.

`add_key` makes the next key: its mark first, then the key. A crash in between leaves a mark that no key belongs to,
which nothing reads; after it the key is there with its mark, and the signer has it from its next start on.
"""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import tomli_w

from genesis.document import GenesisDocument
from genesis.errors import Rejected
from genesis.signing import PUBLIC_KEY_BYTES, SEED_BYTES, SigningKey
from node.config import CONFIG_BYTES_MAX, NodeConfig, load_config
from node.files import create_private, make_private_directory, read_private, remove_durably, write_private
from node.home import consensus_public_key, exclusive, index_of, load_genesis, locked
from node.keystore import COST_STRONG, KEY_FILE_BYTES_MAX, KdfCost, KeyStore
from node.rotation import later_keys, next_name
from node.signer_file import SignerFile
from node.signer_guard import Mark
from node.signer_protocol import KEYS_MAX
from node.small_files import read_small
from node.unused_key import CONSENSUS_KEY, mark_used

SIGNER_FILE: Final = "signer.toml"
_FIELDS: Final = frozenset({"name", "network", "chain_id", "public_key", "socket"})


@dataclass(frozen=True, slots=True)
class SignerConfig:
    """A signer's settings.

    Attributes:
        home: Its directory.
        name, network: The validator whose key it has, and its chain, for people.
        chain_id: What a node must name in its greeting.
        public_key: The first key.
        socket: Where it listens; absolute.
    """

    home: Path
    name: str
    network: str
    chain_id: bytes
    public_key: bytes
    socket: Path

    @property
    def path(self) -> Path:
        """``signer.toml``."""
        return self.home / SIGNER_FILE

    def mark_path(self, public_key: bytes) -> Path:
        """The file of a key's mark."""
        return self.home / ("mark" if public_key == self.public_key else f"mark-{public_key.hex()}")


def default_socket(home: Path) -> Path:
    """Where the signer of this directory listens unless it is told otherwise."""
    return home.resolve() / "run" / "signer.sock"


def hand_over(node_home: Path, home: Path, socket: Path) -> SignerConfig:
    """Take the consensus keys out of a validator's home, which must not run, and put them into a signer's.

    Raises:
        Rejected: ``already_running``, the node or the signer; ``no_genesis``; ``inside_the_home`` when one directory is
            in the other; ``lost_safety_state`` when nothing tells what the key has signed; ``key_exists`` when the
            signer's directory holds another key; ``key_elsewhere`` when the key is in neither.
        StorageFailure: The disk refused.
    """
    config = load_config(node_home)
    document = load_genesis(config)
    _refuse_one_inside_the_other(node_home, home)
    with exclusive(config):
        public_key = consensus_public_key(config)
        index_of(document, config.name, public_key)
        signer = SignerConfig(home, config.name, document.name, document.chain_id, public_key, socket)
        if KeyStore(node_home).path(CONSENSUS_KEY).exists():
            _move(config, document, signer)
        else:
            _check_moved(config, signer)
        _write_config(signer)
    return signer


def load_signer(home: Path) -> SignerConfig:
    """Read ``signer.toml``.

    Raises:
        Rejected: ``no_signer_home``, ``bad_config``.
    """
    path = home / SIGNER_FILE
    try:
        data = read_small(path, CONFIG_BYTES_MAX)
        if len(data) > CONFIG_BYTES_MAX:
            raise ValueError(f"it has more than {CONFIG_BYTES_MAX} bytes")
        table = tomllib.loads(data.decode())
        if set(table) != _FIELDS:
            raise ValueError(f"missing or unknown fields: {', '.join(sorted(set(table) ^ _FIELDS))}")
        chain_id, public_key = bytes.fromhex(table["chain_id"]), bytes.fromhex(table["public_key"])
        if len(public_key) != PUBLIC_KEY_BYTES or len(chain_id) != PUBLIC_KEY_BYTES:
            raise ValueError("a chain id and a public key have 32 bytes")
        socket = Path(str(table["socket"]))
    except FileNotFoundError as error:
        raise Rejected("no_signer_home", "There is no signer in this directory.", path=str(path)) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise Rejected("bad_config", f"signer.toml is damaged: {error}.", path=str(path)) from error
    return SignerConfig(home, str(table["name"]), str(table["network"]), chain_id, public_key, socket)


def signer_file(signer: SignerConfig, public_key: bytes) -> SignerFile:
    """The mark of one of this signer's keys."""
    return SignerFile(signer.mark_path(public_key), signer.chain_id, public_key)


def add_key(signer: SignerConfig, passphrase: bytes, cost: KdfCost = COST_STRONG) -> bytes:
    """Make a consensus key that is to replace the present one: its public half, for a ``validator.rotate_key``.

    A signer that runs from this directory goes on, and has the key once it is started again.

    Raises:
        Rejected: ``wrong_passphrase`` and its like; ``wrong_key``; ``too_many_keys``.
        StorageFailure: The disk refused.
    """
    store = KeyStore(signer.home)
    _first_key(signer, store, passphrase)
    _check_count(1 + len(later_keys(store)) + 1, store)
    seed = secrets.token_bytes(SEED_BYTES)
    with closing(signer_file(signer, SigningKey(seed).public_key)) as file:
        file.create(Mark())
    return store.create(next_name(store), passphrase, cost, seed).public_key


@contextmanager
def opened(signer: SignerConfig, passphrase: bytes) -> Iterator[tuple[SigningKey, ...]]:
    """The keys, oldest first, for one process at a time.

    Raises:
        Rejected: ``already_running``; ``unknown_key``, ``wrong_passphrase``, ``tampered_key``; ``wrong_key`` when the
            first is not the one that ``signer.toml`` names; ``too_many_keys``.
    """
    store = KeyStore(signer.home)
    later = later_keys(store)
    _check_count(1 + len(later), store)
    keys = (_first_key(signer, store, passphrase), *(store.unlock(each, passphrase).signing_key for each in later))
    with _signer_lock(store):
        yield keys


def _signer_lock(store: KeyStore) -> AbstractContextManager[None]:
    return locked(store.path(CONSENSUS_KEY), "Another process runs this signer.")


def _first_key(signer: SignerConfig, store: KeyStore, passphrase: bytes) -> SigningKey:
    key = store.unlock(CONSENSUS_KEY, passphrase).signing_key
    if key.public_key != signer.public_key:
        raise Rejected("wrong_key", "signer.toml names another key.", named=signer.public_key.hex())
    return key


def _check_count(keys: int, store: KeyStore) -> None:
    if keys > KEYS_MAX:
        message = f"A signer has at most {KEYS_MAX} keys."
        raise Rejected("too_many_keys", message, keys=keys, directory=str(store.directory))


def _move(config: NodeConfig, document: GenesisDocument, signer: SignerConfig) -> None:
    """Steps 1 to 4."""
    known = _known(config, document)
    source, store = KeyStore(config.home), KeyStore(signer.home)
    names = (CONSENSUS_KEY, *later_keys(source))
    _check_count(len(names), source)
    for name in names:
        _copy(source, store, name)
    with _signer_lock(store):
        for name in names:
            with closing(signer_file(signer, store.public(name).public_key)) as file:
                file.create(known)
    named = replace(config, signer=signer.socket)
    write_private(config.path, tomli_w.dumps(named.to_mapping()).encode())
    for name in reversed(names):
        remove_durably(source.path(name))
    mark_used(source)


def _refuse_one_inside_the_other(node_home: Path, home: Path) -> None:
    """A backup of the one must not be a backup of the other: put back together, neither knows what was signed."""
    node, signer = node_home.resolve(), home.resolve()
    if node == signer or node in signer.parents or signer in node.parents:
        message = "A signer's directory and a validator's home lie apart, so that no backup holds both."
        raise Rejected("inside_the_home", message, home=str(signer), node=str(node))


def _check_moved(config: NodeConfig, signer: SignerConfig) -> None:
    """The key has left the validator's home; this directory is where it went, and its mark reads."""
    store = KeyStore(signer.home)
    if not store.path(CONSENSUS_KEY).exists():
        message = "The key is neither in this validator's home nor in this signer's directory."
        raise Rejected("key_elsewhere", message, home=str(signer.home), node_asks=str(config.signer))
    with _signer_lock(store), closing(signer_file(signer, signer.public_key)) as file:
        file.load()
    store.public(CONSENSUS_KEY)


def _copy(source: KeyStore, store: KeyStore, name: str) -> None:
    """Step 1, of one key; that it has been taken already is fine."""
    path = store.path(name)
    if path.exists():
        if store.public(name) == source.public(name):
            return
        raise Rejected("key_exists", "This signer's directory holds another key.", path=str(path))
    make_private_directory(store.directory.parent)
    make_private_directory(store.directory)
    create_private(path, read_private(source.path(name), KEY_FILE_BYTES_MAX))


def _known(config: NodeConfig, document: GenesisDocument) -> Mark:
    """What the keys have signed, from the validator's safety state."""
    # Imported here: the other commands on a signer's directory do not need the consensus core.
    from node.safety_file import SafetyFile
    from node.signing import known_of

    with closing(SafetyFile(config.safety_path, document.chain_id)) as file:
        state = file.load()
    if state is None:
        message = "Nothing in this home tells what its keys have signed."
        raise Rejected("lost_safety_state", message, path=str(config.safety_path))
    return known_of(state)


def _write_config(signer: SignerConfig) -> None:
    table = {
        "name": signer.name,
        "network": signer.network,
        "chain_id": signer.chain_id.hex(),
        "public_key": signer.public_key.hex(),
        "socket": str(signer.socket),
    }
    write_private(signer.path, tomli_w.dumps(table).encode())
