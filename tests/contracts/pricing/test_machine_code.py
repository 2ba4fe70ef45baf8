"""No compiler may fuse a product and a sum: what `make determinism` would see if one did.

`NOVATE_LONG=1` repeats it on AArch64 where ``make determinism`` has installed one.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from numba.core.codegen import get_host_cpu_features

from benchmarks import aarch64, machine_code

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import functools, hashlib, sys
import numba
from contracts import compiled
if sys.argv[1] == "contract":
    compiled.njit = functools.partial(numba.njit, fastmath={"contract"})
from benchmarks import determinism, machine_code
from contracts.pricing import vanilla
prices = vanilla.black_scholes_price(**determinism.grid())
found = machine_code.findings()
print(hashlib.sha256(prices.astype("<f8").tobytes()).hexdigest(), found.kernels, found.vectorised, len(found.fused))
"""
FUSED_LINES = (
    "\tvfmadd213pd\t%zmm19, %zmm0, %zmm4",
    "\tvfnmsub231sd\t%xmm15, %xmm20, %xmm0",
    "\tfmadd\td0, d1, d2, d3",
    "\tfnmsub\td0, d1, d2, d3",
    "\tfmla\tv0.2d, v1.2d, v2.2d",
    "\tfmls\tv0.2d, v1.2d, v2.d[0]",
    "\tfnmls\tz0.d, p0/m, z1.d, z2.d",
    "\tfmad\tz0.d, p0/m, z1.d, z2.d",
)
OTHER_LINES = (
    "\tvmulpd\t%zmm19, %zmm0, %zmm4",
    "\tfmul\tv0.2d, v1.2d, v2.2d",
    "\tfnmul\td0, d1, d2",
    "\tfmaxnm\td0, d1, d2",
    "\tfmov\td0, #1.0",
    "\tmadd\tx0, x1, x2, x3",
)


def can_fuse() -> bool:
    """Whether this processor has the instruction, and Numba may use it."""
    return platform.machine() == "aarch64" or "+fma" in get_host_cpu_features().split(",")


def run(how: str, cache: Path, command: list[str], environment: Mapping[str, str]) -> tuple[str, int, int, int]:
    """The hash of the prices, how many kernels, how many in vectors, how many instructions fused."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [*command, "-c", PROGRAM, how],
        cwd=ROOT,
        env={**given, "NUMBA_CACHE_DIR": str(cache), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    digest, *counts = done.stdout.split()
    kernels, vectorised, fused = map(int, counts)
    return digest, kernels, vectorised, fused


@pytest.mark.parametrize("line", FUSED_LINES)
def test_every_form_of_the_instruction_is_known(line: str) -> None:
    """One that the search does not know would pass for none."""
    assert machine_code.FUSED.search(line)


@pytest.mark.parametrize("line", OTHER_LINES)
def test_what_rounds_twice_is_let_be(line: str) -> None:
    """A search that finds too much would end in being ignored."""
    assert not machine_code.FUSED.search(line)


@pytest.mark.skipif(not can_fuse(), reason="this processor has no fused multiply-add")
def test_a_compiler_that_fuses_is_found_out(tmp_path: Path) -> None:
    """By its code and by its prices; the kernels as they are have nothing of it, and vectors."""
    plain = run("as it is", tmp_path / "plain", [sys.executable], {})
    fused = run("contract", tmp_path / "fused", [sys.executable], {})
    assert plain[1:] == (1, 1, 0)
    assert fused[3] > 0
    assert fused[0] != plain[0]


@pytest.mark.long
@pytest.mark.skipif(aarch64.interpreter() is None, reason="no AArch64 here: make determinism")
def test_a_compiler_that_fuses_is_found_out_on_aarch64(tmp_path: Path) -> None:
    """Every AArch64 can fuse, and clang does so unless told not to: there the bits must be those of here, unfused."""
    emulated = aarch64.interpreter()
    assert emulated is not None
    here = run("as it is", tmp_path / "here", [sys.executable], {})
    plain = run("as it is", tmp_path / "plain", *emulated)
    fused = run("contract", tmp_path / "fused", *emulated)
    assert plain == here
    assert plain[1:] == (1, 1, 0)
    assert fused[3] > 0
    assert fused[0] != plain[0]
