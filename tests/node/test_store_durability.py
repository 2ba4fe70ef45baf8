"""Which of the ledger's writes are synced, and that a power failure leaves no hole: docs/FAULTS.md rows 7, 8 and 10."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.failures import StorageFailure
from node.store import UNSYNCED_ENTRIES_MAX, Store
from tests.node.dataplane import (
    CHAIN_ID,
    chain_of,
    open_store,
    receipt_of,
    write_of,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with block 0."""
    store = open_store(tmp_path / "ledger")
    yield store
    store.close()


class Noting:
    """LevelDB, with a note of each write batch: whether it was synced, and the keys that it puts."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.writes: list[tuple[bool, list[bytes]]] = []

    def write_batch(self, *, sync: bool = False) -> Any:
        keys: list[bytes] = []
        self.writes.append((sync, keys))
        batch = self._real.write_batch(sync=sync)

        class NotingBatch:
            def put(self, key: bytes, value: bytes) -> None:
                keys.append(key)
                batch.put(key, value)

            def __getattr__(self, name: str) -> Any:
                return getattr(batch, name)

        return NotingBatch()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_what_is_promised_is_synced_and_what_is_not_is_not(store: Store) -> None:
    """A receipt or a vote must survive a power failure; a mere proposal or an empty block need not cost a sync."""
    store._db = noting = Noting(store._db)
    first, second, third, fourth = chain_of(4)
    store.put_proposal(first)
    store.sync_proposal(second, [])
    store.commit([write_of(first, state_writes=[(b"k", b"v")])])
    store.commit([write_of(second, receipts=[receipt_of(1, 2, 0)]), write_of(third)])
    store.put_proposal(fourth)
    assert [synced for synced, _ in noting.writes] == [False, True, False, True, False]


def test_block_that_was_merely_kept_is_written_again_for_a_vote(store: Store) -> None:
    """LevelDB may have changed its log since, and a sync of the new one leaves the old one at risk."""
    store._db = noting = Noting(store._db)
    [proposal] = chain_of(1)
    block_hash = proposal.header.block_hash
    needed = {b"p" + block_hash, b"u" + (1).to_bytes(8, "big") + block_hash}
    store.put_proposal(proposal)
    store.sync_proposal(proposal, [])
    assert [(synced, needed <= set(keys)) for synced, keys in noting.writes] == [(False, True), (True, True)]
    assert store.pending() == (proposal,)


@pytest.mark.parametrize(("voted", "times"), [(True, 0), (False, 1)])
def test_block_that_was_merely_kept_is_written_again_with_its_commit(store: Store, voted: bool, times: int) -> None:
    """A committed block must be there to be served, whether or not this validator voted for it."""
    [proposal] = chain_of(1)
    store.put_proposal(proposal)
    if voted:
        store.sync_proposal(proposal, [])
    store._db = noting = Noting(store._db)
    store.commit([write_of(proposal, receipts=[receipt_of(1, 1, 0)])])
    [(synced, keys)] = noting.writes
    assert synced
    assert keys.count(b"p" + proposal.header.block_hash) == times


def test_missing_block_below_the_tip_is_a_failure_and_not_an_absence(store: Store) -> None:
    """A hole must stop the node with advice, not look like a shorter chain to whoever asks."""
    store.commit([write_of(each) for each in chain_of(3)])
    store._db.delete(b"c" + (2).to_bytes(8, "big"))
    assert store.committed(3) is not None
    with pytest.raises(StorageFailure, match=r"block 2 is missing.*move the directory data/ledger"):
        store.committed(2)


@pytest.mark.parametrize("last", ["receipts", "vote", "empty"])
def test_power_failure_leaves_no_hole_when_the_log_rotates(tmp_path: Path, last: str) -> None:
    """The old log loses its unsynced end and the new one survives: every block up to the tip must still be whole.

    A child fills LevelDB's log almost to its rotation, commits empty block 2 without a sync so that the log rotates,
    goes on to the new log and is killed; then the old log is cut where it was last synced. Whatever came last, block 2
    and its state are there, or no block from 2 on is.
    """
    live, note = tmp_path / "live", tmp_path / "note"
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", ROTATING, str(live), str(note), last],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr
    old_log, synced_bytes, rotated = note.read_text().split()
    assert rotated == "True"
    if not (live / old_log).exists():
        pytest.skip("LevelDB had already moved the old log into a table, which is synced")
    os.truncate(live / old_log, int(synced_bytes))
    again = Store.open(live, CHAIN_ID)
    tip = again.tip()
    assert tip is not None
    state = dict(again.state_entries())
    heights = [height for height in range(1, 4) if state.get(b"k%d" % height) == b"v"]
    assert heights == list(range(1, tip.height + 1))
    for height in heights:
        block = again.committed(height)
        assert block is not None
        assert again.proposal(block.block_hash) is not None
    if last == "receipts":
        assert tip.height == 3
    again.close()


ROTATING = """
import os, sys
from pathlib import Path
from node.store import Store, WRITE_BUFFER_BYTES
from tests.node.dataplane import chain_of, open_store, receipt_of, write_of

ledger, note, last = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
logs = lambda: sorted(ledger.glob("*.log"))
store = open_store(ledger)
chain = chain_of(4)

def write(height, **more):
    key = b"k%d" % height
    store.commit([write_of(chain[height - 1], state_writes=[(key, b"v"), *more.pop("entries", [])], **more)])

for _ in range((WRITE_BUFFER_BYTES - 2_000_000) // 1_000_000):
    store.sync_proposal(chain[0], [(os.urandom(32), os.urandom(1_000_000))])
write(1, receipts=[receipt_of(1, 1, 0)])
[old] = logs()
size = old.stat().st_size
write(2, entries=[(b"s", os.urandom(3_000_000))])
if last == "receipts":
    write(3, receipts=[receipt_of(2, 3, 0)])
elif last == "vote":
    store.put_proposal(chain[3])
    store.sync_proposal(chain[3], [])
else:
    write(3)
note.write_text(f"{old.name} {size} {logs()[-1].name != old.name}")
os.kill(os.getpid(), 9)
"""


def test_empty_blocks_cost_no_sync_of_their_own_and_are_made_durable_by_the_next_vote(store: Store) -> None:
    """An idle chain pays for its votes alone; each write repeats what is still at risk, and no more than that."""
    chain = chain_of(5)
    records = [b"c" + height.to_bytes(8, "big") for height in range(6)]
    store._db = noting = Noting(store._db)
    for proposal in chain[:2]:
        store.commit([write_of(proposal)])
    store.sync_proposal(chain[3], [])
    store.commit([write_of(chain[2])])
    assert [(synced, [each for each in keys if each in records]) for synced, keys in noting.writes] == [
        (False, [records[1]]),
        (False, [records[1], records[2]]),
        (True, [records[1], records[2]]),
        (False, [records[3]]),
    ]


def test_what_is_written_again_is_bounded(store: Store) -> None:
    """A validator that only follows, or one large system step, must not rewrite more and more."""
    store._db = noting = Noting(store._db)
    for proposal in chain_of(100):
        store.commit([write_of(proposal)])
    entries = [(b"k%d" % number, b"v") for number in range(UNSYNCED_ENTRIES_MAX)]
    store.commit([write_of(chain_of(101)[100], state_writes=entries)])
    assert max(len(keys) for synced, keys in noting.writes if not synced) <= UNSYNCED_ENTRIES_MAX
    assert 0 < sum(synced for synced, _ in noting.writes) < 20
    assert noting.writes[-1][0]
