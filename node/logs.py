"""Structured logs: one JSON object a line on standard error.

Rules:

1. A line has ``ts`` (UTC, milliseconds), ``level``, ``logger``, ``msg`` and the values given as ``extra={...}``. The
   message is a constant sentence; what varies is a value, so that lines can be counted.
2. Nothing is logged for each transaction, request or frame.
3. What a peer or client can cause is bounded: of one message of one logger, at most `LINES_PER_WINDOW` lines in a
   window; the next line says how many were left out (``suppressed``).

Use: ``log = logging.getLogger("novate.peers")``; ``log.warning("peer cut", extra={"peer": 2, "code": error.code})``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

LEVELS: Final = ("debug", "info", "warning", "error")
LINES_PER_WINDOW: Final = 20
WINDOW_NS: Final = 1_000_000_000
MESSAGES_TRACKED_MAX: Final = 1_024

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON; values that JSON lacks are written as text, bytes as hexadecimal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "ts": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=_text, ensure_ascii=False)


class RepetitionLimit(logging.Filter):
    """Drops repetitions of one message beyond the bound of rule 3, and counts them.

    Args:
        monotonic_ns: The clock that measures windows; replaced in tests.
    """

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__()
        self._monotonic_ns = monotonic_ns
        self._windows: dict[tuple[str, str], list[int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is written."""
        now = self._monotonic_ns()
        if len(self._windows) >= MESSAGES_TRACKED_MAX:
            self._windows.clear()
        window = self._windows.setdefault((record.name, str(record.msg)), [now, 0, 0])
        if now - window[0] >= WINDOW_NS:
            if window[2]:
                record.suppressed = window[2]
            window[:] = [now, 0, 0]
        window[1] += 1
        if window[1] > LINES_PER_WINDOW:
            window[2] += 1
            return False
        return True


def configure(level: str, stream: TextIO) -> logging.Handler:
    """Send every logger of the process to `stream` as JSON lines; returns the handler. `level` is one of `LEVELS`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RepetitionLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for quiet in ("httpx", "httpcore", "hypercorn.access", "numba"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    return handler


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
