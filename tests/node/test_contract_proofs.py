"""Contracts and programs as a client proves them to itself: present, absent, and altered on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from cli.client import Connection
from contracts.entries import EntryName
from contracts.holdings import pot_account
from contracts.merkle_proof import proved_entries
from contracts.operations import build_operation
from contracts.state import State
from contracts.vm.bytecode import encode_program
from genesis.envelope import SALT_BYTES, sign_envelope
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.proof import verify_document
from node.proofs import entries_of
from node.trust import Trust
from tests.contracts.test_instances import STRIKES, made, start_call
from tests.contracts.test_instances_hostile import WATCHER
from tests.node.dataplane import GOVERNOR
from tests.node.test_app import WAIT_MS, Fleet, fleet_of, interpreter_left_as_found
from tests.node.test_proofs import command, prove

__all__ = ["interpreter_left_as_found"]

MEMBER = SigningKey(b"\x4d" * 32)
PROGRAM = WATCHER.program_id.hex()
HOUR_MS = 3_600_000


def started() -> State:
    """A chain on which C1 has locked 500,000."""
    world = made()
    assert start_call(world).code == ""
    return world.state


def proved(state: State, name: EntryName) -> bytes | None:
    """The entry's row, or None where there is none, under the state's root."""
    bucket = state.prove(name.entry_key)
    return proved_entries(bucket, state.root, state.limits.merkle_depth).get(name.entry_key)


def test_a_contract_is_proved_with_its_program_and_what_it_holds() -> None:
    """Who relies on collateral must see, under the certified root, that it is there."""
    state = started()
    names = entries_of(state, "contracts", ["C1"], [])
    assert [(each.table, each.plain_key) for each in names] == [
        ("contracts", ["C1"]),
        ("programs", [STRIKES.program_id.hex()]),
        ("balances", [pot_account("C1"), "BTC"]),
    ]
    stored = dict(state.entries())
    assert [proved(state, each) for each in names] == [stored[each.entry_key] for each in names]


def test_what_is_not_there_is_proved_absent_and_nothing_is_said_besides() -> None:
    """A contract that somebody made up has no program and no pot."""
    state = started()
    for subject, key in (("contracts", "C2"), ("programs", "00" * 32)):
        (absent,) = entries_of(state, subject, [key], [])
        assert (absent.table, proved(state, absent)) == (subject, None)
    for key in ("", "C2", "00" * 31):
        with pytest.raises(Rejected, match="malformed"):
            entries_of(state, "programs", [key], [])


async def submit(fleet: Fleet, signer: SigningKey, kind: str, **fields: object) -> None:
    """One operation, which must apply."""
    operation = build_operation(kind, {name: str(each) for name, each in fields.items()})
    expires = time.time_ns() // 1_000_000 + 60_000
    salt = kind.encode()[:SALT_BYTES].ljust(SALT_BYTES)
    wire = sign_envelope(fleet.document.chain_id, [signer], [operation], expires, salt)

    def post() -> dict[str, Any]:
        with Connection(fleet.configs[0].http_url) as connection:
            return connection.submit([wire], WAIT_MS)[0]

    result = await trio.to_thread.run_sync(post)
    assert result["receipt"]["code"] == "", result


async def run_watcher(fleet: Fleet) -> None:
    """A member, what its contract needs, the program and the contract W1, which waits for prices of the next hour."""
    await fleet.register(0, "USD")
    band = {"tick_decimals": 2, "price_min_ticks": 1, "price_max_ticks": 10**6, "oracle_quorum": 1}
    await submit(fleet, GOVERNOR, "index.register", index="BTC_USD", **band)
    await submit(fleet, GOVERNOR, "member.admit", member="M0", key=MEMBER.public_key.hex())
    await submit(fleet, MEMBER, "program.store", program=encode_program(WATCHER).hex())
    begin_unix_ms = time.time_ns() // 1_000_000 + HOUR_MS
    bound = {"accounts": "M0/main", "assets": "USD", "feeds": "BTC_USD", "parameters": f"{begin_unix_ms},{HOUR_MS}"}
    await submit(fleet, MEMBER, "contract.start", contract="W1", program=PROGRAM, **bound)


def closed(document: dict[str, Any]) -> None:
    """Say that the contract has closed."""
    document["entries"][0]["row"]["closed_height"] = 1


def emptied(document: dict[str, Any]) -> None:
    """Say that there is no such contract."""
    document["entries"][0]["row"] = None


def of_another_program(document: dict[str, Any]) -> None:
    """Say that it runs another program."""
    document["entries"][1]["key"] = ["11" * 32]


def funded(document: dict[str, Any]) -> None:
    """Say that it holds money."""
    document["entries"][2]["row"] = {"free_minor": 10**6, "locked_minor": 0}


def with_other_bytes(document: dict[str, Any]) -> None:
    """Turn one bit of the proof itself."""
    data = bytearray.fromhex(document["proof"])
    data[len(data) // 2] ^= 1
    document["proof"] = data.hex()


FORGERIES: tuple[Callable[[dict[str, Any]], None], ...] = (
    closed, emptied, of_another_program, funded, with_other_bytes,
)  # fmt: skip


@pytest.mark.trio
async def test_an_answer_about_a_contract_is_proved_verified_offline_and_not_when_forged(tmp_path: Path) -> None:
    """The whole way of a light client, which believes no validator: present, absent, and each forgery refused."""
    async with fleet_of(tmp_path, 1, wait_s=120) as fleet:
        await fleet.start(0)
        await run_watcher(fleet)
        for question, present in (
            (("contract", "W1", "--prove"), [True, True, False]),
            (("contract", "W2", "--prove"), [False]),
            (("program", PROGRAM, "--prove"), [True]),
            (("program", "00" * 32, "--prove"), [False]),
            (("entry", "contracts", "W1"), [True]),
        ):
            document, verified = await prove(fleet, tmp_path, *question)
            assert verified.exit_code == 0, verified.stderr
            found = json.loads(verified.stdout)["entries"]
            assert [each["row"] is not None for each in found] == present
        document, _ = await prove(fleet, tmp_path, "contract", "W1", "--prove")
        row, program, pot = (each["row"] for each in document["entries"])
        assert (row["closed_height"], row["program_id"], pot) == (0, PROGRAM, None)
        assert program["encoded"] == encode_program(WATCHER).hex()
        for forge in FORGERIES:
            forged = json.loads(json.dumps(document))
            forge(forged)
            with pytest.raises(Rejected):
                verify_document(Trust(fleet.document), forged)
        changed = tmp_path / "forged.json"
        changed.write_text(json.dumps(forged))
        told = await command("verify", str(changed), "--genesis", str(tmp_path / "genesis.toml"))
        assert told.exit_code == 1
        wrong = await command("query", "contract", "--prove", "--url", fleet.configs[0].http_url)
        assert wrong.exit_code == 2
