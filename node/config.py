"""What one operator decides about one node: ``HOME/node.toml``. Nothing here is agreed with anyone else.

The home of a node::

    node.toml        this file's subject
    genesis.toml     the chain (`genesis.document`)
    validator.toml   what the genesis document needs to know of this validator; public
    peers/           optional: cards of validators to join by
    passphrase       optional, mode 0600; opens the keys where nobody is there to type it
    keys/            network.key, and consensus.key unless a signer has it (`node.keystore`); consensus.unused
                     (`node.unused_key`)
    data/ledger/     LevelDB
    data/safety      the safety state of the consensus core
    data/snapshots/  snapshots of the state, for validators that join
    data/evidence/   contradictions of other validators that the chain has not punished yet
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from genesis.addresses import PORT_MAX, join_address, split_address
from genesis.errors import Rejected
from genesis.values import NAME
from node.logs import LEVELS
from node.small_files import read_small

CONFIG_BYTES_MAX: Final = 65_536
LOOPBACK: Final = "127.0.0.1"
PEER_PORT_DEFAULT: Final = 26_600
HTTP_PORT_DEFAULT: Final = 8_600
SIGNER_SCHEME: Final = "unix:"
SNAPSHOT_INTERVAL_DEFAULT: Final = 1_000
SNAPSHOTS_KEPT_DEFAULT: Final = 2
KEEP_BLOCKS_MIN: Final = 100
NUMBER_MAX: Final = 2**47
MEMPOOL_BYTES_MIN: Final = 2**20
MEMPOOL_BYTES_DEFAULT: Final = 128 * 2**20
"""Twice what `mempool_envelopes_max` (20,000) of trades take decoded."""

PEER_BOUNDS: Final = {"faults_max": (0, 1_000_000), "fault_span_s": (1, 86_400), "ban_s_max": (0, 86_400)}
"""The optional integers of ``[peers]``, each from and to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node's own settings.

    Attributes:
        home: The node's directory.
        name: The validator's name, as in the genesis document.
        listen_host, listen_port: Where peers connect to (the genesis document says where they dial).
        http_host, http_port: Where clients connect to. Loopback unless the operator says otherwise: the interface has
            no authentication of its own (envelopes are signed, and what it answers is shared by all members).
        log_level: One of `node.logs.LEVELS`.
        snapshot_interval: Blocks between two snapshots of the state; 0 for none.
        snapshots_kept: How many are kept.
        keep_blocks: Blocks, with batches and receipts, that are kept at least; 0 keeps them all (an archive).
        trust_height, trust_hash: A block that the operator trusts; a node without a ledger joins by a snapshot from
            there on. Empty: it fetches the whole chain.
        mempool_bytes_max: What envelopes that wait for a batch may take here, decoded (`node.intake`).
        faults_max, fault_span_s: So many proven faults of one peer in so many seconds are borne (`node.conduct`).
        ban_s_max: The longest that a peer is barred for an offence (`node.admission`); 0 bars nobody.
        signer: The socket of the process that has the consensus key (`node.signer`); None when this node has it.
    """

    home: Path
    name: str
    listen_host: str = LOOPBACK
    listen_port: int = PEER_PORT_DEFAULT
    http_host: str = LOOPBACK
    http_port: int = HTTP_PORT_DEFAULT
    log_level: str = "info"
    snapshot_interval: int = SNAPSHOT_INTERVAL_DEFAULT
    snapshots_kept: int = SNAPSHOTS_KEPT_DEFAULT
    keep_blocks: int = 0
    trust_height: int = 0
    trust_hash: str = ""
    mempool_bytes_max: int = MEMPOOL_BYTES_DEFAULT
    faults_max: int = 16
    fault_span_s: int = 60
    ban_s_max: int = 30
    signer: Path | None = None

    def __post_init__(self) -> None:
        NAME(self.name)
        for field, port in (("peers.listen", self.listen_port), ("http.listen", self.http_port)):
            _check(1 <= port <= PORT_MAX, field, f"has a port from 1 to {PORT_MAX}", port)
        for field, (low, high) in PEER_BOUNDS.items():
            found = getattr(self, field)
            _check(low <= found <= high, f"peers.{field}", f"is from {low} to {high}", found)
        _check(bool(self.listen_host), "peers.listen", "has a host", self.listen_host)
        _check(bool(self.http_host), "http.listen", "has a host", self.http_host)
        _check(self.log_level in LEVELS, "log.level", f"is one of {', '.join(LEVELS)}", self.log_level)
        _check(self.signer is None or self.signer.is_absolute(), "signer", "is an absolute path", str(self.signer))
        least, found = MEMPOOL_BYTES_MIN, self.mempool_bytes_max
        _check(least <= found <= NUMBER_MAX, "mempool.bytes_max", f"is at least {least}", found)
        self._check_history()

    def _check_history(self) -> None:
        """What is kept of the past, and where it begins."""
        interval, keep = self.snapshot_interval, self.keep_blocks
        _check(0 <= interval <= NUMBER_MAX, "snapshots.interval", "is 0 or a number of blocks", interval)
        _check(1 <= self.snapshots_kept <= 64, "snapshots.keep", "is from 1 to 64", self.snapshots_kept)
        _check(keep == 0 or KEEP_BLOCKS_MIN <= keep <= NUMBER_MAX, "blocks.keep", f"is 0 or {KEEP_BLOCKS_MIN}..", keep)
        _check(keep == 0 or interval > 0, "blocks.keep", "is 0 unless there are snapshots to join by", keep)
        _check(0 <= self.trust_height <= NUMBER_MAX, "trust.height", "is a height", self.trust_height)
        is_hash = len(self.trust_hash) == 64 and set(self.trust_hash) <= set("0123456789abcdef")
        _check(is_hash or not self.trust_hash, "trust.hash", "has 64 hexadecimal digits", self.trust_hash[:80])
        _check(is_hash == (self.trust_height > 0), "trust", "has a height above 0 and a hash, or neither", "")

    @property
    def path(self) -> Path:
        """``node.toml``."""
        return self.home / "node.toml"

    @property
    def genesis_path(self) -> Path:
        """``genesis.toml``."""
        return self.home / "genesis.toml"

    @property
    def card_path(self) -> Path:
        """``validator.toml``."""
        return self.home / "validator.toml"

    @property
    def data_path(self) -> Path:
        """The directory that holds the ledger and the safety state."""
        return self.home / "data"

    @property
    def ledger_path(self) -> Path:
        """LevelDB's directory."""
        return self.data_path / "ledger"

    @property
    def evidence_path(self) -> Path:
        """The directory of what proves other validators' offences."""
        return self.data_path / "evidence"

    @property
    def safety_path(self) -> Path:
        """The safety state's file."""
        return self.data_path / "safety"

    @property
    def peers_path(self) -> Path:
        """The directory of the peers that are named for a join (`node.named_peers`)."""
        return self.home / "peers"

    @property
    def snapshots_path(self) -> Path:
        """The directory of snapshots."""
        return self.data_path / "snapshots"

    @property
    def http_url(self) -> str:
        """Where clients find this node."""
        return f"http://{join_address(self.http_host, self.http_port)}"

    def to_mapping(self) -> dict[str, Any]:
        """The settings as ``node.toml`` holds them, without the bounds that are as they come."""
        defaults = {each.name: each.default for each in fields(NodeConfig)}
        bounds = {each: getattr(self, each) for each in PEER_BOUNDS if getattr(self, each) != defaults[each]}
        return {
            "name": self.name,
            "peers": {"listen": join_address(self.listen_host, self.listen_port), **bounds},
            "http": {"listen": join_address(self.http_host, self.http_port)},
            "log": {"level": self.log_level},
            "snapshots": {"interval": self.snapshot_interval, "keep": self.snapshots_kept},
            "blocks": {"keep": self.keep_blocks},
            "mempool": {"bytes_max": self.mempool_bytes_max},
            **({"trust": {"height": self.trust_height, "hash": self.trust_hash}} if self.trust_hash else {}),
            **({"signer": f"{SIGNER_SCHEME}{self.signer}"} if self.signer else {}),
        }


def load_config(home: Path) -> NodeConfig:
    """Read ``HOME/node.toml``.

    Raises:
        Rejected: ``no_node_home`` when there is none; ``bad_config``, naming the field and what it must be.
    """
    path = home / "node.toml"
    try:
        data = read_small(path, CONFIG_BYTES_MAX)
        _check(len(data) <= CONFIG_BYTES_MAX, "the file", f"has at most {CONFIG_BYTES_MAX} bytes", len(data))
        root = tomllib.loads(data.decode())
    except FileNotFoundError as error:
        raise Rejected("no_node_home", "There is no node in this directory.", path=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise Rejected("bad_config", f"node.toml is not TOML: {error}.", path=str(path)) from error
    _only(root, "the file", {"name", "peers", "http", "log", "snapshots", "blocks", "mempool", "trust", "signer"})
    listen_host, listen_port = _address(root, "peers")
    http_host, http_port = _address(root, "http")
    return NodeConfig(
        home=home,
        name=_text("name", root.get("name")),
        listen_host=listen_host,
        listen_port=listen_port,
        http_host=http_host,
        http_port=http_port,
        log_level=_field(root, "log", "level"),
        signer=_signer(root),
        **_optional(root),
        **_peer_bounds(root),
    )


def _signer(root: dict[str, Any]) -> Path | None:
    if "signer" not in root:
        return None
    text = _text("signer", root["signer"])
    _check(text.startswith(SIGNER_SCHEME), "signer", f"begins with {SIGNER_SCHEME}", text[:80])
    return Path(text.removeprefix(SIGNER_SCHEME))


def _peer_bounds(root: dict[str, Any]) -> dict[str, Any]:
    return {field: _integer(root, field) for field in PEER_BOUNDS if field in root["peers"]}


_OPTIONAL: Final[dict[str, dict[str, tuple[str, type]]]] = {
    "snapshots": {"interval": ("snapshot_interval", int), "keep": ("snapshots_kept", int)},
    "blocks": {"keep": ("keep_blocks", int)},
    "mempool": {"bytes_max": ("mempool_bytes_max", int)},
    "trust": {"height": ("trust_height", int), "hash": ("trust_hash", str)},
}


def _optional(root: dict[str, Any]) -> dict[str, Any]:
    """The tables that may be left out."""
    found: dict[str, Any] = {}
    for table, known in _OPTIONAL.items():
        values = root.get(table, {})
        _check(isinstance(values, dict), f"[{table}]", "is a table", str(values)[:64])
        _only(values, f"[{table}]", set(known))
        for field, value in values.items():
            name, kind = known[field]
            _check(type(value) is kind, f"{table}.{field}", f"is of the type {kind.__name__}", str(value)[:64])
            found[name] = value
    return found


def _address(root: dict[str, Any], table: str) -> tuple[str, int]:
    text = _field(root, table, "listen")
    try:
        return split_address(text)
    except Rejected as error:
        raise Rejected("bad_config", f"In node.toml, {table}.listen: {error.message}", found=text[:80]) from error


def _field(root: dict[str, Any], table: str, field: str) -> str:
    values = root.get(table)
    if not isinstance(values, dict):
        raise Rejected("bad_config", f"In node.toml, [{table}] is a table.", found=str(values)[:64])
    _only(values, f"[{table}]", {field, *PEER_BOUNDS} if table == "peers" else {field})
    return _text(f"{table}.{field}", values.get(field))


def _integer(root: dict[str, Any], field: str) -> int:
    value = root["peers"][field]
    if type(value) is not int:
        raise Rejected("bad_config", f"In node.toml, peers.{field} is a whole number.", found=str(value)[:64])
    return value


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise Rejected("bad_config", f"In node.toml, {what} is text.", found=str(value)[:64])
    return value


def _only(table: dict[str, Any], what: str, known: set[str]) -> None:
    unknown = ", ".join(sorted(set(table) - known))
    _check(not unknown, what, f"has no fields but {', '.join(sorted(known))}", unknown)


def _check(condition: bool, what: str, must: str, found: int | str) -> None:
    if not condition:
        raise Rejected("bad_config", f"In node.toml, {what} {must}.", found=found)
