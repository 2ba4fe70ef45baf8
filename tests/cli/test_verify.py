"""`novate verify` says what it checked, and what it did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import novate
from node.home import format_document
from node.proof import proof_document
from node.trust import Trust
from tests.node.test_proof import DOCUMENT, HEIGHT, NAMES, story, trust_in


def verify(tmp_path: Path, *options: str) -> Result:
    """`novate verify` of the story's proof."""
    proof, genesis = tmp_path / "proof.json", tmp_path / "genesis.toml"
    proof.write_text(json.dumps(proof_document(Trust(DOCUMENT), story()[1], NAMES)))
    genesis.write_text(format_document(DOCUMENT))
    return CliRunner().invoke(novate, ["verify", str(proof), "--genesis", str(genesis), *options])


def trusting(height: int, *, another: bool = False) -> list[str]:
    """The options that name a block to trust; with `another`, a hash that is not this chain's."""
    block = trust_in(height, another=another).block
    assert block is not None
    return ["--trust-height", str(height), "--trust-hash", block.block_hash.hex()]


def answer(result: Result) -> Any:
    """What ``--json`` printed."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_without_a_trusted_block_nothing_is_said_of_one(tmp_path: Path) -> None:
    """Most proofs rest on the genesis document alone."""
    assert answer(verify(tmp_path, "--json"))["trusted_block"] is None
    assert "trust" not in verify(tmp_path).stdout


@pytest.mark.parametrize(("height", "compared"), [(HEIGHT, True), (HEIGHT - 1, False)])
def test_it_says_whether_the_trusted_hash_was_compared(tmp_path: Path, height: int, compared: bool) -> None:
    """Whoever gives a hash believes that it was checked, unless told otherwise."""
    said = answer(verify(tmp_path, *trusting(height), "--json"))["trusted_block"]
    assert (said["height"], said["hash_compared"]) == (height, compared)
    text = " ".join(verify(tmp_path, *trusting(height)).stdout.split())
    assert ("Not checked: the hash that you trust." in text) is not compared
    assert f"block {height}" in text


def test_a_false_hash_is_refused_or_said_to_be_unchecked(tmp_path: Path) -> None:
    """It is refused where the proof can tell, and where it cannot the answer says so."""
    refused = verify(tmp_path, *trusting(HEIGHT, another=True), "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "untrusted_block" in refused.stderr
    unchecked = answer(verify(tmp_path, *trusting(HEIGHT - 1, another=True), "--json"))
    assert unchecked["trusted_block"]["hash_compared"] is False
