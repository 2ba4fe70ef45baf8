"""What validators say to each other about snapshots, and what an offer must prove before a byte of state is asked for.

Rules:

1. *Offer* of the snapshot after block S: ``[version, level, [proposal, ...], qc]``: the blocks from S - 1 on, oldest
   first, each certified by the next one's justify and the last by the QC; 3 to `OFFER_BLOCKS_MAX` of them.
2. The last header names S, its hash and its state root as its anchor, one before it names S - 1; all are certified. So
   both roots are, which a node that starts at S has to know: the block S + 1 may be voted on at once.
3. What is certified below a trusted block is refused, and another block at its height (`node.trust`, rule 3).
4. With an offer comes what leads from the joiner's trusted block to the validators of the offer's epoch
   (`node.set_history`). Whoever sends it makes it for who asks; the snapshot itself does not hold it.
5. `level` is no more than a claim: whatever it is, each piece must lead to the certified root by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Final

from consensus.types import QC, Header, Proposal
from consensus.wire import decode_proposal, decode_qc, encode_proposal, encode_qc
from contracts.snapshot import LEVEL_MAX, PIECE_BYTES_MAX
from genesis.codec import boolean, decode, encode, integer, optional, raw, record, sequence, uint
from genesis.errors import Rejected
from node.frames import CONSENSUS_BYTES_MAX, OFFER_BYTES_MAX, RESPONSE_BYTES_MAX, SNAPSHOT_REQUEST_BYTES_MAX
from node.set_history import HISTORY_BYTES_MAX, NOTHING, History, decode_history, encode_history, follow
from node.trust import Reign, Trust, certified_anchor, check_certificate

OFFER_BLOCKS_MAX: Final = 8
"""HotStuff needs four where the views were consecutive, PBFT three."""

_VERSION: Final = 1
_OFFER: Final = record(
    integer(_VERSION, _VERSION),
    integer(0, LEVEL_MAX),
    sequence(raw(1, CONSENSUS_BYTES_MAX), 3, OFFER_BLOCKS_MAX),
    raw(1, CONSENSUS_BYTES_MAX),
)
_HEIGHT: Final = uint(48)
_PLACE: Final = uint(32)
_SNAPSHOT_REQUEST: Final = record(_HEIGHT)
_SNAPSHOT_OFFER: Final = record(_HEIGHT, optional(record(raw(1, OFFER_BYTES_MAX), raw(1, HISTORY_BYTES_MAX))))
_PIECE_REQUEST: Final = record(_HEIGHT, boolean, _PLACE)
_PIECE_RESPONSE: Final = record(_HEIGHT, boolean, _PLACE, optional(raw(1, PIECE_BYTES_MAX)))
_PRUNED: Final = record(_HEIGHT, _HEIGHT)


class PieceKind(IntEnum):
    """Of which sequence a piece is."""

    SLICE = 0
    REPLAY = 1


@dataclass(frozen=True, slots=True)
class PieceName:
    """One piece of one snapshot: the snapshot's height, which sequence, which place in it."""

    height: int
    kind: PieceKind
    place: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A snapshot, and what certifies it (rule 1). Unverified until `check_offer` has been asked.

    Attributes:
        level: The state has ``2**level`` slices.
        proposals: The blocks from S - 1 to the one whose header names S as its anchor.
        qc: The certificate of the last.
        history: Rule 4; not among the bytes of the offer itself.
    """

    level: int
    proposals: tuple[Proposal, ...]
    qc: QC
    history: History = NOTHING

    @property
    def header(self) -> Header:
        """The header of block S."""
        return self.proposals[1].header

    @property
    def height(self) -> int:
        """S."""
        return self.header.height

    @property
    def state_root(self) -> bytes:
        """The root after block S, as the last header names it."""
        return self.proposals[-1].header.anchor.state_root

    @property
    def root_before(self) -> bytes:
        """The root after block S - 1, as a header before the last names it."""
        anchors = (each.header.anchor for each in self.proposals)
        return next(anchor.state_root for anchor in anchors if anchor.height == self.height - 1)

    @property
    def certificates(self) -> tuple[QC, ...]:
        """A certificate of each block."""
        return (*(each.justify for each in self.proposals[1:]), self.qc)

    @property
    def identity(self) -> tuple[int, bytes, bytes, int]:
        """What two peers agree on whose pieces may be mixed; certificates may hold other votes with each of them."""
        return (self.height, self.header.block_hash, self.state_root, self.level)


def encode_offer(offer: Offer) -> bytes:
    """The bytes of an offer."""
    return encode([_VERSION, offer.level, [encode_proposal(each) for each in offer.proposals], encode_qc(offer.qc)])


def decode_offer(data: bytes) -> Offer:
    """The inverse of `encode_offer`; raises `Rejected` (``too_large``, ``malformed``)."""
    _, level, proposals, qc = decode(data, _OFFER, size_max=OFFER_BYTES_MAX)
    return Offer(level, tuple(decode_proposal(each) for each in proposals), decode_qc(qc))


def check_offer(trust: Trust, offer: Offer) -> Reign:
    """Rules 2 to 4; returns the set that certifies the offer.

    That it is the set of its epoch is for the state to confirm, once that is here (`node.set_history`, rule 3).

    Raises:
        Rejected: ``bad_snapshot``, and as `node.set_history.follow` and `node.trust.certified_anchor`.
    """
    if not are_offerable([each.header for each in offer.proposals]):
        raise Rejected("bad_snapshot", "The blocks of a snapshot do not show its root.", height=offer.height)
    trust = follow(trust, offer.history)
    # The blocks below are shown by their hashes; their own certificates are kept, so they are checked as well.
    any_height = replace(trust, block=None, shown=trust.reigns)
    for proposal, qc in zip(offer.proposals, offer.certificates, strict=True):
        check_certificate(any_height, proposal.header, qc)
    certified_anchor(trust, offer.proposals[-1].header, offer.qc)
    return trust.reign(offer.header.epoch)


def are_offerable(headers: Sequence[Header]) -> bool:
    """Rule 2 of these headers, and that each is the parent of the next, in one epoch: at an edge what certifies a block
    is not what the next one extends."""
    before, at, *_, last = headers
    anchors = [(each.anchor.height, each.anchor.block_hash) for each in headers]
    return (
        before.height >= 1
        and before.epoch == last.epoch
        and all(
            (child.parent_hash, child.height) == (parent.block_hash, parent.height + 1)
            for parent, child in pairwise(headers)
        )
        and last.height > at.height
        and anchors[-1] == (at.height, at.block_hash)
        and (before.height, before.block_hash) in anchors
    )


# --- frames ----------------------------------------------------------------------------------------------------------


def encode_snapshot_request(height_min: int) -> bytes:
    """Asks for the offer of the highest snapshot, not below this height."""
    return encode([height_min])


def decode_snapshot_request(payload: bytes) -> int:
    """The inverse of `encode_snapshot_request`; raises `Rejected` (``malformed``)."""
    [height_min] = decode(payload, _SNAPSHOT_REQUEST, size_max=SNAPSHOT_REQUEST_BYTES_MAX)
    return int(height_min)


def encode_snapshot_offer(height_min: int, offer: bytes | None, history: History = NOTHING) -> bytes:
    """Answers a request: the encoded offer with its history, or None for "I have none"."""
    return encode([height_min, None if offer is None else [offer, encode_history(history)]])


def decode_snapshot_offer(payload: bytes) -> tuple[int, Offer | None]:
    """The inverse of `encode_snapshot_offer`, the offer decoded; raises `Rejected` (``malformed``)."""
    height_min, found = decode(payload, _SNAPSHOT_OFFER, size_max=OFFER_BYTES_MAX + HISTORY_BYTES_MAX)
    if found is None:
        return height_min, None
    offer, history = found
    return height_min, replace(decode_offer(offer), history=decode_history(history))


def encode_piece_request(name: PieceName) -> bytes:
    """Asks for a piece."""
    return encode([name.height, name.kind is PieceKind.REPLAY, name.place])


def decode_piece_request(payload: bytes) -> PieceName:
    """The inverse of `encode_piece_request`; raises `Rejected` (``malformed``)."""
    height, is_replay, place = decode(payload, _PIECE_REQUEST, size_max=SNAPSHOT_REQUEST_BYTES_MAX)
    return PieceName(height, PieceKind(is_replay), place)


def encode_piece(name: PieceName, data: bytes | None) -> bytes:
    """Answers a request: the piece, or None for "I do not have it"."""
    return encode([name.height, name.kind is PieceKind.REPLAY, name.place, data])


def decode_piece(payload: bytes) -> tuple[PieceName, bytes | None]:
    """The inverse of `encode_piece`; raises `Rejected` (``malformed``)."""
    height, is_replay, place, data = decode(payload, _PIECE_RESPONSE, size_max=RESPONSE_BYTES_MAX + CONSENSUS_BYTES_MAX)
    return PieceName(height, PieceKind(is_replay), place), data


def encode_pruned(from_height: int, lowest_height: int) -> bytes:
    """Answers a request for blocks: they are gone; what is kept begins at `lowest_height`."""
    return encode([from_height, lowest_height])


def decode_pruned(payload: bytes) -> tuple[int, int]:
    """The inverse of `encode_pruned`; raises `Rejected` (``malformed``)."""
    from_height, lowest_height = decode(payload, _PRUNED, size_max=SNAPSHOT_REQUEST_BYTES_MAX)
    return from_height, lowest_height
