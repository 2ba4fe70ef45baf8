"""Answers about contracts as plain values ready for JSON: instances with their inputs, programs disassembled."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from contracts.instances import pot_account
from contracts.ledger import balance
from contracts.state import State
from contracts.step import known
from contracts.tables import ContractRow
from contracts.vm.bytecode import Input, InputKind, Program
from contracts.vm.disassembler import disassemble, type_name
from contracts.vm.interpreter import Window, run
from genesis.errors import Rejected

Answer = dict[str, Any]

CONTRACTS_PAGE_MAX: Final = 100
"""About what one answer may hold without keeping the state from the next block."""


def contracts(state: State, after: str = "", limit: int = CONTRACTS_PAGE_MAX) -> Answer:
    """Up to `limit` instances, open and closed, in ascending order of name behind `after`.

    ``next`` is what to pass as `after` for the page that follows, or None when there is none.

    Raises:
        Rejected: ``bad_limit`` unless `limit` is from 1 to `CONTRACTS_PAGE_MAX`.
    """
    if not 1 <= limit <= CONTRACTS_PAGE_MAX:
        raise Rejected("bad_limit", f"A page has 1 to {CONTRACTS_PAGE_MAX} contracts.", limit=limit)
    names = list(islice(state.open_inputs.names.above(after), limit + 1))
    page = [(name, state.contracts.rows[name]) for name in names[:limit]]
    return {
        "contracts": [
            {
                "contract": name,
                "program": row.program_id.hex(),
                "name": state.open_inputs.verified(row.program_id).program.name,
                "open": row.is_open,
            }
            for name, row in page
        ],
        "next": page[-1][0] if len(names) > limit else None,
    }


def contract(state: State, contract_id: str) -> Answer:
    """One instance: who and what it binds, its parameters, its inputs, what it holds and for what it waits.

    Raises:
        Rejected: ``unknown_contract``.
    """
    row = known(state.contracts, contract_id, "contract")
    verified = state.open_inputs.verified(row.program_id)
    program = verified.program
    reached = run(verified, row.parameters, dict(row.settled))
    pot = pot_account(contract_id)
    waits_for = reached.waits_for
    return {
        "contract": contract_id,
        "program": row.program_id.hex(),
        "name": program.name,
        "open": row.is_open,
        "waits_for": None if waits_for is None else program.inputs[waits_for].name,
        "parties": dict(zip(program.parties, row.accounts, strict=True)),
        "assets": {each.name: bound for each, bound in zip(program.assets, row.assets, strict=True)},
        "feeds": dict(zip(program.feeds, row.feeds, strict=True)),
        "parameters": {each.name: value for each, value in zip(program.parameters, row.parameters, strict=True)},
        "locked_minor": {asset: balance(state, pot, asset).free_minor for asset in row.assets},
        "inputs": _inputs(state, contract_id, row, program),
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


def _inputs(state: State, name: str, row: ContractRow, program: Program) -> list[Answer]:
    settled = dict(row.settled)
    windows = state.open_inputs.windows(name)
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
    """A stored program: what it declares, its gas, and its code as text.

    Raises:
        Rejected: ``unknown_program``.
    """
    if program_id not in state.programs.rows:
        raise Rejected("unknown_program", "There is no program of this id.", program=program_id.hex())
    stored = state.open_inputs.verified(program_id).program
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
        "gas": stored.gas,
        "bytecode": state.programs.rows[program_id].encoded.hex(),
        "disassembly": disassemble(stored),
    }
