"""The kernel's functions against exact values, and their bits, compiled and interpreted."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path
from random import Random

import pytest

from contracts.pricing import kernel
from tests.contracts.pricing.exact import normal_density, normal_tail
from tests.contracts.pricing.grid import GOLDEN, digests

ROOT = Path(__file__).resolve().parents[3]


def error_ulp(found: float, exact: Decimal) -> float:
    """How far `found` is from the exact value, in units in the last place."""
    return float(abs(Decimal(found) - exact) / Decimal(math.ulp(found)))


def sample(seed: int, count: int, low: float, high: float) -> list[float]:
    random = Random(seed)
    return [random.uniform(low, high) for _ in range(count)]


def test_exp_is_within_one_ulp() -> None:
    """Every discount factor is one."""
    with localcontext(prec=40):
        points = [*sample(1, 2000, -707.9, 709.0), *sample(2, 2000, -1.0, 1.0), -708.0, 709.0, 1e-300, -1e-17]
        assert max(error_ulp(kernel.exp(x), Decimal(x).exp()) for x in points) <= 1.0


def test_log_is_within_one_ulp() -> None:
    """Moneyness is one; near 1 its relative error is what an at-the-money price lives on."""
    with localcontext(prec=40):
        points = [math.ldexp(x, n) for n, x in enumerate(sample(3, 1900, 0.5, 1.0), -960)]
        points += [*sample(4, 2000, 0.6, 1.6), 1.0 + 2**-52, 1.0 - 2**-53, sys.float_info.min, sys.float_info.max]
        assert max(error_ulp(kernel.log(x), Decimal(x).ln()) for x in points) <= 1.0


def test_log_ratio_is_within_three_ulp() -> None:
    """Every model's moneyness is one, and a spot a hair from the strike is where most options trade."""
    random = Random(13)
    pairs = [(math.exp(random.uniform(-27.0, 27.0)), math.exp(random.uniform(-27.0, 27.0))) for _ in range(1000)]
    pairs += [(b * random.uniform(0.4, 2.5), b) for _, b in pairs]
    pairs += [(b * (1.0 + random.uniform(-1.0, 1.0) * 2.0 ** -(n % 52)), b) for n, (_, b) in enumerate(pairs)]
    pairs += [(1e150, 1e-150), (1e-150, 1e150), (3.0, 2.0), (2.0, 3.0), (math.nextafter(1.0, 2.0), 1.0)]
    with localcontext(prec=40):
        different = [(a, b) for a, b in pairs if a != b]
        errors = [error_ulp(kernel.log_ratio(a, b), (Decimal(a) / Decimal(b)).ln()) for a, b in different]
    assert max(errors) <= 3.0
    assert all(kernel.log_ratio(b, b) == 0.0 for _, b in pairs)


def test_normal_cdf_is_exact_to_its_stated_error() -> None:
    """Prices far out of the money are differences of tails: the relative error counts there."""
    points = [*sample(5, 60, 0.0, 4.0), *sample(6, 30, 4.0, 37.0), 0.0, 37.0]
    tails = {a: normal_tail(a) for a in points}
    with localcontext(prec=400):
        assert max(abs(Decimal(kernel.normal_cdf(-a)) / tails[a] - 1) for a in points) < Decimal("2e-13")
        assert max(abs(Decimal(kernel.normal_cdf(a)) - 1 + tails[a]) for a in points) < Decimal("2.3e-16")


def test_mills_ratio_is_exact_to_its_stated_error() -> None:
    """It carries all of the tail's accuracy but the exponential's."""
    points = [*sample(7, 40, 0.0, 8.0), *sample(8, 20, 8.0, 36.9), 37.0]
    with localcontext(prec=400):
        exact = {a: normal_tail(a) * (Decimal(a) * Decimal(a) / 2).exp() for a in points}
        assert max(abs(Decimal(kernel.mills_ratio(a)) / exact[a] - 1) for a in points) < Decimal("1e-15")


def test_inverse_normal_cdf_is_exact_to_its_stated_error() -> None:
    """A quantile off by more would shift every simulated path."""
    points = [*sample(9, 30, 1e-6, 0.5), *[10.0**-n for n in range(6, 290, 12)], 0.075, 0.4999999]
    with localcontext(prec=400):
        for p in points:
            x = kernel.inverse_normal_cdf(p)
            newton = (normal_tail(-x) - Decimal(p)) / normal_density(x)
            assert abs(newton / Decimal(x)) < Decimal("2e-15"), p


def test_the_cdf_is_symmetric_and_ordered() -> None:
    """A put is priced from the other tail of its call; a cdf that falls makes a digital worth less than nothing."""
    points = [n / 512 for n in range(-38 * 512, 8 * 512)]
    values = [kernel.normal_cdf(x) for x in points]
    assert values == sorted(values)
    assert values[0] == 0.0
    assert all(kernel.normal_cdf(x) == 1.0 - kernel.normal_cdf(-x) for x in points if x > 0.0)


def test_the_cdf_rises_through_exactly_one_half() -> None:
    """At the money a call and a put of no rates are worth the same, to the bit, and neither jumps where they meet."""
    values = [kernel.normal_cdf(math.ldexp(n, -51)) for n in range(-5000, 5001)]
    assert values == sorted(values)
    assert (kernel.normal_cdf(0.0), kernel.normal_cdf(-0.0), kernel.mills_ratio(0.0)) == (0.5, 0.5, 0.5)


def test_the_density_is_exact_to_its_stated_error() -> None:
    """Gamma and vega are one."""
    points = [*sample(11, 60, -6.0, 6.0), *sample(12, 30, 6.0, 37.6), 0.0, -37.6]
    with localcontext(prec=400):
        assert max(abs(Decimal(kernel.normal_density(x)) / normal_density(x) - 1) for x in points) < Decimal("2e-13")
    assert kernel.normal_density(-38.0) == kernel.normal_density(1e150) == 0.0


def test_exp_log_and_quantile_are_ordered() -> None:
    """Solvers and bisections rest on it."""
    exponentials = [kernel.exp(n / 64) for n in range(-45000, 45000)]
    logarithms = [kernel.log(n / 4096) for n in range(1, 60000)]
    quantiles = [kernel.inverse_normal_cdf(n / 65536) for n in range(1, 65536)]
    for values in (exponentials, logarithms, quantiles):
        assert values == sorted(values)
    assert all(quantiles[n] == -quantiles[-1 - n] for n in range(len(quantiles)))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (kernel.exp(0.0), 1.0),
        (kernel.exp(-708.1), 0.0),
        (kernel.exp(-1e300), 0.0),
        (kernel.exp(1e300), kernel.exp(709.0)),
        (kernel.log(1.0), 0.0),
        (kernel.inverse_normal_cdf(0.5), 0.0),
    ],
)
def test_the_ends_are_as_stated(found: float, expected: float) -> None:
    """The functions above them are written for these values."""
    assert found == expected


def test_the_compiled_bits_are_golden() -> None:
    """Change a digest only if you meant to change prices: validators before and after it fork."""
    assert digests() == GOLDEN


def test_the_interpreted_bits_are_the_compiled_ones() -> None:
    """The interpreter rounds every operation by itself: a compiler that fused two of them would differ here."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.contracts.pricing.grid"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["interpreted", *(f"{name} {value}" for name, value in GOLDEN.items())]
