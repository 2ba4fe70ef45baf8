"""What an exotic option costs: price, and price with five greeks, on one thread, in microseconds of processor time.

Rows differ in strike and volatility; each figure is the best of five runs over the whole array, the compilation left
out. Processor time, so that a busy machine counts for less.
Run: ``.venv/bin/python -m benchmarks.bench_pricing_exotic``.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from contracts.pricing import asian, barrier, double_barrier, lookback

MARKET: dict[str, Any] = {"right": 1.0, "spot": 100.0, "q": 0.02, "r": 0.05, "t_years": 1.0}
DOWN_OUT = {"barrier": 80.0, "direction": -1.0, "knock": -1.0}
CORRIDOR = {"barrier": 70.0, "barrier_high": 140.0, "knock": -1.0, "rebate": 0.0}
MONTHLY = {"fixings": 12.0, "first_fixing_years": 1 / 12, "average_so_far": 0.0}
DAILY = {"fixings": 250.0, "first_fixing_years": 1 / 250, "average_so_far": 0.0}
ENDLESS = {"fixings": 0.0, "first_fixing_years": 0.0, "average_so_far": 0.0}
ARITHMETIC = asian.asian_arithmetic_price, asian.asian_arithmetic_greeks
GEOMETRIC = asian.asian_geometric_price, asian.asian_geometric_greeks
DOUBLE = double_barrier.double_barrier_price, double_barrier.double_barrier_greeks
SINGLE = barrier.barrier_price, barrier.barrier_greeks
FLOATING = lookback.lookback_floating_price, lookback.lookback_floating_greeks
FIXED = lookback.lookback_fixed_price, lookback.lookback_fixed_greeks

ROWS: tuple[tuple[str, int, tuple[Callable[..., Any], Callable[..., Any]], dict[str, Any], float], ...] = (
    ("barrier, down and out", 20_000, SINGLE, {**DOWN_OUT, "rebate": 0.0}, 0.25),
    ("barrier, down and out, rebate", 20_000, SINGLE, {**DOWN_OUT, "rebate": 3.0}, 0.25),
    ("double barrier, out, images", 20_000, DOUBLE, CORRIDOR, 0.15),
    ("double barrier, out, eigenfunctions", 20_000, DOUBLE, CORRIDOR, 0.5),
    ("lookback, floating", 20_000, FLOATING, {"extremum_so_far": 90.0}, 0.25),
    ("lookback, fixed", 20_000, FIXED, {"extremum_so_far": 0.0}, 0.25),
    ("asian, geometric, 12 fixings", 20_000, GEOMETRIC, MONTHLY, 0.25),
    ("asian, arithmetic, 12 fixings", 200, ARITHMETIC, MONTHLY, 0.25),
    ("asian, arithmetic, 250 fixings", 200, ARITHMETIC, DAILY, 0.25),
    ("asian, arithmetic, continuous", 200, ARITHMETIC, ENDLESS, 0.25),
)


def microseconds(function: Callable[..., Any], columns: dict[str, Any], rows: int) -> float:
    """The least processor time of a row over five runs, after one that compiles."""
    taken = []
    for _ in range(6):
        begun = time.process_time()
        function(**columns)
        taken.append(time.process_time() - begun)
    return min(taken[1:]) / rows * 1e6


def main() -> None:
    """Print a row a model, then the machine."""
    print(f"{'us an option':36} {'price':>10} {'with greeks':>12}")
    for name, rows, (price, greeks), terms, vol in ROWS:
        columns = {
            **MARKET,
            **terms,
            "strike": np.linspace(80.0, 120.0, rows),
            "vol": np.linspace(vol, vol + 0.05, rows),
        }
        found = [microseconds(function, columns, rows) for function in (price, greeks)]
        print(f"{name:36} {found[0]:10.3f} {found[1]:12.3f}")
    print(json.dumps({"machine": platform.processor() or platform.machine(), "numba": numba.__version__}))


if __name__ == "__main__":
    main()
