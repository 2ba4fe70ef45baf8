"""Whole nodes across the edges of short epochs, inside one Trio loop: see `tests.node.test_app`."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from node.safety_file import SafetyFile
from node.store import Store
from tests.node.test_app import PARAMS, Fleet, fleet_of, interpreter_left_as_found

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio

SHORT = replace(PARAMS, epoch_blocks=8)


async def until_epoch(fleet: Fleet, index: int, epoch: int) -> None:
    """Wait, a transaction at a time, until a validator is in an epoch."""
    number = 0
    while (await fleet.get(index, "/v1/status"))["epoch"] < epoch:
        await fleet.register(index, f"E{epoch}N{number}V{index}")
        number += 1


@pytest.mark.parametrize("consensus", ["hotstuff", "pbft"])
async def test_validators_cross_edges_and_one_that_missed_some_catches_up(tmp_path: Path, consensus: str) -> None:
    """The shell replaces the core at each edge; a ledger that is gone is fetched epoch by epoch, and then votes."""
    async with fleet_of(tmp_path, 4, params=SHORT, consensus=consensus) as fleet:
        await fleet.start(0, 1, 2, 3)
        await until_epoch(fleet, 0, 2)
        await fleet.stop(3)
        await until_epoch(fleet, 1, 5)
        shutil.rmtree(fleet.configs[3].ledger_path)
        await fleet.start(3)
        await fleet.stop(2)
        late = (await fleet.register(3, "LATE"))["receipt"]
        assert await fleet.root_with(3, late) == await fleet.root_with(0, late)
        block = await fleet.get(3, f"/v1/blocks/{late['height']}")
        assert block["voters"] == ["v0", "v1", "v3"]
        assert block["epoch"] >= 5


async def test_restarted_validators_go_on_in_the_epoch_of_their_ledger(tmp_path: Path) -> None:
    """A stop at any time, at an edge too, leaves a ledger that says where to go on, and a safety state beside it."""
    async with fleet_of(tmp_path, 1, params=SHORT) as fleet:
        for epoch in (1, 2, 3):
            await fleet.start(0)
            await until_epoch(fleet, 0, epoch)
            await fleet.stop(0)
        with closing(Store.open(fleet.configs[0].ledger_path, fleet.document.chain_id)) as store:
            tip = store.tip()
            assert tip is not None
            closed = [store.closed(each) for each in range(3)]
            assert [each.edge.header.height for each in closed if each is not None] == [8, 16, 24]
            assert store.closed(tip.height // 8) is None
        with closing(SafetyFile(fleet.configs[0].safety_path, fleet.document.chain_id)) as safety:
            saved = safety.load()
            assert saved is not None
            assert saved.epoch == 3
