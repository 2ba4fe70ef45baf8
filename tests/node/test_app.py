"""Whole nodes, as an operator runs them: real homes, TLS, LevelDB and HTTP, inside one Trio loop."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from cli.client import Connection, Unreachable
from cli.ports import free_ports
from contracts.operations import build_operation
from genesis.document import GenesisDocument, GenesisRole
from genesis.envelope import sign_envelope
from genesis.errors import Rejected
from genesis.evidence import Evidence, Half, Offence, make_evidence
from genesis.params import ChainParams
from genesis.signing import SigningKey
from genesis.statements import Phase, vote_message
from node.app import build_node, run_node
from node.config import LOOPBACK, NodeConfig
from node.evidence import EvidenceFiles
from node.executor import open_state
from node.failures import StorageFailure
from node.home import OpenedHome, install_genesis, open_home, prepare_home
from node.keystore import COST_TESTNET
from node.safety_file import SafetyFile
from node.store import Store

pytestmark = pytest.mark.trio

GOVERNOR = SigningKey(b"\x77" * 32)
PASSPHRASE = b"open"
PARAMS = ChainParams(merkle_depth=8, block_interval_idle_ms=100, view_timeout_ms=500)
WAIT_MS = 20_000
WAIT_S = 60


@pytest.fixture(autouse=True)
def interpreter_left_as_found() -> Iterator[None]:
    """A node tunes the interpreter for its whole process, which here is the test suite's."""
    interval_s = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval_s)
    gc.unfreeze()


class Starts(logging.Handler):
    """Hears the line with which a node says that its interface answers, and others that a test waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[str, trio.Event] = {}
        self._counted: dict[str, tuple[int, trio.Event]] = {}

    def count(self, message: str, times: int) -> trio.Event:
        """Set once this line has been heard so often."""
        self._counted[message] = (times, trio.Event())
        return self._counted[message][1]

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message == "started":
            self.started[record.__dict__["validator"]].set()
        if message in self._counted:
            times, heard = self._counted[message]
            self._counted[message] = (times - 1, heard)
            if times == 1:
                heard.set()


@dataclass
class Fleet:
    """The validators of one network. Each runs in a scope of its own, so that one can be stopped and started again."""

    document: GenesisDocument
    configs: list[NodeConfig]
    nursery: trio.Nursery
    starts: Starts
    scopes: dict[int, tuple[trio.CancelScope, trio.Event]] = field(default_factory=dict)

    def opened(self, index: int) -> OpenedHome:
        """The home of one, read from disk."""
        return open_home(self.configs[index].home, PASSPHRASE)

    async def start(self, *indices: int) -> None:
        """Run these; returns when their interfaces answer."""
        for index in indices:
            self.starts.started[self.configs[index].name] = trio.Event()
            self.scopes[index] = (trio.CancelScope(), trio.Event())
            self.nursery.start_soon(self._run, index)
        for index in indices:
            await self.starts.started[self.configs[index].name].wait()

    async def stop(self, *indices: int) -> None:
        """End these as SIGTERM would; returns when they have closed everything."""
        for index in indices:
            self.scopes[index][0].cancel()
        for index in indices:
            await self.scopes[index][1].wait()

    async def _run(self, index: int) -> None:
        scope, ended = self.scopes[index]
        with scope:
            await run_node(self.opened(index))
        ended.set()

    async def get(self, index: int, path: str, wait_ms: int = 0) -> Any:
        """What one answers."""

        def ask() -> Any:
            with Connection(self.configs[index].http_url) as connection:
                return connection.get(path, wait_ms)

        return await trio.to_thread.run_sync(ask)

    async def register(self, index: int, asset: str) -> dict[str, Any]:
        """Post an envelope that registers an asset; its result, once it is committed."""
        operation = build_operation("asset.register", {"asset": asset, "decimals": "2"})
        expiry = time.time_ns() // 1_000_000 + 60_000
        wire = sign_envelope(self.document.chain_id, [GOVERNOR], [operation], expiry, asset.encode().ljust(16))

        def post() -> dict[str, Any]:
            with Connection(self.configs[index].http_url) as connection:
                return connection.submit([wire], WAIT_MS)[0]

        return await trio.to_thread.run_sync(post)

    async def root_with(self, index: int, receipt: dict[str, Any]) -> tuple[str, str]:
        """(block hash, state root) after the block of this receipt, once this one has executed it too."""
        found = await self.get(index, f"/v1/transactions/{receipt['id']}?wait_ms={WAIT_MS}", WAIT_MS)
        assert found == receipt
        block = await self.get(index, f"/v1/blocks/{receipt['height']}")
        return block["block_hash"], block["state_root"]


@asynccontextmanager
async def fleet_of(
    directory: Path, count: int, params: ChainParams = PARAMS, consensus: str = "hotstuff", wait_s: float = WAIT_S
) -> AsyncIterator[Fleet]:
    """A network of this many validators, with homes made as an operator makes them; nothing runs yet."""
    ports = free_ports(2 * count)
    configs = [
        NodeConfig(home=directory / f"v{index}", name=f"v{index}", listen_port=peer, http_port=http)
        for index, (peer, http) in enumerate(zip(ports[::2], ports[1::2], strict=True))
    ]
    cards = [
        prepare_home(each, f"{LOOPBACK}:{each.listen_port}", PASSPHRASE, cost=COST_TESTNET, power=1) for each in configs
    ]
    role = GenesisRole("governor", GOVERNOR.public_key, ("governor", "oracle"))
    document = GenesisDocument("test", tuple(cards), (role,), params=params, consensus=consensus)
    for config in configs:
        install_genesis(config, document)
    starts = Starts()
    logger = logging.getLogger("novate.node")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(starts)
    try:
        with trio.fail_after(wait_s):
            async with trio.open_nursery() as nursery:
                yield Fleet(document, configs, nursery, starts)
                nursery.cancel_scope.cancel()
    finally:
        logger.removeHandler(starts)
        logger.setLevel(level)


def open_files(directory: Path) -> list[str]:
    """The files below `directory` that this process holds open."""
    links = [each for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return [target for target in map(os.readlink, links) if target.startswith(str(directory))]


async def test_lone_validator_serves_its_clients_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The whole path of a transaction, and that nothing of it lives in memory alone."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        first = await fleet.register(0, "AAA")
        assert (first["status"], first["code"]) == ("committed", "")
        root = await fleet.root_with(0, first["receipt"])
        again = await fleet.register(0, "AAA")
        assert again["status"] == "rejected"
        await fleet.stop(0)
        assert open_files(tmp_path) == []

        config = fleet.configs[0]
        with closing(Store.open(config.ledger_path, fleet.document.chain_id)) as store:
            state, _ = open_state(fleet.document, store)
            left = (state.height, state.root.hex())

        await fleet.start(0)
        block = await fleet.get(0, f"/v1/blocks/{left[0]}")
        assert block["state_root"] == left[1]
        assert await fleet.root_with(0, first["receipt"]) == root
        second = await fleet.register(0, "BBB")
        assert second["status"] == "committed"
        assert second["receipt"]["height"] > left[0]
        following = await fleet.get(0, f"/v1/blocks/{left[0] + 1}")
        assert following["parent_hash"] == block["block_hash"]
        twice = await fleet.register(0, "AAA")
        assert (twice["status"], twice["receipt"]["code"]) == ("rejected", "already_exists")


async def test_idle_chain_does_not_keep_a_transaction_waiting(tmp_path: Path) -> None:
    """The leader hears of the batch at once; the idle interval is for blocks of nothing."""
    params = replace(PARAMS, block_interval_idle_ms=1_000 * WAIT_S)
    async with fleet_of(tmp_path, 1, params) as fleet:
        await fleet.start(0)
        for asset in ("AAA", "BBB"):
            assert (await fleet.register(0, asset))["status"] == "committed"


async def test_face_answers_from_the_parts_of_the_node(tmp_path: Path) -> None:
    """What clients and operators see must be what the node does."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        receipt = (await fleet.register(0, "AAA"))["receipt"]
        document, chain_id = fleet.document, fleet.document.chain_id.hex()
        status = await fleet.get(0, "/v1/status")
        assert (status["name"], status["network"], status["chain_id"]) == ("v0", "test", chain_id)
        assert status["height"] >= receipt["height"]
        assert status["view"] > status["certified_height"] >= status["committed_height"] >= status["height"]
        assert (status["peers"], status["committed_txs"], status["mempool"]) == (0, 1, 0)
        assert (await fleet.get(0, "/v1/ready"))["status"] == "ready"
        assert (await fleet.get(0, "/v1/genesis"))["chain_id"] == chain_id
        validators = await fleet.get(0, "/v1/validators")
        assert (validators["leader"], validators["quorum_power"], validators["total_power"]) == ("v0", 1, 1)
        [entry] = validators["validators"]
        assert entry["public_key"] == document.validators[0].public_key.hex()
        assert entry["connected"] is True
        block = await fleet.get(0, f"/v1/blocks/{receipt['height']}")
        assert (block["proposer"], block["voters"], block["envelopes"], block["applied"]) == ("v0", ["v0"], 1, 1)
        assert block["receipts"] == [receipt["id"]]
        assert len(block["batches"]) == 1
        genesis = await fleet.get(0, "/v1/blocks/0")
        assert (genesis["height"], genesis["proposer"], genesis["voters"]) == (0, None, [])
        latest = await fleet.get(0, "/v1/blocks/latest")
        assert latest["height"] >= status["height"]
        with pytest.raises(Rejected, match="unknown_block"):
            await fleet.get(0, "/v1/blocks/1000000")
        with pytest.raises(Rejected, match="unknown_account"):
            await fleet.get(0, "/v1/accounts/NOBODY/main")


async def test_four_validators_agree_and_one_without_its_ledger_fetches_it_again(tmp_path: Path) -> None:
    """One network, one root on every disk; and a lost ledger costs its owner a sync, nobody a transaction."""
    async with fleet_of(tmp_path, 4) as fleet:
        await fleet.start(0, 1, 2, 3)
        receipts = [(await fleet.register(index, f"A{index}"))["receipt"] for index in range(4)]
        for receipt in receipts:
            roots = {await fleet.root_with(index, receipt) for index in range(4)}
            assert len(roots) == 1

        await fleet.stop(3)
        missed = (await fleet.register(0, "MISSED"))["receipt"]
        shutil.rmtree(fleet.configs[3].ledger_path)
        await fleet.start(3)
        for receipt in (missed, *receipts):
            assert await fleet.root_with(3, receipt) == await fleet.root_with(0, receipt)

        await fleet.stop(2)
        late = (await fleet.register(3, "LATE"))["receipt"]
        assert await fleet.root_with(3, late) == await fleet.root_with(1, late)
        block = await fleet.get(3, f"/v1/blocks/{late['height']}")
        assert block["voters"] == ["v0", "v1", "v3"]


async def test_node_without_a_quorum_of_peers_is_not_ready_and_says_why(tmp_path: Path) -> None:
    """An operator, or a load balancer, must not send clients to a validator that can commit nothing."""
    async with fleet_of(tmp_path, 4) as fleet:
        await fleet.start(1)
        with pytest.raises(Unreachable, match="connected to 1 of the 3 of voting power"):
            await fleet.get(1, "/v1/ready")
        status = await fleet.get(1, "/v1/status")
        assert (status["height"], status["peers"]) == (0, 0)


async def test_ledger_of_another_chain_stops_the_start(tmp_path: Path) -> None:
    """Mixing two chains' blocks would be found out only by a wrong root."""
    async with fleet_of(tmp_path, 1) as fleet:
        Store.open(fleet.configs[0].ledger_path, b"\x42" * 32).close()
        with pytest.raises(Rejected, match="wrong_chain"):
            await run_node(fleet.opened(0))


async def test_ledger_that_lacks_its_last_block_stops_the_start(tmp_path: Path) -> None:
    """The core would begin at block 0 again, on top of a state that is further."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        await fleet.register(0, "AAA")
        await fleet.stop(0)
        opened, config = fleet.opened(0), fleet.configs[0]
        with closing(Store.open(config.ledger_path, fleet.document.chain_id)) as store:
            state, genesis = open_state(fleet.document, store)
            tip = store.tip()
            assert tip is not None
            store._db.delete(b"p" + tip.block_hash)
            safety = SafetyFile(config.safety_path, fleet.document.chain_id)
            with closing(safety), pytest.raises(StorageFailure, match=f"block {tip.height} is missing"):
                build_node(opened, store, safety, state, genesis)


async def test_rebuilt_core_knows_what_was_committed_and_said(tmp_path: Path) -> None:
    """A core that forgot its past could vote twice, or refuse every anchor until it had executed anew."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        await fleet.register(0, "AAA")
        await fleet.stop(0)
        opened, config = fleet.opened(0), fleet.configs[0]
        safety = SafetyFile(config.safety_path, fleet.document.chain_id)
        with closing(Store.open(config.ledger_path, fleet.document.chain_id)) as store, closing(safety):
            state, genesis = open_state(fleet.document, store)
            node = build_node(opened, store, safety, state, genesis)
            core, tip = node.replica.core, store.tip()
            assert tip is not None
            assert core.committed.block_hash == tip.block_hash
            assert core.executed_height == tip.height
            assert not core.is_amnesiac
            assert [each.header.height for each in store.pending()][:1] == [tip.height + 1]


def double_vote(fleet: Fleet, index: int) -> Evidence:
    """Two votes of this validator in one view."""
    offender = fleet.opened(index).keys.consensus
    assert offender is not None

    def half(block_hash: bytes) -> Half:
        message = vote_message(fleet.document.chain_id, 0, 5, Phase.CERTIFY, 3, block_hash)
        return Half((3, block_hash), offender.sign(message))

    return make_evidence(Offence.VOTE, 0, 5, index, half(b"a" * 32), half(b"b" * 32))


async def test_a_contradiction_that_one_validator_knows_of_is_punished_by_all(tmp_path: Path) -> None:
    """Rows 1 and 2: found on one disk, passed on, submitted and executed by whole nodes; everybody shows the same."""
    async with fleet_of(tmp_path, 4) as fleet:
        evidence = double_vote(fleet, 3)
        EvidenceFiles(fleet.configs[1].evidence_path).put(evidence)
        settled = fleet.starts.count("evidence_settled", 3)
        await fleet.start(0, 1, 2)
        await settled.wait()
        expected = {"validator": "v3", "epoch": 0, "view": 5, "offence": "vote", "evidence": evidence.id.hex()}
        for index in range(3):
            answer = await fleet.get(index, "/v1/evidence")
            assert answer["waiting"] == []
            assert [expected] == [{name: each[name] for name in expected} for each in answer["punished"]]
            assert [each["validator"] for each in answer["jailed"]] == ["v3"]
