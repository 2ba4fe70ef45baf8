"""Every rule of the machine changed in turn: the random programs, or the verifier's own, must see each of them.

The table stands in docs/TESTING.md, section 11. ``make mutants`` also shows that the masked ones are second lines.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest

from tests.contracts.vm import mutants
from tests.contracts.vm.mutant_table import ALL, Mutant
from tests.contracts.vm.mutants import KERNEL_PLAN, PLAN, find, find_in_verifier, loaded, plan_of

PROGRAMS: Final = 300
"""A mutant is found within so many; most within ten."""
TESTING: Final = Path(__file__).parents[3] / "docs" / "TESTING.md"
FOUND: Final = [each for each in ALL if not each.masked]
MASKED: Final = [each for each in ALL if each.masked]


def found(mutant: Mutant) -> object:
    """What finds it first, or None."""
    machine = loaded(mutant)
    by_verifier = find_in_verifier(machine) if mutant.module in ("verifier", "intervals") else None
    return by_verifier or find(machine, PROGRAMS, plan_of(mutant))


@pytest.mark.parametrize("mutant", FOUND, ids=lambda mutant: mutant.name)
def test_a_changed_rule_is_found(mutant: Mutant) -> None:
    """A rule that can be changed unseen is one that nobody holds."""
    assert found(mutant) is not None


@pytest.mark.skipif(
    os.environ.get("NOVATE_MUTANTS") != "1", reason="for `make mutants`: it shows that these are second lines"
)
@pytest.mark.parametrize("mutant", MASKED, ids=lambda mutant: mutant.name)
def test_a_second_line_is_masked(mutant: Mutant) -> None:
    """The table says why nothing finds it; when something does, the table is to be corrected."""
    assert found(mutant) is None


def test_the_machine_loaded_without_a_change_passes() -> None:
    """Else a mutant might be found for the way in which it is loaded."""
    assert find(loaded(), 25, PLAN) is None
    assert find(loaded(), 60, KERNEL_PLAN) is None
    assert find_in_verifier(loaded()) is None


def test_a_mutant_whose_line_has_changed_is_an_error() -> None:
    """It would be the product itself, and found by nothing."""
    with pytest.raises(LookupError, match="occurs 0 times in kernel"):
        loaded(Mutant("gone", "kernel", "no such line", ""))


def test_the_document_names_every_mutant() -> None:
    """docs/TESTING.md, section 11: by module, the names; and the masked ones with their reason."""
    text = TESTING.read_text().split("## 11.", 1)[1].split("\n## ", 1)[0]
    written = [row for rows in re.findall(r"^\| `\w+` \| (.*) \|$", text, re.MULTILINE) for row in rows.split("; ")]
    assert sorted(written) == sorted(each.name for each in FOUND)
    survivors = re.findall(r"^\| (.*) \| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    assert survivors == [(each.name, each.module, each.masked) for each in MASKED]
    assert set(mutants.MODULES) == {each.module for each in ALL}
