"""A testnet of real processes, each key with a signer of its own; node and signer are killed, and the chain goes on.

One testnet lives through the whole story, since starting one is what takes the time; each test checks one claim.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import novate
from cli.processes import SIGNER_RUN, Started, log_tail, running_pid, start
from tests.cli.test_testnet_process import NAMES, PATIENCE_S, Net, heights, kill_and_wait, pause

pytestmark = pytest.mark.process

V1 = 1


@dataclass(frozen=True)
class Story:
    """What was seen at each turn; `voting` and `back` are documents of ``signer status --json``."""

    up: Any
    voting: Any
    without: Any
    back: Any
    made: Any
    unread: Any
    both: Any
    node_killed: Any
    node_back: Any
    log: str
    left: list[int | None]


def first(status: Any) -> Any:
    """What a status says of the first key."""
    return status["keys"][0]


class SignerProcess:
    """The signer of one validator, driven as an operator does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: list[Started] = []

    def kill(self) -> None:
        """``kill -9``; returns when it is dead."""
        kill_and_wait(int((self.home / "node.pid").read_text()))

    def start(self) -> None:
        """``novate signer run``."""
        self._started.append(start(self.home, SIGNER_RUN))

    def new_key(self) -> Any:
        """``novate signer new-key``, beside the running process."""
        command = [sys.executable, "-m", "cli.main", "signer", "new-key", "--home", str(self.home), "--json"]
        done = subprocess.run([*command, "--cost", "testnet"], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def collect(self) -> None:
        """Wait for what was started here and has been ended."""
        for each in self._started:
            each.popen.wait(PATIENCE_S)

    def until(self, holds: Callable[[Any], bool]) -> Any:
        """The first status for which `holds`."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            done = CliRunner().invoke(novate, ["signer", "status", "--home", str(self.home), "--json"])
            status = json.loads(done.stdout) if done.exit_code == 0 else None
            if status is not None and holds(status):
                return status
            assert time.monotonic() < deadline, (done.stdout, done.stderr, log_tail(self.home))
            pause()


def tell(net: Net, signer: SignerProcess) -> Story:
    """Live through it."""
    up = net.run("testnet", "up", "--detach", "--signers")
    home = net.directory / "v1"
    voting = signer.until(lambda status: first(status)["signed"] > 4)

    signer.kill()
    level = max(heights(net.status()))
    without = net.until_level(level + 3)
    signer.start()
    back = signer.until(lambda status: first(status)["signed"] > 2)

    made = signer.new_key()
    unread = signer.until(lambda _: True)
    signer.kill()
    signer.start()
    both = signer.until(lambda status: first(status)["signed"] > 2)

    net.kill("v1")
    node_killed = net.until(lambda status: max(heights(status)) > level + 6)
    net.run("testnet", "restart", "v1")
    node_back = net.until_level(max(heights(node_killed)))

    net.run("testnet", "down")
    left = [running_pid(net.directory / f"{name}-signer") for name in NAMES]
    log = (home / "node.log").read_text()
    return Story(up, voting, without, back, made, unread, both, node_killed, node_back, log, left)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The story, told once."""
    directory = tmp_path_factory.mktemp("signer")
    net = Net(directory / "net")
    signer = SignerProcess(net.directory / "v1-signer")
    try:
        yield tell(net, signer)
    finally:
        subprocess.run(net.command("testnet", "down"), capture_output=True, timeout=PATIENCE_S)
        signer.collect()


def test_network_whose_keys_are_all_with_signers_comes_up(story: Story) -> None:
    """``testnet up --signers``: every vote of it is a signature from another process."""
    assert [each["name"] for each in story.up["validators"]] == list(NAMES)
    assert (story.voting["name"], first(story.voting)["refused"]) == ("v1", 0)


def test_chain_and_validator_go_on_while_the_signer_is_dead(story: Story) -> None:
    """`kill -9` of the signer: all four agree on new blocks, the voiceless one among them."""
    assert story.without["agreed"]
    assert "signer_unreachable" in story.log


def test_restarted_signer_signs_again_without_a_hand_on_the_node(story: Story) -> None:
    """From the mark on its disk, above which everything is; nothing is refused to an honest node."""
    assert first(story.back)["refused"] == 0
    assert first(story.back)["last"][1]["view"] > first(story.voting)["last"][1]["view"]


def test_key_that_is_made_beside_a_running_signer_is_served_after_its_next_start(story: Story) -> None:
    """Making it disturbs nothing; the status says that the process has not read it, and shows both once it has. The
    first key goes on signing from its own mark."""
    old, new = story.unread["keys"]
    assert (old["public_key"], old["silent"]) == (story.voting["public_key"], "")
    assert new == {"public_key": story.made["public_key"], "silent": "not_read"}
    old, new = story.both["keys"]
    assert (old["public_key"], new["public_key"]) == (story.voting["public_key"], story.made["public_key"])
    assert (old["silent"], old["refused"], new["silent"]) == ("", 0, "")
    assert old["last"][1]["view"] > first(story.back)["last"][1]["view"]
    assert (new["signed"], new["epoch"], new["last"][1]["view"]) == (0, 0, 0)


def test_killed_node_comes_back_to_its_signer(story: Story) -> None:
    """`kill -9` of the node: its safety state and the signer's mark fit together again."""
    assert story.node_killed["validators"][V1]["running"] is False
    assert story.node_back["agreed"]
    assert heights(story.node_back)[V1] >= max(heights(story.node_killed))


def test_down_stops_the_signers_too(story: Story) -> None:
    """A key must not stay in memory after its owner has gone home."""
    assert story.left == [None] * 4
