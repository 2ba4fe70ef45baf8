"""Which network a command talks to, and whose keys it signs with: the options that several commands share.

A network is a testnet's directory (``--dir``, by default ``./novate-testnet``) or validators' addresses (``--url``, as
often as wanted). A key is looked for in ``--home``, then among the testnet's own keys, then in the user's home of keys
(NOVATE_HOME, else ``~/.novate``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cli.client import Client
from cli.output import Misuse, typed
from cli.passphrase import passphrase_option, resolve_passphrase
from cli.testnet_files import DEFAULT_DIRECTORY, exists, load_testnet
from cli.wallet import Wallet
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.keystore import KeyStore

USER_HOME: Final = "~/.novate"

Command = TypeVar("Command", bound=Callable[..., Any])

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(DEFAULT_DIRECTORY),
    show_default=True,
    help="The testnet's directory.",
)

url_option = click.option("--url", "urls", multiple=True, help="A validator's address, in place of --dir; repeatable.")

home_option = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Where keys are, beside the testnet's and yours."
)


def network_options(function: Command) -> Command:
    """Give a command ``--url`` and ``--dir`` as `urls` and `directory`."""
    return directory_option(url_option(function))


def signing_options(function: Command) -> Command:
    """Give a command ``--home``, ``--passphrase-file`` and ``--wait``."""
    wait = click.option("--wait", is_flag=True, help="Return when it is executed.")
    return home_option(passphrase_option(wait(function)))


def open_client(urls: Sequence[str], directory: Path) -> Client:
    """A client of the network that the options name; close it after use."""
    if not urls:
        return Client(load_testnet(directory).urls)
    with typed():
        return Client(tuple(urls))


def complete_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The shell's completions of a key's name."""
    try:
        keyring = Keyring(ctx.params.get("home"), ctx.params.get("directory") or Path(DEFAULT_DIRECTORY), None)
    except Rejected:  # a testnet's record that is damaged: a completion has nobody to tell
        return []
    return [each for each in keyring.names() if each.startswith(incomplete)]


class Keyring:
    """The keys that a command can sign with, each unlocked when it is first asked for.

    Args:
        home: The value of ``--home``, searched first.
        directory: The testnet's directory, if it is one.
        passphrase_file: The value of ``--passphrase-file``; for keys that are not the testnet's, which has its own.
    """

    def __init__(self, home: Path | None, directory: Path, passphrase_file: Path | None) -> None:
        user = Path(os.environ.get("NOVATE_HOME") or USER_HOME).expanduser()
        self._testnet = load_testnet(directory) if exists(directory) else None
        testnet = [] if self._testnet is None else [self._testnet.directory]
        self._homes = [*([home] if home is not None else []), *testnet, user]
        self._passphrase_file = passphrase_file
        self._wallets: dict[Path, Wallet] = {}

    def key(self, name: str) -> SigningKey:
        """The key `name` from the first home that has one.

        Raises:
            Rejected: ``unknown_key``, ``no_passphrase``, ``wrong_passphrase``.
        """
        return self._wallet(self._home_of(name)).key(name)

    def require_passphrase_used(self) -> None:
        """Refuse (`Misuse`) a ``--passphrase-file`` that has opened no key: who gave it believes that it did."""
        testnet = None if self._testnet is None else self._testnet.directory
        if self._passphrase_file is not None and not any(home != testnet for home in self._wallets):
            message = "--passphrase-file opens no key here: those that sign are the testnet's, which opens them itself."
            raise Misuse(message, code="unused_passphrase")

    def public_key(self, name: str) -> bytes:
        """The public half of the key `name`, without a passphrase.

        Raises:
            Rejected: ``unknown_key``, ``tampered_key``, ``exposed_file``.
        """
        return KeyStore(self._home_of(name)).public(name).public_key

    def names(self) -> list[str]:
        """The names of all keys that it can find, in order; a home that cannot be read has none."""
        found: set[str] = set()
        for home in self._homes:
            with suppress(Rejected, OSError):
                found.update(each.name for each in KeyStore(home).list())
        return sorted(found)

    def _home_of(self, name: str) -> Path:
        for home in self._homes:
            if KeyStore(home).path(name).exists():
                return home
        where = ", ".join(str(home) for home in self._homes)
        raise Rejected("unknown_key", "There is no key of this name.", name=name, searched=where)

    def _wallet(self, home: Path) -> Wallet:
        if home not in self._wallets:
            if self._testnet is not None and home == self._testnet.directory:
                self._wallets[home] = self._testnet.wallet()
            else:
                self._wallets[home] = Wallet(home, resolve_passphrase(home, self._passphrase_file))
        return self._wallets[home]
