"""The compiled part of `contracts.pricing.svi`: a slice of total variance, its density condition, and two slices' gap.

Rules: those of `contracts.pricing.kernel`. A minimum over all k is taken over `POINTS` points k = centre + scale z /
(1 - z²), z evenly spaced within (-1, 1), then by `NARROWINGS` steps of golden section between the least point's
neighbours.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, Final

from contracts.compiled import inlined, kernel

POINTS: Final = 801
NARROWINGS: Final = 48
GOLDEN: Final = 0.6180339887498949
VARIANCE_MIN: Final = 1e-13


@inlined
def total_variance(a: Any, b: Any, rho: Any, m: Any, sigma: Any, k: Any) -> Any:
    """w(k) = a + b (ρ (k - m) + √((k - m)² + σ²)).

    Source: Gatheral and Jacquier, "Arbitrage-free SVI volatility surfaces", Quantitative Finance 14 (2014), pages 59 to
    71, formula 3.1.
    """
    y = k - m
    return a + b * (rho * y + sqrt(y * y + sigma * sigma))


@kernel
def density_factor(a: Any, b: Any, rho: Any, m: Any, sigma: Any, k: Any) -> Any:
    """g(k) = (1 - k w' / 2w)² - w'²/4 (1/w + 1/4) + w''/2, which a density of the price needs to be at least 0.

    Source: as above, formula 2.1 and lemma 2.2.
    """
    y = k - m
    root = sqrt(y * y + sigma * sigma)
    w = total_variance(a, b, rho, m, sigma, k)
    w = w if w > VARIANCE_MIN else VARIANCE_MIN
    slope = b * (rho + y / root)
    bend = b * (sigma / root) * (sigma / root) / root
    first = 1.0 - 0.5 * k * slope / w
    return (first * first - 0.25 * slope * slope * (1.0 / w + 0.25)) + 0.5 * bend


@kernel
def gap(early: Any, late: Any, i: Any, k: Any) -> Any:
    """By how much the later slice's total variance exceeds the earlier one's; each (5, rows): a, b, ρ, m, σ."""
    below = total_variance(early[0, i], early[1, i], early[2, i], early[3, i], early[4, i], k)
    return total_variance(late[0, i], late[1, i], late[2, i], late[3, i], late[4, i], k) - below


@kernel
def variances(a: Any, b: Any, rho: Any, m: Any, sigma: Any, k: Any, found: Any) -> None:
    """Total variance of each row."""
    for i in range(found.size):
        w = total_variance(a[i], b[i], rho[i], m[i], sigma[i], k[i])
        found[i] = w if w > 0.0 else 0.0


@kernel
def vols(a: Any, b: Any, rho: Any, m: Any, sigma: Any, k: Any, t: Any, found: Any) -> None:
    """Implied volatility of each row, √(w / t)."""
    for i in range(found.size):
        w = total_variance(a[i], b[i], rho[i], m[i], sigma[i], k[i])
        found[i] = sqrt(w / t[i]) if w > 0.0 else 0.0


@kernel
def least_density(slices: Any, found: Any) -> None:
    """The least g of each slice (5, rows), and its k, in the rows of `found` (2, rows)."""
    for i in range(found.shape[1]):
        a, b, rho, m, sigma = slices[0, i], slices[1, i], slices[2, i], slices[3, i], slices[4, i]
        scale = sigma + abs(m)
        best = 0
        least = 1e300
        for point in range(POINTS):
            z = (2.0 * point + 1.0) / POINTS - 1.0
            value = density_factor(a, b, rho, m, sigma, m + scale * z / (1.0 - z * z))
            best = point if value < least else best
            least = value if value < least else least
        low = (2.0 * best - 1.0) / POINTS - 1.0
        high = (2.0 * best + 3.0) / POINTS - 1.0
        low = low if best > 0 else 1.0 / POINTS - 1.0
        high = high if best < POINTS - 1 else 1.0 - 1.0 / POINTS
        for _ in range(NARROWINGS):
            left = high - GOLDEN * (high - low)
            right = low + GOLDEN * (high - low)
            at_left = density_factor(a, b, rho, m, sigma, m + scale * left / (1.0 - left * left))
            at_right = density_factor(a, b, rho, m, sigma, m + scale * right / (1.0 - right * right))
            high = right if at_left < at_right else high
            low = low if at_left < at_right else left
        z = 0.5 * (low + high)
        k = m + scale * z / (1.0 - z * z)
        value = density_factor(a, b, rho, m, sigma, k)
        z = (2.0 * best + 1.0) / POINTS - 1.0
        found[0, i] = value if value < least else least
        found[1, i] = k if value < least else m + scale * z / (1.0 - z * z)


@kernel
def least_gap(early: Any, late: Any, found: Any) -> None:
    """The least `gap` of each pair of slices, and its k, in the rows of `found` (2, rows)."""
    for i in range(found.shape[1]):
        centre = 0.5 * (early[3, i] + late[3, i])
        scale = early[4, i] + late[4, i] + abs(early[3, i] - late[3, i])
        best = 0
        least = 1e300
        for point in range(POINTS):
            z = (2.0 * point + 1.0) / POINTS - 1.0
            value = gap(early, late, i, centre + scale * z / (1.0 - z * z))
            best = point if value < least else best
            least = value if value < least else least
        low = (2.0 * best - 1.0) / POINTS - 1.0
        high = (2.0 * best + 3.0) / POINTS - 1.0
        low = low if best > 0 else 1.0 / POINTS - 1.0
        high = high if best < POINTS - 1 else 1.0 - 1.0 / POINTS
        for _ in range(NARROWINGS):
            left = high - GOLDEN * (high - low)
            right = low + GOLDEN * (high - low)
            at_left = gap(early, late, i, centre + scale * left / (1.0 - left * left))
            at_right = gap(early, late, i, centre + scale * right / (1.0 - right * right))
            high = right if at_left < at_right else high
            low = low if at_left < at_right else left
        z = 0.5 * (low + high)
        k = centre + scale * z / (1.0 - z * z)
        value = gap(early, late, i, k)
        z = (2.0 * best + 1.0) / POINTS - 1.0
        found[0, i] = value if value < least else least
        found[1, i] = k if value < least else centre + scale * z / (1.0 - z * z)
