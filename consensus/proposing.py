"""When a leader proposes, and what its block says.

Rules:

1. The parent is the block of the highest QC that a block may extend. The leader has it and has executed the anchor that
   the new block must name.
2. Pace: not before the parent has been here for ``block_interval_ms_min``, except in a view entered by a TC, which is
   late already.
3. The leader asks the shell for the payload when it is due. With an empty answer on an idle chain (no uncommitted block
   orders anything) in a view entered by a QC, it waits until the parent has been here for ``block_interval_idle_ms`` or
   the shell says that something waits, and asks again. While something uncommitted waits to be committed, empty blocks
   follow at pace.
4. Block time is the leader's clock, at least one millisecond above the parent's.
5. When the view's TC shows that a block was prepared, of whose commit the leader knows nothing, it proposes that very
   block again, at once (`consensus.pbft.safety`, V4).
6. Above the epoch's edge blocks are empty, and follow at pace until one closes the epoch (`consensus.chain`).

`ProposalPlan` holds the pace (rules 2 and 3), `Leading` asks, answers and proposes when the turn is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.chain import Chain
from consensus.config import CoreConfig
from consensus.events import Now, RequestPayload
from consensus.outbox import Outbox
from consensus.pacemaker import Pacemaker
from consensus.rules import Rules
from consensus.signatory import Signatory
from consensus.types import Anchor, Header, Proposal
from genesis.errors import invariant, violated
from genesis.params import ChainParams
from genesis.statements import Phase


@dataclass(frozen=True, slots=True)
class Turn:
    """Our turn to lead.

    Attributes:
        view: The view that we lead.
        parent: The block to extend.
        parent_arrived_ms: When it came (monotonic).
        may_idle: Rule 3: an empty block may wait.
        is_late: The view was entered by a TC.
    """

    view: int
    parent: Header
    parent_arrived_ms: int
    may_idle: bool
    is_late: bool


class ProposalPlan:
    """What the leader has asked for, and how long it waits."""

    def __init__(self, params: ChainParams) -> None:
        self._params = params
        self._asked: tuple[int, bytes] | None = None
        self._declined_view = 0

    def due_ms(self, turn: Turn) -> int | None:
        """When to ask for a payload (rules 2 and 3); None while an answer for this view is awaited."""
        if self._asked is not None and self._asked[0] == turn.view:
            return None
        if turn.is_late:
            return turn.parent_arrived_ms
        waits = turn.may_idle and self._declined_view == turn.view
        return turn.parent_arrived_ms + (
            self._params.block_interval_idle_ms if waits else self._params.block_interval_ms_min
        )

    def ask(self, turn: Turn) -> None:
        """The payload for this turn is asked for."""
        self._asked = (turn.view, turn.parent.block_hash)

    def answered(self, view: int, turn: Turn | None) -> bool:
        """An answer came: whether it is for this very turn. A turn whose parent has changed since is asked for anew."""
        if self._asked is None or self._asked[0] != view:
            return False
        asked, self._asked = self._asked, None
        return turn is not None and asked == (turn.view, turn.parent.block_hash)

    def declines(self, turn: Turn, payload: tuple[bytes, ...], now_ms: int) -> bool:
        """Whether to wait rather than make an empty block (rule 3)."""
        if payload or not turn.may_idle or now_ms >= turn.parent_arrived_ms + self._params.block_interval_idle_ms:
            return False
        self._declined_view = turn.view
        return True

    def payload_waits(self) -> None:
        """The shell has something to order: an idle leader asks again."""
        self._declined_view = 0


class Leading:
    """Proposes when the turn is ours.

    Attributes:
        due_ms: When to ask for a payload, as of the last `propose_if_due`; None while there is no turn of ours, or an
            answer is awaited.
    """

    def __init__(
        self,
        config: CoreConfig,
        rules: Rules,
        chain: Chain,
        pacemaker: Pacemaker,
        signatory: Signatory,
        outbox: Outbox,
    ) -> None:
        self._me = config.index
        self._epoch = config.validators.epoch
        self._batches_max = config.params.block_batches_max
        self._rules = rules
        self._plan = ProposalPlan(config.params)
        self._chain = chain
        self._pacemaker = pacemaker
        self._signatory = signatory
        self._outbox = outbox
        self._started_ms = 0
        self.due_ms: int | None = None

    def start(self, now_ms: int) -> None:
        """The process runs from here; what it found in its stores counts as having come now."""
        self._started_ms = now_ms

    def on_payload_waiting(self) -> None:
        """The shell has something to order."""
        self._plan.payload_waits()

    def propose_if_due(self, now: Now) -> None:
        """Propose a prepared block again; or ask for the payload of our own, when it is time and its anchor is
        executed."""
        self.due_ms = None
        if self._propose_prepared():
            return
        turn = self._turn()
        due_ms = self._plan.due_ms(turn) if turn is not None else None
        if turn is None or due_ms is None:
            return
        if now.monotonic_ms < due_ms:
            self.due_ms = due_ms
            return
        header = self._header(turn, (), now)
        if header is None:
            return
        if self._chain.is_closing:
            self._signatory.propose(Proposal(turn.view, header, self._chain.base_qc, self._chain.entry_tc))
            return
        self._plan.ask(turn)
        ancestors = tuple(block.proposal.header for block in self._chain.tree.path(turn.parent.block_hash))
        self._outbox.put(RequestPayload(turn.view, turn.parent.block_hash, ancestors))

    def on_payload_offered(self, view: int, payload: tuple[bytes, ...], now: Now) -> None:
        """The shell's answer: propose it, if it is still our turn and an empty block need not wait."""
        turn = self._turn()
        if not self._plan.answered(view, turn) or turn is None:
            return
        if self._plan.declines(turn, payload, now.monotonic_ms):
            return
        invariant(len(payload) <= self._batches_max, "an offer fits a block", batches=len(payload))
        header = self._header(turn, payload, now)
        if header is None:
            violated("an executed anchor stays known", view=view)
        self._signatory.propose(Proposal(view, header, self._chain.base_qc, self._chain.entry_tc))

    def _propose_prepared(self) -> bool:
        """Rule 5; whether that is what this turn is for, also while the block is still missing."""
        tc, base = self._chain.entry_tc, self._chain.base_qc
        if tc is None or tc.high_qc.phase is not Phase.PREPARE:
            return False
        if tc.high_qc.view <= base.view or tc.high_qc.block_hash == base.block_hash:
            return False
        block = self._chain.tree.get(tc.high_qc.block_hash)
        if block is not None and self._is_ours:
            self._signatory.propose(Proposal(self._chain.view, block.proposal.header, block.proposal.justify, tc))
        return True

    @property
    def _is_ours(self) -> bool:
        """Whether we lead the view, and may still propose in it."""
        view = self._chain.view
        if self._chain.leader != self._me or self._signatory.is_silent or self._pacemaker.timed_out:
            return False
        return self._signatory.may_propose(view)

    def _turn(self) -> Turn | None:
        """Our turn to propose a block of our own, when it is ours and the parent is here (rule 1)."""
        view, qc, tc = self._chain.view, self._chain.base_qc, self._chain.entry_tc
        parent = self._chain.tree.header(qc.block_hash)
        is_over = self._chain.closing_qc is not None
        if parent is None or is_over or not self._is_ours or (tc is None and qc.leads_to != view):
            return None
        arrived_ms = self._chain.tree.arrived_monotonic_ms(parent.block_hash)
        since_ms = arrived_ms if arrived_ms is not None else self._started_ms
        return Turn(view, parent, since_ms, self._chain.may_idle, tc is not None)

    def _header(self, turn: Turn, payload: tuple[bytes, ...], now: Now) -> Header | None:
        """The block of this turn (rules 1 and 4); None while its anchor is not executed."""
        height, block_hash = self._chain.tree.anchor_of_child(turn.parent)
        root = self._chain.anchors.root(height)
        if root is None:
            return None
        return Header(
            epoch=self._epoch,
            height=turn.parent.height + 1,
            view=turn.view,
            proposer=self._me,
            parent_hash=turn.parent.block_hash,
            parent_view=self._chain.base_qc.view,
            time_unix_ms=max(now.chain_unix_ms, turn.parent.time_unix_ms + 1),
            anchor=Anchor(height, block_hash, root),
            payload=payload,
        )
