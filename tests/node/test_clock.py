"""The clocks: whole milliseconds, mapped to the chain's era and speed."""

from __future__ import annotations

from consensus.events import Now
from genesis.document import ChainClock
from node.clock import Clock

MS = 1_000_000


def test_a_replay_clock_runs_at_its_speed_from_its_origin() -> None:
    """Every validator maps the wall to block time alike, or none would vote for another's block."""
    replay = ChainClock(wall_origin_unix_ms=1_000, chain_origin_unix_ms=50_000, speed=60)
    clock = Clock(replay, wall_ns=lambda: 1_250 * MS + 999_999, monotonic_ns=lambda: 7 * MS + 1)
    assert clock.now() == Now(7, 50_000 + 250 * 60)


def test_a_replay_clock_stands_still_before_its_origin() -> None:
    """While the nodes of a replay testnet start, no chain time passes."""
    clock = Clock(ChainClock(1_000, 50_000, 60), wall_ns=lambda: 999 * MS, monotonic_ns=lambda: 0)
    assert clock.now().chain_unix_ms == 50_000


def test_a_wall_clock_set_back_does_not_move_the_timers() -> None:
    """docs/FAULTS.md row 26: timers hang on the monotonic clock alone; block time shows what the wall says."""
    wall = iter((5_000 * MS, 1_000 * MS))
    ticks = iter((10 * MS, 20 * MS))
    clock = Clock(ChainClock(), wall_ns=lambda: next(wall), monotonic_ns=lambda: next(ticks))
    assert (clock.now(), clock.now()) == (Now(10, 5_000), Now(20, 1_000))


def test_the_default_clock_reads_the_machine() -> None:
    """A clock left on its test functions would stop every timer."""
    clock = Clock(ChainClock())
    first, second = clock.now(), clock.now()
    assert second.monotonic_ms >= first.monotonic_ms
    assert first.chain_unix_ms > 1_700_000_000_000
