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
    "exp": "c40e006fc274acaf0f485e5869333a5d",
    "log": "ca1c72e5474513f1112714d7e16336a6",
    "normal_cdf": "603039ce372d10d33de4da9b26f37b27",
    "normal_density": "28984deebdf3db998cdb8ecaf7136dbc",
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
        "normal_cdf": digest_of(kernel.normal_cdf(n / 128) for n in range(-5000, 1200)),
        "normal_density": digest_of(kernel.normal_density(n / 128) for n in range(-5000, 5000)),
        "inverse_normal_cdf": digest_of(kernel.inverse_normal_cdf(n * n / 67108864) for n in range(1, 8192)),
    }


if __name__ == "__main__":
    print("compiled" if hasattr(kernel.exp, "py_func") else "interpreted")
    for name, value in digests().items():
        print(name, value)
