"""The hand-over of a key to a signer: in one place at a time, and never with less memory than it had."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from genesis.errors import Rejected
from node.config import NodeConfig, load_config
from node.files import write_private
from node.home import add_consensus_key, exclusive, install_genesis, load_genesis, open_home, prepare_home
from node.keystore import COST_TESTNET, KeyStore
from node.safety_file import SafetyFile
from node.signer_guard import Kind, Statement, signed
from node.signer_home import SignerConfig, add_key, default_socket, hand_over, load_signer, opened, signer_file
from node.signer_protocol import KEYS_MAX
from node.unused_key import CONSENSUS_KEY, mark_used
from tests.node.dataplane import safety_of
from tests.node.safety_images import PowerLoss
from tests.node.test_home import ADDRESS, PASSPHRASE, home, prepare

__all__ = ["home"]


@pytest.fixture
def signer_home(tmp_path: Path) -> Path:
    """Where the signer's directory will be."""
    return tmp_path / "signer"


def give(home: Path, signer_home: Path) -> SignerConfig:
    """`novate signer init` with the default socket."""
    return hand_over(home, signer_home, default_socket(signer_home))


def voted(home: Path, view: int) -> None:
    """The validator has run, and voted and proposed up to this view."""
    config = load_config(home)
    with closing(SafetyFile(config.safety_path, load_genesis(config).chain_id)) as file:
        file.save(safety_of(view))


def views(signer: SignerConfig, public_key: bytes | None = None) -> list[int]:
    """The views of a key's mark, in the order of the kinds; by default the first key's."""
    with closing(signer_file(signer, public_key or signer.public_key)) as file:
        return [each.view for each in file.load().last]


def test_key_moves_with_what_it_has_signed(home: Path, signer_home: Path) -> None:
    """The node keeps the public half alone; the signer starts where the safety state ends."""
    public_key = KeyStore(home).public("consensus").public_key
    voted(home, 7)
    signer = give(home, signer_home)
    assert load_signer(signer_home) == signer
    assert (signer.name, signer.network, signer.public_key) == ("v1", "net", public_key)
    assert signer.chain_id == load_genesis(load_config(home)).chain_id
    assert views(signer) == [7, 7, 7, 6, 0]
    assert not KeyStore(home).path("consensus").exists()
    assert not (home / "keys" / "consensus.unused").exists()
    with opened(signer, PASSPHRASE) as keys:
        assert [each.public_key for each in keys] == [public_key]
    for path in (signer_home, *signer_home.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


def test_node_runs_without_the_key_and_names_the_socket(home: Path, signer_home: Path) -> None:
    """The consensus key is not in the node's process; its place in the chain is still known."""
    signer = give(home, signer_home)
    node = open_home(home, PASSPHRASE)
    assert node.keys.consensus is None
    assert (node.public_key, node.config.signer) == (node.document.validators[1].public_key, signer.socket)
    assert node.document.validators[1].public_key == signer.public_key
    with exclusive(node.config), pytest.raises(Rejected, match="already_running"), exclusive(node.config):
        pass


def test_key_file_put_back_beside_a_signer_is_not_loaded(home: Path, signer_home: Path) -> None:
    """A restored backup of the node's home brings the key back; node.toml of today leaves it alone."""
    sealed = KeyStore(home).path("consensus").read_bytes()
    give(home, signer_home)
    KeyStore(home).path("consensus").write_bytes(sealed)
    assert open_home(home, PASSPHRASE).keys.consensus is None


def test_settings_written_again_keep_the_signer_and_make_no_key(home: Path, signer_home: Path) -> None:
    """`node init --http ...` on a home whose key is elsewhere must not make it another validator."""
    signer = give(home, signer_home)
    config = load_config(home)
    card = prepare_home(config, ADDRESS, PASSPHRASE, cost=COST_TESTNET)
    assert card.public_key == signer.public_key
    assert not KeyStore(home).path("consensus").exists()
    assert install_genesis(config, load_genesis(config)) == 1
    assert load_config(home) == config


def test_lost_safety_state_beside_a_signer_is_never_made_anew(home: Path, signer_home: Path) -> None:
    """Amnesia is the only way: the key may have signed, wherever it is."""
    give(home, signer_home)
    config = load_config(home)
    config.safety_path.unlink()
    install_genesis(config, load_genesis(config))
    assert not config.safety_path.exists()


@pytest.mark.parametrize("dies_before", range(1, 13))
def test_hand_over_that_was_cut_short_is_completed_by_repeating_it(
    home: Path, signer_home: Path, monkeypatch: pytest.MonkeyPatch, dies_before: int
) -> None:
    """At no step can both sign; and what the node has signed between the two attempts is in the mark."""
    voted(home, 7)
    with dying(monkeypatch, dies_before):
        give(home, signer_home)
    again_after_death(home, signer_home)


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, dies_before: int) -> Iterator[None]:
    """The power fails before that sync of a file or directory; a body that has fewer of them fails the test."""
    calls = 0
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == dies_before:
            raise PowerLoss
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", counted)
        try:
            yield
        except PowerLoss:
            return
    pytest.fail("The table names a step that there is not.")


@pytest.mark.parametrize("dies_before", range(1, 18))
def test_hand_over_of_a_rotated_key_that_was_cut_short_is_completed_by_repeating_it(
    home: Path, signer_home: Path, monkeypatch: pytest.MonkeyPatch, dies_before: int
) -> None:
    """Whichever of the keys is in force comes along, with a mark that covers what any of them has signed."""
    add_consensus_key(load_config(home), PASSPHRASE, COST_TESTNET)
    voted(home, 7)
    with dying(monkeypatch, dies_before):
        give(home, signer_home)
    again_after_death(home, signer_home, later=1)


# --- the next key ---------------------------------------------------------------------------------------------------


def test_next_key_is_made_beside_the_first_with_an_empty_mark_of_its_own(home: Path, signer_home: Path) -> None:
    """It has signed nothing; what the first has signed stays with the first."""
    voted(home, 7)
    signer = give(home, signer_home)
    fresh = add_key(signer, PASSPHRASE, COST_TESTNET)
    with opened(signer, PASSPHRASE) as keys:
        assert [each.public_key for each in keys] == [signer.public_key, fresh]
        another = add_key(signer, PASSPHRASE, COST_TESTNET)
    with opened(signer, PASSPHRASE) as keys:
        assert [each.public_key for each in keys] == [signer.public_key, fresh, another]
    assert (views(signer), views(signer, fresh), views(signer, another)) == ([7, 7, 7, 6, 0], [0] * 5, [0] * 5)
    for path in signer_home.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077


@pytest.mark.parametrize("dies_before", range(1, 5))
def test_key_that_was_half_made_leaves_the_signer_as_it_was(
    home: Path, signer_home: Path, monkeypatch: pytest.MonkeyPatch, dies_before: int
) -> None:
    """Power lost before the mark, between mark and key, or before the key is whole: no key is ever there without its
    mark, and the command, repeated, makes one that has both."""
    signer = give(home, signer_home)
    with dying(monkeypatch, dies_before):
        add_key(signer, PASSPHRASE, COST_TESTNET)
    with opened(signer, PASSPHRASE) as keys:
        for key in keys:
            views(signer, key.public_key)
    made = add_key(signer, PASSPHRASE, COST_TESTNET)
    with opened(signer, PASSPHRASE) as keys:
        assert keys[-1].public_key == made
        assert all(views(signer, each.public_key) for each in keys)


def refuse_wrong_passphrase(signer: SignerConfig) -> bytes:
    """Keys under two passphrases would not open together."""
    return b"another"


def exchange_first_key(signer: SignerConfig) -> bytes:
    """A directory put together from two."""
    prepare(signer.home.with_name("v2"), "v2")
    other = KeyStore(signer.home.with_name("v2")).path("consensus")
    KeyStore(signer.home).path("consensus").write_bytes(other.read_bytes())
    return PASSPHRASE


def fill_up(signer: SignerConfig) -> bytes:
    """As many keys as a signer can have."""
    for _ in range(KEYS_MAX - 1):
        add_key(signer, PASSPHRASE, COST_TESTNET)
    return PASSPHRASE


def remove_first_key(signer: SignerConfig) -> bytes:
    """Nothing to rotate."""
    KeyStore(signer.home).path("consensus").unlink()
    return PASSPHRASE


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (refuse_wrong_passphrase, "wrong_passphrase"),
        (exchange_first_key, "wrong_key"),
        (remove_first_key, "unknown_key"),
        (fill_up, "too_many_keys"),
    ],
)
def test_key_that_could_not_be_used_is_not_made(
    home: Path, signer_home: Path, fault: Callable[[SignerConfig], bytes], code: str
) -> None:
    """Each with its code, and nothing in the directory changes."""
    signer = give(home, signer_home)
    passphrase = fault(signer)
    before = sorted(signer_home.rglob("*"))
    with pytest.raises(Rejected, match=code):
        add_key(signer, passphrase, COST_TESTNET)
    assert sorted(signer_home.rglob("*")) == before


def test_retired_key_may_be_moved_away_and_its_number_and_mark_are_not_reused(home: Path, signer_home: Path) -> None:
    """The way out of `too_many_keys`; a mark that stays behind still forbids, should the key come back."""
    signer = give(home, signer_home)
    retired, kept = (add_key(signer, PASSPHRASE, COST_TESTNET) for _ in range(2))
    KeyStore(signer_home).path("consensus-2").rename(signer_home / "retired.key")
    fresh = add_key(signer, PASSPHRASE, COST_TESTNET)
    with opened(signer, PASSPHRASE) as keys:
        assert [each.public_key for each in keys] == [signer.public_key, kept, fresh]
    assert [each.name for each in KeyStore(signer_home).list()] == ["consensus", "consensus-3", "consensus-4"]
    assert views(signer, retired) == [0] * 5


def test_key_in_a_signer_is_not_made_in_the_validators_home(home: Path, signer_home: Path) -> None:
    """A key there would never sign: the node does not read it."""
    signer = give(home, signer_home)
    with pytest.raises(Rejected, match="signer_has_the_key") as refusal:
        add_consensus_key(load_config(home), PASSPHRASE, COST_TESTNET)
    assert refusal.value.details["socket"] == str(signer.socket)
    assert [each.name for each in KeyStore(home).list()] == ["network"]


def again_after_death(home: Path, signer_home: Path, later: int = 0) -> None:
    """A hand-over was cut short: whoever can sign now, repeating it ends well for the first key and `later` others."""
    config = load_config(home)
    node_signs = config.signer is None
    with pytest.raises(Rejected, match="no_signer_home"):
        load_signer(signer_home)
    if node_signs:
        keys = open_home(home, PASSPHRASE).keys
        assert (keys.consensus is None, len(keys.later)) == (False, later)
        voted(home, 9)
    signer = give(home, signer_home)
    with opened(signer, PASSPHRASE) as taken:
        assert len(taken) == 1 + later
        for key in taken:
            assert views(signer, key.public_key)[:3] == ([9, 9, 9] if node_signs else [7, 7, 7])
    assert open_home(home, PASSPHRASE).keys.consensus is None
    assert [each.name for each in KeyStore(home).list()] == ["network"]
    assert give(home, signer_home) == signer


def test_key_whose_memory_is_lost_is_not_handed_over(home: Path, signer_home: Path) -> None:
    """A mark made from nothing would permit everything."""
    mark_used(KeyStore(home))
    load_config(home).safety_path.unlink()
    with pytest.raises(Rejected, match="lost_safety_state"):
        give(home, signer_home)
    assert load_config(home).signer is None
    assert not signer_home.exists()


def test_running_validator_keeps_its_key(home: Path, signer_home: Path) -> None:
    """It has it in memory, and would go on signing with it."""
    with exclusive(load_config(home)), pytest.raises(Rejected, match="already_running"):
        give(home, signer_home)
    assert not signer_home.exists()


def test_directory_of_another_key_is_left_alone(home: Path, signer_home: Path, tmp_path: Path) -> None:
    """One directory, one key: the other validator's must not be lost."""
    signer = give(home, signer_home)
    other = tmp_path / "v0"
    install_genesis(load_config(other), load_genesis(load_config(home)))
    with pytest.raises(Rejected, match="key_exists"):
        give(other, signer_home)
    assert load_signer(signer_home) == signer
    assert load_config(other).signer is None
    with closing(signer_file(signer, signer.public_key)) as file:
        file.load()


def test_key_that_is_nowhere_is_not_handed_over(home: Path, signer_home: Path, tmp_path: Path) -> None:
    """A second hand-over, to another directory, is told where the key went, and not that its mark is lost."""
    give(home, signer_home)
    with pytest.raises(Rejected, match="key_elsewhere") as refused:
        give(home, tmp_path / "elsewhere")
    assert str(signer_home) in str(refused.value)
    assert not (tmp_path / "elsewhere" / "signer.toml").exists()


@pytest.mark.parametrize("place", ["signer", ".", ".."])
def test_signer_and_home_lie_apart(home: Path, place: str) -> None:
    """A backup that holds both, put back, knows of nothing that was signed since: no mark can help then."""
    before = load_config(home)
    with pytest.raises(Rejected, match="inside_the_home"):
        give(home, home / place)
    assert load_config(home) == before
    assert KeyStore(home).path(CONSENSUS_KEY).exists()


def test_one_directory_runs_once(home: Path, signer_home: Path) -> None:
    """Two processes on one mark would each decide on what they remember."""
    signer = give(home, signer_home)
    with opened(signer, PASSPHRASE), pytest.raises(Rejected, match="already_running"), opened(signer, PASSPHRASE):
        pass
    with opened(signer, PASSPHRASE):
        pass


def test_key_that_is_not_the_named_one_is_refused(home: Path, signer_home: Path, tmp_path: Path) -> None:
    """A directory put together from two."""
    signer = give(home, signer_home)
    prepare(tmp_path / "v2", "v2")
    path = KeyStore(signer_home).path("consensus")
    path.write_bytes(KeyStore(tmp_path / "v2").path("consensus").read_bytes())
    with pytest.raises(Rejected, match="wrong_key"), opened(signer, PASSPHRASE):
        pass


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "no_signer_home"),
        ("name = ", "bad_config"),
        ('name = "v1"', "bad_config"),
        ('name="v1"\nnetwork="n"\nchain_id="00"\npublic_key="00"\nsocket="/s"', "bad_config"),
        ('name="v1"\nnetwork="n"\nchain_id=1\npublic_key="00"\nsocket="/s"', "bad_config"),
        ('name="v1"\nnetwork="n"\nchain_id="xx"\npublic_key="00"\nsocket="/s"', "bad_config"),
    ],
)
def test_damaged_settings_are_refused(tmp_path: Path, text: str | None, code: str) -> None:
    """With a code and the path, not with a traceback."""
    if text is not None:
        (tmp_path / "signer.toml").write_text(text)
    with pytest.raises(Rejected, match=code):
        load_signer(tmp_path)


@pytest.mark.parametrize("signer", ["tcp:1.2.3.4", "unix:relative/path", 7])
def test_signer_of_another_form_in_node_toml_is_refused(home: Path, signer: str | int) -> None:
    """A typing error must not end as a validator with no voice."""
    path = load_config(home).path
    path.write_text(f"signer = {signer!r}\n".replace("'", '"') + path.read_text())
    with pytest.raises(Rejected, match="bad_config"):
        load_config(home)


def test_signer_in_node_toml_is_read_back(home: Path) -> None:
    """What `signer init` writes is what `node run` reads."""
    config = replace(load_config(home), signer=Path("/run/novate/signer.sock"))
    assert isinstance(config, NodeConfig)
    assert config.to_mapping()["signer"] == "unix:/run/novate/signer.sock"


@pytest.mark.parametrize("is_key_put_back", [True, False])
def test_hand_over_repeated_beside_a_running_signer_leaves_its_mark_alone(
    home: Path, signer_home: Path, is_key_put_back: bool
) -> None:
    """Row 4: whoever writes the mark of a running signer, with the numbers that it found in the file, makes the older
    of two records the newer: killed then, the signer comes back and has forgotten its last word."""
    sealed = KeyStore(home).path("consensus").read_bytes()
    unsigned = load_config(home).path.read_bytes()
    signer = give(home, signer_home)
    with opened(signer, PASSPHRASE), closing(signer_file(signer, signer.public_key)) as running:
        mark = signed(running.load(), vote_in(8), 7)
        running.save(mark)
        if is_key_put_back:  # A backup of the home from before the hand-over.
            write_private(KeyStore(home).path("consensus"), sealed)
            write_private(load_config(home).path, unsigned)
        before = signer.mark_path(signer.public_key).read_bytes()
        with pytest.raises(Rejected, match="already_running"):
            give(home, signer_home)
        assert signer.mark_path(signer.public_key).read_bytes() == before
        running.save(signed(mark, vote_in(9), 8))
    assert views(signer)[Kind.CERTIFY] == 9


def vote_in(view: int) -> Statement:
    """A vote that the signer gives."""
    return Statement(Kind.CERTIFY, 0, view, view, bytes(32))
