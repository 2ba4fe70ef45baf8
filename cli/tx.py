"""``novate tx``: sign operations and have them executed.

``send`` signs one operation. ``submit`` reads a file of JSON lines, each either what ``send`` takes,
``{"kind": "transfer", "fields": {"source": "M0/main", ...}, "keys": ["M0"]}``, or an envelope signed elsewhere,
``{"envelope": "hex"}`` or the bare hexadecimal.

With ``--wait`` a command returns when every envelope has a receipt, and fails if one was refused; without, it returns
when every envelope has been taken into a validator's mempool. Whatever ends it before, the answer names every envelope
and what is known of it (`cli.delivery`, rule 1), and how to send it again, not another one in its place.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from cli.advice import advice_for
from cli.connect import Keyring, complete_keys, network_options, open_client, signing_options
from cli.contract_start import is_named, with_integers
from cli.delivery import DEADLINE_S, Delivery, Outcome, Signed
from cli.interrupts import interruptible
from cli.kinds import complete_kinds, describe, kind_names, require_kind, show_kind
from cli.named_files import LARGE_BYTES_MAX
from cli.option_types import iso_unix_ms
from cli.output import Failure, Output, reporting, typed
from cli.session import Session
from contracts.operations import KINDS, build_operation
from genesis.errors import Rejected
from node.small_files import read_small

IDS_SHOWN_MAX: Final = 8
"""In a failure; the answer names all."""

SEND_AGAIN: Final = (
    "Ask `novate query tx ID`. The same envelope may be sent again until it expires and executes once: `tx submit` "
    "takes the `envelope` that --json gives. Do not `tx send` anew before: that is another transaction, executed too."
)
_HEX: Final = re.compile("([0-9a-fA-F]{2})+")


@click.group()
def tx() -> None:
    """Sign and send transactions."""


@tx.command()
@click.argument("kind", shell_complete=complete_kinds)
@click.argument("fields", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--key", "key", required=True, metavar="NAME", shell_complete=complete_keys, help="Who signs and sends.")
@click.option(
    "--cosign", multiple=True, metavar="NAME", shell_complete=complete_keys, help="Who signs too; repeatable."
)
@signing_options
@network_options
@reporting
def send(
    out: Output,
    kind: str,
    fields: Sequence[str],
    key: str,
    cosign: Sequence[str],
    home: Path | None,
    passphrase_file: Path | None,
    wait: bool,
    urls: Sequence[str],
    directory: Path,
) -> None:
    """Sign one operation and send it.

    `novate tx kinds` lists every KIND with its fields and who must sign.

    \b
    Example:
      novate tx send transfer --key M0 --wait \\
        source=M0/main destination=M1/main asset=BTC amount_minor=5

    The parameters of contract.start are integers in the program's order, or all of them by name: times as ISO 8601 or
    2h, ratios as 2.5%, prices and money as AMOUNT:INDEX and AMOUNT:ASSET, or in ticks and minor units without a unit.
    An amount that is no whole number of those is refused.

    \b
        parameters=strike=60000.5:BTC_USD,lot=0.02:BTC,expiry=2026-12-25T08:00Z
    """
    keyring = Keyring(home, directory, passphrase_file)
    given = parse_fields(fields)
    with typed():
        require_kind(kind)
    unnamed = {**given, "parameters": ""} if is_named(kind, given) else given
    form = _resolved(keyring, kind, unnamed)
    with typed():  # what is wrong with it is said without asking anybody
        operation = build_operation(kind, form)
    keys = [keyring.key(name) for name in dict.fromkeys((key, *cosign))]
    keyring.require_passphrase_used()
    with open_client(urls, directory) as client:
        if is_named(kind, given):
            given = with_integers(client, given)
            out.line(f"parameters={given['parameters']}")
            operation = build_operation(kind, _resolved(keyring, kind, given))
        session = Session(client)
        delivered = deliver(session, [session.sign(keys, [operation])], wait)
    finish(out, delivered, entry(delivered.outcomes[0]))


@tx.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@signing_options
@network_options
@reporting
def submit(
    out: Output,
    file: Path,
    home: Path | None,
    passphrase_file: Path | None,
    wait: bool,
    urls: Sequence[str],
    directory: Path,
) -> None:
    """Sign and send every line of FILE.

    A line is an operation to sign, with the names of the keys that sign it (the first sends), or an envelope that was
    signed elsewhere, in hexadecimal. Empty lines are skipped; a wrong line is named and nothing is sent.

    \b
    {"kind": "transfer", "keys": ["M0"], "fields":
      {"source": "M0/main", "destination": "M1/main",
       "asset": "BTC", "amount_minor": 5}}      (on one line)
    {"envelope": "92c4..."}
    92c4...

    `novate tx kinds` lists every kind with its fields.
    """
    lines = list(_lines(file))
    keyring = Keyring(home, directory, passphrase_file)
    with open_client(urls, directory) as client:
        session = Session(client)
        envelopes = [_sign_line(session, keyring, number, line) for number, line in lines]
        keyring.require_passphrase_used()
        delivered = deliver(session, envelopes, wait)
    counts = Counter(each.status for each in delivered.outcomes)
    document = {
        "submitted": len(delivered.outcomes) - counts["unsent"],
        "refused": counts["rejected"],
        **{status: counts[status] for status in ("unknown", "unsent")},
        "results": [entry(each) for each in delivered.outcomes],
    }
    finish(out, delivered, document)


@tx.command()
@click.argument("kind", required=False, shell_complete=complete_kinds)
@reporting
def kinds(out: Output, kind: str | None) -> None:
    """List every kind of operation, or KIND, with its fields."""
    with typed():
        described = [describe(name) for name in kind_names(kind)]

    def show() -> None:
        for each in described:
            show_kind(out, each)

    out.result({"kinds": described}, show)


def parse_fields(texts: Sequence[str]) -> dict[str, str]:
    """``field=value`` texts as a mapping.

    Raises:
        click.BadParameter: One has no ``=``, or a field is given twice.
    """
    fields: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not of the form field=value")
        if name in fields:
            raise click.BadParameter(f"the field {name} is given twice")
        fields[name] = value
    return fields


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The file's lines, checked, with their numbers from 1; empty lines are skipped.

    Raises:
        Rejected: ``bad_line``, naming the line; ``empty_file`` when there is none; ``too_large``.
    """
    data = read_small(file, LARGE_BYTES_MAX)
    if len(data) > LARGE_BYTES_MAX:
        raise Rejected("too_large", f"{file.name} is over the size of a file.", size_max=LARGE_BYTES_MAX)
    try:
        texts = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise Rejected("bad_line", f"{file.name} is not UTF-8 text.") from error
    if not any(text.strip() for text in texts):
        raise Rejected("empty_file", f"{file.name} holds no transaction.")
    for number, text in enumerate(texts, 1):
        if text.strip():
            line = _parse_line(number, text.strip())
            _check_line(number, line)
            yield number, line


def _parse_line(number: int, text: str) -> dict[str, Any]:
    """One line as an object; a bare envelope as ``{"envelope": text}``."""
    if not text.startswith("{"):
        return {"envelope": text}
    try:
        line: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad_line(number, f"is not JSON: {error.msg} (character {error.pos + 1})") from error
    except (ValueError, RecursionError) as error:
        raise _bad_line(number, "nests too deeply or holds too long a number") from error
    return line


def _check_line(number: int, line: Mapping[str, Any]) -> None:
    """Refuse (``bad_line``) a line that has another form than the help describes."""
    if {"envelope"} == set(line):
        if not isinstance(line["envelope"], str) or not _HEX.fullmatch(line["envelope"]):
            raise _bad_line(number, "is neither a JSON object nor an envelope in hexadecimal")
        return
    if {"kind", "fields", "keys"} != set(line):
        raise _bad_line(number, "has other fields than kind, fields and keys, or envelope")
    if not isinstance(line["kind"], str):
        raise _bad_line(number, "has a kind that is not text")
    if not isinstance(line["keys"], list) or not line["keys"] or not all(isinstance(k, str) for k in line["keys"]):
        raise _bad_line(number, "needs as keys a list of one or more names")
    if not isinstance(line["fields"], dict) or not all(type(value) in (str, int) for value in line["fields"].values()):
        raise _bad_line(number, "needs as fields an object of texts and integers")


def _sign_line(session: Session, keyring: Keyring, number: int, line: dict[str, Any]) -> Signed:
    try:
        if "envelope" in line:
            return session.read(bytes.fromhex(line["envelope"]))
        require_kind(line["kind"])
        keys = [keyring.key(name) for name in line["keys"]]
        fields = {name: str(value) for name, value in line["fields"].items()}
        if is_named(line["kind"], fields):
            fields = with_integers(session.client, fields)
        return session.sign(keys, [build_operation(line["kind"], _resolved(keyring, line["kind"], fields))])
    except Rejected as error:
        raise Rejected(error.code, f"Line {number}: {error.message}", **error.details) from error


def _resolved(keyring: Keyring, kind: str, fields: dict[str, str]) -> dict[str, str]:
    """The fields, with ``@NAME`` in a field that holds a key replaced by the public half of the key NAME, and a time
    in ISO 8601 by its milliseconds."""
    for each in KINDS[kind].fields if kind in KINDS else ():
        text = fields.get(each.name, "")
        if each.written_as == "hex" and text.startswith("@"):
            fields = {**fields, each.name: keyring.public_key(text[1:]).hex()}
        elif each.name.endswith("_unix_ms") and not text.isdigit() and (moment := iso_unix_ms(text)) is not None:
            fields = {**fields, each.name: str(moment)}
    return fields


def _bad_line(number: int, problem: str) -> Rejected:
    return Rejected("bad_line", f"Line {number} of the file {problem}.")


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of some envelopes, and what ended their delivery before every one was decided, if anything did."""

    outcomes: tuple[Outcome, ...]
    cut: Rejected | None = None


def deliver(session: Session, envelopes: Sequence[Signed], wait: bool) -> Delivered:
    """Have the envelopes executed, or, without `wait`, taken into a mempool; raises nothing that would lose an id."""
    delivery = Delivery(session.client, envelopes)
    cut: Rejected | None = None
    try:
        with interruptible():
            if wait:
                delivery.commit(DEADLINE_S)
            else:
                delivery.submit()
    except Rejected as error:
        cut = error
    except KeyboardInterrupt:
        cut = Rejected("interrupted", "Interrupted.")
    return Delivered(tuple(delivery.outcomes()), cut)


def entry(outcome: Outcome) -> dict[str, Any]:
    """One envelope's line of the answer."""
    known = {"id": outcome.id, "status": outcome.status, "code": outcome.code, "message": outcome.message}
    if outcome.envelope is not None:
        known["envelope"] = outcome.envelope.wire.hex()
        return {**known, "expires_at_unix_ms": outcome.envelope.expires_at_unix_ms}
    return known if outcome.receipt is None else {**known, "receipt": outcome.receipt}


def finish(out: Output, delivered: Delivered, document: dict[str, Any]) -> None:
    """Show the outcomes; fail unless every envelope was accepted or applied."""
    outcomes = delivered.outcomes
    out.result(document, lambda: out.line("\n".join(map(_shown, outcomes))))
    refused = [each for each in outcomes if each.code]
    if delivered.cut is not None:
        advice = SEND_AGAIN if any(each.status == "unknown" for each in outcomes) else advice_for("interrupted")
        failure = Failure.of(delivered.cut)
        raise Failure(f"{failure.message} {_undecided(outcomes)}".rstrip(), advice, delivered.cut.code)
    if refused:
        first = refused[0]
        reason = first.message if len(outcomes) == 1 else f"{len(refused)} of {len(outcomes)} refused; {first.message}"
        raise Failure(reason, code=first.code)


def _shown(outcome: Outcome) -> str:
    """An outcome for people: with the envelope, where that may have to be sent again."""
    line = f"{outcome.id}  {outcome.status}"
    return line if outcome.envelope is None else f"{line}\n  envelope {outcome.envelope.wire.hex()}"


def _undecided(outcomes: Sequence[Outcome]) -> str:
    """Which envelopes may yet be executed, and which never left, in words."""
    said = []
    for status, meaning in (("unknown", "may yet be executed"), ("unsent", "never left")):
        ids = [each.id for each in outcomes if each.status == status]
        if ids:
            more = f" and {len(ids) - IDS_SHOWN_MAX:,} more" if len(ids) > IDS_SHOWN_MAX else ""
            said.append(f"{len(ids):,} {meaning} ({status}): {', '.join(ids[:IDS_SHOWN_MAX])}{more}.")
    return " ".join(said)
