"""``novate contract actus``: events as tables and as JSON, and an exit code that a script can trust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import novate
from tests.contracts.vm.actus_case import actus_case


def write(path: Path, cases: object) -> Path:
    """A file of cases."""
    path.write_text(json.dumps(cases))
    return path


def actus(*arguments: str | Path) -> Result:
    """The command's outcome."""
    return CliRunner().invoke(novate, ["contract", "actus", *map(str, arguments)])


def wrong() -> dict[str, Any]:
    """A case that states a cent too much."""
    stated = actus_case()
    return {**stated, "results": [*stated["results"][:3], {**stated["results"][3], "payoff": 7.26}]}


def test_events_that_agree_are_shown(tmp_path: Path) -> None:
    """What a person looks for first is whether all is well."""
    result = actus(write(tmp_path / "cases.json", {"mine": actus_case()}))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "1 of 1 cases agree with what the file states."
    assert "mine  2024-03-04  STD    7.25    0.00             2024-02-29" in result.stdout


def test_the_document_has_minor_units_and_dates(tmp_path: Path) -> None:
    """Programs get whole numbers, and say themselves where the point stands."""
    result = actus(write(tmp_path / "cases.json", {"mine": actus_case()}), "--json")
    document = json.loads(result.stdout)
    assert (document["decimals"], document["count"], document["agreeing"]) == (2, 1, 1)
    assert document["cases"][0]["events"][3] == {
        "date": "2024-03-04T12:30:00",
        "event": "STD",
        "payoff_minor": 725,
        "currency": "EUR",
        "exercise_amount_minor": 0,
        "exercise_date": "2024-02-29T12:30:00",
        "notional_minor": 0,
    }


def test_a_difference_or_a_refusal_fails(tmp_path: Path) -> None:
    """A script must not take a case that was left out for one that passed."""
    refused = actus_case(optionExerciseType="A")
    path = write(tmp_path / "cases.json", {"mine": actus_case(), "other": wrong(), "american": refused})
    result = actus(path)
    assert result.exit_code == 1
    assert "other: DIFFERS" in result.stdout
    assert "american: REFUSED: This value of a term is not supported." in result.stdout
    assert "1 of 3 cases agree" in result.stdout
    assert actus(path, "--case", "mine").exit_code == 0
    assert actus(path, "--case", "nobody").exit_code == 1


def test_the_bound_of_the_price_can_be_given(tmp_path: Path) -> None:
    """The writer's collateral rests on it."""
    path = write(tmp_path / "cases.json", {"mine": actus_case()})
    assert actus(path, "--price-max", "57.25").exit_code == 0
    assert "REFUSED" in actus(path, "--price-max", "57.24").stdout


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a\\u0007": {}}', "[" * 100_000, '{"%s": {}}' % ("x" * 65)])
def test_a_file_that_holds_no_cases_is_refused(tmp_path: Path, content: str) -> None:
    """With a reason, and without a stack of frames."""
    path = tmp_path / "cases.json"
    path.write_text(content)
    result = actus(path)
    assert result.exit_code == 1
    assert "what to do: Correct the file" in result.stderr
