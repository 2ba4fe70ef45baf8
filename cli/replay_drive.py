"""The replay itself: every trade and every oracle sample, sent when the chain's clock says so.

One loop, one post at a time: whatever has fallen due is announced in the journal, signed, posted together and awaited.
So the network's own pace makes the batches, the replay goes on through the other validators when one dies
(`cli.session`), and a replay that was interrupted goes on with the first item whose outcome it does not know
(`cli.replay_once`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from cli.delivery import Outcome
from cli.replay_journal import Driven, Journal
from cli.replay_once import Act, commit_once
from cli.replay_plan import Plan, PlannedTrade, Schedule
from cli.replay_setup import Parties, account_of
from cli.session import Session
from cli.tape import Sample
from contracts.operations import build_operation
from genesis.envelope import Operation
from genesis.errors import Rejected

ITEMS_PER_POST_MAX: Final = 200


def drive(
    session: Session,
    parties: Parties,
    plan: Plan,
    journal: Journal,
    wait: Callable[[int], None],
    advance: Callable[[int], None],
) -> None:
    """Send everything at its time that has not been sent before.

    Args:
        session: The chain.
        parties: Who signs.
        plan: What to send.
        journal: What is done, and announced; kept up to date.
        wait: Returns when the chain's clock has reached a moment, in Unix milliseconds.
        advance: Told how many more trades and samples are done.

    Raises:
        Rejected: For the first trade that the chain refused: ``series_expired`` when it came too late, else
            ``trade_refused`` with the chain's reason.
    """
    schedule = Schedule(plan, session.document.clock.speed, journal.driven.items)
    while (due_unix_ms := schedule.next_due_unix_ms) is not None:
        first = schedule.taken
        items = schedule.take(session.chain_unix_ms(), ITEMS_PER_POST_MAX)
        if not items:
            wait(due_unix_ms)
            continue
        _send(session, parties, plan, journal, first, items)
        advance(len(items))


def _send(
    session: Session, parties: Parties, plan: Plan, journal: Journal, first: int, items: Sequence[PlannedTrade | Sample]
) -> None:
    placed = list(enumerate(items, first))
    trades = [(place, each) for place, each in placed if isinstance(each, PlannedTrade)]
    acts = [_trade_act(parties, place, each) for place, each in trades]
    for place, each in placed:
        if isinstance(each, Sample):
            acts += _sample_acts(parties, plan, place, each)
    session.client.rotate()  # every validator takes its share
    outcomes = commit_once(session, journal, acts)
    for (_, planned), outcome in zip(trades, outcomes, strict=False):
        _check_trade(planned, outcome)
    driven = journal.driven
    driven.items += len(items)
    driven.trades += len(trades)
    _count_samples(outcomes[len(trades) :], len(parties.oracles), driven)
    journal.done()


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
            outcome.code if outcome.code == "series_expired" else "trade_refused",
            f"The chain refused trade {planned.number} of the tape: {outcome.message} [{outcome.code}]",
            series=planned.trade.series.name,
            envelope=outcome.id,
        )


def _trade_act(parties: Parties, place: int, planned: PlannedTrade) -> Act:
    fields = {
        "series": planned.trade.series.name,
        "buyer": account_of(planned.buyer),
        "seller": account_of(planned.seller),
        "quantity_lots": str(planned.trade.quantity_lots),
        "price_ticks": str(planned.trade.price_ticks),
    }
    keys = (parties.members[planned.taker], parties.members[planned.maker])
    return Act(place, "trade", planned.number, keys, (build_operation("trade", fields),))


def _sample_acts(parties: Parties, plan: Plan, place: int, sample: Sample) -> list[Act]:
    """Every oracle's report of one instant; the signer tells their envelopes apart."""
    operations = (_sample(plan, sample),)
    return [Act(place, "sample", sample.ts_unix_ms, (oracle,), operations) for oracle in parties.oracles]


def _sample(plan: Plan, sample: Sample) -> Operation:
    fields = {"index": plan.index, "instant_unix_ms": sample.ts_unix_ms, "price_ticks": sample.price_ticks}
    return build_operation("oracle.sample", {name: str(value) for name, value in fields.items()})
