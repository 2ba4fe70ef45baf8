"""What a simulated replica has on disk, and what a crash leaves of it.

Rules:

1. Everything is kept as bytes, in the product's own encoding, and read back through its decoder.
2. What was written without a sync is gone after a crash. `PersistSafety` and a block's commit sync all that was
   written before.
3. A crash in the middle of a sync leaves either the old or the new, never a mixture: the safety file has two copies,
   the ledger one write batch (node/safety_file.py and node/store.py are tested against real files for that).
4. The safety state, the certified blocks and the batches that a vote vouched for survive; only the faults that say so
   (`wipe`, `forget`, `restore`) break that promise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.config import Recovery, Tip
from consensus.events import EpochClosed, Executed, SafetyState
from consensus.turns import history_start
from consensus.types import QC, Proposal
from consensus.wire import decode_qc, decode_safety, encode_proposal, encode_qc, encode_safety
from node.simulator.codec import Codec


@dataclass(frozen=True, slots=True)
class CommittedBlock:
    """A block that has been executed and is durable."""

    proposal: bytes
    qc: bytes
    height: int
    block_hash: bytes
    state_root: bytes
    payload: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Closing:
    """What ended an epoch: the root after its edge, the blocks above it, the certificate of the last of them."""

    state_root: bytes
    closing: tuple[bytes, ...]
    qc: bytes


@dataclass(slots=True)
class Disk:
    """One replica's disk.

    Attributes:
        safety: The encoded safety state; None when its file is missing.
        proposals: Encoded proposals above the tip, by block hash, with their heights.
        committed: The ledger, from height 1.
        batches: The durable batches with their authors, by digest.
        entries: The state machine's entries, mirrored block by block.
        closings: The end of each epoch that is over.
        latency_ms: What a sync takes; 0 is at once.
    """

    safety: bytes | None
    proposals: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    committed: list[CommittedBlock] = field(default_factory=list)
    batches: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    entries: dict[bytes, bytes] = field(default_factory=dict)
    closings: dict[int, Closing] = field(default_factory=dict)
    latency_ms: int = 0
    _new_proposals: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    _new_batches: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """How many blocks are executed and durable."""
        return len(self.committed)

    @property
    def saved(self) -> SafetyState | None:
        """The safety state; None when it is lost."""
        return decode_safety(self.safety) if self.safety is not None else None

    # --- writing ------------------------------------------------------------------------------------------------------

    def keep(self, proposal: Proposal) -> None:
        """Write without a sync."""
        self._new_proposals[proposal.header.block_hash] = (proposal.header.height, encode_proposal(proposal))

    def keep_batch(self, digest: bytes, author: int, wire: bytes) -> None:
        """Write without a sync."""
        self._new_batches[digest] = author, wire

    def sync(self) -> None:
        """Everything written so far is durable (rule 2)."""
        if self._new_proposals:
            self.proposals.update(self._new_proposals)
            self._new_proposals.clear()
        if self._new_batches:
            self.batches.update(self._new_batches)
            self._new_batches.clear()

    def persist(self, state: SafetyState, proposal: Proposal | None) -> None:
        """The safety state and the block just voted for, durable."""
        if proposal is not None:
            self.keep(proposal)
        self.sync()
        self.safety = encode_safety(state)

    def commit(self, proposal: Proposal, qc: QC, state_root: bytes, writes: list[tuple[bytes, bytes | None]]) -> None:
        """An executed block with what it changed, durable; proposals that can no longer matter go."""
        header = proposal.header
        self.sync()
        self.committed.append(
            CommittedBlock(
                encode_proposal(proposal), encode_qc(qc), header.height, header.block_hash, state_root, header.payload
            )
        )
        for key, value in writes:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value
        self.proposals = {name: kept for name, kept in self.proposals.items() if kept[0] > header.height}

    def close(self, epoch: int, closed: EpochClosed) -> None:
        """The end of an epoch, durable."""
        self.sync()
        blocks = tuple(encode_proposal(each) for each in closed.closing)
        self.closings[epoch] = Closing(closed.state_root, blocks, encode_qc(closed.qc))

    # --- faults -------------------------------------------------------------------------------------------------------

    def lose_unsynced(self) -> None:
        """A crash."""
        self._new_proposals.clear()
        self._new_batches.clear()

    def forget(self) -> None:
        """The safety file is lost."""
        self.safety = None

    def wipe(self, *, keeps_safety: bool = False) -> None:
        """The data directory is lost, and the safety file with it or not."""
        self.lose_unsynced()
        self.safety = self.safety if keeps_safety else None
        self.proposals, self.committed, self.batches, self.entries, self.closings = {}, [], {}, {}, {}

    def backup(self) -> Disk:
        """A copy of what is durable."""
        return Disk(
            self.safety,
            dict(self.proposals),
            list(self.committed),
            dict(self.batches),
            dict(self.entries),
            dict(self.closings),
        )

    def restore(self, copy: Disk, *, safety_only: bool) -> None:
        """Put an old copy back: all of it, or the safety file alone."""
        self.lose_unsynced()
        self.safety = copy.safety
        if not safety_only:
            self.proposals, self.committed = dict(copy.proposals), list(copy.committed)
            self.batches, self.entries, self.closings = dict(copy.batches), dict(copy.entries), dict(copy.closings)

    # --- reading ------------------------------------------------------------------------------------------------------

    def recovery(self, codec: Codec, safety: SafetyState | None, base_height: int, since_ms: int) -> Recovery:
        """What an engine that starts now finds, in an epoch above `base_height`; the process began at `since_ms`."""
        tip = None
        if self.height > base_height:
            last = self.committed[-1]
            tip = Tip(codec.proposal(last.proposal), decode_qc(last.qc))
        executed = tuple(Executed(each.height, each.block_hash, each.state_root) for each in self.committed[-2:])
        pending = tuple(codec.proposal(data) for height, data in self.proposals.values() if height > self.height)
        history = tuple(
            codec.proposal(each.proposal).header for each in self.committed[history_start(self.height) - 1 :]
        )
        return Recovery(safety, tip, executed, pending, history, since_ms)
