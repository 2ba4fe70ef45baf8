"""The project's own tape: a day of option trades that nobody traded, the same bytes on every machine.

The index walks in cents by sums of uniform integers; premiums are intrinsic value plus a time value that falls off
linearly in the distance from the money and with the square root of the time left. Integers alone (and a generator of
random bits that Python keeps stable between versions), so no platform can change a digit. It looks like a market and
claims nothing more: the point is to exercise trades, both rights, every direction, and a window full of index samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from random import Random
from typing import Final

from cli.tape import TRADE_COLUMNS, expiry_unix_ms

GENERATED_EXPIRY: Final = "25SEP26"
SPAN_MS: Final = 42_000_000
_ROWS: Final = 320
_SEED: Final = 20260925
_START_CENTS: Final = 6_000_000
_STEP_CENTS: Final = 4_000
_STRIKES_USD: Final = (58_000, 58_500, 59_000, 59_500, 60_000, 60_500, 61_000, 61_500, 62_000)
_DAY_MS: Final = 86_400_000
_LAST_TRADE_BEFORE_MS: Final = 60_000
_DAY_DEVIATION_PPM: Final = 18_000


@dataclass(frozen=True, slots=True)
class _Walk:
    """The index at one row."""

    ts_unix_ms: int
    index_cents: int


def generate_tape() -> str:
    """The tape as CSV text; `cli.tape.parse_tape` reads it."""
    random = Random(_SEED)
    lines = [",".join(("trade_id", *TRADE_COLUMNS))]
    for number, step in enumerate(_walk(random)):
        lines.append(_trade(random, number, step))
    return "\n".join(lines) + "\n"


def _walk(random: Random) -> list[_Walk]:
    """Rows at random instants, the last a minute before expiry, over a random walk of the index."""
    expiry = _expiry()
    instants = sorted(
        expiry - _LAST_TRADE_BEFORE_MS - random.randrange(SPAN_MS - _LAST_TRADE_BEFORE_MS) for _ in range(_ROWS)
    )
    index = _START_CENTS
    steps = []
    for instant in instants:
        index += sum(random.randrange(-_STEP_CENTS, _STEP_CENTS + 1) for _ in range(3)) // 3
        steps.append(_Walk(instant, index))
    return steps


def _trade(random: Random, number: int, step: _Walk) -> str:
    strike_usd = random.choice(_STRIKES_USD)
    right = random.choice("CP")
    direction = random.choice(("buy", "sell"))
    price_ticks = premium_ticks(step.index_cents, strike_usd * 100, right, _expiry() - step.ts_unix_ms)
    price_ticks += 1 if direction == "buy" else 0
    lots = random.choice((1, 1, 1, 2, 5, 10, 25))
    fields = (
        str(number),
        f"BTC-{GENERATED_EXPIRY}-{strike_usd}-{right}",
        f"{price_ticks // 10_000}.{price_ticks % 10_000:04d}",
        f"{lots // 10}.{lots % 10}",
        direction,
        str(step.ts_unix_ms),
        f"{step.index_cents // 100}.{step.index_cents % 100:02d}",
    )
    return ",".join(fields)


def premium_ticks(index_cents: int, strike_cents: int, right: str, left_ms: int) -> int:
    """A plausible premium in ticks of 0.0001 of the underlying, at least 1; rounded down.

    Intrinsic value plus ``0.4 * max(0, deviation - distance)``, the deviation being 1.8 % of the index a day, scaled
    with the square root of the time left.
    """
    toward = index_cents - strike_cents if right == "C" else strike_cents - index_cents
    deviation = index_cents * _DAY_DEVIATION_PPM * isqrt(left_ms * 10**6 // _DAY_MS) // 10**9
    time_value = max(0, deviation - abs(toward)) * 2 // 5
    return max(1, (max(0, toward) + time_value) * 10_000 // index_cents)


def _expiry() -> int:
    moment = expiry_unix_ms(GENERATED_EXPIRY)
    if moment is None:
        raise ValueError(GENERATED_EXPIRY)
    return moment
