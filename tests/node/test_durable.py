"""What is on disk before a vote leaves: docs/FAULTS.md rows 5, 10 and 16."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from genesis.errors import InvariantViolation
from node.batch_pool import BatchPool
from node.durable import Durable
from node.offload import IN_PLACE_US_MAX
from node.safety_file import SafetyFile
from node.store import Store
from tests.node.dataplane import (
    CHAIN_ID,
    FORMAT,
    PARAMS,
    Hub,
    Reports,
    Waiting,
    chain_of,
    envelopes_of,
    open_store,
    pool_of,
    safety_of,
)

pytestmark = pytest.mark.trio


class PowerLoss(BaseException):
    """The machine stops here."""


def disk_of(tmp_path: Path) -> tuple[Durable, Store, BatchPool]:
    """A replica's disk with an empty pool."""
    store = open_store(tmp_path / "ledger")
    pool = pool_of(0, Hub(4).wires[0], store, Waiting(), Reports())
    return Durable(store, SafetyFile(tmp_path / "safety", CHAIN_ID), pool), store, pool


async def test_vote_leaves_its_block_and_batches_on_disk(tmp_path: Path) -> None:
    """Whoever voted for a block can serve its batches, even after a crash; the leader may have withheld them."""
    disk, store, pool = disk_of(tmp_path)
    batches = [FORMAT.seal(0, number, envelopes_of([number])) for number in range(3)]
    for batch in batches:
        pool.add_own(batch)
    first, second = chain_of(2, payloads=[[each.digest for each in batches[:2]], [each.digest for each in batches]])
    disk.persist_safety(safety_of(1), first)
    assert [store.has_batch(each.digest) for each in batches] == [True, True, False]
    disk.persist_safety(safety_of(2), second)
    store.close()
    again = open_store(tmp_path / "ledger")
    assert [again.batch(each.digest) for each in batches] == [each.wire for each in batches]
    assert again.pending() == (first, second)
    assert SafetyFile(tmp_path / "safety", CHAIN_ID).load() == safety_of(2)
    again.close()


async def test_batch_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are most of what goes to disk: a second copy would double it."""
    disk, store, pool = disk_of(tmp_path)
    batch = FORMAT.seal(0, 0, envelopes_of([1]))
    pool.add_own(batch)
    written: list[int] = []
    sync_proposal = store.sync_proposal
    monkeypatch.setattr(
        store,
        "sync_proposal",
        lambda proposal, batches: (written.append(len(batches)), sync_proposal(proposal, batches)),
    )
    for view, proposal in enumerate(chain_of(2, payloads=[[batch.digest, batch.digest], [batch.digest]]), 1):
        disk.persist_safety(safety_of(view), proposal)
    assert written == [1, 0]
    assert pool.unwritten([batch.digest]) == []
    store.close()


async def test_vote_without_its_batches_is_our_own_bug(tmp_path: Path) -> None:
    """It would promise what nobody may be able to keep."""
    disk, store, _ = disk_of(tmp_path)
    with pytest.raises(InvariantViolation, match="every batch"):
        disk.persist_safety(safety_of(1), chain_of(1, payloads=[[b"d" * 32]])[0])
    assert SafetyFile(tmp_path / "safety", CHAIN_ID).load() is None
    store.close()


async def test_timeout_persists_the_safety_state_alone(tmp_path: Path) -> None:
    """Giving up a view promises no block."""
    disk, store, _ = disk_of(tmp_path)
    disk.persist_safety(safety_of(4), None)
    assert SafetyFile(tmp_path / "safety", CHAIN_ID).load() == safety_of(4)
    assert store.pending() == ()
    store.close()


def losing_power(message: str) -> Callable[..., None]:
    """A step that never returns."""

    def step(*_: object, **__: object) -> None:
        raise PowerLoss(message)

    return step


@pytest.mark.parametrize(("step", "stored"), [("store", False), ("safety", True)])
async def test_crash_between_block_and_safety_state_leaves_no_vote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, stored: bool
) -> None:
    """A stored block without a vote is harmless; a recorded vote without its block would not be."""
    disk, store, _ = disk_of(tmp_path)
    disk.persist_safety(safety_of(1), None)
    [proposal] = chain_of(1)
    with monkeypatch.context() as patch:
        if step == "store":
            patch.setattr(store, "sync_proposal", losing_power(step))
        else:
            patch.setattr(os, "pwrite", losing_power(step))
        with pytest.raises(PowerLoss):
            disk.persist_safety(safety_of(2), proposal)
    store.close()
    again = open_store(tmp_path / "ledger")
    assert again.pending() == ((proposal,) if stored else ())
    assert SafetyFile(tmp_path / "safety", CHAIN_ID).load() == safety_of(1)
    again.close()


async def test_keeping_blocks_costs_something_and_more_the_more_they_order(tmp_path: Path) -> None:
    """A sync answer brings dozens of blocks: written in one go in place, they would hold up the event loop."""
    disk, store, _ = disk_of(tmp_path)
    empty, full = chain_of(2, payloads=[[], [number.to_bytes(32, "big") for number in range(1_000)]])
    assert 0 < disk.keep_cost_us(empty) < disk.keep_cost_us(full)
    assert disk.keep_cost_us(empty) * PARAMS.sync_blocks_max > IN_PLACE_US_MAX
    assert disk.writes is store.writes
    store.close()
