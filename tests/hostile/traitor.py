"""A validator in the hands of a test: it has its keys, and says to the others whatever the test wants said."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import trio

from consensus.types import QC, Header, Message, Statement, genesis_header, genesis_qc, signing_message
from consensus.wire import encode_message
from contracts.kernels import kernel_hash
from contracts.operations import build_operation
from contracts.state import genesis_state
from genesis.addresses import split_address
from genesis.envelope import SALT_BYTES, sign_envelope
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.frames import HEADER, Frame, FrameKind, FrameReader, Lane, lane_table, payload_bounds
from node.hello import Hello, say_hello
from node.home import OpenedHome, index_of
from node.tls import Disconnected, TlsIdentity, TlsStream, client_context
from tests.hostile.net import POLL_S, Net

LIFETIME_MS = 5_000


@dataclass
class Voice:
    """An open lane to one validator."""

    stream: TlsStream
    reader: FrameReader
    sent: int = 0

    async def say(self, kind: FrameKind | int, payload: bytes) -> None:
        """Send a frame, whatever its bounds."""
        await self.stream.send(HEADER.pack(len(payload), kind) + payload)
        self.sent += 1

    async def say_all(self, kind: FrameKind, payloads: Sequence[bytes]) -> None:
        """Send frames in one piece."""
        await self.stream.send(b"".join(HEADER.pack(len(each), kind) + each for each in payloads))
        self.sent += len(payloads)

    async def until_closed(self) -> None:
        """Read until the validator closes the lane."""
        try:
            while True:
                await self.stream.receive()
        except Disconnected:
            return


@dataclass
class Traitor:
    """The keys of one seat, and the ways to use them."""

    net: Net
    home: OpenedHome

    @property
    def index(self) -> int:
        """Its seat."""
        return index_of(self.net.document, self.home.config.name, self.home.public_key)

    @property
    def genesis(self) -> Header:
        """Block 0."""
        state = genesis_state(self.net.document)
        return genesis_header(self.net.document.chain_id, state.time_unix_ms, state.root)

    @property
    def genesis_qc(self) -> QC:
        """The certificate of block 0."""
        return genesis_qc(self.genesis.block_hash)

    def signed(self, statement: Statement) -> Statement:
        """The statement with our signature."""
        message = signing_message(self.net.document.chain_id, statement)
        return replace(statement, signature=self.home.keys.consensus.sign(message))

    def wire(self, message: Message) -> bytes:
        """The payload of a frame."""
        return encode_message(message)

    @asynccontextmanager
    async def lane(self, target: int, lane: Lane) -> AsyncIterator[Voice]:
        """A lane to a validator with a lower index, past the hello; waits while that one bars us."""
        while True:
            try:
                voice = await self.dial(target, lane)
                break
            except Rejected as refusal:
                if refusal.details.get("verdict") != "barred":
                    raise
                await trio.sleep(POLL_S)
        try:
            yield voice
        finally:
            voice.stream.close()

    async def dial(self, target: int, lane: Lane) -> Voice:
        """One attempt; `Rejected` with the verdict when it is refused."""
        document = self.net.document
        host, port = split_address(document.validators[target].address)
        identity = TlsIdentity(document.validators[self.index].certificate, self.home.keys.network_seed)
        pinned = document.validators[target].certificate
        context = client_context(identity, [pinned])
        stream = TlsStream(await trio.open_tcp_stream(host, port), context, server_side=False)
        reader, welcome = FrameReader(), False
        try:
            hello = Hello(document.chain_id, kernel_hash(), lane)
            await say_hello(stream, reader, hello, target, pinned)
            welcome = True
        finally:
            if not welcome:
                stream.close()
        return Voice(stream, reader)

    async def hear(self, voice: Voice, lane: Lane) -> list[Frame]:
        """The next frames that the validator says on a lane."""
        table = lane_table(payload_bounds(self.net.document.params), lane)
        while not (frames := voice.reader.take(table)):
            voice.reader.append(await voice.stream.receive())
        return frames


def traitor_of(net: Net, index: int) -> Traitor:
    """Take over a seat whose validator does not run."""
    return Traitor(net, net.opened(index))


def an_envelope(traitor: Traitor, key: SigningKey, number: int) -> bytes:
    """An envelope with a valid signature, by a key that no member has; what nobody orders of it is gone soon."""
    operation = build_operation("asset.register", {"asset": "ABC", "decimals": "2"})
    expiry = time.time_ns() // 1_000_000 + LIFETIME_MS
    chain_id = traitor.net.document.chain_id
    return sign_envelope(chain_id, [key], [operation], expiry, number.to_bytes(SALT_BYTES, "big"))
