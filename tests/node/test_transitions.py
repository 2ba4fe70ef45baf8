"""The changes of the validators as a node keeps and serves them: bounded, and said where they are not here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from genesis.errors import Rejected
from node import transitions
from node.set_history import LINKS_MAX, START_HEADERS_MAX, decode_link, encode_link
from node.store import Store
from node.store_records import HEIGHT
from node.transitions import first_links, history_for, reads_max
from node.trust import Reign
from tests.node.changing_chain import EPOCH_BLOCKS, TOP, changing_chain
from tests.node.test_snapshot_join import DOCUMENT, join


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A ledger with the links of the changing chain, which keeps those from epoch 2 on."""
    chain = changing_chain()
    with closing(Store.open(tmp_path / "ledger", chain.document.chain_id)) as made:
        links = [(b"t" + HEIGHT.pack(each.header.epoch), encode_link(each)) for each in chain.links()]
        made._write(links, sync=True)
        yield made


@pytest.mark.parametrize(("epoch", "changes"), [(0, 0), (1, 1), (2, 1), (3, 2), (5, 4), (9, 4)])
def test_a_history_ends_before_the_epoch_that_is_asked_about(store: Store, epoch: int, changes: int) -> None:
    """A verifier refuses what it does not need, since one proof has one form."""
    assert len(history_for(store, EPOCH_BLOCKS, 0, epoch).links) == changes


def test_too_many_changes_are_refused_and_a_page_of_them_is_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has a bound; who is refused is told how far one leads, and can trust a block from there."""
    monkeypatch.setattr(transitions, "LINKS_MAX", 2)
    assert len(history_for(store, EPOCH_BLOCKS, 0, 3).links) == 2
    with pytest.raises(Rejected, match="too_many_transitions") as refused:
        history_for(store, EPOCH_BLOCKS, 0, 7)
    assert refused.value.details["shown_to_epoch"] == 3
    assert [decode_link(each).header.epoch for each in first_links(store, 0)] == [0, 2]
    assert [decode_link(each).header.epoch for each in first_links(store, 3)] == [3, 4]


def test_a_size_bounds_the_answer_as_well(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred validators make long links."""
    size = len(next(iter(store.links(0))))
    monkeypatch.setattr(transitions, "_LINKS_BYTES_MAX", 2 * size)
    assert len(first_links(store, 0)) == 1
    with pytest.raises(Rejected, match="too_many_transitions"):
        history_for(store, EPOCH_BLOCKS, 0, 7)


def test_what_a_way_reads_is_bounded_before_it_is_read() -> None:
    """Row 29: a peer is charged by it, whether the way is found or not (`node.snapshots`)."""
    chain = changing_chain()
    for height in range(EPOCH_BLOCKS + 1, TOP):
        read = len(chain.start(height).headers) + len(chain.links())
        assert read <= reads_max(EPOCH_BLOCKS, height) <= LINKS_MAX + 1 + EPOCH_BLOCKS
    assert reads_max(1_000_000, 1_999_999) == LINKS_MAX + 1 + START_HEADERS_MAX
    assert reads_max(EPOCH_BLOCKS, 0) == reads_max(EPOCH_BLOCKS, EPOCH_BLOCKS) == LINKS_MAX + 1


def test_what_was_before_a_snapshot_is_not_served(store: Store) -> None:
    """A history with a hole would be refused by its reader, with a worse word."""
    store._write([(b"mlinks", HEIGHT.pack(2))], sync=True)
    with pytest.raises(Rejected, match="transitions_not_kept"):
        history_for(store, EPOCH_BLOCKS, 0, 7)


def test_a_start_from_a_block_that_is_not_here_is_refused(store: Store) -> None:
    """Nothing is made up about a block that this node has not seen."""
    with pytest.raises(Rejected, match="unknown_block"):
        history_for(store, EPOCH_BLOCKS, 30, 7)


@pytest.mark.trio
async def test_a_state_that_names_other_validators_than_certified_it_is_given_up(tmp_path: Path) -> None:
    """Row 36: the keys are right, so the certificates are; who validates is for the certified state to say."""
    moved = (replace(DOCUMENT.validators[0], address="127.0.0.1:9"), *DOCUMENT.validators[1:])
    outcome = await join(tmp_path, {}, reigns=(Reign(0, None, moved),), until="other_validators")
    assert not outcome.joined
    assert not outcome.ledger.exists()
