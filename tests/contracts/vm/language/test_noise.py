"""Whatever is given to the compiler, it answers with a program or a refusal, and soon."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.vm.bytecode import encode_program
from contracts.vm.language.compiler import compile_text, compile_verified
from contracts.vm.language.explain import explain
from contracts.vm.language.lexer import WORDS, tokens_of
from genesis.errors import Rejected
from tests.contracts.vm.language.texts import GAS_MAX, LIBRARY, framed
from tests.fuzz import shapes

EXAMPLES = int(os.environ.get("NOVATE_FUZZ_EXAMPLES", "60"))
SECONDS_MAX = 10
drawn = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

TOKENS = sorted({token.text for file in LIBRARY for token in tokens_of(file.read_text())} | WORDS)


def refused_or_compiled(source: bytes) -> str | None:
    """The code of the refusal, or None; anything else fails the test. What compiles can be explained and encoded."""
    began = time.process_time()
    try:
        compiled, _ = compile_verified(source, GAS_MAX)
    except Rejected as error:
        line, column = error.details.get("line", 1), error.details.get("column", 1)
        assert isinstance(line, int)
        assert isinstance(column, int)
        assert 1 <= line <= source.count(b"\n") + 1
        assert column >= 1
        return error.code
    finally:
        assert time.process_time() - began < SECONDS_MAX
    assert explain(compiled.contract)
    assert compile_text(source).program == compiled.program
    assert len(encode_program(compiled.program)) > 0
    return None


@drawn
@given(noise=st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_noise_is_refused(noise: bytes) -> None:
    """Random bytes and random characters."""
    assert refused_or_compiled(noise) is not None


@drawn
@given(noise=st.lists(st.sampled_from(TOKENS), max_size=120).map(lambda words: " ".join(words).encode()))
def test_words_of_the_language_in_any_order_are_refused_or_compiled(noise: bytes) -> None:
    """Deeper than characters: each token is right, only the order is not."""
    refused_or_compiled(b"contract c party x asset a rest to x " + noise)


@drawn
@given(source=shapes.mutated(st.sampled_from([file.read_bytes() for file in LIBRARY])))
def test_a_damaged_contract_is_refused_or_compiled(source: bytes) -> None:
    """A few bytes exchanged, cut, repeated or spliced."""
    refused_or_compiled(source)


@st.composite
def rearranged(draw: st.DrawFn) -> bytes:
    """A contract of the library with tokens taken out, exchanged for others, or doubled."""
    tokens = [token.text for token in tokens_of(draw(st.sampled_from(LIBRARY)).read_text())]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(tokens) - 1))
        tokens[at : at + 1] = draw(st.lists(st.sampled_from(TOKENS) | st.just(tokens[at]), max_size=2))
    return " ".join(tokens).encode()


@drawn
@given(source=rearranged())
def test_a_rearranged_contract_is_refused_or_compiled(source: bytes) -> None:
    """These reach the checker, the compiler and the verifier."""
    refused_or_compiled(source)


@pytest.mark.parametrize("file", LIBRARY, ids=lambda each: each.stem)
def test_the_undamaged_ones_are_compiled(file: object) -> None:
    """Otherwise the mutations above would start from nothing."""
    assert refused_or_compiled(file.read_bytes()) is None  # type: ignore[attr-defined]


def test_layout_means_nothing() -> None:
    """Line ends, blanks and comments move no instruction."""
    one_line = b" ".join(framed("lock writer m", in_s="pay m to holder").split())
    commented = framed("lock writer m # all of it", in_s="pay m to holder").replace(b"\n", b"\r\n\t\n")
    program = compile_text(framed("lock writer m", in_s="pay m to holder")).program
    assert compile_text(one_line).program == compile_text(commented).program == program
