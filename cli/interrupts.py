"""Ctrl-C and SIGTERM as one thing: whoever has processes to stop, or something to say before it ends, can do so."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM both raise `KeyboardInterrupt`, so that whoever started processes can stop them.

    Also in a shell's background job, where Ctrl-C is ignored from birth.
    """
    marks = (signal.SIGINT, signal.SIGTERM)
    before = {mark: signal.signal(mark, signal.default_int_handler) for mark in marks}
    try:
        yield
    finally:
        for mark, handler in before.items():
            signal.signal(mark, handler)
