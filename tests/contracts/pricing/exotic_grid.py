"""The bits of the exotic models over their samples; as a program, prints their digests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.pricing import asian, barrier, barrier_kernel, double_barrier, lookback
from tests.contracts.pricing.grid import digest_of

GOLDEN = {
    "asian": "5e83401f446d0a5f0c27c80d310f9b82",
    "barrier": "393e137c61479aa8d050118e084488ab",
    "double_barrier": "db82ea2f31090e7408e01c842cd6f629",
    "lookback": "70ae7238ba8a79658e1c922260549106",
}
SAMPLES: dict[str, Callable[[], tuple[np.ndarray, ...]]] = {
    "asian": asian.sample,
    "barrier": barrier.sample,
    "double_barrier": double_barrier.sample,
    "lookback": lookback.sample,
}


def digests() -> dict[str, str]:
    """The digest of each model's sample, its arrays one after another."""
    return {name: digest_of(np.concatenate(sample())) for name, sample in SAMPLES.items()}


if __name__ == "__main__":
    print("compiled" if hasattr(barrier_kernel.barrier_price, "py_func") else "interpreted")
    for name, value in digests().items():
        print(name, value)
