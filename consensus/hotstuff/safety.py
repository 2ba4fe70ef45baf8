"""The safety rules: what this replica may sign, and what is decided. Nothing else in the product decides either.

Each rule is a list of numbered conditions, one to one with the code under it. The rules are pure functions of the
persistent `SafetyState`; the new state is durable before the signature that it permits leaves (`PersistSafety` stands
before `SignAndSend`), so a replica that crashes at any point never contradicts itself.

Why it is safe, in short. Let a quorum vote for b1 in view v+1 on top of QC(b0, v). Each honest one of them holds a high
QC of view v or more from then on (V5), reports it when it gives up a view (T3), and votes in a view at most once (V1).
A TC of any view above v is a quorum, so it has one of them among its signers, and a proposal that rests on it must
extend a QC of view v or more (V4). By induction every block certified in a view above v extends b0.

Source: Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman, Xiang, "Jolteon and Ditto: Network-Adaptive Efficient Consensus
with Asynchronous Fallback", 2021, arXiv 2106.10362: the Jolteon protocol, its steps named Vote, Commit, Timer and
Timeout. What the paper calls a round is a view here, its ``qc_high`` is `high_qc`, its ``r_vote`` is `last_voted_view`.

Deviation: `last_proposed_view` (P1) is not in the paper, whose proofs allow a leader to equivocate. We hold proposals
to the same standard as votes, because an honest leader that restarts must never produce what counts as evidence against
it.
"""

from __future__ import annotations

from dataclasses import replace

from consensus.events import SafetyState
from consensus.types import QC, TC, Header, Proposal, genesis_qc
from genesis.errors import invariant


def fresh_safety(genesis: Header) -> SafetyState:
    """The state of a validator that has never signed anything: what ``node init`` writes."""
    return SafetyState(genesis.epoch, 0, 0, genesis_qc(genesis.block_hash), None)


def vote_refusal(state: SafetyState, proposal: Proposal) -> str | None:
    """Why this replica must not vote for `proposal`; None when it may.

    V1. The view is above every view in which it voted or gave up.
    V2. The epoch is the one that the state belongs to.
    V3. The block extends the block that its `justify` certifies.
    V4. The view follows that QC directly, or it follows a TC directly and the QC is at least the highest in the TC.

    That the certificates are genuine has been checked before (`consensus.hotstuff.certificates`).
    Source: Jolteon, step Vote.
    """
    header, justify = proposal.header, proposal.justify
    if not header.view > state.last_voted_view:
        return "V1: the view has been voted in or given up"
    if header.epoch != state.epoch:
        return "V2: another epoch"
    if not _extends(header, justify):
        return "V3: the block does not extend the block that its QC certifies"
    if not follows(header.view, justify, proposal.tc):
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
    invariant(refusal is None, "voted against the safety rules", refusal=refusal, view=proposal.header.view)
    voted = replace(state, last_voted_view=proposal.header.view)
    return remember(voted, proposal.justify, proposal.tc)


def timeout_refusal(state: SafetyState, view: int, high_qc: QC, high_tc: TC | None) -> str | None:
    """Why this replica must not sign that it gives up `view` reporting `high_qc`; None when it may.

    T1. It has neither voted nor given up in a later view.
    T2. It is in that view: the QC or the TC leads to it.
    T3. The reported QC is not below any that it has voted on top of or reported.

    A second timeout in the same view may report a higher QC than the first: that only narrows what the next leader may
    do.
    Source: Jolteon, step Timer and Timeout.
    """
    if view < state.last_voted_view:
        return "T1: a later view has been voted in or given up"
    if view != high_qc.view + 1 and (high_tc is None or view != high_tc.view + 1):
        return "T2: no certificate leads to this view"
    if high_qc.view < state.high_qc.view:
        return "T3: a higher QC has been reported or voted on"
    return None


def after_timeout(state: SafetyState, view: int, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state to persist before the timeout is signed.

    T4. No vote in this view from now on.
    """
    refusal = timeout_refusal(state, view, high_qc, high_tc)
    invariant(refusal is None, "gave up a view against the safety rules", refusal=refusal, view=view)
    return remember(replace(state, last_voted_view=view), high_qc, high_tc)


def propose_refusal(state: SafetyState, view: int, justify: QC, tc: TC | None) -> str | None:
    """Why this replica, the leader of `view`, must not propose on top of `justify`; None when it may.

    P1. It has not proposed in this view or a later one.
    P2. It could vote for the proposal: V1 and V4 hold for it.
    """
    if not view > state.last_proposed_view:
        return "P1: the view has been proposed in"
    if not view > state.last_voted_view or not follows(view, justify, tc):
        return "P2: nobody honest could vote for it"
    return None


def after_proposal(state: SafetyState, view: int, justify: QC, tc: TC | None) -> SafetyState:
    """The state to persist before the proposal is signed."""
    refusal = propose_refusal(state, view, justify, tc)
    invariant(refusal is None, "proposed against the safety rules", refusal=refusal, view=view)
    return remember(replace(state, last_proposed_view=view), justify, tc)


def remember(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state with certificates taken in: they only ever rise, and a TC is kept only while it is above the QC."""
    qc = high_qc if high_qc.view > state.high_qc.view else state.high_qc
    tcs = [tc for tc in (state.high_tc, high_tc) if tc is not None and tc.view > qc.view]
    return replace(state, high_qc=qc, high_tc=max(tcs, key=lambda tc: tc.view, default=None))


def decides(parent: Header, child: Header) -> bool:
    """Whether `parent` is committed once `child`, which extends it, is certified.

    D1. `child` extends `parent` directly, so `parent` is certified by the child's `justify`.
    D2. Their views are consecutive. Over a gap, a TC in between might rest on an older QC, and a rival might be
        certified.

    Source: Jolteon, step Commit (2-chain).
    """
    return child.parent_hash == parent.block_hash and child.view == parent.view + 1


def _extends(header: Header, justify: QC) -> bool:
    return (
        header.parent_hash == justify.block_hash
        and header.parent_view == justify.view
        and header.height == justify.height + 1
        and header.epoch >= justify.epoch
    )
