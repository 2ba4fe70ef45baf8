"""A validator of a testnet that ends at its start: said at once, by its name, with what its log says."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import novate
from cli.processes import running_pid
from cli.testnet_files import Era, create_testnet
from cli.testnet_run import bring_up
from genesis.errors import Rejected


def test_a_validator_that_dies_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    """The reason is in the log, and nobody looks there first."""
    network = create_testnet(tmp_path / "net", 1, Era())
    (network.validators[0].home / "genesis.toml").unlink()
    with pytest.raises(Rejected) as refused:
        bring_up(network.validators)
    assert refused.value.code == "validator_died"
    assert "[no_genesis]" in refused.value.message
    assert running_pid(network.validators[0].home) is None


def test_the_end_of_one_validator_is_not_hidden_by_the_wait_for_another(tmp_path: Path) -> None:
    """Without the second there is no quorum, so the first is never ready: it would be blamed, after a long wait."""
    network = create_testnet(tmp_path / "net", 2, Era())
    (network.validators[1].home / "genesis.toml").unlink()
    with pytest.raises(Rejected, match=r"v1 has ended, with exit code 1\.") as refused:
        bring_up(network.validators)
    assert refused.value.code == "validator_died"
    assert "[no_genesis]" in refused.value.message
    assert [running_pid(each.home) for each in network.validators] == [None, None]


def test_a_restart_that_fails_is_reported_with_its_own_log(tmp_path: Path) -> None:
    """Success for a validator that died a moment later would be found out by an operator in the night."""
    network = create_testnet(tmp_path / "net", 1, Era())
    (network.validators[0].home / "genesis.toml").unlink()
    (network.validators[0].home / "node.log").write_text("of an older run\n")
    result = CliRunner().invoke(novate, ["testnet", "restart", "v0", "--dir", str(network.directory), "--json"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[validator_died]" in result.stderr
    assert "[no_genesis]" in result.stderr
    assert "of an older run" not in result.stderr
    assert "novate testnet restart NAME" in result.stderr
