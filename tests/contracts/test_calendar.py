"""Dates, periods and business days, against the standard library's calendar and by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from contracts.calendar import (
    DAY_MS,
    FOLLOWING,
    MODIFIED_FOLLOWING,
    MODIFIED_PRECEDING,
    PRECEDING,
    UNADJUSTED,
    Convention,
    Date,
    Period,
    date_of,
    day_number,
    every_day,
    later,
    moment_iso,
    monday_to_friday,
    parse_moment,
    parse_period,
    shifted,
    weekday,
)
from genesis.errors import Rejected

EPOCH = date(1970, 1, 1)


@pytest.mark.parametrize("years", [(1970, 2110), (2390, 2410), (9990, 9999)])
def test_every_day_has_the_number_and_weekday_of_the_calendar(years: tuple[int, int]) -> None:
    """A day lost at the turn of a century would settle every option after it on another date."""
    day = date(years[0], 1, 1)
    number = (day - EPOCH).days
    while day < date(years[1], 12, 31):
        assert date_of(number) == (day.year, day.month, day.day)
        assert day_number(Date(day.year, day.month, day.day)) == number
        assert weekday(number) == day.weekday()
        day, number = day + timedelta(days=1), number + 1


def test_a_moment_goes_there_and_back() -> None:
    """To the second, and without a time zone that a machine would bring in."""
    moment = parse_moment("2024-02-29T23:59:58")
    assert moment == int(datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC).timestamp()) * 1_000
    assert moment_iso(moment + 999) == "2024-02-29T23:59:58"
    assert parse_moment("2024-02-29") == parse_moment("2024-02-29T00:00") == moment // DAY_MS * DAY_MS


@pytest.mark.parametrize(
    "text",
    [
        "", "2023-02-29T00:00:00", "1900-01-01", "1969-12-31", "2024-13-01", "2024-00-01", "2024-01-00", "2024-04-31",
        "2024-01-01T24:00:00", "2024-01-01T00:60:00", "2024-01-01T00:00:60", "2024-01-01T00:00:00Z", "2024-1-1",
        "2024-01-01 00:00:00", "٢٠٢٤-01-01", "2024-01-01T00:00:00" + " " * 99,
    ],
)  # fmt: skip
def test_what_is_no_date_is_refused(text: str) -> None:
    """A date that is guessed is a date that two nodes guess differently."""
    with pytest.raises(Rejected, match="bad_date"):
        parse_moment(text)


def test_periods_are_read() -> None:
    """Weeks are days and years are months: these never depend on where they start."""
    assert parse_period("P0D") == Period(0, 0)
    assert parse_period("P1Y6M2W3D") == Period(18, 17)


@pytest.mark.parametrize("text", ["", "P", "3D", "P3", "PT3H", "P-3D", "P3D1M", "P1ML1", "p3d", "P12345D", "P٣D"])
def test_what_is_no_period_is_refused(text: str) -> None:
    """ISO 8601 fixes the order of its parts."""
    with pytest.raises(Rejected, match="bad_period"):
        parse_period(text)


@pytest.mark.parametrize(
    ("start", "period", "end"),
    [
        ("2020-09-30T00:00:00", "P3D", "2020-10-03T00:00:00"),
        ("2024-01-31T09:30:00", "P1M", "2024-02-29T09:30:00"),
        ("2023-01-31T00:00:00", "P1M", "2023-02-28T00:00:00"),
        ("2024-02-29T00:00:00", "P1Y", "2025-02-28T00:00:00"),
        ("2024-11-30T00:00:00", "P3M1D", "2025-03-01T00:00:00"),
        ("2024-12-31T00:00:00", "P0D", "2024-12-31T00:00:00"),
        ("2024-12-15T00:00:00", "P12M", "2025-12-15T00:00:00"),
    ],
)
def test_a_period_later(start: str, period: str, end: str) -> None:
    """Months first, held at the month's last day; then days; the time of day stays."""
    assert moment_iso(later(parse_moment(start), parse_period(period))) == end


def test_a_date_beyond_the_calendar_is_refused() -> None:
    """It could not be written down."""
    with pytest.raises(Rejected, match="bad_date"):
        later(parse_moment("9999-12-31"), Period(0, 1))


@pytest.mark.parametrize(
    ("day", "convention", "moved"),
    [
        ("2020-10-02", FOLLOWING, "2020-10-02"),
        ("2020-10-03", UNADJUSTED, "2020-10-03"),
        ("2020-10-03", FOLLOWING, "2020-10-05"),
        ("2020-10-04", FOLLOWING, "2020-10-05"),
        ("2020-10-03", PRECEDING, "2020-10-02"),
        ("2020-10-04", PRECEDING, "2020-10-02"),
        ("2020-10-31", FOLLOWING, "2020-11-02"),
        ("2020-10-31", MODIFIED_FOLLOWING, "2020-10-30"),
        ("2020-10-03", MODIFIED_FOLLOWING, "2020-10-05"),
        ("2020-11-01", PRECEDING, "2020-10-30"),
        ("2020-11-01", MODIFIED_PRECEDING, "2020-11-02"),
        ("2020-11-08", MODIFIED_PRECEDING, "2020-11-06"),
    ],
)
def test_a_weekend_moves_as_the_convention_says(day: str, convention: Convention, moved: str) -> None:
    """October 2020 ended on a Saturday."""
    assert moment_iso(shifted(parse_moment(day), convention, monday_to_friday))[:10] == moved
    assert shifted(parse_moment(day) + 1, convention, every_day) == parse_moment(day) + 1
