"""A testnet of four real processes, killed in every way that its promises name.

One testnet lives through the whole story, since starting one is what takes the time; `story` tells it, and each test
checks one claim about it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import testnet_run
from cli.main import novate
from cli.processes import running_pid
from cli.replay_plan import MEMBERS, make_plan
from cli.tape import INDEX_COLUMNS, parse_tape
from cli.tape_generator import generate_tape
from genesis.params import ChainParams
from tests.cli.test_replay import expected_totals

pytestmark = pytest.mark.process

NAMES = ("v0", "v1", "v2", "v3")
QUORUM = 3
SPEED = 2_500
PATIENCE_S = 120.0
POLL_S = 0.05

SQUEEZED = 3
"""The tape's trades come in this part of its time, so that a machine that stands still for seconds misses no expiry."""

GRACE_MS = 86_400_000
"""Half a minute of the wall, in which the samples of an expiry may come late."""


@dataclass(frozen=True)
class Story:
    """What was seen at each turn; each `status` is the document of ``testnet status --json``."""

    up: Any
    interrupted: tuple[int, str, str]
    during: Any
    replay: Any
    one_dead: Any
    restarted: Any
    resynced: Any
    receipts_before: list[Any]
    all_dead: Any
    height_before: int
    all_restarted: Any
    receipts_after: list[Any]
    transfer: Any
    stopped: Any
    down: Any


class Net:
    """A testnet driven through the command line alone, as scripts do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``novate ... --dir DIR --json``."""
        return [sys.executable, "-m", "cli.main", *arguments, "--dir", str(self.directory), "--json"]

    def run(self, *arguments: str) -> Any:
        """The document that a command prints."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=PATIENCE_S * 2)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def status(self) -> Any:
        """``testnet status``, here: it is asked again and again, and a process each time would starve the network."""
        with pytest.MonkeyPatch.context() as patient:  # whoever only is slow must not pass for one who is silent
            patient.setattr(testnet_run, "ANSWER_S_MAX", PATIENCE_S / 4)
            done = CliRunner().invoke(novate, ["testnet", "status", "--dir", str(self.directory), "--json"])
        status = json.loads(done.stdout)
        assert (done.exit_code == 0) == (status["agreed"] and status["answering"] >= QUORUM), done.stderr
        return status

    def kill(self, *names: str) -> None:
        """``kill -9``; returns when they are dead, which a loaded machine does not do at once."""
        for name in names:
            kill_and_wait(int((self.directory / name / "node.pid").read_text()))

    def until(self, holds: Callable[[Any], bool]) -> Any:
        """The first status for which `holds`; the last one is shown when patience ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(status := self.status()):
            assert time.monotonic() < deadline, status
            pause()
        return status

    def until_level(self, height: int) -> Any:
        """The first status in which all four agree at or above `height`."""
        return self.until(lambda status: status["agreed"] and min(heights(status)) >= height)


def kill_and_wait(pid: int) -> None:
    """``kill -9`` of a process, be it our child or not; returns when it is dead."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        assert select.select([descriptor], [], [], PATIENCE_S)[0], f"process {pid} outlives SIGKILL"
    finally:
        os.close(descriptor)


def pause() -> None:
    """Between two looks at what no process announces: without it the looks would take the network's processor time."""
    time.sleep(POLL_S)


def heights(status: Any) -> list[int]:
    """Every validator's height, -1 for one that does not answer."""
    return [-1 if each["height"] is None else each["height"] for each in status["validators"]]


def has_all_peers(status: Any) -> bool:
    """Whether all agree, each connected to every other one."""
    return bool(status["agreed"]) and [each["peers"] for each in status["validators"]] == [len(NAMES) - 1] * len(NAMES)


def committed(status: Any) -> int:
    """The most transactions that any validator has committed."""
    return max(each["committed_txs"] or 0 for each in status["validators"])


@dataclass(frozen=True)
class Played:
    """A tape on disk, and how it is replayed.

    Attributes:
        tape: The trades of the generated tape, all of them in the first part of its time.
        index: The generated tape's index, in its own time.
    """

    tape: Path
    index: Path

    @property
    def replay(self) -> tuple[str, ...]:
        """The arguments of the command that replays it."""
        return ("replay", str(self.tape), "--index", str(self.index))

    def up(self) -> tuple[str, ...]:
        """The arguments that bring up a testnet whose clock begins before the tape, the longer the slower processes
        start on this machine now.
        """
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "cli.main", "--version"], check=True, capture_output=True)
        lead_s = max(5.0, 6 * (time.monotonic() - began))
        first = make_plan(parse_tape(self.tape.read_text()), ChainParams()).trades[0].trade.ts_unix_ms
        era = ("--replay-from", str(first - int(lead_s * 1_000) * SPEED), "--speed", str(SPEED))
        return ("testnet", "up", "--detach", *era, "--param", f"settlement_grace_ms={GRACE_MS}")


def played(directory: Path) -> Played:
    """The generated tape, squeezed, as files."""
    rows = list(csv.DictReader(io.StringIO(generate_tape())))
    first = int(rows[0]["ts_utc_ms"])
    found = Played(directory / "tape.csv", directory / "index.csv")
    index = [(row["ts_utc_ms"], row["index_price"]) for row in rows]
    found.index.write_text("".join(",".join(each) + "\n" for each in (INDEX_COLUMNS, *index)))
    squeezed = [{**row, "ts_utc_ms": str(first + (int(row["ts_utc_ms"]) - first) // SQUEEZED)} for row in rows]
    found.tape.write_text("".join(",".join(each) + "\n" for each in (rows[0], *(row.values() for row in squeezed))))
    return found


def tell(net: Net, played: Played) -> Story:
    """Live through it."""
    up = net.run(*played.up())
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(net.command(*played.replay), **pipes) as replaying:
        net.until(lambda status: committed(status) > 40)
        replaying.send_signal(signal.SIGINT)
        said = replaying.communicate(timeout=PATIENCE_S)
        interrupted = (replaying.returncode, *said)
    with subprocess.Popen(net.command(*played.replay), stdout=subprocess.PIPE, text=True) as replaying:
        during = net.until(lambda status: committed(status) > 150 and has_all_peers(status))
        net.kill("v1")
        replay = json.loads(replaying.communicate(timeout=PATIENCE_S * 2)[0])
    one_dead = net.until(lambda status: status["agreed"] and status["answering"] == QUORUM)
    net.run("testnet", "restart", "v1")
    restarted = net.until_level(replay["height"])
    net.run("testnet", "stop", "v2")
    shutil.rmtree(net.directory / "v2" / "data")
    net.run("testnet", "restart", "v2")
    resynced = net.until_level(restarted["agreed_height"])
    receipt = net.run(
        "tx", "send", "transfer", "source=M0/main", "destination=M1/main", "asset=BTC", "amount_minor=7",
        "--key", "M0", "--wait",
    )["receipt"]  # fmt: skip
    before = net.run("query", "tx", receipt["id"])
    net.kill(*NAMES)
    all_dead = net.status()
    net.run("testnet", "restart", *NAMES)
    all_restarted = net.until_level(receipt["height"])
    after = [net.run("query", "tx", receipt["id"], "--url", each["url"]) for each in up["validators"]]
    transfer = net.run(
        "tx", "send", "transfer", "source=M1/main", "destination=M0/main", "asset=BTC", "amount_minor=7",
        "--key", "M1", "--wait",
    )  # fmt: skip
    stopped = net.run("testnet", "down")
    return Story(
        up, interrupted, during, replay, one_dead, restarted, resynced, [receipt, before], all_dead, receipt["height"],
        all_restarted, after, transfer, stopped, net.status(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The story, told once."""
    directory = tmp_path_factory.mktemp("process")
    net = Net(directory / "net")
    try:
        yield tell(net, played(directory))
    finally:
        subprocess.run(net.command("testnet", "down"), capture_output=True, timeout=PATIENCE_S)


def test_up_returns_when_all_are_ready(story: Story) -> None:
    """A script goes on at once with what it was told."""
    assert [each["name"] for each in story.up["validators"]] == list(NAMES)
    assert len({each["pid"] for each in story.up["validators"]}) == 4
    assert all(each["url"].startswith("http://127.0.0.1:") for each in story.up["validators"])
    assert story.during["agreed"]
    assert [each["peers"] for each in story.during["validators"]] == [3, 3, 3, 3]


def test_a_replay_that_is_interrupted_and_run_again_does_nothing_twice(story: Story, tmp_path: Path) -> None:
    """The totals are the tape's, whoever calculates them; those of two half replays were settled as one."""
    code, stdout, stderr = story.interrupted
    assert (code, stdout) == (1, "")
    assert "[replay_interrupted]" in stderr
    assert "Run the same command again" in stderr
    tape = tmp_path / "tape.csv"
    tape.write_text(generate_tape())
    price = Fraction(str(story.replay["settlement_price"]))
    premiums, settlements = expected_totals(tape, story.replay["expiry"], price)
    for member, premium, settlement in zip(MEMBERS, premiums, settlements, strict=True):
        found = story.replay["members"][member]
        assert found["premium_minor"] == premium
        assert abs(found["settlement_minor"] - settlement) <= story.replay["series"]
        assert found["final_minor"] == found["premium_minor"] + found["settlement_minor"]


def test_a_kill_in_mid_replay_changes_nothing_for_the_others(story: Story) -> None:
    """Every trade is applied, the expiry settles on its own index, and no satoshi is lost."""
    assert story.replay["trades"] == 320
    assert story.replay["conserved"]
    assert story.replay["source"] == "time_weighted"
    assert story.one_dead["agreed"]
    assert [each["running"] for each in story.one_dead["validators"]] == [True, False, True, True]


def test_a_killed_validator_catches_up_to_the_same_root(story: Story) -> None:
    """It missed the expiry, and must come to the very bits of those who did not."""
    assert story.restarted["agreed_height"] >= story.replay["height"]


def test_a_validator_whose_data_was_deleted_catches_up_to_the_same_root(story: Story) -> None:
    """It has forgotten its votes, too, and must not contradict them."""
    assert story.resynced["agreed_height"] >= story.restarted["agreed_height"]


def test_nothing_agrees_when_nobody_answers(story: Story) -> None:
    """Silence is not agreement."""
    assert story.all_dead["agreed"] is False
    assert heights(story.all_dead) == [-1, -1, -1, -1]


def test_no_receipt_is_lost_when_all_are_killed(story: Story) -> None:
    """What a client was told stays true, on every validator."""
    assert story.receipts_before[0] == story.receipts_before[1]
    assert story.receipts_after == [story.receipts_before[0]] * 4


def test_the_chain_goes_on_from_the_last_block_when_all_are_killed(story: Story) -> None:
    """And still executes."""
    assert story.all_restarted["agreed_height"] >= story.height_before
    assert story.transfer["status"] == "applied"
    assert story.transfer["receipt"]["height"] > story.height_before


def test_down_stops_every_validator(story: Story) -> None:
    """A testnet that leaves processes behind is found weeks later."""
    assert story.stopped["stopped"] == list(NAMES)
    assert not any(each["running"] for each in story.down["validators"])


def test_a_testnet_on_pbft_trades_and_survives_the_loss_of_one(tmp_path: Path) -> None:
    """The other engine under the same shell: a tape is traded and settled, one is killed and catches up."""
    files = played(tmp_path)
    net = Net(tmp_path / "net")
    try:
        net.run(*files.up(), "--consensus", "pbft")
        with subprocess.Popen(net.command(*files.replay), stdout=subprocess.PIPE, text=True) as replaying:
            net.until(lambda status: committed(status) > 150)
            net.kill("v1")
            replay = json.loads(replaying.communicate(timeout=PATIENCE_S * 2)[0])
        net.run("testnet", "restart", "v1")
        net.until_level(replay["height"])
    finally:
        subprocess.run(net.command("testnet", "down"), capture_output=True, timeout=PATIENCE_S)
    assert (replay["trades"], replay["conserved"], replay["source"]) == (320, True, "time_weighted")
    assert 'consensus = "pbft"' in (tmp_path / "net" / "genesis.toml").read_text()


@pytest.mark.parametrize("mark", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_testnet_leaves_no_process(tmp_path: Path, mark: signal.Signals) -> None:
    """Without ``--detach`` the validators live as long as the command, also as a job in the background."""
    command = [sys.executable, "-m", "cli.main", "testnet", "up", "--validators", "1", "--dir", str(tmp_path / "net")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=_ignore_interrupts) as running:
        assert running.stdout is not None
        lines = iter(running.stdout.readline, "Ctrl-C stops them.\n")
        assert any("http://127.0.0.1" in line for line in lines)
        pid = running_pid(tmp_path / "net" / "v0")
        assert pid is not None
        running.send_signal(mark)
        assert running.wait(PATIENCE_S) == 0
    assert running_pid(tmp_path / "net" / "v0") is None


def _ignore_interrupts() -> None:
    """As a shell does to a job in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
