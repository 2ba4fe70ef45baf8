"""The sorted list under the contracts' deadlines: what it finds must be what a plain list would."""

from __future__ import annotations

from bisect import insort
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import sorted_list
from contracts.sorted_list import SortedList
from genesis.errors import InvariantViolation

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=200)


@given(steps=STEPS, low=st.integers(-1, 61), high=st.integers(-1, 61))
def test_it_holds_what_a_plain_sorted_list_holds(steps: list[tuple[bool, int]], low: int, high: int) -> None:
    """A deadline that is found too late, or twice, would settle a contract otherwise on one node than on the next."""
    plain: list[int] = []
    with patch.object(sorted_list, "CHUNK_LENGTH_MAX", 4):
        entries: SortedList[int] = SortedList()
        for enters, entry in steps:
            if enters and entry not in plain:
                entries.add(entry)
                insort(plain, entry)
            elif not enters and entry in plain:
                entries.remove(entry)
                plain.remove(entry)
    assert (list(entries), len(entries)) == (plain, len(plain))
    assert list(entries.between(low, high)) == [each for each in plain if low <= each < high]
    assert list(entries.above(low)) == [each for each in plain if each > low]


def test_it_refuses_to_lose_what_it_never_had() -> None:
    """Two indices that disagree about what is there are our bug, and the node must not go on with it."""
    entries: SortedList[int] = SortedList()
    entries.add(1)
    for absent in (0, 2):
        with pytest.raises(InvariantViolation):
            entries.remove(absent)
