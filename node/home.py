"""A validator's directory: made, given its chain, opened.

Three steps, in this order, because a chain's genesis names its validators' keys and a node needs the genesis to run:

1. `prepare_home` makes the two keys, the certificate and ``node.toml``, and writes the public ``validator.toml`` from
   which somebody creates the genesis document.
2. `install_genesis` gives the home that document, and with it the initial safety state. Only this step ever writes an
   initial safety state, and only for a key that has never signed (`node.unused_key`): a home that was wiped and made
   again around its old key has lost its votes, and its node must not vote (`consensus.amnesia`).
3. `open_home` reads it all back and checks that keys, certificate and genesis document belong together.

Steps 1 and 2 may be repeated with the same arguments; a second chain is refused.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w

from consensus.types import OBSERVER
from genesis.addresses import split_address
from genesis.document import DOCUMENT_BYTES_MAX, GenesisDocument, GenesisValidator, parse_document
from genesis.errors import Rejected
from genesis.signing import SigningKey
from genesis.values import NAME
from node.certificates import make_certificate
from node.config import NodeConfig, load_config
from node.files import make_private_directory, write_private
from node.keystore import COST_STRONG, KdfCost, KeyStore, UnlockedKey
from node.rotation import later_keys, next_name
from node.small_files import read_small
from node.unused_key import CONSENSUS_KEY, create_unused, is_unused

NETWORK_KEY: Final = "network"
CARD_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The secrets of a running node.

    Attributes:
        consensus: Signs votes, timeouts and proposals; None when a signer has it.
        network_seed: The 32-byte seed of the TLS key.
        later: Consensus keys made to replace it (`add_consensus_key`), oldest first; the validator set of an epoch says
            which one signs in it.
    """

    consensus: SigningKey | None
    network_seed: bytes
    later: tuple[SigningKey, ...] = ()

    def __repr__(self) -> str:
        return f"NodeKeys({self.consensus!r})"


@dataclass(frozen=True, slots=True)
class OpenedHome:
    """Everything that `node.app.run_node` needs.

    Attributes:
        config: The operator's settings.
        document: The chain.
        public_key: The public half of its consensus key, wherever that is.
        keys: Its secrets.
    """

    config: NodeConfig
    document: GenesisDocument
    public_key: bytes
    keys: NodeKeys

    def is_ours(self, public_key: bytes) -> bool:
        """Whether it can sign with this key, which a validator set names beside its certificate. With a signer it asks
        for whichever that is: a key may be made there while the node runs, and the signer says which ones it has."""
        return self.config.signer is not None or public_key in (
            self.public_key,
            *(each.public_key for each in self.keys.later),
        )

    @property
    def certificate(self) -> bytes:
        """What its network key proves (DER); the same bytes every time."""
        return make_certificate(self.keys.network_seed, self.config.name)


def prepare_home(
    config: NodeConfig, address: str, passphrase: bytes, *, power: int = 1, cost: KdfCost = COST_STRONG
) -> GenesisValidator:
    """Make what is missing of a home; keys that exist are kept.

    Args:
        config: The settings, written to ``node.toml``.
        address: ``host:port`` where peers dial this validator.
        passphrase: Encrypts new keys and opens existing ones.
        power: The voting power that ``validator.toml`` proposes.
        cost: What guessing the passphrase shall cost.

    Returns:
        What the genesis document says of this validator; also in ``validator.toml``.

    Raises:
        Rejected: ``wrong_passphrase``, ``tampered_key`` and their like, from existing keys; ``bad_card`` where a signer
            has the key and ``validator.toml``, which names it, is gone; ``genesis_installed`` for another name than
            that by which the chain that it has knows it.
    """
    make_private_directory(config.home)
    store = KeyStore(config.home)
    public_key = _known_key(config) if config.signer else _consensus_key(store, passphrase, cost).public_key
    _refuse_another_name(config, public_key)
    network = _network_key(store, passphrase, cost)
    certificate = make_certificate(network.seed, config.name)
    card = GenesisValidator(config.name, public_key, power, address, certificate)
    _write_toml(config.path, config.to_mapping())
    _write_toml(config.card_path, card_mapping(card))
    return card


def install_genesis(config: NodeConfig, document: GenesisDocument, *, joins: bool = False) -> int:
    """Give a prepared home its chain: ``genesis.toml`` and, while its key is unused, the initial safety state.

    Without a safety state afterwards (`NodeConfig.safety_path`) the node starts silent. `joins` says that the document
    need not name this home: governance is to make it a validator later, and until then it follows.

    Returns:
        The validator's index in the document, `OBSERVER` for one that is to join later.

    Raises:
        Rejected: ``not_a_validator`` when the document does not name this home's consensus key; ``genesis_installed``
            when the home serves another chain; ``already_running`` when a process runs it without a safety state.
    """
    public_key = consensus_public_key(config)
    index = index_of(document, config.name, public_key)
    if index == OBSERVER and not joins:
        raise _not_named(document, config.name, public_key)
    is_installed = config.genesis_path.exists()
    if is_installed:
        _refuse_another_chain(config, document)
    make_private_directory(config.data_path)
    # The safety state first: a home whose genesis is installed without one would look like one that lost it.
    if not config.safety_path.exists():
        _write_initial_safety(config, document)
    if not is_installed:
        write_private(config.genesis_path, format_document(document).encode())
    return index


def open_home(home: Path, passphrase: bytes) -> OpenedHome:
    """Read a home that is ready to run.

    Raises:
        Rejected: ``no_node_home``, ``bad_config``, ``no_genesis``, ``bad_genesis``, ``not_a_validator``,
            ``wrong_certificate``, ``wrong_passphrase`` and their like.
    """
    config = load_config(home)
    document = load_genesis(config)
    store = KeyStore(home)
    consensus = None if config.signer else store.unlock(CONSENSUS_KEY, passphrase).signing_key
    network = store.unlock(NETWORK_KEY, passphrase)
    public_key = consensus.public_key if consensus else _known_key(config)
    _check_entry(document, config, public_key, network)
    names = () if config.signer else later_keys(store)
    later = tuple(store.unlock(each, passphrase).signing_key for each in names)
    return OpenedHome(config, document, public_key, NodeKeys(consensus, network.seed, later))


def add_consensus_key(config: NodeConfig, passphrase: bytes, cost: KdfCost = COST_STRONG) -> bytes:
    """Make a consensus key that is to replace the present one: its public half, for a ``validator.rotate_key``. The
    node, started again, signs with it from the epoch on whose validator set names it. All keys stay in the home.

    Raises:
        Rejected: ``wrong_passphrase``; ``signer_has_the_key``.
    """
    if config.signer is not None:
        message = "A signer has this validator's key: the next one is made there."
        raise Rejected("signer_has_the_key", message, home=str(config.home), socket=str(config.signer))
    store = KeyStore(config.home)
    store.unlock(CONSENSUS_KEY, passphrase)
    return store.create(next_name(store), passphrase, cost).public_key


@contextmanager
def exclusive(config: NodeConfig) -> Iterator[None]:
    """Hold this home for one process: two that sign with one key would contradict each other.

    The lock is the operating system's and ends with the process, however that ends.

    Raises:
        Rejected: ``already_running``.
    """
    with locked(KeyStore(config.home).path(NETWORK_KEY), "Another process runs this validator."):
        yield


@contextmanager
def locked(path: Path, message: str) -> Iterator[None]:
    """Hold the lock of a file that is never replaced; `Rejected` ``already_running`` where another process does."""
    with open(path, "rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Rejected("already_running", message, path=str(path)) from error
        yield


def load_genesis(config: NodeConfig) -> GenesisDocument:
    """The home's genesis document.

    Raises:
        Rejected: ``no_genesis``; ``bad_genesis`` from its parser.
    """
    try:
        return read_document(config.genesis_path)
    except FileNotFoundError as error:
        raise Rejected("no_genesis", "This home has no chain yet.", path=str(config.genesis_path)) from error


def read_document(path: Path) -> GenesisDocument:
    """Parse a genesis document from a file.

    Raises:
        Rejected: ``bad_genesis``.
        OSError: The file cannot be read.
    """
    data = read_small(path, DOCUMENT_BYTES_MAX)
    if len(data) > DOCUMENT_BYTES_MAX:
        raise Rejected("bad_genesis", "A genesis document is not so long.", path=str(path), size_max=DOCUMENT_BYTES_MAX)
    try:
        return parse_document(data.decode())
    except UnicodeDecodeError as error:
        raise Rejected("bad_genesis", "The genesis document is not UTF-8 text.", path=str(path)) from error


def format_document(document: GenesisDocument) -> str:
    """The document as TOML; `genesis.document.parse_document` reads it back."""
    return tomli_w.dumps(document.to_mapping())


def card_mapping(card: GenesisValidator) -> dict[str, Any]:
    """A validator's entry as ``validator.toml`` holds it; the same fields as in a genesis document."""
    return {
        "name": card.name,
        "public_key": card.public_key.hex(),
        "power": card.power,
        "address": card.address,
        "certificate": base64.b64encode(card.certificate).decode(),
    }


def parse_card(text: str) -> GenesisValidator:
    """Read a validator's entry from ``validator.toml``; its bounds are checked where it joins a document.

    Raises:
        Rejected: ``bad_card``, naming what is wrong.
    """
    try:
        table = tomllib.loads(text)
        unknown = set(table) ^ {"name", "public_key", "power", "address", "certificate"}
        if unknown:
            raise ValueError(f"missing or unknown fields: {', '.join(sorted(unknown))}")
        return GenesisValidator(
            str(table["name"]),
            bytes.fromhex(table["public_key"]),
            int(table["power"]),
            str(table["address"]),
            base64.b64decode(table["certificate"], validate=True),
        )
    except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Rejected("bad_card", f"Not a validator's entry: {error}.") from error


def read_card(path: Path) -> GenesisValidator:
    """A validator's card.

    Raises:
        Rejected: ``bad_card``, ``malformed``, ``bad_address``.
        OSError: The file cannot be read.
    """
    data = read_small(path, CARD_BYTES_MAX)
    if len(data) > CARD_BYTES_MAX:
        raise Rejected("bad_card", "A validator's entry is not so long.", path=str(path), size_max=CARD_BYTES_MAX)
    try:
        card = parse_card(data.decode())
    except UnicodeDecodeError as error:
        raise Rejected("bad_card", "A validator's entry is UTF-8 text.", path=str(path)) from error
    NAME(card.name)
    split_address(card.address)
    return card


def _consensus_key(store: KeyStore, passphrase: bytes, cost: KdfCost) -> UnlockedKey:
    if store.path(CONSENSUS_KEY).exists():
        return store.unlock(CONSENSUS_KEY, passphrase)
    return create_unused(store, passphrase, cost)


def _network_key(store: KeyStore, passphrase: bytes, cost: KdfCost) -> UnlockedKey:
    if store.path(NETWORK_KEY).exists():
        return store.unlock(NETWORK_KEY, passphrase)
    return store.create(NETWORK_KEY, passphrase, cost)


def consensus_public_key(config: NodeConfig) -> bytes:
    """The public half of this validator's consensus key, wherever the key is.

    Raises:
        Rejected: ``unknown_key``, ``tampered_key``; ``bad_card`` where a signer has the key.
    """
    return _known_key(config) if config.signer else KeyStore(config.home).public(CONSENSUS_KEY).public_key


def _known_key(config: NodeConfig) -> bytes:
    """The public half of a key that a signer has, as ``validator.toml`` names it."""
    try:
        return read_card(config.card_path).public_key
    except FileNotFoundError as error:
        message = "A signer has this validator's key, and nothing here says which key that is."
        raise Rejected("bad_card", message, path=str(config.card_path)) from error


def index_of(document: GenesisDocument, name: str, public_key: bytes) -> int:
    """The validator of the genesis document whose key this is; `OBSERVER` when it names neither key nor name: who joins
    a chain later follows it until governance makes it a validator.

    Raises:
        Rejected: ``not_a_validator``: the document gives the name to another key.
    """
    for index, each in enumerate(document.validators):
        if each.public_key == public_key:
            return index
    if all(each.name != name for each in document.validators):
        return OBSERVER
    raise _not_named(document, name, public_key)


def _not_named(document: GenesisDocument, name: str, public_key: bytes) -> Rejected:
    message = "The genesis document does not name this home's consensus key."
    return Rejected("not_a_validator", message, network=document.name, name=name, public_key=public_key.hex())


def _check_entry(document: GenesisDocument, config: NodeConfig, public_key: bytes, network: UnlockedKey) -> None:
    index = index_of(document, config.name, public_key)
    if index == OBSERVER:
        return
    entry = document.validators[index]
    if entry.name != config.name:
        raise Rejected(
            "not_a_validator",
            "node.toml and the genesis document disagree about this validator's name.",
            configured=config.name,
            genesis=entry.name,
        )
    if entry.certificate != make_certificate(network.seed, config.name):
        raise Rejected(
            "wrong_certificate",
            "The genesis document pins another certificate than this home's network key makes.",
            name=config.name,
        )


def _refuse_another_chain(config: NodeConfig, document: GenesisDocument) -> None:
    installed = load_genesis(config)
    if installed.chain_id != document.chain_id:
        raise Rejected(
            "genesis_installed",
            "This home serves another chain already.",
            installed=installed.chain_id.hex(),
            given=document.chain_id.hex(),
        )


def _refuse_another_name(config: NodeConfig, public_key: bytes) -> None:
    """The name is in the certificate that the chain has pinned: under another the node would not start."""
    if not config.genesis_path.exists():
        return
    known = [each.name for each in load_genesis(config).validators if each.public_key == public_key]
    if known and config.name not in known:
        message = "The chain of this home knows it under another name."
        raise Rejected("genesis_installed", message, genesis=known[0], given=config.name)


def _write_initial_safety(config: NodeConfig, document: GenesisDocument) -> None:
    """For an unused key only. The lock keeps a process from starting, and using the key, before it is written."""
    if config.signer is not None:
        return
    with exclusive(config):
        if is_unused(KeyStore(config.home)):
            _save_safety(config, document)


def _save_safety(config: NodeConfig, document: GenesisDocument) -> None:
    # Imported here: the state machine brings Numba, which the other commands on a home do not need.
    from consensus.safety import fresh_safety
    from consensus.types import genesis_header
    from contracts.machine import genesis_state
    from node.safety_file import SafetyFile

    state = genesis_state(document)
    block = genesis_header(document.chain_id, state.time_unix_ms, state.root)
    with closing(SafetyFile(config.safety_path, document.chain_id)) as file:
        file.save(fresh_safety(block))


def _write_toml(path: Path, mapping: dict[str, Any]) -> None:
    write_private(path, tomli_w.dumps(mapping).encode())
