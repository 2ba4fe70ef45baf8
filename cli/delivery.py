"""Envelopes on their way to execution, and what is known of each of them at any moment.

Rules:

1. The ids are known before anything is sent, and no failure loses them: whatever ends a delivery (the deadline, a
   connection, Ctrl-C), `Delivery.outcomes` has one outcome for each envelope. One that was posted and has no receipt is
   ``unknown``: it may be executed until it expires, whatever the validators' silence looked like.
2. `Delivery.commit` delivers at least once and the chain executes at most once: an envelope without a receipt is posted
   again, unchanged, to another validator, until the deadline. A refusal of a second posting decides nothing before the
   receipt has been looked for, since the first posting may have been executed; nor does one that an envelope gets which
   somebody may have posted before (`LOOKED_UP_CODES`). Of an envelope that some validator accepted, or may have got
   without an answer, no refusal by another one decides, but that it has expired. Without a failure the delivery stays
   with one validator, so that it reads what it has written.
3. A refusal that only says "not now" (`BUSY_CODES`) is tried again until the deadline; one that a validator gives when
   it has not executed the latest block yet (`LAGGING_CODES`), for `LAG_S_MAX`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cli.client import ENVELOPES_PER_POST_MAX, Client
from genesis.errors import Rejected

BUSY_CODES: Final = frozenset({"mempool_full", "not_ready", "lifetime_too_long"})
"""Refusals that another moment may not repeat; block time that lags makes a lifetime look too long."""

LAGGING_CODES: Final = frozenset({"unknown_signer"})
"""Refusals of a validator that may not know yet what another one knows."""

REPEATED_CODES: Final = frozenset({"replayed"})
EXPIRED: Final = "expired"
LOOKED_UP_CODES: Final = REPEATED_CODES | {EXPIRED}
"""Refusals behind which there may be a receipt; after its expiry an executed envelope is refused as expired."""

LAG_S_MAX: Final = 2.0
WAIT_MS: Final = 3_000
DEADLINE_S: Final = 40.0
_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed envelope: its id, its bytes, and the block time from which it is dead."""

    id: bytes
    wire: bytes
    expires_at_unix_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an envelope.

    Attributes:
        id: The envelope's id in hexadecimal.
        code: The rule it broke; empty if none is known.
        message: That rule in words, or why nothing is known.
        receipt: The chain's receipt, absent if the envelope was refused at the door or is undecided.
        undecided: Its status while there is neither a code nor a receipt: ``accepted``, ``unknown`` or ``unsent``.
        envelope: The envelope itself, where sending it again may be wanted: of one that is ``unknown`` or ``unsent``.
    """

    id: str
    code: str
    message: str
    receipt: dict[str, Any] | None
    undecided: str = "accepted"
    envelope: Signed | None = None

    @property
    def applied(self) -> bool:
        """Whether its operations took effect."""
        return not self.code and self.receipt is not None

    @property
    def status(self) -> str:
        """One word.

        ``applied``; ``rejected`` (nothing moved); ``accepted`` (into a mempool; nobody waited for more); ``unknown``
        (posted, and not known to be final); ``unsent`` (it never left).
        """
        if self.code:
            return "rejected"
        return self.undecided if self.receipt is None else "applied"


class Delivery:
    """Some envelopes through one client.

    Args:
        client: How to reach validators of the chain.
        envelopes: Each once or more often; one that is there twice is delivered once.
    """

    def __init__(self, client: Client, envelopes: Sequence[Signed]) -> None:
        self._client = client
        self._envelopes = tuple(envelopes)
        self._pending = {each.id.hex(): each.wire for each in envelopes}
        self._decided: dict[str, Outcome] = {}
        self._accepted: set[str] = set()
        self._posted: set[str] = set()
        self._unanswered: set[str] = set()

    def outcomes(self) -> list[Outcome]:
        """What is known of each envelope now, in order."""
        return [self._decided.get(each.id.hex()) or self._undecided(each) for each in self._envelopes]

    def submit(self) -> None:
        """Have the envelopes taken into a mempool, without waiting for their execution.

        Raises:
            Rejected: ``unreachable`` when nobody answers.
        """
        while self._pending:
            for envelope_id, result in self._post(wait_ms=0):
                code, message = str(result.get("code") or ""), str(result.get("message") or "")
                code = code if result["status"] == "rejected" else ""
                if code and self._may_be_held(envelope_id):
                    self._pending.pop(envelope_id)
                else:
                    self._decide(Outcome(envelope_id, code, message, result.get("receipt")))

    def commit(self, deadline_s: float = DEADLINE_S) -> None:
        """Have the envelopes executed.

        Raises:
            Rejected: ``unreachable`` when nobody answers, ``no_receipt`` when the deadline passes first.
        """
        start = time.monotonic()
        repeated = False
        while self._pending:
            not_now = BUSY_CODES | LAGGING_CODES if time.monotonic() < start + LAG_S_MAX else BUSY_CODES
            self._round(repeated, not_now)
            if self._pending and time.monotonic() > start + deadline_s:
                message = f"The network did not execute {len(self._pending):,} of {len(self._envelopes):,} in time."
                raise Rejected("no_receipt", message)
            if self._pending:
                repeated = True
                self._client.rotate()

    def _undecided(self, envelope: Signed) -> Outcome:
        envelope_id = envelope.id.hex()
        if envelope_id not in self._posted:
            return Outcome(envelope_id, "", "It was never sent.", None, "unsent", envelope)
        how = "Accepted, and not final" if envelope_id in self._accepted else "Sent, and not confirmed"
        return Outcome(envelope_id, "", f"{how}: it may be executed until it expires.", None, "unknown", envelope)

    def _may_be_held(self, envelope_id: str) -> bool:
        """Whether a validator has the envelope, or may have got it without an answer."""
        return envelope_id in self._accepted or envelope_id in self._unanswered

    def _decide(self, outcome: Outcome) -> None:
        self._decided[outcome.id] = outcome
        self._pending.pop(outcome.id, None)

    def _post(self, wait_ms: int) -> list[tuple[str, dict[str, Any]]]:
        """Post the first that are pending; each id with its result."""
        ids = list(self._pending)[:ENVELOPES_PER_POST_MAX]
        self._posted.update(ids)
        unheard = self._client.unheard
        results = self._client.submit([self._pending[each] for each in ids], wait_ms)
        named = list(zip(ids, results, strict=True))
        self._accepted.update(each for each, result in named if result["status"] == "accepted")
        if self._client.unheard != unheard:
            self._unanswered.update(ids)
        return named

    def _round(self, repeated: bool, not_now: frozenset[str]) -> None:
        """Post what is pending once, and take down what is known after it."""
        is_refused = False
        for envelope_id, result in self._post(WAIT_MS):
            outcome = self._read(envelope_id, result, repeated, not_now)
            if outcome is not None:
                self._decide(outcome)
            elif result["status"] == "rejected":
                is_refused = True
        if is_refused:
            time.sleep(_PAUSE_S)  # "not now": a validator does not say when its mempool has room, so it is asked again

    def _read(
        self, envelope_id: str, result: dict[str, Any], repeated: bool, not_now: frozenset[str]
    ) -> Outcome | None:
        """The outcome that one result states, None while there is none."""
        receipt = result.get("receipt")
        code, message = str(result.get("code") or ""), str(result.get("message") or "")
        if code in not_now:
            return None
        if receipt is None and result["status"] == "rejected" and (repeated or code in LOOKED_UP_CODES):
            receipt = self._client.find(f"/v1/transactions/{envelope_id}")
        if receipt is not None:
            return Outcome(envelope_id, str(receipt["code"]), str(receipt["message"]), receipt)
        is_decisive = code == EXPIRED or (code not in REPEATED_CODES and not self._may_be_held(envelope_id))
        if result["status"] == "rejected" and is_decisive:
            return Outcome(envelope_id, code, message, None)
        return None
