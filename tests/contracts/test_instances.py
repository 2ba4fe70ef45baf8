"""Contract programs on the ledger: what they lock, when they settle, what they pay, and who may do what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts import contract_queries
from contracts.holdings import pot_account
from contracts.ledger import balance
from contracts.receipts import Receipt
from contracts.vm.bytecode import Program, encode_program
from genesis.errors import Rejected
from tests.contracts.vm.programs import DAY_MS, exercise, forward_call
from tests.contracts.world import EXPIRY_UNIX_MS, PARAMS, START_UNIX_MS, World, set_up, with_params

BAND = {"low": 0, "high": 20_000_000}
CALL = replace(forward_call(), inputs=tuple(replace(each, **BAND) for each in forward_call().inputs))
DELAY_MS = PARAMS.settlement_delay_ms
TERMS = {"lot": 1, "strike": 6_000_000, "cap": 500_000, "expiry": EXPIRY_UNIX_MS}
STRIKES = replace(CALL, parameters=tuple(replace(p, high=10**8) if p.name == "strike" else p for p in CALL.parameters))


def made(program: Program = STRIKES, **params: int) -> World:
    """A chain with members, cash, and the program stored."""
    world = set_up(World(with_params(**params)))
    world.do("governor", "asset.register", asset="USD", decimals=2)
    world.do("issuer", "asset.issue", asset="USD", account="M1/main", amount_minor=10**9)
    world.do("M0", "program.store", program=encode_program(program))
    return world


def start_call(world: World, signers: str = "M0 M1", contract: str = "C1", **changes: int | str) -> Receipt:
    """M0 writes a call that M1 holds."""
    terms = {**TERMS, **{name: changes.pop(name) for name in list(changes) if name in TERMS}}
    usual = {
        "accounts": "M0/main,M1/main",
        "assets": "BTC",
        "feeds": "BTC_USD",
        "parameters": ",".join(map(str, terms.values())),
    }
    fields = {**usual, **changes}
    return world.try_to(signers, "contract.start", contract=contract, program=STRIKES.program_id, **fields)


def start_delivery(world: World, signers: str = "M0 M1", expiry_unix_ms: int = EXPIRY_UNIX_MS) -> Receipt:
    """M0 gives M1 the right to buy 7 BTC-minor for 500 USD-minor."""
    fields = {"accounts": "M0/main,M1/main", "assets": "BTC,USD", "feeds": "", "parameters": f"7,500,{expiry_unix_ms}"}
    return world.try_to(signers, "contract.start", contract="D1", program=exercise().program_id, **fields)


def pot(world: World, contract: str, asset: str = "BTC") -> int:
    """What an instance holds."""
    return balance(world.state, pot_account(contract), asset).free_minor


def test_a_started_contract_has_locked_its_collateral() -> None:
    """Who may have to pay has paid before anyone relies on it."""
    world = made()
    before = world.free("M0/main")
    assert start_call(world).code == ""
    assert (before - world.free("M0/main"), pot(world, "C1")) == (500_000, 500_000)


@pytest.mark.parametrize(("price", "holder"), [(5_999_999, 0), (6_000_100, 100), (6_600_000, 500_000)])
def test_a_contract_settles_on_the_price_of_its_instant(price: int, holder: int) -> None:
    """The whole of it: locked, priced, paid, closed, nothing left."""
    world = made()
    start_call(world)
    writer, buyer = world.free("M0/main"), world.free("M1/main")
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(price, EXPIRY_UNIX_MS)
    world.oracles_say(price + 1, EXPIRY_UNIX_MS + 1)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS - 1)
    assert world.state.contracts.rows["C1"].is_open
    output = world.block()
    assert (world.free("M0/main") - writer, world.free("M1/main") - buyer) == (500_000 - holder, holder)
    assert pot(world, "C1") == 0
    assert not world.state.contracts.rows["C1"].is_open
    assert output.events[-1] == ("contract_closed", (("contract", "C1"),))


def test_a_price_that_never_arrives_frees_the_collateral_at_the_deadline() -> None:
    """A dead oracle must not lock money for ever."""
    world = made()
    start_call(world)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS - 1)
    assert pot(world, "C1") == 500_000
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS + DELAY_MS - 1)
    assert pot(world, "C1") == 500_000
    world.block()
    assert pot(world, "C1") == 0
    assert world.state.contracts.rows["C1"].settled == ((0, None),)


def test_a_late_price_is_taken_before_the_deadline() -> None:
    """Samples may be held up; what was true at the instant still is."""
    world = made()
    start_call(world)
    buyer = world.free("M1/main")
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DAY_MS - 2_000)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS)
    world.block()
    assert world.free("M1/main") - buyer == 100


def test_samples_held_up_with_the_chain_find_the_input_open() -> None:
    """A chain that stood still over the whole window must not take its own standstill for an absent price."""
    world = made()
    start_call(world)
    buyer = world.free("M1/main")
    world.block(at_unix_ms=EXPIRY_UNIX_MS + 2 * DAY_MS)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS)
    assert world.state.contracts.rows["C1"].is_open
    world.block()
    assert world.free("M1/main") - buyer == 100


def test_a_price_older_than_its_validity_does_not_count() -> None:
    """Yesterday's price is no price of today."""
    world = made()
    start_call(world)
    world.block(at_unix_ms=EXPIRY_UNIX_MS - PARAMS.settlement_sample_validity_ms)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS - PARAMS.settlement_sample_validity_ms)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    assert world.state.contracts.rows["C1"].is_open


def test_an_election_pays_in_and_delivers_in_one_step() -> None:
    """Delivery against payment: neither side is ever without both."""
    world = made(exercise())
    start_delivery(world)
    before = world.free("M0/main", "USD"), world.free("M1/main", "BTC"), world.free("M1/main", "USD")
    assert world.do("M1", "contract.elect", contract="D1", election="elected", value=1)
    after = world.free("M0/main", "USD"), world.free("M1/main", "BTC"), world.free("M1/main", "USD")
    assert [b - a for a, b in zip(before, after, strict=True)] == [500, 7, -500]
    assert (pot(world, "D1"), pot(world, "D1", "USD")) == (0, 0)


def test_an_option_that_nobody_exercises_lapses() -> None:
    """The writer's goods come back without anyone's doing."""
    world = made(exercise())
    start_delivery(world)
    writer = world.free("M0/main")
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    assert world.free("M0/main") - writer == 7


def test_an_election_is_for_its_party_in_its_window_and_once() -> None:
    """An exercise by somebody else, too late or twice would move money that nobody agreed to."""
    world = made(exercise())
    start_delivery(world)
    elect = {"contract": "D1", "election": "elected", "value": 1}
    assert world.try_to("M0", "contract.elect", **elect).code == "missing_signature"
    assert world.try_to("M1", "contract.elect", **{**elect, "election": "other"}).code == "unknown_election"
    assert world.try_to("M1", "contract.elect", **{**elect, "contract": "D2"}).code == "unknown_contract"
    assert world.try_to("M1", "contract.elect", **{**elect, "value": 2}).code == "bad_input"
    assert world.try_to("M1", "contract.elect", **elect).code == ""
    assert world.try_to("M1", "contract.elect", **elect).code == "contract_closed"
    later = made(exercise())
    start_delivery(later)
    later.now_unix_ms = EXPIRY_UNIX_MS
    assert later.try_to("M1", "contract.elect", **elect).code == "contract_closed"


def test_a_deposit_that_is_not_covered_is_refused() -> None:
    """Otherwise the writer would deliver against nothing."""
    world = made(exercise())
    start_delivery(world)
    world.do("M1", "transfer", source="M1/main", destination="M2/main", asset="USD", amount_minor=10**9 - 499)
    receipt = world.try_to("M1", "contract.elect", contract="D1", election="elected", value=1)
    assert receipt.code == "insufficient_funds"
    assert world.state.contracts.rows["D1"].settled == ()


REFUSED_STARTS = (
    ({"signers": "M0"}, "missing_signature"),
    ({"accounts": "M0/main"}, "bad_binding"),
    ({"accounts": "M0/main,M9/main"}, "unknown_account"),
    ({"assets": "ETH"}, "unknown_asset"),
    ({"assets": "BTC,USD"}, "bad_binding"),
    ({"feeds": "ETH_USD"}, "unknown_index"),
    ({"feeds": ""}, "bad_binding"),
    ({"cap": 10**12 + 1}, "bad_parameter"),
    ({"cap": 10**12, "accounts": "M1/main,M0/main"}, ""),
    ({"expiry": START_UNIX_MS}, "bad_window"),
    ({"parameters": "1,2"}, "bad_parameter"),
)


@pytest.mark.parametrize(("changes", "code"), REFUSED_STARTS)
def test_a_start_that_breaks_a_rule_moves_nothing(changes: dict[str, int | str], code: str) -> None:
    """Each has its own reason, and the collateral stays where it was."""
    world = made()
    before = world.free("M0/main"), world.free("M1/main")
    assert start_call(world, **changes).code == code  # type: ignore[arg-type]
    if code:
        assert (world.free("M0/main"), world.free("M1/main")) == before
        assert not world.state.contracts.rows


def test_a_lock_that_is_not_covered_is_refused() -> None:
    """A writer without the collateral writes nothing."""
    world = made()
    world.do("M0", "transfer", source="M0/main", destination="M2/main", asset="BTC", amount_minor=10**12 - 499_999)
    assert start_call(world).code == "insufficient_funds"


def test_an_index_that_may_leave_the_programs_range_is_refused() -> None:
    """The verifier's intervals hold for prices in the declared range alone."""
    world = made(forward_call())
    fields = {
        "accounts": "M0/main,M1/main",
        "assets": "BTC",
        "feeds": "BTC_USD",
        "parameters": f"1,6,5,{EXPIRY_UNIX_MS}",
    }
    receipt = world.try_to("M0 M1", "contract.start", contract="C1", program=forward_call().program_id, **fields)
    assert (receipt.code, "price_max_ticks=20000000" in receipt.message) == ("bad_binding", True)


def test_a_program_is_stored_once_by_a_member_and_only_if_it_verifies() -> None:
    """What is stored runs on every validator."""
    world = made()
    encoded = encode_program(STRIKES)
    assert world.try_to("M0", "program.store", program=encoded).code == "already_exists"
    assert world.try_to("issuer", "program.store", program=encode_program(exercise())).code == "not_authorised"
    broken = replace(exercise(), code=exercise().code[:-1])
    assert world.try_to("M0", "program.store", program=encode_program(broken)).code == "bad_program"
    assert world.try_to("M0", "program.store", program=encoded[:-1]).code == "malformed"
    assert world.try_to("M0", "program.store", program=encode_program(exercise())).code == ""
    narrow = made(exercise(), contract_gas_max=63)
    assert narrow.try_to("M0", "program.store", program=encoded).code == "gas_limit"


def test_a_restarted_node_goes_on_with_its_contracts() -> None:
    """What is due is computed from rows, which a restart reads in any order."""
    world = made()
    start_call(world)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS)
    restored = world.restored()
    assert restored.root == world.state.root
    at = EXPIRY_UNIX_MS + DELAY_MS
    assert restored.open_inputs.due(at) == world.state.open_inputs.due(at) == [(at, "C1", 0)]
    world.state = restored
    world.block(at_unix_ms=at)
    assert not world.state.contracts.rows["C1"].is_open


def test_a_contract_answers_with_what_it_locks_waits_for_and_paid() -> None:
    """Who has money in a contract must be able to see where it stands."""
    world = made()
    start_call(world)
    answer = contract_queries.contract(world.state, "C1")
    assert (answer["open"], answer["waits_for"], answer["locked_minor"]) == (True, "settlement", {"BTC": 500_000})
    assert answer["parties"] == {"writer": "M0/main", "holder": "M1/main"}
    assert answer["parameters"] == TERMS
    assert [(each["state"], each["of"], each["opens_unix_ms"]) for each in answer["inputs"]] == [
        ("open", "BTC_USD", EXPIRY_UNIX_MS)
    ]
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)
    closed = contract_queries.contract(world.state, "C1")
    assert (closed["open"], closed["waits_for"], closed["inputs"][0]["value"]) == (False, None, 6_000_100)
    assert [(each["account"], each["amount_minor"]) for each in closed["payments"]] == [
        ("M1/main", 100),
        ("M0/main", 499_900),
    ]
    with pytest.raises(Rejected, match="unknown_contract"):
        contract_queries.contract(world.state, "C2")


def test_contracts_are_listed_in_pages_and_programs_disassembled() -> None:
    """A registry of thousands must not come in one answer, and bytecode must be readable."""
    world = made()
    for name in ("C1", "C2", "C3"):
        start_call(world, contract=name)
    page = contract_queries.contracts(world.state, limit=2)
    assert ([each["contract"] for each in page["contracts"]], page["next"]) == (["C1", "C2"], "C2")
    rest = contract_queries.contracts(world.state, after="C2", limit=2)
    assert ([each["contract"] for each in rest["contracts"]], rest["next"]) == (["C3"], None)
    answer = contract_queries.program(world.state, STRIKES.program_id)
    assert (answer["gas"], "muldiv" in answer["disassembly"]) == (STRIKES.gas, True)
    with pytest.raises(Rejected, match="unknown_program"):
        contract_queries.program(world.state, bytes(32))
    with pytest.raises(Rejected, match="bad_limit"):
        contract_queries.contracts(world.state, limit=0)
