"""``novate gov``: change who validates. Validators propose and approve; the edge of an epoch carries it out.

Rules:

1. A validator acts with its consensus key, from its own home (``--home``), and through its own node unless ``--url``
   names another. The key signs one envelope; a node that runs from the home is not touched.
2. Before an approval is signed, the id is computed again from the change that the validator showed: what a person reads
   is what the key approves (``wrong_proposal`` otherwise).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from cli.client import Client
from cli.connect import network_options, open_client
from cli.delivery import Outcome
from cli.output import Output, reporting, typed
from cli.passphrase import passphrase_option, resolve_passphrase
from cli.session import Session
from cli.tx import Delivered, deliver, entry, finish, parse_fields
from contracts.operations import CHANGE_KINDS, KINDS, build_operation
from contracts.operations_governance import proposal_id
from genesis.envelope import Operation
from genesis.errors import Rejected
from node.config import load_config
from node.home import read_card
from node.keystore import KeyStore
from node.rotation import later_keys
from node.signer_home import SIGNER_FILE
from node.unused_key import CONSENSUS_KEY

ID_DIGITS: Final = 64
ID_DIGITS_MIN: Final = 8


class ProposalId(click.ParamType[str]):
    """A proposal's id in hexadecimal, or its first digits."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The digits in lower case."""
        text = str(value).lower()
        if not ID_DIGITS_MIN <= len(text) <= ID_DIGITS or not set(text) <= set("0123456789abcdef"):
            self.fail(f"{value!r} is no proposal: give {ID_DIGITS_MIN} to {ID_DIGITS} digits of its id.", param, ctx)
        return text


def validator_options(function: Any) -> Any:
    """Give a command ``--home``, ``--passphrase-file``, ``--url`` and ``--wait``."""
    home = click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        required=True,
        help="The validator's home, whose consensus key signs.",
    )
    url = click.option("--url", "urls", multiple=True, help="A validator to send it to, in place of the home's own.")
    wait = click.option("--wait", is_flag=True, help="Return when it is executed.")
    return home(passphrase_option(url(wait(function))))


@click.group()
def gov() -> None:
    """Propose and approve changes of the validators."""


@gov.command("list")
@network_options
@reporting
def list_proposals(out: Output, urls: Sequence[str], directory: Path) -> None:
    """List the proposals that wait for approval or the next edge."""
    with open_client(urls, directory) as client:
        value = client.get("/v1/proposals")
    out.result(value, lambda: _show(out, value))


@gov.command()
@click.argument("kind", type=click.Choice(CHANGE_KINDS))
@click.argument("fields", nargs=-1, metavar="FIELD=VALUE...")
@click.option(
    "--card",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A validator.toml, from which fields are taken that are not given.",
)
@validator_options
@reporting
def propose(
    out: Output,
    kind: str,
    fields: Sequence[str],
    card: Path | None,
    home: Path,
    passphrase_file: Path | None,
    urls: Sequence[str],
    wait: bool,
) -> None:
    """Propose a change; the proposer's approval is included.

    `novate tx kinds KIND` lists the fields.

    \b
    Examples:
      novate gov propose validator.add --card v4/validator.toml --home v0
      novate gov propose validator.reweight validator=v3 power=2 --home v0
    """
    given = parse_fields(fields)
    if card is not None:
        wanted = {field.name for field in KINDS[kind].fields}
        given = {**{name: value for name, value in _card_fields(card).items() if name in wanted}, **given}
    with typed():
        operation = build_operation(kind, given)
    with _client(home, urls) as client:
        delivered = _send(client, home, passphrase_file, operation, wait)
    (outcome,) = delivered.outcomes
    proposed = _proposed(outcome)
    finish(out, delivered, {**entry(outcome), **({"proposal": proposed} if proposed else {})})
    if proposed:
        out.line(f"proposal {proposed}")


@gov.command()
@click.argument("proposal", type=ProposalId(), metavar="ID")
@validator_options
@reporting
def approve(
    out: Output, proposal: str, home: Path, passphrase_file: Path | None, urls: Sequence[str], wait: bool
) -> None:
    """Approve the proposal ID, as `novate gov list` shows it."""
    _act(out, "governance.approve", proposal, home, passphrase_file, urls, wait)


@gov.command()
@click.argument("proposal", type=ProposalId(), metavar="ID")
@validator_options
@reporting
def withdraw(
    out: Output, proposal: str, home: Path, passphrase_file: Path | None, urls: Sequence[str], wait: bool
) -> None:
    """Take back the proposal ID, while it is not approved."""
    _act(out, "governance.withdraw", proposal, home, passphrase_file, urls, wait)


def _act(
    out: Output, kind: str, digits: str, home: Path, passphrase_file: Path | None, urls: Sequence[str], wait: bool
) -> None:
    with _client(home, urls) as client:
        found = _find(client.get("/v1/proposals")["proposals"], digits)
        _require_genuine(found)
        out.pairs(f"{kind}: {found['kind']}", {"proposal": found["proposal"], **_shortened(found["fields"])})
        operation = build_operation(kind, {"proposal": str(found["proposal"])})
        delivered = _send(client, home, passphrase_file, operation, wait)
    change = {name: found[name] for name in ("proposal", "kind", "fields")}
    finish(out, delivered, {**entry(delivered.outcomes[0]), **change})


def _client(home: Path, urls: Sequence[str]) -> Client:
    """A client of the validators that ``--url`` names, or of the home's own.

    Raises:
        Rejected: ``no_validators``: a signer's directory has no address of a node.
    """
    if urls:
        with typed():
            return Client(tuple(urls))
    try:
        return Client((load_config(home).http_url,))
    except Rejected as error:
        if error.code != "no_node_home" or not (home / SIGNER_FILE).exists():
            raise
        message = "This is a signer's directory, which knows no validator to send to."
        raise Rejected("no_validators", message, home=str(home)) from error


def _send(client: Client, home: Path, passphrase_file: Path | None, operation: Operation, wait: bool) -> Delivered:
    key = KeyStore(home).unlock(_key_name(client, home), resolve_passphrase(home, passphrase_file)).signing_key
    session = Session(client)
    return deliver(session, [session.sign([key], [operation])], wait)


def _key_name(client: Client, home: Path) -> str:
    """The newest of the home's consensus keys that the present validator set names; the first if it names none."""
    store = KeyStore(home)
    later = later_keys(store)
    if not later:
        return CONSENSUS_KEY
    named = {str(each["public_key"]) for each in client.get("/v1/validators")["validators"]}
    return next((each for each in reversed(later) if store.public(each).public_key.hex() in named), CONSENSUS_KEY)


def _card_fields(card: Path) -> dict[str, str]:
    entry = read_card(card)
    return {
        "validator": entry.name,
        "public_key": entry.public_key.hex(),
        "power": str(entry.power),
        "address": entry.address,
        "certificate": entry.certificate.hex(),
    }


def _find(listed: Sequence[Mapping[str, Any]], digits: str) -> Mapping[str, Any]:
    """The one proposal whose id begins with these digits."""
    found = [each for each in listed if str(each["proposal"]).startswith(digits)]
    if not found:
        raise Rejected("unknown_proposal", "No proposal has an id that begins so.", digits=digits)
    if len(found) > 1:
        raise Rejected("ambiguous_proposal", "Several ids begin so.", digits=digits, proposals=len(found))
    return found[0]


def _require_genuine(shown: Mapping[str, Any]) -> None:
    """Rule 2."""
    wire = build_operation(str(shown["kind"]), {name: str(value) for name, value in shown["fields"].items()})
    computed = proposal_id(wire, int(shown["opened_height"])).hex()
    if computed != shown["proposal"]:
        raise Rejected(
            "wrong_proposal",
            "The validator shows a change that this id does not stand for.",
            proposal=str(shown["proposal"]),
            computed=computed,
        )


def _proposed(outcome: Outcome) -> str | None:
    """The id that the receipt names; None while there is no receipt."""
    for event in outcome.receipt["events"] if outcome.receipt is not None else ():
        if event["kind"] == "change_proposed":
            return str(event["proposal"])
    return None


def _show(out: Output, value: Mapping[str, Any]) -> None:
    edge, needed = value["edge_height"], value["quorum_power"]
    rows = [
        (
            each["proposal"][:16],
            each["kind"],
            " ".join(f"{name}={text}" for name, text in _shortened(each["fields"]).items()),
            ", ".join(each["approvals"]),
            f"{each['power']} of {needed}",
            f"at height {edge}" if each["approved"] else "open",
        )
        for each in value["proposals"]
    ]
    if rows:
        out.table("Proposals", ("id", "kind", "change", "approved by", "power", "takes effect"), rows)
    else:
        out.line("Proposals: none.")
    out.line(f"Epoch {value['epoch']} ends with block {edge}.")


def _shortened(fields: Mapping[str, Any]) -> dict[str, str]:
    """Fields for people: long bytes by their first digits."""
    return {name: text if len(text) <= ID_DIGITS else f"{text[:16]}..." for name, text in _texts(fields).items()}


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}
