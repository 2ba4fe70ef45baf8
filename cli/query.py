"""``novate query``: what the chain holds, as one validator sees it.

Money is in minor units, prices in ticks, moments in milliseconds since 1970, as the chain keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.connect import network_options, open_client
from cli.output import Output, reporting


@click.group()
def query() -> None:
    """Ask a validator about accounts, positions, series and blocks."""


@query.command()
@click.argument("account")
@network_options
@reporting
def account(out: Output, account: str, urls: Sequence[str], directory: Path) -> None:
    """Balances of ACCOUNT, e.g. M0/main."""
    _ask(out, urls, directory, f"/v1/accounts/{account}", f"Account {account}")


@query.command()
@click.argument("account")
@network_options
@reporting
def position(out: Output, account: str, urls: Sequence[str], directory: Path) -> None:
    """Positions of ACCOUNT, e.g. M0/main."""
    _ask(out, urls, directory, f"/v1/positions/{account}", f"Positions of {account}")


@query.command()
@click.argument("series", required=False)
@network_options
@reporting
def series(out: Output, series: str | None, urls: Sequence[str], directory: Path) -> None:
    """The terms of SERIES, or of all."""
    _ask(out, urls, directory, "/v1/series" + (f"/{series}" if series else ""), "Series")


@query.command()
@click.argument("height", default="latest")
@network_options
@reporting
def block(out: Output, height: str, urls: Sequence[str], directory: Path) -> None:
    """The committed block at HEIGHT, or the latest."""
    _ask(out, urls, directory, f"/v1/blocks/{height}", "Block")


@query.command("tx")
@click.argument("envelope_id", metavar="ID")
@network_options
@reporting
def transaction(out: Output, envelope_id: str, urls: Sequence[str], directory: Path) -> None:
    """The receipt of the transaction ID."""
    _ask(out, urls, directory, f"/v1/transactions/{envelope_id}", "Receipt")


@query.command()
@network_options
@reporting
def validators(out: Output, urls: Sequence[str], directory: Path) -> None:
    """The validators, their powers and who is connected."""
    _ask(out, urls, directory, "/v1/validators", "Validators")


@query.command()
@click.argument("index")
@network_options
@reporting
def index(out: Output, index: str, urls: Sequence[str], directory: Path) -> None:
    """The terms and the latest price of INDEX, e.g. BTC_USD."""
    _ask(out, urls, directory, f"/v1/index/{index}", f"Index {index}")


@query.command()
@click.argument("index")
@click.argument("expiry_unix_ms", type=int)
@network_options
@reporting
def settlement(out: Output, index: str, expiry_unix_ms: int, urls: Sequence[str], directory: Path) -> None:
    """The settlement of INDEX at EXPIRY_UNIX_MS: price, coverage, amounts."""
    _ask(out, urls, directory, f"/v1/settlements/{index}/{expiry_unix_ms}", "Settlement")


@query.command()
@network_options
@reporting
def members(out: Output, urls: Sequence[str], directory: Path) -> None:
    """The clearing members and their accounts."""
    _ask(out, urls, directory, "/v1/members", "Members")


def _ask(out: Output, urls: Sequence[str], directory: Path, path: str, title: str) -> None:
    with open_client(urls, directory) as client:
        value = client.get(path)
    out.result(value, lambda: show_value(out, title, value))


def show_value(out: Output, title: str, value: Any) -> None:
    """Any JSON value as tables: plain fields as pairs, each list of objects as a table of its own."""
    if isinstance(value, list):
        _show_rows(out, title, value)
        return
    plain = {name: each for name, each in value.items() if not isinstance(each, list | dict)}
    if plain:
        out.pairs(title, plain)
    for name, each in value.items():
        if isinstance(each, dict):
            show_value(out, name, each)
        elif isinstance(each, list):
            _show_rows(out, name if plain else title, each)


def _show_rows(out: Output, title: str, rows: Sequence[Any]) -> None:
    objects = [each if isinstance(each, Mapping) else {"": each} for each in rows]
    columns = list(dict.fromkeys(name for each in objects for name in each))
    if not columns:
        out.line(f"{title}: none.")
        return
    out.table(title, columns, [[_cell(each.get(name)) for name in columns] for each in objects])


def _cell(value: Any) -> object:
    """A cell's value; a nested one is shown by its size."""
    if isinstance(value, list | dict):
        return f"({len(value)})"
    return value
