"""The replay itself: every trade and every oracle sample, sent when the chain's clock says so.

One loop, one post at a time: whatever has fallen due is signed, posted together and awaited. So the network's own pace
makes the batches, and the replay goes on through the other validators when one dies (`cli.session`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cli.client import whole_settlement
from cli.replay_plan import Plan, PlannedTrade, Schedule
from cli.replay_setup import Parties, account_of
from cli.session import Outcome, Session, Signed
from cli.tape import Sample
from contracts.operations import build_operation
from genesis.envelope import Operation
from genesis.errors import Rejected

ITEMS_PER_POST_MAX: Final = 200
SETTLEMENT_PATIENCE_S: Final = 90.0
"""How long the network may stand still (leaders killed, a quorum restarted) around an expiry that settles after all."""

_SETTLEMENT_POLL_S: Final = 0.1


@dataclass(slots=True)
class Driven:
    """What was sent.

    Attributes:
        trades: The number of trades that were applied.
        samples: Instants whose sample at least one oracle had applied.
        refusals: Instants of which no oracle's sample was applied, by the code of the refusal: too old to bear on any
            price after a late start, or known already from an earlier replay.
    """

    trades: int = 0
    samples: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def samples_refused(self) -> int:
        """Instants of which no oracle's sample was applied."""
        return self.refusals.total()


def check_clock(session: Session, plan: Plan) -> None:
    """Refuse a replay for which the chain's clock is too far on.

    Raises:
        Rejected: ``too_late``, saying how to start a testnet for this tape.
    """
    now = session.chain_unix_ms()
    if now < plan.expiry_unix_ms:
        return
    start = min((each.trade.ts_unix_ms for each in plan.trades), default=plan.expiry_unix_ms)
    raise Rejected(
        "too_late",
        f"The chain's clock is past the expiry {plan.expiry}. Start a fresh testnet whose clock begins with the tape: "
        f"novate testnet up --detach --replay-from {start} --speed 3000",
        chain_unix_ms=now,
        expiry_unix_ms=plan.expiry_unix_ms,
    )


def drive(session: Session, parties: Parties, plan: Plan, advance: Callable[[int], None]) -> Driven:
    """Send everything at its time.

    Args:
        session: The chain.
        parties: Who signs.
        plan: What to send.
        advance: Told how many more trades and samples are done.

    Raises:
        Rejected: ``trade_refused`` with the chain's reason for the first trade that it refused.
    """
    schedule = Schedule(plan, session.document.clock.speed)
    driven = Driven()
    while (due_unix_ms := schedule.next_due_unix_ms) is not None:
        items = schedule.take(session.chain_unix_ms(), ITEMS_PER_POST_MAX)
        if not items:
            time.sleep(session.wall_s_until(due_unix_ms))
            continue
        _send(session, parties, plan, items, driven)
        advance(len(items))
    return driven


def await_settlement(session: Session, plan: Plan) -> dict[str, Any]:
    """The chain's settlement record of the plan's expiry, waited for as long as the chain's rules may take.

    Block time stands still while the network does, so `SETTLEMENT_PATIENCE_S` of wall clock come on top, in which no
    validator needs to answer.

    Raises:
        Rejected: ``not_settled`` when it does not come; ``unreachable`` when nobody answers even then.
    """
    limits = session.document.limits
    last = plan.expiry_unix_ms + limits.settlement_delay_ms + limits.settlement_grace_ms
    path = f"/v1/settlements/{plan.index}/{plan.expiry_unix_ms}"
    until = time.monotonic() + session.wall_s_until(last) + SETTLEMENT_PATIENCE_S
    time.sleep(session.wall_s_until(plan.expiry_unix_ms))
    while (record := _settled(session, path, time.monotonic() < until)) is None:
        if time.monotonic() > until:
            raise Rejected("not_settled", f"The expiry {plan.expiry} has not settled; see `novate testnet status`.")
        time.sleep(_SETTLEMENT_POLL_S)
    return record


def _settled(session: Session, path: str, may_be_down: bool) -> dict[str, Any] | None:
    """The settlement record once every position is settled; None before, and while nobody answers if that may be."""
    try:
        record = whole_settlement(session.client, path)
    except Rejected as error:
        if error.code != "not_settled" and not (may_be_down and error.code == "unreachable"):
            raise
        return None
    return record if record["complete"] else None


def _send(
    session: Session, parties: Parties, plan: Plan, items: Sequence[PlannedTrade | Sample], driven: Driven
) -> None:
    trades = [each for each in items if isinstance(each, PlannedTrade)]
    samples = [each for each in items if isinstance(each, Sample)]
    signed = [_sign_trade(session, parties, each) for each in trades]
    for sample in samples:
        signed += [session.sign([oracle], [_sample(plan, sample)]) for oracle in parties.oracles]
    session.client.rotate()  # every validator takes its share
    outcomes = session.commit(signed)
    for planned, outcome in zip(trades, outcomes, strict=False):
        _check_trade(planned, outcome)
    driven.trades += len(trades)
    _count_samples(outcomes[len(trades) :], len(parties.oracles), driven)


def _count_samples(outcomes: Sequence[Outcome], oracles: int, driven: Driven) -> None:
    """Count instants: applied if one oracle's sample was. Outcomes stand in groups of one an oracle."""
    for first in range(0, len(outcomes), oracles):
        group = outcomes[first : first + oracles]
        if any(outcome.applied for outcome in group):
            driven.samples += 1
        else:
            driven.refusals[group[0].code] += 1


def _check_trade(planned: PlannedTrade, outcome: Outcome) -> None:
    if not outcome.applied:
        raise Rejected(
            "trade_refused",
            f"The chain refused trade {planned.number} of the tape: {outcome.message} [{outcome.code}]",
            series=planned.trade.series.name,
            envelope=outcome.id,
        )


def _sign_trade(session: Session, parties: Parties, planned: PlannedTrade) -> Signed:
    fields = {
        "series": planned.trade.series.name,
        "buyer": account_of(planned.buyer),
        "seller": account_of(planned.seller),
        "quantity_lots": str(planned.trade.quantity_lots),
        "price_ticks": str(planned.trade.price_ticks),
    }
    keys = [parties.members[planned.taker], parties.members[planned.maker]]
    return session.sign(keys, [build_operation("trade", fields)])


def _sample(plan: Plan, sample: Sample) -> Operation:
    fields = {"index": plan.index, "instant_unix_ms": sample.ts_unix_ms, "price_ticks": sample.price_ticks}
    return build_operation("oracle.sample", {name: str(value) for name, value in fields.items()})
