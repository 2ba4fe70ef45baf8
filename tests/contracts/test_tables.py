"""Tables tell everyone who follows them, whatever kind of change it is."""

from __future__ import annotations

from contracts.tables import AccountRow, Journal, Table

Told = tuple[str, str, AccountRow | None, AccountRow | None]


def test_every_watcher_of_a_table_learns_of_every_change_in_turn() -> None:
    """A second watcher that took the first one's place would leave an index that is never brought up to date."""
    journal: Journal = []
    table: Table[str, AccountRow] = Table(3, AccountRow, journal)
    told: list[Told] = []
    for name in ("first", "second"):
        table.watch(lambda key, before, after, name=name: told.append((name, key, before, after)))  # type: ignore[misc]
    a, b = AccountRow("A"), AccountRow("B")
    table.load("x", ("A",))
    table.put("x", b)
    table.put("x", None)
    table.undo("x", b)
    changes = [("x", None, a), ("x", a, b), ("x", b, None), ("x", None, b)]
    assert told == [(name, *change) for change in changes for name in ("first", "second")]
