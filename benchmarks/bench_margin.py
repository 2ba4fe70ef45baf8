"""The margin run: 1,000 options over 10,000 scenarios, fully revalued on one thread; and Monte Carlo a normal.

Run: ``.venv/bin/python -m benchmarks.bench_margin``. The best and the median of 15 runs, scenarios and setting up
included. NumPy with the same formulas and SciPy's normal cdf is measured beside it where SciPy is installed.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from statistics import median

import numpy as np

from contracts.pricing.margin import MarginRun, Portfolio, Scenarios, merge, risk
from contracts.pricing.monte_carlo import PHILOX, SOBOL, Job, Market, run, shards_of
from contracts.pricing.payoffs import Asian

OPTIONS, SCENARIOS, UNDERLYINGS, RUNS = 1_000, 10_000, 8, 15


def portfolio_and_scenarios() -> tuple[Portfolio, Scenarios]:
    """Options on eight underlyings, two weeks to two years, within 30 % of the money."""
    rows = np.arange(OPTIONS)
    spots = np.linspace(50.0, 400.0, UNDERLYINGS)
    portfolio = Portfolio(
        underlying=rows % UNDERLYINGS, right=np.where(rows % 2, 1.0, -1.0),
        strike=spots[rows % UNDERLYINGS] * (0.7 + 0.6 * (rows * 37 % OPTIONS) / OPTIONS),
        t_years=0.04 + 2.0 * (rows * 91 % OPTIONS) / OPTIONS, vol=0.1 + 0.7 * (rows * 53 % OPTIONS) / OPTIONS,
        quantity=rows % 201 - 100, ticks_per_unit=1_000_000,
    )  # fmt: skip
    correlation = np.full((UNDERLYINGS, UNDERLYINGS), 0.5) + 0.5 * np.eye(UNDERLYINGS)
    scenarios = Scenarios(
        spot=spots, q=np.full(UNDERLYINGS, 0.01), r=np.full(UNDERLYINGS, 0.03),
        spot_deviation=np.full(UNDERLYINGS, 0.02),
        vol_deviation=np.full(UNDERLYINGS, 0.1), leverage=np.full(UNDERLYINGS, -0.5), correlation=correlation,
        horizon_years=2 / 365, count=SCENARIOS, seed=1,
    )  # fmt: skip
    return portfolio, scenarios


def margin() -> None:
    """One run, from the portfolio to the expected shortfall."""
    job = MarginRun(*portfolio_and_scenarios())
    risk(merge([(each, job.run(each)) for each in job.shards(1)]), 10_000)


def margin_by_numpy() -> None:
    """The same revaluation with NumPy's ufuncs and SciPy's cdf, one option at a time over all scenarios."""
    ndtr = import_module("scipy.special").ndtr
    portfolio, scenarios = portfolio_and_scenarios()
    draws = np.random.default_rng(1).normal(size=(2 * UNDERLYINGS, SCENARIOS))
    profits = np.zeros(SCENARIOS, dtype=np.int64)
    spots, right, strike = np.asarray(scenarios.spot), np.asarray(portfolio.right), np.asarray(portfolio.strike)
    t_years, vol, quantity = np.asarray(portfolio.t_years), np.asarray(portfolio.vol), np.asarray(portfolio.quantity)
    for k, u in enumerate(np.asarray(portfolio.underlying)):
        spot = spots[u] * np.exp(0.02 * draws[u])
        s = vol[k] * np.exp(0.1 * draws[UNDERLYINGS + u]) * np.sqrt(t_years[k])
        d1 = (np.log(spot / strike[k]) + 0.02 * t_years[k]) / s + 0.5 * s
        asset = spot * np.exp(-0.01 * t_years[k]) * ndtr(right[k] * d1)
        cash = strike[k] * np.exp(-0.03 * t_years[k]) * ndtr(right[k] * (d1 - s))
        profits += np.rint(right[k] * (asset - cash) * 1e6).astype(np.int64) * quantity[k]


def paths(sampler: str) -> Callable[[], None]:
    """An arithmetic Asian over 32 times."""
    market = Market((100.0,), (0.0,), (0.2,), 0.05)
    job = Job(market, tuple(n / 32 for n in range(1, 33)), Asian(1, 100_000_000), 1 << 15, 1, sampler=sampler)

    def simulate() -> None:
        for each in shards_of(job):
            run(job, each)

    return simulate


def report(name: str, work: Callable[[], None], units: int) -> None:
    """One line: the best and the median run, and what a unit costs in the best."""
    work()
    spans = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        spans.append(time.perf_counter() - start)
    best = min(spans)
    print(
        f"{name:44} best {best * 1e3:8.1f} ms  median {median(spans) * 1e3:8.1f} ms  {best / units * 1e9:6.1f} ns each"
    )


def main() -> None:
    """Print a line for each."""
    report("margin, 1,000 options x 10,000 scenarios", margin, OPTIONS * SCENARIOS)
    if find_spec("scipy"):
        report("the same, NumPy and SciPy", margin_by_numpy, OPTIONS * SCENARIOS)
    report("Asian, 32 times, Philox: a normal", paths(PHILOX), 32 << 15)
    report("Asian, 32 times, Sobol: a normal", paths(SOBOL), 32 << 15)
    print(platform.processor() or platform.machine(), "Python", platform.python_version(), "NumPy", np.__version__)


if __name__ == "__main__":
    main()
