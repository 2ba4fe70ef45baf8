"""A Monte Carlo job over a Dask cluster: the same shards as on this machine's threads, the same bits.

Rules:

1. A cluster is reached through TLS 1.3 and in no other way, both sides showing a certificate that the other trusts.
2. Whoever may submit to a cluster may run code on its workers, and a worker's answer is unpickled here: the cluster is
   its operator's own. Its answers are checked for shape and completeness, and a sample can be computed again.
3. A worker that dies is not waited for: Dask gives its shards to another. A shard that several workers die of ends the
   job.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from contracts.pricing.monte_carlo import Job, Shard, ShardResult, run
from genesis.errors import Rejected
from node.files import read_private
from node.shards import Advance
from node.small_files import read_small

CONNECT_S: Final = 30.0
PEM_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True)
class ClusterIdentity:
    """What we show a cluster, and whom we trust: PEM texts. The key is never shown."""

    trusted: str
    certificate: str
    key: str = field(repr=False)

    @classmethod
    def read(cls, trusted: Path, certificate: Path, key: Path) -> ClusterIdentity:
        """The identity in three files, as `node.cluster_keys` writes them.

        Raises:
            Rejected: ``bad_cluster_key`` for what is no PEM text; ``exposed_file`` for a key that others may read.
        """
        return cls(
            _read_pem(trusted, read_small(trusted, PEM_BYTES_MAX)),
            _read_pem(certificate, read_small(certificate, PEM_BYTES_MAX)),
            _read_pem(key, read_private(key, PEM_BYTES_MAX)),
        )

    @property
    def security(self) -> Any:
        """The same for Dask (its `Security`), in every role; nothing without TLS."""
        distributed = import_module("distributed")

        roles = {f"tls_{role}_{what}": text for role in ("client", "scheduler", "worker") for what, text in self._pair}
        return distributed.Security(
            tls_ca_file=self.trusted, require_encryption=True, tls_min_version=ssl.TLSVersion.TLSv1_3, **roles
        )

    @property
    def _pair(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("cert", self.certificate), ("key", self.key)


def _read_pem(path: Path, data: bytes) -> str:
    if len(data) > PEM_BYTES_MAX or b"-----BEGIN " not in data or not data.isascii():
        raise Rejected("bad_cluster_key", f"{path} holds no certificate or key in PEM.")
    return data.decode()


def run_on_cluster(
    address: str,
    identity: ClusterIdentity,
    job: Job,
    shards: Sequence[Shard],
    advance: Advance,
    *,
    connect_s: float = CONNECT_S,
) -> list[ShardResult]:
    """The results of the shards, in their order, computed by the cluster's workers.

    Args:
        address: The scheduler's, ``tls://host:port``.
        connect_s: How long to try to reach it.

    Raises:
        Rejected: ``cluster_extra`` where Dask is not installed; ``cluster_address``; ``cluster_unreachable`` when
            nobody answers or the handshake fails; ``cluster_failed`` when a shard cannot be computed there;
            ``cluster_answer`` for a result that is not one.
    """
    if not address.startswith("tls://"):
        raise Rejected("cluster_address", "A cluster's address begins with tls://; nothing is sent in clear.")
    client = _connected(address, identity, connect_s)
    try:
        return _gathered(client, job, shards, advance)
    finally:
        client.close()


def _connected(address: str, identity: ClusterIdentity, connect_s: float) -> Any:
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        message = "Clusters need the extra `cluster` of this package (dask.distributed)."
        raise Rejected("cluster_extra", message) from error
    try:
        return distributed.Client(address, security=identity.security, timeout=connect_s, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise Rejected("cluster_unreachable", f"No cluster answers at {address}: {reason}.") from error


def _gathered(client: Any, job: Job, shards: Sequence[Shard], advance: Advance) -> list[ShardResult]:
    distributed = import_module("distributed")
    futures = client.map(partial(run, job), shards, pure=False)
    try:
        for each in distributed.as_completed(futures, loop=client.loop):
            each.result()
            advance()
        found = client.gather(futures)
    except distributed.KilledWorker as error:
        raise Rejected("cluster_failed", f"Workers died of a shard: {error}.") from error
    except (distributed.client.FutureCancelledError, OSError) as error:
        raise Rejected("cluster_failed", f"The cluster was lost: {error}.") from error
    for shard, result in zip(shards, found, strict=True):
        if not isinstance(result, ShardResult) or result.shard != shard:
            raise Rejected(
                "cluster_answer", "A worker answered with what is no result of its shard.", first=shard.first
            )
    return list(found)
