"""``novate bench``: how much a network of validators on this machine does, and how fast.

A fresh testnet in a temporary directory, trades of eight members in one series, every one signed by both sides and
verified and executed by every validator, with TLS and synced writes as always. At the end the state roots of all
validators are compared; a benchmark whose validators disagree is a failure, not a figure.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import click

from cli.bench_load import MEMBERS, SERIES, Load, Loaded, generate
from cli.client import Client
from cli.interrupts import interruptible
from cli.output import Failure, Output, reporting
from cli.processes import Started, cpu_s
from cli.session import Session
from cli.testnet_files import VALIDATORS_MAX, Era, LocalNetwork, create_testnet
from cli.testnet_run import Survey, await_agreement, bring_up, check_alive, take_down
from contracts.operations import build_operation
from genesis.document import ENGINE_DEFAULT, ENGINES
from genesis.errors import Rejected
from genesis.params import ChainParams
from genesis.signing import SEED_BYTES, SigningKey, is_valid

SATURATION_RATE_ASSUMED: Final = 6_000
"""Trades signed for each second of a saturation run; a faster network runs out of load and ends early."""

SECONDS_MAX: Final = 600
PACE_CHECKS: Final = 500
LIFETIME_SPARE_MS: Final = 10_000
WATCH_S: Final = 0.25
_DEPOSIT_MINOR: Final = 10**15
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: what the generator saw, what the validators used, whether they agree at the end."""

    loaded: Loaded
    validator_cpu_s: dict[str, float]
    survey: Survey

    @property
    def tps(self) -> float:
        """Committed trades a second, over the time from the first post to the last receipt."""
        return self.loaded.committed / self.loaded.elapsed_s if self.loaded.elapsed_s > 0 else 0.0

    @property
    def cpu_us_per_tx(self) -> float:
        """Processor time of one validator for one committed trade, in microseconds: the mean over the validators."""
        committed = self.loaded.committed * len(self.validator_cpu_s)
        return sum(self.validator_cpu_s.values()) * 1e6 / committed if committed else 0.0


@click.group()
def bench() -> None:
    """Measure a network of validators."""


@bench.command("testnet")
@click.option(
    "--validators",
    "count",
    type=click.IntRange(1, VALIDATORS_MAX),
    default=4,
    show_default=True,
    help="How many validators.",
)
@click.option("--seconds", type=click.IntRange(1, SECONDS_MAX), default=10, show_default=True, help="How long to post.")
@click.option("--rate", type=click.IntRange(1, 100_000), help="Post singly at R a second.  [default: saturate]")
@click.option(
    "--consensus", type=click.Choice(ENGINES), default=ENGINE_DEFAULT, show_default=True, help="The agreement's engine."
)
@reporting
def bench_testnet(out: Output, count: int, seconds: int, rate: int | None, consensus: str) -> None:
    """Commit signed trades on a fresh testnet.

    As many as it takes, for the throughput; or --rate R a second, for the latency.
    """
    lifetime_ms = max(ChainParams().envelope_lifetime_ms_max, 60_000 + 4_000 * seconds)
    params = ChainParams(envelope_lifetime_ms_max=lifetime_ms)
    with interruptible(), _temporary_testnet(out, count, params, consensus) as (network, started):
        measured = _measure(out, network, started, seconds, rate)
    document = report(measured, count, seconds, rate)
    document["consensus"] = consensus
    out.result(document, lambda: _show(out, document))
    if not measured.survey.agreed:
        raise Failure("The validators' state roots differ; the figures mean nothing.", code="differing_roots")


def report(measured: Measured, validators: int, seconds: int, rate: int | None) -> dict[str, Any]:
    """What ``bench testnet --json`` prints."""
    loaded = measured.loaded
    latencies = sorted(loaded.latencies_s)
    return {
        "validators": validators,
        "tps": round(measured.tps, 1),
        "p50_ms": round(percentile(latencies, 50) * 1_000, 2),
        "p99_ms": round(percentile(latencies, 99) * 1_000, 2),
        "submitted": loaded.submitted,
        "committed": loaded.committed,
        "cpu_us_per_tx": round(measured.cpu_us_per_tx, 1),
        "seconds": seconds,
        "rate": rate,
        "elapsed_s": round(loaded.elapsed_s, 3),
        "failures": loaded.failures,
        "generator_cpu_s": round(loaded.cpu_s, 3),
        "validator_cpu_s": {name: round(used, 3) for name, used in measured.validator_cpu_s.items()},
        "height": measured.survey.height,
        "agreed": measured.survey.agreed,
        "state_root": measured.survey.state_root,
        "machine": machine(),
    }


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of values in ascending order; 0 of none.

    The smallest value that at least `percent` % of all values do not exceed.
    """
    if not ordered:
        return 0.0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how fast it was then: shared machines change their pace by half and more.

    ``ed25519_verify_us`` is one signature checked by libsodium, the median of many, on an otherwise idle machine; every
    validator checks two for a trade.
    """
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "novate": version("novate"),
        "ed25519_verify_us": _verify_us(),
    }


def _verify_us() -> float:
    key, message = SigningKey(bytes(SEED_BYTES)), bytes(32)
    signature, costs_ns = key.sign(message), []
    for _ in range(PACE_CHECKS):
        begun = time.perf_counter_ns()
        is_valid(key.public_key, message, signature)
        costs_ns.append(time.perf_counter_ns() - begun)
    return round(median(costs_ns) / 1_000, 1)


def _measure(
    out: Output, network: LocalNetwork, started: Sequence[Started], seconds: int, rate: int | None
) -> Measured:
    with Client(network.urls) as client:
        session = Session(client)
        seeds = tuple(secrets.token_bytes(SEED_BYTES) for _ in MEMBERS)
        set_up_market(session, network, seeds)
    trades = seconds * (rate or SATURATION_RATE_ASSUMED)
    expires_at = session.chain_unix_ms() + session.document.limits.envelope_lifetime_ms_max - LIFETIME_SPARE_MS
    load = Load(network.urls, session.document.chain_id, seeds, expires_at, trades, seconds, rate)
    names = {each.home: each.name for each in network.validators}
    out.line(f"Signing {trades:,} trades.")
    with _generator(load) as pipe:
        _receive(pipe, started)
        out.line(f"Posting for {seconds} s.")
        before = {names[each.home]: cpu_s(each.pid) for each in started}
        pipe.send("go")
        loaded: Loaded = _receive(pipe, started)
        used = {names[each.home]: cpu_s(each.pid) - before[names[each.home]] for each in started}
    found = await_agreement(network)
    check_alive(started)
    return Measured(loaded, used, found)


def set_up_market(session: Session, network: LocalNetwork, seeds: Sequence[bytes]) -> None:
    """Members, an asset, an index, a series far from its expiry, and deposits that no run can exhaust."""
    wallet = network.wallet()
    members = zip(MEMBERS, (SigningKey(seed) for seed in seeds), strict=True)
    admit = [build_operation("member.admit", {"member": m, "key": key.public_key.hex()}) for m, key in members]
    index = {"index": "BTC_USD", "tick_decimals": 2, "price_min_ticks": 2_000_000, "price_max_ticks": 20_000_000}
    series = {
        "series": SERIES,
        "index": "BTC_USD",
        "strike_ticks": 6_000_000,
        "expiry_unix_ms": session.chain_unix_ms() + 30 * _DAY_MS,
        "right": "C",
        "settlement": "inverse",
        "asset": "BTC",
        "lot_minor": 10_000_000,
        "premium_tick_minor": 1_000,
    }
    market = [
        build_operation("asset.register", {"asset": "BTC", "decimals": "8"}),
        build_operation("index.register", {name: str(value) for name, value in {**index, "oracle_quorum": 2}.items()}),
        build_operation("series.list", {name: str(value) for name, value in series.items()}),
    ]
    session.apply([session.sign([wallet.key("governor")], [*admit, *market])])
    deposits = [
        build_operation("asset.issue", {"asset": "BTC", "account": f"{m}/main", "amount_minor": str(_DEPOSIT_MINOR)})
        for m in MEMBERS
    ]
    session.apply([session.sign([wallet.key("issuer")], deposits)])


@contextmanager
def _temporary_testnet(
    out: Output, count: int, params: ChainParams, consensus: str
) -> Iterator[tuple[LocalNetwork, list[Started]]]:
    with tempfile.TemporaryDirectory(prefix="novate-bench-") as name:
        network = create_testnet(Path(name), count, Era(), params, consensus)
        with out.progress("validators ready", count) as progress:
            started = bring_up(network.validators, progress.advance)
        try:
            yield network, started
        finally:
            take_down(network, started)


@contextmanager
def _generator(load: Load) -> Iterator[Any]:
    """The generator process, as the pipe that it answers on."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=generate, args=(theirs, load), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.kill()  # it has answered and has nothing left to do, or its answer is no longer wanted
        process.join()


def _receive(pipe: Any, started: Sequence[Started]) -> Any:
    """What the generator answers, unless a validator ends first, with which the figures would mean nothing."""
    try:
        while not pipe.poll(WATCH_S):
            check_alive(started)
        answer = pipe.recv()
    except EOFError as error:
        raise Rejected("generator_died", "The process that posts the load ended before it was done.") from error
    check_alive(started)
    return answer


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _show(out: Output, document: dict[str, Any]) -> None:
    load = "saturation" if document["rate"] is None else f"{document['rate']} a second"
    where = document["machine"]
    out.pairs(
        f"{document['validators']} validators, {document['consensus']}, {load}, {document['seconds']} s",
        {
            "Committed": f"{document['committed']:,} of {document['submitted']:,} trades",
            "Throughput": f"{document['tps']:,.0f} trades/s",
            "Latency p50": f"{document['p50_ms']:.1f} ms",
            "Latency p99": f"{document['p99_ms']:.1f} ms",
            "Processor time": f"{document['cpu_us_per_tx']:.0f} us a trade a validator",
            "Load generator": f"{document['generator_cpu_s']:.2f} s of processor time",
            "Roots": f"equal: {document['state_root']}" if document["agreed"] else "DIFFER",
            "Failures": ", ".join(f"{code}: {number}" for code, number in document["failures"].items()) or "none",
            "Machine": f"{where['cpu']}, {where['cores']} cores, {where['system']}",
            "Pace": f"{where['ed25519_verify_us']:.0f} us for libsodium to check one signature",
            "Versions": f"Python {where['python']}, novate {where['novate']}",
        },
    )
