"""Proofs as a running validator makes them, and as the command line asks for them and checks them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from click.testing import CliRunner, Result

from cli.main import novate
from consensus.types import genesis_qc
from contracts.machine import State, genesis_state
from genesis.errors import Rejected
from node.home import format_document
from node.proof import ENTRIES_MAX, verify_document
from node.proofs import THREADS_MAX, ProofDesk, certified_from, entries_of
from node.store import Store
from node.trust import Trust
from tests.node.dataplane import DOCUMENT, GOVERNOR, T0_UNIX_MS
from tests.node.scripted_chain import ScriptedChain
from tests.node.test_app import Fleet, fleet_of, interpreter_left_as_found
from tests.node.test_proof import KEYS

__all__ = ["interpreter_left_as_found"]

WAIT_MS = 20_000
PATIENCE_S = 60.0


async def command(*arguments: str) -> Result:
    """Run a command beside the nodes."""
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(novate, list(arguments)))


async def prove(fleet: Fleet, directory: Path, *question: str) -> tuple[Any, Result]:
    """Ask the first validator with ``--prove``, and verify the answer offline."""
    file, genesis = directory / "proof.json", directory / "genesis.toml"
    file.unlink(missing_ok=True)
    genesis.write_text(format_document(fleet.document))
    url = fleet.configs[0].http_url
    asked = await command("query", *question, "--url", url, "--json", "--out", str(file))
    assert asked.exit_code == 0, asked.stderr
    assert json.loads(asked.stdout) == json.loads(file.read_text())
    return json.loads(asked.stdout), await command("verify", str(file), "--genesis", str(genesis), "--json")


@pytest.mark.trio
async def test_an_answer_is_proved_and_verified_offline(tmp_path: Path) -> None:
    """The whole way: from a client's question to a certificate that nobody has to be asked about."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        await fleet.register(0, "USD")
        for question, rows in (
            (("entry", "assets", "USD"), [{"decimals": 2}]),
            (("entry", "balances", "M0/main", "USD"), [None]),
            (("account", "M0/main", "--prove"), [None, None]),
            (("position", "M0/main", "--series", "BTC-1", "--prove"), [None, None]),
            (("series", "BTC-1", "--prove"), [None, None]),
            (("index", "BTC", "--prove"), [None]),
            (("settlement", "BTC", "5", "--account", "M0/main", "--prove"), [None]),
        ):
            proof, verified = await prove(fleet, tmp_path, *question)
            assert verified.exit_code == 0, verified.stderr
            found = json.loads(verified.stdout)
            assert (found["valid"], [each["row"] for each in found["entries"]]) == (True, rows)
            assert verify_document(Trust(fleet.document), proof) == proof


@pytest.mark.trio
async def test_a_changed_answer_fails_with_exit_code_one(tmp_path: Path) -> None:
    """A script that checks nothing but the exit code is safe."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        await fleet.register(0, "USD")
        proof, _ = await prove(fleet, tmp_path, "entry", "assets", "USD")
        proof["entries"][0]["row"]["decimals"] = 3
        changed, genesis = tmp_path / "changed.json", tmp_path / "genesis.toml"
        changed.write_text(json.dumps(proof))
        told = await command("verify", str(changed), "--genesis", str(genesis))
        assert told.exit_code == 1
        assert "altered_document" in told.stderr
        trust = ("--trust-height", str(proof["certified_by"]["height"] + 1), "--trust-hash", "00" * 32)
        (tmp_path / "proof.json").unlink()
        (tmp_path / "proof.json").write_text(json.dumps(proof))
        told = await command("verify", str(tmp_path / "proof.json"), "--genesis", str(genesis), *trust)
        assert "below_trusted_height" in told.stderr
        told = await command("verify", str(changed), "--genesis", str(genesis), "--trust-height", "3")
        assert told.exit_code == 2


@pytest.mark.trio
@pytest.mark.parametrize("path", ["nothing/x", "accounts/M0", "entries/nowhere?key=x", "entries/assets"])
async def test_a_question_without_a_proof_is_refused(tmp_path: Path, path: str) -> None:
    """At once, not after the wait for a certificate."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        with pytest.raises(Rejected, match=r"unknown_route|unknown_table|malformed"):
            await fleet.get(0, f"/v1/proofs/{path}", WAIT_MS)


def test_a_question_about_too_many_entries_is_refused() -> None:
    """A proof is made between two blocks: it must be short."""
    state = genesis_state(DOCUMENT)
    state.derived.held_by["M0/main"] = {f"S{number}" for number in range(ENTRIES_MAX)}
    with pytest.raises(Rejected, match="limit_reached"):
        entries_of(state, "positions", ["M0", "main"], [])
    assert len(entries_of(state, "positions", ["M0", "main"], [("series", "S1")])) == 2


@pytest.mark.parametrize(
    ("skipped", "asked", "found"),
    [
        ((), 2, 2),
        ((), 3, 3),
        ((), 4, None),
        ((4,), 2, 2),
        ((4,), 3, None),
        ((3, 5), 1, 1),
        ((3,), 2, 3),
    ],
)
def test_the_certifying_header_is_the_first_that_names_the_height_or_passes_over_it(
    tmp_path: Path, skipped: tuple[int, ...], asked: int, found: int | None
) -> None:
    """A height that stands before a gap between views is never named: who waited for it would wait for ever."""
    chain = ScriptedChain(DOCUMENT, KEYS, GOVERNOR, T0_UNIX_MS)
    for height in range(1, 6):
        chain.grow(views_skipped=1 if height in skipped else 0)
    store = Store.open(tmp_path / "ledger", DOCUMENT.chain_id)
    chain.store_into(store)
    certified = certified_from(store, asked)
    store.close()
    assert (certified.height if certified is not None else None) == found
    if certified is not None:
        assert certified.qc.block_hash == certified.header.block_hash
        assert certified.qc != genesis_qc(certified.header.block_hash)


@pytest.mark.trio
async def test_a_crowd_of_questions_takes_two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 30: a proof over many changes of the validators is long work, and anyone may ask for it."""
    gate, begun, state = threading.Event(), list[int](), genesis_state(DOCUMENT)
    both = threading.Barrier(THREADS_MAX + 1)

    def slow(_store: Store, height: int) -> None:
        begun.append(height)
        if len(begun) <= THREADS_MAX:
            both.wait(PATIENCE_S)
        gate.wait(PATIENCE_S)

    async def read(query: Callable[[State], Any]) -> Any:
        return query(state)

    monkeypatch.setattr("node.proofs.certified_from", slow)
    with closing(Store.open(tmp_path / "ledger", DOCUMENT.chain_id)) as store:
        desk = ProofDesk(DOCUMENT, store, read)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(desk.answer, "entries", ["assets"], [("key", "USD")])
            await trio.to_thread.run_sync(both.wait, PATIENCE_S)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(begun) == THREADS_MAX
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            nursery.cancel_scope.cancel()
            gate.set()
