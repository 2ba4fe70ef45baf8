"""The small parts: quorums, leaders, the verifier's memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import consensus.hotstuff.safety
import consensus.pbft.safety
import consensus.safety
from consensus import certificates
from consensus.certificates import Verifier
from consensus.config import CoreConfig
from consensus.leaders import SLOTS_MAX, LeaderSchedule
from consensus.syncing import FetchPlan
from genesis.errors import Rejected
from tests.consensus.bench import VALIDATORS, make_proposal, make_qc
from tests.consensus.cluster import CHAIN_ID, GENESIS, PARAMS, fast_is_valid, make_validators

CONFIG = CoreConfig(CHAIN_ID, 0, VALIDATORS, PARAMS, GENESIS)
POWERS = st.lists(st.integers(1, 2**32), min_size=1, max_size=12)


@given(POWERS)
def test_two_quorums_share_honest_power(powers: list[int]) -> None:
    """Safety rests on it: the overlap of two quorums exceeds what may be faulty (less than a third)."""
    validators = make_validators(tuple(powers))
    total, quorum = validators.total_power, validators.quorum_power
    faulty_max = (total - 1) // 3
    assert 2 * quorum - total > faulty_max
    assert total - faulty_max >= quorum
    assert validators.honest_power == faulty_max + 1


def test_equal_powers_take_turns() -> None:
    """Plain rotation: everyone leads once in n views."""
    schedule = LeaderSchedule(make_validators((1,) * 7))
    assert [schedule.leader(view) for view in range(7)] == list(range(7))


@pytest.mark.parametrize("powers", [(5, 3, 3, 2, 1), (10, 1, 1, 1), (2**32, 2**31, 1, 2**32 - 5)])
def test_leaders_rotate_by_weight(powers: tuple[int, ...]) -> None:
    """Over a cycle everyone leads in proportion to its power, at least once, and no cycle is long."""
    schedule = LeaderSchedule(make_validators(powers))
    cycle = len(schedule._slots)
    turns = Counter(schedule.leader(view) for view in range(cycle))
    assert cycle <= SLOTS_MAX + len(powers)
    for index, power in enumerate(powers):
        assert abs(turns[index] - cycle * power / sum(powers)) <= 1


def test_a_qc_of_votes_already_seen_costs_no_signature_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast path of every view: a certificate of known votes is checked by memory alone."""
    checked: list[bytes] = []

    def counting(key: bytes, message: bytes, signature: bytes) -> bool:
        checked.append(signature)
        return fast_is_valid(key, message, signature)

    monkeypatch.setattr(certificates, "is_valid", counting)
    verifier = Verifier(CoreConfig(CHAIN_ID, 0, VALIDATORS, PARAMS, GENESIS), consensus.hotstuff.safety)
    header = make_proposal(1).header
    verifier.check_qc(make_qc(header))
    verifier.check_qc(make_qc(header))
    assert len(checked) == 3
    with pytest.raises(Rejected, match="no_quorum"):
        verifier.check_qc(make_qc(header, (0, 1)))


def test_the_verifiers_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle B."""
    monkeypatch.setattr(certificates, "is_valid", fast_is_valid)
    monkeypatch.setattr(certificates, "SIGNATURES_REMEMBERED_MAX", 4)
    verifier = Verifier(CoreConfig(CHAIN_ID, 0, VALIDATORS, PARAMS, GENESIS), consensus.hotstuff.safety)
    for view in range(1, 9):
        verifier.check_qc(make_qc(make_proposal(view).header))
    assert len(verifier._seen) == 4


@pytest.mark.parametrize("rules", [consensus.safety, consensus.hotstuff.safety, consensus.pbft.safety])
def test_the_safety_rules_stay_readable(rules: ModuleType) -> None:
    """The files that decide what may be signed stay under 200 lines, so that they are read whole."""
    assert len(Path(str(rules.__file__)).read_text().splitlines()) < 200


def test_a_request_that_nobody_answers_is_made_from_the_committed_height_again() -> None:
    """The last block of an answer may close an epoch by a certificate that its sender had not seen yet, and above it
    nobody has anything."""
    params = PARAMS
    plan = FetchPlan(params)
    assert not plan.is_due(0)
    now_ms = params.resend_interval_ms
    assert (plan.is_due(now_ms), plan.from_height(24)) == (True, 24)
    plan.answered(now_ms, 25)
    assert (plan.is_due(now_ms), plan.from_height(24)) == (True, 25)
    now_ms += params.resend_interval_ms
    assert (plan.is_due(now_ms), plan.from_height(24)) == (True, 24)
