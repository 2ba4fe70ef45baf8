"""The margin run: values as the pricing functions give them, exact sums, the same profits in any parts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from hashlib import blake2s
from pathlib import Path

import numpy as np
import pytest

from contracts.pricing.margin import MarginRun, Portfolio, Risk, Scenarios, merge, risk, sample
from contracts.pricing.monte_carlo import Shard
from contracts.pricing.vanilla import black_scholes_price
from genesis.errors import Rejected

GOLDEN = "ae4a5567ef0c274e573d34a63bccd117"
TICK = 1_000_000
CALM = Scenarios(
    spot=[100.0, 80.0], q=[0.01, 0.0], r=[0.03, 0.02], spot_deviation=[0.0, 0.0], vol_deviation=[0.0, 0.0],
    leverage=[0.0, 0.0], correlation=[[1.0, 0.4], [0.4, 1.0]], horizon_years=0.01, count=10, seed=5,
)  # fmt: skip
STORM = replace(CALM, spot_deviation=[0.05, 0.08], vol_deviation=[0.1, 0.2], leverage=[-0.5, 0.3], count=9_000)
BOOK = Portfolio(
    underlying=np.array([0, 1, 0, 1]), right=[1.0, -1.0, -1.0, 1.0], strike=[100.0, 90.0, 120.0, 60.0],
    t_years=[0.5, 0.005, 2.0, 0.1], vol=[0.2, 0.5, 0.3, 0.0], quantity=np.array([10, -20, 5, 1]), ticks_per_unit=TICK,
)  # fmt: skip


def profits(portfolio: Portfolio, scenarios: Scenarios, parts: int = 1) -> list[int]:
    run = MarginRun(portfolio, scenarios)
    found: list[int] = merge([(each, run.run(each)) for each in reversed(run.shards(parts))]).tolist()
    return found


def revalued(left_years: object) -> np.ndarray:
    """The book's values in ticks, by the pricing function."""
    of = np.asarray(BOOK.underlying)
    market = {name: np.asarray(getattr(CALM, name))[of] for name in ("spot", "q", "r")}
    prices = black_scholes_price(
        right=BOOK.right, strike=BOOK.strike, vol=BOOK.vol, t_years=np.asarray(left_years), **market
    )
    return np.rint(prices * TICK).astype(np.int64)


def test_where_nothing_moves_the_profit_is_what_time_costs() -> None:
    """Values then less values now, as the pricing function has them, to the tick; one option expires on the way."""
    now, then = revalued(BOOK.t_years), revalued(np.maximum(np.asarray(BOOK.t_years) - 0.01, 0.0))
    expected = int(((then - now) * np.asarray(BOOK.quantity)).sum())
    assert profits(BOOK, CALM) == [expected] * 10


def test_the_moves_are_those_that_were_asked_for() -> None:
    """A forward's profit is the move of its spot: deviations, correlation and leverage can be read from it."""
    spots, vols = [], []
    for u in (0, 1):
        forward = replace(
            BOOK,
            underlying=np.array([u]),
            right=[1.0],
            strike=[1e-9],
            t_years=[0.01],
            vol=[0.0],
            quantity=np.array([1]),
        )
        straddle = replace(forward, strike=[np.asarray(CALM.spot)[u]], t_years=[1.01], vol=[0.2])
        still = replace(STORM, q=[0.0, 0.0], r=[0.0, 0.0])
        spots.append(np.log(np.array(profits(forward, still)) / TICK / np.asarray(CALM.spot)[u] + 1.0))
        vols.append(np.array(profits(straddle, replace(still, spot_deviation=[0.0, 0.0]))))
    assert np.std(spots[0]) == pytest.approx(0.05, rel=0.03)
    assert np.std(spots[1]) == pytest.approx(0.08, rel=0.03)
    assert np.corrcoef(spots[0], spots[1])[0, 1] == pytest.approx(0.4, abs=0.04)
    assert np.corrcoef(spots[0], vols[0])[0, 1] == pytest.approx(-0.5, abs=0.04)
    assert np.corrcoef(spots[1], vols[1])[0, 1] == pytest.approx(0.3, abs=0.04)


def test_the_profits_are_the_same_in_any_parts() -> None:
    """A margin call must not depend on how many threads the validator has."""
    assert profits(BOOK, STORM) == profits(BOOK, STORM, 2) == profits(BOOK, STORM, 7)
    assert MarginRun(BOOK, STORM).run(Shard(4_321, 100)).tolist() == profits(BOOK, STORM)[4_321:4_421]


def digest() -> str:
    """Of the module's sample."""
    return blake2s(b"".join(each.tobytes() for each in sample()), digest_size=16).hexdigest()


def test_the_bits_are_golden() -> None:
    """Change this only if you meant to change every margin."""
    assert digest() == GOLDEN


def test_the_interpreted_bits_are_the_compiled_ones() -> None:
    """A compiler that fused two operations would differ here."""
    code = "from tests.contracts.pricing.test_margin import digest; print(digest())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [GOLDEN]


@pytest.mark.parametrize(
    ("found", "tail_ppm", "expected"),
    [
        (range(-5, 95), 50_000, Risk(0, 3)),
        (range(-5, 95), 10_000, Risk(4, 5)),
        (range(-5, 95), 1, Risk(4, 5)),
        ([7], 10_000, Risk(-7, -7)),
        ([-2, -3, 10, 20], 500_000, Risk(-10, 3)),
    ],
)
def test_quantile_and_shortfall_are_of_the_worst_scenarios(found: object, tail_ppm: int, expected: Risk) -> None:
    """By hand: a share of 5 % of a hundred is five; the mean of the tail is rounded against the member."""
    assert risk(np.array(list(found)[::-1], dtype=np.int64), tail_ppm) == expected  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("book", "scenarios", "reason"),
    [
        (replace(BOOK, underlying=np.array([0, 1, 0, 2])), STORM, "underlying must be"),
        (replace(BOOK, underlying=[0.0, 1.0, 0.0, 1.0]), STORM, "underlying must be"),
        (replace(BOOK, quantity=np.array([1, 2])), STORM, "of one length"),
        (replace(BOOK, vol=[0.2, 0.5, float("nan"), 0.0]), STORM, "row 2: vol is nan"),
        (replace(BOOK, strike=[1e10, 90.0, 120.0, 60.0]), STORM, "more ticks than are held"),
        (replace(BOOK, quantity=np.array([2**36, 0, 0, 0])), STORM, "margin_overflow"),
        (BOOK, replace(STORM, spot=[100.0]), "one length"),
        (BOOK, replace(STORM, spot_deviation=[0.1], vol_deviation=[0.1], leverage=[0.0]), "different lengths"),
        (BOOK, replace(STORM, leverage=[1.5, 0.0]), "leverage must be"),
        (BOOK, replace(STORM, spot_deviation=[float("nan"), 0.0]), "spot_deviation must be"),
        (BOOK, replace(STORM, count=0), "Scenarios"),
        (BOOK, replace(STORM, horizon_years=-1.0), "horizon"),
        (BOOK, replace(STORM, correlation=[[1.0, 1.0], [1.0, 1.0]]), "not_positive_definite"),
    ],
)
def test_a_run_is_refused(book: Portfolio, scenarios: Scenarios, reason: str) -> None:
    """What is out of range would wrap around, and a loss would look like a profit."""
    with pytest.raises(Rejected, match=reason):
        MarginRun(book, scenarios)


def test_parts_that_are_not_all_scenarios_are_refused() -> None:
    """A missing part is a missing loss."""
    run = MarginRun(BOOK, STORM)
    parts = [(each, run.run(each)) for each in run.shards(3)]
    for wrong in (parts[1:], [parts[0], parts[2]], [*parts, parts[0]]):
        with pytest.raises(Rejected, match="shards_incomplete"):
            merge(wrong)
    with pytest.raises(Rejected, match="no such scenarios"):
        run.run(Shard(8_999, 2))
