"""What the interface answers from a real state: series page by page, markets in quarantine, settlements."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from cli.client import Connection, NotFound
from contracts.operations import build_operation
from genesis.envelope import Operation, sign_envelope
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.keystore import KeyStore
from node.unused_key import CONSENSUS_KEY
from tests.node.test_app import GOVERNOR, PARAMS, PASSPHRASE, WAIT_MS, Fleet, fleet_of, interpreter_left_as_found

__all__ = ["interpreter_left_as_found"]

pytestmark = pytest.mark.trio

NAMES = [f"BTC-{number}-P" for number in range(1, 6)]
EXPIRY_UNIX_MS = 2**46


def market() -> list[Operation]:
    """An asset, an index and five series."""
    index = {"index": "BTC", "tick_decimals": 2, "price_min_ticks": 1, "price_max_ticks": 10**9, "oracle_quorum": 1}
    terms = {"index": "BTC", "expiry_unix_ms": EXPIRY_UNIX_MS, "right": "P", "settlement": "linear", "asset": "USD"}
    sizes = {"lot_minor": 100, "premium_tick_minor": 1}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("asset.register", {"asset": "USD", "decimals": 2}),
        ("index.register", index),
        *(("series.list", {"series": each, **terms, **sizes, "strike_ticks": 100}) for each in NAMES),
    ]
    return [build_operation(kind, {name: str(value) for name, value in fields.items()}) for kind, fields in rows]


async def apply(fleet: Fleet, operations: list[Operation], key: SigningKey = GOVERNOR) -> None:
    """Execute operations of the governor, or of another key, on the lone validator."""
    wire = sign_envelope(fleet.document.chain_id, [key], operations, time.time_ns() // 1_000_000 + 60_000, bytes(16))

    def post() -> dict[str, Any]:
        with Connection(fleet.configs[0].http_url) as connection:
            return connection.submit([wire], WAIT_MS)[0]

    result = await trio.to_thread.run_sync(post)
    assert result["status"] == "committed", result


async def test_series_come_page_by_page(tmp_path: Path) -> None:
    """All twenty thousand in one answer kept blocks and consensus waiting for a quarter of a second."""
    async with fleet_of(tmp_path, 1) as fleet:
        await fleet.start(0)
        await apply(fleet, market())
        whole = await fleet.get(0, "/v1/series")
        assert ([each["series"] for each in whole["series"]], whole["next"]) == (NAMES, None)
        pages: list[list[str]] = []
        after: str | None = ""
        while after is not None:
            page = await fleet.get(0, f"/v1/series?limit=2&after={after}")
            pages.append([each["series"] for each in page["series"]])
            after = page["next"]
        assert pages == [NAMES[:2], NAMES[2:4], NAMES[4:]]
        assert (await fleet.get(0, f"/v1/series/{NAMES[0]}")) == whole["series"][0]
        for limit in (0, 501):
            with pytest.raises(Rejected, match="bad_limit"):
                await fleet.get(0, f"/v1/series?limit={limit}")
        assert await fleet.get(0, "/v1/quarantine") == {"quarantined": []}
        with pytest.raises(NotFound, match="not_settled"):
            await fleet.get(0, f"/v1/settlements/BTC/{EXPIRY_UNIX_MS}")


async def test_governance_goes_through_a_node_and_over_an_edge(tmp_path: Path) -> None:
    """A validator's key is known at the door; clients see what is proposed, approved and in force."""
    async with fleet_of(tmp_path, 1, replace(PARAMS, epoch_blocks=8)) as fleet:
        await fleet.start(0)
        key = KeyStore(fleet.configs[0].home).unlock(CONSENSUS_KEY, PASSPHRASE).signing_key
        await apply(fleet, [build_operation("validator.reweight", {"validator": "v0", "power": "3"})], key)
        (proposal,) = (await fleet.get(0, "/v1/proposals"))["proposals"]
        assert (proposal["approved"], proposal["approvals"], proposal["fields"]["power"]) == (True, ["v0"], 3)
        (entry,) = (await fleet.get(0, "/v1/validators"))["validators"]
        assert (entry["power"], entry["next_power"], entry["jailed"], entry["connected"]) == (1, 3, False, True)
        assert (entry["bonds"], entry["deposits"]) == ([], [])
        for name in "ABCDEFGH":
            await apply(fleet, [build_operation("asset.register", {"asset": name, "decimals": "2"})])
        epochs = await fleet.get(0, "/v1/epochs")
        sets = [(each["first_epoch"], each["validators"][0]["power"]) for each in epochs["validator_sets"]]
        assert (epochs["epoch"] >= 1, sets) == (True, [(1, 3), (0, 1)])
        assert (await fleet.get(0, "/v1/proposals"))["proposals"] == []
