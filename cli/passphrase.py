"""Where a command gets the passphrase for encrypted keys.

In this order: ``--passphrase-file``, the variable NOVATE_PASSPHRASE, the file ``passphrase`` in the home, a person at
the terminal. Never an argument: arguments are visible to every user of the machine.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from genesis.errors import Rejected
from node.keystore import find_passphrase

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file (mode 0600) that holds the passphrase. [default: NOVATE_PASSPHRASE, HOME/passphrase, or a prompt]",
)


def resolve_passphrase(home: Path, file: Path | None, *, confirm: bool = False) -> bytes:
    """The passphrase for the keys of `home`.

    Args:
        home: The key or node home.
        file: The value of ``--passphrase-file``.
        confirm: Ask a person twice, because a new key will depend on it.

    Raises:
        Rejected: ``no_passphrase`` when it is nowhere and nobody can be asked; ``exposed_file``, ``bad_passphrase``.
    """
    found = find_passphrase(home, os.environ.get("NOVATE_PASSPHRASE"), file)
    if found is not None:
        return found
    if not sys.stdin.isatty():
        raise Rejected("no_passphrase", "The keys are encrypted and no passphrase was given.")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)).encode()
