"""Block sync of one simulated replica: asks peers for missing blocks, and answers them from disk and core.

Rules:

1. One request is under way at a time; a peer that does not answer in time loses its turn to the next.
2. An answer holds consecutive blocks above the height asked for, `sync_blocks_max` at most, in the encoding of the
   real wire: committed blocks from the disk, then the certified chain above them from the core.
3. "Nothing above that" is an answer: the next peer is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consensus.events import BlocksReceived, FetchBlocks
from consensus.types import QC, Proposal
from consensus.wire import decode_qc, encode_proposal, encode_qc
from genesis.errors import Rejected

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
            self._left = len(self._replica.world.settings.powers)
            self._ask()

    def _ask(self) -> None:
        request, replica = self._under_way, self._replica
        if request is None or self._left == 0:
            self._under_way = None
            return
        self._left -= 1
        self._number += 1
        peer, self._peer = self._peer, (self._peer + 1) % len(replica.world.settings.powers)
        if peer == replica.index:
            self._ask()
            return
        replica.send_to(peer, "on_blocks_request", replica.place, self._number, request.from_height)
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


def answer(replica: Replica, from_height: int) -> tuple[list[bytes], bytes]:
    """Rule 2; no blocks when there is nothing above that height."""
    limit = replica.world.params.sync_blocks_max
    committed = replica.disk.committed[from_height : from_height + limit]
    blocks = [each.proposal for each in committed]
    qc = committed[-1].qc if committed else b""
    for proposal, certificate in _certified_above(replica) if len(blocks) < limit else ():
        if proposal.header.height == from_height + len(blocks) + 1 and len(blocks) < limit:
            blocks.append(encode_proposal(proposal))
            qc = encode_qc(certificate)
    return blocks, qc


def _certified_above(replica: Replica) -> list[tuple[Proposal, QC]]:
    """The blocks above the disk's tip that are committed or certified here, with their certificates."""
    core = replica.core
    if core is None:
        return []
    tail = core.uncommitted
    certificates = (*(each.justify for each in tail[1:]), core.high_qc) if tail else ()
    return [(each.proposal, each.qc) for each in replica.executor.backlog] + list(zip(tail, certificates, strict=True))
