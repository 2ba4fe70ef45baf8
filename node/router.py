"""Hands the frames that peers send to the part of the node they are meant for."""

from __future__ import annotations

from genesis.errors import violated
from node.batch_pool import BatchPool
from node.blocksync import BlockFetcher, BlockServer
from node.frames import Frame, FrameKind
from node.replica import Replica


class Router:
    """The mesh's handler. `connect` it before the mesh runs: the parts behind it need the mesh to be built first."""

    def __init__(self) -> None:
        self._parts: tuple[Replica, BatchPool, BlockFetcher, BlockServer] | None = None

    def connect(self, replica: Replica, pool: BatchPool, fetcher: BlockFetcher, server: BlockServer) -> None:
        """Name the parts."""
        self._parts = (replica, pool, fetcher, server)

    async def __call__(self, peer: int, frames: list[Frame]) -> None:
        """Handle one list of frames from one peer, in order; its connection waits meanwhile.

        Raises:
            Rejected: The peer broke a rule and should be cut.
        """
        if self._parts is None:
            violated("A frame arrived before the node was wired.")
        replica, pool, fetcher, server = self._parts
        statements: list[bytes] = []
        for kind, payload in frames:
            match kind:
                case FrameKind.CONSENSUS:
                    statements.append(payload)
                case FrameKind.BLOCKS_REQUEST:
                    await server.handle(peer, payload)
                case FrameKind.BLOCKS_RESPONSE:
                    await fetcher.handle(peer, payload)
                case _:
                    await pool.handle(peer, kind, payload)
        if statements:
            await replica.deliver(peer, statements)
