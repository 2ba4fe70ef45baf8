"""What may never break, checked after every block at a cost that follows what the block touched.

Each rule compares the touched rows with what they were before the block. Since every rule held before, the changes
alone decide whether it holds now:

1. *Assets*: the balances of an asset change by zero in sum, the issuers' liability included.
2. *Signs*: no balance is below zero but ``@issued``; nothing stays in ``@transit`` or ``@house``.
3. *Positions*: the longs and the shorts of a series change equally, and by as much as its open interest says.
4. *Collateral*: what an account has locked in an asset changes by exactly what its positions require.
5. *Bonds*: what ``@bond`` holds of an asset changes by exactly what the deposits behind validators, and those in
   release, change.

A breach is a bug of ours. It puts the market in which it happened, an asset or the expiry of an index, into
quarantine, where nothing new happens but obligations still settle, and it raises an alarm. It never stops the chain:
every replica computed the same. `audit` checks the same rules over the whole state, without relying on the block
before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.collateral import required_minor
from contracts.ledger import BOND, HOUSE, ISSUED, NOTHING, TRANSIT
from contracts.state import Changes, State
from contracts.tables import InterestRow, PositionRow, QuarantineRow

Market = tuple[str, str, int]
"""(``asset``, asset, 0) or (``expiry``, index, expiry_unix_ms)."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A broken rule: which market, which rule, by how much."""

    market: Market
    rule: str
    message: str


def check(state: State, changes: Changes) -> tuple[Alarm, ...]:
    """The rules over what one block has changed, in a fixed order."""
    balances = changes.get(state.balances, {})
    positions = changes.get(state.positions, {})
    interest = changes.get(state.interest, {})
    bonds = changes.get(state.bonds, {})
    unbonding = changes.get(state.unbonding, {})
    if not balances and not positions and not interest and not bonds and not unbonding:
        return ()
    return _check(state, balances, positions, interest, bonds, unbonding)


def audit(state: State) -> tuple[Alarm, ...]:
    """The rules over the whole state: as `check`, with nothing taken to have held before."""
    return _check(
        state,
        dict.fromkeys(state.balances.rows),
        dict.fromkeys(state.positions.rows),
        dict.fromkeys(state.interest.rows),
        dict.fromkeys(state.bonds.rows),
        dict.fromkeys(state.unbonding.rows),
    )


def quarantine(state: State, height: int, alarms: Iterable[Alarm]) -> None:
    """Close the markets of `alarms` to everything but settlement; the first reason stays."""
    for alarm in alarms:
        if alarm.market not in state.quarantine.rows:
            state.quarantine.put(alarm.market, QuarantineRow(height, f"{alarm.rule}: {alarm.message}"))


def _check(
    state: State,
    balances: Mapping[Any, Any],
    positions: Mapping[Any, Any],
    interest: Mapping[Any, Any],
    bonds: Mapping[Any, Any],
    unbonding: Mapping[Any, Any],
) -> tuple[Alarm, ...]:
    alarms: list[Alarm] = []
    asset_change: dict[str, int] = {}
    cover_change: dict[tuple[str, str], int] = {}
    _sum_balances(state, balances, asset_change, cover_change, alarms)
    _sum_positions(state, positions, interest, cover_change, alarms)
    for asset, change in asset_change.items():
        if change:
            alarms.append(_asset_alarm(asset, "assets", f"{change} minor units of {asset} appeared from nowhere"))
    for (account, asset), change in cover_change.items():
        if change:
            message = f"{account} has {change} minor units of {asset} locked beyond what its positions require"
            alarms.append(_asset_alarm(asset, "collateral", message))
    for asset, change in _unbacked_bonds(state, balances, bonds, unbonding).items():
        if change:
            message = f"{BOND} holds {change} minor units of {asset} beyond what is deposited"
            alarms.append(_asset_alarm(asset, "bonds", message))
    return tuple(sorted(alarms, key=lambda alarm: (alarm.market, alarm.rule, alarm.message)))


def _sum_balances(
    state: State,
    balances: Mapping[Any, Any],
    asset_change: dict[str, int],
    cover_change: dict[tuple[str, str], int],
    alarms: list[Alarm],
) -> None:
    rows = state.balances.rows
    for key, was in balances.items():
        account, asset = key
        free, locked = rows.get(key, NOTHING)
        free_before, locked_before = was or NOTHING
        asset_change[asset] = asset_change.get(asset, 0) + free + locked - free_before - locked_before
        if locked != locked_before:
            cover_change[key] = cover_change.get(key, 0) + locked - locked_before
        if (free < 0 and account != ISSUED) or locked < 0:
            alarms.append(_asset_alarm(asset, "signs", f"{account} holds less than nothing of {asset}"))
        if (free or locked) and account in (HOUSE, TRANSIT):
            alarms.append(_asset_alarm(asset, "signs", f"{account} is left with {free + locked} of {asset}"))


def _sum_positions(
    state: State,
    positions: Mapping[Any, Any],
    interest: Mapping[Any, Any],
    cover_change: dict[tuple[str, str], int],
    alarms: list[Alarm],
) -> None:
    long_change: dict[str, int] = dict.fromkeys((name for _account, name in positions), 0)
    net_change = dict(long_change)
    for key, was in positions.items():
        account, name = key
        now: PositionRow | None = state.positions.rows.get(key)
        lots, before = now.lots if now is not None else 0, was.lots if was is not None else 0
        series = state.series.rows[name]
        net_change[name] += lots - before
        long_change[name] += max(lots, 0) - max(before, 0)
        required = required_minor(series, lots) - required_minor(series, before)
        if required:
            cover_change[account, series.asset] = cover_change.get((account, series.asset), 0) - required
    for name in sorted({*long_change, *interest}):
        open_now: InterestRow | None = state.interest.rows.get(name)
        was = interest.get(name, open_now)
        declared = (open_now.lots if open_now is not None else 0) - (was.lots if was is not None else 0)
        if net_change.get(name, 0) or long_change.get(name, 0) != declared:
            series = state.series.rows[name]
            market = ("expiry", series.underlying, series.expiry_unix_ms)
            alarms.append(Alarm(market, "positions", f"longs, shorts and open interest of {name} do not agree"))


def _unbacked_bonds(
    state: State, balances: Mapping[Any, Any], bonds: Mapping[Any, Any], unbonding: Mapping[Any, Any]
) -> dict[str, int]:
    """By asset, what ``@bond`` gained beyond what the deposits did."""
    change: dict[str, int] = {}
    for (account, asset), was in balances.items():
        if account == BOND:
            change[asset] = sum(state.balances.rows.get((account, asset), NOTHING)) - sum(was or NOTHING)
    for table, touched in ((state.bonds, bonds), (state.unbonding, unbonding)):
        rows: Mapping[Any, Any] = table.rows
        for key, was in touched.items():
            now, asset = rows.get(key), key[-1]
            deposited = (now.amount_minor if now is not None else 0) - (was.amount_minor if was is not None else 0)
            change[asset] = change.get(asset, 0) - deposited
    return change


def _asset_alarm(asset: str, rule: str, message: str) -> Alarm:
    return Alarm(("asset", asset, 0), rule, message)
