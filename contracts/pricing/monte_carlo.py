"""Monte Carlo: the value of a payoff over simulated prices, with the same bits however the work is divided.

Rules:

1. A scenario's random numbers are a function of the job's seed and the scenario's index (`monte_carlo_kernel`).
2. Prices and payouts are integer ticks. Sums of payouts and of their squares are exact integers, so neither the order
   of shards nor their number can be seen in the result.
3. `run` computes a shard, `merge` puts results together, both pure: threads, processes and machines are the caller's.

With the Sobol sampler the scenarios are `REPLICAS` sets of points, each under a shift of its own; the standard error
is that of the replicas' means, since points within a replica are not independent.

Source: Glasserman, Monte Carlo Methods in Financial Engineering (2004), sections 3.2 (paths), 5.4 (randomised points).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.pricing.correlation import factor_of
from contracts.pricing.inputs import RANGES
from contracts.pricing.kernel import exp, log
from contracts.pricing.monte_carlo_kernel import TICKS_MAX, price_paths, pseudo_normals, sobol_normals
from contracts.pricing.payoffs import Asian, Payoff, Ticks, Vanilla
from contracts.pricing.sobol import POINTS_MAX, directions
from genesis.errors import Rejected, invariant

PHILOX: Final = "philox"
SOBOL: Final = "sobol"
REPLICAS: Final = 16
PATHS_MAX: Final = 1 << 36
TIMES_MAX: Final = 4096
DIMENSIONS_PSEUDO_MAX: Final = 65_536
SEED_MAX: Final = (1 << 64) - 1
TICKS_PER_UNIT_MAX: Final = 10**12
CHUNK_SCENARIOS: Final = 4096
CHUNK_NORMALS_MAX: Final = 1 << 17
"""What is simulated at a time: enough to amortise calls, small enough to stay in the caches."""
NORMAL_MAX: Final = 8.3
"""No simulated normal is beyond it: it is the quantile of 1 - 2⁻⁵³, rounded up."""
SHARD_NORMALS: Final = 16_000_000
"""Normals in a shard: at 10 ns each, 160 ms, where 100 ms make a shard worth sending."""
JOB_NORMALS_MAX: Final = 1 << 40
"""Normals in a job: three hours of a core, and no more shards than a scheduler holds."""
_HALF_BITS: Final = 25


@dataclass(frozen=True)
class Market:
    """The underlyings: spots, continuous yields, vols, and the correlations of their logarithmic returns; the rate."""

    spots: tuple[float, ...]
    q: tuple[float, ...]
    vols: tuple[float, ...]
    r: float
    correlation: tuple[tuple[float, ...], ...] = ((1.0,),)


@dataclass(frozen=True)
class Job:
    """What is to be simulated; a frozen value that can be sent to another process.

    Args:
        times_years: When prices are observed, strictly rising from 0 or later; the payoff is paid at the last.
        paths: How many scenarios; a multiple of `REPLICAS` for the Sobol sampler.
        seed: From 0 to 2⁶⁴ - 1.
        ticks_per_unit: How many ticks are one unit of price.
        sampler: `PHILOX` or `SOBOL`.
    """

    market: Market
    times_years: tuple[float, ...]
    payoff: Payoff
    paths: int
    seed: int = 0
    ticks_per_unit: int = 1_000_000
    sampler: str = PHILOX

    @property
    def dimensions(self) -> int:
        """Normals a scenario takes."""
        return len(self.market.spots) * len(self.times_years)

    @property
    def replicas(self) -> int:
        """Parts of the scenarios that are independent of each other as wholes."""
        return REPLICAS if self.sampler == SOBOL else 1


@dataclass(frozen=True, order=True)
class Shard:
    """The scenarios from `first` to `first + count`, the end not included."""

    first: int
    count: int


@dataclass(frozen=True)
class Tally:
    """What scenarios of one replica paid: their number, the sum in ticks, the sum of squares; all exact."""

    replica: int
    count: int
    total: int
    squares: int


@dataclass(frozen=True)
class ShardResult:
    """A shard and what it came to."""

    shard: Shard
    tallies: tuple[Tally, ...]


@dataclass(frozen=True)
class Estimate:
    """The value of a job.

    Args:
        price: The mean payout, discounted, in units of price.
        standard_error: Of `price`.
        total_ticks: The sum of all payouts, exact: two runs agree in all bits when they agree in it and in `squares`.
    """

    price: float
    standard_error: float
    paths: int
    total_ticks: int
    squares_ticks: int


def check(job: Job) -> None:
    """Refuse a job that is out of range.

    Raises:
        Rejected: ``monte_carlo_range``, or what `factor_of`, the payoff and `directions` say.
    """
    market, underlyings = job.market, len(job.market.spots)
    _require(len(market.q) == len(market.vols) == underlyings, "spots, q and vols must be of one length.")
    named = [("spot", market.spots), ("q", market.q), ("vol", market.vols), ("r", (market.r,))]
    for name, values in named:
        for value in values:
            allowed = RANGES[name]
            _require(allowed.low <= value <= allowed.high, f"{name} must be {allowed}.", found=repr(value))
    found = factor_of(market.correlation).shape[0]
    _require(found == underlyings, "The correlations are of another number of underlyings.", found=found)
    _check_times(job.times_years)
    _check_counts(job)
    job.payoff.check(underlyings)
    _check_prices(job)


def _require(holds: bool, message: str, **found: int | str) -> None:
    if not holds:
        raise Rejected("monte_carlo_range", message, **found)


def _check_times(times: Sequence[float]) -> None:
    _require(1 <= len(times) <= TIMES_MAX, f"There must be 1 to {TIMES_MAX} times.", found=len(times))
    _require(times[0] >= 0.0 and times[-1] <= RANGES["t_years"].high, f"Times are {RANGES['t_years']}.")
    rising = all(a < b for a, b in itertools.pairwise(times))
    _require(rising, "Times must rise strictly.")


def _check_counts(job: Job) -> None:
    _require(job.sampler in (PHILOX, SOBOL), f"The sampler is {PHILOX} or {SOBOL}.", found=job.sampler)
    _require(0 <= job.seed <= SEED_MAX, "The seed must be from 0 to 2^64 - 1.", found=job.seed)
    _require(2 <= job.paths <= PATHS_MAX, f"Paths must be from 2 to {PATHS_MAX}.", found=job.paths)
    allowed = 1 <= job.ticks_per_unit <= TICKS_PER_UNIT_MAX
    _require(allowed, f"Ticks per unit must be from 1 to {TICKS_PER_UNIT_MAX}.", found=job.ticks_per_unit)
    if job.sampler == SOBOL:
        directions(job.dimensions)
        whole = job.paths % REPLICAS == 0 and job.paths // REPLICAS <= POINTS_MAX
        message = f"Sobol paths must be a multiple of {REPLICAS}, at most {REPLICAS * POINTS_MAX}."
        _require(whole, message, found=job.paths)
    message = f"Underlyings times times must be at most {DIMENSIONS_PSEUDO_MAX}."
    _require(job.dimensions <= DIMENSIONS_PSEUDO_MAX, message, found=job.dimensions)
    normals = job.dimensions * job.paths
    _require(normals <= JOB_NORMALS_MAX, f"Paths times dimensions must be at most {JOB_NORMALS_MAX}.", found=normals)


def _check_prices(job: Job) -> None:
    """The tick must be coarse enough for prices that a normal at its bound leads to."""
    t = job.times_years[-1]
    for spot, q, vol in zip(job.market.spots, job.market.q, job.market.vols, strict=True):
        highest = log(spot * job.ticks_per_unit) + abs(job.market.r - q) * t + NORMAL_MAX * vol * sqrt(t)
        message = "Prices may reach more ticks than a simulation holds; take fewer ticks per unit, or a shorter time."
        _require(highest < log(TICKS_MAX * 1.0), message, ticks_max=TICKS_MAX, ticks_per_unit=job.ticks_per_unit)


def shards_of(job: Job, normals: int = SHARD_NORMALS) -> tuple[Shard, ...]:
    """The job's scenarios in shards of about `normals` random numbers each: by count of work, never by the clock."""
    check(job)
    count = max(CHUNK_SCENARIOS, normals // job.dimensions // CHUNK_SCENARIOS * CHUNK_SCENARIOS)
    return tuple(Shard(first, min(count, job.paths - first)) for first in range(0, job.paths, count))


def run(job: Job, shard: Shard) -> ShardResult:
    """What the shard's scenarios pay. A function of its arguments alone, wherever it is called.

    Raises:
        Rejected: As for `check`; ``shard_range`` for scenarios that the job does not have; ``payout_range`` for a
            payoff that pays beyond `TICKS_MAX`.
    """
    check(job)
    if not (shard.first >= 0 and shard.count >= 1 and shard.first + shard.count <= job.paths):
        message = "The job does not have these scenarios."
        raise Rejected("shard_range", message, first=shard.first, count=shard.count, paths=job.paths)
    simulation = _Simulation(job)
    points = job.paths // job.replicas
    tallies: dict[int, Tally] = {}
    at, end = shard.first, shard.first + shard.count
    while at < end:
        replica = at // points
        chunk = min(simulation.chunk, end - at, (replica + 1) * points - at)
        payouts = job.payoff.payouts_ticks(simulation.prices(replica, at - replica * points, chunk))
        tallies[replica] = _sum_of(tallies.get(replica, Tally(replica, 0, 0, 0)), _tally(replica, payouts))
        at += chunk
    return ShardResult(shard, tuple(tallies.values()))


class _Simulation:
    """A job's constants and the arrays that its chunks are computed in."""

    def __init__(self, job: Job) -> None:
        market, times = job.market, job.times_years
        underlyings, dimensions = len(market.spots), job.dimensions
        self._job = job
        self._factor = factor_of(market.correlation)
        self._spots = np.array([spot * job.ticks_per_unit for spot in market.spots])
        steps = [after - before for before, after in zip((0.0, *times), times, strict=False)]
        carries = [market.r - q - 0.5 * (vol * vol) for q, vol in zip(market.q, market.vols, strict=True)]
        self._drifts = np.array([[carry * step for step in steps] for carry in carries])
        self._deviations = np.array([[vol * sqrt(step) for step in steps] for vol in market.vols])
        self._seed = np.array([job.seed & 0xFFFFFFFF, job.seed >> 32], dtype=np.uint64)
        self._directions = directions(dimensions) if job.sampler == SOBOL else np.zeros((0, 0), dtype=np.uint64)
        self.chunk = max(1, min(CHUNK_SCENARIOS, CHUNK_NORMALS_MAX // dimensions))
        self._normals_shape = (dimensions + dimensions % 2, underlyings, len(times))

    def prices(self, replica: int, first: int, count: int) -> Ticks:
        """int64[underlying, time, scenario] of `count` scenarios from the replica's scenario `first` on."""
        rows, underlyings, times = self._normals_shape
        normals = np.empty((rows, count))
        if self._job.sampler == SOBOL:
            sobol_normals(self._directions, self._seed, replica, first, normals)
        else:
            pseudo_normals(self._seed, first, normals)
        prices = np.empty((underlyings, times, count), dtype=np.int64)
        price_paths(
            normals, self._factor, self._spots, self._drifts, self._deviations,
            np.empty((underlyings, count)), np.empty(count), prices,
        )  # fmt: skip
        return prices


def _tally(replica: int, payouts: Ticks) -> Tally:
    """Sums over one chunk: payouts are within 2⁵⁰, so halves of 25 bits square and add up within 63 bits."""
    outside = np.abs(payouts) > TICKS_MAX
    if outside.any():
        found = int(payouts[outside][0])
        raise Rejected("payout_range", f"A payout must be within {TICKS_MAX} ticks of zero.", found=found)
    high, low = payouts >> _HALF_BITS, payouts & ((1 << _HALF_BITS) - 1)
    squares = (_total(high * high) << 2 * _HALF_BITS) + (_total(high * low) << _HALF_BITS + 1) + _total(low * low)
    return Tally(replica, payouts.size, _total(payouts), squares)


def _total(values: Ticks) -> int:
    return int(values.sum())


def _sum_of(a: Tally, b: Tally) -> Tally:
    return Tally(a.replica, a.count + b.count, a.total + b.total, a.squares + b.squares)


def merge(job: Job, results: Sequence[ShardResult]) -> Estimate:
    """The job's value from the results of shards that together are all of its scenarios, each once, in any order.

    The price is the exact sum over the exact number of paths, rounded once, times the discount factor.

    Raises:
        Rejected: ``shards_incomplete``: a scenario is missing or counted twice, or a tally has another count.
    """
    at = 0
    for result in sorted(results, key=lambda each: each.shard):
        counted = sum(each.count for each in result.tallies)
        if result.shard.first != at or counted != result.shard.count:
            message = "The shards' results are not each of the job's scenarios once."
            raise Rejected("shards_incomplete", message, expected=at, found=result.shard.first, counted=counted)
        at += result.shard.count
    if at != job.paths:
        raise Rejected("shards_incomplete", "Scenarios are missing at the end.", found=at, paths=job.paths)
    tallies = [Tally(replica, 0, 0, 0) for replica in range(job.replicas)]
    for result in results:
        for each in result.tallies:
            tallies[each.replica] = _sum_of(tallies[each.replica], each)
    return _estimate(job, tallies)


def _estimate(job: Job, tallies: Sequence[Tally]) -> Estimate:
    total, squares = sum(each.total for each in tallies), sum(each.squares for each in tallies)
    if job.replicas == 1:
        n, variance = job.paths, Fraction(job.paths * squares - total * total, job.paths * (job.paths - 1))
    else:
        n, means = job.replicas, [Fraction(each.total, each.count) for each in tallies]
        mean = sum(means, Fraction(0)) / n
        variance = sum(((each - mean) * (each - mean) for each in means), Fraction(0)) / (n - 1)
    invariant(variance >= 0, "a variance is negative", total=total, squares=squares)
    discount = exp(-job.market.r * job.times_years[-1])
    price = float(Fraction(total, job.paths * job.ticks_per_unit)) * discount
    error = sqrt(float(variance / (n * job.ticks_per_unit * job.ticks_per_unit))) * discount
    return Estimate(price, error, job.paths, total, squares)


def recheck(job: Job, results: Sequence[ShardResult], sample: Sequence[int]) -> tuple[Shard, ...]:
    """The shards among `sample`, positions in `results`, whose result is not what this machine computes.

    Raises:
        Rejected: ``sample_range``: a position beyond the results; and as for `run`.
    """
    for position in sample:
        if not 0 <= position < len(results):
            raise Rejected("sample_range", "There is no such result.", position=position, results=len(results))
    claimed = [results[position] for position in sample]
    return tuple(each.shard for each in claimed if run(job, each.shard) != each)


def sample() -> tuple[NDArray[np.generic], ...]:
    """Every kernel of this file once over a small job: a golden grid, and what compiles them."""
    market = Market((100.0, 80.0), (0.01, 0.0), (0.2, 0.4), 0.03, ((1.0, 0.5), (0.5, 1.0)))
    single = Market((100.0,), (0.01,), (0.2,), 0.03)
    found: list[NDArray[np.generic]] = []
    for sampler in (PHILOX, SOBOL):
        job = Job(market, (0.25, 0.5, 1.0), Vanilla(1, 0), 16 * REPLICAS, 7, sampler=sampler)
        found.append(_Simulation(job).prices(0, 3, 40))
    job = Job(single, (0.25, 0.5, 1.0), Asian(1, 100_000_000, geometric=True), 16 * REPLICAS, 7, sampler=SOBOL)
    estimate = merge(job, [run(job, each) for each in shards_of(job)])
    return (*found, np.array([estimate.price, estimate.standard_error]))
