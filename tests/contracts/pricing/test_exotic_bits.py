"""The exotic models' bits, compiled and interpreted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.contracts.pricing.exotic_grid import GOLDEN, digests

ROOT = Path(__file__).resolve().parents[3]


def test_the_compiled_bits_are_golden() -> None:
    """Change a digest only if you meant to change prices: validators before and after it fork."""
    assert digests() == GOLDEN


def test_the_interpreted_bits_are_the_compiled_ones() -> None:
    """A compiler that fused or reordered an operation would differ here."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.contracts.pricing.exotic_grid"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["interpreted", *(f"{name} {value}" for name, value in GOLDEN.items())]
