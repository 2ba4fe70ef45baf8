"""The kinds of operations as a person meets them: what each does, who must sign it, how every field is written.

The kinds and their fields come from `contracts.operations.KINDS`; this file adds the words. A test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

import click

from cli.output import Output
from contracts.operations import KINDS, Field, Kind
from genesis.errors import Rejected

NAME_MAX: Final = 64
"""Of a kind that does not exist: more of it is neither looked at nor shown."""

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "member.admit": ("Admit a clearing member and open MEMBER/main.", "governor"),
    "account.open": ("Open one more account of a member.", "the account's member"),
    "asset.register": ("Register an asset.", "governor"),
    "index.register": ("Register a price index and the band that its prices lie in.", "governor"),
    "series.list": ("List a European, cash-settled option series.", "governor"),
    "asset.issue": ("Credit an account against the issuer's liability.", "issuer"),
    "asset.redeem": ("Take units out of circulation.", "issuer and the account's member"),
    "transfer": ("Move free units to another account.", "the source's member"),
    "trade": ("Trade a block; the buyer pays the premium to the seller.", "the buyer's and the seller's members"),
    "oracle.sample": ("Report the price of an index at an instant.", "oracle"),
    "settlement.declare": ("Decide a settlement price after the oracles failed.", "governor"),
    "validator.add": ("Propose that a validator joins.", "a validator"),
    "validator.remove": ("Propose that a validator leaves.", "a validator"),
    "validator.reweight": ("Propose another power for a validator.", "a validator"),
    "validator.rotate_key": ("Propose another consensus key for a validator.", "a validator"),
    "validator.move": ("Propose another address or certificate for a validator.", "a validator"),
    "governance.approve": ("Approve a proposal.", "a validator"),
    "governance.withdraw": ("Take back a proposal that is not approved.", "the validator that proposed it"),
    "bond.deposit": ("Put money behind a validator.", "the account's member"),
    "bond.withdraw": ("Take a bond back; it is released epochs later.", "the account's member"),
    "evidence.submit": ("Accuse a validator that contradicted itself.", "any member, role or validator"),
    "program.store": ("Store a contract's program; novate contract compile makes it.", "any member"),
    "contract.start": ("Start an instance of a stored program; every lock is taken.", "the members of all accounts"),
    "contract.elect": ("Settle an election of a contract, e.g. exercise it.", "the electing party's member"),
    "program.remove": ("Give up a program; it leaves when nobody needs it.", "a member that holds it"),
}
"""Kind -> what it does, who must sign."""

NOTES: Final[Mapping[str, str]] = {
    "member": "up to 16 of A-Z 0-9 _, e.g. M0",
    "key": "a public key of 64 digits, or @NAME for your key NAME",
    "account": "MEMBER/NAME, e.g. M0/main",
    "source": "MEMBER/NAME, e.g. M0/main",
    "destination": "MEMBER/NAME, e.g. M1/main",
    "buyer": "MEMBER/NAME, e.g. M0/main",
    "seller": "MEMBER/NAME, e.g. M1/main",
    "asset": "up to 8 of A-Z 0-9, e.g. BTC",
    "decimals": "one minor unit is 10^-decimals of the asset",
    "index": "up to 16 of A-Z 0-9 _, e.g. BTC_USD",
    "tick_decimals": "one tick is 10^-tick_decimals, 2 for cents",
    "price_min_ticks": "index ticks: the band's lower end",
    "price_max_ticks": "index ticks: the band's upper end",
    "oracle_quorum": "oracles that an instant's price needs",
    "series": "up to 48 of A-Z 0-9 -_., e.g. BTC-17AUG26-63000-P",
    "strike_ticks": "index ticks",
    "expiry_unix_ms": "ms since 1970, or 2026-12-25T08:00Z",
    "instant_unix_ms": "ms since 1970, or 2026-12-25T08:00Z",
    "right": "C (call) or P (put)",
    "settlement": "linear, or inverse (paid in the asset itself)",
    "lot_minor": "minor units a lot (linear: and index tick)",
    "premium_tick_minor": "minor units a premium tick and lot",
    "amount_minor": "minor units of the asset",
    "quantity_lots": "lots",
    "price_ticks": "index ticks",
    "validator": "a validator's name, e.g. v0",
    "public_key": "a public key of 64 digits, or @NAME for your key NAME",
    "power": "voting power, 1 to 2^32",
    "address": "host:port for its peers",
    "certificate": "its certificate's DER bytes in hexadecimal",
    "proposal": "64 digits, as `novate gov list` shows",
    "evidence": "encoded evidence in hexadecimal",
    "program": "a stored program's id: 64 digits",
    "contract": "up to 48 of A-Z 0-9 -_., a name for this instance",
    "accounts": "one for each party: MEMBER/NAME,MEMBER/NAME",
    "assets": "one for each asset of the program, e.g. BTC,USD",
    "feeds": "one index for each feed of the program, e.g. BTC_USD",
    "parameters": "in the program's order, e.g. 10,-5, or NAME=VALUE,...",
    "election": "the election's name in the program",
    "value": "1 is true, 0 false; or a quantity",
}
"""Field -> its unit and form."""

_NOTES_OF_KINDS: Final = {
    ("trade", "price_ticks"): "premium ticks a lot, 0 or more",
    ("program.store", "program"): "bytecode in hex, from `contract compile FILE --json`",
}
"""What `NOTES` says of a field is not so in these kinds."""


def require_kind(name: str) -> str:
    """`name`, if it is a kind; else `Rejected` ``unknown_operation``, with those that may be meant, or all."""
    if name in KINDS:
        return name
    word = name[:NAME_MAX]
    meant = [each for each in KINDS if word and word in each.split(".")] or get_close_matches(word, KINDS)
    message = f"Did you mean {' or '.join(meant)}?" if meant else f"Kinds are: {', '.join(KINDS)}."
    raise Rejected("unknown_operation", message, kind=word)


def complete_kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The shell's completions of a kind."""
    return [each for each in KINDS if each.startswith(incomplete)]


def kind_names(name: str | None) -> tuple[str, ...]:
    """The kinds to show: `name`, or all; refused as `require_kind`."""
    return tuple(KINDS) if name is None else (require_kind(name),)


def describe(name: str) -> dict[str, Any]:
    """One kind as ``tx kinds --json`` lists it."""
    kind = KINDS[name]
    does, signed_by = WORDS[name]
    fields = [{"name": each.name, "type": each.written_as, "note": _note(kind, each)} for each in kind.fields]
    return {"kind": name, "code": kind.code, "does": does, "signed_by": signed_by, "fields": fields}


def show_kind(out: Output, described: Mapping[str, Any]) -> None:
    """One kind for people."""
    title = f"{described['kind']}: {described['does']}\nSigned by {described['signed_by']}."
    rows = [(each["name"], each["type"], each["note"]) for each in described["fields"]]
    out.table(title, ("field", "type", "unit or form"), rows)
    out.line()


def _note(kind: Kind, field: Field) -> str:
    return _NOTES_OF_KINDS.get((kind.name, field.name), NOTES[field.name])
