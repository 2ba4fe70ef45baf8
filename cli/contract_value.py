"""``novate contract value``: what a contract is worth, simulated over the very bytecode that settles it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.contract_source import load_contract
from cli.contract_values import parameter_values
from cli.option_types import CORRELATION, FINITE, Moment
from cli.output import Amount, Failure, Output, reporting

if TYPE_CHECKING:
    from contracts.pricing.monte_carlo import Job
    from contracts.vm.bytecode import Program


@click.command("value")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.argument("parameters", nargs=-1, metavar="[PARAMETER=VALUE]...")
@click.option("--party", required=True, metavar="NAME", help="Whose gain is valued.")
@click.option("--asset", metavar="NAME", help="What it is counted in; by default the first asset.")
@click.option(
    "--now-unix-ms", type=Moment(), required=True, help="The moment of valuation: ISO 8601 or milliseconds since 1970."
)
@click.option("--spot", "spots", type=FINITE, multiple=True, required=True, help="Of each feed, in units (not ticks).")
@click.option("--vol", "vols", type=FINITE, multiple=True, required=True, help="Of each feed.")
@click.option("--q", "yields", type=FINITE, multiple=True, help="Of each feed; 0 by default.")
@click.option("--correlation", type=CORRELATION, default=0.0, show_default=True, help="Of every pair of feeds.")
@click.option("--r", "rate", type=FINITE, required=True, help="The rate a year, continuous.")
@click.option(
    "--ticks-per-unit", type=click.IntRange(1), default=100, show_default=True, help="Ticks of a price's unit."
)
@click.option("--paths", type=click.IntRange(2), default=100_000, show_default=True, help="How many scenarios.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What they are drawn from.")
@click.option("--sampler", type=click.Choice(["philox", "sobol"]), default="philox", show_default=True, help="How.")
@click.option("--workers", type=click.IntRange(1, 256), default=None, help="Threads. By default one a core.")
@reporting
def value(out: Output, file: Path, parameters: Sequence[str], workers: int | None, **given: Any) -> None:
    """Value the contract in FILE by simulation, from its bytecode.

    What the party receives, less what it locks, discounted from the last observation; elections are not supported.
    """
    from contracts.pricing import monte_carlo
    from node.shards import run_on_threads

    program = load_contract(file).verified.program
    job = _job(program, parameter_values(program, parameters), **given)
    shards = monte_carlo.shards_of(job)
    with out.progress("shards", len(shards)) as progress:
        compute = partial(monte_carlo.run, job)
        results = run_on_threads(compute, shards, workers or os.cpu_count() or 1, progress.advance)
    estimate = monte_carlo.merge(job, results)
    # The estimate is in units of ticks_per_unit; a contract pays minor units.
    document = {
        "value_minor": estimate.price * job.ticks_per_unit,
        "standard_error_minor": estimate.standard_error * job.ticks_per_unit,
        "paths": estimate.paths,
        "total_minor": estimate.total_ticks,
        "seed": job.seed,
        "sampler": job.sampler,
    }
    title = (
        f"Value of {program.name} to the {given['party']}, minor units of {given['asset'] or program.assets[0].name}"
    )
    out.result(document, lambda: out.pairs(title, _shown(document)))


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """For people: hundredths of a minor unit are more than the paths decide."""
    value, error = (f"{document[name]:,.2f}" for name in ("value_minor", "standard_error_minor"))
    return {
        "value": value,
        "standard error": error,
        "paths": Amount(document["paths"]),
        "seed": str(document["seed"]),
        "sampler": document["sampler"],
    }


def _job(
    program: Program,
    values: Sequence[int],
    *,
    party: str,
    asset: str | None,
    now_unix_ms: int,
    spots: Sequence[float],
    vols: Sequence[float],
    yields: Sequence[float],
    correlation: float,
    rate: float,
    ticks_per_unit: int,
    paths: int,
    seed: int,
    sampler: str,
) -> Job:
    from contracts.pricing.contract_payoff import ContractPayoff
    from contracts.pricing.monte_carlo import Job, Market
    from contracts.vm.bytecode import encode_program

    assets = [each.name for each in program.assets]
    place = _place(assets, asset or assets[0], "asset")
    payoff = ContractPayoff(encode_program(program), tuple(values), _place(program.parties, party, "party"), place)
    count = len(spots)
    pairs = tuple(tuple(1.0 if a == b else correlation for b in range(count)) for a in range(count))
    market = Market(tuple(spots), tuple(yields or [0.0] * count), tuple(vols), rate, pairs)
    payoff.check(count)
    return Job(market, payoff.times_years(now_unix_ms), payoff, paths, seed, ticks_per_unit, sampler)


def _place(names: Sequence[str], name: str, what: str) -> int:
    if name not in names:
        raise Failure(f"The contract has no {what} {name!r}.", f"Choose one of {', '.join(names)}.", "unknown_name")
    return list(names).index(name)
