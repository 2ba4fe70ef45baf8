"""Evidence: two statements of one key that contradict each other. No honest validator ever signs both.

Rules:

1. What contradicts what (`Offence`), always of one validator, one epoch and one view:

   * two proposals with different block hashes;
   * two votes of one phase for different blocks (height or hash);
   * two timeouts that report different highest QCs.

2. Whoever has the chain id and the keys of that epoch can judge it. The fields that were signed stand in the evidence;
   no block and no certificate is needed.
3. The halves are in ascending order of their statements' encoding, and differ in them. So a contradiction is written
   in one way, and its id, which covers the statements but not the signatures, names it: another signature of the same
   statement, or a malleated one, makes no second evidence.
4. An *offence* is the validator, epoch, view and kind. Three rival blocks are three contradictions and one offence.

Wire: ``[kind, epoch, view, phase, validator, [statement, signature], [statement, signature]]``. A statement is
``[block_hash]``, ``[height, block_hash]`` or ``[high_qc_view]``; the phase is 0 but for votes; the validator is its
place in the set of the epoch.

Source: Sheng, Wang, Nayak, Kannan, Viswanath, "BFT Protocol Forensics", CCS 2021: for this family of protocols two
statements of one view suffice to hold more than a third of the power to account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Any, Final

from genesis.codec import Shape, choice, decode, encode, integer, record, uint
from genesis.errors import Rejected
from genesis.hashing import Domain, digest
from genesis.params import VALIDATORS_MAX
from genesis.signing import first_invalid
from genesis.statements import Phase, proposal_message, timeout_message, vote_message
from genesis.values import DIGEST, SIGNATURE

EVIDENCE_BYTES_MAX: Final = 512
EPOCH_MAX: Final = 2**32
VIEW_MAX: Final = 2**48


@unique
class Offence(IntEnum):
    """The kind of the two statements."""

    PROPOSAL = 1
    VOTE = 2
    TIMEOUT = 3


@dataclass(frozen=True, slots=True)
class Half:
    """One of the two statements: the fields that only it has, and its signature.

    `statement` is ``(block_hash,)``, ``(height, block_hash)`` or ``(high_qc_view,)``, by the kind of offence.
    """

    statement: tuple[Any, ...]
    signature: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """A contradiction that is well-formed; `verify_evidence` says whether it is genuine.

    Attributes:
        offence: The kind of both statements.
        epoch, view: What both were signed for.
        phase: The phase of both votes; `Phase.CERTIFY` for the other kinds.
        validator: The signer's place in the validator set of `epoch`.
        first, second: The statements, in ascending order of their encoding (rule 3).
    """

    offence: Offence
    epoch: int
    view: int
    phase: Phase
    validator: int
    first: Half
    second: Half

    @property
    def id(self) -> bytes:
        """``H(EVIDENCE, ...)`` over all but the signatures: what gossip and mempools tell evidence apart by."""
        statements = (self.first.statement, self.second.statement)
        return digest(Domain.EVIDENCE, encode((*_head(self), *statements)))


def make_evidence(
    offence: Offence, epoch: int, view: int, validator: int, one: Half, other: Half, phase: Phase = Phase.CERTIFY
) -> Evidence:
    """Evidence of two statements in either order.

    Raises:
        Rejected: ``no_contradiction`` when the statements are the same.
    """
    first, second = sorted((one, other), key=_order)
    evidence = Evidence(offence, epoch, view, phase, validator, first, second)
    _require_contradiction(evidence)
    return evidence


def encode_evidence(evidence: Evidence) -> bytes:
    """The canonical bytes, at most `EVIDENCE_BYTES_MAX`."""
    halves = ((half.statement, half.signature) for half in (evidence.first, evidence.second))
    return encode((*_head(evidence), *halves))


def decode_evidence(data: bytes) -> Evidence:
    """The inverse of `encode_evidence`. Nothing is verified yet.

    Raises:
        Rejected: ``too_large``, ``malformed``, ``no_contradiction``.
    """
    kind, epoch, view, phase, validator, first, second = decode(data, _WIRE, size_max=EVIDENCE_BYTES_MAX)
    evidence = Evidence(Offence(kind), epoch, view, Phase(phase), validator, Half(*first), Half(*second))
    _require_contradiction(evidence)
    if _order(evidence.first) > _order(evidence.second):
        raise Rejected("malformed", "The statements are not in ascending order.", id=evidence.id.hex())
    return evidence


def verify_evidence(evidence: Evidence, chain_id: bytes, public_keys: Sequence[bytes]) -> None:
    """Check that one of these keys signed both statements.

    Args:
        evidence: As `decode_evidence` or `make_evidence` gave it.
        chain_id: The chain on which the statements were made.
        public_keys: The keys of the validators of the evidence's epoch, in the order of the set.

    Raises:
        Rejected: ``unknown_validator``, ``bad_signature``.
    """
    if evidence.validator >= len(public_keys):
        raise Rejected(
            "unknown_validator",
            "The validator set of that epoch has no such place.",
            index=evidence.validator,
            validators=len(public_keys),
        )
    key = public_keys[evidence.validator]
    halves = (evidence.first, evidence.second)
    wrong = first_invalid((key, _message(evidence, chain_id, half), half.signature) for half in halves)
    if wrong is not None:
        raise Rejected(
            "bad_signature", "The validator did not sign this statement.", statement=wrong, validator=key.hex()
        )


def _message(evidence: Evidence, chain_id: bytes, half: Half) -> bytes:
    epoch, view = evidence.epoch, evidence.view
    if evidence.offence is Offence.PROPOSAL:
        return proposal_message(chain_id, epoch, view, *half.statement)
    if evidence.offence is Offence.VOTE:
        return vote_message(chain_id, epoch, view, evidence.phase, *half.statement)
    return timeout_message(chain_id, epoch, view, *half.statement)


def _head(evidence: Evidence) -> tuple[int, ...]:
    return (int(evidence.offence), evidence.epoch, evidence.view, int(evidence.phase), evidence.validator)


def _order(half: Half) -> bytes:
    return encode(half.statement)


def _require_contradiction(evidence: Evidence) -> None:
    if evidence.first.statement == evidence.second.statement:
        raise Rejected("no_contradiction", "Both halves say the same.", id=evidence.id.hex())


def _form(offence: Offence, phase_max: int, statement: Shape) -> Shape:
    half = record(statement, SIGNATURE)
    kind = integer(int(offence), int(offence))
    return record(
        kind,
        integer(0, EPOCH_MAX),
        integer(0, VIEW_MAX),
        integer(0, phase_max),
        integer(0, VALIDATORS_MAX - 1),
        half,
        half,
    )


_FORMS: Final[dict[int, Shape]] = {
    int(Offence.PROPOSAL): _form(Offence.PROPOSAL, 0, record(DIGEST)),
    int(Offence.VOTE): _form(Offence.VOTE, int(max(Phase)), record(uint(48), DIGEST)),
    int(Offence.TIMEOUT): _form(Offence.TIMEOUT, 0, record(integer(0, VIEW_MAX))),
}

_WIRE: Final = choice(_FORMS)
