"""The safety rules that both engines share: what this replica may say when it gives up a view, and about proposing.

What an engine lets it vote for, and what that decides, stand in `consensus.hotstuff.safety` and
`consensus.pbft.safety`, in the same form: each rule is a list of numbered conditions, one to one with the code under
it. Nothing else in the product decides what may be signed.

The rules are pure functions of the persistent `SafetyState`; the new state is durable before the signature that it
permits leaves (`PersistSafety` stands before `SignAndSend`), so a replica that crashes at any point never contradicts
itself.

Source: Gelashvili, Kokoris-Kogias, Sonnino, Spiegelman, Xiang, "Jolteon and Ditto: Network-Adaptive Efficient Consensus
with Asynchronous Fallback", 2021, arXiv 2106.10362, steps Timer and Timeout; Castro, Liskov, "Practical Byzantine Fault
Tolerance", OSDI 1999, section 4.4, of which Jolteon's timeouts are the view change.

Deviation: neither paper forbids a leader to propose twice (P1), or a replica to send two timeouts for one view (T5). We
hold both to the same standard as votes, because an honest replica that restarts must never produce what counts as
evidence against it.
"""

from __future__ import annotations

from dataclasses import replace

from consensus.events import SafetyState
from consensus.rules import Rules
from consensus.types import QC, TC, Header, Proposal, Timeout, base_qc
from genesis.errors import invariant


def fresh_safety(base: Header, epoch: int = 0) -> SafetyState:
    """The state of a validator that has signed nothing in an epoch, which stands on `base`; that of epoch 0 is what
    ``node init`` writes."""
    return SafetyState(epoch, 0, 0, base_qc(epoch, base), None)


def next_safety(saved: SafetyState, base: Header, epoch: int) -> SafetyState | None:
    """The state with which a validator takes part in an epoch that stands on `base`, from the one it saved last; None
    when it must not.

    E1. Of this epoch it is the saved one.
    E2. Of an earlier one: it has signed nothing in this epoch, for before the first signature in an epoch its state of
        that epoch is saved. Views begin anew.
    E3. Of a later one: its ledger is behind what it has signed. It follows, and signs again in the epoch of its state.
    E4. Where it lost its memory in the epoch before this one, the views are barred in which it may have signed here.
    """
    if saved.epoch > epoch:
        return None
    if saved.epoch == epoch:
        return saved
    barred = saved.next_epoch_view if saved.epoch + 1 == epoch else 0
    return replace(fresh_safety(base, epoch), last_voted_view=barred, last_proposed_view=barred)


def timeout_refusal(state: SafetyState, timeout: Timeout) -> str | None:
    """Why this replica must not sign that it gives up a view; None when it may.

    T1. It has neither voted nor given up in a later view.
    T2. It is in that view: the QC or the TC leads to it.
    T3. The reported QC is not below any that it has voted on or reported.
    T5. It has not given up this view before. What it then said may be said again, word for word, and nothing else: two
        timeouts of one view that report different QCs are evidence.

    Source: Jolteon, steps Timer and Timeout.
    """
    view, tc = timeout.view, timeout.tc
    if view < state.last_voted_view:
        return "T1: a later view has been voted in or given up"
    if view != timeout.high_qc.leads_to and (tc is None or view != tc.view + 1):
        return "T2: no certificate leads to this view"
    if timeout.high_qc.rank < state.high_qc.rank:
        return "T3: a higher QC has been reported or voted on"
    if state.last_timeout is not None and state.last_timeout.view == view:
        return "T5: the view has been given up"
    return None


def after_timeout(state: SafetyState, timeout: Timeout) -> SafetyState:
    """The state to persist before the timeout is signed.

    T4. No vote in this view from now on.
    """
    refusal = timeout_refusal(state, timeout)
    invariant(refusal is None, "gave up a view against the safety rules", refusal=refusal, view=timeout.view)
    given_up = replace(state, last_voted_view=timeout.view, last_timeout=timeout)
    return remember(given_up, timeout.high_qc, timeout.tc)


def propose_refusal(state: SafetyState, view: int) -> str | None:
    """Why this replica, the leader of `view`, must not propose in it any more; None when it may.

    P1. It has not proposed in this view or a later one.
    P2. It could vote for what it proposes: it has not voted in the view nor given it up, and by the engine's rules
        nothing else forbids the vote (`after_proposal` holds it to the latter).
    """
    if not view > state.last_proposed_view:
        return "P1: the view has been proposed in"
    if not view > state.last_voted_view:
        return "P2: nobody honest could vote for it"
    return None


def after_proposal(rules: Rules, state: SafetyState, proposal: Proposal) -> SafetyState:
    """The state to persist before the proposal is signed."""
    refusal = propose_refusal(state, proposal.view) or rules.vote_refusal(state, proposal)
    invariant(refusal is None, "proposed against the safety rules", refusal=refusal, view=proposal.view)
    return remember(replace(state, last_proposed_view=proposal.view), proposal.justify, proposal.tc)


def after_voting_in(state: SafetyState, view: int) -> SafetyState:
    """The state with a vote in `view`: of what was given up before it, nothing may be said again (T1)."""
    last = state.last_timeout
    kept = last if last is not None and last.view >= view else None
    return replace(state, last_voted_view=max(view, state.last_voted_view), last_timeout=kept)


def remember(state: SafetyState, high_qc: QC, high_tc: TC | None) -> SafetyState:
    """The state with certificates taken in: they only ever rise, and a TC is kept while it leads beyond the QC."""
    qc = high_qc if high_qc.rank > state.high_qc.rank else state.high_qc
    tcs = [tc for tc in (state.high_tc, high_tc) if tc is not None and tc.view >= qc.leads_to]
    return replace(state, high_qc=qc, high_tc=max(tcs, key=lambda tc: tc.view, default=None))


def extends(header: Header, justify: QC) -> bool:
    """Whether the block extends the block that its `justify` certifies, and says so."""
    return (
        header.parent_hash == justify.block_hash
        and header.parent_view == justify.view
        and header.height == justify.height + 1
        and header.epoch >= justify.epoch
    )
