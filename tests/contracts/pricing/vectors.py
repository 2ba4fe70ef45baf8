"""The published tables that prices are held against, where they are at hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data"
NEEDS_DATA = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published tables are not at hand")


def european_tables() -> dict[str, list[dict[str, Any]]]:
    """The rows of `option_tables_european_digital.json` by the name of their table.

    Every table has time in years, continuous rates, ``s`` for the spot; ``t`` is meant as a multiple of a 360th.
    """
    path = FOLDER / "vectors" / "option_tables_european_digital.json"
    return {table["test"]: table["rows"] for table in json.loads(path.read_text())["tables"]}


def market(row: dict[str, Any]) -> dict[str, float]:
    """The columns that a row of any of the tables stands for."""
    names = {"strike": "strike", "spot": "s", "q": "q", "r": "r", "t_years": "t", "vol": "v"}
    return {"right": 1.0 if row["type"] == "Call" else -1.0, **{name: row[key] for name, key in names.items()}}


def py_vollib_rows() -> list[dict[str, str]]:
    """The rows of `py_vollib_bs_greeks.csv`, as text.

    S, K, R, t, v; prices; C or P and D, G, T, V, R for the greeks of call and put: no yield, theta a year, vega and rho
    per 1.0, as the numbers themselves show. Rounded to 10 digits, or 9 or 10 decimals; tiny numbers to 5 or 6 digits.
    """
    with (FOLDER / "vectors" / "py_vollib_bs_greeks.csv").open(newline="") as file:
        return list(csv.DictReader(file))
