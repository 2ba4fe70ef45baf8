"""Operations on the wire and as text."""

from __future__ import annotations

import pytest

from contracts import machine
from contracts.operations import KINDS, Trade, build_operation, parse_operation
from genesis.errors import Rejected

TRADE = {"series": "S", "buyer": "A/main", "seller": "B/main", "quantity_lots": "1000", "price_ticks": "7"}


def test_text_becomes_the_wire_form_and_the_record() -> None:
    """What a person writes is what is executed."""
    wire = build_operation("trade", TRADE)
    assert wire == (9, "S", "A/main", "B/main", 1_000, 7)
    assert parse_operation(wire) == Trade("S", "A/main", "B/main", 1_000, 7)


def test_kinds_are_numbered_as_the_protocol_says() -> None:
    """Numbers are for ever."""
    assert [(kind.code, name) for name, kind in KINDS.items()] == [
        (1, "member.admit"),
        (2, "account.open"),
        (3, "asset.register"),
        (4, "index.register"),
        (5, "series.list"),
        (6, "asset.issue"),
        (7, "asset.redeem"),
        (8, "transfer"),
        (9, "trade"),
        (10, "oracle.sample"),
        (11, "settlement.declare"),
        (12, "validator.add"),
        (13, "validator.remove"),
        (14, "validator.reweight"),
        (15, "validator.rotate_key"),
        (16, "validator.move"),
        (17, "governance.approve"),
        (18, "governance.withdraw"),
        (19, "bond.deposit"),
        (20, "bond.withdraw"),
        (21, "evidence.submit"),
        (22, "program.store"),
        (23, "contract.start"),
        (24, "contract.elect"),
        (25, "program.remove"),
    ]


def test_every_kind_has_a_record_with_its_fields_and_a_rule() -> None:
    """A kind that parses but does nothing would be a hole."""
    for kind in KINDS.values():
        assert tuple(kind.record.__dataclass_fields__) == tuple(field.name for field in kind.fields)
        assert kind.record in machine._APPLY


@pytest.mark.parametrize(
    ("kind", "changes", "code"),
    [
        ("trad", {}, "unknown_operation"),
        ("trade", {"lots": "1"}, "unknown_field"),
        ("trade", {"series": None}, "missing_field"),
        ("trade", {"quantity_lots": "many"}, "malformed"),
        ("trade", {"quantity_lots": "1.5"}, "malformed"),
        ("trade", {"quantity_lots": "0"}, "malformed"),
        ("trade", {"quantity_lots": "1_000"}, "malformed"),
        ("trade", {"quantity_lots": "\u0661\u0662"}, "malformed"),
        ("trade", {"quantity_lots": " 12"}, "malformed"),
        ("trade", {"quantity_lots": "+12"}, "malformed"),
        ("trade", {"quantity_lots": "-12"}, "malformed"),
        ("trade", {"quantity_lots": "012"}, "malformed"),
        ("trade", {"quantity_lots": "12\n"}, "malformed"),
        ("trade", {"quantity_lots": "9" * 5_000}, "malformed"),
        ("trade", {"quantity_lots": ""}, "malformed"),
        ("trade", {"buyer": "a b"}, "malformed"),
    ],
)
def test_wrong_text_is_refused_with_the_field(kind: str, changes: dict[str, str | None], code: str) -> None:
    """A typing error must name what was mistyped."""
    fields = {name: value for name, value in {**TRADE, **changes}.items() if value is not None}
    with pytest.raises(Rejected) as caught:
        build_operation(kind, fields)
    assert caught.value.code == code
    if code != "unknown_operation":
        assert caught.value.details.get("field") in {*changes, None}


def test_a_key_is_written_in_hexadecimal() -> None:
    """And is checked for its length."""
    assert build_operation("member.admit", {"member": "M0", "key": "00" * 32}) == (1, "M0", bytes(32))
    for wrong in ("00", "zz" * 32, " " + "00" * 32, "00 " * 32, "0x" + "00" * 32, "\u0660" * 64):
        with pytest.raises(Rejected, match="malformed"):
            build_operation("member.admit", {"member": "M0", "key": wrong})
