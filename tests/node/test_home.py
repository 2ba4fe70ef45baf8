"""A validator's home: made once, given one chain, opened only when everything in it belongs together."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.types import OBSERVER
from genesis.document import GenesisDocument, GenesisRole, GenesisValidator, parse_document
from genesis.errors import Rejected
from genesis.params import ChainParams
from genesis.signing import SigningKey
from node.config import NodeConfig, load_config
from node.home import (
    exclusive,
    format_document,
    install_genesis,
    open_home,
    parse_card,
    prepare_home,
)
from node.keystore import COST_TESTNET, KeyStore
from node.safety_file import SafetyFile
from node.unused_key import is_unused, mark_used

PASSPHRASE = b"correct horse"
ADDRESS = "127.0.0.1:26600"


def prepare(home: Path, name: str = "v0") -> GenesisValidator:
    """A prepared home with the default settings."""
    return prepare_home(NodeConfig(home=home, name=name), ADDRESS, PASSPHRASE, cost=COST_TESTNET)


def chain(*validators: GenesisValidator, name: str = "net") -> GenesisDocument:
    """A small chain of these validators."""
    governor = GenesisRole("governor", SigningKey(bytes(32)).public_key, ("governor",))
    return GenesisDocument(name, validators, (governor,), params=ChainParams(merkle_depth=8))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is ready to run, the second of two validators of its chain."""
    other = prepare(tmp_path / "v0")
    mine = prepare(tmp_path / "v1", "v1")
    install_genesis(load_config(tmp_path / "v1"), chain(other, mine))
    return tmp_path / "v1"


def test_a_ready_home_opens_with_everything_a_node_needs(home: Path) -> None:
    """The node starts from this alone."""
    opened = open_home(home, PASSPHRASE)
    assert (opened.config.name, opened.document.name) == ("v1", "net")
    mine = opened.document.validators[1]
    assert opened.keys.consensus.public_key == opened.public_key == mine.public_key
    assert opened.certificate == mine.certificate
    assert opened.keys.network_seed.hex() not in repr(opened)


def test_the_initial_safety_state_forbids_nothing_and_names_the_chain(home: Path) -> None:
    """Only `node init` writes it: its absence later on means that the replica has forgotten its votes."""
    opened = open_home(home, PASSPHRASE)
    state = SafetyFile(opened.config.safety_path, opened.document.chain_id).load()
    assert state is not None
    assert (state.last_voted_view, state.high_qc.view, state.high_tc) == (0, 0, None)
    with pytest.raises(Rejected, match="wrong_chain"):
        SafetyFile(opened.config.safety_path, bytes(32)).load()


def lost_file(home: Path) -> None:
    """The safety file is gone."""
    load_config(home).safety_path.unlink()


def wiped(home: Path) -> None:
    """All but the keys and the settings is gone."""
    shutil.rmtree(home / "data")
    (home / "genesis.toml").unlink()


def moved(home: Path) -> None:
    """The consensus key was taken to a home made anew, from a backup that holds keys alone."""
    key = KeyStore(home).path("consensus").read_bytes()
    shutil.rmtree(home)
    prepare(home, "v1")
    KeyStore(home).path("consensus").write_bytes(key)


@pytest.mark.parametrize("lose", [lost_file, wiped, moved])
def test_lost_safety_state_is_not_written_again_once_the_key_has_run(home: Path, lose: Callable[[Path], None]) -> None:
    """Repeating `node init` on a home that lost its votes must not make it a newcomer who may vote for anything."""
    config, document = load_config(home), open_home(home, PASSPHRASE).document
    mark_used(KeyStore(home))
    lose(home)
    prepare(home, "v1")
    assert install_genesis(config, document) == 1
    assert config.genesis_path.exists()
    assert not config.safety_path.exists()


@pytest.mark.parametrize("lose", [lost_file, wiped])
def test_key_that_never_ran_may_begin_anew(home: Path, lose: Callable[[Path], None]) -> None:
    """An operator who starts over before the network does must not begin silent: nobody could wake a whole network."""
    config, document = load_config(home), open_home(home, PASSPHRASE).document
    before = config.safety_path.read_bytes()
    lose(home)
    install_genesis(config, document)
    assert config.safety_path.read_bytes() == before


def test_mark_vouches_for_its_own_key_alone(home: Path) -> None:
    """A key from elsewhere may have signed; putting it in place of an unused one must not make it unused."""
    store = KeyStore(home)
    assert is_unused(store)
    store.path("consensus").unlink()
    store.create("consensus", PASSPHRASE, COST_TESTNET)
    assert not is_unused(store)


def test_mark_of_an_unused_key_is_removed_durably(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that power loss brings back would let a wiped validator vote twice; the directory is synced after it."""
    steps: list[str] = []
    mark = home / "keys" / "consensus.unused"
    assert mark.exists()
    real = os.fsync

    def fsync(file: int) -> None:
        name = Path(f"/proc/self/fd/{file}").resolve().name
        steps.append(f"sync {name}, mark {'there' if mark.exists() else 'gone'}")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    for _ in range(2):
        mark_used(KeyStore(home))
    assert steps == ["sync keys, mark gone"] * 2
    assert KeyStore(home).public("consensus").name == "consensus"


def test_initial_safety_state_is_not_written_under_a_running_node(home: Path) -> None:
    """It could replace what that node has saved since."""
    config, document = load_config(home), open_home(home, PASSPHRASE).document
    config.safety_path.unlink()
    with exclusive(config), pytest.raises(Rejected, match="already_running"):
        install_genesis(config, document)
    assert not config.safety_path.exists()


def test_preparing_again_keeps_the_keys_and_changes_the_settings(tmp_path: Path) -> None:
    """An operator moves a port without becoming another validator."""
    first = prepare(tmp_path)
    moved = NodeConfig(home=tmp_path, name="v0", http_port=9_999, http_host="::1")
    assert prepare_home(moved, ADDRESS, PASSPHRASE, cost=COST_TESTNET) == first
    assert load_config(tmp_path) == moved


def test_the_card_and_the_document_read_back_as_they_were_written(home: Path) -> None:
    """The card travels by hand into somebody's genesis document; any loss would pin a wrong certificate."""
    opened = open_home(home, PASSPHRASE)
    assert parse_card(opened.config.card_path.read_text()) == opened.document.validators[1]
    assert parse_document(format_document(opened.document)) == opened.document


def test_everything_in_a_home_is_private(home: Path) -> None:
    """Nothing of a validator's is for the other users of its machine."""
    for path in [home, *home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_one_home_runs_once(home: Path) -> None:
    """docs/FAULTS.md row 4: two processes with one key would sign against each other. The lock ends with its holder."""
    config = load_config(home)
    with exclusive(config), pytest.raises(Rejected, match="already_running"), exclusive(config):
        pass
    with exclusive(config):
        pass


def another_network_key(home: Path) -> None:
    """The TLS key was made anew; the document pins the old certificate."""
    KeyStore(home).path("network").unlink()
    KeyStore(home).create("network", PASSPHRASE, COST_TESTNET)


def config_text(old: str, new: str) -> Callable[[Path], None]:
    """Plant a change in ``node.toml``."""

    def plant(home: Path) -> None:
        path = home / "node.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return plant


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("no settings", lambda home: (home / "node.toml").unlink(), "no_node_home"),
    ("no document", lambda home: (home / "genesis.toml").unlink(), "no_genesis"),
    ("a document that is not text", lambda home: (home / "genesis.toml").write_bytes(b"\xff"), "bad_genesis"),
    ("another name", config_text('name = "v1"', 'name = "v9"'), "not_a_validator"),
    ("another network key", another_network_key, "wrong_certificate"),
    ("no consensus key", lambda home: KeyStore(home).path("consensus").unlink(), "unknown_key"),
    ("settings that are not TOML", lambda home: (home / "node.toml").write_text("="), "bad_config"),
    ("settings that are not text", lambda home: (home / "node.toml").write_bytes(b"\xff"), "bad_config"),
    ("an unknown setting", config_text('name = "v1"', 'name = "v1"\ncolour = "red"'), "bad_config"),
    ("an unknown setting in a table", config_text("[http]", "[http]\ntls = true"), "bad_config"),
    ("a missing table", config_text("[http]", "[web]"), "bad_config"),
    ("an address without a port", config_text("127.0.0.1:8600", "127.0.0.1"), "bad_config"),
    ("a port out of range", config_text("127.0.0.1:8600", "127.0.0.1:65536"), "bad_config"),
    ("a port in other digits", config_text("127.0.0.1:8600", "127.0.0.1:8²"), "bad_config"),
    ("an unknown log level", config_text('"info"', '"loud"'), "bad_config"),
    ("a number for a name", config_text('"v1"', "1"), "bad_config"),
]


@pytest.mark.parametrize(("fault", "plant", "code"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_home_that_does_not_fit_together_does_not_open(
    home: Path, fault: str, plant: Callable[[Path], object], code: str
) -> None:
    """A node with the wrong key, chain or certificate would only be cut by its peers, without a reason to read."""
    plant(home)
    with pytest.raises(Rejected) as caught:
        open_home(home, PASSPHRASE)
    assert caught.value.code == code


def test_the_name_in_a_chain_is_kept_and_can_be_put_back(home: Path) -> None:
    """The certificate that the chain has pinned holds it; whoever changed node.toml by hand needs a way back."""
    config = load_config(home)
    with pytest.raises(Rejected, match="genesis_installed"):
        prepare_home(replace(config, name="v9"), ADDRESS, PASSPHRASE, cost=COST_TESTNET)
    assert load_config(home) == config
    config_text('name = "v1"', 'name = "v9"')(home)
    prepare_home(config, ADDRESS, PASSPHRASE, cost=COST_TESTNET)
    assert open_home(home, PASSPHRASE).config == config


def test_a_wrong_passphrase_does_not_open_a_home(home: Path) -> None:
    """The keys of a stolen disk sign nothing."""
    with pytest.raises(Rejected, match="wrong_passphrase"):
        open_home(home, b"wrong")


def test_a_home_serves_one_chain(home: Path) -> None:
    """The safety state belongs to a chain; under another one it would allow votes that it should forbid."""
    document = open_home(home, PASSPHRASE).document
    assert install_genesis(load_config(home), document) == 1
    with pytest.raises(Rejected, match="genesis_installed"):
        install_genesis(load_config(home), replace(document, name="other"))


def test_a_document_that_does_not_name_the_home_is_not_installed(tmp_path: Path) -> None:
    """A node outside the validator set could never take part; better to hear it at once."""
    prepare(tmp_path / "v0")
    stranger = prepare(tmp_path / "v1", "v1")
    with pytest.raises(Rejected, match="not_a_validator"):
        install_genesis(load_config(tmp_path / "v0"), chain(stranger))
    assert install_genesis(load_config(tmp_path / "v0"), chain(stranger), joins=True) == OBSERVER


def test_a_bad_card_is_refused(home: Path) -> None:
    """Cards arrive by mail; each mistake must be named before it is in a document that all have signed off."""
    good = load_config(home).card_path.read_text()
    wrong_power, wrong_certificate = good.replace("power = 1", 'power = "many"'), good.replace("MII", "*")
    for text in ("=", 'name = "v0"', good + "\ncolour = 1", wrong_power, wrong_certificate):
        with pytest.raises(Rejected, match="bad_card"):
            parse_card(text)
