"""The hello's encoding; its rules between two sides are in `test_peers`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.codec import encode
from genesis.errors import Rejected
from node.frames import HELLO_BYTES_MAX, Lane
from node.hello import Hello, check_hello, decode_hello, encode_hello

HELLO = Hello(bytes(32), b"\x22" * 32, Lane.BULK)

hellos = st.builds(
    Hello,
    chain_id=st.binary(min_size=32, max_size=32),
    kernel_hash=st.binary(min_size=1, max_size=32),
    lane=st.sampled_from(Lane),
    verdict=st.text("abcdefghijklmnopqrstuvwxyz_", max_size=32),
    version=st.integers(0, 2**16 - 1),
)


@given(hello=hellos)
def test_hello_round_trips_within_its_bound(hello: Hello) -> None:
    """Both sides must read the same introduction, and the largest must fit its frame."""
    wire = encode_hello(hello)
    assert decode_hello(wire) == hello
    assert len(wire) <= HELLO_BYTES_MAX


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([1, bytes(31), bytes(32), 1, ""], "malformed"),
        ([1, bytes(32), b"", 1, ""], "malformed"),
        ([1, bytes(32), bytes(32), 2, ""], "malformed"),
        ([1, bytes(32), bytes(32), 1, "BAD"], "malformed"),
        ([1, bytes(32), bytes(32), 1], "malformed"),
        ([bytes(600)], "too_large"),
    ],
    ids=["chain id", "kernels", "lane", "verdict", "fields", "size"],
)
def test_malformed_hello_is_rejected(values: list[object], code: str) -> None:
    """It is the first thing a stranger's bytes could reach."""
    with pytest.raises(Rejected) as rejected:
        decode_hello(encode(values))
    assert rejected.value.code == code


def test_equal_hellos_agree() -> None:
    """The table of differences in `test_peers` would prove nothing if everything were refused."""
    check_hello(HELLO, HELLO)
