"""Latency against load: `novate bench testnet` at a series of rates, and saturated, as one table.

Each row is a fresh testnet of four validators with TLS and synced writes. Read it for the knee: the rate from which
latency grows faster than load. Run: ``.venv/bin/python -m benchmarks.bench_rates [seconds]``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

RATES: tuple[int | None, ...] = (50, 200, 500, 1_000, None)


def measure(seconds: int, rate: int | None) -> Any:
    """The document of one run."""
    command = [sys.executable, "-m", "cli.main", "bench", "testnet", "--seconds", str(seconds), "--json"]
    command += [] if rate is None else ["--rate", str(rate)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Print a row as each run ends."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print(f"{'rate':>10} {'tps':>8} {'p50 ms':>8} {'p99 ms':>8} {'us/tx/node':>10} {'failures':>8}")
    for rate in RATES:
        found = measure(seconds, rate)
        failures = sum(found["failures"].values())
        print(
            f"{rate or 'saturated':>10} {found['tps']:>8.0f} {found['p50_ms']:>8.1f} {found['p99_ms']:>8.1f} "
            f"{found['cpu_us_per_tx']:>10.0f} {failures:>8}"
        )
    print(json.dumps(found["machine"]))


if __name__ == "__main__":
    main()
