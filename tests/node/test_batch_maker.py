"""When batches are sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from node.batch_maker import BatchMaker
from node.batch_pool import BatchPool
from node.batches import Batch, BatchFormat
from node.frames import FrameKind
from tests.node.dataplane import (
    CHAIN_ID,
    EXPIRES_AT_UNIX_MS,
    FORMAT,
    PARAMS,
    Hub,
    Reports,
    Waiting,
    Wire,
    deadline,
    envelopes_of,
    open_store,
    pool_of,
)
from tests.node.test_batches import bombs

pytestmark = pytest.mark.trio


@asynccontextmanager
async def maker_of(tmp_path: Path, **limits: int) -> AsyncIterator[tuple[BatchMaker, BatchPool, Wire]]:
    """A running maker of validator 0, whose peers never answer by themselves."""
    hub, store = Hub(4), open_store(tmp_path / "0")
    pool = pool_of(0, hub.wires[0], store, Waiting(), Reports(), **limits)
    maker = BatchMaker(0, BatchFormat(CHAIN_ID, replace(PARAMS, **limits), 4), pool, 1)
    async with deadline() as nursery:
        nursery.start_soon(maker.run)
        yield maker, pool, hub.wires[0]
    store.close()


def sealed(wire: Wire) -> list[Batch]:
    """The batches sent to validator 1, in order."""
    form = BatchFormat(CHAIN_ID, PARAMS, 4)
    return [form.reopen(each, form.digest(each)) for peer, each in wire.sent_of(FrameKind.BATCH) if peer == 1]


async def acknowledge(pool: BatchPool, batch: Batch) -> None:
    """Two peers hold it: with us, a quorum."""
    for peer in (1, 2):
        await pool.handle(peer, FrameKind.BATCH_ACK, batch.digest)


async def test_lone_envelope_waits_for_the_batch_age_and_no_longer(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Latency on a quiet chain is the batch age."""
    async with maker_of(tmp_path) as (maker, _, wire):
        started = trio.current_time()
        maker.add(envelopes_of([1]))
        while not sealed(wire):
            await trio.sleep(0.001)
        assert PARAMS.batch_age_ms / 1000 <= trio.current_time() - started <= PARAMS.batch_age_ms / 1000 + 0.002
        assert maker.waiting == 0


async def test_full_batch_is_sealed_at_once_and_keeps_the_order(tmp_path: Path) -> None:
    """A client's envelopes execute in the order in which they were accepted."""
    envelopes = envelopes_of(range(25))
    async with maker_of(tmp_path, batch_envelopes_max=10, batch_age_ms=100_000) as (maker, _, wire):
        maker.add(envelopes)
        await wait_all_tasks_blocked()
        assert [each.envelopes for each in sealed(wire)] == [tuple(envelopes[:10]), tuple(envelopes[10:20])]
        assert maker.waiting == 5
        assert [each.sequence for each in sealed(wire)] == [1, 2]


async def test_batch_never_exceeds_its_size_limit(tmp_path: Path) -> None:
    """A peer refuses what is over the limit, and cuts us."""
    async with maker_of(tmp_path, batch_bytes_max=1_000, envelope_bytes_max=900, batch_age_ms=1) as (maker, pool, wire):
        maker.add(envelopes_of(range(12)))
        while maker.waiting:
            await wait_all_tasks_blocked(0.002)
            for batch in sealed(wire):
                await acknowledge(pool, batch)
        assert max(len(each.wire) for each in sealed(wire)) <= 1_000
        assert len(sealed(wire)) <= 4
        assert sum(len(each.envelopes) for each in sealed(wire)) == 12


async def test_batch_never_takes_more_memory_than_others_allow(tmp_path: Path) -> None:
    """Its envelopes are clients', who may mean harm; the author would be cut for them."""
    async with maker_of(tmp_path, batch_age_ms=1) as (maker, pool, wire):
        maker.add([each for number in range(8) for each in FORMAT.open(bombs(1), bytes([number]) * 32, 1).envelopes])
        while maker.waiting:
            await wait_all_tasks_blocked(0.002)
            for batch in sealed(wire):
                await acknowledge(pool, batch)
        assert [len(each.envelopes) for each in sealed(wire)] == [3, 3, 2]
        assert maker._filling_bytes == maker._filling_memory_bytes == 0


async def test_under_load_a_batch_goes_on_filling_until_an_earlier_one_is_acknowledged(tmp_path: Path) -> None:
    """Batches grow with the load, and a slow network is not sent more than it takes."""
    async with maker_of(tmp_path, batch_age_ms=1) as (maker, pool, wire):
        for number in range(2):
            maker.add(envelopes_of([number]))
            while len(sealed(wire)) == number:
                await wait_all_tasks_blocked(0.002)
        for number in range(2, 8):
            maker.add(envelopes_of([number]))
            await wait_all_tasks_blocked(0.002)
        assert [len(each.envelopes) for each in sealed(wire)] == [1, 1]
        assert maker.waiting == 6
        await acknowledge(pool, sealed(wire)[0])
        await wait_all_tasks_blocked(0.002)
        assert [len(each.envelopes) for each in sealed(wire)] == [1, 1, 6]


async def test_maker_stays_within_half_of_the_quota_that_others_grant(tmp_path: Path) -> None:
    """While nothing commits, more batches would only be dropped by the others."""
    async with maker_of(tmp_path, batches_open_per_author_max=6, batch_age_ms=1) as (maker, pool, wire):
        for number in range(8):
            maker.add(envelopes_of([number]))
            await wait_all_tasks_blocked(0.003)
            for batch in sealed(wire):
                await acknowledge(pool, batch)
        assert len(sealed(wire)) == 3
        pool.order([sealed(wire)[0].digest])
        await wait_all_tasks_blocked(0.003)
        assert len(sealed(wire)) == 4


async def test_maker_stays_within_half_of_the_bytes_that_others_grant(tmp_path: Path) -> None:
    """The number alone would let batches of large envelopes be sealed only to be dropped by the others."""
    one = FORMAT.seal(0, 0, envelopes_of([0])).memory_bytes
    quota = max(65_536, 6 * one)
    half = -(-(quota // 2) // one)
    async with maker_of(tmp_path, batches_open_bytes_per_author_max=quota, batch_age_ms=1) as (maker, pool, wire):
        for number in range(half + 3):
            maker.add(envelopes_of([number]))
            await wait_all_tasks_blocked(0.003)
            for batch in sealed(wire):
                await acknowledge(pool, batch)
        assert len(sealed(wire)) == half
        pool.order([sealed(wire)[0].digest])
        await wait_all_tasks_blocked(0.003)
        assert len(sealed(wire)) == half + 1


async def test_maker_goes_on_when_its_lost_batches_have_expired(tmp_path: Path) -> None:
    """Batches that nobody acknowledged must not hold up the next ones for ever."""
    async with maker_of(tmp_path, batch_age_ms=1) as (maker, pool, wire):
        for number in range(3):
            maker.add(envelopes_of([number]))
            await wait_all_tasks_blocked(0.003)
        assert len(sealed(wire)) == 2
        pool.executed([], EXPIRES_AT_UNIX_MS)
        await wait_all_tasks_blocked(0.003)
        assert len(sealed(wire)) == 3
