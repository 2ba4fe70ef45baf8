"""A Monte Carlo job over the threads of this machine.

What is computed is decided in `contracts.pricing.monte_carlo`: shards by count of work, exact sums. Here, and in
`node.cluster`, it is only decided where each shard runs, so the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final

from contracts.pricing.monte_carlo import Job, Shard, ShardResult, run

WORKERS_MAX: Final = 256

Advance = Callable[[], None]
"""Called as each shard is done, for a progress bar."""


def run_on_threads(job: Job, shards: Sequence[Shard], workers: int, advance: Advance) -> list[ShardResult]:
    """The results of the shards, in their order, computed on `workers` threads; kernels run without the lock."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, job, shard) for shard in shards]
        try:
            for each in as_completed(futures):
                each.result()
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [each.result() for each in futures]
