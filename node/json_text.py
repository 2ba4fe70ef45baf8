"""Writing JSON beside consensus, which waits for the same event loop and the same interpreter.

Rules:

1. A value that is not long is written in place.
2. A long one is written in a worker thread, put together from pieces that are not long: the encoder keeps the
   interpreter's lock while it writes, so a thread alone would stop the event loop just as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import trio

Json = Any
"""What `json.dumps` writes: dicts with text keys, lists, text, integers, booleans, None."""

VALUES_IN_PLACE_MAX: Final = 1_000
"""A value that holds more than these is long; so many take about 0.2 ms to write."""


def write_json(value: Json) -> bytes:
    """`value` as UTF-8, whatever its length; blocks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


async def write_json_aside(value: Json) -> bytes:
    """The same bytes without keeping the event loop."""
    if is_long(value):
        return await trio.to_thread.run_sync(write_in_pieces, value)
    return write_json(value)


def is_long(value: Json) -> bool:
    """Whether `value` holds more than `VALUES_IN_PLACE_MAX` values, at any depth; looks at no more than those."""
    values, unseen = 0, [value]
    while unseen:
        inner = unseen.pop()
        if isinstance(inner, dict | list):
            values += len(inner)
            if values > VALUES_IN_PLACE_MAX:
                return True
            unseen.extend(inner.values() if isinstance(inner, dict) else inner)
    return False


def write_in_pieces(value: Json) -> bytes:
    """The bytes of `write_json`; between two pieces other threads may run."""
    return b"".join(_pieces(value))


def _pieces(value: Json) -> Iterator[bytes]:
    if not is_long(value):
        yield write_json(value)
    elif isinstance(value, dict):
        for number, (name, each) in enumerate(value.items()):
            yield b"," if number else b"{"
            yield write_json(name) + b":"
            yield from _pieces(each)
        yield b"}"
    else:
        for number, each in enumerate(value):
            yield b"," if number else b"["
            yield from _pieces(each)
        yield b"]"
