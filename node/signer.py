"""The signer's socket, at which nodes ask for signatures of the keys that it has.

Rules:

1. Which key a connection means it says in its greeting, and it keeps to that. How a key signs says `node.signer_ring`.
2. What `node.signer_guard` refuses is answered with its code and changes nothing. The connection goes on.
3. A write that failed ends the process (`StorageFailure`): whether the mark is durable is not known.
4. At most `CONNECTIONS_MAX` connections. Each greets within `FRAME_S_MAX` and then may be silent for as long as it
   likes, but a frame that has begun is whole within `FRAME_S_MAX`, and an answer is taken within it.
5. The socket is 0600 in a directory that only its owner can enter, and who connects as another user is cut.

Theory of operation. Each connection is a task; those that mean one key meet at its lock.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Final

import trio

from genesis.errors import Rejected
from node.files import make_private_directory
from node.signer_protocol import (
    SOCKET_PATH_BYTES_MAX,
    Answer,
    Ask,
    FrameBuffer,
    Hello,
    Refusal,
    Request,
    Sign,
    Signed,
    Welcome,
    decode_request,
    encode_answer,
    peer_uid,
)
from node.signer_ring import Report, Signer, SignerRing

CONNECTIONS_MAX: Final = 16
FRAME_S_MAX: Final = 5.0

_RECEIVE_BYTES: Final = 4_096


class SignerServer:
    """The signer's socket."""

    def __init__(self, ring: SignerRing, path: Path, report: Report) -> None:
        self._ring = ring
        self._path = path
        self._report = report
        self._connections = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the socket is gone afterwards.

        Raises:
            Rejected: ``bad_socket``, ``exposed_directory``, ``already_running``.
            StorageFailure: The disk refused a mark.
        """
        listener = trio.SocketListener(await _listen(self._path))
        try:
            async with trio.open_nursery() as nursery:
                serve = trio.serve_listeners
                nursery.start_soon(lambda: serve(self._handle, [listener], handler_nursery=nursery))
                task_status.started()
        finally:
            self._path.unlink(missing_ok=True)

    async def _handle(self, stream: trio.SocketStream) -> None:
        async with stream:
            self._connections += 1
            try:
                if self._may_enter(stream):
                    await self._talk(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._report("connection_broke", {})
            finally:
                self._connections -= 1

    def _may_enter(self, stream: trio.SocketStream) -> bool:
        """Rules 4 and 5."""
        uid = peer_uid(stream.socket.getsockopt)
        if uid != os.getuid():
            self._report("refused_user", {"uid": uid})
            return False
        if self._connections > CONNECTIONS_MAX:
            self._report("too_many_connections", {"connections_max": CONNECTIONS_MAX})
            return False
        return True

    async def _talk(self, stream: trio.SocketStream) -> None:
        """Question and answer, until the asker leaves or breaks a rule of the protocol."""
        buffer, meant = FrameBuffer(), None
        while True:
            try:
                request = await _hear(stream, buffer, patient=meant is not None)
                if request is None:
                    return
                answer, meant = await self._answer(request, meant)
            except Rejected as fault:
                self._report("cut", {"code": fault.code, "why": fault.message})
                await _say(stream, Refusal.of(fault))
                return
            if not await _say(stream, answer):
                return

    async def _answer(self, request: Request, meant: Signer | None) -> tuple[Answer, Signer | None]:
        """The answer, and the key that the connection means from here on; `meant` until now."""
        match request:
            case Ask():
                return self._ring.standing(request.place), meant
            case Hello():
                if meant is not None:
                    raise Rejected("second_hello", "A connection greets once.")
                meant = self._ring.meant_by(request)
                await meant.greet(request.shown)
                self._report("welcome", {"public_key": request.public_key.hex()})
                return Welcome(), meant
            case Sign():
                if meant is None:
                    raise Rejected("no_hello", "A connection greets first.")
                try:
                    return Signed(await meant.sign(request.statement, request.lock_view)), meant
                except Rejected as refusal:
                    self._report("refused", {"code": refusal.code, "why": str(refusal)})
                    return Refusal.of(refusal), meant


async def _hear(stream: trio.SocketStream, buffer: FrameBuffer, patient: bool) -> Request | None:
    """The next question, or None when the asker has left; `patient` if it may be silent before it (rule 4)."""
    if patient and buffer.is_empty and not await _receive(stream, buffer):
        return None
    with trio.move_on_after(FRAME_S_MAX):
        while (payload := buffer.take()) is None:
            if not await _receive(stream, buffer):
                return None
        return decode_request(payload)
    raise Rejected("too_slow", f"A frame is whole within {FRAME_S_MAX:.0f} s.")


async def _receive(stream: trio.SocketStream, buffer: FrameBuffer) -> bool:
    """Some more bytes; whether there were any."""
    data = await stream.receive_some(_RECEIVE_BYTES)
    buffer.append(data)
    return bool(data)


async def _say(stream: trio.SocketStream, answer: Answer) -> bool:
    """Send an answer; whether it was taken in time."""
    with trio.move_on_after(FRAME_S_MAX) as scope:
        await stream.send_all(encode_answer(answer))
    return not scope.cancelled_caught


async def _listen(path: Path) -> trio.socket.SocketType:
    """A socket that listens at `path`, for this user alone; what a killed signer left there is removed."""
    _check_place(path)
    if path.is_socket():
        if await _answers(path):
            raise Rejected("already_running", "Another signer listens at this socket.", socket=str(path))
        path.unlink()
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(CONNECTIONS_MAX)
    except BaseException:  # Cancellation too: whatever ends this, nobody else has the socket to close it.
        listening.close()
        raise
    return listening


def _check_place(path: Path) -> None:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        message = f"A socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes."
        raise Rejected("bad_socket", message, socket=str(path), size=len(os.fsencode(path)))
    if path.exists() and not path.is_socket():
        raise Rejected("bad_socket", "There is something else than a socket.", socket=str(path))
    make_private_directory(path.parent)
    found = path.parent.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Rejected(
            "exposed_directory",
            "The socket's directory must be its owner's alone.",
            directory=str(path.parent),
            mode=f"{stat.S_IMODE(found.st_mode):04o}",
        )


async def _answers(path: Path) -> bool:
    try:
        stream = await trio.open_unix_socket(path)
    except OSError:
        return False
    await stream.aclose()
    return True
