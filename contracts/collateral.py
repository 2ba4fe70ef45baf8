"""What a position must lock, and what it pays: the one rule that margin will replace.

Rules (full collateralisation):

1. A lot pays ``lot_minor * max(0, S - K)`` (call) or ``lot_minor * max(0, K - S)`` (put), and if inverse that divided
   by S, where S is the settlement price and K the strike, both in index ticks.
2. Each of these is monotonic in S, and S lies within the band that the index declares, so the most a lot can ever pay
   is the larger of what it pays at the two ends of the band.
3. A short lot locks that, rounded up to a minor unit. A long position locks nothing: its premium is paid.

Source: J. Hull, Options, Futures, and Other Derivatives, 10th ed., section 10.1 (payoffs); the inverse form is the
linear payoff converted at the settlement price.
"""

from __future__ import annotations

from contracts.tables import IndexRow, SeriesRow


def payoff_per_lot(series: SeriesRow, price_ticks: int) -> tuple[int, int]:
    """What one long lot receives at `price_ticks`, exactly: (numerator in minor units, denominator above zero)."""
    move = price_ticks - series.strike_ticks
    intrinsic = max(0, move if series.right == "C" else -move)
    return series.lot_minor * intrinsic, price_ticks if series.settlement == "inverse" else 1


def collateral_per_lot_minor(series: SeriesRow, index: IndexRow) -> int:
    """Rule 2 and 3 for one short lot, rounded up."""
    ends = (payoff_per_lot(series, price) for price in (index.price_min_ticks, index.price_max_ticks))
    return max(-(-numerator // denominator) for numerator, denominator in ends)


def required_minor(series: SeriesRow, position_lots: int) -> int:
    """What a position must lock in the series' asset: never less than it can come to pay."""
    return -position_lots * series.collateral_minor if position_lots < 0 else 0
