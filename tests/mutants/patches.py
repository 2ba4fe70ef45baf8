"""Patches that take one rule out.

A numbered condition is taken out by showing it what it wants to see (`without`): the state or the statement is changed
for this one condition, so that all the others of its list still hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from consensus import events as ev
from consensus import safety
from consensus.amnesia import VIEWS_SKIPPED, Amnesia
from consensus.certificates import Verifier
from consensus.chain import Halted
from consensus.collectors import VoteCollector
from consensus.core import Core
from consensus.events import Effect, SafetyState
from consensus.hotstuff import safety as hotstuff
from consensus.pbft import safety as pbft
from consensus.signatory import Signatory
from consensus.types import QC, TC, Proposal, Statement, Timeout, Vote
from consensus.voting import Voting
from genesis.errors import Rejected
from genesis.statements import Phase
from node.simulator.disk import Disk
from tests.mutants.model import Patch

Rewrite = Callable[[tuple[Effect, ...]], tuple[Effect, ...]]


def swap(*targets: str, by: object) -> Patch:
    """Every one of these names stands for `by`."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for target in targets:
            monkeypatch.setattr(target, by)

    return patch


def together(*patches: Patch) -> Patch:
    """Several rules at once: a second line, and the first."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for each in patches:
            each(monkeypatch)

    return patch


# --- what may be voted for --------------------------------------------------------------------------------------------


def voting(show: Callable[[SafetyState, Proposal], tuple[SafetyState, Proposal]]) -> Patch:
    """`vote_refusal` of both engines sees what `show` makes of its arguments."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        for rules in (hotstuff, pbft):
            monkeypatch.setattr(rules, "vote_refusal", _shown(rules.vote_refusal, show))

    return patch


def _shown(real: Callable[..., str | None], show: Callable[..., tuple[Any, ...]]) -> Callable[..., str | None]:
    return lambda *args: real(*show(*args))


NO_V1 = voting(lambda state, proposal: (replace(state, last_voted_view=-1), proposal))
NO_V2 = voting(lambda state, proposal: (replace(state, epoch=proposal.header.epoch), proposal))
NO_V3 = swap("consensus.hotstuff.safety.extends", "consensus.pbft.safety.extends", by=lambda _header, _justify: True)


def _follows_any_tc(view: int, justify: QC, tc: TC | None) -> bool:
    return view == justify.view + 1 or (tc is not None and view == tc.view + 1)


def _pbft_follows_any_tc(proposal: Proposal) -> bool:
    return _follows_any_tc(proposal.view, proposal.justify, proposal.tc)


def _follows_nothing_but_tc(proposal: Proposal) -> bool:
    if proposal.header.view == proposal.view:
        return REAL_FOLLOWS(proposal)
    return proposal.tc is not None and proposal.view == proposal.tc.view + 1


REAL_FOLLOWS = pbft.follows
NO_V4_HOTSTUFF = swap("consensus.hotstuff.safety.follows", by=_follows_any_tc)
NO_V4_PBFT = swap("consensus.pbft.safety.follows", by=_pbft_follows_any_tc)
NO_V4C = swap("consensus.pbft.safety.follows", by=_follows_nothing_but_tc)


def after(name: str, spoil: Callable[[SafetyState, SafetyState], SafetyState]) -> Patch:
    """A function that gives the next safety state gives what `spoil` makes of the old and the new one."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        holders = (hotstuff, pbft) if hasattr(pbft, name) and name != "after_timeout" else ()
        for holder in (h for h in holders if hasattr(h, name)):
            monkeypatch.setattr(holder, name, _spoilt(getattr(holder, name), spoil))
        if hasattr(safety, name):
            made = _spoilt(getattr(safety, name), spoil)
            monkeypatch.setattr(f"consensus.signatory.{name}", made)

    return patch


def _spoilt(
    real: Callable[..., SafetyState], spoil: Callable[[SafetyState, SafetyState], SafetyState]
) -> Callable[..., SafetyState]:
    def mutant(*args: Any) -> SafetyState:
        before = next(each for each in args if isinstance(each, SafetyState))
        return spoil(before, real(*args))

    return mutant


NO_V5 = after("after_vote", lambda old, new: replace(new, high_qc=old.high_qc, high_tc=old.high_tc))
NO_L5 = after("after_commit", lambda old, new: replace(new, high_qc=old.high_qc, high_tc=old.high_tc))
NO_T4 = after("after_timeout", lambda old, new: replace(new, last_voted_view=old.last_voted_view))
VIEW_NOT_TAKEN = after("after_vote", lambda old, new: replace(new, last_voted_view=old.last_voted_view))
PROPOSAL_NOT_TAKEN = after("after_proposal", lambda old, new: replace(new, last_proposed_view=old.last_proposed_view))
TIMEOUT_NOT_TAKEN = after("after_timeout", lambda _old, new: replace(new, last_timeout=None))


# --- giving up, proposing, committing ---------------------------------------------------------------------------------


def refusing(name: str, show: Callable[..., tuple[Any, ...]]) -> Patch:
    """A refusal of `consensus.safety` sees what `show` makes of its arguments."""
    made = _shown(getattr(safety, name), show)
    return swap(f"consensus.safety.{name}", f"consensus.signatory.{name}", by=made)


def committing(show: Callable[[SafetyState, QC], tuple[SafetyState, QC]]) -> Patch:
    """PBFT's `commit_refusal` sees what `show` makes of its arguments."""
    return swap("consensus.pbft.safety.commit_refusal", by=_shown(pbft.commit_refusal, show))


NO_T1 = refusing("timeout_refusal", lambda state, said: (replace(state, last_voted_view=0), said))
NO_T2 = refusing(
    "timeout_refusal", lambda state, said: (state, replace(said, tc=TC(said.epoch, said.view - 1, said.high_qc, ())))
)
NO_T3 = refusing("timeout_refusal", lambda state, said: (replace(state, high_qc=said.high_qc), said))
NO_T5 = refusing("timeout_refusal", lambda state, said: (replace(state, last_timeout=None), said))
NO_P1 = refusing("propose_refusal", lambda state, view: (replace(state, last_proposed_view=-1), view))
NO_P2 = refusing("propose_refusal", lambda state, view: (replace(state, last_voted_view=-1), view))
NO_L1 = committing(lambda state, qc: (replace(state, last_voted_view=0), qc))
NO_L2 = committing(lambda state, qc: (replace(state, last_timeout=None), qc))
NO_L3 = committing(lambda state, qc: (replace(state, epoch=qc.epoch), qc))
NO_L4 = committing(lambda state, qc: (state, replace(qc, phase=Phase.PREPARE)))


# --- what is decided --------------------------------------------------------------------------------------------------

NO_D1_HOTSTUFF = swap("consensus.hotstuff.safety.decides", by=lambda parent, child: child.view == parent.view + 1)
NO_D2 = swap("consensus.hotstuff.safety.decides", by=lambda parent, child: child.parent_hash == parent.block_hash)
NO_D1_PBFT = swap("consensus.pbft.safety.decided_by", by=lambda _qc, block, _parent: block)


# --- durable before visible -------------------------------------------------------------------------------------------


def effects(rewrite: Rewrite) -> Patch:
    """What every engine hands out passes through `rewrite`."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = Core.handle
        monkeypatch.setattr(Core, "handle", lambda core, event, now: rewrite(real(core, event, now)))

    return patch


def is_vote(phase: Phase | None) -> Callable[[Statement], bool]:
    """Whether a statement is a vote: of this phase, or of the first one."""
    first = (Phase.CERTIFY, Phase.PREPARE)
    return lambda said: isinstance(said, Vote) and (said.phase is phase if phase is not None else said.phase in first)


def is_timeout(said: Statement) -> bool:
    """Whether a statement gives up a view."""
    return isinstance(said, Timeout)


def is_proposal(said: Statement) -> bool:
    """Whether a statement proposes."""
    return isinstance(said, Proposal)


def not_persisted(is_meant: Callable[[Statement], bool]) -> Patch:
    """The state that permits such a statement never reaches the disk by itself."""
    return effects(lambda given: _around(given, is_meant, kept=False))


def persisted_late(is_meant: Callable[[Statement], bool]) -> Patch:
    """The state that permits such a statement reaches the disk once the statement has left."""
    return effects(lambda given: _around(given, is_meant, kept=True))


def _around(given: tuple[Effect, ...], is_meant: Callable[[Statement], bool], *, kept: bool) -> tuple[Effect, ...]:
    made = list(given)
    for place in range(len(made) - 1, 0, -1):
        said, before = made[place], made[place - 1]
        if isinstance(said, ev.SignAndSend) and isinstance(before, ev.PersistSafety) and is_meant(said.statement):
            made[place - 1 : place + 1] = [said, before] if kept else [said]
    return tuple(made)


def _block_not_kept(given: tuple[Effect, ...]) -> tuple[Effect, ...]:
    return tuple(
        replace(each, proposal=None) if isinstance(each, ev.PersistSafety) else each
        for each in given
        if not isinstance(each, ev.StoreProposal)
    )


BLOCK_NOT_KEPT = effects(_block_not_kept)


# --- certificates -----------------------------------------------------------------------------------------------------


def unchecked(name: str) -> Patch:
    """A check of the `Verifier` that always passes."""
    return swap(f"consensus.certificates.Verifier.{name}", by=lambda *_args: None)


def tolerant(name: str, *codes: str) -> Patch:
    """A check of the `Verifier` that passes over its refusals with these codes."""
    real = getattr(Verifier, name)

    def mutant(*args: Any) -> None:
        try:
            real(*args)
        except Rejected as fault:
            if fault.code not in codes:
                raise

    return swap(f"consensus.certificates.Verifier.{name}", by=mutant)


def _from_whoever_signs(self: Verifier, proposal: Proposal) -> None:
    leaders, self._leaders = self._leaders, Constant(proposal.header.proposer)
    try:
        REAL_CHECK_PROPOSAL(self, proposal)
    finally:
        self._leaders = leaders


class Constant:
    """One leader for ever."""

    def __init__(self, index: int) -> None:
        self._index = index

    def leader(self, _view: int) -> int:
        """The one."""
        return self._index


REAL_CHECK_PROPOSAL = Verifier.check_proposal
ANY_LEADER = swap("consensus.certificates.Verifier.check_proposal", by=_from_whoever_signs)


def unsigned(name: str) -> Patch:
    """A check of the `Verifier` looks at everything but the statement's own signature."""
    real, check = getattr(Verifier, name), Verifier._check_signature

    def mutant(self: Verifier, statement: Statement) -> None:
        def passes(signer: int, message: bytes, signature: bytes) -> None:
            if signature != statement.signature:
                check(self, signer, message, signature)

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(self, "_check_signature", passes)
            real(self, statement)

    return swap(f"consensus.certificates.Verifier.{name}", by=mutant)


# --- a lost memory ----------------------------------------------------------------------------------------------------


def _bound_of_any(self: Amnesia) -> int | None:
    return max(self._reports.values()) + VIEWS_SKIPPED if self._reports else None


def _counts_at_once(self: Amnesia, now_ms: int) -> None:
    self._counts_from_ms = now_ms


ONE_REPORT = swap("consensus.amnesia.Amnesia.bound_view", by=_bound_of_any)
OLD_REPORTS = swap("consensus.amnesia.Amnesia.start", by=_counts_at_once)


# --- what a vote vouches for, and what is durable ---------------------------------------------------------------------


def _as_if_stored(self: Voting, now_ms: int) -> None:
    REAL_TAKE_IN(self, now_ms)
    candidate = self._candidate
    if candidate is not None and candidate.in_tree:
        candidate.stored = True


REAL_TAKE_IN = Voting.take_candidate_in
PAYLOAD_NOT_AWAITED = swap("consensus.voting.Voting.take_candidate_in", by=_as_if_stored)


def _sync_without_batches(self: Disk) -> None:
    self.proposals.update(self._new_proposals)
    self._new_proposals.clear()


BATCHES_NOT_SYNCED = swap("node.simulator.disk.Disk.sync", by=_sync_without_batches)


def commit_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's record is durable only with the next block's; its proposal is given up before."""
    real_commit, real_crash = Disk.commit, Disk.lose_unsynced
    held: dict[int, tuple[Any, ...]] = {}

    def commit(disk: Disk, *args: Any) -> None:
        before = held.pop(id(disk), None)
        if before is not None:
            real_commit(disk, *before)
        held[id(disk)] = args
        height = args[0].header.height
        disk.proposals = {name: kept for name, kept in disk.proposals.items() if kept[0] > height}

    def crash(disk: Disk) -> None:
        held.pop(id(disk), None)
        real_crash(disk)

    monkeypatch.setattr(Disk, "commit", commit)
    monkeypatch.setattr(Disk, "lose_unsynced", crash)


def _counted_twice(self: Verifier, voters: Iterable[int]) -> None:
    power = sum(self._validators.member(each).power for each in voters)
    if power < self._validators.quorum_power:
        raise Rejected("no_quorum", "Too few.")


TWICE_BY_POWER = swap("consensus.certificates.Verifier._check_quorum", by=_counted_twice)


def _twice_allowed(self: Verifier, voters: Iterable[int]) -> None:
    if self._validators.power_of(voters) < self._validators.quorum_power:
        raise Rejected("no_quorum", "Too few.")


TWICE_ALLOWED = swap("consensus.certificates.Verifier._check_quorum", by=_twice_allowed)


def _phases_mixed(self: VoteCollector, vote: Vote) -> QC | None:
    return REAL_ADD(self, replace(vote, phase=Phase.PREPARE))


REAL_ADD = VoteCollector.add
PHASES_MIXED = swap("consensus.collectors.VoteCollector.add", by=_phases_mixed)
ROOTS_NOT_COMPARED = swap("consensus.anchors.AnchorRule._contradiction", by=lambda *_args: None)


def _only_above(self: Signatory, view: int, signers: Iterable[int]) -> None:
    if not self.is_silent and view > self.state.last_voted_view and self._me in signers:
        raise Halted("our key signed in a later view")


SKIPPED_VIEWS_IGNORED = swap("consensus.signatory.Signatory.stop_if_impersonated", by=_only_above)


def _keep_the_first(self: Signatory, state: SafetyState, proposal: Proposal | None = None) -> None:
    first = self.state if not self.is_silent else state
    REAL_PERSIST(self, state, proposal)
    lost = replace(self.state, high_qc=first.high_qc, high_tc=None)
    self._safety = lost
    self._outbox._effects[-1] = ev.PersistSafety(lost, proposal)


REAL_PERSIST = Signatory._persist
LOCK_NOT_PERSISTED = swap("consensus.signatory.Signatory._persist", by=_keep_the_first)
