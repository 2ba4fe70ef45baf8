"""Whole validators that lost their safety state, or came back with an old one: silent, or stopped, never two votes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from cli.client import Unreachable
from node.app import run_node
from node.failures import ReplicaHalted
from node.home import install_genesis, prepare_home
from node.keystore import COST_TESTNET, KeyStore
from node.unused_key import is_unused
from tests.node.test_app import PARAMS, PASSPHRASE, Fleet, fleet_of, interpreter_left_as_found

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio


def init_again(fleet: Fleet, index: int) -> None:
    """``novate node init --genesis`` over what is left of a home."""
    config = fleet.configs[index]
    prepare_home(config, f"127.0.0.1:{config.listen_port}", PASSPHRASE, cost=COST_TESTNET)
    install_genesis(config, fleet.document)


async def test_wiped_and_made_anew_validator_is_silent_until_a_quorum_has_reported(tmp_path: Path) -> None:
    """Its key has voted; begun anew at view 0 it would vote again in views that it has voted in."""
    async with fleet_of(tmp_path, 4, replace(PARAMS, view_timeout_ms_max=2_000)) as fleet:
        await fleet.start(0, 1, 2, 3)
        receipt = (await fleet.register(3, "AAA"))["receipt"]
        await fleet.stop(3)
        config = fleet.configs[3]
        shutil.rmtree(config.data_path)
        config.genesis_path.unlink()
        init_again(fleet, 3)
        assert not config.safety_path.exists()

        await fleet.start(3)
        assert (await fleet.get(3, "/v1/status"))["amnesiac"] is True
        await fleet.root_with(3, receipt)
        with pytest.raises(Unreachable, match="its safety state is lost"):
            await fleet.get(3, "/v1/ready")

        for number in count():
            await fleet.register(0, f"B{number}")
            if not (await fleet.get(3, "/v1/status"))["amnesiac"]:
                break
        assert config.safety_path.exists()
        await fleet.stop(2)
        late = (await fleet.register(3, "LATE"))["receipt"]
        assert await fleet.root_with(3, late) == await fleet.root_with(0, late)


async def test_validator_with_an_older_safety_file_halts(tmp_path: Path) -> None:
    """A restored backup forgets votes and says nothing of it; the certificates of the others give it away."""
    async with fleet_of(tmp_path, 4) as fleet:
        config = fleet.configs[3]
        older = config.safety_path.read_bytes()
        await fleet.start(0, 1, 3)
        await fleet.register(3, "AAA")
        await fleet.stop(3)
        config.safety_path.write_bytes(older)
        with pytest.RaisesGroup(
            pytest.RaisesExc(ReplicaHalted, match="our key signed in view"), flatten_subgroups=True
        ):
            await run_node(fleet.opened(3))


async def test_first_run_uses_the_key_up(tmp_path: Path) -> None:
    """From then on `node init` must not give it a fresh safety state; status says that it remembers."""
    async with fleet_of(tmp_path, 1) as fleet:
        store = KeyStore(fleet.configs[0].home)
        assert is_unused(store)
        await fleet.start(0)
        assert not is_unused(store)
        assert (await fleet.get(0, "/v1/status"))["amnesiac"] is False
