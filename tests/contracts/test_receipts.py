"""Receipts on the wire and as JSON."""

from __future__ import annotations

import json

import pytest

from contracts.receipts import decode_receipt, encode_receipt, receipt_to_json
from genesis.errors import Rejected
from tests.contracts.world import World, list_series, set_up, trade_of

CALL = "BTC-A-63000-C"


def test_receipts_round_trip_and_read_as_json() -> None:
    """A client sees what happened without a table of the chain's."""
    world = set_up(World())
    list_series(world, CALL)
    applied = world.send("M0 M1", trade_of(CALL, "M0", "M1", 5))
    rejected = world.send("M0", trade_of(CALL, "M0", "M1", 5))
    for receipt in (applied, rejected):
        assert decode_receipt(encode_receipt(receipt)) == receipt
        json.dumps(receipt_to_json(receipt))
    assert receipt_to_json(applied)["events"] == [
        {
            "kind": "traded",
            "series": CALL,
            "buyer": "M0/main",
            "seller": "M1/main",
            "quantity_lots": 5,
            "price_ticks": 20,
            "premium_minor": 100_000,
        }
    ]
    assert receipt_to_json(rejected)["status"] == "rejected"
    assert not rejected.applied
    assert applied.applied


def test_a_receipt_of_a_full_envelope_fits_its_bound() -> None:
    """128 operations, the most that an envelope holds by default, must be storable and readable."""
    world = set_up(World())
    list_series(world, CALL)
    receipt = world.send("M0 M1", *[trade_of(CALL, "M0", "M1", 1) for _ in range(128)])
    assert decode_receipt(encode_receipt(receipt)) == receipt


@pytest.mark.parametrize("data", [b"", b"\x90", b"\x96\xc4\x00\x01\x01\xa0\xa0\x90", b"\xff"])
def test_malformed_receipts_are_refused(data: bytes) -> None:
    """They come from a disk or a peer."""
    with pytest.raises(Rejected):
        decode_receipt(data)
