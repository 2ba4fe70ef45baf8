"""Whole nodes across the edges of short epochs, inside one Trio loop: see `tests.node.test_app`."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import trio

from cli.client import Connection, Unreachable
from cli.ports import free_ports
from contracts.operations import build_operation
from genesis.envelope import sign_envelope
from node.config import LOOPBACK, NodeConfig
from node.home import add_consensus_key, install_genesis, prepare_home
from node.keystore import COST_TESTNET
from node.safety_file import SafetyFile
from node.store import Store
from tests.node.test_app import PARAMS, PASSPHRASE, WAIT_MS, Fleet, fleet_of, interpreter_left_as_found

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio

SHORT = replace(PARAMS, epoch_blocks=8)

OUTSIDE = "not in the validator set|no validator since epoch"
"""What a removed validator says of itself: by its own state or, a little later, by what the others proved to it."""


async def until_epoch(fleet: Fleet, index: int, epoch: int) -> None:
    """Wait, a transaction at a time, until a validator is in an epoch."""
    number = 0
    while (await fleet.get(index, "/v1/status"))["epoch"] < epoch:
        await fleet.register(index, f"E{epoch}N{number}V{index}")
        number += 1


@pytest.mark.parametrize("consensus", ["hotstuff", "pbft"])
async def test_validators_cross_edges_and_one_that_missed_some_catches_up(tmp_path: Path, consensus: str) -> None:
    """The shell replaces the core at each edge; a ledger that is gone is fetched epoch by epoch, and then votes."""
    async with fleet_of(tmp_path, 4, params=SHORT, consensus=consensus) as fleet:
        await fleet.start(0, 1, 2, 3)
        await until_epoch(fleet, 0, 2)
        await fleet.stop(3)
        await until_epoch(fleet, 1, 5)
        shutil.rmtree(fleet.configs[3].ledger_path)
        await fleet.start(3)
        await fleet.stop(2)
        late = (await fleet.register(3, "LATE"))["receipt"]
        assert await fleet.root_with(3, late) == await fleet.root_with(0, late)
        block = await fleet.get(3, f"/v1/blocks/{late['height']}")
        assert block["voters"] == ["v0", "v1", "v3"]
        assert block["epoch"] >= 5


async def test_restarted_validators_go_on_in_the_epoch_of_their_ledger(tmp_path: Path) -> None:
    """A stop at any time, at an edge too, leaves a ledger that says where to go on, and a safety state beside it."""
    async with fleet_of(tmp_path, 1, params=SHORT) as fleet:
        for epoch in (1, 2, 3):
            await fleet.start(0)
            await until_epoch(fleet, 0, epoch)
            await fleet.stop(0)
        with closing(Store.open(fleet.configs[0].ledger_path, fleet.document.chain_id)) as store:
            tip = store.tip()
            assert tip is not None
            closed = [store.closed(each) for each in range(3)]
            assert [each.edge.header.height for each in closed if each is not None] == [8, 16, 24]
            assert store.closed(tip.height // 8) is None
        with closing(SafetyFile(fleet.configs[0].safety_path, fleet.document.chain_id)) as safety:
            saved = safety.load()
            assert saved is not None
            assert saved.epoch == 3


async def test_a_node_joins_by_snapshot_in_a_later_epoch(tmp_path: Path) -> None:
    """It has nothing of the epochs before, and needs nothing of them; then it votes and crosses edges as the others."""
    async with fleet_of(tmp_path, 4, params=SHORT) as fleet:
        for config in fleet.configs:
            set_config(fleet, replace(config, snapshot_interval=10))
        await fleet.start(0, 1, 2, 3)
        await until_epoch(fleet, 0, 4)
        await fleet.stop(3)
        trusted = await fleet.get(0, "/v1/blocks/12")
        shutil.rmtree(fleet.configs[3].ledger_path)
        set_config(fleet, replace(fleet.configs[3], trust_height=12, trust_hash=trusted["block_hash"]))
        await fleet.start(3)
        await fleet.stop(2)
        late = (await fleet.register(0, "LATE"))["receipt"]
        assert await fleet.root_with(3, late) == await fleet.root_with(0, late)
        assert (await fleet.get(3, "/v1/status"))["lowest_height"] > 12
        await until_epoch(fleet, 3, (await fleet.get(0, "/v1/status"))["epoch"] + 1)


def set_config(fleet: Fleet, config: NodeConfig) -> None:
    """Other settings for one node."""
    index = next(place for place, each in enumerate(fleet.configs) if each.home == config.home)
    fleet.configs[index] = config
    config.path.write_text(tomli_w.dumps(config.to_mapping()))


# --- a set that changes ---------------------------------------------------------------------------------------------


async def govern(fleet: Fleet, index: int, kind: str, fields: dict[str, str], signers: Sequence[int]) -> None:
    """Propose a change and approve it with the keys of these validators, in one envelope."""
    keys = [key for each in signers if (key := fleet.opened(each).keys.consensus) is not None]
    expiry = time.time_ns() // 1_000_000 + 60_000
    operation = build_operation(kind, fields)
    wire = sign_envelope(fleet.document.chain_id, keys, [operation], expiry, secrets.token_bytes(16))

    def post() -> dict[str, Any]:
        with Connection(fleet.configs[index].http_url) as connection:
            return connection.submit([wire], WAIT_MS)[0]

    result = await trio.to_thread.run_sync(post)
    assert result["status"] == "committed", result


def newcomer(fleet: Fleet, directory: Path, name: str) -> dict[str, str]:
    """A home that is to join, as its operator makes it, last in the fleet; the fields of its proposal."""
    peer, http = free_ports(2)
    config = NodeConfig(home=directory / name, name=name, listen_port=peer, http_port=http)
    card = prepare_home(config, f"{LOOPBACK}:{peer}", PASSPHRASE, cost=COST_TESTNET, power=1)
    install_genesis(config, fleet.document, joins=True)
    fleet.configs.append(config)
    fields = {"validator": name, "public_key": card.public_key.hex(), "power": "1", "address": card.address}
    return {**fields, "certificate": card.certificate.hex()}


@pytest.mark.parametrize("consensus", ["hotstuff", "pbft"])
async def test_governance_adds_and_removes_validators_of_a_running_chain(tmp_path: Path, consensus: str) -> None:
    """Row 33: a newcomer syncs through edges that it had no part in and then votes; who is removed says so and signs
    nothing; clients are served all the while."""
    async with fleet_of(tmp_path, 4, params=SHORT, consensus=consensus) as fleet:
        await fleet.start(0, 1, 2, 3)
        await until_epoch(fleet, 0, 2)
        fields = newcomer(fleet, tmp_path, "v4")
        await fleet.start(4)
        status = await fleet.get(4, "/v1/status")
        assert "not in the validator set" in status["observes"]
        await govern(fleet, 0, "validator.add", fields, (0, 1, 2))
        await until_member(fleet, 4)
        await fleet.stop(3)
        late = (await fleet.register(0, "JOINED"))["receipt"]
        assert await fleet.root_with(4, late) == await fleet.root_with(0, late)
        block = await fleet.get(0, f"/v1/blocks/{late['height']}")
        assert block["voters"] == ["v0", "v1", "v2", "v4"]

        await fleet.start(3)
        await govern(fleet, 1, "validator.remove", {"validator": "v0"}, (1, 2, 3, 4))
        names: list[str] = []
        number = 0
        while "v0" in names or not names:
            await fleet.register(1, f"R{number}")
            number += 1
            names = [each["name"] for each in (await fleet.get(1, "/v1/validators"))["validators"]]
        assert names == ["v1", "v2", "v3", "v4"]
        gone = (await fleet.register(4, "GONE"))["receipt"]
        assert await fleet.root_with(2, gone) == await fleet.root_with(4, gone)
        status = await fleet.get(0, "/v1/status")
        assert re.search(OUTSIDE, status["observes"])
        with pytest.raises(Unreachable, match=OUTSIDE):
            await fleet.get(0, "/v1/ready")


async def until_member(fleet: Fleet, index: int) -> None:
    """Wait, a transaction at a time, until a validator is one, and has caught up."""
    number = 0
    while True:
        await fleet.register(0, f"M{number}")
        number += 1
        status = await fleet.get(index, "/v1/status")
        there = await fleet.get(0, "/v1/status")
        if not status["observes"] and there["height"] - status["height"] < 4:
            return


async def test_a_key_is_rotated_and_a_power_changed_while_the_chain_runs(tmp_path: Path) -> None:
    """The node signs with the key that the epoch's set names, before and after; quorums follow the new power."""
    async with fleet_of(tmp_path, 4, params=SHORT) as fleet:
        await fleet.start(0, 1, 2, 3)
        await until_epoch(fleet, 0, 1)
        await fleet.stop(3)
        fresh = add_consensus_key(fleet.configs[3], PASSPHRASE, COST_TESTNET)
        await fleet.start(3)
        await govern(fleet, 0, "validator.rotate_key", {"validator": "v3", "public_key": fresh.hex()}, (0, 1, 2))
        number = 0
        while (await fleet.get(0, "/v1/validators"))["validators"][3]["public_key"] != fresh.hex():
            await fleet.register(0, f"K{number}")
            number += 1
        await fleet.stop(0)
        rotated = (await fleet.register(1, "ROTATED"))["receipt"]
        block = await fleet.get(1, f"/v1/blocks/{rotated['height']}")
        assert block["voters"] == ["v1", "v2", "v3"]
        await govern(fleet, 1, "validator.reweight", {"validator": "v0", "power": "2"}, (1, 2))
        assert (await fleet.get(1, "/v1/proposals"))["proposals"][0]["approved"] is False
        await fleet.start(0)
        await govern(fleet, 2, "validator.reweight", {"validator": "v1", "power": "2"}, (0, 1, 2))
        while (await fleet.get(2, "/v1/validators"))["total_power"] != 5:
            await fleet.register(2, f"W{number}")
            number += 1
        weighed = (await fleet.register(0, "WEIGHED"))["receipt"]
        assert await fleet.root_with(3, weighed) == await fleet.root_with(0, weighed)
