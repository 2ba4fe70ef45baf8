"""Edges of epochs: every height belongs to exactly one epoch, and everyone computes which."""

from __future__ import annotations

import pytest

from genesis.epochs import edge_height, epoch_after_block, epoch_of_block, first_height, is_edge


@pytest.mark.parametrize(
    ("height", "epoch", "after", "edge"),
    [(0, 0, 0, False), (1, 0, 0, False), (9, 0, 0, False), (10, 0, 1, True), (11, 1, 1, False), (20, 1, 2, True)],
)
def test_a_height_belongs_to_its_epoch(height: int, epoch: int, after: int, edge: bool) -> None:
    """Off by one, and the wrong set would decide a block."""
    assert epoch_of_block(height, 10) == epoch
    assert epoch_after_block(height, 10) == after
    assert is_edge(height, 10) == edge


def test_epochs_meet_without_gap_or_overlap() -> None:
    """The set after a block is the set of the next block, at edges and elsewhere."""
    for blocks in (8, 9, 1_000):
        for height in range(3 * blocks):
            assert epoch_after_block(height, blocks) == epoch_of_block(height + 1, blocks)
        for epoch in range(3):
            assert first_height(epoch + 1, blocks) == edge_height(epoch, blocks) + 1
            assert epoch_of_block(first_height(epoch, blocks), blocks) == epoch
            assert epoch_of_block(edge_height(epoch, blocks), blocks) == epoch
