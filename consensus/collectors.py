"""Statements on their way to a certificate: one vote a voter, view and phase, one timeout a voter, until a quorum
stands.

What is added here has been verified (`consensus.certificates`). Memory is bounded: votes are kept for
`VOTE_WINDOW_VIEWS` views either side of the current one, timeouts for the current view alone, one of each a voter.
"""

from __future__ import annotations

from typing import Final

from consensus.types import QC, TC, ReplicaIndex, Timeout, TimeoutSignature, Vote
from consensus.validators import ValidatorSet
from genesis.statements import Phase

VOTE_WINDOW_VIEWS: Final = 8


class VoteCollector:
    """Turns votes into QCs."""

    def __init__(self, validators: ValidatorSet) -> None:
        self._validators = validators
        self._views: dict[tuple[int, Phase], dict[ReplicaIndex, Vote]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._views.values()))

    def add(self, vote: Vote) -> QC | None:
        """Keep a vote, a voter's first in a view and phase; the QC of its block if a quorum stands with it."""
        votes = self._views.setdefault((vote.view, vote.phase), {})
        votes.setdefault(vote.voter, vote)
        same = [each for each in votes.values() if (each.block_hash, each.height) == (vote.block_hash, vote.height)]
        if self._validators.power_of(each.voter for each in same) < self._validators.quorum_power:
            return None
        signatures = tuple(sorted((each.voter, each.signature) for each in same))
        return QC(vote.epoch, vote.view, vote.phase, vote.height, vote.block_hash, signatures)

    def forget(self, certified_view: int, view: int) -> None:
        """Drop what can no longer matter: views up to a certified one, and those outside the window around `view`."""
        low = max(certified_view, view - VOTE_WINDOW_VIEWS - 1)
        self._views = {each: votes for each, votes in self._views.items() if each[0] > low}

    @staticmethod
    def wants(vote: Vote, certified_view: int, view: int) -> bool:
        """Whether a vote can still matter, before its signature is checked; `certified_view` is the highest view of
        which a certificate of its phase, or a later one, is known."""
        low, high = max(certified_view, view - VOTE_WINDOW_VIEWS - 1), view + VOTE_WINDOW_VIEWS
        return low < vote.view <= high


class TimeoutCollector:
    """Turns timeouts of the current view into a TC."""

    def __init__(self, validators: ValidatorSet) -> None:
        self._validators = validators
        self._view = 0
        self._timeouts: dict[ReplicaIndex, Timeout] = {}

    def __len__(self) -> int:
        return len(self._timeouts)

    def add(self, timeout: Timeout) -> None:
        """Keep a timeout of the current view, a voter's first."""
        if timeout.view != self._view:
            self._view, self._timeouts = timeout.view, {}
        self._timeouts.setdefault(timeout.voter, timeout)

    def power(self, view: int) -> int:
        """The power that gave up `view`, as far as we know."""
        return self._validators.power_of(self._timeouts) if view == self._view else 0

    def certificate(self, view: int) -> TC | None:
        """The TC of `view`, if a quorum gave it up."""
        if self.power(view) < self._validators.quorum_power:
            return None
        timeouts = sorted(self._timeouts.values(), key=lambda each: each.voter)
        highest = max(timeouts, key=lambda each: each.high_qc.rank)
        signatures = tuple(TimeoutSignature(each.voter, each.high_qc.view, each.signature) for each in timeouts)
        return TC(highest.epoch, view, highest.high_qc, signatures)
