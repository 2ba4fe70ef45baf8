"""Every sentence of the oracles' rules can be broken, and is then told: a case for each place where a verdict falls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from consensus import events as ev
from consensus.types import OBSERVER, QC, Anchor, Header, Proposal, Statement, Timeout, Vote
from genesis.evidence import Evidence, Half, Offence, make_evidence
from genesis.statements import Phase
from node.simulator.checks import BLOCKS_HELD_MAX, WAITING_MAX, Oracle, SignedHistory, Violation
from node.simulator.ledger import Applied
from node.simulator.run import run
from node.simulator.settings import SIMULATED
from tests.simulator.sabotage import EDGES, ENGINES, closing, cluster

A, B = b"\xaa" * 32, b"\xbb" * 32
NOWHERE = Anchor(0, bytes(32), bytes(32))


def qc(view: int, epoch: int = 0) -> QC:
    """A certificate of that view, in outline."""
    return QC(epoch, view, Phase.CERTIFY, view, A, ())


def header(height: int, time_unix_ms: int = 0, marker: int = 0) -> Header:
    """A block of that height."""
    return Header(0, height, height + marker, 0, bytes(32), height - 1, time_unix_ms or height, NOWHERE, ())


def proposal(view: int, justified_view: int = 0, marker: int = 0) -> Proposal:
    """A proposal of that view."""
    return Proposal(view, header(view, marker=marker), qc(justified_view), None)


def vote(view: int, block: bytes = A, phase: Phase = Phase.CERTIFY, epoch: int = 0) -> Vote:
    """A vote of replica 0."""
    return Vote(epoch, view, phase, view, block, 0)


def timeout(view: int, reported_view: int) -> Timeout:
    """A timeout of replica 0."""
    return Timeout(0, view, qc(reported_view), None, 0)


CONTRADICTIONS: list[tuple[list[Statement], str]] = [
    ([proposal(5), proposal(5, marker=1)], "signs two proposals in view 5"),
    ([vote(5), vote(5, B)], "signs two votes in view 5"),
    ([vote(5, A, Phase.COMMIT), vote(5, B, Phase.COMMIT)], "signs two votes in view 5"),
    ([timeout(5, 4), vote(5)], "votes in view 5 and has given up view 5"),
    ([timeout(5, 4), vote(4)], "votes in view 4 and has given up view 5"),
    ([vote(6), vote(5)], "votes in view 5 after view 6"),
    ([timeout(6, 4), timeout(5, 4)], "gives up view 5 after view 6"),
    ([vote(6), timeout(5, 4)], "gives up view 5 after view 6"),
    ([timeout(5, 3), timeout(5, 4)], "reporting the QC of view 3, then that of view 4"),
    ([timeout(5, 4), timeout(6, 3)], "reports the QC of view 3 in view 6 and knew one of view 4"),
    ([vote(5, A, Phase.COMMIT), timeout(5, 4)], "reports the QC of view 4 in view 5 and knew one of view 5"),
]


@pytest.mark.parametrize(("statements", "fault"), CONTRADICTIONS)
def test_each_contradiction_of_one_key_is_told(statements: list[Statement], fault: str) -> None:
    """Rule 5: the last statement contradicts one before it, and none before the last does."""
    history = SignedHistory()
    *before, last = statements
    assert [history.sign(each) for each in before] == [None] * len(before)
    told = history.sign(last)
    assert told is not None
    assert fault in told


def test_a_timeout_below_the_block_voted_on_is_told() -> None:
    """Rule 5: the lock is what was voted on top of, not what was reported."""
    history = SignedHistory()
    history.lock(proposal(6, justified_view=5))
    assert history.sign(vote(6)) is None
    assert "reports the QC of view 4 in view 7 and knew one of view 5" in str(history.sign(timeout(7, 4)))


def test_what_an_honest_key_says_contradicts_nothing() -> None:
    """An oracle that fires at repetitions or at both phases of a view would be switched off."""
    history = SignedHistory()
    said = [proposal(5), proposal(5), vote(5, A, Phase.PREPARE), vote(5, A, Phase.COMMIT), vote(5, A, Phase.COMMIT)]
    said += [timeout(5, 5), timeout(5, 5), vote(6), timeout(6, 5), timeout(9, 5), vote(10, B)]
    assert [history.sign(each) for each in said] == [None] * len(said)


# --- the oracle itself ------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """A replica, as far as the oracle looks at it."""

    name: str = "1"
    operator: int = 1
    is_honest: bool = True
    is_restored: bool = False
    has_forgotten: bool = False
    waiting: int = 0
    held: tuple[tuple[str, int], ...] = ()
    backlog: tuple[int, ...] = ()
    term: Any = field(default_factory=lambda: term(0))

    @property
    def core(self) -> Any:
        """What it keeps."""
        return SimpleNamespace(held=self.held)

    @property
    def executor(self) -> Any:
        """What waits for it."""
        return SimpleNamespace(backlog=self.backlog)

    @property
    def world(self) -> Any:
        """A network of four, all of them honest."""
        return SimpleNamespace(of_operator=[[self]] * 4, settings=SimpleNamespace(real_signatures=True), chain_id=A)


def term(epoch: int, place: int = 1, base: int = 0, root: bytes = A, members: int = 4) -> Any:
    """An epoch with so many members."""
    names = tuple(SimpleNamespace(public_key=bytes([each]) * 32) for each in range(members))
    operators = tuple(range(members))
    return SimpleNamespace(
        epoch=epoch, place=place, base=header(base), base_root=root, members=names, operators=operators
    )


def applied(*executed: bytes, root: bytes = A, jailed: tuple[int, ...] = (), alarms: tuple[str, ...] = ()) -> Applied:
    """What a block did."""
    return Applied(root, executed, (), alarms, jailed)


def evidence(validator: int = 1, epoch: int = 0) -> Evidence:
    """Two proposals of one view, with signatures that nobody made."""
    return make_evidence(Offence.PROPOSAL, epoch, 3, validator, Half((A,), bytes(64)), Half((B,), bytes(64)))


def backwards(accused: Evidence) -> Evidence:
    """The same in an order in which nobody can read it."""
    return replace(accused, first=accused.second, second=accused.first)


def observing(replica: Seen) -> Any:
    """The same without a place in its epoch."""
    return replace(replica, term=term(0, OBSERVER))


def after_epoch(oracle: Oracle, epoch: int) -> None:
    """Replica 1 has signed in this epoch."""
    oracle.on_sign(Seen(term=term(epoch)), vote(3, epoch=epoch))  # type: ignore[arg-type]


def in_terms(oracle: Oracle, **differences: Any) -> None:
    """Two replicas come to epoch 0, the second to one that differs."""
    alike = term(0)
    oracle.on_epoch(Seen(), alike)  # type: ignore[arg-type]
    oracle.on_epoch(Seen(), SimpleNamespace(**{**vars(alike), **differences}))  # type: ignore[arg-type]


def accused(oracle: Oracle, what: Evidence, *, is_honest: bool) -> None:
    """Evidence in epoch 0 against somebody who is honest, or is not."""
    oracle.terms[0] = term(0)
    oracle.on_accusation(Seen(is_honest=is_honest), what)  # type: ignore[arg-type]


def all_of(call: Callable[..., None], *arguments: tuple[Any, ...]) -> None:
    """One after another; the last one breaks the rule."""
    for each in arguments:
        call(*each)


Play = Callable[[Oracle, Any], None]
EXECUTIONS: list[tuple[str, str, list[tuple[int, Applied]]]] = [
    ("once", "at height 2, and at 1", [(1, applied(B)), (2, applied(B))]),
    ("once", "something twice", [(1, applied(B, B))]),
    ("roots", "another aaaaaaaa", [(1, applied(root=A)), (1, applied(root=B))]),
    ("accusation", "jails 1, who is honest", [(1, applied(jailed=(1,)))]),
    ("money", "lost a unit", [(1, applied(alarms=("lost a unit",)))]),
]
COMMITS: list[tuple[str, list[tuple[Header, int]]]] = [
    ("2 comes next", [(header(3), 2)]),
    ("another has", [(header(1), 1), (header(1, marker=1), 1)]),
    ("a time that does not rise", [(header(1, 7), 1), (header(2, 7), 2)]),
]
VERDICTS: list[tuple[str, str, Play]] = [
    ("signatures", "two votes", lambda oracle, one: all_of(oracle.on_sign, (one, vote(5)), (one, vote(5, B)))),
    ("epochs", "of which it is no member", lambda oracle, one: oracle.on_sign(one, vote(5, epoch=1))),
    ("epochs", "of which it is no member", lambda oracle, one: oracle.on_sign(observing(one), vote(5))),
    ("epochs", "in epoch 1 after epoch 2", lambda oracle, _: all_of(after_epoch, (oracle, 2), (oracle, 1))),
    ("epochs", "on another block or root", lambda oracle, _: in_terms(oracle, base=header(8))),
    ("epochs", "on another block or root", lambda oracle, _: in_terms(oracle, base_root=B)),
    ("epochs", "another set of validators", lambda oracle, _: in_terms(oracle, members=())),
    ("halt", "a whim", lambda oracle, one: oracle.on_halt(one, "a whim")),
    ("accusation", "who never was", lambda oracle, one: oracle.on_accusation(one, evidence(epoch=3))),
    ("accusation", "who never was", lambda oracle, _: accused(oracle, evidence(4), is_honest=False)),
    ("accusation", "1, who is honest", lambda oracle, _: accused(oracle, evidence(), is_honest=True)),
    ("accusation", "does not read back", lambda oracle, _: accused(oracle, backwards(evidence()), is_honest=False)),
    ("accusation", "proves nothing", lambda oracle, _: accused(oracle, evidence(), is_honest=False)),
]


@pytest.mark.parametrize(("told", "commits"), COMMITS)
def test_commits_that_do_not_agree_are_told(told: str, commits: list[tuple[Header, int]]) -> None:
    """Rule 1: out of order, another block, a time that stands still."""
    with pytest.raises(Violation, match=f"agreement.*{told}"):
        all_of(Oracle(4, SIMULATED).on_commit, *((Seen(), *each) for each in commits))


@pytest.mark.parametrize(("rule", "told", "blocks"), EXECUTIONS)
def test_executions_that_differ_or_repeat_are_told(rule: str, told: str, blocks: list[tuple[int, Applied]]) -> None:
    """Rules 2 to 4, and the end of rule 8."""
    with pytest.raises(Violation, match=f"{rule}.*{told}"):
        all_of(Oracle(4, SIMULATED).on_executed, *((Seen(), header(height), did) for height, did in blocks))


@pytest.mark.parametrize(("rule", "told", "play"), VERDICTS)
def test_each_verdict_falls_where_its_rule_is_broken(rule: str, told: str, play: Callable[[Oracle, Any], None]) -> None:
    """Rules 5, 7, 8 and 10: the verdict names the rule and says what was seen."""
    with pytest.raises(Violation, match=told) as verdict:
        play(Oracle(4, SIMULATED), Seen())
    assert verdict.value.rule == rule


@pytest.mark.parametrize("what", ["blocks", "anchors", "votes", "witnessed", "early"])
def test_each_store_of_an_engine_has_its_limit(what: str) -> None:
    """Rule 6: at the limit, and one above it; more validators may hold more, but for blocks and anchors."""
    oracle = Oracle(4, SIMULATED)
    most = next(each for each in range(10_000) if _is_too_much(oracle, Seen(held=((what, each + 1),))))
    assert 4 <= most <= 1_024
    assert _is_too_much(Oracle(8, SIMULATED), Seen(held=((what, most + 1),))) == (what in ("blocks", "anchors"))


def test_what_waits_in_the_shell_has_its_limits() -> None:
    """Rule 6: committed blocks that wait for execution, and events that wait for the disk."""
    oracle = Oracle(4, SIMULATED)
    blocks = tuple(range(6 * SIMULATED.sync_blocks_max + BLOCKS_HELD_MAX))
    assert not _is_too_much(oracle, Seen(backlog=blocks, waiting=WAITING_MAX))
    assert _is_too_much(oracle, Seen(backlog=(*blocks, 0)))
    assert _is_too_much(oracle, Seen(waiting=WAITING_MAX + 1))


def _is_too_much(oracle: Oracle, replica: Seen) -> bool:
    try:
        oracle.after_event(replica)  # type: ignore[arg-type]
    except Violation as violation:
        return violation.rule == "bounds"
    return False


ENDS: list[tuple[str, Callable[[ev.EpochClosed], ev.EpochClosed]]] = [
    ("nothing certifies the root", lambda closed: replace(closed, closing=())),
    ("does not follow, or orders something", lambda closed: replace(closed, closing=closed.closing[1:])),
    ("is not certified in its epoch", lambda closed: replace(closed, qc=replace(closed.qc, epoch=closed.qc.epoch + 1))),
    ("certified by less than a quorum", lambda closed: replace(closed, qc=replace(closed.qc, signatures=()))),
    ("does not name the edge", lambda closed: replace(closed, state_root=bytes(32))),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("told", "change"), ENDS)
def test_each_fault_of_an_epochs_end_is_told(
    told: str, change: Callable[[ev.EpochClosed], ev.EpochClosed], engine: str
) -> None:
    """Rule 10: what closes an epoch must convince whoever trusts its validators."""
    if engine == "pbft" and "does not follow" in told:
        told = "nothing certifies the root"  # One block closes an epoch there.
    with pytest.raises(Violation, match=told):
        run(cluster(replace(EDGES, engine=engine), closing(lambda _, closed: change(closed))))
