"""Whole nodes whose validators change; then proofs, and a join by snapshot: docs/FAULTS.md rows 33, 34, 36."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from cli.client import Unreachable
from cli.main import novate
from genesis.errors import Rejected
from node.home import format_document
from tests.node.test_app import PASSPHRASE, Fleet, fleet_of, interpreter_left_as_found
from tests.node.test_app_epochs import SHORT, govern, newcomer, set_config, until_epoch, until_member

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio

WAIT_S = 180
WAIT_MS = 20_000


async def command(*arguments: str) -> Result:
    """Run a command beside the nodes."""
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(novate, list(arguments)))


async def prove(fleet: Fleet, directory: Path, index: int, *options: str) -> Path:
    """The file with one validator's proof of an asset."""
    file = directory / f"proof-{len(list(directory.glob('proof-*')))}.json"
    url = fleet.configs[index].http_url
    asked = await command("query", "entry", "assets", "GONE", "--url", url, "--out", str(file), *options)
    assert asked.exit_code == 0, asked.stderr
    return file


async def verify(fleet: Fleet, directory: Path, proof: Path, trusted: Sequence[str] = ()) -> Result:
    """Check it offline."""
    genesis = directory / "genesis.toml"
    genesis.write_text(format_document(fleet.document))
    return await command("verify", str(proof), "--genesis", str(genesis), "--json", *trusted)


async def until_set(fleet: Fleet, index: int, names: Sequence[str]) -> None:
    """Wait, a transaction at a time, until these are the validators."""
    number = 0
    while [each["name"] for each in (await fleet.get(index, "/v1/validators"))["validators"]] != list(names):
        await fleet.register(index, f"S{len(names)}N{number}")
        number += 1


@pytest.mark.parametrize("consensus", ["hotstuff", "pbft"])
async def test_proofs_and_a_join_by_snapshot_lead_over_changes_of_the_validators(
    tmp_path: Path, consensus: str
) -> None:
    """From the genesis document a client comes to validators that it does not name; a node joins them from a block of
    theirs, and answers with proofs itself, as far as it can; who was removed while it was away is told so."""
    async with fleet_of(tmp_path, 4, SHORT, consensus, WAIT_S) as fleet:
        for config in fleet.configs:
            set_config(fleet, replace(config, snapshot_interval=10))
        await fleet.start(0, 1, 2, 3)
        fields = newcomer(fleet, tmp_path, "v4")
        await fleet.start(4)
        await govern(fleet, 0, "validator.add", fields, (0, 1, 2))
        await until_member(fleet, 4)
        await fleet.stop(0)
        await govern(fleet, 1, "validator.remove", {"validator": "v0"}, (1, 2, 3, 4))
        await until_set(fleet, 1, ["v1", "v2", "v3", "v4"])
        await fleet.register(1, "GONE")

        told = fleet.starts.count("retired", 1)
        await fleet.start(0)
        await told.wait()
        with pytest.raises(Unreachable, match="no validator since epoch"):
            await fleet.get(0, "/v1/ready")
        assert "the validators of epoch" in (await fleet.get(0, "/v1/status"))["observes"]
        await fleet.stop(0)

        proof = await prove(fleet, tmp_path, 1)
        verified = await verify(fleet, tmp_path, proof)
        assert verified.exit_code == 0, verified.stderr
        found = json.loads(verified.stdout)
        assert (found["entries"][0]["row"], len(found["validators"]["changed_at_heights"])) == ({"decimals": 2}, 2)
        assert set(found["certified_by"]["voters"]) <= {"v1", "v2", "v3", "v4"}

        height = (await fleet.get(1, "/v1/status"))["height"]
        trusted_hash = (await fleet.get(1, f"/v1/blocks/{height}"))["block_hash"]
        trusted = ("--trust-height", str(height), "--trust-hash", trusted_hash)
        assert "no_start" in (await verify(fleet, tmp_path, await prove(fleet, tmp_path, 1), trusted)).stderr
        started = await prove(fleet, tmp_path, 2, "--trust-height", str(height))
        verified = await verify(fleet, tmp_path, started, trusted)
        assert verified.exit_code == 0, verified.stderr
        assert json.loads(verified.stdout)["validators"]["changed_at_heights"] == []
        assert "bad_start" in (await verify(fleet, tmp_path, started)).stderr

        await fleet.stop(4)
        shutil.rmtree(fleet.configs[4].ledger_path)
        trusting = replace(fleet.configs[4], trust_height=height, trust_hash=trusted_hash, snapshot_interval=10)
        set_config(fleet, trusting)
        await until_epoch(fleet, 1, height // 8 + 3)
        await fleet.start(4)
        late = (await fleet.register(4, "LATE"))["receipt"]
        assert await fleet.root_with(4, late) == await fleet.root_with(1, late)
        assert (await fleet.get(4, "/v1/status"))["lowest_height"] > height
        await fleet.stop(3)
        voted = (await fleet.register(1, "VOTED"))["receipt"]
        assert (await fleet.get(1, f"/v1/blocks/{voted['height']}"))["voters"] == ["v1", "v2", "v4"]
        with pytest.raises(Rejected, match="transitions_not_kept"):
            await fleet.get(4, "/v1/proofs/entries/assets?key=GONE", WAIT_MS)


async def test_a_joiner_finds_by_named_peers_whom_the_genesis_document_does_not_name(tmp_path: Path) -> None:
    """Nobody whom the genesis document names is there any more: a card says where to dial, and is believed in nothing
    else."""
    async with fleet_of(tmp_path, 1, SHORT, wait_s=WAIT_S) as fleet:
        set_config(fleet, replace(fleet.configs[0], snapshot_interval=10))
        await fleet.start(0)
        fields = newcomer(fleet, tmp_path, "v1") | {"power": "3"}
        set_config(fleet, replace(fleet.configs[1], snapshot_interval=10))
        await fleet.start(1)
        await govern(fleet, 0, "validator.add", fields, (0,))
        await until_member(fleet, 1)
        await govern(fleet, 1, "validator.remove", {"validator": "v0"}, (1,))
        await until_set(fleet, 1, ["v1"])
        await fleet.stop(0)
        await govern(fleet, 1, "validator.add", newcomer(fleet, tmp_path, "v2"), (1,))
        await until_set(fleet, 1, ["v1", "v2"])
        height = (await fleet.get(1, "/v1/status"))["height"]
        trusted_hash = (await fleet.get(1, f"/v1/blocks/{height}"))["block_hash"]
        await until_epoch(fleet, 1, height // 8 + 3)

        home, card = str(fleet.configs[2].home), str(fleet.configs[1].card_path)
        trusted = ("--trust-height", str(height), "--trust-hash", trusted_hash)
        (tmp_path / "secret").write_bytes(PASSPHRASE)
        (tmp_path / "secret").chmod(0o600)
        secret = ("--passphrase-file", str(tmp_path / "secret"))
        made = await command("node", "init", "--home", home, "--peer", card, *trusted, *secret)
        assert made.exit_code == 0, made.stderr
        await fleet.start(2)
        late = (await fleet.register(1, "LATE"))["receipt"]
        assert await fleet.root_with(2, late) == await fleet.root_with(1, late)
        assert (await fleet.get(2, "/v1/status"))["lowest_height"] > height
