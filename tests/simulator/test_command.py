"""``novate sim``: one seed, many seeds, and what a failure says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import novate
from node.simulator.campaign import campaign
from node.simulator.cluster import Cluster
from node.simulator.replica import Replica
from node.simulator.run import simulate
from node.simulator.settings import Fault, Settings
from tests.simulator.sabotage import Sabotaged, commit_another_block

SHORT = ("--views", "15")


def test_a_seed_is_reported_as_one_document() -> None:
    """For scripts: what was run, what held, what was injected, and the command for it."""
    done = CliRunner().invoke(novate, ["sim", "--seed", "4", *SHORT, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["violation"] is None
    assert document["events"] > 100
    assert document["events_per_s"] > 0
    assert set(document["heights"]) >= {"0", "1", "2", "3"}
    assert document["healed_timeouts"] <= 5


def test_the_replay_command_replays_the_run() -> None:
    """The whole point of a seed: the same transcript, from the command that a failure shows."""
    settings = Settings(9, powers=(1,) * 5, views=12, faults=(Fault.LOSS, Fault.CRASH, Fault.EQUIVOCATE))
    words = shlex.split(settings.command)
    assert words[0] == "novate"
    done = CliRunner().invoke(novate, [*words[1:], "--json"])
    document = json.loads(done.stdout)
    outcome = simulate(settings)
    assert (document["transcript"], document["events"]) == (outcome.digest, outcome.events)
    assert document["replay"] == settings.command


def test_a_failure_shows_the_transcript_and_the_command_and_exits_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A violation that cannot be replayed is a rumour."""
    made = Cluster.make_core

    def sabotaged(cluster: Cluster, replica: Replica) -> object:
        return Sabotaged(made(cluster, replica), replica, commit_another_block)

    monkeypatch.setattr(Cluster, "make_core", sabotaged)
    command = ["sim", "--seed", "3", "--views", "20", "--faults", "loss,crash"]
    done = CliRunner().invoke(novate, command)
    assert done.exit_code == 1
    assert "novate: error [agreement]" in done.stderr
    assert "novate sim --seed 3 --engine hotstuff --validators 4 --views 20 --faults loss,crash" in done.stderr
    assert "VIOLATION" in done.stderr
    assert "=>" in done.stderr
    document = json.loads(CliRunner().invoke(novate, [*command, "--json"]).stdout)
    assert document["ok"] is False
    assert document["violation"]["rule"] == "agreement"


def test_the_whole_transcript_goes_into_a_file_and_changes_nothing(tmp_path: Path) -> None:
    """Looking must not change what is seen."""
    file = tmp_path / "transcript.txt"
    done = CliRunner().invoke(novate, ["sim", "--seed", "4", *SHORT, "--json", "--transcript", str(file)])
    lines = file.read_text().splitlines()
    document = json.loads(done.stdout)
    assert document["transcript"] == simulate(Settings(4, views=15)).digest
    assert len(lines) >= document["events"]
    assert any("COMMIT" in line for line in lines)


def test_many_seeds_are_summed() -> None:
    """The table of a long run: how many, how many failed, what was injected, how soon all were well."""
    done = CliRunner().invoke(novate, ["sim", "--seeds", "0:5", *SHORT, "--jobs", "1", "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["runs"], document["failed"], document["failures"]) == (5, 0, [])
    assert sum(document["healed_timeouts"].values()) == 5


def test_a_campaign_over_processes_is_the_same_runs() -> None:
    """Where a seed runs must not matter."""
    settings, seeds = Settings(0, views=8), range(6)
    alone = {each.settings.seed: each.digest for each in campaign(settings, seeds, 1)}
    spread = {each.settings.seed: each.digest for each in campaign(settings, seeds, 2)}
    assert alone == spread
    assert len(set(alone.values())) == len(seeds)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--faults", "frogs"], 1, "bad_settings"),
        (["--engine", "raft"], 1, "bad_settings"),
        (["--seeds", "5:5"], 2, "FROM:TO"),
        (["--seeds", "a:5"], 2, "FROM:TO"),
        (["--validators", "0"], 2, "validators"),
        (["--views", "2000000"], 1, "bad_settings"),
    ],
)
def test_wrong_settings_are_refused(arguments: list[str], code: int, text: str) -> None:
    """With what there is instead."""
    done = CliRunner().invoke(novate, ["sim", *arguments])
    assert done.exit_code == code
    assert text in done.stderr
