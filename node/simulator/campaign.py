"""Many seeds: one run after another, or spread over processes.

The order of the outcomes is that in which they are ready; each is what `simulate` gives for its settings, wherever it
ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from typing import Final

from node.simulator.run import Outcome, simulate
from node.simulator.settings import Settings

CHUNK: Final = 4
"""Seeds for a process at a time: enough to be worth the trip, few enough to share the work evenly."""


def campaign(settings: Settings, seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    """The outcome of every seed, as they come.

    Args:
        settings: All but the seed.
        seeds: The seeds.
        jobs: How many processes; 1 runs in this one.
    """
    if jobs == 1:
        for seed in seeds:
            yield simulate(replace(settings, seed=seed))
        return
    rest = iter(seeds)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_some, settings, chunk) for chunk in _chunks(rest, 2 * jobs)}
        while waiting:
            done = next(as_completed(waiting))
            waiting.remove(done)
            waiting |= {pool.submit(_some, settings, chunk) for chunk in _chunks(rest, 1)}
            yield from done.result()


def _chunks(seeds: Iterator[int], count: int) -> Iterator[list[int]]:
    for _ in range(count):
        chunk = list(islice(seeds, CHUNK))
        if chunk:
            yield chunk


def _some(settings: Settings, seeds: list[int]) -> list[Outcome]:
    return [simulate(replace(settings, seed=seed)) for seed in seeds]
