"""Patches that break "durable before visible": what binds or was promised is lost by a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consensus import events as ev
from consensus.core import Core
from consensus.events import Effect, SafetyState
from consensus.signatory import Signatory
from consensus.types import Proposal, Statement, Timeout, Vote
from genesis.statements import Phase
from node.simulator.disk import Disk
from tests.mutants.model import Patch
from tests.mutants.patches import swap

Rewrite = Callable[[tuple[Effect, ...]], tuple[Effect, ...]]


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


def _keep_the_first(self: Signatory, state: SafetyState, proposal: Proposal | None = None) -> None:
    first = self.state if not self.is_silent else state
    REAL_PERSIST(self, state, proposal)
    lost = replace(self.state, high_qc=first.high_qc, high_tc=None)
    self._safety = lost
    self._outbox._effects[-1] = ev.PersistSafety(lost, proposal)


REAL_PERSIST = Signatory._persist
LOCK_NOT_PERSISTED = swap("consensus.signatory.Signatory._persist", by=_keep_the_first)
