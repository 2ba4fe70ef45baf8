"""What a position must lock, and what it pays: the one rule that margin will replace.

Rules (full collateralisation):

1. A series is an instance of a program of the standard library (`contracts/library`): of `vanilla_linear.contract` or
   of `vanilla_inverse.contract`. The parameters are the series' terms and its index' band.
2. A short lot locks what the program's writer locks for one lot: the most that a lot can ever pay inside the band,
   rounded up to a minor unit. A long position locks nothing: its premium is paid.
3. So many lots together receive what the program pays its holder for them, rounded down. An expiry without any price
   is the program's timeout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from contracts.library.exchange import VANILLA_INVERSE, VANILLA_LINEAR
from contracts.tables import IndexRow, SeriesRow
from contracts.vm.bytecode import CODE_LENGTH_MAX, decode_program
from contracts.vm.interpreter import run, terms
from contracts.vm.verifier import Verified, verify

PROGRAMS: Final[dict[str, Verified]] = {
    "linear": verify(decode_program(VANILLA_LINEAR), CODE_LENGTH_MAX),
    "inverse": verify(decode_program(VANILLA_INVERSE), CODE_LENGTH_MAX),
}
"""By a series' settlement. What a program of the library may need is bounded by the library, not by a chain's limit."""

_HOLDER: Final = 1
_SETTLEMENT: Final = 0
"""The programs' one input."""


def parameters(series: SeriesRow, band: IndexRow, lots: int) -> tuple[int, ...]:
    """The instance that `lots` of a series are, in the order of the programs' parameters."""
    low, high = band.price_min_ticks, band.price_max_ticks
    return int(series.right == "C"), lots, series.lot_minor, series.strike_ticks, low, high, series.expiry_unix_ms


def payoff(series: SeriesRow, band: IndexRow, price_ticks: int | None) -> Callable[[int], int]:
    """What a number of long lots together receive at a price, in minor units; None is an expiry without a price.

    Args:
        band: The index of the series; `price_ticks` lies in its band.
    """
    program = PROGRAMS[series.settlement]

    def received(lots: int) -> int:
        paid = run(program, parameters(series, band, lots), {_SETTLEMENT: price_ticks}).payments
        return sum(each.amount_minor for each in paid if each.party == _HOLDER)

    return received


def collateral_per_lot_minor(series: SeriesRow, band: IndexRow) -> int:
    """Rule 2 for one short lot."""
    agreed = terms(PROGRAMS[series.settlement], parameters(series, band, 1))
    return sum(amount for _party, _asset, amount in agreed.locks)


def required_minor(series: SeriesRow, position_lots: int) -> int:
    """What a position must lock in the series' asset: never less than it can come to pay."""
    return -position_lots * series.collateral_minor if position_lots < 0 else 0
