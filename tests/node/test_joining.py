"""Whole nodes that join by snapshot, over real sockets: docs/FAULTS.md row 34."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w
import trio

from consensus.events import SafetyState
from genesis.errors import Rejected
from node.safety_file import SafetyFile
from node.snapshot_files import SnapshotFiles
from node.store import Store
from tests.node.dataplane import GOVERNOR
from tests.node.scripted_chain import BLOCK_MS, ScriptedChain
from tests.node.test_app import PARAMS, Fleet, fleet_of, interpreter_left_as_found

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio

SERVERS = (0, 1, 2)
ONE_EPOCH = replace(PARAMS, epoch_blocks=10_000)
"""A scripted chain has one epoch; `tests.node.test_app_epochs` joins beyond the first."""
JOINER = 3


def chain_for(fleet: Fleet, blocks: int) -> ScriptedChain:
    """A chain of the fleet's validators that ends now; every tenth block registers assets."""
    keys = [fleet.opened(index).keys.consensus for index in range(len(fleet.configs))]
    start_unix_ms = time.time_ns() // 1_000_000 - (blocks + 1) * BLOCK_MS
    chain = ScriptedChain(fleet.document, keys, GOVERNOR, start_unix_ms)
    for height in range(1, blocks + 1):
        chain.grow(chain.operations(1) if height % 100 == 7 else ())
    return chain


def give(fleet: Fleet, chain: ScriptedChain, snapshot_height: int) -> None:
    """Put the chain and a snapshot of it (0: none) into the servers' homes, as if they had made it."""
    first = fleet.configs[0]
    with closing(Store.open(first.ledger_path, fleet.document.chain_id)) as store:
        if snapshot_height:
            chain.snapshot_into(SnapshotFiles(first.snapshots_path, 2), store, snapshot_height)
        chain.store_into(store)
    view, qc = chain.tip.view, chain.certificate(chain.tip)
    for index in SERVERS:
        config = fleet.configs[index]
        if index:
            shutil.copytree(first.ledger_path, config.ledger_path)
            if snapshot_height:
                shutil.copytree(first.snapshots_path, config.snapshots_path)
        with closing(SafetyFile(config.safety_path, fleet.document.chain_id)) as file:
            file.load()
            file.save(SafetyState(0, view, view, qc, None))


def trust(fleet: Fleet, chain: ScriptedChain, height: int) -> None:
    """Let the joiner trust a block of the chain."""
    block_hash = chain.proposals[height - 1].header.block_hash
    config = replace(fleet.configs[JOINER], trust_height=height, trust_hash=block_hash.hex())
    fleet.configs[JOINER] = config
    config.path.write_text(tomli_w.dumps(config.to_mapping()))


@pytest.mark.parametrize(("consensus", "blocks"), [("hotstuff", 5_000), ("pbft", 1_000)])
async def test_an_empty_node_joins_five_thousand_blocks_by_snapshot(
    tmp_path: Path, consensus: str, blocks: int
) -> None:
    """The past is not executed again, the root is the same, and the newcomer takes part."""
    async with fleet_of(tmp_path, 4, ONE_EPOCH, consensus, wait_s=120) as fleet:
        chain = await trio.to_thread.run_sync(chain_for, fleet, blocks)
        await trio.to_thread.run_sync(give, fleet, chain, blocks - 100)
        trust(fleet, chain, blocks - 900)
        await fleet.start(*SERVERS)
        with trio.fail_after(60):
            await fleet.start(JOINER)
            result = await fleet.register(0, "JOINED")
            roots = {await fleet.root_with(index, result["receipt"]) for index in range(4)}
        assert len(roots) == 1
        assert (await fleet.get(JOINER, "/v1/status"))["lowest_height"] == blocks - 99
        with pytest.raises(Rejected, match="pruned"):
            await fleet.get(JOINER, f"/v1/blocks/{blocks - 200}")
        [old] = (await fleet.get(0, "/v1/blocks/107"))["receipts"]
        assert (await fleet.get(0, f"/v1/transactions/{old}"))["height"] == 107
        with pytest.raises(Rejected, match="unknown_transaction") as caught:
            await fleet.get(JOINER, f"/v1/transactions/{old}")
        assert caught.value.details["lowest_height"] == blocks - 99
        assert "Receipts from before are not held here" in caught.value.message
        own = await fleet.register(JOINER, "OWN")
        assert own["status"] == "committed"


async def test_a_node_that_trusts_a_block_of_a_young_chain_fetches_the_blocks(tmp_path: Path) -> None:
    """There is no snapshot yet; a quorum says so, and the whole chain is short."""
    async with fleet_of(tmp_path, 4, ONE_EPOCH) as fleet:
        chain = await trio.to_thread.run_sync(chain_for, fleet, 30)
        await trio.to_thread.run_sync(give, fleet, chain, 0)
        trust(fleet, chain, 20)
        await fleet.start(*SERVERS)
        await fleet.start(JOINER)
        result = await fleet.register(JOINER, "JOINED")
        roots = {await fleet.root_with(index, result["receipt"]) for index in range(4)}
        assert len(roots) == 1
        assert (await fleet.get(JOINER, "/v1/status"))["lowest_height"] == 1
