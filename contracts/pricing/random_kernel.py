"""Counter-based random numbers: the number of a scenario is a function of its index, whoever asks, in whatever order.

Philox4x32 with ten rounds turns a counter of 128 bits and a key of 64 into 128 random bits. The counter names what the
number is for, so no state is handed from one number to the next, and any split of the work gives the same bits.
Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC11 (2011), section 3.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contracts.compiled import inlined


@inlined
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Four random words of 32 bits for a counter and a key, all in uint64 below 2³²."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for _ in range(10):
        a = np.uint64(0xD2511F53) * c0
        b = np.uint64(0xCD9E8D57) * c2
        c0 = (b >> half) ^ c1 ^ k0
        c2 = (a >> half) ^ c3 ^ k1
        c1 = b & low
        c3 = a & low
        k0 = (k0 + np.uint64(0x9E3779B9)) & low
        k1 = (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


@inlined
def top_bits(low: Any, high: Any) -> Any:
    """The high 52 bits of the word of 64 that `low` and `high`, 32 bits each, make."""
    return (low | (high << np.uint64(32))) >> np.uint64(12)


@inlined
def uniform(bits: Any) -> Any:
    """(k + ½) / 2⁵² for the k below 2⁵² in `bits`: exact, in (0, 1), and as often at u as at 1 - u.

    k becomes the mantissa of a number in [1, 2), from which 1 - 2⁻⁵³ is taken; no conversion, no rounding.
    """
    return np.uint64(bits | np.uint64(0x3FF0000000000000)).view(np.float64) - 0.9999999999999999
