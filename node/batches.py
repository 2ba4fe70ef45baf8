"""Batches: envelopes by the hundred under one digest, so that a block of a kilobyte can order thousands of them.

Rules:

1. Wire: ``[author, sequence, [envelope, ...]]``, each envelope its exact wire bytes; the digest is ``H(BATCH, wire)``.
2. A batch is taken whole or not at all: its author vouched for every envelope in it, so one that is malformed, of
   another chain, or carries a bad signature refuses the batch.
3. A batch that reaches `Batch` has been verified here, once; nobody decodes or verifies it again while it lives.
4. It is kept as it came and decoded, and says how much memory that takes, at most (`memory_bytes`): from three times
   its wire up to thirty times and more for an author that means harm, since two bytes can decode into a tuple of 72.
   So that is bounded too, `MEMORY_FACTOR` times the bound of its wire: a batch that goes beyond is none, and no more of
   it is decoded than that and one envelope. A lone envelope is a batch whatever it takes; its own bound limits that.

Opening a batch is plain computation without shared state, so it may run in any thread; the signatures are checked off
the interpreter lock (`node.signatures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from genesis.codec import Shape, Value, decode, encode, integer, raw, record, sequence, uint
from genesis.envelope import Envelope, UnverifiedEnvelope, decode_envelope, verify_all
from genesis.errors import Rejected, invariant
from genesis.hashing import Domain, digest
from genesis.params import ChainParams
from node.signatures import first_invalid

WIRE_OVERHEAD_BYTES: Final = 32
"""At most this much around the envelopes, and `ENVELOPE_OVERHEAD_BYTES` around each."""

ENVELOPE_OVERHEAD_BYTES: Final = 5
WRONG_AUTHOR: Final = "wrong_author"

COPIES: Final = 3
"""A batch's wire, its envelopes' wires, and the bytes and texts of their operations: each at most the first's size."""

ENVELOPE_MEMORY_BYTES: Final = 1_024
"""An envelope's object, tuples, id, keys and signatures, at most."""

VALUE_MEMORY_BYTES: Final = 72
"""A value's object and its place in a tuple, at most: an array's header is the largest."""

MEMORY_FACTOR: Final = 6
"""Twice what a full batch of large envelopes takes; a full one of the smallest trades would take sixteen times its
wire, and becomes three batches."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A verified batch.

    Attributes:
        digest: ``H(BATCH, wire)``.
        wire: The exact bytes.
        author: The index of the validator that made it.
        sequence: Its place among its author's batches; informative, nothing depends on it.
        envelopes: In the order in which they execute.
        expires_at_unix_ms: The block time from which all of its envelopes are dead.
        memory_bytes: What all this takes, at most (rule 4).
    """

    digest: bytes
    wire: bytes
    author: int
    sequence: int
    envelopes: tuple[Envelope, ...]
    expires_at_unix_ms: int
    memory_bytes: int


class BatchFormat:
    """What a batch of this chain must look like: opens the bytes of others and seals our own."""

    def __init__(self, chain_id: bytes, params: ChainParams, validators: int) -> None:
        self._chain_id = chain_id
        self.params = params
        envelope = raw(1, params.envelope_bytes_max)
        self._shape: Shape = record(
            integer(0, validators - 1), uint(64), sequence(envelope, 1, params.batch_envelopes_max)
        )

    def digest(self, wire: bytes) -> bytes:
        """The name of a batch.

        Raises:
            Rejected: ``too_large``, before anything is hashed.
        """
        if len(wire) > self.params.batch_bytes_max:
            limit = self.params.batch_bytes_max
            raise Rejected("too_large", "A batch is over its size limit.", size=len(wire), size_max=limit)
        return digest(Domain.BATCH, wire)

    def open(self, wire: bytes, name: bytes, author: int | None) -> Batch:
        """Decode a peer's batch and verify every signature in it (about 55 us each).

        Args:
            wire: The bytes received.
            name: Their digest.
            author: Who must have made it, or None for anyone.

        Raises:
            Rejected: ``too_large``, ``malformed``, ``wrong_author``, ``bad_signature``, or a rule of the envelope.
        """
        made_by, number, envelopes = self._decode(wire)
        if author is not None and made_by != author:
            raise Rejected(WRONG_AUTHOR, "A validator sends only its own batches.", author=made_by, sender=author)
        return _batch(name, wire, made_by, number, verify_all(envelopes, first_invalid))

    def reopen(self, wire: bytes, name: bytes) -> Batch:
        """Decode a batch from our own store, where only verified batches are put."""
        made_by, number, envelopes = self._decode(wire)
        return _batch(name, wire, made_by, number, [Envelope(each) for each in envelopes])

    def seal(self, author: int, number: int, envelopes: Sequence[Envelope]) -> Batch:
        """Make a batch of our own from envelopes that were verified when they came in and fit into one batch.

        Raises:
            InvariantViolation: They do not fit: the batch maker counts their bytes, and genesis lets one always fit.
        """
        wire = encode([author, number, [each.wire for each in envelopes]])
        limit = self.params.batch_bytes_max
        invariant(len(wire) <= limit, "A batch of our own is within its size limit.", size=len(wire), size_max=limit)
        batch = _batch(self.digest(wire), wire, author, number, envelopes)
        is_light = len(envelopes) == 1 or batch.memory_bytes <= self.memory_bytes_max
        invariant(is_light, "A batch of our own is within its bound of memory.", memory_bytes=batch.memory_bytes)
        return batch

    @property
    def memory_bytes_max(self) -> int:
        """What a batch of several envelopes may take (rule 4)."""
        return MEMORY_FACTOR * self.params.batch_bytes_max

    def _decode(self, wire: bytes) -> tuple[int, int, list[UnverifiedEnvelope]]:
        author, number, wires = decode(wire, self._shape, size_max=self.params.batch_bytes_max)
        envelopes: list[UnverifiedEnvelope] = []
        memory_bytes = len(wire) - sum(map(len, wires))
        for each in wires:
            envelopes.append(decode_envelope(each, self._chain_id, self.params))
            memory_bytes += envelope_memory_bytes(envelopes[-1])
            if len(envelopes) > 1 and memory_bytes > self.memory_bytes_max:
                raise Rejected(
                    "too_large",
                    "A batch takes too much memory when it is decoded.",
                    envelopes=len(envelopes),
                    memory_bytes=memory_bytes,
                    memory_bytes_max=self.memory_bytes_max,
                )
        return author, number, envelopes


def _batch(name: bytes, wire: bytes, author: int, number: int, envelopes: Sequence[Envelope]) -> Batch:
    expires_at_unix_ms = max(each.expires_at_unix_ms for each in envelopes)
    return Batch(name, wire, author, number, tuple(envelopes), expires_at_unix_ms, _memory_bytes(wire, envelopes))


def _memory_bytes(wire: bytes, envelopes: Sequence[Envelope]) -> int:
    """Rule 4, in the visit that verifies it."""
    around = len(wire) - sum(len(each.wire) for each in envelopes)
    return around + sum(map(envelope_memory_bytes, envelopes))


def envelope_memory_bytes(envelope: UnverifiedEnvelope) -> int:
    """What an envelope adds to its batch's `memory_bytes`, but for the few bytes of the wire around it. About 1 us for
    a trade."""
    values = VALUE_MEMORY_BYTES * _values(envelope.operations)
    return COPIES * len(envelope.wire) + ENVELOPE_MEMORY_BYTES + values


def _values(array: Sequence[Value]) -> int:
    """How many values an array holds, those in nested ones included; envelopes bound the nesting."""
    return len(array) + sum(_values(each) for each in array if type(each) is tuple)
