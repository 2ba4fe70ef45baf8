"""``novate price mc``: simulate an option over correlated underlyings, on this machine's threads or on a cluster.

The result is the same to the bit for any number of workers, here or there; its digest makes that easy to compare.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.option_types import CORRELATION, FINITE
from cli.output import Amount, Output, reporting
from genesis.errors import Rejected

if TYPE_CHECKING:
    from contracts.pricing.monte_carlo import Estimate, Job
    from contracts.pricing.payoffs import Payoff

KINDS: Final = (
    "vanilla", "basket", "barrier", "asian_arithmetic", "asian_geometric", "lookback_fixed", "lookback_floating",
)  # fmt: skip
KINDS_WITH: Final = {
    "strike": tuple(kind for kind in KINDS if kind != "lookback_floating"),
    "barrier": ("barrier",),
    "barrier-kind": ("barrier",),
    "rebate": ("barrier",),
    "weight": ("basket",),
}
"""Which kinds an option belongs to, where that is not all."""
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
AT_EXPIRY: Final = ("vanilla", "basket")
"""The kinds that look at the price at expiry alone."""
RIGHTS: Final = {"call": 1, "put": -1}
AMOUNT_MAX: Final = 1e12
BARRIERS: Final = ("down_out", "down_in", "up_out", "up_in")


@click.command("mc")
@click.option("--kind", type=click.Choice(KINDS), default="vanilla", show_default=True, help="What is paid.")
@click.option("--right", type=click.Choice(list(RIGHTS)), required=True, help="call or put.")
@click.option("--spot", "spots", type=FINITE, multiple=True, required=True, help="Once for each underlying.")
@click.option("--vol", "vols", type=FINITE, multiple=True, required=True, help="Once for each underlying.")
@click.option("--q", "yields", type=FINITE, multiple=True, help="Once for each underlying; 0 by default.")
@click.option("--weight", "weights", type=FINITE, multiple=True, help="Of a basket, once for each underlying.")
@click.option("--correlation", type=CORRELATION, default=0.0, show_default=True, help="Of every pair of underlyings.")
@click.option("--r", "rate", type=FINITE, required=True, help="The rate a year, continuous.")
@click.option("--t-years", type=FINITE, required=True, help="Years to expiry.")
@click.option("--strike", type=FINITE, help="The strike; none for a floating lookback.")
@click.option("--barrier-kind", type=click.Choice(BARRIERS), help="What a touch does.")
@click.option("--barrier", type=FINITE, help="The barrier, watched at every fixing.")
@click.option("--rebate", type=FINITE, default=0.0, show_default=True, help="Paid at expiry when nothing else is.")
@click.option(
    "--fixings",
    type=click.IntRange(1, 4096),
    help="Equally spaced, the last at expiry; needed where the path counts, else 1.",
)
@click.option("--ticks-per-unit", type=click.IntRange(1), default=1_000_000, show_default=True, help="Of every amount.")
@click.option("--paths", type=click.IntRange(2), default=1_000_000, show_default=True, help="How many scenarios.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What they are drawn from.")
@click.option("--sampler", type=click.Choice(["philox", "sobol"]), default="philox", show_default=True, help="How.")
@click.option("--workers", type=click.IntRange(1, 256), default=None, help="Threads here. By default one a core.")
@click.option("--cluster", metavar="ADDRESS", help="Run on the Dask scheduler at tls://HOST:PORT instead.")
@click.option("--tls-trusted", type=FILE, help="Certificates that the cluster may show (PEM).")
@click.option("--tls-cert", type=FILE, help="Our certificate (PEM).")
@click.option("--tls-key", type=FILE, help="Our key (PEM, mode 0600).")
@click.option(
    "--recheck", type=click.IntRange(0), default=1, show_default=True, help="A cluster's shards to recompute."
)
@reporting
def mc(out: Output, workers: int | None, cluster: str | None, recheck: int, **given: Any) -> None:
    """Price by Monte Carlo: the same bits on any number of threads or machines."""
    from contracts.pricing import monte_carlo
    from node.shards import run_on_threads

    tls = tuple(given.pop(f"tls_{name}") for name in ("trusted", "cert", "key"))
    job = job_of(**given)
    shards = monte_carlo.shards_of(job)
    threads = workers or os.cpu_count() or 1
    with out.progress("shards", len(shards)) as progress:
        if cluster is None:
            results = run_on_threads(partial(monte_carlo.run, job), shards, threads, progress.advance)
        else:
            results = _run_on_cluster(cluster, tls, job, shards, progress.advance)
    if cluster is not None:
        _recheck(job, results, recheck)
    estimate = monte_carlo.merge(job, results)
    document = _document(job, estimate, len(shards))
    out.result(document, lambda: _show(out, document))


def _run_on_cluster(address: str, tls: tuple[Path | None, ...], job: Job, shards: Sequence[Any], advance: Any) -> Any:
    from node.cluster import ClusterIdentity, run_on_cluster

    trusted, certificate, key = tls
    if trusted is None or certificate is None or key is None:
        raise click.UsageError(
            "--cluster needs --tls-trusted, --tls-cert and --tls-key (`novate price keys` makes them)."
        )
    return run_on_cluster(address, ClusterIdentity.read(trusted, certificate, key), job, shards, advance)


def _recheck(job: Job, results: Sequence[Any], count: int) -> None:
    """Compute a sample of a cluster's shards here, drawn anew each time so that no worker can know it."""
    from random import SystemRandom

    from contracts.pricing.monte_carlo import recheck

    wrong = recheck(job, results, SystemRandom().sample(range(len(results)), min(count, len(results))))
    if wrong:
        message = "The cluster's result of a shard is not what this machine computes."
        raise Rejected("cluster_answer", message, first=wrong[0].first, count=wrong[0].count)


def job_of(
    *,
    kind: str,
    right: str,
    spots: Sequence[float],
    vols: Sequence[float],
    yields: Sequence[float],
    weights: Sequence[float],
    correlation: float,
    rate: float,
    t_years: float,
    fixings: int | None,
    paths: int,
    seed: int,
    sampler: str,
    ticks_per_unit: int,
    **terms: Any,
) -> Job:
    """The job that the options describe; what is out of range is refused where the job is checked."""
    from contracts.pricing.monte_carlo import Job, Market
    from contracts.pricing.payoffs import WEIGHT_UNIT

    count = len(spots)
    pairs = tuple(tuple(1.0 if a == b else correlation for b in range(count)) for a in range(count))
    market = Market(tuple(spots), tuple(yields or [0.0] * count), tuple(vols), rate, pairs)
    ppm = tuple(_whole("weight", weight, WEIGHT_UNIT) for weight in weights)
    payoff = payoff_of(kind, RIGHTS[right], ppm, ticks_per_unit, **terms)
    if fixings is None and kind not in AT_EXPIRY:
        raise click.UsageError(f"--kind {kind} needs --fixings: how often the price is looked at until expiry.")
    looks = fixings or 1
    times = tuple(t_years * n / looks for n in range(1, looks + 1))
    return Job(market, times, payoff, paths, seed, ticks_per_unit, sampler)


def payoff_of(
    kind: str,
    right: int,
    weights_ppm: tuple[int, ...],
    ticks_per_unit: int,
    *,
    strike: float | None,
    barrier: float | None,
    barrier_kind: str | None,
    rebate: float,
) -> Payoff:
    """The payoff of a kind; amounts become the nearest tick."""
    from contracts.pricing.payoffs import Asian, Barrier, Basket, Lookback, Vanilla

    terms = {
        "strike": strike,
        "barrier": barrier,
        "barrier-kind": barrier_kind,
        "rebate": rebate,
        "weight": weights_ppm,
    }
    for name, kinds in KINDS_WITH.items():
        if terms[name] not in (None, 0.0, ()) and kind not in kinds:
            raise click.UsageError(f"--{name} has no meaning for --kind {kind}.")
    if kind == "lookback_floating":
        return Lookback(right)
    if strike is None:
        raise click.UsageError(f"--kind {kind} needs --strike.")
    strike_ticks = _whole("strike", strike, ticks_per_unit)
    if kind == "barrier":
        if barrier is None or barrier_kind is None:
            raise click.UsageError("--kind barrier needs --barrier and --barrier-kind.")
        up, knock_in = barrier_kind.startswith("up"), barrier_kind.endswith("in")
        barrier_ticks, rebate_ticks = (
            _whole("barrier", barrier, ticks_per_unit),
            _whole("rebate", rebate, ticks_per_unit),
        )
        return Barrier(right, strike_ticks, barrier_ticks, up, knock_in, rebate_ticks)
    if kind == "basket":
        return Basket(right, strike_ticks, weights_ppm)
    if kind == "lookback_fixed":
        return Lookback(right, strike_ticks)
    if kind == "vanilla":
        return Vanilla(right, strike_ticks)
    return Asian(right, strike_ticks, geometric=kind == "asian_geometric")


def _whole(name: str, amount: float, unit: int) -> int:
    """The amount as the nearest whole number of a unit's parts."""
    if not abs(amount) <= AMOUNT_MAX:
        raise click.UsageError(f"--{name} is {amount}; it must be within {AMOUNT_MAX:g} of zero.")
    return round(amount * unit)


def _document(job: Job, estimate: Estimate, shards: int) -> dict[str, Any]:
    exact = {"total_ticks": estimate.total_ticks, "squares_ticks": estimate.squares_ticks, "paths": estimate.paths}
    return {
        "price": estimate.price,
        "standard_error": estimate.standard_error,
        **exact,
        "shards": shards,
        "seed": job.seed,
        "sampler": job.sampler,
        "digest": sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest(),
    }


def _show(out: Output, document: dict[str, Any]) -> None:
    shown = {name.replace("_", " "): Amount(x) if isinstance(x, int) else x for name, x in document.items()}
    shown |= {name: f"{document[name.replace(' ', '_')]:.10g}" for name in ("price", "standard error")}
    out.pairs("Monte Carlo", {**shown, "seed": str(document["seed"])})
