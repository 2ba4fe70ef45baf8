"""The exit code of ``testnet status``: whether the chain can go on, and whether all say the same of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import novate
from tests.cli.stub_chain import stub_network


@pytest.mark.parametrize(
    ("answering", "quorum_power", "agree", "code", "exit_code"),
    [
        (3, 3, True, "", 0),
        (2, 3, True, "below_quorum", 1),
        (3, 3, False, "differing_roots", 1),
        (0, 3, True, "below_quorum", 1),
    ],
)
def test_status_fails_without_a_quorum_or_with_differing_roots(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answering: int,
    quorum_power: int,
    agree: bool,
    code: str,
    exit_code: int,
) -> None:
    """A script's health check is the exit code; the answer is there all the same."""
    with stub_network(tmp_path) as network:
        url = {True: network.testnet.validators[0].url, False: "http://127.0.0.1:9"}
        entries = [{"name": f"v{number}", "url": url[number < answering]} for number in range(4)]
        (tmp_path / "testnet.json").write_text(json.dumps({"version": 1, "validators": entries}))
        status = {"height": 1, "state_root": "ab", "committed_txs": 0, "amnesiac": False}
        powers = [{"name": f"v{number}", "power": 1} for number in range(4)]
        asked = iter(range(1, 9))

        def answer(path: str, after: str) -> object:
            if path == "/v1/validators":
                return {"validators": powers, "quorum_power": quorum_power}
            return status if agree else {**status, "state_root": str(next(asked))}

        monkeypatch.setattr(network.chain, "_answer", answer)
        done = CliRunner().invoke(novate, ["testnet", "status", "--dir", str(tmp_path), "--json"])
    assert (done.exit_code, json.loads(done.stdout)["answering"]) == (exit_code, answering)
    assert (f"novate: error [{code}]" in done.stderr) == bool(code)
