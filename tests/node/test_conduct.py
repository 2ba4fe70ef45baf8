"""Which faults of a peer count, and when it is cut for them: docs/FAULTS.md row 29."""

from __future__ import annotations

import pytest

from consensus.events import Report
from genesis.errors import Rejected
from node.conduct import COUNTED, Conduct, ConductLimits

LIMITS = ConductLimits(faults_max=3, span_s=10)
ME = 0


class Bench:
    """A record of conduct, its clock, and who was cut."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.cuts: list[tuple[int, str]] = []
        self.conduct = Conduct(self._cut, frozenset({1, 2, 3}), lambda: self.now_s, LIMITS)

    def _cut(self, peer: int, why: Rejected) -> None:
        self.cuts.append((peer, str(why)))

    def rejected(self, sender: int, code: str, times: int = 1) -> None:
        for _ in range(times):
            self.conduct.hear(Report("rejected", (("sender", sender), ("code", code), ("reason", "why"))))


@pytest.mark.parametrize("code", sorted(set(COUNTED) - {"equivocation", "contradiction"}))
def test_faults_over_the_budget_cost_the_connection(code: str) -> None:
    """What the message alone proves has an end; the log says of what there was too much."""
    bench = Bench()
    bench.rejected(2, code, LIMITS.faults_max)
    assert bench.cuts == []
    bench.rejected(2, code)
    [(peer, why)] = bench.cuts
    assert peer == 2
    assert why.startswith("too_many_faults")
    assert f"{code}={LIMITS.faults_max + 1}" in why


@pytest.mark.parametrize("code", ["wrong_epoch", "wrong_leader", "bad_block", "bad_sync", "anything_else"])
def test_what_an_honest_peer_may_send_never_counts(code: str) -> None:
    """A validator that is late, early or misled must be able to catch up, and needs its connections for that."""
    bench = Bench()
    bench.rejected(1, code, 10_000)
    assert bench.cuts == []
    assert bench.conduct.faults(1) == 0


def test_faults_are_counted_for_each_peer_alone() -> None:
    """Nobody pays for another."""
    bench = Bench()
    for peer in (1, 2, 3):
        bench.rejected(peer, "bad_signature", LIMITS.faults_max)
    assert bench.cuts == []


def test_a_new_span_begins_with_a_clean_record() -> None:
    """A rare fault, of a bad memory say, never adds up to a cut."""
    bench = Bench()
    for _ in range(20):
        bench.rejected(1, "bad_signature", LIMITS.faults_max)
        bench.now_s += LIMITS.span_s + 1
    assert bench.cuts == []


def test_a_peer_that_was_cut_has_its_budget_again() -> None:
    """It is barred meanwhile, for longer each time; a count that stayed full would cut an honest successor at once."""
    bench = Bench()
    bench.rejected(1, "bad_signature", 2 * (LIMITS.faults_max + 1))
    assert [peer for peer, _ in bench.cuts] == [1, 1]


@pytest.mark.parametrize("kind", ["equivocation", "contradiction"])
def test_contradictions_count_against_the_key_that_signed_them(kind: str) -> None:
    """Whoever shows them does everybody a service."""
    bench = Bench()
    details = (("statement", "vote"), ("validator", 3), ("view", 7), ("first", "aa"), ("second", "bb"))
    for _ in range(LIMITS.faults_max + 1):
        bench.conduct.hear(Report(kind, details))
    assert [peer for peer, _ in bench.cuts] == [3]


def test_our_own_index_and_other_reports_are_nobodys_fault() -> None:
    """A twin of ours contradicts us; that is for the evidence to settle, and we cannot cut ourselves."""
    bench = Bench()
    for _ in range(LIMITS.faults_max + 1):
        bench.conduct.hear(Report("equivocation", (("validator", ME),)))
        bench.conduct.hear(Report("view_timeout", (("view", 3), ("leader", 1))))
    assert bench.cuts == []
