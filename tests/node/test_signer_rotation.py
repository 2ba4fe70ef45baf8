"""Whole validators whose consensus keys are rotated in their signers, over an epoch's edge. FAULTS rows 4 and 33."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.client import Unreachable
from node.home import add_consensus_key
from node.keystore import COST_TESTNET
from node.signer_client import ask_standings
from node.signer_guard import Kind
from node.signer_home import add_key
from tests.node.test_app import PASSPHRASE, Fleet, fleet_of, interpreter_left_as_found
from tests.node.test_app_epochs import SHORT, govern, until_epoch
from tests.node.test_signer_network import hand, signing

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio


async def rotate(fleet: Fleet, public_key: bytes, asset: str) -> None:
    """Have governance give the last validator this key, and wait for the edge, a transaction at a time."""
    last = len(fleet.configs) - 1
    await govern(
        fleet, 0, "validator.rotate_key", {"validator": f"v{last}", "public_key": public_key.hex()}, range(last)
    )
    number = 0
    while (await fleet.get(0, "/v1/validators"))["validators"][last]["public_key"] != public_key.hex():
        await fleet.register(0, f"{asset}{number}")
        number += 1


async def voters_without(fleet: Fleet, absent: int, asset: str) -> Sequence[str]:
    """Who votes for a block while one other validator is away, so that everybody else has to; it is back afterwards."""
    await fleet.stop(absent)
    receipt = (await fleet.register(1, asset))["receipt"]
    block = await fleet.get(1, f"/v1/blocks/{receipt['height']}")
    await fleet.start(absent)
    return tuple(block["voters"])


@pytest.mark.parametrize("consensus", ["hotstuff", "pbft"])
async def test_key_in_a_signer_is_rotated_while_the_node_runs(tmp_path: Path, consensus: str) -> None:
    """The node asks the same process for the key that the epoch's set names, before and after the edge; of the two,
    only the signer is started again, and that any time before. A node that starts later finds the new key too."""
    async with fleet_of(tmp_path, 4, params=SHORT, consensus=consensus) as fleet:
        signer = hand(fleet.configs[3])
        async with signing(signer):
            await fleet.start(0, 1, 2, 3)
            await until_epoch(fleet, 0, 1)
            fresh = add_key(signer, PASSPHRASE, COST_TESTNET)
            assert [each.public_key for each in await ask_standings(signer.socket)] == [signer.public_key]
        async with signing(signer):
            await rotate(fleet, fresh, "K")
            assert await voters_without(fleet, 0, "ROTATED") == ("v1", "v2", "v3")
            old, new = await ask_standings(signer.socket)
            assert (old.public_key, new.public_key) == (signer.public_key, fresh)
            assert (old.refused, new.refused) == (0, 0)
            assert new.mark.epoch > old.mark.epoch
            assert new.mark.voted_view > 0
            await fleet.stop(3)
            await fleet.start(3)
            assert await voters_without(fleet, 2, "AGAIN") == ("v0", "v1", "v3")
            still, _ = await ask_standings(signer.socket)
            assert (still.mark.epoch, still.mark.last[Kind.CERTIFY]) == (old.mark.epoch, old.mark.last[Kind.CERTIFY])


async def test_key_that_the_signer_has_not_read_costs_the_voice_until_it_has(tmp_path: Path) -> None:
    """Its operator forgot to start the signer again: the node follows, says what is missing, and votes by itself once
    that is mended."""
    async with fleet_of(tmp_path, 4, params=SHORT) as fleet:
        signer = hand(fleet.configs[3])
        lacking = fleet.starts.count("signer_lacks_key", 1)
        async with signing(signer):
            await fleet.start(0, 1, 2, 3)
            await until_epoch(fleet, 0, 1)
            fresh = add_key(signer, PASSPHRASE, COST_TESTNET)
            await rotate(fleet, fresh, "K")
            await lacking.wait()
            late = (await fleet.register(0, "LATE"))["receipt"]
            assert await fleet.root_with(3, late) == await fleet.root_with(0, late)
            assert "v3" not in (await fleet.get(0, f"/v1/blocks/{late['height']}"))["voters"]
            with pytest.raises(Unreachable, match="its signer cannot sign with the key that the validator set names"):
                await fleet.get(3, "/v1/ready")
        async with signing(signer):
            assert await voters_without(fleet, 0, "MENDED") == ("v1", "v2", "v3")


async def test_validator_whose_key_was_rotated_at_home_signs_through_a_signer_afterwards(tmp_path: Path) -> None:
    """Both keys are handed over, and the one that is in force signs."""
    async with fleet_of(tmp_path, 4, params=SHORT) as fleet:
        fresh = add_consensus_key(fleet.configs[3], PASSPHRASE, COST_TESTNET)
        await fleet.start(0, 1, 2, 3)
        await until_epoch(fleet, 0, 1)
        await rotate(fleet, fresh, "K")
        await fleet.stop(3)
        signer = hand(fleet.configs[3])
        async with signing(signer):
            await fleet.start(3)
            assert await voters_without(fleet, 0, "HANDED") == ("v1", "v2", "v3")
            old, new = await ask_standings(signer.socket)
            assert (old.signed, new.refused) == (0, 0)
            assert new.signed > 0
