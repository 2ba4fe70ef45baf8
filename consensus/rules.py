"""What an engine decides by itself. Everything else in `consensus/` is the same for both.

An engine is a module of pure functions, its ``safety.py``, which is read whole: `consensus.hotstuff.safety` and
`consensus.pbft.safety` have this form. What they share stands in `consensus.safety`.
"""

from __future__ import annotations

from typing import Protocol

from consensus.events import SafetyState
from consensus.types import QC, Header, Proposal
from genesis.statements import Phase


class Rules(Protocol):
    """The rules of one engine."""

    @property
    def PHASES(self) -> tuple[Phase, ...]:  # noqa: N802 - a constant of the module
        """The phases of its votes, in order: the first answers a proposal."""

    @property
    def VOTES_TO_ALL(self) -> bool:  # noqa: N802 - a constant of the module
        """Whether votes go to everybody in a set of any size."""

    def vote_refusal(self, state: SafetyState, proposal: Proposal) -> str | None:
        """Why this replica must not vote for `proposal`; None when it may."""

    def after_vote(self, state: SafetyState, proposal: Proposal) -> SafetyState:
        """The state to persist before the vote is signed."""

    def decided_by(self, qc: QC, block: Header, parent: Header | None) -> Header | None:
        """What a certificate of `block` commits: the block, its parent, or nothing. A parent of None is committed."""

    def fits(self, header: Header, parent: Header) -> bool:
        """Whether the views of a block and of the certificate it extends go together with its parent's."""

    def awaits_blocks(self, root: Header, uncommitted: tuple[Header, ...]) -> bool:
        """Whether something that is ordered waits for the blocks to come, so that no leader may idle: `uncommitted`
        lies between the last committed block, `root`, and the next one."""

    def anchor_of_child(self, parent: Header) -> tuple[int, bytes]:
        """Height and hash of the anchor that a child of `parent` names: the highest block that the ancestry of that
        child commits. The parent is not the block that the epoch stands on (`consensus.tree`)."""
