"""What a defence is, what takes it out, and what must notice.

Rules:

1. A sabotage is a patch of the product that takes one defence out and nothing else. It names what the product really
   calls, so a defence that moves breaks its row loudly.
2. The tests that are named pass on the product as it is (`make test` runs them anyway, `make mutants` here again), and
   at least one case of each fails without the defence, in its own body and with the sign that the row states: what an
   assertion, an oracle or a deadline says, never an error on the way there. A run that lasts longer than `RUN_S_MAX`
   counts as a hang, which is no proof.
3. Rules of agreement have their mutants in `tests.mutants`; a row names them instead of repeating them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.model import Patch

ASSERTION: Final = r"AssertionError|^E +assert |DID NOT RAISE"
HANGS: Final = r"TooSlowError|TimeoutError"
ROOT: Final = Path(__file__).parents[2]
RUN_S_MAX: Final = 120
WHOLE_S_MAX: Final = 900
"""For every test of the table, one after the other, on the product as it is."""
ROWS: Final = (*range(1, 38), 39, 45, 48, 49)
"""The rows of docs/FAULTS.md whose defences exist, all of which this has to show."""


@dataclass(frozen=True, slots=True)
class Defence:
    """One defence.

    Attributes:
        row: Its row in docs/FAULTS.md.
        says: The defence, in words.
        home: The file that it lives in.
        sabotage: What takes it out.
        tests: What must then fail: files under tests/ with a function, as pytest names them.
        sign: A regular expression that the report of every failure matches.
        outcome: What happens without the defence, in words.
        is_slow: Left to ``make mutants``.
    """

    row: int
    says: str
    home: str
    sabotage: Patch
    tests: tuple[str, ...]
    sign: str
    outcome: str
    is_slow: bool = False

    @property
    def name(self) -> str:
        """Unique in the table."""
        return f"{self.row}: {self.says}"


@dataclass(frozen=True, slots=True)
class Hunted:
    """A row whose defence is a rule of agreement, taken out by mutants of `tests.mutants`.

    Attributes:
        row: Its row in docs/FAULTS.md.
        mutants: Their names there; none of them survives on every engine.
    """

    row: int
    mutants: tuple[str, ...]
