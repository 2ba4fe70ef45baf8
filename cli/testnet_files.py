"""A testnet's directory: made once, read by every later command.

::

    DIR/testnet.json      who the validators are and where they answer
    DIR/genesis.toml      the chain
    DIR/passphrase        opens every key below (a testnet's keys protect nothing)
    DIR/keys/             governor, issuer, oracle0..2; members' keys as they are made
    DIR/v0 ... vN-1/      the validators' homes (`node.config`), with node.log and node.pid
    DIR/replays/          what `novate replay` has sent (`cli.replay_journal`)
    DIR/v0-signer ...     with ``--signers``: their signers' homes (`node.signer_home`), with node.log and node.pid

`testnet.json` is written last: a directory that has one is complete. Until then ``testnet.unfinished`` stands there,
locked by whoever makes the testnet. One that nobody holds was left by a process that was killed: the next `up` clears
away what it had made and begins again. A failure or an interrupt clears it away at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cli.ports import free_ports
from cli.wallet import Wallet
from cli.warm_up import warm_up
from genesis.document import ENGINE_DEFAULT, ChainClock, GenesisDocument, GenesisRole, GenesisValidator
from genesis.errors import Rejected
from genesis.params import ChainParams
from node.config import LOOPBACK, NodeConfig
from node.files import make_private_directory, write_private
from node.keystore import COST_TESTNET, PASSPHRASE_BYTES_MAX, PASSPHRASE_FILE
from node.small_files import read_small

RECORD_FILE: Final = "testnet.json"
RECORD_VERSION: Final = 1
RECORD_BYTES_MAX: Final = 65_536
UNFINISHED_FILE: Final = "testnet.unfinished"
DEFAULT_DIRECTORY: Final = "novate-testnet"
VALIDATORS_MAX: Final = 32
ROLE_KEYS: Final = (
    ("governor", ("governor",)),
    ("issuer", ("issuer",)),
    ("oracle0", ("oracle",)),
    ("oracle1", ("oracle",)),
    ("oracle2", ("oracle",)),
)
LEAD_S: Final = 1.5
LEAD_PER_VALIDATOR_S: Final = 0.6


@dataclass(frozen=True, slots=True)
class LocalValidator:
    """One validator of a testnet: its name, its home, and where its HTTP interface answers."""

    name: str
    home: Path
    url: str

    @property
    def signer_home(self) -> Path:
        """The home of its signer; there is none where that does not exist."""
        return _signer_home(self.home)


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """A testnet on this machine."""

    directory: Path
    validators: tuple[LocalValidator, ...]

    @property
    def urls(self) -> tuple[str, ...]:
        """Every validator's address."""
        return tuple(each.url for each in self.validators)

    def validator(self, name: str) -> LocalValidator:
        """The validator of that name; `Rejected` ``unknown_validator``, naming those that exist."""
        for each in self.validators:
            if each.name == name:
                return each
        names = ", ".join(each.name for each in self.validators)
        raise Rejected("unknown_validator", f"This testnet has no {name}; it has {names}.")

    def wallet(self) -> Wallet:
        """The testnet's keys."""
        return Wallet(
            self.directory, read_small(self.directory / PASSPHRASE_FILE, PASSPHRASE_BYTES_MAX).rstrip(b"\r\n")
        )


@dataclass(frozen=True, slots=True)
class Era:
    """Which time the chain lives in.

    Attributes:
        origin_unix_ms: Where block time starts; None for the present.
        speed: How much faster than the wall it runs.
    """

    origin_unix_ms: int | None = None
    speed: int = 1

    def clock(self, wall_unix_ms: int, lead_s: float) -> ChainClock:
        """The chain's clock; of another era or speed, it starts `lead_s` from now, when the validators are up."""
        if self.origin_unix_ms is None and self.speed == 1:
            return ChainClock()
        origin = wall_unix_ms if self.origin_unix_ms is None else self.origin_unix_ms
        return ChainClock(wall_unix_ms + int(lead_s * 1_000), origin, self.speed)


def exists(directory: Path) -> bool:
    """Whether the directory holds a testnet."""
    return (directory / RECORD_FILE).exists()


def load_testnet(directory: Path) -> LocalNetwork:
    """Read a testnet's record.

    Raises:
        Rejected: ``no_testnet``, ``bad_testnet``.
    """
    path = directory / RECORD_FILE
    try:
        record = json.loads(read_small(path, RECORD_BYTES_MAX))
        if record["version"] != RECORD_VERSION:
            raise ValueError(f"version {record['version']}")
        entries = [(str(each["name"]), str(each["url"])) for each in record["validators"]]
        if not entries:
            raise ValueError("it names no validators")
    except FileNotFoundError as error:
        message = "There is no testnet here; start one with `novate testnet up --dir DIR`."
        raise Rejected("no_testnet", message, dir=str(directory)) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Rejected("bad_testnet", f"The testnet's record is damaged: {error}.", path=str(path)) from error
    home = directory.resolve()
    return LocalNetwork(home, tuple(LocalValidator(name, home / name, url) for name, url in entries))


def create_testnet(
    directory: Path,
    count: int,
    era: Era,
    params: ChainParams | None = None,
    consensus: str = ENGINE_DEFAULT,
    *,
    signers: bool = False,
) -> LocalNetwork:
    """Make keys, homes, ports and the genesis document of a testnet; nothing is started.

    If that fails or is interrupted, everything that was made is removed again.

    Args:
        directory: Made if absent; must not hold anything else.
        count: The number of validators, 1 to `VALIDATORS_MAX`.
        era: Which time the chain lives in.
        params: The chain's parameters.
        consensus: Its engine, one of `genesis.document.ENGINES`.
        signers: Whether each validator's key is with a signer of its own.

    Raises:
        Rejected: ``testnet_exists``, ``testnet_busy``, ``bad_validators``, ``bad_genesis``; all but the last before
            anything is written.
    """
    if not 1 <= count <= VALIDATORS_MAX:
        raise Rejected("bad_validators", f"A testnet has 1 to {VALIDATORS_MAX} validators.", validators=count)
    directory = directory.resolve()
    draft = replace(_draft(directory, era, params or ChainParams()), consensus=consensus)
    with _making(directory):
        return _create(directory, count, era, draft, signers)


def remove_testnet(directory: Path, keep_directory: bool) -> None:
    """Delete what a directory holds of a testnet; also the directory, unless it is to be kept or holds anything else.

    If this is interrupted, the next `create_testnet` completes it.
    """
    unfinished = directory / UNFINISHED_FILE
    unfinished.touch(mode=0o600)
    (directory / RECORD_FILE).unlink(missing_ok=True)
    _clear(directory)
    unfinished.unlink()
    if not keep_directory and not os.listdir(directory):
        directory.rmdir()


def _clear(directory: Path) -> None:
    """Delete what a directory holds of a testnet, but for the mark that it is unfinished."""
    for path in (directory / name for name in _entries(directory) - {UNFINISHED_FILE}):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _making(directory: Path) -> Iterator[None]:
    """Inside, the directory is ours alone to make a testnet in; what has been made is removed if that fails."""
    unfinished = directory / UNFINISHED_FILE
    existed = directory.exists()
    found = set(os.listdir(directory)) if existed else set()
    if found and (UNFINISHED_FILE not in found or found - _entries(directory)):
        message = "The directory is not empty; choose another one with --dir, or delete it."
        raise Rejected("testnet_exists", message, dir=str(directory))
    make_private_directory(directory)
    with open(unfinished, "ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Rejected("testnet_busy", "Another command makes a testnet here.", dir=str(directory)) from error
        if exists(directory):
            unfinished.unlink(missing_ok=True)
            raise Rejected("testnet_exists", "Another command has just made a testnet here.", dir=str(directory))
        try:
            _clear(directory)
            yield
            unfinished.unlink()
        except BaseException:  # Ctrl-C too: half a testnet must not look like a whole one.
            remove_testnet(directory, existed)
            raise


def _entries(directory: Path) -> set[str]:
    """The names of those entries of the directory that are a testnet's."""
    fixed = {RECORD_FILE, UNFINISHED_FILE, "genesis.toml", PASSPHRASE_FILE, "keys"}
    homes = {f"v{number}{role}" for number in range(VALIDATORS_MAX) for role in ("", "-signer")}
    temporary = re.compile(r"\..+\.\d+\.new")
    names = os.listdir(directory)
    return {name for name in names if name in fixed | homes or temporary.fullmatch(name)}


def _draft(directory: Path, era: Era, params: ChainParams) -> GenesisDocument:
    """The genesis document without its validators and roles, so that what else it says is checked before we write."""
    nobody = GenesisValidator("v0", bytes(32), 1, f"{LOOPBACK}:1", b"none yet")
    clock = era.clock(time.time_ns() // 1_000_000, LEAD_S)
    return GenesisDocument(name=_network_name(directory), validators=(nobody,), roles=(), clock=clock, params=params)


def _create(directory: Path, count: int, era: Era, draft: GenesisDocument, signers: bool) -> LocalNetwork:
    from node.home import format_document, install_genesis  # certificates and all: nothing that a question needs

    passphrase = secrets.token_hex(16).encode()
    write_private(directory / PASSPHRASE_FILE, passphrase + b"\n")
    configs = _configs(directory, count)
    homes = [_prepare(config, address, passphrase) for config, address in configs]
    warm_up()
    document = replace(
        draft,
        validators=tuple(homes),
        roles=_roles(Wallet(directory, passphrase)),
        clock=era.clock(time.time_ns() // 1_000_000, LEAD_S + LEAD_PER_VALIDATOR_S * count),
    )
    for config, _ in configs:
        install_genesis(config, document)
        if signers:
            _hand_over(config, passphrase)
    write_private(directory / "genesis.toml", format_document(document).encode())
    return _record(directory, [config for config, _ in configs])


def _configs(directory: Path, count: int) -> list[tuple[NodeConfig, str]]:
    """Each validator's settings and the address at which its peers dial it."""
    ports = free_ports(2 * count)
    names = [f"v{number}" for number in range(count)]
    return [
        (NodeConfig(home=directory / name, name=name, listen_port=peer, http_port=http), f"{LOOPBACK}:{peer}")
        for name, peer, http in zip(names, ports[::2], ports[1::2], strict=True)
    ]


def _prepare(config: NodeConfig, address: str, passphrase: bytes) -> GenesisValidator:
    """Make one validator's home, its passphrase beside its keys so that it starts by itself."""
    from node.home import prepare_home

    card = prepare_home(config, address, passphrase, cost=COST_TESTNET)
    write_private(config.home / PASSPHRASE_FILE, passphrase + b"\n")
    return card


def _hand_over(config: NodeConfig, passphrase: bytes) -> None:
    """Give one validator's key to a signer beside its home."""
    from node.signer_home import default_socket, hand_over

    home = _signer_home(config.home)
    hand_over(config.home, home, default_socket(home))
    write_private(home / PASSPHRASE_FILE, passphrase + b"\n")


def _signer_home(home: Path) -> Path:
    return home.with_name(f"{home.name}-signer")


def _roles(wallet: Wallet) -> tuple[GenesisRole, ...]:
    return tuple(GenesisRole(name, wallet.key_or_new(name).public_key, roles) for name, roles in ROLE_KEYS)


def _network_name(directory: Path) -> str:
    """A name for the chain that its directory suggests."""
    kept = "".join(each for each in directory.name if each.isascii() and (each.isalnum() or each in "-_."))
    return kept[:32] or DEFAULT_DIRECTORY


def _record(directory: Path, configs: Sequence[NodeConfig]) -> LocalNetwork:
    validators = [{"name": config.name, "url": config.http_url} for config in configs]
    record = {"version": RECORD_VERSION, "validators": validators}
    write_private(directory / RECORD_FILE, json.dumps(record, indent=2).encode() + b"\n")
    return load_testnet(directory)
