"""A flood of clients at one validator's HTTP face, while blocks keep their pace: docs/FAULTS.md row 30."""

from __future__ import annotations

import json
import os
import time

import pytest
import trio

from genesis.addresses import split_address
from genesis.signing import SigningKey
from tests.hostile.conftest import HONEST
from tests.hostile.net import Net, watched
from tests.hostile.traitor import Traitor, an_envelope

pytestmark = [pytest.mark.trio, pytest.mark.process]

CLIENTS = 60
SILENT = 200
FLOOD_S = 5.0
SPANS_MAX = 4
"""A machine that stands still for a moment costs views in one span, a flood that does harm in all of them."""

LOST_MAX = 2
"""Views of honest leaders that a span of the flood may cost beyond what a quiet one does."""


def post(body: bytes, media_type: str) -> bytes:
    """A request with this body."""
    return (
        b"POST /v1/transactions HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n"
        b"content-type: %s\r\ncontent-length: %d\r\n\r\n" % (media_type.encode(), len(body))
    ) + body


def requests(traitor: Traitor) -> list[bytes]:
    """Garbage, envelopes with false signatures, valid ones that nobody may send, and questions that cost something."""
    key = SigningKey(b"\x30" * 32)
    good = [an_envelope(traitor, key, number) for number in range(200)]
    bad = [each[:-64] + os.urandom(64) for each in good]
    return [
        post(os.urandom(20_000), "application/msgpack"),
        post(b"[" * 50_000, "application/json"),
        post(json.dumps({"envelopes": [each.hex() for each in bad]}).encode(), "application/json"),
        post(json.dumps({"envelopes": [each.hex() for each in good]}).encode(), "application/json"),
        b"GET /v1/series?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/blocks/1 HTTP/1.1\r\nhost: x\r\n\r\n" * 20,
    ]


async def test_a_flood_of_clients_does_not_slow_the_blocks(net: Net, traitor: Traitor) -> None:
    """Requests are taken in turns beside the event loop's real work, and their number is bounded."""
    host, port = split_address(net.network.urls[0].removeprefix("http://"))
    wires = requests(traitor)
    answered = 0

    async def pour(number: int) -> None:
        nonlocal answered
        while True:
            try:
                async with await trio.open_tcp_stream(host, port) as stream:
                    for step in range(1_000):
                        await stream.send_all(wires[(number + step) % len(wires)])
                        if not await stream.receive_some(65_536):
                            break
                        answered += 1
            except (OSError, trio.BrokenResourceError):
                await trio.lowlevel.checkpoint()

    async def pace(span_s: float) -> tuple[float, int]:
        began, low = time.monotonic(), await net.height(1)
        size = net.log_size(1)
        await trio.sleep(span_s)
        rate = (await net.height(1) - low) / (time.monotonic() - began)
        lost = [each for each in net.log(1, size) if each["msg"] == "view_timeout" and each["leader"] in HONEST]
        return rate, len(lost)

    quiet, lost_before = await pace(FLOOD_S)
    memory = net.memory_kib(0)
    async with watched(net, HONEST), trio.open_nursery() as nursery:
        silent = [await trio.open_tcp_stream(host, port) for _ in range(SILENT)]
        for number in range(CLIENTS):
            nursery.start_soon(pour, number)
        spans = [await pace(FLOOD_S)]
        while spans[-1][1] > lost_before + LOST_MAX and len(spans) < SPANS_MAX:
            spans.append(await pace(FLOOD_S))
        nursery.cancel_scope.cancel()
    for each in silent:
        await each.aclose()
    busy, lost = spans[-1]
    growth = net.memory_kib(0) - memory
    print(
        f"{quiet:.1f} blocks/s quiet, {busy:.1f} under {answered} requests by {CLIENTS}; RSS +{growth} KiB, "
        f"lost {lost_before} quiet, {lost} under them in span {len(spans)}"
    )
    assert lost <= lost_before + LOST_MAX
    assert growth < 131_072
    assert answered > 0
