"""Every oracle fires on a system that breaks its rule, and on no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from consensus import events as ev
from consensus.engine import Engine
from consensus.types import Header
from contracts.changes import Members
from genesis.errors import violated
from node.simulator.cast import Cast
from node.simulator.cluster import Cluster
from node.simulator.ledger import Applied, Machine
from node.simulator.replica import Replica
from node.simulator.settings import Settings
from tests.simulator.sabotage import (
    CRASHES,
    EDGES,
    ENGINES,
    QUIET,
    Rewrite,
    accuse_the_innocent,
    close_on_another_root,
    close_too_early,
    close_without_a_quorum,
    cluster,
    commit_another_block,
    commit_out_of_order,
    forget_to_persist,
    halt_now_and_then,
    never_close,
    nothing,
    sign_in_another_epoch,
    verdict,
    vote_no_more,
)

SABOTAGES: list[tuple[Rewrite, Settings, str | None]] = [
    (nothing, QUIET, None),
    (nothing, CRASHES, None),
    (forget_to_persist, CRASHES, "signatures"),
    (commit_another_block, QUIET, "agreement"),
    (commit_out_of_order, QUIET, "agreement"),
    (halt_now_and_then, QUIET, "halt"),
    (accuse_the_innocent, QUIET, "accusation"),
    (vote_no_more, QUIET, "progress"),
    (nothing, EDGES, None),
    (close_without_a_quorum, EDGES, "epochs"),
    (close_on_another_root, EDGES, "epochs"),
    (close_too_early, EDGES, "epochs"),
    (sign_in_another_epoch, EDGES, "epochs"),
    (never_close, EDGES, "progress"),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("rewrite", "settings", "rule"), SABOTAGES)
def test_a_sabotaged_engine_breaks_the_oracle_that_watches_it(
    rewrite: Rewrite, settings: Settings, rule: str | None, engine: str
) -> None:
    """An oracle that cannot fire proves nothing; one that fires at everything is switched off."""
    assert verdict(cluster(replace(settings, engine=engine), rewrite)) == rule


class Greedy:
    """An engine that keeps too much."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept = 0

    @property
    def held(self) -> tuple[tuple[str, int], ...]:
        self._kept += 1
        return (("votes", self._kept),)

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


class Broken(Greedy):
    """An engine that breaks a promise of its own."""

    held = ()  # type: ignore[assignment]

    def handle(self, event: ev.Event, now: ev.Now) -> tuple[ev.Effect, ...]:
        if isinstance(event, ev.Executed):
            violated("executed too much")
        return self._engine.handle(event, now)


@pytest.mark.parametrize(("kind", "rule"), [(Greedy, "bounds"), (Broken, "defect")])
def test_an_engine_that_keeps_too_much_or_contradicts_itself_is_found(kind: type[Greedy], rule: str) -> None:
    """Memory that grows under a fault, and an invariant of ours that does not hold."""

    class Made(Cluster):
        def make_core(self, replica: Replica) -> Engine:
            return kind(super().make_core(replica))  # type: ignore[return-value]

    assert verdict(Made(QUIET, Random(1), Cast())) == rule


class Crooked:
    """A state machine of which one replica's has something wrong."""

    def __init__(self, machine: Machine, fault: str) -> None:
        self._machine = machine
        self._fault = fault
        self._before: tuple[bytes, ...] = ()

    def members(self, epoch: int) -> Members:
        members = self._machine.members(epoch)
        return members[:-1] if self._fault == "members" and epoch == 2 else members

    def apply(self, header: Header, wires: Sequence[bytes]) -> Applied:
        applied = self._machine.apply(header, wires)
        before, self._before = self._before, applied.executed or self._before
        match self._fault:
            case "roots":
                return replace(applied, state_root=bytes(32))
            case "once":
                return replace(applied, executed=(*applied.executed, *before))
            case "jailed":
                return replace(applied, jailed=(3,))
            case "members":
                return applied
        return replace(applied, alarms=("a unit appeared from nowhere",))


FAULTS_OF_MACHINES = (
    ("roots", "roots"),
    ("once", "once"),
    ("money", "money"),
    ("members", "epochs"),
    ("jailed", "accusation"),
)


@pytest.mark.parametrize(("fault", "rule"), FAULTS_OF_MACHINES)
@pytest.mark.parametrize("is_real", [False, True])
def test_a_state_machine_that_differs_repeats_or_loses_is_found(fault: str, rule: str, is_real: bool) -> None:
    """Equal roots and sets, nothing executed twice, money conserved, nobody honest jailed: on one replica in four is
    enough."""
    made = Cluster(replace(EDGES, views=30, real_state=is_real), Random(1), Cast())
    real = made.ledger.machine
    machines: list[Machine] = []

    def machine(disk: object) -> Machine:
        machines.append(real(disk))  # type: ignore[arg-type]
        return Crooked(machines[-1], fault) if len(machines) == 2 else machines[-1]

    made.ledger.machine = machine  # type: ignore[method-assign, assignment]
    assert verdict(made) == rule


def test_the_root_that_differs_stops_its_replica_before_it_can_do_harm() -> None:
    """Without the oracle the engine itself finds out (row 37): the chain goes on without it."""
    made = Cluster(QUIET, Random(1), Cast())
    victim = made.replicas[1]
    victim.is_honest = False
    made.honest.remove(victim)
    real = made.ledger.machine
    made.ledger.machine = lambda disk: (  # type: ignore[method-assign]
        Crooked(real(disk), "roots") if disk is victim.disk else real(disk)  # type: ignore[return-value]
    )
    assert verdict(made) is None
    assert victim.halted is not None
    assert "state root" in victim.halted
    assert min(each.disk.height for each in made.honest) > victim.disk.height + 5
