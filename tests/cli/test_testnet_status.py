"""The exit code of ``testnet status``: whether the chain can go on, and whether all say the same of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import novate
from cli.testnet_files import LocalNetwork
from cli.testnet_run import survey
from tests.cli.stub_chain import stub_network


def test_a_validator_that_falls_silent_between_two_questions_does_not_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is slow, or has just been stopped; "the state roots differ" would send its operator after a fork."""
    with stub_network(tmp_path / "one") as one, stub_network(tmp_path / "other") as other:
        pair = (one.testnet.validators[0], other.testnet.validators[1])
        status = {"height": 1, "state_root": "ab", "committed_txs": 0, "amnesiac": False}

        def falls_silent(path: str, after: str = "") -> object:
            if path != "/v1/status":
                raise ConnectionError("The process has ended.")
            return {**status, "height": 2, "state_root": "cd"}

        def goes_on(path: str, after: str = "") -> object:
            return status if path == "/v1/status" else {"validators": [], "quorum_power": 1}

        monkeypatch.setattr(one.chain, "ask", falls_silent)
        monkeypatch.setattr(other.chain, "ask", goes_on)
        found = survey(LocalNetwork(tmp_path, pair))
    assert [each.status is None for each in found.standings] == [True, False]
    assert (found.agreed, found.state_root) == (True, "ab")


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
