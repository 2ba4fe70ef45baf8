"""The names under which proofs speak of the state."""

from __future__ import annotations

import pytest

from contracts.entries import FORMS, entry_name, row_to_json
from contracts.machine import genesis_state
from contracts.operations_governance import ReweightValidator
from genesis.errors import Rejected
from tests.contracts.consortium import bonded_consortium, double_vote
from tests.contracts.world import World, document


def test_every_table_of_the_state_has_its_form() -> None:
    """A table that proofs do not know, or know by another prefix, could not be proved, or would be proved wrongly."""
    state = genesis_state(document())
    forms = {bytes((form.prefix,)): (name, form.row) for name, form in FORMS.items()}
    tables = {name: table for name, table in vars(state).items() if table in state.tables}
    assert len(tables) == len(state.tables)
    for name, table in tables.items():
        assert forms[table.prefix] == (name, table._row._fields), "contracts/entries.py lacks a table of the state"


def test_an_entry_is_named_as_the_state_stores_it() -> None:
    """Another encoding of the key would prove the absence of what is there."""
    world = World()
    world.do("governor", "asset.register", asset="USD", decimals=2)
    stored = dict(world.state.entries())
    name = entry_name("assets", ["USD"])
    assert row_to_json("assets", stored[name.entry_key]) == {"decimals": 2}
    meta = entry_name("meta", [""])
    assert row_to_json("meta", stored[meta.entry_key])["height"] == world.state.height


@pytest.mark.parametrize(
    ("table", "key", "code"),
    [
        ("nowhere", ["x"], "unknown_table"),
        ("balances", ["M0/main"], "malformed"),
        ("balances", ["M0/main", 7], "malformed"),
        ("assets", ["A" * 65], "malformed"),
        ("samples", ["BTC", "soon"], "malformed"),
        ("samples", ["BTC", -1], "malformed"),
        ("samples", ["BTC", True], "malformed"),
        ("samples", ["BTC", "9" * 16], "malformed"),
        ("validator_sets", ["now"], "malformed"),
        ("proposals", ["AB" * 32], "malformed"),
        ("proposals", [7], "malformed"),
        ("offences", [0, "v0", "vote", 7], "malformed"),
    ],
)
def test_a_name_of_another_form_is_refused(table: str, key: list[object], code: str) -> None:
    """A key that no row can have would always be proved absent."""
    with pytest.raises(Rejected, match=code):
        entry_name(table, key)


def test_entries_of_governance_are_named_as_the_state_stores_them() -> None:
    """A validator set, a proposal, a bond in release and an offence: each key has a form of its own."""
    world = bonded_consortium()
    proposal = world.propose("v0", ReweightValidator("v1", 2))
    world.do("M0", "bond.withdraw", validator="v1", account="M0/main", asset="BTC", amount_minor=5)
    assert world.accuse(double_vote(world, 3)) == ""
    names = {
        "validator_sets": ["0"],
        "proposals": [proposal.hex()],
        "bonds": ["v1", "M0/main", "BTC"],
        "unbonding": ["3", "v1", "M0/main", "BTC"],
        "offences": [0, "v3", 2, 7],
        "jail": ["v3"],
    }
    rows = {table: row_to_json(table, world.store[entry_name(table, key).entry_key]) for table, key in names.items()}
    assert len(rows["validator_sets"]["members"]) == 4
    assert rows["proposals"]["change"] == [14, "v1", 2]
    assert (rows["bonds"], rows["unbonding"]) == ({"amount_minor": 999_995}, {"amount_minor": 5})
    assert (rows["offences"]["height"], rows["jail"]) == (world.state.height, {"since_epoch": 0})


def test_a_number_may_be_given_as_text() -> None:
    """The command line knows nothing else."""
    assert entry_name("samples", ["BTC", "12"]) == entry_name("samples", ["BTC", 12])


def test_a_row_of_another_table_is_refused() -> None:
    """Its fields would be shown under wrong names."""
    with pytest.raises(Rejected, match="malformed"):
        row_to_json("balances", b"\x91\x02")
