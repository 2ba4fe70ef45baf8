"""What the questions of ``novate query`` are asked with: accounts, heights, ids, and whether a proof is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

ID_DIGITS: Final = 64

Command = TypeVar("Command", bound=Callable[..., Any])
_TRUST_HEIGHT: Final = "--trust-height"


class AccountName(click.ParamType[str]):
    """An account, ``MEMBER/NAME``; whether it exists is for the chain to say."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The account, fit for a path."""
        text = str(value)
        member, _, sub = text.partition("/")
        if not member or not sub or "/" in sub:
            self.fail(f"{text!r} is no account: one is written MEMBER/NAME, e.g. M0/main.", param, ctx)
        return f"{quoted(member)}/{quoted(sub)}"


class Height(click.ParamType[str]):
    """A block's height, or ``latest``."""

    name = "height"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The height, fit for a path."""
        text = str(value)
        if text != "latest" and not (text.isascii() and text.isdigit()):
            self.fail(f"{text!r} is no height: give a number from 0 (the genesis), or latest.", param, ctx)
        return text


class DigestId(click.ParamType[str]):
    """The id of what it is told, in hexadecimal."""

    name = "id"

    def __init__(self, of: str) -> None:
        self._of = of

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id in lower case."""
        text = str(value).lower()
        if len(text) != ID_DIGITS or not set(text) <= set("0123456789abcdef"):
            self.fail(f"{value!r} is no {self._of}'s id: that has {ID_DIGITS} hexadecimal digits.", param, ctx)
        return text


def proof_options(function: Command) -> Command:
    """Give a command ``--prove`` and ``--out`` as `prove` and `proof_file`, and what `trust_height` answers."""
    prove = click.option("--prove", is_flag=True, help="Answer with a proof, which `novate verify` checks.")
    file = click.option(
        "--out",
        "proof_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="With --prove: write the proof to this new file.",
    )
    trusted = click.option(
        _TRUST_HEIGHT,
        type=click.IntRange(1),
        expose_value=False,
        callback=_remember,
        help="With --prove: start from this block, which you trust, and not from the genesis document.",
    )
    return prove(file(trusted(function)))


def _remember(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    ctx.meta[_TRUST_HEIGHT] = value


def trust_height() -> int | None:
    """The ``--trust-height`` of the command that runs."""
    height: int | None = click.get_current_context().meta[_TRUST_HEIGHT]
    return height


def without_proof(values: Mapping[str, object]) -> None:
    """Refuse what concerns a proof alone where none was asked for: an answer that ignores it would mislead."""
    given = {_TRUST_HEIGHT: trust_height(), **values}
    for option, value in given.items():
        if value is not None:
            raise click.UsageError(f"{option} goes with --prove.")


def quoted(name: str) -> str:
    """A name as one segment of a path; what is no text is wrong usage."""
    try:
        return quote(name, safe="")
    except UnicodeEncodeError as error:
        raise click.UsageError(f"{name[:64]!r} is no name: it is not UTF-8 text.") from error
