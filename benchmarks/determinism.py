"""One hash of prices, greeks and implied volatilities, computed in every way that this machine can compute them.

    make determinism                                  (ARGS="--python /usr/bin/python3.12" adds an interpreter)

The grid is of integers over powers of two, so that nothing rounds on the way to it; the hash is over the bits of every
result and over every model's golden sample. Each way is a fresh process with a compiler cache of its own, which also
looks through the machine code that it ran. The exit code is 1 if two ways differ or a kernel has a fused multiply-add;
a way that this machine lacks is named as not run, never counted as equal. AArch64 is a whole process under QEMU
(`benchmarks.aarch64`): the same Numba compiles the same source there, for that processor.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from benchmarks import aarch64, machine_code

ROWS: Final = 20_000
AMERICAN_EACH: Final = 400
"""Of so many rows one is priced with early exercise as well: interpreted, an American option takes seconds."""
ROOT: Final = Path(__file__).resolve().parents[1]
OTHER_NUMBA: Final = Path(sys.prefix) / "other-numba"
HASWELL: Final = "+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+f16c,+movbe"
WAYS: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("native", {}),
    ("haswell: AVX2 and FMA, no AVX-512", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL}),
    ("generic: SSE2 alone", {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}),
    ("without optimisation", {"NUMBA_OPT": "0"}),
    ("glibc without FMA, AVX2, AVX-512", {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2,-AVX512F,-FMA4"}),
    ("interpreted", {"NUMBA_DISABLE_JIT": "1"}),
)


def grid() -> dict[str, ArrayLike]:
    """Options of every kind: half a percent to four hundred of volatility, a day to eight years, far on both sides."""
    rows = np.arange(ROWS, dtype=np.int64)

    def scattered(multiplier: int, modulus: int, low: int, unit: float) -> ArrayLike:
        return (rows * multiplier % modulus + low) * unit

    return {
        "right": 1.0 - 2.0 * (rows % 2),
        "spot": scattered(7919, 4093, 2048, 2.0**-5),
        "strike": scattered(104729, 8191, 1024, 2.0**-5),
        "q": scattered(1299709, 127, -16, 2.0**-10),
        "r": scattered(15485863, 255, -16, 2.0**-10),
        "t_years": scattered(32452843, 2039, 1, 2.0**-8),
        "vol": scattered(49979687, 1021, 1, 2.0**-8),
    }


def simulated() -> Iterator[str]:
    """What Monte Carlo finds: two correlated underlyings observed twelve times, with each sampler."""
    from contracts.pricing import monte_carlo, payoffs

    market = monte_carlo.Market((96.0, 80.0), (0.0, 0.03125), (0.25, 0.5), 0.0625, ((1.0, 0.5), (0.5, 1.0)))
    times_years = tuple(month / 16 for month in range(1, 13))
    basket = payoffs.Basket(1, 88_000_000, (500_000, 500_000))
    for sampler in (monte_carlo.PHILOX, monte_carlo.SOBOL):
        job = monte_carlo.Job(market, times_years, basket, 1_024, seed=20, sampler=sampler)
        found = monte_carlo.merge(job, [monte_carlo.run(job, shard) for shard in monte_carlo.shards_of(job)])
        yield f"{found.price.hex()} {found.standard_error.hex()} {found.total_ticks} {found.squares_ticks}"


def hash_here() -> str:
    """The hash as this process computes it."""
    from contracts.pricing import american, guard, implied_volatility, vanilla

    guard.self_test()
    rows = grid()
    price = vanilla.black_scholes_price(**rows)
    second = vanilla.black_scholes_second_order(**rows)
    given = {name: column for name, column in rows.items() if name != "vol"}
    implied = implied_volatility.black_scholes_implied_volatility(**given, price=price).vol
    early = american.price(**{name: np.asarray(column)[::AMERICAN_EACH] for name, column in rows.items()})
    greeks = (*vanilla.black_scholes_greeks(**rows).columns(), second.vanna, second.volga)
    results = [price, *greeks, implied, early]
    state = blake2b(repr(sorted(guard.digests().items())).encode(), digest_size=16)
    for array in results:
        state.update(array.astype("<f8").tobytes())
    for found in simulated():
        state.update(found.encode())
    return state.hexdigest()


def describe() -> str:
    """What computed it.

    Raises:
        SystemExit: A kernel's machine code has a fused multiply-add.
    """
    import numba

    from contracts.compiled import config

    what = (
        f"{platform.machine()}, Python {platform.python_version()}, Numba {numba.__version__}, NumPy {np.__version__}"
    )
    if config.DISABLE_JIT:
        return what
    found = machine_code.findings()
    if found.fused or not found.kernels:
        sys.exit(f"{found}: {', '.join(found.fused[:3])}")
    return f"{what}; {found}"


def ways(pythons: list[str]) -> Iterator[tuple[str, list[str], Mapping[str, str]]]:
    """Name, interpreter, environment of every way that can be run; prints those that cannot."""
    for name, environment in WAYS:
        yield name, [sys.executable], environment
    if OTHER_NUMBA.is_dir():
        yield "another Numba", [sys.executable], {"PYTHONPATH": str(OTHER_NUMBA)}
    else:
        print(f"not run: another Numba (nothing in {OTHER_NUMBA.name}; `make determinism` installs it)")
    for command in pythons:
        yield command, shlex.split(command), {}
    if platform.machine() == "aarch64":
        return
    emulated = aarch64.interpreter()
    if emulated:
        yield "AArch64 under qemu-user (minutes)", *emulated
    else:
        print(f"not run: AArch64 (nothing in {aarch64.HOME.name}; `make determinism` installs it, or says why not)")


def run(command: list[str], environment: Mapping[str, str]) -> str:
    """The line that a fresh process prints, or why it printed none."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [*command, "-m", "benchmarks.determinism", "--one"],
            cwd=ROOT,
            env={**os.environ, "NUMBA_CACHE_DIR": cache, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return "failed: " + (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return done.stdout.strip()


def main() -> int:
    """Print the matrix."""
    parser = argparse.ArgumentParser(description="One hash of a grid of prices, computed in many ways.")
    parser.add_argument("--one", action="store_true", help="compute here and print the hash alone")
    parser.add_argument("--python", action="append", default=[], metavar="COMMAND", help="one more interpreter")
    given = parser.parse_args()
    if given.one:
        print(hash_here(), describe())
        return 0
    found = []
    for name, command, environment in ways(given.python):
        began = time.monotonic()
        line = run(command, environment)
        found.append(line.split(" ", 1)[0])
        print(f"{name:<36} {line} ({time.monotonic() - began:.0f} s)", flush=True)
    same = len(set(found)) == 1 and "failed:" not in found
    print(f"{len(found)} ways, one hash." if same else "THE WAYS DIFFER.")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
