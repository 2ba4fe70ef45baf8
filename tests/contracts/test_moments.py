"""Moments on the ledger: a contract goes on by itself when its time comes, and not before."""

from __future__ import annotations

from contracts.vm.bytecode import encode_program
from tests.contracts.test_instances import pot
from tests.contracts.vm.later import HOUR_MS, later
from tests.contracts.world import EXPIRY_UNIX_MS, PARAMS, START_UNIX_MS, World, set_up, with_params

PROGRAM = later().program
DELAY_MS = PARAMS.settlement_delay_ms
DELIVERY_UNIX_MS = EXPIRY_UNIX_MS + HOUR_MS


def started(delivery_unix_ms: int = DELIVERY_UNIX_MS) -> World:
    """M0 owes M1 7 units above 60,000."""
    world = set_up(World(with_params()))
    world.do("M0", "program.store", program=encode_program(PROGRAM))
    fields = {"accounts": "M0/main,M1/main", "assets": "BTC", "feeds": "BTC_USD"}
    parameters = f"7,6000000,{EXPIRY_UNIX_MS},{delivery_unix_ms}"
    assert world.do(
        "M0 M1", "contract.start", contract="L1", program=PROGRAM.program_id, parameters=parameters, **fields
    )
    return world


def priced(world: World) -> None:
    """The price of the expiry arrives and is settled."""
    world.block(at_unix_ms=EXPIRY_UNIX_MS)
    world.oracles_say(6_000_100, EXPIRY_UNIX_MS)
    world.block(at_unix_ms=EXPIRY_UNIX_MS + DELAY_MS)


def test_it_pays_at_the_moment_and_not_before() -> None:
    """Settlement days after expiry are what cash markets use; the amount is fixed, the money still locked."""
    world = started()
    buyer = world.free("M1/main")
    priced(world)
    assert world.state.contracts.rows["L1"].settled == ((0, 6_000_100),)
    world.block(at_unix_ms=DELIVERY_UNIX_MS - 1)
    assert (pot(world, "L1"), world.free("M1/main") - buyer) == (7, 0)
    world.block()
    assert (pot(world, "L1"), world.free("M1/main") - buyer) == (0, 7)
    assert not world.state.contracts.rows["L1"].is_open


def test_a_restarted_node_still_knows_the_moment() -> None:
    """What is due is computed from rows; a validator that forgot it would split the chain."""
    world = started()
    priced(world)
    restored = world.restored()
    assert restored.root == world.state.root
    assert restored.open_inputs.due(DELIVERY_UNIX_MS - 1) == []
    assert restored.open_inputs.due(DELIVERY_UNIX_MS) == [(DELIVERY_UNIX_MS, "L1", 1)]


def test_a_moment_that_is_past_comes_with_the_next_block() -> None:
    """It holds nobody up, so there is nothing to refuse."""
    world = started(START_UNIX_MS - 1)
    world.block()
    assert world.state.contracts.rows["L1"].settled == ((1, 1),)
    buyer = world.free("M1/main")
    priced(world)
    assert world.free("M1/main") - buyer == 7


def test_nobody_elects_a_moment() -> None:
    """A party that could call the time would be paid early."""
    world = started()
    assert world.try_to("M1", "contract.elect", contract="L1", election="paid", value=1).code == "unknown_election"
