"""What several commands take as an option's value: a moment, a finite number."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

MOMENT_UNIX_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999, the last that dates can write."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def iso_unix_ms(text: str) -> int | None:
    """Milliseconds since 1970 of a time as ISO 8601, in UTC unless it says otherwise; None for what is none, or is no
    whole number of milliseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    unix_ms, rest = divmod((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH, _MILLISECOND)
    return None if rest else unix_ms


class Moment(click.ParamType[int]):
    """A moment as ISO 8601 (UTC unless it says otherwise) or in milliseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds since 1970."""
        text = str(value)
        moment = iso_unix_ms(text)
        if text.isascii() and text.isdigit():
            moment = int(text) if len(text) <= len(str(MOMENT_UNIX_MS_MAX)) else MOMENT_UNIX_MS_MAX + 1
        if moment is None:
            forms = "ISO 8601 (2026-08-16T20:21:00Z) nor milliseconds since 1970"
            self.fail(f"{text[:32]!r} is neither {forms}.", param, ctx)
        if not 0 <= moment <= MOMENT_UNIX_MS_MAX:
            self.fail(f"{text[:32]!r} is not between 1970 and the year 9999.", param, ctx)
        return moment


class Number(click.FloatRange):
    """A finite number within a range; NaN, which compares with nothing, is outside of every one."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found = float(click.FLOAT.convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{str(value)[:32]!r} is no finite number.", param, ctx)
        return float(super().convert(found, param, ctx))


FINITE: Final = Number()
CORRELATION: Final = Number(-1, 1)
