"""Answers about contracts as plain values ready for JSON: instances with their inputs, programs disassembled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from contracts.holdings import pot_account
from contracts.instances import known_contract
from contracts.ledger import balance
from contracts.queries import check_limit
from contracts.state import State
from contracts.tables import ContractRow
from contracts.vm.bytecode import Input, InputKind, Program, decode_program
from contracts.vm.disassembler import disassemble, type_name
from contracts.vm.interpreter import Window, run, terms
from genesis.errors import Rejected

Answer = dict[str, Any]

CONTRACTS_PAGE_MAX: Final = 100
"""About what one answer may hold without keeping the state from the next block."""


def contracts(state: State, after: str = "", limit: int = CONTRACTS_PAGE_MAX) -> Answer:
    """Up to `limit` instances that the state holds, open and closed, in ascending order of name behind `after`.

    No program is read for it.

    ``next`` is what to pass as `after` for the page that follows, or None when there is none.

    Raises:
        Rejected: ``bad_limit`` unless `limit` is from 1 to `CONTRACTS_PAGE_MAX`.
    """
    check_limit(limit, CONTRACTS_PAGE_MAX, "contracts")
    names = list(islice(state.open_inputs.names.irange(after, inclusive=(False, False)), limit + 1))
    page = [(name, state.contracts.rows[name]) for name in names[:limit]]
    return {
        "contracts": [
            {
                "contract": name,
                "program": row.program_id.hex(),
                "name": state.programs.rows[row.program_id].name,
                "open": row.is_open,
            }
            for name, row in page
        ],
        "next": page[-1][0] if len(names) > limit else None,
    }


def contract(state: State, contract_id: str) -> Answer:
    """One instance: who and what it binds, its parameters, its inputs, what it holds and for what it waits.

    ``kept_until_height`` is that of the last block after which the state still holds a closed instance.

    Raises:
        Rejected: ``unknown_contract``: there is none, or it has left the state.
    """
    row = known_contract(state, contract_id)
    verified = state.stored_programs.verified(row.program_id)
    program = verified.program
    reached = run(verified, row.parameters, dict(row.settled))
    pot = pot_account(contract_id)
    waits_for = reached.waits_for
    return {
        "contract": contract_id,
        "program": row.program_id.hex(),
        "name": program.name,
        "open": row.is_open,
        "started_height": row.started_height,
        "closed_height": row.closed_height or None,
        "kept_until_height": row.closed_height + state.limits.contract_retention_blocks - 1
        if row.closed_height
        else None,
        "waits_for": None if waits_for is None else program.inputs[waits_for].name,
        "parties": dict(zip(program.parties, row.accounts, strict=True)),
        "assets": {each.name: bound for each, bound in zip(program.assets, row.assets, strict=True)},
        "feeds": dict(zip(program.feeds, row.feeds, strict=True)),
        "parameters": {each.name: value for each, value in zip(program.parameters, row.parameters, strict=True)},
        "locked_minor": {asset: balance(state, pot, asset).free_minor for asset in row.assets},
        "inputs": _inputs(row, program, terms(verified, row.parameters).windows),
        "payments": [
            {
                "party": program.parties[each.party],
                "account": row.accounts[each.party],
                "asset": row.assets[each.asset],
                "amount_minor": each.amount_minor,
                "shortfall_minor": each.due_minor - each.amount_minor,
            }
            for each in reached.payments
        ],
    }


def _inputs(row: ContractRow, program: Program, windows: Sequence[Window]) -> list[Answer]:
    settled = dict(row.settled)
    return [
        {
            "input": each.name,
            "kind": each.kind.name.lower(),
            "of": _source(row, each),
            "type": type_name(program, each.type),
            **_window(row, window),
            "state": "open" if number not in settled else ("absent" if settled[number] is None else "arrived"),
            "value": settled.get(number),
        }
        for number, (each, window) in enumerate(zip(program.inputs, windows, strict=True))
    ]


def _source(row: ContractRow, each: Input) -> str | None:
    """An index, an account, or None for a moment, which comes by itself."""
    if each.kind is InputKind.MOMENT:
        return None
    return row.feeds[each.source] if each.kind is InputKind.PRICE else row.accounts[each.source]


def _window(row: ContractRow, window: Window) -> Answer:
    deposit = {"deposit_asset": row.assets[window.deposit_asset], "deposit_minor": window.deposit_minor}
    times = {"opens_unix_ms": window.opens_unix_ms, "until_unix_ms": window.until_unix_ms}
    return {**times, **(deposit if window.deposit_minor else {})}


def program(state: State, program_id: bytes) -> Answer:
    """A stored program: what it declares, its gas, who holds it, how many contracts are of it, and its code as text.

    Raises:
        Rejected: ``unknown_program``.
    """
    row = state.programs.rows.get(program_id)
    if row is None:
        raise Rejected("unknown_program", "There is no program of this id.", program=program_id.hex())
    stored = decode_program(row.encoded)
    return {
        "program": program_id.hex(),
        "name": stored.name,
        "parties": list(stored.parties),
        "assets": [each.name for each in stored.assets],
        "feeds": list(stored.feeds),
        "parameters": [
            {"name": each.name, "type": type_name(stored, each.type), "low": each.low, "high": each.high}
            for each in stored.parameters
        ],
        "gas": row.gas,
        "held_by": sorted(state.holdings.holders_of.get(program_id, ())),
        "contracts": state.holdings.runs(program_id),
        "bytecode": row.encoded.hex(),
        "disassembly": disassemble(stored),
    }
