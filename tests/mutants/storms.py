"""Hunts under chance: the simulator's own runs, with the faults that a kind of mutant shows itself under."""

from __future__ import annotations

from random import Random

from consensus.events import EnsurePayload, PersistSafety, SignAndSend
from node.simulator.cast import Cast, draw_cast
from node.simulator.cluster import Cluster
from node.simulator.run import progress, run
from node.simulator.settings import Fault, Settings
from tests.mutants.model import Hunt


def storm(name: str, seeds: int, *faults: Fault, views: int = 40, powers: tuple[int, ...] = (1,) * 4) -> Hunt:
    """Runs under these faults."""

    def play(engine: str, seed: int) -> None:
        settings = Settings(seed, engine, powers, views, faults)
        chance = Random(seed)
        run(Cluster(settings, chance, draw_cast(settings, chance)))

    return Hunt(name, play, seeds)


def crashes_where_it_binds(engine: str, seed: int) -> None:
    """Now one, now another crashes where it makes a safety state durable, signs, or is about to vote, and starts within
    the same view."""
    chance = Random(seed)
    made = Cluster(Settings(seed, engine, faults=()), chance, Cast())
    made.start()
    made.load(10)
    for _ in range(100):
        victim = chance.choice(made.replicas)
        victim.crash_at = chance.choice((PersistSafety, SignAndSend, EnsurePayload))
        made.heap.run(chance.randint(5, 20))
        victim.crash_at = None
        if not victim.is_up:
            victim.start()
        made.heap.run(chance.randint(0, 20))
    progress(made)


BINDING = Hunt("crashes where it binds", crashes_where_it_binds, 4)
CRASHES = storm("crashes", 4, Fault.LOSS, Fault.PARTITION, Fault.CRASH, Fault.BLACKOUT, Fault.SLOW_DISK)
