"""``novate genesis`` and ``novate node init``: from nothing to homes that can run, as an operator does it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import novate
from cli.service import explained
from genesis.document import parse_document
from genesis.errors import InvariantViolation, Rejected
from node.config import load_config
from node.failures import HALT_ADVICE, ReplicaHalted, StorageFailure
from node.home import exclusive, open_home
from node.keystore import KeyStore
from node.unused_key import mark_used

ENVIRONMENT = {"NOVATE_PASSPHRASE": "correct horse"}
GOVERNOR = "ab" * 32


def run(*arguments: str | Path) -> Result:
    """Run ``novate``."""
    return CliRunner().invoke(novate, [str(each) for each in arguments], env=ENVIRONMENT)


def document_of(result: Result) -> dict[str, Any]:
    """Its JSON document; the command must have succeeded."""
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def init(home: Path, name: str, *more: str | Path) -> dict[str, Any]:
    """A prepared home's document."""
    return document_of(run("node", "init", "--home", home, "--name", name, "--cost", "testnet", "--json", *more))


def create(path: Path, *cards: str | Path) -> Result:
    """A genesis document of these validators with a small state tree."""
    validators = [part for card in cards for part in ("--validator", card)]
    role = f"name=governor,key={GOVERNOR},roles=governor+issuer"
    return run(
        "genesis", "create", path, "--name", "net", *validators, "--role", role, "--param", "merkle_depth=8", "--json"
    )


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Two prepared homes and the genesis document that names them."""
    cards = [init(tmp_path / name, name)["card"] for name in ("v0", "v1")]
    document_of(create(tmp_path / "genesis.toml", *cards))
    return tmp_path


def test_an_operator_gets_from_nothing_to_a_home_that_opens(network: Path) -> None:
    """Keys, then the common document, then the home: the three steps that docs/OPERATING.md shows."""
    installed = init(network / "v1", "v1", "--genesis", network / "genesis.toml")
    opened = open_home(network / "v1", b"correct horse")
    assert (opened.document.validators[1].public_key, installed["index"]) == (opened.public_key, 1)
    assert installed["chain_id"] == opened.document.chain_id.hex()
    assert opened.document.params.merkle_depth == 8
    assert opened.document.roles[0].roles == ("governor", "issuer")


def test_init_again_keeps_the_keys_and_moves_what_is_named(network: Path) -> None:
    """Settings change, identity does not; what is not named stays as it was."""
    first = init(network / "v0", "v0", "--listen", "127.0.0.1:7001", "--address", "node.example:7001")
    second = document_of(run("node", "init", "--home", network / "v0", "--http", "[::1]:9000", "--json"))
    assert {**second, "http": ""} == {**first, "http": ""}
    assert second["http"] == "http://[::1]:9000"
    assert load_config(network / "v0").listen_port == 7001


def test_a_home_with_a_chain_keeps_its_name(network: Path) -> None:
    """The chain has pinned the certificate, which holds the name: under another the node would not start."""
    init(network / "v1", "v1", "--genesis", network / "genesis.toml")
    before = (network / "v1" / "node.toml").read_bytes(), (network / "v1" / "validator.toml").read_bytes()
    result = run("node", "init", "--home", network / "v1", "--name", "other", "--json")
    assert (result.exit_code, "[genesis_installed]" in result.stderr) == (1, True)
    assert "genesis=v1, given=other" in result.stderr
    assert ((network / "v1" / "node.toml").read_bytes(), (network / "v1" / "validator.toml").read_bytes()) == before


def test_init_again_names_the_chain_that_the_home_has(network: Path) -> None:
    """Whoever changes a port should not be told that the home has no chain."""
    installed = init(network / "v1", "v1", "--genesis", network / "genesis.toml")
    again = document_of(run("node", "init", "--home", network / "v1", "--http", "127.0.0.1:9000", "--json"))
    assert {**again, "http": ""} == {**installed, "http": ""}


def test_show_and_verify_tell_the_chain_id(network: Path) -> None:
    """Members compare the chain id by telephone before they join."""
    path = network / "genesis.toml"
    chain_id = parse_document(path.read_text()).chain_id.hex()
    assert document_of(run("genesis", "show", path, "--json"))["chain_id"] == chain_id
    verified = document_of(run("genesis", "verify", path, "--chain-id", chain_id.upper(), "--json"))
    assert verified == {**verified, "valid": True, "chain_id": chain_id, "validators": 2, "power": 2}
    assert chain_id in run("genesis", "show", path).stdout


def test_a_validator_may_be_given_as_text(network: Path) -> None:
    """Whoever has only a message from the other operator needs no file."""
    card = init(network / "v0", "v0")
    text = f"name=v0,key={card['public_key']},address={card['address']},cert={card['certificate']},power=3"
    assert document_of(create(network / "other.toml", text))["power"] == 3


def test_a_document_is_never_overwritten(network: Path) -> None:
    """Running validators may depend on it."""
    before = (network / "genesis.toml").read_text()
    result = create(network / "genesis.toml", network / "v0" / "validator.toml")
    assert (result.exit_code, "file_exists" in result.stderr) == (1, True)
    assert (network / "genesis.toml").read_text() == before


def plant(network: Path, what: str) -> list[str | Path]:
    """The arguments of a command that must fail, after planting what makes it fail."""
    genesis, card = network / "genesis.toml", network / "v0" / "validator.toml"
    text = genesis.read_text()
    other = network / "other.toml"
    match what:
        case "a changed value":
            other.write_text(text.replace("power = 1", "power = 2", 1))
            return ["genesis", "verify", other, "--chain-id", parse_document(text).chain_id.hex()]
        case "an unknown field":
            other.write_text("colour = 1\n" + text)
            return ["genesis", "verify", other]
        case "a certificate that is none":
            certificate = base64.b64encode(b"not X.509").decode()
            return [
                "genesis",
                "create",
                other,
                "--name",
                "n",
                "--validator",
                f"name=a,key={GOVERNOR},address=h:1,cert={certificate}",
            ]
        case "the same validator twice":
            return ["genesis", "create", other, "--name", "n", "--validator", card, "--validator", card]
        case "a card that is no card":
            return ["genesis", "create", other, "--name", "n", "--validator", genesis]
        case "an unknown role":
            role = f"name=x,key={GOVERNOR},roles=king"
            return ["genesis", "create", other, "--name", "n", "--validator", card, "--role", role]
        case "a home the document does not name":
            init(network / "v9", "v9")
            return ["node", "init", "--home", network / "v9", "--genesis", genesis, "--cost", "testnet"]
        case "no home":
            return ["node", "run", "--home", network / "nowhere"]
        case "no chain":
            return ["node", "run", "--home", network / "v0"]
    raise ValueError(what)


FAULTS = [
    ("a changed value", "wrong_chain"),
    ("an unknown field", "bad_genesis"),
    ("a certificate that is none", "bad_certificate"),
    ("the same validator twice", "bad_genesis"),
    ("a card that is no card", "bad_card"),
    ("an unknown role", "bad_genesis"),
    ("a home the document does not name", "not_a_validator"),
    ("no home", "no_node_home"),
    ("no chain", "no_genesis"),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_a_mistake_is_exit_code_1_with_its_reason(network: Path, fault: str, code: str) -> None:
    """Each mistake of an operator is named before it costs a network its start."""
    result = run(*plant(network, fault), "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"[{code}]" in result.stderr


WRONG_USAGE = [
    ["node", "init", "--home", "{new}"],
    ["node", "init", "--home", "{new}", "--name", "v0", "--http", "127.0.0.1:8²"],
    ["node", "init", "--home", "{new}", "--name", "v0", "--listen", "127.0.0.1"],
    ["node", "init", "--home", "{new}", "--name", "v0", "--address", "http://node.example"],
    ["genesis", "create", "{new}", "--name", "n"],
    ["genesis", "create", "{new}", "--name", "n", "--validator", "x=1,y=2"],
    ["genesis", "create", "{new}", "--name", "n", "--validator", "{card}", "--param", "colour=1"],
    ["genesis", "create", "{new}", "--name", "n", "--validator", "{card}", "--role", "name=x"],
    ["genesis", "show", "{new}"],
]


@pytest.mark.parametrize("arguments", WRONG_USAGE)
def test_wrong_usage_is_exit_code_2(network: Path, arguments: list[str]) -> None:
    """Missing and malformed options are the caller's, and nothing is written."""
    new, card = network / "new", network / "v0" / "validator.toml"
    result = run(*(each.format(new=new, card=card) for each in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert not new.exists()


def test_a_home_in_use_does_not_run_twice(network: Path) -> None:
    """Two processes that sign with one key would contradict each other; the second one refuses in its own process."""
    init(network / "v0", "v0", "--genesis", network / "genesis.toml")
    command = [sys.executable, "-m", "cli.main", "node", "run", "--home", str(network / "v0")]
    with exclusive(load_config(network / "v0")):
        done = subprocess.run(
            command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert "[already_running]" in done.stderr


@pytest.mark.parametrize("option", ["--listen", "--http"])
def test_a_port_in_use_is_named(network: Path, option: str) -> None:
    """Of two addresses, and whatever the other process speaks."""
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as spare:
        taken, free = (f"127.0.0.1:{each.getsockname()[1]}" for each in (other, spare))
        spare.close()
        free_option = "--http" if option == "--listen" else "--listen"
        init(network / "v0", "v0", "--genesis", network / "genesis.toml", option, taken, free_option, free)
        command = [sys.executable, "-m", "cli.main", "node", "run", "--home", str(network / "v0")]
        environment = {**os.environ, **ENVIRONMENT}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "[cannot_listen]" in done.stderr
    assert f"v0 cannot listen at {taken} for {'peers' if option == '--listen' else 'clients'}" in done.stderr
    assert free not in done.stderr
    assert "novate node init" in done.stderr
    assert "Traceback" not in done.stderr


STORAGE = StorageFailure("write a block", "No space left on device", "Free some space.")
REFUSAL = Rejected("wrong_chain", "Another chain.")
ENDINGS: list[tuple[str, BaseException, str | None]] = [
    ("a failed disk", BaseExceptionGroup("", [BaseExceptionGroup("", [STORAGE])]), "Cannot write a block: No space"),
    ("a refusal", BaseExceptionGroup("", [REFUSAL]), "Another chain."),
    ("a port in use", BaseExceptionGroup("", [OSError(98, "Address already in use")]), "Address already in use"),
    (
        "a halt",
        BaseExceptionGroup("", [ReplicaHalted("our key signed in view 9")]),
        "The replica halted: our key signed",
    ),
    ("a broken promise", BaseExceptionGroup("", [InvariantViolation("x")]), None),
    ("a broken promise beside a failed disk", BaseExceptionGroup("", [STORAGE, InvariantViolation("x")]), None),
    ("a defect", BaseExceptionGroup("", [ValueError("x")]), None),
]


@pytest.mark.parametrize(("ending", "error", "message"), ENDINGS, ids=[row[0] for row in ENDINGS])
def test_a_node_that_ends_says_why(ending: str, error: BaseException, message: str | None) -> None:
    """The operator's failures become a sentence; ours keep their traceback (None)."""
    failure = explained(error)
    assert (failure is None) == (message is None)
    if failure is not None and message is not None:
        assert failure.message.startswith(message)
        assert failure.exit_code == 1


def test_halt_tells_the_operator_what_to_do() -> None:
    """Starting it again with the same safety file would only end the same way."""
    failure = explained(BaseExceptionGroup("", [ReplicaHalted("the roots differ")]))
    assert failure is not None
    assert (failure.code, failure.advice) == ("halted", HALT_ADVICE)
    for named in ("data/safety", "data/ledger"):
        assert named in HALT_ADVICE


def test_init_says_that_a_key_which_has_run_begins_silent(network: Path) -> None:
    """An operator who wiped a home learns at once why the validator will not vote yet."""
    home, genesis = network / "v0", network / "genesis.toml"
    assert init(home, "v0", "--genesis", genesis)["amnesiac"] is False
    mark_used(KeyStore(home))
    shutil.rmtree(home / "data")
    (home / "genesis.toml").unlink()
    assert init(home, "v0", "--genesis", genesis)["amnesiac"] is True
    assert "sign nothing" in run("node", "init", "--home", home, "--genesis", genesis).stdout
    assert not (home / "data" / "safety").exists()


def test_settings_about_the_past_are_kept_by_a_later_call(tmp_path: Path) -> None:
    """An operator who changes an address must not lose the window, or the block to trust."""
    trust = ("--trust-height", "4000", "--trust-hash", "ab" * 32)
    init(tmp_path, "v0", *trust, "--snapshot-interval", "50", "--keep-blocks", "500")
    init(tmp_path, "v0", "--http", "127.0.0.1:8601")
    config = load_config(tmp_path)
    assert (config.trust_height, config.trust_hash) == (4_000, "ab" * 32)
    assert (config.snapshot_interval, config.keep_blocks, config.http_port) == (50, 500, 8_601)


@pytest.mark.parametrize("trust", [("--trust-height", "5"), ("--trust-hash", "ab" * 32), ("--trust-hash", "xy")])
def test_half_a_trusted_block_is_wrong_usage(tmp_path: Path, trust: tuple[str, ...]) -> None:
    """A height without its hash trusts whoever answers first."""
    assert run("node", "init", "--home", tmp_path, "--name", "v0", "--cost", "testnet", *trust).exit_code == 2
