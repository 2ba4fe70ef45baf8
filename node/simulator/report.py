"""Outcomes as plain values: for JSON, for tables, for sums over many seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from node.simulator.run import TIMEOUTS_TO_PROGRESS, Outcome
from node.simulator.settings import Fault

FAILURES_KEPT: Final = 100


def document(outcome: Outcome) -> dict[str, Any]:
    """One run, for JSON. Everything but the rate is the same on every machine."""
    settings = outcome.settings
    return {
        "seed": settings.seed,
        "engine": settings.engine,
        "validators": len(settings.powers),
        "views": settings.views,
        "faults": list(settings.faults),
        "ok": outcome.ok,
        "violation": None if outcome.ok else {"rule": outcome.violated, "message": outcome.message},
        "heights": dict(outcome.heights),
        "view": outcome.view,
        "healed_ms": outcome.healed_ms,
        "healed_timeouts": healed_timeouts(outcome),
        "charged": dict(outcome.roles),
        "injected": injected(outcome.counts),
        "observed": {name: times for name, times in outcome.counts.items() if name not in set(Fault)},
        "virtual_ms": outcome.virtual_ms,
        "events": outcome.events,
        "transcript": outcome.digest,
        "replay": settings.command,
    }


def injected(counts: Mapping[str, int]) -> dict[str, int]:
    """How often each kind of fault took effect."""
    return {str(fault): counts[fault] for fault in Fault if counts.get(fault)}


def healed_timeouts(outcome: Outcome) -> int | None:
    """How many full view timeouts it took from the end of all faults to progress, rounded up."""
    if outcome.healed_ms is None:
        return None
    return -(-outcome.healed_ms // outcome.settings.params.view_timeout_ms_max)


class Totals:
    """The sums over many runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.events = 0
        self.failures: list[Outcome] = []
        self.failed = 0
        self.counts: Counter[str] = Counter()
        self.healed: Counter[int] = Counter()

    def add(self, outcome: Outcome) -> None:
        """One more run; of failures the first `FAILURES_KEPT` are kept."""
        self.runs += 1
        self.events += outcome.events
        self.counts.update(outcome.counts)
        timeouts = healed_timeouts(outcome)
        if timeouts is not None:
            self.healed[timeouts] += 1
        if not outcome.ok:
            self.failed += 1
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(outcome)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "runs": self.runs,
            "failed": self.failed,
            "events": self.events,
            "injected": injected(self.counts),
            "healed_timeouts": {str(timeouts): self.healed[timeouts] for timeouts in sorted(self.healed)},
            "healed_timeouts_max": TIMEOUTS_TO_PROGRESS,
            "failures": [document(each) for each in sorted(self.failures, key=lambda each: each.settings.seed)],
        }
