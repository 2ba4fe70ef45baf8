"""Hunts with one Byzantine strategy each, in a network that is otherwise well."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from consensus.types import Anchor, Header, Message, Proposal
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


class Usurper(Eager):
    """Proposes in every view, before its leader does, what nobody can execute."""

    def outgoing(self, replica: Replica, message: Message, recipients: tuple[int, ...]) -> tuple[()]:
        """Nothing else."""
        return ()

    def act(self, replica: Replica, view: int) -> None:
        """Row 15: it leads few of these views."""
        chain = replica.core._chain  # type: ignore[union-attr]
        qc = chain.base_qc
        parent = chain.tree.header(qc.block_hash)
        if parent is None:
            return
        height, name = chain._rules.anchor_of_child(parent) if parent.height else (0, parent.block_hash)
        anchor = Anchor(height, name, chain.anchors.root(height) or bytes(32))
        time_unix_ms = max(replica.now.chain_unix_ms, parent.time_unix_ms + 1)
        junk = (replica.world.chance.randbytes(32),)
        header = Header(
            0, parent.height + 1, view, self.proposer(replica), parent.block_hash, qc.view, time_unix_ms, anchor, junk
        )
        replica.broadcast(self.seal(replica, Proposal(view, header, qc, chain.entry_tc)))

    def proposer(self, replica: Replica) -> int:
        """In whose name."""
        return replica.index

    def seal(self, replica: Replica, proposal: Proposal) -> Proposal:
        """With what signature."""
        return replica.sign(proposal)


class Impostor(Usurper):
    """The same in the leader's name, with a signature that is none."""

    def proposer(self, replica: Replica) -> int:
        """Of the view that it is in."""
        return replica.core.leader  # type: ignore[union-attr]

    def seal(self, replica: Replica, proposal: Proposal) -> Proposal:
        """Junk."""
        return replace(proposal, signature=b"\x55" * 64)


def strategy(name: str, kind: type[Strategy], seeds: int = 2, views: int = 12) -> Hunt:
    """Replica 0 is such a one."""

    def play(engine: str, seed: int) -> None:
        made = Cluster(Settings(seed, engine, views=views, faults=()), Random(seed), Cast(((0, Fault.WITHHOLD),)))
        made.replicas[0].strategy = kind()
        run(made)

    return Hunt(name, play, seeds)
