"""The Ed25519 rule, held against RFC 8032, Wycheproof and speccheck, and against the rule written out in integers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.signing import SigningKey, first_invalid, is_valid
from node import signatures
from tests.genesis.ed25519_reference import L, verdict

Locate = Callable[[str], Path]

SPECCHECK_VERDICTS = (
    "2: small order",  # A and R of small order
    "2: small order",  # A of small order, R mixed
    "2: small order",  # A mixed, R of small order
    "valid",  # A and R of mixed order, the equation holds without the cofactor
    "3: the equation does not hold",  # holds only after multiplying by the cofactor
    "3: the equation does not hold",  # holds only with the cofactor, and k must not be reduced before it
    "1: S is not below L",
    "1: S is not below L",  # far above L
    "2: not a canonical point",  # R not canonical, of small order
    "2: not a canonical point",  # the same, R reduced before hashing
    "2: not a canonical point",  # A not canonical, of small order
    "2: not a canonical point",  # the same, A reduced before hashing
)

SMALL_ORDER_ENCODINGS = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)


def test_rfc_8032_vectors_sign_and_verify(shared_data: Locate) -> None:
    """A signature made here must be the one that every other implementation makes."""
    vectors = json.loads(shared_data("vectors/rfc8032_ed25519.json").read_text())["vectors"]
    assert len(vectors) == 5
    for vector in vectors:
        seed, public_key, message, signature = (bytes.fromhex(vector[key]) for key in ("seed", "pk", "msg", "sig"))
        key = SigningKey(seed)
        assert key.public_key == public_key, vector["name"]
        assert key.sign(message) == signature, vector["name"]
        assert is_valid(public_key, message, signature), vector["name"]


def test_wycheproof_verdicts_follow_the_rule(shared_data: Locate) -> None:
    """151 attacks and edge cases: the published verdict, the rule in integers and libsodium must be one."""
    counts: Counter[str] = Counter()
    for group in json.loads(shared_data("vectors/wycheproof_ed25519_test.json").read_text())["testGroups"]:
        public_key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            accepted = is_valid(public_key, message, signature)
            assert accepted == (case["result"] == "valid"), case["tcId"]
            assert signatures.first_invalid([(public_key, message, signature)]) == (None if accepted else 0)
            assert accepted == (verdict(public_key, message, signature) == "valid"), case["tcId"]
            counts[case["result"]] += 1
    assert counts == {"valid": 88, "invalid": 63}


@pytest.mark.parametrize("number", range(len(SPECCHECK_VERDICTS)))
def test_speccheck_verdict(number: int, shared_data: Locate) -> None:
    """Libraries disagree on these twelve; validators must not, so each verdict is stated with its reason."""
    case = json.loads(shared_data("vectors/speccheck_cases.json").read_text())[number]
    public_key, message, signature = (bytes.fromhex(case[key]) for key in ("pub_key", "message", "signature"))
    assert verdict(public_key, message, signature) == SPECCHECK_VERDICTS[number]
    assert is_valid(public_key, message, signature) == (SPECCHECK_VERDICTS[number] == "valid")
    found = signatures.first_invalid([(public_key, message, signature)])
    assert found == (None if SPECCHECK_VERDICTS[number] == "valid" else 0)


@pytest.mark.parametrize("encoding", SMALL_ORDER_ENCODINGS)
def test_a_key_of_small_order_signs_nothing(encoding: str) -> None:
    """With such a key one signature fits many messages: S = 0 and R = A satisfies the bare equation for an even k."""
    key = bytes.fromhex(encoding)
    assert not any(is_valid(key, bytes([message]), key + bytes(32)) for message in range(32))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_signature_verifies_and_is_deterministic(seed: bytes, message: bytes) -> None:
    """A restarted signer that repeats itself must send the same bytes, never a second signature."""
    key = SigningKey(seed)
    signature = key.sign(message)
    assert key.sign(message) == signature
    assert is_valid(key.public_key, message, signature)


@given(st.data())
def test_any_flipped_bit_invalidates(data: st.DataObject) -> None:
    """Key, message and signature are all bound."""
    key = SigningKey(bytes(range(32)))
    message = b"a trade"
    parts = [bytearray(key.public_key), bytearray(message), bytearray(key.sign(message))]
    part = data.draw(st.sampled_from(parts))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not is_valid(*(bytes(each) for each in parts))


def test_s_plus_l_is_another_signature_and_is_refused() -> None:
    """Malleability: anybody could otherwise make a second valid signature from the first."""
    key = SigningKey(bytes(32))
    signature = key.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + L
    assert not is_valid(key.public_key, b"message", signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize(("key_bytes", "signature_bytes"), [(31, 64), (33, 64), (0, 64), (32, 63), (32, 65), (32, 0)])
def test_a_wrong_length_is_invalid_and_raises_nothing(key_bytes: int, signature_bytes: int) -> None:
    """Lengths come from peers; they must not become exceptions of the library."""
    assert is_valid(bytes(key_bytes), b"", bytes(signature_bytes)) is False


def test_bytes_never_move_between_signature_and_message() -> None:
    """The library sees one string of both: without the check of lengths the border between them could be moved."""
    key = SigningKey(bytes(32))
    signature = key.sign(b"message")
    assert not is_valid(key.public_key, b"essage", signature + b"m")
    assert not is_valid(key.public_key, signature[63:] + b"message", signature[:63])
    assert not is_valid(key.public_key + b"\0", b"message", signature)


@pytest.mark.parametrize("wrong", [None, 0, 3, 7])
def test_first_invalid_names_the_culprit(wrong: int | None) -> None:
    """A refused batch must say which signature was bad."""
    keys = [SigningKey(bytes([number]) * 32) for number in range(8)]
    signed = [
        (key.public_key, b"message", key.sign(b"message" if at != wrong else b"other")) for at, key in enumerate(keys)
    ]
    assert first_invalid(signed) == wrong


def test_a_key_shows_its_public_half_alone() -> None:
    """Log lines and tracebacks print representations."""
    seed = bytes(range(32))
    shown = repr(SigningKey(seed))
    assert SigningKey(seed).public_key.hex() in shown
    assert seed.hex() not in shown
