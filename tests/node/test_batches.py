"""What a batch must look like, and who may send it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from genesis.codec import encode
from genesis.envelope import SALT_BYTES, Operation, sign_envelope
from genesis.errors import InvariantViolation, Rejected
from genesis.signing import SigningKey
from node.batches import ENVELOPE_OVERHEAD_BYTES, MEMORY_FACTOR, WIRE_OVERHEAD_BYTES, BatchFormat
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


BOMB: tuple[Operation, ...] = ((9_999, *(((300,),) for _ in range(4_000))),) * 2
"""27 times its size once it is decoded."""


def bombs(count: int) -> bytes:
    """A batch of author 1 with so many of them."""
    key = SigningKey(b"\x49" * 32)
    return encode([1, 0, [sign_envelope(CHAIN_ID, [key], BOMB, 2**40, bytes([n]) * SALT_BYTES) for n in range(count)]])


def test_batch_that_takes_too_much_memory_is_refused_before_most_of_it_is_decoded() -> None:
    """Row 48: fetched for blocks, such batches are bounded by blocks alone, and each took 27 times its size."""
    wire = bombs(20)
    limit = MEMORY_FACTOR * PARAMS.batch_bytes_max
    assert len(wire) < PARAMS.batch_bytes_max
    tracemalloc.start()
    with pytest.raises(Rejected) as caught:
        FORMAT.open(wire, FORMAT.digest(wire), 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (caught.value.code, caught.value.details["memory_bytes_max"]) == ("too_large", limit)
    assert peak < limit + 2**22


def test_batch_within_its_bound_of_memory_is_one() -> None:
    """What the maker seals up to the bound, everybody takes."""
    wire = bombs(3)
    batch = FORMAT.open(wire, FORMAT.digest(wire), 1)
    assert FORMAT.seal(1, 0, batch.envelopes) == batch
    assert MEMORY_FACTOR * PARAMS.batch_bytes_max - 2**21 < batch.memory_bytes <= MEMORY_FACTOR * PARAMS.batch_bytes_max


def test_lone_envelope_is_a_batch_whatever_it_takes() -> None:
    """Its client's bound is another one, and an honest author must get on."""
    small = BatchFormat(CHAIN_ID, replace(PARAMS, batch_bytes_max=PARAMS.envelope_bytes_max + 64), 4)
    batch = small.open(bombs(1), bytes(32), 1)
    assert batch.memory_bytes > MEMORY_FACTOR * (PARAMS.envelope_bytes_max + 64)
    assert small.seal(1, 0, batch.envelopes).envelopes == batch.envelopes


def test_batch_of_our_own_that_takes_too_much_memory_is_our_own_bug() -> None:
    """Everybody would refuse it and cut us."""
    envelopes = [each for n in range(4) for each in FORMAT.open(bombs(1), bytes([n]) * 32, 1).envelopes]
    with pytest.raises(InvariantViolation, match="bound of memory"):
        FORMAT.seal(1, 0, envelopes)
