"""The signer: one key, its mark, and a local socket at which nodes ask for signatures.

Rules:

1. Decide, make the mark durable, sign, answer: in this order, one statement at a time, whoever asks. A crash between
   any two steps leaves a mark that forbids too much and never too little, and the same question, asked again, is a
   repetition.
2. What `node.signer_guard` refuses is answered with its code and changes nothing. The connection goes on.
3. A write that failed ends the process (`StorageFailure`): whether the mark is durable is not known.
4. At most `CONNECTIONS_MAX` connections. Each greets within `FRAME_S_MAX` and then may be silent for as long as it
   likes, but a frame that has begun is whole within `FRAME_S_MAX`, and an answer is taken within it.
5. The socket is 0600 in a directory that only its owner can enter, and who connects as another user is cut.

Theory of operation. Each connection is a task; they meet at one lock, which is fair, so a connection that asks without
end delays another by one statement at a time. The write takes place under the lock, in place or in a worker thread
(`node.offload`), and sets the mark in memory too, so that a task that is cancelled meanwhile leaves both alike.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.files import make_private_directory
from node.offload import Offload
from node.signer_file import SignerFile
from node.signer_guard import Mark, Statement, permit, raised
from node.signer_protocol import (
    SOCKET_PATH_BYTES_MAX,
    VERSION,
    Answer,
    Ask,
    FrameBuffer,
    Hello,
    Refusal,
    Request,
    Sign,
    Signed,
    Standing,
    Welcome,
    decode_request,
    encode_answer,
    peer_uid,
)

CONNECTIONS_MAX: Final = 16
FRAME_S_MAX: Final = 5.0
SYNC_US: Final = 150
"""One synced write of the mark."""

_RECEIVE_BYTES: Final = 4_096

Report = Callable[[str, dict[str, int | str]], None]
"""Told a kind and its values, for the log."""


class Signer:
    """One key and its mark."""

    def __init__(self, key: SigningKey, chain_id: bytes, file: SignerFile) -> None:
        self._key = key
        self._chain_id = chain_id
        self._file = file
        self._mark = file.load()
        self._turn = trio.Lock()
        self._writes = Offload()
        self._signed = 0
        self._repeated = 0
        self._refused = 0

    async def greet(self, hello: Hello) -> None:
        """Check that the asker means this key, and raise the mark to what it shows.

        Raises:
            Rejected: ``wrong_version``, ``wrong_chain``, ``wrong_key``; ``signed_otherwise`` when it shows a statement
                that contradicts one of ours: the key signs elsewhere too.
            StorageFailure: The disk refused.
        """
        _same("wrong_version", "The node speaks another version of the signer's protocol.", hello.version, VERSION)
        _same("wrong_chain", "The node is on another chain.", hello.chain_id.hex(), self._chain_id.hex())
        _same("wrong_key", "The node's key is another one.", hello.public_key.hex(), self._key.public_key.hex())
        async with self._turn:
            await self._raise(raised(self._mark, hello.shown))

    async def sign(self, statement: Statement, lock_view: int) -> bytes:
        """The signature over a statement that contradicts nothing; rule 1.

        Raises:
            Rejected: As `node.signer_guard.permit`.
            StorageFailure: The disk refused; there is no signature.
        """
        async with self._turn:
            try:
                mark = permit(self._mark, statement, lock_view)
            except Rejected:
                self._refused += 1
                raise
            if mark is self._mark:
                self._repeated += 1
            else:
                await self._raise(mark)
                self._signed += 1
            return self._key.sign(statement.message(self._chain_id))

    @property
    def standing(self) -> Standing:
        """How this signer stands."""
        counts = (self._signed, self._repeated, self._refused)
        return Standing(self._chain_id, self._key.public_key, self._mark, *counts)

    async def _raise(self, mark: Mark) -> None:
        if mark != self._mark:
            await self._writes.run(SYNC_US, self._save, mark)

    def _save(self, mark: Mark) -> None:
        self._file.save(mark)
        self._mark = mark


class SignerServer:
    """The signer's socket."""

    def __init__(self, signer: Signer, path: Path, report: Report) -> None:
        self._signer = signer
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
        buffer, greeted = FrameBuffer(), False
        while True:
            try:
                request = await _hear(stream, buffer, greeted)
                if request is None:
                    return
                answer = await self._answer(request, greeted)
            except Rejected as fault:
                self._report("cut", {"code": fault.code, "why": fault.message})
                await _say(stream, Refusal.of(fault))
                return
            greeted = greeted or isinstance(request, Hello)
            if not await _say(stream, answer):
                return

    async def _answer(self, request: Request, greeted: bool) -> Answer:
        match request:
            case Ask():
                return self._signer.standing
            case Hello():
                if greeted:
                    raise Rejected("second_hello", "A connection greets once.")
                await self._signer.greet(request)
                self._report("welcome", {})
                return Welcome()
            case Sign():
                if not greeted:
                    raise Rejected("no_hello", "A connection greets first.")
                try:
                    return Signed(await self._signer.sign(request.statement, request.lock_view))
                except Rejected as refusal:
                    self._report("refused", {"code": refusal.code, "why": str(refusal)})
                    return Refusal.of(refusal)


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


def _same(code: str, message: str, theirs: int | str, ours: int | str) -> None:
    if theirs != ours:
        raise Rejected(code, message, theirs=theirs, ours=ours)
