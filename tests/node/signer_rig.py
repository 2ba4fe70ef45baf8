"""Signers for the tests: a directory, a key, a socket, and a client that says whatever it likes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import trio

from genesis.signing import SigningKey
from node.signer import Signer, SignerServer
from node.signer_client import RemoteSigning
from node.signer_file import SignerFile
from node.signer_guard import Kind, Mark, Statement
from node.signer_protocol import (
    VERSION,
    Answer,
    FrameBuffer,
    Hello,
    Request,
    Sign,
    decode_answer,
    encode_request,
)

CHAIN_ID = b"\x51" * 32
KEY = SigningKey(b"\x2a" * 32)
A, B = b"\xaa" * 32, b"\xbb" * 32
PATIENCE_S = 10


def vote(view: int, block: bytes = A) -> Statement:
    """HotStuff's vote."""
    return Statement(Kind.CERTIFY, 0, view, 7, block)


def mark_file(directory: Path) -> SignerFile:
    """The file of the rig's key."""
    return SignerFile(directory / "mark", CHAIN_ID, KEY.public_key)


def make_signer(directory: Path, least: Mark | None = None) -> None:
    """The directory of a key that has signed nothing, or what `least` says."""
    with closing(mark_file(directory)) as file:
        file.create(least or Mark())


@dataclass
class Notes:
    """What was reported, for tests that wait for it."""

    seen: list[tuple[str, dict[str, int | str]]] = field(default_factory=list)
    _changed: trio.Event = field(default_factory=trio.Event)

    def __call__(self, kind: str, details: dict[str, int | str]) -> None:
        """Take a report."""
        self.seen.append((kind, details))
        self._changed.set()
        self._changed = trio.Event()

    @property
    def kinds(self) -> list[str]:
        """What was reported, without values."""
        return [kind for kind, _ in self.seen]

    async def until(self, holds: Callable[[list[str]], bool]) -> None:
        """Wait until the reports so far look like this."""
        with trio.fail_after(PATIENCE_S):
            while not holds(self.kinds):
                await self._changed.wait()


@asynccontextmanager
async def serving(directory: Path, notes: Notes | None = None) -> AsyncIterator[Path]:
    """A signer on this directory at ``run/s`` inside it; the socket's path."""
    path = directory / "run" / "s"
    with closing(mark_file(directory)) as file:
        server = SignerServer(Signer(KEY, CHAIN_ID, file), path, notes or Notes())
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            yield path
            nursery.cancel_scope.cancel()


class Client:
    """One connection of a test's own."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = FrameBuffer()

    async def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def hear(self) -> Answer | None:
        """The next answer; None when the signer has closed the connection."""
        with trio.fail_after(PATIENCE_S):
            while (payload := self._buffer.take()) is None:
                data = await self.stream.receive_some(4_096)
                if not data:
                    return None
                self._buffer.append(data)
        return decode_answer(payload)

    async def ask(self, request: Request) -> Answer | None:
        """A question and its answer."""
        await self.say(encode_request(request))
        return await self.hear()

    async def greet(self, shown: Mark | None = None) -> Answer | None:
        """The rig's greeting."""
        return await self.ask(Hello(VERSION, CHAIN_ID, KEY.public_key, shown or Mark()))

    async def sign(self, statement: Statement, lock_view: int = 0) -> Answer | None:
        """Ask for a signature."""
        return await self.ask(Sign(statement, lock_view))


@asynccontextmanager
async def client_at(path: Path) -> AsyncIterator[Client]:
    """A connection that has said nothing yet."""
    async with await trio.open_unix_socket(path) as stream:
        yield Client(stream)


@dataclass
class Remote:
    """A node's end at work, and what it reported."""

    signing: RemoteSigning
    notes: Notes
    back: list[None]


@asynccontextmanager
async def remote(path: Path, known: Mark | None = None, public_key: bytes = KEY.public_key) -> AsyncIterator[Remote]:
    """What a node uses, running; ends with the body."""
    notes, back = Notes(), list[None]()
    signing = RemoteSigning(path, CHAIN_ID, public_key, known or Mark(), lambda: back.append(None), notes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(signing.run)
        yield Remote(signing, notes, back)
        nursery.cancel_scope.cancel()
