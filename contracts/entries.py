"""The state's entries by name: which table, which key, which fields; for proofs and for whoever reads them.

Rules:

1. A table's prefix, the fields of its key and its row are those of `contracts.state.State`; a table that is added there
   is added here.
2. A key of one field is that value, of several the array of them; its entry key is ``prefix ‖ encode(key)``.

Nothing here needs a state, or compiled code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from contracts.tables import (
    AccountRow,
    AssetRow,
    BalanceRow,
    ExpiredRow,
    IndexRow,
    InterestRow,
    MemberRow,
    MetaRow,
    PositionRow,
    QuarantineRow,
    SampleRow,
    SeriesRow,
    SettledRow,
    SettlementRow,
    SlotRow,
)
from genesis.codec import decode, encode, tree
from genesis.errors import Rejected

ROW_BYTES_MAX: Final = 2**20
_ROW_DEPTH: Final = 4
_TEXT_MAX: Final = 64
_NUMBER_MAX: Final = 2**48


@dataclass(frozen=True, slots=True)
class TableForm:
    """How one table's entries look.

    Attributes:
        prefix: The first byte of its entry keys.
        key: The fields of its key; one that ends in ``_ms``, or ``slot``, is a number, the others text.
        row: Its row's fields, in order.
    """

    prefix: int
    key: tuple[str, ...]
    row: tuple[str, ...]

    def is_number(self, field: str) -> bool:
        """Whether this field of the key is a number."""
        return field.endswith("_ms") or field == "slot"


FORMS: Final[Mapping[str, TableForm]] = MappingProxyType(
    {
        "meta": TableForm(1, ("nothing",), MetaRow._fields),
        "members": TableForm(2, ("member",), MemberRow._fields),
        "accounts": TableForm(3, ("account",), AccountRow._fields),
        "assets": TableForm(4, ("asset",), AssetRow._fields),
        "indices": TableForm(5, ("index",), IndexRow._fields),
        "series": TableForm(6, ("series",), SeriesRow._fields),
        "interest": TableForm(7, ("series",), InterestRow._fields),
        "balances": TableForm(8, ("account", "asset"), BalanceRow._fields),
        "positions": TableForm(9, ("account", "series"), PositionRow._fields),
        "samples": TableForm(10, ("index", "instant_unix_ms"), SampleRow._fields),
        "settlements": TableForm(11, ("index", "expiry_unix_ms"), SettlementRow._fields),
        "settled": TableForm(12, ("series", "account"), SettledRow._fields),
        "replay_slots": TableForm(13, ("slot",), SlotRow._fields),
        "quarantine": TableForm(14, ("kind", "name", "expiry_unix_ms"), QuarantineRow._fields),
        "expired": TableForm(15, ("index", "expiry_unix_ms"), ExpiredRow._fields),
    }
)
"""Every table of the state, by its name there."""


@dataclass(frozen=True, slots=True)
class EntryName:
    """One entry of the state: a table and the values of its key."""

    table: str
    key: tuple[str | int, ...]

    @property
    def entry_key(self) -> bytes:
        """Rule 2."""
        key = self.key[0] if len(self.key) == 1 else self.key
        return bytes((FORMS[self.table].prefix,)) + encode(key)


def entry_name(table: str, key: Sequence[Any]) -> EntryName:
    """The name of an entry, checked; numbers may be given as text.

    Raises:
        Rejected: ``unknown_table``; ``malformed`` when the key is not of this table's form.
    """
    form = FORMS.get(table)
    if form is None:
        raise Rejected("unknown_table", f"The tables are {', '.join(FORMS)}.", table=table[:32])
    if len(key) != len(form.key):
        raise Rejected("malformed", f"A key of {table} has the fields {', '.join(form.key)}.", fields=len(key))
    return EntryName(table, tuple(_field(form, name, value) for name, value in zip(form.key, key, strict=True)))


def _field(form: TableForm, name: str, value: Any) -> str | int:
    if form.is_number(name):
        text = str(value) if type(value) is int else value
        if type(text) is str and text.isascii() and text.isdigit() and len(text) <= 15 and int(text) <= _NUMBER_MAX:
            return int(text)
    elif type(value) is str and len(value) <= _TEXT_MAX:
        return value
    what = "a number" if form.is_number(name) else f"text of at most {_TEXT_MAX} characters"
    raise Rejected("malformed", f"The field {name} of a key is {what}.", found=str(value)[:32])


def row_to_json(table: str, row: bytes) -> dict[str, Any]:
    """A stored row as named plain values; bytes in hexadecimal.

    Raises:
        Rejected: ``malformed``: this row is not of this table.
    """
    values = decode(row, tree(_ROW_DEPTH), size_max=ROW_BYTES_MAX)
    fields = FORMS[table].row
    if type(values) is not tuple or len(values) != len(fields):
        raise Rejected("malformed", f"A row of {table} has the fields {', '.join(fields)}.")
    return dict(zip(fields, map(_plain, values), strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
