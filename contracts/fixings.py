"""One price of an index at an instant for all contracts that settle on it.

Rules:

1. The first input whose price of an instant is settled, once the settlement delay after that instant is over, fixes it:
   every other open input of this index and instant takes that price, however many blocks it takes to reach them all,
   and whatever is reported meanwhile.
2. An input whose window ends before the delay is over fixes nothing: else one with a short window would take the late
   reports from all others.
3. A fixing is kept as long as an open input needs it. So there are none but while a block has no room for everything
   that is due.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.oracle import price_standing_at
from contracts.state import State
from contracts.tables import FixingRow

Instant = tuple[str, int]
"""(index, instant_unix_ms)."""


def price_fixed_at(state: State, index: str, instant_unix_ms: int) -> int | None:
    """The price of an instant: as it was fixed, or as it stands now."""
    fixing = state.fixings.rows.get((index, instant_unix_ms))
    return price_standing_at(state, index, instant_unix_ms) if fixing is None else fixing.price_ticks


def fix(state: State, time_unix_ms: int, settled: Mapping[Instant, int]) -> None:
    """Keep what a block has settled for those who come later, and drop what nobody needs any more.

    Args:
        state: After everything of the block is settled.
        time_unix_ms: The block's.
        settled: The prices, each of which some input was settled with.
    """
    for key, price_ticks in sorted(settled.items()):
        is_due = time_unix_ms >= key[1] + state.limits.settlement_delay_ms
        if is_due and key not in state.fixings.rows and _is_needed(state, key):
            state.fixings.put(key, FixingRow(price_ticks))
    for key in sorted(state.fixings.rows):
        if not _is_needed(state, key):
            state.fixings.put(key, None)


def _is_needed(state: State, key: Instant) -> bool:
    index, instant_unix_ms = key
    return state.open_inputs.needs_price(index, instant_unix_ms, instant_unix_ms + 1)
