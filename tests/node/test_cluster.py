"""Monte Carlo over threads and over a real Dask cluster: the same bits, whoever dies, and no strangers."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import novate
from contracts.pricing.margin import MarginRun
from contracts.pricing.margin import merge as merge_profits
from contracts.pricing.monte_carlo import Job, Market, Shard, merge, recheck, run, shards_of
from contracts.pricing.payoffs import Asian, Basket
from genesis.errors import Rejected
from node.cluster import ClusterIdentity, run_on_cluster
from node.cluster_keys import ROLES, make_cluster_keys
from node.shards import run_on_threads
from tests.contracts.pricing.test_margin import BOOK, STORM

distributed = pytest.importorskip("distributed")

# Dask's own transport now and then leaves a connection that the other side has closed to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]

MARKET = Market((100.0,), (0.0,), (0.2,), 0.05)
JOB = Job(MARKET, tuple(n / 8 for n in range(1, 9)), Asian(1, 100_000_000), 200_000, 3)
SHARDS = shards_of(JOB, 150_000)
HERE = merge(JOB, [run(JOB, each) for each in shards_of(JOB)])


def identity(folder: Path, role: str) -> ClusterIdentity:
    return ClusterIdentity.read(folder / "trusted.pem", folder / f"{role}.pem", folder / f"{role}-key.pem")


@dataclass(frozen=True)
class Running:
    """A cluster of two worker processes behind TLS, and the certificates of its three roles."""

    cluster: Any
    keys: Path

    @property
    def address(self) -> str:
        return str(self.cluster.scheduler_address)

    def run(self, job: Job = JOB, advance: Any = lambda: None) -> Any:
        return run_on_cluster(self.address, identity(self.keys, "client"), job, SHARDS, advance)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("cluster")
    make_cluster_keys(folder)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, protocol="tls://", dashboard_address=None,
        security=identity(folder, "scheduler").security, silence_logs=50,
    ) as cluster:  # fmt: skip
        yield Running(cluster, folder)
    gc.collect()  # what it left is found here, where it is not held against another test


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_threads_give_the_same_bits(workers: int) -> None:
    """However many cores a validator has."""
    steps: list[int] = []
    assert merge(JOB, run_on_threads(partial(run, JOB), SHARDS, workers, lambda: steps.append(1))) == HERE
    assert len(steps) == len(SHARDS) > 7


def test_a_margin_run_is_the_same_on_any_number_of_threads() -> None:
    """A margin call that depended on the validator's cores would be disputed."""
    margin_run = MarginRun(BOOK, STORM)
    alone = merge_profits([(Shard(0, STORM.count), margin_run.run(Shard(0, STORM.count)))])
    for workers in (1, 3):
        shards = margin_run.shards(workers)
        found = run_on_threads(margin_run.run, shards, workers, lambda: None)
        assert merge_profits(list(zip(shards, found, strict=True))).tolist() == alone.tolist()


def test_a_refusal_on_a_thread_ends_the_job() -> None:
    """The other shards are not computed for nothing."""
    job = replace(JOB, market=replace(MARKET, spots=(1e8,)), payoff=Basket(1, 0, (8_000_000,)), times_years=(0.5,))
    with pytest.raises(Rejected, match="payout_range"):
        run_on_threads(partial(run, job), shards_of(job, 1), 2, lambda: None)


@pytest.mark.process
def test_a_worker_that_is_killed_in_mid_job_changes_nothing(running: Running) -> None:
    """Machines die; a margin run must neither stop nor come out otherwise."""
    killed: list[int] = []

    def kill_one() -> None:
        if not killed:
            killed.append(next(iter(running.cluster.workers.values())).pid)
            os.kill(killed[0], signal.SIGKILL)

    results = running.run(advance=kill_one)
    assert killed
    assert merge(JOB, results) == HERE
    assert recheck(JOB, results, [0, len(SHARDS) - 1]) == ()


@pytest.mark.process
def test_the_command_gives_the_same_document_here_and_there(running: Running) -> None:
    """The digest of a run on a laptop and of one on the cluster is how two people agree."""
    option = ["--right", "put", "--spot", "100", "--vol", "0.3", "--r", "0.02", "--t-years", "1", "--strike", "90"]
    there = ["--cluster", running.address, "--recheck", "2"]
    for name, file in (("trusted", "trusted.pem"), ("cert", "client.pem"), ("key", "client-key.pem")):
        there += [f"--tls-{name}", str(running.keys / file)]
    found = [CliRunner().invoke(novate, ["price", "mc", *option, *more, "--json"]) for more in ([], there)]
    assert [each.exit_code for each in found] == [0, 0], found[1].stderr
    assert json.loads(found[0].stdout) == json.loads(found[1].stdout)


@pytest.mark.process
def test_a_refusal_comes_back_from_a_worker_as_it_is(running: Running) -> None:
    """The user must see the reason, not a traceback of another machine."""
    job = replace(JOB, market=replace(MARKET, vols=(-1.0,)))
    with pytest.raises(Rejected, match="monte_carlo_range: vol must be from 0 to 10"):
        running.run(job)


@pytest.mark.process
def test_a_client_without_a_certificate_is_refused(running: Running) -> None:
    """Whoever may submit to a cluster may run code on it."""
    context = ssl.create_default_context(cafile=str(running.keys / "trusted.pem"))
    context.check_hostname = False
    host, _, port = running.address.removeprefix("tls://").rpartition(":")

    def greeting() -> bytes:
        with socket.create_connection((host, int(port)), timeout=10) as plain, context.wrap_socket(plain) as stream:
            return stream.recv(1)

    with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
        greeting()
    context.load_cert_chain(running.keys / "client.pem", running.keys / "client-key.pem")
    assert greeting()


@pytest.mark.process
def test_a_stranger_with_a_certificate_of_its_own_is_refused(running: Running, tmp_path: Path) -> None:
    """A certificate proves nothing unless the other side has pinned it."""
    make_cluster_keys(tmp_path)
    stranger = replace(identity(tmp_path, "client"), trusted=identity(running.keys, "client").trusted)
    with pytest.raises(Rejected, match="cluster_unreachable"):
        run_on_cluster(running.address, stranger, JOB, SHARDS, lambda: None, connect_s=3.0)


def test_an_address_in_clear_is_refused(tmp_path: Path) -> None:
    """A job and its answer would be anybody's to read and to change."""
    make_cluster_keys(tmp_path)
    with pytest.raises(Rejected, match="cluster_address"):
        run_on_cluster("tcp://127.0.0.1:8786", identity(tmp_path, "client"), JOB, SHARDS, lambda: None)


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The first thing that goes wrong for everybody."""
    make_cluster_keys(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"tls://127.0.0.1:{held.getsockname()[1]}"
    with pytest.raises(Rejected, match=f"cluster_unreachable: No cluster answers at {address}"):
        run_on_cluster(address, identity(tmp_path, "client"), JOB, SHARDS, lambda: None, connect_s=1.0)


def test_keys_are_private_and_never_overwritten(tmp_path: Path) -> None:
    """A key that is made again locks every worker out; one that others read lets them in."""
    files = make_cluster_keys(tmp_path)
    assert {path.name for path in files} == {"trusted.pem", *(f"{r}{x}.pem" for r in ROLES for x in ("", "-key"))}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    with pytest.raises(Rejected, match="file_exists"):
        make_cluster_keys(tmp_path)
    key = tmp_path / "client-key.pem"
    key.chmod(0o644)
    with pytest.raises(Rejected, match="exposed_file"):
        identity(tmp_path, "client")
    assert "PRIVATE" not in repr(ClusterIdentity("a", "b", "PRIVATE"))


def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    """OpenSSL's own words for it help nobody."""
    make_cluster_keys(tmp_path)
    (tmp_path / "client.pem").write_text("not a certificate")
    with pytest.raises(Rejected, match="bad_cluster_key"):
        identity(tmp_path, "client")
