"""``python -m tests.defences``: prints the table of docs/TESTING.md."""

from __future__ import annotations

from typing import Final

from tests.defences.model import ROWS
from tests.defences.table import AGREEMENT, DEFENCES

HEADING: Final = "| Row | Defence | Lives in | Shown by | Without it |"
RULE: Final = "|---|---|---|---|---|"


def lines() -> list[str]:
    """The table of docs/TESTING.md."""
    rows = []
    for row in ROWS:
        for defence in (each for each in DEFENCES if each.row == row):
            shown = "; ".join(f"`{file}`: `{name}`" for file, _, name in (one.partition("::") for one in defence.tests))
            rows.append(f"| {row} | {defence.says} | `{defence.home}` | {shown} | {defence.outcome} |")
        for hunted in (each for each in AGREEMENT if each.row == row):
            names = "; ".join(hunted.mutants)
            rows.append(f"| {row} | rules of agreement | `consensus/` | mutants: {names} | section 9 |")
    return rows


if __name__ == "__main__":
    print("\n".join((HEADING, RULE, *lines())))
