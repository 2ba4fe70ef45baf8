"""The genesis document: who validates, who holds which role, which clock, which limits. Its hash is the chain id.

People write it as TOML; the canonical encoding of its values is hashed, so comments and order of keys in the file do
not matter, and any change of a value makes another chain.
"""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from genesis.addresses import split_address
from genesis.codec import encode
from genesis.errors import Rejected
from genesis.hashing import Domain, digest
from genesis.params import VALIDATORS_MAX as VALIDATORS_MAX
from genesis.params import ChainParams
from genesis.signing import PUBLIC_KEY_BYTES
from genesis.values import NAME

FORMAT_VERSION: Final = 1
ENGINES: Final = ("hotstuff", "pbft")
ENGINE_DEFAULT: Final = "hotstuff"
ROLES: Final = ("governor", "issuer", "oracle")
CERTIFICATE_BYTES_MAX: Final = 1_024
POWER_MAX: Final = 2**32
SPEED_MAX: Final = 100_000
DOCUMENT_BYTES_MAX: Final = 2**20


@dataclass(frozen=True, slots=True)
class ChainClock:
    """How block time follows the wall: ``chain_origin + max(0, wall - wall_origin) * speed``.

    A chain of today has both origins at 0 and speed 1. A replay testnet maps its clock to another era and speed, the
    same on every validator; before `wall_origin_unix_ms` its clock stands still.
    """

    wall_origin_unix_ms: int = 0
    chain_origin_unix_ms: int = 0
    speed: int = 1

    def chain_unix_ms(self, wall_unix_ms: int) -> int:
        """Block time, in milliseconds since 1970, at a moment of the wall clock."""
        return self.chain_origin_unix_ms + max(0, wall_unix_ms - self.wall_origin_unix_ms) * self.speed


@dataclass(frozen=True, slots=True)
class GenesisValidator:
    """One validator.

    Attributes:
        name: What people call it; unique.
        public_key: Its consensus key (Ed25519), which signs votes.
        power: Its voting power, 1 to `POWER_MAX`.
        address: ``host:port`` where it accepts its peers.
        certificate: The self-signed X.509 certificate (DER) of its network key, pinned by every peer.
    """

    name: str
    public_key: bytes
    power: int
    address: str
    certificate: bytes


@dataclass(frozen=True, slots=True)
class GenesisRole:
    """A key that holds roles from the first block: any of governor, issuer, oracle."""

    name: str
    public_key: bytes
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GenesisDocument:
    """Everything that defines a chain before its first block."""

    name: str
    validators: tuple[GenesisValidator, ...]
    roles: tuple[GenesisRole, ...]
    clock: ChainClock = ChainClock()
    params: ChainParams = ChainParams()
    consensus: str = ENGINE_DEFAULT

    def __post_init__(self) -> None:
        _name("the chain", self.name)
        _check(self.consensus in ENGINES, "consensus", f"is one of {ENGINES}", self.consensus)
        most = self.params.validators_max
        _check(0 < len(self.validators) <= most, "validators", f"number 1 to {most}", len(self.validators))
        _check_clock(self.clock)
        for validator in self.validators:
            _check_validator(validator)
        for role in self.roles:
            _check_role(role)
        for what, values in (
            ("validator names", [each.name for each in self.validators]),
            ("validator keys", [each.public_key for each in self.validators]),
            ("validator certificates", [each.certificate for each in self.validators]),
            ("role names", [each.name for each in self.roles]),
            ("role keys", [each.public_key for each in self.roles]),
        ):
            _check(len(set(values)) == len(values), what, "are distinct", len(values))

    @property
    def chain_id(self) -> bytes:
        """The 32-byte digest that names this chain in every envelope, vote and hello."""
        return digest(Domain.GENESIS, encode(self._values()))

    @property
    def limits(self) -> ChainParams:
        """The parameters with their spans scaled to this chain's clock: what the code enforces."""
        return self.params.scaled(self.clock.speed)

    def _values(self) -> list[Any]:
        clock = self.clock
        return [
            FORMAT_VERSION,
            self.name,
            self.consensus,
            [clock.wall_origin_unix_ms, clock.chain_origin_unix_ms, clock.speed],
            [[v.name, v.public_key, v.power, v.address, v.certificate] for v in self.validators],
            [[r.name, r.public_key, r.roles] for r in self.roles],
            self.params.as_values(),
        ]

    def to_mapping(self) -> dict[str, Any]:
        """The document as plain values for a TOML or JSON writer; `parse_document` reads it back."""
        return {
            "version": FORMAT_VERSION,
            "name": self.name,
            "consensus": self.consensus,
            "clock": {each.name: getattr(self.clock, each.name) for each in fields(ChainClock)},
            "validators": [
                {
                    "name": v.name,
                    "public_key": v.public_key.hex(),
                    "power": v.power,
                    "address": v.address,
                    "certificate": base64.b64encode(v.certificate).decode(),
                }
                for v in self.validators
            ],
            "roles": [{"name": r.name, "public_key": r.public_key.hex(), "roles": list(r.roles)} for r in self.roles],
            "params": {each.name: getattr(self.params, each.name) for each in fields(ChainParams)},
        }


def parse_document(text: str) -> GenesisDocument:
    """Read a genesis document from TOML.

    Raises:
        Rejected: ``bad_genesis`` or ``bad_parameter``, naming the field and what it must be.
    """
    _check(len(text) <= DOCUMENT_BYTES_MAX, "the file", "is at most 1 MiB", len(text))
    try:
        root = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Rejected("bad_genesis", f"The genesis document is not TOML: {error}.") from error
    version = root.get("version")
    _check(version == FORMAT_VERSION, "version", f"is {FORMAT_VERSION}", str(version))
    _only(root, "the document", ("version", "name", "consensus", "clock", "validators", "roles", "params"))
    clock = _table(root, "clock")
    params = _table(root, "params")
    _only(clock, "clock", tuple(each.name for each in fields(ChainClock)))
    _only(params, "params", tuple(each.name for each in fields(ChainParams)))
    return GenesisDocument(
        name=_text(root, "name"),
        consensus=_text(root, "consensus") if "consensus" in root else ENGINE_DEFAULT,
        clock=ChainClock(**clock),
        validators=tuple(_validator(each) for each in _tables(root, "validators")),
        roles=tuple(_role(each) for each in _tables(root, "roles")),
        params=ChainParams(**params),
    )


def _check_clock(clock: ChainClock) -> None:
    for each in fields(ChainClock):
        value = getattr(clock, each.name)
        _check(type(value) is int and 0 <= value < 2**48, f"clock.{each.name}", "is an integer below 2^48", str(value))
    _check(1 <= clock.speed <= SPEED_MAX, "clock.speed", f"is from 1 to {SPEED_MAX}", clock.speed)


def _check_validator(validator: GenesisValidator) -> None:
    name = validator.name
    _name("a validator", name)
    _check(len(validator.public_key) == PUBLIC_KEY_BYTES, name, "has a 32-byte public_key", len(validator.public_key))
    _check(1 <= validator.power <= POWER_MAX, name, "has a power from 1 to 2^32", validator.power)
    _check_address(name, validator.address)
    size = len(validator.certificate)
    _check(0 < size <= CERTIFICATE_BYTES_MAX, name, "has a certificate of at most 1024 bytes", size)


def _check_address(name: str, address: str) -> None:
    try:
        split_address(address)
    except Rejected:
        _check(False, name, "has an address host:port", address)


def _check_role(role: GenesisRole) -> None:
    _name("a role", role.name)
    _check(len(role.public_key) == PUBLIC_KEY_BYTES, role.name, "has a 32-byte public_key", len(role.public_key))
    _check(bool(role.roles) and set(role.roles) <= set(ROLES), role.name, f"has roles of {ROLES}", str(role.roles))
    _check(len(set(role.roles)) == len(role.roles), role.name, "has each role once", str(role.roles))


def _validator(table: Mapping[str, Any]) -> GenesisValidator:
    _only(table, "a validator", ("name", "public_key", "power", "address", "certificate"))
    power = table.get("power")
    if type(power) is not int:
        raise Rejected("bad_genesis", "A validator's power is an integer.", found=str(power))
    try:
        certificate = base64.b64decode(_text(table, "certificate"), validate=True)
    except ValueError as error:
        raise Rejected("bad_genesis", f"A validator's certificate is not base64: {error}.") from error
    return GenesisValidator(
        _text(table, "name"), _hex(table, "public_key"), power, _text(table, "address"), certificate
    )


def _role(table: Mapping[str, Any]) -> GenesisRole:
    _only(table, "a role", ("name", "public_key", "roles"))
    roles = table.get("roles")
    if not isinstance(roles, list) or not all(isinstance(each, str) for each in roles):
        raise Rejected("bad_genesis", "A role entry lists its roles as text.", found=str(roles))
    return GenesisRole(_text(table, "name"), _hex(table, "public_key"), tuple(roles))


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise Rejected("bad_genesis", f"The field {key} is missing or not text.", found=str(value))
    return value


def _hex(table: Mapping[str, Any], key: str) -> bytes:
    try:
        return bytes.fromhex(_text(table, key))
    except ValueError as error:
        raise Rejected("bad_genesis", f"The field {key} is not hexadecimal.", found=str(table[key])) from error


def _table(root: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = root.get(key, {})
    if not isinstance(value, dict):
        raise Rejected("bad_genesis", f"The field {key} is a table.", found=type(value).__name__)
    return value


def _tables(root: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = root.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Rejected("bad_genesis", f"The field {key} is an array of tables.", found=type(value).__name__)
    return value


def _only(table: Mapping[str, Any], what: str, known: tuple[str, ...]) -> None:
    unknown = sorted(set(table) - set(known))
    _check(not unknown, what, f"has no fields but {', '.join(known)}", ", ".join(unknown))


def _name(what: str, name: str) -> None:
    try:
        NAME(name)
    except Rejected as error:
        _check(False, f"the name of {what}", "is 1 to 32 letters, digits, '-', '_' or '.'", str(error.details["found"]))


def _check(condition: bool, what: str, must: str, found: int | str) -> None:
    if not condition:
        raise Rejected("bad_genesis", f"In a genesis document, {what} {must}.", found=found)
