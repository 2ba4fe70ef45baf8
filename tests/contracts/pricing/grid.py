"""The stated grids over which the kernel's bits are golden; as a program, prints their digests.

Points are exact: integers over powers of two, so that no rounding makes them. A digest is BLAKE2s over the results as
little-endian float64, in the order of the grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2s

import numpy as np

from contracts.pricing import kernel

GOLDEN = {
    "exp": "486bf86a9982799f4c097741930db39a",
    "log": "ca1c72e5474513f1112714d7e16336a6",
    "log_ratio": "33c1e607bc97965f5a983681cdf3b764",
    "mills_ratio": "10bfcc0b61da0ea6cccc79ec9d2e10be",
    "normal_cdf": "a676821b1b3ae4d6d8517e677d83ad6a",
    "normal_density": "b1bd9370d138b3420d1b57552b6ae34a",
    "inverse_normal_cdf": "2895624a3c26bb3f7a9ab80cde0e10d3",
}


def digest_of(values: Iterable[float]) -> str:
    """The digest of the values' bits; NaN, whose bits differ between machines, is refused."""
    array = np.fromiter(values, "<f8")
    if not np.isfinite(array).all():
        raise ValueError("a grid gives what is not finite")
    return blake2s(array.tobytes(), digest_size=16).hexdigest()


def digests() -> dict[str, str]:
    """The digest of each function over its grid."""
    return {
        "exp": digest_of(kernel.exp(n / 8) for n in range(-5700, 5700)),
        "log": digest_of(kernel.log(n * n / 1024) for n in range(1, 8000)),
        "log_ratio": digest_of(kernel.log_ratio(n * n / 1024, 7.0 + n % 251) for n in range(1, 8000)),
        "mills_ratio": digest_of(kernel.mills_ratio(n / 128) for n in range(20000)),
        "normal_cdf": digest_of(kernel.normal_cdf(n / 128) for n in range(-5000, 1200)),
        "normal_density": digest_of(kernel.normal_density(n / 128) for n in range(-5000, 5000)),
        "inverse_normal_cdf": digest_of(kernel.inverse_normal_cdf(n * n / 67108864) for n in range(1, 8192)),
    }


if __name__ == "__main__":
    print("compiled" if hasattr(kernel.exp, "py_func") else "interpreted")
    for name, value in digests().items():
        print(name, value)
