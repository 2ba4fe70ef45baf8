"""``novate genesis``: create, show and verify the document that defines a chain. Its hash is the chain id."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli.chain_params import param_option, read_params
from cli.option_types import Moment
from cli.output import Failure, Output, reporting
from genesis.document import ENGINE_DEFAULT, ENGINES, ChainClock, GenesisDocument, GenesisRole, GenesisValidator
from genesis.errors import Rejected
from genesis.params import ChainParams
from node.certificates import certificate_public_key
from node.files import create_private
from node.home import format_document, read_card, read_document


@click.group()
def genesis() -> None:
    """Create, show and verify a genesis document."""


@genesis.command("create")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="The network's name.")
@click.option(
    "--validator",
    "validators",
    multiple=True,
    required=True,
    metavar="CARD",
    help="A validator.toml written by `novate node init`, or name=,key=HEX,address=HOST:PORT,cert=BASE64[,power=N].",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    metavar="ROLE",
    help="name=,key=HEX,roles=governor+issuer+oracle (any of the three).",
)
@param_option
@click.option(
    "--consensus", type=click.Choice(ENGINES), default=ENGINE_DEFAULT, show_default=True, help="The agreement's engine."
)
@click.option("--speed", type=int, default=1, show_default=True, help="Block time per wall time.")
@click.option(
    "--wall-origin-unix-ms",
    type=Moment(),
    default=0,
    help="Replay: the wall time at which the clock starts: ISO 8601 or milliseconds since 1970.",
)
@click.option(
    "--chain-origin-unix-ms", type=Moment(), default=0, help="Replay: the block time at that moment, likewise."
)
@reporting
def create(
    out: Output,
    file: Path,
    name: str,
    validators: tuple[str, ...],
    roles: tuple[str, ...],
    params: tuple[str, ...],
    consensus: str,
    speed: int,
    wall_origin_unix_ms: int,
    chain_origin_unix_ms: int,
) -> None:
    """Create a genesis document FILE.

    It needs every validator's card and the public keys of the roles.
    """
    document = GenesisDocument(
        name=name,
        validators=tuple(_validator(each) for each in validators),
        roles=tuple(_role(each) for each in roles),
        clock=ChainClock(wall_origin_unix_ms, chain_origin_unix_ms, speed),
        params=read_params(params),
        consensus=consensus,
    )
    _check_certificates(document)
    create_private(file, format_document(document).encode())
    # It holds nothing secret, and everybody who joins must read it.
    file.chmod(0o644)
    summary = {"path": str(file), **_summary(document)}
    out.result(summary, lambda: out.pairs("Genesis document", summary))


@genesis.command("show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@reporting
def show(out: Output, file: Path) -> None:
    """Show the validators, roles and clock of FILE."""
    document = read_document(file)
    out.result({"chain_id": document.chain_id.hex(), **document.to_mapping()}, lambda: _show(out, document))


@genesis.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--chain-id", metavar="HEX", help="The chain id that others told you.")
@reporting
def verify(out: Output, file: Path, chain_id: str | None) -> None:
    """Check that FILE is a valid genesis document.

    With --chain-id, also that it is the expected one.
    """
    document = read_document(file)
    _check_certificates(document)
    if chain_id is not None and chain_id.lower() != document.chain_id.hex():
        raise Failure(
            f"The document defines another chain (expected={chain_id.lower()}, found={document.chain_id.hex()}).",
            "Get the document again from whoever told you the chain id.",
            "wrong_chain",
        )
    summary = {"valid": True, **_summary(document)}
    out.result(summary, lambda: out.pairs("Valid genesis document", summary))


def _summary(document: GenesisDocument) -> dict[str, Any]:
    return {
        "name": document.name,
        "chain_id": document.chain_id.hex(),
        "validators": len(document.validators),
        "power": sum(each.power for each in document.validators),
        "consensus": document.consensus,
        "roles": len(document.roles),
        "speed": document.clock.speed,
    }


def _show(out: Output, document: GenesisDocument) -> None:
    out.pairs("Genesis document", _summary(document))
    out.table(
        "Validators",
        ("name", "power", "address", "public key"),
        [(each.name, each.power, each.address, each.public_key.hex()) for each in document.validators],
    )
    out.table(
        "Roles",
        ("name", "roles", "public key"),
        [(each.name, ", ".join(each.roles), each.public_key.hex()) for each in document.roles],
    )
    default = ChainParams()
    named = document.to_mapping()["params"]
    changed = [(name, value) for name, value in named.items() if value != getattr(default, name)]
    if changed:
        out.table("Parameters that differ from the defaults", ("parameter", "value"), changed)


def _check_certificates(document: GenesisDocument) -> None:
    """Every pinned certificate must be one that TLS can use, and no two may hold one key."""
    keys = [certificate_public_key(each.certificate) for each in document.validators]
    if len(set(keys)) != len(keys):
        raise Rejected("bad_genesis", "Two validators' certificates hold the same network key.")


def _validator(text: str) -> GenesisValidator:
    """A validator's entry, from its card's path or from ``name=value,...``."""
    if "=" not in text:
        return read_card(Path(text))
    fields = _fields(text, ("name", "key", "address", "cert"), ("power",))
    try:
        return GenesisValidator(
            fields["name"],
            bytes.fromhex(fields["key"]),
            int(fields.get("power", "1")),
            fields["address"],
            base64.b64decode(fields["cert"], validate=True),
        )
    except (ValueError, binascii.Error) as error:
        raise Rejected("bad_card", f"Not a validator's entry: {error}.", found=text[:64]) from error


def _role(text: str) -> GenesisRole:
    fields = _fields(text, ("name", "key", "roles"), ())
    try:
        return GenesisRole(fields["name"], bytes.fromhex(fields["key"]), tuple(fields["roles"].split("+")))
    except ValueError as error:
        raise click.BadParameter(f"the key is not hexadecimal: {error}", param_hint="--role") from error


def _fields(text: str, needed: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    fields = {name: value for name, _, value in pairs}
    if len(fields) != len(pairs) or not set(needed) <= set(fields) <= {*needed, *optional}:
        expected = ",".join(f"{name}=..." for name in needed)
        raise click.BadParameter(f"expected {expected}, found {text[:64]!r}")
    return fields
