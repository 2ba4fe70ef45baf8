"""Block sync of one simulated replica: asks peers for missing blocks, and answers them from disk and core.

Rules:

1. One request is under way at a time; a peer that does not answer in time loses its turn to the next.
2. An answer holds consecutive blocks above the height asked for and of the epoch asked for, `sync_blocks_max` at most,
   in the encoding of the real wire: committed blocks from the disk, then those that closed the epoch, or in the present
   epoch the certified chain above them from the core.
3. "Nothing above that" is an answer: the next peer is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consensus.events import BlocksReceived, FetchBlocks
from consensus.types import QC, Proposal
from consensus.wire import decode_qc, encode_proposal, encode_qc
from genesis.epochs import edge_height, first_height
from genesis.errors import Rejected
from node.seats import with_certificates

if TYPE_CHECKING:
    from node.simulator.replica import Replica

ANSWER_WITHIN_MS: Final = 60


class CatchUp:
    """The requests of one process."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._number = 0
        self._under_way: FetchBlocks | None = None
        self._peer = 0
        self._left = 0

    def fetch(self, request: FetchBlocks) -> None:
        """Ask, unless a request is under way (rule 1)."""
        if self._under_way is None:
            self._under_way = request
            self._peer = request.peer
            self._left = len(self._replica.term.operators)
            self._ask()

    def forget(self) -> None:
        """The core that asked is gone."""
        self._under_way = None

    def _ask(self) -> None:
        request, replica = self._under_way, self._replica
        if request is None or self._left == 0:
            self._under_way = None
            return
        self._left -= 1
        self._number += 1
        operators = replica.term.operators
        peer, self._peer = operators[self._peer % len(operators)], (self._peer + 1) % len(operators)
        if peer == replica.operator:
            self._ask()
            return
        asked = (request.target.epoch, request.from_height)
        replica.send_to(peer, "on_blocks_request", replica.place, self._number, *asked)
        replica.after(ANSWER_WITHIN_MS, self._give_up, self._number)

    def _give_up(self, number: int) -> None:
        if number == self._number and self._under_way is not None:
            self._ask()

    def on_answer(self, sender: int, number: int, blocks: list[bytes], qc: bytes) -> None:
        """A peer's answer, unchecked; one to no request is dropped."""
        if number != self._number or self._under_way is None:
            return
        self._under_way = None
        codec = self._replica.world.codec
        if not blocks:
            return
        try:
            proposals = tuple(codec.proposal(each) for each in blocks)
            certificate = decode_qc(qc)
        except Rejected:
            self._replica.world.oracle.count("frames malformed")
            return
        self._replica.world.oracle.count("blocks synced", len(blocks))
        self._replica.take(BlocksReceived(sender, proposals, certificate), b"".join(blocks) + qc)


def answer(replica: Replica, epoch: int, from_height: int) -> tuple[list[bytes], bytes]:
    """Rule 2; no blocks when there is nothing of that epoch above that height."""
    params, disk = replica.world.params, replica.disk
    limit, edge = params.sync_blocks_max, edge_height(epoch, params.epoch_blocks)
    if from_height + 1 < first_height(epoch, params.epoch_blocks):
        return [], b""
    committed = disk.committed[from_height : min(from_height + limit, edge)]
    blocks = [each.proposal for each in committed]
    qc = committed[-1].qc if committed else b""
    for proposal, certificate in _above(replica, epoch) if len(blocks) < limit else ():
        if proposal.header.height == from_height + len(blocks) + 1 and len(blocks) < limit:
            blocks.append(encode_proposal(proposal))
            qc = encode_qc(certificate)
    return blocks, qc


def _above(replica: Replica, epoch: int) -> list[tuple[Proposal, QC]]:
    """The blocks of an epoch above the committed ones on disk."""
    closed = replica.disk.closings.get(epoch)
    if closed is not None:
        closing = [replica.world.codec.proposal(each) for each in closed.closing]
        return with_certificates(closing, decode_qc(closed.qc))
    return _certified_above(replica) if epoch == replica.term.epoch else []


def _certified_above(replica: Replica) -> list[tuple[Proposal, QC]]:
    """The blocks above the disk's tip that are committed or certified here, with their certificates."""
    core = replica.core
    if core is None:
        return []
    tail = core.uncommitted
    above = with_certificates(tail, core.high_qc) if tail else []
    return [(each.proposal, each.qc) for each in replica.executor.backlog] + above
