"""Hunts under chance: the simulator's own runs, with the faults that a kind of mutant shows itself under."""

from __future__ import annotations

from random import Random

from node.simulator.cast import draw_cast
from node.simulator.cluster import Cluster
from node.simulator.run import run
from node.simulator.settings import Fault, Settings
from tests.mutants.model import Hunt


def storm(name: str, seeds: int, *faults: Fault, views: int = 40, powers: tuple[int, ...] = (1,) * 4) -> Hunt:
    """Runs under these faults."""

    def play(engine: str, seed: int) -> None:
        settings = Settings(seed, engine, powers, views, faults)
        chance = Random(seed)
        run(Cluster(settings, chance, draw_cast(settings, chance)))

    return Hunt(name, play, seeds)


CRASHES = storm("crashes", 10, Fault.LOSS, Fault.PARTITION, Fault.CRASH, Fault.BLACKOUT, Fault.SLOW_DISK)
