"""A chain that is made at once: real state machine, real ledger, certificates signed with the validators' keys.

What a network would take hours to make takes seconds here. Nothing of it differs from a network's chain in a way that a
verifier, a peer or a starting node could tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.hotstuff import safety as hotstuff_rules
from consensus.leaders import LeaderSchedule
from consensus.pbft import safety as pbft_rules
from consensus.types import (
    QC,
    Anchor,
    Header,
    Proposal,
    Statement,
    Vote,
    genesis_header,
    genesis_qc,
    signing_message,
)
from consensus.validators import genesis_validators
from contracts.machine import BlockInput, apply_block, genesis_state
from contracts.operations import build_operation
from contracts.receipts import encode_receipt
from contracts.snapshot import cut_state
from genesis.document import GenesisDocument
from genesis.envelope import Operation, decode_envelope, sign_envelope, verify_all
from genesis.signing import SigningKey
from node.batches import Batch, BatchFormat
from node.snapshot_files import SnapshotFiles
from node.snapshot_wire import Offer
from node.snapshots import offered_blocks
from node.store import BlockWrite, CommittedBlock, Store

VOTERS = 3
BLOCK_MS = 1_000


@dataclass
class ScriptedChain:
    """A chain that grows block by block, in view after view unless told otherwise.

    Args:
        document: The chain's definition.
        keys: The consensus keys of its validators, in order.
        governor: A key that may register what the blocks register.
        start_unix_ms: The block time of block 0's successor, less a block.
    """

    document: GenesisDocument
    keys: Sequence[SigningKey]
    governor: SigningKey
    start_unix_ms: int
    proposals: list[Proposal] = field(default_factory=list)
    writes: list[BlockWrite] = field(default_factory=list)
    voters: Sequence[int] = tuple(range(VOTERS))

    def __post_init__(self) -> None:
        document = self.document
        self.rules = {"hotstuff": hotstuff_rules, "pbft": pbft_rules}[document.consensus]
        self.phase = self.rules.PHASES[-1]
        self.state = genesis_state(document)
        self.genesis = genesis_header(document.chain_id, self.state.time_unix_ms, self.state.root)
        self.first_entries = list(self.state.entries())
        self.format = BatchFormat(document.chain_id, document.limits, len(self.keys))
        self.leaders = LeaderSchedule(genesis_validators(document))
        self.roots = [self.state.root]
        self._number = 0
        self._certificates: dict[int, QC] = {}

    @property
    def tip(self) -> Header:
        """The last block."""
        return self.proposals[-1].header if self.proposals else self.genesis

    def operations(self, count: int) -> list[Operation]:
        """So many registrations of new assets."""
        self._number += count
        names = [f"A{number}" for number in range(self._number - count, self._number)]
        return [build_operation("asset.register", {"asset": name, "decimals": "2"}) for name in names]

    def grow(self, operations: Sequence[Operation] = (), *, views_skipped: int = 0) -> Proposal:
        """Add a block that executes these operations in one envelope, or nothing."""
        parent, parent_qc = self.tip, self.certificate(self.tip)
        view, now = parent.view + 1 + views_skipped, self.start_unix_ms + (parent.height + 1) * BLOCK_MS
        batches = [self._batch(operations, now)] if operations else []
        height, block_hash = self.rules.anchor_of_child(parent) if parent.height else (0, parent.block_hash)
        header = Header(
            epoch=0,
            height=parent.height + 1,
            view=view,
            proposer=self.leaders.leader(view),
            parent_hash=parent.block_hash,
            parent_view=parent.view,
            time_unix_ms=now,
            anchor=Anchor(height, block_hash, self.roots[height]),
            payload=tuple(batch.digest for batch in batches),
        )
        proposal = Proposal(view, header, parent_qc, None)
        proposal = Proposal(view, header, parent_qc, None, signature=self._sign(header.proposer, proposal))
        envelopes = [envelope for batch in batches for envelope in batch.envelopes]
        output = apply_block(self.state, BlockInput(header.height, now, envelopes))
        self.roots.append(output.root)
        self.proposals.append(proposal)
        count = len(output.receipts)
        block = CommittedBlock(
            header.height, header.block_hash, self.certificate(header), output.root, now, count, count, self._number
        )
        receipts = [(each.envelope_id, encode_receipt(each)) for each in output.receipts]
        wires = [(batch.digest, batch.wire) for batch in batches]
        self.writes.append(BlockWrite(block, proposal, wires, receipts, output.writes))
        return proposal

    def certificate(self, header: Header) -> QC:
        """A quorum's votes for a block of this chain."""
        if header.height == 0:
            return genesis_qc(header.block_hash)
        if header.height not in self._certificates:
            self._certificates[header.height] = self.sign_qc(header, self.keys, self.voters)
        return self._certificates[header.height]

    def sign_qc(self, header: Header, keys: Sequence[SigningKey], voters: Sequence[int]) -> QC:
        """Votes for any header, with any keys."""
        signatures = []
        for voter in voters:
            vote = Vote(header.epoch, header.view, self.phase, header.height, header.block_hash, voter)
            signatures.append((voter, keys[voter].sign(signing_message(self.document.chain_id, vote))))
        return QC(header.epoch, header.view, self.phase, header.height, header.block_hash, tuple(signatures))

    def store_into(self, store: Store, up_to: int | None = None) -> None:
        """Write the chain's blocks above the store's tip, up to this height, as a node would have committed them."""
        if store.tip() is None:
            block = CommittedBlock(
                0,
                self.genesis.block_hash,
                self.certificate(self.genesis),
                self.roots[0],
                self.genesis.time_unix_ms,
                0,
                0,
                0,
            )
            store.begin(block, self.first_entries)
        tip = store.tip()
        done = tip.height if tip is not None else 0
        last = len(self.writes) if up_to is None else up_to
        for start in range(done, last, 100):
            store.commit(self.writes[start : min(start + 100, last)])

    def snapshot_into(self, files: SnapshotFiles, store: Store, height: int) -> None:
        """Write the chain's blocks up to `height`, take a snapshot there, and write the others."""
        self.store_into(store, height)
        view = store.view()
        self.store_into(store)
        blocks = offered_blocks(store, height)
        assert blocks
        cut = cut_state(view.entries(), self.document.limits.merkle_depth)
        view.close()
        files.write(Offer(cut.level, tuple(proposal for proposal, _ in blocks), blocks[-1][1].qc), cut)

    def _batch(self, operations: Sequence[Operation], now: int) -> Batch:
        salt = self._number.to_bytes(16, "big")
        wire = sign_envelope(self.document.chain_id, [self.governor], operations, now + 60_000, salt)
        envelopes = verify_all([decode_envelope(wire, self.document.chain_id, self.document.limits)])
        return self.format.seal(0, self._number, envelopes)

    def _sign(self, index: int, statement: Statement) -> bytes:
        return self.keys[index].sign(signing_message(self.document.chain_id, statement))
