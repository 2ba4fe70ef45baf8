"""Prices, greeks and implied volatilities, against QuantLib, py_vollib, and NumPy with SciPy, in one run.

    make bench-pricing

Ours and NumPy's take a million options in one call (SciPy's root finder a hundredth); QuantLib and py_vollib take one
option a call, through their fastest function for it, with arguments that are Python numbers already. "kernel" is the
compiled loop over columns that have been checked, into arrays that exist; "function" is what users call, with the check
of every column and new arrays for the results. "cached" is the kernel over the first 8,192 options, 1,000 short calls:
they stay in the processor's second cache, so that what is computed counts and not how fast memory delivers a million.
Exits with 1 if one of ours is behind a peer.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import Contest, Entry, hold, print_machine
from contracts.pricing import implied_volatility_kernel, vanilla, vanilla_kernel
from contracts.pricing.implied_volatility import black_scholes_implied_volatility

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import QuantLib as ql  # noqa: N813
    from py_vollib.black_scholes_merton import black_scholes_merton
    from py_vollib.black_scholes_merton.greeks import analytical
    from py_vollib.black_scholes_merton.implied_volatility import implied_volatility
    from scipy.optimize import newton
    from scipy.special import ndtr

ROWS = 1_000_000
SOME = 10_000
CACHED = 8_192
CALLS = 1_000
"""Of the cached rows."""
FEW = 1_000
"""Of the peers that take one option a call."""
SEED = 7
Rows = Mapping[str, NDArray[np.float64]]


def options() -> dict[str, NDArray[np.float64]]:
    """Ordinary options: a week to two years, 10 to 90 %, within two deviations of the money."""
    random = np.random.default_rng(SEED)
    t_years, vol = random.uniform(0.02, 2.0, ROWS), random.uniform(0.1, 0.9, ROWS)
    spot = random.uniform(50.0, 150.0, ROWS)
    return {
        "right": np.where(random.random(ROWS) < 0.5, 1.0, -1.0),
        "spot": spot,
        "strike": spot * np.exp(random.uniform(-2.0, 2.0, ROWS) * vol * np.sqrt(t_years)),
        "q": random.uniform(0.0, 0.04, ROWS),
        "r": random.uniform(0.0, 0.06, ROWS),
        "t_years": t_years,
        "vol": vol,
    }


def numpy_price(rows: Rows, vol: NDArray[np.float64]) -> NDArray[np.float64]:
    """As most people write it."""
    w, s, k, q, r, t = (rows[name] for name in ("right", "spot", "strike", "q", "r", "t_years"))
    deviation = vol * np.sqrt(t)
    d1 = (np.log(s / k) + (r - q) * t) / deviation + 0.5 * deviation
    return w * (s * np.exp(-q * t) * ndtr(w * d1) - k * np.exp(-r * t) * ndtr(w * (d1 - deviation)))


def numpy_greeks(rows: Rows) -> tuple[NDArray[np.float64], ...]:
    """Price and five greeks, what they share computed once."""
    w, s, k, q, r, t, vol = (rows[name] for name in ("right", "spot", "strike", "q", "r", "t_years", "vol"))
    root = np.sqrt(t)
    deviation = vol * root
    d1 = (np.log(s / k) + (r - q) * t) / deviation + 0.5 * deviation
    carry, discount = np.exp(-q * t), np.exp(-r * t)
    asset, cash = s * carry * ndtr(w * d1), k * discount * ndtr(w * (d1 - deviation))
    density = s * carry * np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi)
    theta = w * (q * asset - r * cash) - 0.5 * density * vol / root
    return w * (asset - cash), w * asset / s, density / (s * s * deviation), density * root, theta, w * t * cash


def numpy_implied(rows: Rows, price: NDArray[np.float64]) -> NDArray[np.float64]:
    """SciPy's own vectorised root finder, with vega, from where the price bends."""
    moneyness = np.log(rows["spot"] / rows["strike"]) + (rows["r"] - rows["q"]) * rows["t_years"]
    guess = np.sqrt(2.0 * np.abs(moneyness) / rows["t_years"]) + 0.05
    found = newton(
        lambda vol: numpy_price(rows, vol) - price, guess, fprime=lambda vol: numpy_greeks({**rows, "vol": vol})[3]
    )
    return np.asarray(found)


def one_by_one(rows: Rows, function: Callable[..., object], *columns: list[object]) -> Entry:
    """An entry that calls `function` for each of the first `FEW` rows."""
    arguments = list(zip(*columns, strict=True))
    return Entry(lambda: [function(*each) for each in arguments], len(arguments))


def cached(rows: Rows, run: Callable[[Rows], object]) -> Entry:
    """An entry that calls `run` with the first `CACHED` rows."""
    some = {name: column[:CACHED].copy() for name, column in rows.items()}
    return Entry(lambda: run(some), CACHED)


def price_contests(rows: Rows) -> Iterator[Contest]:
    """A price alone: the kernel, then the function."""
    out = np.empty(ROWS)
    peers = {**scalar_prices(rows), "NumPy + SciPy": Entry(lambda: numpy_price(rows, rows["vol"]), ROWS)}
    kernel = Entry(lambda: vanilla_kernel.black_scholes_prices(*rows.values(), out), ROWS)
    yield Contest("price, kernel", kernel, peers, 15.0)
    few = np.empty(CACHED)
    small = cached(rows, lambda some: vanilla_kernel.black_scholes_prices(*some.values(), few))
    others = {"NumPy + SciPy": cached(rows, lambda some: numpy_price(some, some["vol"]))}
    yield Contest("price, cached", small, others, rounds=CALLS)
    yield Contest("price, function", Entry(lambda: vanilla.black_scholes_price(**rows), ROWS), peers)


def scalar_prices(rows: Rows) -> dict[str, Entry]:
    """The peers that price one option a call; QuantLib is given forward, deviation and discount for nothing."""
    few = {name: column[:FEW] for name, column in rows.items()}
    kinds = [ql.Option.Call if each > 0 else ql.Option.Put for each in few["right"]]
    flags = ["c" if each > 0 else "p" for each in few["right"]]
    forward = few["spot"] * np.exp((few["r"] - few["q"]) * few["t_years"])
    deviation, discount = few["vol"] * np.sqrt(few["t_years"]), np.exp(-few["r"] * few["t_years"])
    order = [few[name].tolist() for name in ("spot", "strike", "t_years", "r", "vol", "q")]
    black = (kinds, few["strike"].tolist(), forward.tolist(), deviation.tolist(), discount.tolist())
    return {
        "QuantLib blackFormula": one_by_one(few, ql.blackFormula, *black),
        "py_vollib": one_by_one(few, black_scholes_merton, flags, *order),
    }


def greek_contests(rows: Rows) -> Iterator[Contest]:
    """Price, delta, gamma, vega, theta and rho."""
    outs = [np.empty(ROWS) for _ in range(6)]
    few = {name: column[:FEW] for name, column in rows.items()}
    forward = (few["spot"] * np.exp((few["r"] - few["q"]) * few["t_years"])).tolist()
    deviation = (few["vol"] * np.sqrt(few["t_years"])).tolist()
    discount = np.exp(-few["r"] * few["t_years"]).tolist()
    payoffs = [
        ql.PlainVanillaPayoff(ql.Option.Call if right > 0 else ql.Option.Put, strike)
        for right, strike in zip(few["right"].tolist(), few["strike"].tolist(), strict=True)
    ]
    flags = ["c" if each > 0 else "p" for each in few["right"]]
    order = [few[name].tolist() for name in ("spot", "strike", "t_years", "r", "vol", "q")]
    spot, t_years = order[0], order[2]
    peers = {
        "QuantLib BlackCalculator": one_by_one(few, ql_greeks, payoffs, forward, deviation, discount, spot, t_years),
        "py_vollib": one_by_one(few, vollib_greeks, flags, *order),
        "NumPy + SciPy": Entry(lambda: numpy_greeks(rows), ROWS),
    }
    kernel = Entry(lambda: vanilla_kernel.black_scholes_greeks(*rows.values(), *outs), ROWS)
    yield Contest("price and five greeks, kernel", kernel, peers, 18.0)
    smaller = [np.empty(CACHED) for _ in range(6)]
    small = cached(rows, lambda some: vanilla_kernel.black_scholes_greeks(*some.values(), *smaller))
    others = {"NumPy + SciPy": cached(rows, numpy_greeks)}
    yield Contest("price and five greeks, cached", small, others, rounds=CALLS)
    yield Contest("price and five greeks, function", Entry(lambda: vanilla.black_scholes_greeks(**rows), ROWS), peers)


def ql_greeks(payoff: object, forward: float, deviation: float, discount: float, spot: float, t: float) -> object:
    """QuantLib's own calculator for all six."""
    made = ql.BlackCalculator(payoff, forward, deviation, discount)
    return made.value(), made.delta(spot), made.gamma(spot), made.vega(t), made.theta(spot, t), made.rho(t)


def vollib_greeks(*given: object) -> object:
    """py_vollib has one function a greek."""
    functions = (analytical.delta, analytical.gamma, analytical.vega, analytical.theta, analytical.rho)
    return black_scholes_merton(*given), *(function(*given) for function in functions)


def implied_contests(rows: Rows) -> Iterator[Contest]:
    """The volatility of the price that the rows have."""
    price = vanilla.black_scholes_price(**rows)
    given = {name: column for name, column in rows.items() if name != "vol"} | {"price": price}
    moneyness, time_value, lesser, rounding, vol = (np.empty(ROWS) for _ in range(5))

    def kernels() -> None:
        implied_volatility_kernel.black_scholes_parts(*given.values(), moneyness, time_value, lesser, rounding)
        implied_volatility_kernel.implied_vols(moneyness, time_value, lesser, given["t_years"], vol)

    few = {name: column[:FEW] for name, column in given.items()}
    some = {name: column[:SOME] for name, column in rows.items()}
    forward = few["spot"] * np.exp((few["r"] - few["q"]) * few["t_years"])
    discount = np.exp(-few["r"] * few["t_years"])
    kinds = [ql.Option.Call if each > 0 else ql.Option.Put for each in few["right"]]
    black = (kinds, few["strike"].tolist(), forward.tolist(), few["price"].tolist(), discount.tolist())
    flags = ["c" if each > 0 else "p" for each in few["right"]]
    order = [few[name].tolist() for name in ("price", "spot", "strike", "t_years", "r", "q")]
    peers = {
        "QuantLib LiRS": one_by_one(few, ql.blackFormulaImpliedStdDevLiRS, *black),
        "py_vollib (Jäckel)": one_by_one(few, implied_volatility, *order, flags),
        "NumPy + SciPy newton": Entry(lambda: numpy_implied(some, price[:SOME]), SOME),
    }
    yield Contest("implied volatility, kernel", Entry(kernels, ROWS), peers, 150.0)
    function = Entry(lambda: black_scholes_implied_volatility(**given), ROWS)
    yield Contest("implied volatility, function", function, peers)


def main() -> int:
    """Run every contest; another model's are one more line here."""
    print_machine(["numpy", "numba", "scipy", "QuantLib", "py_vollib"])
    rows = options()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ahead = hold([*price_contests(rows), *greek_contests(rows), *implied_contests(rows)])
    print("Ahead of every peer." if ahead else "Behind a peer: see above.")
    return 0 if ahead else 1


if __name__ == "__main__":
    sys.exit(main())
