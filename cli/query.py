"""``novate query``: what the chain holds, as one validator sees it.

Money is in minor units, prices in ticks, moments in milliseconds since 1970, as the chain keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cli.client import all_contracts, all_indices, all_members, all_series, whole_settlement
from cli.connect import network_options, open_client
from cli.option_types import Moment
from cli.output import Output, reporting
from cli.query_tables import show_epochs, show_evidence, show_series, show_validators, show_value
from cli.query_terms import AccountName, DigestId, Height, proof_options, quoted, trust_height, without_proof
from genesis.errors import Rejected

PROOF_WAIT_MS: Final = 20_000
"""A proof waits for the certificate of the present state: about three blocks."""


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
        without_proof({"--out": proof_file})
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
        without_proof({"--out": proof_file, "--series": series})
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
    without_proof({"--out": proof_file})
    if series is None:
        with open_client(urls, directory) as client:
            listed = all_series(client)
        out.result({"series": listed}, lambda: show_series(out, listed))
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
    without_proof({"--out": proof_file})
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
    without_proof({"--out": proof_file})
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
    out.result(value, lambda: show_validators(out, value))


@query.command()
@network_options
@reporting
def epochs(out: Output, urls: Sequence[str], directory: Path) -> None:
    """Show the present epoch and the validator sets."""
    with open_client(urls, directory) as client:
        value = client.get("/v1/epochs")
    out.result(value, lambda: show_epochs(out, value))


@query.command()
@network_options
@reporting
def evidence(out: Output, urls: Sequence[str], directory: Path) -> None:
    """Show who contradicted itself: waiting, punished, jailed."""
    with open_client(urls, directory) as client:
        value = client.get("/v1/evidence")
    out.result(value, lambda: show_evidence(out, value))


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
        without_proof({"--out": proof_file})
        with open_client(urls, directory) as client:
            listed = {"indices": all_indices(client)}
        out.result(listed, lambda: show_value(out, "Indices", listed))
    elif prove:
        _prove(out, urls, directory, f"index/{quoted(index)}", proof_file)
    else:
        without_proof({"--out": proof_file})
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
        without_proof({"--out": proof_file, "--account": account})
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
    from contracts.entries import entry_name

    words = "&".join(f"key={quoted(each)}" for each in key)
    try:
        entry_name(table, key)
    except Rejected as error:
        raise click.UsageError(f"{error.message} docs/PROTOCOL.md, R1, lists the tables and their keys.") from error
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

    height = trust_height()
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
