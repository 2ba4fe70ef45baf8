"""A signed transaction: what its signers say, once, on one chain, until a moment.

Body: ``[chain_id, signers, operations, expires_at_unix_ms, salt]``. Wire: ``[body, signatures]``, the body as bytes, so
that what is hashed, signed and executed is byte for byte what was received.

Rules:

1. Every key in `signers` signs the envelope's id, ``H(ENVELOPE, body)``; the first signer is the sender. An operation
   that needs a second party's consent requires that party's key among the signers, so consent always covers the
   whole envelope: its operations, its expiry and its salt.
2. The operations apply all together or not at all.
3. The chain remembers an id until its expiry has passed, so an envelope executes at most once. No nonces: sessions of
   one member never wait for each other. The signatures are no part of the id, so malleating them gains nothing.
4. Operations are opaque here, ``(kind, field, ...)``, fields nested at most `OPERATION_DEPTH_MAX` deep;
   `contracts.operations` knows their shapes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NewType

from genesis.codec import Value, decode, describe, encode, raw, record, sequence, tree
from genesis.errors import Rejected
from genesis.hashing import Domain, digest
from genesis.params import ChainParams
from genesis.signing import Signed, SigningKey, first_invalid
from genesis.values import DIGEST, PUBLIC_KEY, SIGNATURE, UNIX_MS

SALT_BYTES: Final = 16
SIGNERS_MAX: Final = 4
OPERATION_DEPTH_MAX: Final = 4

Operation = tuple[Value, ...]
"""``(kind, field, ...)``; the kind is an integer."""


@dataclass(frozen=True, slots=True)
class UnverifiedEnvelope:
    """A well-formed envelope whose signatures nobody has checked yet.

    Attributes:
        wire: The exact bytes received.
        id: ``H(ENVELOPE, body)``, 32 bytes; what the signers sign.
        signers: One to four distinct public keys; the first is the sender.
        operations: One or more operations, opaque here.
        expires_at_unix_ms: The block time from which the envelope is dead.
        signatures: One for each signer, in the same order.
    """

    wire: bytes
    id: bytes
    signers: tuple[bytes, ...]
    operations: tuple[Operation, ...]
    expires_at_unix_ms: int
    signatures: tuple[bytes, ...]


Envelope = NewType("Envelope", UnverifiedEnvelope)
"""An envelope whose every signature has been verified; only `verify_all` and `verify_each` make one."""


_FIELDS: Final = tree(1 + OPERATION_DEPTH_MAX)


def _operation(value: Value) -> None:
    if type(value) is not tuple or not value or type(value[0]) is not int:
        raise Rejected("malformed", "An operation is an array that begins with its kind.", found=describe(value))
    _FIELDS(value)


_WIRE: Final = record(raw(1, 2**20), sequence(SIGNATURE, 1, SIGNERS_MAX))
_OPERATIONS_MAX: Final = 4096
_BODY: Final = record(
    DIGEST,
    sequence(PUBLIC_KEY, 1, SIGNERS_MAX),
    sequence(_operation, 1, _OPERATIONS_MAX),
    UNIX_MS,
    raw(SALT_BYTES),
)


def sign_envelope(
    chain_id: bytes,
    keys: Sequence[SigningKey],
    operations: Sequence[Operation],
    expires_at_unix_ms: int,
    salt: bytes,
) -> bytes:
    """Build and sign an envelope; returns its wire bytes. The first key is the sender's."""
    signers = [key.public_key for key in keys]
    body = encode([chain_id, signers, [list(each) for each in operations], expires_at_unix_ms, salt])
    envelope_id = digest(Domain.ENVELOPE, body)
    return encode([body, [key.sign(envelope_id) for key in keys]])


def decode_envelope(wire: bytes, chain_id: bytes, params: ChainParams) -> UnverifiedEnvelope:
    """Parse and bound an envelope; its signatures stay unchecked.

    Raises:
        Rejected: ``too_large``, ``malformed``, ``wrong_chain``, ``too_many_operations``, ``duplicate_signer`` or
            ``signature_count``.
    """
    body, signatures = decode(wire, _WIRE, size_max=params.envelope_bytes_max)
    chain, signers, operations, expires_at_unix_ms, _salt = decode(body, _BODY, size_max=params.envelope_bytes_max)
    if chain != chain_id:
        raise Rejected("wrong_chain", "Signed for another chain.", envelope=chain.hex(), chain=chain_id.hex())
    if len(operations) > params.envelope_operations_max:
        raise Rejected(
            "too_many_operations",
            "The envelope holds too many operations.",
            operations=len(operations),
            operations_max=params.envelope_operations_max,
        )
    if len(set(signers)) != len(signers):
        raise Rejected("duplicate_signer", "A key may sign an envelope only once.", signers=len(signers))
    if len(signatures) != len(signers):
        raise Rejected("signature_count", "Each signer signs once.", signers=len(signers), signatures=len(signatures))
    return UnverifiedEnvelope(wire, digest(Domain.ENVELOPE, body), signers, operations, expires_at_unix_ms, signatures)


FirstInvalid = Callable[[Sequence[Signed]], int | None]
"""The position of the first invalid signature, or None: `genesis.signing.first_invalid`, or a faster form of it."""


def verify_all(envelopes: Sequence[UnverifiedEnvelope], first_invalid: FirstInvalid = first_invalid) -> list[Envelope]:
    """Check every signature of every envelope; all or nothing.

    Raises:
        Rejected: ``bad_signature``, naming the first envelope (by position and id) that has an invalid one.
    """
    for position, outcome in enumerate(verify_each(envelopes, first_invalid, keep_going=False)):
        if isinstance(outcome, Rejected):
            raise Rejected(outcome.code, outcome.message, **outcome.details, position=position)
    return [Envelope(each) for each in envelopes]


def verify_each(
    envelopes: Sequence[UnverifiedEnvelope], first_invalid: FirstInvalid = first_invalid, *, keep_going: bool = True
) -> list[Envelope | Rejected]:
    """Check every signature of every envelope, each at most once; one outcome for each envelope, in order.

    Where `keep_going` is false the list ends with the first rejection. A rejection is ``bad_signature``, with the
    envelope's id and the signer.
    """
    signed = [
        (key, each.id, mark) for each in envelopes for key, mark in zip(each.signers, each.signatures, strict=True)
    ]
    owners = [position for position, each in enumerate(envelopes) for _ in each.signers]
    outcomes: list[Envelope | Rejected] = []
    at = 0
    while (wrong := first_invalid(signed[at:])) is not None:
        position = owners[at + wrong]
        outcomes += [Envelope(each) for each in envelopes[len(outcomes) : position]]
        outcomes.append(_bad_signature(envelopes[position], signed[at + wrong][0]))
        if not keep_going:
            return outcomes
        at = bisect_right(owners, position)
    outcomes += [Envelope(each) for each in envelopes[len(outcomes) :]]
    return outcomes


def _bad_signature(envelope: UnverifiedEnvelope, signer: bytes) -> Rejected:
    return Rejected(
        "bad_signature",
        "A signature does not match its key and envelope.",
        envelope=envelope.id.hex(),
        signer=signer.hex(),
    )
