"""Patches of what is checked before it is believed: certificates, leaders, payloads, roots, and a lost memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from consensus.amnesia import VIEWS_SKIPPED, Amnesia
from consensus.certificates import Verifier
from consensus.chain import Halted
from consensus.collectors import VoteCollector
from consensus.events import Send
from consensus.signatory import Signatory
from consensus.types import QC, Message, Proposal, Statement, Vote
from consensus.voting import Voting
from genesis.errors import Rejected
from genesis.statements import Phase
from tests.mutants.model import Patch
from tests.mutants.patches import swap

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
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(self._turns, "leader", lambda _view, _parent: proposal.header.proposer)
        REAL_CHECK_PROPOSAL(self, proposal)


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


def _as_if_stored(self: Voting, now_ms: int) -> None:
    REAL_TAKE_IN(self, now_ms)
    candidate = self._candidate
    if candidate is not None and candidate.in_tree:
        candidate.stored = True


REAL_TAKE_IN = Voting.take_candidate_in
PAYLOAD_NOT_AWAITED = swap("consensus.voting.Voting.take_candidate_in", by=_as_if_stored)


# --- a lost memory ----------------------------------------------------------------------------------------------------


def _bound_of_any(self: Amnesia) -> int | None:
    return max(self._reports.values()) + VIEWS_SKIPPED if self._reports else None


def _counts_at_once(self: Amnesia, now_ms: int) -> None:
    self._counts_from_ms = now_ms


def _send_always(self: Signatory, message: Message, recipients: tuple[int, ...]) -> None:
    if recipients:
        self._outbox.put(Send(message, recipients))


SPEAKS = swap("consensus.signatory.Signatory.send", by=_send_always)
ONE_REPORT = swap("consensus.amnesia.Amnesia.bound_view", by=_bound_of_any)
OLD_REPORTS = swap("consensus.amnesia.Amnesia.start", by=_counts_at_once)


def _only_above(self: Signatory, view: int, signers: Iterable[int]) -> None:
    if not self.is_silent and view > self.state.last_voted_view and self._me in signers:
        raise Halted("our key signed in a later view")


SKIPPED_VIEWS_IGNORED = swap("consensus.signatory.Signatory.stop_if_impersonated", by=_only_above)
