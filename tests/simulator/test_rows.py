"""Rows of docs/FAULTS.md as scenarios on both engines: what the seeds do at random, here on purpose and with figures.

Each scenario runs whole simulated replicas: engine, disk, data plane, executor. The oracles of
`node.simulator.checks` watch all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from consensus.types import Proposal, Timeout
from node.simulator.byzantine import Censor, DoubleVote, Equivocate, FutureViews, Strategy, Withhold, WithholdBatch
from node.simulator.cast import Cast
from node.simulator.cluster import Cluster
from node.simulator.replica import Replica
from node.simulator.run import progress
from node.simulator.settings import SIMULATED, Fault, Settings
from tests.simulator.sabotage import ENGINES

pytestmark = pytest.mark.parametrize("engine", ENGINES)
TIMEOUT_MS = SIMULATED.view_timeout_ms
LONGEST_MS = SIMULATED.view_timeout_ms_max
MINUTE_MS = 60_000
USUAL = replace(SIMULATED, view_timeout_ms=1_000, view_timeout_ms_max=8_000, resend_interval_ms=500)


def make(engine: str, *, size: int = 4, roles: tuple[tuple[int, Fault], ...] = (), load_ms: int = 10) -> Cluster:
    """A running network under a steady load."""
    made = Cluster(Settings(1, engine, (1,) * size, faults=()), Random(1), Cast(roles))
    made.start()
    made.load(load_ms)
    return made


def at_usual_pace(engine: str) -> Cluster:
    """A running network with the timeouts of a real chain, which for most of the time has nothing to do."""
    made = Cluster(
        Settings(1, engine, faults=(), params=replace(USUAL, block_interval_idle_ms=1_000)), Random(1), Cast()
    )
    made.start()
    made.load(2_000)
    return made


def grows(made: Cluster, blocks: int, within_ms: int, replicas: list[Replica] | None = None) -> int:
    """Until these replicas (by default all honest ones) stand so many blocks higher; how long it took."""
    watched = replicas if replicas is not None else made.honest
    target, start_ms = made.height + blocks, made.heap.now_ms
    reached = made.heap.run_until(lambda: all(each.disk.height >= target for each in watched), start_ms + within_ms)
    assert reached, f"not within {within_ms} ms: {made.heights}"
    return made.heap.now_ms - start_ms


def cut(made: Cluster, *sides: set[int]) -> None:
    """Only within each side a frame passes."""
    side = {place: number for number, places in enumerate(sides) for place in places}
    places = range(len(made.replicas))
    made.links.cut = {(one, other) for one in places for other in places if side.get(one, -1) != side.get(other, -2)}


@pytest.mark.parametrize(("size", "silent"), [(4, (2,)), (7, (2, 3)), (7, (1, 4))])
def test_a_silent_leader_costs_one_timeout(engine: str, size: int, silent: tuple[int, ...]) -> None:
    """Row 11: its own view and no other, though its votes are missing as well; then it is passed over for a while."""
    made = make(engine, size=size)
    grows(made, 5, 2_000)
    for index in silent:
        made.replicas[index].crash()
    alive = [each for each in made.replicas if each.index not in silent]
    given_up = made.oracle.counts["report view_timeout"]
    first = made.view
    grows(made, 20, 60 * TIMEOUT_MS, alive)
    led = sum(view % size in silent for view in range(first, made.view + 1))
    spent = (made.oracle.counts["report view_timeout"] - given_up) / len(alive)
    assert led >= 3
    assert 1 <= spent <= 2 * len(silent)


@pytest.mark.parametrize("sides", [({0, 1}, {2, 3}), ({0}, {1, 2, 3}), ({0}, {1}, {2}, {3})])
def test_after_a_partition_all_commit_within_five_timeouts(engine: str, sides: tuple[set[int], ...]) -> None:
    """Row 20: halves, one alone, all alone."""
    made = make(engine)
    grows(made, 5, 2_000)
    cut(made, *sides)
    made.heap.run(40 * TIMEOUT_MS)
    made.links.cut = set()
    assert progress(made) <= 5 * LONGEST_MS


def test_a_partition_of_half_an_hour_heals(engine: str) -> None:
    """Row 21, at the usual timeouts: the timers are capped, views agree again, nothing has piled up."""
    made = at_usual_pace(engine)
    grows(made, 2, 60_000)
    cut(made, {0, 1}, {2, 3})
    made.heap.run(30 * MINUTE_MS)
    made.links.cut = set()
    assert progress(made) <= 5 * USUAL.view_timeout_ms_max


def test_a_replica_stopped_for_a_minute_comes_back(engine: str) -> None:
    """Row 26: SIGSTOP, at the usual timeouts; the others go on meanwhile, and it makes up for all of it."""
    made = at_usual_pace(engine)
    grows(made, 2, 60_000)
    victim = made.replicas[1]
    victim.stop()
    made.heap.run(MINUTE_MS)
    others = [each for each in made.replicas if each is not victim]
    assert min(each.disk.height for each in others) > victim.disk.height + 10
    victim.go_on()
    assert progress(made) <= 5 * USUAL.view_timeout_ms_max


def test_a_slow_disk_slows_the_chain_and_changes_no_view(engine: str) -> None:
    """Row 9: syncs that take long, on the leader and on followers, are not taken for silence."""
    made = make(engine)
    grows(made, 5, 2_000)
    before = made.oracle.counts["report view_timeout"]
    for replica in made.replicas:
        replica.disk.latency_ms = TIMEOUT_MS // 8
    grows(made, 10, 40 * TIMEOUT_MS)
    assert made.oracle.counts["report view_timeout"] == before


def test_all_crash_together_and_go_on(engine: str) -> None:
    """Row 10: again and again, at moments of no meaning."""
    made = make(engine)
    for round_number in range(12):
        made.heap.run(17 + 13 * round_number)
        for replica in made.replicas:
            replica.crash()
            replica.start()
    assert progress(made) <= 5 * LONGEST_MS


def test_a_replica_with_an_empty_directory_comes_back(engine: str) -> None:
    """Row 10 and 3: it follows, stays silent until others have told it what it may have signed, then signs again."""
    made = make(engine)
    grows(made, 20, 10_000)
    victim = made.replicas[3]
    victim.crash()
    victim.disk.wipe()
    victim.start()
    assert victim.core is not None
    assert victim.core.is_amnesiac
    grows(made, 20, 20_000)

    def signs_again() -> bool:
        core = victim.core
        return core is not None and not core.is_amnesiac and core.view >= core.silent_below_view

    assert made.heap.run_until(signs_again, made.heap.now_ms + 20_000)
    made.replicas[0].crash()
    grows(made, 10, 60 * TIMEOUT_MS, made.replicas[1:])


@pytest.mark.parametrize("safety_only", [True, False])
def test_an_old_copy_of_the_safety_state_stops_its_replica(engine: str, safety_only: bool) -> None:
    """Row 4: it finds its own signature, which its state does not know of, and signs nothing more."""
    made = make(engine)
    grows(made, 5, 2_000)
    victim = made.replicas[1]
    copy = victim.disk.backup()
    grows(made, 30, 10_000)
    victim.crash()
    victim.disk.restore(copy, safety_only=safety_only)
    victim.is_restored = True
    victim.start()
    made.heap.run(5 * TIMEOUT_MS)
    assert victim.halted is not None
    assert "our key signed" in victim.halted
    grows(made, 5, 40 * TIMEOUT_MS, [each for each in made.replicas if each is not victim])


def role(engine: str, strategy: Callable[[], Strategy]) -> Cluster:
    """A network in which validator 1 follows a strategy."""
    return make(engine, roles=((1, strategy().fault),))


@pytest.mark.parametrize("strategy", [Equivocate, DoubleVote, Strategy])
def test_who_speaks_twice_is_named_and_nobody_else(engine: str, strategy: Callable[[], Strategy]) -> None:
    """Rows 1 and 2, accountability: a leader with two blocks, a voter with two votes, a twin; oracle *accusation*
    watches who is named, with real signatures."""
    settings = Settings(1, engine, faults=(), real_signatures=True)
    made = Cluster(settings, Random(1), Cast(((1, strategy().fault),)))
    made.start()
    made.load(10)
    grows(made, 20, 80 * TIMEOUT_MS)
    assert made.oracle.counts["accusations"] > 0


def test_what_one_leader_censors_the_next_includes(engine: str) -> None:
    """Row 14: within f + 1 honest leaders; the strategy's victims are half of all batches."""
    made = role(engine, Censor)
    grows(made, 5, 4_000)
    names = [made.submit(made.honest[0]) for _ in range(8)]
    first = made.view
    made.heap.run_until(
        lambda: all(name is not None and made.honest[0].payloads.has_executed(name) for name in names),
        made.heap.now_ms + 40 * TIMEOUT_MS,
    )
    assert all(name is not None and made.honest[0].payloads.has_executed(name) for name in names)
    assert made.view - first <= 8


def test_a_withheld_batch_costs_a_view_and_stalls_nobody(engine: str) -> None:
    """Row 16: what is ordered and cannot be had is not voted for; what a quorum voted for can be had."""
    made = role(engine, WithholdBatch)
    grows(made, 20, 60 * TIMEOUT_MS)
    assert made.oracle.counts[Fault.WITHHOLD_BATCH] > 0
    assert progress(made) <= 5 * LONGEST_MS


def test_votes_far_ahead_leave_nothing_behind(engine: str) -> None:
    """Row 24: oracle *bounds* watches; the figure is what a vote window allows."""
    made = role(engine, FutureViews)
    grows(made, 30, 60 * TIMEOUT_MS)
    assert made.oracle.counts[Fault.FUTURE_VIEWS] > 5
    held = [dict(each.core.held)["votes"] for each in made.honest if each.core is not None]
    assert max(held) <= 18 * 4


def test_a_leader_that_never_speaks_again_costs_its_own_views(engine: str) -> None:
    """Row 11, Byzantine: it votes and gives up views as if nothing were wrong."""
    made = role(engine, Withhold)
    grows(made, 20, 80 * TIMEOUT_MS)


@pytest.mark.parametrize("lost", [Timeout, Proposal])
def test_the_first_of_every_kind_of_message_may_be_lost(engine: str, lost: type[Timeout | Proposal]) -> None:
    """Row 22: everything is said again, nothing only once."""
    seen: set[tuple[int, int, int]] = set()

    class Lossy(Cluster):
        def may_pass(self, sender: Replica, recipient: Replica, message: object) -> bool:
            if not isinstance(message, lost):
                return True
            key = (sender.place, recipient.place, message.view)
            is_new = key not in seen
            seen.add(key)
            return not is_new

    made = Lossy(Settings(1, engine, faults=()), Random(1), Cast())
    made.start()
    made.load(10)
    made.heap.run(300)
    made.replicas[1].crash()
    grows(made, 10, 80 * TIMEOUT_MS, [each for each in made.replicas if each.index != 1])
