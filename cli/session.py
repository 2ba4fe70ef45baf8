"""A client's session with one chain: what it signs, and how it makes sure that it was executed.

Rules:

1. Block time is computed, not asked for: the genesis document says how it follows the wall.
2. An envelope lives for half of the longest lifetime that the chain allows, which leaves the other half for block time
   that lags behind the wall (a change of leaders, a network that was down).
3. `Session.commit` delivers at least once and the chain executes at most once: an envelope without a receipt is posted
   again, unchanged, to another validator, until the deadline. A refusal of a second posting decides nothing before the
   receipt has been looked for, since the first posting may have been executed. Without a failure the session stays with
   one validator, so that it reads what it has written.
4. A refusal that only says "not now" (`BUSY_CODES`) is tried again until the deadline; one that a validator gives when
   it has not executed the latest block yet (`LAGGING_CODES`), for `LAG_S_MAX`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cli.client import ENVELOPES_PER_POST_MAX, Client
from genesis.document import GenesisDocument, parse_document
from genesis.envelope import SALT_BYTES, Operation, decode_envelope, sign_envelope
from genesis.errors import Rejected
from genesis.signing import SigningKey

BUSY_CODES: Final = frozenset({"mempool_full", "not_ready", "lifetime_too_long"})
"""Refusals that another moment may not repeat; block time that lags makes a lifetime look too long."""

LAGGING_CODES: Final = frozenset({"unknown_signer"})
"""Refusals of a validator that may not know yet what another one knows."""

LAG_S_MAX: Final = 2.0
REPEATED_CODES: Final = frozenset({"replayed"})
WAIT_MS: Final = 3_000
DEADLINE_S: Final = 40.0
_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed envelope: its id and its bytes."""

    id: bytes
    wire: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an envelope: applied, refused at the door, or refused in its block.

    Attributes:
        id: The envelope's id in hexadecimal.
        code: Empty if it was applied, else the rule it broke.
        message: That rule in words.
        receipt: The chain's receipt, absent if the envelope was refused at the door.
    """

    id: str
    code: str
    message: str
    receipt: dict[str, Any] | None

    @property
    def applied(self) -> bool:
        """Whether its operations took effect."""
        return not self.code and self.receipt is not None

    @property
    def status(self) -> str:
        """``applied``, ``accepted`` (into a mempool; nothing more is known) or ``rejected``."""
        if self.code:
            return "rejected"
        return "accepted" if self.receipt is None else "applied"


class Session:
    """One chain through one client.

    Args:
        client: How to reach validators of the chain.
        document: The chain's genesis document; fetched from a validator if absent.
    """

    def __init__(self, client: Client, document: GenesisDocument | None = None) -> None:
        self.client = client
        self.document = document or fetch_document(client)
        self._chain_id = self.document.chain_id
        self._limits = self.document.limits

    def chain_unix_ms(self) -> int:
        """Block time as the wall clock gives it now."""
        return self.document.clock.chain_unix_ms(time.time_ns() // 1_000_000)

    def wall_s_until(self, chain_unix_ms: int) -> float:
        """Seconds of wall clock until block time reaches `chain_unix_ms`; 0 if it has."""
        clock = self.document.clock
        due_wall_ms = clock.wall_origin_unix_ms - (clock.chain_origin_unix_ms - chain_unix_ms) // clock.speed
        return max(0.0, due_wall_ms / 1_000 - time.time())

    def expiry_unix_ms(self) -> int:
        """The block time until which an envelope that is signed now lives (rule 2)."""
        return self.chain_unix_ms() + self._limits.envelope_lifetime_ms_max // 2

    def sign(self, keys: Sequence[SigningKey], operations: Sequence[Operation]) -> Signed:
        """An envelope of these operations, signed by these keys; the first is the sender's."""
        return self.sign_as(keys, operations, self.expiry_unix_ms(), secrets.token_bytes(SALT_BYTES))

    def sign_as(
        self, keys: Sequence[SigningKey], operations: Sequence[Operation], expires_at_unix_ms: int, salt: bytes
    ) -> Signed:
        """As `sign`, with a given expiry and salt: of equal arguments the envelope is the same one."""
        return self.read(sign_envelope(self._chain_id, keys, operations, expires_at_unix_ms, salt))

    def read(self, wire: bytes) -> Signed:
        """An envelope that was signed elsewhere; `Rejected` if it is malformed or another chain's."""
        return Signed(decode_envelope(wire, self._chain_id, self._limits).id, wire)

    def submit(self, envelopes: Sequence[Signed]) -> list[Outcome]:
        """Have envelopes taken into a mempool, without waiting for their execution; one outcome for each, in order."""
        outcomes = []
        for first in range(0, len(envelopes), ENVELOPES_PER_POST_MAX):
            some = envelopes[first : first + ENVELOPES_PER_POST_MAX]
            results = self.client.submit([each.wire for each in some])
            for each, result in zip(some, results, strict=True):
                code = "" if result["status"] != "rejected" else str(result["code"])
                outcomes.append(Outcome(each.id.hex(), code, str(result["message"]), result.get("receipt")))
        return outcomes

    def commit(self, envelopes: Sequence[Signed], deadline_s: float = DEADLINE_S) -> list[Outcome]:
        """Have envelopes executed; one outcome for each, in order.

        Raises:
            Rejected: ``unreachable`` when nobody answers, ``no_receipt`` when the deadline passes first.
        """
        pending = {each.id.hex(): each.wire for each in envelopes}
        outcomes: dict[str, Outcome] = {}
        start = time.monotonic()
        repeated = False
        while pending:
            not_now = BUSY_CODES | LAGGING_CODES if time.monotonic() < start + LAG_S_MAX else BUSY_CODES
            for outcome in self._post(pending, repeated, not_now):
                outcomes[outcome.id] = outcome
                del pending[outcome.id]
            if pending and time.monotonic() > start + deadline_s:
                waiting = len(pending)
                raise Rejected("no_receipt", "The network did not execute these envelopes in time.", waiting=waiting)
            if pending:
                repeated = True
                self.client.rotate()
        return [outcomes[each.id.hex()] for each in envelopes]

    def apply(self, envelopes: Sequence[Signed]) -> list[dict[str, Any]]:
        """Like `commit`, and the receipts; `Rejected` with the chain's own code unless every envelope was applied."""
        receipts = []
        for outcome in self.commit(envelopes):
            if outcome.receipt is None or not outcome.applied:
                raise Rejected(outcome.code or "refused", outcome.message, envelope=outcome.id)
            receipts.append(outcome.receipt)
        return receipts

    def _post(self, pending: dict[str, bytes], repeated: bool, not_now: frozenset[str]) -> list[Outcome]:
        """Post what is pending once; the outcomes that are known after it."""
        wires = list(pending.values())[:ENVELOPES_PER_POST_MAX]
        results = self.client.submit(wires, WAIT_MS)
        named = zip(list(pending), results, strict=False)
        decided = [self._decide(envelope_id, result, repeated, not_now) for envelope_id, result in named]
        if any(
            outcome is None and result["status"] == "rejected" for outcome, result in zip(decided, results, strict=True)
        ):
            time.sleep(_PAUSE_S)  # "not now": there is nothing to wait on but time
        return [each for each in decided if each is not None]

    def _decide(
        self, envelope_id: str, result: dict[str, Any], repeated: bool, not_now: frozenset[str]
    ) -> Outcome | None:
        """The outcome that one result states, None while there is none."""
        receipt = result.get("receipt")
        code, message = str(result.get("code") or ""), str(result.get("message") or "")
        if code in not_now:
            return None
        if receipt is None and result["status"] == "rejected" and (repeated or code in REPEATED_CODES):
            receipt = self.client.find(f"/v1/transactions/{envelope_id}")
        if receipt is not None:
            return Outcome(envelope_id, str(receipt["code"]), str(receipt["message"]), receipt)
        if result["status"] == "rejected" and code not in REPEATED_CODES:
            return Outcome(envelope_id, code, message, None)
        return None


def fetch_document(client: Client) -> GenesisDocument:
    """The genesis document of the chain that `client` talks to; checked as a file would be."""
    import tomli_w

    values = client.get("/v1/genesis")
    stated = values.pop("chain_id", None)
    document = parse_document(tomli_w.dumps(values))
    if stated not in (None, document.chain_id.hex()):
        raise Rejected(
            "wrong_chain", "The validator states another chain id than its genesis document has.", stated=stated
        )
    return document
