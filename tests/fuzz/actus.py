"""Options in ACTUS terms, as a file that the fuzzer may spoil; see `tests.fuzz.registry`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from cli.contract_actus import load_cases
from contracts.vm.actus_terms import parse_case
from tests.contracts.vm.actus_case import actus_case

CASES: Final = json.dumps({"call": actus_case()}).encode()
ACTUS_COVERED: Final = dict.fromkeys(
    [
        *("contracts.vm.actus_terms:parse_case", "contracts.vm.actus_terms:parse_terms"),
        *("contracts.vm.actus_terms:parse_decimal", "contracts.calendar:parse_moment"),
        "contracts.calendar:parse_period",
    ],
    "cli.contract_actus:load_cases, whose every case is read here",
)


def read_cases(home: Path) -> Any:
    """Every case of a file."""
    return [parse_case(each) for each in load_cases(home / "cases.json").values()]
