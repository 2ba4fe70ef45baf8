"""Expiry: a system step of the block that has an answer for every state and never fails.

The ladder, for the expiry of an index at E (each step once the one before has not decided):

1. From E trades are refused. Let A be the time of the first block at or after E. Until ``A + settlement_delay`` late
   samples are awaited. The wait counts from A, not from E, because the chain may have stood still across E: samples
   that were held up with it must find it open.
2. ``time_weighted``: the price of `contracts.settlement_price`, as soon as its coverage reaches the minimum.
3. ``declared``: until ``A + delay + settlement_grace`` a governor may declare a price inside the band, but only
   while the samples' own coverage falls short.
4. ``last_price``: then the last median at or before E, however old.
5. ``void``: no median ever came; every position closes at zero and its collateral is free.

The price is recorded once; all series of the expiry settle on it, in ascending order of name. Every price that can be
decided is, before anything settles: what is settled is bounded, and a price must never wait for that. One block settles
at most `POSITIONS_PER_BLOCK_MAX` positions beyond its first series and the next block goes on, so that no expiry can
stall a block.

A weighted price that does not suffice is kept until a sample arrives that could change it, so that the blocks of the
grace do not compute it over and over.

Rounding. Long positions of a series in ascending order of account, cumulated to ``c_i`` lots, receive ``p(c_i) -
p(c_(i-1))``, where ``p(c)`` is what the series' program pays for c lots, which it rounds down; shorts pay by the same
rule. Both sides sum to ``p(total)``, and each account is within one minor unit of its exact amount. Should collected
payments ever fall short of that (which conservation forbids, and `contracts.conservation` would have put the market in
quarantine), what was collected is shared by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from contracts.collateral import payoff, required_minor
from contracts.derived import ExpiryKey
from contracts.ledger import HOUSE, balance, post
from contracts.operations import DeclareSettlement
from contracts.oracle import last_priced, priced_count, priced_instants, require_in_band
from contracts.settlement_price import PriceRules, WeightedPrice, time_weighted_price
from contracts.state import State
from contracts.step import Step, known, require_role
from contracts.tables import ExpiredRow, SeriesRow, SettledRow, SettlementRow
from genesis.errors import Rejected

TIME_WEIGHTED: Final = "time_weighted"
DECLARED: Final = "declared"
LAST_PRICE: Final = "last_price"
VOID: Final = "void"
POSITIONS_PER_BLOCK_MAX: Final = 5_000


def settle_due(step: Step) -> None:
    """The system step: decide every price that can be decided, then settle within the block's bound."""
    state, settled = step.state, 0
    expired = state.derived.expired(step.time_unix_ms)
    for key in expired:
        if key not in state.settlements.rows:
            _decide(step, key)
    for key in expired:
        record = state.settlements.rows.get(key)
        if record is not None:
            settled += _settle_expiry(step, key, record, POSITIONS_PER_BLOCK_MAX - settled)
        if settled >= POSITIONS_PER_BLOCK_MAX:
            return


def work_due(state: State, time_unix_ms: int) -> int:
    """About how many positions and instants `settle_due` would touch in a block of that time; 0 if nothing is due."""
    work = 0
    for key in state.derived.expired(time_unix_ms):
        if key in state.settlements.rows or _is_over(state, key, time_unix_ms):
            work += _positions(state, key)
        elif _is_due(state, key, time_unix_ms) and not _falls_short(state, key):
            work += _positions(state, key) + priced_count(state, key[0], *_window(state, key[1]))
        if work >= POSITIONS_PER_BLOCK_MAX:
            break
    return work


def _positions(state: State, key: ExpiryKey) -> int:
    """The positions of one expiry, and one for each series besides."""
    holders = state.derived.holders_of
    return sum(1 + len(holders.get(name, ())) for name in state.derived.unsettled[key])


def _falls_short(state: State, key: ExpiryKey) -> bool:
    """Whether the coverage is known, and too low."""
    known = state.derived.weighted.get(key)
    return known is not None and not _suffices(state, known)


def _suffices(state: State, weighted: WeightedPrice) -> bool:
    return weighted.price_ticks is not None and weighted.coverage_ppm >= state.limits.settlement_coverage_min_ppm


def _due_unix_ms(state: State, key: ExpiryKey) -> int:
    """Until when late samples are awaited; before the first block at or after the expiry, the earliest that can be."""
    row = state.expired.rows.get(key)
    return (key[1] if row is None else row.seen_unix_ms) + state.limits.settlement_delay_ms


def _is_due(state: State, key: ExpiryKey, time_unix_ms: int) -> bool:
    return time_unix_ms >= _due_unix_ms(state, key)


def _is_over(state: State, key: ExpiryKey, time_unix_ms: int) -> bool:
    """Whether the grace is over."""
    return _is_due(state, key, time_unix_ms - state.limits.settlement_grace_ms)


def _decide(step: Step, key: ExpiryKey) -> None:
    """Steps 1, 2, 4 and 5 of the ladder."""
    state, now = step.state, step.time_unix_ms
    if key not in state.expired.rows:
        state.expired.put(key, ExpiredRow(now))
    if not _is_due(state, key, now):
        return
    weighted = weighted_price(state, *key)
    price, source = weighted.price_ticks, TIME_WEIGHTED
    if price is None or not _suffices(state, weighted):
        if not _is_over(state, key, now):
            return
        last = last_priced(state, *key)
        price, source = (last[1], LAST_PRICE) if last is not None else (0, VOID)
    _record(step, key, SettlementRow(price, weighted.coverage_ppm, source, step.height))


def _window(state: State, expiry_unix_ms: int) -> tuple[int, int]:
    return expiry_unix_ms - state.limits.settlement_window_ms, expiry_unix_ms


def weighted_price(state: State, index: str, expiry_unix_ms: int) -> WeightedPrice:
    """The time-weighted price of an undecided expiry from the samples that the state holds now."""
    memo, key = state.derived.weighted, (index, expiry_unix_ms)
    known = memo.get(key)
    if known is None:
        limits = state.limits
        validity_ms, clamp_ppm = limits.settlement_sample_validity_ms, limits.settlement_clamp_ppm
        samples = priced_instants(state, index, *_window(state, expiry_unix_ms))
        rules = PriceRules(limits.settlement_window_ms, validity_ms, clamp_ppm)
        known = memo[key] = time_weighted_price(samples, expiry_unix_ms, rules)
    return known


def declare(step: Step, operation: DeclareSettlement) -> None:
    """Step 3 of the ladder; the next block settles on the declared price."""
    require_role(step, "governor")
    state, key = step.state, (operation.index, operation.expiry_unix_ms)
    require_in_band(known(state.indices, operation.index, "index"), operation.price_ticks)
    if key in state.settlements.rows:
        raise Rejected("settlement_decided", "This expiry has its price.", source=state.settlements.rows[key].source)
    if key not in state.derived.unsettled:
        raise Rejected("unknown_expiry", "No series has this expiry.", index=key[0], expiry_unix_ms=key[1])
    _require_due(step, key)
    weighted = weighted_price(state, *key)
    if _suffices(state, weighted):
        raise Rejected(
            "coverage_suffices",
            "The oracles' samples suffice; the next block settles on their price.",
            coverage_ppm=weighted.coverage_ppm,
            coverage_min_ppm=state.limits.settlement_coverage_min_ppm,
        )
    _record(step, key, SettlementRow(operation.price_ticks, weighted.coverage_ppm, DECLARED, step.height))


def _require_due(step: Step, key: ExpiryKey) -> None:
    due_unix_ms = _due_unix_ms(step.state, key)
    if step.time_unix_ms < due_unix_ms:
        raise Rejected(
            "settlement_not_due",
            "The oracles' price is still awaited.",
            due_unix_ms=due_unix_ms,
            block_time_unix_ms=step.time_unix_ms,
        )


def _record(step: Step, key: ExpiryKey, record: SettlementRow) -> None:
    step.state.settlements.put(key, record)
    step.state.derived.weighted.pop(key, None)
    step.emit(
        "settlement_decided",
        index=key[0],
        expiry_unix_ms=key[1],
        price_ticks=record.price_ticks,
        coverage_ppm=record.coverage_ppm,
        source=record.source,
    )


def _settle_expiry(step: Step, key: ExpiryKey, record: SettlementRow, room: int) -> int:
    """Settle series until `room` positions are done; returns how many were."""
    state, done = step.state, 0
    for name in sorted(state.derived.unsettled[key]):
        if done >= room:
            return done
        done += _settle_series(step, name, record)
    state.expired.put(key, None)
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
    price_ticks = None if record.source == VOID else record.price_ticks
    pays = payoff(series, state.indices.rows[series.underlying], price_ticks)
    owed = share([-lots for _account, lots in shorts], pays)
    paid = [_collect(state, name, series, *short, due) for short, due in zip(shorts, owed, strict=True)]
    received = share([lots for _account, lots in longs], pays)
    if sum(paid) < sum(received):
        collected, total = sum(paid), sum(lots for _account, lots in longs)
        received = share([lots for _account, lots in longs], lambda lots: lots * collected // total)
    for (account, lots), amount in zip(longs, received, strict=True):
        post(state, series.asset, ((HOUSE, -amount, 0), (account, amount, 0)))
        _close(state, name, account, lots, amount)
    state.interest.put(name, None)
    state.series.put(name, series._replace(settled=True))
    step.emit("series_settled", series=name, positions=len(held), paid_minor=sum(paid))
    return len(held)


def share(quantities_lots: Sequence[int], amount_of: Callable[[int], int]) -> list[int]:
    """What each gets if all that ``amount_of`` gives for the cumulated quantities is shared out in order.

    The quantities are positive; each result is within one unit of its exact value (see the head of this file).
    """
    cumulated, before, shares = 0, 0, []
    for lots in quantities_lots:
        cumulated += lots
        upto = amount_of(cumulated)
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
