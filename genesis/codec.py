"""The one canonical encoding: msgpack restricted until every value has exactly one form.

Rules:

1. Values are integers in [-2^63, 2^64), booleans, byte strings, UTF-8 text, nil and arrays of values. No maps, no
   floats, no extension types.
2. Every value is checked against a declared shape: types, ranges, lengths and counts, before anyone else sees it.
3. ``encode(decode(data)) == data`` or the data is rejected, so that a hash of the bytes is a hash of the value.
4. The total size is bounded by the caller and the length of any array by `ARRAY_LENGTH_MAX`, before memory is spent.
   A hostile nest of array headers costs at most 32 MiB for a moment: 1,024 levels (the parser's limit) of 4,096 slots.
5. Values that the reader of the bytes does not look into are still held to rule 1 and to a depth, by `tree`: a float, a
   map or a thousand nested arrays never gets past the border.

Arrays decode to tuples. A shape is a function that raises `Rejected("malformed", ...)`; the combinators below build
them: ``record(uint(64), raw(32), sequence(text(1, 16), 0, 8))``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack

from genesis.errors import Rejected

Value = Any
"""A decoded value: int, bool, bytes, str, None or a tuple of values."""

Shape = Callable[[Value], None]
"""Raises `Rejected` with code ``malformed`` unless the value has the declared form."""

ARRAY_LENGTH_MAX: Final = 4096
I64_MAX: Final = 2**63 - 1

_SCALARS: Final = frozenset({int, bool, bytes, str, type(None)})


def encode(value: Value) -> bytes:
    """The canonical bytes of `value` (tuples and lists both become arrays)."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def decode(data: bytes, shape: Shape, *, size_max: int) -> Value:
    """Parse canonical bytes and check them against `shape`.

    Args:
        data: The bytes as received.
        shape: What the value must look like.
        size_max: The largest accepted ``len(data)`` in bytes.

    Returns:
        The value, arrays as tuples.

    Raises:
        Rejected: ``too_large`` or ``malformed``.
    """
    if len(data) > size_max:
        raise Rejected("too_large", "The encoded value is over its size limit.", size=len(data), size_max=size_max)
    try:
        value = msgpack.unpackb(
            data,
            use_list=False,
            raw=False,
            strict_map_key=True,
            max_array_len=ARRAY_LENGTH_MAX,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise Rejected("malformed", f"Not a canonical value: {reason}.") from error
    shape(value)
    if encode(value) != data:
        raise Rejected("malformed", "The value is valid but not in its shortest form.", size=len(data))
    return value


def integer(low: int, high: int) -> Shape:
    """An integer in [`low`, `high`]; booleans are not integers."""

    def check(value: Value) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _mismatch(f"an integer from {low} to {high}", value)

    return check


def uint(bits: int) -> Shape:
    """An unsigned integer of `bits` bits."""
    return integer(0, 2**bits - 1)


def raw(length: int, longest: int | None = None) -> Shape:
    """A byte string of exactly `length` bytes, or from `length` to `longest`."""
    high = length if longest is None else longest

    def check(value: Value) -> None:
        if type(value) is not bytes or not length <= len(value) <= high:
            raise _mismatch(f"{length} to {high} bytes", value)

    return check


def text(low: int, high: int, alphabet: str | None = None) -> Shape:
    """UTF-8 text of `low` to `high` characters, all of them in `alphabet` where one is given."""
    allowed = frozenset(alphabet) if alphabet is not None else None

    def check(value: Value) -> None:
        if type(value) is not str or not low <= len(value) <= high:
            raise _mismatch(f"text of {low} to {high} characters", value)
        if allowed is not None and not allowed.issuperset(value):
            raise _mismatch(f"text of characters from {alphabet!r}", value)

    return check


def boolean(value: Value) -> None:
    """True or false."""
    if type(value) is not bool:
        raise _mismatch("a boolean", value)


def optional(shape: Shape) -> Shape:
    """Nil, or a value of `shape`."""

    def check(value: Value) -> None:
        if value is not None:
            shape(value)

    return check


def sequence(item: Shape, low: int, high: int) -> Shape:
    """An array of `low` to `high` values of one shape."""

    def check(value: Value) -> None:
        if type(value) is not tuple or not low <= len(value) <= high:
            raise _mismatch(f"an array of {low} to {high} items", value)
        for member in value:
            item(member)

    return check


def record(*shapes: Shape) -> Shape:
    """An array with exactly these fields, in this order."""

    def check(value: Value) -> None:
        if type(value) is not tuple or len(value) != len(shapes):
            raise _mismatch(f"a record of {len(shapes)} fields", value)
        for shape, member in zip(shapes, value, strict=True):
            shape(member)

    return check


def choice(variants: Mapping[int, Shape]) -> Shape:
    """A record whose first field is an integer tag that selects the shape of the whole record."""

    def check(value: Value) -> None:
        if type(value) is not tuple or not value or type(value[0]) is not int or value[0] not in variants:
            raise _mismatch(f"a record tagged by one of {sorted(variants)}", value)
        variants[value[0]](value)

    return check


def tree(depth: int) -> Shape:
    """Any value of rule 1 whose arrays nest at most `depth` deep (0: no array at all)."""

    def check(value: Value) -> None:
        if type(value) is not tuple:
            if type(value) not in _SCALARS:
                raise _mismatch("an integer, a boolean, bytes, text, nil or an array", value)
            return
        if deeper is None:
            raise _mismatch("a value that nests less deep", value)
        for member in value:
            if type(member) not in _SCALARS:
                deeper(member)

    deeper = tree(depth - 1) if depth else None
    return check


def _mismatch(expected: str, value: Value) -> Rejected:
    return Rejected("malformed", f"Expected {expected}.", found=describe(value))


def describe(value: Value) -> str:
    """At most 64 characters about `value` for an error; never recurses into an array, which may nest without bound."""
    if isinstance(value, bytes | str):
        return repr(value[:24])[:64]
    if type(value) is int or type(value) is bool or value is None:
        return repr(value)
    return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__
