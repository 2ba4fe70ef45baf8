"""``--param NAME=N``: chain parameters on the command line, for whoever makes a genesis document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import click

from cli.output import typed
from genesis.params import ChainParams

DIGITS_MAX: Final = 20
"""More than any parameter has."""

param_option = click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=N",
    help="A chain parameter in place of its default; may be repeated.",
)


def read_params(texts: Iterable[str]) -> ChainParams:
    """The chain's parameters, those that are named here in place of their defaults.

    Raises:
        click.BadParameter: A text names none, or its value is no number.
        Misuse: ``bad_parameter``: a value is out of its range, or two do not go together.
    """
    values: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        is_number = value.isascii() and value.isdecimal() and len(value) <= DIGITS_MAX
        if name not in ChainParams.__dataclass_fields__ or not is_number:
            raise click.BadParameter(f"expected a chain parameter NAME=N, found {text[:64]!r}", param_hint="--param")
        values[name] = int(value)
    with typed():
        return ChainParams(**values)
