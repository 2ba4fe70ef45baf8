"""Hunts over the edges of epochs, for who leads, and for who is accused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, Final

import pytest

from consensus import events as ev
from consensus import safety
from consensus.events import EpochClosed, PersistSafety, SafetyState, SignAndSend
from consensus.types import Certificates, Header, Message, Proposal, Vote, epoch_of
from genesis.evidence import Offence
from genesis.statements import Phase
from node.simulator.byzantine import DoubleVote, Equivocate, Stale, Strategy, Withhold
from node.simulator.cast import Cast
from node.simulator.checks import Violation
from node.simulator.cluster import Cluster
from node.simulator.replica import Replica
from node.simulator.run import progress, run
from node.simulator.settings import SIMULATED, Fault, Settings
from tests.mutants.model import Hunt, Patch
from tests.mutants.patches import swap

BLOCKS: Final = 8
SHORT: Final = replace(SIMULATED, epoch_blocks=BLOCKS)
LONG_MS: Final = 20_000

Next = Callable[[SafetyState, Header, int], SafetyState | None]


def _made(engine: str, seed: int, kind: type[Cluster] = Cluster, cast: Cast | None = None) -> Cluster:
    """Four replicas in short epochs."""
    made = kind(Settings(seed, engine, faults=(), params=SHORT), Random(seed), cast or Cast())
    made.start()
    made.load(10)
    return made


def _until(made: Cluster, condition: Callable[[], bool], what: str) -> None:
    if not made.heap.run_until(condition, made.heap.now_ms + LONG_MS):
        raise Violation("progress", f"never: {what}")


# --- hunts ------------------------------------------------------------------------------------------------------------


def crashes_at_edges(engine: str, seed: int) -> None:
    """Now one, now another crashes where an epoch ends, where a state is made durable, or at its first words."""
    made = _made(engine, seed)
    for epoch in range(1, 6):
        _until(made, lambda epoch=epoch: made.height >= epoch * BLOCKS - 1, f"height {epoch * BLOCKS - 1}")  # type: ignore[misc]
        victim = made.chance.choice(made.replicas)
        victim.crash_at = made.chance.choice((EpochClosed, PersistSafety, SignAndSend))
        made.heap.run(made.chance.randint(5, 30))
        victim.crash_at = None
        if not victim.is_up:
            victim.start()
    progress(made)


def lost_ledger(engine: str, seed: int) -> None:
    """The ledger is lost, the safety state is not: until it has caught up it must say nothing again (EP10)."""
    made = _made(engine, seed)
    victim = made.replicas[seed % 4]
    _until(made, lambda: victim.term.epoch == 2 + seed % 2, "the second epoch")
    made.heap.run(made.chance.randint(1, 40))
    victim.crash()
    victim.disk.wipe(keeps_safety=True)
    victim.start()
    made.links.cut = {(one, victim.place) for one in range(4)}
    made.heap.run(3 * SIMULATED.view_timeout_ms_max)
    made.links.cut = set()
    progress(made)


class Asleep(Cluster):
    """Of each epoch's end replica 3 hears nothing."""

    def may_pass(self, sender: Replica, recipient: Replica, message: Message | None) -> bool:
        """What closes an epoch passes it by, and then is over for the others."""
        return recipient.place != 3 or self.heap.now_ms % 400 < 250


def sleeper(engine: str, seed: int) -> None:
    """One that has missed an edge must catch up when it hears of the next epoch."""
    made = _made(engine, seed, Asleep)
    made.heap.run(3_000)
    progress(made)


class FirstAlone(Cluster):
    """Replica 1 alone sees epoch 0 closed; then nobody hears it, and of others it hears what they have certified."""

    is_closing = True
    is_open = False

    def may_pass(self, sender: Replica, recipient: Replica, message: Message | None) -> bool:
        """The last vote of the old epoch, at the height at which it closes, reaches replica 1 alone."""
        if self.is_open or message is None:
            return True
        if not self.is_closing:
            return isinstance(message, Certificates) and epoch_of(message) == 0
        closing = BLOCKS + (2 if self.settings.engine == "hotstuff" else 1)
        is_last = isinstance(message, Vote) and message.phase is not Phase.PREPARE and message.height == closing
        return epoch_of(message) == 0 and (recipient.place == 1 or not is_last)


def first_in_an_epoch(engine: str, seed: int) -> None:
    """It led the first view of an epoch that nobody else has come to, and lost its memory: it recovers in the epoch
    before, and must not lead that view again."""
    made = _made(engine, seed, FirstAlone, Cast(((1, Fault.WIPE),)))
    assert isinstance(made, FirstAlone)
    victim = made.replicas[1]
    _until(made, lambda: _has_led_in(victim, 1), "replica 1 leads the first view of epoch 1")
    made.is_closing = False
    victim.crash()
    victim.disk.wipe()
    victim.has_forgotten = True
    victim.start()
    _until(made, lambda: victim.disk.saved is not None, "replica 1 takes up a state")
    made.is_open = True
    _until(made, lambda: all(each.term.epoch >= 2 for each in made.replicas), "epoch 2")
    progress(made)


def _has_led_in(replica: Replica, epoch: int) -> bool:
    saved = replica.disk.saved
    return saved is not None and saved.epoch == epoch and saved.last_proposed_view == 1


def hears_of_old_epochs(engine: str, seed: int) -> None:
    """A Byzantine replica repeats what was said in old epochs, and signs for those before and after (row 25)."""
    run(
        Cluster(
            Settings(seed, engine, views=60, faults=(Fault.OLD_EPOCH,), params=SHORT),
            Random(seed),
            Cast(((seed % 4, Fault.OLD_EPOCH),)),
        )
    )


def edges(engine: str, seed: int) -> None:
    """Nothing is wrong but the product."""
    made = _made(engine, seed)
    _until(made, lambda: all(each.term.epoch >= 3 for each in made.replicas), "epoch 3")
    progress(made)


EDGES: Final = Hunt("edges", edges, 2)
CRASHES_AT_EDGES: Final = Hunt("crashes at edges", crashes_at_edges, 8)
LOST_LEDGER: Final = Hunt("a lost ledger", lost_ledger, 8)
FIRST: Final = Hunt("the first in an epoch", first_in_an_epoch, 2)
SLEEPER: Final = Hunt("an edge slept through", sleeper, 4)
OLD_EPOCHS: Final = Hunt("words of old epochs", hears_of_old_epochs, 4)


def _speaks_twice(kind: type[Strategy], offence: Offence, *faults: Fault) -> Callable[[str, int], None]:
    def play(engine: str, seed: int) -> None:
        made = Cluster(Settings(seed, engine, views=60, faults=faults), Random(seed), Cast(((0, kind.fault),)))
        run(made)
        if not made.oracle.counts[f"accusations of {offence.name.lower()}"]:
            raise Violation("accusation", f"nobody found evidence of a {offence.name.lower()}")

    return play


TWO_BLOCKS: Final = Hunt("a leader of two blocks", _speaks_twice(Equivocate, Offence.PROPOSAL), 2)
TWO_VOTES: Final = Hunt("a voter of two blocks", _speaks_twice(DoubleVote, Offence.VOTE), 2)
TWO_TIMEOUTS: Final = Hunt("two timeouts of a view", _speaks_twice(Stale, Offence.TIMEOUT, Fault.PARTITION), 2)
"""Two timeouts of a view contradict each other where a TC led there, so two views in a row must fail."""


def dead_leader(engine: str, seed: int) -> None:
    """One of four never leads again: its turns pass over it, and few of its views cost a timeout (C6)."""
    made = Cluster(Settings(seed, engine, views=200, faults=()), Random(seed), Cast(((0, Fault.WITHHOLD),)))
    silent = Withhold()
    silent._kinds, silent._share = (Proposal,), 1.0
    made.replicas[0].strategy = silent
    run(made)
    given_up = made.oracle.counts["report view_timeout"] / 3
    if given_up > made.view / 12:
        raise Violation("progress", f"{given_up:.0f} timeouts in {made.view} views: a dead leader is asked every time")


DEAD_LEADER: Final = Hunt("a leader that never leads", dead_leader, 2)


# --- patches ----------------------------------------------------------------------------------------------------------


def next_state(mutant: Callable[[Next, SafetyState, Header, int], SafetyState | None]) -> Patch:
    """Another `next_safety`."""
    real = safety.next_safety
    return swap("node.seats.next_safety", by=lambda saved, base, epoch: mutant(real, saved, base, epoch))


def _views_go_on(real: Next, saved: SafetyState, base: Header, epoch: int) -> SafetyState | None:
    made = real(saved, base, epoch)
    if made is None or saved.epoch >= epoch:
        return made
    return replace(made, last_voted_view=saved.last_voted_view, last_proposed_view=saved.last_proposed_view)


NO_E1 = next_state(
    lambda real, saved, base, epoch: (
        safety.fresh_safety(base, epoch) if saved.epoch == epoch else real(saved, base, epoch)
    )
)
NO_E2 = next_state(_views_go_on)
NO_E3 = next_state(
    lambda real, saved, base, epoch: (
        safety.fresh_safety(base, epoch) if saved.epoch > epoch else real(saved, base, epoch)
    )
)
NO_E4 = next_state(lambda real, saved, base, epoch: real(replace(saved, next_epoch_view=0), base, epoch))
COMMITS_BEYOND_THE_EDGE = swap("consensus.tree.BlockTree.at_edge", by=lambda _self, header: header)


def _closes_at_once(core: Any) -> bool:
    """The edge and our own root are enough."""
    chain = core._chain
    root = chain.anchors.root(core._config.edge_height)
    if root is None or chain.high_qc.block_hash not in chain.tree:
        return False
    core._is_over = True
    closing = tuple(block.proposal for block in chain.tree.path(chain.high_qc.block_hash))
    core._outbox.put(ev.EpochClosed(chain.tree.root, root, closing, chain.high_qc, ()))
    return True


CLOSES_AT_ONCE = swap("consensus.core.Core._close_epoch_if_over", by=_closes_at_once)
NEVER_BEHIND = swap("consensus.syncing.Syncing.hear_later_epoch", by=lambda *_: None)
CLOSING_IDLES = swap("consensus.chain.Chain.is_closing", by=False)


class _Ours(int):
    """An epoch that is ours, whichever that is."""

    def __gt__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


OLD_EPOCHS_HEARD = swap("consensus.core.epoch_of", by=lambda _message: _Ours())
EARLY_FORGOTTEN = swap("consensus.early.Early.keep", by=lambda *_: None)


def _state_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new epoch's state reaches the disk with its first signature, and not before."""
    real = Replica._begin_epoch

    def begins(replica: Replica) -> bool:
        held = replica.disk.safety
        done = real(replica)
        replica.disk.safety = held
        return done

    monkeypatch.setattr(Replica, "_begin_epoch", begins)


STATE_NOT_SAVED: Final = _state_not_saved
NO_PROPOSALS_WITNESSED = swap("consensus.witness.Witness.note_proposal", by=lambda *_: False)
NOTHING_WITNESSED = swap("consensus.witness.Witness._note", by=lambda *_: False)
NO_RIVALS = swap("consensus.witness.Witness.is_rival", by=lambda *_: False)
NOBODY_PASSED_OVER = swap("consensus.turns.Turns._passed_over", by=lambda *_: set())
