"""What a node checks before it relies on a price, and what it tells its peers: that its kernels give the agreed bits.

1. The thread rounds to nearest, ties to even, and computes with subnormal numbers. Both are modes of the processor
   that any library may have changed when it was loaded: one built with ``-ffast-math`` flushes them to zero.
2. Every model's `sample` gives the bits that are golden here.
3. The digest of what the samples gave is part of the hello (`contracts.kernels`), so that a build whose golden bits
   are others is refused by its peers.

A new model is one line in `MODELS`; ``python -m tests.contracts.pricing.golden`` prints the lines as they are now.
Change one only if prices were meant to change: validators before and after it refuse each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.pricing import (
    american,
    asian,
    barrier,
    digital,
    double_barrier,
    implied_volatility,
    inverse,
    leisen_reimer,
    lookback,
    margin,
    monte_carlo,
    svi,
    touch,
    vanilla,
)
from contracts.pricing.guard_kernel import sums_and_products
from genesis.codec import encode
from genesis.errors import invariant
from genesis.hashing import Domain, digest

Sample = Callable[[], tuple[NDArray[Any], ...]]
DIGEST_BYTES: Final = 16
MODELS: Final[Mapping[str, tuple[Sample, str]]] = {
    "american": (american.sample, "7fbc458b8dc8ec8d12b40dfd5db16d06"),
    "asian": (asian.sample, "02eb2ebcce558baac66ce0eafebac1e9"),
    "barrier": (barrier.sample, "b94fa488364e831fb3d7eb755fc1bb84"),
    "digital": (digital.sample, "565cb4e9d42bbfec09e9251d2420571e"),
    "double_barrier": (double_barrier.sample, "0c562342b6d30f6194fc78e4a4f2b602"),
    "implied_volatility": (implied_volatility.sample, "bab9373c2422b4f3774b9722fd572f11"),
    "inverse": (inverse.sample, "fdd2e8236f8f4fd825e9c7e02e7efff6"),
    "leisen_reimer": (leisen_reimer.sample, "c9652271395c196b78fb43cbba7c231d"),
    "lookback": (lookback.sample, "45dc640bd243749db6d97499ec86e09a"),
    "margin": (margin.sample, "0b4316afeb0910ded7ef10738711f8c0"),
    "monte_carlo": (monte_carlo.sample, "b367af095e23e2b695f46a1baaed442d"),
    "svi": (svi.sample, "41c15038de19c0225a16c03f150ba663"),
    "touch": (touch.sample, "4b543bce600300d6ddaea482aa621a22"),
    "vanilla": (vanilla.sample, "df0f11de63370aab0d2d06880f6b3b31"),
}
"""Name, sample, and the digest of its bits."""

_TIE: Final = 2.0**-53
"""Half a unit in the last place of 1."""
_LEAST: Final = 2.0**-1022
"""The least number that is not subnormal."""
ROUNDING: Final = (
    ("a tie goes down to even", 1.0, _TIE, 1.0),
    ("a tie goes up to even", 1.0 + 2 * _TIE, _TIE, 1.0 + 4 * _TIE),
    ("a negative tie goes up to even", -1.0, -_TIE, -1.0),
    ("a negative tie goes down to even", -1.0 - 2 * _TIE, -_TIE, -1.0 - 4 * _TIE),
    ("more than half goes up", 1.0, 1.25 * _TIE, 1.0 + 2 * _TIE),
    ("less than half goes down", 1.0, 0.75 * _TIE, 1.0),
)
"""What is so, two numbers, and their sum."""
SUBNORMALS: Final = (
    ("a subnormal result is kept", _LEAST, 0.5, 2.0**-1023),
    ("the least number is kept", _LEAST, 2.0**-52, 2.0**-1074),
    ("a subnormal argument is used", 2.0**-1074, 2.0**1000, 2.0**-74),
)
"""What is so, two numbers, and their product."""


def check_modes() -> None:
    """See that this thread computes as IEEE 754 has it by default.

    Raises:
        InvariantViolation: It does not; the message says which rule is broken.
    """
    table = (*ROUNDING, *SUBNORMALS)
    first, second, expected = (np.array([row[place] for row in table]) for place in (1, 2, 3))
    total, product = np.empty(len(table)), np.empty(len(table))
    sums_and_products(first, second, total, product)
    found = [*total[: len(ROUNDING)].tolist(), *product[len(ROUNDING) :].tolist()]
    for (what, *_), value, right in zip(table, found, expected.tolist(), strict=True):
        invariant(
            value.hex() == right.hex(),
            f"The processor is in another mode than prices need: not so that {what}. A library has set it.",
            found=value.hex(),
            expected=right.hex(),
        )


def self_test() -> None:
    """Check the processor's modes and every model's bits; compiles what is not in the cache.

    Raises:
        InvariantViolation: A mode or a model's bits are not as they must be; the message names it.
    """
    check_modes()
    for name, found in digests().items():
        golden = MODELS[name][1]
        invariant(
            found == golden,
            f"The kernels of {name} compute other bits than the golden ones.",
            found=found,
            golden=golden,
        )


@cache
def digests() -> Mapping[str, str]:
    """The digest of what each model computes here, by the model's name; computed once in a process."""
    return {name: digest_of(name, sample()) for name, (sample, _) in MODELS.items()}


def digest_of(name: str, arrays: tuple[NDArray[Any], ...]) -> str:
    """The digest of the arrays' types, lengths and bits, little-endian."""
    parts: list[str | bytes] = []
    for array in arrays:
        invariant(bool(np.isfinite(array).all()), "a sample gives what is not finite", model=name)
        parts += [array.dtype.str.lstrip("<>=|"), array.astype(array.dtype.newbyteorder("<")).tobytes()]
    return digest(Domain.KERNEL, encode((name, *parts)))[:DIGEST_BYTES].hex()
