"""What a batch must look like, and who may send it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genesis.codec import encode
from genesis.errors import InvariantViolation, Rejected
from node.batches import ENVELOPE_OVERHEAD_BYTES, WIRE_OVERHEAD_BYTES, BatchFormat
from tests.node.dataplane import CHAIN_ID, FORMAT, PARAMS, bad_signature_wire, envelope_wire, envelopes_of


def test_sealed_batch_opens_to_the_same_batch() -> None:
    """Every validator must execute the very bytes that the author hashed."""
    batch = FORMAT.seal(2, 7, envelopes_of(range(5)))
    assert FORMAT.open(batch.wire, batch.digest, 2) == batch
    assert FORMAT.open(batch.wire, batch.digest, None) == batch
    assert FORMAT.reopen(batch.wire, batch.digest) == batch
    assert FORMAT.digest(batch.wire) == batch.digest


def test_batches_of_different_authors_or_places_have_different_digests() -> None:
    """A digest names one batch of one author."""
    envelopes = envelopes_of([1])
    digests = {FORMAT.seal(author, number, envelopes).digest for author in range(4) for number in range(3)}
    assert len(digests) == 12


GOOD = [envelope_wire(1), envelope_wire(2)]


@pytest.mark.parametrize(
    ("wire", "author", "code"),
    [
        (encode([1, 0, GOOD]), 2, "wrong_author"),
        (encode([4, 0, GOOD]), 4, "malformed"),
        (encode([1, 0, []]), 1, "malformed"),
        (encode([1, -1, GOOD]), 1, "malformed"),
        (encode([1, 0, GOOD, 0]), 1, "malformed"),
        (encode([1, 0, [*GOOD, b"junk"]]), 1, "malformed"),
        (encode([1, 0, GOOD * 126]), 1, "malformed"),
        (encode([1, 0, [*GOOD, bad_signature_wire(3)]]), 1, "bad_signature"),
        (encode([1, 0, [bytes(65_536)] * 17]), 1, "too_large"),
        (encode([1, 0, GOOD]) + b"\x00", 1, "malformed"),
        (b"", 1, "malformed"),
    ],
)
def test_batch_with_one_fault_is_refused_whole(wire: bytes, author: int, code: str) -> None:
    """Its author vouched for every envelope in it."""
    with pytest.raises(Rejected) as caught:
        FORMAT.open(wire, FORMAT.digest(wire) if len(wire) <= PARAMS.batch_bytes_max else bytes(32), author)
    assert caught.value.code == code


def test_oversized_batch_is_refused_before_it_is_hashed() -> None:
    """Work is bounded before it is spent."""
    with pytest.raises(Rejected, match="too_large"):
        FORMAT.digest(bytes(PARAMS.batch_bytes_max + 1))


def test_overheads_bound_what_the_encoding_adds() -> None:
    """The maker fills a batch to the byte by these figures."""
    envelopes = envelopes_of(range(40))
    wire = FORMAT.seal(3, 2**64 - 1, envelopes).wire
    assert len(wire) <= WIRE_OVERHEAD_BYTES + sum(len(each.wire) + ENVELOPE_OVERHEAD_BYTES for each in envelopes)


def test_batch_of_our_own_that_is_too_large_is_our_own_bug() -> None:
    """No peer or client is to blame for it, so it must not pass for a refusal of theirs."""
    small = BatchFormat(CHAIN_ID, replace(PARAMS, envelope_bytes_max=1_000, batch_bytes_max=1_100), 4)
    with pytest.raises(InvariantViolation, match="size limit"):
        small.seal(0, 0, envelopes_of(range(10)))
