"""A client against validators that die, lose answers and are busy: executed exactly once, or a clear refusal."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.client import Client, Connection, NotFound, Unreachable
from cli.session import Session, fetch_document
from cli.testnet_files import Era
from contracts.operations import build_operation
from genesis.document import ChainClock
from genesis.envelope import Operation
from genesis.errors import Rejected
from tests.cli.stub_chain import StubNetwork, stub_network

ASSET: Operation = build_operation("asset.register", {"asset": "BTC", "decimals": "8"})


@pytest.fixture
def network(tmp_path: Path) -> Iterator[StubNetwork]:
    """Two stub validators of one chain."""
    with stub_network(tmp_path) as found:
        yield found


@pytest.fixture
def session(network: StubNetwork) -> Iterator[Session]:
    """A session with both of them."""
    with Client(network.urls) as client:
        yield network.session(client)


def dead_url() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_envelope_is_executed_and_its_receipt_returned(network: StubNetwork, session: Session) -> None:
    """The happy path, with the chain's own events."""
    (receipt,) = session.apply([session.sign([network.testnet.wallet().key("governor")], [ASSET])])
    assert receipt["code"] == ""
    assert receipt["events"][0]["kind"] == "asset_registered"


def test_the_next_validator_is_asked_when_one_is_dead(network: StubNetwork) -> None:
    """A replay must go on when a validator is killed."""
    with Client((dead_url(), network.urls[1])) as client:
        session = Session(client)
        assert session.apply([session.sign([network.testnet.wallet().key("governor")], [ASSET])])
        assert client.url == network.urls[1]


def test_nobody_answering_is_a_refusal_that_says_so() -> None:
    """The commonest failure of all: the testnet is not up."""
    with Client((dead_url(), dead_url())) as client, pytest.raises(Rejected) as refused:
        client.get("/v1/status")
    assert refused.value.code == "unreachable"
    assert "Is the network up?" in refused.value.message


def test_a_lost_answer_does_not_execute_twice(network: StubNetwork, session: Session) -> None:
    """The post is repeated, the chain calls it a replay, and the receipt of the first time counts."""
    network.chain.lose_answers = 1
    (outcome,) = session.commit([session.sign([network.testnet.wallet().key("governor")], [ASSET])])
    assert outcome.applied
    assert network.chain.posts == 2
    assert len(network.chain.receipts) == 1


@pytest.mark.parametrize("codes", [["mempool_full"], ["lifetime_too_long", "mempool_full"], ["unknown_signer"]])
def test_not_now_is_tried_again(network: StubNetwork, session: Session, codes: list[str]) -> None:
    """A full mempool, block time that lags, a validator one block behind: all pass."""
    network.chain.refuse = list(codes)
    (outcome,) = session.commit([session.sign([network.testnet.wallet().key("governor")], [ASSET])])
    assert outcome.applied
    assert network.chain.posts == len(codes) + 1


def test_a_refusal_at_the_door_is_final(network: StubNetwork, session: Session) -> None:
    """What cannot become true is not tried again."""
    network.chain.refuse = ["bad_signature"]
    (outcome,) = session.commit([session.sign([network.testnet.wallet().key("governor")], [ASSET])])
    assert (outcome.status, outcome.code, network.chain.posts) == ("rejected", "bad_signature", 1)


def test_a_refusal_in_the_block_carries_its_receipt(network: StubNetwork, session: Session) -> None:
    """The chain decided, and its receipt says where."""
    (outcome,) = session.commit([session.sign([network.testnet.wallet().key("issuer")], [ASSET])])
    assert (outcome.status, outcome.code) == ("rejected", "not_authorised")
    assert outcome.receipt is not None


def test_apply_refuses_with_the_chains_own_code(network: StubNetwork, session: Session) -> None:
    """A set-up step that fails must stop the set-up."""
    with pytest.raises(Rejected) as refused:
        session.apply([session.sign([network.testnet.wallet().key("issuer")], [ASSET])])
    assert refused.value.code == "not_authorised"


def test_the_deadline_ends_a_wait(network: StubNetwork, session: Session) -> None:
    """A network without a quorum accepts and never executes."""
    network.chain.refuse = ["mempool_full"] * 5
    envelope = session.sign([network.testnet.wallet().key("governor")], [ASSET])
    with pytest.raises(Rejected, match="did not execute"):
        session.commit([envelope], deadline_s=0.0)


def test_what_is_absent_is_not_found(session: Session) -> None:
    """Absence is an answer, not a failure."""
    assert session.client.find("/v1/index/NONE") is None
    with pytest.raises(NotFound):
        session.client.get("/v1/index/NONE")


def test_a_kept_connection_that_the_server_closed_is_opened_again(network: StubNetwork, session: Session) -> None:
    """Servers close idle connections; that is no failure of theirs."""
    envelope = session.sign([network.testnet.wallet().key("governor")], [ASSET])
    with Connection(network.urls[0]) as connection:
        connection.get("/v1/status")
        network.chain.lose_answers = 1
        connection.submit([envelope.wire])
    assert (network.chain.posts, len(network.chain.receipts)) == (2, 1)


def test_a_new_connection_that_breaks_is_unreachable(network: StubNetwork, session: Session) -> None:
    """Trying the same dead validator again would only hide it from whoever can try another."""
    network.chain.lose_answers = 1
    envelope = session.sign([network.testnet.wallet().key("governor")], [ASSET])
    with Connection(network.urls[0]) as connection, pytest.raises(Unreachable):
        connection.submit([envelope.wire])


def test_the_document_is_checked_against_the_stated_chain_id(network: StubNetwork) -> None:
    """Everything that is signed hangs on the chain id."""
    with Client(network.urls) as client:
        assert fetch_document(client) == network.chain.document


@pytest.mark.parametrize(
    "url",
    [
        "localhost:9101",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:abc",
        "http://[::1",
        "http://a..b:80",
        f"http://{'a' * 64}:80",
        "http://a b:80",
        "",
    ],
)
def test_a_bad_address_is_refused(url: str) -> None:
    """Instead of a traceback from the depths of a library."""
    with pytest.raises(Rejected, match=r"looks like http://127\.0\.0\.1:9101") as refused:
        Connection(url)
    assert refused.value.code == "bad_url"


@pytest.mark.parametrize(
    ("wall", "chain", "speed", "ahead_ms", "seconds"),
    [(0, 0, 1, 5_000, 5.0), (0, 0, 1, -5_000, 0.0), (1_000, 50_000, 1_000, 60_000, 0.06)],
)
def test_waits_follow_the_chains_clock(
    tmp_path: Path, wall: int, chain: int, speed: int, ahead_ms: int, seconds: float
) -> None:
    """A replay of a day takes seconds; a wait in the wrong era takes years."""
    with stub_network(tmp_path) as network, Client(network.urls) as client:
        session = network.session(client)
        object.__setattr__(session.document, "clock", ChainClock(wall, chain, speed))
        began = time.monotonic()
        found = session.wall_s_until(session.chain_unix_ms() + ahead_ms)
        took_s = time.monotonic() - began
        assert max(0.0, seconds - took_s) - 0.05 <= found <= seconds + 0.05


def test_an_era_starts_after_its_lead() -> None:
    """Validators need a moment before the tape begins."""
    assert Era(5_000, 10).clock(1_000, 2.0) == ChainClock(3_000, 5_000, 10)
    assert Era(None, 10).clock(1_000, 2.0) == ChainClock(3_000, 1_000, 10)
    assert Era().clock(1_000, 2.0) == ChainClock()
