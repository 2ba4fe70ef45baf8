"""A chain for the clients' tests: the real state machine behind a real HTTP server, without consensus or disk.

Every post is a block of its own, and every question moves block time on with an empty block first, so that expiries
settle. Faults are planted by setting the attributes of `StubChain`: what is dropped, and when. It answers as the node
does, as far as clients look.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgpack
import pytest

from cli.client import Client
from cli.session import Session
from cli.testnet_files import RECORD_FILE, ROLE_KEYS, Era, LocalNetwork, LocalValidator
from cli.wallet import Wallet
from contracts import contract_queries, queries
from contracts.machine import BlockInput, State, admit, apply_block, genesis_state
from contracts.receipts import Receipt, receipt_to_json
from genesis.document import GenesisDocument, GenesisRole, GenesisValidator
from genesis.envelope import decode_envelope, verify_all
from genesis.errors import Rejected
from genesis.params import ChainParams
from node.files import write_private

Json = Any
PRESENT: Final = Era()
LEAD_S: Final = 1.0
NAP_S_MIN: Final = 1.5
"""So that what falls due within it goes out together; a replay awaits late samples for longer."""


class StubChain:
    """One chain that any number of stub validators serve.

    Attributes:
        posts: How many posts reached the chain.
        lose_answers: So many posts are executed without an answer: the connection breaks.
        executed_max: Envelopes beyond so many are accepted and wait, as where no quorum runs; None for no bound.
        refuse: So many posts are refused whole with these codes, one after the other; an empty one is not.
        stall_s: How long the next post holds everybody up, in seconds.
        page_size: How many series one answer lists.
        amnesiac: Whether its validators say that they have lost their safety state.
    """

    def __init__(self, document: GenesisDocument) -> None:
        self.document = document
        self.state: State = genesis_state(document)
        self.receipts: dict[str, Receipt] = {}
        self.roots: dict[int, str] = {}
        self.posts = 0
        self.lose_answers = 0
        self.executed_max: int | None = None
        self.refuse: list[str] = []
        self.stall_s = 0.0
        self.page_size = queries.SERIES_PAGE_MAX
        self.amnesiac = False
        self._lock = threading.Lock()
        self._never = threading.Event()

    def ask(self, path: str, after: str = "") -> Json:
        """The answer to a GET; `Rejected` as the node would."""
        with self._lock:
            self._block([])
            return self._answer(path, after)

    def post(self, wires: list[bytes]) -> list[Json]:
        """Execute a post in a block of its own; one result for each envelope."""
        with self._lock:
            self.posts += 1
            self._never.wait(self.stall_s)
            self.stall_s = 0.0
            if self.refuse and (code := self.refuse.pop(0)):
                return [{"id": None, "status": "rejected", "code": code, "message": "Planted."} for _ in wires]
            return self._execute(wires)

    def _execute(self, wires: list[bytes]) -> list[Json]:
        results: list[Json] = []
        admitted = []
        for wire in wires:
            envelope = decode_envelope(wire, self.document.chain_id, self.document.limits)
            result = {"id": envelope.id.hex(), "status": "accepted", "code": "", "message": ""}
            try:
                admit(self.state, envelope)
                if self.executed_max is None or len(self.receipts) + len(admitted) < self.executed_max:
                    admitted += verify_all([envelope])
            except Rejected as error:
                result |= {"status": "rejected", "code": error.code, "message": str(error)}
            results.append(result)
        self._block(admitted)
        return [self._with_receipt(result) for result in results]

    def _with_receipt(self, result: Json) -> Json:
        receipt = self.receipts.get(result["id"])
        if receipt is None:
            return result
        status = "rejected" if receipt.code else "committed"
        return result | {
            "status": status,
            "code": receipt.code,
            "message": receipt.message,
            "receipt": receipt_to_json(receipt),
        }

    def _block(self, envelopes: list[Any]) -> None:
        now = self.document.clock.chain_unix_ms(time.time_ns() // 1_000_000)
        moment = max(now, self.state.time_unix_ms + 1)
        output = apply_block(self.state, BlockInput(self.state.height + 1, moment, envelopes))
        self.roots[self.state.height] = output.root.hex()
        self.receipts |= {each.envelope_id.hex(): each for each in output.receipts}

    def _answer(self, path: str, after: str) -> Json:
        state = self.state
        what, *rest = path.removeprefix("/v1/").split("/")
        if what == "genesis":
            return {**self.document.to_mapping(), "chain_id": self.document.chain_id.hex()}
        if what == "status":
            numbers = {"height": state.height, "committed_txs": len(self.receipts)}
            return {**numbers, "state_root": state.root.hex(), "amnesiac": self.amnesiac}
        if what == "blocks":
            return {"height": int(rest[0]), "state_root": self.roots[int(rest[0])]}
        if what == "transactions" and rest[0] in self.receipts:
            return receipt_to_json(self.receipts[rest[0]])
        if what == "accounts":
            return queries.account(state, "/".join(rest))
        if what == "positions":
            return queries.positions(state, "/".join(rest))
        if what == "series":
            return queries.series(state, rest[0]) if rest else queries.series_page(state, after, self.page_size)
        if what == "index":
            return queries.index(state, rest[0]) if rest else queries.indices(state, after, min(self.page_size, 100))
        if what == "programs":
            return contract_queries.program(state, bytes.fromhex(rest[0]))
        if what == "contracts":
            return contract_queries.contract(state, rest[0])
        if what == "settlements":
            return queries.settlement(state, rest[0], int(rest[1]), after, self.page_size)
        if what == "members":
            return queries.members(state, after, min(self.page_size, queries.MEMBERS_PAGE_MAX))
        if what in ("validators", "proposals", "epochs"):
            return {"validators": queries.validators, "proposals": queries.proposals, "epochs": queries.epochs}[what](
                state
            )
        raise Rejected("unknown_route", "The stub does not answer this.", path=path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one packet: two would each time wait for a delayed acknowledgement
    chain: StubChain

    def do_GET(self) -> None:
        try:
            parts = urlsplit(self.path)
            after = parse_qs(parts.query).get("after", [""])[0]
            self._write(200, self.chain.ask(unquote(parts.path), after))
        except Rejected as error:
            status = 404 if error.code.startswith("unknown_") or error.code == "not_settled" else 400
            self._write(status, {"code": error.code, "message": error.message, "details": error.details})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        results = self.chain.post(msgpack.unpackb(body))
        if self.chain.lose_answers:
            self.chain.lose_answers -= 1
            self.close_connection = True
            return
        waited = parse_qs(urlsplit(self.path).query).get("wait_ms", ["0"])[0] != "0"
        plain = ("id", "status", "code", "message")
        self._write(200, {"results": results if waited else [{k: r[k] for k in plain} for r in results]})

    def _write(self, status: int, value: Json) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence: the tests look at what clients see."""


@contextmanager
def serving(chain: StubChain) -> Iterator[str]:
    """One stub validator of the chain; yields its address."""
    handler = type("Handler", (_Handler,), {"chain": chain})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class StubNetwork:
    """A stub chain, its directory of keys, and where two stub validators of it answer."""

    chain: StubChain
    testnet: LocalNetwork
    urls: tuple[str, ...]

    def session(self, client: Client) -> Session:
        """A session of `client` with the chain."""
        return Session(client, self.chain.document)


@contextmanager
def stub_network(directory: Path, era: Era = PRESENT, params: ChainParams | None = None) -> Iterator[StubNetwork]:
    """A stub network of two validators over one chain, with the keys of every role in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    write_private(directory / "passphrase", b"stub\n")
    wallet = Wallet(directory, b"stub")
    document = GenesisDocument(
        name="stub",
        validators=(GenesisValidator("v0", bytes(32), 1, "127.0.0.1:1", b"certificate"),),
        roles=tuple(GenesisRole(name, wallet.key_or_new(name).public_key, roles) for name, roles in ROLE_KEYS),
        clock=era.clock(time.time_ns() // 1_000_000, LEAD_S),
        params=params or ChainParams(),
    )
    chain = StubChain(document)
    with serving(chain) as first, serving(chain) as second:
        validators = tuple(LocalValidator(name, directory / name, url) for name, url in (("v0", first), ("v1", second)))
        record = {"version": 1, "validators": [{"name": each.name, "url": each.url} for each in validators]}
        (directory / RECORD_FILE).write_text(json.dumps(record))
        yield StubNetwork(chain, LocalNetwork(directory, validators), (first, second))


@contextmanager
def time_that_jumps() -> Iterator[None]:
    """Inside, to sleep is to find the clocks moved on: what a loaded machine needs for a run never misses an expiry."""
    asleep_s = 0.0
    clock_s, clock_ns = time.time, time.time_ns

    def sleep(seconds: float) -> None:
        nonlocal asleep_s
        asleep_s += max(seconds, NAP_S_MIN)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        patch.setattr(time, "time", lambda: clock_s() + asleep_s)
        patch.setattr(time, "time_ns", lambda: clock_ns() + int(asleep_s * 1e9))
        yield
