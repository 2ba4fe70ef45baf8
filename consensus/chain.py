"""What this replica knows to be certified: the highest certificates, the block tree, the anchors, and what they decide.

Rules:

1. Everything that enters has been verified. Certificates only ever rise.
2. The view is the one to which the highest certificates lead, QC or TC: nothing else moves it.
3. A QC certifies its block and that block's anchor, and may commit the block or its parent (the engine's `decided_by`),
   with all uncommitted ancestors, oldest first, each once.
4. Commits stop at the epoch's edge. The blocks above it order nothing and are never committed: they are there to
   certify a header whose anchor is the edge. With that header's certificate the epoch is closed (`closing_qc`).
5. The order in which blocks and certificates come does not matter: inserting a block takes in again what is known of
   it.
6. What is committed and waits for execution is bounded: while it is more than `BACKLOG_ANSWERS_MAX` sync answers bring,
   no block is taken in, whoever sends it. Later they are asked for (`consensus.syncing`). Only a replica that executes
   more slowly than a quorum gets there, and it cannot vote in any case: it has not executed the anchors.

Where a quorum contradicts what we executed there is no going on: `Halted` carries the reason.
"""

from __future__ import annotations

from typing import Final

from consensus.anchors import AnchorRule
from consensus.config import CoreConfig, Recovery
from consensus.events import Commit, StoreProposal
from consensus.outbox import Outbox
from consensus.rules import Rules
from consensus.safety import fresh_safety, remember
from consensus.tree import BlockTree
from consensus.turns import Turns
from consensus.types import QC, TC, Certificates, Header, Proposal, ReplicaIndex
from genesis.errors import Rejected, invariant, violated
from genesis.params import ChainParams
from genesis.statements import Phase

BACKLOG_ANSWERS_MAX: Final = 4


class Halted(Exception):
    """This replica must stop; the argument says why."""


class Chain:
    """The certified chain of one replica: everybody reads it, `consensus.following` writes to it.

    Attributes:
        high_qc: The highest QC.
        base_qc: The highest QC that a new block may extend: not one that only prepares its block.
        high_tc: The highest TC.
        view: The current view.
        closing_qc: The certificate of a block whose anchor is the epoch's edge, once one is known.
    """

    def __init__(self, config: CoreConfig, rules: Rules, recovery: Recovery, turns: Turns, outbox: Outbox) -> None:
        fresh, tip = fresh_safety(config.base, config.epoch), recovery.tip
        base = tip.qc if tip is not None else fresh.high_qc
        known = remember(recovery.safety or fresh, base, None)
        self.high_qc: QC = known.high_qc
        self.base_qc: QC = base
        self.high_tc: TC | None = known.high_tc
        self.view = max(known.high_qc.leads_to, known.high_tc.view + 1 if known.high_tc is not None else 0)
        self.closing_qc: QC | None = None
        root = tip.proposal.header if tip is not None else config.base
        self.tree = BlockTree(rules, config.base, root, config.edge_height)
        self.anchors = restored_anchors(config, recovery)
        self._epoch = config.epoch
        self._edge_height = config.edge_height
        self._rules = rules
        self._params: ChainParams = config.params
        self._turns = turns
        self._outbox = outbox
        turns.restore(recovery.history, self.tree.root)

    @property
    def entry_tc(self) -> TC | None:
        """The TC that leads to the current view, unless the highest QC does."""
        return self.high_tc if self.high_qc.leads_to != self.view else None

    @property
    def leader(self) -> ReplicaIndex:
        """Whom we expect to lead the current view: who may do so on top of the highest QC."""
        return self.leader_of(self.view)

    def leader_of(self, view: int) -> ReplicaIndex:
        """Who may lead `view` on top of the highest QC."""
        return self._turns.leader(view, self.base_qc)

    @property
    def certificates(self) -> Certificates:
        """What to tell others: the highest QC, and the TC that leads beyond it."""
        return Certificates(self.high_qc, self.entry_tc)

    @property
    def is_complete(self) -> bool:
        """Whether the block of the highest QC and so all its ancestors are here."""
        return self.high_qc.block_hash in self.tree

    @property
    def uncommitted(self) -> tuple[Proposal, ...]:
        """The certified chain above the last committed block, oldest first; empty while a block of it is missing."""
        if not self.is_complete:
            return ()
        return tuple(block.proposal for block in self.tree.path(self.high_qc.block_hash))

    @property
    def has_backlog(self) -> bool:
        """Whether so much waits for execution that no more is taken in (rule 6)."""
        waiting = self.tree.root.height - self.anchors.executed_height
        return waiting > BACKLOG_ANSWERS_MAX * self._params.sync_blocks_max

    @property
    def is_closing(self) -> bool:
        """Whether the next block is one above the edge."""
        return self.base_qc.height >= self._edge_height

    @property
    def may_idle(self) -> bool:
        """Whether the leader may take its time: the view before was no failure, and nothing that is ordered waits for
        its block. Where a block is missing we cannot tell, and are patient."""
        if self.base_qc.leads_to != self.view or self.is_closing:
            return False
        if self.base_qc.block_hash not in self.tree:
            return True
        path = tuple(block.proposal.header for block in self.tree.path(self.base_qc.block_hash))
        return not self._rules.awaits_blocks(self.tree.root, path)

    def is_news(self, qc: QC) -> bool:
        """Whether a QC, not verified, would tell us something."""
        return qc.rank > self.high_qc.rank or (qc.phase is not Phase.PREPARE and qc.view > self.base_qc.view)

    def restore(self, pending: tuple[Proposal, ...], now_ms: int) -> None:
        """Take in the stored proposals above the tip; they are verified and stored already."""
        ours = (each for each in pending if each.header.epoch == self._epoch)
        for proposal in sorted(ours, key=lambda each: each.header.height):
            if proposal.header.parent_hash in self.tree and proposal.header.block_hash not in self.tree:
                self.tree.insert(proposal, now_ms)
                self._turns.follow(proposal.header)
                self.learn_qc(proposal.justify)
        self.learn_qc(self.high_qc)

    def learn_qc(self, qc: QC) -> None:
        """Take in a genuine QC (rule 3)."""
        self.tree.certify(qc)
        block = self.tree.get(qc.block_hash)
        if block is not None:
            _halt_if(self.anchors.certify(block.proposal.header.anchor))
        decided = self.tree.decided_by(qc)
        if decided is not None:
            self._commit(decided)
        if qc.phase is not Phase.PREPARE and qc.view > self.base_qc.view:
            self.base_qc = qc
        if qc.phase is not Phase.PREPARE and block is not None and self.closing_qc is None:
            self.closing_qc = qc if block.proposal.header.anchor.height == self._edge_height else None
        if qc.rank > self.high_qc.rank:
            self.high_qc = qc
        self.view = max(self.view, qc.leads_to)

    def learn_tc(self, tc: TC) -> None:
        """Take in a genuine TC."""
        self.learn_qc(tc.high_qc)
        if self.high_tc is None or tc.view > self.high_tc.view:
            self.high_tc = tc
            self.view = max(self.view, tc.view + 1)

    def insert(self, proposal: Proposal, now_ms: int) -> None:
        """Add a genuine proposal whose parent is here (rule 4).

        Raises:
            Rejected: ``bad_block``: it does not fit its parent or the chain's bounds.
        """
        header = proposal.header
        if len(set(header.payload)) != len(header.payload) or len(header.payload) > self._params.block_batches_max:
            raise Rejected("bad_block", "A block orders block_batches_max batches at most.", view=header.view)
        if header.height > self._edge_height and header.payload:
            raise Rejected("bad_block", "A block above the edge of its epoch orders nothing.", height=header.height)
        self.tree.check_fits(header)
        self.tree.insert(proposal, now_ms)
        self._turns.follow(header)
        self._outbox.put(StoreProposal(proposal))
        self.learn_qc(proposal.justify)
        if self.high_qc.block_hash == header.block_hash:
            self.learn_qc(self.high_qc)

    def executed(self, height: int, block_hash: bytes, state_root: bytes) -> None:
        """Our own root of a committed block."""
        _halt_if(self.anchors.executed(height, block_hash, state_root))
        self.anchors.forget_below(self.tree.root.anchor.height)

    def _commit(self, decided: Header) -> None:
        header = self.tree.at_edge(decided)
        if header.block_hash == self.tree.root.block_hash:
            return
        for block in self.tree.commit(header):
            if block.qc is None:
                violated("every committed block is certified", height=block.proposal.header.height)
            self.anchors.await_execution(block.proposal.header)
            self._outbox.put(Commit(block.proposal, block.qc))
        self._turns.commit(self.tree.root)


def restored_anchors(config: CoreConfig, recovery: Recovery) -> AnchorRule:
    """The roots that we executed before the restart, and the one that the tip's own header certifies."""
    anchors = AnchorRule(config.base, config.base_root)
    if recovery.tip is None:
        return anchors
    tip = recovery.tip.proposal.header
    roots = {each.height: each for each in recovery.executed}
    invariant(tip.height in roots and roots[tip.height].block_hash == tip.block_hash, "the tip's root is stored")
    invariant(tip.height == 1 or tip.height - 1 in roots, "the root before the tip's is stored", height=tip.height)
    anchors.restore(tip.anchor.height, tip.anchor.state_root)
    for each in recovery.executed:
        anchors.restore(each.height, each.state_root)
    return anchors


def _halt_if(reason: str | None) -> None:
    if reason is not None:
        raise Halted(reason)
