"""Directed hunts for the rules of a lost memory. Here the puppet is honest: the amnesiac is the one that is charged.

In all of them replica 1 signs something, loses its safety state, and takes up a bound of what it may have signed; the
oracle knows what it signed before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from consensus.types import TC, Certificates, Header, Vote
from node.simulator.checks import Violation
from node.simulator.ledger import Applied, Machine
from tests.mutants.model import Hunt
from tests.mutants.scenes import goes_on
from tests.mutants.stage import Stage

VICTIM: Final = 1
OTHERS: Final = (0, 2, 3)
SETTLED_MS: Final = 900
"""After this reports count: a little more than ``view_timeout_ms_max``."""


def memory(name: str, act: Callable[[Stage], None]) -> Hunt:
    """A scene with an honest puppet as a hunt."""
    return Hunt(name, lambda engine, seed: Stage(engine, seed).play(act, is_puppet_honest=True), 2)


def forget(stage: Stage) -> None:
    """The victim crashes, its safety file is lost, it starts."""
    victim = stage.replicas[VICTIM]
    victim.crash()
    victim.disk.forget()
    victim.start()


def wipe(stage: Stage) -> None:
    """The victim crashes, everything on its disk is lost, it starts."""
    victim = stage.replicas[VICTIM]
    victim.crash()
    victim.disk.wipe()
    victim.start()


def report(stage: Stage, certificates: Certificates, *reporters: int) -> None:
    """These tell the victim what they know to be certified."""
    for each in reporters:
        stage.tell(certificates, VICTIM, by=each)


def votes_again(stage: Stage) -> None:
    """It has given up view 1 and forgot; now the block comes."""
    stage.gave_up(1, VICTIM)
    forget(stage)
    stage.tell(stage.proposal(1), VICTIM)


def vouches(stage: Stage) -> None:
    """It has forgotten, and must not report to another that has: two of them could vouch for each other."""
    stage.gave_up(1, VICTIM)
    forget(stage)
    stage.speakers.clear()
    stage.heap.run(SETTLED_MS)
    if VICTIM in stage.speakers:
        raise Violation("signatures", f"{VICTIM} speaks before it knows what it said")


def view_two_again(stage: Stage) -> None:
    """It gave up view 2 and reported the genesis QC. When it has forgotten, all know a QC of view 1: it could give the
    view up with that one, vote in it, or commit what is prepared in it."""
    first = stage.proposal(1)
    stage.tell(first, 1, 2, 3)
    stage.gave_up(1, 1, 2, 3)
    tc = stage.tc(1, 1, 2, 3)
    stage.show(stage.genesis_qc, 1, 2, 3, tc=tc)
    second = stage.proposal(2, tc=tc, salt=7)
    stage.tell(second, 2, 3)
    stage.gave_up(2, VICTIM)
    prepared = stage.certify(second, 2, 3)
    forget(stage)
    stage.heap.run(SETTLED_MS)
    report(stage, Certificates(stage.certify(first, 2, 3), tc), *OTHERS)
    stage.tell(second, VICTIM)
    if stage.engine == "pbft":
        stage.show(prepared, VICTIM)
    stage.heap.run(SETTLED_MS)


def up_to_view(stage: Stage, last: int) -> TC:
    """All but replica 3, which hears nothing, give up view after view; the TC that leads to view `last`."""
    tc = stage.tc(1, 1, 2)
    for view in range(2, last + 1):
        stage.show(stage.genesis_qc, 1, 2, tc=tc)
        if view < last:
            tc = stage.tc(view, 1, 2)
    return tc


def late_block(stage: Stage, reporters: tuple[int, ...], settled_ms: int) -> None:
    """It gave up view 4; the reports that come to it are of the beginning; then the block of view 4 comes."""
    tc = up_to_view(stage, 4)
    stage.gave_up(4, VICTIM)
    forget(stage)
    stage.heap.run(settled_ms)
    report(stage, Certificates(stage.genesis_qc, None), *reporters)
    stage.tell(stage.proposal(4, tc=tc), VICTIM)
    stage.settle()


def one_report(stage: Stage) -> None:
    """One replica has heard nothing and says so."""
    late_block(stage, (3,), SETTLED_MS)


def old_reports(stage: Stage) -> None:
    """What the others sent before the crash comes after the start."""
    late_block(stage, OTHERS, 0)


def own_report(stage: Stage) -> None:
    """Two others, and what it says to itself."""
    late_block(stage, (1, 3), SETTLED_MS)


def old_copy(stage: Stage) -> None:
    """An old safety state is put back; a certificate that our key signed since then shows it (C20)."""
    victim = stage.replicas[VICTIM]
    copy = victim.disk.backup()
    first = stage.proposal(1)
    stage.tell(first, 1, 2)
    qc = stage.certify(first, 1, 2)
    victim.crash()
    victim.disk.restore(copy, safety_only=True)
    victim.is_restored = True
    victim.start()
    stage.show(qc, VICTIM)
    goes_on(stage, VICTIM, "on an old safety state")


def own_block(stage: Stage) -> None:
    """HotStuff: it alone learnt the QC of view 1, led view 2 and voted for its own block on top of that QC. With the QC
    forgotten it must not give up view 2 reporting less."""
    stage.reigns.special[2] = VICTIM
    first = stage.proposal(1)
    stage.tell(first, 1, 2, 3)
    stage.show(stage.certify(first, 2, 3), VICTIM)
    stage.wait(lambda: any(isinstance(each, Vote) and each.view == 2 for each in stage.said.values()))
    tc = stage.tc(1, 2, 3)
    wipe(stage)
    stage.heap.run(SETTLED_MS)
    report(stage, Certificates(stage.genesis_qc, None), *OTHERS)
    stage.show(stage.genesis_qc, VICTIM, tc=tc)
    stage.heap.run(SETTLED_MS)


def old_copy_that_signs(stage: Stage) -> None:
    """The old copy has signed in a later view before it sees what its key signed in between (C20)."""
    victim = stage.replicas[VICTIM]
    copy = victim.disk.backup()
    first = stage.proposal(1)
    stage.tell(first, 1, 2)
    qc = stage.certify(first, 1, 2)
    tc = stage.tc(1, 2, 3)
    victim.crash()
    victim.disk.restore(copy, safety_only=True)
    victim.is_restored = True
    victim.start()
    stage.show(stage.genesis_qc, VICTIM, tc=tc)
    stage.gave_up(2, VICTIM)
    stage.show(qc, VICTIM)
    goes_on(stage, VICTIM, "on an old safety state")


class Crooked:
    """A state machine that comes to another root."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def apply(self, header: Header, wires: Sequence[bytes]) -> Applied:
        """The wrong one."""
        return replace(self._machine.apply(header, wires), state_root=bytes(32))


def root_of_its_own(stage: Stage) -> None:
    """The victim executes to a root that a quorum contradicts: it stops (rows 15 and 37). It is the one at fault."""
    victim = stage.replicas[VICTIM]
    victim.is_honest = False
    stage.honest.remove(victim)
    victim.executor.machine = Crooked(victim.executor.machine)
    stage.release(is_puppet_honest=True)
    stage.heap.run(SETTLED_MS)
    goes_on(stage, VICTIM, "on a root that a quorum contradicts")
