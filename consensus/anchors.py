"""The certified root: state roots that we computed, held against those that a quorum certified.

Rules:

1. A header names its anchor's state root. A replica votes only when it has executed the anchor and found the same root,
   so a QC certifies that root as well.
2. A root in a *certified* header that differs from ours means that our state is wrong, or more than a third of the
   power is: we stop.
3. A different root in a header that is not certified is its proposer's problem: no vote.

Roots are kept from the anchor of the last committed block upwards: anchors never go back along a chain, so no block to
come can name an older one.
"""

from __future__ import annotations

from consensus.types import Anchor, Header
from genesis.errors import invariant


class AnchorRule:
    """What was executed with which root, what is about to be, and which roots are certified ahead of us."""

    def __init__(self, base: Header, base_root: bytes | None) -> None:
        self.executed_height = base.height
        self._roots = {base.height: base_root if base_root is not None else base.anchor.state_root}
        self._awaited: dict[int, bytes] = {}
        self._certified: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._roots) + len(self._awaited) + len(self._certified)

    def restore(self, height: int, state_root: bytes) -> None:
        """Take in a root from before the restart: executed by us, or certified in the tip's header."""
        self.executed_height = max(self.executed_height, height)
        self._roots[height] = state_root

    def await_execution(self, header: Header) -> None:
        """A block was committed: its execution comes next."""
        self._awaited[header.height] = header.block_hash

    def executed(self, height: int, block_hash: bytes, state_root: bytes) -> str | None:
        """Take in our root of a committed block; a reason to halt, if a quorum certified another (rule 2)."""
        invariant(height == self.executed_height + 1, "blocks execute in order", height=height, at=self.executed_height)
        invariant(self._awaited.pop(height, None) == block_hash, "only committed blocks execute", height=height)
        self.executed_height = height
        self._roots[height] = state_root
        return self._contradiction(height, self._certified.pop(height, state_root))

    def certify(self, anchor: Anchor) -> str | None:
        """A quorum certified this anchor; a reason to halt, if our root differs (rule 2)."""
        if anchor.height > self.executed_height:
            self._certified[anchor.height] = anchor.state_root
            return None
        return self._contradiction(anchor.height, anchor.state_root)

    def agrees(self, anchor: Anchor) -> bool | None:
        """Whether our root of the anchor is the named one (rule 1); None until we have executed it."""
        root = self._roots.get(anchor.height)
        return None if root is None else root == anchor.state_root

    def root(self, height: int) -> bytes | None:
        """Our state root after the block of this height; None until executed."""
        return self._roots.get(height)

    def forget_below(self, height: int) -> None:
        """No block to come can name an anchor below this height."""
        self._roots = {each: root for each, root in self._roots.items() if each >= height}

    def _contradiction(self, height: int, certified: bytes) -> str | None:
        ours = self._roots.get(height)
        if ours is None or ours == certified:
            return None
        return f"our state root at height {height} is {ours.hex()}, a quorum certified {certified.hex()}"
