"""Validators as real processes, and what can be seen of them from outside: heights, logs, memory, open files.

The last seat of a network may be left to a test, which then speaks with its keys (`tests.hostile.traitor`).
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w
import trio

from cli.client import Connection, Unreachable
from cli.processes import LOG_FILE, Started, log_tail, start, stop
from cli.testnet_files import Era, LocalNetwork, create_testnet
from genesis.document import GenesisDocument
from genesis.params import ChainParams
from node.config import load_config
from node.home import OpenedHome, open_home, read_document
from node.keystore import PASSPHRASE_FILE

PATIENCE_S = 60.0
POLL_S = 0.02
QUICK = ChainParams(
    merkle_depth=8, block_interval_idle_ms=50, view_timeout_ms=500, view_timeout_ms_max=2_000, epoch_blocks=1_000_000
)
"""Blocks come even without work, and a view that is lost costs little. The chain stays in its first epoch, whose
statements the attacks make, however long a slow machine takes for them."""


@dataclass
class Net:
    """A network on this machine.

    Attributes:
        network: Its directory and addresses.
        document: The chain.
        started: The processes that run, by index.
    """

    network: LocalNetwork
    document: GenesisDocument
    started: dict[int, Started] = field(default_factory=dict)

    def home(self, index: int) -> Path:
        """A validator's directory."""
        return self.network.validators[index].home

    def opened(self, index: int) -> OpenedHome:
        """A validator's keys and settings."""
        return open_home(self.home(index), (self.home(index) / PASSPHRASE_FILE).read_bytes().strip())

    def configure(self, index: int, **changes: Any) -> None:
        """Change a validator's own settings; it must not run."""
        config = replace(load_config(self.home(index)), **changes)
        config.path.write_bytes(tomli_w.dumps(config.to_mapping()).encode())

    def start(self, *indices: int) -> None:
        """Start these; returns at once."""
        for index in indices:
            self.started[index] = start(self.home(index))

    def stop(self) -> None:
        """Stop all that run, also those that are suspended."""
        for index, each in self.started.items():
            if not each.ended(0):
                os.kill(each.pid, signal.SIGCONT)
            stop(self.home(index), each)
        self.started.clear()

    def signal(self, index: int, mark: signal.Signals) -> None:
        """Send a validator a signal."""
        os.kill(self.started[index].pid, mark)

    # --- what can be seen --------------------------------------------------------------------------------------------

    async def get(self, index: int, path: str, wait_ms: int = 0) -> Any:
        """What a validator answers, None if it does not."""

        def ask() -> Any:
            try:
                with Connection(self.network.urls[index], timeout_s=5) as connection:
                    return connection.get(path, wait_ms)
            except Unreachable:
                return None

        return await trio.to_thread.run_sync(ask)

    async def status(self, index: int) -> dict[str, Any]:
        """A validator's status, once it answers."""
        found: list[Any] = []

        async def answers() -> bool:
            found[:] = [await self.get(index, "/v1/status")]
            return found[0] is not None

        await self.until(answers, f"v{index} answers")
        status: dict[str, Any] = found[0]
        return status

    async def height(self, index: int) -> int:
        """A validator's height."""
        return int((await self.status(index))["height"])

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str, patience_s: float = PATIENCE_S) -> None:
        """Return once `holds`. Nothing outside announces what happens inside a process, so it is asked again."""
        with trio.move_on_after(patience_s):
            while not await holds():
                await trio.sleep(POLL_S)
            return
        tails = "\n".join(f"--- v{index}\n{log_tail(self.home(index))}" for index in self.started)
        raise AssertionError(f"not within {patience_s} s: {what}\n{tails}")

    async def until_heights(self, indices: tuple[int, ...], above: int) -> None:
        """Return once all of these have committed more than `above` blocks."""

        async def holds() -> bool:
            return min([await self.height(index) for index in indices]) > above

        await self.until(holds, f"{indices} above height {above}")

    async def until_logged(self, index: int, message: str, code: str = "", since: int = 0) -> dict[str, Any]:
        """The first log line of a validator with this message (and code), behind its first `since` bytes."""
        found: list[dict[str, Any]] = []

        async def holds() -> bool:
            lines = self.log(index, since)
            found[:] = [each for each in lines if each["msg"] == message and code in ("", each.get("code"))]
            return bool(found)

        await self.until(holds, f"v{index} logs {message!r} {code}")
        return found[0]

    def log_size(self, index: int) -> int:
        """The bytes of a validator's log so far."""
        return (self.home(index) / LOG_FILE).stat().st_size

    def log(self, index: int, since: int = 0) -> list[dict[str, Any]]:
        """The whole lines of a validator's log, behind its first `since` bytes."""
        text = (self.home(index) / LOG_FILE).read_bytes()[since:].decode()
        return [json.loads(each) for each in text.splitlines(keepends=True) if each.endswith("\n") and each[0] == "{"]

    def running(self, index: int) -> bool:
        """Whether the process lives."""
        return not self.started[index].ended(0)

    def memory_kib(self, index: int) -> int:
        """A validator's resident memory now."""
        return self._proc(index, "VmRSS:")

    def files(self, index: int) -> int:
        """The files and sockets that a validator has open."""
        return len(os.listdir(f"/proc/{self.started[index].pid}/fd"))

    def _proc(self, index: int, name: str) -> int:
        lines = Path(f"/proc/{self.started[index].pid}/status").read_text().splitlines()
        return next(int(each.split()[1]) for each in lines if each.startswith(name))

    async def agreed(self, indices: tuple[int, ...]) -> None:
        """Fail unless these have one block and one root at every height that all have, the last hundred of them."""
        top = min([await self.height(index) for index in indices])
        for height in range(max(1, top - 100), top + 1):
            blocks = [await self.get(index, f"/v1/blocks/{height}") for index in indices]
            assert len({(each["block_hash"], each["state_root"]) for each in blocks}) == 1, (height, blocks)


@contextmanager
def network_of(
    directory: Path, seats: int = 4, params: ChainParams = QUICK, running: tuple[int, ...] = (), **settings: Any
) -> Iterator[Net]:
    """A network of so many seats, of which these run; `settings` are every validator's own."""
    network = create_testnet(directory, seats, Era(), params)
    net = Net(network, read_document(network.directory / "genesis.toml"))
    try:
        if settings:
            for index in range(seats):
                net.configure(index, **settings)
        net.start(*running)
        yield net
    finally:
        net.stop()


@asynccontextmanager
async def watched(net: Net, indices: tuple[int, ...]) -> AsyncIterator[None]:
    """While the block runs these live on: none dies or loses another, and at its end they go on committing."""
    sizes = {index: net.log_size(index) for index in indices}
    names = {net.network.validators[index].name for index in indices}
    yield
    heights = [await net.height(index) for index in indices]
    await net.until_heights(indices, max(heights) + 3)
    for index in indices:
        assert net.running(index), log_tail(net.home(index))
        lines = net.log(index, sizes[index])
        assert [each for each in lines if "traceback" in each] == []
        assert [each for each in lines if each["msg"] in ("lost a peer", "cut a peer") and each["peer"] in names] == []
