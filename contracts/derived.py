"""Indices that are computed from rows and never stored: who holds what, which series an expiry has, whose a key is.

Each follows one table as its watcher (`contracts.tables.Table.watch`), so that it is right after every change, every
undone change and a restart alike. Nothing here is iterated in an order that could differ between nodes: callers sort,
or read the lists that are kept sorted.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TypeVar

from contracts.settlement_price import WeightedPrice
from contracts.tables import AccountRow, MemberRow, PositionRow, SampleRow, SeriesRow, SettledRow

K = TypeVar("K")
V = TypeVar("V")

ExpiryKey = tuple[str, int]
"""(index, expiry_unix_ms): everything that settles on one price."""


class Derived:
    """The derived indices of one state.

    Attributes:
        member_of_key: Which member a public key signs for.
        accounts_of: A member's accounts.
        holders_of: The accounts with a position in a series.
        held_by: The series in which an account has a position.
        series_names: Every series ever listed, ascending.
        unsettled: The series of an expiry that are not settled yet.
        settled_series: The series of an expiry that are.
        expiries: The keys of `unsettled`, as ``(expiry_unix_ms, index)`` in ascending order.
        live_series: How many series are not settled yet.
        settled_in: The accounts that had a position in a series when it settled.
        instants: The instants at which an index has samples, ascending.
        reported_by: By index and a number of oracles, the instants that so many reported or more, ascending.
        sample_count: How many samples of an index one oracle has in the state.
        weighted: Prices of undecided expiries that are still what the samples say: a memo of `contracts.expiry`.
    """

    __slots__ = (
        "_new_names",
        "_series_names",
        "accounts_of",
        "expiries",
        "held_by",
        "holders_of",
        "instants",
        "live_series",
        "member_of_key",
        "reported_by",
        "sample_count",
        "settled_in",
        "settled_series",
        "unsettled",
        "weighted",
    )

    def __init__(self) -> None:
        self.member_of_key: dict[bytes, str] = {}
        self.accounts_of: dict[str, set[str]] = {}
        self.holders_of: dict[str, set[str]] = {}
        self.held_by: dict[str, set[str]] = {}
        self.unsettled: dict[ExpiryKey, set[str]] = {}
        self.settled_series: dict[ExpiryKey, set[str]] = {}
        self.expiries: list[tuple[int, str]] = []
        self.live_series = 0
        self.settled_in: dict[str, set[str]] = {}
        self.instants: dict[str, list[int]] = {}
        self.reported_by: dict[tuple[str, int], list[int]] = {}
        self.sample_count: dict[tuple[str, int], int] = {}
        self.weighted: dict[ExpiryKey, WeightedPrice] = {}
        self._series_names: list[str] = []
        self._new_names: list[str] = []

    def on_member(self, member: str, before: MemberRow | None, after: MemberRow | None) -> None:
        """Watch the members."""
        if before is not None:
            del self.member_of_key[before.public_key]
        if after is not None:
            self.member_of_key[after.public_key] = member

    def on_account(self, account: str, before: AccountRow | None, after: AccountRow | None) -> None:
        """Watch the accounts."""
        if before is not None:
            _remove(self.accounts_of, before.member, account)
        if after is not None:
            self.accounts_of.setdefault(after.member, set()).add(account)

    def on_position(self, key: tuple[str, str], before: PositionRow | None, after: PositionRow | None) -> None:
        """Watch the positions; a change of size alone moves no index."""
        account, series = key
        if before is None and after is not None:
            self.holders_of.setdefault(series, set()).add(account)
            self.held_by.setdefault(account, set()).add(series)
        elif after is None and before is not None:
            _remove(self.holders_of, series, account)
            _remove(self.held_by, account, series)

    def on_series(self, series: str, before: SeriesRow | None, after: SeriesRow | None) -> None:
        """Watch the series."""
        if before is None:
            self._new_names.append(series)
        else:
            self._series_was(series, before)
        if after is not None:
            self._series_is(series, after)
        else:
            self._remove_name(series)

    def _series_is(self, series: str, row: SeriesRow) -> None:
        if row.settled:
            self.settled_series.setdefault((row.underlying, row.expiry_unix_ms), set()).add(series)
        else:
            self._series_live(series, row)

    def _series_was(self, series: str, row: SeriesRow) -> None:
        if row.settled:
            _remove(self.settled_series, (row.underlying, row.expiry_unix_ms), series)
        else:
            self._series_gone(series, row)

    @property
    def series_names(self) -> list[str]:
        """Names are sorted in when somebody asks: at start-up they come by the thousand, later one at a time."""
        if self._new_names:
            self._series_names.extend(self._new_names)
            self._series_names.sort()
            self._new_names.clear()
        return self._series_names

    def _remove_name(self, series: str) -> None:
        names = self.series_names
        del names[bisect_left(names, series)]

    def _series_live(self, series: str, row: SeriesRow) -> None:
        key = (row.underlying, row.expiry_unix_ms)
        if key not in self.unsettled:
            insort(self.expiries, (row.expiry_unix_ms, row.underlying))
        self.unsettled.setdefault(key, set()).add(series)
        self.live_series += 1

    def _series_gone(self, series: str, row: SeriesRow) -> None:
        key = (row.underlying, row.expiry_unix_ms)
        _remove(self.unsettled, key, series)
        if key not in self.unsettled:
            del self.expiries[bisect_left(self.expiries, (row.expiry_unix_ms, row.underlying))]
        self.live_series -= 1

    def on_settled(self, key: tuple[str, str], before: SettledRow | None, after: SettledRow | None) -> None:
        """Watch the settled positions."""
        series, account = key
        if before is None and after is not None:
            self.settled_in.setdefault(series, set()).add(account)
        elif after is None and before is not None:
            _remove(self.settled_in, series, account)

    def on_sample(self, key: tuple[str, int], before: SampleRow | None, after: SampleRow | None) -> None:
        """Watch the oracles' samples."""
        index, instant = key
        for expiry in [each for each in self.weighted if each[0] == index and instant < each[1]]:
            del self.weighted[expiry]
        instants = self.instants.setdefault(index, [])
        if before is None and after is not None:
            insort(instants, instant)
        elif after is None and before is not None:
            del instants[bisect_left(instants, instant)]
        had, has = (len(row.reports) if row is not None else 0 for row in (before, after))
        for oracles in range(had + 1, has + 1):
            insort(self.reported_by.setdefault((index, oracles), []), instant)
        for oracles in range(has + 1, had + 1):
            reported = self.reported_by[index, oracles]
            del reported[bisect_left(reported, instant)]
        for row, change in ((before, -1), (after, 1)):
            for oracle, _price in row.reports if row is not None else ():
                count = self.sample_count.get((index, oracle), 0)
                self.sample_count[index, oracle] = count + change

    def expired(self, at_unix_ms: int) -> list[ExpiryKey]:
        """The expiries at or before a moment that are not settled, the oldest first, those of one moment by index."""
        end = bisect_left(self.expiries, (at_unix_ms + 1, ""))
        return [(index, expiry_unix_ms) for expiry_unix_ms, index in self.expiries[:end]]

    def first_expiry_unix_ms(self, index: str, otherwise: int) -> int:
        """The earliest expiry of `index` that is not settled yet, if it is before `otherwise`; else `otherwise`."""
        for expiry_unix_ms, each in self.expiries:
            if expiry_unix_ms >= otherwise:
                break
            if each == index:
                return expiry_unix_ms
        return otherwise


def _remove(sets: dict[K, set[V]], key: K, member: V) -> None:
    members = sets[key]
    members.remove(member)
    if not members:
        del sets[key]
