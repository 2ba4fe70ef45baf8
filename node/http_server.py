"""Serves the HTTP interface: Hypercorn's Trio worker behind bounds of our own.

Hypercorn parses HTTP and runs the application; this module owns the sockets around it, because Hypercorn's own accept
loop has no limit of connections.

Rules:

1. At most `connections_max` connections. A newcomer beyond that takes the place of the connection that has been idle
   longest (no request of it is being answered); when none is idle, the newcomer is closed. So neither a crowd of silent
   connections nor one of slow senders locks others out.
2. In one pass of the event loop the input of at most `active_connections_max` connections is parsed: a flood of
   requests slows its senders down, while consensus, in the same loop, waits for a few requests and not for hundreds.
3. A client that does not take its answer within `send_ms_max` is cut. A client that goes away ends its wait at once.
4. HTTP/1.1 alone: a client that begins with HTTP/2, or asks for an upgrade to it, is cut.
5. Cancelling `serve` closes every socket and returns promptly, whatever its clients do.
6. No line is logged for a request. An error of a handler is logged and answered with 500.
7. An answer that comes before the body's end (413) closes the connection: what still arrives is dropped unparsed for
   `LINGER_S`, since closing at once would reset the connection before the client has read why.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from math import inf
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.applications import Starlette

from genesis.addresses import join_address
from node.http_api import WAIT_SCOPE, HttpLimits

LINGER_S: Final = 1.0
BACKLOG: Final = 128
BODY_EVENTS_MAX: Final = 2**14
"""Pieces of a body between Hypercorn and the application: more than one read can hold (64 KiB of the shortest chunks,
six bytes each). With fewer, Hypercorn's reader could wait for room that a request answered early never makes."""

_PIPE: Final = "novate.pipe"

_log = logging.getLogger("novate.http")


async def serve(
    app: Starlette,
    host: str,
    port: int,
    limits: HttpLimits | None = None,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until cancelled.

    Args:
        app: The application of `node.http_api.make_app`.
        host: The address to bind; loopback keeps it on this machine.
        port: The port to bind; 0 picks a free one.
        limits: The bounds.
        task_status: Started with the ``host:port`` that was bound.

    Raises:
        OSError: The address cannot be bound.
    """
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    server = _Server(app, limits or HttpLimits())
    bound = listeners[0].socket.getsockname()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.abort_when_cancelled)
        nursery.start_soon(server.deal_turns)
        nursery.start_soon(trio.serve_listeners, server.serve_connection, listeners)
        task_status.started(join_address(bound[0], bound[1]))


class _Server:
    """The connections of one interface, the one idle longest first."""

    def __init__(self, app: Starlette, limits: HttpLimits) -> None:
        self.app = app
        self.limits = limits
        self.config = _hypercorn_config(limits)
        self.context = WorkerContext(None)
        self._turns_left = limits.active_connections_max
        self._turns_used = trio.Event()
        self._without_turn = trio.lowlevel.ParkingLot()
        self._connections: OrderedDict[_Connection, None] = OrderedDict()

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """Serve one accepted connection until either side closes it."""
        if len(self._connections) >= self.limits.connections_max and not self._evict():
            await trio.aclose_forcefully(stream)
            return
        connection = _Connection(self, stream)
        self._connections[connection] = None
        try:
            await _Http11(connection).run()
        finally:
            self._connections.pop(connection, None)
            connection.abort()

    async def turn(self) -> None:
        """Wait for this connection's turn to be parsed (rule 2); free of charge while there are few."""
        self._turns_used.set()
        if self._turns_left and not self._without_turn:
            self._turns_left -= 1
        else:
            await self._without_turn.park()

    async def deal_turns(self) -> None:
        """Give out new turns once in each pass of the loop in which some were used."""
        while True:
            await self._turns_used.wait()
            self._turns_used = trio.Event()
            served = self._without_turn.unpark(count=self.limits.active_connections_max)
            self._turns_left = self.limits.active_connections_max - len(served)
            if served:
                self._turns_used.set()

    def used(self, connection: _Connection) -> None:
        """The connection has just been used: it is the last to be evicted."""
        if connection in self._connections:
            self._connections.move_to_end(connection)

    async def abort_when_cancelled(self) -> None:
        """Close every socket at cancellation, so that no shielded write of Hypercorn's can delay it."""
        try:
            await trio.sleep_forever()
        finally:
            for connection in self._connections:
                connection.abort()

    def _evict(self) -> bool:
        idle = next((each for each in self._connections if not each.busy), None)
        if idle is None:
            return False
        del self._connections[idle]
        idle.abort()
        return True


class _Connection:
    """One client: the stream that Hypercorn reads and writes, and the application that it calls, with our bounds.

    Attributes:
        busy: A request has arrived whole and is being answered.
    """

    def __init__(self, server: _Server, stream: trio.SocketStream) -> None:
        self.server = server
        self.busy = False
        self._stream = stream
        self._wait = trio.CancelScope()
        self._input_ended = trio.Event()
        self._idle = trio.CancelScope(deadline=trio.current_time() + server.limits.idle_ms_max / 1000)
        self._holds_head = False
        self._held = b""
        self._body_is_open = False
        self._drops_input = False
        self._is_reading = False

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket, for its addresses."""
        return self._stream.socket

    async def call_app(self, scope: dict[str, Any], _receive: Any, send: Any, *_threads: object) -> None:
        """Answer one request (the application as Hypercorn calls it)."""
        pipe: _Pipe = scope.pop(_PIPE)
        self._wait = scope[WAIT_SCOPE] = trio.CancelScope()
        self._body_is_open = any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in scope["headers"]
        )
        self.busy = not self._body_is_open

        async def receive_piece() -> Any:
            message = await pipe.take()
            self._body_is_open = message.get("more_body", False)
            self.busy = not self._body_is_open
            return message

        async def send_piece(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._holds_head = True
                if self._body_is_open:
                    self._drops_input = True
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self.server.app(scope, receive_piece, send_piece)
        finally:
            self.busy = False
            self.server.used(self)

    async def receive_some(self, max_bytes: int) -> bytes:
        """Input, when there is some and it is this connection's turn; empty at its end, or after too long a silence."""
        data = b""
        self._is_reading = True
        try:
            with trio.CancelScope(deadline=self._idle.deadline) as self._idle:
                data = await self._stream.receive_some(self._piece_bytes(max_bytes))
                while data and self._drops_input:
                    data = await self._stream.receive_some(max_bytes)
        finally:
            self._is_reading = False
            if not data:
                self._wait.cancel()
                self._input_ended.set()
        await self.server.turn()
        return data

    def _piece_bytes(self, max_bytes: int) -> int:
        """How much to read: of a request's head no more than it may have, since h11 bounds only what is incomplete."""
        return max_bytes if self._idle.deadline == inf else min(max_bytes, self.server.limits.header_bytes_max + 1)

    def holds_back(self, data: bytes) -> bool:
        """Take a piece of an answer; whether there is nothing to write yet. An answer's head waits for its body."""
        self._held += data
        held_back, self._holds_head = self._holds_head or not self._held, False
        return held_back

    async def send_held(self) -> None:
        """Write to the client what is held; one that does not take it in time is cut."""
        data, self._held = self._held, b""
        with trio.move_on_after(self.server.limits.send_ms_max / 1000):
            await self._stream.send_all(data)
            return
        self.abort()
        raise trio.BrokenResourceError("the client does not read its answer")

    async def send_eof(self) -> None:
        """Tell the client that no more comes."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close, after the client's input has ended or `LINGER_S` are over (rule 7)."""
        with trio.move_on_after(LINGER_S):
            await self._drain()
        await self._stream.aclose()

    async def _drain(self) -> None:
        """Until the client's input has ended. Hypercorn closes from its reader, or beside it while that reads on."""
        if self._is_reading:
            await self._input_ended.wait()
        try:
            while not self._input_ended.is_set() and await self._stream.receive_some():
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def restart(self, *_task: object) -> None:
        """No request is in progress: the client has `idle_ms_max` for one (Hypercorn's timer, without its task)."""
        self._idle.deadline = trio.current_time() + self.server.limits.idle_ms_max / 1000

    async def stop(self) -> None:
        """A request is in progress: no idle timer."""
        self._idle.deadline = inf

    def abort(self) -> None:
        """Close now; whoever uses the stream finds it closed."""
        self._wait.cancel()
        self._input_ended.set()
        self._stream.socket.close()


class _Http11(TCPServer):
    """Hypercorn's connection, which speaks HTTP/1.1 alone (rule 4), with its passes of the event loop saved.

    Hypercorn yields to the loop for every piece of a request and of an answer, nine times for a small one. Here an
    answer yields when it is written, and a request when nothing of it has arrived.
    """

    def __init__(self, connection: _Connection) -> None:
        server = connection.server
        # Hypercorn takes any stream with the methods it calls, and any application; its annotations say less.
        app: Any = connection.call_app
        stream: Any = connection
        super().__init__(app, server.config, server.context, ConnectionState({}), stream)
        self.idle_task = stream
        self._connection = connection

    async def protocol_send(self, event: Event) -> None:
        """Carry out what the protocol asks for."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
        elif not self._connection.holds_back(event.data):
            async with self.send_lock:
                try:
                    await self._connection.send_held()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    await self.protocol.handle(Closed())

    async def _read_data(self) -> None:
        plain: Any = _Protocol(self.protocol, self._task_group)
        self.protocol = plain
        await super()._read_data()


class _Protocol:
    """Hypercorn's HTTP/1.1, with its choice of a protocol taken out."""

    def __init__(self, chosen: Any, requests: TaskGroup) -> None:
        self._protocol: H11Protocol = chosen.protocol
        self._protocol.task_group = _Requests(requests)
        self._send = chosen.send

    async def handle(self, event: Event) -> None:
        """Pass an event of the connection on; ask for HTTP/2, and the connection is closed."""
        try:
            await self._protocol.handle(event)
        except (H2ProtocolAssumedError, H2CProtocolRequiredError):
            await self._send(Closed())


class _Requests:
    """Hypercorn's way of starting the application, with a pipe that yields only when it must."""

    def __init__(self, requests: TaskGroup) -> None:
        self._requests = requests

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        """Start the application for one request; returns where its messages go."""
        pipe = scope[_PIPE] = _Pipe()
        await self._requests.spawn_app(app, config, scope, send)
        return pipe.put


class _Pipe:
    """The messages of one request on their way to the application, `BODY_EVENTS_MAX` at most."""

    def __init__(self) -> None:
        self._messages: deque[Any] = deque()
        self._changed = trio.Event()

    async def put(self, message: Any) -> None:
        """Append a message; waits while the pipe is full."""
        while len(self._messages) >= BODY_EVENTS_MAX:
            await self._changed.wait()
        self._messages.append(message)
        self._note_change()

    async def take(self) -> Any:
        """The next message; waits while there is none."""
        while not self._messages:
            await self._changed.wait()
        message = self._messages.popleft()
        self._note_change()
        return message

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _hypercorn_config(limits: HttpLimits) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = _log
    config.include_server_header = False
    config.keep_alive_max_requests = limits.requests_per_connection_max
    config.h11_max_incomplete_size = limits.header_bytes_max
    config.max_app_queue_size = BODY_EVENTS_MAX
    return config
