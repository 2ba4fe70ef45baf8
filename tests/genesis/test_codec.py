"""The canonical encoding: one form for every value, and nothing that is malformed ever gets past the border."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis import codec
from genesis.codec import ARRAY_LENGTH_MAX, I64_MAX, Shape, decode, encode, tree
from genesis.errors import Rejected

SIZE_MAX = 65_536
ANY = tree(8)

INTEGERS = st.integers(-I64_MAX - 1, 2**64 - 1)
SCALARS = INTEGERS | st.booleans() | st.binary(max_size=80) | st.text(max_size=80) | st.none()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=20).map(tuple), max_leaves=40).filter(
    lambda value: _depth(value) <= 8
)


def _depth(value: Any) -> int:
    return 1 + max(map(_depth, value), default=0) if isinstance(value, tuple) else 0


@given(VALUES)
def test_every_value_survives_the_round_trip(value: Any) -> None:
    """What one node hashes, another must read back as the same value and the same bytes."""
    data = encode(value)
    found = decode(data, ANY, size_max=len(data))
    assert found == value
    assert type(found) is type(value)
    assert encode(found) == data


@given(st.binary(max_size=64))
def test_any_bytes_are_rejected_or_have_one_form(data: bytes) -> None:
    """Two encodings of one value would be two hashes of one thing; random bytes must never crash the parser."""
    try:
        value = decode(data, ANY, size_max=SIZE_MAX)
    except Rejected:
        return
    assert encode(value) == data


@given(VALUES, st.data())
def test_a_mutated_encoding_is_rejected_or_is_another_value(value: Any, data: st.DataObject) -> None:
    """A peer that flips bytes must not make two different byte strings mean the same value."""
    wire = bytearray(encode(value))
    position = data.draw(st.integers(0, len(wire) - 1))
    wire[position] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(wire), ANY, size_max=SIZE_MAX)
    except Rejected:
        return
    assert encode(found) == bytes(wire)


MALFORMED: tuple[tuple[str, bytes], ...] = (
    ("nothing", b""),
    ("reserved byte c1", b"\xc1"),
    ("trailing byte", b"\x01\x00"),
    ("two values", encode(1) + encode(2)),
    ("1 in two bytes", b"\xcc\x01"),
    ("1 in three bytes", b"\xcd\x00\x01"),
    ("1 in five bytes", b"\xce\x00\x00\x00\x01"),
    ("1 in nine bytes", b"\xcf" + (1).to_bytes(8, "big")),
    ("1 as a signed byte", b"\xd0\x01"),
    ("200 as a signed word", b"\xd1\x00\xc8"),
    ("-1 as a signed byte", b"\xd0\xff"),
    ("-1 as a signed word", b"\xd1\xff\xff"),
    ("-1 in nine bytes", b"\xd3" + b"\xff" * 8),
    ("truncated integer", b"\xcd\x01"),
    ("short text in the long form", b"\xd9\x01a"),
    ("text over its end", b"\xa5abc"),
    ("text that is not UTF-8", b"\xa1\xff"),
    ("text with an overlong UTF-8 form", b"\xa2\xc0\x80"),
    ("text with a surrogate", b"\xa3\xed\xa0\x80"),
    ("bytes in the longer form", b"\xc5\x00\x01a"),
    ("bytes over their end", b"\xc4\x05ab"),
    ("array in the longer form", b"\xdc\x00\x01\x01"),
    ("array in the longest form", b"\xdd\x00\x00\x00\x01\x01"),
    ("array over its end", b"\x92\x01"),
    ("array longer than any may be", b"\xdc" + (ARRAY_LENGTH_MAX + 1).to_bytes(2, "big")),
    ("array of four billion", b"\xdd\xff\xff\xff\xff"),
    ("empty map", b"\x80"),
    ("map", b"\x81\x01\x02"),
    ("map of four billion", b"\xdf\xff\xff\xff\xff"),
    ("map inside an array", b"\x91\x80"),
    ("float32", b"\xca" + struct.pack(">f", 1.0)),
    ("float64", b"\xcb" + struct.pack(">d", 1.0)),
    ("NaN", b"\xcb" + struct.pack(">d", float("nan"))),
    ("infinity", b"\xcb" + struct.pack(">d", float("inf"))),
    ("float inside an array", b"\x91\xcb" + struct.pack(">d", 0.5)),
    ("empty extension", b"\xc7\x00\x05"),
    ("extension", b"\xd4\x05\x00"),
    ("timestamp extension", b"\xd6\xff\x00\x00\x00\x00"),
    ("extension inside an array", b"\x91\xc7\x00\x05"),
    ("bytes of four gigabytes", b"\xc6\xff\xff\xff\xff"),
    ("nested deeper than declared", b"\x91" * 9 + b"\x01"),
    ("nested deeper than Python's stack", b"\x91" * 1_000 + b"\x01"),
    ("nested deeper than the parser's stack", b"\x91" * 20_000 + b"\x01"),
)


@pytest.mark.parametrize(("fault", "data"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_malformed_bytes_are_rejected(fault: str, data: bytes) -> None:
    """Each row plants one fault; a form that slipped through would be a second hash of some value, or a crash."""
    with pytest.raises(Rejected) as caught:
        decode(data, ANY, size_max=SIZE_MAX)
    assert caught.value.code == "malformed", fault


def test_a_nest_of_array_headers_costs_a_bounded_moment_of_memory() -> None:
    """Three bytes can claim 4,095 slots; a peer must not turn 64 KiB into gigabytes."""
    bomb = b"\xdc\x0f\xff" * (SIZE_MAX // 3)
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match="malformed"):
            decode(bomb, ANY, size_max=SIZE_MAX)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40 * 2**20


def test_no_array_is_longer_than_the_limit() -> None:
    """The bound on what one header may reserve, exactly."""
    longest = encode((0,) * ARRAY_LENGTH_MAX)
    assert len(decode(longest, ANY, size_max=SIZE_MAX)) == ARRAY_LENGTH_MAX
    with pytest.raises(Rejected, match="malformed"):
        decode(encode((0,) * (ARRAY_LENGTH_MAX + 1)), ANY, size_max=SIZE_MAX)


def test_size_is_checked_before_the_bytes_are_read() -> None:
    """An oversized message is named as such, whatever it holds, and costs nothing."""
    with pytest.raises(Rejected) as caught:
        decode(b"\xc1" * 11, ANY, size_max=10)
    assert caught.value.code == "too_large"
    assert caught.value.details == {"size": 11, "size_max": 10}


_POINT = codec.record(codec.uint(8), codec.raw(2), codec.text(1, 4, "ab"))
_TAGGED = codec.choice({1: codec.record(codec.uint(8), codec.boolean), 2: codec.record(codec.uint(8))})

MISSHAPEN: tuple[tuple[str, Shape, Any], ...] = (
    ("above the range", codec.integer(-1, 5), 6),
    ("below the range", codec.integer(-1, 5), -2),
    ("true for an integer", codec.integer(0, 5), True),
    ("nil for an integer", codec.integer(0, 5), None),
    ("2^8 for a byte", codec.uint(8), 256),
    ("negative for unsigned", codec.uint(8), -1),
    ("too few bytes", codec.raw(4), b"abc"),
    ("too many bytes", codec.raw(4), b"abcde"),
    ("too many bytes of a range", codec.raw(1, 2), b"abc"),
    ("text for bytes", codec.raw(1), "a"),
    ("bytes for text", codec.text(1, 4), b"a"),
    ("empty text", codec.text(1, 4), ""),
    ("text too long", codec.text(1, 4), "aaaaa"),
    ("a character outside the alphabet", codec.text(1, 4, "ab"), "abc"),
    ("an integer for a boolean", codec.boolean, 1),
    ("nil for a boolean", codec.boolean, None),
    ("a wrong value where one is optional", codec.optional(codec.uint(8)), "a"),
    ("too few items", codec.sequence(codec.uint(8), 1, 3), ()),
    ("too many items", codec.sequence(codec.uint(8), 1, 3), (1, 2, 3, 4)),
    ("one wrong item", codec.sequence(codec.uint(8), 1, 3), (1, b"a")),
    ("no array at all", codec.sequence(codec.uint(8), 1, 3), 1),
    ("a field missing", _POINT, (1, b"ab")),
    ("a field too many", _POINT, (1, b"ab", "a", 0)),
    ("one wrong field", _POINT, (1, b"abc", "a")),
    ("no record at all", _POINT, b"abc"),
    ("an unknown tag", _TAGGED, (3,)),
    ("true as the tag 1", _TAGGED, (True, True)),
    ("an array as the tag", _TAGGED, ((1,), True)),
    ("no tag", _TAGGED, ()),
    ("the shape of another tag", _TAGGED, (2, True)),
    ("an array where none may be", tree(0), ()),
    ("one level too many", tree(1), ((1,),)),
)


@pytest.mark.parametrize(("fault", "shape", "value"), MISSHAPEN, ids=[row[0] for row in MISSHAPEN])
def test_a_value_outside_its_declared_shape_is_rejected(fault: str, shape: Shape, value: Any) -> None:
    """Inside the border types are trusted, so the border must not let a wrong one in."""
    with pytest.raises(Rejected) as caught:
        decode(encode(value), shape, size_max=SIZE_MAX)
    assert caught.value.code == "malformed", fault


WELL_SHAPEN: tuple[tuple[Shape, Any], ...] = (
    (codec.integer(-1, 5), -1),
    (codec.integer(-1, 5), 5),
    (codec.uint(64), 2**64 - 1),
    (codec.raw(4), b"abcd"),
    (codec.raw(0, 2), b""),
    (codec.text(1, 4, "ab"), "abab"),
    (codec.boolean, False),
    (codec.optional(codec.uint(8)), None),
    (codec.optional(codec.uint(8)), 7),
    (codec.sequence(codec.uint(8), 0, 3), ()),
    (codec.sequence(codec.uint(8), 0, 3), (1, 2, 3)),
    (_POINT, (1, b"ab", "a")),
    (_TAGGED, (1, True)),
    (_TAGGED, (2,)),
    (tree(1), (1, b"a", "a", None, True)),
    (tree(2), ((), (1,))),
)


@pytest.mark.parametrize(("shape", "value"), WELL_SHAPEN)
def test_a_value_at_the_edge_of_its_shape_is_accepted(shape: Shape, value: Any) -> None:
    """The rejections above mean something only if the shapes also let good values through."""
    assert decode(encode(value), shape, size_max=SIZE_MAX) == value


def test_an_error_about_a_deep_value_does_not_recurse() -> None:
    """An error message that prints what it found would overflow the stack on a thousand nested arrays."""
    with pytest.raises(Rejected, match="tuple of 1"):
        decode(b"\x91" * 1_000 + b"\x01", codec.uint(8), size_max=SIZE_MAX)
