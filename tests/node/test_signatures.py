"""The compiled loop over libsodium: the answers of the plain one, whatever is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis import signing
from genesis.errors import InvariantViolation
from genesis.signing import Signed, SigningKey
from node import signatures

KEYS = tuple(SigningKey(bytes([number]) * 32) for number in range(3))


def signed(message: bytes, key: SigningKey) -> Signed:
    """One right signature."""
    return key.public_key, message, key.sign(message)


RIGHT = st.builds(signed, st.binary(max_size=70), st.sampled_from(KEYS))
WRONG = st.tuples(
    st.binary(min_size=31, max_size=33), st.binary(max_size=70), st.binary(min_size=63, max_size=65)
) | st.builds(lambda one, other: (one[0], one[1], other[2]), RIGHT, RIGHT)


@given(st.lists(RIGHT | WRONG, max_size=6))
def test_loop_answers_as_the_plain_one(items: list[Signed]) -> None:
    """One rule on every code path: lengths, order and the borders between messages included."""
    assert signatures.first_invalid(items) == signing.first_invalid(items)


def test_messages_of_all_lengths_are_told_apart() -> None:
    """The messages lie in one array; a border off by one would check a signature against its neighbour's bytes."""
    items = [signed(bytes(length), KEYS[length % 3]) for length in range(130)]
    assert signatures.first_invalid(items) is None
    shifted = [(key, message[1:] + b"x", mark) for key, message, mark in items[1:]]
    assert signatures.first_invalid(shifted) == 0
    for place in (0, 64, 128):
        assert signatures.first_invalid([*items[1 : place + 1], shifted[place], *items[place + 2 :]]) == place


def test_nothing_to_check_is_all_valid() -> None:
    """An intake round may hold refused envelopes alone."""
    assert signatures.first_invalid([]) is None


@pytest.mark.parametrize("verdict", [None, 0], ids=["accepts all", "refuses all"])
def test_self_test_notices_a_loop_that_is_wrong(verdict: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyNaCl may move its libsodium: a node must stop before it trusts such an answer."""
    signatures.self_test()
    monkeypatch.setattr(signatures, "first_invalid", lambda _items: verdict)
    with pytest.raises(InvariantViolation, match="compiled loop"):
        signatures.self_test()
