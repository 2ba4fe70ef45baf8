"""What the parts of a node need of the mesh (`node.peers`), so that each can be tested on a network in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from genesis.errors import Rejected
from node.frames import FrameKind


class Network(Protocol):
    """Sends frames to the other validators; no call blocks, and a frame to an absent peer is dropped."""

    @property
    def connected(self) -> frozenset[int]:
        """The peers that can be reached now."""

    def send(self, peer: int, kind: FrameKind, payload: bytes) -> None:
        """Send one frame to one peer."""

    def broadcast(self, kind: FrameKind, payload: bytes, recipients: Iterable[int] | None = None) -> None:
        """Send one frame to these peers; None: to all."""

    def cut(self, peer: int, reason: Rejected) -> None:
        """End the connections of a peer that broke a rule."""
