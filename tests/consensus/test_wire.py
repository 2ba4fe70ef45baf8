"""Bytes and values: every form goes round, and nothing malformed comes in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.events import SafetyState
from consensus.types import QC, TC, Certificates, Message, Timeout, TimeoutSignature, Vote
from consensus.wire import (
    MESSAGE_BYTES_MAX,
    decode_message,
    decode_proposal,
    decode_qc,
    decode_safety,
    encode_message,
    encode_proposal,
    encode_qc,
    encode_safety,
)
from genesis.document import VALIDATORS_MAX
from genesis.errors import Rejected
from genesis.statements import Phase
from tests.consensus.bench import GENESIS_QC, make_proposal, make_qc, make_tc, make_timeout

FIRST = make_proposal(1, payload=(bytes(32), b"\1" * 32))
QC1 = make_qc(FIRST.header)
TC2 = make_tc(2, QC1, GENESIS_QC, GENESIS_QC)
MESSAGES: list[Message] = [
    FIRST,
    make_proposal(3, FIRST.header, tc=TC2),
    Vote(0, 1, Phase.CERTIFY, 1, FIRST.header.block_hash, 3, bytes(64)),
    Vote(0, 1, Phase.COMMIT, 1, FIRST.header.block_hash, 3, bytes(64)),
    replace(FIRST, view=7, tc=TC2),
    make_timeout(1, make_qc(FIRST.header, phase=Phase.PREPARE), 1),
    make_timeout(1, GENESIS_QC, 1),
    make_timeout(3, GENESIS_QC, 1, TC2),
    Certificates(GENESIS_QC, None),
    Certificates(QC1, TC2),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: type(each).__name__)
def test_every_message_goes_round(message: Message) -> None:
    """What is sent is what arrives."""
    assert decode_message(encode_message(message)) == message


def test_stored_forms_go_round() -> None:
    """Proposals, certificates and the safety state are read back as they were written."""
    assert decode_proposal(encode_proposal(FIRST)) == FIRST
    assert decode_qc(encode_qc(QC1)) == QC1
    said = replace(make_timeout(3, QC1, 1, TC2), signature=b"")
    fresh, used = SafetyState(0, 0, 0, GENESIS_QC, None), SafetyState(0, 9, 8, QC1, TC2)
    for state in (fresh, used, replace(used, last_timeout=said)):
        assert decode_safety(encode_safety(state)) == state


def test_the_largest_message_fits_its_bound() -> None:
    """A timeout with both certificates of the largest set."""
    marks = tuple((voter, bytes(64)) for voter in range(VALIDATORS_MAX))
    qc = QC(0, 2**48, Phase.CERTIFY, 2**48, bytes(32), marks)
    tc = TC(0, 2**48, qc, tuple(TimeoutSignature(voter, 2**48, bytes(64)) for voter in range(VALIDATORS_MAX)))
    timeout = Timeout(0, 2**48, qc, tc, 0, bytes(64))
    assert decode_message(encode_message(timeout)) == timeout


def test_an_oversized_message_is_refused_unread() -> None:
    """Bounded before it is decoded."""
    with pytest.raises(Rejected, match="too_large"):
        decode_message(bytes(MESSAGE_BYTES_MAX + 1))


@pytest.mark.parametrize("marks", [((1, bytes(64)), (0, bytes(64))), ((1, bytes(64)), (1, bytes(64)))])
def test_signatures_stand_in_ascending_order_once_each(marks: tuple[tuple[int, bytes], ...]) -> None:
    """A certificate has one form, and counts nobody twice."""
    with pytest.raises(Rejected, match="ascending"):
        decode_qc(encode_qc(QC(0, 1, Phase.CERTIFY, 1, bytes(32), marks)))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_and_never_crash(data: bytes) -> None:
    """Row 28."""
    with pytest.raises(Rejected):
        decode_message(data)


@settings(max_examples=300)
@given(st.sampled_from(MESSAGES), st.integers(0, 10_000), st.integers(1, 255))
def test_a_mutated_message_is_refused_or_another_canonical_one(message: Message, place: int, flip: int) -> None:
    """Row 28: a flipped byte never gives a value that encodes to other bytes than those that came."""
    data = bytearray(encode_message(message))
    data[place % len(data)] ^= flip
    try:
        decoded = decode_message(bytes(data))
    except Rejected:
        return
    assert encode_message(decoded) == bytes(data)
    assert decoded != message
