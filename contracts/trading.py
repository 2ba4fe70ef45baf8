"""Block trades: two members agree, the house steps between them.

Rules:

1. Both accounts' members sign. Buyer and seller are different accounts; the series has not expired.
2. Novation: the buyer's position against the house grows by the quantity and the seller's shrinks by it, so the house
   itself is always flat and nobody depends on the other's solvency.
3. Delivery against payment: premium (``price_ticks * premium_tick_minor * quantity_lots``), positions and collateral
   move together or not at all; the premium passes through ``@transit``.
4. Each side's collateral is re-locked to what `contracts.collateral` requires of its new position. The premium that a
   seller receives, and the collateral that a buy-back releases, count towards what that side needs.
"""

from __future__ import annotations

from typing import Final

from contracts.collateral import required_minor
from contracts.ledger import NOTHING, TRANSIT, post
from contracts.operations import Trade
from contracts.receipts import Event
from contracts.state import State
from contracts.step import Step, known, require_owner, require_sound
from contracts.tables import InterestRow, PositionRow, SeriesRow
from genesis.errors import Rejected

POSITION_LOTS_MAX: Final = 2**40


def trade(step: Step, operation: Trade) -> None:
    """Execute a block trade."""
    state, name, buyer, seller = step.state, operation.series, operation.buyer, operation.seller
    series = known(state.series, name, "series")
    _require_tradable(step, name, series, operation)
    lots = operation.quantity_lots
    premium = operation.price_ticks * series.premium_tick_minor * lots
    buyer_long, buyer_lock = _move(state, buyer, name, series, lots)
    seller_long, seller_lock = _move(state, seller, name, series, -lots)
    _require_cover(state, buyer, series.asset, -premium, buyer_lock)
    _require_cover(state, seller, series.asset, premium, seller_lock)
    post(
        state,
        series.asset,
        (
            (buyer, -premium - buyer_lock, buyer_lock),
            (TRANSIT, premium, 0),
            (TRANSIT, -premium, 0),
            (seller, premium - seller_lock, seller_lock),
        ),
    )
    _record_interest(state, name, buyer_long + seller_long)
    step.events.append(_traded(operation, premium))


def _traded(operation: Trade, premium_minor: int) -> Event:
    return (
        "traded",
        (
            ("series", operation.series),
            ("buyer", operation.buyer),
            ("seller", operation.seller),
            ("quantity_lots", operation.quantity_lots),
            ("price_ticks", operation.price_ticks),
            ("premium_minor", premium_minor),
        ),
    )


def _require_tradable(step: Step, name: str, series: SeriesRow, operation: Trade) -> None:
    if step.time_unix_ms >= series.expiry_unix_ms:
        raise Rejected(
            "series_expired",
            "The series has expired.",
            series=name,
            expiry_unix_ms=series.expiry_unix_ms,
            block_time_unix_ms=step.time_unix_ms,
        )
    if operation.buyer == operation.seller:
        raise Rejected("same_account", "Buyer and seller are one account.", account=operation.buyer)
    require_owner(step, operation.buyer)
    require_owner(step, operation.seller)
    require_sound(step, "expiry", series.underlying, series.expiry_unix_ms)
    require_sound(step, "asset", series.asset)


def _move(state: State, account: str, name: str, series: SeriesRow, change_lots: int) -> tuple[int, int]:
    """Change a position; returns the change of its long part in lots, and of the collateral it requires."""
    key = (account, name)
    row = state.positions.rows.get(key)
    before = row.lots if row is not None else 0
    after = before + change_lots
    if not -POSITION_LOTS_MAX <= after <= POSITION_LOTS_MAX:
        raise Rejected("position_limit", "The position would be too large.", account=account, lots=after)
    if row is None:
        _require_room(state, account)
    state.positions.put(key, PositionRow(after) if after else None)
    return max(after, 0) - max(before, 0), required_minor(series, after) - required_minor(series, before)


def _require_room(state: State, account: str) -> None:
    held = state.derived.held_by.get(account)
    count_max = state.limits.positions_per_account_max
    if held is not None and len(held) >= count_max:
        raise Rejected("limit_reached", "The account has as many positions as it may.", count_max=count_max)


def _require_cover(state: State, account: str, asset: str, received: int, lock: int) -> None:
    free = state.balances.rows.get((account, asset), NOTHING).free_minor
    if free + received - lock >= 0:
        return
    code, what = "insufficient_funds", "The free balance does not cover the premium."
    if lock > 0:
        code, what = "insufficient_collateral", "The free balance does not cover the collateral that the trade locks."
    raise Rejected(
        code,
        what,
        account=account,
        asset=asset,
        needed_minor=lock - min(received, 0),
        available_minor=free + max(received, 0),
    )


def _record_interest(state: State, name: str, change_lots: int) -> None:
    """The sum of the long positions; what the shorts add up to is for `contracts.conservation` to compare."""
    if change_lots:
        row = state.interest.rows.get(name)
        lots = (row.lots if row is not None else 0) + change_lots
        if lots > POSITION_LOTS_MAX:
            raise Rejected("position_limit", "The series' open interest would be too large.", series=name, lots=lots)
        state.interest.put(name, InterestRow(lots) if lots else None)
