"""The entry of a validator set, as a light client reads it: strict, and clear about which epochs it speaks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.codec import encode
from genesis.document import CERTIFICATE_BYTES_MAX, POWER_MAX, VALIDATORS_MAX, GenesisValidator
from genesis.errors import Rejected
from genesis.validator_sets import (
    VALIDATOR_SET_BYTES_MAX,
    StoredValidatorSet,
    decode_validator_set,
    validator_set_key,
)

A: tuple[Any, ...] = ("a", b"a" * 32, 1, "a:1", b"A")
B: tuple[Any, ...] = ("b", b"b" * 32, 2, "[::1]:2", b"B")


def test_an_entry_is_read_as_it_was_written() -> None:
    """Index, key and power decide what a signature is worth."""
    read = decode_validator_set(validator_set_key(7), encode([9, [A, B]]))
    assert read == StoredValidatorSet(7, 9, (GenesisValidator(*A), GenesisValidator(*B)))
    assert decode_validator_set(validator_set_key(0), encode([None, [A]])).last_epoch is None


def test_the_largest_set_is_within_the_bound() -> None:
    """A set that governance can make must be one that a client can read."""
    host = ".".join(["h" * 50] * 4)
    members = [
        (f"{n:032}", n.to_bytes(32, "big"), POWER_MAX, f"{host}:65535", n.to_bytes(CERTIFICATE_BYTES_MAX, "big"))
        for n in range(VALIDATORS_MAX)
    ]
    value = encode([2**32, members])
    assert len(value) <= VALIDATOR_SET_BYTES_MAX
    assert len(decode_validator_set(validator_set_key(2**32), value).members) == VALIDATORS_MAX


@pytest.mark.parametrize(
    ("last_epoch", "epoch", "decides"),
    [(9, 6, False), (9, 7, True), (9, 9, True), (9, 10, False), (None, 6, False), (None, 12, True), (None, 13, False)],
)
def test_an_entry_speaks_for_its_epochs_and_no_others(last_epoch: int | None, epoch: int, decides: bool) -> None:
    """Of a set in force, the root of epoch 12 says nothing about epoch 13: there may be another by then."""
    stored = StoredValidatorSet(7, last_epoch, (GenesisValidator(*A),))
    assert stored.decides(epoch, 12) == decides


def swapped(place: int, value: object) -> bytes:
    return encode([9, [[*B[:place], value, *B[place + 1 :]]]])


MALFORMED: list[tuple[str, bytes, bytes]] = [
    ("another table's key", b"\x11\x07", encode([9, [A]])),
    ("no key", b"", encode([9, [A]])),
    ("a key that is no epoch", b"\x10\xa1x", encode([9, [A]])),
    ("a key with more behind it", validator_set_key(7) + b"\x00", encode([9, [A]])),
    ("nobody", validator_set_key(7), encode([9, []])),
    ("too many", validator_set_key(7), encode([9, [A] * 257])),
    ("an end before the beginning", validator_set_key(7), encode([6, [A]])),
    ("one name twice", validator_set_key(7), encode([9, [A, ("a", *B[1:])]])),
    ("one key twice", validator_set_key(7), encode([9, [A, ("b", A[1], *B[2:])]])),
    ("one certificate twice", validator_set_key(7), encode([9, [A, (*B[:4], A[4])]])),
    ("a name that is none", validator_set_key(7), swapped(0, "a b")),
    ("a short key", validator_set_key(7), swapped(1, bytes(31))),
    ("no power", validator_set_key(7), swapped(2, 0)),
    ("too much power", validator_set_key(7), swapped(2, 2**32 + 1)),
    ("no address", validator_set_key(7), swapped(3, "nowhere")),
    ("an address that is no text", validator_set_key(7), swapped(3, 1)),
    ("no certificate", validator_set_key(7), swapped(4, b"")),
    ("a large certificate", validator_set_key(7), swapped(4, bytes(1_025))),
]


@pytest.mark.parametrize(("key", "value"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_a_malformed_entry_is_refused(key: bytes, value: bytes) -> None:
    """It comes from whoever serves the proof; a client must not break on it."""
    with pytest.raises(Rejected, match="malformed"):
        decode_validator_set(key, value)


def test_an_entry_too_large_is_refused_unread() -> None:
    """Before memory is spent on it."""
    with pytest.raises(Rejected, match="too_large"):
        decode_validator_set(validator_set_key(0), bytes(VALIDATOR_SET_BYTES_MAX + 1))


@given(st.binary(max_size=40), st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(key: bytes, value: bytes) -> None:
    """Nothing but a refusal comes out of noise."""
    try:
        decode_validator_set(b"\x10" + key, value)
    except Rejected:
        return
