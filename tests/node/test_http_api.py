"""The HTTP interface over real sockets and the real server: every route, every refusal."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgpack
import pytest
import trio

from node import json_text
from node.http_api import HttpLimits
from tests.node.fake_node import FakeNode, envelope_id, serving

pytestmark = pytest.mark.trio

MSGPACK = {"content-type": "application/msgpack"}
JSON = {"content-type": "application/json"}
RECEIPT = {"height": 3, "position": 0, "code": "", "message": "", "events": []}
REFUSED = {"height": 3, "position": 1, "code": "insufficient_funds", "message": "needs 5, has 3", "events": []}
SMALL = HttpLimits(body_bytes_max=2_000, envelopes_max=3, wait_ms_max=5_000, waits_max=1, body_read_ms_max=200)


@asynccontextmanager
async def client_of(node: FakeNode, limits: HttpLimits | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of a served node."""
    async with (
        serving(node, limits) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        yield client


def packed(*wires: bytes) -> bytes:
    """The body of a post."""
    body: bytes = msgpack.packb(list(wires))
    return body


SETTLED = "/v1/settlements/BTC_USD/1786953600000"
GETS = [
    ("/v1/health", 200, {"status": "ok"}),
    ("/v1/ready", 200, {"status": "ready"}),
    ("/v1/status", 200, {"name": "v0", "height": 7}),
    ("/v1/genesis", 200, {"name": "net"}),
    ("/v1/validators", 200, {"validators": []}),
    ("/v1/index", 200, {"indices": ["BTC_USD"], "after": "", "limit": None}),
    ("/v1/index?after=BTC_USD&limit=7", 200, {"indices": ["BTC_USD"], "after": "BTC_USD", "limit": 7}),
    ("/v1/members", 200, {"members": ["M0"], "after": "", "limit": None}),
    ("/v1/members?after=M1&limit=7", 200, {"members": ["M0"], "after": "M1", "limit": 7}),
    ("/v1/blocks/latest", 200, {"height": 7}),
    ("/v1/blocks/0", 200, {"height": 0}),
    ("/v1/accounts/M0/main", 200, {"account": "M0/main"}),
    ("/v1/positions/M0/main", 200, {"account": "M0/main", "positions": []}),
    ("/v1/quarantine", 200, {"quarantined": []}),
    ("/v1/proposals", 200, {"proposals": []}),
    ("/v1/epochs", 200, {"epoch": 3}),
    ("/v1/evidence", 200, {"waiting": []}),
    ("/v1/series", 200, {"after": "", "limit": None}),
    ("/v1/series?limit=500", 200, {"after": "", "limit": 500}),
    ("/v1/series?after=BTC-17AUG26-63000-P&limit=2", 200, {"after": "BTC-17AUG26-63000-P", "limit": 2}),
    ("/v1/series/BTC-17AUG26-63000-P", 200, {"series": "BTC-17AUG26-63000-P"}),
    ("/v1/index/BTC_USD", 200, {"index": "BTC_USD"}),
    (SETTLED, 200, {"index": "BTC_USD", "expiry_unix_ms": 1786953600000, "after": "", "limit": None}),
    (
        f"{SETTLED}?after=BTC-17AUG26-63000-P/M0/main&limit=2",
        200,
        {"index": "BTC_USD", "expiry_unix_ms": 1786953600000, "after": "BTC-17AUG26-63000-P/M0/main", "limit": 2},
    ),
]


async def test_every_question_reaches_the_node_and_comes_back_as_json() -> None:
    """A route that points at the wrong method would answer another question than was asked."""
    async with client_of(FakeNode()) as client:
        for path, status, document in GETS:
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (status, document), path
            assert answer.headers["content-type"] == "application/json"


WRONG_GETS = [
    ("/", 404, "unknown_route"),
    ("/v1/nothing", 404, "unknown_route"),
    ("/v1/transactions", 405, "unknown_method"),
    ("/v1/blocks/8", 404, "unknown_block"),
    ("/v1/blocks/-1", 400, "malformed"),
    ("/v1/blocks/%D9%A3", 400, "malformed"),
    ("/v1/blocks/" + "9" * 5000, 400, "malformed"),
    ("/v1/blocks/281474976710657", 400, "malformed"),
    ("/v1/accounts/M9/main", 404, "unknown_account"),
    ("/v1/accounts/M0/ma%20in", 400, "malformed"),
    ("/v1/series/lower-case", 400, "malformed"),
    ("/v1/index/" + "A" * 17, 400, "malformed"),
    ("/v1/series?after=lower-case", 400, "malformed"),
    ("/v1/series?limit=", 400, "malformed"),
    ("/v1/series?limit=-1", 400, "malformed"),
    ("/v1/series?limit=0", 400, "bad_limit"),
    ("/v1/settlements/BTC_USD/soon", 400, "malformed"),
    (f"{SETTLED}?after=BTC-17AUG26-63000-P", 400, "malformed"),
    (f"{SETTLED}?after=lower-case/M0/main", 400, "malformed"),
    ("/v1/members?after=m-1", 400, "malformed"),
    ("/v1/members?limit=-1", 400, "malformed"),
    ("/v1/settlements/BTC_USD/0", 404, "not_settled"),
    ("/v1/transactions/00", 400, "malformed"),
    ("/v1/transactions/" + "zz" * 32, 400, "malformed"),
    ("/v1/transactions/" + "00" * 32, 404, "unknown_transaction"),
    ("/v1/transactions/" + "00" * 32 + "?wait_ms=5001", 400, "bad_wait"),
    ("/v1/transactions/" + "00" * 32 + "?wait_ms=-1", 400, "malformed"),
    ("/v1/transactions/" + "00" * 32 + "?wait_ms=1e3", 400, "malformed"),
]


async def test_a_wrong_question_gets_its_own_refusal() -> None:
    """Scripts branch on `code`; a 500 here would be a client's way to crash a handler."""
    async with client_of(FakeNode(), SMALL) as client:
        for path, status, code in WRONG_GETS:
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (status, code), path
            assert set(answer.json()) == {"code", "message", "details"}


async def test_a_node_that_is_not_ready_says_why_with_503() -> None:
    """Load balancers and `testnet up` wait on the status code; people read the reason."""
    async with client_of(FakeNode(reason="catching up: 3 of 90 blocks")) as client:
        answer = await client.get("/v1/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert "3 of 90" in answer.json()["message"]
        assert (await client.get("/v1/health")).status_code == 200


@pytest.mark.parametrize("form", ["msgpack", "json"])
async def test_a_refused_envelope_does_not_fail_its_neighbours(form: str) -> None:
    """A batch comes from many sessions; one broken signature must not cost the others their order."""
    node = FakeNode()
    wires = [b"good1", b"bad", b"good2"]
    body = packed(*wires) if form == "msgpack" else json.dumps({"envelopes": [each.hex() for each in wires]}).encode()
    async with client_of(node) as client:
        answer = await client.post("/v1/transactions", content=body, headers=MSGPACK if form == "msgpack" else JSON)
    results = answer.json()["results"]
    assert node.submitted == wires
    assert [each["status"] for each in results] == ["accepted", "rejected", "accepted"]
    assert [each["code"] for each in results] == ["", "malformed", ""]
    assert [each["id"] for each in results] == [envelope_id(b"good1").hex(), None, envelope_id(b"good2").hex()]


WRONG_POSTS: list[tuple[str, bytes, dict[str, str], int, str]] = [
    ("not msgpack", b"\xc1", MSGPACK, 400, "malformed"),
    ("empty", b"", MSGPACK, 400, "malformed"),
    ("no envelopes", packed(), MSGPACK, 400, "malformed"),
    ("an empty envelope", packed(b""), MSGPACK, 400, "malformed"),
    ("too many envelopes", packed(b"a", b"b", b"c", b"d"), MSGPACK, 400, "malformed"),
    ("a map", msgpack.packb({"envelopes": []}), MSGPACK, 400, "malformed"),
    ("trailing bytes", packed(b"a") + b"\x00", MSGPACK, 400, "malformed"),
    ("an array header that promises 2^32 items", b"\xdd\xff\xff\xff\xff", MSGPACK, 400, "malformed"),
    ("not JSON", b"{", JSON, 400, "malformed"),
    ("JSON nested 900 deep", b"[" * 900, JSON, 400, "malformed"),
    ("JSON of another shape", b'["00"]', JSON, 400, "malformed"),
    ("an unknown field", b'{"envelopes": ["00"], "wait": 1}', JSON, 400, "malformed"),
    ("not hexadecimal", b'{"envelopes": ["0g"]}', JSON, 400, "malformed"),
    ("a number for an envelope", b'{"envelopes": [1]}', JSON, 400, "malformed"),
    ("bytes that are not UTF-8", b'{"envelopes": ["\xff"]}', JSON, 400, "malformed"),
    ("too large", packed(b"x" * 2_000), MSGPACK, 413, "too_large"),
    ("another media type", b"<a/>", {"content-type": "text/xml"}, 415, "unsupported_media_type"),
    ("no media type", b"x", {}, 415, "unsupported_media_type"),
]


async def test_a_malformed_body_is_refused_and_nothing_is_submitted() -> None:
    """Whatever bytes arrive, the node answers, and keeps answering on the same connection."""
    node = FakeNode()
    async with client_of(node, SMALL) as client:
        for what, body, headers, status, code in WRONG_POSTS:
            answer = await client.post("/v1/transactions", content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code), what
        assert (await client.get("/v1/health")).status_code == 200
    assert node.submitted == []


async def test_a_number_of_many_digits_is_refused_in_our_words() -> None:
    """What Python advises its programmers is nothing for a client."""
    async with client_of(FakeNode()) as client:
        answer = await client.post("/v1/transactions", content=b'{"envelopes": %s}' % (b"9" * 5_000), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert "too many digits" in answer.json()["message"]
    assert "sys." not in answer.json()["message"]


async def test_an_oversized_body_without_a_declared_length_is_refused_while_it_is_read() -> None:
    """A chunked body has no length to check beforehand; the bound must hold as the pieces come."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1_000

    node = FakeNode()
    async with client_of(node, SMALL) as client:
        answer = await client.post("/v1/transactions", content=endless(), headers=MSGPACK)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert node.submitted == []


async def test_a_body_far_over_the_limit_still_gets_its_answer() -> None:
    """Closing with unread input resets the connection, and the client would see that in place of the reason."""
    async with client_of(FakeNode()) as client:
        answer = await client.post("/v1/transactions", content=b"x" * (9 * 2**20), headers=MSGPACK)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_all_bodies_together_are_bounded() -> None:
    """A thousand clients with eight megabytes each must not fill our memory."""
    limits = HttpLimits(bodies_bytes_max=100)
    node = FakeNode()
    async with client_of(node, limits) as client, trio.open_nursery() as nursery:
        nursery.start_soon(post, client, packed(b"a" * 80), "?wait_ms=5000")
        await node.asked.wait()
        second = await client.post("/v1/transactions", content=packed(b"b" * 80), headers=MSGPACK)
        assert (second.status_code, second.json()["code"]) == (503, "busy")
        node.arrived.set()
    assert node.submitted == [b"a" * 80]


async def post(client: httpx.AsyncClient, body: bytes, query: str = "") -> Any:
    """The results of a post."""
    return (await client.post(f"/v1/transactions{query}", content=body, headers=MSGPACK)).json()["results"]


async def test_a_waiting_post_answers_with_receipts() -> None:
    """One round trip tells the client what became of each envelope, also of one that had been executed before."""
    node = FakeNode()
    node.known = {envelope_id(b"good"): RECEIPT, envelope_id(b"poor"): REFUSED, envelope_id(b"old"): RECEIPT}
    node.arrived.set()
    async with client_of(node) as client:
        results = await post(client, packed(b"good", b"poor", b"old", b"bad", b"late"), "?wait_ms=1000")
    assert [(each["status"], each["code"]) for each in results] == [
        ("committed", ""),
        ("rejected", "insufficient_funds"),
        ("committed", ""),
        ("rejected", "malformed"),
        ("accepted", ""),
    ]
    assert results[0]["receipt"] == RECEIPT
    assert "receipt" not in results[4]


async def test_a_wait_that_ends_without_a_receipt_says_accepted() -> None:
    """The client must be told that the envelope may still commit; `rejected` would be a lie about money."""
    async with client_of(FakeNode()) as client:
        assert [each["status"] for each in await post(client, packed(b"good"), "?wait_ms=30")] == ["accepted"]
        missing = await client.get(f"/v1/transactions/{envelope_id(b'good').hex()}?wait_ms=30")
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown_transaction")


async def test_a_receipt_is_found_by_its_id() -> None:
    """Clients that did not wait come back for it."""
    node = FakeNode(known={envelope_id(b"good"): RECEIPT})
    async with client_of(node) as client:
        answer = await client.get(f"/v1/transactions/{envelope_id(b'good').hex()}")
        assert (answer.status_code, answer.json()) == (200, RECEIPT)


async def test_waits_are_bounded_and_refused_before_anything_is_submitted() -> None:
    """A refusal after the submission would make the client send it again; other questions go on being answered."""
    node = FakeNode()
    async with client_of(node, SMALL) as client, trio.open_nursery() as nursery:
        nursery.start_soon(post, client, packed(b"first"), "?wait_ms=5000")
        await node.asked.wait()
        refused = await client.post("/v1/transactions?wait_ms=1", content=packed(b"second"), headers=MSGPACK)
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert (await post(client, packed(b"third")))[0]["status"] == "accepted"
        assert (await client.get("/v1/status")).status_code == 200
        node.arrived.set()
    assert node.submitted == [b"first", b"third"]


async def test_a_long_answer_is_written_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may ask for a page of series; consensus must not wait until it is written."""
    threads: list[int] = []
    real = json_text.write_in_pieces

    def noted(value: Any) -> bytes:
        threads.append(threading.get_ident())
        return real(value)

    monkeypatch.setattr(json_text, "write_in_pieces", noted)
    receipts = {**RECEIPT, "events": [{"lots": each} for each in range(5_000)]}
    node = FakeNode(known={envelope_id(b"good"): receipts})
    async with client_of(node) as client:
        answer = await client.get(f"/v1/transactions/{envelope_id(b'good').hex()}")
        assert answer.json() == receipts
        assert len(threads) == 1
        assert threads[0] != threading.get_ident()
        node.arrived.set()
        assert (await post(client, packed(b"good"), "?wait_ms=1000"))[0]["receipt"] == receipts
        assert len(threads) == 2


async def test_a_defect_of_ours_is_500_and_the_node_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """An ordinary exception in one answer is logged with its traceback and costs that answer alone."""
    async with client_of(FakeNode(reason="broken")) as client:
        assert (await client.get("/v1/members")).status_code == 500
        assert (await client.get("/v1/health")).status_code == 200
    assert [record.name for record in caplog.records] == ["novate.http"]
    assert caplog.records[0].exc_info is not None
