"""What an operator decides about the past: snapshots, pruning, the block to trust."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from genesis.errors import Rejected
from node.config import KEEP_BLOCKS_MIN, MEMPOOL_BYTES_MIN, NodeConfig, load_config

HASH = "ab" * 32


def written(config: NodeConfig, **tables: Any) -> NodeConfig:
    """The settings as they are read back, with tables replaced."""
    config.path.write_text(tomli_w.dumps({**config.to_mapping(), **tables}))
    return load_config(config.home)


def test_settings_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    """`novate node init` writes them, the node reads them."""
    plain = NodeConfig(home=tmp_path, name="v0")
    for config in (
        plain,
        replace(plain, snapshot_interval=50, snapshots_kept=4, keep_blocks=1_000),
        replace(plain, trust_height=7, trust_hash=HASH),
        replace(plain, snapshot_interval=0),
        replace(plain, mempool_bytes_max=2**30),
    ):
        assert written(config) == config


def test_a_file_from_before_has_the_defaults(tmp_path: Path) -> None:
    """An upgrade needs no hand in any validator's settings."""
    config = NodeConfig(home=tmp_path, name="v0")
    tables = {
        name: value for name, value in config.to_mapping().items() if name not in ("snapshots", "blocks", "mempool")
    }
    config.path.write_text(tomli_w.dumps(tables))
    assert load_config(tmp_path) == config


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"snapshots": {"interval": -1}}, "snapshots.interval"),
        ({"snapshots": {"interval": "often"}}, "snapshots.interval"),
        ({"snapshots": {"interval": True}}, "snapshots.interval"),
        ({"snapshots": {"keep": 0}}, "snapshots.keep"),
        ({"snapshots": {"every": 5}}, "snapshots"),
        ({"snapshots": 5}, "snapshots"),
        ({"blocks": {"keep": KEEP_BLOCKS_MIN - 1}}, "blocks.keep"),
        ({"blocks": {"keep": 1_000}, "snapshots": {"interval": 0}}, "blocks.keep"),
        ({"blocks": {"height": 5}}, "blocks"),
        ({"mempool": {"bytes_max": MEMPOOL_BYTES_MIN - 1}}, "mempool.bytes_max"),
        ({"mempool": {"bytes_max": 2.5e8}}, "mempool.bytes_max"),
        ({"mempool": {"envelopes_max": 5}}, "mempool"),
        ({"trust": {"height": 5}}, "trust"),
        ({"trust": {"hash": HASH}}, "trust"),
        ({"trust": {"height": 5, "hash": HASH[1:]}}, "trust.hash"),
        ({"trust": {"height": 5, "hash": HASH.upper()}}, "trust.hash"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, tables: dict[str, Any], says: str) -> None:
    """A node that prunes what nobody can fetch, or trusts half a block, must not start."""
    with pytest.raises(Rejected, match="bad_config") as caught:
        written(NodeConfig(home=tmp_path, name="v0"), **tables)
    assert says in caught.value.message
