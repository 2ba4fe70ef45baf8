"""What a sender is told when a delivery ends early: every id, what is known of each, and how to send it again."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.client import Client, Connection
from cli.delivery import Delivery, Signed
from cli.main import novate
from contracts.operations import build_operation
from genesis.errors import Rejected
from tests.cli.stub_chain import StubNetwork, stub_network

BITCOIN = ("tx", "send", "asset.register", "asset=BTC", "decimals=8", "--key", "governor")
ALL_LOST = 10


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubNetwork]:
    """A stub network whose senders have no patience."""
    monkeypatch.setenv("NOVATE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr("cli.tx.DEADLINE_S", 0.0)
    with stub_network(tmp_path / "net") as found:
        yield found


def invoke(network: StubNetwork, *arguments: str, as_json: bool = True) -> Result:
    """Run a command against the stub."""
    words = [*arguments, "--dir", str(network.testnet.directory), *(["--json"] if as_json else [])]
    return CliRunner().invoke(novate, words)


def assets(network: StubNetwork, count: int) -> list[Signed]:
    """As many envelopes, each of which registers an asset."""
    key = network.testnet.wallet().key("governor")
    with Client(network.urls) as client:
        session = network.session(client)
        made = [build_operation("asset.register", {"asset": f"A{at}", "decimals": "0"}) for at in range(count)]
        return [session.sign([key], [each]) for each in made]


def in_file(tmp_path: Path, envelopes: list[Signed]) -> str:
    """The envelopes as a file for ``tx submit``."""
    file = tmp_path / "lines"
    file.write_text("".join(f"{each.wire.hex()}\n" for each in envelopes))
    return str(file)


def sent_again(network: StubNetwork, tmp_path: Path, document: Any) -> Any:
    """The answer to ``tx submit --wait`` of the envelopes that an answer gives."""
    file = tmp_path / "again"
    file.write_text("".join(f"{each['envelope']}\n" for each in document.get("results", [document])))
    result = invoke(network, "tx", "submit", str(file), "--wait")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("fault", "wait", "code", "message"),
    [
        ("held", True, "no_receipt", "Accepted, and not final"),
        ("lost", True, "unreachable", "Sent, and not confirmed"),
        ("lost", False, "unreachable", "Sent, and not confirmed"),
    ],
)
def test_a_transaction_whose_fate_is_open_is_named_on_both_outputs(
    network: StubNetwork, fault: str, wait: bool, code: str, message: str
) -> None:
    """It may yet be executed: who does not know its id sends another one, and pays twice."""
    words = [*BITCOIN, *(["--wait"] if wait else [])]
    if fault == "held":
        network.chain.executed_max = 0
    else:
        network.chain.lose_answers = ALL_LOST
    result = invoke(network, *words)
    known = json.loads(result.stdout)
    assert (result.exit_code, known["status"], known["code"]) == (1, "unknown", "")
    assert known["message"].startswith(message)
    assert f"novate: error [{code}]" in result.stderr
    assert f"(unknown): {known['id']}." in result.stderr
    assert "Do not `tx send` anew" in result.stderr


def test_the_same_envelope_sent_again_is_executed_once(network: StubNetwork, tmp_path: Path) -> None:
    """What the failure advises is tried: the envelope was executed already, and its receipt is the first one."""
    network.chain.lose_answers = ALL_LOST
    known = json.loads(invoke(network, *BITCOIN, "--wait").stdout)
    network.chain.lose_answers = 0
    receipts = dict(network.chain.receipts)
    assert set(receipts) == {known["id"]}
    (again,) = sent_again(network, tmp_path, known)["results"]
    assert (again["id"], again["status"]) == (known["id"], "applied")
    assert network.chain.receipts == receipts


def test_a_file_that_is_not_executed_in_time_keeps_every_receipt_so_far(network: StubNetwork, tmp_path: Path) -> None:
    """Of each line: applied, open, or never sent; and the rest can be sent again."""
    envelopes = assets(network, 1_020)
    twice = [envelopes[3], envelopes[3]]
    network.chain.executed_max = 10
    result = invoke(network, "tx", "submit", in_file(tmp_path, [*envelopes[:3], *twice, *envelopes[4:]]), "--wait")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [each["status"] for each in document["results"]] == [*["applied"] * 11, *["unknown"] * 990, *["unsent"] * 20]
    counts = {name: document[name] for name in ("submitted", "refused", "unknown", "unsent")}
    assert counts == {"submitted": 1_001, "refused": 0, "unknown": 990, "unsent": 20}
    assert all("receipt" in each for each in document["results"][:11])
    assert "990 may yet be executed (unknown): " in result.stderr
    assert " and 982 more. 20 never left (unsent): " in result.stderr
    assert len(result.stderr) < 2_000
    network.chain.executed_max = None
    rest = sent_again(network, tmp_path, {"results": document["results"][11:51]})
    assert [each["status"] for each in rest["results"]] == ["applied"] * 40


def test_people_are_shown_the_ids_too(network: StubNetwork) -> None:
    """Without ``--json`` the answer is the ids and their statuses, and the envelope that may have to be sent again."""
    network.chain.executed_max = 0
    result = invoke(network, *BITCOIN, "--wait", as_json=False)
    envelope_id, status, word, envelope = result.stdout.split()
    assert (len(envelope_id), status, word, result.exit_code) == (64, "unknown", "envelope", 1)
    assert bytes.fromhex(envelope)


@pytest.mark.parametrize("mark", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_loses_no_id(network: StubNetwork, monkeypatch: pytest.MonkeyPatch, mark: signal.Signals) -> None:
    """Ctrl-C during a wait, or a script's `timeout`: the transaction is on its way all the same."""
    asked, answered = network.chain.post, threading.Event()

    def post(wires: list[bytes]) -> list[Any]:
        results = asked(wires)
        os.kill(os.getpid(), mark)
        answered.wait(60)
        return results

    monkeypatch.setattr(network.chain, "post", post)
    result = invoke(network, *BITCOIN, "--wait")
    answered.set()
    known = json.loads(result.stdout)
    assert (result.exit_code, known["status"]) == (1, "unknown")
    assert f"novate: error [interrupted]: Interrupted. 1 may yet be executed (unknown): {known['id']}." in result.stderr


def test_an_expired_envelope_that_was_executed_is_applied(network: StubNetwork) -> None:
    """A validator forgets an id with its expiry; \"expired, sign it again\" would pay twice."""
    (envelope,) = assets(network, 1)
    with Client(network.urls) as client:
        Delivery(client, [envelope]).commit()
        network.chain.refuse = ["expired"]
        delivery = Delivery(client, [envelope])
        delivery.commit()
    assert [each.status for each in delivery.outcomes()] == ["applied"]


@pytest.mark.parametrize("wait", [True, False])
def test_a_refusal_decides_nothing_about_what_another_validator_may_hold(network: StubNetwork, wait: bool) -> None:
    """The answer of the first was lost, and the second lags: whoever is told "rejected" sends anew, and pays twice."""
    (envelope,) = assets(network, 1)
    network.chain.executed_max = 0
    network.chain.lose_answers, network.chain.refuse = 1, ["", *["not_authorised"] * 50]
    with Client(network.urls) as client:
        delivery = Delivery(client, [envelope])
        if wait:
            with pytest.raises(Rejected, match="no_receipt"):
                delivery.commit(deadline_s=0.3)
        else:
            delivery.submit()
    assert [each.status for each in delivery.outcomes()] == ["unknown"]


def test_what_one_accepted_no_other_refuses(network: StubNetwork) -> None:
    """As `LAGGING_CODES` of a validator that is behind: the first one's mempool has it."""
    (envelope,) = assets(network, 1)
    network.chain.executed_max = 0
    network.chain.refuse = ["", *["unknown_signer"] * 50]
    with Client(network.urls) as client:
        delivery = Delivery(client, [envelope])
        with pytest.raises(Rejected, match="no_receipt"):
            delivery.commit(deadline_s=2.5)
    assert [each.status for each in delivery.outcomes()] == ["unknown"]


def test_nobody_heard_what_met_a_closed_door(network: StubNetwork) -> None:
    """A validator that is down is no reason to doubt the refusal of one that is up."""
    (envelope,) = assets(network, 1)
    network.chain.refuse = ["not_authorised"]
    with Client(("http://127.0.0.1:1", *network.urls)) as client:
        delivery = Delivery(client, [envelope])
        delivery.commit(deadline_s=0.3)
    assert [(each.status, each.code) for each in delivery.outcomes()] == [("rejected", "not_authorised")]


RESULTS = [[], {}, {"results": [{}]}, {"results": [{"status": 1}]}, {"results": [{"status": "applied", "receipt": {}}]}]


@pytest.mark.parametrize("answer", RESULTS, ids=str)
def test_an_answer_of_another_form_is_no_answer(
    network: StubNetwork, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """A proxy's or a liar's: it ended in a traceback that named no id, after the transaction had been executed."""
    (envelope,) = assets(network, 1)
    monkeypatch.setattr(Connection, "_answer", lambda *_: answer)
    with Client(network.urls) as client:
        delivery = Delivery(client, [envelope])
        with pytest.raises(Rejected, match="unreachable"):
            delivery.commit(deadline_s=0.0)
    assert [each.status for each in delivery.outcomes()] == ["unknown"]


def test_what_is_known_before_anything_is_sent_and_after_the_deadline(network: StubNetwork) -> None:
    """The outcomes are there at every moment, in the order of the envelopes."""
    envelopes = assets(network, 2)
    with Client(network.urls) as client:
        delivery = Delivery(client, envelopes)
        assert [each.status for each in delivery.outcomes()] == ["unsent", "unsent"]
        network.chain.executed_max = 1
        with pytest.raises(Rejected, match="did not execute 1 of 2 in time"):
            delivery.commit(deadline_s=0.0)
    assert [each.status for each in delivery.outcomes()] == ["applied", "unknown"]
    assert delivery.outcomes()[1].envelope == envelopes[1]
