"""TLS 1.3 between validators: mutual, pinned, and pumped in large pieces.

Rules:

1. TLS 1.3 and nothing older, certificates required both ways, and the validators' own certificates as the only trust
   roots: a stranger does not get past the handshake. No resumption: every connection proves its key anew.
2. Which validator it is, is decided by the exact bytes of the certificate (`TlsStream.handshake` returns them), never
   by a name inside it.
3. Our private key enters `ssl` through a 0600 file that holds it encrypted under a password made for the moment, and
   that is removed at once: in clear text it touches no disk.

Theory of operation: OpenSSL runs on two memory buffers. `receive` decrypts every record of one read from the socket
before it returns, where `trio.SSLStream` would return to the scheduler after each record of 16 KiB. `TlsStream` takes
the socket out of the `trio.SocketStream` and tries it before it waits: that spares a pass through the scheduler a
send, a third of the cost of a small frame. So `send` need not be a checkpoint. One task may receive while another
sends; the calls into OpenSSL are synchronous, so they never overlap. What OpenSSL itself wants to say while receiving
(a key update) waits in the outgoing buffer for the next send, which the links' pings guarantee.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from genesis.errors import Rejected
from node.certificates import certificate_pem, key_pem

RECORD_BYTES: Final = 16_384
"""The largest plaintext of a TLS record (RFC 8446 section 5.1); one read yields at most one record."""

PIECE_BYTES: Final = 131_072
"""What is encrypted or decrypted at a time: enough to amortise the calls, small enough to stay in cache.
Chosen with ``benchmarks.bench_mesh``."""


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """Who we are on the wire: our certificate (DER) and the 32-byte seed of its key. The seed is never shown."""

    certificate: bytes
    seed: bytes = field(repr=False)


def server_context(identity: TlsIdentity, trusted: Iterable[bytes]) -> ssl.SSLContext:
    """The context in which validators with `trusted` certificates (DER) may connect to us."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, identity, trusted)
    context.num_tickets = 0
    return context


def client_context(identity: TlsIdentity, trusted: Iterable[bytes]) -> ssl.SSLContext:
    """The context in which we connect to validators with `trusted` certificates (DER)."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, identity, trusted)


def _context(protocol: ssl._SSLMethod, identity: TlsIdentity, trusted: Iterable[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    roots = b"".join(trusted)
    if roots:  # `ssl` refuses an empty list; a chain of one validator trusts nobody
        context.load_verify_locations(cadata=roots)
    _load_identity(context, identity)
    return context


def _load_identity(context: ssl.SSLContext, identity: TlsIdentity) -> None:
    """Give `context` our certificate and key (rule 3)."""
    password = secrets.token_hex(32)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key_pem(identity.seed, password.encode()) + certificate_pem(identity.certificate))
        file.flush()
        context.load_cert_chain(file.name, password=password)


class Disconnected(Rejected):
    """A connection ended, or must end, and the peer broke no rule by it: the network or its process failed."""


class TlsStream:
    """A TLS connection over a TCP connection. Not a `trio.abc.Stream`: its end is an error, and closing is at once."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_socket")

    def __init__(self, transport: trio.SocketStream, context: ssl.SSLContext, *, server_side: bool) -> None:
        family, kind = transport.socket.family, transport.socket.type
        self._socket = socket.socket(family, kind, fileno=transport.socket.detach())
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._socket.setblocking(False)
        with suppress(OSError, AttributeError):  # the option is an optimisation, and the peer may be gone already
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE_BYTES)

    async def handshake(self) -> bytes:
        """Shake hands, once, first; returns the peer's certificate (DER). The caller bounds the time.

        Raises:
            Rejected: ``tls_failed``, the peer is a stranger or does not speak TLS 1.3; or `Disconnected`.
        """
        shaken = False
        while not shaken:
            try:
                self._object.do_handshake()
                shaken = True
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill(RECORD_BYTES)
            except ssl.SSLError as error:
                await self._flush()
                raise Rejected("tls_failed", f"The TLS handshake failed: {error.reason or error}.") from error
        await self._flush()
        certificate = self._object.getpeercert(binary_form=True)
        if certificate is None:
            raise Rejected("no_certificate", "The peer showed no certificate.")
        return certificate

    async def receive(self) -> bytes:
        """Some bytes, as many as have arrived, never none.

        Raises:
            Disconnected: The peer closed the connection, or it broke.
        """
        while True:
            data = self._decrypt()
            if data:
                return data
            await self._fill(PIECE_BYTES)

    async def send(self, data: bytes | bytearray) -> None:
        """Send `data`, all of it; a checkpoint only where the socket is full. One task at a time.

        Raises:
            Disconnected: The connection broke.
        """
        view = memoryview(data)
        while view:
            try:
                written = self._object.write(view[:PIECE_BYTES])
            except ssl.SSLError as error:
                raise _broken(error) from error
            view = view[written:]
            await self._flush()

    def close(self) -> None:
        """Close the socket now, without a farewell; nobody may be inside `receive` or `send`."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def _flush(self) -> None:
        """Send what OpenSSL has to say."""
        rest = memoryview(self._outgoing.read())
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise _broken(error) from error

    async def _fill(self, size_max: int) -> None:
        """Receive something from the socket for OpenSSL to read."""
        await trio.lowlevel.wait_readable(self._socket)
        try:
            received = self._socket.recv(size_max)
        except BlockingIOError:
            return
        except OSError as error:
            raise _broken(error) from error
        if not received:
            raise _closed()
        self._incoming.write(received)

    def _decrypt(self) -> bytes:
        """Everything that can be decrypted now."""
        pieces: list[bytes] = []
        try:
            while self._incoming.pending or self._object.pending():
                pieces.append(self._object.read(RECORD_BYTES))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError as error:
            if not pieces:
                raise _closed() from error
        except ssl.SSLError as error:
            raise _broken(error) from error
        return b"".join(pieces)


def _closed() -> Disconnected:
    return Disconnected("closed", "The peer closed the connection.")


def _broken(error: BaseException) -> Disconnected:
    return Disconnected("connection_broken", f"The connection broke: {error}.")
