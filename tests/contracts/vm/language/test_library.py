"""The standard library: its payoffs by the numbers, and that none pays more than what is locked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.vm.bytecode import NO_DEPOSIT, InputKind, Kind
from contracts.vm.interpreter import Run, Settled, run, terms
from contracts.vm.verifier import Verified
from tests.contracts.vm.language.texts import EXPIRY_UNIX_MS, LIBRARY, library

T = EXPIRY_UNIX_MS
HOUR_MS = 3_600_000
NAMES = {
    "vanilla_linear", "vanilla_inverse", "call_spread", "put_spread", "iron_condor", "digital", "barrier", "asian",
    "straddle", "forward", "covered_call", "physical_delivery", "actus_option",
}  # fmt: skip


def test_the_library_is_complete() -> None:
    """Each of these is promised, and every test below runs over what is there."""
    assert {file.stem for file in LIBRARY} == NAMES


def received(verified: Verified, ran: Run) -> dict[tuple[str, str], int]:
    """By party and asset."""
    program, totals = verified.program, {}
    for each in ran.payments:
        key = program.parties[each.party], program.assets[each.asset].name
        totals[key] = totals.get(key, 0) + each.amount_minor
    return {key: amount for key, amount in totals.items() if amount}


def everywhere(verified: Verified, price: int | None) -> Settled:
    """Every price that one, every election not made, every moment come."""
    values = {InputKind.PRICE: price, InputKind.ELECTION: None, InputKind.MOMENT: 1}
    return {n: values[each.kind] for n, each in enumerate(verified.program.inputs)}


CASES = [
    ("call_spread", (2, 5, 100, 150, T), 90, {"writer": 500}),
    ("call_spread", (2, 5, 100, 150, T), 130, {"holder": 300, "writer": 200}),
    ("call_spread", (2, 5, 100, 150, T), 1_000_000, {"holder": 500}),
    ("put_spread", (2, 5, 100, 150, T), 130, {"holder": 200, "writer": 300}),
    ("put_spread", (2, 5, 100, 150, T), 1, {"holder": 500}),
    ("iron_condor", (1, 2, 80, 90, 110, 130, T), 100, {"writer": 40}),
    ("iron_condor", (1, 2, 80, 90, 110, 130, T), 85, {"holder": 10, "writer": 30}),
    ("iron_condor", (1, 2, 80, 90, 110, 130, T), 200, {"holder": 40}),
    ("iron_condor", (1, 2, 80, 120, 90, 130, T), 105, {"holder": 60, "writer": 20}),
    ("digital", (1, 3, 7, 100, T), 100, {"holder": 21}),
    ("digital", (1, 3, 7, 100, T), 99, {"writer": 21}),
    ("digital", (0, 3, 7, 100, T), 99, {"holder": 21}),
    ("digital", (0, 3, 7, 100, T), 100, {"writer": 21}),
    ("barrier", (1, 2, 100, 80, 200, T, HOUR_MS), 150, {"holder": 100, "writer": 100}),
    ("barrier", (1, 2, 100, 160, 200, T, HOUR_MS), 160, {"writer": 200}),
    ("asian", (1, 2, 100, 200, T, HOUR_MS), 150, {"holder": 100, "writer": 100}),
    ("straddle", (1, 2, 100, 40, 150, T), 70, {"holder": 60, "writer": 60}),
    ("straddle", (1, 2, 100, 40, 150, T), 140, {"holder": 80, "writer": 40}),
    ("forward", (1, 2, 100, 40, 150, T), 130, {"buyer": 180, "seller": 40}),
    ("forward", (1, 2, 100, 40, 150, T), 70, {"buyer": 60, "seller": 160}),
    ("forward", (1, 2, 100, 40, 150, T), 30, {"seller": 220}),
    ("covered_call", (1, 1000, 100, T), 300, {"holder": 666, "writer": 334}),
    ("covered_call", (1, 1000, 100, T), 100, {"writer": 1000}),
    ("actus_option", (1, 2, 7, 100, 1000, T, T, T), 150, {"holder": 100, "writer": 7 + 1700}),
    ("actus_option", (1, 2, 7, 100, 1000, T, T, T), 5000, {"holder": 1800, "writer": 7}),
    ("actus_option", (0, 2, 7, 100, 1000, T, T, T), 70, {"holder": 60, "writer": 7 + 140}),
    ("actus_option", (0, 2, 7, 100, 1000, T, T, T), 101, {"writer": 7 + 200}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "price", "expected"), CASES)
def test_it_pays_what_its_comment_says(
    name: str, parameters: tuple[int, ...], price: int, expected: dict[str, int]
) -> None:
    """By hand, one row a case."""
    _, verified = library(name)
    ran = run(verified, parameters, everywhere(verified, price))
    assert {party: amount for (party, _asset), amount in received(verified, ran).items()} == expected


def test_a_barrier_looks_at_every_price_and_pays_on_the_last() -> None:
    """One touch knocks it out, wherever it falls; the last price alone decides the amount."""
    _, verified = library("barrier")
    parameters = (1, 2, 100, 80, 200, T, HOUR_MS)
    path: dict[int, int | None] = {**everywhere(verified, 90), 23: 170}
    assert received(verified, run(verified, parameters, path))["holder", "CASH"] == 140
    for touched in range(24):
        ran = run(verified, parameters, {**path, touched: 80})
        assert received(verified, ran) == {("writer", "CASH"): 200}


def test_an_asian_pays_on_the_average() -> None:
    """Rounded down to a tick: 23 times 100 and once 219 is 104 and 23 twenty-fourths."""
    _, verified = library("asian")
    path: dict[int, int | None] = {**everywhere(verified, 100), 5: 219}
    assert received(verified, run(verified, (1, 2, 100, 200, T, HOUR_MS), path))["holder", "CASH"] == 8


def test_delivery_exchanges_both_assets_and_only_on_exercise() -> None:
    """Three ways: exercised, declined, left alone."""
    _, verified = library("physical_delivery")
    parameters = (3, 100, 600, T, T + HOUR_MS)
    exercised = received(verified, run(verified, parameters, {0: 1}))
    assert exercised == {("writer", "CASH"): 1800, ("holder", "COIN"): 300}
    for declined in (0, None):
        assert received(verified, run(verified, parameters, {0: declined})) == {("writer", "COIN"): 300}
    assert run(verified, parameters, {}).waits_for == 0


@pytest.mark.parametrize("settlement", ["linear", "inverse"])
@settings(max_examples=60, deadline=None)
@given(
    right=st.sampled_from("CP"),
    lots=st.integers(1, 2**20),
    lot=st.integers(1, 2**30),
    strike=st.integers(1, 2**24),
    band=st.tuples(st.integers(1, 2**24), st.integers(1, 2**24)).map(sorted),
    within=st.integers(0, 1000),
)
def test_the_vanilla_programs_are_the_rules_of_the_exchange(
    settlement: str, right: str, lots: int, lot: int, strike: int, band: list[int], within: int
) -> None:
    """Series are instances of these; the payoffs here are Hull's (Options, Futures, and Other Derivatives, 10.1)."""
    low, high = band
    price = low + (high - low) * within // 1000

    def payoff(at: int) -> tuple[int, int]:
        """Of one lot, exactly: numerator and denominator."""
        return lot * max(0, at - strike if right == "C" else strike - at), at if settlement == "inverse" else 1

    _, verified = library(f"vanilla_{settlement}")
    parameters = (int(right == "C"), lots, lot, strike, low, high, T)
    [(_party, _asset, locked)] = terms(verified, parameters).locks
    assert locked == lots * max(-(-most // per) for most, per in (payoff(low), payoff(high)))
    numerator, denominator = payoff(price)
    [to_holder, to_writer] = run(verified, parameters, {0: price}).payments
    assert to_holder.due_minor == lots * numerator // denominator
    assert (to_holder.due_minor, to_writer.amount_minor) == (to_holder.amount_minor, locked - to_holder.amount_minor)


def within(low: int, high: int) -> st.SearchStrategy[int]:
    """Anything in the range, its ends and small numbers more often."""
    ends = sorted({low, high, *(min(high, low + step) for step in (1, 2, 10, 1000))})
    return st.sampled_from(ends) | st.integers(low, high)


@st.composite
def runs(draw: st.DrawFn, verified: Verified) -> tuple[tuple[int, ...], dict[int, int | None]]:
    """Parameters and settled inputs, anywhere in their ranges; prices often near the parameters that are prices."""
    program = verified.program
    times = iter((T, T + HOUR_MS, T + 2 * HOUR_MS))
    parameters = tuple(
        next(times) if each.type.kind is Kind.TIME and each.name != "step" else draw(within(each.low, each.high))
        for each in program.parameters
    )
    near = [value for each, value in zip(program.parameters, parameters, strict=True) if each.type.kind is Kind.PRICE]
    first = next(each for each in program.inputs if each.kind is not InputKind.MOMENT)
    close = st.sampled_from(near) if near else st.nothing()
    some = draw(st.lists(st.none() | within(first.low, first.high) | close, min_size=1, max_size=4))
    settled = {number: some[number % len(some)] for number in range(len(program.inputs))}
    moments = {number: 1 for number, each in enumerate(program.inputs) if each.kind is InputKind.MOMENT}
    return parameters, {**settled, **moments}


@pytest.mark.parametrize("file", LIBRARY, ids=lambda each: each.stem)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_pays_out_exactly_what_was_put_in_and_never_asks_for_more(file: Path, data: st.DataObject) -> None:
    """Over all of the declared ranges but times, sensible or not: no shortfall, nothing created, nothing stuck."""
    _, verified = library(file.stem)
    parameters, settled = data.draw(runs(verified))
    agreed = terms(verified, parameters)
    ran = run(verified, parameters, settled)
    assert ran.waits_for is None
    assert all(0 <= each.amount_minor == each.due_minor for each in ran.payments)
    put_in = [0] * len(verified.program.assets)
    for _party, asset, amount_minor in agreed.locks:
        put_in[asset] += amount_minor
    for number, window in enumerate(agreed.windows):
        if verified.program.inputs[number].deposit != NO_DEPOSIT and settled[number]:
            put_in[window.deposit_asset] += window.deposit_minor
    paid = [0] * len(put_in)
    for each in ran.payments:
        paid[each.asset] += each.amount_minor
    assert paid == put_in


@pytest.mark.parametrize("file", LIBRARY, ids=lambda each: each.stem)
def test_if_nothing_ever_arrives_everybody_gets_back_what_they_locked(file: Path) -> None:
    """The feed may die, the holder may sleep: no collateral is stuck, and nobody gains but a premium that was paid."""
    _, verified = library(file.stem)
    program = verified.program
    parameters = tuple(
        min(each.high, {Kind.TIME: T, Kind.PRICE: 90}.get(each.type.kind, 3)) for each in program.parameters
    )
    if file.stem == "physical_delivery":
        parameters = (3, 100, 600, T, T + HOUR_MS)
    elif file.stem == "actus_option":
        parameters = (1, 3, 0, 90, 200, T, T, T)
    locked: dict[tuple[str, str], int] = {}
    for party, asset, amount_minor in terms(verified, parameters).locks:
        if amount_minor:
            locked[program.parties[party], program.assets[asset].name] = amount_minor
    assert received(verified, run(verified, parameters, everywhere(verified, None))) == locked
