"""SVI slices: values, the two checks on slices of known failure, and bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.pricing import svi, svi_kernel
from genesis.errors import Rejected
from tests.contracts.pricing.grid import digest_of

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = "16f8a8d25dd969c51a24f7d989ca5bac"
VOGT = (-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
"""A slice that fits a smile and has a negative density: Gatheral and Jacquier 2014, example 3.1, after Axel Vogt."""
REPAIRED = (-0.0305, 0.1021, 0.1000, 0.2718, 0.4123)
"""What their example 5.1 has in its place, with the same wings and no arbitrage, to four digits."""
CALM = (0.04, 0.4, -0.4, 0.05, 0.1)


def slice_of(values: Any) -> dict[str, Any]:
    return dict(zip(svi.NAMES, values, strict=True))


def g(values: Any, k: Any) -> Any:
    """The density factor by differences of w alone."""
    w, up, down = (svi.total_variance(**slice_of(values), log_moneyness=k + step) for step in (0.0, 1e-4, -1e-4))
    slope, bend = (up - down) / 2e-4, (up - 2 * w + down) / 1e-8
    return (1 - k * slope / (2 * w)) ** 2 - slope**2 / 4 * (1 / w + 0.25) + bend / 2


def test_quotes_are_the_formula() -> None:
    """At k = m the root is σ, so w = a + b σ."""
    assert svi.total_variance(**slice_of(CALM), log_moneyness=0.05)[0] == pytest.approx(0.08, rel=1e-15)
    assert svi.implied_vol(**slice_of(CALM), log_moneyness=0.05, t_years=0.5)[0] == pytest.approx(0.4, rel=1e-15)


@pytest.mark.parametrize("values", [VOGT, REPAIRED, CALM])
def test_the_least_density_is_that_of_a_finer_grid(values: Any) -> None:
    """A grid that steps over the dip calls an arbitrage free."""
    found = svi.butterfly(**slice_of(values))
    k = np.arange(-8.0, 8.0, 1e-4)
    assert found.least[0] <= g(values, k).min() + 1e-5
    assert found.least[0] == pytest.approx(g(values, np.array([found.log_moneyness[0]]))[0], abs=1e-5)


def test_vogts_slice_fails_where_it_is_known_to() -> None:
    """The check's own example: negative between k of 0.6 and 1.2."""
    found = svi.butterfly(**slice_of(VOGT))
    assert not found.free[0]
    assert found.least[0] < -0.01
    assert 0.6 < found.log_moneyness[0] < 1.2
    assert found.slope_excess[0] < 0.0


@pytest.mark.parametrize(("values", "free"), [(CALM, True), ((0.04, 0.1, -0.4, 0.05, 0.3), True), (VOGT, False)])
def test_a_density_integrates_to_one_or_the_slice_is_refused(values: Any, free: bool) -> None:
    """p(k) = g(k) exp(-d₋²/2) / √(2π w), d₋ = -k/√w - √w/2, wherever the slice's wings let mass go nowhere."""
    k = np.arange(-12.0, 12.0, 1e-3)
    w = svi.total_variance(**slice_of(values), log_moneyness=k)
    density = g(values, k) * np.exp(-((k / np.sqrt(w) + np.sqrt(w) / 2) ** 2) / 2) / np.sqrt(2 * np.pi * w)
    assert density.sum() * 1e-3 == pytest.approx(1.0, abs=1e-3)
    assert (density.min() >= -1e-9) == bool(svi.butterfly(**slice_of(values)).free[0]) == free


def test_wings_that_are_too_steep_fail_by_how_much() -> None:
    """Beyond slope 2 a far put costs more than its strike."""
    found = svi.butterfly(**slice_of((0.04, 1.5, -0.5, 0.0, 0.2)))
    assert not found.free[0]
    assert found.slope_excess[0] == pytest.approx(0.25)


def test_a_later_slice_that_crosses_is_found_where_it_does() -> None:
    """Buying the later and selling the earlier option then costs less than nothing."""
    early = slice_of((0.04, 0.1, -0.4, 0.0, 0.2))
    late = slice_of((0.05, 0.1, -0.4, 0.0, 0.05))
    found = svi.calendar(early=early, late=late)
    k = np.arange(-3.0, 3.0, 1e-4)
    exact = svi.total_variance(**late, log_moneyness=k) - svi.total_variance(**early, log_moneyness=k)
    assert not found.free[0]
    assert found.least[0] == pytest.approx(exact.min(), abs=1e-9)
    assert found.log_moneyness[0] == pytest.approx(k[exact.argmin()], abs=1e-3)
    assert svi.calendar(early=early, late=slice_of((0.041, 0.1, -0.4, 0.0, 0.2))).free[0]
    flatter = svi.calendar(early=early, late=slice_of((1e2, 0.09, -0.4, 0.0, 0.2)))
    assert max(flatter.left[0], flatter.right[0]) < 0.0
    assert not flatter.free[0]


def test_a_variance_that_goes_below_zero_is_refused() -> None:
    """Its square root would be no number."""
    with pytest.raises(Rejected, match="least total variance"):
        svi.butterfly(**slice_of((-0.2, 0.1, 0.0, 0.0, 0.1)))


@settings(deadline=None, max_examples=200)
@given(st.floats(-1, 100), st.floats(0, 100), st.floats(-1, 1), st.floats(-50, 50), st.floats(1e-6, 50))
def test_whatever_is_not_refused_gives_numbers(a: float, b: float, rho: float, m: float, sigma: float) -> None:
    """NaN has other bits on other machines."""
    try:
        found = svi.butterfly(**slice_of((a, b, rho, m, sigma)))
    except Rejected:
        return
    quote = svi.implied_vol(**slice_of((a, b, rho, m, sigma)), log_moneyness=[-100.0, m, 100.0], t_years=1e-9)
    assert np.isfinite([*found.least, *found.log_moneyness, *found.slope_excess, *quote]).all()


def test_bits_are_the_same_compiled_and_interpreted() -> None:
    """A smile that differs by a bit marks two nodes' books differently."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.contracts.pricing.test_svi"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert digest() == GOLDEN
    assert shown.split() == ["interpreted", GOLDEN]


def digest() -> str:
    """Of the module's own sample."""
    return digest_of(float(value) for column in svi.sample() for value in column)


if __name__ == "__main__":
    print("compiled" if hasattr(svi_kernel.gap, "py_func") else "interpreted", digest())
