"""Engines and state machines with one thing wrong, to show that each oracle can fire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from consensus import events as ev
from consensus.engine import Engine
from consensus.types import Vote
from genesis.evidence import Half, Offence, make_evidence
from node.simulator.cast import Cast
from node.simulator.checks import Violation
from node.simulator.cluster import Cluster
from node.simulator.replica import Replica
from node.simulator.run import run
from node.simulator.settings import SIMULATED, Fault, Settings

Rewrite = Callable[[Replica, tuple[ev.Effect, ...]], tuple[ev.Effect, ...]]


class Sabotaged:
    """An engine whose effects pass through `rewrite`; everything else is the real one's."""

    def __init__(self, engine: Engine, replica: Replica, rewrite: Rewrite) -> None:
        self._engine = engine
        self._replica = replica
        self._rewrite = rewrite

    def handle(self, event: ev.Event, now: ev.Now) -> tuple[ev.Effect, ...]:
        return self._rewrite(self._replica, self._engine.handle(event, now))

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


class SabotagedCluster(Cluster):
    """A cluster of honest replicas whose engines are sabotaged."""

    rewrite: Rewrite

    def make_core(self, replica: Replica) -> Engine:
        return Sabotaged(super().make_core(replica), replica, self.rewrite)  # type: ignore[return-value]


ENGINES = ("hotstuff", "pbft")


def cluster(settings: Settings, rewrite: Rewrite) -> SabotagedCluster:
    """A cluster with this sabotage, and nobody charged with anything."""
    made = SabotagedCluster(settings, Random(settings.seed), Cast())
    made.rewrite = rewrite
    return made


def verdict(made: Cluster) -> str | None:
    """The oracle that a run breaks, if any."""
    try:
        run(made)
    except Violation as violation:
        return violation.rule
    return None


def nothing(_replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """No sabotage."""
    return effects


def forget_to_persist(_replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """The safety state never reaches the disk."""
    return tuple(each for each in effects if not isinstance(each, ev.PersistSafety))


def commit_another_block(replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """Replica 1 commits blocks that nobody proposed, where another has committed the real one."""

    def changed(effect: ev.Effect) -> ev.Effect:
        if not isinstance(effect, ev.Commit) or replica.index != 1:
            return effect
        if effect.proposal.header.height not in replica.world.oracle.decided:
            return effect
        header = replace(effect.proposal.header, time_unix_ms=effect.proposal.header.time_unix_ms + 1)
        return replace(effect, proposal=replace(effect.proposal, header=header))

    return tuple(changed(each) for each in effects)


def commit_out_of_order(replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """Replica 1 skips every third block."""
    skipped = (each for each in effects if isinstance(each, ev.Commit) and each.proposal.header.height % 3 == 0)
    lost = next(skipped, None) if replica.index == 1 else None
    return tuple(each for each in effects if each is not lost)


def halt_now_and_then(replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """Replica 2 stops itself for nothing."""
    return (*effects, ev.Halt("a whim")) if replica.index == 2 and replica.handled > 200 else effects


def vote_no_more(replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """Replicas 2 and 3 fall silent: no quorum is left."""
    if replica.index < 2 or replica.handled < 60:
        return effects
    return tuple(each for each in effects if not isinstance(each, ev.SignAndSend | ev.Send))


def accuse_the_innocent(replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """Replica 0 finds evidence against replica 1, who has done nothing."""
    if replica.index != 0 or replica.handled < 50:
        return effects
    halves = (Half((bytes([number]) * 32,), bytes(64)) for number in range(2))
    return (*effects, ev.Accuse(make_evidence(Offence.PROPOSAL, 0, 1, 1, *halves)))


def closing(change: Callable[[Replica, ev.EpochClosed], ev.Effect]) -> Rewrite:
    """What replica 2 makes of the end of an epoch."""

    def rewrite(replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
        return tuple(
            change(replica, each) if isinstance(each, ev.EpochClosed) and replica.index == 2 else each
            for each in effects
        )

    return rewrite


close_without_a_quorum = closing(
    lambda _, closed: replace(closed, qc=replace(closed.qc, signatures=closed.qc.signatures[:2]))
)
close_on_another_root = closing(lambda _, closed: replace(closed, state_root=bytes(32)))
close_too_early = closing(lambda _, closed: replace(closed, closing=closed.closing[:-1], qc=closed.closing[-1].justify))
never_close = closing(lambda *_: ev.Report("closes nothing", ()))


def sign_in_another_epoch(replica: Replica, effects: tuple[ev.Effect, ...]) -> tuple[ev.Effect, ...]:
    """Replica 1 votes for the epoch after its own."""

    def changed(effect: ev.Effect) -> ev.Effect:
        if isinstance(effect, ev.SignAndSend) and isinstance(effect.statement, Vote) and replica.index == 1:
            return replace(effect, statement=replace(effect.statement, epoch=replica.term.epoch + 1))
        return effect

    return tuple(changed(each) for each in effects)


QUIET = Settings(3, views=20, faults=())
EDGES = replace(QUIET, views=50, params=replace(SIMULATED, epoch_blocks=8))
CRASHES = Settings(3, views=60, faults=(Fault.CRASH, Fault.BLACKOUT))
