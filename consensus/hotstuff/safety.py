"""HotStuff's safety rules: what this replica may vote for, and what is decided. `consensus.safety` says when it may
give a view up or propose; nothing else in the product decides any of it.

Each rule is a list of numbered conditions, one to one with the code under it.

Why it is safe, in short. Let a quorum vote for b1 in view v+1 on top of QC(b0, v). Each honest one of them holds a high
QC of view v or more from then on (V5), reports it when it gives up a view (T3), and votes in a view at most once (V1).
A TC of any view above v is a quorum, so it has one of them among its signers, and a proposal that rests on it must
extend a QC of view v or more (V4). By induction every block certified in a view above v extends b0.

Source: Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman, Xiang, "Jolteon and Ditto: Network-Adaptive Efficient Consensus
with Asynchronous Fallback", 2021, arXiv 2106.10362: the Jolteon protocol, its steps named Vote, Commit, Timer and
Timeout. What the paper calls a round is a view here, its ``qc_high`` is `high_qc`, its ``r_vote`` is `last_voted_view`.
"""

from __future__ import annotations

from typing import Final

from consensus.events import SafetyState
from consensus.safety import after_voting_in, extends, remember
from consensus.types import QC, TC, Header, Proposal
from genesis.errors import invariant
from genesis.statements import Phase

PHASES: Final = (Phase.CERTIFY,)
VOTES_TO_ALL: Final = False


def vote_refusal(state: SafetyState, proposal: Proposal) -> str | None:
    """Why this replica must not vote for `proposal`; None when it may.

    V1. The view is above every view in which it voted or gave up.
    V2. The epoch is the one that the state belongs to.
    V3. The block is of this view and extends the block that its `justify` certifies.
    V4. The view follows that QC directly, or it follows a TC directly and the QC is at least the highest in the TC.

    That the certificates are genuine has been checked before (`consensus.certificates`).
    Source: Jolteon, step Vote.
    """
    header, justify = proposal.header, proposal.justify
    if not proposal.view > state.last_voted_view:
        return "V1: the view has been voted in or given up"
    if header.epoch != state.epoch:
        return "V2: another epoch"
    if header.view != proposal.view or not extends(header, justify):
        return "V3: the block does not extend the block that its QC certifies"
    if not follows(proposal.view, justify, proposal.tc):
        return "V4: neither the QC nor the TC leads to this view"
    return None


def follows(view: int, justify: QC, tc: TC | None) -> bool:
    """Condition V4: whether these certificates let a leader propose in `view` on top of `justify`."""
    if view == justify.view + 1:
        return True
    return tc is not None and view == tc.view + 1 and justify.view >= tc.high_qc.view


def after_vote(state: SafetyState, proposal: Proposal) -> SafetyState:
    """The state to persist before the vote is signed.

    V5. `high_qc` is at least the voted block's `justify`: the lock.
    """
    refusal = vote_refusal(state, proposal)
    invariant(refusal is None, "voted against the safety rules", refusal=refusal, view=proposal.view)
    return remember(after_voting_in(state, proposal.view), proposal.justify, proposal.tc)


def decided_by(_qc: QC, block: Header, parent: Header | None) -> Header | None:
    """What a certificate of `block` commits: its parent, by `decides`."""
    return parent if parent is not None and decides(parent, block) else None


def decides(parent: Header, child: Header) -> bool:
    """Whether `parent` is committed once `child`, which extends it, is certified.

    D1. `child` extends `parent` directly, so `parent` is certified by the child's `justify`.
    D2. Their views are consecutive. Over a gap, a TC in between might rest on an older QC, and a rival might be
        certified.

    Source: Jolteon, step Commit (2-chain).
    """
    return child.parent_hash == parent.block_hash and child.view == parent.view + 1


def fits(header: Header, parent: Header) -> bool:
    """A block is certified in its own view, so its child names that view, and stands in a later one."""
    return header.view > header.parent_view == parent.view


def anchor_of_child(parent: Header) -> tuple[int, bytes]:
    """The anchor that a child of `parent` names: the grandparent, if parent and grandparent stand in consecutive views
    (D2); else the parent's anchor. Anchors never go back along a chain. The parent is not the epoch's base."""
    if parent.view == parent.parent_view + 1:
        return parent.height - 1, parent.parent_hash
    return parent.anchor.height, parent.anchor.block_hash


def awaits_blocks(_root: Header, uncommitted: tuple[Header, ...]) -> bool:
    """Whether a block that orders something waits for those to come: one that is not committed."""
    return any(header.payload for header in uncommitted)
