"""Hands the frames that peers send to the part of the node they are meant for."""

from __future__ import annotations

from consensus.events import Event
from genesis.errors import Rejected, violated
from node.batch_pool import BatchPool
from node.blocksync import BlockFetcher, BlockServer
from node.evidence import EvidenceDesk
from node.frames import Frame, FrameKind
from node.replica import Replica
from node.snapshots import SnapshotServer


class Router:
    """The mesh's handler. `connect` it before the mesh runs: the parts behind it need the mesh to be built first."""

    def __init__(self) -> None:
        self._parts: tuple[Replica, BatchPool, BlockFetcher, BlockServer, SnapshotServer, EvidenceDesk] | None = None

    def connect(
        self,
        replica: Replica,
        pool: BatchPool,
        fetcher: BlockFetcher,
        server: BlockServer,
        snapshots: SnapshotServer,
        evidence: EvidenceDesk,
    ) -> None:
        """Name the parts."""
        self._parts = (replica, pool, fetcher, server, snapshots, evidence)

    def post(self, event: Event) -> None:
        """Hand an event of our own to the replica."""
        self._connected[0].post(event)

    async def __call__(self, peer: int, frames: list[Frame]) -> None:
        """Handle one list of frames from one peer, in order; its connection waits meanwhile.

        Raises:
            Rejected: The peer broke a rule and should be cut.
        """
        replica, pool, fetcher, server, snapshots, evidence = self._connected
        statements: list[bytes] = []
        for kind, payload in frames:
            match kind:
                case FrameKind.CONSENSUS:
                    statements.append(payload)
                case FrameKind.BLOCKS_REQUEST:
                    await server.handle(peer, payload)
                case FrameKind.BLOCKS_RESPONSE:
                    await fetcher.handle(peer, payload)
                case FrameKind.BLOCKS_PRUNED:
                    fetcher.handle_pruned(peer, payload)
                case FrameKind.SNAPSHOT_REQUEST | FrameKind.PIECE_REQUEST:
                    await snapshots.handle(peer, kind, payload)
                case FrameKind.SNAPSHOT_OFFER | FrameKind.PIECE_RESPONSE:
                    raise Rejected("unasked_snapshot", "A peer sent a snapshot that nobody asked it for.", peer=peer)
                case FrameKind.EVIDENCE:
                    await evidence.handle(peer, payload)
                case _:
                    await pool.handle(peer, kind, payload)
        if statements:
            await replica.deliver(peer, statements)

    @property
    def _connected(self) -> tuple[Replica, BatchPool, BlockFetcher, BlockServer, SnapshotServer, EvidenceDesk]:
        if self._parts is None:
            violated("A frame arrived before the node was wired.")
        return self._parts
