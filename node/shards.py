"""Shards of a Monte Carlo job or of a margin run over the threads of this machine.

What is computed is decided in `contracts.pricing` (`monte_carlo`, `margin`): shards by count of work, exact sums. Here,
and in `node.cluster`, it is only decided where each shard runs, so the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from contracts.pricing.monte_carlo import Shard

Result = TypeVar("Result")
Advance = Callable[[], None]
"""Called as each shard is done, for a progress bar."""


def run_on_threads(
    compute: Callable[[Shard], Result], shards: Sequence[Shard], workers: int, advance: Advance
) -> list[Result]:
    """The results of the shards, in their order, computed on `workers` threads; kernels run without the lock.

    Args:
        compute: What a shard comes to: ``partial(monte_carlo.run, job)``, or `MarginRun.run`.
        advance: Called in this thread.
    """
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(compute, shard) for shard in shards]
        try:
            for each in as_completed(futures):
                each.result()
                advance()
        except BaseException:  # Ctrl-C too: the shards that wait are of no use to anybody.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [each.result() for each in futures]
