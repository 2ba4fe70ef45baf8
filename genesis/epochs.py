"""Which epoch decides a block.

An epoch is a span of heights with one validator set. Its edges are at fixed heights, so nobody has to announce them:

1. Epoch ``e`` decides the blocks ``e * L + 1`` to ``(e + 1) * L``, where L is `epoch_blocks`. Block 0 counts to
   epoch 0.
2. The last of them is the epoch's *edge*. The state after it holds the validator set of epoch ``e + 1``; the
   validators of epoch ``e`` commit it, and that is the announcement.
"""

from __future__ import annotations


def epoch_of_block(height: int, epoch_blocks: int) -> int:
    """The epoch whose validators decide the block at `height`."""
    return (height - 1) // epoch_blocks if height else 0


def epoch_after_block(height: int, epoch_blocks: int) -> int:
    """The epoch that decides the block after `height`: the one that the state after `height` names."""
    return height // epoch_blocks


def is_edge(height: int, epoch_blocks: int) -> bool:
    """Whether the block at `height` is the last of its epoch."""
    return height > 0 and height % epoch_blocks == 0


def edge_height(epoch: int, epoch_blocks: int) -> int:
    """The last height of `epoch`."""
    return (epoch + 1) * epoch_blocks


def first_height(epoch: int, epoch_blocks: int) -> int:
    """The first height of `epoch`."""
    return epoch * epoch_blocks + 1
