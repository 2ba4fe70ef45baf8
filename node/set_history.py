"""The way from a validator set that is trusted to that of a later epoch, set by set, each certified by the one before.

Rules:

1. *Link.* A header whose anchor is the edge of epoch c, certified by the set that decides epoch c; and under that
   anchor's root two entries: the row of that set, which says that c is its last epoch, and the row of the set that is
   in force from c + 1 on (`genesis.validator_sets`).
2. Epochs whose edges changed nothing need no link. The row of the old set says from which epoch to which it decided,
   so a link shows for every epoch since the set's first that nobody else did. A change that is left out shows: the
   next link does not begin with the row of the set that is known (`skipped_transition`).
3. *Standing.* Whatever is certified in a later epoch than 0 comes with the row of its set under the same root, which
   says that the set decides that epoch. So a set that the chain replaced without our knowledge does not pass either.
4. Why that is enough: a quorum of a set holds an honest validator, and that one votes for a header only after it has
   found the header's root itself. So rows under such a root are true, whichever epoch the header is of. Who holds the
   keys of a quorum of retired validators can forge links; a trusted block alone helps against that (rule 5).
5. *Start.* Who trusts a block of a later epoch than 0 believes no link below it. It is shown headers instead, from that
   block down: each named as its anchor by the one before, to one whose anchor is the edge of the epoch before; and
   under that root the row of the set of the block's epoch. A hash is all that this rests on, and no key.

Everything is bounded: links, headers of a start, bytes. Pure, as `node.trust`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from consensus.types import QC, Header
from consensus.wire import MESSAGE_BYTES_MAX, decode_header, decode_qc, encode_header, encode_qc
from contracts.merkle_proof import ENTRY_BYTES_MAX, BucketProof, bucket_of, proved_entries
from genesis.codec import ARRAY_LENGTH_MAX, decode, encode, integer, optional, raw, record, sequence
from genesis.epochs import edge_height, epoch_after_block
from genesis.errors import Rejected
from genesis.validator_sets import StoredValidatorSet, decode_validator_set, validator_set_key
from genesis.values import DIGEST
from node.trust import Reign, Trust, TrustedBlock, certified_anchor

LINKS_MAX: Final = 256
"""Changes of the validator set that one answer shows."""

START_HEADERS_MAX: Final = 4_096
LINK_BYTES_MAX: Final = 2**21
HISTORY_BYTES_MAX: Final = 2**22

_DEPTH_MAX: Final = 24
BUCKET: Final = record(
    integer(0, 2**_DEPTH_MAX - 1),
    sequence(raw(1, 2 * ENTRY_BYTES_MAX), 0, ARRAY_LENGTH_MAX),
    sequence(DIGEST, 0, _DEPTH_MAX),
)
"""The shape of an encoded `BucketProof`."""

_LINK: Final = record(raw(1, MESSAGE_BYTES_MAX), raw(1, MESSAGE_BYTES_MAX), sequence(BUCKET, 1, 2))
_START: Final = record(sequence(raw(1, MESSAGE_BYTES_MAX), 1, START_HEADERS_MAX), BUCKET)
_HISTORY: Final = record(optional(_START), sequence(raw(1, LINK_BYTES_MAX), 0, LINKS_MAX))


@dataclass(frozen=True, slots=True)
class Link:
    """Rule 1; unverified.

    Attributes:
        header: A header of the old set's last epoch, whose anchor is the edge.
        qc: A certificate of it.
        buckets: Those of the two rows, ascending; one where both are in the same.
    """

    header: Header
    qc: QC
    buckets: tuple[BucketProof, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Rule 5; unverified.

    Attributes:
        headers: From the trusted block down.
        bucket: That of the row, under the root that the last header names.
    """

    headers: tuple[Header, ...]
    bucket: BucketProof


@dataclass(frozen=True, slots=True)
class History:
    """What leads from what is trusted to a later set: from the genesis document, or from a block. Unverified."""

    start: Start | None = None
    links: tuple[Link, ...] = ()


NOTHING: Final = History()


# --- bytes -----------------------------------------------------------------------------------------------------------


def bucket_value(bucket: BucketProof) -> list[Any]:
    """A bucket as it is encoded."""
    return [bucket.bucket, bucket.pairs, bucket.path]


def encode_bucket(bucket: BucketProof) -> bytes:
    """The bytes of a bucket."""
    return encode(bucket_value(bucket))


def decode_bucket(data: bytes) -> BucketProof:
    """The inverse of `encode_bucket`; raises `Rejected` (``malformed``)."""
    return BucketProof(*decode(data, BUCKET, size_max=LINK_BYTES_MAX))


def encode_link(link: Link) -> bytes:
    """The bytes of a link."""
    return encode([encode_header(link.header), encode_qc(link.qc), [bucket_value(each) for each in link.buckets]])


def decode_link(data: bytes) -> Link:
    """The inverse of `encode_link`; raises `Rejected` (``too_large``, ``malformed``)."""
    header, qc, buckets = decode(data, _LINK, size_max=LINK_BYTES_MAX)
    found = tuple(BucketProof(*each) for each in buckets)
    if any(left.bucket >= right.bucket for left, right in pairwise(found)):
        raise Rejected("malformed", "The buckets of a link stand in ascending order, each once.")
    return Link(decode_header(header), decode_qc(qc), found)


def encode_history(history: History) -> bytes:
    """The bytes of a history."""
    start = history.start
    shown = None if start is None else [[encode_header(each) for each in start.headers], bucket_value(start.bucket)]
    return encode([shown, [encode_link(each) for each in history.links]])


def encode_links(links: Sequence[bytes]) -> bytes:
    """The bytes of a history that has no start, from its links as `encode_link` makes them."""
    return encode([None, links])


def decode_history(data: bytes) -> History:
    """The inverse of `encode_history`; raises `Rejected` (``too_large``, ``malformed``)."""
    shown, links = decode(data, _HISTORY, size_max=HISTORY_BYTES_MAX)
    start = None
    if shown is not None:
        headers, bucket = shown
        start = Start(tuple(decode_header(each) for each in headers), BucketProof(*bucket))
    return History(start, tuple(decode_link(each) for each in links))


# --- verifying -------------------------------------------------------------------------------------------------------


def follow(trust: Trust, history: History) -> Trust:
    """The same trust with the sets that this history shows.

    Raises:
        Rejected: ``bad_start``, ``no_start``; ``forged_transition``, ``skipped_transition``; and as
            `node.trust.certified_anchor`.
    """
    if history.start is not None:
        trust = _started(trust, history.start)
    for link in history.links:
        trust = _advanced(trust, link)
    return trust


def check_standing(trust: Trust, header: Header, standing: BucketProof | None) -> None:
    """Rule 3, for a header that is certified by the set that `trust` names.

    Raises:
        Rejected: ``skipped_transition``: under the root that the header certifies that set does not decide its epoch;
            ``bad_proof``.
    """
    if header.epoch == 0:
        if standing is not None:
            raise Rejected("bad_proof", "The genesis document names the validators of epoch 0, and nothing else does.")
        return
    reign, anchor = trust.reign(header.epoch), header.anchor
    if standing is None:
        raise Rejected("bad_proof", "Nothing shows that the set decides the header's epoch.", epoch=header.epoch)
    is_its_own = standing.bucket == _bucket(trust, reign.first_epoch)
    row = _rows(trust, (standing,), anchor.state_root, [reign.first_epoch])[0] if is_its_own else None
    state_epoch = epoch_after_block(anchor.height, trust.epoch_blocks)
    if row is None or row.members != reign.members or not row.decides(header.epoch, state_epoch):
        raise Rejected(
            "skipped_transition",
            "By its own root a header's epoch has other validators than those that certified it.",
            epoch=header.epoch,
            set_since_epoch=reign.first_epoch,
            last_epoch=-1 if row is None or row.last_epoch is None else row.last_epoch,
        )


def _started(trust: Trust, start: Start) -> Trust:
    epoch = trust.block_epoch
    if trust.block is None or epoch == 0:
        message = "This starts from a trusted block of a later epoch, and none is trusted."
        raise Rejected("bad_start", message, height=start.headers[0].height)
    _check_descent(trust, trust.block, start.headers)
    root = start.headers[-1].anchor.state_root
    entries = proved_entries(start.bucket, root, trust.document.limits.merkle_depth)
    sets = [found for key, value in entries.items() if (found := _row_of(key, value)) is not None]
    found = next((each for each in sets if each.decides(epoch, epoch)), None)
    if found is None:
        raise Rejected("bad_start", "The root below the trusted block shows no set of its epoch.", epoch=epoch)
    return replace(trust, shown=(Reign(found.first_epoch, None, found.members),))


def _check_descent(trust: Trust, block: TrustedBlock, headers: Sequence[Header]) -> None:
    top, bottom = headers[0], headers[-1]
    if (top.height, top.block_hash) != (block.height, block.block_hash):
        raise Rejected(
            "bad_start",
            "The start is another block than the trusted one.",
            height=top.height,
            block_hash=top.block_hash.hex(),
            trusted_height=block.height,
            trusted_hash=block.block_hash.hex(),
        )
    for above, below in pairwise(headers):
        if (above.anchor.height, above.anchor.block_hash) != (below.height, below.block_hash):
            raise Rejected("bad_start", "A header is not the anchor of the one above it.", height=below.height)
    base = edge_height(trust.block_epoch - 1, trust.epoch_blocks)
    if bottom.anchor.height != base:
        message = "The last header's anchor is not the edge below the trusted block's epoch."
        raise Rejected("bad_start", message, anchor=bottom.anchor.height, edge_height=base)


def _advanced(trust: Trust, link: Link) -> Trust:
    """One set further (rules 1 and 2). Whether it connects is asked before who signed it: that names the fault."""
    epoch, anchor = link.header.epoch, link.header.anchor
    if not trust.reigns:
        trust.reign(epoch)
    known = trust.reigns[-1]
    if epoch < known.first_epoch or anchor.height != edge_height(epoch, trust.epoch_blocks):
        raise Rejected(
            "forged_transition",
            "A link is of no edge that comes after the set that is known.",
            epoch=epoch,
            anchor=anchor.height,
            set_since_epoch=known.first_epoch,
        )
    shown = {found.bucket for found in link.buckets}
    if _bucket(trust, known.first_epoch) not in shown:
        raise _skipped(epoch, known)
    old, new = _rows(trust, link.buckets, anchor.state_root, [known.first_epoch, epoch + 1])
    if old is None:
        raise _skipped(epoch, known)
    if old.last_epoch is not None and old.last_epoch < epoch:
        raise _skipped(epoch, known)
    if old.members != known.members or old.last_epoch != epoch or new is None or new.last_epoch is not None:
        raise Rejected(
            "forged_transition",
            "A link does not show that the known set ends at its edge and another begins.",
            epoch=epoch,
            set_since_epoch=known.first_epoch,
        )
    certified_anchor(trust, link.header, link.qc)
    ended = replace(known, last_epoch=epoch)
    return replace(trust, shown=(*trust.reigns[:-1], ended, Reign(epoch + 1, None, new.members)))


def _skipped(epoch: int, known: Reign) -> Rejected:
    message = "Between the set that is known and this link another set decided."
    return Rejected("skipped_transition", message, epoch=epoch, set_since_epoch=known.first_epoch)


def _bucket(trust: Trust, first_epoch: int) -> int:
    return bucket_of(validator_set_key(first_epoch), trust.document.limits.merkle_depth)


def _rows(
    trust: Trust, buckets: Sequence[BucketProof], root: bytes, first_epochs: Sequence[int]
) -> list[StoredValidatorSet | None]:
    """The rows with these keys; the buckets are those of the keys, and no others.

    Raises:
        Rejected: ``bad_proof``, ``malformed``.
    """
    depth = trust.document.limits.merkle_depth
    if {each.bucket for each in buckets} != {_bucket(trust, each) for each in first_epochs}:
        raise Rejected("bad_proof", "A validator set is shown by other buckets than its row's.", shown=len(buckets))
    entries: dict[bytes, bytes] = {}
    for bucket in buckets:
        entries.update(proved_entries(bucket, root, depth))
    keys = [validator_set_key(each) for each in first_epochs]
    return [decode_validator_set(key, entries[key]) if key in entries else None for key in keys]


def _row_of(key: bytes, value: bytes) -> StoredValidatorSet | None:
    return decode_validator_set(key, value) if key[:1] == validator_set_key(0)[:1] else None
