"""Having a replay's acts executed exactly once, over interruptions of the replay and of the network.

An act is announced in the journal, then sent in the envelope that the journal's rules give it. The chain answers a
second sending with the receipt of the first. If the chain says that the envelope has expired, its receipt is looked
for; only where there is none does the act get another envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from cli.client import NotFound
from cli.delivery import DEADLINE_S, Outcome, Signed
from cli.replay_journal import Journal
from cli.replay_wait import AWAY_S_MAX
from cli.session import Session
from genesis.envelope import Operation
from genesis.errors import Rejected, violated
from genesis.signing import SigningKey

EXPIRED: Final = "expired"
SIGNINGS_MAX: Final = 3
"""An envelope lives for a minute of the wall: a network that lets so many of an act expire executes nothing."""

RECEIPT_WAIT_MS: Final = 1_000
"""A block's receipts can be asked for some milliseconds after its time is known."""


@dataclass(frozen=True, slots=True)
class Act:
    """One envelope of a replay.

    Attributes:
        place: The place of its item in the schedule, or `cli.replay_journal.DEPOSIT`.
        what, number: Which act it is; distinct for distinct acts.
        keys: Who signs it.
        operations: What it does.
    """

    place: int
    what: str
    number: int
    keys: tuple[SigningKey, ...]
    operations: tuple[Operation, ...]


def commit_once(session: Session, journal: Journal, acts: Sequence[Act]) -> list[Outcome]:
    """Have acts executed, unless they have been; one outcome for each, in order.

    Raises:
        Rejected: ``unreachable`` when nobody answers for `AWAY_S_MAX`, ``no_receipt`` when the network executes
            nothing.
    """
    outcomes: dict[int, Outcome] = {}
    due = list(range(len(acts)))
    for _ in range(SIGNINGS_MAX):
        _announce(session, journal, [acts[at].place for at in due])
        signed = [_sign(session, journal, acts[at]) for at in due]
        found = session.commit(signed, DEADLINE_S + AWAY_S_MAX)
        outcomes.update(zip(due, _with_receipts(session, found), strict=True))
        due = [at for at in due if outcomes[at].code == EXPIRED]
        if not due:
            break
        journal.expired({acts[at].place for at in due})
    return [outcomes[at] for at in range(len(acts))]


def _announce(session: Session, journal: Journal, places: Sequence[int]) -> None:
    """Announce the places that have no envelope yet, each run of neighbours in a line."""
    fresh = sorted({place for place in places if journal.expires_at_unix_ms(place) is None})
    expires_at = session.expiry_unix_ms()
    for _, run in groupby(enumerate(fresh), key=lambda pair: pair[1] - pair[0]):
        members = [place for _, place in run]
        journal.announce(members[0], len(members), expires_at)


def _sign(session: Session, journal: Journal, act: Act) -> Signed:
    expires_at = journal.expires_at_unix_ms(act.place)
    if expires_at is None:
        violated("An act is announced before it is signed.", place=act.place)
    return session.sign_as(act.keys, act.operations, expires_at, journal.salt(act.what, act.number))


def _with_receipts(session: Session, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, in place of those that only say "expired" what an earlier sending of the same envelope came to."""
    found = []
    wait_ms = RECEIPT_WAIT_MS
    for each in outcomes:
        if each.code == EXPIRED:  # at the door, or in the block that ordered it too late: an answer, and no receipt
            receipt = _receipt(session, each.id, wait_ms)
            wait_ms = 0  # whatever was executed before the first of these is known after that
            if receipt is not None and receipt["code"] != EXPIRED:
                found.append(Outcome(each.id, str(receipt["code"]), str(receipt["message"]), receipt))
                continue
        found.append(each)
    return found


def _receipt(session: Session, envelope_id: str, wait_ms: int) -> dict[str, Any] | None:
    """The receipt of an envelope, None if it was not executed.

    Raises:
        Rejected: ``receipts_gone``: the validator does not keep so much that it could know.
    """
    try:
        receipt: dict[str, Any] = session.client.get(f"/v1/transactions/{envelope_id}?wait_ms={wait_ms}", wait_ms)
    except NotFound as error:
        if "lowest_height" in error.details:
            message = "A validator that has not kept all receipts cannot say what became of a transaction."
            raise Rejected("receipts_gone", message, id=envelope_id, url=session.client.url) from error
        return None
    return receipt
