"""How fast the mesh moves frames, over real TLS on loopback.

Run: ``python -m benchmarks.bench_mesh``. Two processes, so that each end has its own interpreter, as validators do.
Medians of `ROUNDS` rounds. Four questions:

1. The latency of a small frame: there and back on an idle consensus lane, halved.
2. The cost of small frames: processor time at both ends for each frame of a steady flow, in bursts as a node makes them
   (a vote or an acknowledgement or two a wake-up).
3. The throughput of the bulk lane and its cost, in batches of 64 KiB and of 1 MiB.
4. How soon four validators started at once (here in one process) form a full mesh.
"""

from __future__ import annotations

import multiprocessing
import platform
import random
import socket
import ssl
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import trio

from node.certificates import make_certificate
from node.frames import Frame, FrameKind
from node.links import Handler
from node.peers import Mesh, MeshConfig, MeshLimits, PeerAddress, ignore_change
from node.tls import TlsIdentity

ROUNDS = 7
ROUND_TRIPS = 500
SMALL_FRAMES = 5_000
SMALL_BYTES = 300
BULK_BYTES = 32 * 2**20
STOP = b"stop"
EXPECT = b"expect "


def identity(index: int) -> TlsIdentity:
    """A validator's certificate and seed, the same in both processes."""
    seed = bytes([index + 1]) * 32
    return TlsIdentity(make_certificate(seed, f"v{index}"), seed)


def make_mesh(
    index: int,
    ports: list[int],
    handler: Handler,
    on_change: Callable[[frozenset[int]], None] = ignore_change,
) -> Mesh:
    """Validator `index` of as many as there are ports (0: the system's choice)."""
    config = MeshConfig(
        index=index,
        chain_id=bytes(32),
        kernel_hash=bytes(32),
        listen_host="127.0.0.1",
        listen_port=ports[index],
        identity=identity(index),
        peers=tuple(
            PeerAddress(each, f"v{each}", "127.0.0.1", port, identity(each).certificate)
            for each, port in enumerate(ports)
            if each != index
        ),
        limits=MeshLimits(frames_per_beat_max=10_000_000, bytes_per_beat_max=(2**36, 2**36)),
    )
    return Mesh(config, handler, jitter=random.Random(index).random, on_change=on_change)


async def answer_questions(pipe: Connection) -> None:
    """The other process: answers an acknowledgement at once, and a burst, once it is whole, with its processor time."""
    received = expected = 0
    done = trio.Event()

    async def handle(peer: int, frames: list[Frame]) -> None:
        nonlocal received, expected
        for kind, payload in frames:
            if payload == STOP:
                done.set()
            elif payload.startswith(EXPECT):
                received, expected = 0, int(payload[len(EXPECT) :])
                mesh.send(peer, FrameKind.BATCH_ACK, str(time.process_time_ns()).encode())
            elif kind is FrameKind.BATCH_ACK:
                mesh.send(peer, FrameKind.BATCH_ACK, payload)
            else:
                received += len(payload)
        if expected and received >= expected:
            received = expected = 0
            mesh.send(peer, FrameKind.BATCH_ACK, str(time.process_time_ns()).encode())

    mesh = make_mesh(0, [0, 1], handle)
    async with trio.open_nursery() as nursery:
        await nursery.start(mesh.run)
        pipe.send(mesh.port)
        await done.wait()
        nursery.cancel_scope.cancel()


class Asker:
    """This process's mesh and the answers it gets."""

    def __init__(self, port: int) -> None:
        self.connected = trio.Event()
        self._sender, self._answers = trio.open_memory_channel[bytes](1_000)
        self.mesh = make_mesh(1, [port, 0], self._handle, lambda _: self.connected.set())

    async def _handle(self, peer: int, frames: list[Frame]) -> None:
        for _, payload in frames:
            self._sender.send_nowait(payload)

    async def answer(self) -> bytes:
        """The next answer."""
        return await self._answers.receive()

    async def measure(self, kind: FrameKind, size: int, count: int, burst: int) -> tuple[float, float, float]:
        """Send `count` frames of `size` bytes; returns frames a second, and us of CPU a frame at both ends."""
        self.mesh.send(0, kind, EXPECT + str(size * count).encode())
        theirs = int(await self.answer())
        payload, begun, ours = bytes(size), time.perf_counter(), time.process_time()
        for _ in range(count // burst):
            for _ in range(burst):
                self.mesh.send(0, kind, payload)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        theirs = int(await self.answer()) - theirs
        ours_s, wall_s = time.process_time() - ours, time.perf_counter() - begun
        return count / wall_s, ours_s * 1e6 / count, theirs / 1e3 / count


async def measure(port: int) -> None:
    """This process: connects, asks, prints."""
    asker = Asker(port)
    async with trio.open_nursery() as nursery:
        await nursery.start(asker.mesh.run)
        await asker.connected.wait()
        await report_latency(asker)
        for burst in (1, 2, 10, 100):
            await report(asker, FrameKind.CONSENSUS, SMALL_BYTES, SMALL_FRAMES, burst)
        for size in (65_536, 1_048_576):
            await report(asker, FrameKind.BATCH, size, BULK_BYTES // size, BULK_BYTES // size)
        asker.mesh.send(0, FrameKind.CONSENSUS, STOP)
        while asker.mesh.connected:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def report_latency(asker: Asker) -> None:
    """Question 1."""
    medians, tails = [], []
    for _ in range(ROUNDS):
        spans = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            asker.mesh.send(0, FrameKind.BATCH_ACK, b"x" * 32)
            await asker.answer()
            spans.append((time.perf_counter() - begun) / 2)
        medians.append(statistics.median(spans))
        tails.append(sorted(spans)[ROUND_TRIPS * 99 // 100])
    p50, p99 = (1e6 * statistics.median(each) for each in (medians, tails))
    print(f"one small frame, one way: p50 {p50:.0f} us, p99 {p99:.0f} us")


async def report(asker: Asker, kind: FrameKind, size: int, count: int, burst: int) -> None:
    """Questions 2 and 3."""
    rounds = [await asker.measure(kind, size, count, burst) for _ in range(ROUNDS)]
    rate, ours, theirs = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(
        f"{size:>9,} B, {burst:>3} at a time: {rate:>9,.0f} frames/s, {rate * size / 2**20:>5,.0f} MiB/s; "
        f"{ours:,.1f} us CPU a frame to send, {theirs:,.1f} us to receive"
    )


async def form_mesh() -> float:
    """Question 4: seconds until each of four is connected to the three others."""
    ports, meshes = [free_port() for _ in range(4)], list[Mesh]()
    complete, begun = trio.Event(), time.perf_counter()

    async def ignore(peer: int, frames: list[Frame]) -> None:
        return None

    def look(_: frozenset[int]) -> None:
        if all(len(mesh.connected) == 3 for mesh in meshes):
            complete.set()

    meshes += [make_mesh(index, ports, ignore, look) for index in range(4)]
    async with trio.open_nursery() as nursery:
        for mesh in reversed(meshes):
            nursery.start_soon(mesh.run)
        await complete.wait()
        nursery.cancel_scope.cancel()
    return time.perf_counter() - begun


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answering_process(pipe: Connection) -> None:
    """The other process's main."""
    trio.run(answer_questions, pipe)


def processor() -> str:
    """The processor's model where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def main() -> None:
    """Start the other process, measure, print."""
    print(
        f"{processor()}, {multiprocessing.cpu_count()} CPUs, {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}, trio {trio.__version__}, {ssl.OPENSSL_VERSION}"
    )
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=answering_process, args=(theirs,))
    process.start()
    theirs.close()  # So that its end is the pipe's, and we do not wait for a process that failed.
    trio.run(measure, ours.recv())
    process.join()
    formed_s = statistics.median(trio.run(form_mesh) for _ in range(ROUNDS))
    print(f"four validators started at once: full mesh after {1000 * formed_s:.0f} ms")


if __name__ == "__main__":
    main()
