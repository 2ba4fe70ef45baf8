"""Direction numbers of Joe and Kuo for the first 64 dimensions, and the frozen table that kernels read.

Source: Joe and Kuo, Constructing Sobol sequences with better two-dimensional projections, SIAM Journal on Scientific
Computing 30 (2008), pages 2635 to 2654; the figures are the first rows of their table ``new-joe-kuo-6``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from genesis.errors import Rejected

BITS: Final = 52
POINT_BITS: Final = 32
POINTS_MAX: Final = 1 << POINT_BITS
POLYNOMIALS: Final[tuple[tuple[int, tuple[int, ...]], ...]] = (
    (0, (1,)),
    (1, (1, 3)),
    (1, (1, 3, 1)),
    (2, (1, 1, 1)),
    (1, (1, 1, 3, 3)),
    (4, (1, 3, 5, 13)),
    (2, (1, 1, 5, 5, 17)),
    (4, (1, 1, 5, 5, 5)),
    (7, (1, 1, 7, 11, 19)),
    (11, (1, 1, 5, 1, 1)),
    (13, (1, 1, 1, 3, 11)),
    (14, (1, 3, 5, 5, 31)),
    (1, (1, 3, 3, 9, 7, 49)),
    (13, (1, 1, 1, 15, 21, 21)),
    (16, (1, 3, 1, 13, 27, 49)),
    (19, (1, 1, 1, 15, 7, 5)),
    (22, (1, 3, 1, 15, 13, 25)),
    (25, (1, 1, 5, 5, 19, 61)),
    (1, (1, 3, 7, 11, 23, 15, 103)),
    (4, (1, 3, 7, 13, 13, 15, 69)),
    (7, (1, 1, 3, 13, 7, 35, 63)),
    (8, (1, 3, 5, 9, 1, 25, 53)),
    (14, (1, 3, 1, 13, 9, 35, 107)),
    (19, (1, 3, 1, 5, 27, 61, 31)),
    (21, (1, 1, 5, 11, 19, 41, 61)),
    (28, (1, 3, 5, 3, 3, 13, 69)),
    (31, (1, 1, 7, 13, 1, 19, 1)),
    (32, (1, 3, 7, 5, 13, 19, 59)),
    (37, (1, 1, 3, 9, 25, 29, 41)),
    (41, (1, 3, 5, 13, 23, 1, 55)),
    (42, (1, 3, 7, 3, 13, 59, 17)),
    (50, (1, 3, 1, 3, 5, 53, 69)),
    (55, (1, 1, 5, 5, 23, 33, 13)),
    (56, (1, 1, 7, 7, 1, 61, 123)),
    (59, (1, 1, 7, 9, 13, 61, 49)),
    (62, (1, 3, 3, 5, 3, 55, 33)),
    (14, (1, 3, 1, 15, 31, 13, 49, 245)),
    (21, (1, 3, 5, 15, 31, 59, 63, 97)),
    (22, (1, 3, 1, 11, 11, 11, 77, 249)),
    (38, (1, 3, 1, 11, 27, 43, 71, 9)),
    (47, (1, 1, 7, 15, 21, 11, 81, 45)),
    (49, (1, 3, 7, 3, 25, 31, 65, 79)),
    (50, (1, 3, 1, 1, 19, 11, 3, 205)),
    (52, (1, 1, 5, 9, 19, 21, 29, 157)),
    (56, (1, 3, 7, 11, 1, 33, 89, 185)),
    (67, (1, 3, 3, 3, 15, 9, 79, 71)),
    (70, (1, 3, 7, 11, 15, 39, 119, 27)),
    (84, (1, 1, 3, 1, 11, 31, 97, 225)),
    (97, (1, 1, 1, 3, 23, 43, 57, 177)),
    (103, (1, 3, 7, 7, 17, 17, 37, 71)),
    (115, (1, 3, 1, 5, 27, 63, 123, 213)),
    (122, (1, 1, 3, 5, 11, 43, 53, 133)),
    (8, (1, 3, 5, 5, 29, 17, 47, 173, 479)),
    (13, (1, 3, 3, 11, 3, 1, 109, 9, 69)),
    (16, (1, 1, 1, 5, 17, 39, 23, 5, 343)),
    (22, (1, 3, 1, 5, 25, 15, 31, 103, 499)),
    (25, (1, 1, 1, 11, 11, 17, 63, 105, 183)),
    (44, (1, 1, 5, 11, 9, 29, 97, 231, 363)),
    (47, (1, 1, 5, 15, 19, 45, 41, 7, 383)),
    (52, (1, 3, 7, 7, 31, 19, 83, 137, 221)),
    (55, (1, 1, 1, 3, 23, 15, 111, 223, 83)),
    (59, (1, 1, 5, 13, 31, 15, 55, 25, 161)),
    (62, (1, 1, 3, 13, 25, 47, 39, 87, 257)),
)
"""For each dimension from the second on: the inner coefficients of its primitive polynomial, the highest in the
highest bit, and its first direction numbers, as many as the polynomial's degree."""
DIMENSIONS_MAX: Final = 1 + len(POLYNOMIALS)


def directions(dimensions: int) -> NDArray[np.uint64]:
    """The direction numbers v[dimension, k] = m_k 2^(52 - k), for `sobol_kernel.sobol`.

    m_k = 2 a_1 m_(k-1) ^ 4 a_2 m_(k-2) ^ ... ^ 2^(s-1) a_(s-1) m_(k-s+1) ^ 2^s m_(k-s) ^ m_(k-s).

    Raises:
        Rejected: ``sobol_dimensions``: the table has fewer.
    """
    if not 1 <= dimensions <= DIMENSIONS_MAX:
        raise Rejected(
            "sobol_dimensions",
            "A Sobol sequence has a bounded number of dimensions here, one for each underlying and time.",
            dimensions=dimensions,
            dimensions_max=DIMENSIONS_MAX,
        )
    rows = [[1] * POINT_BITS, *(_recurrence(*each) for each in POLYNOMIALS[: dimensions - 1])]
    return np.array([[m << (BITS - k) for k, m in enumerate(row, start=1)] for row in rows], dtype=np.uint64)


def _recurrence(coefficients: int, first: tuple[int, ...]) -> list[int]:
    """m_1 to m_32."""
    degree, found = len(first), list(first)
    while len(found) < POINT_BITS:
        number = found[-degree] ^ (found[-degree] << degree)
        for back in range(1, degree):
            if coefficients >> (degree - 1 - back) & 1:
                number ^= found[-back] << back
        found.append(number)
    return found
