"""A replay's journal, as a file that the fuzzer may spoil; see `tests.fuzz.registry`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

from cli.replay_journal import DIRECTORY, Ended, Funded, open_journal
from cli.replay_plan import MEMBERS, make_plan
from genesis.params import ChainParams
from tests.cli.test_replay_plan import TAPE
from tests.node.dataplane import CHAIN_ID

PLAN: Final = make_plan(TAPE, ChainParams(), "17AUG26")
JOURNAL_FILE: Final = f"{DIRECTORY}/{PLAN.index}-{PLAN.expiry}.jsonl"


def read_journal(home: Path) -> Any:
    """What a replay that goes on knows of itself."""
    with open_journal(home, CHAIN_ID, PLAN) as journal:
        return journal.funded, journal.driven, journal.sent_to, journal.ended


def _written() -> bytes:
    """One with every kind of line."""
    each = tuple(range(len(MEMBERS)))
    with tempfile.TemporaryDirectory() as home:
        with open_journal(Path(home), CHAIN_ID, PLAN) as journal:
            journal.fund(Funded(each, each))
            journal.announce(0, 2, 1)
            journal.driven.items = 1
            journal.done()
            journal.end(Ended(each, 1, ""))
        return (Path(home) / JOURNAL_FILE).read_bytes()


JOURNAL: Final = _written()
