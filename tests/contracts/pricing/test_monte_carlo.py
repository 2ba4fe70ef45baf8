"""Monte Carlo against closed forms, and the same bits however it is divided."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s
from itertools import pairwise
from math import erf, exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from contracts.pricing.monte_carlo import (
    PHILOX,
    SOBOL,
    Estimate,
    Job,
    Market,
    Shard,
    ShardResult,
    Tally,
    merge,
    recheck,
    run,
    sample,
    shards_of,
)
from contracts.pricing.payoffs import Asian, Barrier, Basket, Lookback, Payoff, Ticks, Vanilla
from genesis.errors import Rejected

ONE = Market((100.0,), (0.01,), (0.25,), 0.04)
TWO = Market((100.0, 90.0), (0.01, 0.02), (0.25, 0.4), 0.04, ((1.0, 0.6), (0.6, 1.0)))
MONTHS = tuple(n / 12 for n in range(1, 13))
TICK = 1_000_000
GOLDEN = "5d6050cdd918c347aefcc013efd62d6b"


def job_of(
    payoff: Payoff, market: Market = ONE, times: Sequence[float] = MONTHS, paths: int = 65_536, **more: object
) -> Job:
    return replace(Job(market, tuple(times), payoff, paths, 11), **more)  # type: ignore[arg-type]


def estimate(job: Job, count: int | None = None) -> Estimate:
    """The job's value from `count` shards of unequal size, handed over in reverse."""
    if count is None:
        return merge(job, [run(job, each) for each in shards_of(job)])
    cuts = [0, *(job.paths * n // count + 13 * n for n in range(1, count)), job.paths]
    shards = [Shard(a, b - a) for a, b in pairwise(cuts)]
    return merge(job, [run(job, each) for each in reversed(shards)])


def cdf(x: float) -> float:
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


def black(forward: float, strike: float, deviation: float, discount: float) -> float:
    """Black's call."""
    d1 = log(forward / strike) / deviation + 0.5 * deviation
    return discount * (forward * cdf(d1) - strike * cdf(d1 - deviation))


def geometric_asian(strike: float) -> float:
    """Exact: the logarithm of a geometric mean of lognormal prices is normal."""
    n = len(MONTHS)
    mean = log(100.0) + (0.04 - 0.01 - 0.5 * 0.25**2) * sum(MONTHS) / n
    variance = 0.25**2 * sum(min(a, b) for a in MONTHS for b in MONTHS) / n**2
    return black(exp(mean + 0.5 * variance), strike, sqrt(variance), exp(-0.04))


VANILLA = black(100.0 * exp(0.03), 105.0, 0.25, exp(-0.04))
EXCHANGE_DEVIATION = sqrt(0.25**2 + 0.4**2 - 2 * 0.6 * 0.25 * 0.4)
EXCHANGE = black(100.0 * exp(-0.01), 90.0 * exp(-0.02), EXCHANGE_DEVIATION, 1.0)
CLOSED: list[tuple[str, Job, float]] = [
    ("a call", job_of(Vanilla(1, 105 * TICK)), VANILLA),
    ("a put", job_of(Vanilla(-1, 105 * TICK)), VANILLA - 100.0 * exp(-0.01) + 105.0 * exp(-0.04)),
    ("a call, one step", job_of(Vanilla(1, 105 * TICK), times=[1.0]), VANILLA),
    ("a geometric Asian", job_of(Asian(1, 100 * TICK, geometric=True)), geometric_asian(100.0)),
    ("a forward", job_of(Vanilla(1, 0)), 100.0 * exp(-0.01)),
    ("an average price", job_of(Asian(1, 0)), exp(-0.04) * sum(100.0 * exp(0.03 * t) for t in MONTHS) / 12),
    ("an exchange of assets", job_of(Basket(1, 0, (1_000_000, -1_000_000)), TWO, [0.5, 1.0]), EXCHANGE),
]


@pytest.mark.parametrize("sampler", [PHILOX, SOBOL])
@pytest.mark.parametrize(("job", "exact"), [each[1:] for each in CLOSED], ids=[each[0] for each in CLOSED])
def test_an_estimate_is_within_four_standard_errors_of_the_closed_form(job: Job, exact: float, sampler: str) -> None:
    """A wrong drift, correlation or discount shows here, and a standard error that is too small."""
    found = estimate(replace(job, sampler=sampler))
    assert abs(found.price - exact) < 4.0 * found.standard_error
    assert found.standard_error < 0.01 * exact


@pytest.mark.parametrize(("payoff", "times"), [(Vanilla(1, 105 * TICK), [1.0]), (Asian(1, 105 * TICK), MONTHS)])
def test_sobol_points_converge_faster(payoff: Payoff, times: Sequence[float]) -> None:
    """That is all they are for: at as many paths, a tenth or a third of the error."""
    errors = [estimate(job_of(payoff, times=times, sampler=sampler)).standard_error for sampler in (PHILOX, SOBOL)]
    assert errors[1] < errors[0] / (3.0 if len(times) > 1 else 10.0)


def test_the_standard_error_is_that_of_the_payouts() -> None:
    """The sum of squares is put together from halves of 25 bits; one wrong shift and it is nonsense."""
    job = job_of(Vanilla(1, 105 * TICK), times=[1.0], paths=5000, ticks_per_unit=10**9)
    found = estimate(replace(job, payoff=Vanilla(1, 105 * 10**9)))
    payouts = recorded(replace(job, payoff=Vanilla(1, 105 * 10**9)))
    assert found.total_ticks == sum(payouts)
    assert found.squares_ticks == sum(each * each for each in payouts)
    error = np.std(np.array(payouts, dtype=float) / 1e9, ddof=1) / sqrt(5000) * exp(-0.04)
    assert abs(found.standard_error / error - 1.0) < 1e-12


@dataclass(frozen=True)
class Recorder:
    """A payoff from outside the product, which the seam must take: keeps what another payoff pays."""

    inner: Payoff
    payouts: list[int]

    def check(self, underlyings: int) -> None:
        self.inner.check(underlyings)

    def payouts_ticks(self, prices_ticks: Ticks) -> Ticks:
        found = self.inner.payouts_ticks(prices_ticks)
        self.payouts.extend(int(each) for each in found)
        return found


def recorded(job: Job) -> list[int]:
    payouts: list[int] = []
    run(replace(job, payoff=Recorder(job.payoff, payouts)), Shard(0, job.paths))
    return payouts


@pytest.mark.parametrize("sampler", [PHILOX, SOBOL])
@pytest.mark.parametrize("payoff", [Lookback(1), Basket(-1, 95 * TICK, (500_000, 500_000))])
def test_the_bits_are_the_same_for_one_two_and_seven_shards(payoff: Payoff, sampler: str) -> None:
    """Otherwise a result says how many machines there were, and no validator can check it."""
    market = TWO if isinstance(payoff, Basket) else ONE
    job = job_of(payoff, market, (0.25, 0.5, 1.0), 32_000, sampler=sampler)
    assert estimate(job, 1) == estimate(job, 2) == estimate(job, 7) == estimate(job)


def digest() -> str:
    """Of the module's sample: both samplers, correlated paths, an estimate."""
    return blake2s(b"".join(each.tobytes() for each in sample()), digest_size=16).hexdigest()


def test_the_bits_are_golden() -> None:
    """Change these only if you meant to change every result: validators before and after it disagree."""
    assert digest() == GOLDEN


def test_the_interpreted_bits_are_the_compiled_ones() -> None:
    """The interpreter rounds every operation by itself: a compiler that fused two of them would differ here."""
    code = "from tests.contracts.pricing.test_monte_carlo import digest; print(digest())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [GOLDEN]


PRICES = np.array([[[100, 100, 100], [120, 90, 101], [110, 95, 99]]], dtype=np.int64)


@pytest.mark.parametrize(
    ("payoff", "expected"),
    [
        (Vanilla(1, 100), [10, 0, 0]),
        (Vanilla(-1, 100), [0, 5, 1]),
        (Asian(1, 99), [11, 0, 1]),
        (Asian(-1, 101), [0, 6, 1]),
        (Asian(1, 100, geometric=True), [10, 0, 0]),
        (Barrier(1, 100, 120, up=True, knock_in=False, rebate_ticks=3), [3, 0, 0]),
        (Barrier(1, 100, 121, up=True, knock_in=False), [10, 0, 0]),
        (Barrier(1, 100, 120, up=True, knock_in=True, rebate_ticks=3), [10, 3, 3]),
        (Barrier(-1, 100, 90, up=False, knock_in=False), [0, 0, 1]),
        (Barrier(-1, 100, 90, up=False, knock_in=True, rebate_ticks=7), [7, 5, 7]),
        (Lookback(1), [10, 5, 0]),
        (Lookback(-1), [10, 5, 2]),
        (Lookback(1, 105), [15, 0, 0]),
        (Lookback(-1, 105), [5, 15, 6]),
    ],
)
def test_a_payoff_pays(payoff: Payoff, expected: list[int]) -> None:
    """By hand, scenario by scenario; roundings as documented."""
    payoff.check(1)
    assert payoff.payouts_ticks(PRICES).tolist() == expected


def test_a_basket_pays_its_weighted_sum_rounded_down() -> None:
    """Weights are millionths, of either sign, and no product may leave 63 bits."""
    prices = np.array([[[2**50, 101]], [[2**50, 3]]], dtype=np.int64).transpose(0, 1, 2)
    assert Basket(1, 0, (333_333, 333_333)).payouts_ticks(prices).tolist() == [2 * 2**50 * 333_333 // 10**6, 34]
    assert Basket(1, 0, (1_000_000, -1_000_000)).payouts_ticks(prices).tolist() == [0, 98]


@pytest.mark.parametrize(
    ("payoff", "underlyings", "reason"),
    [
        (Vanilla(0, 1), 1, "A right is"),
        (Vanilla(1, -1), 1, "strike_ticks must be"),
        (Vanilla(1, 2**50 + 1), 1, "strike_ticks must be"),
        (Vanilla(1, 1), 2, "on one underlying"),
        (Asian(2, 1), 1, "A right is"),
        (Barrier(1, 1, -1, up=True, knock_in=True), 1, "barrier_ticks must be"),
        (Lookback(1, -5), 1, "strike_ticks must be"),
        (Basket(1, 1, (1,)), 2, "a weight for each"),
        (Basket(1, 1, (9_000_000,)), 1, "at most 8"),
    ],
)
def test_terms_are_refused(payoff: Payoff, underlyings: int, reason: str) -> None:
    """Terms out of range would overflow, or value something that nobody meant."""
    with pytest.raises(Rejected, match=reason):
        payoff.check(underlyings)


GOOD = job_of(Vanilla(1, 105 * TICK))


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (replace(GOOD, paths=1), "Paths must be"),
        (replace(GOOD, paths=2**36 + 1), "Paths must be"),
        (replace(GOOD, seed=2**64), "seed"),
        (replace(GOOD, ticks_per_unit=0), "Ticks per unit"),
        (replace(GOOD, ticks_per_unit=10**12, times_years=(2.0,)), "more ticks than a simulation holds"),
        (replace(GOOD, sampler="halton"), "sampler"),
        (replace(GOOD, sampler=SOBOL, paths=1001), "multiple of 16"),
        (replace(GOOD, sampler=SOBOL, times_years=tuple(n / 65 for n in range(65))), "dimensions=65"),
        (replace(GOOD, times_years=()), "times"),
        (replace(GOOD, times_years=(0.5, 0.5)), "rise strictly"),
        (replace(GOOD, times_years=(-0.5, 0.5)), "Times are"),
        (replace(GOOD, times_years=(0.5, float("nan"))), "Times are"),
        (replace(GOOD, times_years=tuple(n / 50 for n in range(4097))), "1 to 4096"),
        (replace(GOOD, market=replace(ONE, vols=(11.0,))), "vol must be"),
        (replace(GOOD, market=replace(ONE, r=float("nan"))), "r must be"),
        (replace(GOOD, market=replace(ONE, q=())), "one length"),
        (replace(GOOD, market=replace(TWO, correlation=((1.0,),))), "another number"),
    ],
)
def test_a_job_is_refused(job: Job, reason: str) -> None:
    """A bad job must end at once, with its reason, on whatever machine it arrives."""
    with pytest.raises(Rejected, match=reason):
        run(job, Shard(0, 2))


@pytest.mark.parametrize("shard", [Shard(-1, 5), Shard(0, 0), Shard(65_530, 7)])
def test_a_shard_beyond_the_job_is_refused(shard: Shard) -> None:
    """Its scenarios would count in nobody's result."""
    with pytest.raises(Rejected, match="shard_range"):
        run(GOOD, shard)


def test_a_payoff_that_pays_too_much_is_refused() -> None:
    """Its square would leave the exact sums."""
    job = job_of(Basket(1, 0, (8_000_000,)), replace(ONE, spots=(1e8,)), [0.5], 1000)
    with pytest.raises(Rejected, match="payout_range"):
        run(job, Shard(0, 1000))


def test_results_that_are_not_every_scenario_once_are_refused() -> None:
    """A lost or doubled shard is a wrong price that looks like any other."""
    job = job_of(Vanilla(1, 105 * TICK), times=[1.0], paths=300)
    results = [run(job, each) for each in (Shard(0, 100), Shard(100, 100), Shard(200, 100))]
    merge(job, results)
    short = ShardResult(Shard(100, 100), (Tally(0, 99, 1, 1),))
    for wrong in (results[:2], results[1:], [*results, results[1]], [results[0], short, results[2]], []):
        with pytest.raises(Rejected, match="shards_incomplete"):
            merge(job, wrong)


def test_a_recheck_finds_the_shard_that_was_made_up() -> None:
    """A validator that samples shards must see a lie, and nothing else."""
    job = job_of(Vanilla(1, 105 * TICK), times=[1.0], paths=300)
    results = [run(job, each) for each in (Shard(0, 100), Shard(100, 100), Shard(200, 100))]
    tally = results[1].tallies[0]
    results[1] = ShardResult(Shard(100, 100), (replace(tally, total=tally.total + 1),))
    assert recheck(job, results, [0, 2]) == ()
    assert recheck(job, results, [0, 1, 2]) == (Shard(100, 100),)
    with pytest.raises(Rejected, match="sample_range"):
        recheck(job, results, [3])
