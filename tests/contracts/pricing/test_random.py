"""Philox against the published vectors, Sobol against what its construction promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from contracts.pricing.random_kernel import philox, top_bits, uniform
from contracts.pricing.sobol import DIMENSIONS_MAX, POLYNOMIALS, directions
from contracts.pricing.sobol_kernel import sobol
from genesis.errors import Rejected


def word(text: str) -> np.uint64:
    return np.uint64(int(text, 16))


def points(dimensions: int, count: int) -> np.ndarray:
    """The first points, as fractions."""
    table = directions(dimensions)
    bits = [[int(sobol(table, d, np.uint64(n))) for d in range(dimensions)] for n in range(count)]
    return np.array(bits) / 2**52


def test_philox_gives_the_published_words(shared_data: Callable[[str], Path]) -> None:
    """Another generator under the same name would still look random."""
    rows = json.loads(shared_data("vectors/random123_kat.json").read_text())["rows"]
    ours = [row for row in rows if (row["gen"], row["rounds"]) == ("philox4x32", 10)]
    assert len(ours) == 3
    for row in ours:
        found = philox(*map(word, row["ctr"]), *map(word, row["key"]))
        assert [int(each) for each in found] == [int(each, 16) for each in row["expected"]]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, 2.0**-53),
        (0xFFFFFFFF, 0xFFFFFFFF, 1.0 - 2.0**-53),
        (0, 0x80000000, 0.5 + 2.0**-53),
        (0xFFF, 0, 2.0**-53),
        (0x1000, 0, 3 * 2.0**-53),
    ],
)
def test_a_uniform_is_the_middle_of_its_cell(low: int, high: int, expected: float) -> None:
    """Neither 0 nor 1 ever comes out: the normal quantile of either is infinite."""
    assert uniform(top_bits(np.uint64(low), np.uint64(high))) == expected


def order(polynomial: int, degree: int) -> int:
    """The least n with xⁿ = 1 modulo a polynomial over the field of two elements; 0 where there is none."""
    value = 1
    for n in range(1, 2**degree):
        value <<= 1
        value ^= polynomial if value >> degree else 0
        if value == 1:
            return n
    return 0


def test_every_polynomial_is_primitive_and_its_own() -> None:
    """One wrong digit in the table, and two dimensions fall together or one does not fill its interval."""
    whole = [(1 << len(first)) | (a << 1) | 1 for a, first in POLYNOMIALS]
    assert len(set(whole)) == len(whole) == DIMENSIONS_MAX - 1
    for polynomial, (_, first) in zip(whole, POLYNOMIALS, strict=True):
        assert order(polynomial, len(first)) == 2 ** len(first) - 1
        assert all(m % 2 == 1 and m < 2**k for k, m in enumerate(first, start=1))


def test_the_first_points_are_those_of_the_published_example() -> None:
    """The order of the points and the meaning of the table's columns are conventions that could be read otherwise."""
    eighths = (points(3, 8) * 8).tolist()
    assert eighths == [[0, 0, 0], [4, 4, 4], [6, 2, 2], [2, 6, 6], [3, 3, 5], [7, 7, 1], [5, 1, 7], [1, 5, 3]]


def test_the_points_of_all_dimensions_are_golden() -> None:
    """SciPy's generator gives these same 512 points from the same published table (compared once, by digest)."""
    first = np.ascontiguousarray(points(DIMENSIONS_MAX, 512))
    assert sha256((first * 2**30).astype("<i8").tobytes()).hexdigest()[:32] == "b4beb06b25a3c6e230198998af2120b3"


def test_every_dimension_alone_fills_its_interval() -> None:
    """2ᵏ points, one in each cell of 2⁻ᵏ."""
    cells = (points(DIMENSIONS_MAX, 256) * 256).astype(int)
    assert all(sorted(cells[:, d]) == list(range(256)) for d in range(DIMENSIONS_MAX))


@pytest.mark.parametrize(("dimensions", "t"), [(2, 0), (3, 1), (4, 3)])
def test_the_first_dimensions_are_a_net_of_the_stated_quality(dimensions: int, t: int) -> None:
    """t is the sum of the polynomials' degrees less one: every box of volume 2^(t-m) holds 2ᵗ of 2ᵐ points."""
    m = 9
    fractions = points(dimensions, 2**m)
    for splits in product(range(m - t + 1), repeat=dimensions):
        if sum(splits) == m - t:
            boxes = (fractions * 2.0 ** np.array(splits)).astype(int)
            _, counts = np.unique(boxes, axis=0, return_counts=True)
            assert counts.tolist() == [2**t] * 2 ** (m - t), splits


def test_more_dimensions_than_the_table_has_are_refused() -> None:
    """A dimension used twice would make two underlyings one."""
    with pytest.raises(Rejected, match="dimensions=65"):
        directions(65)
