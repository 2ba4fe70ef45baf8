"""Whatever comes in, a decoder refuses it with a reason or returns a value that goes back: docs/FAULTS.md row 28.

``make test`` draws a few examples of each; ``make fuzz-long`` draws until its time is over.
"""

from __future__ import annotations

import ast
import os
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import shapes
from tests.fuzz.registry import COVERED, DECODERS, Decoder

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("genesis", "consensus", "contracts", "node", "cli")
EXAMPLES = int(os.environ.get("NOVATE_FUZZ_EXAMPLES", "25"))
"""Examples of each test and decoder."""

PARSERS = {"decode", "json.loads", "json.load", "tomllib.loads", "tomllib.load", "msgpack.unpackb"}
NAMES = re.compile(r"_?(decode|parse|split)(_|$)")

drawn = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
every_decoder = pytest.mark.parametrize("decoder", DECODERS, ids=lambda each: each.name)


def check(decoder: Decoder, data: bytes) -> bool:
    """Whether the bytes decode; fails if anything but a refusal escapes, or if what decodes does not go back."""
    try:
        value = decoder.decode(data)
    except decoder.refusals:
        return False
    assert decoder.size_max is None or len(data) <= decoder.size_max
    if decoder.encode is not None:
        again = decoder.encode(value)
        if decoder.canonical:
            assert again == data
        else:
            assert decoder.decode(again) == value
    return True


@every_decoder
@drawn
@given(data=st.data())
def test_valid_input_decodes_and_goes_back(decoder: Decoder, data: st.DataObject) -> None:
    """What one validator encodes every other must read, to the bit; and the mutations below must start from this."""
    assert check(decoder, data.draw(decoder.valid))


@every_decoder
@drawn
@given(data=st.data())
def test_mutated_input_is_refused_or_canonical(decoder: Decoder, data: st.DataObject) -> None:
    """Two forms of one value would have two hashes; an error of another family would stop the node."""
    check(decoder, data.draw(shapes.mutated(decoder.valid)))


@every_decoder
@drawn
@given(noise=st.binary(max_size=400) | shapes.foreign())
def test_noise_is_refused_or_canonical(decoder: Decoder, noise: bytes) -> None:
    """Random bytes, and well-formed values of kinds that the encoding forbids."""
    check(decoder, noise)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small inputs that make a careless parser large or deep."""
    yield "deep arrays", b"\x91" * 100_000
    yield "wide and deep arrays", b"\xdc\x10\x00" * 40_000
    yield "an array of 2^32", b"\xdd\xff\xff\xff\xff"
    yield "bytes of 2^32", b"\xc6\xff\xff\xff\xff"
    yield "text of 2^32", b"\xdb\xff\xff\xff\xff"
    yield "a map of 2^32", b"\xdf\xff\xff\xff\xff"
    yield "an extension of 2^32", b"\xc9\xff\xff\xff\xff\x01"
    yield "deep brackets", b"[" * 60_000
    yield "deep tables", b"a = " + b"[" * 60_000
    yield "deep dotted keys", b"a" + b".a" * 3_000 + b" = 1"
    yield "deep objects", b'{"a":' * 20_000
    yield "a number of many digits", b"9" * 60_000
    yield "a field of many digits", b"version = " + b"9" * 50_000
    yield "power = inf", b"power = inf"
    yield "zeros", bytes(60_000)
    yield "a frame of 2^32", b"\xff\xff\xff\xff\x01"


@every_decoder
@pytest.mark.parametrize(("what", "bomb"), list(bombs()), ids=[what for what, _ in bombs()])
def test_a_bomb_is_refused_at_a_bounded_cost(decoder: Decoder, what: str, bomb: bytes) -> None:
    """Nobody may spend our memory or our stack with a few bytes of his own."""
    tracemalloc.start()
    try:
        check(decoder, bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < decoder.memory_bytes_max, what


@pytest.mark.parametrize(
    "decoder", [each for each in DECODERS if each.size_max is not None], ids=lambda each: each.name
)
def test_one_byte_over_the_bound_is_refused_unread(decoder: Decoder) -> None:
    """Size comes first: it is the one property that costs nothing to look at."""
    assert decoder.size_max is not None
    assert not check(decoder, b"\x90" * (decoder.size_max + 1))
    assert not check(decoder, b"# " + b" " * (decoder.size_max - 1))


# --- nothing is forgotten ---------------------------------------------------------------------------------------------


def decoders_in(source: str, module: str) -> Iterator[str]:
    """The functions of a module that make values of what comes from outside."""

    def walk(node: ast.AST, prefix: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                called = {ast.unparse(each.func) for each in ast.walk(child) if isinstance(each, ast.Call)}
                if NAMES.match(child.name) or called & PARSERS:
                    yield f"{module}:{prefix}{child.name}"

    return walk(ast.parse(source), "")


def test_every_decoder_is_registered() -> None:
    """A decoder that nobody fuzzes is the one that will be attacked: give it an entry in `tests.fuzz.registry`."""
    found = {
        name
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        for name in decoders_in(path.read_text(), ".".join(path.relative_to(ROOT).with_suffix("").parts))
    }
    known = {each.name for each in DECODERS} | set(COVERED)
    assert found <= known, f"register these in tests/fuzz/registry.py: {sorted(found - known)}"


@pytest.mark.parametrize(
    "source",
    [
        "def decode_thing(data): ...",
        "def _parse(data): ...",
        "class A:\n    async def handle(self, data):\n        return decode(data, SHAPE, size_max=9)",
        "def load(path):\n    return tomllib.loads(path.read_text())",
        "def answer(data):\n    return json.loads(data)",
    ],
)
def test_the_search_notices_a_new_decoder(source: str) -> None:
    """A search that found nothing would pass for ever."""
    assert list(decoders_in(source, "a"))
