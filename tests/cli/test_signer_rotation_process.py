"""A signer with the old key and the new one, as processes, over the edge at which its validator's key is rotated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from cli.testnet_files import Era, create_testnet
from genesis.params import ChainParams
from tests.cli.test_signer_process import SignerProcess
from tests.cli.test_testnet_process import NAMES, PATIENCE_S, Net

pytestmark = pytest.mark.process

OTHERS = ("v0", "v2", "v3")


@dataclass(frozen=True)
class Story:
    """What ``signer status --json`` says of both keys: before the edge, after it, and some blocks later."""

    before: list[Any]
    after: list[Any]
    later: list[Any]
    key_in_force: str
    log: str


def gov(net: Net, url: str, name: str, *arguments: str) -> Any:
    """A command of governance, signed with the key in the signer's home of this validator."""
    home = net.directory / f"{name}-signer"
    command = [sys.executable, "-m", "cli.main", "gov", *arguments, "--home", str(home), "--url", url]
    done = subprocess.run([*command, "--wait", "--json"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tell(net: Net, signer: SignerProcess) -> Story:
    """Live through it. The new key is made before the first start, so that the signer has read both."""
    params = ChainParams(epoch_blocks=8, block_interval_idle_ms=100)
    create_testnet(net.directory, len(NAMES), Era(), params, signers=True)
    made = signer.new_key()
    url = net.run("testnet", "up", "--detach")["validators"][0]["url"]
    before = signer.until(lambda status: status["keys"][0]["signed"] > 2)["keys"]
    change = ("validator.rotate_key", "validator=v1", f"public_key={made['public_key']}")
    proposal = gov(net, url, OTHERS[0], "propose", *change)["proposal"]
    for name in OTHERS[1:]:
        gov(net, url, name, "approve", proposal)
    after = signer.until(lambda status: status["keys"][1]["signed"] > 4)["keys"]
    later = signer.until(lambda status: status["keys"][1]["signed"] > after[1]["signed"])["keys"]
    validators = net.run("query", "validators")["validators"]
    log = (net.directory / "v1" / "node.log").read_text()
    return Story(before, after, later, validators[1]["public_key"], log)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The story, told once."""
    net = Net(tmp_path_factory.mktemp("rotation") / "net")
    signer = SignerProcess(net.directory / "v1-signer")
    try:
        yield tell(net, signer)
    finally:
        subprocess.run(net.command("testnet", "down"), capture_output=True, timeout=PATIENCE_S)
        signer.collect()


def test_signer_goes_over_from_the_old_key_to_the_new_one_at_the_edge(story: Story) -> None:
    """The node asks the running signer for the key that the epoch names, and nothing is refused to it."""
    assert story.before[1]["signed"] == 0
    assert story.after[1]["public_key"] == story.key_in_force
    assert story.after[1]["epoch"] > story.before[0]["epoch"]
    assert [each["refused"] for each in story.after] == [0, 0]
    assert "signer_lacks_key" not in story.log


def test_old_key_signs_nothing_after_the_edge(story: Story) -> None:
    """It is retired: whatever it signed now would be of no epoch, and could only harm."""
    assert story.after[0]["signed"] > story.before[0]["signed"]
    assert story.later[0] == story.after[0]
