"""When a leader proposes, and what its block says.

Rules:

1. The parent is the block of the highest QC. The leader has it and has executed the anchor that the new block must
   name.
2. Pace: not before the parent has been here for ``block_interval_ms_min``, except in a view entered by a TC, which is
   late already.
3. The leader asks the shell for the payload when it is due. With an empty answer on an idle chain (no uncommitted block
   orders anything) in a view entered by a QC, it waits until the parent has been here for ``block_interval_idle_ms`` or
   the shell says that something waits, and asks again. While something uncommitted waits to be committed, empty blocks
   follow at pace.
4. Block time is the leader's clock, at least one millisecond above the parent's.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.anchors import AnchorRule
from consensus.tree import anchor_of_child
from consensus.types import Anchor, Header, ReplicaIndex
from genesis.params import ChainParams


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


def make_header(
    turn: Turn, proposer: ReplicaIndex, epoch: int, payload: tuple[bytes, ...], chain_unix_ms: int, anchors: AnchorRule
) -> Header | None:
    """The block of this turn (rules 1 and 4); None while its anchor is not executed."""
    height, block_hash = anchor_of_child(turn.parent)
    root = anchors.root(height)
    if root is None:
        return None
    return Header(
        epoch=epoch,
        height=turn.parent.height + 1,
        view=turn.view,
        proposer=proposer,
        parent_hash=turn.parent.block_hash,
        parent_view=turn.parent.view,
        time_unix_ms=max(chain_unix_ms, turn.parent.time_unix_ms + 1),
        anchor=Anchor(height, block_hash, root),
        payload=payload,
    )
