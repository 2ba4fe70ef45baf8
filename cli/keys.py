"""``novate keys``: make and list Ed25519 keys, encrypted at rest. No command shows a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from cli.output import Output, reporting
from cli.passphrase import passphrase_option, resolve_passphrase
from genesis.errors import Rejected
from node.keystore import COST_INTERACTIVE, COST_STRONG, COST_TESTNET, KdfCost, KeyStore, PublicKey, UnlockedKey

COSTS: Final[dict[str, KdfCost]] = {"strong": COST_STRONG, "interactive": COST_INTERACTIVE, "testnet": COST_TESTNET}

home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("~/.novate"),
    envvar="NOVATE_HOME",
    show_default=True,
    show_envvar=True,
    help="The directory that holds keys/.",
)

cost_option = click.option(
    "--cost",
    type=click.Choice(list(COSTS)),
    default="strong",
    show_default=True,
    help="What a guess at the passphrase costs: 256 MiB and 3 passes, 64 MiB and 2, or 8 MiB and 1.",
)


@click.group()
def keys() -> None:
    """Make and list keys, encrypted at rest."""


@keys.command("new")
@click.argument("name")
@home_option
@passphrase_option
@cost_option
@reporting
def new(out: Output, name: str, home: Path, passphrase_file: Path | None, cost: str) -> None:
    """Make the key NAME and store it encrypted."""
    home = home.expanduser()
    store = KeyStore(home)
    _check(store, name)
    key = store.create(name, resolve_passphrase(home, passphrase_file, confirm=True), COSTS[cost])
    _show_key(out, store, key)


@keys.command("list")
@home_option
@reporting
def list_keys(out: Output, home: Path) -> None:
    """List the keys of a home; needs no passphrase."""
    home = home.expanduser()
    if not home.is_dir():
        raise Rejected("no_key_home", "There is no such home.", home=str(home))
    found = KeyStore(home).list()
    document = {"home": str(home), "keys": [_entry(key) for key in found]}
    rows = [(key.name, key.public_key.hex()) for key in found]
    out.result(document, lambda: out.table(f"Keys in {home}", ("name", "public key"), rows))


@keys.command("show")
@click.argument("name")
@home_option
@reporting
def show(out: Output, name: str, home: Path) -> None:
    """Show the public half of the key NAME; needs no passphrase."""
    store = KeyStore(home.expanduser())
    _check(store, name)
    _show_key(out, store, store.public(name))


def _check(store: KeyStore, name: str) -> None:
    """Refuse as wrong usage what can be no key's name."""
    try:
        store.path(name)
    except Rejected as error:
        raise click.BadParameter(f"a key's name: {error.message}", param_hint="NAME") from error


def _show_key(out: Output, store: KeyStore, key: PublicKey | UnlockedKey) -> None:
    document = {**_entry(key), "path": str(store.path(key.name))}
    out.result(document, lambda: out.pairs("Key", document))


def _entry(key: PublicKey | UnlockedKey) -> dict[str, str]:
    return {"name": key.name, "public_key": key.public_key.hex()}
