"""Civil dates in whole numbers: days since 1970-01-01, periods, and business days. No clock, no time zone.

Rules:

1. A date is of the proleptic Gregorian calendar, from `YEAR_MIN` to `YEAR_MAX`; a moment without a zone is UTC.
2. A period's months come first; a day that the month does not have becomes its last one. Then its days come.
3. A date that is no business day moves to the next one (following) or the one before (preceding); in the modified form
   the other way where the month would change.

Source: the day numbers: H. Hinnant, chrono-Compatible Low-Level Date Algorithms (2013), days_from_civil and
civil_from_days; adding periods: XML Schema Part 2 (2nd edition, 2004), appendix E; rule 3: ACTUS Data Dictionary,
Business Day Convention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from genesis.errors import Rejected

DAY_MS: Final = 86_400_000
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9999
TEXT_MAX: Final = 32

_ERA_YEARS: Final = 400
_ERA_DAYS: Final = 146_097
_EPOCH_DAYS: Final = 719_468
"""From 0000-03-01 to 1970-01-01."""
_MOMENT: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)?")
_PERIOD: Final = re.compile(r"P(?:([0-9]{1,4})Y)?(?:([0-9]{1,4})M)?(?:([0-9]{1,4})W)?(?:([0-9]{1,4})D)?")


class Date(NamedTuple):
    """A civil date; months and days from 1."""

    year: int
    month: int
    day: int


@dataclass(frozen=True, slots=True)
class Period:
    """A length of time in the calendar: neither part is negative."""

    months: int
    days: int


Calendar = Callable[[int], bool]
"""Whether a day, as its number since 1970-01-01, is a business day. Of seven days in a row at least one is."""


def day_number(date: Date) -> int:
    """Days since 1970-01-01."""
    years, month = (date.year - 1, date.month + 9) if date.month <= 2 else (date.year, date.month - 3)
    before = 365 * years + years // 4 - years // 100 + years // 400
    return before + (153 * month + 2) // 5 + date.day - 1 - _EPOCH_DAYS


def date_of(day: int) -> Date:
    """The date that many days after 1970-01-01."""
    era, of_era = divmod(day + _EPOCH_DAYS, _ERA_DAYS)
    years = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // (_ERA_DAYS - 1)) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    month = (5 * of_year + 2) // 153
    year = era * _ERA_YEARS + years + (month >= 10)
    return Date(year, month - 9 if month >= 10 else month + 3, of_year - (153 * month + 2) // 5 + 1)


def weekday(day: int) -> int:
    """0 for a Monday to 6 for a Sunday; 1970-01-01 was a Thursday."""
    return (day + 3) % 7


def parse_moment(text: str) -> int:
    """Milliseconds since 1970 of ``2020-03-30T00:00:00`` or ``2020-03-30``, in UTC.

    Raises:
        Rejected: ``bad_date`` for another form, or a date or time that there is not.
    """
    match = _MOMENT.fullmatch(text) if len(text) <= TEXT_MAX else None
    if match is not None:
        year, month, day, hour, minute, second = (int(each or 0) for each in match.groups())
        is_date = YEAR_MIN <= year <= YEAR_MAX and 1 <= month <= 12 and 1 <= day <= _month_days(year, month)
        if is_date and hour < 24 and minute < 60 and second < 60:
            return day_number(Date(year, month, day)) * DAY_MS + (hour * 3_600 + minute * 60 + second) * 1_000
    raise Rejected("bad_date", "This is no date and time like 2020-03-30T00:00:00.", text=text[:TEXT_MAX])


def moment_iso(unix_ms: int) -> str:
    """``2020-03-30T00:00:00``; what is finer than a second is left out."""
    day, rest = divmod(unix_ms // 1_000, 86_400)
    date = date_of(day)
    clock = f"{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{date.year:04}-{date.month:02}-{date.day:02}T{clock}"


def parse_period(text: str) -> Period:
    """The period ``P3D``, ``P1Y6M``, ``P2W`` (ISO 8601, without a time of day).

    Raises:
        Rejected: ``bad_period``.
    """
    match = _PERIOD.fullmatch(text) if len(text) <= TEXT_MAX else None
    if match is None or not any(match.groups()):
        raise Rejected("bad_period", "This is no period like P3D or P1Y6M.", text=text[:TEXT_MAX])
    years, months, weeks, days = (int(each or 0) for each in match.groups())
    return Period(12 * years + months, 7 * weeks + days)


def later(unix_ms: int, period: Period) -> int:
    """That much later, at the same time of day (rule 2).

    Raises:
        Rejected: ``bad_date`` if that is after `YEAR_MAX`.
    """
    day, time_of_day = divmod(unix_ms, DAY_MS)
    date = date_of(day)
    years, month = divmod(date.month - 1 + period.months, 12)
    year = date.year + years
    moved = Date(year, month + 1, min(date.day, _month_days(year, month + 1)))
    number = day_number(moved) + period.days
    if date_of(number).year > YEAR_MAX:
        raise Rejected("bad_date", "The date is too far away.", year=date_of(number).year, year_max=YEAR_MAX)
    return number * DAY_MS + time_of_day


def every_day(_day: int) -> bool:
    """The calendar without holidays."""
    return True


def monday_to_friday(day: int) -> bool:
    """The calendar whose holidays are Saturdays and Sundays."""
    return weekday(day) < 5


@dataclass(frozen=True, slots=True)
class Convention:
    """Where a date goes that is no business day.

    Attributes:
        step: 1 for the days after it, -1 for those before it, 0 for nowhere.
        stays_in_month: Whether it turns round where the month would change (modified).
    """

    step: int
    stays_in_month: bool = False


UNADJUSTED: Final = Convention(0)
FOLLOWING: Final = Convention(1)
MODIFIED_FOLLOWING: Final = Convention(1, stays_in_month=True)
PRECEDING: Final = Convention(-1)
MODIFIED_PRECEDING: Final = Convention(-1, stays_in_month=True)


def shifted(unix_ms: int, convention: Convention, is_business_day: Calendar) -> int:
    """The business day for a date, at the same time of day (rule 3)."""
    day, time_of_day = divmod(unix_ms, DAY_MS)
    moved = _walk(day, convention.step, is_business_day)
    if convention.stays_in_month and date_of(moved).month != date_of(day).month:
        moved = _walk(day, -convention.step, is_business_day)
    return moved * DAY_MS + time_of_day


def _walk(day: int, step: int, is_business_day: Calendar) -> int:
    while step and not is_business_day(day):
        day += step
    return day


_MONTH_DAYS: Final[Mapping[int, int]] = {4: 30, 6: 30, 9: 30, 11: 30}


def _month_days(year: int, month: int) -> int:
    if month == 2:
        is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if is_leap else 28
    return _MONTH_DAYS.get(month, 31)
