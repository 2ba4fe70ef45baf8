"""What a validator's signature covers when it takes part in the agreement.

Stated here, below both cores, because two kinds of reader need it: the consensus cores, which make and check such
signatures, and the state machine, to which two contradicting ones are evidence.

Rules:

1. Every statement is signed over ``H(domain, encode([chain_id, epoch, view, ...]))``, one domain for each kind, so no
   statement of one kind, epoch or chain can stand for another.
2. The fields that follow say everything that two statements of one kind, epoch, view and phase can contradict each
   other in. Whoever holds the fields and the signatures can see a contradiction without the blocks they speak of.
"""

from __future__ import annotations

from enum import IntEnum, unique

from genesis.codec import encode
from genesis.hashing import Domain, digest


@unique
class Phase(IntEnum):
    """What a vote is for. HotStuff knows one kind of vote, PBFT two in each view."""

    CERTIFY = 0
    PREPARE = 1
    COMMIT = 2


def proposal_message(chain_id: bytes, epoch: int, view: int, block_hash: bytes) -> bytes:
    """What the signature of the leader of `view` covers, for the block of this hash."""
    return digest(Domain.PROPOSAL, encode([chain_id, epoch, view, block_hash]))


def vote_message(chain_id: bytes, epoch: int, view: int, phase: Phase, height: int, block_hash: bytes) -> bytes:
    """What a vote's signature covers."""
    return digest(Domain.VOTE, encode([chain_id, epoch, view, int(phase), height, block_hash]))


def timeout_message(chain_id: bytes, epoch: int, view: int, high_qc_view: int) -> bytes:
    """What the signature of a replica that gives `view` up covers: the view, and that of the highest QC it knows."""
    return digest(Domain.TIMEOUT, encode([chain_id, epoch, view, high_qc_view]))
