"""Simulated prices as integer ticks: normals by scenario and dimension, then geometric Brownian motion.

Every scenario is computed from its own index, so that any part of a job gives the bits it has in the whole.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from contracts.compiled import inlined, kernel
from contracts.pricing.kernel import exp, inverse_normal_cdf, log
from contracts.pricing.random_kernel import philox, top_bits, uniform
from contracts.pricing.sobol_kernel import sobol

TICKS_MAX: Final = 1125899906842624
"""2⁵⁰: an int64 holds the sum of as many as 2¹² prices at it, and float64 every tick up to it."""


@inlined
def ticks_of(x: Any) -> Any:
    """The integer nearest to x, ties to even, for abs(x) below 2⁵¹: 1.5 · 2⁵² leaves it in the low bits of the sum."""
    return np.float64(x + 6755399441055744.0).view(np.int64) - 0x4338000000000000


@inlined
def price_ticks_of(x: Any) -> Any:
    """`ticks_of` a price, not above `TICKS_MAX`."""
    return ticks_of(x if x < 1125899906842624.0 else 1125899906842624.0)


@kernel
def pseudo_normals(seed: Any, first: Any, normals: Any) -> None:
    """Independent normals from Philox: counter (scenario, 64 bits; pair of dimensions; 0), key = seed.

    Args:
        seed: uint64[2], the low and the high word of 32 bits.
        first: The index of the first scenario.
        normals: float64[dimension, scenario], filled; an even number of dimensions.
    """
    low = np.uint64(0xFFFFFFFF)
    for pair in range(normals.shape[0] >> 1):
        for i in range(normals.shape[1]):
            index = np.uint64(first + i)
            a, b, c, d = philox(
                index & low,
                index >> np.uint64(32),
                np.uint64(pair),
                np.uint64(0),
                np.uint64(seed[0]),
                np.uint64(seed[1]),
            )
            normals[2 * pair, i] = uniform(top_bits(a, b))
            normals[2 * pair + 1, i] = uniform(top_bits(c, d))
    _to_normals(normals)


@kernel
def sobol_normals(directions: Any, seed: Any, replica: Any, first: Any, normals: Any) -> None:
    """Normals from the points of a Sobol sequence under a digital shift, which `seed` and `replica` choose.

    The shift of a dimension is Philox's, counter (replica, 0, dimension, 1).

    Args:
        directions: As for `sobol`.
        seed: As for `pseudo_normals`.
        replica: Which of the independent shifts.
        first: The index of the first point.
        normals: As for `pseudo_normals`; a row beyond the dimensions of `directions` is filled with zeros.
    """
    for dimension in range(normals.shape[0]):
        if dimension < directions.shape[0]:
            a, b, _, _ = philox(
                np.uint64(replica),
                np.uint64(0),
                np.uint64(dimension),
                np.uint64(1),
                np.uint64(seed[0]),
                np.uint64(seed[1]),
            )
            shift = top_bits(a, b)
            for i in range(normals.shape[1]):
                normals[dimension, i] = uniform(sobol(directions, dimension, np.uint64(first + i)) ^ shift)
        else:
            for i in range(normals.shape[1]):
                normals[dimension, i] = 0.5
    _to_normals(normals)


@kernel
def _to_normals(uniforms: Any) -> None:
    """Each number by its quantile, in place: a loop of its own, so that the one before it is vectorised."""
    for dimension in range(uniforms.shape[0]):
        for i in range(uniforms.shape[1]):
            uniforms[dimension, i] = inverse_normal_cdf(uniforms[dimension, i])


@kernel
def price_paths(
    normals: Any, factor: Any, spots: Any, drifts: Any, deviations: Any, returns: Any, mixed: Any, prices: Any
) -> None:
    """Prices at the given times, in ticks, under correlated geometric Brownian motion.

    Args:
        normals: float64[dimension, scenario]; time t of underlying u is dimension t · underlyings + u.
        factor: float64[underlying, underlying], the triangle of the correlations.
        spots: float64[underlying], in ticks.
        drifts: float64[underlying, time], the mean of the logarithmic return from the time before.
        deviations: float64[underlying, time], its standard deviation.
        returns: float64[underlying, scenario], room to work in.
        mixed: float64[scenario], room to work in.
        prices: int64[underlying, time, scenario], filled.
    """
    underlyings = factor.shape[0]
    for u in range(underlyings):
        for i in range(prices.shape[2]):
            returns[u, i] = 0.0
    for time in range(prices.shape[1]):
        for u in range(underlyings):
            for i in range(prices.shape[2]):
                mixed[i] = factor[u, 0] * normals[time * underlyings, i]
            for other in range(1, u + 1):
                for i in range(prices.shape[2]):
                    mixed[i] = mixed[i] + factor[u, other] * normals[time * underlyings + other, i]
            for i in range(prices.shape[2]):
                returns[u, i] = returns[u, i] + (drifts[u, time] + deviations[u, time] * mixed[i])
                prices[u, time, i] = price_ticks_of(spots[u] * exp(returns[u, i]))


@kernel
def geometric_means(prices: Any, sums: Any, means: Any) -> None:
    """The geometric mean of each scenario's prices, all at least 1 tick, to the nearest tick.

    Args:
        prices: int64[time, scenario].
        sums: float64[scenario], room to work in.
        means: int64[scenario], filled.
    """
    for i in range(prices.shape[1]):
        sums[i] = 0.0
    for time in range(prices.shape[0]):
        for i in range(prices.shape[1]):
            sums[i] = sums[i] + log(np.float64(prices[time, i]))
    for i in range(prices.shape[1]):
        means[i] = price_ticks_of(exp(sums[i] / np.float64(prices.shape[0])))
