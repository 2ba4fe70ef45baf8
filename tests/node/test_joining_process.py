"""Processes of their own that join by snapshot, killed and started as an operator would: docs/FAULTS.md row 34."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from node.config import NodeConfig
from tests.node.test_app import PASSPHRASE, fleet_of, interpreter_left_as_found
from tests.node.test_joining import JOINER, SERVERS, chain_for, give, trust

__all__ = ["interpreter_left_as_found"]

pytestmark = [pytest.mark.trio, pytest.mark.process]

PATIENCE_S = 120
"""Five processes compile and import beside whatever else this machine does."""

BLOCKS = 1_000
SNAPSHOT = 900


@contextmanager
def validator(config: NodeConfig) -> Iterator[subprocess.Popen[str]]:
    """A process that runs this home; killed in the end if it still runs."""
    command = [sys.executable, "-m", "cli.main", "node", "run", "--home", str(config.home)]
    environment = {**os.environ, "NOVATE_PASSPHRASE": PASSPHRASE.decode()}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def logged(process: subprocess.Popen[str], message: str) -> dict[str, Any]:
    """The next line of its log with this message."""
    assert process.stderr is not None
    for text in process.stderr:
        line: dict[str, Any] = json.loads(text)
        if line["msg"] == message:
            return line
    raise AssertionError(f"the process ended without saying {message}")


async def test_a_process_killed_while_it_joins_joins_when_it_is_started_again(tmp_path: Path) -> None:
    """Row 34: whatever the first attempt left, the second ends with the root of the others."""
    async with fleet_of(tmp_path, 4, wait_s=PATIENCE_S) as fleet:
        chain = await trio.to_thread.run_sync(chain_for, fleet, BLOCKS)
        await trio.to_thread.run_sync(give, fleet, chain, SNAPSHOT)
        trust(fleet, chain, SNAPSHOT - 500)
        homes = [fleet.configs[index] for index in (*SERVERS, JOINER)]
        with validator(homes[0]) as first, validator(homes[1]) as second, validator(homes[2]) as third:
            for process in (first, second, third):
                await trio.to_thread.run_sync(logged, process, "started")
            with validator(homes[3]) as killed:
                await trio.to_thread.run_sync(logged, killed, "joining")
                killed.send_signal(signal.SIGKILL)
                await trio.to_thread.run_sync(killed.wait)
            with validator(homes[3]) as again:
                await trio.to_thread.run_sync(logged, again, "started")
                result = await fleet.register(0, "JOINED")
                roots = {await fleet.root_with(index, result["receipt"]) for index in range(4)}
                assert len(roots) == 1
                assert (await fleet.get(JOINER, "/v1/status"))["lowest_height"] == SNAPSHOT + 1
                assert (await fleet.register(JOINER, "OWN"))["status"] == "committed"
