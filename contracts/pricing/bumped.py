"""Greeks by central differences of a model's exact price: one helper for every model without closed formulas.

Each derivative takes the price at four points about its own, at ±h and ±2h, which leaves an error of h⁴:

    first    (8 (p₁ - p₋₁) - (p₂ - p₋₂)) / 12h,      second    (16 (p₁ + p₋₁) - (p₂ + p₋₂) - 30 p₀) / 12h².

The steps h, fixed by the row's own numbers alone:

- spot: the spot times 0.01 of the model's scale in ln spot (usually s = vol √t), at least 1e-6 and at most 1e-2 of it;
- vol: 0.002 of it;
- r: 1e-4, less where 0.01 s / t is less, but at least 1e-7.

What has happened already (a touched barrier, a running extremum, a past average) does not move with the spot: the price
function must hold it fixed, as a column of its own, and go on smoothly to both sides. Theta then needs no step: between
the dates on which something is fixed, every price that only depends on time and spot solves

    ∂p/∂t + (r - q) S ∂p/∂S + ½ vol² S² ∂²p/∂S² = r p.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 25.3.6 and 25.3.24; Black and Scholes (1973),
equation 7, with a dividend yield as in Merton (1973).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns

POINTS: Final = (1.0, -1.0, 2.0, -2.0)
SPOT_STEP_MIN: Final = 1e-6
SPOT_STEP_MAX: Final = 1e-2
STEP_OF_SCALE: Final = 0.01
VOL_STEP: Final = 2e-3
RATE_STEP_MIN: Final = 1e-7
RATE_STEP_MAX: Final = 1e-4
STEEP_MAX: Final = 20.0
CERTAIN: Final = 1e-8
"""Below this vol √t prices are those of a certain path (`tail_kernel.DEVIATION_MIN`): gamma and vega are 0."""


def bumped_greeks(
    price: Callable[[Columns], Column], columns: Columns, *, scale: Column, settled: NDArray[np.bool_]
) -> Greeks:
    """The greeks of every row.

    Args:
        price: The model over columns of any one length; reads nothing else, and takes values a step out of range.
        columns: What it takes, among it `spot`, `vol`, `r`, `q` and `t_years`.
        scale: How far ln spot must move for the price's curve to change: vol √t, or less where a corridor is narrower.
        settled: The rows whose price is an amount paid now: their theta is 0.

    Returns:
        Greeks; gamma and vega are 0 where vol √t is below `CERTAIN`.
    """
    spot, vol, r, t = columns["spot"], columns["vol"], columns["r"], columns["t_years"]
    deviation = vol * np.sqrt(t)
    spot_step = spot * np.clip(STEP_OF_SCALE * scale, SPOT_STEP_MIN, SPOT_STEP_MAX)
    vol_step = VOL_STEP * vol
    rate_step = np.clip(STEP_OF_SCALE * deviation / np.where(t > 0.0, t, 1.0), RATE_STEP_MIN, RATE_STEP_MAX)
    steps = (("spot", spot_step), ("vol", vol_step), ("r", rate_step))
    moved = [{**columns, name: columns[name] + point * step} for name, step in steps for point in POINTS]
    stacked = {name: np.concatenate([columns[name], *(each[name] for each in moved)]) for name in columns}
    at = price(stacked).reshape(1 + len(moved), spot.size)
    uncertain = deviation > CERTAIN
    vol_step = np.where(uncertain, vol_step, 1.0)
    delta = _first(at[1:5], spot_step)
    gamma = np.where(uncertain, _second(at[0], at[1:5], spot_step), 0.0)
    theta = r * at[0] - (r - columns["q"]) * spot * delta - 0.5 * vol * vol * spot * spot * gamma
    return Greeks(
        price=at[0],
        delta=delta,
        gamma=gamma,
        vega=np.where(uncertain, _first(at[5:9], vol_step), 0.0),
        theta=np.where(settled, 0.0, theta),
        rho=_first(at[9:13], rate_step),
    )


def inside_of(barrier: Column, direction: float | Column, columns: Columns) -> Column:
    """The spot that greeks are taken at: three steps off an untouched barrier where the price is too steep beyond it.

    Beyond a barrier the price goes on smoothly, by a factor exp(2 (r - q) t x / s²) for a distance x of the logarithm:
    where one step makes that more than exp(20), a difference taken through the barrier would be of no use or overflow.
    """
    spot, t = columns["spot"], columns["t_years"]
    deviation = columns["vol"] * np.sqrt(t)
    step = np.clip(STEP_OF_SCALE * deviation, SPOT_STEP_MIN, SPOT_STEP_MAX)
    is_steep = step * (deviation + 2.0 * abs(columns["r"] - columns["q"]) * t) >= STEEP_MAX * deviation * deviation
    nearest = barrier * (1.0 - direction * 3.0 * step)
    return np.where(is_steep & (columns["touched"] == 0.0) & (direction * (spot - nearest) > 0.0), nearest, spot)


def _first(at: Column, step: Column) -> Column:
    slope: Column = (8.0 * (at[0] - at[1]) - (at[2] - at[3])) / (12.0 * step)
    return slope


def _second(centre: Column, at: Column, step: Column) -> Column:
    curve: Column = (16.0 * (at[0] + at[1]) - (at[2] + at[3]) - 30.0 * centre) / (12.0 * step * step)
    return curve
