"""What one member may have in the state by way of contracts, how it leaves again, and that nobody else is concerned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts import contract_queries, instances, queries, stored_programs
from contracts.conservation import audit
from contracts.entries import EntryName
from contracts.machine import BlockInput, apply_block, restore_state, system_work
from contracts.merkle_proof import proved_entries
from contracts.receipts import Receipt
from contracts.snapshot import ReplayCheck, check_slice, cut_state
from contracts.state import State
from contracts.vm.bytecode import Program, encode_program
from genesis.errors import Rejected
from tests.contracts.test_instances_hostile import SMALL, pays_from_nothing
from tests.contracts.vm.programs import exercise
from tests.contracts.world import EXPIRY_UNIX_MS, World, operation, set_up, with_params

DELIVERY = exercise()
AT_ONCE = pays_from_nothing(())
"""Locks nothing, waits for nothing, and is closed by its start."""
ALONE = {**SMALL, "accounts": "M1/main"}
RETENTION_BLOCKS = 5


def other(name: str, program: Program = AT_ONCE) -> Program:
    """A program that differs from the others in its name alone."""
    return replace(program, name=name)


def made(**params: int) -> World:
    """A chain on which M0 has stored both programs, and closed contracts are kept for a few blocks."""
    world = set_up(World(with_params(**{"contract_retention_blocks": RETENTION_BLOCKS, **params})))
    world.do("governor", "asset.register", asset="USD", decimals=2)
    world.do("issuer", "asset.issue", asset="USD", account="M1/main", amount_minor=10**9)
    for program in (DELIVERY, AT_ONCE):
        world.do("M0", "program.store", program=encode_program(program))
    return world


def deliver(world: World, name: str, writer: str = "M0", holder: str = "M1", program: Program = DELIVERY) -> Receipt:
    """The writer gives the holder the right to 7 BTC-minor for 500 USD-minor."""
    return world.try_to(
        f"{writer} {holder}" if writer != holder else writer,
        "contract.start",
        contract=name,
        program=program.program_id,
        accounts=f"{writer}/main,{holder}/main",
        assets="BTC,USD",
        feeds="",
        parameters=f"7,500,{EXPIRY_UNIX_MS}",
    )


def at_once(world: World, name: str, member: str = "M0", program: Program = AT_ONCE) -> Receipt:
    """A contract that is over when it has begun."""
    fields = {**SMALL, "accounts": f"{member}/main"}
    return world.try_to(member, "contract.start", contract=name, program=program.program_id, **fields)


def exercised(world: World, name: str) -> None:
    world.do("M1", "contract.elect", contract=name, election="elected", value=1)


def test_a_member_that_has_all_it_may_keeps_nobody_else_from_opening() -> None:
    """Limits over the whole ledger let one hostile member lock everybody else out."""
    world = made(contracts_per_member_max=2)
    assert [at_once(world, f"A{n}").code for n in range(3)] == ["", "", "limit_reached"]
    assert "member=M0" in at_once(world, "A3").message
    assert [at_once(world, f"B{n}", "M1").code for n in range(2)] == ["", ""]
    assert deliver(world, "D1", "M2", "M2").code == ""


def test_every_party_of_a_contract_is_counted_once() -> None:
    """Each has signed for it; who is on both sides has one contract, not two."""
    world = made(contracts_per_member_max=2)
    assert deliver(world, "D1", "M0", "M1").code == ""
    assert deliver(world, "D2", "M1", "M1").code == ""
    shares = queries.members(world.state)["members"]
    assert [each["contracts"] for each in shares] == [1, 2, 0]
    assert (shares[1]["contract_inputs"], shares[1]["program_bytes"]) == (2, 1_024)
    refused = deliver(world, "D3", "M2", "M1")
    assert (refused.code, "member=M1" in refused.message) == ("limit_reached", True)
    assert deliver(world, "D3", "M2", "M0").code == ""


def test_the_inputs_of_a_members_contracts_are_bounded() -> None:
    """Each takes a node's memory, and a program may have a thousand."""
    world = made(contract_inputs_per_member_max=2)
    assert [deliver(world, f"D{n}", "M0", "M0").code for n in range(3)] == ["", "", "limit_reached"]
    assert deliver(world, "D3", "M1", "M2").code == ""


def test_the_programs_that_a_member_needs_are_bounded_by_their_bytes() -> None:
    """A program may have 64 KiB, and a short one takes a row all the same."""
    world = made(program_bytes_per_member_max=3_000)
    stored = [world.try_to("M1", "program.store", program=encode_program(other(name))).code for name in ("a", "b", "c")]
    assert stored == ["", "", "limit_reached"]
    assert at_once(world, "A1", "M1").code == "limit_reached"
    assert at_once(world, "A1", "M1", other("a")).code == ""
    assert world.try_to("M2", "program.store", program=encode_program(other("c"))).code == ""


def test_a_closed_contract_leaves_the_state_after_its_retention_and_not_before() -> None:
    """Whoever was a party has so many blocks to look, to prove and to reconcile; after them its name is free."""
    world = made(contracts_per_member_max=1)
    at_once(world, "A1")
    closed_height = world.state.height
    assert contract_queries.contract(world.state, "A1")["closed_height"] == closed_height
    for _ in range(RETENTION_BLOCKS - 1):
        world.block()
        assert "A1" in world.state.contracts.rows
    assert contract_queries.contract(world.state, "A1")["kept_until_height"] == world.state.height
    assert system_work(world.state, world.now_unix_ms) >= 1
    output = world.block()
    assert world.state.height == closed_height + RETENTION_BLOCKS
    assert output.events[-1] == ("contract_removed", (("contract", "A1"),))
    assert not world.state.contracts.rows
    assert at_once(world, "A1").code == ""


def test_an_open_contract_never_leaves() -> None:
    """Its pot holds money that is somebody's."""
    world = made()
    deliver(world, "D1")
    for _ in range(3 * RETENTION_BLOCKS):
        world.block()
    assert world.state.contracts.rows["D1"].is_open


def test_a_contract_that_has_left_is_answered_for_clearly() -> None:
    """Not to find it must not read as if it had never been; and its absence can be proved."""
    world = made()
    at_once(world, "A1")
    name = EntryName("contracts", ("A1",)).entry_key
    for is_there in (True, False):
        entries = proved_entries(world.state.prove(name), world.state.root, world.document.limits.merkle_depth)
        assert (name in entries) is is_there
        for _ in range(RETENTION_BLOCKS):
            world.block()
    with pytest.raises(Rejected, match="or has closed within the blocks") as caught:
        contract_queries.contract(world.state, "A1")
    assert caught.value.code == "unknown_contract"
    assert caught.value.details["contract_retention_blocks"] == RETENTION_BLOCKS
    elect = {"contract": "A1", "election": "elected", "value": 1}
    assert world.try_to("M0", "contract.elect", **elect).code == "unknown_contract"


def test_the_state_stays_as_small_as_it_was_however_many_contracts_open_and_close() -> None:
    """A state that only grows fills the memory of every node in the end; and no unit is lost on the way."""
    world = made()
    sizes = []
    for n in range(12 * RETENTION_BLOCKS):
        deliver(world, f"D{n}")
        exercised(world, f"D{n}")
        sizes.append(len(dict(world.state.entries())))
        assert audit(world.state) == ()
    assert max(sizes[6 * RETENTION_BLOCKS :]) <= max(sizes[: 6 * RETENTION_BLOCKS])
    assert len(world.state.contracts.rows) <= RETENTION_BLOCKS
    assert dict(world.state.entries()) == world.store
    assert world.free("M1/main", "USD") == 10**9 - 12 * RETENTION_BLOCKS * 500


def joined(world: World) -> State:
    """What a node has that fetched this state in pieces, each checked."""
    depth = world.document.limits.merkle_depth
    cut = cut_state(world.state.entries(), depth)
    check = ReplayCheck(world.state.height)
    entries = []
    for place, data in enumerate(cut.slices):
        found = check_slice(data, world.state.root, depth, cut.level, place)
        check.expect(found)
        entries += found
    for data in cut.replay:
        entries += check.take(data)
    assert check.is_complete
    return restore_state(world.document, entries)


@pytest.mark.parametrize("ahead", range(RETENTION_BLOCKS + 2))
def test_who_restarted_or_joined_removes_the_same_at_the_same_block(ahead: int) -> None:
    """What leaves, and when, follows from the rows: a node that forgot when something closed would split the chain."""
    world = made()
    for n in range(3):
        deliver(world, f"D{n}")
        at_once(world, f"A{n}", "M1")
        exercised(world, f"D{n}")
    world.do("M0", "program.remove", program=DELIVERY.program_id)
    for _ in range(ahead):
        world.block()
    others = [world.restored(), joined(world)]
    assert [each.root for each in others] == [world.state.root] * 2
    for _ in range(RETENTION_BLOCKS + 1):
        start = world.envelope("M1", operation("contract.start", contract="A9", program=AT_ONCE.program_id, **ALONE))
        height, now = world.state.height + 1, world.now_unix_ms
        output = world.block(start)
        for each in others:
            again = apply_block(each, BlockInput(height, now, [start]))
            assert (again.root, again.receipts, again.events) == (output.root, output.receipts, output.events)
    assert list(world.state.contracts.rows) == ["A9"]
    assert DELIVERY.program_id not in world.state.programs.rows


def test_a_program_stays_while_a_contract_is_of_it_and_leaves_with_the_last() -> None:
    """A contract whose program is gone could never settle, nor be read once it has closed."""
    world = made()
    deliver(world, "D1", "M1", "M2")
    assert world.do("M0", "program.remove", program=DELIVERY.program_id).events == (
        ("program_given_up", (("program", DELIVERY.program_id), ("member", "M0"))),
    )
    answer = contract_queries.program(world.state, DELIVERY.program_id)
    assert (answer["held_by"], answer["contracts"]) == ([], 1)
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    assert not world.state.contracts.rows["D1"].is_open
    for _ in range(RETENTION_BLOCKS):
        assert contract_queries.contract(world.state, "D1")["name"] == "delivery"
        output = world.block()
    assert output.events[-1] == ("program_removed", (("program", DELIVERY.program_id),))
    with pytest.raises(Rejected, match="unknown_program"):
        contract_queries.program(world.state, DELIVERY.program_id)


def test_nobody_takes_a_program_from_another_that_holds_it() -> None:
    """Else the one that stored it first could keep the others from starting anything, by taking it away each time."""
    world = made()
    encoded = encode_program(DELIVERY)
    assert world.try_to("M0", "program.store", program=encoded).code == "already_exists"
    assert world.try_to("M1", "program.store", program=encoded).code == ""
    assert world.try_to("M2", "program.remove", program=DELIVERY.program_id).code == "not_held"
    assert world.try_to("M0", "program.remove", program=DELIVERY.program_id).code == ""
    assert world.try_to("M0", "program.remove", program=DELIVERY.program_id).code == "not_held"
    assert deliver(world, "D1", "M2", "M0").code == ""
    assert world.try_to("M1", "program.remove", program=AT_ONCE.program_id).code == "not_held"
    assert world.try_to("M0", "program.remove", program=AT_ONCE.program_id).code == ""
    assert world.try_to("M0", "program.remove", program=AT_ONCE.program_id).code == "unknown_program"
    assert world.try_to("issuer", "program.remove", program=DELIVERY.program_id).code == "not_authorised"


def test_others_contracts_do_not_use_up_the_share_of_who_stored_the_program() -> None:
    """Else whoever runs a contract of it for ever would keep its author from storing another."""
    world = made(program_bytes_per_member_max=2_048)
    deliver(world, "D1", "M1", "M2")
    replaced = encode_program(other("newer"))
    assert world.try_to("M0", "program.store", program=replaced).code == "limit_reached"
    world.do("M0", "program.remove", program=DELIVERY.program_id)
    assert world.state.holdings.share("M0").program_bytes == 1_024
    assert world.try_to("M0", "program.store", program=replaced).code == ""


def test_a_refused_envelope_leaves_every_share_as_it_was() -> None:
    """What is undone must not count, or a member would lose its share to its own mistakes."""
    world = made(contracts_per_member_max=1)
    before = [world.state.holdings.share(member) for member in ("M0", "M1")]
    start = operation("contract.start", contract="A1", program=AT_ONCE.program_id, **ALONE)
    stored = operation("program.store", program=encode_program(other("mine")))
    given_up = operation("program.remove", program=DELIVERY.program_id)
    fails = operation("account.open", account="M0/main")
    assert world.send("M1 M0", stored, start, fails).code == "already_exists"
    assert world.send("M0", given_up, fails).code == "already_exists"
    assert [world.state.holdings.share(member) for member in ("M0", "M1")] == before
    assert dict(world.state.entries()) == world.store


def test_a_list_of_contracts_reads_no_program() -> None:
    """After a restart a page of a hundred would otherwise verify a hundred programs, ten seconds of them."""
    world = made()
    for n in range(3):
        at_once(world, f"A{n}")
    restarted = world.restored()
    page = contract_queries.contracts(restarted)["contracts"]
    assert [(each["contract"], each["name"], each["open"]) for each in page] == [
        (f"A{n}", "pays", False) for n in range(3)
    ]
    assert system_work(restarted, EXPIRY_UNIX_MS) >= 0
    assert restarted.stored_programs.in_memory == 0


def test_programs_in_memory_are_bounded_and_what_is_read_again_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take fifty times their bytes: all of them at once would fill a node."""
    roots = []
    for bytes_max in (2**22, len(encode_program(DELIVERY)), 0):
        monkeypatch.setattr(stored_programs, "ENCODED_BYTES_MAX", bytes_max)
        world = made()
        for n in range(3):
            deliver(world, f"D{n}")
            at_once(world, f"A{n}")
            exercised(world, f"D{n}")
            roots.append((n, world.state.root))
        assert world.state.stored_programs.in_memory <= {2**22: 2, 0: 0}.get(bytes_max, 1)
    assert len(set(roots)) == 3


def test_a_block_pays_for_reading_each_program_that_it_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read one costs thirty times a run of it: contracts of many programs, due at once, would hold up the block."""
    world = made()
    programs = [other(f"p{n}", DELIVERY) for n in range(3)]
    for n, program in enumerate(programs):
        world.do("M0", "program.store", program=encode_program(program))
        assert [deliver(world, f"D{n}{m}", program=program).code for m in range(2)] == ["", ""]
    row = world.state.programs.rows[programs[0].program_id]
    run = row.gas + 4 * row.inputs
    monkeypatch.setattr(instances, "GAS_PER_BLOCK_MAX", 2 * len(row.encoded) + 3 * run)
    settled = []
    for _ in range(4):
        world.block(at_unix_ms=max(EXPIRY_UNIX_MS, world.now_unix_ms))
        settled.append(sum(not each.is_open for each in world.state.contracts.rows.values()))
    assert settled == [2, 4, 6, 6]


def test_a_store_that_lacks_a_contracts_program_is_refused() -> None:
    """A ledger that lost a row must stop the node at its start, and not in the block that needs the program."""
    world = made()
    deliver(world, "D1")
    for key in (EntryName("programs", (DELIVERY.program_id,)), EntryName("contracts", ("D1",))):
        damaged = {**world.store, key.entry_key: b"\x91\x00"}
        with pytest.raises(Rejected, match="bad_state"):
            restore_state(world.document, damaged.items())
    without = {
        key: value
        for key, value in world.store.items()
        if key != EntryName("programs", (DELIVERY.program_id,)).entry_key
    }
    with pytest.raises(Rejected, match="bad_state"):
        restore_state(world.document, without.items())
