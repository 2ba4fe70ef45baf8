"""What a running validator refuses, one fault a row: each has its own clear error, and nothing moves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.client import Client
from cli.main import novate
from cli.session import Session
from cli.testnet_files import LocalNetwork, load_testnet
from contracts.operations import build_operation
from genesis.codec import encode
from genesis.envelope import SALT_BYTES, Operation, sign_envelope
from genesis.signing import SigningKey

pytestmark = pytest.mark.process

SALT = bytes(SALT_BYTES)
SERIES = "BTC-TEST-60000-C"
MEMBERS = ("M0", "M1")


class Net:
    """A testnet of one validator, with two members, a listed series and two bitcoins."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def testnet_command(self, *arguments: str) -> None:
        """``novate testnet ...``, in a process of its own."""
        command = [sys.executable, "-m", "cli.main", "testnet", *arguments, "--dir", str(self.directory)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def run(self, *arguments: str) -> Result:
        """Any other command."""
        return CliRunner().invoke(novate, [*arguments, "--dir", str(self.directory), "--json"])

    @property
    def testnet(self) -> LocalNetwork:
        """Its record."""
        return load_testnet(self.directory)

    def balances(self) -> list[Any]:
        """What both members hold."""
        with Client(self.testnet.urls) as client:
            return [client.get(f"/v1/accounts/{member}/main")["balances"] for member in MEMBERS]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """Up, and set up through files of transactions."""
    network = Net(tmp_path_factory.mktemp("refusals") / "net")
    network.testnet_command("up", "--validators", "1", "--detach")
    try:
        keys = [network.testnet.wallet().key_or_new(member) for member in MEMBERS]
        for name, lines in (("market", market(keys)), ("money", money())):
            file = network.directory / f"{name}.jsonl"
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
            done = network.run("tx", "submit", str(file), "--wait")
            assert done.exit_code == 0, done.stderr
        yield network
    finally:
        network.testnet_command("down")


def market(keys: list[SigningKey]) -> Iterator[dict[str, Any]]:
    """Lines for ``tx submit``: members, an asset, an index, a series."""
    governor = ["governor"]
    for member, key in zip(MEMBERS, keys, strict=True):
        fields = {"member": member, "key": key.public_key.hex()}
        yield {"kind": "member.admit", "fields": fields, "keys": governor}
    yield {"kind": "asset.register", "fields": {"asset": "BTC", "decimals": 8}, "keys": governor}
    band = {"tick_decimals": 2, "price_min_ticks": 2_000_000, "price_max_ticks": 20_000_000, "oracle_quorum": 2}
    yield {"kind": "index.register", "fields": {"index": "BTC_USD", **band}, "keys": governor}
    terms = {"strike_ticks": 6_000_000, "expiry_unix_ms": 4_000_000_000_000, "right": "C", "settlement": "inverse"}
    units = {"asset": "BTC", "lot_minor": 10_000_000, "premium_tick_minor": 1_000}
    yield {"kind": "series.list", "fields": {"series": SERIES, "index": "BTC_USD", **terms, **units}, "keys": governor}


def money() -> Iterator[dict[str, Any]]:
    """Lines for ``tx submit``: a bitcoin each."""
    for member in MEMBERS:
        fields = {"asset": "BTC", "account": f"{member}/main", "amount_minor": 10**8}
        yield {"kind": "asset.issue", "fields": fields, "keys": ["issuer"]}


TYPED = ("malformed", "missing_field", "unknown_operation")
TRANSFER = "transfer source=M0/main destination=M1/main asset=BTC"
TRADE = f"trade series={SERIES} buyer=M0/main seller=M1/main price_ticks=10"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("asset.issue asset=BTC account=M0/main amount_minor=5 --key M0", "not_authorised"),
        ("oracle.sample index=BTC_USD instant_unix_ms=1 price_ticks=6000000 --key oracle0", "sample_too_old"),
        (f"{TRANSFER} amount_minor=5 --key M1", "missing_signature"),
        (f"{TRANSFER} amount_minor=99999999999 --key M0", "insufficient_funds"),
        (f"{TRADE} quantity_lots=1 --key M0", "missing_signature"),
        (f"{TRADE} quantity_lots=1000 --key M0 --cosign M1", "insufficient_collateral"),
        (f"{TRADE} quantity_lots=1 --key M0 --cosign M1".replace(SERIES, "NONE"), "unknown_series"),
        (f"{TRANSFER} amount_minor=-5 --key M0", "malformed"),
        (f"{TRANSFER} --key M0", "missing_field"),
        (f"{TRANSFER} amount_minor=5 --key M9", "unknown_key"),
        ("conjure amount_minor=5 --key M0", "unknown_operation"),
    ],
)
def test_each_wrong_operation_has_its_own_error_and_moves_nothing(net: Net, words: str, code: str) -> None:
    """The code is what scripts act on; the balances are what counts."""
    before = net.balances()
    done = net.run("tx", "send", *words.split(), "--wait")
    assert done.exit_code == (2 if code in TYPED else 1)
    assert f"novate: error [{code}]" in done.stderr
    assert net.balances() == before


def transfer(amount_minor: int = 5) -> list[Operation]:
    """A transfer that its sender may make."""
    fields = {"source": "M0/main", "destination": "M1/main", "asset": "BTC", "amount_minor": str(amount_minor)}
    return [build_operation("transfer", fields)]


def expired(session: Session, key: SigningKey) -> bytes:
    """Signed for a moment that has passed."""
    return sign_envelope(session.document.chain_id, [key], transfer(), session.chain_unix_ms() - 60_000, SALT)


def too_long(session: Session, key: SigningKey) -> bytes:
    """Signed for the next year."""
    return sign_envelope(session.document.chain_id, [key], transfer(), session.chain_unix_ms() + 10**10, SALT)


def of_another_chain(session: Session, key: SigningKey) -> bytes:
    """Signed for a chain that is not this one."""
    return sign_envelope(bytes(32), [key], transfer(), session.chain_unix_ms() + 60_000, SALT)


def of_a_stranger(session: Session, key: SigningKey) -> bytes:
    """Signed by a key that nobody admitted."""
    stranger = SigningKey(bytes(range(32)))
    return sign_envelope(session.document.chain_id, [stranger], transfer(), session.chain_unix_ms() + 60_000, SALT)


def badly_signed(session: Session, key: SigningKey) -> bytes:
    """One bit of the signature is wrong."""
    wire = session.sign([key], transfer()).wire
    return wire[:-1] + bytes([wire[-1] ^ 1])


def oversized(session: Session, key: SigningKey) -> bytes:
    """More than an envelope may hold."""
    return session.sign([key], transfer()).wire + bytes(70_000)


def malformed(session: Session, key: SigningKey) -> bytes:
    """Valid msgpack, and no envelope."""
    return encode(["no", "envelope"])


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (expired, "expired"),
        (too_long, "lifetime_too_long"),
        (of_another_chain, "wrong_chain"),
        (of_a_stranger, "unknown_signer"),
        (badly_signed, "bad_signature"),
        (oversized, "too_large"),
        (malformed, "malformed"),
    ],
)
def test_each_wrong_envelope_is_refused_at_the_door_and_its_neighbour_is_not(
    net: Net, make: Callable[[Session, SigningKey], bytes], code: str
) -> None:
    """One bad envelope in a post must not take a good one with it."""
    with Client(net.testnet.urls) as client:
        session = Session(client)
        key = net.testnet.wallet().key("M0")
        good = session.sign([key], transfer(1))
        bad_result, good_result = client.submit([make(session, key), good.wire], wait_ms=30_000)
    assert (bad_result["status"], bad_result["code"]) == ("rejected", code)
    assert len(bad_result["message"]) > 10
    assert good_result["status"] == "committed"


def test_a_replayed_envelope_executes_once(net: Net) -> None:
    """The same bytes again, after they were executed."""
    with Client(net.testnet.urls) as client:
        session = Session(client)
        envelope = session.sign([net.testnet.wallet().key("M0")], transfer(3))
        session.apply([envelope])
        before = net.balances()
        (result,) = client.submit([envelope.wire])
        assert (result["status"], result["code"]) == ("rejected", "replayed")
        assert net.balances() == before
