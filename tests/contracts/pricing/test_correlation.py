"""The triangle of a correlation matrix, and the matrices that have none."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.pricing.correlation import UNDERLYINGS_MAX, factor_of
from genesis.errors import Rejected


def test_the_triangle_gives_the_matrix_back() -> None:
    """Its rows mix independent normals: another product is another correlation."""
    draws = np.random.default_rng(1).normal(size=(12, 40))
    covariance = draws @ draws.T
    scale = 1.0 / np.sqrt(np.diag(covariance))
    matrix = covariance * np.outer(scale, scale)
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1.0)
    factor = factor_of(matrix)
    assert np.abs(factor @ factor.T - matrix).max() < 1e-14
    assert (np.triu(factor, 1) == 0.0).all()
    assert factor_of([[1.0, 0.5], [0.5, 1.0]]).tolist() == [[1.0, 0.0], [0.5, 0.75**0.5]]


CONTRADICTORY = [[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (CONTRADICTORY, "not_positive_definite: .*row=2, pivot=-15"),
        ([[1.0, 1.0], [1.0, 1.0]], "not_positive_definite: .*row=1, pivot=0.0,"),
        ([[1.0, 0.5], [0.4, 1.0]], "correlation_range: .*symmetric"),
        ([[1.0, 1.5], [1.5, 1.0]], "correlation_range: .*from -1 to 1"),
        ([[2.0]], "correlation_range: .*from -1 to 1"),
        ([[0.5]], "correlation_range: .*with itself"),
        ([[1.0, float("nan")], [float("nan"), 1.0]], "correlation_range: .*from -1 to 1"),
        ([1.0], "correlation_shape"),
        (np.zeros((2, 3)), "correlation_shape"),
        (np.zeros((0, 0)), "correlation_shape"),
        (np.eye(UNDERLYINGS_MAX + 1), "correlation_shape"),
    ],
)
def test_a_matrix_is_refused(matrix: object, reason: str) -> None:
    """Paths under a matrix that is none would be somebody's margin."""
    with pytest.raises(Rejected, match=reason):
        factor_of(matrix)
