"""States cut into pieces, and pieces that lie: docs/FAULTS.md row 34."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import snapshot
from contracts.machine import restore_state
from contracts.snapshot import CutState, Entry, ReplayCheck, check_slice, cut_state
from genesis.codec import decode, encode, tree
from genesis.errors import Rejected
from tests.contracts.world import World, set_up

DEPTH = 8
"""Of the worlds below."""


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of 400 bytes, so that a small state has many."""
    monkeypatch.setattr(snapshot, "SLICE_BYTES_MAX", 400)


def busy_world() -> World:
    """Members, accounts, balances, and envelopes of several blocks in one slot of replay memory."""
    world = set_up(World(), members=12)
    for number in range(40):
        salts = [
            world.envelope("governor", ("x",), expires_in_ms=30_000, salt=1_000 * number + each) for each in range(9)
        ]
        world.block(*salts, step_ms=1)
    return world


def put_together(cut: CutState, height: int, root: bytes) -> list[Entry]:
    """Every entry of a cut state, each piece checked by itself, as a joiner does."""
    found: list[Entry] = []
    replay = ReplayCheck(height)
    for place, data in enumerate(cut.slices):
        entries = check_slice(data, root, DEPTH, cut.level, place)
        replay.expect(entries)
        found += entries
    for data in cut.replay:
        assert not replay.is_complete
        found += replay.take(data)
    assert replay.is_complete
    return found


def test_a_state_put_together_from_its_pieces_is_the_same_state() -> None:
    """Root, rows and replay memory: a joiner must refuse what the others refuse."""
    world = busy_world()
    cut = cut_state(world.state.entries(), DEPTH)
    assert cut.level >= 3
    assert len(cut.replay) >= 4
    entries = put_together(cut, world.state.height, world.state.root)
    assert dict(entries) == world.store
    joined = restore_state(world.document, entries)
    assert (joined.root, joined.height) == (world.state.root, world.state.height)
    executed = world.envelope("governor", ("x",), expires_in_ms=1, salt=39_000)
    for state in (joined, world.state):
        with pytest.raises(Rejected, match="replayed"):
            state.replay.check(executed.id, world.now_unix_ms + 29_999, world.now_unix_ms)


def test_the_cut_does_not_depend_on_the_order_of_entries() -> None:
    """Peers that restored from disk and peers that executed must offer the same pieces."""
    entries = list(busy_world().state.entries())
    assert cut_state(entries, DEPTH) == cut_state(entries[::-1], DEPTH)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=6).filter(lambda key: key[0] not in (0x80, 13)),
        st.binary(max_size=900),
        max_size=40,
    )
)
def test_any_entries_come_back(entries: dict[bytes, bytes]) -> None:
    """The cut knows nothing of tables."""
    cut = cut_state(entries.items(), DEPTH)
    found = [
        pair for place, data in enumerate(cut.slices) for pair in check_slice(data, cut.root, DEPTH, cut.level, place)
    ]
    assert dict(found) == entries


def test_a_slice_with_any_byte_changed_is_refused() -> None:
    """A piece that is wrong anywhere must not reach the disk."""
    cut = cut_state(busy_world().state.entries(), DEPTH)
    data = min(cut.slices, key=len)
    place = cut.slices.index(data)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(Rejected, match="bad_piece"):
            check_slice(changed, cut.root, DEPTH, cut.level, place)


def test_a_replay_piece_with_any_byte_changed_is_refused_and_the_right_one_still_fits() -> None:
    """One liar must not spoil the piece for the honest peer that is asked next."""
    world = busy_world()
    cut = cut_state(world.state.entries(), DEPTH)
    check = ReplayCheck(world.state.height)
    for place, data in enumerate(cut.slices):
        check.expect(check_slice(data, cut.root, DEPTH, cut.level, place))
    data = cut.replay[0]
    for at in range(0, len(data), 3):
        with pytest.raises(Rejected, match="bad_piece"):
            check.take(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    take_all(check, cut.replay)
    assert check.is_complete


def take_all(check: ReplayCheck, pieces: Sequence[bytes]) -> None:
    """Take these pieces, in order."""
    for each in pieces:
        check.take(each)


def first_entry_away(path: Any, groups: Any) -> Any:
    """An entry left out."""
    return [path, [groups[0][1:], *groups[1:]]]


def entries_swapped(path: Any, groups: Any) -> Any:
    """The same entries in another order."""
    return [path, [groups[0][::-1], *groups[1:]]]


@pytest.mark.parametrize("fault", [first_entry_away, entries_swapped, lambda path, groups: [path[1:], groups]])
def test_a_slice_that_holds_other_entries_is_refused(fault: Callable[[Any, Any], Any]) -> None:
    """Well-formed, and not what was certified."""
    cut = cut_state(busy_world().state.entries(), DEPTH)
    place = max(range(len(cut.slices)), key=lambda each: len(cut.slices[each]))
    changed = encode(fault(*decode(cut.slices[place], tree(4), size_max=2**22)))
    with pytest.raises(Rejected, match="bad_piece"):
        check_slice(changed, cut.root, DEPTH, cut.level, place)


def test_a_slice_of_another_place_level_or_state_is_refused() -> None:
    """Every piece stands where it was asked for."""
    world = busy_world()
    cut = cut_state(world.state.entries(), DEPTH)
    world.do("governor", "asset.register", asset="NEW", decimals=1)
    for root, level, place in (
        (cut.root, cut.level, 1),
        (cut.root, cut.level - 1, 0),
        (world.state.root, cut.level, 0),
    ):
        with pytest.raises(Rejected, match="bad_piece"):
            check_slice(cut.slices[0], root, DEPTH, level, place)


def test_replay_pieces_are_taken_in_their_order_alone() -> None:
    """Each shows what the next has to lead to; taken twice, or early, it leads nowhere."""
    world = busy_world()
    cut = cut_state(world.state.entries(), DEPTH)
    check = ReplayCheck(world.state.height)
    for place, data in enumerate(cut.slices):
        check.expect(check_slice(data, cut.root, DEPTH, cut.level, place))
    split = next(place for place, (one, other) in enumerate(pairwise(cut.replay)) if slots(one) & slots(other))
    take_all(check, cut.replay[:split])
    with pytest.raises(Rejected, match="bad_piece"):
        check.take(cut.replay[split + 1])
    check.take(cut.replay[split])
    with pytest.raises(Rejected, match="bad_piece"):
        check.take(cut.replay[split])


def slots(piece: bytes) -> set[int]:
    """The slots of which a replay piece holds something."""
    return {part[0] for part in decode(piece, tree(6), size_max=2**22)}


def test_ids_of_blocks_above_the_snapshot_are_refused() -> None:
    """No block beyond it can have added anything."""
    world = busy_world()
    cut = cut_state(world.state.entries(), DEPTH)
    check = ReplayCheck(world.state.height - 1)
    for place, data in enumerate(cut.slices):
        check.expect(check_slice(data, cut.root, DEPTH, cut.level, place))
    with pytest.raises(Rejected, match="bad_piece"):
        take_all(check, cut.replay)


def test_a_bucket_that_makes_no_piece_is_reported() -> None:
    """Rather than sent to peers who would cut us for its size."""
    with pytest.raises(Rejected, match="snapshot_too_large"):
        cut_state([(bytes([4, number]), bytes(2**20 - 2)) for number in range(3)], 1)
