"""``novate signer``: what an operator types, and what stands in the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from node.config import load_config
from node.failures import StorageFailure
from node.keystore import KeyStore
from tests.cli.test_node import create, document_of, init, run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A lone validator's home, with its chain."""
    init(tmp_path / "v0", "v0")
    create(tmp_path / "genesis.toml", tmp_path / "v0" / "validator.toml")
    init(tmp_path / "v0", "v0", "--genesis", tmp_path / "genesis.toml")
    return tmp_path / "v0"


def hand_over(home: Path, *more: str | Path) -> Path:
    """``novate signer init``; the signer's directory."""
    signer = home.with_name("signer")
    document_of(run("signer", "init", "--home", signer, "--node", home, "--json", *more))
    return signer


def test_init_moves_the_key_and_says_where_it_listens(home: Path) -> None:
    """The document has everything that a script needs for the next steps."""
    public_key = KeyStore(home).public("consensus").public_key.hex()
    signer = home.with_name("signer")
    document = document_of(run("signer", "init", "--home", signer, "--node", home, "--json"))
    assert document["socket"] == str(signer / "run" / "signer.sock")
    assert (document["name"], document["network"], document["public_key"]) == ("v0", "net", public_key)
    assert document_of(run("signer", "init", "--home", signer, "--node", home, "--json")) == document
    assert load_config(home).signer == Path(document["socket"])


def test_init_takes_a_socket_elsewhere(home: Path, tmp_path: Path) -> None:
    """Systems have their own places for sockets."""
    hand_over(home, "--socket", tmp_path / "sockets" / "s")
    assert load_config(home).signer == tmp_path / "sockets" / "s"


def test_node_init_keeps_the_signer(home: Path) -> None:
    """Changing a port must not give the validator another key, nor take its signer away."""
    hand_over(home)
    before = (home / "validator.toml").read_bytes()
    init(home, "v0", "--http", "127.0.0.1:9999")
    config = load_config(home)
    assert (config.http_port, config.signer) == (9999, home.with_name("signer") / "run" / "signer.sock")
    assert (home / "validator.toml").read_bytes() == before
    assert not KeyStore(home).path("consensus").exists()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("run",), "no_signer_home"),
        (("status",), "no_signer_home"),
    ],
)
def test_directory_without_a_signer_is_a_failure_with_advice(
    tmp_path: Path, command: tuple[str, ...], code: str
) -> None:
    """The next command to type, not a traceback."""
    result = run("signer", *command, "--home", tmp_path / "nothing")
    assert result.exit_code == 1
    assert f"[{code}]" in result.stderr
    assert "novate signer init" in result.stderr


def test_status_of_a_signer_that_does_not_run_says_so(home: Path) -> None:
    """A monitor's first question."""
    result = run("signer", "status", "--home", hand_over(home), "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[no_signer]" in result.stderr
    assert "novate signer run" in result.stderr


def test_signer_without_its_mark_does_not_start(home: Path) -> None:
    """Deleting the mark must not be the way to a second vote."""
    signer = hand_over(home)
    (signer / "mark").unlink()
    result = run("signer", "run", "--home", signer)
    assert result.exit_code == 1
    assert "[lost_mark]" in result.stderr
    assert "new key" in result.stderr


def test_new_key_is_made_beside_the_first_and_printed_for_the_proposal(home: Path) -> None:
    """What `gov propose validator.rotate_key` needs; the first key and its mark are not touched."""
    signer = hand_over(home)
    before = (signer / "mark").read_bytes()
    made = document_of(run("signer", "new-key", "--home", signer, "--cost", "testnet", "--json"))
    assert made["public_key"] == KeyStore(signer).public("consensus-2").public_key.hex()
    assert (signer / f"mark-{made['public_key']}").exists()
    assert (signer / "mark").read_bytes() == before
    assert "start the signer again" in run("signer", "new-key", "--home", signer, "--cost", "testnet").stdout


def test_new_key_in_the_home_of_a_validator_with_a_signer_says_where_to_make_it(home: Path) -> None:
    """The refusal names the command that does it."""
    hand_over(home)
    result = run("node", "new-key", "--home", home)
    assert result.exit_code == 1
    assert "[signer_has_the_key]" in result.stderr
    assert "novate signer new-key" in result.stderr


def test_signer_whose_disk_fails_ends_with_a_message(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 and what to do, as for a validator."""

    def fails(*_: object) -> None:
        raise StorageFailure("write the mark", "No space left on device", "Make room")

    monkeypatch.setattr("node.signer_file.SignerFile.load", fails)
    result = run("signer", "run", "--home", hand_over(home))
    assert result.exit_code == 1
    assert "Cannot write the mark: No space left on device." in result.stderr
    assert "Make room" in result.stderr


def test_node_whose_card_is_gone_says_what_is_missing(home: Path) -> None:
    """Only validator.toml names the key of a node whose signer has it."""
    hand_over(home)
    shutil.move(home / "validator.toml", home / "elsewhere.toml")
    result = run("node", "run", "--home", home)
    assert result.exit_code == 1
    assert "[bad_card]" in result.stderr
