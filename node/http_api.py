"""The HTTP interface of a node: what a client may ask, and how each answer looks.

Rules:

1. Answers are JSON. A refusal is ``{"code", "message", "details"}`` with a status of 4xx (the client's) or 503 (come
   back later); nothing a client sends can produce a 5xx of ours. What is no HTTP request (a head over
   `header_bytes_max`, one that breaks off, garbage) never comes here: h11 answers it with 431 or 400 and an empty body.
2. Everything a client can make us hold is bounded (`HttpLimits`): the body while it is read and the time it takes, all
   bodies together, the envelopes in one post, the time of a wait and the number of waits.
3. One envelope's refusal never fails its neighbours in the same post.
4. A handler only translates. What a question means is decided behind `NodeFace`, which `node.face` implements.
5. A long answer is written as JSON beside the event loop (`node.json_text`).

A result's ``status`` in the answer to a post: ``rejected`` (``code`` says why; nothing moved), ``accepted`` (it will be
ordered, or the wait ended before it was), ``committed`` (it was applied; only with ``wait_ms``). With ``wait_ms``, an
envelope that was ordered and refused by the state machine is ``rejected`` and carries its receipt.

The connection limits, and Hypercorn, are in `node.http_server`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genesis.codec import Shape, Value, decode, raw, sequence
from genesis.errors import Rejected
from genesis.hashing import DIGEST_BYTES
from genesis.values import ACCOUNT_ID, INDEX_ID, MEMBER_ID, SERIES_ID, UNIX_MS
from node.http_face import NodeFace, Outcome
from node.json_text import Json, write_json, write_json_aside

ALREADY_EXECUTED: Final = "replayed"
"""The refusal of an envelope that this chain has executed before: a waiting client is given that receipt."""

WAIT_SCOPE: Final = "novate.wait"
"""The ASGI scope's key for the `trio.CancelScope` that `node.http_server` cancels when the client has gone."""

STATUS_BY_CODE: Final[Mapping[str, int]] = {
    "too_large": 413,
    "unsupported_media_type": 415,
    "too_slow": 408,
    "busy": 503,
    "mempool_full": 503,
    "not_ready": 503,
    "not_certified": 503,
    "not_settled": 404,
    "pruned": 410,
}
"""The HTTP status of a refusal; codes that begin with ``unknown_`` are 404, all others 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one client, and all of them together, can make the node hold.

    Attributes:
        body_bytes_max: One request's body.
        bodies_bytes_max: All bodies being read or worked on.
        body_read_ms_max: How long a body may take to arrive.
        envelopes_max: Envelopes in one post.
        wait_ms_max: The longest ``wait_ms``.
        waits_max: Requests that wait at one time; below `connections_max`, so that others are still answered.
        connections_max: Open connections.
        active_connections_max: Connections whose input is parsed in one pass of the event loop.
        header_bytes_max: A request's line and headers.
        idle_ms_max: How long a connection may stay without a complete request head.
        send_ms_max: How long a client may take to accept a piece of an answer.
        requests_per_connection_max: After these, the connection is closed.
    """

    body_bytes_max: int = 8 * 2**20
    bodies_bytes_max: int = 64 * 2**20
    body_read_ms_max: int = 10_000
    envelopes_max: int = 1_000
    wait_ms_max: int = 60_000
    waits_max: int = 192
    connections_max: int = 256
    active_connections_max: int = 8
    header_bytes_max: int = 16_384
    idle_ms_max: int = 15_000
    send_ms_max: int = 10_000
    requests_per_connection_max: int = 100_000


Handler = Callable[[Request], Awaitable[Response]]


def make_app(node: NodeFace, limits: HttpLimits | None = None) -> Starlette:
    """The ASGI application over `node`."""
    api = _Api(node, limits or HttpLimits())
    return Starlette(
        routes=[Route(path, _refusing(handler), methods=[method]) for method, path, handler in api.routes()],
        exception_handlers={HTTPException: _http_error},
    )


@dataclass(slots=True)
class _Api:
    """The handlers, and the counts that rule 2 bounds."""

    node: NodeFace
    limits: HttpLimits
    bodies_bytes: int = field(default=0, init=False)
    waits: int = field(default=0, init=False)

    def routes(self) -> tuple[tuple[str, str, Handler], ...]:
        """Every route: method, path, handler; the busiest first, since they are tried in order."""
        return (
            ("POST", "/v1/transactions", self.post_transactions),
            ("GET", "/v1/transactions/{id}", self.get_transaction),
            ("GET", "/v1/status", self.get_status),
            ("GET", "/v1/health", self.get_health),
            ("GET", "/v1/ready", self.get_ready),
            ("GET", "/v1/genesis", self.get_genesis),
            ("GET", "/v1/validators", self.get_validators),
            ("GET", "/v1/blocks/{height}", self.get_block),
            ("GET", "/v1/accounts/{member}/{sub}", self.get_account),
            ("GET", "/v1/positions/{member}/{sub}", self.get_positions),
            ("GET", "/v1/series", self.get_series_page),
            ("GET", "/v1/series/{id}", self.get_series),
            ("GET", "/v1/index", self.get_indices),
            ("GET", "/v1/index/{id}", self.get_index),
            ("GET", "/v1/settlements/{index}/{expiry_unix_ms}", self.get_settlement),
            ("GET", "/v1/contracts", self.get_contracts),
            ("GET", "/v1/contracts/{id}", self.get_contract),
            ("GET", "/v1/programs/{id}", self.get_program),
            ("GET", "/v1/members", self.get_members),
            ("GET", "/v1/quarantine", self.get_quarantine),
            ("GET", "/v1/proposals", self.get_proposals),
            ("GET", "/v1/epochs", self.get_epochs),
            ("GET", "/v1/proofs/{subject}/{path:path}", self.get_proof),
            ("GET", "/v1/evidence", self.get_evidence),
        )

    async def post_transactions(self, request: Request) -> Response:
        wait_ms = self._wait_ms(request)
        with self._waiting(wait_ms), self._body_budget() as reserve:
            wires = _parse_wires(request, await self._read_body(request, reserve), self.limits)
            outcomes = await self.node.submit(wires)
            receipts = await self._receipts_of(request, outcomes, wait_ms)
        return await _answer({"results": [_result(each, receipts.get(each.envelope_id)) for each in outcomes]})

    async def get_transaction(self, request: Request) -> Response:
        wait_ms = self._wait_ms(request)
        envelope_id = _envelope_id(request.path_params["id"])
        with self._waiting(wait_ms):
            receipt = (await self._receipts(request, [envelope_id], wait_ms))[0]
        if receipt is None:
            raise self.node.no_receipt(envelope_id)
        return await _answer(receipt)

    async def get_health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def get_ready(self, request: Request) -> Response:
        reason = self.node.ready()
        return _json({"status": "ready"}) if not reason else _refusal(Rejected("not_ready", reason))

    async def get_status(self, request: Request) -> Response:
        return await _answer(self.node.status())

    async def get_genesis(self, request: Request) -> Response:
        return await _answer(self.node.genesis())

    async def get_validators(self, request: Request) -> Response:
        return await _answer(await self.node.validators())

    async def get_block(self, request: Request) -> Response:
        height = request.path_params["height"]
        return await _answer(await self.node.block(None if height == "latest" else _integer("height", height)))

    async def get_account(self, request: Request) -> Response:
        return await _answer(await self.node.account(_account_id(request)))

    async def get_positions(self, request: Request) -> Response:
        return await _answer(await self.node.positions(_account_id(request)))

    async def get_series_page(self, request: Request) -> Response:
        return await _answer(await self.node.series_page(*_page(request, SERIES_ID)))

    async def get_series(self, request: Request) -> Response:
        return await _answer(await self.node.series(_shaped(SERIES_ID, request.path_params["id"])))

    async def get_indices(self, request: Request) -> Response:
        return await _answer(await self.node.indices(*_page(request, INDEX_ID)))

    async def get_index(self, request: Request) -> Response:
        return await _answer(await self.node.index(_shaped(INDEX_ID, request.path_params["id"])))

    async def get_settlement(self, request: Request) -> Response:
        index_id = _shaped(INDEX_ID, request.path_params["index"])
        expiry_unix_ms = _integer("expiry_unix_ms", request.path_params["expiry_unix_ms"])
        after, limit = _page(request, _position)
        return await _answer(await self.node.settlement(index_id, expiry_unix_ms, after, limit))

    async def get_contracts(self, request: Request) -> Response:
        return await _answer(await self.node.contracts(*_page(request, SERIES_ID)))

    async def get_contract(self, request: Request) -> Response:
        return await _answer(await self.node.contract(_shaped(SERIES_ID, request.path_params["id"])))

    async def get_program(self, request: Request) -> Response:
        return await _answer(await self.node.program(_envelope_id(request.path_params["id"])))

    async def get_members(self, request: Request) -> Response:
        return await _answer(await self.node.members(*_page(request, MEMBER_ID)))

    async def get_quarantine(self, request: Request) -> Response:
        return await _answer(await self.node.quarantine())

    async def get_proposals(self, request: Request) -> Response:
        return await _answer(await self.node.proposals())

    async def get_evidence(self, request: Request) -> Response:
        return await _answer(await self.node.evidence())

    async def get_epochs(self, request: Request) -> Response:
        return await _answer(await self.node.epochs())

    async def get_proof(self, request: Request) -> Response:
        path = request.path_params["path"].split("/")
        options = request.query_params.multi_items()
        with self._waiting(self.limits.wait_ms_max):
            return await _answer(await self.node.proof(request.path_params["subject"], path, options))

    def _wait_ms(self, request: Request) -> int:
        text = request.query_params.get("wait_ms", "0")
        wait_ms = _integer("wait_ms", text)
        if wait_ms > self.limits.wait_ms_max:
            raise Rejected("bad_wait", "wait_ms is too long.", wait_ms=wait_ms, wait_ms_max=self.limits.wait_ms_max)
        return wait_ms

    @contextmanager
    def _waiting(self, wait_ms: int) -> Iterator[None]:
        """Hold one of the places for waiting; refused before anything is submitted, so that a retry is safe."""
        if not wait_ms:
            yield
            return
        if self.waits >= self.limits.waits_max:
            raise Rejected("busy", "Too many requests wait already; try again later.", waits_max=self.limits.waits_max)
        self.waits += 1
        try:
            yield
        finally:
            self.waits -= 1

    @contextmanager
    def _body_budget(self) -> Iterator[Callable[[int], None]]:
        """Count this request's body against `bodies_bytes_max` until it is done."""
        held = 0

        def reserve(size: int) -> None:
            nonlocal held
            if self.bodies_bytes + size > self.limits.bodies_bytes_max:
                raise Rejected("busy", "Too many requests are being read; try again later.")
            self.bodies_bytes += size
            held += size

        try:
            yield reserve
        finally:
            self.bodies_bytes -= held

    async def _read_body(self, request: Request, reserve: Callable[[int], None]) -> bytes:
        limits = self.limits
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limits.body_bytes_max:
            raise _too_large(int(declared), limits)
        chunks: list[bytes] = []
        size = 0
        with trio.move_on_after(limits.body_read_ms_max / 1000):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Rejected("disconnected", "The client went away while it sent.")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limits.body_bytes_max:
                    raise _too_large(size, limits)
                reserve(len(chunk))
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
        raise Rejected("too_slow", "The body took too long to arrive.", body_read_ms_max=limits.body_read_ms_max)

    async def _receipts_of(
        self, request: Request, outcomes: Sequence[Outcome], wait_ms: int
    ) -> dict[bytes | None, Json]:
        """Receipts by envelope id, of those admitted now or earlier; empty without a wait."""
        if not wait_ms:
            return {}
        known = [each.envelope_id for each in outcomes if not each.code or each.code == ALREADY_EXECUTED]
        ids = list(dict.fromkeys(each for each in known if each is not None))
        if not ids:
            return {}
        return dict(zip(ids, await self._receipts(request, ids, wait_ms), strict=True))

    async def _receipts(self, request: Request, ids: Sequence[bytes], wait_ms: int) -> Sequence[Json | None]:
        found: list[Json | None] = [None] * len(ids)
        with request.scope.get(WAIT_SCOPE) or trio.CancelScope():
            found[:] = await self.node.receipts(ids, wait_ms)
        return found


def _refusing(handler: Handler) -> Handler:
    """The handler, its refusals turned into answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Rejected as error:
            return _refusal(error)

    return answer


def _refusal(error: Rejected) -> Response:
    status = 404 if error.code.startswith("unknown_") else STATUS_BY_CODE.get(error.code, 400)
    return _json({"code": error.code, "message": error.message, "details": error.details}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    """An unknown route or method, in the form of every other refusal."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "unknown_route", 405: "unknown_method"}.get(status, "bad_request")
    message = f"{request.method} {request.url.path[:128]} is not part of this interface."
    return _json({"code": code, "message": message, "details": {}}, status)


async def _answer(value: Json) -> Response:
    """The answer to a question, however long."""
    return Response(await write_json_aside(value), media_type="application/json")


def _json(value: Json, status: int = 200) -> Response:
    return Response(write_json(value), status_code=status, media_type="application/json")


def _result(outcome: Outcome, receipt: Json | None) -> Json:
    """One envelope's entry in the answer to a post."""
    code, message, status = outcome.code, outcome.message, "rejected" if outcome.code else "accepted"
    if receipt is not None:
        code, message = receipt["code"], receipt["message"]
        status = "rejected" if code else "committed"
    envelope_id = outcome.envelope_id
    entry = {"id": envelope_id.hex() if envelope_id else None, "status": status, "code": code, "message": message}
    return entry if receipt is None else {**entry, "receipt": receipt}


def _parse_wires(request: Request, body: bytes, limits: HttpLimits) -> Sequence[bytes]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("application/msgpack", "application/x-msgpack"):
        shape = sequence(raw(1, limits.body_bytes_max), 1, limits.envelopes_max)
        wires: Sequence[bytes] = decode(body, shape, size_max=limits.body_bytes_max)
        return wires
    if media_type == "application/json":
        return _parse_json_wires(body, limits)
    raise Rejected(
        "unsupported_media_type",
        'Post application/msgpack (an array of byte strings) or application/json ({"envelopes": [hex]}).',
        content_type=media_type[:64],
    )


def _parse_json_wires(body: bytes, limits: HttpLimits) -> Sequence[bytes]:
    try:
        document = _parse_json(body)
        envelopes = document["envelopes"] if isinstance(document, dict) and len(document) == 1 else None
        if not isinstance(envelopes, list) or not 1 <= len(envelopes) <= limits.envelopes_max:
            raise ValueError(f"expected an object with 1 to {limits.envelopes_max} envelopes")
        return [bytes.fromhex(each) for each in envelopes]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Rejected("malformed", f"Not a list of envelopes in hexadecimal: {error}.") from error


def _parse_json(body: bytes) -> Json:
    """The body as JSON; what Python says of its own limit of digits is nothing for a client."""
    try:
        return json.loads(body)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise ValueError("a number has too many digits, or the text is no UTF-8") from error


def _envelope_id(text: str) -> bytes:
    try:
        envelope_id = bytes.fromhex(text)
    except ValueError:
        envelope_id = b""
    if len(envelope_id) != DIGEST_BYTES:
        raise Rejected("malformed", "A transaction's id is 64 hexadecimal digits.", id=text[:80])
    return envelope_id


def _account_id(request: Request) -> str:
    return _shaped(ACCOUNT_ID, f"{request.path_params['member']}/{request.path_params['sub']}")


def _page(request: Request, name: Shape) -> tuple[str, int | None]:
    """Behind which name a page begins ("": at the start), and how much it may hold."""
    after, limit = request.query_params.get("after", ""), request.query_params.get("limit")
    return _shaped(name, after) if after else "", None if limit is None else _integer("limit", limit)


def _position(value: Value) -> None:
    """``SERIES/MEMBER/NAME``."""
    series, _, account = str(value).partition("/")
    SERIES_ID(series)
    ACCOUNT_ID(account)


def _shaped(shape: Shape, text: str) -> str:
    shape(text)
    return text


def _integer(name: str, text: str) -> int:
    """A non-negative integer below 2^48 from text; the length is bounded before it is parsed."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Rejected("malformed", f"{name} is a non-negative integer.", found=text[:32])
    value = int(text)
    UNIX_MS(value)
    return value


def _too_large(size: int, limits: HttpLimits) -> Rejected:
    return Rejected("too_large", "The body is over its limit.", size=size, body_bytes_max=limits.body_bytes_max)
