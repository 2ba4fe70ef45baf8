"""Every safety rule and every persistence point, taken out one at a time: the simulator must find each of them missing.

``make mutants`` hunts all of them; `is_slow` ones are left out of ``make test``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mutants.model import Mutant, clean, hunt
from tests.mutants.table import MUTANTS

ALL = os.environ.get("NOVATE_MUTANTS") == "1"
TESTING = Path(__file__).parents[2] / "docs" / "TESTING.md"


def cases(*, is_masked: bool) -> list[pytest.param]:  # type: ignore[valid-type]
    """Each mutant on each of its engines, by name."""
    return [
        pytest.param(mutant, engine, id=f"{mutant.name}-{engine}")
        for mutant in MUTANTS
        for engine in mutant.engines
        if bool(mutant.masked) == is_masked and (ALL or not mutant.is_slow)
    ]


@pytest.mark.parametrize(("mutant", "engine"), cases(is_masked=False))
def test_a_missing_rule_is_found_and_nothing_else_is(mutant: Mutant, engine: str) -> None:
    """The hunt breaks an oracle on the mutant, and none on the product, under the same seeds."""
    found = hunt(mutant, engine)
    assert found is not None
    played = range(mutant.hunt.seeds if ALL else found.seed + 1)
    assert [broken for seed in played if (broken := clean(mutant.hunt, engine, seed))] == []


@pytest.mark.skipif(
    not ALL, reason="for `make mutants`: it shows that these rules are second lines, not that they hold"
)
@pytest.mark.parametrize(("mutant", "engine"), cases(is_masked=True))
def test_a_second_line_is_masked_by_the_first(mutant: Mutant, engine: str) -> None:
    """The table says why nothing finds it; when something does, the table is to be corrected."""
    assert hunt(mutant, engine) is None


def test_the_document_names_every_mutant() -> None:
    """docs/TESTING.md, row by row: mutant, rule, engine, hunt."""
    lines = TESTING.read_text().split("| Mutant |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    written = [tuple(cell.strip() for cell in line.strip("|").split("|"))[:4] for line in lines]
    assert written == [(m.name, m.rule, engine, m.hunt.name) for m in MUTANTS for engine in m.engines]
