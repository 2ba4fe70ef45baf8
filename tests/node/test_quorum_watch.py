"""When an operator hears that a quorum is in reach, and that it is not."""

from __future__ import annotations

import pytest

from consensus.validators import Validator, ValidatorSet
from node.quorum_watch import QuorumWatch

LOST, CONNECTED = "quorum_lost", "quorum_connected"
CASES: list[tuple[str, tuple[int, ...], list[frozenset[int]], list[tuple[str, int]]]] = [
    ("too few", (1, 1, 1, 1), [frozenset(), frozenset({2})], []),
    ("just enough", (1, 1, 1, 1), [frozenset({2}), frozenset({2, 3})], [(CONNECTED, 3)]),
    ("more than enough is not said again", (1, 1, 1, 1), [frozenset({2, 3}), frozenset({1, 2, 3})], [(CONNECTED, 3)]),
    ("lost", (1, 1, 1, 1), [frozenset({2, 3}), frozenset({3}), frozenset()], [(CONNECTED, 3), (LOST, 2)]),
    ("powers count, not heads", (1, 7, 1, 1), [frozenset({2, 3}), frozenset({1})], [(CONNECTED, 8)]),
    ("alone it is one", (1,), [frozenset()], []),
]


@pytest.mark.parametrize(("case", "powers", "changes", "said"), CASES, ids=[row[0] for row in CASES])
def test_operator_hears_of_each_crossing_once(
    case: str, powers: tuple[int, ...], changes: list[frozenset[int]], said: list[tuple[str, int]]
) -> None:
    """Without a quorum nothing commits; one line for every change would hide that among the others."""
    members = tuple(Validator(each, f"v{each}", bytes(32), power) for each, power in enumerate(powers))
    lines: list[tuple[str, int | str]] = []
    watch = QuorumWatch(0, ValidatorSet(0, members), lambda kind, details: lines.append((kind, details["power"])))
    for each in changes:
        watch.connected(each)
    assert lines == said
