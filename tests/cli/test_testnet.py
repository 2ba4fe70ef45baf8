"""Testnets on disk and as processes, short of starting one (see `test_testnet_process`)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from cli import testnet_run
from cli.client import Connection
from cli.main import novate
from cli.ports import PORTS, free_ports
from cli.processes import Started, log_tail, running_pid, start, stop
from cli.testnet import verdict
from cli.testnet_files import (
    Era,
    LocalNetwork,
    LocalValidator,
    create_testnet,
    load_testnet,
    remove_testnet,
)
from cli.testnet_run import ANSWER_S_MAX, HEALTH_PATH, Standing, Survey, bring_up, survey, take_down
from genesis.document import parse_document
from genesis.errors import Rejected
from node.home import open_home, read_document
from tests.cli.stub_chain import stub_network


def invoke(*arguments: str) -> Any:
    """Run a command in this process."""
    return CliRunner().invoke(novate, list(arguments))


def test_a_new_testnet_is_complete_and_coherent(tmp_path: Path) -> None:
    """Every home opens by itself, with its own passphrase, and names the same chain."""
    network = create_testnet(tmp_path / "net", 3, Era(1_000, 50))
    document = parse_document((network.directory / "genesis.toml").read_text())
    assert document.clock.speed == 50
    assert [each.name for each in network.validators] == ["v0", "v1", "v2"]
    for index, each in enumerate(network.validators):
        opened = open_home(each.home, (each.home / "passphrase").read_bytes().strip())
        assert (opened.public_key, opened.document.chain_id) == (
            document.validators[index].public_key,
            document.chain_id,
        )
        assert opened.config.http_url == each.url
    wallet = network.wallet()
    for role in document.roles:
        assert wallet.key(role.name).public_key == role.public_key
    assert load_testnet(network.directory) == network


def test_no_secret_of_a_testnet_is_open_to_others(tmp_path: Path) -> None:
    """Testnet keys protect nothing, but the habit does."""
    network = create_testnet(tmp_path / "net", 1, Era())
    secret = [*network.directory.rglob("*.key"), *network.directory.rglob("passphrase")]
    assert len(secret) == 5 + 2 + 2
    assert {oct(path.stat().st_mode & 0o777) for path in secret} == {"0o600"}


@pytest.mark.parametrize("command", [["testnet", "up"], ["bench", "testnet"]])
@pytest.mark.parametrize("count", ["0", "-1", "33", "four"])
def test_a_wrong_number_of_validators_is_wrong_usage(tmp_path: Path, command: list[str], count: str) -> None:
    """None at all must not quietly become the default."""
    where = ["--dir", str(tmp_path / "net")] if command[0] == "testnet" else []
    assert invoke(*command, "--validators", count, *where).exit_code == 2
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("count", [0, 33])
def test_a_testnet_has_a_bounded_number_of_validators(tmp_path: Path, count: int) -> None:
    """Each is a process of this machine."""
    with pytest.raises(Rejected, match="1 to 32 validators"):
        create_testnet(tmp_path / "net", count, Era())


def fail(error: BaseException) -> Callable[..., Any]:
    """A function that raises."""

    def raiser(*_: object, **__: object) -> Any:
        raise error

    return raiser


STEPS = (
    *(f"cli.testnet_files.{each}" for each in ("_prepare", "warm_up", "_roles", "_record")),
    "node.home.install_genesis",
)


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["ctrl-c", "disk"])
def test_a_testnet_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, existed: bool
) -> None:
    """The same command, given again, must work."""
    directory = tmp_path / "net"
    if existed:
        directory.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(step, fail(error))
        with pytest.raises(type(error)):
            create_testnet(directory, 1, Era())
    assert list(tmp_path.iterdir()) == ([directory] if existed else [])
    assert not existed or not list(directory.iterdir())
    assert create_testnet(directory, 1, Era()).validators


def test_a_testnet_whose_making_was_killed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can clean up after a SIGKILL; what is left then must not block the next command."""
    directory = tmp_path / "net"
    with monkeypatch.context() as patched:
        patched.setattr("node.home.install_genesis", fail(KeyboardInterrupt()))
        patched.setattr("cli.testnet_files.remove_testnet", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            create_testnet(directory, 3, Era())
    assert (directory / "v2").exists()
    network = create_testnet(directory, 1, Era())
    assert {each.name for each in directory.iterdir()} == {
        "v0", "keys", "passphrase", "genesis.toml", "testnet.json"
    }  # fmt: skip
    assert load_testnet(directory) == network


def test_two_commands_do_not_make_one_testnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second would clear away what the first is making."""
    directory = tmp_path / "net"
    refused: list[str] = []

    def meanwhile() -> None:
        with pytest.raises(Rejected) as error:
            create_testnet(directory, 1, Era())
        refused.append(error.value.code)

    with monkeypatch.context() as patched:
        patched.setattr("cli.testnet_files.warm_up", meanwhile)
        network = create_testnet(directory, 1, Era())
    assert refused == ["testnet_busy"]
    assert load_testnet(directory) == network


def test_something_else_beside_half_a_testnet_is_left_alone(tmp_path: Path) -> None:
    """Only what a testnet's making leaves is cleared away."""
    (tmp_path / "testnet.unfinished").touch()
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(Rejected, match="not empty"):
        create_testnet(tmp_path, 1, Era())
    assert (tmp_path / "thesis.tex").read_text() == "years"


def test_an_impossible_era_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Keys for a chain that cannot be are of no use."""
    with pytest.raises(Rejected) as refused:
        create_testnet(tmp_path / "net", 1, Era(2**60, 1))
    assert refused.value.code == "bad_genesis"
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Rejected("not_ready", "Planted.")], ids=["ctrl-c", "not ready"])
def test_a_new_testnet_that_does_not_come_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Else the same command would be refused: `--replay-from` cannot be given for a testnet that is there."""
    monkeypatch.setattr("cli.testnet.bring_up", fail(error))
    options = ["--dir", str(tmp_path / "net"), "--replay-from", "1786911660000", "--speed", "10", "--validators", "1"]
    assert invoke("testnet", "up", *options).exit_code == 1
    assert not (tmp_path / "net").exists()


def test_an_old_testnet_that_does_not_come_up_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ledgers are somebody's."""
    network = create_testnet(tmp_path / "net", 1, Era())
    monkeypatch.setattr("cli.testnet.bring_up", fail(KeyboardInterrupt()))
    assert invoke("testnet", "up", "--dir", str(network.directory)).exit_code == 1
    assert load_testnet(network.directory) == network


def test_an_interrupt_between_two_starts_stops_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validator without a directory would run for ever."""
    network = create_testnet(tmp_path / "net", 2, Era())
    begun: list[Path] = []
    stopped: list[Path] = []

    def start_once(home: Path) -> Any:
        if begun:
            raise KeyboardInterrupt
        begun.append(home)
        return SimpleNamespace(home=home)

    monkeypatch.setattr("cli.testnet_run.start", start_once)
    monkeypatch.setattr("cli.testnet_run.stop", lambda home, _: stopped.append(home))
    with pytest.raises(KeyboardInterrupt):
        bring_up(network.validators)
    assert stopped == begun == [network.validators[0].home]


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    """`--dir .` by mistake must cost nothing."""
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(Rejected, match="not empty"):
        create_testnet(tmp_path, 1, Era())
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_existing_testnet_keeps_its_clock_and_validators(tmp_path: Path) -> None:
    """`up` with other options would silently be another network."""
    network = create_testnet(tmp_path / "net", 1, Era())
    for options in (
        ["--validators", "4"],
        ["--speed", "10"],
        ["--replay-from", "2026-08-16T20:00:00Z"],
        ["--param", "epoch_blocks=20"],
    ):
        result = invoke("testnet", "up", "--dir", str(network.directory), *options)
        assert result.exit_code == 1
        assert "[testnet_exists]" in result.stderr


def test_a_parameter_of_a_new_testnet_is_in_its_genesis_document(tmp_path: Path) -> None:
    """With epochs of a thousand blocks nobody sees governance take effect."""
    directory = tmp_path / "net"
    up = [sys.executable, "-m", "cli.main", "testnet", "up", "--detach", "--validators", "1", "--dir", str(directory)]
    try:
        subprocess.run([*up, "--param", "epoch_blocks=20", "--param", "merkle_depth=8"], check=True, timeout=60)
        params = read_document(directory / "genesis.toml").params
        assert (params.epoch_blocks, params.merkle_depth) == (20, 8)
    finally:
        invoke("testnet", "down", "--dir", str(directory))


@pytest.mark.parametrize(
    ("param", "code"),
    [
        ("colour=1", 2),
        ("epoch_blocks", 2),
        ("epoch_blocks=-5", 2),
        (f"epoch_blocks={'9' * 5000}", 2),
        ("epoch_blocks=1", 2),
    ],
)
def test_what_is_no_parameter_is_refused_before_anything_is_written(tmp_path: Path, param: str, code: int) -> None:
    """A misspelt name would be a chain with the default, found out a thousand blocks later."""
    refused = invoke("testnet", "up", "--detach", "--dir", str(tmp_path / "net"), "--param", param)
    assert refused.exit_code == code
    assert "param" in refused.stderr
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("command", [["status"], ["stop", "v0"], ["restart", "v0"], ["down"]])
def test_a_directory_without_a_testnet_is_refused_with_advice(tmp_path: Path, command: list[str]) -> None:
    """The default directory depends on where one stands."""
    result = invoke("testnet", *command, "--dir", str(tmp_path))
    assert result.exit_code == 1
    assert "novate testnet up" in result.stderr


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"version": 1, "validators": []}',
        '{"version": 2, "validators": [{"name": "v0", "url": "http://127.0.0.1:9"}]}',
        '{"version": 1, "validators": [{"name": "v0"}]}',
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, record: str) -> None:
    """Instead of a traceback."""
    (tmp_path / "testnet.json").write_text(record)
    with pytest.raises(Rejected, match="record is damaged"):
        load_testnet(tmp_path)


def test_an_unknown_validator_is_refused_by_name(tmp_path: Path) -> None:
    """And those that exist are named."""
    network = create_testnet(tmp_path / "net", 2, Era())
    result = invoke("testnet", "stop", "v7", "--dir", str(network.directory))
    assert result.exit_code == 1
    assert "it has v0, v1" in result.stderr


def test_nothing_to_stop_is_no_failure(tmp_path: Path) -> None:
    """`down` ends a script whatever happened before."""
    network = create_testnet(tmp_path / "net", 2, Era())
    result = invoke("testnet", "down", "--dir", str(network.directory), "--json")
    assert json.loads(result.stdout) == {"stopped": [], "deleted": False}
    assert survey(network).document()["agreed"] is False
    assert invoke("testnet", "down", "--delete", "--dir", str(network.directory)).exit_code == 0
    assert not network.directory.exists()


def test_a_restart_that_does_not_become_ready_is_reported_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that reads success goes on to the next validator, and stops the chain."""
    network = create_testnet(tmp_path / "net", 2, Era())
    started: list[Started] = []

    def answering(*arguments: Any) -> Started:
        """Started, and so far that it answers: the patience that ends below is then not that of its start."""
        started.append(start(*arguments))
        with Connection(network.validators[0].url, ANSWER_S_MAX) as connection:
            while not connection.answers(HEALTH_PATH):
                assert not started[-1].ended(0.05), log_tail(network.validators[0].home)
        return started[-1]

    monkeypatch.setattr(testnet_run, "start", answering)
    monkeypatch.setattr(testnet_run, "READY_S_MAX", 0.5)
    monkeypatch.setattr(testnet_run, "ANSWER_S_MAX", 60.0)
    try:
        result = invoke("testnet", "restart", "v0", "--dir", str(network.directory), "--json")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "[not_ready]" in result.stderr
        assert "connected to 1 of the 2 of voting power" in " ".join(result.stderr.split())
        assert running_pid(network.validators[0].home) is not None
    finally:
        take_down(network, started)


def test_somebody_elses_answer_does_not_pass_for_a_validators(tmp_path: Path) -> None:
    """Another program at the address would be taken for the restarted validator."""
    with stub_network(tmp_path) as network:
        (tmp_path / "v0").mkdir()
        result = invoke("testnet", "restart", "v0", "--dir", str(tmp_path))
        assert network.chain.posts == 0
    assert result.exit_code == 1
    assert "[port_taken]" in result.stderr
    assert not (tmp_path / "v0" / "node.pid").exists()


def test_a_process_id_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    """The system reuses them, and `stop` must not kill a stranger."""
    (tmp_path / "node.pid").write_text(f"{os.getpid()}\n")
    assert running_pid(tmp_path) is None
    assert stop(tmp_path) is False


def test_a_validator_that_ignores_the_request_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped network must be stopped."""
    monkeypatch.setattr("cli.processes.STOP_GRACE_S", 0.2)
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        (tmp_path / "node.pid").write_text(str(deaf.pid))
        assert running_pid(tmp_path) == deaf.pid
        assert stop(tmp_path)
        assert deaf.wait(60) == -9


def test_the_logs_tail_is_short(tmp_path: Path) -> None:
    """And an absent log is said to be absent."""
    assert log_tail(tmp_path) == "(there is no log)"
    (tmp_path / "node.log").write_text("\n".join(f"line {number}" for number in range(10_000)))
    assert log_tail(tmp_path, 2) == "line 9998\nline 9999"
    size = (tmp_path / "node.log").stat().st_size
    assert log_tail(tmp_path, 2, size - 4) == "9999"
    assert log_tail(tmp_path, 2, size) == "(the log is empty)"


def test_ports_are_distinct_and_not_those_of_outgoing_connections() -> None:
    """Two validators on one port is one validator; a client's connection would hold the port of one that is stopped."""
    found = free_ports(50)
    assert len(set(found)) == 50
    assert max(found) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert set(found) <= set(PORTS)


def test_ports_in_use_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """And when no more are left, that is said with numbers."""
    (taken,) = free_ports(1)
    with socket.create_server(("127.0.0.1", taken)):
        monkeypatch.setattr("cli.ports.PORTS", range(taken, taken + 1))
        with pytest.raises(Rejected, match="Too few ports") as refused:
            free_ports(2)
        assert (refused.value.code, refused.value.details) == ("no_ports", {"free": 0, "needed": 2})
    assert free_ports(1) == [taken]


@pytest.mark.parametrize(
    "text", ["yesterday", "", "9" * 5_000, "253402300800000", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "١"]
)
def test_what_is_no_moment_is_wrong_usage(tmp_path: Path, text: str) -> None:
    """Exit code 2 and the option's name, as for every wrong option, and nothing is written."""
    result = invoke("testnet", "up", "--dir", str(tmp_path / "net"), "--replay-from", text)
    assert result.exit_code == 2
    assert "--replay-from" in result.stderr
    assert not (tmp_path / "net").exists()


def test_agreement_is_of_roots_at_one_height(tmp_path: Path) -> None:
    """The stub's validators stand at different heights whenever they are asked, as real ones do."""
    with stub_network(tmp_path) as network:
        found = survey(network.testnet)
    heights = [each.status["height"] for each in found.standings if each.status is not None]
    assert len(set(heights)) == 2
    assert (found.agreed, found.height) == (True, min(heights))


def test_different_roots_at_one_height_are_no_agreement(tmp_path: Path) -> None:
    """The one thing that `status` is for."""
    with stub_network(tmp_path / "one") as one, stub_network(tmp_path / "other", Era(5_000, 7)) as other:
        pair = (one.testnet.validators[0], other.testnet.validators[1])
        document = survey(LocalNetwork(tmp_path, pair)).document()
    assert (document["agreed"], document["agreed_root"]) == (False, None)
    assert all(each["state_root"] for each in document["validators"])


def test_a_validator_that_does_not_answer_has_no_say_and_is_shown(tmp_path: Path) -> None:
    """The others agree without it."""
    with stub_network(tmp_path) as network:
        dead = LocalValidator("v9", tmp_path / "v9", "http://127.0.0.1:9")
        document = survey(LocalNetwork(tmp_path, (*network.testnet.validators, dead))).document()
    assert document["agreed"] is True
    assert [each["height"] is None for each in document["validators"]] == [False, False, True]
    assert document["answering"] == 2


def standing(number: int, answers: bool = True) -> Standing:
    """A validator's standing at height 12,345."""
    validator = LocalValidator(f"v{number}", Path("/nowhere") / f"v{number}", "http://127.0.0.1:9")
    return Standing(validator, {"height": 12_345} if answers else None)


@pytest.mark.parametrize(
    ("answering", "total", "root", "sentence"),
    [
        (4, 4, "ab", "4 of 4 answer and agree at height 12345."),
        (3, 4, "ab", "3 of 4 answer and agree at height 12345."),
        (1, 4, "ab", "1 of 4 answers, at height 12345."),
        (4, 4, None, "4 of 4 answer and do NOT agree at height 12345."),
        (0, 4, None, "None of the 4 runs; `novate testnet up` starts them."),
    ],
)
def test_status_says_how_many_answer_and_agree(answering: int, total: int, root: str | None, sentence: str) -> None:
    """Three who agree are not four, and silence is neither agreement nor its opposite."""
    standings = tuple(standing(number, number < answering) for number in range(total))
    assert verdict(Survey(standings, 12_345, root)) == sentence


def test_an_amnesiac_validator_is_shown(tmp_path: Path) -> None:
    """It answers and executes, and does not vote: a network that seems whole is one short."""
    with stub_network(tmp_path) as network:
        network.chain.amnesiac = True
        shown = invoke("testnet", "status", "--dir", str(tmp_path)).stdout
        document = json.loads(invoke("testnet", "status", "--dir", str(tmp_path), "--json").stdout)
    assert [each["amnesiac"] for each in document["validators"]] == [True, True]
    assert "v0 has lost its safety state" in shown


def test_testnet_with_signers_has_no_key_in_a_validators_home(tmp_path: Path) -> None:
    """What `--signers` is for; and the signers' homes go with the testnet."""
    network = create_testnet(tmp_path / "net", 2, Era(), signers=True)
    for each in network.validators:
        assert not (each.home / "keys" / "consensus.key").exists()
        assert (each.signer_home / "keys" / "consensus.key").exists()
        opened = open_home(each.home, (each.home / "passphrase").read_bytes().strip())
        assert opened.keys.consensus is None
    remove_testnet(network.directory, keep_directory=False)
    assert not network.directory.exists()
