"""Sends batches to peers that ask for them: what is in memory or on disk, at a bounded rate (`node.serving_rate`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from node.frames import RESPONSE_BYTES_MAX, FrameKind
from node.network import Network
from node.serving_rate import ServingRate
from node.store import Store


class BatchServer:
    """Answers requests for batches.

    Args:
        network: Where the answers go.
        store: Where batches are that have left memory.
        in_memory: The wire of a batch that is in memory.
    """

    def __init__(self, network: Network, store: Store, in_memory: Callable[[bytes], bytes | None]) -> None:
        self._network = network
        self._store = store
        self._in_memory = in_memory
        self._rate = ServingRate[int]()

    async def serve(self, peer: int, digests: Sequence[bytes]) -> None:
        """Answer with what we hold, one frame a batch, `RESPONSE_BYTES_MAX` in all; silence for the rest."""
        await self._rate.turn(peer)
        held = {each: wire for each in digests if (wire := self._in_memory(each)) is not None}
        wires = await trio.to_thread.run_sync(self._read, digests, held)
        self._rate.charge(peer, len(digests), sum(map(len, wires)))
        for wire in wires:
            self._network.send(peer, FrameKind.BATCH_RESPONSE, wire)

    def _read(self, digests: Sequence[bytes], held: Mapping[bytes, bytes]) -> list[bytes]:
        """The batches of one answer, from `held` or from disk; no more is read than is sent, but for one."""
        wires: list[bytes] = []
        size = 0
        for digest in digests:
            wire = held.get(digest) or self._store.batch(digest)
            size += len(wire or b"")
            if wires and size > RESPONSE_BYTES_MAX:
                break
            if wire is not None:
                wires.append(wire)
        return wires
