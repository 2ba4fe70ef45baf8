"""What a member with a valid key may try against everybody else by way of contracts, and what it must not reach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts import instances, metering, oracle
from contracts.receipts import EVENTS_MAX, Receipt, decode_receipt, encode_receipt
from contracts.state import State
from contracts.vm.bytecode import (
    Asset,
    Constant,
    Instruction,
    Op,
    Program,
    Rounding,
    encode_program,
)
from contracts.vm.language.compiler import compile_text
from genesis.codec import I64_MAX
from tests.contracts.vm.programs import DAY_MS, MONEY, PARTY
from tests.contracts.world import EXPIRY_UNIX_MS, PARAMS, START_UNIX_MS, World, operation, set_up, with_params

DELAY_MS = PARAMS.settlement_delay_ms
VALIDITY_MS = PARAMS.settlement_sample_validity_ms

PAYS = Program(
    name="pays",
    parties=("only",),
    assets=(Asset("COIN", 0),),
    feeds=(),
    parameters=(),
    constants=(Constant(MONEY, 2**62), Constant(MONEY, 1), Constant(PARTY, 0)),
    locks=(),
    inputs=(),
    preamble_length=0,
    code=(),
)
SMALL = {"accounts": "M0/main", "assets": "BTC", "feeds": "", "parameters": ""}


def pays_from_nothing(code: tuple[Instruction, ...]) -> Program:
    """A program without a lock whose payments all fall short."""
    head = tuple(Instruction(Op.CONST, n) for n in range(len(PAYS.constants)))
    return replace(PAYS, code=(*head, *code, Instruction(Op.CLOSE)))


def with_program(program: Program, **params: int) -> World:
    world = set_up(World(with_params(**params)))
    world.do("M0", "program.store", program=encode_program(program))
    return world


def test_a_shortfall_beyond_64_bits_leaves_a_receipt_that_can_be_written() -> None:
    """A value may have 127 bits, a receipt 64: a receipt that cannot be encoded halts every validator."""
    huge = pays_from_nothing((Instruction(Op.MULDIV, 0, 0, 1, Rounding.DOWN), Instruction(Op.PAY, 3, 2)))
    world = with_program(huge)
    receipt = world.do("M0", "contract.start", contract="C1", program=huge.program_id, **SMALL)
    assert decode_receipt(encode_receipt(receipt)) == receipt
    paid = dict(dict(receipt.events)["contract_paid"])
    assert (paid["amount_minor"], paid["shortfall_minor"]) == (0, I64_MAX)


def test_an_envelope_with_more_events_than_a_receipt_holds_is_refused_whole() -> None:
    """A receipt that was stored and cannot be read back stops the pruner and every client that asks for it."""
    many = pays_from_nothing(tuple(Instruction(Op.PAY, 1, 2) for _ in range(900)))
    world = with_program(many)
    starts = [operation("contract.start", contract=f"C{n}", program=many.program_id, **SMALL) for n in range(5)]
    receipt = world.send("M0", *starts)
    assert (receipt.code, len(world.state.contracts.rows)) == ("too_many_events", 0)
    fits = world.send("M0", *starts[:4])
    assert fits.code == ""
    assert len(fits.events) <= EVENTS_MAX
    assert decode_receipt(encode_receipt(fits)) == fits


WATCHER = compile_text(
    b"""
    contract watcher
    party only
    asset COIN rest to only
    feed INDEX
    parameter begin: time
    parameter awaited: time
    observe seen: 16 prices of INDEX from begin every 1s until begin + awaited in 1..1_000_000_000
    election asked: bool by only from begin until begin + awaited + 1d
    when seen arrives { } timeout { }
    when asked arrives { } timeout { }
    close
    """
).program
"""Locks nothing and waits for sixteen prices, a second apart."""


def start_watcher(world: World, first_unix_ms: int, awaited_ms: int, contract: str = "W1") -> Receipt:
    parameters = f"{first_unix_ms},{awaited_ms}"
    fields = {**SMALL, "feeds": "BTC_USD", "parameters": parameters, "program": WATCHER.program_id}
    return world.try_to("M0", "contract.start", contract=contract, **fields)


def test_inputs_that_wait_for_ever_keep_no_other_contract_from_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's bound is for work, not for looks in vain: else one member's idle inputs stop everybody's contracts."""
    monkeypatch.setattr(instances, "INPUTS_PER_BLOCK_MAX", 8)
    world = with_program(WATCHER)
    assert start_watcher(world, START_UNIX_MS + 20_000, 30 * DAY_MS).code == ""
    later = EXPIRY_UNIX_MS + VALIDITY_MS
    assert start_watcher(world, later, DAY_MS, "W2").code == ""
    world.block(at_unix_ms=later)
    for n in range(16):
        world.oracles_say(6_000_000, later + 1_000 * n)
    for _ in range(10):
        world.block()
    assert len(world.state.contracts.rows["W2"].settled) == 16
    assert world.state.contracts.rows["W1"].settled == ()


def test_a_price_that_never_comes_does_not_use_up_what_the_oracles_may_report() -> None:
    """Else any member could start a contract in a gap between samples, and the exchange's expiries had no price."""
    world = with_program(WATCHER, oracle_samples_per_index_max=3 * 8, settlement_window_ms=60_000)
    assert start_watcher(world, START_UNIX_MS + 20_000, 30 * DAY_MS).code == ""
    step_ms = VALIDITY_MS + 60_000
    for n in range(1, 20):
        at = START_UNIX_MS + n * step_ms
        world.block(at_unix_ms=at)
        world.oracles_say(6_000_000, at)
    assert len(world.state.samples.rows) < 8
    assert world.state.contracts.rows["W1"].is_open


def test_reports_without_a_quorum_cost_a_block_no_more_the_more_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wakes the inputs that it could be the price of: one oracle and one member held up every validator so."""
    world = with_program(WATCHER)
    first, reports = START_UNIX_MS + VALIDITY_MS, 200
    assert start_watcher(world, first, DAY_MS).code == ""
    world.block(at_unix_ms=first + 60_000)
    lone = {"index": "BTC_USD", "price_ticks": 6_000_000}
    for at in range(0, reports, 100):
        late = [operation("oracle.sample", **lone, instant_unix_ms=first - at - n) for n in range(100)]
        assert world.send("oracle0", *late).code == ""
    weighed = []

    def weighing(state: State, index: str, instant_unix_ms: int) -> int:
        weighed.append(instant_unix_ms)
        return price_at(state, index, instant_unix_ms)

    price_at = oracle.price_at
    monkeypatch.setattr(oracle, "price_at", weighing)
    world.block()
    assert len(weighed) < reports
    world.do("oracle1", "oracle.sample", **lone, instant_unix_ms=first - 7)
    world.block()
    assert len(world.state.contracts.rows["W1"].settled) == 16


def test_a_sample_that_a_contract_waits_for_is_taken_however_late_and_kept() -> None:
    """What was true at the instant still is, as long as the contract's window is open."""
    world = with_program(WATCHER)
    first = START_UNIX_MS + 20_000
    start_watcher(world, first, 30 * DAY_MS)
    world.block(at_unix_ms=first + 20 * DAY_MS)
    world.oracles_say(6_000_000, first + 20 * DAY_MS)
    early = {"index": "BTC_USD", "instant_unix_ms": first - VALIDITY_MS, "price_ticks": 6_000_000}
    assert world.try_to("oracle0 oracle1", "oracle.sample", **early).code == "sample_too_old"
    world.oracles_say(6_000_000, first, "oracle0")
    world.block()
    world.oracles_say(6_000_100, first, "oracle1")
    world.block()
    assert len(world.state.contracts.rows["W1"].settled) == 16


def test_the_prices_of_one_window_are_absent_together() -> None:
    """Each price is awaited for the settlement delay, not one after the other: collateral is not held up for hours."""
    world = with_program(WATCHER)
    first = START_UNIX_MS + 20_000
    start_watcher(world, first, 60_000)
    world.block(at_unix_ms=first + 60_000)
    world.block(at_unix_ms=first + 60_000 + DELAY_MS - 1)
    assert world.state.contracts.rows["W1"].settled == ()
    world.block()
    assert len(world.state.contracts.rows["W1"].settled) == 16


def test_an_election_puts_off_no_price() -> None:
    """A party must not be able to keep a price that is absent from counting as absent."""
    world = with_program(WATCHER)
    first = START_UNIX_MS + 20_000
    start_watcher(world, first, 60_000)
    world.block(at_unix_ms=first + 60_000)
    world.do("M0", "contract.elect", contract="W1", election="asked", value=1)
    world.block(at_unix_ms=first + 60_000 + DELAY_MS)
    assert not world.state.contracts.rows["W1"].is_open


def test_no_price_is_awaited_for_ever() -> None:
    """For as long samples are kept."""
    world = with_program(WATCHER)
    first = START_UNIX_MS + 20_000
    assert start_watcher(world, first, 31 * DAY_MS + 1).code == "bad_window"
    assert start_watcher(world, first, 31 * DAY_MS).code == ""


def test_envelopes_spend_a_bounded_amount_of_work_on_contracts_in_a_block() -> None:
    """An envelope costs its sender nothing, also when it is refused: unbounded, a few held up every validator."""
    world = with_program(WATCHER, members_max=8, contract_inputs_per_member_max=2**17)
    fields = {**SMALL, "feeds": "BTC_USD", "program": WATCHER.program_id, "parameters": f"{EXPIRY_UNIX_MS},60000"}
    starts = [operation("contract.start", contract=f"W{n}", **fields) for n in range(127)]
    broken = operation("transfer", source="M0/main", destination="M0/none", asset="BTC", amount_minor=1)
    attacks = [world.envelope("M0", *starts, broken) for _ in range(20)]
    honest = world.envelope("M1", operation("contract.start", contract="H1", **{**fields, "accounts": "M1/main"}))
    codes = [each.code for each in world.block(*attacks, honest).receipts]
    assert set(codes[:20]) == {"unknown_account", "block_full"}
    assert codes[20] == ""
    assert world.send("M0", starts[0]).code == ""


def test_a_programs_names_are_plain_words() -> None:
    """They are shown in terminals and logs: one that clears a screen or forges a line is refused at the border."""
    world = set_up(World(with_params()))
    program = pays_from_nothing(())
    for name in ("\x1b[2J", "two\nlines", "a b", "9a", "\u202eevil", "caf\u00e9"):
        for evil in (replace(program, name=name), replace(program, parties=(name,))):
            assert world.try_to("M0", "program.store", program=encode_program(evil)).code in (
                "malformed",
                "bad_program",
            )


def test_colluding_members_cannot_spend_more_than_the_block_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of one signer alone would let a hundred hold up the chain."""
    world = with_program(WATCHER)
    once = 2 * (WATCHER.gas + 4 * 17)
    monkeypatch.setattr(metering, "ENVELOPES_GAS_PER_BLOCK_MAX", 2 * len(encode_program(WATCHER)) + 3 * once - 1)
    fields = {**SMALL, "feeds": "BTC_USD", "program": WATCHER.program_id, "parameters": f"{EXPIRY_UNIX_MS},60000"}
    starts = [
        world.envelope(f"M{n}", operation("contract.start", contract=f"W{n}", **{**fields, "accounts": f"M{n}/main"}))
        for n in range(3)
    ]
    codes = [each.code for each in world.block(*starts).receipts]
    assert codes == ["", "", "block_full"]


def test_what_a_block_will_settle_is_estimated_by_what_the_programs_cost() -> None:
    """A node runs short work in the loop that votes: a heavy program that passed for a short one would hold it up."""
    heavy = compile_text(
        b"contract heavy party only asset COIN rest to only parameter end: time\n"
        b"election asked: bool by only from 0s until end when asked arrives { } timeout { } "
        + b"pay 1 to only " * 800
        + b"close"
    ).program
    world = with_program(heavy)
    fields = {**SMALL, "parameters": f"{EXPIRY_UNIX_MS}", "program": heavy.program_id}
    world.do("M0", "contract.start", contract="H1", **fields)
    assert instances.work_due(world.state, EXPIRY_UNIX_MS - 1) == 0
    assert instances.work_due(world.state, EXPIRY_UNIX_MS) >= 800 * 16 // 25
