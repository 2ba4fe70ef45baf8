"""How answers of validators look to people.

Only amounts of money and numbers of lots are grouped in threes; ids, heights and moments are for copying.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cli.output import Amount, Output

NAMES_SHOWN_MAX: Final = 4
_AMOUNT_ENDINGS: Final = ("_minor", "lots")


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


def show_validators(out: Output, value: Mapping[str, Any]) -> None:
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


def show_epochs(out: Output, value: Mapping[str, Any]) -> None:
    """The present epoch, and since when which validators decide."""
    out.pairs("Epoch", {name: each for name, each in value.items() if not isinstance(each, list)})
    rows = [
        (each["first_epoch"], "now" if each["last_epoch"] is None else each["last_epoch"], _names(each["validators"]))
        for each in value["validator_sets"]
    ]
    out.line()
    out.table("Validator sets", ("first epoch", "last epoch", "validators (power)"), rows)
    out.line(f"After the next edge: {_names(value['next'])}")


def show_evidence(out: Output, value: Mapping[str, Sequence[Any]]) -> None:
    """Each list under its own name, since an empty one is an answer too; the bytes are for ``--json``."""
    for name, rows in value.items():
        listed = [{field: each[field] for field in each if field != "bytes"} for each in rows]
        _show_rows(out, f"Evidence, {name}" if name != "jailed" else "Jailed", listed)


def _names(members: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{each['name']} ({each['power']})" for each in members)


def show_series(out: Output, listed: Sequence[Mapping[str, Any]]) -> None:
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
