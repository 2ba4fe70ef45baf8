"""What the documents claim of the tests is held against the tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED_TEST = re.compile(r"`(?P<path>(?:\w+/)+test_\w+\.py)`|`(?P<name>test_\w+)`")


def missing_tests(text: str, there: dict[str, set[str]]) -> list[str]:
    """What a document says of tests that there are not: files, and names of which the file before them has none."""
    missing, path = [], ""
    for match in NAMED_TEST.finditer(text):
        if match["path"]:
            path = match["path"].removeprefix("tests/")
            missing += [] if path in there else [path]
        elif match["name"] not in there.get(path, set()):
            missing.append(f"{path}: {match['name']}")
    return missing


def test_every_row_of_the_fault_catalogue_names_tests_that_exist() -> None:
    """A row counts as shown only for what it names; a test that moved would leave a claim that nothing backs."""
    folder = ROOT / "tests"
    there = {
        path.relative_to(folder).as_posix(): set(
            re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
        )
        for path in folder.rglob("test_*.py")
    }
    catalogue = (ROOT / "docs" / "FAULTS.md").read_text()
    assert not missing_tests(catalogue, there)
    moved = catalogue.replace("`node/test_store_durability.py`", "`node/test_store.py`", 1)
    assert missing_tests(moved, there) == ["node/test_store.py: test_power_failure_leaves_no_hole_when_the_log_rotates"]
