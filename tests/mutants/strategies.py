"""Hunts with one Byzantine strategy each, in a network that is otherwise well."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from consensus.types import Message, Proposal, Timeout
from node.simulator.byzantine import Strategy
from node.simulator.cast import Cast
from node.simulator.cluster import Cluster
from node.simulator.replica import Replica
from node.simulator.run import run
from node.simulator.settings import Fault, Settings
from tests.mutants.model import Hunt


class Eager(Strategy):
    """Acts once in every view that it comes to, as soon as it hears anything."""

    def __init__(self) -> None:
        self._acted_view = 0

    def heard(self, replica: Replica, message: Message) -> None:
        """Look, once the engine has taken the message in."""
        replica.after(0, self._look, replica)

    def _look(self, replica: Replica) -> None:
        core = replica.core
        if core is None or core.view <= self._acted_view:
            return
        self._acted_view = core.view
        self.act(replica, core.view)

    def act(self, replica: Replica, view: int) -> None:
        """What it does in each view."""


class Impatient(Eager):
    """Gives up every view at once."""

    def act(self, replica: Replica, view: int) -> None:
        """Row 13: one replica alone must not end a view."""
        tc = replica.core._chain.entry_tc  # type: ignore[union-attr]
        timeout = Timeout(0, view, replica.core.high_qc, tc, replica.index)  # type: ignore[union-attr]
        replica.broadcast(replica.sign(timeout))


class Usurper(Strategy):
    """Answers every proposal with one of its own for the view to come, which nobody can execute."""

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> tuple[()]:
        """Nothing else."""
        return ()

    def heard(self, replica: Replica, message: Message) -> None:
        """Row 15: it leads none of these views."""
        core = replica.core
        if not isinstance(message, Proposal) or core is None:
            return
        view = core.view
        junk = replica.world.chance.randbytes(32)
        for each in (view, view + 1):
            header = replace(message.header, view=each, proposer=replica.index, payload=(junk,))
            replica.broadcast(replica.sign(replace(message, view=each, header=header, signature=b"")))


def strategy(name: str, kind: type[Strategy], seeds: int = 2, views: int = 12) -> Hunt:
    """Replica 0 is such a one."""

    def play(engine: str, seed: int) -> None:
        made = Cluster(Settings(seed, engine, views=views, faults=()), Random(seed), Cast(((0, Fault.WITHHOLD),)))
        made.replicas[0].strategy = kind()
        run(made)

    return Hunt(name, play, seeds)
