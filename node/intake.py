"""Takes envelopes from clients: decodes, admits and verifies them together, and hands them to the batch maker.

Rules:

1. Every envelope is answered by itself: a bad one fails alone, whatever came with it.
2. An envelope that already waits here is accepted again without being queued again, so a client may repeat itself
   safely. One that was executed is refused as ``replayed``; its receipt can be asked for.
3. What waits for a batch, and what waits to be verified, is together bounded: by `mempool_envelopes_max`, which the
   chain decides, and by the bytes that it takes decoded (`node.batch_maker.held_bytes`), which the operator
   does. The rest is refused as ``mempool_full``: before any work is spent on it where its number or the size of its
   wire says so, else as soon as it is decoded.
4. One envelope is taken whatever it takes while nothing else waits: otherwise it would be told to come again for ever.
5. A visit holds at most `PIECE_BYTES` of envelopes, or one, whose signatures it has not checked: what turns out to be
   false takes no room from what follows it.

Theory of operation: requests queue up, and one task checks all that wait, up to about `VISIT_ENVELOPES`, in one visit.
Under load a visit carries hundreds of envelopes and is made to a worker thread; a few envelopes are checked in place
(`node.offload`). A worker reads the set of waiting ids, the replay memory and the signers' tables while another thread
may be executing a block: single look-ups in dictionaries, whose worst outcome is an envelope that the chain refuses
later, or that its client has to post again. What decides is the state machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from genesis.envelope import Envelope, UnverifiedEnvelope, decode_envelope, verify_each
from genesis.errors import Rejected
from genesis.params import ChainParams
from node.batch_maker import BatchMaker, held_bytes
from node.batches import COPIES, ENVELOPE_MEMORY_BYTES
from node.config import MEMPOOL_BYTES_DEFAULT
from node.offload import Offload
from node.signatures import first_invalid

VISIT_ENVELOPES: Final = 250
PIECE_BYTES: Final = 8 * 2**20
"""Decoded; some two thousand trades."""

BEHIND_HEIGHTS_MAX: Final = 16
"""A node further behind the best certificate it knows than this is not ready."""

NOT_READY: Final = "not_ready"
DEPENDS_ON_HEIGHT: Final = frozenset({"unknown_signer", "lifetime_too_long"})
"""What a node that is behind finds wrong with envelopes that are right: it has yet to meet the signer, or the time."""

CHECK_US: Final = 150
"""Decoding an envelope and checking its two signatures."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of one submitted envelope.

    Attributes:
        envelope_id: Its id, or None when it could not even be decoded.
        code: Empty when accepted; else the stable identifier of the rule it breaks.
        message: Empty when accepted; else a sentence with the values compared.
    """

    envelope_id: bytes | None
    code: str = ""
    message: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the envelope waits for its block now."""
        return not self.code


class _Request:
    """One call of `submit` on its way."""

    __slots__ = ("admissions", "bytes", "done", "wires")

    def __init__(self, wires: Sequence[bytes]) -> None:
        self.wires = wires
        self.bytes = sum(map(_bytes_min, wires))
        self.admissions: list[Admission] = []
        self.done = trio.Event()


class Intake:
    """The door for clients. `run` is its loop.

    Args:
        chain_id: The chain that envelopes must be signed for.
        params: The limits as they bind on this chain.
        admit: Raises `Rejected` for an envelope that the state would refuse (`contracts.machine.admit`); may be called
            in a worker thread.
        maker: Where verified envelopes go.
        bytes_max: What all that waits may take, decoded (`node.config`).
    """

    def __init__(
        self,
        chain_id: bytes,
        params: ChainParams,
        admit: Callable[[UnverifiedEnvelope], None],
        maker: BatchMaker,
        bytes_max: int = MEMPOOL_BYTES_DEFAULT,
    ) -> None:
        self._chain_id = chain_id
        self._params = params
        self._admit = admit
        self._maker = maker
        self._bytes_max = bytes_max
        self._requests: deque[_Request] = deque()
        self._unverified = 0
        self._unverified_bytes = 0
        self._live: dict[bytes, int] = {}
        self._prune_at_unix_ms = 0
        self._wakeup = trio.Event()
        self._offload = Offload()

    def attach(self, maker: BatchMaker) -> None:
        """Verified envelopes go there from now on."""
        self._maker = maker

    @property
    def waiting(self) -> int:
        """Envelopes that are not in a batch yet: the mempool."""
        return self._maker.waiting + self._unverified

    @property
    def waiting_bytes(self) -> int:
        """What they take decoded, at most; of those that nobody has decoded yet, at least."""
        return self._maker.waiting_bytes + self._unverified_bytes

    async def submit(self, wires: Sequence[bytes]) -> list[Admission]:
        """Admit envelopes; one answer for each, in order. Accepted ones wait for a block when this returns."""
        taken, full = self._room_for(wires)
        request = _Request(wires[:taken])
        if request.wires:
            self._unverified += len(request.wires)
            self._unverified_bytes += request.bytes
            self._requests.append(request)
            self._wakeup.set()
            await request.done.wait()
        return request.admissions + [full] * (len(wires) - taken)

    def _room_for(self, wires: Sequence[bytes]) -> tuple[int, Admission]:
        """How many of these may be taken, the first ones, and what is said to the others."""
        waiting, waiting_max = self.waiting, self._params.mempool_envelopes_max
        room = min(len(wires), max(0, waiting_max - waiting))
        held = self.waiting_bytes
        for position, wire in enumerate(wires[:room]):
            needed = _bytes_min(wire)
            if not _fits(held, needed, self._bytes_max):
                return position, _full_of_bytes(None, held, needed, self._bytes_max)
            held += needed
        values = {"waiting": waiting + room, "waiting_max": waiting_max}
        return room, _refusal(None, Rejected("mempool_full", "Too many envelopes wait for a block.", **values))

    def executed(self, envelope_ids: Iterable[bytes], time_unix_ms: int) -> None:
        """A block executed these; block time is now `time_unix_ms`."""
        for each in envelope_ids:
            self._live.pop(each, None)
        if time_unix_ms >= self._prune_at_unix_ms:
            self._prune_at_unix_ms = time_unix_ms + self._params.envelope_lifetime_ms_max // 4
            for each in [each for each, expires_at in self._live.items() if expires_at <= time_unix_ms]:
                del self._live[each]

    async def run(self) -> None:
        """Check what is posted until cancelled."""
        while True:
            group = self._take()
            if not group:
                self._wakeup = trio.Event()
                await self._wakeup.wait()
                continue
            wires = [wire for request in group for wire in request.wires]
            held = self._maker.waiting_bytes
            results = iter(await self._offload.run(len(wires) * CHECK_US, self._check_all, wires, held))
            verified: list[Envelope] = []
            for request in group:
                for _ in request.wires:
                    admission, envelope = next(results)
                    request.admissions.append(admission)
                    if envelope is not None and envelope.id not in self._live:
                        self._live[envelope.id] = envelope.expires_at_unix_ms
                        verified.append(envelope)
            self._unverified -= len(wires)
            self._unverified_bytes -= sum(request.bytes for request in group)
            self._maker.add(verified)
            for request in group:
                request.done.set()

    def _take(self) -> list[_Request]:
        group: list[_Request] = []
        count = 0
        while self._requests and count < VISIT_ENVELOPES:
            request = self._requests.popleft()
            group.append(request)
            count += len(request.wires)
        return group

    def _check_all(self, wires: Sequence[bytes], held: int) -> list[tuple[Admission, Envelope | None]]:
        """Decode and admit each, then verify together what is left: the cheap refusals first. The envelope is None when
        there is nothing to queue. `held` is what the mempool takes without these."""
        results: list[tuple[Admission, Envelope | None]] = []
        piece: list[tuple[Admission, UnverifiedEnvelope | None]] = []
        piece_bytes = 0
        for wire in wires:
            admission, envelope = self._admission(wire)
            needed = 0 if envelope is None else held_bytes(envelope)
            is_over = not _fits(held + piece_bytes, needed, self._bytes_max)
            if piece_bytes and (is_over or piece_bytes + needed > PIECE_BYTES):
                verified = _verified(piece)
                results += verified
                held += sum(held_bytes(each) for _, each in verified if each is not None)
                piece, piece_bytes = [], 0
            if envelope is not None and not _fits(held, needed, self._bytes_max):
                admission, envelope, needed = _full_of_bytes(envelope.id, held, needed, self._bytes_max), None, 0
            piece.append((admission, envelope))
            piece_bytes += needed
        return results + _verified(piece)

    def _admission(self, wire: bytes) -> tuple[Admission, UnverifiedEnvelope | None]:
        envelope_id: bytes | None = None
        try:
            envelope = decode_envelope(wire, self._chain_id, self._params)
            envelope_id = envelope.id
            if envelope_id in self._live:
                return Admission(envelope_id), None
            self._admit(envelope)
            return Admission(envelope_id), envelope
        except Rejected as rejected:
            return _refusal(envelope_id, rejected), None


def excused(admissions: list[Admission], height: int, certified_height: int) -> list[Admission]:
    """The admissions as a node at `height` may state them when it knows of a certificate for `certified_height`.

    Far behind, it cannot tell a refusal that depends on the height from a valid envelope, and says so: ``not_ready``.

    Raises:
        Rejected: ``not_ready``, where that is the answer to every envelope.
    """
    if certified_height - height <= BEHIND_HEIGHTS_MAX:
        return admissions
    message = f"This node is at height {height}, behind {certified_height}, and cannot judge this yet; ask another."
    stated = [
        Admission(each.envelope_id, NOT_READY, message) if each.code in DEPENDS_ON_HEIGHT else each
        for each in admissions
    ]
    if stated and all(each.code == NOT_READY for each in stated):
        raise Rejected(NOT_READY, message, height=height, certified_height=certified_height)
    return stated


def _verified(piece: list[tuple[Admission, UnverifiedEnvelope | None]]) -> list[tuple[Admission, Envelope | None]]:
    """The answers once the signatures have been checked, of all together."""
    outcomes = iter(verify_each([envelope for _, envelope in piece if envelope is not None], first_invalid))
    results: list[tuple[Admission, Envelope | None]] = []
    for admission, envelope in piece:
        outcome = None if envelope is None else next(outcomes)
        if isinstance(outcome, Rejected):
            admission, outcome = _refusal(admission.envelope_id, outcome), None
        results.append((admission, outcome))
    return results


def _bytes_min(wire: bytes) -> int:
    """What an envelope takes decoded, as far as its wire says."""
    return COPIES * len(wire) + ENVELOPE_MEMORY_BYTES


def _fits(held: int, needed: int, bytes_max: int) -> bool:
    """Rules 3 and 4."""
    return held == 0 or held + needed <= bytes_max


def _full_of_bytes(envelope_id: bytes | None, held: int, needed: int, bytes_max: int) -> Admission:
    message = "The envelopes that wait for a block take too much memory."
    values = {"waiting_bytes": held, "needed_bytes": needed, "bytes_max": bytes_max}
    return _refusal(envelope_id, Rejected("mempool_full", message, **values))


def _refusal(envelope_id: bytes | None, rejected: Rejected) -> Admission:
    return Admission(envelope_id, rejected.code, str(rejected).removeprefix(f"{rejected.code}: "))
