"""One parser of addresses, for the genesis document, the settings and the command line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.addresses import join_address, split_address
from genesis.errors import Rejected

ADDRESSES = [
    ("127.0.0.1:80", ("127.0.0.1", 80)),
    ("[::1]:8600", ("::1", 8600)),
    ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ("node.example:1", ("node.example", 1)),
    ("a_b-c:65535", ("a_b-c", 65_535)),
]


@pytest.mark.parametrize(("address", "parts"), ADDRESSES)
def test_address_splits_and_joins(address: str, parts: tuple[str, int]) -> None:
    """IPv6 hosts hold colons of their own."""
    assert split_address(address) == parts
    assert join_address(*parts) == address


WRONG = [
    ("no port", "127.0.0.1"),
    ("an empty port", "127.0.0.1:"),
    ("no host", ":80"),
    ("empty brackets", "[]:80"),
    ("IPv6 without brackets", "::1:80"),
    ("a name in brackets", "[node]:80"),
    ("hexadecimal digits in brackets", "[f1%eth0]:80"),
    ("port 0", "a:0"),
    ("a port over 65535", "a:65536"),
    ("a port of six digits", "a:000080"),
    ("a superscript digit, which str.isdigit takes", "a:8²"),
    ("Arabic digits, which int takes", "a:٨٠"),
    ("a sign", "a:+80"),
    ("an underscore, which int takes", "a:8_0"),
    ("a blank", "a :80"),
    ("a line's end", "a:80\n"),
    ("a URL", "http://a:80"),
    ("a host beyond ASCII", "é:80"),
    ("a host of 254 characters", "a" * 254 + ":80"),
]


@pytest.mark.parametrize(("fault", "address"), WRONG, ids=[row[0] for row in WRONG])
def test_what_is_no_address_is_refused(fault: str, address: str) -> None:
    """Addresses are typed by people and travel in documents; a wrong one must be named where it is written."""
    with pytest.raises(Rejected, match="bad_address"):
        split_address(address)


@given(st.text(max_size=20) | st.from_regex(r"[\w.\[\]:]*:\d{1,6}"))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Whatever is typed, nobody gets a traceback; and what passes can be written back."""
    with suppress(Rejected):
        host, port = split_address(text)
        assert split_address(join_address(host, port)) == (host, port)
