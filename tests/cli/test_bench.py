"""The benchmark's arithmetic and its load: what it reports must be what happened."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.bench import Measured, _receive, machine, percentile, report, set_up_market
from cli.bench_load import MEMBERS, Load, Loaded, Shared, post_all, presign
from cli.client import Client
from cli.processes import Started, cpu_s
from cli.testnet_run import Survey
from genesis.envelope import decode_envelope, verify_all
from genesis.errors import Rejected
from genesis.params import ChainParams
from tests.cli.stub_chain import stub_network

CHAIN = bytes(range(32))


def load_of(urls: tuple[str, ...], chain_id: bytes = CHAIN, trades: int = 60, rate: int | None = None) -> Load:
    """A small load."""
    seeds = tuple(secrets.token_bytes(32) for _ in MEMBERS)
    expires = time.time_ns() // 1_000_000 + 60_000
    return Load(urls, chain_id, seeds, expires, trades, 60.0, rate)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, 0.0),
        ([3.0], 50, 3.0),
        ([3.0], 99, 3.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([float(number) for number in range(1, 101)], 50, 50.0),
        ([float(number) for number in range(1, 101)], 99, 99.0),
        ([float(number) for number in range(1, 101)], 100, 100.0),
        ([float(number) for number in range(1, 11)], 99, 10.0),
    ],
)
def test_percentiles_are_of_the_nearest_rank(values: list[float], percent: int, expected: float) -> None:
    """An interpolated p99 of ten values would be a latency that nobody had."""
    assert percentile(values, percent) == expected


def test_the_report_divides_by_validators_and_by_time() -> None:
    """1,000 trades in 2 s that cost four validators 1.2 s together: 500 a second, 300 us a trade a validator."""
    loaded = Loaded(1_100, 1_000, {"mempool_full": 100}, [0.01] * 990 + [0.5] * 10, 2.0, 0.25)
    used = {"v0": 0.3, "v1": 0.3, "v2": 0.3, "v3": 0.3}
    document = report(Measured(loaded, used, Survey((), 7, "ab")), 4, 2, None)
    expected: dict[str, Any] = {
        "validators": 4,
        "tps": 500.0,
        "p50_ms": 10.0,
        "p99_ms": 10.0,
        "submitted": 1_100,
        "committed": 1_000,
        "cpu_us_per_tx": 300.0,
        "generator_cpu_s": 0.25,
        "agreed": True,
    }
    assert {name: document[name] for name in expected} == expected


def test_nothing_committed_is_reported_and_not_divided_by() -> None:
    """A network that is down has a throughput of zero, not a traceback."""
    nothing = Loaded(5, 0, {"unreachable": 5}, [], 0.0, 0.0)
    document = report(Measured(nothing, {"v0": 0.1}, Survey((), None, None)), 1, 1, 9)
    figures = {name: document[name] for name in ("tps", "cpu_us_per_tx", "p99_ms", "agreed")}
    assert figures == {"tps": 0.0, "cpu_us_per_tx": 0.0, "p99_ms": 0.0, "agreed": False}


def test_every_presigned_trade_is_valid_and_different() -> None:
    """A load of duplicates would measure the replay table."""
    load = load_of(())
    envelopes = [decode_envelope(wire, CHAIN, ChainParams()) for wire in presign(load)]
    assert len({each.id for each in verify_all(envelopes)}) == 60
    assert all(len(each.signers) == 2 for each in envelopes)


@pytest.mark.parametrize("rate", [None, 100])
def test_what_the_network_refuses_is_counted_by_its_code(tmp_path: Path, rate: int | None) -> None:
    """Refused trades must not pass for committed ones."""
    with stub_network(tmp_path) as network:
        load = load_of(network.urls, network.chain.document.chain_id, rate=rate)
        loaded = post_all(load, presign(load))
    assert (loaded.submitted, loaded.committed) == (60, 0)
    assert loaded.failures == {"unknown_signer": 60}


def test_latency_counts_from_when_a_trade_was_due(tmp_path: Path) -> None:
    """A stall must be paid for by every trade that it delays, or the figures flatter."""
    with stub_network(tmp_path) as network, Client(network.urls) as client:
        load = load_of(network.urls, network.chain.document.chain_id, rate=200)
        set_up_market(network.session(client), network.testnet, load.seeds)
        network.chain.stall_s = 0.5
        loaded = post_all(load, presign(load))
    # The first answer takes 0.5 s and all wait for it; the 60 were due within 0.3 s, so the median waited 0.35 s.
    assert loaded.committed == 60
    assert percentile(sorted(loaded.latencies_s), 50) >= 0.3


def test_an_open_loop_takes_its_time(tmp_path: Path) -> None:
    """60 trades at 100 a second cannot be over before 590 ms."""
    with stub_network(tmp_path) as network:
        load = load_of(network.urls, network.chain.document.chain_id, rate=100)
        start = time.monotonic()
        post_all(load, presign(load))
    assert time.monotonic() - start >= 0.59


def test_shared_items_are_taken_once() -> None:
    """Two threads must not post the same trade."""
    shared = Shared(iter(range(3)))
    assert [shared.take() for _ in range(5)] == [0, 1, 2, None, None]


def test_processor_time_of_a_process_grows_with_its_work() -> None:
    """And a process that is gone has used none, rather than failing the report."""
    before = cpu_s(os.getpid())
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert cpu_s(os.getpid()) >= before + 0.02
    assert cpu_s(2**22 + 1) == 0.0


def test_a_validator_that_dies_under_load_ends_the_run(tmp_path: Path) -> None:
    """The load would burn on the others' failures, and the figures would be of another network."""
    (tmp_path / "v3").mkdir()
    (tmp_path / "v3" / "node.log").write_text("out of memory\n")
    ours, theirs = multiprocessing.Pipe()
    validator = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with ours, theirs, pytest.raises(Rejected, match="v3 has ended, with exit code 3") as refused:
        _receive(ours, [Started(tmp_path / "v3", validator)])
    assert refused.value.code == "validator_died"
    assert "out of memory" in refused.value.message


def test_a_generator_that_dies_is_an_error() -> None:
    """Waiting for it would be for ever."""
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    with ours, pytest.raises(Rejected, match="ended before it was done"):
        _receive(ours, [])


def test_the_machine_is_named() -> None:
    """A figure without its machine is a rumour."""
    assert set(machine()) == {"cpu", "cores", "system", "python", "novate", "ed25519_verify_us"}
    assert all(machine().values())
