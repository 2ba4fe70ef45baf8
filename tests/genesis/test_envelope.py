"""Envelopes: what is signed is what is received, and each way to be wrong has its own code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.codec import encode
from genesis.envelope import SALT_BYTES, SIGNERS_MAX, decode_envelope, sign_envelope, verify_all, verify_each
from genesis.errors import Rejected
from genesis.hashing import Domain, digest
from genesis.params import ChainParams
from genesis.signing import SigningKey

CHAIN = digest(Domain.GENESIS, b"a chain")
OTHER_CHAIN = digest(Domain.GENESIS, b"another chain")
KEYS = tuple(SigningKey(bytes([number]) * 32) for number in range(SIGNERS_MAX + 1))
PARAMS = ChainParams(envelope_operations_max=3, envelope_bytes_max=2_048)
SALT = bytes(range(SALT_BYTES))
EXPIRES_AT_UNIX_MS = 1_786_953_600_000
TRADE = (9, "BTC-17AUG26-63000-P", "M0/main", "M1/main", 5, 123)

SIGNERS = [key.public_key for key in KEYS[:2]]


def _body(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "chain": CHAIN,
        "signers": SIGNERS,
        "operations": [list(TRADE)],
        "expires_at_unix_ms": EXPIRES_AT_UNIX_MS,
        "salt": SALT,
    }
    return list((fields | changes).values())


def _wire(body: list[Any], signers: int | None = None) -> bytes:
    data = encode(body)
    count = len(body[1]) if signers is None else signers
    return encode([data, [key.sign(digest(Domain.ENVELOPE, data)) for key in KEYS[:count]]])


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else 1


def test_a_signed_envelope_reads_back_as_what_was_signed() -> None:
    """The id, the signers and the operations that execute are byte for byte those that were signed."""
    wire = sign_envelope(CHAIN, KEYS[:2], [TRADE], EXPIRES_AT_UNIX_MS, SALT)
    envelope = decode_envelope(wire, CHAIN, PARAMS)
    assert wire == _wire(_body())
    assert envelope.wire == wire
    assert envelope.id == digest(Domain.ENVELOPE, encode(_body()))
    assert envelope.signers == tuple(SIGNERS)
    assert envelope.operations == (TRADE,)
    assert envelope.expires_at_unix_ms == EXPIRES_AT_UNIX_MS
    assert verify_all([envelope]) == [envelope]


@given(
    signers=st.integers(1, SIGNERS_MAX),
    operations=st.lists(
        st.tuples(st.integers(1, 20), st.text(max_size=12), st.integers(0, 2**63)), min_size=1, max_size=3
    ),
    expires_at_unix_ms=st.integers(0, 2**48),
    salt=st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES),
)
def test_every_envelope_survives_the_round_trip(
    signers: int, operations: list[tuple[Any, ...]], expires_at_unix_ms: int, salt: bytes
) -> None:
    """Whatever a client may say must arrive unchanged and verify."""
    wire = sign_envelope(CHAIN, KEYS[:signers], operations, expires_at_unix_ms, salt)
    envelope = decode_envelope(wire, CHAIN, PARAMS)
    assert envelope.operations == tuple(operations)
    assert (envelope.expires_at_unix_ms, len(envelope.signers)) == (expires_at_unix_ms, signers)
    verify_all([envelope])


def _deep_body(depth: int) -> bytes:
    """A body with one operation whose field nests deeper than the encoder itself would go."""
    operations = b"\x91\x92\x01" + b"\x91" * depth + b"\x01"
    return b"\x95" + encode(CHAIN) + encode(SIGNERS) + operations + encode(EXPIRES_AT_UNIX_MS) + encode(SALT)


REJECTIONS: tuple[tuple[str, bytes, str], ...] = (
    ("another chain", _wire(_body(chain=OTHER_CHAIN)), "wrong_chain"),
    ("too many operations", _wire(_body(operations=[list(TRADE)] * 4)), "too_many_operations"),
    ("a key twice", _wire(_body(signers=[SIGNERS[0]] * 2)), "duplicate_signer"),
    ("a signature missing", _wire(_body(), signers=1), "signature_count"),
    ("a signature too many", _wire(_body(), signers=3), "signature_count"),
    ("over the size limit", _wire(_body(operations=[[1, bytes(2_048)]])), "too_large"),
    ("no bytes", b"", "malformed"),
    ("no signature", _wire(_body(), signers=0), "malformed"),
    ("five signers", _wire(_body(signers=[key.public_key for key in KEYS])), "malformed"),
    ("no signer", _wire(_body(signers=[]), signers=1), "malformed"),
    ("a short key", _wire(_body(signers=[bytes(31)])), "malformed"),
    ("a short signature", encode([encode(_body()), [bytes(63)] * 2]), "malformed"),
    ("a short chain id", _wire(_body(chain=CHAIN[:31])), "malformed"),
    ("no operation", _wire(_body(operations=[])), "malformed"),
    ("an empty operation", _wire(_body(operations=[[]])), "malformed"),
    ("an operation that is no array", _wire(_body(operations=[7])), "malformed"),
    ("an operation without a kind", _wire(_body(operations=[["transfer"]])), "malformed"),
    ("true as the kind", _wire(_body(operations=[[True]])), "malformed"),
    ("a float in an operation", _wire(_body(operations=[[1, 0.5]])), "malformed"),
    ("a map in an operation", _wire(_body(operations=[[1, {}]])), "malformed"),
    ("a field nested too deep", _wire(_body(operations=[[1, _nested(5)]])), "malformed"),
    ("a field nested a thousand deep", encode([_deep_body(900), [bytes(64)] * 2]), "malformed"),
    ("a short salt", _wire(_body(salt=SALT[:-1])), "malformed"),
    ("a long salt", _wire(_body(salt=SALT + b"\0")), "malformed"),
    ("a negative expiry", _wire(_body(expires_at_unix_ms=-1)), "malformed"),
    ("an expiry beyond time", _wire(_body(expires_at_unix_ms=2**48 + 1)), "malformed"),
    ("a field too many", _wire([*_body(), 0]), "malformed"),
    ("a field missing", _wire(_body()[:-1]), "malformed"),
    ("a byte behind the wire", _wire(_body()) + b"\0", "malformed"),
    ("a byte behind the body", encode([encode(_body()) + b"\0", [bytes(64)] * 2]), "malformed"),
    (
        "the body not in its shortest form",
        encode([encode(_body()).replace(b"\x05\x7b", b"\xcc\x05\x7b"), [bytes(64)] * 2]),
        "malformed",
    ),
    ("the body as an array", encode([_body(), [bytes(64)] * 2]), "malformed"),
)


@pytest.mark.parametrize(("fault", "wire", "code"), REJECTIONS, ids=[row[0] for row in REJECTIONS])
def test_each_fault_has_its_own_answer(fault: str, wire: bytes, code: str) -> None:
    """A client can only mend what it is told; each row plants one fault."""
    with pytest.raises(Rejected) as caught:
        decode_envelope(wire, CHAIN, PARAMS)
    assert caught.value.code == code, fault


def test_a_field_nested_as_deep_as_allowed_is_accepted() -> None:
    """The depth bound must reject one level more, not one less."""
    assert decode_envelope(_wire(_body(operations=[[1, _nested(4)]])), CHAIN, PARAMS).operations == (
        (1, ((((1,),),),)),
    )


def test_the_deep_body_is_wrong_in_its_depth_alone() -> None:
    """The row that plants a thousand levels must not be rejected for another reason."""
    assert decode_envelope(encode([_deep_body(4), [bytes(64)] * 2]), CHAIN, PARAMS).signers == tuple(SIGNERS)


def test_the_longest_lists_are_accepted() -> None:
    """The bounds themselves are inside."""
    wire = _wire(_body(signers=[key.public_key for key in KEYS[:SIGNERS_MAX]], operations=[[1]] * 3))
    envelope = decode_envelope(wire, CHAIN, replace(PARAMS, envelope_bytes_max=len(wire)))
    assert len(envelope.signers) == SIGNERS_MAX
    with pytest.raises(Rejected, match="too_large"):
        decode_envelope(wire, CHAIN, replace(PARAMS, envelope_bytes_max=len(wire) - 1))


@pytest.mark.parametrize(
    "change",
    [
        {"chain": OTHER_CHAIN},
        {"signers": SIGNERS[::-1]},
        {"operations": [[*TRADE[:-1], 124]]},
        {"expires_at_unix_ms": EXPIRES_AT_UNIX_MS + 1},
        {"salt": SALT[::-1]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_signature_covers_every_field(change: dict[str, Any]) -> None:
    """Signatures lifted onto a body with one field changed must not verify: consent covers the whole envelope."""
    genuine = decode_envelope(_wire(_body()), CHAIN, PARAMS)
    forged_wire = encode([encode(_body(**change)), list(genuine.signatures)])
    forged = decode_envelope(forged_wire, change.get("chain", CHAIN), PARAMS)
    assert forged.id != genuine.id
    with pytest.raises(Rejected, match="bad_signature"):
        verify_all([forged])


@pytest.mark.parametrize("wrong_signer", [0, 1])
def test_a_bad_signature_names_the_envelope_and_the_signer(wrong_signer: int) -> None:
    """One bad signature refuses all: the answer must say which it was, so that the author can be found."""
    good = decode_envelope(_wire(_body()), CHAIN, PARAMS)
    body = encode(_body(salt=SALT[::-1]))
    marks = [key.sign(digest(Domain.ENVELOPE, body)) for key in KEYS[:2]]
    marks[wrong_signer] = marks[wrong_signer][:32] + bytes(32)
    bad = decode_envelope(encode([body, marks]), CHAIN, PARAMS)
    with pytest.raises(Rejected) as caught:
        verify_all([good, bad, good])
    assert caught.value.code == "bad_signature"
    assert caught.value.details == {"envelope": bad.id.hex(), "position": 1, "signer": SIGNERS[wrong_signer].hex()}


@pytest.mark.parametrize("wrong", [(), (0,), (4,), (1, 2), (0, 2, 4), (0, 1, 2, 3, 4)])
def test_each_envelope_gets_its_own_verdict(wrong: tuple[int, ...]) -> None:
    """What clients post is checked together; one bad signature must not cost its neighbours."""
    wires = [_wire(_body(salt=bytes([number]) * SALT_BYTES)) for number in range(5)]
    envelopes = [decode_envelope(wire, CHAIN, PARAMS) for wire in wires]
    for number in wrong:
        envelopes[number] = replace(envelopes[number], signatures=(envelopes[number].signatures[0], bytes(64)))
    outcomes = verify_each(envelopes)
    assert [isinstance(each, Rejected) for each in outcomes] == [number in wrong for number in range(5)]
    for number in wrong:
        assert f"envelope={envelopes[number].id.hex()}, signer={SIGNERS[1].hex()}" in str(outcomes[number])
    assert [each for number, each in enumerate(outcomes) if number not in wrong] == [
        each for number, each in enumerate(envelopes) if number not in wrong
    ]


def test_swapped_signatures_are_bad() -> None:
    """Each signature stands for its own key, in the order of the signers."""
    genuine = decode_envelope(_wire(_body()), CHAIN, PARAMS)
    swapped = encode([encode(_body()), list(genuine.signatures[::-1])])
    with pytest.raises(Rejected, match="bad_signature"):
        verify_all([decode_envelope(swapped, CHAIN, PARAMS)])


def test_the_id_does_not_depend_on_the_signatures() -> None:
    """Replay protection remembers ids; a malleated signature must not make a new one."""
    unsigned = decode_envelope(encode([encode(_body()), [bytes(64)] * 2]), CHAIN, PARAMS)
    assert unsigned.id == decode_envelope(_wire(_body()), CHAIN, PARAMS).id
