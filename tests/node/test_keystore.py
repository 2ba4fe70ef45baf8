"""Keys at rest: encrypted, private, tamper-evident, and never shown."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genesis.errors import Rejected
from genesis.signing import is_valid
from node.keystore import COST_TESTNET, KeyStore, PublicKey, find_passphrase

PASSPHRASE = b"correct horse"
SEED = bytes(range(32))


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    """A home with the key ``alice`` of a known seed."""
    made = KeyStore(tmp_path)
    made.create("alice", PASSPHRASE, COST_TESTNET, SEED)
    return made


def test_a_key_comes_back_and_signs(store: KeyStore) -> None:
    """What was stored must be what signs, or a member loses its account."""
    key = store.unlock("alice", PASSPHRASE)
    assert key.seed == SEED
    assert is_valid(store.public("alice").public_key, b"order", key.signing_key.sign(b"order"))


def test_the_file_is_readable_by_its_owner_alone(store: KeyStore) -> None:
    """Another user of the machine must not even get the ciphertext to guess at."""
    assert stat.S_IMODE(store.path("alice").stat().st_mode) == 0o600
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700


def test_no_form_of_a_key_shows_its_secret(store: KeyStore) -> None:
    """A key in a log or a traceback is a lost key."""
    key = store.unlock("alice", PASSPHRASE)
    shown = f"{key!r} {key} {store.path('alice').read_text()} {store.list()!r}"
    assert SEED.hex() not in shown
    assert repr(SEED) not in shown
    assert key.public_key.hex() in repr(key)


def test_two_keys_with_one_passphrase_share_no_ciphertext_and_no_salt(store: KeyStore) -> None:
    """Equal salts would let one guess be tried on every key at once."""
    store.create("bob", PASSPHRASE, COST_TESTNET, SEED)
    alice, bob = (json.loads(store.path(name).read_text()) for name in ("alice", "bob"))
    assert alice["kdf"]["salt"] != bob["kdf"]["salt"]
    assert alice["box"] != bob["box"]


def test_a_key_is_never_overwritten(store: KeyStore) -> None:
    """A second `keys new` of the same name would destroy the first key for good."""
    with pytest.raises(Rejected, match="key_exists"):
        store.create("alice", PASSPHRASE, COST_TESTNET)
    assert store.unlock("alice", PASSPHRASE).seed == SEED


def test_keys_are_listed_by_name(store: KeyStore) -> None:
    """Listing needs no passphrase, and an empty home is no error."""
    store.create("Bob-2", PASSPHRASE, COST_TESTNET)
    assert [each.name for each in store.list()] == ["Bob-2", "alice"]
    assert store.list()[1] == PublicKey("alice", store.unlock("alice", PASSPHRASE).public_key)
    assert KeyStore(store.directory / "nowhere").list() == ()


def change(**values: Any) -> Callable[[Path], None]:
    """Plant changed fields in a key file; dotted names reach into the derivation's table."""

    def plant(path: Path) -> None:
        document = json.loads(path.read_text())
        for name, value in values.items():
            table = document["kdf"] if name in document["kdf"] else document
            table[name] = value
        path.write_text(json.dumps(document))

    return plant


def flip_box(path: Path) -> None:
    """One bit of the ciphertext."""
    document = json.loads(path.read_text())
    box = bytearray.fromhex(document["box"])
    box[-1] ^= 1
    change(box=box.hex())(path)


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("another public key", change(public_key="11" * 32), "tampered_key"),
    ("another name", change(name="mallory"), "tampered_key"),
    ("a short public key", change(public_key="11"), "tampered_key"),
    ("an unknown version", change(version=2), "tampered_key"),
    ("an unknown derivation", change(algorithm="scrypt"), "tampered_key"),
    ("a terabyte of memory", change(memory_bytes=2**40), "tampered_key"),
    ("a million passes", change(operations=10**6), "tampered_key"),
    ("passes that are no integer", change(operations=True), "tampered_key"),
    ("a cheaper derivation", change(memory_bytes=8_192), "wrong_passphrase"),
    ("another salt", change(salt="00" * 16), "wrong_passphrase"),
    ("a short salt", change(salt="00"), "tampered_key"),
    ("a box that is not hexadecimal", change(box="zz"), "tampered_key"),
    ("a flipped bit in the box", flip_box, "wrong_passphrase"),
    ("half the file", lambda path: path.write_text(path.read_text()[:100]), "tampered_key"),
    ("an empty file", lambda path: path.write_text(""), "tampered_key"),
    ("a list", lambda path: path.write_text("[]"), "tampered_key"),
    ("bytes that are not text", lambda path: path.write_bytes(b"\xff\xfe"), "tampered_key"),
    ("ten kilobytes", lambda path: path.write_text(" " * 10_000), "too_large"),
    ("open to the group", lambda path: path.chmod(0o640), "exposed_file"),
    ("open to the world", lambda path: path.chmod(0o604), "exposed_file"),
    ("gone", lambda path: path.unlink(), "unknown_key"),
]


@pytest.mark.parametrize(("fault", "plant", "code"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_damaged_or_tampered_file_is_refused(
    store: KeyStore, fault: str, plant: Callable[[Path], object], code: str
) -> None:
    """A key file comes from a disk that others may have touched: it is refused with a reason, never used."""
    plant(store.path("alice"))
    with pytest.raises(Rejected) as caught:
        store.unlock("alice", PASSPHRASE)
    assert caught.value.code == code
    assert SEED.hex() not in str(caught.value)


def test_a_file_under_another_keys_name_is_refused(store: KeyStore) -> None:
    """Renaming the oracle's file to the governor's must not make it the governor."""
    path = store.path("governor")
    path.write_text(store.path("alice").read_text().replace('"alice"', '"governor"'))
    path.chmod(0o600)
    with pytest.raises(Rejected, match="tampered_key"):
        store.unlock("governor", PASSPHRASE)


WRONG_CALLS = [
    ("a wrong passphrase", "alice", b"wrong", "wrong_passphrase"),
    ("an empty passphrase", "alice", b"", "bad_passphrase"),
    ("an endless passphrase", "alice", b"x" * 1_025, "bad_passphrase"),
    ("an unknown name", "bob", PASSPHRASE, "unknown_key"),
    ("a path for a name", "../keys/alice", PASSPHRASE, "malformed"),
    ("a hidden file", ".alice", PASSPHRASE, "malformed"),
    ("no name", "", PASSPHRASE, "malformed"),
]


@pytest.mark.parametrize(("what", "name", "passphrase", "code"), WRONG_CALLS, ids=[row[0] for row in WRONG_CALLS])
def test_a_wrong_call_says_what_is_wrong(store: KeyStore, what: str, name: str, passphrase: bytes, code: str) -> None:
    """Each mistake has its own code, so that a script can tell a typo from a lost file."""
    with pytest.raises(Rejected) as caught:
        store.unlock(name, passphrase)
    assert caught.value.code == code


def test_the_passphrase_is_found_where_it_was_left(tmp_path: Path) -> None:
    """The nearest source wins: a named file, the environment, the file in the home; none means asking a person."""
    named, in_home = tmp_path / "named", tmp_path / "passphrase"
    assert find_passphrase(tmp_path, None, None) is None
    for path, text in ((in_home, b"from home\n"), (named, b" from file \r\n")):
        path.write_bytes(text)
        path.chmod(0o600)
    assert find_passphrase(tmp_path, None, None) == b"from home"
    assert find_passphrase(tmp_path, "from environment", None) == b"from environment"
    assert find_passphrase(tmp_path, "from environment", named) == b" from file "


def test_a_passphrase_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Encryption at rest is worth what its passphrase's secrecy is worth."""
    path = tmp_path / "passphrase"
    path.write_bytes(b"secret")
    path.chmod(0o644)
    with pytest.raises(Rejected, match="exposed_file"):
        find_passphrase(tmp_path, None, None)
