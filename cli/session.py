"""A client's session with one chain: what it signs, and how it makes sure that it was executed (`cli.delivery`).

Rules:

1. Block time is computed, not asked for: the genesis document says how it follows the wall.
2. An envelope lives for half of the longest lifetime that the chain allows, which leaves the other half for block time
   that lags behind the wall (a change of leaders, a network that was down).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from cli.client import Client
from cli.delivery import DEADLINE_S, Delivery, Outcome, Signed
from genesis.document import GenesisDocument, parse_document
from genesis.envelope import SALT_BYTES, Operation, decode_envelope, sign_envelope
from genesis.errors import Rejected
from genesis.signing import SigningKey


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
        envelope = decode_envelope(wire, self._chain_id, self._limits)
        return Signed(envelope.id, wire, envelope.expires_at_unix_ms)

    def commit(self, envelopes: Sequence[Signed], deadline_s: float = DEADLINE_S) -> list[Outcome]:
        """Have envelopes executed; one outcome for each, in order.

        Raises:
            Rejected: ``unreachable`` when nobody answers, ``no_receipt`` when the deadline passes first.
        """
        delivery = Delivery(self.client, envelopes)
        delivery.commit(deadline_s)
        return delivery.outcomes()

    def apply(self, envelopes: Sequence[Signed]) -> list[dict[str, Any]]:
        """Like `commit`, and the receipts; `Rejected` with the chain's own code unless every envelope was applied."""
        receipts = []
        for outcome in self.commit(envelopes):
            if outcome.receipt is None or not outcome.applied:
                raise Rejected(outcome.code or "refused", outcome.message, envelope=outcome.id)
            receipts.append(outcome.receipt)
        return receipts


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
