"""What a replay waits for, how long, and what it says meanwhile: the expiry, its settlement, validators that are away.

Rules:

1. How long a replay takes is known before it begins, from the chain's clock. It is said, and a replay that would take
   longer than it may is refused before anything is sent.
2. Of a wait of more than `SILENCE_S` people are told how far it is: a bar on a terminal, a line now and then elsewhere;
   with ``--json`` that line goes to standard error.
3. While no validator at all answers, a replay asks again for `AWAY_S_MAX` and says so once. At its start it does not:
   who has not answered yet may not be there at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar

import click

from cli.client import Client, whole_settlement
from cli.output import Output
from cli.replay_journal import Journal
from cli.replay_plan import TRADE_LEAD_WALL_MS, Plan, Schedule
from cli.session import Session
from genesis.document import SPEED_MAX
from genesis.errors import Rejected

WAIT_S_MAX: Final = 3_600
"""How long a replay takes at most unless it is told otherwise."""

SUGGESTED_S: Final = 60
"""How long the replay that is suggested instead takes, about."""

AWAY_S_MAX: Final = 60.0
SETTLEMENT_PATIENCE_S: Final = 90.0
"""How long the network may stand still (leaders killed, a quorum restarted) around an expiry that settles after all."""

SILENCE_S: Final = 10.0
LINES_MAX: Final = 20
EXPIRED: Final = ("bad_expiry", "series_expired")
"""How the chain refuses a series and a trade whose expiry has come."""

_POLL_S: Final = 0.1
_AWAY_POLL_S: Final = 0.5
Answer = TypeVar("Answer")


class PatientClient(Client):
    """A client that waits for validators that have answered before (rule 3).

    Args:
        urls, timeout_s: As of `Client`.
        tell: Given the line that says so.
        patience_s: How long nobody may answer.
    """

    def __init__(
        self, urls: Sequence[str], timeout_s: float, tell: Callable[[str], None], patience_s: float = AWAY_S_MAX
    ) -> None:
        super().__init__(urls, timeout_s)
        self._tell = tell
        self._patience_s = patience_s
        self._has_answered = False

    def get(self, path: str, wait_ms: int = 0) -> Any:
        """As `Client.get`; ``unreachable`` after `patience_s` alone."""
        return self._patiently(lambda: super(PatientClient, self).get(path, wait_ms))

    def submit(self, wires: Sequence[bytes], wait_ms: int = 0) -> list[dict[str, Any]]:
        """As `Client.submit`; ``unreachable`` after `patience_s` alone."""
        return self._patiently(lambda: super(PatientClient, self).submit(wires, wait_ms))

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        until: float | None = None
        while True:
            try:
                answer = ask()
            except Rejected as error:
                if error.code != "unreachable":
                    self._has_answered = True
                    raise
                if not self._has_answered or (until is not None and time.monotonic() > until):
                    raise
                if until is None:
                    until = time.monotonic() + self._patience_s
                    self._tell(f"No validator answers; asking again for up to {_span(self._patience_s)}.")
                time.sleep(_AWAY_POLL_S)  # nobody announces that a port is open again
            else:
                self._has_answered = True
                return answer


def tell(out: Output, text: str) -> None:
    """A line for people: on standard error where standard output is for a program."""
    if out.as_json:
        click.echo(text, err=True)
    else:
        out.line(text)


def check_clock(session: Session, plan: Plan, journal: Journal, wait_s_max: int) -> None:
    """Refuse a replay for which the chain's clock is too far on, or too far back.

    Raises:
        Rejected: ``too_late`` after the expiry, unless all trades have been sent; ``long_wait`` when the wall needs
            more than `wait_s_max` until the expiry. Both say how to start a testnet for this tape.
    """
    now = session.chain_unix_ms()
    if now >= plan.expiry_unix_ms:
        if journal.sent_to >= Schedule(plan, session.document.clock.speed).trades_end:
            return
        done = (
            f", and only {journal.driven.trades:,} of {len(plan.trades):,} trades are known to be done"
            if journal.funded
            else ""
        )
        raise Rejected(
            "too_late",
            f"The chain's clock is past the expiry {plan.expiry}{done}. {_suggestion(plan)}",
            chain_unix_ms=now,
            expiry_unix_ms=plan.expiry_unix_ms,
        )
    wait_s, speed = session.wall_s_until(plan.expiry_unix_ms), session.document.clock.speed
    if wait_s > wait_s_max:
        raise Rejected(
            "long_wait",
            f"The expiry {plan.expiry} is {_span(wait_s)} away, at speed {speed:,}, and a replay takes at most "
            f"{_span(wait_s_max)}; nothing was sent. {_suggestion(plan)}",
            wait_s=int(wait_s) + 1,
            wait_s_max=wait_s_max,
        )


@contextmanager
def ahead_of_expiry(session: Session, plan: Plan) -> Iterator[None]:
    """Inside, what the chain refuses because the expiry has come is ``too_late``: its clock is too fast."""
    try:
        yield
    except Rejected as error:
        if error.code not in EXPIRED:
            raise
        speed = session.document.clock.speed
        message = (
            f"The expiry {plan.expiry} came before every trade was done: at speed {speed:,} its clock is too fast for "
            f"what runs here. {error.message} {_suggestion(plan, max(1, speed // 2))}"
        )
        raise Rejected("too_late", message, **error.details) from error


def foretell(out: Output, session: Session, plan: Plan) -> None:
    """Say how long the replay will take."""
    wait_s = session.wall_s_until(plan.expiry_unix_ms)
    if wait_s:
        chain_s = (plan.expiry_unix_ms - session.chain_unix_ms()) / 1_000
        speed = session.document.clock.speed
        tell(out, f"The expiry comes in {_span(wait_s)}: {_span(chain_s)} of the chain's clock, at speed {speed:,}.")


def await_expiry(out: Output, session: Session, plan: Plan) -> None:
    """Return when the chain's clock has reached the expiry; say meanwhile how far it is (rule 2)."""
    total_s = session.wall_s_until(plan.expiry_unix_ms)
    if out.is_terminal and total_s > 1:
        with out.progress("seconds until the expiry", int(total_s)) as progress:
            for left in range(int(total_s) - 1, -1, -1):
                # One step of the bar a second of the chain's clock, which is a function of the wall.
                time.sleep(max(0.0, session.wall_s_until(plan.expiry_unix_ms) - left))
                progress.advance()
    await_moment(out, session, plan.expiry_unix_ms, "the expiry")


def await_moment(out: Output, session: Session, chain_unix_ms: int, what: str) -> None:
    """Return when the chain's clock has reached a moment; say meanwhile how far it is, unless a bar says so."""
    step_s = max(SILENCE_S, session.wall_s_until(chain_unix_ms) / LINES_MAX)
    while (left_s := session.wall_s_until(chain_unix_ms)) > step_s and not out.is_terminal:
        tell(out, f"Waiting for {what}: {_span(left_s)} to go.")
        time.sleep(step_s)
    time.sleep(left_s)  # the moment is the wall's: no event tells of it


def await_settlement(session: Session, plan: Plan) -> dict[str, Any]:
    """The chain's settlement record of the plan's expiry, waited for as long as the chain's rules may take.

    Block time stands still while the network does, so `SETTLEMENT_PATIENCE_S` of wall clock come on top, in which no
    validator needs to answer.

    Raises:
        Rejected: ``not_settled`` when it does not come; ``unreachable`` when nobody answers even then.
    """
    path = f"/v1/settlements/{plan.index}/{plan.expiry_unix_ms}"
    until = time.monotonic() + settlement_s_max(session, plan) + SETTLEMENT_PATIENCE_S
    while (record := _settled(session, path, time.monotonic() < until)) is None:
        if time.monotonic() > until:
            raise Rejected("not_settled", f"The expiry {plan.expiry} has not settled; see `novate testnet status`.")
        time.sleep(_POLL_S)  # a validator holds back answers for receipts, not for settlements
    return record


def settlement_s_max(session: Session, plan: Plan) -> float:
    """Seconds of the wall from now until the chain's rules have given the expiry a price."""
    limits = session.document.limits
    return session.wall_s_until(plan.expiry_unix_ms + limits.settlement_delay_ms + limits.settlement_grace_ms)


def _settled(session: Session, path: str, may_be_down: bool) -> dict[str, Any] | None:
    """The settlement record once every position is settled; None before, and while nobody answers if that may be."""
    try:
        record = whole_settlement(session.client, path)
    except Rejected as error:
        if error.code != "not_settled" and not (may_be_down and error.code == "unreachable"):
            raise
        return None
    return record if record["complete"] else None


def _suggestion(plan: Plan, speed_max: int = SPEED_MAX) -> str:
    """The commands that replay this tape through its expiry in about `SUGGESTED_S`, or longer at `speed_max`."""
    first = min(each.trade.ts_unix_ms for each in plan.trades)
    speed = min(speed_max, max(1, -(-(plan.expiry_unix_ms - first) // (SUGGESTED_S * 1_000))))
    start = first - TRADE_LEAD_WALL_MS * speed
    return (
        "Start a fresh testnet whose clock begins with the tape: "
        f"novate testnet up --detach --replay-from {start} --speed {speed} --dir NEW, then replay with --dir NEW."
    )


def _span(seconds: float) -> str:
    """A span of time as people say it, rounded up to whole seconds, e.g. ``1 min 20 s`` or ``206 days 3 h``."""
    span = timedelta(seconds=-(-seconds // 1))
    hours, rest = divmod(span.seconds, 3_600)
    minutes, left = divmod(rest, 60)
    if span.days:
        return f"{span.days:,} {'day' if span.days == 1 else 'days'} {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
