"""One validator whose every sync takes a second, among real processes: docs/FAULTS.md row 9."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.net import QUICK, Net, network_of

pytestmark = [pytest.mark.trio, pytest.mark.process]

ALL = (0, 1, 2, 3)
SLOW = 1
SYNC_S = 1.0
BLOCKS = 40
"""About ten turns of each leader."""

SLOW_SYNCS = f"""
import os, time
real = os.fdatasync
def fdatasync(file):
    time.sleep({SYNC_S})
    real(file)
os.fdatasync = fdatasync
"""
"""Runs at the start of the slow validator's interpreter. Like a slow disk it keeps the thread, not the lock."""


def lost_views(net: Net, index: int, since: int) -> dict[int, int]:
    """How many views of each leader a validator gave up, behind this byte of its log."""
    found: dict[int, int] = {}
    for each in net.log(index, since):
        if each["msg"] == "view_timeout":
            found[each["leader"]] = found.get(each["leader"], 0) + 1
    return found


async def test_slow_syncs_of_one_validator_cost_its_own_views_and_start_no_storm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vote waits for the disk, so the slow one votes late and leads late; nobody else has to wait for it."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW_SYNCS)
    with network_of(tmp_path / "net", params=QUICK) as net:
        net.start(*(each for each in ALL if each != SLOW))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "slow"))
        net.start(SLOW)
        await net.until_heights(ALL, 5)
        sizes = {index: net.log_size(index) for index in ALL}
        low, view = await net.height(0), int((await net.status(0))["view"])
        await net.until_heights(ALL, low + BLOCKS)
        views = int((await net.status(0))["view"]) - view
        lost = {index: lost_views(net, index, sizes[index]) for index in ALL}
        print(f"{BLOCKS} blocks in {views} views; views given up, by who gave up and who led: {lost}")
        turns = views // len(ALL) + 1
        for index in ALL:
            assert lost[index].get(SLOW, 0) <= turns
            others = sum(count for leader, count in lost[index].items() if leader != SLOW)
            assert others <= turns // 2
        assert views <= 2 * BLOCKS
        await net.agreed(ALL)
