"""What a transaction may ask for: one frozen record a kind, and the table that says how each is written.

On the wire an operation is ``(kind, field, ...)`` with an integer kind. `parse_operation` turns that into a typed
record, once, at the border; everything behind it trusts the types. `build_operation` turns ``field=value`` text into
the wire form, for people and scripts. The integer kinds are part of the protocol: add at the end, never renumber.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast, get_args

from contracts.operations_contracts import ElectContract, RemoveProgram, StartContract, StoreProgram
from contracts.operations_governance import (
    AddValidator,
    ApproveProposal,
    Change,
    DepositBond,
    MoveValidator,
    RemoveValidator,
    ReweightValidator,
    RotateValidatorKey,
    SubmitEvidence,
    WithdrawBond,
    WithdrawProposal,
)
from contracts.vm.bytecode import (
    ASSETS_MAX,
    FEEDS_MAX,
    NAME_LENGTH_MAX,
    PARAMETERS_MAX,
    PARTIES_MAX,
    PROGRAM_BYTES_MAX,
    WORD_MAX,
)
from genesis import values
from genesis.addresses import split_address
from genesis.codec import Shape, Value, describe, integer, raw, sequence, text
from genesis.document import CERTIFICATE_BYTES_MAX, POWER_MAX
from genesis.errors import Rejected
from genesis.evidence import EVIDENCE_BYTES_MAX

RIGHTS: Final = ("C", "P")
SETTLEMENTS: Final = ("linear", "inverse")
DECIMALS_MAX: Final = 18
ORACLE_QUORUM_MAX: Final = 64
UNIT_MINOR_MAX: Final = 2**46
"""What the programs of the standard library provide for."""

_INTEGER: Final = re.compile("0|[1-9][0-9]{0,19}")
_HEX: Final = re.compile("([0-9a-fA-F]{2})*")
_SIGNED: Final = "-?(0|[1-9][0-9]{0,19})"
_WRITTEN: Final = {
    "integer": "an integer in plain decimal digits",
    "hex": "bytes in hexadecimal digits",
    "integers": "integers in plain decimal digits, with commas between them",
}
_FORMS: Final = {"integer": _INTEGER, "hex": _HEX, "integers": re.compile(f"({_SIGNED}(,{_SIGNED})*)?")}


@dataclass(frozen=True, slots=True)
class AdmitMember:
    """Governor: admit `member`, whose transactions `key` signs; opens its account ``MEMBER/main``."""

    member: str
    key: bytes


@dataclass(frozen=True, slots=True)
class OpenAccount:
    """Member: open the sub-account `account`, written ``MEMBER/NAME``."""

    account: str


@dataclass(frozen=True, slots=True)
class RegisterAsset:
    """Governor: register `asset`, whose minor unit is ``10**-decimals``."""

    asset: str
    decimals: int


@dataclass(frozen=True, slots=True)
class RegisterIndex:
    """Governor: register a price index.

    Attributes:
        tick_decimals: A tick is ``10**-tick_decimals`` of the quoted unit; 2 means cents.
        price_min_ticks, price_max_ticks: The band in which every sample and every settlement price lies.
        oracle_quorum: How many distinct oracles must report an instant before it has a price.
    """

    index: str
    tick_decimals: int
    price_min_ticks: int
    price_max_ticks: int
    oracle_quorum: int


@dataclass(frozen=True, slots=True)
class ListSeries:
    """Governor: list a European, cash-settled option series.

    Attributes:
        right: ``C`` or ``P``.
        settlement: ``inverse`` pays ``lot_minor * max(0, ±(S - K)) / S`` a lot, ``linear`` the same without ``/ S``.
        asset: Premium, collateral and payoff are in this asset.
        lot_minor: The multiplier of one lot: minor units (inverse), or minor units per index tick (linear).
        premium_tick_minor: What one premium tick costs for one lot.
    """

    series: str
    index: str
    strike_ticks: int
    expiry_unix_ms: int
    right: str
    settlement: str
    asset: str
    lot_minor: int
    premium_tick_minor: int


@dataclass(frozen=True, slots=True)
class IssueAsset:
    """Issuer: credit `account` against the issuer's liability."""

    asset: str
    account: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class RedeemAsset:
    """Issuer and the account's member together: take units out of circulation."""

    asset: str
    account: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Member of `source`: move free units to another account."""

    source: str
    destination: str
    asset: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Trade:
    """Both members: a block trade, novated to the house; the buyer pays ``price * premium tick * quantity``."""

    series: str
    buyer: str
    seller: str
    quantity_lots: int
    price_ticks: int


@dataclass(frozen=True, slots=True)
class SampleOracle:
    """Oracle: the price of `index` at an instant."""

    index: str
    instant_unix_ms: int
    price_ticks: int


@dataclass(frozen=True, slots=True)
class DeclareSettlement:
    """Governor, and only while the oracles' price has failed: the settlement price of one expiry of `index`."""

    index: str
    expiry_unix_ms: int
    price_ticks: int


Operation = (
    AdmitMember
    | OpenAccount
    | RegisterAsset
    | RegisterIndex
    | ListSeries
    | IssueAsset
    | RedeemAsset
    | Transfer
    | Trade
    | SampleOracle
    | DeclareSettlement
    | Change
    | ApproveProposal
    | WithdrawProposal
    | DepositBond
    | WithdrawBond
    | SubmitEvidence
    | StoreProgram
    | StartContract
    | ElectContract
    | RemoveProgram
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an operation: its name, how people write it, and its bounds.

    It is written as ``text``, ``integer`` or ``hex``; as ``texts`` or ``integers``, several of them between commas.
    """

    name: str
    written_as: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of operation: its number on the wire, its dotted name, its record and its fields in order."""

    code: int
    name: str
    record: type[Operation]
    fields: tuple[Field, ...]


def _one_of(allowed: tuple[str, ...]) -> Shape:
    def check(value: Value) -> None:
        if value not in allowed or type(value) is not str:
            raise Rejected("malformed", f"Expected one of {', '.join(allowed)}.", found=repr(value)[:64])

    return check


def _address(value: Value) -> None:
    if type(value) is not str:
        raise Rejected("malformed", "Expected an address host:port.", found=describe(value))
    try:
        split_address(value)
    except Rejected as error:
        raise Rejected("malformed", error.message, found=describe(value)) from error


_MEMBER = Field("member", "text", values.MEMBER_ID)
_ACCOUNT = Field("account", "text", values.ACCOUNT_ID)
_ASSET = Field("asset", "text", values.ASSET_ID)
_INDEX = Field("index", "text", values.INDEX_ID)
_SERIES = Field("series", "text", values.SERIES_ID)
_AMOUNT = Field("amount_minor", "integer", values.AMOUNT_MINOR)
_EXPIRY = Field("expiry_unix_ms", "integer", values.UNIX_MS)
_PRICE = Field("price_ticks", "integer", values.PRICE_TICKS)
_VALIDATOR = Field("validator", "text", values.NAME)
_PUBLIC_KEY = Field("public_key", "hex", values.PUBLIC_KEY)
_POWER = Field("power", "integer", integer(1, POWER_MAX))
_ADDRESS = Field("address", "text", _address)
_CERTIFICATE = Field("certificate", "hex", raw(1, CERTIFICATE_BYTES_MAX))
_PROPOSAL = Field("proposal", "hex", values.DIGEST)
_CONTRACT = Field("contract", "text", values.SERIES_ID)
_WORD = integer(-WORD_MAX, WORD_MAX)
_BOND = (_VALIDATOR, _ACCOUNT, _ASSET, _AMOUNT)

_KINDS: Final = (
    Kind(1, "member.admit", AdmitMember, (_MEMBER, Field("key", "hex", values.PUBLIC_KEY))),
    Kind(2, "account.open", OpenAccount, (_ACCOUNT,)),
    Kind(3, "asset.register", RegisterAsset, (_ASSET, Field("decimals", "integer", integer(0, DECIMALS_MAX)))),
    Kind(
        4,
        "index.register",
        RegisterIndex,
        (
            _INDEX,
            Field("tick_decimals", "integer", integer(0, DECIMALS_MAX)),
            Field("price_min_ticks", "integer", values.PRICE_TICKS),
            Field("price_max_ticks", "integer", values.PRICE_TICKS),
            Field("oracle_quorum", "integer", integer(1, ORACLE_QUORUM_MAX)),
        ),
    ),
    Kind(
        5,
        "series.list",
        ListSeries,
        (
            _SERIES,
            _INDEX,
            Field("strike_ticks", "integer", values.PRICE_TICKS),
            _EXPIRY,
            Field("right", "text", _one_of(RIGHTS)),
            Field("settlement", "text", _one_of(SETTLEMENTS)),
            _ASSET,
            Field("lot_minor", "integer", integer(1, UNIT_MINOR_MAX)),
            Field("premium_tick_minor", "integer", integer(1, UNIT_MINOR_MAX)),
        ),
    ),
    Kind(6, "asset.issue", IssueAsset, (_ASSET, _ACCOUNT, _AMOUNT)),
    Kind(7, "asset.redeem", RedeemAsset, (_ASSET, _ACCOUNT, _AMOUNT)),
    Kind(
        8,
        "transfer",
        Transfer,
        (Field("source", "text", values.ACCOUNT_ID), Field("destination", "text", values.ACCOUNT_ID), _ASSET, _AMOUNT),
    ),
    Kind(
        9,
        "trade",
        Trade,
        (
            _SERIES,
            Field("buyer", "text", values.ACCOUNT_ID),
            Field("seller", "text", values.ACCOUNT_ID),
            Field("quantity_lots", "integer", values.QUANTITY_LOTS),
            Field("price_ticks", "integer", values.PREMIUM_TICKS),
        ),
    ),
    Kind(10, "oracle.sample", SampleOracle, (_INDEX, Field("instant_unix_ms", "integer", values.UNIX_MS), _PRICE)),
    Kind(11, "settlement.declare", DeclareSettlement, (_INDEX, _EXPIRY, _PRICE)),
    Kind(12, "validator.add", AddValidator, (_VALIDATOR, _PUBLIC_KEY, _POWER, _ADDRESS, _CERTIFICATE)),
    Kind(13, "validator.remove", RemoveValidator, (_VALIDATOR,)),
    Kind(14, "validator.reweight", ReweightValidator, (_VALIDATOR, _POWER)),
    Kind(15, "validator.rotate_key", RotateValidatorKey, (_VALIDATOR, _PUBLIC_KEY)),
    Kind(16, "validator.move", MoveValidator, (_VALIDATOR, _ADDRESS, _CERTIFICATE)),
    Kind(17, "governance.approve", ApproveProposal, (_PROPOSAL,)),
    Kind(18, "governance.withdraw", WithdrawProposal, (_PROPOSAL,)),
    Kind(19, "bond.deposit", DepositBond, _BOND),
    Kind(20, "bond.withdraw", WithdrawBond, _BOND),
    Kind(21, "evidence.submit", SubmitEvidence, (Field("evidence", "hex", raw(1, EVIDENCE_BYTES_MAX)),)),
    Kind(22, "program.store", StoreProgram, (Field("program", "hex", raw(1, PROGRAM_BYTES_MAX)),)),
    Kind(
        23,
        "contract.start",
        StartContract,
        (
            _CONTRACT,
            Field("program", "hex", values.DIGEST),
            Field("accounts", "texts", sequence(values.ACCOUNT_ID, 1, PARTIES_MAX)),
            Field("assets", "texts", sequence(values.ASSET_ID, 1, ASSETS_MAX)),
            Field("feeds", "texts", sequence(values.INDEX_ID, 0, FEEDS_MAX)),
            Field("parameters", "integers", sequence(_WORD, 0, PARAMETERS_MAX)),
        ),
    ),
    Kind(
        24,
        "contract.elect",
        ElectContract,
        (
            _CONTRACT,
            Field("election", "text", text(1, NAME_LENGTH_MAX + 8)),
            Field("value", "integer", integer(0, WORD_MAX)),
        ),
    ),
    Kind(25, "program.remove", RemoveProgram, (Field("program", "hex", values.DIGEST),)),
)

KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _KINDS}
"""Every kind of operation by its dotted name."""

_KIND_OF: Final = {kind.record: kind for kind in _KINDS}

CHANGE_KINDS: Final = tuple(kind.name for kind in _KINDS if kind.record in get_args(Change))
"""The kinds that propose a change of the validator set."""

CONTRACT_CODES: Final = frozenset(
    kind.code for kind in _KINDS if kind.record in (StoreProgram, StartContract, ElectContract)
)
"""The numbers of the kinds that may verify or run a program."""

_BY_CODE: Final = {kind.code: (kind.record, tuple(field.shape for field in kind.fields)) for kind in _KINDS}


def parse_operation(wire: tuple[Value, ...]) -> Operation:
    """The typed operation that ``(kind, field, ...)`` says.

    Raises:
        Rejected: ``unknown_operation`` or ``malformed``.
    """
    known = _BY_CODE.get(wire[0])
    if known is None:
        raise Rejected("unknown_operation", "No operation has this number.", kind=wire[0], kind_max=len(_KINDS))
    record, shapes = known
    if len(wire) != len(shapes) + 1:
        raise Rejected("malformed", "The operation has the wrong number of fields.", fields=len(wire) - 1)
    arguments = wire[1:]
    for shape, value in zip(shapes, arguments, strict=True):
        shape(value)
    return record(*arguments)


def kind_of(operation: Operation) -> Kind:
    """What kind of operation a record is."""
    return _KIND_OF[type(operation)]


def wire_of(operation: Operation) -> tuple[Value, ...]:
    """The inverse of `parse_operation`."""
    kind = kind_of(operation)
    return (kind.code, *(getattr(operation, field.name) for field in kind.fields))


def parse_change(wire: tuple[Value, ...]) -> Change:
    """The change of a proposal that the state holds: what `wire_of` made of one."""
    return cast(Change, parse_operation(wire))


def build_operation(kind: str, fields: Mapping[str, str]) -> tuple[Value, ...]:
    """The wire form of an operation that a person wrote as text.

    Args:
        kind: A dotted name of `KINDS`, e.g. ``trade``.
        fields: Every field of that kind by name; integers in plain decimal digits (0 to 9, no sign, no
            grouping, no leading zero), keys and other bytes in hexadecimal digits.

    Raises:
        Rejected: ``unknown_operation``, ``missing_field``, ``unknown_field`` or ``malformed``.
    """
    known = KINDS.get(kind)
    if known is None:
        raise Rejected("unknown_operation", f"Kinds are: {', '.join(KINDS)}.", kind=kind)
    names = [field.name for field in known.fields]
    for name in fields:
        if name not in names:
            raise Rejected("unknown_field", f"The fields of {kind} are: {', '.join(names)}.", field=name)
    for name in names:
        if name not in fields:
            raise Rejected("missing_field", f"The fields of {kind} are: {', '.join(names)}.", field=name)
    wire = (known.code, *(_read(field, fields[field.name]) for field in known.fields))
    parse_operation(wire)
    return wire


def _read(field: Field, written: str) -> Value:
    if field.written_as == "text":
        return written
    if field.written_as in _FORMS and _FORMS[field.written_as].fullmatch(written) is None:
        raise Rejected("malformed", f"Expected {_WRITTEN[field.written_as]}.", field=field.name, found=written[:64])
    try:
        value = _value(field, written)
        field.shape(value)
    except Rejected as error:
        raise Rejected("malformed", error.message, field=field.name, found=written[:64]) from error
    return value


def _value(field: Field, written: str) -> Value:
    """What is written, its form checked."""
    if field.written_as == "integer":
        return int(written)
    if field.written_as == "hex":
        return bytes.fromhex(written)
    parts = written.split(",") if written else []
    return tuple(int(part) for part in parts) if field.written_as == "integers" else tuple(parts)
