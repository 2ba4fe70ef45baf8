"""``novate query``: what the chain holds, as one validator sees it.

Money is in minor units, prices in ticks, moments in milliseconds since 1970, as the chain keeps them. Only amounts of
money and numbers of lots are grouped in threes for people; ids, heights and moments are for copying.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click

from cli.client import all_contracts, all_indices, all_members, all_series, whole_settlement
from cli.connect import network_options, open_client
from cli.option_types import Moment
from cli.output import Amount, Output, reporting

ID_DIGITS: Final = 64
NAMES_SHOWN_MAX: Final = 4
PROOF_WAIT_MS: Final = 20_000
"""A proof waits for the certificate of the present state: about three blocks."""

Command = TypeVar("Command", bound=Callable[..., Any])
_TRUST_HEIGHT: Final = "--trust-height"
_AMOUNT_ENDINGS: Final = ("_minor", "lots")


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
    """Give a command ``--prove`` and ``--out`` as `prove` and `proof_file`, and ``--trust-height`` to `_prove`."""
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


def _without_proof(values: Mapping[str, object]) -> None:
    """Refuse what concerns a proof alone where none was asked for: an answer that ignores it would mislead."""
    given = {"--trust-height": click.get_current_context().meta[_TRUST_HEIGHT], **values}
    for option, value in given.items():
        if value is not None:
            raise click.UsageError(f"{option} goes with --prove.")


def quoted(name: str) -> str:
    """A name as one segment of a path; what is no text is wrong usage."""
    try:
        return quote(name, safe="")
    except UnicodeEncodeError as error:
        raise click.UsageError(f"{name[:64]!r} is no name: it is not UTF-8 text.") from error


@click.group()
def query() -> None:
    """Ask a validator about accounts, positions, series, blocks."""


@query.command()
@click.argument("account", type=AccountName())
@proof_options
@network_options
@reporting
def account(
    out: Output, account: str, urls: Sequence[str], directory: Path, prove: bool, proof_file: Path | None
) -> None:
    """Show the balances of an account such as M0/main."""
    if prove:
        _prove(out, urls, directory, f"accounts/{account}", proof_file)
    else:
        _without_proof({"--out": proof_file})
        _ask(out, urls, directory, f"/v1/accounts/{account}", f"Account {account}")


@query.command()
@click.argument("account", type=AccountName())
@click.option("--series", help="With --prove: prove the position in this series, or that there is none.")
@proof_options
@network_options
@reporting
def position(
    out: Output,
    account: str,
    urls: Sequence[str],
    directory: Path,
    series: str | None,
    prove: bool,
    proof_file: Path | None,
) -> None:
    """Show the positions of an account such as M0/main."""
    if prove:
        chosen = f"?series={quoted(series)}" if series is not None else ""
        _prove(out, urls, directory, f"positions/{account}{chosen}", proof_file)
    else:
        _without_proof({"--out": proof_file, "--series": series})
        _ask(out, urls, directory, f"/v1/positions/{account}", f"Positions of {account}")


@query.command()
@click.argument("series", required=False)
@proof_options
@network_options
@reporting
def series(
    out: Output, series: str | None, urls: Sequence[str], directory: Path, prove: bool, proof_file: Path | None
) -> None:
    """Show one series with all its terms, or list all."""
    if prove:
        if series is None:
            raise click.UsageError("--prove needs the name of one series.")
        _prove(out, urls, directory, f"series/{quoted(series)}", proof_file)
        return
    _without_proof({"--out": proof_file})
    if series is None:
        with open_client(urls, directory) as client:
            listed = all_series(client)
        out.result({"series": listed}, lambda: _show_listed(out, listed))
    else:
        _ask(out, urls, directory, f"/v1/series/{quoted(series)}", f"Series {series}")


@query.command()
@click.argument("contract", required=False)
@proof_options
@network_options
@reporting
def contract(
    out: Output, contract: str | None, urls: Sequence[str], directory: Path, prove: bool, proof_file: Path | None
) -> None:
    """Show what one contract locks, waits for and paid; or list all.

    With --prove: its record, its program, and what it holds; or that there is none of this name.
    """
    if prove:
        if contract is None:
            raise click.UsageError("--prove needs the name of one contract.")
        _prove(out, urls, directory, f"contracts/{quoted(contract)}", proof_file)
        return
    _without_proof({"--out": proof_file})
    if contract is not None:
        _ask(out, urls, directory, f"/v1/contracts/{quoted(contract)}", f"Contract {contract}")
        return
    with open_client(urls, directory) as client:
        listed = {"contracts": all_contracts(client)}
    out.result(listed, lambda: show_value(out, "Contracts", listed))


@query.command()
@click.argument("program_id", type=DigestId("program"), metavar="ID")
@proof_options
@network_options
@reporting
def program(
    out: Output, program_id: str, urls: Sequence[str], directory: Path, prove: bool, proof_file: Path | None
) -> None:
    """Show the stored program ID and who holds it.

    With --prove, its bytes, proved.
    """
    if prove:
        _prove(out, urls, directory, f"programs/{program_id}", proof_file)
        return
    _without_proof({"--out": proof_file})
    with open_client(urls, directory) as client:
        value = client.get(f"/v1/programs/{program_id}")
    holders = ", ".join(value["held_by"]) or "nobody"
    standing = f"Held by {holders}; contracts of it: {value['contracts']:,}."
    out.result(value, lambda: out.line(f"{value['disassembly'].rstrip()}\n{standing}"))


@query.command()
@click.argument("height", type=Height(), default="latest")
@network_options
@reporting
def block(out: Output, height: str, urls: Sequence[str], directory: Path) -> None:
    """Show the committed block at HEIGHT, or the latest."""
    _ask(out, urls, directory, f"/v1/blocks/{height}", "Block")


@query.command("tx")
@click.argument("envelope_id", type=DigestId("transaction"), metavar="ID")
@network_options
@reporting
def transaction(out: Output, envelope_id: str, urls: Sequence[str], directory: Path) -> None:
    """Show the receipt of the transaction ID."""
    _ask(out, urls, directory, f"/v1/transactions/{envelope_id}", "Receipt")


@query.command()
@network_options
@reporting
def validators(out: Output, urls: Sequence[str], directory: Path) -> None:
    """Show the validators: power, bond, who is jailed or connected."""
    with open_client(urls, directory) as client:
        value = client.get("/v1/validators")
    out.result(value, lambda: _show_validators(out, value))


@query.command()
@network_options
@reporting
def epochs(out: Output, urls: Sequence[str], directory: Path) -> None:
    """Show the present epoch and the validator sets."""
    with open_client(urls, directory) as client:
        value = client.get("/v1/epochs")
    out.result(value, lambda: _show_epochs(out, value))


@query.command()
@network_options
@reporting
def evidence(out: Output, urls: Sequence[str], directory: Path) -> None:
    """Show who contradicted itself: waiting, punished, jailed."""
    with open_client(urls, directory) as client:
        value = client.get("/v1/evidence")
    out.result(value, lambda: _show_evidence(out, value))


@query.command()
@click.argument("index", required=False)
@proof_options
@network_options
@reporting
def index(
    out: Output, index: str | None, urls: Sequence[str], directory: Path, prove: bool, proof_file: Path | None
) -> None:
    """Show an index such as BTC_USD and its last price, or list all.

    With --prove: its terms.
    """
    if index is None:
        if prove:
            raise click.UsageError("--prove needs the name of one index.")
        _without_proof({"--out": proof_file})
        with open_client(urls, directory) as client:
            listed = {"indices": all_indices(client)}
        out.result(listed, lambda: show_value(out, "Indices", listed))
    elif prove:
        _prove(out, urls, directory, f"index/{quoted(index)}", proof_file)
    else:
        _without_proof({"--out": proof_file})
        _ask(out, urls, directory, f"/v1/index/{quoted(index)}", f"Index {index}")


@query.command()
@click.argument("index")
@click.argument("expiry_unix_ms", type=Moment())
@click.option("--account", type=AccountName(), help="With --prove: also prove what this account got or paid.")
@proof_options
@network_options
@reporting
def settlement(
    out: Output,
    index: str,
    expiry_unix_ms: int,
    urls: Sequence[str],
    directory: Path,
    account: str | None,
    prove: bool,
    proof_file: Path | None,
) -> None:
    """Show the settlement price and amounts of an expiry.

    Of INDEX, e.g. BTC_USD, at EXPIRY_UNIX_MS, as `novate query series` shows it, or as ISO 8601.
    """
    path = f"settlements/{quoted(index)}/{expiry_unix_ms}"
    if prove:
        _prove(out, urls, directory, path + (f"?account={account}" if account is not None else ""), proof_file)
    else:
        _without_proof({"--out": proof_file, "--account": account})
        with open_client(urls, directory) as client:
            value = whole_settlement(client, f"/v1/{path}")
        out.result(value, lambda: show_value(out, "Settlement", value))


@query.command()
@click.argument("table")
@click.argument("key", nargs=-1)
@proof_options
@network_options
@reporting
def entry(
    out: Output,
    table: str,
    key: Sequence[str],
    urls: Sequence[str],
    directory: Path,
    prove: bool,
    proof_file: Path | None,
) -> None:
    """Show any one entry of the state, always with its proof.

    TABLE and KEY are as docs/PROTOCOL.md names them, e.g. balances M0/main USD.
    """
    words = "&".join(f"key={quoted(each)}" for each in key)
    _prove(out, urls, directory, f"entries/{quoted(table)}?{words}", proof_file)


@query.command()
@network_options
@reporting
def members(out: Output, urls: Sequence[str], directory: Path) -> None:
    """Show the clearing members and their accounts."""
    with open_client(urls, directory) as client:
        listed = {"members": all_members(client)}
    out.result(listed, lambda: show_value(out, "Members", listed))


@query.command()
@network_options
@reporting
def quarantine(out: Output, urls: Sequence[str], directory: Path) -> None:
    """Show the markets in quarantine, since when and why."""
    _ask(out, urls, directory, "/v1/quarantine", "Quarantine")


def _prove(out: Output, urls: Sequence[str], directory: Path, path: str, proof_file: Path | None) -> None:
    # Imported here: the verifier's reading of a proof is nothing that the other questions need.
    from cli.verify import show_proof
    from node.files import create_private

    height = click.get_current_context().meta[_TRUST_HEIGHT]
    if height is not None:
        path += f"{'&' if '?' in path else '?'}trust_height={height}"
    with open_client(urls, directory) as client:
        proof = client.get(f"/v1/proofs/{path}", PROOF_WAIT_MS)
    if proof_file is not None:
        create_private(proof_file, json.dumps(proof).encode())
    out.result(proof, lambda: show_proof(out, proof))
    trusted = "" if height is None else f" --trust-height {height} --trust-hash HASH"
    command = f"novate verify {proof_file or 'FILE'} --genesis GENESIS{trusted}"
    if proof_file is None:
        out.line(f"Not verified yet: {command} does that; --out FILE or --json gives it the proof.")
    else:
        out.line(f"Written to {proof_file}. Not verified yet: {command} does that.")


def _ask(out: Output, urls: Sequence[str], directory: Path, path: str, title: str) -> None:
    with open_client(urls, directory) as client:
        value = client.get(path)
    out.result(value, lambda: show_value(out, title, value))


def show_value(out: Output, title: str, value: Any) -> None:
    """Any JSON value as tables: plain fields as pairs, each list of objects as a table of its own."""
    if isinstance(value, list):
        _show_rows(out, title, value)
        return
    plain = {name: _cell(name, each) for name, each in value.items() if not isinstance(each, list | dict)}
    if plain:
        out.pairs(title, plain)
    for name, each in value.items():
        if isinstance(each, dict):
            show_value(out, name, each)
        elif isinstance(each, list):
            _show_rows(out, name if plain else title, each)


def _show_rows(out: Output, title: str, rows: Sequence[Any]) -> None:
    if not any(isinstance(each, Mapping) for each in rows):
        out.line(f"{title}: {', '.join(map(str, rows)) or 'none'}")
        return
    objects = [each for each in rows if isinstance(each, Mapping)]
    columns = list(dict.fromkeys(name for each in objects for name in each))
    if not columns:
        out.line(f"{title}: none.")
        return
    out.table(title, columns, [[_cell(name, each.get(name)) for name in columns] for each in objects])


def _show_validators(out: Output, value: Mapping[str, Any]) -> None:
    """Each validator in a line; what is deposited behind it, in release or not, in a table of its own."""
    columns = ("name", "power", "after edge", "jailed", "connected", "address")
    fields = ("name", "power", "next_power", "jailed", "connected", "address")
    rows = [tuple(each.get(field) for field in fields) for each in value["validators"]]
    rows += [(each["name"], 0, each["power"], None, None, "joins") for each in value["joining"]]
    total, quorum = value["total_power"], value["quorum_power"]
    out.table(f"Epoch {value['epoch']}: a quorum is {quorum} of {total} power", columns, rows)
    deposits = [
        (each["name"], bond["account"], bond["asset"], Amount(bond["amount_minor"]), bond["release_epoch"])
        for each in value["validators"]
        for bond in each["deposits"]
    ]
    if deposits:
        out.line()
        out.table("Bonds", ("validator", "account", "asset", "amount minor", "released in epoch"), deposits)


def _show_epochs(out: Output, value: Mapping[str, Any]) -> None:
    out.pairs("Epoch", {name: each for name, each in value.items() if not isinstance(each, list)})
    rows = [
        (each["first_epoch"], "now" if each["last_epoch"] is None else each["last_epoch"], _names(each["validators"]))
        for each in value["validator_sets"]
    ]
    out.line()
    out.table("Validator sets", ("first epoch", "last epoch", "validators (power)"), rows)
    out.line(f"After the next edge: {_names(value['next'])}")


def _show_evidence(out: Output, value: Mapping[str, Sequence[Any]]) -> None:
    """Each list under its own name, since an empty one is an answer too; the bytes are for ``--json``."""
    for name, rows in value.items():
        listed = [{field: each[field] for field in each if field != "bytes"} for each in rows]
        _show_rows(out, f"Evidence, {name}" if name != "jailed" else "Jailed", listed)


def _names(members: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{each['name']} ({each['power']})" for each in members)


def _show_listed(out: Output, listed: Sequence[Mapping[str, Any]]) -> None:
    """Many series: what tells them apart."""
    columns = ("series", "right", "strike ticks", "expiry unix ms", "open lots")
    rows = [
        (
            each["series"],
            each["right"],
            each["strike_ticks"],
            each["expiry_unix_ms"],
            Amount(each["open_interest_lots"]),
        )
        for each in listed
    ]
    if rows:
        out.table("Series", columns, rows)
    out.line("All terms of one: novate query series NAME" if rows else "Series: none.")


def _cell(name: str, value: Any) -> object:
    """A cell's value; a quantity is an `Amount`, a few names are named, another nested value is shown by its size."""
    if isinstance(value, int) and not isinstance(value, bool) and name.endswith(_AMOUNT_ENDINGS):
        return Amount(value)
    if isinstance(value, list) and 0 < len(value) <= NAMES_SHOWN_MAX and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    if isinstance(value, list | dict):
        return f"({len(value)})"
    return value
