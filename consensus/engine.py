"""The seam between the shell and the agreement: an engine is what the shell drives, whichever one the chain chose.

Both engines take the same events and give the same effects (`consensus.events`); this is the one place that knows
them by name. docs/CONSENSUS.md says when to choose which.
"""

from __future__ import annotations

from typing import Protocol

from consensus.config import CoreConfig, Recovery
from consensus.core import Core
from consensus.events import Effect, Event, Now
from consensus.hotstuff import safety as hotstuff_rules
from consensus.pbft import safety as pbft_rules
from consensus.pbft.core import PbftCore
from consensus.rules import Rules
from consensus.types import QC, Header, Proposal, ReplicaIndex
from genesis.errors import invariant


class Engine(Protocol):
    """One replica's part in the agreement. Not thread-safe: `handle` takes one event at a time."""

    def handle(self, event: Event, now: Now) -> tuple[Effect, ...]:
        """Take one event in; what the shell must do, in order, each effect complete before the next.

        After a `Halt` or an `EpochClosed` every further event is ignored.

        Raises:
            InvariantViolation: The shell or the engine broke its promise.
        """

    @property
    def epoch(self) -> int:
        """The epoch that this core decides."""

    @property
    def view(self) -> int:
        """The current view."""

    @property
    def leader(self) -> ReplicaIndex:
        """The leader of the current view."""

    @property
    def high_qc(self) -> QC:
        """The highest QC known."""

    @property
    def committed(self) -> Header:
        """The last committed block."""

    @property
    def executed_height(self) -> int:
        """The height up to which the shell has executed."""

    @property
    def is_amnesiac(self) -> bool:
        """Whether this replica has lost its safety state and signs nothing yet."""

    @property
    def uncommitted(self) -> tuple[Proposal, ...]:
        """The certified chain above the last committed block, oldest first, the last certified by `high_qc`; empty
        while a block of it is missing. For shells that answer sync requests from memory; the node reads its store."""

    @property
    def silent_below_view(self) -> int:
        """Views below this one see no signature of ours, after a loss of memory; 0 when nothing is barred."""

    @property
    def held(self) -> tuple[tuple[str, int], ...]:
        """What is kept for later, (name, entries): all of it is bounded, and a simulator watches that it is."""


def rules_of(name: str) -> Rules:
    """The rules of the engine of this name, one of `genesis.document.ENGINES`."""
    known: dict[str, Rules] = {"hotstuff": hotstuff_rules, "pbft": pbft_rules}
    invariant(name in known, "the genesis document names an engine that exists", engine=name)
    return known[name]


def make_engine(name: str, config: CoreConfig, recovery: Recovery) -> Engine:
    """The engine of this name, one of `genesis.document.ENGINES`."""
    rules = rules_of(name)
    return PbftCore(config, recovery) if rules is pbft_rules else Core(config, recovery, rules)
