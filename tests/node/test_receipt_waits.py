"""Waiting for receipts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from contracts.receipts import Receipt
from node.receipt_waits import ReceiptWaits
from node.store import Store
from tests.node.dataplane import chain_of, open_store, receipt_of, write_of

pytestmark = pytest.mark.trio

QUIET_S = 0.05


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store whose block 1 holds the receipts 1 and 2."""
    store = open_store(tmp_path / "ledger")
    store.commit([write_of(chain_of(1)[0], receipts=[receipt_of(1, 1, 0), receipt_of(2, 1, 1)])])
    yield store
    store.close()


async def test_waiter_is_woken_by_delivery(store: Store) -> None:
    """The answer to a posted envelope comes with its block, not with a poll."""
    waits = ReceiptWaits(store)
    waits._looking._detours = 1  # the look goes by way of a thread, so that the refusal comes in the middle of it
    found: list[Receipt] = []

    async def client() -> None:
        found.extend((await waits.wait_many([receipt_of(7, 2, 0).envelope_id], 20)).values())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        nursery.start_soon(client)
        await wait_all_tasks_blocked(QUIET_S)
        assert found == []
        waits.deliver([receipt_of(6, 2, 0), receipt_of(7, 2, 1)])
    assert found == [receipt_of(7, 2, 1)] * 2
    assert waits.waiting == 0


async def test_receipt_of_an_earlier_block_is_found_at_once(store: Store) -> None:
    """A client may ask long after the fact, and with no patience at all."""
    waits = ReceiptWaits(store)
    there, absent = receipt_of(1, 1, 0), receipt_of(9, 1, 0)
    assert await waits.wait_many([there.envelope_id], 0) == {there.envelope_id: there}
    assert await waits.wait_many([absent.envelope_id], 0) == {}


async def test_many_waits_are_one_and_mix_old_and_new(store: Store) -> None:
    """A thousand envelopes posted together cost one registration."""
    waits = ReceiptWaits(store)
    old, new = [receipt_of(1, 1, 0), receipt_of(2, 1, 1)], [receipt_of(number, 2, number) for number in range(3, 50)]
    found: dict[bytes, Receipt] = {}

    async def client() -> None:
        found.update(await waits.wait_many([each.envelope_id for each in (*new, *old, *new)], 20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        await wait_all_tasks_blocked(QUIET_S)
        waits.deliver(new[:20])
        waits.deliver(new[20:])
    assert found == {each.envelope_id: each for each in (*old, *new)}


async def test_time_limit_returns_what_there_is(store: Store) -> None:
    """A wait is bounded, and what came in time is not thrown away."""
    waits = ReceiptWaits(store)
    ids = [receipt_of(number, 1, 0).envelope_id for number in (1, 9)]
    assert list(await waits.wait_many(ids, 0.01)) == [ids[0]]
    assert waits.waiting == 0
    assert await waits.wait_many([], 5) == {}


async def test_stored_receipt_outranks_a_later_refusal(store: Store) -> None:
    """An envelope that applied is never reported as expired because it was ordered again."""
    waits = ReceiptWaits(store)
    waits._looking._detours = 1  # the look goes by way of a thread, so that the refusal comes in the middle of it
    found: list[Receipt] = []

    async def client() -> None:
        found.extend((await waits.wait_many([receipt_of(1, 1, 0).envelope_id], 20)).values())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        while not waits.waiting:
            await trio.lowlevel.checkpoint()
        waits.deliver([receipt_of(1, 5, 0, "expired")])
    assert found == [receipt_of(1, 1, 0)]


async def test_cancelled_waiter_leaves_nothing_behind(store: Store) -> None:
    """Clients that hang up must not leak."""
    waits = ReceiptWaits(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits.wait_many, [bytes(32)], 20)
        await wait_all_tasks_blocked(QUIET_S)
        assert waits.waiting == 1
        nursery.cancel_scope.cancel()
    assert waits.waiting == 0
