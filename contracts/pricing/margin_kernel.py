"""Full revaluation of a portfolio over scenarios: profit and loss in integer ticks, a loop over scenarios an option."""

from __future__ import annotations

from math import sqrt
from typing import Any

from contracts.compiled import kernel
from contracts.pricing.kernel import exp, log
from contracts.pricing.monte_carlo_kernel import ticks_of
from contracts.pricing.vanilla_kernel import deviation, price_of


@kernel
def shocks(
    normals: Any, factor: Any, spot_deviations: Any, vol_deviations: Any, leverages: Any, returns: Any, vol_factors: Any
) -> None:
    """The logarithmic return of each underlying and the factor on its vols, by scenario.

    Args:
        normals: float64[2 · underlyings, scenario]: first those of spots, then those of vols.
        factor: The triangle of the spots' correlations.
        spot_deviations: float64[underlying]: of the logarithmic return.
        vol_deviations: float64[underlying]: of the logarithm of the factor on vols.
        leverages: float64[underlying]: the correlation of the two.
        returns: float64[underlying, scenario], filled.
        vol_factors: float64[underlying, scenario], filled.
    """
    underlyings = factor.shape[0]
    for u in range(underlyings):
        own = sqrt(1.0 - leverages[u] * leverages[u])
        for i in range(normals.shape[1]):
            returns[u, i] = factor[u, 0] * normals[0, i]
        for other in range(1, u + 1):
            for i in range(normals.shape[1]):
                returns[u, i] = returns[u, i] + factor[u, other] * normals[other, i]
        for i in range(normals.shape[1]):
            mixed = leverages[u] * returns[u, i] + own * normals[underlyings + u, i]
            vol_factors[u, i] = exp(vol_deviations[u] * mixed)
            returns[u, i] = spot_deviations[u] * returns[u, i]


@kernel
def profits(
    underlyings: Any,
    rights: Any,
    strikes: Any,
    t_years: Any,
    vols: Any,
    quantities: Any,
    values_ticks: Any,
    spots: Any,
    r: Any,
    q: Any,
    ticks_per_unit: Any,
    returns: Any,
    vol_factors: Any,
    growths: Any,
    profits_ticks: Any,
) -> None:
    """Add to each scenario's profit that of every option: (its value then, in ticks, less its value now) · quantity.

    Values are those of `vanilla_kernel`, with a spot and a vol that the scenario moves.

    Args:
        underlyings, quantities, values_ticks: int64[option]; `values_ticks` of one option now.
        rights, strikes, t_years, vols: float64[option]; `t_years` is what is left at the horizon.
        spots, r, q: float64[underlying]; rates of its currency.
        returns, vol_factors: float64[underlying, scenario], from `shocks`.
        growths: float64[scenario], room to work in.
        profits_ticks: int64[scenario], added to.
    """
    for u in range(spots.size):
        for i in range(profits_ticks.size):
            growths[i] = exp(returns[u, i])
        for k in range(rights.size):
            if underlyings[k] == u:
                asset = ticks_per_unit * (spots[u] * exp(-q[u] * t_years[k]))
                cash = ticks_per_unit * (strikes[k] * exp(-r[u] * t_years[k]))
                moneyness = log(spots[u] / strikes[k]) + (r[u] - q[u]) * t_years[k]
                root_t = sqrt(t_years[k])
                right = rights[k]
                vol = vols[k]
                value = values_ticks[k]
                quantity = quantities[k]
                for i in range(profits_ticks.size):
                    s = deviation(vol * vol_factors[u, i], root_t)
                    price = price_of(right, asset * growths[i], cash, moneyness + returns[u, i], s)
                    profits_ticks[i] = profits_ticks[i] + (ticks_of(price) - value) * quantity
