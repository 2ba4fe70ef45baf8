"""Runs over the edges of epochs: sets that change, crashes and lost memories around an edge, and who was removed. Rows
are those of docs/FAULTS.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from consensus.events import EpochClosed, PersistSafety, SignAndSend
from consensus.types import OBSERVER
from node.simulator.byzantine import OldEpoch
from node.simulator.cast import Cast, draw_cast
from node.simulator.cluster import Cluster, make_signatures
from node.simulator.replica import Replica
from node.simulator.run import progress, run, simulate
from node.simulator.schedule import SET_MAX, SET_MIN, Schedule, draw_schedule, make_member
from node.simulator.settings import SIMULATED, Fault, Settings

ENGINES = ("hotstuff", "pbft")
BLOCKS = 8
SHORT = replace(SIMULATED, epoch_blocks=BLOCKS)

engines = pytest.mark.parametrize("engine", ENGINES)


def make(engine: str, *powers: dict[int, int], seed: int = 1, roles: dict[int, Fault] | None = None) -> Cluster:
    """A network whose sets are these, epoch by epoch: each operator's power."""
    settings = Settings(seed, engine, tuple(powers[0].values()), faults=(), params=SHORT)
    keys = make_signatures(settings).public_key
    sets = tuple(tuple(make_member(each, keys(each, 0), power) for each, power in one.items()) for one in powers)
    operators = 1 + max(each for one in powers for each in one)
    cast = Cast(tuple(sorted((roles or {}).items())))
    made = Cluster(settings, Random(seed), cast, schedule=Schedule(sets, operators))
    made.start()
    made.load(10)
    return made


def comes_to(made: Cluster, epoch: int, *replicas: Replica) -> None:
    """Until these are in this epoch."""
    reached = made.heap.run_until(lambda: all(each.term.epoch >= epoch for each in replicas), made.heap.now_ms + 20_000)
    assert reached, [each.term.epoch for each in made.replicas]


def rises_to(replica: Replica, height: int) -> None:
    """Until it is at this height."""
    heap = replica.world.heap
    assert heap.run_until(lambda: replica.disk.height >= height, heap.now_ms + 20_000)


FOUR = {0: 1, 1: 1, 2: 1, 3: 1}


@engines
def test_whoever_joins_leaves_or_changes_does_so_at_the_edge(engine: str) -> None:
    """Row 33: a newcomer syncs from nothing and votes, one that left signs nothing more, a weight counts at once."""
    made = make(engine, FOUR, FOUR | {4: 1}, {1: 3, 2: 1, 3: 1, 4: 1}, {1: 3, 2: 1, 3: 1, 4: 1, 0: 1})
    comes_to(made, 2, *made.replicas[1:])
    gone = made.replicas[0]
    assert gone.term.epoch == 2
    assert gone.index == OBSERVER
    comes_to(made, 4, *made.replicas)
    assert gone.index == 4
    progress(made)


@engines
@pytest.mark.parametrize("seed", range(6))
def test_a_removed_leader_that_goes_on_moves_nobody(engine: str, seed: int) -> None:
    """Row 33: it proposes, votes and gives up views of the epoch that it is not in, and an accomplice passes it on."""
    left = {1: 1, 2: 1, 3: 1, 4: 1}
    made = make(engine, FOUR, left, seed=seed, roles={0: Fault.OLD_EPOCH, 4: Fault.OLD_EPOCH})
    comes_to(made, 5, *made.honest)
    progress(made)
    assert made.oracle.counts[Fault.OLD_EPOCH] > 10
    assert isinstance(made.replicas[0].strategy, OldEpoch)


@engines
@pytest.mark.parametrize("point", [EpochClosed, PersistSafety, SignAndSend])
def test_a_crash_where_an_epoch_ends_or_begins_costs_nothing(engine: str, point: type) -> None:
    """Row 5 at an edge: before and within the end of the old epoch, its state, the first words in the new one."""
    for seed in range(4):
        made = make(engine, FOUR, FOUR | {4: 1}, FOUR, seed=seed)
        victim = made.replicas[seed % 4]
        for epoch in range(1, 4):
            rises_to(victim, epoch * BLOCKS)
            victim.crash_at = point
            made.heap.run(made.chance.randint(5, 60))
            victim.crash_at = None
            if not victim.is_up:
                victim.start()
        progress(made)


@engines
def test_who_leaves_with_the_only_proof_that_the_epoch_is_over_still_hands_it_on(engine: str) -> None:
    """Row 33: one of five is dead, and the last votes of the one that leaves are lost on their way. It alone has the
    votes of a quorum then; without its own the others are none, and it has nothing more to say."""
    five = FOUR | {4: 1}
    scenes = 0
    for delay_ms in range(0, 20, 2):
        made = make(engine, five, FOUR)
        dead, leaving = made.replicas[0], made.replicas[4]
        made.honest.remove(dead)
        made.links.cut |= {(dead.place, each.place) for each in made.replicas}
        rises_to(leaving, BLOCKS - 1)
        made.heap.run(delay_ms)
        ways_out = {(leaving.place, each.place) for each in made.replicas}
        made.links.cut |= ways_out
        made.heap.run(2 * SIMULATED.view_timeout_ms)
        scenes += [each.term.epoch for each in made.replicas[1:]] == [0, 0, 0, 1]
        made.links.cut -= ways_out
        progress(made)
    assert scenes


@engines
@pytest.mark.parametrize("keeps_safety", [False, True])
def test_a_lost_ledger_is_made_up_for_from_edge_to_edge(engine: str, keeps_safety: bool) -> None:
    """Rows 10 and 11: with its safety state it signs nothing before the epoch of that; without, nothing that it might
    contradict."""
    made = make(engine, FOUR)
    victim = made.replicas[2]
    comes_to(made, 3, victim)
    victim.crash()
    victim.disk.wipe(keeps_safety=keeps_safety)
    victim.has_forgotten = not keeps_safety
    victim.start()
    assert (victim.index == OBSERVER) == keeps_safety
    comes_to(made, 4, *made.replicas)
    made.heap.run(2 * SIMULATED.view_timeout_ms_max)
    assert victim.core is not None
    assert not victim.core.is_amnesiac
    made.replicas[0].crash()
    comes_to(made, victim.term.epoch + 1, *made.replicas[1:])


# --- under chance -----------------------------------------------------------------------------------------------------


def test_every_planned_set_is_lawful_and_less_than_a_third_of_it_is_charged() -> None:
    """The account of f, in every epoch of every run, of weights that differ."""
    kinds: Counter[str] = Counter()
    for seed in range(60):
        settings = Settings(seed, powers=(1,) * (4 + seed % 4))
        schedule = draw_schedule(settings, make_signatures(settings).public_key, Random(seed))
        cast = draw_cast(settings, Random(seed), schedule.powers)
        charged = {operator for operator, _ in cast.roles}
        for before, powers in zip((schedule.powers[0], *schedule.powers), schedule.powers, strict=False):
            assert SET_MIN <= len(powers) <= SET_MAX
            assert 3 * sum(power for operator, power in powers.items() if operator in charged) < sum(powers.values())
            kinds["joined"] += len(powers.keys() - before.keys())
            kinds["left"] += len(before.keys() - powers.keys())
            kinds["another power"] += any(before[each] != powers[each] for each in before.keys() & powers.keys())
        keys = Counter(each.name for members in schedule.sets for each in set(members))
        kinds["another key"] += len(keys)
        kinds["charged"] += bool(charged)
    assert min(kinds.values()) > 20, kinds


@engines
def test_who_speaks_twice_is_jailed_and_leaves_the_set_and_nobody_else(engine: str) -> None:
    """Rows 1 and 33 with the real state machine: found by a witness, handed in, judged, gone at the next edge."""
    settings = Settings(7, engine, (1,) * 5, 60, (Fault.EQUIVOCATE, Fault.EPOCHS), real_state=True)
    settings = replace(settings, real_signatures=True)
    for seed in range(settings.seed, 12):  # before 7, nobody is jailed on either engine
        outcome = simulate(replace(settings, seed=seed))
        assert outcome.ok, outcome.message
        if outcome.counts.get("jailed"):
            assert outcome.counts["sets changed"]
            assert outcome.counts["jailed"] <= len(outcome.roles)
            return
    pytest.fail("nobody was jailed")


@engines
def test_governance_changes_the_set_of_the_real_state_machine(engine: str) -> None:
    """Proposals and approvals of validators, over several edges, under crashes."""
    changed = 0
    for seed in range(3):
        settings = Settings(seed, engine, (1,) * 5, 60, (Fault.CRASH,), real_state=True, params=SHORT)
        outcome = simulate(replace(settings, faults=(Fault.CRASH, Fault.EPOCHS)))
        assert outcome.ok, outcome.message
        changed += outcome.counts.get("sets changed", 0)
    assert changed >= 2


def test_a_run_without_edges_has_none() -> None:
    """The fault is named, or nothing of it happens."""
    made = Cluster(Settings(1, faults=()), Random(1), Cast())
    run(made)
    assert made.oracle.counts[Fault.EPOCHS] == 0
