"""The network between real validators, in the hands of a test: what flows from whom to whom, and what does not.

Each validator is dialled at an address of this proxy, which connects to where that one listens. Who dials
is told by the system's table of sockets: the process that owns the other end. What a cut link holds back it holds back
as a network does, in buffers of bounded size, and lets go once it heals; new connections across it hang.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import trio

PIECE_BYTES = 65_536
Way = tuple[int, int]
"""(from, to), by index."""


@dataclass
class Proxy:
    """The links of one network.

    Attributes:
        targets: Where each validator listens.
        pids: The processes, by index; kept up by whoever starts them.
        ports: Where the proxy listens for each.
    """

    targets: dict[int, tuple[str, int]]
    pids: dict[int, int]
    ports: dict[int, int] = field(default_factory=dict)
    _blocked: frozenset[Way] = frozenset()
    _changed: trio.Event = field(default_factory=trio.Event)

    def block(self, ways: Iterable[Way]) -> None:
        """From now on nothing passes on exactly these ways."""
        self._blocked = frozenset(ways)
        self._changed.set()
        self._changed = trio.Event()

    def heal(self) -> None:
        """Everything passes."""
        self.block(())

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen for every validator until cancelled."""
        async with trio.open_nursery() as nursery:
            for index, port in self.ports.items():
                listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")

                async def accept(stream: trio.SocketStream, index: int = index) -> None:
                    await self._join(stream, index)

                nursery.start_soon(trio.serve_listeners, accept, listeners)
            task_status.started()

    async def _join(self, dialled: trio.SocketStream, target: int) -> None:
        """One connection, from its dialler's side to its target's, until either end closes."""
        async with dialled:
            dialler = self._dialler(dialled)
            if dialler is None:
                return
            try:
                await self._open((dialler, target))
                async with await trio.open_tcp_stream(*self.targets[target]) as onward, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, dialled, onward, (dialler, target), nursery.cancel_scope)
                    nursery.start_soon(self._pump, onward, dialled, (target, dialler), nursery.cancel_scope)
            except OSError:
                return

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, way: Way, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(PIECE_BYTES):
                await self._open(way)
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _open(self, way: Way) -> None:
        while way in self._blocked:
            await self._changed.wait()

    def _dialler(self, stream: trio.SocketStream) -> int | None:
        """Whose process holds the other end."""
        _, port = stream.socket.getpeername()
        inode = _inode_of(port)
        for index, pid in self.pids.items():
            if inode is not None and inode in _sockets_of(pid):
                return index
        return None


def _inode_of(local_port: int) -> str | None:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{local_port:04X}") and fields[9] != "0":
            return f"socket:[{fields[9]}]"
    return None


def _sockets_of(pid: int) -> set[str]:
    found = set()
    directory = Path(f"/proc/{pid}/fd")
    try:
        for each in directory.iterdir():
            found.add(os.readlink(each))
    except OSError:
        return found
    return found


def between(one: Iterable[int], other: Iterable[int]) -> set[Way]:
    """Every way between two groups, both directions."""
    left, right = tuple(one), tuple(other)
    return {(a, b) for a in left for b in right} | {(b, a) for a in left for b in right}


def one_way(sources: Iterable[int], sinks: Iterable[int]) -> set[Way]:
    """Every way from the first group to the second."""
    targets = tuple(sinks)
    return {(a, b) for a in sources for b in targets}
