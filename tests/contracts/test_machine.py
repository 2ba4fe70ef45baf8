"""The machine as a whole: atomic, deterministic, restorable, and never losing a unit whatever members do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import queries
from contracts.machine import BlockInput, admit, apply_block, genesis_state, restore_state
from contracts.state import State
from genesis.document import ChainClock
from genesis.errors import InvariantViolation, Rejected
from tests.contracts.world import (
    EXPIRY_UNIX_MS,
    START_UNIX_MS,
    World,
    document,
    list_series,
    operation,
    set_up,
    trade_of,
)

CALL, PUT = "BTC-A-63000-C", "BTC-A-63000-P"
ROOT = Path(__file__).resolve().parents[2]


def story() -> World:
    """A short life of a chain: trades, a refusal, samples, an expiry."""
    world = set_up(World())
    for name in (CALL, PUT):
        list_series(world, name)
    world.send("M0 M1", trade_of(CALL, "M0", "M1", 7))
    world.send("M0 M2", trade_of(PUT, "M2", "M0", 3))
    world.send("M0", trade_of(PUT, "M2", "M0", 3))
    for left in range(30, 0, -5):
        at = EXPIRY_UNIX_MS - left * 60_000
        world.block(at_unix_ms=at)
        world.oracles_say(6_400_000 + left, at)
    world.expire(5_000)
    return world


def test_the_root_after_a_known_story_is_golden() -> None:
    """Any change of a rule, an encoding or a hash is consensus-breaking and must be meant."""
    assert story().state.root.hex() == "c2390bd00833b792db8dcc7ff91ccb4fc592c113d6540f2613b4df11b8df0857"


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_the_root_does_not_depend_on_the_hash_seed_locale_or_zone(seed: str) -> None:
    """Sets and dictionaries iterate differently in every process; a root that followed them would fork the chain."""
    surroundings = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC{seed[0]}", "LC_ALL": "C"}
    code = "from tests.contracts.test_machine import story; print(story().state.root.hex())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=surroundings, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == story().state.root.hex()


def test_a_restored_state_has_the_same_root_and_goes_on_the_same() -> None:
    """A restart in the middle of everything must not be visible to the chain."""
    world = set_up(World())
    for name in (CALL, PUT):
        list_series(world, name)
    world.send("M0 M1", trade_of(CALL, "M0", "M1", 7))
    world.oracles_say(6_400_000, world.now_unix_ms)
    restored = world.restored()
    assert (restored.root, restored.height, restored.time_unix_ms) == (
        world.state.root,
        world.state.height,
        world.state.time_unix_ms,
    )
    assert dict(restored.entries()) == dict(world.state.entries()) == world.store
    for at in (world.now_unix_ms, EXPIRY_UNIX_MS, EXPIRY_UNIX_MS + 3_700_000):
        envelope = world.envelope("M0 M1", trade_of(CALL, "M1", "M0", 2))
        block = BlockInput(restored.height + 1, at, [envelope])
        here, there = apply_block(world.state, block), apply_block(restored, block)
        assert here.root == there.root
        assert here.receipts == there.receipts
        assert sorted(map(repr, here.writes)) == sorted(map(repr, there.writes))
        assert len({key for key, _value in here.writes}) == len(here.writes)


def test_no_entries_restore_to_genesis() -> None:
    """An empty store is a chain that has not begun."""
    fresh = genesis_state(document())
    assert restore_state(document(), []).root == fresh.root
    assert (fresh.height, fresh.time_unix_ms) == (0, START_UNIX_MS - 1_000)


@pytest.mark.parametrize(
    "entry", [(b"\x63\xa1x", b"\x90"), (b"\x08\xa1x", b"\x91\x01"), (b"\x08\xc1", b"\x92\x01\x01")]
)
def test_a_foreign_entry_is_refused(entry: tuple[bytes, bytes]) -> None:
    """A store of another version must not be half understood."""
    with pytest.raises(Rejected, match="bad_state"):
        restore_state(document(), [entry])


@pytest.mark.parametrize(("height", "time_unix_ms"), [(1, START_UNIX_MS), (3, START_UNIX_MS), (2, START_UNIX_MS - 1)])
def test_a_block_out_of_order_is_our_own_bug(height: int, time_unix_ms: int) -> None:
    """Execution promises the machine heights in order and time moving forward."""
    world = World()
    world.block()
    with pytest.raises(InvariantViolation):
        apply_block(world.state, BlockInput(height, time_unix_ms, []))


def test_admission_refuses_what_the_block_would_refuse() -> None:
    """The mempool holds only envelopes that stand a chance."""
    world = set_up(World())
    admit(world.state, world.envelope("M0 M1"))
    with pytest.raises(Rejected, match="unknown_signer"):
        admit(world.state, world.envelope("M0 stranger"))
    with pytest.raises(Rejected, match="expired"):
        admit(world.state, world.envelope("M0", expires_in_ms=-1_000))
    with pytest.raises(Rejected, match="lifetime_too_long"):
        admit(world.state, world.envelope("M0", expires_in_ms=200_000))
    envelope = world.envelope("M0", operation("account.open", account="M0/desk"))
    world.block(envelope)
    with pytest.raises(Rejected, match="replayed"):
        admit(world.state, envelope)


def test_before_the_first_block_admission_asks_for_known_signers_only() -> None:
    """A chain without a block has no block time to measure an expiry by."""
    state = genesis_state(document(clock=ChainClock()))
    world = World()
    admit(state, world.envelope("governor"))
    with pytest.raises(Rejected, match="unknown_signer"):
        admit(state, world.envelope("M0"))


def test_an_unknown_signer_in_a_block_moves_nothing() -> None:
    """A batch may hold what its author should not have admitted."""
    world = set_up(World())
    receipt = world.send("stranger", operation("account.open", account="M0/desk"))
    assert receipt.code == "missing_signature"


MEMBERS = st.integers(0, 3)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("trade"), MEMBERS, MEMBERS, st.sampled_from([CALL, PUT]), st.integers(1, 400), st.integers(0, 300)
        ),
        st.tuples(st.just("transfer"), MEMBERS, MEMBERS, st.integers(1, 10**10)),
        st.tuples(st.just("issue"), MEMBERS, st.integers(1, 10**9)),
        st.tuples(st.just("redeem"), MEMBERS, st.integers(1, 10**10)),
        st.tuples(st.just("sample"), st.integers(2_000_000, 20_000_000)),
    ),
    max_size=25,
)


def wire_of(action: tuple[object, ...]) -> tuple[str, tuple[object, ...]]:
    """The signers and the wire form of a drawn action."""
    kind, *rest = action
    if kind == "trade":
        buyer, seller, series, lots, price = rest
        return f"M{buyer} M{seller}", (9, series, f"M{buyer}/main", f"M{seller}/main", lots, price)
    if kind == "transfer":
        source, destination, amount = rest
        return f"M{source}", (8, f"M{source}/main", f"M{destination}/main", "BTC", amount)
    if kind == "issue":
        return "issuer", (6, "BTC", f"M{rest[0]}/main", rest[1])
    if kind == "redeem":
        return f"issuer M{rest[0]}", (7, "BTC", f"M{rest[0]}/main", rest[1])
    return "oracle0 oracle1", (10, "BTC_USD", 0, rest[0])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, min_size=1, max_size=6))
def test_whatever_members_do_everything_is_conserved(envelopes: list[list[tuple[object, ...]]]) -> None:
    """Random envelopes of random operations, audited from scratch after every block, and restored."""
    world = set_up(World(), members=4, deposit_minor=10**10)
    for name in (CALL, PUT):
        list_series(world, name)
    for actions in envelopes:
        signers = ["M0", "M1", "M2", "M3"]
        operations: list[tuple[object, ...]] = []
        for action in actions:
            needed, wire = wire_of(action)
            if wire[0] == 10:
                wire = (*wire[:2], world.now_unix_ms - len(operations), wire[3])
            operations.append(wire)
            signers += needed.split()
        if operations:
            world.block(world.envelope(" ".join(dict.fromkeys(signers)), *operations))
            assert world.restored().root == world.state.root
    world.expire(5_000)
    world.expire(5_000 + 3_600_000)
    assert ("BTC_USD", EXPIRY_UNIX_MS) not in world.state.derived.unsettled
    assert not world.state.positions.rows
    supply = -balance_of(world.state, "@issued")
    assert supply == sum(balance_of(world.state, f"M{n}/main") for n in range(4))
    assert all(row.locked_minor == 0 for row in world.state.balances.rows.values())


def balance_of(state: State, account: str) -> int:
    """Free units of an account."""
    return int(queries.account(state, account)["balances"].get("BTC", {"free_minor": 0})["free_minor"])
