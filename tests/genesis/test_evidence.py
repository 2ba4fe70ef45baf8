"""Evidence: what contradicts what, who can be accused by it, and that one contradiction is written in one way."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis.codec import encode
from genesis.errors import Rejected
from genesis.evidence import (
    EVIDENCE_BYTES_MAX,
    Evidence,
    Half,
    Offence,
    decode_evidence,
    encode_evidence,
    make_evidence,
    verify_evidence,
)
from genesis.signing import SigningKey
from genesis.statements import Phase, proposal_message, timeout_message, vote_message

CHAIN, OTHER_CHAIN = b"c" * 32, b"d" * 32
KEYS = [SigningKey(bytes([n]) * 32) for n in range(4)]
PUBLIC = [key.public_key for key in KEYS]
A, B = b"a" * 32, b"b" * 32
ORDER = 2**252 + 27742317777372353535851937790883648493


def vote(
    block: bytes, *, view: int = 7, epoch: int = 3, height: int = 5, phase: Phase = Phase.CERTIFY, chain: bytes = CHAIN
) -> Half:
    return Half((height, block), KEYS[1].sign(vote_message(chain, epoch, view, phase, height, block)))


def proposal(block: bytes, *, view: int = 7, epoch: int = 3) -> Half:
    return Half((block,), KEYS[1].sign(proposal_message(CHAIN, epoch, view, block)))


def timeout(high_qc_view: int, *, view: int = 7, epoch: int = 3) -> Half:
    return Half((high_qc_view,), KEYS[1].sign(timeout_message(CHAIN, epoch, view, high_qc_view)))


def double_vote() -> Evidence:
    return make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(B))


GENUINE = [
    ("two blocks proposed", make_evidence(Offence.PROPOSAL, 3, 7, 1, proposal(A), proposal(B))),
    ("votes for two blocks", double_vote()),
    ("votes for one block at two heights", make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(A, height=6))),
    (
        "two commits",
        make_evidence(
            Offence.VOTE, 3, 7, 1, vote(A, phase=Phase.COMMIT), vote(B, phase=Phase.COMMIT), phase=Phase.COMMIT
        ),
    ),
    ("timeouts with two reports", make_evidence(Offence.TIMEOUT, 3, 7, 1, timeout(4), timeout(6))),
]


@pytest.mark.parametrize("evidence", [row[1] for row in GENUINE], ids=[row[0] for row in GENUINE])
def test_a_contradiction_is_proved_with_the_chain_id_and_the_keys_alone(evidence: Evidence) -> None:
    """Anyone can judge it: no block, no certificate, no state."""
    verify_evidence(evidence, CHAIN, PUBLIC)
    data = encode_evidence(evidence)
    assert decode_evidence(data) == evidence
    assert len(data) <= EVIDENCE_BYTES_MAX


FORGED: list[tuple[str, Evidence, str]] = [
    ("signed by another", replace(double_vote(), validator=2), "bad_signature"),
    ("of nobody", replace(double_vote(), validator=4), "unknown_validator"),
    ("votes of two views", make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(B, view=8)), "bad_signature"),
    ("votes of two epochs", make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(B, epoch=4)), "bad_signature"),
    (
        "votes of two phases",
        make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(B, phase=Phase.COMMIT)),
        "bad_signature",
    ),
    ("a phase that was not signed", replace(double_vote(), phase=Phase.PREPARE), "bad_signature"),
    ("votes of two chains", make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(B, chain=OTHER_CHAIN)), "bad_signature"),
    (
        "a height that was not signed",
        replace(double_vote(), second=replace(vote(B), statement=(6, B))),
        "bad_signature",
    ),
    (
        "a proposal and a vote",
        make_evidence(Offence.PROPOSAL, 3, 7, 1, proposal(A), Half((B,), vote(B).signature)),
        "bad_signature",
    ),
    ("timeouts of two views", make_evidence(Offence.TIMEOUT, 3, 7, 1, timeout(4), timeout(6, view=8)), "bad_signature"),
    ("half made up", replace(double_vote(), second=Half((5, B), bytes(64))), "bad_signature"),
]


@pytest.mark.parametrize(("evidence", "code"), [row[1:] for row in FORGED], ids=[row[0] for row in FORGED])
def test_what_is_no_contradiction_accuses_nobody(evidence: Evidence, code: str) -> None:
    """Each row leaves one condition out; an honest validator signs every one of these statements."""
    with pytest.raises(Rejected) as caught:
        verify_evidence(evidence, CHAIN, PUBLIC)
    assert caught.value.code == code


def test_evidence_of_another_chain_or_another_set_proves_nothing() -> None:
    """The same operator may validate two chains with one key; each chain's statements are its own."""
    with pytest.raises(Rejected, match="bad_signature"):
        verify_evidence(double_vote(), OTHER_CHAIN, PUBLIC)
    with pytest.raises(Rejected, match="bad_signature"):
        verify_evidence(double_vote(), CHAIN, PUBLIC[::-1])
    with pytest.raises(Rejected, match="unknown_validator"):
        verify_evidence(double_vote(), CHAIN, PUBLIC[:1])


def test_the_same_statement_twice_is_no_contradiction() -> None:
    """Everything is sent again on a beat; and a key may sign one message with two nonces."""
    with pytest.raises(Rejected, match="no_contradiction"):
        make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(A))
    with pytest.raises(Rejected, match="no_contradiction"):
        make_evidence(Offence.VOTE, 3, 7, 1, vote(A), replace(vote(A), signature=bytes(64)))


def test_an_honest_history_contains_no_evidence() -> None:
    """One vote in a view, one timeout in a view, whatever happens in others: no pair of them can be made to accuse."""
    signed = [(Offence.VOTE, view, vote(A if view % 2 else B, view=view, height=view)) for view in range(1, 6)]
    signed += [(Offence.TIMEOUT, view, timeout(view - 2, view=view)) for view in range(2, 6)]
    signed += [(Offence.PROPOSAL, view, proposal(B if view % 2 else A, view=view)) for view in range(1, 6)]
    for (kind, _view, one), (other_kind, _other_view, other) in combinations(signed, 2):
        if kind is not other_kind or one.statement == other.statement:
            continue
        for claimed_view, phase in product(range(1, 6), Phase):
            with pytest.raises(Rejected, match="bad_signature"):
                verify_evidence(make_evidence(kind, 3, claimed_view, 1, one, other, phase), CHAIN, PUBLIC)


def test_a_contradiction_has_one_form_and_one_id() -> None:
    """Else one offence could be gossiped, stored and submitted in two ways."""
    assert make_evidence(Offence.VOTE, 3, 7, 1, vote(A), vote(B)) == make_evidence(
        Offence.VOTE, 3, 7, 1, vote(B), vote(A)
    )
    evidence = double_vote()
    turned = replace(evidence, first=evidence.second, second=evidence.first)
    with pytest.raises(Rejected, match="malformed"):
        decode_evidence(encode_evidence(turned))


def test_another_signature_of_the_same_statement_makes_no_second_evidence() -> None:
    """Signatures are no part of the id; a malleated one is not even valid."""
    evidence = double_vote()
    signature = evidence.second.signature
    s = int.from_bytes(signature[32:], "little") + ORDER
    malleated = replace(evidence, second=replace(evidence.second, signature=signature[:32] + s.to_bytes(32, "little")))
    assert malleated.id == evidence.id == replace(evidence, first=replace(evidence.first, signature=bytes(64))).id
    with pytest.raises(Rejected, match="bad_signature"):
        verify_evidence(malleated, CHAIN, PUBLIC)


def test_the_id_names_the_contradiction() -> None:
    """Two contradictions share no id."""
    ids = {evidence.id for _name, evidence in GENUINE}
    ids |= {replace(double_vote(), **{name: 0}).id for name in ("epoch", "view", "validator")}
    assert len(ids) == len(GENUINE) + 3


def wire(*changes: tuple[int, object]) -> bytes:
    fields: list[object] = [2, 3, 7, 0, 1, [[5, A], bytes(64)], [[5, B], bytes(64)]]
    for place, value in changes:
        fields[place] = value
    return encode(fields)


MALFORMED: list[tuple[str, bytes, str]] = [
    ("an unknown kind", wire((0, 4)), "malformed"),
    ("no kind", wire((0, 0)), "malformed"),
    ("an epoch below zero", wire((1, -1)), "malformed"),
    ("an epoch too far", wire((1, 2**32 + 1)), "malformed"),
    ("a view too far", wire((2, 2**48 + 1)), "malformed"),
    ("an unknown phase", wire((3, 3)), "malformed"),
    ("a phase of a timeout", wire((0, 3), (3, 1), (5, [[4], bytes(64)]), (6, [[5], bytes(64)])), "malformed"),
    ("a place beyond any set", wire((4, 256)), "malformed"),
    ("a short signature", wire((5, [[5, A], bytes(63)])), "malformed"),
    ("a short hash", wire((5, [[5, A[1:]], bytes(64)])), "malformed"),
    ("the statement of another kind", wire((0, 1)), "malformed"),
    ("one half", encode([2, 3, 7, 0, 1, [[5, A], bytes(64)]]), "malformed"),
    ("twice the same", wire((6, [[5, A], bytes(64)])), "no_contradiction"),
    ("descending halves", wire((5, [[5, B], bytes(64)]), (6, [[5, A], bytes(64)])), "malformed"),
    ("too long", bytes(EVIDENCE_BYTES_MAX + 1), "too_large"),
    ("nothing", b"", "malformed"),
]


@pytest.mark.parametrize(("data", "code"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_evidence_is_refused_before_any_signature_is_checked(data: bytes, code: str) -> None:
    """Every field is bounded, and the wire has one form."""
    with pytest.raises(Rejected) as caught:
        decode_evidence(data)
    assert caught.value.code == code


@given(st.binary(max_size=300))
def test_decoding_refuses_or_gives_back_the_same_bytes(data: bytes) -> None:
    """The strict form holds for whatever arrives."""
    try:
        evidence = decode_evidence(data)
    except Rejected:
        return
    assert encode_evidence(evidence) == data


@given(
    offence=st.sampled_from(Offence),
    epoch=st.integers(0, 2**32),
    view=st.integers(0, 2**48),
    place=st.integers(0, 255),
    numbers=st.tuples(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1)),
    hashes=st.tuples(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32)),
)
def test_all_that_can_be_made_is_encoded_within_the_bound(
    offence: Offence, epoch: int, view: int, place: int, numbers: tuple[int, int], hashes: tuple[bytes, bytes]
) -> None:
    """No genuine evidence may be too large to submit."""
    statements = {
        Offence.PROPOSAL: [(each,) for each in hashes],
        Offence.VOTE: list(zip(numbers, hashes, strict=True)),
        Offence.TIMEOUT: [(each,) for each in numbers],
    }[offence]
    one, other = (Half(statement, bytes(64)) for statement in statements)
    if one == other:
        return
    evidence = make_evidence(offence, epoch, view, place, one, other)
    assert decode_evidence(encode_evidence(evidence)) == evidence
