"""A small chain for the tests of the data plane: keys, envelopes, blocks, and a network that lives in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import trio

from consensus.events import Commit, SafetyState
from consensus.types import QC, Anchor, Header, Proposal, genesis_qc
from consensus.validators import ValidatorSet, genesis_validators
from contracts.operations import build_operation
from contracts.receipts import Receipt, encode_receipt
from genesis.document import GenesisDocument, GenesisRole, GenesisValidator
from genesis.envelope import Envelope, decode_envelope, sign_envelope, verify_all
from genesis.errors import Rejected
from genesis.hashing import ZERO_DIGEST
from genesis.params import ChainParams
from genesis.signing import SigningKey
from genesis.statements import Phase
from node.batch_pool import BatchPool
from node.batches import BatchFormat
from node.frames import FrameKind
from node.store import BlockWrite, CommittedBlock, Store

GOVERNOR = SigningKey(b"\x77" * 32)
T0_UNIX_MS = 1_790_000_000_000
EXPIRES_AT_UNIX_MS = T0_UNIX_MS + 60_000
PARAMS = ChainParams(merkle_depth=8)
DEADLINE_S = 60


@cache
def document_of(size: int = 4, params: ChainParams = PARAMS) -> GenesisDocument:
    """A genesis document with `size` validators of power 1 and one governor."""
    validators = tuple(
        GenesisValidator(
            f"v{i}", SigningKey(bytes([i + 1]) * 32).public_key, 1, f"127.0.0.1:{4000 + i}", bytes([i + 1])
        )
        for i in range(size)
    )
    roles = (GenesisRole("governor", GOVERNOR.public_key, ("governor",)),)
    return GenesisDocument("test", validators, roles, params=params)


DOCUMENT = document_of()
CHAIN_ID = DOCUMENT.chain_id
VALIDATORS: ValidatorSet = genesis_validators(DOCUMENT)
FORMAT = BatchFormat(CHAIN_ID, PARAMS, 4)


def envelope_wire(number: int, key: SigningKey = GOVERNOR, expires_at: int = EXPIRES_AT_UNIX_MS) -> bytes:
    """The `number`-th envelope of the governor: registers the asset ``A<number>``."""
    operation = build_operation("asset.register", {"asset": f"A{number}", "decimals": "2"})
    return sign_envelope(CHAIN_ID, [key], [operation], expires_at, number.to_bytes(16, "big"))


def bad_signature_wire(number: int) -> bytes:
    """A well-formed envelope whose last signature byte was changed."""
    wire = envelope_wire(number)
    return wire[:-1] + bytes([wire[-1] ^ 1])


def envelopes_of(numbers: Iterable[int]) -> list[Envelope]:
    """Verified envelopes."""
    return verify_all([decode_envelope(envelope_wire(each), CHAIN_ID, PARAMS) for each in numbers])


def header_of(height: int, parent: Header | None, payload: Sequence[bytes] = (), view: int | None = None) -> Header:
    """A block above `parent` (None: above a made-up block 0)."""
    return Header(
        epoch=0,
        height=height,
        view=view if view is not None else height,
        proposer=height % 4,
        parent_hash=parent.block_hash if parent else ZERO_DIGEST,
        parent_view=parent.view if parent else 0,
        time_unix_ms=T0_UNIX_MS + 1_000 * height,
        anchor=Anchor(0, ZERO_DIGEST, ZERO_DIGEST),
        payload=tuple(payload),
    )


def certificate(header: Header) -> QC:
    """A QC of this block with made-up signatures: nothing here verifies it."""
    signatures = tuple((index, bytes([index]) * 64) for index in range(3))
    return QC(0, header.view, Phase.CERTIFY, header.height, header.block_hash, signatures)


def chain_of(length: int, genesis: Header | None = None, payloads: Sequence[Sequence[bytes]] = ()) -> list[Proposal]:
    """`length` linked proposals from height 1."""
    proposals: list[Proposal] = []
    parent, justify = genesis, genesis_qc(genesis.block_hash if genesis else ZERO_DIGEST)
    for height in range(1, length + 1):
        header = header_of(height, parent, payloads[height - 1] if height <= len(payloads) else ())
        proposals.append(Proposal(header.view, header, justify, None, b"\x05" * 64))
        parent, justify = header, certificate(header)
    return proposals


def commit_of(proposal: Proposal) -> Commit:
    """The commit of a block."""
    return Commit(proposal, certificate(proposal.header))


def committed(proposal: Proposal, total: int = 0, root: bytes = b"\x09" * 32) -> CommittedBlock:
    """The record of a block."""
    header = proposal.header
    qc = certificate(header)
    return CommittedBlock(header.height, header.block_hash, qc, root, header.time_unix_ms, 0, 0, total)


GENESIS_BLOCK = CommittedBlock(0, ZERO_DIGEST, genesis_qc(ZERO_DIGEST), b"\x01" * 32, T0_UNIX_MS, 0, 0, 0)


def receipt_of(number: int, height: int, position: int, code: str = "") -> Receipt:
    """A made-up receipt for a made-up envelope id."""
    return Receipt(number.to_bytes(32, "little"), height, position, code, "", (("asset", (("asset", f"A{number}"),)),))


def write_of(proposal: Proposal, **changes: Any) -> BlockWrite:
    """The write batch of a block without contents, or with those given."""
    receipts = changes.pop("receipts", ())
    encoded = [(each.envelope_id, encode_receipt(each)) for each in receipts]
    write = BlockWrite(committed(proposal), proposal, (), encoded, ())
    return replace(write, **changes)


def safety_of(view: int) -> SafetyState:
    """A safety state that has voted and proposed up to `view`."""
    return SafetyState(0, view, view, genesis_qc(ZERO_DIGEST), None)


def open_store(path: Path) -> Store:
    """The store at `path`, begun."""
    store = Store.open(path, CHAIN_ID)
    if store.tip() is None:
        store.begin(GENESIS_BLOCK, [])
    return store


@dataclass
class Reports:
    """What was reported."""

    lines: list[tuple[str, dict[str, int | str]]] = field(default_factory=list)

    def __call__(self, kind: str, values: dict[str, int | str]) -> None:
        self.lines.append((kind, values))

    @property
    def kinds(self) -> list[str]:
        """The kinds, in order."""
        return [kind for kind, _ in self.lines]


Frames = list[tuple[int, FrameKind, bytes]]


class Wire:
    """One validator's end of a network in memory: sends go to `Hub.queues`, and are recorded."""

    def __init__(self, hub: Hub, index: int) -> None:
        self._hub = hub
        self._index = index
        self.sent: Frames = []
        self.cuts: list[tuple[int, Rejected]] = []

    @property
    def connected(self) -> frozenset[int]:
        """Everyone who is up, but us."""
        return frozenset(self._hub.up - {self._index})

    def send(self, peer: int, kind: FrameKind, payload: bytes) -> None:
        """Hand the frame to the hub."""
        self.sent.append((peer, kind, payload))
        self._hub.carry(self._index, peer, kind, payload)

    def broadcast(self, kind: FrameKind, payload: bytes, recipients: Iterable[int] | None = None) -> None:
        """Send to each."""
        for peer in sorted(self.connected) if recipients is None else recipients:
            self.send(peer, kind, payload)

    def cut(self, peer: int, reason: Rejected) -> None:
        """Record the cut."""
        self.cuts.append((peer, reason))

    def sent_of(self, kind: FrameKind) -> list[tuple[int, bytes]]:
        """(peer, payload) of the frames of one kind."""
        return [(peer, payload) for peer, each, payload in self.sent if each is kind]


class Hub:
    """A network in memory. `drop` decides which frames are lost: (sender, recipient, kind) -> lost."""

    def __init__(self, size: int) -> None:
        self.up = set(range(size))
        self.drop: Callable[[int, int, FrameKind], bool] = lambda sender, recipient, kind: False
        self.handlers: dict[int, Callable[[int, FrameKind, bytes], Any]] = {}
        self.wires = [Wire(self, index) for index in range(size)]
        self._queues = [trio.open_memory_channel[tuple[int, FrameKind, bytes]](math.inf) for _ in range(size)]
        self.refusals: list[tuple[int, int, Rejected]] = []

    def carry(self, sender: int, recipient: int, kind: FrameKind, payload: bytes) -> None:
        """Queue a frame, unless it is lost."""
        if recipient in self.up and not self.drop(sender, recipient, kind):
            self._queues[recipient][0].send_nowait((sender, kind, payload))

    async def run(self, index: int) -> None:
        """Deliver to one validator; a refusal is recorded as the mesh would cut for it."""
        async for sender, kind, payload in self._queues[index][1]:
            try:
                await self.handlers[index](sender, kind, payload)
            except Rejected as rejected:
                self.refusals.append((index, sender, rejected))


@dataclass
class Waiting:
    """Counts calls and lets a test wait for the next."""

    calls: int = 0
    event: trio.Event = field(default_factory=trio.Event)

    def __call__(self) -> None:
        self.calls += 1
        self.event.set()
        self.event = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for calls until the condition holds."""
        while not condition():
            await self.event.wait()


def pool_of(index: int, network: Wire, store: Store, waiting: Waiting, reports: Reports, **limits: int) -> BatchPool:
    """A pool of validator `index`, perhaps with other limits."""
    batch_format = BatchFormat(CHAIN_ID, replace(PARAMS, **limits), 4)
    return BatchPool(index, VALIDATORS, batch_format, network, store, waiting, reports)


def deadline() -> AbstractAsyncContextManager[trio.Nursery]:
    """A nursery whose tasks are cancelled when the body ends."""
    return _Nursery()


class _Nursery(AbstractAsyncContextManager[trio.Nursery]):
    def __init__(self) -> None:
        self._manager = trio.open_nursery()

    async def __aenter__(self) -> trio.Nursery:
        self._nursery = await self._manager.__aenter__()
        self._nursery.cancel_scope.deadline = trio.current_time() + DEADLINE_S
        return self._nursery

    async def __aexit__(self, *error: Any) -> bool | None:
        late = self._nursery.cancel_scope.cancelled_caught or trio.current_time() >= self._nursery.cancel_scope.deadline
        self._nursery.cancel_scope.cancel()
        swallowed = await self._manager.__aexit__(*error)
        if late:
            raise TimeoutError("The test did not end within its deadline.")
        return swallowed
