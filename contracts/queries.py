"""Answers about the state as plain values ready for JSON: money in minor units, prices in ticks and their decimals."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final

from contracts.ledger import BOND, HOUSE, ISSUED, SLASHED, TRANSIT, balance
from contracts.oracle import last_priced
from contracts.state import State
from contracts.step import known
from contracts.tables import SeriesRow
from genesis.errors import Rejected

Answer = dict[str, Any]

SERIES_PAGE_MAX: Final = 500
"""About what one answer may hold without keeping the state from the next block."""


def account(state: State, account_id: str) -> Answer:
    """The balances of one account, by asset; ``unknown_account`` if there is none."""
    row = None
    if account_id not in (BOND, HOUSE, ISSUED, SLASHED, TRANSIT):
        row = known(state.accounts, account_id, "account")
    balances = {}
    for asset in sorted(state.assets.rows):
        held = balance(state, account_id, asset)
        if held.free_minor or held.locked_minor:
            decimals = state.assets.rows[asset].decimals
            balances[asset] = {"free_minor": held.free_minor, "locked_minor": held.locked_minor, "decimals": decimals}
    return {"account": account_id, "member": row.member if row else "", "balances": balances}


def positions(state: State, account_id: str) -> Answer:
    """The open positions of one account: lots above zero are long."""
    known(state.accounts, account_id, "account")
    held = sorted(state.derived.held_by.get(account_id, ()))
    return {
        "account": account_id,
        "positions": [{"series": name, "lots": state.positions.rows[account_id, name].lots} for name in held],
    }


def series(state: State, series_id: str) -> Answer:
    """The terms and the open interest of one series; ``unknown_series``."""
    return _series(state, series_id, known(state.series, series_id, "series"))


def series_page(state: State, after: str = "", limit: int = SERIES_PAGE_MAX) -> Answer:
    """The terms of up to `limit` series in ascending order of name, beginning behind the name `after`.

    ``next`` is what to pass as `after` for the page that follows, or None when there is none.

    Raises:
        Rejected: ``bad_limit`` unless `limit` is from 1 to `SERIES_PAGE_MAX`.
    """
    if not 1 <= limit <= SERIES_PAGE_MAX:
        raise Rejected("bad_limit", f"A page has 1 to {SERIES_PAGE_MAX} series.", limit=limit)
    names = state.derived.series_names
    first = bisect_right(names, after)
    page = names[first : first + limit]
    return {
        "series": [_series(state, name, state.series.rows[name]) for name in page],
        "next": page[-1] if first + limit < len(names) else None,
    }


def _series(state: State, name: str, row: SeriesRow) -> Answer:
    interest = state.interest.rows.get(name)
    return {
        "series": name,
        "index": row.underlying,
        **{field: value for field, value in row._asdict().items() if field != "underlying"},
        "tick_decimals": state.indices.rows[row.underlying].tick_decimals,
        "asset_decimals": state.assets.rows[row.asset].decimals,
        "open_interest_lots": interest.lots if interest is not None else 0,
        "quarantined": ("expiry", row.underlying, row.expiry_unix_ms) in state.quarantine.rows,
    }


def index(state: State, index_id: str) -> Answer:
    """The terms of an index, its last price and how many instants it holds; ``unknown_index``."""
    row = known(state.indices, index_id, "index")
    instants = state.derived.instants.get(index_id, [])
    last = last_priced(state, index_id, instants[-1]) if instants else None
    return {
        "index": index_id,
        **row._asdict(),
        "instants": len(instants),
        "last_instant_unix_ms": last[0] if last else None,
        "last_price_ticks": last[1] if last else None,
    }


def settlement(state: State, index_id: str, expiry_unix_ms: int) -> Answer:
    """The settlement of one expiry, with what every position was worth; ``not_settled`` before it has a price."""
    terms = known(state.indices, index_id, "index")
    record = state.settlements.rows.get((index_id, expiry_unix_ms))
    if record is None:
        raise Rejected("not_settled", "This expiry has no settlement price.", index=index_id, expiry=expiry_unix_ms)
    names = sorted(state.derived.settled_series.get((index_id, expiry_unix_ms), ()))
    return {
        "index": index_id,
        "expiry_unix_ms": expiry_unix_ms,
        **record._asdict(),
        "tick_decimals": terms.tick_decimals,
        "complete": (index_id, expiry_unix_ms) not in state.derived.unsettled,
        "series": [_settled(state, name) for name in names],
    }


def _settled(state: State, name: str) -> Answer:
    accounts = sorted(state.derived.settled_in.get(name, ()))
    rows = [(each, state.settled.rows[name, each]) for each in accounts]
    return {
        "series": name,
        "asset": state.series.rows[name].asset,
        "paid_minor": sum(row.amount_minor for _account, row in rows if row.amount_minor > 0),
        "positions": [{"account": each, "lots": row.lots, "amount_minor": row.amount_minor} for each, row in rows],
    }


def members(state: State) -> Answer:
    """Every member with its key and its accounts."""
    return {
        "members": [
            {"member": name, "public_key": row.public_key.hex(), "accounts": sorted(state.derived.accounts_of[name])}
            for name, row in sorted(state.members.rows.items())
        ]
    }


def quarantined(state: State) -> Answer:
    """Every market in quarantine, since when and why."""
    return {
        "quarantined": [
            {"kind": kind, "name": name, "expiry_unix_ms": expiry_unix_ms, **row._asdict()}
            for (kind, name, expiry_unix_ms), row in sorted(state.quarantine.rows.items())
        ]
    }
