"""The cases of the ACTUS standard on the ledger: signed, started on one chain, observed and paid block by block.

Rules:

1. Nothing of the code that reads events off a run (`contracts.vm.actus`) is used: the parameters are written down here,
   and what is expected of each account, and when, follows from the events that the case states.
2. All cases run from the first to the last day of 2020, so that many contracts fall due in one block. One whose
   exercise lies before its status date (options 13 and 14) is lived through too; its events count from that date on.
3. The oracles report each observation in the block of its instant. Where an exercise is given and no price is observed
   at maturity, they report the price at which that exercise is worth what it came to.
4. A premium moves in the block of the purchase, a payoff in that of its settlement date: but not before the first block
   at or after the maturity and the settlement delay, when the price is looked up. Nothing else moves.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from contracts import contract_queries
from contracts.calendar import parse_moment
from contracts.conservation import audit
from contracts.holdings import pot_account
from contracts.ledger import ISSUED
from contracts.library.actus import ACTUS_OPTION
from contracts.vm.actus_terms import ActusCase, Event, parse_case
from contracts.vm.bytecode import decode_program
from tests.contracts.signed_world import SignedWorld
from tests.contracts.vm.actus_case import actus_case
from tests.contracts.vm.test_actus import CASES, VECTORS
from tests.contracts.world import PARAMS, operation

PROGRAM_ID = decode_program(ACTUS_OPTION).program_id
BEGIN_UNIX_MS, END_UNIX_MS = parse_moment("2020-01-01"), parse_moment("2020-12-31")
NAMES = [each.upper() for each in CASES]
DELAY_MS = PARAMS.settlement_delay_ms
SUPPLY_MINOR = 10**9
PRICE_MAX_TICKS = 1_000_000
ORACLES = "oracle0 oracle1 oracle2"
MEMBERS = ("HOLDER", "WRITER")

Moves = dict[str, dict[int, int]]
"""By account and time, what came in (or, negative, went out)."""


@dataclass(frozen=True)
class Life:
    """A chain that has lived through cases: what moved on each account, and where it stands now."""

    world: SignedWorld
    moves: Moves


def by_kind(case: ActusCase) -> Mapping[str, Event]:
    """The case's events; each kind occurs once."""
    return {each.kind: each for each in case.expected}


def price_at_maturity(case: ActusCase) -> int:
    """Rule 3."""
    option = case.option
    if option.exercise is None:
        return case.prices_ticks[option.maturity_unix_ms]
    amount = option.exercise.amount_minor
    return option.strike_ticks + (amount if option.is_call else -amount)


def start_of(name: str, case: ActusCase) -> tuple[Any, ...]:
    """The operation that starts a case's instance; a price may rise to ten strikes."""
    option = case.option
    values = (
        int(option.is_call), 1, option.premium_minor, option.strike_ticks, 10 * option.strike_ticks,
        option.purchase_unix_ms, option.maturity_unix_ms, option.settlement_unix_ms,
    )  # fmt: skip
    return operation(
        "contract.start",
        contract=name,
        program=PROGRAM_ID,
        accounts=f"WRITER/{name},HOLDER/{name}",
        assets="USD",
        feeds=option.underlying,
        parameters=",".join(map(str, values)),
    )


def set_up(world: SignedWorld, cases: Mapping[str, ActusCase]) -> None:
    """Two members with an account for each case, dollars on all of them, the underlyings, and the program."""
    underlyings = sorted({each.option.underlying for each in cases.values()})
    band = {"tick_decimals": 2, "price_min_ticks": 1, "price_max_ticks": PRICE_MAX_TICKS, "oracle_quorum": 2}
    admitted = [operation("member.admit", member=each, key=world.key(each)) for each in MEMBERS]
    indices = [operation("index.register", index=each, **band) for each in underlyings]
    asset = operation("asset.register", asset="USD", decimals=2)
    assert world.send("governor", *admitted, *indices, asset).code == ""
    for member in MEMBERS:
        opened = [operation("account.open", account=f"{member}/{name}") for name in cases]
        money = [
            operation("asset.issue", asset="USD", account=f"{member}/{name}", amount_minor=SUPPLY_MINOR)
            for name in cases
        ]
        assert world.send(member, *opened).code == ""
        assert world.send("issuer", *money).code == ""
    world.do(MEMBERS[0], "program.store", program=ACTUS_OPTION)


def live(cases: Mapping[str, ActusCase], begins_unix_ms: int, ends_unix_ms: int) -> Life:
    """From the first day to the last, with a block at, just before and just after whatever happens."""
    world = SignedWorld(begins_unix_ms)
    set_up(world, cases)
    before = held(world)
    started = [world.envelope("HOLDER WRITER", start_of(name, case)) for name, case in cases.items()]
    assert [each.code for each in world.block(*started).receipts] == [""] * len(cases)
    moves: Moves = defaultdict(dict)
    before = note(world, moves, before)
    samples = {
        (case.option.maturity_unix_ms, case.option.underlying): price_at_maturity(case) for case in cases.values()
    }
    for at in [*instants(cases), ends_unix_ms]:
        reports = [
            world.envelope(ORACLES, operation("oracle.sample", index=index, instant_unix_ms=at, price_ticks=price))
            for (instant, index), price in sorted(samples.items())
            if instant == at
        ] if world.state.time_unix_ms < at else []  # fmt: skip
        world.now_unix_ms = at
        assert [each.code for each in world.block(*reports).receipts] == [""] * len(reports)
        before = note(world, moves, before)
    return Life(world, moves)


def instants(cases: Mapping[str, ActusCase]) -> list[int]:
    """The times of the blocks."""
    found: set[int] = set()
    for case in cases.values():
        option = case.option
        for at in (option.purchase_unix_ms, option.maturity_unix_ms, option.settlement_unix_ms):
            found |= {at - 1, at, at + DELAY_MS - 1, at + DELAY_MS}
    return sorted(found)


def held(world: SignedWorld) -> dict[str, int]:
    """Every account's dollars, pots and the issuers' liability included; all of it is what there is: nothing."""
    rows = {account: sum(row) for (account, _asset), row in world.state.balances.rows.items()}
    assert sum(rows.values()) == 0
    assert rows[ISSUED] == -sum(amount for account, amount in rows.items() if account != ISSUED)
    assert audit(world.state) == ()
    return rows


def note(world: SignedWorld, moves: Moves, before: Mapping[str, int]) -> dict[str, int]:
    """What the last block moved on the members' accounts."""
    after = held(world)
    for account in sorted({*before, *after}):
        moved = after.get(account, 0) - before.get(account, 0)
        if moved and account.startswith(MEMBERS):
            moves[account][world.state.time_unix_ms] = moved
    return after


def expected(case: ActusCase, started_unix_ms: int) -> tuple[dict[int, int], dict[int, int]]:
    """What moves on the holder's and on the writer's account, and when (rule 4), by the events that the case states."""
    option, events = case.option, by_kind(case)
    premium = abs(events["PRD"].payoff_minor) if "PRD" in events else option.premium_minor
    payoff, settled = abs(events["STD"].payoff_minor), events["STD"].unix_ms
    lock = 9 * option.strike_ticks if option.is_call else option.strike_ticks
    paid_unix_ms = max(settled, option.maturity_unix_ms + DELAY_MS)
    holder = {started_unix_ms: -premium, paid_unix_ms: payoff}
    writer = {started_unix_ms: -lock, option.purchase_unix_ms: premium, paid_unix_ms: lock - payoff}
    return {at: each for at, each in holder.items() if each}, writer


def judged(name: str, case: ActusCase, life: Life) -> None:
    """One case against the ledger: accounts, the record, the pot."""
    holder, writer = f"HOLDER/{name}", f"WRITER/{name}"
    started = min(life.moves[writer])
    assert (life.moves[holder], life.moves[writer]) == expected(case, started)
    party, other = (holder, writer) if case.option.is_buyer else (writer, holder)
    gained = sum(life.moves[party].values())
    stated = sum(each.payoff_minor for each in case.expected)
    earlier = 0 if "PRD" in by_kind(case) else (-1 if case.option.is_buyer else 1) * case.option.premium_minor
    assert gained == stated + earlier == -sum(life.moves[other].values())
    record = contract_queries.contract(life.world.state, name)
    assert (record["open"], record["locked_minor"]) == (False, {"USD": 0})
    assert not any(account == pot_account(name) for account, _asset in life.world.state.balances.rows)
    if "XD" in by_kind(case):
        price = next(each["value"] for each in record["inputs"] if each["input"] == "maturity")
        moved = price - case.option.strike_ticks
        assert max(0, moved if case.option.is_call else -moved) == by_kind(case)["XD"].exercise_amount_minor


@pytest.fixture(name="cases", scope="module")
def read_cases() -> Callable[[Path], dict[str, ActusCase]]:
    """The cases of a file, by names as the ledger has them."""

    def read(path: Path) -> dict[str, ActusCase]:
        documents = json.loads(path.read_text(), parse_float=str, parse_int=str)
        return {name.upper(): parse_case(document) for name, document in documents.items()}

    return read


@pytest.fixture(name="lived", scope="module")
def live_once(cases: Callable[[Path], dict[str, ActusCase]]) -> Callable[[Path], tuple[dict[str, ActusCase], Life]]:
    """The chain of all cases; it is lived through once."""
    kept: list[tuple[dict[str, ActusCase], Life]] = []

    def get(path: Path) -> tuple[dict[str, ActusCase], Life]:
        if not kept:
            read = cases(path)
            kept.append((read, live(read, BEGIN_UNIX_MS, END_UNIX_MS)))
        return kept[0]

    return get


@pytest.mark.parametrize("name", NAMES)
def test_a_case_of_the_standard_is_paid_out_on_the_ledger(
    shared_data: Callable[[str], Path], lived: Callable[[Path], tuple[dict[str, ActusCase], Life]], name: str
) -> None:
    """What the standard says is owed is what the members have, to the cent and to the block; actusfrf/actus-tests."""
    cases, life = lived(shared_data(VECTORS))
    assert list(cases) == NAMES
    judged(name, cases[name], life)


def test_the_ledger_that_paid_them_is_the_one_that_a_restart_reads(
    shared_data: Callable[[str], Path], lived: Callable[[Path], tuple[dict[str, ActusCase], Life]]
) -> None:
    """Every payout is in the root that is certified, and nothing that was paid is open."""
    _, life = lived(shared_data(VECTORS))
    assert life.world.restored().root == life.world.state.root
    assert not any(row.is_open for row in life.world.state.contracts.rows.values())


@pytest.mark.parametrize("role", ["BUY", "SEL"])
@pytest.mark.parametrize("right", ["C", "P"])
def test_a_case_of_our_own_is_paid_out_on_the_ledger(role: str, right: str) -> None:
    """Where the standard's data is absent the ledger is still held to figures by hand; a put here ends worthless."""
    sign, paid = (1 if role == "BUY" else -1), 725 if right == "C" else 0
    case = parse_case(actus_case(contractRole=role, optionType=right))
    facts = tuple(
        replace(each, payoff_minor={"PRD": -350, "STD": paid}.get(each.kind, 0) * sign,
                exercise_amount_minor=paid if each.kind == "XD" else 0)
        for each in case.expected
    )  # fmt: skip
    own = replace(case, expected=facts)
    life = live({"OWN": own}, parse_moment("2024-01-09"), parse_moment("2024-12-31"))
    judged("OWN", own, life)
