"""The blocks above the last committed one: a tree rooted there, each block extending a certified parent.

Rules:

1. A block enters when its parent is the root or in the tree, and it fits that parent (`check_fits`).
2. Height is the parent's plus one, the view is above that of the parent's certificate, block time is strictly above
   the parent's.
3. The anchor is the highest block that the header's own ancestry commits; which that is, the engine's rules say.
   Anchors never go back along a chain, and never beyond the epoch's edge.
4. Committing a block makes it the root; what does not descend from it can never be certified again and is dropped.
5. A block that is not certified has no children, so those of views long past are dropped one by one.
6. An epoch's views begin anew above the block that it stands on, its *base*, whose own view is of another epoch: a
   child of it names view 0, and the base for its anchor.
7. Nothing above the edge is ever committed: the blocks there close the epoch, and the root stays at the edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from consensus.rules import Rules
from consensus.types import QC, Header, Proposal
from genesis.errors import Rejected, invariant, violated
from genesis.statements import Phase


@dataclass(slots=True)
class Block:
    """A block in the tree.

    Attributes:
        proposal: As signed by its proposer.
        arrived_monotonic_ms: When we first had it; paces the next view.
        qc: A certificate, once known; one that only prepares the block gives way to one that commits it.
    """

    proposal: Proposal
    arrived_monotonic_ms: int
    qc: QC | None = None


class BlockTree:
    """Every uncommitted block we hold, and the committed one they grow from."""

    def __init__(self, rules: Rules, base: Header, root: Header, edge_height: int) -> None:
        self.root = root
        self.root_arrived_monotonic_ms: int | None = None
        self._rules = rules
        self._base_hash = base.block_hash
        self._edge_height = edge_height
        self._blocks: dict[bytes, Block] = {}

    def __contains__(self, block_hash: bytes) -> bool:
        return block_hash == self.root.block_hash or block_hash in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def root_view(self) -> int:
        """The view of the root, as this epoch counts them (rule 6)."""
        return 0 if self.root.block_hash == self._base_hash else self.root.view

    def get(self, block_hash: bytes) -> Block | None:
        """The uncommitted block of this hash."""
        return self._blocks.get(block_hash)

    def header(self, block_hash: bytes) -> Header | None:
        """The header of this hash, the root's included."""
        if block_hash == self.root.block_hash:
            return self.root
        block = self._blocks.get(block_hash)
        return block.proposal.header if block is not None else None

    def check_fits(self, header: Header) -> None:
        """Rules 2 and 3, against a parent that is present, except for the anchor's state root.

        Raises:
            Rejected: ``bad_block``.
        """
        parent = self.header(header.parent_hash)
        invariant(parent is not None, "a block is checked against a parent that is present", height=header.height)
        if parent is None:
            return
        for what, holds in (
            ("height", header.height == parent.height + 1),
            ("view", self._views_fit(header, parent)),
            ("block time", header.time_unix_ms > parent.time_unix_ms),
            ("anchor", (header.anchor.height, header.anchor.block_hash) == self.anchor_of_child(parent)),
        ):
            if not holds:
                raise Rejected("bad_block", f"A block's {what} does not fit its parent.", height=header.height)

    def anchor_of_child(self, parent: Header) -> tuple[int, bytes]:
        """Height and hash of the anchor that a child of `parent`, which is here, names (rules 3, 6 and 7)."""
        if parent.block_hash == self._base_hash:
            return parent.height, parent.block_hash
        height, block_hash = self._rules.anchor_of_child(parent)
        if height <= self._edge_height:
            return height, block_hash
        edge = self.at_edge(parent)
        return edge.height, edge.block_hash

    def at_edge(self, header: Header) -> Header:
        """The header itself or, where it is above the edge, its ancestor there, which is the root or in the tree."""
        while header.height > self._edge_height:
            parent = self.header(header.parent_hash)
            if parent is None:
                violated("the ancestors of what is in the tree are in it", height=header.height)
            header = parent
        return header

    def insert(self, proposal: Proposal, arrived_monotonic_ms: int) -> None:
        """Add a block that fits; its `justify` certifies its parent."""
        self._blocks.setdefault(proposal.header.block_hash, Block(proposal, arrived_monotonic_ms))
        self.certify(proposal.justify)

    def certify(self, qc: QC) -> None:
        """Note that a block is certified, if it is here."""
        block = self._blocks.get(qc.block_hash)
        if block is not None and (block.qc is None or block.qc.phase is Phase.PREPARE):
            block.qc = qc

    def decided_by(self, qc: QC) -> Header | None:
        """The uncommitted block that this certificate commits, if any, by the engine's rules."""
        block = self._blocks.get(qc.block_hash)
        if block is None:
            return None
        header = block.proposal.header
        parent = self._blocks.get(header.parent_hash)
        return self._rules.decided_by(qc, header, parent.proposal.header if parent is not None else None)

    def path(self, block_hash: bytes) -> tuple[Block, ...]:
        """The uncommitted blocks from above the root up to `block_hash`, oldest first; empty for the root itself."""
        return tuple(reversed(list(self._ancestry(block_hash))))

    def commit(self, header: Header) -> tuple[Block, ...]:
        """Make `header` the root; the blocks that this commits, oldest first, each once and each with its QC."""
        committed = self.path(header.block_hash)
        self.root = header
        self.root_arrived_monotonic_ms = committed[-1].arrived_monotonic_ms
        kept: dict[bytes, Block] = {}
        for block in sorted(self._blocks.values(), key=lambda each: each.proposal.header.height):
            child = block.proposal.header
            if child.parent_hash == header.block_hash or child.parent_hash in kept:
                kept[child.block_hash] = block
        self._blocks = kept
        return committed

    def drop_uncertified(self, below_view: int, high_qc: QC) -> None:
        """Forget blocks of past views that nobody certified (rule 5), or that were only prepared, but for the block of
        the highest certificate."""
        self._blocks = {
            block_hash: block
            for block_hash, block in self._blocks.items()
            if block.proposal.view >= below_view
            or block_hash == high_qc.block_hash
            or (block.qc is not None and block.qc.phase is not Phase.PREPARE)
        }

    def arrived_monotonic_ms(self, block_hash: bytes) -> int | None:
        """When we first had this block or the root; None for a root from before the start."""
        block = self._blocks.get(block_hash)
        return block.arrived_monotonic_ms if block is not None else self.root_arrived_monotonic_ms

    def _views_fit(self, header: Header, parent: Header) -> bool:
        if parent.block_hash == self._base_hash:
            return header.view > header.parent_view == 0
        return self._rules.fits(header, parent)

    def _ancestry(self, block_hash: bytes) -> Iterator[Block]:
        while block_hash != self.root.block_hash:
            block = self._blocks[block_hash]
            yield block
            block_hash = block.proposal.header.parent_hash
