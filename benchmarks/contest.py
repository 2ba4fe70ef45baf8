"""Our code and its peers at one task in one run: medians, ratios, and who is behind.

Counted is processor time, of all threads together: what else runs on the machine then matters less.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

ROUNDS: Final = 15
OURS: Final = "novate"


@dataclass(frozen=True)
class Entry:
    """One way to do the task: `run` does `rows` of it in one call."""

    run: Callable[[], object]
    rows: int


@dataclass(frozen=True)
class Contest:
    """A task, our entry, the peers', the target in nanoseconds a row if one is stated, and how often each is called."""

    task: str
    ours: Entry
    peers: Mapping[str, Entry]
    target_ns: float | None = None
    rounds: int = ROUNDS


def nanoseconds(entries: Mapping[str, Entry], rounds: int) -> dict[str, tuple[float, float]]:
    """Median and best of `rounds` calls of each entry, a row, after one call that is not counted.

    The entries take turns, so that a machine that changes its pace does so for all of them.
    """
    for entry in entries.values():
        entry.run()
    taken: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(rounds):
        for name, entry in entries.items():
            started = time.process_time()
            entry.run()
            taken[name].append((time.process_time() - started) / entry.rows * 1e9)
    return {name: (statistics.median(each), min(each)) for name, each in taken.items()}


def hold(contests: Iterable[Contest]) -> bool:
    """Run and print every contest; whether ours was ahead of every peer."""
    ahead = True
    print(f"{'task':<34} {'who':<26} {'median ns':>12} {'best ns':>12} {'times ours':>11}")
    for contest in contests:
        found = nanoseconds({OURS: contest.ours, **contest.peers}, contest.rounds)
        ours, best = found.pop(OURS)
        target = f"  (target {contest.target_ns:g})" if contest.target_ns else ""
        print(f"{contest.task:<34} {OURS:<26} {ours:12,.1f} {best:12,.1f} {1.0:11.1f}{target}")
        for name, (median, best) in found.items():
            behind = "  AHEAD OF US" if median <= ours else ""
            ahead &= median > ours
            print(f"{'':<34} {name:<26} {median:12,.1f} {best:12,.1f} {median / ours:11.1f}{behind}")
    return ahead


def print_machine(packages: Iterable[str]) -> None:
    """The processor, Python, and the versions of `packages`: a figure without them means nothing."""
    print(f"{processor()}, Python {platform.python_version()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in packages))
    print(f"Processor time; medians and bests of {ROUNDS} calls of each in turn (cached: more) after one not counted.")


def processor() -> str:
    """The processor's name where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
