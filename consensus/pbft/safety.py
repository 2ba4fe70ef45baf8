"""PBFT's safety rules: what this replica may prepare and commit, and what is decided. `consensus.safety` says when it
may give a view up or propose; nothing else in the product decides any of it.

Each rule is a list of numbered conditions, one to one with the code under it.

The protocol, in the paper's words and in ours. A pre-prepare is a proposal; a prepare is a vote of phase PREPARE, and
2f of them with the pre-prepare are a PREPARE certificate (the leader votes as well, so a certificate needs no
pre-prepare beside it); a commit is a vote of phase COMMIT, and a quorum of them a COMMIT certificate. One height is
decided at a time, and a block's `justify` is the COMMIT certificate of its parent, so sequence numbers, their window
and the log are gone: what is committed is a chain, every block of it is a checkpoint (its root stands in the next
header, which a quorum prepares only after it has executed the block and found the same), and above the last one there
is one height's work. A VIEW-CHANGE is a timeout: its highest QC is the last COMMIT certificate, or the PREPARE
certificate of a block above it. The quorum of them that a NEW-VIEW carries is the TC of the new leader's proposal.

Why it is safe, in short. Let a quorum commit b in view v. Each honest one of them held PREPARE(b, v) before (L4), holds
a certificate of view v or more from then on (L5), had not given v up (L2), and reports such a certificate when it gives
up v or a later view (T3). A TC of view v or above is a quorum, so it has one of them among its signers, and carries a
certificate of view v or more. A proposal that rests on it repeats or extends a block that was prepared or committed in
view v or later (V4), and by induction over the views these are b and what descends from it. In one view only one block
can be prepared, since each honest replica prepares once (V1).

Source: Castro, Liskov, "Practical Byzantine Fault Tolerance", OSDI 1999, sections 4.2 (normal case), 4.3 (checkpoints),
4.4 (view changes); Castro's thesis, MIT-LCS-TR-817, 2001, chapter 2. That the chain carries certificates and the leader
changes with every block: Moniz, "The Istanbul BFT Consensus Algorithm", 2020, arXiv 2002.03613, sections 4.2 and 4.3,
from which comes "prepared certificate in the round change, its block in the new proposal"; Buchman, Kwon, Milosevic,
"The latest gossip on BFT consensus", 2018, arXiv 1807.04938.

Deviation: IBFT and Tendermint count rounds anew at each height. Our views never repeat, so a certificate's view alone
ranks it, and one pacemaker, one amnesia rule and one form of evidence serve both engines (ADR 0012).
"""

from __future__ import annotations

from typing import Final

from consensus.events import SafetyState
from consensus.safety import after_voting_in, extends, remember
from consensus.types import QC, Header, Proposal
from genesis.errors import invariant
from genesis.statements import Phase

PHASES: Final = (Phase.PREPARE, Phase.COMMIT)
VOTES_TO_ALL: Final = True


def vote_refusal(state: SafetyState, proposal: Proposal) -> str | None:
    """Why this replica must not prepare what is proposed; None when it may.

    V1. The view is above every view in which it voted or gave up.
    V2. The epoch is the one that the state belongs to.
    V3. The block extends the block that its `justify` commits.
    V4. The certificates let the leader propose this block in this view (`follows`).

    That the certificates are genuine has been checked before (`consensus.certificates`).
    Source: Castro, Liskov, 4.2: what a backup accepts.
    """
    if not proposal.view > state.last_voted_view:
        return "V1: the view has been voted in or given up"
    if proposal.header.epoch != state.epoch:
        return "V2: another epoch"
    if proposal.justify.phase is Phase.PREPARE or not extends(proposal.header, proposal.justify):
        return "V3: the block does not extend a committed block"
    if not follows(proposal):
        return "V4: the certificates do not lead to this block in this view"
    return None


def follows(proposal: Proposal) -> bool:
    """Condition V4. The block is new, made in this view,

    a. and the view follows the commit of its parent directly;
    b. or it follows a TC directly, and the parent is the block of the TC's certificate, or was committed in no lower
       view than that of the certificate.

    Or it was made in an earlier view,

    c. and this view follows a TC directly whose certificate prepares this very block.

    Source: Castro, Liskov, 4.4: how O is computed from V, and that every replica computes it again.
    """
    view, header, tc = proposal.view, proposal.header, proposal.tc
    if header.view == view == proposal.justify.view + 1:
        return True
    if tc is None or view != tc.view + 1:
        return False
    if header.view == view:
        return proposal.justify.view >= tc.high_qc.view or proposal.justify.block_hash == tc.high_qc.block_hash
    return tc.high_qc.phase is Phase.PREPARE and tc.high_qc.block_hash == header.block_hash


def after_vote(state: SafetyState, proposal: Proposal) -> SafetyState:
    """The state to persist before the PREPARE vote is signed.

    V5. `high_qc` is at least the COMMIT certificate of the parent.
    """
    refusal = vote_refusal(state, proposal)
    invariant(refusal is None, "prepared against the safety rules", refusal=refusal, view=proposal.view)
    return remember(after_voting_in(state, proposal.view), proposal.justify, proposal.tc)


def commit_refusal(state: SafetyState, qc: QC) -> str | None:
    """Why this replica must not give the block of `qc` its COMMIT vote, in the view of `qc`; None when it may.

    L1. It has neither voted nor given up in a later view.
    L2. It has not given this view up: it told the next leader what it had, and that must stay all.
    L3. The epoch is the one that the state belongs to.
    L4. The block is prepared in this view.

    Whether it prepared the block itself does not matter. Two COMMIT votes in one view are for one block, since a view
    prepares one.
    Source: Castro, Liskov, 4.2: ``prepared(m, v, n, i)``; 4.4: from its VIEW-CHANGE on, a replica accepts no messages
    of the old view.
    """
    if qc.view < state.last_voted_view:
        return "L1: a later view has been voted in or given up"
    if state.last_timeout is not None and state.last_timeout.view >= qc.view:
        return "L2: the view has been given up"
    if qc.epoch != state.epoch:
        return "L3: another epoch"
    if qc.phase is not Phase.PREPARE:
        return "L4: the block is not prepared"
    return None


def after_commit(state: SafetyState, qc: QC) -> SafetyState:
    """The state to persist before the COMMIT vote is signed.

    L5. `high_qc` is at least the PREPARE certificate: the lock.
    """
    refusal = commit_refusal(state, qc)
    invariant(refusal is None, "committed against the safety rules", refusal=refusal, view=qc.view)
    return remember(after_voting_in(state, qc.view), qc, None)


def decided_by(qc: QC, block: Header, _parent: Header | None) -> Header | None:
    """What a certificate of `block` commits.

    D1. The block itself, once a quorum has given it its COMMIT votes in one view.

    Source: Castro, Liskov, 4.2: ``committed-local(m, v, n, i)``.
    """
    return block if qc.phase is Phase.COMMIT else None


def fits(header: Header, parent: Header) -> bool:
    """A block may be committed in a later view than that in which it was made, and its child names the later one."""
    return header.view > header.parent_view >= parent.view


def anchor_of_child(parent: Header) -> tuple[int, bytes]:
    """The anchor that a child of `parent` names: the parent, which its `justify` commits."""
    return parent.height, parent.block_hash


def awaits_blocks(root: Header, _uncommitted: tuple[Header, ...]) -> bool:
    """Whether a block that orders something waits for those to come: the last committed one, for its root is certified
    by the next. So a chain under load never idles, and a silent leader is not taken for an idle one."""
    return bool(root.payload)
