"""Every defence taken out, one at a time: the test that shows a row of docs/FAULTS.md must then fail.

``make mutants`` takes out all of them; `is_slow` ones are left out of ``make test``.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from typing import Any, Final

import pytest

from tests.defences.__main__ import HEADING, lines
from tests.defences.model import ASSERTION, ROOT, ROWS, Defence
from tests.defences.table import AGREEMENT, DEFENCES
from tests.mutants.table import MUTANTS

ALL: Final = os.environ.get("NOVATE_MUTANTS") == "1"
CHOSEN: Final = [each for each in DEFENCES if ALL or not each.is_slow]

Played = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def played() -> Played:
    """What became of the tests without each defence; `make mutants` also with nothing taken out (the empty name)."""
    command = [sys.executable, "-m", "tests.defences.play", *([""] if ALL else []), *(each.name for each in CHOSEN)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-4_000:]
    return {run["name"]: run for run in map(json.loads, answer.stdout.splitlines())}


def outcomes(run: dict[str, Any], test: str) -> set[str]:
    """What became of the cases of a test, by its name in the table."""
    return {each["outcome"] for each in run["cases"] if each["test"].partition("[")[0] == f"tests/{test}"}


def complaints(defence: Defence, run: dict[str, Any]) -> list[str]:
    """Why a run without the defence does not show that the row rests on it."""
    found = [] if run["exit"] is not None else ["the run did not come to an end"]
    found += [f"{test} passes without the defence" for test in defence.tests if "failed" not in outcomes(run, test)]
    for case in run["cases"]:
        if case["outcome"] == "failed" and case["phase"] != "call":
            found.append(f"{case['test']} failed in {case['phase']}:\n{case['report']}")
        elif case["outcome"] == "failed" and not re.search(defence.sign, case["report"], re.MULTILINE):
            found.append(f"unexpected failure of {case['test']}:\n{case['report']}")
    return found


@pytest.mark.parametrize("defence", CHOSEN, ids=[each.name for each in CHOSEN])
def test_without_its_defence_the_row_is_lost(defence: Defence, played: Played) -> None:
    """A test that passes without what it claims to show is a decoration."""
    assert complaints(defence, played[defence.name]) == []


@pytest.mark.parametrize(
    ("status", "phase", "outcome", "report", "complaint"),
    [
        (1, "call", "failed", "AssertionError: assert 1 == 2", ""),
        (0, "call", "passed", "", "passes without the defence"),
        (1, "setup", "failed", "AssertionError: no port", "failed in setup"),
        (2, "collect", "failed", "ImportError: no such name", "failed in collect"),
        (1, "call", "failed", "AttributeError: no such field", "unexpected failure"),
        (None, "call", "failed", "AssertionError: assert 1 == 2", "did not come to an end"),
    ],
)
def test_only_the_failure_that_is_meant_counts(
    status: int | None, phase: str, outcome: str, report: str, complaint: str
) -> None:
    """A sabotage that breaks the test rather than the product proves nothing."""
    defence = Defence(1, "any", "any.py", lambda _patch: None, ("a.py::test_a",), ASSERTION, "any")
    case = {"test": "tests/a.py::test_a[1]", "phase": phase, "outcome": outcome, "report": report}
    found = complaints(defence, {"exit": status, "cases": [case]})
    assert (found == []) == (complaint == "")
    assert complaint in "\n".join(found)


@pytest.mark.skipif(not ALL, reason="for `make mutants`: `make test` runs each of these tests in its own place")
@pytest.mark.parametrize("test", sorted({test for each in DEFENCES for test in each.tests}))
def test_on_the_product_as_it_is_the_test_passes(test: str, played: Played) -> None:
    """What fails anyway shows nothing by failing."""
    assert outcomes(played[""], test) == {"passed"}


def test_every_row_has_a_defence_that_can_be_taken_out() -> None:
    """1 to 37, 39, 45 and 48: no row is left to trust."""
    assert sorted({each.row for each in (*DEFENCES, *AGREEMENT)}) == list(ROWS)


def test_names_are_unique_and_what_they_name_exists() -> None:
    """A defence is asked for by its name; its home and its tests are files and functions of this repository."""
    assert len({each.name for each in DEFENCES}) == len(DEFENCES)
    for each in DEFENCES:
        assert (ROOT / each.home).is_file(), each.home
        for test in each.tests:
            file, _, name = test.partition("::")
            functions = ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
            found = {one.name for one in functions if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert name in found, test


def test_every_row_of_agreement_names_mutants_that_are_found() -> None:
    """A mutant that survives on every engine shows nothing."""
    killed = {each.name for each in MUTANTS if not each.masked}
    for row in AGREEMENT:
        assert row.mutants
        assert set(row.mutants) <= killed, row


def test_the_document_has_the_same_rows() -> None:
    """docs/TESTING.md, line by line; ``python -m tests.defences`` prints them."""
    text = (ROOT / "docs" / "TESTING.md").read_text()
    written = text.split(HEADING, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    assert written == lines()
