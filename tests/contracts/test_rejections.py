"""Every rule that refuses: its code, and that nothing moves."""

from __future__ import annotations

import re
from typing import Any

import pytest

from contracts import expiry
from contracts.tables import QuarantineRow
from genesis.codec import I64_MAX
from tests.contracts.world import (
    EXPIRY_UNIX_MS,
    HOUR_MS,
    START_UNIX_MS,
    World,
    key_of,
    list_series,
    moved,
    operation,
    set_up,
    trade_of,
    with_params,
)

CALL = "BTC-A-63000-C"
PUT = "BTC-A-63000-P"


@pytest.fixture
def world() -> World:
    """Three members with a deposit, a call and a put, one sample."""
    small = with_params(
        members_max=4,
        accounts_per_member_max=2,
        assets_max=2,
        indices_max=2,
        series_max=3,
        series_per_expiry_max=2,
        positions_per_account_max=1,
        oracle_samples_per_index_max=6,
    )
    made = set_up(World(small))
    for name in (CALL, PUT):
        assert list_series(made, name).code == ""
    made.do("M2", "account.open", account="M2/desk")
    made.oracles_say(6_300_000, made.now_unix_ms)
    return made


def admit(member: str, key: bytes) -> tuple[Any, ...]:
    return operation("member.admit", member=member, key=key)


def sample(price_ticks: int, instant_unix_ms: int, index: str = "BTC_USD") -> tuple[Any, ...]:
    return operation("oracle.sample", index=index, instant_unix_ms=instant_unix_ms, price_ticks=price_ticks)


def declare(price_ticks: int, expiry_unix_ms: int = EXPIRY_UNIX_MS) -> tuple[Any, ...]:
    return operation("settlement.declare", index="BTC_USD", expiry_unix_ms=expiry_unix_ms, price_ticks=price_ticks)


def move(kind: str, account: str, amount_minor: int, asset: str = "BTC") -> tuple[Any, ...]:
    return operation(kind, asset=asset, account=account, amount_minor=amount_minor)


def transfer(source: str, destination: str, amount_minor: int, asset: str = "BTC") -> tuple[Any, ...]:
    return operation("transfer", source=source, destination=destination, asset=asset, amount_minor=amount_minor)


def index(name: str = "ETH_USD", low: int = 1, high: int = 2, quorum: int = 1) -> tuple[Any, ...]:
    return operation(
        "index.register",
        index=name,
        tick_decimals=2,
        price_min_ticks=low,
        price_max_ticks=high,
        oracle_quorum=quorum,
    )


def listing(name: str = "NEW", **terms: int | str) -> tuple[Any, ...]:
    usual: dict[str, int | str] = {
        "series": name,
        "index": "BTC_USD",
        "strike_ticks": 6_000_000,
        "expiry_unix_ms": EXPIRY_UNIX_MS + 1,
        "right": "C",
        "settlement": "inverse",
        "asset": "BTC",
        "lot_minor": 10_000_000,
        "premium_tick_minor": 1_000,
    }
    return operation("series.list", **{**usual, **terms})


NOW = START_UNIX_MS + 14_000
ALL_BTC = 10**12

REFUSALS: list[tuple[str, str, tuple[Any, ...], str]] = [
    ("an unknown kind", "M0", (99,), "unknown_operation"),
    ("a missing field", "M0", (9, CALL), "malformed"),
    ("a float for a price", "M0 M1", (9, CALL, "M0/main", "M1/main", 1, 1.5), "malformed"),
    ("a boolean for a quantity", "M0 M1", (9, CALL, "M0/main", "M1/main", True, 1), "malformed"),
    ("a quantity of nothing", "M0 M1", (9, CALL, "M0/main", "M1/main", 0, 1), "malformed"),
    ("a negative amount", "M0", (8, "M0/main", "M1/main", "BTC", -1), "malformed"),
    ("a right that is neither call nor put", "governor", (*listing()[:5], "X", *listing()[6:]), "malformed"),
    ("a member who admits", "M0", admit("M9", key_of("M9")), "not_authorised"),
    ("a member twice", "governor", admit("M0", key_of("M9")), "already_exists"),
    ("a key twice", "governor", admit("M9", key_of("M0")), "key_taken"),
    ("a member with an oracle's key", "governor", admit("M9", key_of("oracle0")), "key_taken"),
    ("an account of another member", "M0", operation("account.open", account="M1/desk"), "missing_signature"),
    ("an account of nobody", "M0", operation("account.open", account="M9/desk"), "unknown_member"),
    ("an account without a name", "M0", operation("account.open", account="M0/"), "bad_account"),
    ("an account of three parts", "M0", operation("account.open", account="M0/a/b"), "bad_account"),
    ("an account twice", "M0", operation("account.open", account="M0/main"), "already_exists"),
    ("one account too many", "M2", operation("account.open", account="M2/third"), "limit_reached"),
    ("an asset by a member", "M0", operation("asset.register", asset="X", decimals=1), "not_authorised"),
    ("an asset twice", "governor", operation("asset.register", asset="BTC", decimals=1), "already_exists"),
    ("an index by the issuer", "issuer", index(), "not_authorised"),
    ("an index twice", "governor", index("BTC_USD"), "already_exists"),
    ("an empty band", "governor", index(low=3), "bad_band"),
    ("a quorum of more oracles than there are", "governor", index(quorum=4), "bad_quorum"),
    ("a series by a member", "M0", listing(), "not_authorised"),
    ("a series twice", "governor", listing(CALL), "already_exists"),
    ("a series on no index", "governor", listing(index="NONE"), "unknown_index"),
    ("a series in no asset", "governor", listing(asset="NONE"), "unknown_asset"),
    ("an expiry in the past", "governor", listing(expiry_unix_ms=START_UNIX_MS), "bad_expiry"),
    ("one series of an expiry too many", "governor", listing(expiry_unix_ms=EXPIRY_UNIX_MS), "limit_reached"),
    ("a lot that nobody could cover", "governor", listing(settlement="linear", lot_minor=2**46), "collateral_limit"),
    ("an issue by the governor", "governor", move("asset.issue", "M0/main", 1), "not_authorised"),
    ("an issue of no asset", "issuer", move("asset.issue", "M0/main", 1, "NONE"), "unknown_asset"),
    ("an issue to nobody", "issuer", move("asset.issue", "M9/main", 1), "unknown_account"),
    ("an issue beyond 64 bits", "issuer", move("asset.issue", "M0/main", I64_MAX), "supply_limit"),
    ("a redemption by the member alone", "M0", move("asset.redeem", "M0/main", 1), "not_authorised"),
    ("a redemption by the issuer alone", "issuer", move("asset.redeem", "M0/main", 1), "missing_signature"),
    ("a redemption of too much", "issuer M0", move("asset.redeem", "M0/main", ALL_BTC + 1), "insufficient_funds"),
    ("a transfer by another", "M1", transfer("M0/main", "M1/main", 1), "missing_signature"),
    ("a transfer from nobody", "M0", transfer("M9/main", "M1/main", 1), "unknown_account"),
    ("a transfer to nobody", "M0", transfer("M0/main", "M9/main", 1), "unknown_account"),
    ("a transfer to itself", "M0", transfer("M0/main", "M0/main", 1), "same_account"),
    ("a transfer of too much", "M0", transfer("M0/main", "M1/main", ALL_BTC + 1), "insufficient_funds"),
    ("a transfer of no asset", "M0", transfer("M0/main", "M1/main", 1, "NONE"), "unknown_asset"),
    ("a trade in no series", "M0 M1", trade_of("NONE", "M0", "M1", 1), "unknown_series"),
    ("a trade with nobody", "M0 M1", trade_of(CALL, "M0", "M9", 1), "unknown_account"),
    ("a trade signed by the buyer alone", "M0", trade_of(CALL, "M0", "M1", 1), "missing_signature"),
    ("a trade signed by the seller alone", "M1", trade_of(CALL, "M0", "M1", 1), "missing_signature"),
    ("a trade with itself", "M0", trade_of(CALL, "M0", "M0", 1), "same_account"),
    ("a premium that is not there", "M0 M1", trade_of(CALL, "M0", "M1", 1, 10**12), "insufficient_funds"),
    ("collateral that is not there", "M0 M1", trade_of(PUT, "M0", "M1", 10**6, 0), "insufficient_collateral"),
    ("a position too large", "M0 M1", trade_of(CALL, "M0", "M1", 2**40, 0), "insufficient_collateral"),
    ("a sample by a member", "M0", sample(6_300_000, NOW), "not_authorised"),
    ("a sample of no index", "oracle0", sample(6_300_000, NOW, "NONE"), "unknown_index"),
    ("a sample below the band", "oracle0", sample(1_999_999, NOW), "price_out_of_band"),
    ("a sample above the band", "oracle0", sample(20_000_001, NOW), "price_out_of_band"),
    ("a sample of long ago", "oracle0", sample(6_300_000, NOW - 3 * HOUR_MS), "sample_too_old"),
    ("a sample of tomorrow", "oracle0", sample(6_300_000, NOW + 24 * HOUR_MS), "sample_in_future"),
    ("a declaration by a member", "M0", declare(6_300_000), "not_authorised"),
    ("a declaration before its time", "governor", declare(6_300_000), "settlement_not_due"),
    ("a declaration for no expiry", "governor", declare(6_300_000, START_UNIX_MS), "unknown_expiry"),
    ("a declaration outside the band", "governor", declare(1), "price_out_of_band"),
]


@pytest.mark.parametrize(("signers", "wire", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_refused_operation_has_its_code_and_moves_nothing(
    world: World, signers: str, wire: tuple[Any, ...], code: str
) -> None:
    """A client must be able to tell why, and a refusal that moved anything would be a theft."""
    before = moved(world.state)
    receipt = world.send(signers, wire)
    assert receipt.code == code
    assert receipt.message
    assert not receipt.events
    assert moved(world.state) == before


def test_a_refused_operation_undoes_those_before_it_in_its_envelope(world: World) -> None:
    """Envelopes are atomic: a good operation does not survive a bad one beside it."""
    before, derived = moved(world.state), world.state.derived.live_series
    receipt = world.send(
        "governor issuer M0 M1",
        admit("M7", key_of("M7")),
        listing(),
        trade_of(CALL, "M0", "M1", 3),
        move("asset.issue", "M7/main", 5),
        transfer("M0/main", "M1/main", ALL_BTC),
    )
    assert receipt.code == "insufficient_funds"
    assert moved(world.state) == before
    assert world.state.derived.live_series == derived
    assert key_of("M7") not in world.state.derived.member_of_key
    assert not world.state.derived.held_by


def test_a_shortfall_says_what_is_needed_and_what_is_there(world: World) -> None:
    """A trader must know how much to deposit."""
    receipt = world.send("M0 M1", trade_of(PUT, "M0", "M1", 10**6, 0))
    assert f"needed_minor={10**6 * 21_500_000}" in receipt.message
    assert f"available_minor={ALL_BTC}" in receipt.message


def test_full_registries_refuse(world: World) -> None:
    """Every registry has its bound."""
    world.do("governor", "member.admit", member="M3", key=key_of("M3"))
    assert world.send("governor", admit("M4", key_of("M4"))).code == "limit_reached"
    world.do("governor", "asset.register", asset="ETH", decimals=18)
    assert world.send("governor", operation("asset.register", asset="X", decimals=1)).code == "limit_reached"
    assert world.send("governor", index()).code == ""
    assert world.send("governor", index("THIRD")).code == "limit_reached"
    assert world.send("governor", listing("THIRD")).code == ""
    assert world.send("governor", listing("FOURTH")).code == "limit_reached"


def test_an_account_holds_a_bounded_number_of_positions(world: World) -> None:
    """What an expiry must do is bounded by what accounts may hold."""
    assert world.send("M0 M1", trade_of(CALL, "M0", "M1", 1)).code == ""
    assert world.send("M0 M2", trade_of(PUT, "M2", "M0", 1)).code == "limit_reached"
    assert world.send("M0 M1", trade_of(CALL, "M0", "M1", 1)).code == ""


def test_a_position_is_bounded_even_where_it_needs_no_collateral(world: World) -> None:
    """A call struck at the top of the band can never pay, so only the position limit bounds it."""
    far = "BTC-B-200000-C"
    assert list_series(world, far, expiry_unix_ms=EXPIRY_UNIX_MS + 1).code == ""
    assert world.send("M0 M1", trade_of(far, "M0", "M1", 2**40, 0)).code == ""
    assert world.send("M0 M1", trade_of(far, "M0", "M1", 1, 0)).code == "position_limit"


def test_an_expired_series_does_not_trade(world: World) -> None:
    """A trade at the expiry would be a bet on a known price; the rule is block time at or after it."""
    world.block(at_unix_ms=EXPIRY_UNIX_MS - 1, step_ms=1)
    receipt = world.send("M0 M1", trade_of(CALL, "M0", "M1", 1))
    assert receipt.code == "series_expired"


def test_a_sample_is_given_once_and_within_the_oracles_share(world: World) -> None:
    """No oracle may change its mind about an instant or crowd out the others."""
    first = world.now_unix_ms - 1
    assert world.send("oracle0", sample(6_300_000, first)).code == ""
    assert world.send("oracle0 oracle1", sample(6_300_001, first)).code == "duplicate_sample"
    assert world.send("oracle0", sample(6_300_000, first + 1)).code == "limit_reached"
    assert world.send("oracle1", sample(6_300_000, first + 1)).code == ""


def test_a_decided_expiry_refuses_a_declaration(world: World) -> None:
    """The one price of an expiry never changes."""
    world.send("M0 M1", trade_of(CALL, "M0", "M1", 1))
    world.expire(5_000)
    assert world.send("governor", declare(6_300_000)).code == ""
    assert world.send("governor", declare(6_300_001)).code == "settlement_decided"
    assert world.state.settlements.rows["BTC_USD", EXPIRY_UNIX_MS].source == expiry.DECLARED


@pytest.mark.parametrize(
    ("market", "wire", "signers"),
    [
        (("asset", "BTC", 0), trade_of(CALL, "M0", "M1", 1), "M0 M1"),
        (("asset", "BTC", 0), transfer("M0/main", "M1/main", 1), "M0"),
        (("asset", "BTC", 0), move("asset.issue", "M0/main", 1), "issuer"),
        (("asset", "BTC", 0), move("asset.redeem", "M0/main", 1), "issuer M0"),
        (("asset", "BTC", 0), listing(), "governor"),
        (("expiry", "BTC_USD", EXPIRY_UNIX_MS), trade_of(CALL, "M0", "M1", 1), "M0 M1"),
    ],
)
def test_a_market_in_quarantine_takes_nothing_new(
    world: World, market: tuple[str, str, int], wire: tuple[Any, ...], signers: str
) -> None:
    """After a breach no member may be drawn further into the market."""
    world.state.quarantine.put(market, QuarantineRow(1, "a test"))
    assert world.send(signers, wire).code == "quarantined"


@pytest.mark.parametrize(("age_ms", "code"), [(2_405_000, ""), (2_405_001, "sample_too_old")])
def test_a_sample_is_taken_while_a_price_may_still_need_it(world: World, age_ms: int, code: str) -> None:
    """Window, validity and delay: what a short stall held up still counts; what no price needs is noise."""
    assert world.send("oracle1", sample(6_300_000, world.now_unix_ms - age_ms)).code == code


@pytest.mark.parametrize("wire", [operation("asset.register", asset="BTC", decimals=8), index("BTC_USD")])
def test_a_taken_name_is_refused_in_good_english(world: World, wire: tuple[Any, ...]) -> None:
    """The message is shown to people: it said "a asset"."""
    receipt = world.send("governor", wire)
    assert receipt.code == "already_exists"
    assert not re.search(r"\ba [aeiou]", receipt.message)
