"""A `NodeFace` whose answers a test decides, behind the real application and the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from genesis.errors import Rejected
from genesis.hashing import Domain, digest
from node.http_api import HttpLimits, make_app
from node.http_server import serve


@dataclass(frozen=True)
class FakeAdmission:
    """What became of one envelope."""

    envelope_id: bytes | None
    code: str = ""
    message: str = ""


def envelope_id(wire: bytes) -> bytes:
    """The id that `FakeNode` gives to a wire."""
    return digest(Domain.ENVELOPE, wire)


@dataclass
class FakeNode:
    """Refuses wires that begin with ``bad`` (malformed) and ``old`` (replayed); receipts are what the test sets."""

    reason: str = ""
    submitted: list[bytes] = field(default_factory=list)
    known: dict[bytes, Any] = field(default_factory=dict)
    waiting: int = 0
    arrived: trio.Event = field(default_factory=trio.Event)
    asked: trio.Event = field(default_factory=trio.Event)
    left: trio.Event = field(default_factory=trio.Event)

    def ready(self) -> str:
        return self.reason

    def status(self) -> Any:
        return {"name": "v0", "height": 7}

    def genesis(self) -> Any:
        return {"name": "net"}

    async def validators(self) -> Any:
        return {"validators": []}

    async def proposals(self) -> Any:
        return {"proposals": []}

    async def evidence(self) -> Any:
        return {"waiting": []}

    async def epochs(self) -> Any:
        return {"epoch": 3}

    async def submit(self, wires: Sequence[bytes]) -> list[FakeAdmission]:
        await trio.lowlevel.checkpoint()
        self.submitted += wires
        return [self._admission(wire) for wire in wires]

    def _admission(self, wire: bytes) -> FakeAdmission:
        if wire.startswith(b"bad"):
            return FakeAdmission(None, "malformed", "Not an envelope.")
        if wire.startswith(b"old"):
            return FakeAdmission(envelope_id(wire), "replayed", "Executed already.")
        return FakeAdmission(envelope_id(wire))

    async def receipts(self, envelope_ids: Sequence[bytes], wait_ms: int) -> list[Any]:
        if wait_ms:
            self.waiting += 1
            self.asked.set()
            try:
                with trio.move_on_after(wait_ms / 1000):
                    await self.arrived.wait()
            finally:
                self.waiting -= 1
                self.left.set()
        return [self.known.get(each) for each in envelope_ids]

    def no_receipt(self, envelope_id: bytes) -> Rejected:
        return Rejected("unknown_transaction", "No block holds this transaction yet.", id=envelope_id.hex())

    async def block(self, height: int | None) -> Any:
        if height is not None and height > 7:
            raise Rejected("unknown_block", "No such block.", height=height)
        return {"height": 7 if height is None else height}

    async def account(self, account_id: str) -> Any:
        if account_id != "M0/main":
            raise Rejected("unknown_account", "No such account.", account=account_id)
        return {"account": account_id}

    async def positions(self, account_id: str) -> Any:
        return {"account": account_id, "positions": []}

    async def series(self, series_id: str) -> Any:
        return {"series": series_id}

    async def series_page(self, after: str, limit: int | None) -> Any:
        if limit == 0:
            raise Rejected("bad_limit", "A page has 1 to 500 series.", limit=limit)
        return {"after": after, "limit": limit}

    async def indices(self, after: str, limit: int | None) -> Any:
        return {"indices": ["BTC_USD"], "after": after, "limit": limit}

    async def index(self, index_id: str) -> Any:
        return {"index": index_id}

    async def settlement(self, index_id: str, expiry_unix_ms: int, after: str, limit: int | None) -> Any:
        if not expiry_unix_ms:
            raise Rejected("not_settled", "This expiry has no settlement price.")
        return {"index": index_id, "expiry_unix_ms": expiry_unix_ms, "after": after, "limit": limit}

    async def members(self, after: str, limit: int | None) -> Any:
        if self.reason == "broken":
            raise ValueError("a defect of ours")
        return {"members": ["M0"], "after": after, "limit": limit}

    async def contracts(self, after: str, limit: int | None) -> Any:
        return {"contracts": [], "after": after, "limit": limit}

    async def contract(self, contract_id: str) -> Any:
        return {"contract": contract_id}

    async def program(self, program_id: bytes) -> Any:
        return {"program": program_id.hex()}

    async def quarantine(self) -> Any:
        return {"quarantined": []}

    async def proof(self, subject: str, path: Sequence[str], options: Sequence[tuple[str, str]]) -> Any:
        return {"subject": subject, "path": list(path), "options": [list(each) for each in options]}


@asynccontextmanager
async def serving(node: FakeNode, limits: HttpLimits | None = None) -> AsyncIterator[int]:
    """The port of a real Hypercorn server on loopback; cancelled at the end."""
    async with trio.open_nursery() as nursery:
        bound: str = await nursery.start(serve, make_app(node, limits), "127.0.0.1", 0, limits)
        yield int(bound.rpartition(":")[2])
        nursery.cancel_scope.cancel()
