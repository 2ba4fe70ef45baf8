"""American options: time and error of the boundary iteration, of the tree, and of QuantLib's engines if installed.

The grid is that of the stated accuracy: r and q from 0 to 0.1, vol from 0.1 to 0.6, a month to 3 years, spots of 80 to
120 percent of the strike, calls and puts. Errors are in money at a strike of 100, against two trees of 2,001 and 4,001
steps on every 40th row, and against QuantLib's engine of high precision where it is installed. Times are medians of
runs over all rows, by the processor's clock of this process, on one thread. QuantLib's include what its Python
interface needs for a price: an option and four quotes a row. Its dates are whole days, as are the maturities here.

Run: ``.venv/bin/python -m benchmarks.bench_american``. For the peers, QuantLib must be importable, as from another
virtual environment by PYTHONPATH.
"""

from __future__ import annotations

import platform
from importlib import import_module, metadata
from itertools import product
from statistics import median
from time import process_time_ns
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contracts.pricing import american, leisen_reimer

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS: Final = 5
NAMES: Final = ("right", "spot", "q", "r", "days", "vol")
GRID: Final = (
    (1.0, -1.0), (80.0, 90.0, 100.0, 110.0, 120.0), (0.0, 0.02, 0.05, 0.1), (0.0, 0.02, 0.05, 0.1),
    (30.0, 91.0, 182.0, 365.0, 730.0, 1095.0), (0.1, 0.2, 0.4, 0.6),
)  # fmt: skip


def rows() -> dict[str, Any]:
    """The grid's rows but those that are never exercised early, which are European and cost next to nothing."""
    columns = dict(zip(NAMES, np.array(list(product(*GRID))).T, strict=True))
    carry = np.where(columns["right"] > 0.0, columns["q"], columns["r"])
    kept = {name: column[carry > 0.0] for name, column in columns.items()}
    t_years = kept.pop("days") / 365.0
    return {**kept, "strike": 100.0, "t_years": t_years}


def timed(run: Callable[[], Any], count: int, runs: int = RUNS) -> tuple[Any, float]:
    """The last result, and the median time of a row in microseconds; the first run is not counted."""
    found, times = run(), []
    for _ in range(runs):
        begin = process_time_ns()
        found = run()
        times.append((process_time_ns() - begin) / count / 1e3)
    return found, median(times)


def quantlib_engines(ql: Any) -> dict[str, Callable[[Any], Any]]:
    """QuantLib's ways to an American price, by the name that a row of the table has."""
    schemes = ql.QdFpAmericanEngine
    return {
        "QuantLib QdFp high precision": lambda p: schemes(p, schemes.highPrecisionScheme()),
        "QuantLib QdFp accurate": lambda p: schemes(p, schemes.accurateScheme()),
        "QuantLib QdFp fast": lambda p: schemes(p, schemes.fastScheme()),
        "QuantLib QdPlus": lambda p: ql.QdPlusAmericanEngine(p),
    }


def quantlib_prices(ql: Any, engine_of: Callable[[Any], Any], grid: dict[str, Any]) -> Any:
    """Every row by one engine, whose market moves from row to row; options are made once a row, as a caller must."""
    today = ql.Date(1, 1, 2025)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    spot, q, r, vol = (ql.SimpleQuote(value) for value in (100.0, 0.01, 0.01, 0.2))
    handle = ql.QuoteHandle
    curves = [ql.YieldTermStructureHandle(ql.FlatForward(today, handle(rate), count)) for rate in (q, r)]
    smile = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), handle(vol), count))
    engine = engine_of(ql.BlackScholesMertonProcess(handle(spot), *curves, smile))
    found = []
    for row in zip(*(grid[name] for name in ("right", "spot", "q", "r", "t_years", "vol")), strict=True):
        right, *market, years, deviation = (float(value) for value in row)
        for quote, value in zip((spot, q, r, vol), (*market, deviation), strict=True):
            quote.setValue(value)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if right > 0.0 else ql.Option.Put, 100.0)
        option = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + round(years * 365)))
        option.setPricingEngine(engine)
        found.append(option.NPV())
    return np.array(found)


def show(name: str, microseconds: float, ours: float, error: Any) -> None:
    """One line of the table."""
    ratio = f"{microseconds / ours:>7.1f}"
    print(f"{name:<34} {microseconds:>9.1f} {ratio} {np.abs(error).max():>9.1e} {np.abs(error).mean():>9.1e}")


def main() -> None:
    """Print machine, versions and the table."""
    grid = rows()
    count = grid["right"].size
    every = {name: column[::40] if isinstance(column, np.ndarray) else column for name, column in grid.items()}
    low, high = (leisen_reimer.price(**every, steps=steps) for steps in (2001, 4001))
    trees = high + (high - low) * 2001 / 2000
    found, ours = timed(lambda: american.price(**grid), count)
    _, greeks_us = timed(lambda: american.greeks(**grid), count, 1)
    coarse, tree_us = timed(lambda: leisen_reimer.price(**every), trees.size)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numba", "numpy"))
    print(f"{platform.machine()}, {processor()}; Python {platform.python_version()}, {versions}; {count} rows")
    print(f"{'':<34} {'us/price':>9} {'ratio':>7} {'max err':>9} {'mean err':>9}")
    show("boundary, against trees", ours, ours, found[::40] - trees)
    show("  with five greeks", greeks_us, ours, found[::40] - trees)
    show("tree of 1,001 steps", tree_us, ours, coarse - trees)
    try:
        ql = import_module("QuantLib")
    except ImportError:
        print("QuantLib is not installed: no peers")
        return
    engines = quantlib_engines(ql)
    exact = quantlib_prices(ql, engines.pop("QuantLib QdFp high precision"), grid)
    print(f"QuantLib {ql.__version__}; from here on errors are against its engine of high precision")
    show("boundary", ours, ours, found - exact)
    for name, engine in engines.items():
        theirs, microseconds = timed(lambda engine=engine: quantlib_prices(ql, engine, grid), count, 1)
        show(name, microseconds, ours, theirs - exact)


def processor() -> str:
    """The processor's name as Linux gives it."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
