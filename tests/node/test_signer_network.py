"""Whole validators whose keys are with signers: copies, backups, and a signer that comes and goes. FAULTS row 4."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from cli.client import Unreachable
from cli.ports import free_ports
from contracts.operations import build_operation
from node.app import run_node
from node.config import NodeConfig
from node.evidence import EvidenceFiles
from node.failures import ReplicaHalted
from node.home import open_home, prepare_home
from node.keystore import COST_TESTNET
from node.signer import SignerServer
from node.signer_client import ask_standings
from node.signer_home import SignerConfig, default_socket, hand_over, load_signer, opened, signer_file
from node.signer_protocol import Standing
from node.signer_ring import open_ring
from tests.node.signer_rig import Notes
from tests.node.test_app import PASSPHRASE, Fleet, double_vote, fleet_of, interpreter_left_as_found
from tests.node.test_face import apply

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio

REFUSED = pytest.RaisesExc(ReplicaHalted, match="its signer refuses: (signed_otherwise|below_mark)")


def hand(config: NodeConfig) -> SignerConfig:
    """Give a validator's key to a signer beside its home."""
    home = config.home.with_name(f"{config.name}-signer")
    return hand_over(config.home, home, default_socket(home))


@asynccontextmanager
async def signing(signer: SignerConfig) -> AsyncIterator[None]:
    """The signer's process, as far as this one can play it."""
    notes = Notes()
    with (
        opened(signer, PASSPHRASE) as keys,
        open_ring(signer.chain_id, keys, partial(signer_file, signer), notes) as ring,
    ):
        server = SignerServer(ring, signer.socket, notes)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            yield
            nursery.cancel_scope.cancel()


def copy_of(config: NodeConfig, name: str) -> NodeConfig:
    """The whole home copied elsewhere, with ports of its own: a twin, or a backup put to work."""
    peer, http = free_ports(2)
    home = config.home.with_name(name)
    shutil.copytree(config.home, home)
    copied = replace(config, home=home, listen_port=peer, http_port=http, signer=load_signer_of(config).socket)
    prepare_home(copied, f"127.0.0.1:{config.listen_port}", PASSPHRASE, cost=COST_TESTNET)
    return copied


def load_signer_of(config: NodeConfig) -> SignerConfig:
    """The signer that `hand` made for this validator."""
    return load_signer(config.home.with_name(f"{config.name}-signer"))


async def standing_of(signer: SignerConfig) -> Standing:
    """How its one key stands."""
    [standing] = await ask_standings(signer.socket)
    return standing


async def height_of(fleet: Fleet) -> int:
    """The first validator's height."""
    status = await fleet.get(0, "/v1/status")
    return int(status["height"])


async def test_validator_restored_from_a_backup_is_refused_by_its_signer(tmp_path: Path) -> None:
    """The whole home, ledger and safety state, as of yesterday: alone, nothing in it shows that it is a copy."""
    async with fleet_of(tmp_path, 1) as fleet:
        signer = hand(fleet.configs[0])
        async with signing(signer):
            await fleet.start(0)
            await fleet.register(0, "AAA")
            await fleet.stop(0)
            backup = copy_of(fleet.configs[0], "backup")
            await fleet.start(0)
            assert (await fleet.register(0, "BBB"))["status"] == "committed"
            await fleet.stop(0)
            with pytest.RaisesGroup(REFUSED, flatten_subgroups=True):
                await run_node(open_home(backup.home, PASSPHRASE))
            await fleet.start(0)
            assert (await fleet.register(0, "CCC"))["status"] == "committed"


async def test_second_node_with_one_key_halts_and_the_first_goes_on(tmp_path: Path) -> None:
    """Both lead every view of their chain of one; the signer lets one of them speak in each."""
    async with fleet_of(tmp_path, 1) as fleet:
        signer = hand(fleet.configs[0])
        async with signing(signer):
            await fleet.start(0)
            await fleet.register(0, "AAA")
            await fleet.stop(0)
            twin = copy_of(fleet.configs[0], "twin")
            await fleet.start(0)
            await fleet.register(0, "BBB")
            before = await height_of(fleet)
            with pytest.RaisesGroup(REFUSED, flatten_subgroups=True):
                await run_node(open_home(twin.home, PASSPHRASE))
            assert (await fleet.register(0, "CCC"))["status"] == "committed"
            assert await height_of(fleet) > before
            assert (await standing_of(signer)).refused >= 1


async def test_validator_without_its_signer_follows_and_votes_again_when_it_is_back(tmp_path: Path) -> None:
    """The chain does not notice; the operator reads of it; nobody has to restart the node."""
    async with fleet_of(tmp_path, 4) as fleet:
        signer = hand(fleet.configs[3])
        async with signing(signer):
            await fleet.start(0, 1, 2, 3)
            first = (await fleet.register(3, "AAA"))["receipt"]
            assert (await standing_of(signer)).signed > 0
        second = (await fleet.register(0, "BBB"))["receipt"]
        assert (await fleet.get(3, "/v1/status"))["signer"] is False
        assert (await fleet.get(0, "/v1/status"))["signer"] is None
        with pytest.raises(Unreachable, match="its signer is out of reach"):
            await fleet.get(3, "/v1/ready")
        assert await fleet.root_with(3, second) == await fleet.root_with(0, second)
        block = await fleet.get(0, f"/v1/blocks/{second['height']}")
        assert "v3" not in block["voters"]
        async with signing(signer):
            await fleet.stop(2)
            third = (await fleet.register(3, "CCC"))["receipt"]
            for receipt in (first, second, third):
                assert await fleet.root_with(3, receipt) == await fleet.root_with(0, receipt)
            block = await fleet.get(0, f"/v1/blocks/{third['height']}")
            assert block["voters"] == ["v0", "v1", "v3"]
            assert (await fleet.get(3, "/v1/status"))["signer"] is True
            assert (await standing_of(signer)).refused == 0


async def test_validator_that_starts_before_its_signer_waits_for_it(tmp_path: Path) -> None:
    """After a power failure the two come up in any order."""
    async with fleet_of(tmp_path, 1) as fleet:
        signer = hand(fleet.configs[0])
        await fleet.start(0)
        assert await height_of(fleet) == 0
        async with signing(signer):
            assert (await fleet.register(0, "AAA"))["status"] == "committed"


async def test_a_contradiction_that_only_a_validator_with_a_signer_knows_of_is_punished(tmp_path: Path) -> None:
    """Rows 1 and 2: it can sign no envelope for the evidence, so it hands it to the others, and one of them does."""
    async with fleet_of(tmp_path, 4) as fleet:
        evidence = double_vote(fleet, 3)
        EvidenceFiles(fleet.configs[0].evidence_path).put(evidence)
        settled = fleet.starts.count("evidence_settled", 3)
        async with signing(hand(fleet.configs[0])):
            await fleet.start(0, 1, 2)
            await settled.wait()
            for index in range(3):
                answer = await fleet.get(index, "/v1/evidence")
                assert answer["waiting"] == []
                assert [each["evidence"] for each in answer["punished"]] == [evidence.id.hex()]
                assert [each["validator"] for each in answer["jailed"]] == ["v3"]


async def test_where_every_key_is_with_a_signer_a_member_or_a_role_submits_the_evidence(tmp_path: Path) -> None:
    """No validator can; what it shows of the evidence is what anyone with a key of the chain needs."""
    async with fleet_of(tmp_path, 1) as fleet:
        evidence = double_vote(fleet, 0)
        EvidenceFiles(fleet.configs[0].evidence_path).put(evidence)
        found = fleet.starts.count("evidence_found", 1)
        settled = fleet.starts.count("evidence_settled", 1)
        async with signing(hand(fleet.configs[0])):
            await fleet.start(0)
            await found.wait()
            [waiting] = (await fleet.get(0, "/v1/evidence"))["waiting"]
            await apply(fleet, [build_operation("evidence.submit", {"evidence": waiting["bytes"]})])
            await settled.wait()
            punished = (await fleet.get(0, "/v1/evidence"))["punished"]
            assert [each["evidence"] for each in punished] == [evidence.id.hex()]
