"""``novate gov`` against the real state machine: from a validator's own home, and with nobody taken at their word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import novate
from genesis.document import GenesisDocument, GenesisValidator
from genesis.params import ChainParams
from node.config import NodeConfig, load_config
from node.files import write_private
from node.home import exclusive, install_genesis, prepare_home
from node.keystore import COST_TESTNET, KeyStore
from node.signer_home import default_socket, hand_over
from node.unused_key import is_unused
from tests.cli.stub_chain import StubChain, serving


@dataclass(frozen=True)
class Consortium:
    """A stub chain of two validators with homes, and where it answers."""

    chain: StubChain
    homes: tuple[Path, ...]
    url: str


def make_home(directory: Path, name: str, http_port: int = 1) -> GenesisValidator:
    """A validator's home with a passphrase beside its keys."""
    config = NodeConfig(home=directory / name, name=name, http_port=http_port)
    card = prepare_home(config, f"127.0.0.1:{1 + int(name[1:])}", b"secret", cost=COST_TESTNET)
    if not (config.home / "passphrase").exists():
        write_private(config.home / "passphrase", b"secret\n")
    return card


@pytest.fixture
def consortium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Consortium]:
    """Two validators, v0 and v1, of equal power."""
    monkeypatch.delenv("NOVATE_PASSPHRASE", raising=False)
    names = ("v0", "v1")
    cards = tuple(make_home(tmp_path, name) for name in names)
    chain = StubChain(GenesisDocument("stub", cards, (), params=ChainParams()))
    with serving(chain) as url:
        for name in names:
            make_home(tmp_path, name, int(url.rpartition(":")[2]))
        yield Consortium(chain, tuple(tmp_path / name for name in names), url)


def run(*words: str) -> Result:
    """A command that may fail."""
    return CliRunner().invoke(novate, ["gov", *words])


def act(consortium: Consortium, place: int, *words: str) -> dict[str, Any]:
    """A command of one validator that must succeed; its document."""
    result = run(*words, "--home", str(consortium.homes[place]), "--wait", "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def listed(consortium: Consortium) -> list[dict[str, Any]]:
    """What ``gov list`` shows."""
    proposals: list[dict[str, Any]] = json.loads(run("list", "--url", consortium.url, "--json").stdout)["proposals"]
    return proposals


def test_validators_propose_and_approve_from_their_homes(consortium: Consortium) -> None:
    """The whole of an operator's work: propose, look, approve by the first digits of the id."""
    proposed = act(consortium, 0, "propose", "validator.reweight", "validator=v1", "power=2")["proposal"]
    (entry,) = listed(consortium)
    assert (entry["proposal"], entry["approvals"], entry["approved"]) == (proposed, ["v0"], False)
    assert (entry["kind"], entry["fields"]) == ("validator.reweight", {"validator": "v1", "power": 2})
    approved = act(consortium, 1, "approve", proposed[:8])
    assert (approved["status"], approved["proposal"]) == ("applied", proposed)
    (entry,) = listed(consortium)
    assert (entry["approvals"], entry["power"], entry["approved"]) == (["v0", "v1"], 2, True)


def test_a_card_gives_the_fields_of_a_newcomer(consortium: Consortium, tmp_path: Path) -> None:
    """Nobody should copy a certificate by hand; what is written out wins over the card."""
    card = make_home(tmp_path, "v2")
    words = ["validator.add", "power=7", "--card", str(tmp_path / "v2" / "validator.toml")]
    act(consortium, 0, "propose", *words)
    (entry,) = listed(consortium)
    assert entry["fields"] == {
        "validator": "v2",
        "public_key": card.public_key.hex(),
        "power": 7,
        "address": card.address,
        "certificate": card.certificate.hex(),
    }


def test_a_proposal_can_be_withdrawn(consortium: Consortium) -> None:
    """By whoever made it."""
    proposed = act(consortium, 0, "propose", "validator.reweight", "validator=v1", "power=2")["proposal"]
    refused = run("withdraw", proposed, "--home", str(consortium.homes[1]), "--wait", "--json")
    assert (refused.exit_code, json.loads(refused.stdout)["code"]) == (1, "not_authorised")
    act(consortium, 0, "withdraw", proposed)
    assert listed(consortium) == []


def test_a_validator_that_shows_another_change_gets_no_approval(
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id stands for the change; a node that lies about it would otherwise collect signatures for another one."""
    proposed = act(consortium, 0, "propose", "validator.reweight", "validator=v1", "power=2")["proposal"]
    answer = consortium.chain._answer

    def lie(path: str, after: str) -> Any:
        value = answer(path, after)
        if path == "/v1/proposals":
            value["proposals"][0]["fields"]["power"] = 1
        return value

    monkeypatch.setattr(consortium.chain, "_answer", lie)
    before = consortium.chain.posts
    result = run("approve", proposed, "--home", str(consortium.homes[1]), "--wait")
    assert (result.exit_code, "[wrong_proposal]" in result.stderr) == (1, True)
    assert consortium.chain.posts == before


def test_a_signers_directory_acts_through_the_validator_that_is_named(consortium: Consortium, tmp_path: Path) -> None:
    """It holds the key and no address of a node; the advice is --url, and not to make a node there."""
    home = consortium.homes[0]
    install_genesis(load_config(home), consortium.chain.document)
    signer = tmp_path / "signer"
    hand_over(home, signer, default_socket(signer))
    write_private(signer / "passphrase", b"secret\n")
    words = ["propose", "validator.reweight", "validator=v1", "power=2", "--home", str(signer), "--wait", "--json"]
    refused = run(*words)
    assert (refused.exit_code, "[no_validators]" in refused.stderr, "--url" in refused.stderr) == (1, True, True)
    assert run(*words, "--url", consortium.url).exit_code == 0
    assert [each["approvals"] for each in listed(consortium)] == [["v0"]]


@pytest.mark.parametrize(
    ("digits", "exit_code", "said"),
    [("00000000", 1, "[unknown_proposal]"), ("0000000", 2, "is no proposal"), ("zz" * 32, 2, "is no proposal")],
)
def test_an_id_that_names_nothing_is_refused(consortium: Consortium, digits: str, exit_code: int, said: str) -> None:
    """Before anything is signed."""
    result = run("approve", digits, "--home", str(consortium.homes[0]))
    assert (result.exit_code, said in result.stderr) == (exit_code, True)
    assert consortium.chain.posts == 0


def test_digits_that_begin_two_ids_are_refused(consortium: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval must not depend on which stands first."""
    act(consortium, 0, "propose", "validator.reweight", "validator=v1", "power=2")
    answer = consortium.chain._answer

    def twice(path: str, after: str) -> Any:
        value = answer(path, after)
        return {**value, "proposals": value["proposals"] * 2} if path == "/v1/proposals" else value

    monkeypatch.setattr(consortium.chain, "_answer", twice)
    proposed = listed(consortium)[0]["proposal"]
    result = run("approve", proposed, "--home", str(consortium.homes[1]))
    assert (result.exit_code, "[ambiguous_proposal]" in result.stderr) == (1, True)


def test_a_running_validator_is_not_disturbed(consortium: Consortium) -> None:
    """The node holds its home's lock while it runs; governance needs the key alone, and leaves its mark alone too."""
    home = consortium.homes[0]
    config = NodeConfig(home=home, name="v0")
    with exclusive(config):
        act(consortium, 0, "propose", "validator.reweight", "validator=v1", "power=2")
    assert is_unused(KeyStore(home))


def test_without_a_passphrase_nothing_is_signed(consortium: Consortium) -> None:
    """The consensus key is encrypted like every other."""
    (consortium.homes[0] / "passphrase").unlink()
    result = run("propose", "validator.reweight", "validator=v1", "power=2", "--home", str(consortium.homes[0]))
    assert (result.exit_code, "[no_passphrase]" in result.stderr) == (1, True)


def test_people_see_what_waits_and_what_is_deposited(consortium: Consortium) -> None:
    """Tables for ``gov list``, ``query validators`` and ``query epochs``; nothing is an answer too."""
    assert "Proposals: none." in run("list", "--url", consortium.url).stdout
    proposed = act(consortium, 0, "propose", "validator.reweight", "validator=v1", "power=2")["proposal"]
    shown = run("approve", proposed, "--home", str(consortium.homes[1]), "--wait").stdout
    assert all(word in shown for word in (proposed, "validator.reweight", "v1"))
    shown = run("list", "--url", consortium.url).stdout
    assert all(word in shown for word in (proposed[:16], "validator=v1 power=2", "v0, v1", "at height 1000"))
    shown = CliRunner().invoke(novate, ["query", "validators", "--url", consortium.url]).stdout
    assert "a quorum is 2 of 2 power" in shown
    shown = CliRunner().invoke(novate, ["query", "epochs", "--url", consortium.url]).stdout
    assert "After the next edge: v0 (1), v1 (2)" in shown


def test_wrong_usage_signs_nothing(consortium: Consortium) -> None:
    """A kind that is none, a home that is none, a field that is none: exit code 2."""
    home = str(consortium.homes[0])
    assert run("propose", "validator.crown", "--home", home).exit_code == 2
    assert run("propose", "validator.remove", "validator=v1").exit_code == 2
    assert run("approve", "00" * 32, "--home", home + "none").exit_code == 2
    result = run("propose", "validator.remove", "name=v1", "--home", home)
    assert (result.exit_code, "[unknown_field]" in result.stderr) == (2, True)
    assert consortium.chain.posts == 0
