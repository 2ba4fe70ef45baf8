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
    BondRow,
    ContractRow,
    ExpiredRow,
    FixingRow,
    HolderRow,
    IndexRow,
    InterestRow,
    JailRow,
    MemberRow,
    MetaRow,
    OffenceRow,
    PositionRow,
    ProgramRow,
    ProposalRow,
    QuarantineRow,
    SampleRow,
    SeriesRow,
    SettledRow,
    SettlementRow,
    SlotRow,
    UnbondingRow,
    ValidatorSetRow,
)
from genesis.codec import decode, encode, tree
from genesis.errors import Rejected
from genesis.hashing import DIGEST_BYTES

ROW_BYTES_MAX: Final = 2**20
_ROW_DEPTH: Final = 4
_TEXT_MAX: Final = 64
_NUMBER_MAX: Final = 2**48

NUMBERS: Final = frozenset({"instant_unix_ms", "expiry_unix_ms", "slot", "epoch", "kind", "view"})
"""The fields of keys that are numbers."""


@dataclass(frozen=True, slots=True)
class TableForm:
    """How one table's entries look.

    Attributes:
        prefix: The first byte of its entry keys.
        key: The fields of its key: those of `NUMBERS` are numbers, ``id`` is bytes, the others are text.
        row: Its row's fields, in order.
    """

    prefix: int
    key: tuple[str, ...]
    row: tuple[str, ...]


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
        "quarantine": TableForm(14, ("scope", "name", "expiry_unix_ms"), QuarantineRow._fields),
        "expired": TableForm(15, ("index", "expiry_unix_ms"), ExpiredRow._fields),
        "validator_sets": TableForm(16, ("epoch",), ValidatorSetRow._fields),
        "proposals": TableForm(17, ("id",), ProposalRow._fields),
        "bonds": TableForm(18, ("validator", "account", "asset"), BondRow._fields),
        "unbonding": TableForm(19, ("epoch", "validator", "account", "asset"), UnbondingRow._fields),
        "offences": TableForm(20, ("epoch", "validator", "kind", "view"), OffenceRow._fields),
        "jail": TableForm(21, ("validator",), JailRow._fields),
        "programs": TableForm(22, ("id",), ProgramRow._fields),
        "contracts": TableForm(23, ("contract",), ContractRow._fields),
        "program_holders": TableForm(24, ("id", "member"), HolderRow._fields),
        "fixings": TableForm(25, ("index", "instant_unix_ms"), FixingRow._fields),
    }
)
"""Every table of the state, by its name there."""


@dataclass(frozen=True, slots=True)
class EntryName:
    """One entry of the state: a table and the values of its key."""

    table: str
    key: tuple[str | int | bytes, ...]

    @property
    def plain_key(self) -> list[str | int]:
        """The key's values for JSON; bytes in hexadecimal."""
        return [each.hex() if isinstance(each, bytes) else each for each in self.key]

    @property
    def entry_key(self) -> bytes:
        """Rule 2."""
        key = self.key[0] if len(self.key) == 1 else self.key
        return bytes((FORMS[self.table].prefix,)) + encode(key)


def entry_name(table: str, key: Sequence[Any]) -> EntryName:
    """The name of an entry, checked; numbers may be given as text, bytes are given in hexadecimal.

    Raises:
        Rejected: ``unknown_table``; ``malformed`` when the key is not of this table's form.
    """
    form = FORMS.get(table)
    if form is None:
        raise Rejected("unknown_table", f"The tables are {', '.join(FORMS)}.", table=table[:32])
    if len(key) != len(form.key):
        raise Rejected("malformed", f"A key of {table} has the fields {', '.join(form.key)}.", fields=len(key))
    return EntryName(table, tuple(_field(name, value) for name, value in zip(form.key, key, strict=True)))


def _field(name: str, value: Any) -> str | int | bytes:
    text = str(value) if type(value) is int else value
    if name in NUMBERS:
        what = "a number"
        if type(text) is str and text.isascii() and text.isdigit() and len(text) <= 15 and int(text) <= _NUMBER_MAX:
            return int(text)
    elif name == "id":
        what = f"{DIGEST_BYTES} bytes in lower-case hexadecimal"
        if type(value) is str and _is_hex(value):
            return bytes.fromhex(value)
    else:
        what = f"text of at most {_TEXT_MAX} characters"
        if type(value) is str and len(value) <= _TEXT_MAX:
            return value
    raise Rejected("malformed", f"The field {name} of a key is {what}.", found=str(value)[:32])


def _is_hex(text: str) -> bool:
    return len(text) == 2 * DIGEST_BYTES and set(text) <= set("0123456789abcdef")


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
