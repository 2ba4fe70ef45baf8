"""Where a contract's money is when something around it goes wrong: markets that are closed, prices that come late or
twice, parties that have nothing left, blocks that are full."""

from __future__ import annotations

import pytest

from contracts import instances
from contracts.conservation import Alarm, quarantine
from contracts.holdings import pot_account
from contracts.vm.bytecode import decode_program, encode_program
from contracts.vm.language.compiler import compile_text
from tests.contracts.test_instances import DELAY_MS, STRIKES, made, pot, start_call, start_delivery
from tests.contracts.vm.differential import DOCUMENTED_GAS
from tests.contracts.vm.oracle import Evaluation
from tests.contracts.vm.programs import DAY_MS, exercise
from tests.contracts.world import EXPIRY_UNIX_MS, World, operation

BTC, USD = ("asset", "BTC", 0), ("asset", "USD", 0)
SHORT = compile_text(
    b"""
    contract short
    party only
    asset COIN rest to only
    feed INDEX
    parameter begin: time
    observe seen: price of INDEX at begin until begin + 1s in 1..1_000_000_000
    when seen arrives { } timeout { }
    close
    """
).program
"""Waits for a price no longer than a second."""
QUITS = compile_text(
    b"""
    contract quits
    party only
    asset COIN rest to only
    feed INDEX
    parameter begin: time
    observe seen: price of INDEX at begin until begin + 1h in 1..1_000_000_000
    election quit: bool by only from begin until begin + 1h
    when quit arrives { close } timeout { }
    when seen arrives { } timeout { }
    close
    """
).program
"""Waits for a price unless its party quits first."""
ELECT = {"contract": "D1", "election": "elected", "value": 1}


def close_market(world: World, market: tuple[str, str, int]) -> None:
    """Put a market into quarantine, as a broken rule of conservation would."""
    quarantine(world.state, world.state.height, [Alarm(market, "assets", "one unit appeared from nowhere")])
    world.block()


def owed_to(world: World, contract: str) -> dict[str, int]:
    """What an instance must hold of each asset: what came in, by its record, less what its program has paid.

    Computed by the oracle of the machine's tests, from the record alone, and not by what the ledger did.
    """
    row = world.state.contracts.rows[contract]
    program = decode_program(world.state.programs.rows[row.program_id].encoded)
    done = Evaluation(program, row.parameters, dict(row.settled), DOCUMENTED_GAS).evaluate()
    held = dict.fromkeys(row.assets, 0)
    for number, asset in enumerate(row.assets):
        paid = sum(amount for of, _, amount, _ in done.paid if of == number)
        held[asset] += done.brought_in(number, everything=True) - paid
    return held


def check_pots(world: World) -> None:
    """Every pot holds what its contract owes, to the unit; and there is no other."""
    pots = {pot_account(each): owed_to(world, each) for each in world.state.contracts.rows}
    found = {key: sum(row) for key, row in world.state.balances.rows.items() if key[0].startswith("@contract/")}
    wanted = {(account, asset): held for account, by in pots.items() for asset, held in by.items() if held}
    assert found == wanted


def priced(world: World, price_ticks: int = 6_000_100) -> None:
    """The price of the expiry is reported in its block, and its delay is over with the next."""
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(price_ticks, EXPIRY_UNIX_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)


def test_a_contract_settles_in_a_quarantined_asset_and_no_new_one_begins() -> None:
    """A market is closed to what is new; what was promised before is paid, for the money is there."""
    world = made()
    start_call(world)
    close_market(world, BTC)
    assert start_call(world, contract="C2").code == "quarantined"
    check_pots(world)
    holder, writer = world.free("M1/main"), world.free("M0/main")
    priced(world)
    assert (world.free("M1/main") - holder, world.free("M0/main") - writer) == (100, 499_900)
    assert world.try_to(
        "M0", "transfer", source="M0/main", destination="M1/main", asset="BTC", amount_minor=1
    ).code == "quarantined"  # fmt: skip
    check_pots(world)


def test_collateral_in_a_quarantined_asset_comes_back_when_no_price_does() -> None:
    """Two failures at a time must not hold money that either of them alone sets free."""
    world = made()
    start_call(world)
    close_market(world, BTC)
    before = world.free("M0/main")
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS + DELAY_MS)
    assert (world.free("M0/main") - before, pot(world, "C1")) == (500_000, 0)
    check_pots(world)


@pytest.mark.parametrize("market", [BTC, USD])
def test_an_option_is_exercised_in_a_quarantined_asset(market: tuple[str, str, int]) -> None:
    """An exercise is no new risk: whoever paid for the option would lose it to a bug that is not theirs."""
    world = made(exercise())
    start_delivery(world)
    close_market(world, market)
    before = world.free("M0/main", "USD"), world.free("M1/main", "BTC")
    assert world.try_to("M1", "contract.elect", **ELECT).code == ""
    assert (world.free("M0/main", "USD") - before[0], world.free("M1/main", "BTC") - before[1]) == (500, 7)
    check_pots(world)


def test_a_quarantined_expiry_of_the_index_does_not_keep_its_prices_from_contracts() -> None:
    """The exchange's series and a contract may share an instant, but not their bugs."""
    world = made()
    start_call(world)
    close_market(world, ("expiry", "BTC_USD", EXPIRY_UNIX_MS))
    holder = world.free("M1/main")
    priced(world)
    assert world.free("M1/main") - holder == 100


def test_whoever_has_nothing_left_is_paid_and_pays_in_full() -> None:
    """What a contract owes is in its pot: a party that has lost all else changes nothing for the other."""
    world = made()
    start_call(world)
    start_call(world, contract="C2", signers="M1 M0", accounts="M1/main,M0/main", strike=6_000_050)
    for member in ("M0", "M1"):
        left = world.free(f"{member}/main")
        world.do(
            member, "transfer", source=f"{member}/main", destination="M2/main", asset="BTC", amount_minor=left
        )  # fmt: skip
    priced(world)
    assert (world.free("M1/main"), world.free("M0/main")) == (100 + 499_950, 499_900 + 50)
    check_pots(world)


def test_two_exercises_that_only_one_can_pay_for_leave_the_other_as_it_was() -> None:
    """In one block the first takes the money; the second moves nothing, and may be tried again until its end."""
    world = made(exercise())
    start_delivery(world)
    again = {"accounts": "M0/main,M1/main", "assets": "BTC,USD", "feeds": "", "program": exercise().program_id}
    world.do("M0 M1", "contract.start", contract="D2", **again, parameters=f"7,500,{EXPIRY_UNIX_MS}")
    world.do("M1", "transfer", source="M1/main", destination="M2/main", asset="USD", amount_minor=10**9 - 700)
    elects = [world.envelope("M1", operation("contract.elect", **{**ELECT, "contract": name})) for name in ("D2", "D1")]
    assert [each.code for each in world.block(*elects).receipts] == ["", "insufficient_funds"]
    assert (world.free("M1/main", "USD"), pot(world, "D1"), pot(world, "D1", "USD")) == (200, 7, 0)
    check_pots(world)
    world.do("M2", "transfer", source="M2/main", destination="M1/main", asset="USD", amount_minor=300)
    assert world.try_to("M1", "contract.elect", **ELECT).code == ""
    check_pots(world)
    assert not any(row.is_open for row in world.state.contracts.rows.values())


def test_a_price_is_reported_once_and_once_it_has_settled_a_contract_nothing_changes_that() -> None:
    """An oracle that says another price later must neither be heard twice nor reopen what is paid."""
    world = made()
    start_call(world)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    report = {"index": "BTC_USD", "instant_unix_ms": EXPIRY_UNIX_MS}
    assert world.try_to("oracle0 oracle1", "oracle.sample", **report, price_ticks=6_000_100).code == ""
    assert world.try_to("oracle1", "oracle.sample", **report, price_ticks=6_400_000).code == "duplicate_sample"
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    holder = world.free("M1/main")
    world.try_to("oracle2", "oracle.sample", **report, price_ticks=6_400_000)
    world.block()
    assert (world.free("M1/main"), world.state.contracts.rows["C1"].settled) == (holder, ((0, 6_000_100),))
    check_pots(world)


def test_a_price_that_comes_when_its_absence_is_settled_moves_nothing() -> None:
    """The collateral has gone back; a price that turns up afterwards finds nobody who waits for it."""
    world = made()
    start_call(world)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS + DELAY_MS)
    before = world.free("M0/main"), world.free("M1/main")
    report = {"index": "BTC_USD", "instant_unix_ms": EXPIRY_UNIX_MS, "price_ticks": 6_400_000}
    assert world.try_to("oracle0 oracle1 oracle2", "oracle.sample", **report).code == "sample_too_old"
    world.block()
    assert (world.free("M0/main"), world.free("M1/main")) == before
    check_pots(world)


def crowded(monkeypatch: pytest.MonkeyPatch, *names: str) -> World:
    """Contracts on one instant, of which a block settles one; a price for it that is a millisecond old."""
    monkeypatch.setattr(instances, "INPUTS_PER_BLOCK_MAX", 1)
    world = made()
    for name in names:
        start_call(world, contract=name)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS - 1, "oracle0 oracle1")
    return world


def test_contracts_on_one_instant_settle_on_one_price_however_many_blocks_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row 39 for contracts: who is long in one and short in the other must not lose by the order in which they come."""
    names = ("C1", "C2", "C3")
    world = crowded(monkeypatch, *names)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert [world.state.contracts.rows[each].is_open for each in names] == [False, True, True]
    fixed = dict(world.state.fixings.rows)
    world.oracles_say(6_400_000, EXPIRY_UNIX_MS, "oracle0 oracle2")
    restarted = world.restored()
    assert restarted.root == world.state.root
    world.state = restarted
    world.block()
    assert {each: row.settled for each, row in world.state.contracts.rows.items()} == dict.fromkeys(
        names, ((0, 6_000_100),)
    )
    assert fixed == {("BTC_USD", EXPIRY_UNIX_MS): (6_000_100,)}
    assert not world.state.fixings.rows
    check_pots(world)


def test_a_contract_with_a_short_window_fixes_no_price_for_the_others() -> None:
    """It settles before the late reports are in; those who wait for them must still get them."""
    world = made(SHORT)
    world.do("M0", "program.store", program=encode_program(STRIKES))
    bound = {"accounts": "M0/main", "assets": "BTC", "feeds": "BTC_USD", "program": SHORT.program_id}
    world.do("M0", "contract.start", contract="S1", **bound, parameters=f"{EXPIRY_UNIX_MS}")
    start_call(world)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS - 1, "oracle0 oracle1")
    world.block()
    assert world.state.contracts.rows["S1"].settled == ((0, 6_000_100),)
    world.oracles_say(6_400_000, EXPIRY_UNIX_MS, "oracle0 oracle2")
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert world.state.contracts.rows["C1"].settled == ((0, 6_400_000),)


def test_a_fixed_price_goes_when_the_last_that_needed_it_is_closed_by_its_party(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What nobody waits for must not stay in the state for ever."""
    monkeypatch.setattr(instances, "INPUTS_PER_BLOCK_MAX", 1)
    world = made(QUITS)
    world.do("M0", "program.store", program=encode_program(STRIKES))
    bound = {"accounts": "M0/main", "assets": "BTC", "feeds": "BTC_USD", "program": QUITS.program_id}
    world.do("M0", "contract.start", contract="Q3", **bound, parameters=f"{EXPIRY_UNIX_MS}")
    for name in ("C1", "C2"):
        start_call(world, contract=name)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert world.state.fixings.rows
    assert world.try_to("M0", "contract.elect", contract="Q3", election="quit", value=1).code == ""
    assert not any(row.is_open for row in world.state.contracts.rows.values())
    world.block()
    assert not world.state.fixings.rows
    check_pots(world)
