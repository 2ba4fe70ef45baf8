"""What a client can ask, as plain values."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from contracts import queries
from contracts.state import State
from genesis.errors import Rejected
from tests.contracts.world import EXPIRY_UNIX_MS, World, key_of, list_series, set_up, trade_of

CALL = "BTC-A-63000-C"


@pytest.fixture
def world() -> World:
    """M0 long two calls of M1, one sample, nothing settled."""
    made = set_up(World(), members=2)
    list_series(made, CALL)
    made.send("M0 M1", trade_of(CALL, "M0", "M1", 2))
    made.oracles_say(6_400_000, made.now_unix_ms)
    return made


def test_answers_are_json_with_units_in_their_names(world: World) -> None:
    """Clients in any language read them; money is minor units, prices are ticks and decimals."""
    account = queries.account(world.state, "M1/main")
    assert account["member"] == "M1"
    assert account["balances"]["BTC"] == {
        "free_minor": 10**12 + 40_000 - 13_700_000,
        "locked_minor": 13_700_000,
        "decimals": 8,
    }
    assert queries.positions(world.state, "M1/main")["positions"] == [{"series": CALL, "lots": -2}]
    terms = queries.series(world.state, CALL)
    assert terms["index"] == "BTC_USD"
    assert terms["open_interest_lots"] == 2
    assert terms["collateral_minor"] == 6_850_000
    assert queries.series(world.state)["series"] == [terms]
    index = queries.index(world.state, "BTC_USD")
    assert (index["last_price_ticks"], index["tick_decimals"], index["instants"]) == (6_400_000, 2, 1)
    members = queries.members(world.state)["members"]
    assert members[0] == {"member": "M0", "public_key": key_of("M0").hex(), "accounts": ["M0/main"]}
    for answer in (account, terms, index, members):
        json.dumps(answer)


def test_a_settlement_names_every_position(world: World) -> None:
    """The report of an expiry: its price, how it came about, and who got what."""
    with pytest.raises(Rejected, match="not_settled"):
        queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + 3_602_000)
    answer = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    paid = 2 * 10_000_000 * 100_000 // 6_400_000
    assert (answer["price_ticks"], answer["source"], answer["coverage_ppm"]) == (6_400_000, "last_price", 0)
    assert answer["series"] == [
        {
            "series": CALL,
            "asset": "BTC",
            "paid_minor": paid,
            "positions": [
                {"account": "M0/main", "lots": 2, "amount_minor": paid},
                {"account": "M1/main", "lots": -2, "amount_minor": -paid},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda state: queries.account(state, "M9/main"), "unknown_account"),
        (lambda state: queries.positions(state, "M9/main"), "unknown_account"),
        (lambda state: queries.series(state, "NONE"), "unknown_series"),
        (lambda state: queries.index(state, "NONE"), "unknown_index"),
        (lambda state: queries.settlement(state, "NONE", 1), "unknown_index"),
    ],
)
def test_what_is_not_there_has_its_code(world: World, ask: Callable[[State], object], code: str) -> None:
    """A client must tell a typing error from an empty answer."""
    with pytest.raises(Rejected) as caught:
        ask(world.state)
    assert caught.value.code == code
