"""``python -m tests.mutants``: hunts every mutant, and prints the table of docs/TESTING.md."""

from __future__ import annotations

import sys

from tests.mutants.model import Mutant, hunt
from tests.mutants.table import MUTANTS


def row(mutant: Mutant, engine: str) -> str:
    """One line of the table."""
    found = hunt(mutant, engine)
    seen = f"{found.seed}, `{found.oracle}`" if found is not None else f"survives: {mutant.masked or 'NO REASON'}"
    return f"| {mutant.name} | {mutant.rule} | {engine} | {mutant.hunt.name} | {seen} |"


def main() -> None:
    """Print it, or the mutants whose names have one of the words given."""
    for mutant in MUTANTS:
        if sys.argv[1:] and not any(word in mutant.name for word in sys.argv[1:]):
            continue
        for engine in mutant.engines:
            print(row(mutant, engine), flush=True)


if __name__ == "__main__":
    main()
