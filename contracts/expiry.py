"""Expiry: a system step of the block that has an answer for every state and never fails.

The ladder, for the expiry of an index at E (each step once the one before has not decided):

1. From E trades are refused. Until ``E + settlement_delay`` late samples are awaited.
2. ``time_weighted``: the price of `contracts.settlement_price`, as soon as its coverage reaches the minimum.
3. ``declared``: until ``E + delay + settlement_grace`` a governor may declare a price inside the band.
4. ``last_price``: then the last median at or before E, however old.
5. ``void``: no median ever came; every position closes at zero and its collateral is free.

The price is recorded once; all series of the expiry settle on it, in ascending order of name. One block settles at
most `POSITIONS_PER_BLOCK_MAX` positions beyond its first series and the next block goes on, so that no expiry can
stall a block.

Rounding. Long positions of a series in ascending order of account, cumulated to ``c_i`` lots, receive ``floor(c_i x)
- floor(c_(i-1) x)`` where x is the exact payoff of a lot; shorts pay by the same rule. Both sides sum to
``floor(total x)``, and each account is within one minor unit of its exact amount. Should collected payments ever fall
short of that (which conservation forbids, and `contracts.conservation` would have put the market in quarantine), what
was collected is shared by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from contracts.collateral import payoff_per_lot, required_minor
from contracts.ledger import HOUSE, balance, post
from contracts.operations import DeclareSettlement
from contracts.oracle import last_priced, priced_instants, require_in_band
from contracts.settlement_price import PriceRules, WeightedPrice, time_weighted_price
from contracts.state import State
from contracts.step import Step, known, require_role
from contracts.tables import SeriesRow, SettledRow, SettlementRow
from genesis.errors import Rejected

TIME_WEIGHTED: Final = "time_weighted"
DECLARED: Final = "declared"
LAST_PRICE: Final = "last_price"
VOID: Final = "void"
POSITIONS_PER_BLOCK_MAX: Final = 5_000


def settle_due(step: Step) -> None:
    """The system step: decide every price that can be decided, and settle within the block's bound."""
    state, settled = step.state, 0
    due_before = step.time_unix_ms - state.limits.settlement_delay_ms
    for expiry_unix_ms, index in list(state.derived.expiries):
        if expiry_unix_ms > due_before or settled >= POSITIONS_PER_BLOCK_MAX:
            break
        record = state.settlements.rows.get((index, expiry_unix_ms)) or _decide(step, index, expiry_unix_ms)
        if record is not None:
            settled += _settle_expiry(step, index, expiry_unix_ms, record, POSITIONS_PER_BLOCK_MAX - settled)


def _decide(step: Step, index: str, expiry_unix_ms: int) -> SettlementRow | None:
    """Steps 2, 4 and 5 of the ladder; None while it is too early to fall back."""
    state, limits = step.state, step.state.limits
    weighted = weighted_price(state, index, expiry_unix_ms)
    price, source = weighted.price_ticks, TIME_WEIGHTED
    if price is None or weighted.coverage_ppm < limits.settlement_coverage_min_ppm:
        if step.time_unix_ms < expiry_unix_ms + limits.settlement_delay_ms + limits.settlement_grace_ms:
            return None
        last = last_priced(state, index, expiry_unix_ms)
        price, source = (last[1], LAST_PRICE) if last is not None else (0, VOID)
    return _record(step, index, expiry_unix_ms, SettlementRow(price, weighted.coverage_ppm, source, step.height))


def weighted_price(state: State, index: str, expiry_unix_ms: int) -> WeightedPrice:
    """The time-weighted price of an expiry from the samples that the state holds now."""
    limits = state.limits
    rules = PriceRules(limits.settlement_window_ms, limits.settlement_sample_validity_ms, limits.settlement_clamp_ppm)
    samples = priced_instants(state, index, expiry_unix_ms - rules.window_ms, expiry_unix_ms)
    return time_weighted_price(samples, expiry_unix_ms, rules)


def declare(step: Step, operation: DeclareSettlement) -> None:
    """Step 3 of the ladder; the next block settles on the declared price."""
    require_role(step, "governor")
    state, key = step.state, (operation.index, operation.expiry_unix_ms)
    require_in_band(known(state.indices, operation.index, "index"), operation.price_ticks)
    if key in state.settlements.rows:
        raise Rejected("settlement_decided", "This expiry has its price.", source=state.settlements.rows[key].source)
    if key not in state.derived.unsettled:
        raise Rejected("unknown_expiry", "No series has this expiry.", index=key[0], expiry_unix_ms=key[1])
    due_unix_ms = operation.expiry_unix_ms + state.limits.settlement_delay_ms
    if step.time_unix_ms < due_unix_ms:
        raise Rejected(
            "settlement_not_due",
            "The oracles' price is still awaited.",
            due_unix_ms=due_unix_ms,
            block_time_unix_ms=step.time_unix_ms,
        )
    coverage_ppm = weighted_price(state, *key).coverage_ppm
    _record(step, *key, SettlementRow(operation.price_ticks, coverage_ppm, DECLARED, step.height))


def _record(step: Step, index: str, expiry_unix_ms: int, record: SettlementRow) -> SettlementRow:
    step.state.settlements.put((index, expiry_unix_ms), record)
    step.emit(
        "settlement_decided",
        index=index,
        expiry_unix_ms=expiry_unix_ms,
        price_ticks=record.price_ticks,
        coverage_ppm=record.coverage_ppm,
        source=record.source,
    )
    return record


def _settle_expiry(step: Step, index: str, expiry_unix_ms: int, record: SettlementRow, room: int) -> int:
    """Settle series until `room` positions are done; returns how many were."""
    state, done = step.state, 0
    for name in sorted(state.derived.unsettled[index, expiry_unix_ms]):
        if done >= room:
            break
        done += _settle_series(step, name, record)
    return done


def _settle_series(step: Step, name: str, record: SettlementRow) -> int:
    """Close every position of one series; returns how many there were."""
    state, series = step.state, step.state.series.rows[name]
    held = [
        (account, state.positions.rows[account, name].lots)
        for account in sorted(state.derived.holders_of.get(name, ()))
    ]
    longs = [(account, lots) for account, lots in held if lots > 0]
    shorts = [(account, lots) for account, lots in held if lots < 0]
    payoff = (0, 1) if record.source == VOID else payoff_per_lot(series, record.price_ticks)
    owed = share([-lots for _account, lots in shorts], *payoff)
    paid = [_collect(state, name, series, *short, due) for short, due in zip(shorts, owed, strict=True)]
    received = share([lots for _account, lots in longs], *payoff)
    if sum(paid) < sum(received):
        received = share([lots for _account, lots in longs], sum(paid), sum(lots for _account, lots in longs))
    for (account, lots), amount in zip(longs, received, strict=True):
        post(state, series.asset, ((HOUSE, -amount, 0), (account, amount, 0)))
        _close(state, name, account, lots, amount)
    state.interest.put(name, None)
    state.series.put(name, series._replace(settled=True))
    step.emit("series_settled", series=name, positions=len(held), paid_minor=sum(paid))
    return len(held)


def share(quantities_lots: Sequence[int], numerator: int, denominator: int) -> list[int]:
    """``quantity * numerator / denominator`` for each, rounded so that the sum is that of the total, rounded down.

    The quantities are positive; each result is within one unit of its exact value (see the head of this file).
    """
    cumulated, before, shares = 0, 0, []
    for lots in quantities_lots:
        cumulated += lots
        upto = cumulated * numerator // denominator
        shares.append(upto - before)
        before = upto
    return shares


def _collect(state: State, name: str, series: SeriesRow, account: str, lots: int, due_minor: int) -> int:
    """Release a short's collateral and take what it owes, as far as it goes; returns what was taken."""
    held = balance(state, account, series.asset)
    released = min(required_minor(series, lots), held.locked_minor)
    paid = max(0, min(due_minor, released + held.free_minor))
    post(state, series.asset, ((account, released - paid, -released), (HOUSE, paid, 0)))
    _close(state, name, account, lots, -paid)
    return paid


def _close(state: State, name: str, account: str, lots: int, amount_minor: int) -> None:
    state.positions.put((account, name), None)
    state.settled.put((name, account), SettledRow(lots, amount_minor))
