"""Logs: one JSON object a line, and a bound on what strangers can make us write."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from node.logs import LINES_PER_WINDOW, MESSAGES_TRACKED_MAX, WINDOW_NS, RepetitionLimit, configure


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Everything that is logged, with the root logger restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines, parsed."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_values(stream: io.StringIO) -> None:
    """Operators search logs by field; a value inside a sentence cannot be found."""
    logging.getLogger("novate.peers").info("peer cut", extra={"peer": 2, "key": b"\x01\xff", "why": "a\nb"})
    (line,) = lines(stream)
    assert {name: line[name] for name in ("level", "logger", "msg", "peer", "key", "why")} == {
        "level": "info",
        "logger": "novate.peers",
        "msg": "peer cut",
        "peer": 2,
        "key": "01ff",
        "why": "a\nb",
    }
    assert set(line) == {"ts", "level", "logger", "msg", "peer", "key", "why"}
    assert line["ts"].endswith("Z")


def test_an_exception_stays_on_its_line(stream: io.StringIO) -> None:
    """A traceback over many lines would tear the file for every reader."""
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("novate").exception("failed")
    (line,) = lines(stream)
    assert "KeyError: 'lost'" in line["traceback"]


def test_levels_below_the_configured_one_are_silent(stream: io.StringIO) -> None:
    """Debug lines on a busy node cost more than the work they describe."""
    logging.getLogger("novate").debug("hidden")
    assert lines(stream) == []


def record(message: str = "peer cut", level: int = logging.WARNING) -> logging.LogRecord:
    """A record as a logger makes it."""
    return logging.LogRecord("novate.peers", level, __file__, 1, message, (), None)


def test_repetitions_are_bounded_and_counted() -> None:
    """docs/FAULTS.md row 29: a flood of refusals must not become a flood of lines, nor vanish without a number."""
    now = 0
    limit = RepetitionLimit(lambda: now)
    assert [limit.filter(record()) for _ in range(LINES_PER_WINDOW + 5)] == [True] * LINES_PER_WINDOW + [False] * 5
    assert limit.filter(record("another message"))
    now = WINDOW_NS
    later = record()
    assert limit.filter(later)
    assert vars(later)["suppressed"] == 5


def test_the_bound_itself_is_bounded() -> None:
    """Messages that differ each time must not fill the memory of the filter."""
    limit = RepetitionLimit(lambda: 0)
    for number in range(3 * MESSAGES_TRACKED_MAX):
        limit.filter(record(f"message {number}"))
    assert len(limit._windows) <= MESSAGES_TRACKED_MAX
