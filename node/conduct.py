"""The conduct of peers: what they say that no honest validator can have said is counted, and too much of it costs the
connection.

Rules:

1. A fault counts when the message alone proves it: whatever we know or have yet to learn, no honest validator of this
   epoch sends that (`COUNTED` names each code and why). Everybody checks what he passes on, so a peer answers for all
   that it sends.
2. What an honest peer may send because it is late, ahead, stale, in another epoch or misled never counts, however often
   it comes. It is reported and dropped, and is cheap to drop.
3. A peer may commit `faults_max` faults in a span. One more ends both its connections and bars it (`node.peers` rule
   5), for longer each time; its count then begins anew.
4. Two statements of one key that contradict each other count against the key's owner, whoever showed them.

What does not even decode never comes here: it costs the connection at once. A budget instead of the same severity,
because a signature may go bad where no malice is (a failing memory, a key that its operator mixed up), and such a peer
should remain in reach of whoever repairs it, at a price that is bounded.

The work that a peer can cause is bounded by this and the two bounds before it: the frames of one receive are handled
before a cut shows effect, and each beat allows so many frames (`node.links`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from consensus.events import Report
from genesis.errors import Rejected

COUNTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bad_signature": "everybody verifies what he takes in before he passes it on, and signs with his own key",
        "no_quorum": "powers are fixed within an epoch, and who makes a certificate counts them",
        "bad_certificate": "a certificate that contradicts itself cannot have been made by the rules",
        "unknown_validator": "the set is fixed within an epoch, and the statement names that epoch",
        "unjustified_view": "who enters a view holds the certificate that leads there, and sends it along",
        "wrong_phase": "the engine, and with it the phases of its votes, is part of the chain id",
        "equivocation": "an honest validator makes its statements durable before it signs, and never contradicts them",
        "contradiction": "the same: a further statement for an offence that the core has reported before",
    }
)
"""Codes of faults that their message alone proves, and why no honest validator commits them.

Left out on purpose: ``wrong_epoch`` (a validator that is late or early), ``wrong_leader`` (leaders may depend on
committed blocks that one side lacks), ``bad_block`` and ``bad_sync`` (they are judged against what we have; one a view,
or one a request, is all that a peer can make of them).
"""

TOO_MANY_FAULTS: Final = "too_many_faults"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConductLimits:
    """A local choice, not agreed on by the chain.

    Attributes:
        faults_max: Proven faults that a peer may commit in a span before it is cut, 0 or more.
        span_s: The length of a span, in seconds; it begins with the first fault.
    """

    faults_max: int = 16
    span_s: float = 60.0


class _Record:
    """One peer's faults in its current span."""

    __slots__ = ("began_s", "codes")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.codes: Counter[str] = Counter()


class Conduct:
    """The records of all peers. Bounded: one of each peer, and a number for each code of `COUNTED`.

    Args:
        cut: Ends the connections of a peer and bars it.
        peers: Everybody but ourselves.
        now_s: A clock that only goes forward, in seconds.
        limits: The budget.
    """

    def __init__(
        self,
        cut: Callable[[int, Rejected], None],
        peers: frozenset[int],
        now_s: Callable[[], float],
        limits: ConductLimits | None = None,
    ) -> None:
        self._cut = cut
        self._peers = peers
        self._now_s = now_s
        self._limits = limits or ConductLimits()
        self._records: dict[int, _Record] = {}

    def hear(self, event: Report) -> None:
        """Count what the core reports, if it is a proven fault of a peer (rules 1, 2 and 4)."""
        if event.kind == "rejected":
            details = dict(event.details)
            self._count(details["sender"], str(details["code"]))
        elif event.kind in ("equivocation", "contradiction"):
            self._count(dict(event.details)["validator"], event.kind)

    def faults(self, peer: int) -> int:
        """The faults of a peer in its current span."""
        record = self._records.get(peer)
        return record.codes.total() if record is not None else 0

    def _count(self, peer: int | str, code: str) -> None:
        if code not in COUNTED or not isinstance(peer, int) or peer not in self._peers:
            return
        now_s = self._now_s()
        record = self._records.get(peer)
        if record is None or now_s > record.began_s + self._limits.span_s:
            record = self._records[peer] = _Record(now_s)
        record.codes[code] += 1
        if record.codes.total() > self._limits.faults_max:
            del self._records[peer]
            message = "The peer says too much that no honest validator can have said."
            self._cut(peer, Rejected(TOO_MANY_FAULTS, message, **record.codes))
