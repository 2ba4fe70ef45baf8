"""Greeks by differences of a model's exact price: one helper for every model without closed formulas.

Each derivative takes the price at five points, at ±h and ±2h about a centre and there, and differentiates the
polynomial through them. That leaves an error of h⁴; at the centre itself it is

    first    (8 (p₁ - p₋₁) - (p₂ - p₋₂)) / 12h,      second    (16 (p₁ + p₋₁) - (p₂ + p₋₂) - 30 p₀) / 12h².

The steps h, fixed by the row's own numbers alone:

- spot: the spot times 0.01 of the model's scale in ln spot (usually s = vol √t), at least 1e-6 and at most 1e-2 of it;
- vol: 0.002 of it;
- r: 1e-4, less where 0.01 s / t is less, but at least 1e-7;
- t_years: 0.002 of it, less where the drift's part of ln spot exceeds s.

What has happened already (a touched barrier, a running extremum, a past average) does not move with the spot: the price
function must hold it fixed, as a column of its own. Between the dates on which something is fixed, every price that
only depends on time and spot solves

    ∂p/∂t + (r - q) S ∂p/∂S + ½ vol² S² ∂²p/∂S² = r p,

which gives one of gamma and theta from the other. `bumped_greeks` is for prices that go on smoothly to both sides of
the spot and may have dates: theta comes from gamma. `greeks_within` is for prices that hold between walls alone and
have no date but expiry: no point lies beyond a wall, so that the centre moves inwards next to one, and gamma comes from
theta, which is small beside its parts there: nothing is left of it where it is made of them.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 25.2.32 (Stirling's polynomial, differentiated),
25.3.6 and 25.3.24; Black and Scholes (1973), equation 7, with a dividend yield as in Merton (1973).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.pricing.greeks import Greeks
from contracts.pricing.inputs import Column, Columns

POINTS: Final = (1.0, -1.0, 2.0, -2.0)
REACH: Final = 2.25
"""How many steps the centre keeps off a wall: the outermost point at 2, and something for its rounding."""
SPOT_STEP_MIN: Final = 1e-6
SPOT_STEP_MAX: Final = 1e-2
STEP_OF_SCALE: Final = 0.01
STEP_OF_WIDTH: Final = 0.125
VOL_STEP: Final = 2e-3
TIME_STEP: Final = 2e-3
RATE_STEP_MIN: Final = 1e-7
RATE_STEP_MAX: Final = 1e-4
CERTAIN: Final = 1e-8
"""Below this vol √t prices are those of a certain path (`tail_kernel.DEVIATION_MIN`): gamma and vega are 0."""

Price = Callable[[Columns], Column]


def bumped_greeks(price: Price, columns: Columns, *, scale: Column) -> Greeks:
    """The greeks of every row, of a price that is smooth in the spot.

    Args:
        price: The model over columns of any one length; reads nothing else, and takes values a step out of range.
        columns: What it takes, among it `spot`, `vol`, `r`, `q` and `t_years`.
        scale: How far ln spot must move for the price's curve to change: vol √t, or less.

    Returns:
        Greeks; gamma and vega are 0 where vol √t is below `CERTAIN`.
    """
    spot, vol, r = columns["spot"], columns["vol"], columns["r"]
    uncertain = _deviation(columns) > CERTAIN
    steps = {"spot": _spot_step(spot, scale), "vol": VOL_STEP * vol, "r": _rate_step(columns)}
    at = _around(price, columns, {}, steps)
    centre, zero = at["price"][0], np.zeros_like(spot)
    delta = _first(at["spot"], centre, zero) / steps["spot"]
    gamma = np.where(uncertain, _second(at["spot"], centre) / steps["spot"] ** 2, 0.0)
    return Greeks(
        price=centre,
        delta=delta,
        gamma=gamma,
        vega=_first(at["vol"], centre, zero) / np.where(uncertain, steps["vol"], np.inf),
        theta=r * centre - (r - columns["q"]) * spot * delta - 0.5 * vol * vol * spot * spot * gamma,
        rho=_first(at["r"], centre, zero) / steps["r"],
    )


def greeks_within(
    price: Price, columns: Columns, *, low: Column, high: Column, scale: Column, settled: NDArray[np.bool_]
) -> Greeks:
    """The greeks of every row, of a price that holds from `low` to `high`: no point of the spot is outside of them.

    Args:
        price, columns, scale: As for `bumped_greeks`.
        low, high: The walls; 0 and infinity where there is none.
        settled: The rows whose price is an amount paid now: it moves with nothing, and theta and gamma are 0.

    Returns:
        Greeks; gamma and vega are 0 where vol √t is below `CERTAIN`.
    """
    spot, vol, r, q, t = (columns[name] for name in ("spot", "vol", "r", "q", "t_years"))
    deviation = _deviation(columns)
    uncertain = deviation > CERTAIN
    spot_step = np.minimum(_spot_step(spot, scale), STEP_OF_WIDTH * (high - low))
    middle = np.minimum(np.maximum(spot, low + REACH * spot_step), high - REACH * spot_step)
    time_step = TIME_STEP * t * deviation / np.where(uncertain, deviation + abs(r - q) * t, 1.0)
    steps = {"spot": spot_step, "vol": VOL_STEP * vol, "r": _rate_step(columns), "t_years": time_step}
    at = _around(price, columns, {"spot": middle}, steps)
    here, zero = at["price"][0], np.zeros_like(spot)
    delta = _first(at["spot"], at["price"][1], (spot - middle) / spot_step) / spot_step
    by_spot = r * here - (r - q) * spot * delta
    by_time = -_first(at["t_years"], here, zero) / np.where(uncertain, time_step, np.inf)
    spread = np.where(uncertain, vol * spot, np.inf)
    return Greeks(
        price=here,
        delta=delta,
        gamma=np.where(settled, 0.0, 2.0 * (by_spot - by_time) / (spread * spread)),
        vega=_first(at["vol"], here, zero) / np.where(uncertain, steps["vol"], np.inf),
        theta=np.where(settled, 0.0, np.where(uncertain, by_time, by_spot)),
        rho=_first(at["r"], here, zero) / steps["r"],
    )


def _around(price: Price, columns: Columns, centres: Columns, steps: Columns) -> Mapping[str, NDArray[np.float64]]:
    """The prices at `POINTS` about each centre by the column's name, and under "price" at the row itself and there."""
    rows = [dict(columns), *({**columns, name: centre} for name, centre in centres.items())]
    about = {**columns, **centres}
    moved = [{**columns, name: about[name] + point * step} for name, step in steps.items() for point in POINTS]
    stacked = {name: np.concatenate([each[name] for each in (*rows, *moved)]) for name in columns}
    found = price(stacked).reshape(len(rows) + len(moved), -1)
    points = found[len(rows) :].reshape(len(steps), len(POINTS), -1)
    return {"price": found[: len(rows)], **dict(zip(steps, points, strict=True))}


def _deviation(columns: Columns) -> Column:
    deviation: Column = columns["vol"] * np.sqrt(columns["t_years"])
    return deviation


def _spot_step(spot: Column, scale: Column) -> Column:
    step: Column = spot * np.clip(STEP_OF_SCALE * scale, SPOT_STEP_MIN, SPOT_STEP_MAX)
    return step


def _rate_step(columns: Columns) -> Column:
    t = columns["t_years"]
    by_time = STEP_OF_SCALE * _deviation(columns) / np.where(t > 0.0, t, 1.0)
    return np.clip(by_time, RATE_STEP_MIN, RATE_STEP_MAX)


def _first(at: NDArray[np.float64], centre: Column, away: Column) -> Column:
    """The first derivative by h of the polynomial through the points, `away` steps from their centre."""
    square = away * away
    second = at[0] - 2.0 * centre + at[1]
    third = 0.5 * (at[2] - at[3]) - (at[0] - at[1])
    fourth = at[2] - 4.0 * at[0] + 6.0 * centre - 4.0 * at[1] + at[3]
    slope: Column = 0.5 * (at[0] - at[1]) + away * second + (3.0 * square - 1.0) / 6.0 * third
    slope += away * (2.0 * square - 1.0) / 12.0 * fourth
    return slope


def _second(at: NDArray[np.float64], centre: Column) -> Column:
    curve: Column = (16.0 * (at[0] + at[1]) - (at[2] + at[3]) - 30.0 * centre) / 12.0
    return curve
