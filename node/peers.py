"""The mesh: an authenticated connection a lane to every other validator, kept up for as long as the node runs.

Rules:

1. Each pair of validators shares two links, one a lane (`node.frames`): the higher index dials, the lower accepts.
   Indices are those of our own epoch, and the others may be in a later one: who is connected to nobody for a while
   dials everyone, and hears how it is with it (`node.hello`).
2. Only validators get in: TLS with pinned certificates (`node.tls`), then hello (`node.hello`), within one bounded
   time and a bounded number of places (`node.admission`).
3. `send` and `broadcast` never block and never fail: a frame for a peer that is not connected is dropped, and so is
   one that overflows its queue, along with the link. Whoever needs an answer asks again; the protocols above all do.
4. A newer link replaces an older one of the same peer and lane: after a crash the old one may look alive for a while.
5. A peer that breaks a rule loses both its lanes and is barred for a while. A connection that merely breaks is
   dialled again.
6. Everything is bounded: places for the unproved, bytes queued a link, bytes of each frame, frames and bytes a second,
   silence.

Theory of operation: one dialling task for each lower peer and lane, one listener for the higher ones, one task that
gives every link its beat. An established link, however it came about, is served by the same `_serve`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from consensus.types import OBSERVER
from genesis.errors import Rejected, invariant
from genesis.params import ChainParams
from node.admission import Backoff, Doorway, Standing, origin_of
from node.frames import FrameKind, FrameReader, Lane, header_of, lane_of, lane_table, payload_bounds
from node.hello import Farewell, Hello, say_hello, welcome
from node.links import Handler, Link, LinkLimits
from node.tls import Disconnected, TlsIdentity, TlsStream, client_context, server_context

LOG: Final = logging.getLogger("novate.mesh")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Another validator: its index in the validator set, name, where it listens, and pinned certificate (DER)."""

    index: int
    name: str
    host: str
    port: int
    certificate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshLimits:
    """The bounds of a mesh. Local choices, not agreed on by the chain.

    Attributes:
        connect_ms_max: For a TCP connection to come about.
        handshake_ms_max: For TLS and hello together, on either side.
        unproved_max: Accepted connections that have not proved who they are.
        queue_bytes_max: Bytes that wait to be sent, by lane (consensus, bulk), to one peer.
        beat_ms: The beat on which links are pinged and judged.
        silent_beats_max: Beats without a byte received, or with one send stuck, that end a link.
        frames_per_beat_max: Frames read from one link in a beat; beyond, reading pauses.
        bytes_per_beat_max: Bytes read from one link in a beat, by lane; beyond, reading pauses.
        backoff_ms_min, backoff_ms_max: The pauses between attempts to dial.
        lonely_ms: So long without any connection, and those are dialled too who should dial us.
        lasting_ms_min: A link that held this long starts the backoff anew.
        penalty_ms_min, penalty_ms_max: How long a peer is barred after an offence.
    """

    connect_ms_max: int = 5_000
    handshake_ms_max: int = 5_000
    unproved_max: int = 128
    queue_bytes_max: tuple[int, int] = (8_388_608, 67_108_864)
    beat_ms: int = 1_000
    silent_beats_max: int = 10
    frames_per_beat_max: int = 20_000
    bytes_per_beat_max: tuple[int, int] = (16_777_216, 67_108_864)
    backoff_ms_min: int = 50
    backoff_ms_max: int = 2_000
    lonely_ms: int = 5_000
    lasting_ms_min: int = 5_000
    penalty_ms_min: int = 1_000
    penalty_ms_max: int = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshConfig:
    """What a mesh needs to know.

    Attributes:
        index: Our own place in the validator set, or `OBSERVER`.
        chain_id, kernel_hash: What both sides of a hello must agree on.
        listen_host, listen_port: Where we accept peers; port 0 lets the system choose (`Mesh.port` tells).
        identity: Our certificate and its seed.
        peers: Every other validator.
        payload_bytes_max: The bound of each kind of frame (`payload_bounds` of the chain's parameters).
        limits: The local bounds.
    """

    index: int
    chain_id: bytes
    kernel_hash: bytes
    listen_host: str
    listen_port: int
    identity: TlsIdentity
    peers: tuple[PeerAddress, ...]
    payload_bytes_max: Mapping[FrameKind, int] = field(default_factory=lambda: payload_bounds(ChainParams()))
    limits: MeshLimits = MeshLimits()


def ignore_change(connected: frozenset[int]) -> None:
    """The default for `Mesh`'s `on_change`: nobody wants to know."""


class Mesh:
    """Connections to every other validator.

    Use: ``await nursery.start(mesh.run)``, then `send` and `broadcast` from the same Trio loop.

    Args:
        config: Who we are, who they are, and the bounds.
        handler: Gets every frame that arrives; see `node.links.Handler`.
        jitter: Draws uniformly from [0, 1), for the backoff.
        on_change: Called, synchronously, with `connected` whenever it has changed.
        farewell: What is said to validators that were removed, and what they say to us if we were.
    """

    def __init__(
        self,
        config: MeshConfig,
        handler: Handler,
        *,
        jitter: Callable[[], float],
        on_change: Callable[[frozenset[int]], None] = ignore_change,
        farewell: Farewell | None = None,
    ) -> None:
        limits = config.limits
        self._farewell = farewell
        self._config = config
        self._handler = handler
        self._jitter = jitter
        self._on_change = on_change
        self._peers = {peer.index: peer for peer in config.peers}
        invariant(len(self._peers) == len(config.peers), "Two peers have one index.")
        invariant(config.index not in self._peers, "A mesh has no peer with our own index.", index=config.index)
        self._pinned = {peer.certificate: peer.index for peer in config.peers}
        self._links: dict[Lane, dict[int, Link]] = {lane: {} for lane in Lane}
        self._connected: frozenset[int] = frozenset()
        self._doorway = Doorway(limits.unproved_max)
        self._standings = {
            index: Standing(limits.penalty_ms_min / 1000, limits.penalty_ms_max / 1000) for index in self._peers
        }
        self._tables = {lane: lane_table(config.payload_bytes_max, lane) for lane in Lane}
        former = farewell.former if farewell is not None else frozenset[bytes]()
        self._server_context = server_context(config.identity, [*self._pinned, *former])
        self._client_context = client_context(config.identity, self._pinned)
        self._port = config.listen_port

    # --- what the node uses ------------------------------------------------------------------------------------------

    @property
    def connected(self) -> frozenset[int]:
        """The peers to whom both lanes are open."""
        return self._connected

    @property
    def port(self) -> int:
        """The port we accept peers on, once `run` has started."""
        return self._port

    def send(self, peer: int, kind: FrameKind, payload: bytes) -> None:
        """Queue a frame for one peer, or drop it (rule 3)."""
        invariant(peer in self._peers, "There is no such peer.", peer=peer)
        header = header_of(kind, payload, self._config.payload_bytes_max)
        link = self._links[lane_of(kind)].get(peer)
        if link is not None:
            link.offer(header, payload)

    def broadcast(self, kind: FrameKind, payload: bytes, recipients: Iterable[int] | None = None) -> None:
        """Queue one frame for each of `recipients`, or for every peer; the payload is shared, not copied."""
        header = header_of(kind, payload, self._config.payload_bytes_max)
        links = self._links[lane_of(kind)]
        for peer in self._peers if recipients is None else recipients:
            link = links.get(peer)
            if link is not None:
                link.offer(header, payload)

    def cut(self, peer: int, reason: Rejected) -> None:
        """Close both lanes to a peer that broke a rule, and bar it for a while (rule 5)."""
        invariant(peer in self._peers, "There is no such peer.", peer=peer)
        standing = self._standings[peer]
        standing.offend(trio.current_time())
        LOG.warning("cut a peer", extra={"peer": self._peers[peer].name, "offences": standing.offences, **_why(reason)})
        self._end(peer, Disconnected("barred", "The peer broke a rule on another lane."))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial and keep up the links until cancelled; started once we listen.

        Raises:
            OSError: The address cannot be listened on.
        """
        config = self._config
        listeners = await trio.open_tcp_listeners(config.listen_port, host=config.listen_host)
        self._port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, self._accept, listeners))
            nursery.start_soon(self._keep_time)
            for peer in config.peers:
                for lane in Lane:
                    nursery.start_soon(self._keep_dialling, peer, lane)
            task_status.started()

    # --- how links come about ---------------------------------------------------------------------------------------

    async def _accept(self, transport: trio.SocketStream) -> None:
        """Serve one incoming connection, if it is a peer's."""
        host, origin = _origin(transport)
        stream = TlsStream(transport, self._server_context, server_side=True)
        try:
            with self._doorway.enter(self._config.limits.handshake_ms_max / 1000, origin_of(host)) as scope:
                link = await self._admit(stream)
            if scope.cancelled_caught:
                raise Disconnected("handshake_timeout", "The connection did not prove who it is in time.")
        except Rejected as reason:
            LOG.warning("refused a connection", extra={"origin": origin, **_why(reason)})
        else:
            await self._serve(link)
        finally:
            stream.close()

    async def _admit(self, stream: TlsStream) -> Link:
        reader = FrameReader()
        ours = self._hello(Lane.CONSENSUS)
        peer, lane = await welcome(stream, reader, ours, self._pinned, self._may_enter, self._farewell)
        return self._link(peer, lane, stream, reader)

    def _may_enter(self, peer: int) -> None:
        """Rules 1 and 5, for a peer that has proved who it is."""
        if self._we_dial(peer) and self._config.index != OBSERVER:
            raise Rejected("wrong_direction", "The higher index dials.", peer=peer, ours=self._config.index)
        if self._standings[peer].barred_s(trio.current_time()) > 0:
            raise Rejected("barred", "The peer broke a rule a short while ago.", peer=peer)

    def _we_dial(self, peer: int) -> bool:
        """Of two validators the one with the higher index dials; whoever has none dials everyone."""
        return peer < self._config.index or self._config.index == OBSERVER

    async def _keep_dialling(self, peer: PeerAddress, lane: Lane) -> None:
        """Keep one lane to one peer up, for ever; to a higher one only while we are connected to nobody."""
        limits, last_code = self._config.limits, ""
        backoff = Backoff(limits.backoff_ms_min / 1000, limits.backoff_ms_max / 1000, self._jitter)
        while True:
            if not self._we_dial(peer.index):
                await self._until_lonely()
            try:
                link = await self._dial(peer, lane)
            except Rejected as reason:
                level = logging.DEBUG if reason.code == last_code else logging.INFO
                LOG.log(level, "cannot reach a peer", extra={"peer": peer.name, "lane": lane.name, **_why(reason)})
                last_code = reason.code
            else:
                last_code, begun_s = "", trio.current_time()
                await self._serve(link)
                if trio.current_time() - begun_s >= limits.lasting_ms_min / 1000:
                    backoff.reset()
            barred_s = self._standings[peer.index].barred_s(trio.current_time())
            await trio.sleep(max(backoff.next_s(), barred_s))

    async def _until_lonely(self) -> None:
        """Return when `lonely_ms` have begun and ended without a connection."""
        is_lonely = False
        while not is_lonely:
            was_alone = not self._connected
            await trio.sleep(self._config.limits.lonely_ms / 1000)
            is_lonely = was_alone and not self._connected

    async def _dial(self, peer: PeerAddress, lane: Lane) -> Link:
        """One attempt: TCP, TLS, hello."""
        limits = self._config.limits
        try:
            with trio.fail_after(limits.connect_ms_max / 1000):
                transport = await trio.open_tcp_stream(peer.host, peer.port)
        except (OSError, trio.TooSlowError) as error:
            message = f"There is no connection to {peer.host}:{peer.port}: {error}"
            raise Disconnected("unreachable", message) from error
        stream, reader, proved = TlsStream(transport, self._client_context, server_side=False), FrameReader(), False
        try:
            with trio.fail_after(limits.handshake_ms_max / 1000):
                ours = self._hello(lane)
                await say_hello(stream, reader, ours, peer.index, peer.certificate, self._farewell)
            proved = True
        except trio.TooSlowError as error:
            raise Disconnected("handshake_timeout", "The peer did not answer in time.") from error
        finally:
            if not proved:
                stream.close()
        return self._link(peer.index, lane, stream, reader)

    def _hello(self, lane: Lane) -> Hello:
        config = self._config
        return Hello(config.chain_id, config.kernel_hash, lane)

    def _link(self, peer: int, lane: Lane, stream: TlsStream, reader: FrameReader) -> Link:
        limits = self._config.limits
        bounds = LinkLimits(
            queue_bytes_max=limits.queue_bytes_max[lane],
            silent_beats_max=limits.silent_beats_max,
            frames_per_beat_max=limits.frames_per_beat_max,
            bytes_per_beat_max=limits.bytes_per_beat_max[lane],
        )
        return Link(peer, lane, stream, reader, self._tables[lane], bounds)

    # --- how links live and end ---------------------------------------------------------------------------------------

    async def _serve(self, link: Link) -> None:
        """Run a link to its end, registered while it lives."""
        links = self._links[link.lane]
        older = links.get(link.peer)
        if older is not None:
            older.end(Disconnected("superseded", "The peer connected again."))
        links[link.peer] = link
        self._changed()
        try:
            reason = await link.run(self._handler)
        finally:
            if links.get(link.peer) is link:
                del links[link.peer]
                self._changed()
        if isinstance(reason, Disconnected):
            name = self._peers[link.peer].name
            LOG.info("lost a peer", extra={"peer": name, "lane": link.lane.name, **_why(reason)})
        else:
            self.cut(link.peer, reason)

    def _end(self, peer: int, reason: Rejected) -> None:
        for links in self._links.values():
            link = links.get(peer)
            if link is not None:
                link.end(reason)

    def _changed(self) -> None:
        """Recompute `connected`, and tell whoever wants to know when it differs."""
        now = frozenset(self._links[Lane.CONSENSUS]) & frozenset(self._links[Lane.BULK])
        before, self._connected = self._connected, now
        for peer in now - before:
            LOG.info("connected to a peer", extra={"peer": self._peers[peer].name, "peers": len(now)})
        if now != before:
            self._on_change(now)

    async def _keep_time(self) -> None:
        """Give every link its beat."""
        while True:
            await trio.sleep(self._config.limits.beat_ms / 1000)
            for links in self._links.values():
                for link in links.values():
                    link.beat()


def _why(reason: Rejected) -> dict[str, str]:
    return {"code": reason.code, "reason": str(reason)}


def _origin(transport: trio.SocketStream) -> tuple[str, str]:
    """Where a connection comes from: the host, and host and port for the log."""
    try:
        host, port, *_ = transport.socket.getpeername()
    except OSError:
        return "", "a connection that is gone"
    return host, f"{host}:{port}"
