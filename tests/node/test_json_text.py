"""JSON written in place and beside the event loop: the same text, by another way."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import json_text
from node.json_text import VALUES_IN_PLACE_MAX, is_long, write_in_pieces, write_json, write_json_aside

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=6),
    max_leaves=40,
)


@given(value=VALUES, longest=st.integers(0, 8))
def test_pieces_make_the_text_that_one_call_writes(value: Any, longest: int) -> None:
    """Clients must not see where an answer was cut; the bound is lowered so that small values are cut too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "VALUES_IN_PLACE_MAX", longest)
        assert write_in_pieces(value) == write_json(value)
    assert json.loads(write_json(value)) == value


FULL = VALUES_IN_PLACE_MAX
LENGTHS: list[tuple[str, Any, bool]] = [
    ("a scalar", 1, False),
    ("a long text is one value", "x" * 10_000, False),
    ("a list at the bound", [0] * FULL, False),
    ("a list over the bound", [0] * (FULL + 1), True),
    ("a dict over the bound", {str(each): 0 for each in range(FULL + 1)}, True),
    ("many short ones", {"series": [{"a": 1, "b": 2}] * (FULL // 3 + 1)}, True),
    ("deep, not long", {"a": {"b": [{"c": [1, 2, 3]}]}}, False),
]


@pytest.mark.parametrize(("case", "value", "long"), LENGTHS, ids=[row[0] for row in LENGTHS])
def test_values_at_every_depth_count(case: str, value: Any, long: bool) -> None:
    """Twenty thousand series in one list took the event loop 124 ms."""
    assert is_long(value) is long


@dataclass
class Notes:
    """What `json.dumps` wrote: the longest text, and in which threads."""

    longest: int = 0
    threads: set[int] = field(default_factory=set)


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Watches `json.dumps`."""
    taken, real = Notes(), json.dumps

    def noted(value: Any, **options: Any) -> str:
        text = real(value, **options)
        taken.longest = max(taken.longest, len(text))
        taken.threads.add(threading.get_ident())
        return text

    monkeypatch.setattr(json, "dumps", noted)
    return taken


@pytest.mark.trio
async def test_long_value_is_written_in_another_thread_and_piece_by_piece(notes: Notes) -> None:
    """Consensus waits for this thread; and one call of the encoder would keep the interpreter's lock all the while."""
    rows = [[each] * 10 for each in range(5 * FULL)]
    text = await write_json_aside({"rows": rows})
    assert json.loads(text) == {"rows": rows}
    assert 0 < notes.longest < len(text) // 100
    assert threading.get_ident() not in notes.threads


@pytest.mark.trio
async def test_short_value_stays_in_this_thread(notes: Notes) -> None:
    """A visit to a thread costs more than most answers."""
    assert await write_json_aside({"status": "ok"}) == b'{"status":"ok"}'
    assert notes.threads == {threading.get_ident()}
