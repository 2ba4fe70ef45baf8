"""Signers for the tests: a directory, a key, a socket, and a client that says whatever it likes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from genesis.signing import SigningKey
from node.signer import SignerServer
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
from node.signer_ring import Signer, SignerRing, open_ring

CHAIN_ID = b"\x51" * 32
KEY = SigningKey(b"\x2a" * 32)
NEXT = SigningKey(b"\x2b" * 32)
"""The key that replaces it."""

A, B = b"\xaa" * 32, b"\xbb" * 32
PATIENCE_S = 30


def vote(view: int, block: bytes = A) -> Statement:
    """HotStuff's vote."""
    return Statement(Kind.CERTIFY, 0, view, 7, block)


def mark_file(directory: Path, public_key: bytes = KEY.public_key) -> SignerFile:
    """The file of a key's mark; by default the rig's first one's."""
    name = {KEY.public_key: "mark", NEXT.public_key: "mark-next"}[public_key]
    return SignerFile(directory / name, CHAIN_ID, public_key)


def make_signer(directory: Path, least: Mark | None = None, key: SigningKey = KEY) -> None:
    """The directory of a key that has signed nothing, or what `least` says; again for another key."""
    with closing(mark_file(directory, key.public_key)) as file:
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

    def of(self, kind: str) -> dict[str, int | str]:
        """The values of the last report of a kind."""
        return [details for each, details in self.seen if each == kind][-1]

    async def until(self, holds: Callable[[list[str]], bool]) -> None:
        """Wait until the reports so far look like this."""
        with trio.fail_after(PATIENCE_S):
            while not holds(self.kinds):
                await self._changed.wait()


def server_of(file: SignerFile, path: Path, notes: Notes | None = None) -> SignerServer:
    """A signer with the rig's key alone, on a mark that is open."""
    return SignerServer(SignerRing(CHAIN_ID, [Signer(KEY, CHAIN_ID, file)]), path, notes or Notes())


@asynccontextmanager
async def serving(
    directory: Path, notes: Notes | None = None, keys: Sequence[SigningKey] = (KEY,)
) -> AsyncIterator[Path]:
    """A signer on this directory at ``run/s`` inside it; the socket's path."""
    path, told = directory / "run" / "s", notes or Notes()
    with open_ring(CHAIN_ID, keys, partial(mark_file, directory), told) as ring:
        server = SignerServer(ring, path, told)
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

    async def greet(self, shown: Mark | None = None, key: SigningKey = KEY) -> Answer | None:
        """The rig's greeting."""
        return await self.ask(Hello(VERSION, CHAIN_ID, key.public_key, shown or Mark()))

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
    """A node's end at work, and what it reported.

    Attributes:
        known: What its safety state says now.
    """

    notes: Notes
    back: list[None]
    known: Mark
    signing: RemoteSigning = field(init=False)


@asynccontextmanager
async def remote(
    path: Path, known: Mark | None = None, public_key: bytes = KEY.public_key, chain_id: bytes = CHAIN_ID
) -> AsyncIterator[Remote]:
    """What a node uses, running; ends with the body."""
    node = Remote(Notes(), [], known or Mark())
    node.signing = RemoteSigning(
        path, chain_id, public_key, lambda: node.known, lambda: node.back.append(None), node.notes
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.signing.run)
        yield node
        nursery.cancel_scope.cancel()
