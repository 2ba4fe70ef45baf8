"""Sums and products by which the guard sees how this thread rounds; over arrays, so that no compiler does them."""

from __future__ import annotations

from typing import Any

from contracts.compiled import kernel


@kernel
def sums_and_products(first: Any, second: Any, found_sum: Any, found_product: Any) -> None:
    """Fill the last two arrays; every array has one length."""
    for i in range(first.size):
        found_sum[i] = first[i] + second[i]
        found_product[i] = first[i] * second[i]
