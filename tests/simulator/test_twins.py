"""Twins: the form of a scenario, what must come of it, and generated ones at four and seven replicas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import novate
from genesis.errors import Rejected
from node.simulator.scenarios import Scenario, View, every_scenario, read_scenarios, sample_scenarios
from node.simulator.twins import Result, run_scenario

EXAMPLE: dict[str, Any] = {
    "name": "example",
    "replicas": 4,
    "twins": [0],
    "views": [{"leader": 1, "partitions": [["0", "1", "2"], ["0'", "3"]]}],
    "calm_views": 6,
}


ENGINES = pytest.mark.parametrize("engine", ["hotstuff", "pbft"])


def run(engine: str, *scenarios: Scenario) -> list[Result]:
    return [run_scenario(each, engine) for each in scenarios]


@ENGINES
def test_the_command_prints_what_each_scenario_came_to(engine: str, tmp_path: Path) -> None:
    """The form that other tools read: name, safe, a height for every instance, and nothing else."""
    file = tmp_path / "scenarios.json"
    file.write_text(json.dumps({"scenarios": [EXAMPLE, {**EXAMPLE, "name": "again", "twins": []} | {"views": []}]}))
    done = CliRunner().invoke(novate, ["sim", "twins", str(file), "--engine", engine, "--json"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)["results"]
    assert [each["name"] for each in results] == ["example", "again"]
    assert all(set(each) == {"name", "safe", "heights"} and each["safe"] is True for each in results)
    assert [set(each["heights"]) for each in results] == [{"0", "1", "2", "3", "0'"}, {"0", "1", "2", "3"}]
    assert [len(set(each["heights"].values())) for each in results] == [1, 1]
    assert [4 <= min(each["heights"].values()) <= views for each, views in zip(results, (7, 6), strict=True)] == [
        True
    ] * 2


SPOILT: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 0}, "replicas"),
    ({"replicas": True}, "replicas"),
    ({"twins": [4]}, "twins"),
    ({"twins": [0, 0]}, "twins"),
    ({"twins": "0"}, "twins"),
    ({"views": [{"leader": 4}]}, "leader"),
    ({"views": [{"leader": 1, "partitions": [["0", "7"]]}]}, "partitions"),
    ({"views": [{"leader": 1, "partitions": [["0"], ["0"]]}]}, "partitions"),
    ({"views": [{"partitions": []}]}, "leader"),
    ({"calm_views": -1}, "calm_views"),
    ({"name": 3}, "name"),
]


@pytest.mark.parametrize(("change", "where"), SPOILT)
def test_a_spoilt_scenario_is_refused_by_its_place(change: dict[str, Any], where: str) -> None:
    """Whoever writes scenarios by hand must be told which of a thousand lines is wrong."""
    data = json.dumps({"scenarios": [EXAMPLE, {**EXAMPLE, **change}]}).encode()
    with pytest.raises(Rejected, match=rf"scenarios\[1\]\S*{where}") as refused:
        read_scenarios(data)
    assert refused.value.code == "bad_scenario"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"scenarios": []}', b'{"scenarios": [3]}', b"\xff"])
def test_what_is_no_file_of_scenarios_is_refused(data: bytes) -> None:
    """No traceback on bad input."""
    with pytest.raises(Rejected):
        read_scenarios(data)


def test_what_is_generated_reads_back() -> None:
    """A sampled scenario that fails is sent to somebody else as a file."""
    scenarios = sample_scenarios(7, 4, 5, seed=1)
    document = {"scenarios": [each.document for each in scenarios]}
    assert read_scenarios(json.dumps(document).encode()) == scenarios


def test_the_command_writes_what_the_other_reads(tmp_path: Path) -> None:
    """Sampled on one machine, played on another."""
    runner, file = CliRunner(), tmp_path / "scenarios.json"
    written = runner.invoke(novate, ["sim", "scenarios", "--count", "2", "--views", "2", "--seed", "5"])
    file.write_text(written.stdout)
    done = runner.invoke(novate, ["sim", "twins", str(file)])
    assert done.exit_code == 0, done.output
    assert "n4-seed5-1  yes" in done.stdout


@ENGINES
@pytest.mark.parametrize(("replicas", "views", "count"), [(4, 3, 10), (4, 8, 3), (7, 4, 3)])
def test_sampled_scenarios_with_up_to_f_twins_are_safe_and_go_on(
    replicas: int, views: int, count: int, engine: str
) -> None:
    """The worst that less than a third of the power can do by speaking twice."""
    results = run(engine, *sample_scenarios(replicas, views, count, seed=7))
    assert [each for each in results if not each.safe] == []
    assert all(max(each.heights.values()) >= 2 for each in results)


@ENGINES
def test_every_first_view_with_a_twin_is_safe(engine: str) -> None:
    """Small enough to try them all: two groups, the twin leads or does not."""
    scenarios = list(every_scenario(4, 1))
    assert len(scenarios) == 2 * 2**4
    assert [each for each in run(engine, *scenarios) if not each.safe] == []


@ENGINES
def test_more_twins_than_the_protocol_bears_fork_the_chain(engine: str) -> None:
    """The harness sees a fork when there is one: two twins of four replicas, each side with a quorum of its own."""
    sides = (("0", "1", "2"), ("0'", "1'", "3"))
    views = tuple(View(leader, sides) for leader in (0, 0, 1, 1, 0))
    (result,) = run(engine, Scenario("too many", 4, (0, 1), views, 6))
    assert not result.safe
    assert "agreement" in result.why or "another block" in result.why


def test_a_scenario_runs_the_same_way_every_time() -> None:
    """It has no seed of its own: what it says is all there is."""
    scenario = sample_scenarios(4, 5, 1, seed=3)[0]
    assert run("pbft", scenario) == run("pbft", scenario)
