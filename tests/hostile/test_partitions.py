"""Partitions, a stopped and a killed process, between real validators over real TLS: docs/FAULTS.md rows 20, 21 and 26.

What is counted after the heal are timeouts, not seconds: the bound of issue and catalogue is five.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
import trio

from cli.ports import free_ports
from genesis.addresses import split_address
from node.config import LOOPBACK
from tests.hostile.net import Net, network_of
from tests.hostile.proxy import Proxy, Way, between, one_way

pytestmark = [pytest.mark.trio, pytest.mark.process]

ALL = (0, 1, 2, 3)
TIMEOUTS_MAX = 5
"""Views that a replica may give up between the heal and its next commit."""

HALVES = "two against two"
IN_FLIGHT = 3
"""Blocks that may commit while a partition that leaves no quorum begins."""

HELD_S = 4.0
FLAP_S = 0.7
"""How long a partition without a quorum lasts, which is several view timeouts, and one that is about to change."""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """Four validators; each listens beside the address at which the others dial it."""
    with network_of(tmp_path_factory.mktemp("partitions") / "net") as net:
        for index, port in zip(ALL, free_ports(4), strict=True):
            net.configure(index, listen_port=port)
        net.start(*ALL)
        yield net


@dataclass
class Divided:
    """The validators and what lies between them."""

    net: Net
    proxy: Proxy

    def timeouts(self, index: int, since: int) -> int:
        """The views that a validator gave up, behind this byte of its log."""
        return sum(each["msg"] == "view_timeout" for each in self.net.log(index, since))

    async def until_joined(self) -> None:
        """Return once everybody is connected to everybody."""

        async def holds() -> bool:
            return all([(await self.net.status(index))["peers"] == len(ALL) - 1 for index in ALL])

        await self.net.until(holds, "all are connected")

    async def recover(self, what: str) -> None:
        """From here on everything passes: all commit beyond the highest block within the bound, and agree."""
        top = max([await self.net.height(index) for index in ALL])
        sizes = {index: self.net.log_size(index) for index in ALL}
        began = trio.current_time()
        spent: dict[int, int] = {}

        async def holds() -> bool:
            for index in ALL:
                if index not in spent and await self.net.height(index) > top:
                    spent[index] = self.timeouts(index, sizes[index])
            return len(spent) == len(ALL)

        await self.net.until(holds, f"all commit after: {what}")
        print(f"{what}: all commit {trio.current_time() - began:.1f} s after the heal, timeouts {spent}")
        assert max(spent.values()) <= TIMEOUTS_MAX
        await self.net.agreed(ALL)


@asynccontextmanager
async def divided(net: Net) -> AsyncIterator[Divided]:
    """The validators, connected through a proxy that runs as long as the block."""
    addresses = [split_address(each.address) for each in net.document.validators]
    ports = {index: port for index, (_, port) in enumerate(addresses)}
    targets = {index: (LOOPBACK, net.opened(index).config.listen_port) for index in ALL}
    proxy = Proxy(targets, {index: each.pid for index, each in net.started.items()}, ports)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.run)
        here = Divided(net, proxy)
        await here.until_joined()
        await here.recover("connected")
        yield here
        nursery.cancel_scope.cancel()


PARTITIONS: dict[str, tuple[set[Way], tuple[int, ...]]] = {
    HALVES: (between((0, 1), (2, 3)), ()),
    "one against three": (between((0,), (1, 2, 3)), (1, 2, 3)),
    "one is not heard": (one_way((1,), (0, 2, 3)), (0, 2, 3)),
    "one hears nobody": (one_way((0, 1, 3), (2,)), (0, 1, 3)),
    "a bridge": (between((0,), (2, 3)) | between((1,), (3,)), ()),
}
"""What is cut, and who holds a quorum and goes on meanwhile."""


@pytest.mark.parametrize("name", PARTITIONS)
async def test_a_partition_never_splits_the_chain_and_heals_within_five_timeouts(net: Net, name: str) -> None:
    """Row 20: with a quorum on one side that side goes on; without, nobody commits; afterwards all do."""
    blocked, going = PARTITIONS[name]
    async with divided(net) as here:
        here.proxy.block(blocked)
        top = max([await net.height(index) for index in ALL])
        if going:
            await net.until_heights(going, top + 10)
        else:
            await trio.sleep(HELD_S)
        if name == HALVES:
            assert max([await net.height(index) for index in ALL]) <= top + IN_FLIGHT
        here.proxy.heal()
        await here.recover(name)


async def test_a_flapping_network_never_splits_the_chain_and_heals_within_five_timeouts(net: Net) -> None:
    """Row 20: each change comes in the middle of what the one before has begun."""
    async with divided(net) as here:
        for blocked, _ in [*PARTITIONS.values()] * 3:
            here.proxy.block(blocked)
            await trio.sleep(FLAP_S)
        here.proxy.heal()
        await here.recover("flapping")


@pytest.mark.long
async def test_a_partition_that_outlives_every_connection_heals_within_five_timeouts(net: Net) -> None:
    """Row 21: links that heard nothing for ten beats are closed, and dialling backs off meanwhile."""
    async with divided(net) as here:
        here.proxy.block(between((0, 1), (2, 3)))
        await trio.sleep(60)
        here.proxy.heal()
        await here.recover("a minute in halves")


async def block_times(net: Net, index: int, low: int, high: int) -> list[int]:
    """The block times of these heights."""
    return [int((await net.get(index, f"/v1/blocks/{each}"))["time_unix_ms"]) for each in range(low, high + 1)]


@pytest.mark.parametrize("stopped_s", [3.0, pytest.param(60.0, marks=pytest.mark.long)])
async def test_a_stopped_process_wakes_without_help(net: Net, stopped_s: float) -> None:
    """Row 26: it does not condemn its peers for its own sleep, nor they it for longer; block time only rises."""
    async with divided(net) as here:
        sizes = {index: net.log_size(index) for index in ALL}
        low = max([await net.height(index) for index in ALL])
        net.signal(1, signal.SIGSTOP)
        await trio.sleep(stopped_s)
        await net.until_heights((0,), low)
        going = await net.height(0)
        net.signal(1, signal.SIGCONT)
        await here.recover(f"stopped for {stopped_s:.0f} s")
        await here.until_joined()
        for index, since in sizes.items():
            assert [each for each in net.log(index, since) if each["msg"] == "cut a peer"] == []
        times = await block_times(net, 1, max(low, going - 200), going)
        assert all(before < after for before, after in pairwise(times))


async def test_a_killed_process_comes_back_and_agrees(net: Net) -> None:
    """kill -9 in the middle of a partition, and a start in another: what it signed before, it has not forgotten."""
    async with divided(net) as here:
        here.proxy.block(PARTITIONS["one is not heard"][0])
        net.signal(2, signal.SIGKILL)
        net.started[2].popen.wait()
        await trio.sleep(HELD_S)
        here.proxy.block(PARTITIONS["one hears nobody"][0])
        since = net.log_size(2)
        net.start(2)
        here.proxy.pids[2] = net.started[2].pid
        await net.until_logged(2, "started", since=since)
        here.proxy.heal()
        await here.until_joined()
        await here.recover("killed and started again")
