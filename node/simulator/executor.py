"""Executes committed blocks of one simulated replica, in order, and makes them durable, as `node.executor` does.

Rules:

1. One block at a time: its batches are fetched if need be, it is executed, the core hears of its root, it is synced.
   At the edge of an epoch the core hears of the root after the sync.
2. A crash at any of these steps leaves what was durable; the block is then executed again.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from consensus.events import Commit, Executed
from genesis.epochs import is_edge
from node.simulator.ledger import Applied

if TYPE_CHECKING:
    from node.simulator.replica import Replica

GROUP_BLOCKS: Final = 32
"""Blocks whose batches are fetched together."""


class Executor:
    """The executor of one process. `backlog` holds what is committed and not yet durable."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.machine = replica.world.ledger.machine(replica.disk)
        self._submitted = replica.disk.height
        self._running = False
        self.backlog: deque[Commit] = deque()

    @property
    def submitted(self) -> int:
        """The height of the last block taken."""
        return self._submitted

    def submit(self, commit: Commit) -> None:
        """Execute this block after those before it."""
        self._submitted = commit.proposal.header.height
        self.backlog.append(commit)
        self._replica.payloads.order(commit.proposal.header.payload)
        if not self._running:
            self._running = True
            self._replica.after(0, self._next)

    def _next(self) -> None:
        if not self.backlog:
            self._running = False
            return
        payload, *later = (each.proposal.header.payload for each in islice(self.backlog, GROUP_BLOCKS))
        ahead = tuple(name for each in later for name in each)
        if self._replica.payloads.need(payload, ahead, self._execute):
            self._execute()

    def _execute(self) -> None:
        replica = self._replica
        if not replica.survives_a_step():
            return
        header = self.backlog[0].proposal.header
        wires = [replica.payloads.wire(each) for each in header.payload]
        applied = self.machine.apply(header, [each for each in wires if each is not None])
        if replica.is_honest:
            replica.world.oracle.on_executed(replica, header, applied)
        if not is_edge(header.height, replica.world.params.epoch_blocks):
            self._tell(self.backlog[0], applied)
        latency_ms = replica.disk.latency_ms
        if not replica.is_up:
            return
        if latency_ms:
            replica.after(latency_ms, self._durable, applied)
        else:
            self._durable(applied)

    def _durable(self, applied: Applied) -> None:
        replica = self._replica
        if not replica.survives_a_step():
            return
        commit = self.backlog.popleft()
        replica.disk.commit(commit.proposal, commit.qc, applied.state_root, list(applied.writes))
        header = commit.proposal.header
        if is_edge(header.height, replica.world.params.epoch_blocks):
            self._tell(commit, applied)
            if not replica.is_up:
                return
        if self.backlog:
            replica.after(0, self._next)
        else:
            self._running = False

    def _tell(self, commit: Commit, applied: Applied) -> None:
        header = commit.proposal.header
        self._replica.take(Executed(header.height, header.block_hash, applied.state_root), applied.state_root)
