"""``novate keys``: real files in a real home."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import novate
from node.keystore import KeyStore

PASSPHRASE = "correct horse"


def keys(home: Path, *arguments: str, passphrase: str | None = PASSPHRASE) -> Result:
    """Run ``novate keys`` on a home."""
    environment = {"NOVATE_PASSPHRASE": passphrase, "NOVATE_HOME": str(home)}
    return CliRunner().invoke(novate, ["keys", *arguments], env=environment)


def make(home: Path, name: str) -> dict[str, str]:
    """A new key's document."""
    result = keys(home, "new", name, "--cost", "testnet", "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, str] = json.loads(result.stdout)
    return document


def test_a_new_key_is_listed_and_shown(tmp_path: Path) -> None:
    """The public key is what a member gives to the governor; all three commands must agree on it."""
    made = make(tmp_path, "alice")
    assert json.loads(keys(tmp_path, "show", "alice", "--json").stdout) == made
    listed = json.loads(keys(tmp_path, "list", "--json").stdout)
    assert listed == {"home": str(tmp_path), "keys": [{"name": "alice", "public_key": made["public_key"]}]}
    assert stat.S_IMODE(Path(made["path"]).stat().st_mode) == 0o600


def test_no_command_prints_a_secret(tmp_path: Path) -> None:
    """Terminals are recorded and shared."""
    shown = str(make(tmp_path, "alice"))
    for arguments in (["list"], ["list", "--json"], ["show", "alice"]):
        result = keys(tmp_path, *arguments)
        shown += result.stdout + result.stderr
    seed = KeyStore(tmp_path).unlock("alice", PASSPHRASE.encode()).seed
    assert seed.hex() not in shown
    assert PASSPHRASE not in shown


def test_public_commands_need_no_passphrase(tmp_path: Path) -> None:
    """Whoever only looks up a public key should not have to type the secret."""
    make(tmp_path, "alice")
    assert keys(tmp_path, "list", passphrase=None).exit_code == 0
    assert keys(tmp_path, "show", "alice", passphrase=None).exit_code == 0


def test_an_empty_home_lists_nothing(tmp_path: Path) -> None:
    """A home that has no key yet is in order."""
    assert json.loads(keys(tmp_path, "list", "--json").stdout)["keys"] == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_home_that_does_not_exist_is_no_empty_one(tmp_path: Path, options: list[str]) -> None:
    """Whoever mistypes --home must not believe that the keys are gone."""
    result = keys(tmp_path / "new", "list", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"home={tmp_path / 'new'}" in result.stderr
    assert "novate keys new NAME" in " ".join(result.stderr.split())


FAULTS = [
    ("an existing name", ["new", "alice", "--cost", "testnet"], PASSPHRASE, "key_exists"),
    ("no passphrase and nobody to ask", ["new", "bob"], None, "no_passphrase"),
    ("an empty passphrase", ["new", "bob"], "", "bad_passphrase"),
    ("an unknown key", ["show", "bob"], PASSPHRASE, "unknown_key"),
]


@pytest.mark.parametrize(("fault", "arguments", "passphrase", "reason"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_mistake_is_exit_code_1_with_its_reason(
    tmp_path: Path, fault: str, arguments: list[str], passphrase: str | None, reason: str
) -> None:
    """Nothing is written and nothing is overwritten."""
    make(tmp_path, "alice")
    result = keys(tmp_path, *arguments, passphrase=passphrase)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr
    assert "what to do" in result.stderr or reason == "bad_passphrase"
    assert [each.name for each in KeyStore(tmp_path).list()] == ["alice"]


@pytest.mark.parametrize("command", ["new", "show"])
@pytest.mark.parametrize("name", ["../bob", "", "x" * 33])
def test_a_name_that_no_key_can_have_is_wrong_usage(tmp_path: Path, command: str, name: str) -> None:
    """A path for a name must reach no file outside the home."""
    result = keys(tmp_path, command, name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for NAME: a key's name: Expected text of" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_file_opens_what_it_sealed(tmp_path: Path) -> None:
    """Unattended machines keep the passphrase in a file; its line end is no part of it."""
    path = tmp_path / "secret"
    path.write_text(PASSPHRASE + "\n")
    path.chmod(0o600)
    made = keys(tmp_path, "new", "bob", "--cost", "testnet", "--passphrase-file", str(path), passphrase="another")
    assert made.exit_code == 0, made.stderr
    assert KeyStore(tmp_path).unlock("bob", PASSPHRASE.encode()).name == "bob"
