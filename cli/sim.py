"""``novate sim``: the agreement under every fault we can inject, in virtual time, from a seed.

One seed is one run, the same to the bit wherever it runs. Exit code 1 when an oracle is broken; then one command that
replays the run is shown, and the last lines of its transcript. docs/TESTING.md says what is injected and checked.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli.output import Amount, Failure, Output, reporting
from genesis.errors import Rejected
from node.small_files import read_small

if TYPE_CHECKING:
    from node.simulator.report import Totals
    from node.simulator.run import Outcome
    from node.simulator.settings import Settings

REPLAY_ADVICE: Final = "Run that command; with --transcript FILE it writes every event, one a line."
TRANSCRIPT_COLUMNS_MAX: Final = 240
SEED_DIGITS_MAX: Final = 18
"""So that a range of seeds has a length in 64 bits."""


def _seed_range(ctx: click.Context, param: click.Parameter, text: str | None) -> range | None:
    """``FROM:TO``, the second not included, as a range that is not empty."""
    if text is None:
        return None
    start, _, end = text.partition(":")
    are_numbers = all(each.isascii() and each.isdecimal() and len(each) <= SEED_DIGITS_MAX for each in (start, end))
    if not (are_numbers and int(start) < int(end)):
        message = f"{text[:64]!r} is not FROM:TO with FROM below TO, of at most {SEED_DIGITS_MAX} digits each."
        raise click.BadParameter(message, ctx, param)
    return range(int(start), int(end))


@click.group(invoke_without_command=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The seed of one run.")
@click.option("--seeds", metavar="FROM:TO", callback=_seed_range, help="Run the seeds FROM up to TO, TO not included.")
@click.option("--engine", default="hotstuff", show_default=True, help="hotstuff or pbft.")
@click.option("--validators", type=click.IntRange(1, 100), default=4, show_default=True, help="How many validators.")
@click.option("--views", type=click.IntRange(1), default=50, show_default=True, help="Inject faults up to this view.")
@click.option("--faults", default="all", show_default=True, help="all, none, names, or -NAMES to leave some out.")
@click.option("--real-state", is_flag=True, help="The real state machine under a small market.")
@click.option("--real-signatures", is_flag=True, help="Ed25519 instead of a fast stand-in.")
@click.option(
    "--transcript", type=click.Path(dir_okay=False, path_type=Path), help="Write every event of one run here."
)
@click.option("--jobs", type=click.IntRange(1), default=None, help="Processes for --seeds. By default one a core.")
@reporting
def sim(
    out: Output,
    seed: int,
    seeds: range | None,
    engine: str,
    validators: int,
    views: int,
    faults: str,
    real_state: bool,
    real_signatures: bool,
    transcript: Path | None,
    jobs: int | None,
) -> None:
    """Simulate a network under seeded faults."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    from node.simulator.settings import Settings, parse_faults

    settings = Settings(
        seed, engine, (1,) * validators, views, parse_faults(faults), real_state, real_signatures=real_signatures
    )
    if seeds is None:
        run_one(out, settings, transcript)
    else:
        run_many(out, settings, seeds, jobs or os.cpu_count() or 1)


def run_one(out: Output, settings: Settings, transcript: Path | None) -> None:
    """One seed: what happened, and what was injected."""
    from node.simulator.report import document
    from node.simulator.run import simulate

    start_s = time.process_time()
    if transcript is None:
        outcome = simulate(settings)
    else:
        with transcript.open("w") as sink:
            outcome = simulate(settings, sink)
    rate = _rate(outcome.events, time.process_time() - start_s)
    out.result({**document(outcome), "events_per_s": rate}, lambda: _show_one(out, outcome, rate))
    if not outcome.ok:
        _show_failure(outcome)
        raise SystemExit(1)


def run_many(out: Output, settings: Settings, seeds: range, jobs: int) -> None:
    """Many seeds, over processes."""
    from node.simulator.campaign import campaign
    from node.simulator.engines import check_engine
    from node.simulator.report import Totals

    check_engine(settings.engine)
    totals, start_s = Totals(), time.perf_counter()
    with out.progress(f"{settings.engine}, {len(settings.powers)} validators", len(seeds)) as progress:
        for outcome in campaign(settings, seeds, jobs):
            totals.add(outcome)
            progress.advance()
            if not outcome.ok and not out.as_json:
                _show_failure(outcome)
    rate = _rate(totals.events, time.perf_counter() - start_s)
    out.result({**totals.document(), "events_per_s": rate, "jobs": jobs}, lambda: _show_many(out, totals, rate, jobs))
    if totals.failed:
        raise SystemExit(1)


def _rate(events: int, elapsed_s: float) -> int:
    return int(events / elapsed_s) if elapsed_s > 0 else 0


def _show_one(out: Output, outcome: Outcome, rate: int) -> None:
    from node.simulator.report import healed_timeouts, injected

    charged = ", ".join(f"{index}: {role}" for index, role in outcome.roles.items())
    out.pairs(
        f"Seed {outcome.settings.seed}",
        {
            "engine": outcome.settings.engine,
            "charged replicas": charged or "none",
            "every oracle held": outcome.ok,
            "heights": ", ".join(f"{name}: {height}" for name, height in outcome.heights.items()),
            "view": outcome.view,
            "full timeouts until progress": healed_timeouts(outcome),
            "virtual time, ms": Amount(outcome.virtual_ms),
            "events": Amount(outcome.events),
            "events a second of processor time": Amount(rate),
            "transcript": outcome.digest,
        },
    )
    out.table("Injected", ("fault", "times"), [(name, Amount(n)) for name, n in injected(outcome.counts).items()])


def _show_many(out: Output, totals: Totals, rate: int, jobs: int) -> None:
    from node.simulator.report import injected

    healed = ", ".join(f"{timeouts}: {totals.healed[timeouts]:,}" for timeouts in sorted(totals.healed))
    out.pairs(
        "Runs",
        {
            "runs": Amount(totals.runs),
            "failed": Amount(totals.failed),
            "events": Amount(totals.events),
            f"events a second, {jobs} processes": Amount(rate),
            "full timeouts until progress": healed,
        },
    )
    out.table("Injected", ("fault", "times"), [(name, Amount(n)) for name, n in injected(totals.counts).items()])


def _show_failure(outcome: Outcome) -> None:
    """What broke, the end of the transcript, and how to replay it; on standard error."""
    for line in outcome.tail:
        click.echo(line[:TRANSCRIPT_COLUMNS_MAX], err=True)
    failure = Failure(f"{outcome.message}. Replay: {outcome.settings.command}", REPLAY_ADVICE, outcome.violated or "")
    failure.show()


@sim.command("twins")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--engine", default="hotstuff", show_default=True, help="hotstuff or pbft.")
@reporting
def twins(out: Output, file: Path, engine: str) -> None:
    """Run scenarios in which replicas have a twin with the same key."""
    from node.simulator.scenarios import FILE_BYTES_MAX, read_scenarios
    from node.simulator.twins import run_scenario

    try:
        scenarios = read_scenarios(read_small(file, FILE_BYTES_MAX))
    except RecursionError as error:
        raise Rejected("bad_scenario", "The file nests too deeply.") from error
    results = []
    with out.progress("scenarios", len(scenarios)) as progress:
        for scenario in scenarios:
            results.append(run_scenario(scenario, engine))
            progress.advance()
    rows = [
        (each.name, each.safe, ", ".join(f"{name}: {height}" for name, height in each.heights.items()))
        for each in results
    ]
    document = {"results": [each.document for each in results]}
    out.result(document, lambda: out.table("Twins", ("scenario", "safe", "heights"), rows))
    if not all(each.safe for each in results):
        raise SystemExit(1)


@sim.command("scenarios")
@click.option("--validators", type=click.IntRange(1, 64), default=4, show_default=True, help="How many validators.")
@click.option("--views", type=click.IntRange(1, 1000), default=4, show_default=True, help="Scripted views in each.")
@click.option("--count", type=click.IntRange(1, 100_000), default=10, show_default=True, help="How many scenarios.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What they are drawn from.")
@reporting
def scenarios(out: Output, validators: int, views: int, count: int, seed: int) -> None:
    """Write a file of scenarios with twins, drawn under a seed."""
    from node.simulator.scenarios import sample_scenarios

    document = {"scenarios": [each.document for each in sample_scenarios(validators, views, count, seed)]}
    out.result(document, lambda: out.line(json.dumps(document)))
