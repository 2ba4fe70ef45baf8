"""What a client can ask, as plain values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn

import pytest

from contracts import queries
from contracts.state import State
from contracts.tables import SeriesRow
from genesis.errors import Rejected
from tests.contracts.world import EXPIRY_UNIX_MS, World, key_of, list_series, operation, set_up, trade_of

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
    assert queries.series_page(world.state) == {"series": [terms], "next": None}
    index = queries.index(world.state, "BTC_USD")
    assert (index["last_price_ticks"], index["tick_decimals"], index["instants"]) == (6_400_000, 2, 1)
    members = queries.members(world.state)["members"]
    assert members[0] == {
        "member": "M0",
        "public_key": key_of("M0").hex(),
        "accounts": ["M0/main"],
        "contracts": 0,
        "contract_inputs": 0,
        "program_bytes": 0,
    }
    for answer in (account, terms, index, members):
        json.dumps(answer)


def test_a_settlement_names_every_position(world: World) -> None:
    """The report of an expiry: its price, how it came about, and who got what."""
    with pytest.raises(Rejected, match="not_settled"):
        queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    world.expire(3_605_000)
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
        (lambda state: queries.settlement(state, "BTC_USD", 1, limit=0), "bad_limit"),
        (lambda state: queries.settlement(state, "BTC_USD", 1, limit=queries.SETTLED_PAGE_MAX + 1), "bad_limit"),
        (lambda state: queries.members(state, limit=0), "bad_limit"),
        (lambda state: queries.members(state, limit=queries.MEMBERS_PAGE_MAX + 1), "bad_limit"),
        (lambda state: queries.indices(state, limit=0), "bad_limit"),
        (lambda state: queries.indices(state, limit=queries.INDICES_PAGE_MAX + 1), "bad_limit"),
        (lambda state: queries.series_page(state, limit=0), "bad_limit"),
        (lambda state: queries.series_page(state, limit=queries.SERIES_PAGE_MAX + 1), "bad_limit"),
    ],
)
def test_what_is_not_there_has_its_code(world: World, ask: Callable[[State], object], code: str) -> None:
    """A client must tell a typing error from an empty answer."""
    with pytest.raises(Rejected) as caught:
        ask(world.state)
    assert caught.value.code == code


def test_series_come_in_pages(world: World) -> None:
    """One answer over twenty thousand series would keep the state from the next block; anyone may ask for it."""
    names = sorted([CALL, *(f"BTC-A-{strike}-P" for strike in (70_000, 64_000, 100_000, 65_000))])
    for name in names:
        list_series(world, name)
    assert list_series(world, "BTC-A-65000-P").code == "already_exists"
    pages = [queries.series_page(world.state, "", 2)]
    while pages[-1]["next"] is not None:
        pages.append(queries.series_page(world.state, pages[-1]["next"], 2))
    assert [len(page["series"]) for page in pages] == [2, 2, 1]
    assert [terms["series"] for page in pages for terms in page["series"]] == names
    assert [each["series"] for each in queries.series_page(world.state, "BTC-A-64", 1)["series"]] == ["BTC-A-64000-P"]
    assert queries.series_page(world.state, "Z") == {"series": [], "next": None}


def test_members_come_in_pages(world: World) -> None:
    """A thousand members with 64 accounts each are one answer too long; anyone may ask for it."""
    first = queries.members(world.state, "", 1)
    assert ([each["member"] for each in first["members"]], first["next"]) == (["M0"], "M0")
    rest = queries.members(world.state, "M0", 1)
    assert ([each["member"] for each in rest["members"]], rest["next"]) == (["M1"], None)
    assert queries.members(world.state, "M1") == {"members": [], "next": None}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_the_positions_of_a_settlement_come_in_pages(world: World, limit: int) -> None:
    """Two thousand series times every account are one answer too long; pages together say what the whole says."""
    for name in ("BTC-A-62000-C", "BTC-A-64000-C"):
        list_series(world, name)
    world.send("M0 M1", trade_of("BTC-A-64000-C", "M0", "M1", 3))
    world.expire(3_605_000)
    whole = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    assert whole["next"] is None
    page = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS, "", limit)
    found = list(page["series"])
    while page["next"] is not None:
        assert sum(len(each["positions"]) for each in page["series"]) == limit
        page = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS, page["next"], limit)
        found += page["series"]
    assert list(dict.fromkeys(each["series"] for each in found)) == [each["series"] for each in whole["series"]]
    for each in whole["series"]:
        parts = [part for part in found if part["series"] == each["series"]]
        assert [row for part in parts for row in part["positions"]] == each["positions"]
        assert sum(part["paid_minor"] for part in parts) == each["paid_minor"]


def test_a_page_is_right_after_a_refused_listing_and_after_a_restart(world: World) -> None:
    """The order of names is an index of its own; undoing and restoring must not leave it behind."""
    strike: dict[str, int | str] = {"series": "A-UNDONE", "strike_ticks": 6_000_000, "expiry_unix_ms": EXPIRY_UNIX_MS}
    kind: dict[str, int | str] = {"index": "BTC_USD", "right": "P", "settlement": "inverse", "asset": "BTC"}
    undone = operation("series.list", **strike, **kind, lot_minor=1, premium_tick_minor=1)
    assert world.send("governor", undone, undone).code == "already_exists"
    for state in (world.state, world.restored()):
        assert [each["series"] for each in queries.series_page(state)["series"]] == [CALL]


def test_a_settlement_looks_at_its_own_series_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of one expiry must not cost what all the series ever listed cost."""
    other = "BTC-B-63000-C"
    list_series(world, other, expiry_unix_ms=EXPIRY_UNIX_MS + 1)
    world.expire(5_000 + 3_600_000)
    rows = NoScan(world.state.series.rows)
    monkeypatch.setattr(world.state.series, "rows", rows)
    answer = queries.settlement(world.state, "BTC_USD", EXPIRY_UNIX_MS)
    assert [each["series"] for each in answer["series"]] == [CALL]


class NoScan(dict[str, SeriesRow]):
    """A table that can be asked for one row and not for all."""

    def items(self) -> NoReturn:
        """Refuse."""
        pytest.fail("every series was looked at")

    __iter__ = keys = values = items
