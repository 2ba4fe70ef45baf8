"""The lower triangle L of a positive definite matrix, L Lᵀ, row by row, every sum from left to right.

Source: Golub and Van Loan, Matrix Computations, fourth edition, section 4.2.5.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from contracts.compiled import kernel


@kernel
def cholesky(matrix: Any, pivot_min: Any, factor: Any) -> Any:
    """Fill `factor` (zeros at first); returns -1, or the row of the first pivot below `pivot_min`, which stops it.

    That row's diagonal of `factor` then holds the pivot itself, not its root.
    """
    for row in range(matrix.shape[0]):
        for column in range(row + 1):
            rest = matrix[row, column]
            for k in range(column):
                rest = rest - factor[row, k] * factor[column, k]
            if column < row:
                factor[row, column] = rest / factor[column, column]
            elif rest < pivot_min:
                factor[row, row] = rest
                return row
            else:
                factor[row, row] = sqrt(rest)
    return -1
