"""Block sync: a node that fell behind or starts empty asks the others for the blocks it lacks.

Rules:

1. A request is ``[epoch, from_height]``: the blocks of that epoch above that height, as far as the answerer's highest
   certificate leads; of an epoch that is over for the answerer, up to its edge and then those that closed it. An answer
   is ``[epoch, from_height, [proposal, ...], qc]``: what was asked for; consecutive blocks above it, oldest first, each
   certified by the next one's justify and the last by the QC; at most `sync_blocks_max` blocks and about 4 MiB. An
   empty answer says "I have nothing above that".
2. Nothing in an answer is trusted. Here its shape and links are checked; the core checks every certificate before it
   commits.
3. A peer that does not answer within `ANSWER_S`, has nothing, or answers wrongly is passed over for the next; when all
   have been asked, it begins again. A request that is made again starts with another peer, since the last answer did
   not help.
   A peer that has pruned what was asked for says so, and from which height on it has blocks; it is passed over as well.
   When all of a round have, the node is behind everybody's window, and its operator is told to use a snapshot.
4. An answer is judged against the request that it names. One request is current; a slow peer's answer to it counts even
   after the next peer was asked, and an answer to an earlier request is ignored. An answer to no request is a fault.

5. What one peer has read and sent for it is bounded in time (`node.serving_rate`).

Serving reads committed blocks from the store, then the record of the epoch's end or, in the present epoch, the stored
chain up to our highest QC.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from consensus.events import BlocksReceived, FetchBlocks
from consensus.types import QC, Proposal
from consensus.wire import decode_proposal, decode_qc, encode_proposal, encode_qc
from genesis.codec import decode, encode, integer, raw, record, sequence, uint
from genesis.epochs import edge_height, first_height
from genesis.errors import Rejected
from genesis.params import ChainParams
from node.failures import StorageFailure
from node.frames import CONSENSUS_BYTES_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, FrameKind
from node.network import Network
from node.seats import with_certificates
from node.serving_rate import ServingRate
from node.snapshot_wire import decode_pruned, encode_pruned
from node.store import RESYNC, Store
from node.store_records import ClosedEpoch

_Place = tuple[int, int]
"""(epoch, from_height): what a request asks for."""

ANSWER_S: Final = 2.0
ROUND_PAUSE_S: Final = 0.5
OWED_MAX: Final = 32
"""Unanswered requests to one peer that are remembered; a connection that was lost leaves some for ever."""

_EPOCH: Final = integer(0, 2**32)
_REQUEST: Final = record(_EPOCH, uint(48))
_ANSWER_BYTES_MAX: Final = RESPONSE_BYTES_MAX + CONSENSUS_BYTES_MAX


class BlockServer:
    """Answers the requests of peers.

    Args:
        store: Where the blocks are.
        params: For `sync_blocks_max`.
        network: Where answers go.
        high_qc: The highest QC the core knows.
        asked_ahead: Told who asks for blocks of an epoch after that QC's.
    """

    def __init__(
        self,
        store: Store,
        params: ChainParams,
        network: Network,
        high_qc: Callable[[], QC],
        asked_ahead: Callable[[int], None],
    ) -> None:
        self._store = store
        self._blocks_max = params.sync_blocks_max
        self._epoch_blocks = params.epoch_blocks
        self._network = network
        self._high_qc = high_qc
        self._asked_ahead = asked_ahead
        self._rate = ServingRate[int]()

    async def handle(self, peer: int, payload: bytes) -> None:
        """Answer one request; a peer's next one is read only after that.

        Raises:
            Rejected: ``malformed``.
        """
        epoch, from_height = decode(payload, _REQUEST, size_max=REQUEST_BYTES_MAX)
        await self._rate.turn(peer)
        high_qc = self._high_qc()
        if epoch > high_qc.epoch:
            self._asked_ahead(peer)
        answer = await trio.to_thread.run_sync(self._answer, epoch, from_height, high_qc)
        self._rate.charge(peer, self._blocks_max, len(answer or b""))
        if answer is None:
            self._network.send(peer, FrameKind.BLOCKS_PRUNED, encode_pruned(from_height, self._store.lowest))
        else:
            self._network.send(peer, FrameKind.BLOCKS_RESPONSE, answer)

    def _answer(self, epoch: int, from_height: int, high_qc: QC) -> bytes | None:
        """The answer; None when the blocks asked for have been pruned, or are pruned while they are read."""
        if from_height + 1 < self._store.lowest:
            return None
        try:
            chain = self._chain(epoch, from_height, high_qc)
        except Rejected:
            return None
        chosen: list[bytes] = []
        size = 0
        qc = high_qc
        for wire, certificate in chain:
            size += len(wire)
            if len(chosen) == self._blocks_max or (chosen and size > RESPONSE_BYTES_MAX):
                break
            chosen.append(wire)
            qc = certificate
        return encode([epoch, from_height, chosen, encode_qc(qc)])

    def _chain(self, epoch: int, from_height: int, high_qc: QC) -> list[tuple[bytes, QC]]:
        """Blocks of `epoch` above `from_height` with a certificate each, oldest first; about as many as one answer
        takes. None when the height is below the epoch.

        Raises:
            Rejected: ``pruned``.
        """
        tip = self._store.tip()
        executed = tip.height if tip is not None else 0
        edge = edge_height(epoch, self._epoch_blocks)
        blocks: list[tuple[bytes, QC]] = []
        if from_height + 1 < first_height(epoch, self._epoch_blocks):
            return blocks
        for height in range(from_height + 1, min(executed, edge, from_height + self._blocks_max) + 1):
            record_of = self._store.committed(height)
            wire = self._store.proposal_wire(record_of.block_hash) if record_of is not None else None
            if record_of is None or wire is None:
                self._store.check_kept(height)
                raise StorageFailure("read a committed block", f"block {height} is missing", RESYNC)
            blocks.append((wire, record_of.qc))
        if len(blocks) == self._blocks_max or tip is None:
            return blocks
        closed = self._store.closed(epoch)
        if closed is not None:
            return blocks + _closing(closed, from_height)
        if high_qc.epoch == epoch and executed <= edge:
            blocks += self._uncommitted(max(from_height, executed), tip.block_hash, high_qc)
        return blocks

    def _uncommitted(self, above_height: int, tip_hash: bytes, high_qc: QC) -> list[tuple[bytes, QC]]:
        """The stored chain from `high_qc` back to the tip; empty if a link is not here."""
        chain: list[tuple[bytes, QC]] = []
        qc = high_qc
        while qc.block_hash != tip_hash:
            proposal = self._store.proposal(qc.block_hash)
            if proposal is None:
                return []
            if proposal.header.height <= above_height:
                break
            chain.append((encode_proposal(proposal), qc))
            qc = proposal.justify
        chain.reverse()
        return chain


class BlockFetcher:
    """Asks peers for blocks, one request at a time. `run` is its loop.

    Args:
        network: Where to ask.
        params: For `sync_blocks_max`.
        on_blocks: Called with each answer whose shape and links are right.
        report: Called with (kind, values) for a log line.
    """

    def __init__(
        self,
        network: Network,
        params: ChainParams,
        on_blocks: Callable[[BlocksReceived], None],
        report: Callable[[str, dict[str, int | str]], None],
    ) -> None:
        self._network = network
        self._on_blocks = on_blocks
        self._report = report
        blocks = sequence(raw(1, CONSENSUS_BYTES_MAX), 0, params.sync_blocks_max)
        self._shape = record(_EPOCH, uint(48), blocks, raw(1, CONSENSUS_BYTES_MAX))
        self._request: FetchBlocks | None = None
        self._last: _Place | None = None
        self._repeats = 0
        self._asked: int | None = None
        self._owed: dict[int, deque[_Place]] = {}
        self._pruned: dict[int, int] = {}
        self._wakeup = trio.Event()

    def fetch(self, request: FetchBlocks) -> None:
        """Ask for these blocks; replaces a request that is still out unless it begins at the same height."""
        is_repeated = _place(request) == self._last
        if self._request is not None and is_repeated:
            return
        self._repeats = self._repeats + 1 if is_repeated else 0
        self._last = _place(request)
        self._request = request
        self._wakeup.set()

    def forget(self) -> None:
        """The core that asked is gone: what was asked for is of no use any more."""
        self._request = None
        self._wakeup.set()

    async def handle(self, peer: int, payload: bytes) -> None:
        """Take an answer.

        Raises:
            Rejected: It was never asked for, or it is malformed or does not hold together.
        """
        owed = self._owed.get(peer)
        if not owed:
            raise _unasked(peer)
        try:
            place, proposals, high_qc = await trio.to_thread.run_sync(self._parse, payload)
            if place not in owed:
                raise _unasked(peer)
            owed.remove(place)
            request = self._request
            if request is None or _place(request) != place:
                return
            if proposals:
                _check_links(proposals, high_qc, place)
                self._request = None
                self._on_blocks(BlocksReceived(peer, proposals, high_qc))
            elif peer != self._asked:
                return
        except Rejected:
            if peer == self._asked:
                self._wakeup.set()
            raise
        self._wakeup.set()

    def handle_pruned(self, peer: int, payload: bytes) -> None:
        """Take the answer of a peer that no longer has what was asked for.

        Raises:
            Rejected: It was never asked for, or it is malformed.
        """
        from_height, lowest_height = decode_pruned(payload)
        owed = self._owed.get(peer, ())
        place = next((each for each in owed if each[1] == from_height), None)
        if place is None:
            raise _unasked(peer)
        self._owed[peer].remove(place)
        if self._request is not None and self._request.from_height == from_height:
            self._pruned[peer] = lowest_height
            if peer == self._asked:
                self._wakeup.set()

    async def run(self) -> None:
        """Carry out requests until cancelled."""
        while True:
            request = self._request
            if request is None:
                await self._woken(float("inf"))
                continue
            self._pruned.clear()
            order = self._order(request)
            for peer in order:
                await self._ask(peer, request)
                if self._request is not request:
                    break
            else:
                if order and set(order) <= set(self._pruned):
                    lowest = min(self._pruned.values())
                    self._report("behind_the_window", {"from_height": request.from_height, "lowest_height": lowest})
                elif self._network.connected:
                    self._report("sync_round_failed", {"from_height": request.from_height})
                await self._woken(ROUND_PAUSE_S)

    async def _ask(self, peer: int, request: FetchBlocks) -> None:
        """One peer's chance: returns when it has answered, its time is up, or the request was answered or replaced."""
        self._owed.setdefault(peer, deque(maxlen=OWED_MAX)).append(_place(request))
        self._asked = peer
        self._network.send(peer, FrameKind.BLOCKS_REQUEST, encode(_place(request)))
        await self._woken(ANSWER_S)
        self._asked = None

    async def _woken(self, timeout_s: float) -> None:
        self._wakeup = trio.Event()
        with trio.move_on_after(timeout_s):
            await self._wakeup.wait()

    def _order(self, request: FetchBlocks) -> list[int]:
        """Whom to ask: the core's hint first, or, when it asks again, the next one in turn."""
        connected = self._network.connected
        order = [each for each in dict.fromkeys([request.peer, *sorted(connected)]) if each in connected]
        start = self._repeats % len(order) if order else 0
        return order[start:] + order[:start]

    def _parse(self, payload: bytes) -> tuple[_Place, tuple[Proposal, ...], QC]:
        epoch, from_height, wires, qc = decode(payload, self._shape, size_max=_ANSWER_BYTES_MAX)
        return (epoch, from_height), tuple(decode_proposal(each) for each in wires), decode_qc(qc)


def _place(request: FetchBlocks) -> _Place:
    return request.target.epoch, request.from_height


def _closing(closed: ClosedEpoch, from_height: int) -> list[tuple[bytes, QC]]:
    """The blocks that closed an epoch, above `from_height`, with a certificate each."""
    pairs = with_certificates(closed.closing, closed.qc)
    return [(encode_proposal(each), qc) for each, qc in pairs if each.header.height > from_height]


def _unasked(peer: int) -> Rejected:
    return Rejected("unasked_blocks", "A peer sent blocks that nobody asked it for.", peer=peer)


def _check_links(proposals: Sequence[Proposal], high_qc: QC, place: _Place) -> None:
    """Blocks of the epoch asked for, of consecutive heights from the one asked for, each named by the next one's
    justify, the last by `high_qc`.

    Raises:
        Rejected: ``broken_chain``.
    """
    epoch, from_height = place
    certificates = [*(each.justify for each in proposals[1:]), high_qc]
    for offset, (proposal, qc) in enumerate(zip(proposals, certificates, strict=True)):
        header = proposal.header
        if header.epoch != epoch or header.height != from_height + 1 + offset or qc.block_hash != header.block_hash:
            raise Rejected(
                "broken_chain",
                "The blocks of a sync answer do not follow each other.",
                position=offset,
                height=header.height,
                from_height=from_height,
            )
