"""Contracts whose names are chosen for one bucket of the tree: what is to be shown to others stays small enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest

from contracts import buckets
from contracts.buckets import BYTES_PER_BUCKET_MAX
from contracts.edge import validator_set_key
from contracts.holdings import pot_account
from contracts.merkle_proof import bucket_of
from contracts.snapshot import cut_state
from contracts.state import State
from contracts.vm.bytecode import Asset, Kind, Parameter, Program, Type, encode_program
from genesis.errors import Rejected
from node.set_history import LINK_BYTES_MAX, encode_bucket
from tests.contracts.test_instances_hostile import SMALL, WATCHER, pays_from_nothing
from tests.contracts.vm.programs import DAY_MS
from tests.contracts.world import PARAMS, START_UNIX_MS, World, operation, set_up, with_params

DEPTH = PARAMS.merkle_depth
AT_ONCE = pays_from_nothing(())
QUANTITY = Type(Kind.QUANTITY)
WIDE = replace(
    AT_ONCE,
    name="wide",
    assets=tuple(Asset(f"A{n}", 0) for n in range(8)),
    feeds=tuple(f"F{n}" for n in range(8)),
    parameters=tuple(Parameter(f"p{n}", QUANTITY, 1 - 2**63, 2**63 - 1) for n in range(64)),
)
"""Its row is as large as those of programs without inputs get."""
FIELDS = {
    **SMALL,
    "program": WIDE.program_id,
    "assets": ",".join(["BTC"] * 8),
    "feeds": ",".join(["BTC_USD"] * 8),
    "parameters": ",".join([str(1 - 2**63)] * 64),
}
TARGET = 7


def made(program: Program = WIDE, **params: int) -> World:
    world = set_up(World(with_params(**params)))
    world.do("M0", "program.store", program=encode_program(program))
    return world


def names_in(state: State, bucket: int) -> Iterator[str]:
    """Names of contracts whose rows lie there: what a member finds by trying, 2^depth times for each."""
    for n in count():
        name = f"C{n}".ljust(48, "X")
        if bucket_of(state.contracts.entry_key(name), DEPTH) == bucket:
            yield name


def start(world: World, name: str, member: str = "M0") -> str:
    """The code of a start of the wide program."""
    return world.try_to(member, "contract.start", **{**FIELDS, "accounts": f"{member}/main"}, contract=name).code


def test_members_together_cannot_make_a_bucket_that_no_snapshot_and_no_link_holds() -> None:
    """Two could put their shares into the bucket of the next set of validators: nobody could join or follow then."""
    world = made(contract_retention_blocks=10_000)
    edge = validator_set_key(world.state, 0)
    bucket, refused = bucket_of(edge, DEPTH), 0
    names = names_in(world.state, bucket)
    for _ in range(8):
        for member in ("M0", "M1"):
            starts = [
                operation("contract.start", **{**FIELDS, "accounts": f"{member}/main"}, contract=next(names))
                for _ in range(30)
            ]
            receipts = world.block(*(world.envelope(member, each) for each in starts)).receipts
            refused += sum(each.code == "limit_reached" for each in receipts)
    shown = world.state.prove(edge)
    assert refused > 0
    assert BYTES_PER_BUCKET_MAX * 3 // 4 < sum(map(len, shown.pairs)) < BYTES_PER_BUCKET_MAX + 4_096
    assert 2 * len(encode_bucket(shown)) < LINK_BYTES_MAX
    assert cut_state(world.state.entries(), DEPTH).root == world.state.root
    assert start(world, "ELSEWHERE") == ""


def test_a_full_bucket_has_room_again_when_contracts_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a node that restarted counts the same, or it would refuse what the others take."""
    world = made(contract_retention_blocks=4)
    monkeypatch.setattr(buckets, "BYTES_PER_BUCKET_MAX", 2_000)
    names = names_in(world.state, TARGET)
    assert [start(world, next(names)) for _ in range(3)] == ["", "", "limit_reached"]
    for state in (world.state, world.restored()):
        row = next(iter(state.contracts.rows.values()))
        with pytest.raises(Rejected, match="limit_reached"):
            state.buckets.require_room_for_contract(next(names), row)
    for _ in range(4):
        world.block()
    assert not world.state.contracts.rows
    assert [start(world, next(names)) for _ in range(3)] == ["", "", "limit_reached"]


def test_a_refused_envelope_leaves_the_buckets_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an envelope that costs nothing would fill one for ever."""
    world = made()
    monkeypatch.setattr(buckets, "BYTES_PER_BUCKET_MAX", 2_000)
    names = names_in(world.state, TARGET)
    for _ in range(4):
        fails = operation("transfer", source="M0/main", destination="M0/none", asset="BTC", amount_minor=1)
        begins = operation("contract.start", **FIELDS, contract=next(names))
        assert world.send("M0", begins, fails).code == "unknown_account"
    assert start(world, next(names)) == ""


def test_a_pots_balances_are_counted_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys follow from the name as the row's does: a proof has places for four thousand entries."""
    world = made(AT_ONCE)
    monkeypatch.setattr(buckets, "BYTES_PER_BUCKET_MAX", 3 * buckets.POT_BYTES)
    fields, codes = {**SMALL, "program": AT_ONCE.program_id}, []
    for n in count():
        key = world.state.balances.entry_key((pot_account(f"P{n}"), "BTC"))
        if bucket_of(key, DEPTH) == TARGET:
            codes.append(world.try_to("M0", "contract.start", **fields, contract=f"P{n}").code)
        if len(codes) == 4:
            break
    assert codes == ["", "", "", "limit_reached"]


def test_programs_of_one_bucket_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's name changes its id, so that its place can be chosen, too."""
    world = set_up(World(with_params()))
    monkeypatch.setattr(buckets, "BYTES_PER_BUCKET_MAX", 3_000)
    codes = []
    for n in count():
        program = replace(AT_ONCE, name=f"p{n}")
        if bucket_of(world.state.programs.entry_key(program.program_id), DEPTH) == TARGET:
            codes.append(world.try_to("M0", "program.store", program=encode_program(program)).code)
        if len(codes) == 3:
            break
    assert codes == ["", "", "limit_reached"]


def test_a_row_never_becomes_larger_than_it_was_counted() -> None:
    """It grows with every input; the bound is for what it grows to."""
    world = made(WATCHER)
    first = START_UNIX_MS + 20_000
    fields = {**SMALL, "feeds": "BTC_USD", "parameters": f"{first},60000", "program": WATCHER.program_id}
    world.do("M0", "contract.start", contract="W1", **fields)
    row = world.state.contracts.rows["W1"]
    counted = dict(world.state.buckets.places("W1", row))[bucket_of(world.state.contracts.entry_key("W1"), DEPTH)]
    for at_unix_ms in (first + 60_000, first + 60_000 + PARAMS.settlement_delay_ms, first + 2 * DAY_MS):
        world.block(at_unix_ms=at_unix_ms)
        key = world.state.contracts.entry_key("W1")
        assert len(key) + len(world.store[key]) <= counted
    assert not world.state.contracts.rows["W1"].is_open
