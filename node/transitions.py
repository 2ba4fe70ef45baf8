"""The changes of the validator set as this node can show them: made at each edge, found again for whoever asks.

Rules:

1. At the edge of an epoch the state is the one that the closing header certifies. The buckets of the sets' rows are
   taken then, and kept with the end of the epoch: no later state could show them under that root.
2. What is kept is never pruned, and small: a bucket for each epoch, a link for each change.
3. A node that joined by a snapshot has no link from before the block that it trusted, and says so. The headers of a
   start may be pruned; then a later block of trust is needed, or somebody who keeps more.
"""

from __future__ import annotations

from typing import Final

from consensus.types import Header
from contracts.edge import validator_set_key
from contracts.state import State
from genesis.epochs import edge_height, epoch_of_block
from genesis.errors import Rejected, invariant
from node.set_history import (
    HISTORY_BYTES_MAX,
    LINKS_MAX,
    START_HEADERS_MAX,
    History,
    Link,
    Start,
    decode_bucket,
    decode_link,
    encode_bucket,
    encode_link,
)
from node.store import Store
from node.store_records import ClosedEpoch
from node.trust import TrustedBlock

_START_BYTES_MAX: Final = HISTORY_BYTES_MAX // 4
"""What the headers of a start may take."""

_LINKS_BYTES_MAX: Final = HISTORY_BYTES_MAX // 2
"""What links may take; the rest of a history is for the bucket of its start."""


def transition_of(state: State, epoch: int, closed: ClosedEpoch) -> tuple[bytes, bytes | None]:
    """What `Store.put_closed` keeps besides how an epoch ended (rule 1).

    Args:
        state: The state after the edge of `epoch`.
        epoch: The epoch that is over.
        closed: How it ended.
    """
    header = closed.closing[-1].header
    invariant(
        (state.root, header.anchor.state_root) == (closed.state_root, closed.state_root),
        "an epoch is closed by a header that names the state after its edge",
        epoch=epoch,
    )
    old, new = validator_set_key(state, epoch), validator_set_key(state, epoch + 1)
    next_set = state.prove(new)
    if old == new:
        return encode_bucket(next_set), None
    buckets = {each.bucket: each for each in (state.prove(old), next_set)}
    link = Link(header, closed.qc, tuple(buckets[each] for each in sorted(buckets)))
    return encode_bucket(next_set), encode_link(link)


def own_block(store: Store, height: int) -> TrustedBlock:
    """The block of this height as this node knows it.

    Raises:
        Rejected: ``unknown_block``, ``pruned``.
    """
    block = store.committed(height)
    if block is None:
        raise Rejected("unknown_block", "No block of this height is committed here.", height=height)
    return TrustedBlock(block.height, block.block_hash)


def history_for(store: Store, epoch_blocks: int, trusted_height: int, epoch: int) -> History:
    """What leads from a trusted height (0: the genesis document) to the validators of `epoch`. Blocks.

    Raises:
        Rejected: ``transitions_not_kept`` (rule 3); ``too_many_transitions``; ``too_far_from_edge``; and as
            `own_block`.
    """
    first = epoch_of_block(trusted_height, epoch_blocks)
    if first < store.linked_since:
        raise Rejected(
            "transitions_not_kept",
            "This node joined by a snapshot and does not keep the changes of the validators from before.",
            from_epoch=first,
            kept_since_epoch=store.linked_since,
        )
    start = _start(store, trusted_height, first, edge_height(first - 1, epoch_blocks)) if first else None
    return History(start, links_from(store, first, epoch))


def reads_max(epoch_blocks: int, trusted_height: int) -> int:
    """How many records `history_for` reads at most, whether it then shows anything or not."""
    epoch = epoch_of_block(trusted_height, epoch_blocks)
    headers = trusted_height - edge_height(epoch - 1, epoch_blocks) if epoch else 0
    return LINKS_MAX + 1 + min(headers, START_HEADERS_MAX)


def first_links(store: Store, from_epoch: int) -> tuple[bytes, ...]:
    """The links from the edge of `from_epoch` on as they are kept, as many as one answer holds. Blocks."""
    links: list[bytes] = []
    size = 0
    for data in store.links(from_epoch):
        size += len(data)
        if len(links) == LINKS_MAX or size > _LINKS_BYTES_MAX:
            break
        links.append(data)
    return tuple(links)


def links_from(store: Store, from_epoch: int, epoch: int) -> tuple[Link, ...]:
    """The links of the edges from that of `from_epoch` to the one before `epoch`.

    Raises:
        Rejected: ``too_many_transitions``.
    """
    links: list[Link] = []
    size = 0
    for data in store.links(from_epoch):
        link = decode_link(data)
        if link.header.epoch >= epoch:
            break
        size += len(data)
        if len(links) == LINKS_MAX or size > _LINKS_BYTES_MAX:
            raise Rejected(
                "too_many_transitions",
                "Since that height the validators have changed more often than one answer can show.",
                shown_to_epoch=links[-1].header.epoch + 1 if links else from_epoch,
                epoch=epoch,
            )
        links.append(link)
    return tuple(links)


def _start(store: Store, height: int, epoch: int, base_height: int) -> Start:
    """From a trusted block, anchor by anchor, down to the edge below its epoch."""
    kept = store.next_set(epoch - 1)
    bucket = decode_bucket(kept) if kept is not None else None
    headers: list[Header] = []
    size = 0
    block_hash = own_block(store, height).block_hash
    while bucket is None or not headers or headers[-1].anchor.height != base_height:
        proposal = store.proposal(block_hash)
        if proposal is None or bucket is None:
            store.check_kept(base_height + 1)
            raise Rejected("transitions_not_kept", "What leads down from this block is not kept here.", height=height)
        headers.append(proposal.header)
        size += 512 + 40 * len(proposal.header.payload)
        if len(headers) > START_HEADERS_MAX or size > _START_BYTES_MAX:
            message = "This block is too far above the edge of an epoch to start from."
            raise Rejected("too_far_from_edge", message, height=height, edge_height=base_height)
        block_hash = proposal.header.anchor.block_hash
    return Start(tuple(headers), bucket)
