"""An envelope executes at most once, at any load, and the memory of it costs little."""

from __future__ import annotations

from contracts.machine import restore_state
from contracts.replay import ReplayMemory
from contracts.tables import SlotRow, Table
from genesis.document import ChainClock
from genesis.envelope import Envelope
from genesis.hashing import DIGEST_BYTES
from tests.contracts.world import START_UNIX_MS, World, document, operation, set_up


def opening(world: World, name: str, expires_in_ms: int = 60_000) -> Envelope:
    """An envelope that opens a sub-account of M0."""
    return world.envelope("M0", operation("account.open", account=f"M0/{name}"), expires_in_ms=expires_in_ms)


def remembered(memory: ReplayMemory) -> int:
    """How many ids may not execute again."""
    return sum(len(ids) // DIGEST_BYTES for _key, ids in memory.entries())


def test_an_envelope_twice_in_one_block_executes_once() -> None:
    """It may come in two batches, through two validators."""
    world = set_up(World())
    envelope = opening(world, "a")
    output = world.block(envelope, envelope)
    assert [receipt.code for receipt in output.receipts] == [""]
    assert [(receipt.code, receipt.position) for receipt in output.refused] == [("replayed", 1)]


def test_an_envelope_in_a_later_block_is_refused_without_a_second_receipt() -> None:
    """The receipt that its client holds stays the one receipt of that id."""
    world = set_up(World())
    envelope = opening(world, "a")
    world.block(envelope)
    output = world.block(envelope)
    assert output.receipts == ()
    assert [receipt.code for receipt in output.refused] == ["replayed"]


def test_a_rejected_envelope_is_remembered_too() -> None:
    """Else a trade refused for want of collateral could be executed by a stranger after the next deposit."""
    world = set_up(World())
    envelope = world.envelope("M1", operation("account.open", account="M0/a"))
    assert world.block(envelope).receipts[0].code == "missing_signature"
    assert world.block(envelope).refused[0].code == "replayed"


def test_expired_and_too_long_lived_envelopes_do_not_execute() -> None:
    """Block time decides, to the millisecond."""
    world = set_up(World())
    at = world.now_unix_ms
    for expires_in_ms, code in ((0, "expired"), (1, ""), (120_000, ""), (120_001, "lifetime_too_long")):
        envelope = opening(world, f"x{expires_in_ms}", expires_in_ms + at - world.now_unix_ms)
        output = world.block(envelope, at_unix_ms=at)
        codes = [receipt.code for receipt in (*output.receipts, *output.refused)]
        assert codes == [code], expires_in_ms
        at += 1


def test_a_slot_is_kept_while_anything_in_it_may_still_live() -> None:
    """Within the very second of its expiry an envelope could otherwise execute again."""
    world = set_up(World())
    ends_unix_ms = world.now_unix_ms // 1_000 * 1_000 + 10_999
    envelope = opening(world, "a", ends_unix_ms - world.now_unix_ms)
    world.block(envelope)
    for at in (ends_unix_ms - 998, ends_unix_ms - 1):
        assert [receipt.code for receipt in world.block(envelope, at_unix_ms=at).refused] == ["replayed"]


def test_a_slot_is_dropped_when_all_in_it_have_expired() -> None:
    """The memory is bounded by the lifetime; what is dropped is refused for its age."""
    world = set_up(World())
    envelope = opening(world, "a")
    world.block(envelope)
    assert remembered(world.state.replay) > 0
    output = world.block(envelope, at_unix_ms=world.now_unix_ms + 200_000)
    assert [receipt.code for receipt in output.refused] == ["expired"]
    assert remembered(world.state.replay) == 0
    assert not world.state.replay_slots.rows
    assert not [key for key in world.store if key[:1] in (b"\x80", b"\x0d")]


def test_a_restart_remembers() -> None:
    """Fault 31: replays after a crash."""
    world = set_up(World())
    envelope = opening(world, "a")
    world.block(envelope)
    world.state = world.restored()
    assert world.block(envelope).refused[0].code == "replayed"


def test_the_root_covers_the_ids_in_their_order() -> None:
    """Two replicas that remember different ids must not agree."""
    roots = set()
    for order in ((0, 1), (1, 0)):
        world = set_up(World())
        pair = [opening(world, "a"), opening(world, "b")]
        roots.add(world.block(*[pair[n] for n in order]).root)
    assert len(roots) == 2


def test_a_replay_testnet_has_slots_as_wide_as_its_speed() -> None:
    """At 3,600 times the wall, a second of the wall is an hour: still one slot, one entry."""
    world = World(document(clock=ChainClock(0, START_UNIX_MS - 1_000, 3_600)))
    world.block(*[opening(world, f"n{n}", expires_in_ms=60_000 * n) for n in range(1, 40)])
    assert len(world.state.replay_slots.rows) <= 2
    assert remembered(world.state.replay) == 39
    assert restore_state(world.document, world.store.items()).root == world.state.root


def test_a_million_live_ids_write_one_entry_a_block() -> None:
    """The cost of remembering is a set and a string; the tree sees one digest a slot."""
    table: Table[int, SlotRow] = Table(13, SlotRow, [])
    memory = ReplayMemory(table, 1_000, 120_000)
    for height in range(100):
        for n in range(10_000):
            memory.remember((height * 10_000 + n).to_bytes(32, "big"), 5_000)
        assert len(memory.seal(height)) == 1
    assert remembered(memory) == 1_000_000
    assert (memory.work_due(5_999), memory.work_due(6_000)) == (0, 100)
    assert len(table.rows) == 1
    assert len(memory.drop_ended(6_000)) == 100
    assert remembered(memory) == 0
