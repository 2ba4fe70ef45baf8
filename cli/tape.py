"""Reading a tape: the trades of an option market as a CSV file, turned into integers, or refused with line and column.

Columns used (others are ignored, their order is free): ``instrument`` (``BTC-17AUG26-63000-P``), ``price`` (in the
underlying), ``amount`` (in the underlying), ``direction`` (the taker's side, ``buy`` or ``sell``), ``ts_utc_ms`` and
``index_price`` (the underlying's index in US dollars at that moment).

Rules:

1. No number passes through a float: text becomes an exact decimal, the decimal an integer number of ticks or lots, and
   what is not a whole number of them is refused, never rounded.
2. Rows are in order of time, as a tape is; two rows may share an instant.
3. Every row is an oracle's sample of the index, of whatever expiry its series is. Of several rows of one instant the
   last one's price stands: an instant has one price.
4. Options expire at 08:00 UTC on the day that their name says.

Units: a lot is 0.1 of the underlying, a premium tick 0.0001 of the underlying for each unit of it, an index tick 0.01
US dollar, a minor unit 1e-8 of the underlying. Hence a premium tick costs 1,000 minor units a lot.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from genesis.errors import Rejected

EXPIRY_HOUR_UTC: Final = 8
ASSET_DECIMALS: Final = 8
LOT: Final = Decimal("0.1")
LOT_MINOR: Final = 10_000_000
PREMIUM_TICK: Final = Decimal("0.0001")
PREMIUM_TICK_MINOR: Final = 1_000
INDEX_TICK_DECIMALS: Final = 2
INDEX_TICK: Final = Decimal("0.01")
TICKS_MAX: Final = 2**40
TRADE_COLUMNS: Final = ("instrument", "price", "amount", "direction", "ts_utc_ms", "index_price")
INDEX_COLUMNS: Final = ("ts_utc_ms", "price")
_MOMENT_DIGITS_MAX: Final = 15
_DECIMAL_CHARACTERS: Final = frozenset("0123456789.eE+-")
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True, slots=True)
class Series:
    """The terms that an instrument's name states.

    Attributes:
        name: The name itself; also the series' id on the chain.
        asset: The underlying, which is also the asset of premium and payoff (an inverse option).
        expiry: As the name has it, e.g. ``17AUG26``.
        expiry_unix_ms: 08:00 UTC of that day.
        strike_ticks: In index ticks (0.01 US dollar).
        right: ``C`` or ``P``.
    """

    name: str
    asset: str
    expiry: str
    expiry_unix_ms: int
    strike_ticks: int
    right: str


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade. `price_ticks` in premium ticks (0.0001 of the underlying), `quantity_lots` in lots of 0.1."""

    ts_unix_ms: int
    series: Series
    price_ticks: int
    quantity_lots: int
    taker_buys: bool

    @property
    def premium_minor(self) -> int:
        """What the buyer pays the seller, in minor units; exact."""
        return self.price_ticks * self.quantity_lots * PREMIUM_TICK_MINOR


@dataclass(frozen=True, slots=True)
class Sample:
    """The index at an instant, in ticks of 0.01 US dollar."""

    ts_unix_ms: int
    price_ticks: int


@dataclass(frozen=True, slots=True)
class Tape:
    """A tape: `trades` in file order, `samples` in order of time with distinct instants."""

    trades: tuple[Trade, ...]
    samples: tuple[Sample, ...]

    @property
    def expiries(self) -> tuple[str, ...]:
        """The expiries that were traded, earliest first."""
        moments = {each.series.expiry: each.series.expiry_unix_ms for each in self.trades}
        return tuple(sorted(moments, key=lambda expiry: moments[expiry]))


def parse_tape(text: str, name: str = "the tape") -> Tape:
    """Read a tape of trades.

    Args:
        text: The CSV file's text.
        name: What to call the file in errors.

    Raises:
        Rejected: ``bad_tape``, naming the line (from 1, the header's) and the column.
    """
    trades: list[Trade] = []
    samples: list[Sample] = []
    known: dict[str, Series] = {}
    for row in _rows(text, name, TRADE_COLUMNS):
        instrument = row.text("instrument")
        if instrument not in known:
            known[instrument] = _series(row, instrument)
        trade = Trade(
            row.instant("ts_utc_ms"),
            known[instrument],
            row.multiple("price", PREMIUM_TICK),
            row.multiple("amount", LOT),
            row.choice("direction", ("buy", "sell")) == "buy",
        )
        if trade.ts_unix_ms >= trade.series.expiry_unix_ms:
            raise row.error("ts_utc_ms", f"is not before the expiry of {instrument}")
        trades.append(trade)
        samples.append(Sample(trade.ts_unix_ms, row.multiple("index_price", INDEX_TICK)))
    return Tape(tuple(trades), _one_an_instant(samples))


def parse_index(text: str, name: str = "the index file") -> tuple[Sample, ...]:
    """Read index samples (``ts_utc_ms,price``) in order of time.

    Raises:
        Rejected: ``bad_tape``, naming line and column.
    """
    rows = _rows(text, name, INDEX_COLUMNS)
    return _one_an_instant(Sample(row.instant("ts_utc_ms"), row.multiple("price", INDEX_TICK)) for row in rows)


def parse_price(text: str) -> int:
    """A price in US dollars as index ticks; ``Rejected`` (``bad_price``) unless it is a positive multiple of 0.01."""
    value = _decimal(text)
    if value is None or value <= 0 or value % INDEX_TICK or value / INDEX_TICK > TICKS_MAX:
        raise Rejected("bad_price", "A price in US dollars is a positive number with at most two decimals.", found=text)
    return int(value / INDEX_TICK)


def expiry_unix_ms(expiry: str) -> int | None:
    """The moment that a name such as ``17AUG26`` or ``3APR26`` says, or None where it says none."""
    day, month, year = expiry[:-5], expiry[-5:-2], expiry[-2:]
    if month not in _MONTHS or len(day) > 2 or not all(each.isascii() and each.isdigit() for each in (day, year)):
        return None
    try:
        moment = datetime(2000 + int(year), _MONTHS.index(month) + 1, int(day), EXPIRY_HOUR_UTC, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of a CSV file, whose fields are read with an error that says where they stand."""

    name: str
    line: int
    values: dict[str, str]

    def text(self, column: str) -> str:
        return self.values[column]

    def choice(self, column: str, allowed: tuple[str, ...]) -> str:
        if self.values[column] not in allowed:
            raise self.error(column, f"is not one of {', '.join(allowed)}")
        return self.values[column]

    def instant(self, column: str) -> int:
        value = self.values[column]
        is_number = value.isascii() and value.isdigit() and len(value) <= _MOMENT_DIGITS_MAX
        if not is_number or not 0 < int(value) < 2**48:
            raise self.error(column, "is not a moment in milliseconds since 1970")
        return int(value)

    def multiple(self, column: str, unit: Decimal) -> int:
        """The field as a positive whole number of `unit`."""
        value = _decimal(self.values[column])
        if value is None or value <= 0 or value / unit > TICKS_MAX:
            raise self.error(column, "is not a positive number")
        if value % unit:
            raise self.error(column, f"is not a multiple of {unit}")
        return int(value / unit)

    def error(self, column: str, problem: str) -> Rejected:
        where = f"{self.name}, line {self.line}, column {column}"
        return Rejected("bad_tape", f"In {where}, the value {problem}.", found=self.values[column][:64])


def _rows(text: str, name: str, columns: tuple[str, ...]) -> Iterator[_Row]:
    lines = _lines(text, name)
    _, header = next(lines, (1, []))
    missing = [each for each in columns if each not in header]
    if missing:
        raise Rejected("bad_tape", f"In {name}, line 1, these columns are missing: {', '.join(missing)}.")
    before = 0
    found = False
    for line, values in lines:
        if not values:
            continue
        if len(values) != len(header):
            fields = f"has {len(values)} fields where the header has {len(header)}"
            raise Rejected("bad_tape", f"In {name}, line {line} {fields}.")
        row = _Row(name, line, dict(zip(header, (each.strip() for each in values), strict=True)))
        instant = row.instant("ts_utc_ms")
        if instant < before:
            raise row.error("ts_utc_ms", "is before the line above; sort the file by time")
        before, found = instant, True
        yield row
    if not found:
        raise Rejected("bad_tape", f"In {name} there are no rows.")


def _lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Every line's number and fields; a line ends with LF, CR LF or CR."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        for values in reader:
            yield reader.line_num, values
    except csv.Error as error:
        raise Rejected("bad_tape", f"In {name}, line {reader.line_num} is not CSV: {error}.") from error


def _series(row: _Row, instrument: str) -> Series:
    parts = instrument.split("-")
    if len(parts) != 4 or parts[3] not in ("C", "P") or not (parts[0].isascii() and parts[0].isalnum()):
        raise row.error("instrument", "is not of the form BTC-17AUG26-63000-P")
    asset, expiry, strike, right = parts
    moment = expiry_unix_ms(expiry)
    if moment is None:
        raise row.error("instrument", "names no day of expiry such as 17AUG26")
    value = _decimal(strike)
    if value is None or value <= 0 or value % INDEX_TICK or value / INDEX_TICK > TICKS_MAX:
        raise row.error("instrument", "names no strike in US dollars")
    return Series(instrument, asset, expiry, moment, int(value / INDEX_TICK), right)


def _decimal(text: str) -> Decimal | None:
    """The finite decimal that `text` writes in ASCII digits, without separators, or None."""
    if not _DECIMAL_CHARACTERS.issuperset(text):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value.adjusted()) < 24 else None


def _one_an_instant(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    return tuple({each.ts_unix_ms: each for each in samples}.values())
