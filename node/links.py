"""A link: one open lane to one peer, past TLS and hello. One task reads, one task writes.

Rules:

1. `offer` never blocks. What waits to be sent is bounded in bytes; one frame over it ends the link, because a peer so
   far behind is better served by block sync than by a longer queue.
2. The writer joins whatever is queued into one send, so that a burst costs one encryption and one system call.
3. The reader hands over all frames of one receive as a list and waits for the handler: a handler that is slow slows
   this peer's lane down to its own pace, through TCP, and nothing piles up in between.
4. A frame that breaks a rule, or a handler that raises `Rejected`, ends the link; the reason says whether the peer is
   to blame (any `Rejected`) or the connection alone (`Disconnected`).
5. Once a beat (`beat`, called by the mesh): a link that sent nothing sends a PING; one that received nothing for
   `silent_beats_max` beats, or whose one send has not ended for as long, is over. Beats are counted, not seconds, so
   a process that was stopped for a minute does not condemn its peers when it wakes.
6. Each beat allows so many frames and so many bytes; beyond, the reader pauses until the next. So what a peer makes us
   decrypt, hash and decode has a bound in time as well, whatever we then think of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

from genesis.errors import Rejected
from node.frames import HEADER, Frame, FrameKind, FrameReader, FrameTable, Lane
from node.tls import PIECE_BYTES, Disconnected, TlsStream

Handler = Callable[[int, list[Frame]], Awaitable[None]]
"""Takes (peer, frames), all of one lane and in the order they were sent; never PING or HELLO. Awaited by the lane's
reader. May be cancelled at any of its checkpoints, when the link ends. Raises `Rejected` to have the peer cut."""

JOIN_BYTES_MIN: Final = PIECE_BYTES
"""The writer joins queued frames until it has this many bytes, then sends."""

PING: Final = HEADER.pack(0, FrameKind.PING)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """The bounds of one link: bytes queued to it, beats of silence or of one stuck send, frames and bytes received in a
    beat.
    """

    queue_bytes_max: int
    silent_beats_max: int
    frames_per_beat_max: int
    bytes_per_beat_max: int


class Link:
    """One lane to one peer. ``reason = await link.run(handler)`` lives as long as the connection."""

    def __init__(
        self, peer: int, lane: Lane, stream: TlsStream, reader: FrameReader, table: FrameTable, limits: LinkLimits
    ) -> None:
        self.peer = peer
        self.lane = lane
        self._stream = stream
        self._reader = reader
        self._table = table
        self._limits = limits
        self._scope = trio.CancelScope()
        self._reason: Rejected | None = None
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._frames_waiting = trio.lowlevel.ParkingLot()
        self._next_beat = trio.lowlevel.ParkingLot()
        self._frames_left = limits.frames_per_beat_max
        self._bytes_left = limits.bytes_per_beat_max
        self._receiving = False
        self._sending = False
        self._sent_since_beat = False
        self._silent_beats = 0
        self._stuck_beats = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the writer."""
        return self._queued_bytes

    async def run(self, handler: Handler) -> Rejected:
        """Move frames both ways until the link ends; returns why it did. The stream is closed then."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_rejected, lambda: self._read(handler))
                    nursery.start_soon(self._until_rejected, self._write)
        finally:
            self._stream.close()
        return self._reason or Disconnected("ended", "The link was closed from our side.")

    def offer(self, header: bytes, payload: bytes) -> None:
        """Queue a frame for the writer; where there is no room, the link ends."""
        size = len(header) + len(payload)
        if self._queued_bytes + size > self._limits.queue_bytes_max:
            message = "The peer reads more slowly than we have to tell it."
            self.end(Disconnected("queue_overflow", message, queued=self._queued_bytes, size=size))
            return
        queue = self._queue
        if not queue:
            self._frames_waiting.unpark()
        queue.append(header)
        queue.append(payload)
        self._queued_bytes += size

    def end(self, reason: Rejected) -> None:
        """Close the link at once; the first reason counts."""
        if self._reason is None:
            self._reason = reason
        self._scope.cancel()

    def beat(self) -> None:
        """Rules 5 and 6."""
        self._frames_left = self._limits.frames_per_beat_max
        self._bytes_left = self._limits.bytes_per_beat_max
        self._next_beat.unpark_all()
        self._silent_beats += self._receiving
        self._stuck_beats += self._sending
        if self._silent_beats > self._limits.silent_beats_max:
            self.end(Disconnected("silent", "Nothing was heard from the peer.", beats=self._silent_beats))
        if self._stuck_beats > self._limits.silent_beats_max:
            self.end(Disconnected("stuck", "The peer does not read.", beats=self._stuck_beats))
        if not self._sent_since_beat and not self._queue and not self._sending:
            self.offer(PING, b"")
        self._sent_since_beat = False

    async def _until_rejected(self, part: Callable[[], Awaitable[None]]) -> None:
        try:
            await part()
        except Rejected as reason:
            self.end(reason)

    async def _read(self, handler: Handler) -> None:
        """Hand over what came with the hello's bytes, then what each receive brings."""
        reader, table = self._reader, self._table
        while True:
            frames = reader.take(table)
            if frames:
                await self._hand_over(handler, frames)
            if self._frames_left < 0 or self._bytes_left < 0:
                await self._next_beat.park()
            self._receiving = True
            data = await self._stream.receive()
            self._receiving = False
            self._silent_beats = 0
            self._bytes_left -= len(data)
            reader.append(data)

    async def _hand_over(self, handler: Handler, frames: list[Frame]) -> None:
        """Give `frames` to the handler, without the pings."""
        self._frames_left -= len(frames)
        wanted = [frame for frame in frames if frame[0] is not FrameKind.PING]
        if wanted:
            await handler(self.peer, wanted)

    async def _write(self) -> None:
        while True:
            if not self._queue:
                await self._frames_waiting.park()
            self._sending = True
            await self._stream.send(self._joined())
            self._sending = False
            self._sent_since_beat = True
            self._stuck_beats = 0
            if self._queue:
                await trio.lowlevel.checkpoint()

    def _joined(self) -> bytes:
        """Take frames from the queue, oldest first, until there is enough for one send."""
        queue, pieces, size = self._queue, list[bytes](), 0
        while queue and size < JOIN_BYTES_MIN:
            piece = queue.popleft()
            pieces.append(piece)
            size += len(piece)
        self._queued_bytes -= size
        return b"".join(pieces)
