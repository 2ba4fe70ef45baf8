"""Patches that take out one numbered condition of `consensus.safety` or of an engine's rules.

A condition is taken out by showing it what it wants to see: the state or the statement is changed for this list of
conditions, in a field that only this one of them looks at, so that all the others still hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consensus import safety, signatory
from consensus.events import SafetyState
from consensus.hotstuff import safety as hotstuff
from consensus.pbft import safety as pbft
from consensus.types import QC, TC, Proposal
from genesis.statements import Phase
from tests.mutants.model import Patch


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


HEARS_EVERY_EPOCH = swap("consensus.core.epoch_of", by=lambda _message: 0)
"""The core takes messages of other epochs for its own (the epoch of these networks)."""


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
        for holder in (hotstuff, pbft, signatory):
            if hasattr(holder, name):
                monkeypatch.setattr(holder, name, _spoilt(getattr(holder, name), spoil))

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
