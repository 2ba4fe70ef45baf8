"""A correlation matrix, checked, as the triangle that turns independent normals into correlated ones."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contracts.pricing.cholesky_kernel import cholesky
from genesis.errors import Rejected

UNDERLYINGS_MAX: Final = 64
PIVOT_MIN: Final = 1e-10
"""Below it a pivot is rounding noise: the underlyings are as good as dependent, and its root would be noise too."""


def factor_of(correlation: ArrayLike) -> NDArray[np.float64]:
    """L with L Lᵀ = `correlation`, lower triangular.

    Args:
        correlation: Square, symmetric to the bit, ones on the diagonal, within [-1, 1].

    Raises:
        Rejected: ``correlation_shape``, ``correlation_range``; ``not_positive_definite`` with the row and the pivot.
    """
    matrix = np.ascontiguousarray(np.asarray(correlation, dtype=np.float64))
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not 1 <= matrix.shape[0] <= UNDERLYINGS_MAX:
        message = f"A correlation matrix is square and of 1 to {UNDERLYINGS_MAX} rows."
        raise Rejected("correlation_shape", message, shape=str(matrix.shape))
    _check_entries(matrix)
    factor = np.zeros_like(matrix)
    row = cholesky(matrix, PIVOT_MIN, factor)
    if row >= 0:
        raise Rejected(
            "not_positive_definite",
            "The correlations contradict each other: the matrix is not positive definite.",
            row=int(row),
            pivot=repr(float(factor[row, row])),
            pivot_min=repr(PIVOT_MIN),
        )
    return factor


def _check_entries(matrix: NDArray[np.float64]) -> None:
    for row, column in np.ndindex(*matrix.shape):
        value, mirrored = float(matrix[row, column]), float(matrix[column, row])
        place = {"row": row, "column": column, "value": repr(value)}
        if not -1.0 <= value <= 1.0:
            raise Rejected("correlation_range", "A correlation is from -1 to 1.", **place)
        if row == column and value != 1.0:
            raise Rejected("correlation_range", "An underlying's correlation with itself is 1.", **place)
        if value != mirrored:
            raise Rejected("correlation_range", "The matrix is not symmetric.", **place, mirrored=repr(mirrored))
