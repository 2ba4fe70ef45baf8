"""What replicas say to each other, and what each statement's signature covers.

A *statement* is signed by one replica: a proposal, a vote, a timeout. A *certificate* is a quorum of them.
`genesis.statements` states what each signature covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from genesis.codec import encode
from genesis.hashing import ZERO_DIGEST, Domain, digest
from genesis.statements import Phase, proposal_message, timeout_message, vote_message

ReplicaIndex = int
"""A validator's place in the validator set of its epoch, from 0."""

OBSERVER: Final[ReplicaIndex] = -1
"""The index of who follows an epoch and signs nothing in it: no member, or one that has signed in a later epoch."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The highest block that a header's own ancestry commits, and the state root after it."""

    height: int
    block_hash: bytes
    state_root: bytes


@dataclass(frozen=True)
class Header:
    """One block, without the signatures around it. `payload` is opaque here: the digests of what the block orders.

    Attributes:
        epoch: The validator set that decides it.
        height: One more than the parent's.
        view: The view whose leader made it; strictly above `parent_view`.
        proposer: That leader.
        parent_hash, parent_view: The certified block it extends, and the view of the certificate.
        time_unix_ms: Block time, strictly above the parent's.
        anchor: The certified root (rule C8 of docs/PROTOCOL.md).
        payload: Digests of 32 bytes each, in the order in which they execute.
    """

    epoch: int
    height: int
    view: int
    proposer: ReplicaIndex
    parent_hash: bytes
    parent_view: int
    time_unix_ms: int
    anchor: Anchor
    payload: tuple[bytes, ...]

    @cached_property
    def block_hash(self) -> bytes:
        """``H(BLOCK, header)``: the block's name."""
        anchor = self.anchor
        return digest(
            Domain.BLOCK,
            encode(
                [
                    self.epoch,
                    self.height,
                    self.view,
                    self.proposer,
                    self.parent_hash,
                    self.parent_view,
                    self.time_unix_ms,
                    [anchor.height, anchor.block_hash, anchor.state_root],
                    self.payload,
                ]
            ),
        )


@dataclass(frozen=True, slots=True)
class QC:
    """A quorum certificate: a quorum gave this block a vote of this phase in this view. The genesis QC has view 0, the
    phase of HotStuff and no signatures."""

    epoch: int
    view: int
    phase: Phase
    height: int
    block_hash: bytes
    signatures: tuple[tuple[ReplicaIndex, bytes], ...]

    @property
    def rank(self) -> tuple[int, int]:
        """Of two certificates the higher one; in one view, what is committed stands above what is prepared."""
        return self.view, self.phase

    @property
    def leads_to(self) -> int:
        """The view in which its holder is: its own while the block is only prepared, else the one behind it."""
        return self.view if self.phase is Phase.PREPARE else self.view + 1


@dataclass(frozen=True, slots=True)
class TimeoutSignature:
    """One replica's share of a TC: it gave up the view, and its highest QC then was of `high_qc_view`."""

    voter: ReplicaIndex
    high_qc_view: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class TC:
    """A timeout certificate: a quorum gave up this view. `high_qc` is the highest that its signers signed for."""

    epoch: int
    view: int
    high_qc: QC
    signatures: tuple[TimeoutSignature, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """A replica's vote for one block in one view and phase. Unsigned (the signature empty) until the shell has signed
    it."""

    epoch: int
    view: int
    phase: Phase
    height: int
    block_hash: bytes
    voter: ReplicaIndex
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Timeout:
    """A replica gives up a view, which it does once. `tc` justifies being there when `high_qc` alone does not."""

    epoch: int
    view: int
    high_qc: QC
    tc: TC | None
    voter: ReplicaIndex
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A leader's block with the QC it extends and, when the previous view failed, the TC that allows it.

    `view` is the leader's. In HotStuff it is the header's, in PBFT it may be a later one: see `pbft.safety`.
    """

    view: int
    header: Header
    justify: QC
    tc: TC | None
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Certificates:
    """The best certificates a replica knows, sent on a fixed beat so that nobody stays behind for a lost message."""

    high_qc: QC
    high_tc: TC | None


Statement = Vote | Timeout | Proposal
Message = Vote | Timeout | Proposal | Certificates


def genesis_qc(genesis_block_hash: bytes) -> QC:
    """The certificate of block 0, which needs no votes: its hash is in the chain id's definition."""
    return QC(0, 0, Phase.CERTIFY, 0, genesis_block_hash, ())


def base_qc(epoch: int, base: Header) -> QC:
    """The certificate with which an epoch begins, of the block that it stands on. It needs no votes: whoever is in the
    epoch has seen the epoch before decide that block."""
    return QC(epoch, 0, Phase.CERTIFY, base.height, base.block_hash, ())


def epoch_of(message: Message) -> int:
    """The epoch that a message belongs to."""
    match message:
        case Proposal():
            return message.header.epoch
        case Certificates():
            return message.high_qc.epoch
    return message.epoch


def genesis_header(chain_id: bytes, time_unix_ms: int, state_root: bytes) -> Header:
    """Block 0: height 0, view 0, its own anchor's root the state before the first block, its parent the chain id."""
    return Header(0, 0, 0, 0, chain_id, 0, time_unix_ms, Anchor(0, ZERO_DIGEST, state_root), ())


def signing_message(chain_id: bytes, statement: Statement) -> bytes:
    """What the signature of any statement covers."""
    match statement:
        case Vote():
            return vote_message(
                chain_id, statement.epoch, statement.view, statement.phase, statement.height, statement.block_hash
            )
        case Timeout():
            return timeout_message(chain_id, statement.epoch, statement.view, statement.high_qc.view)
        case Proposal():
            return proposal_message(chain_id, statement.header.epoch, statement.view, statement.header.block_hash)
