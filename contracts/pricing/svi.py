"""The smile of one expiry as raw SVI total variance, quotes from it, and whether it can be arbitraged.

w(k) = a + b (ρ (k - m) + √((k - m)² + σ²)) with k = ln(strike / forward); the implied volatility is √(w / t).
Parameters are columns, one row a slice: `svi_a`, `svi_b` ≥ 0, `svi_rho` in [-1, 1], `svi_m`, `svi_sigma` > 0, with a
least total variance a + b σ √(1 - ρ²) of at least `VARIANCE_MIN`.

Source: Gatheral and Jacquier, "Arbitrage-free SVI volatility surfaces", Quantitative Finance 14 (2014), pages 59 to 71.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contracts.pricing import svi_kernel
from contracts.pricing.inputs import Column, Columns, Inputs, Range, Relation

NAMES: Final = ("svi_a", "svi_b", "svi_rho", "svi_m", "svi_sigma")
VARIANCE_MIN: Final = 1e-12
SLOPE_MAX: Final = 2.0
"""Lee's bound: total variance grows no faster than 2 abs(k) at either end."""


def _least_variance_is_positive(columns: Columns) -> NDArray[np.bool_]:
    rho = columns["svi_rho"]
    width = columns["svi_b"] * columns["svi_sigma"] * np.sqrt(1.0 - rho * rho)
    return np.asarray(columns["svi_a"] + width >= VARIANCE_MIN)


LEAST: Final = Relation(
    f"a + b sigma sqrt(1 - rho^2), the least total variance, must be at least {VARIANCE_MIN:g}",
    ("svi_a", "svi_b", "svi_rho", "svi_sigma"),
    _least_variance_is_positive,
)
SLICE: Final = Inputs(NAMES, (LEAST,))
POINT: Final = Inputs((*NAMES, "log_moneyness"), (LEAST,))
QUOTE: Final = Inputs((*NAMES, "log_moneyness", "t_years"), (LEAST,), {"t_years": Range(1e-9, 100.0, "years")})


@dataclass(frozen=True)
class Butterfly:
    """Where each slice comes nearest to a negative density, and by how much it fails if it does.

    Attributes:
        least: The least g(k); below 0 the density is negative there.
        log_moneyness: Its k.
        slope_excess: b (1 + abs(ρ)) less 2; above 0 the total variance grows faster than any price allows at the end
            whose sign is that of ρ (either end for ρ = 0).
        free: Whether neither fails.
    """

    least: Column
    log_moneyness: Column
    slope_excess: Column
    free: NDArray[np.bool_]


@dataclass(frozen=True)
class Calendar:
    """Where each later slice comes nearest to crossing the earlier one, and by how much it does.

    Attributes:
        least: The least total variance of the later slice less that of the earlier; below 0 they cross.
        log_moneyness: Its k.
        left, right: The later slice's slope less the earlier's towards -∞ and +∞; below 0 they cross out there.
        free: Whether none of the three fails.
    """

    least: Column
    log_moneyness: Column
    left: Column
    right: Column
    free: NDArray[np.bool_]


def total_variance(**columns: ArrayLike) -> Column:
    """w of each row. Takes `NAMES` and `log_moneyness`; raises as `Inputs.checked`."""
    checked = POINT.checked(**columns)
    found = np.empty_like(checked["svi_a"])
    svi_kernel.variances(*checked.values(), found)
    return found


def implied_vol(**columns: ArrayLike) -> Column:
    """√(w / t) of each row. Takes `NAMES`, `log_moneyness` and `t_years`, at least 1e-9; raises as `Inputs.checked`."""
    checked = QUOTE.checked(**columns)
    found = np.empty_like(checked["svi_a"])
    svi_kernel.vols(*checked.values(), found)
    return found


def butterfly(**columns: ArrayLike) -> Butterfly:
    """Whether each slice's density is nowhere negative: g ≥ 0 over all k, and b (1 + abs(ρ)) ≤ 2.

    The minimum is that over the grid of `svi_kernel`, narrowed around its least point. It reaches from m to 400
    times σ + abs(m) from it; beyond, g goes to 1/4 - (b (1 ± ρ))² / 16, which the slope condition holds at 0 or above.

    Args:
        columns: `NAMES`.

    Raises:
        Rejected: As `Inputs.checked`.
    """
    checked = SLICE.checked(**columns)
    found = np.empty((2, checked["svi_a"].size))
    svi_kernel.least_density(np.array(list(checked.values())), found)
    excess = checked["svi_b"] * (1.0 + np.abs(checked["svi_rho"])) - SLOPE_MAX
    return Butterfly(found[0], found[1], excess, (found[0] >= 0.0) & (excess <= 0.0))


def calendar(*, early: Columns, late: Columns) -> Calendar:
    """Whether each later slice lies nowhere below the earlier one, at any k, or a calendar spread costs less than 0.

    The minimum is taken as in `butterfly`; beyond the grid the slopes decide.

    Args:
        early, late: `NAMES` each, row by row, at equal k.

    Raises:
        Rejected: As `Inputs.checked`, for either.
    """
    both = [SLICE.checked(**early), SLICE.checked(**late)]
    rows = max(each["svi_a"].size for each in both)
    slices = [np.array([np.broadcast_to(column, (rows,)) for column in each.values()]) for each in both]
    found = np.empty((2, rows))
    svi_kernel.least_gap(slices[0], slices[1], found)
    ends = [[b * (1.0 + side * rho) for _, b, rho, _, _ in slices] for side in (-1.0, 1.0)]
    left, right = (late_slope - early_slope for early_slope, late_slope in ends)
    return Calendar(found[0], found[1], left, right, (found[0] >= 0.0) & (left >= 0.0) & (right >= 0.0))


def sample() -> tuple[Column, ...]:
    """One small run of every kernel of this file, for the start-up guard."""
    early = dict(
        zip(NAMES, np.array([[0.04, -0.04], [0.4, 0.13], [-0.4, 0.3], [0.05, 0.36], [0.1, 0.42]]), strict=True)
    )
    late = {**early, "svi_a": early["svi_a"] + 0.02}
    density, spread = butterfly(**early), calendar(early=early, late=late)
    return (
        implied_vol(**early, log_moneyness=0.25, t_years=0.5),
        total_variance(**early, log_moneyness=-0.25),
        density.least,
        density.log_moneyness,
        spread.least,
    )
