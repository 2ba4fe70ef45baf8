"""What a replay will do, worked out before anything is sent: who trades with whom, when, under which deposits.

Rules:

1. A tape names no parties. Trade number i (from 0, in file order, of the chosen expiry) is taken by ``M[i mod 6]``
   and made by ``M[(i + 1 + (i div 6) mod 5) mod 6]``: every ordered pair of members occurs. `direction` is the
   taker's side.
2. The oracles' samples are the tape's index prices, of every row up to the expiry, or those of an index file. With a
   settlement price given, they report that price at the start of the settlement window and throughout it instead.
3. A trade goes out `TRADE_LEAD_WALL_MS` of wall clock before its instant, so that a change of leaders cannot push it
   past the expiry; a sample goes out at its instant, never before, since no oracle knows the future.
4. Deposits cover everything that a member could owe in any order of its trades: all premiums that it pays, and the
   collateral of every lot that it sells, as if none were ever bought back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Final

from cli.tape import ASSET_DECIMALS, Sample, Series, Tape, Trade
from genesis.errors import Rejected
from genesis.params import ChainParams

MEMBERS: Final = ("M0", "M1", "M2", "M3", "M4", "M5")
TRADE_LEAD_WALL_MS: Final = 2_000
BAND_FACTOR: Final = 10
"""The index's declared band reaches from a tenth of the lowest price in the tape to ten times the highest."""


@dataclass(frozen=True, slots=True)
class PlannedTrade:
    """A trade with its parties, as places in `MEMBERS`; `number` counts from 0 in file order."""

    number: int
    trade: Trade
    taker: int
    maker: int

    @property
    def buyer(self) -> int:
        """Who pays the premium."""
        return self.taker if self.trade.taker_buys else self.maker

    @property
    def seller(self) -> int:
        """Who receives it, and owes the payoff."""
        return self.maker if self.trade.taker_buys else self.taker


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay of one expiry.

    Attributes:
        expiry, expiry_unix_ms: The chosen expiry, as named and as a moment.
        asset, index: What is delivered and what it is priced by, e.g. ``BTC`` and ``BTC_USD``.
        price_min_ticks, price_max_ticks: The band for an index that has to be registered, in index ticks.
        series: The series that trade, in order of their names.
        trades: In file order.
        samples: In order of time, none after the expiry.
    """

    expiry: str
    expiry_unix_ms: int
    asset: str
    index: str
    price_min_ticks: int
    price_max_ticks: int
    series: tuple[Series, ...]
    trades: tuple[PlannedTrade, ...]
    samples: tuple[Sample, ...]

    def deposits_minor(self, collateral_minor: Mapping[str, int]) -> tuple[int, ...]:
        """What each member deposits, in minor units, rounded up to whole units of the asset and one more.

        Args:
            collateral_minor: What the chain locks for one short lot, by series.
        """
        needs = [0] * len(MEMBERS)
        for each in self.trades:
            needs[each.buyer] += each.trade.premium_minor
            needs[each.seller] += each.trade.quantity_lots * collateral_minor[each.trade.series.name]
        unit = 10**ASSET_DECIMALS
        return tuple((-(-need // unit) + 1) * unit for need in needs)


def make_plan(
    tape: Tape,
    params: ChainParams,
    expiry: str | None = None,
    index_samples: Sequence[Sample] | None = None,
    settlement_price_ticks: int | None = None,
) -> Plan:
    """Choose an expiry of the tape and plan its replay.

    Args:
        tape: The trades.
        params: The chain's limits; the settlement window and the validity of a sample are taken from it.
        expiry: As the tape names it; the earliest one if absent.
        index_samples: In place of the tape's own.
        settlement_price_ticks: What the oracles are to report in the window, in index ticks.

    Raises:
        Rejected: ``unknown_expiry``, naming those that the tape has.
    """
    known = tape.expiries
    chosen = (expiry or known[0]).upper()
    if chosen not in known:
        raise Rejected("unknown_expiry", f"The tape trades no {chosen}; it has {', '.join(known)}.")
    trades = [each for each in tape.trades if each.series.expiry == chosen]
    assets = {each.series.asset for each in trades}
    if len(assets) != 1:
        raise Rejected(
            "mixed_assets", f"One expiry of a tape has one underlying; {chosen} has {', '.join(sorted(assets))}."
        )
    asset = assets.pop()
    moment = trades[0].series.expiry_unix_ms
    samples = [each for each in index_samples or tape.samples if each.ts_unix_ms <= moment]
    if settlement_price_ticks is not None:
        samples = _dictated(samples, moment, params, settlement_price_ticks)
    prices = [each.price_ticks for each in tape.samples]
    return Plan(
        expiry=chosen,
        expiry_unix_ms=moment,
        asset=asset,
        index=f"{asset}_USD",
        price_min_ticks=max(1, min(prices) // BAND_FACTOR),
        price_max_ticks=max(prices) * BAND_FACTOR,
        series=tuple(sorted({each.series for each in trades}, key=lambda series: series.name)),
        trades=tuple(PlannedTrade(number, trade, *parties(number)) for number, trade in enumerate(trades)),
        samples=tuple(samples),
    )


def parties(number: int) -> tuple[int, int]:
    """Taker and maker of a trade, as places in `MEMBERS` (rule 1)."""
    size = len(MEMBERS)
    return number % size, (number + 1 + number // size % (size - 1)) % size


def _dictated(samples: Sequence[Sample], expiry: int, params: ChainParams, price_ticks: int) -> list[Sample]:
    """The samples before the window, then `price_ticks` at its start and twice in every validity until the expiry."""
    start = expiry - params.settlement_window_ms
    step = max(1, params.settlement_sample_validity_ms // 2)
    instants = takewhile(lambda instant: instant < expiry, count(start, step))
    before = [each for each in samples if each.ts_unix_ms < start]
    return [*before, *(Sample(instant, price_ticks) for instant in (*instants, expiry))]


@dataclass(frozen=True, slots=True)
class Due:
    """Something to send once block time reaches `due_unix_ms`."""

    due_unix_ms: int
    what: PlannedTrade | Sample


class Schedule:
    """What is still to be sent, in the order in which it falls due (trades before samples of the same moment).

    Args:
        plan: The replay.
        speed: How much faster block time runs than the wall.
        taken: How many items, from the first, have been taken before. The order of the items follows from plan and
            speed alone.
    """

    def __init__(self, plan: Plan, speed: int, taken: int = 0) -> None:
        lead = TRADE_LEAD_WALL_MS * speed
        trades = [Due(each.trade.ts_unix_ms - lead, each) for each in plan.trades]
        samples = [Due(each.ts_unix_ms, each) for each in plan.samples]
        self._items = sorted(trades + samples, key=lambda item: item.due_unix_ms)
        self._taken = taken

    @property
    def taken(self) -> int:
        """How many items have been taken: the place of the next one."""
        return self._taken

    @property
    def trades_end(self) -> int:
        """The place after that of the last trade."""
        return 1 + max(place for place, item in enumerate(self._items) if isinstance(item.what, PlannedTrade))

    @property
    def next_due_unix_ms(self) -> int | None:
        """When the next item falls due; None when everything has been taken."""
        return self._items[self._taken].due_unix_ms if self._taken < len(self._items) else None

    def take(self, chain_unix_ms: int, limit: int) -> list[PlannedTrade | Sample]:
        """Remove and return up to `limit` items that are due."""
        first = self._taken
        while self._taken < len(self._items) and self._taken - first < limit:
            if self._items[self._taken].due_unix_ms > chain_unix_ms:
                break
            self._taken += 1
        return [item.what for item in self._items[first : self._taken]]
