"""A replay that was interrupted anywhere, run again: the totals of one that was not, or a refusal, never others."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.client import Client, NotFound
from cli.main import novate
from cli.output import Output
from cli.ports import free_ports
from cli.replay_journal import DIRECTORY, Driven, Ended, Funded, Journal, open_journal, plan_digest
from cli.replay_once import Act, _receipt, commit_once
from cli.replay_plan import Plan, PlannedTrade, Schedule, make_plan
from cli.replay_report import check_positions
from cli.replay_setup import ISSUER
from cli.replay_wait import PatientClient, await_expiry, check_clock
from cli.session import Session
from cli.tape import parse_tape
from cli.tape_generator import generate_tape
from cli.testnet_files import Era
from contracts.operations import build_operation
from genesis.errors import Rejected
from genesis.params import ChainParams
from tests.cli.stub_chain import StubNetwork, stub_network, time_that_jumps

EXPIRY_UNIX_MS = 1_790_323_200_000
START = EXPIRY_UNIX_MS - 42_000_000
SPEED = 500
CHAIN_ID = bytes(32)


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """The generated tape as a file."""
    path = tmp_path / "tape.csv"
    path.write_text(generate_tape())
    return path


def plan_of(price_ticks: int | None = None) -> Plan:
    """The generated tape's plan."""
    return make_plan(parse_tape(generate_tape()), ChainParams(), settlement_price_ticks=price_ticks)


def replay(network: StubNetwork, tape: Path, *options: str) -> Result:
    """``novate replay --json`` on the stub network."""
    return CliRunner().invoke(
        novate, ["replay", str(tape), "--dir", str(network.testnet.directory), "--json", *options]
    )


def money(document: Any) -> Any:
    """What a replay came to, without what depends on the pace of blocks."""
    return [document[name] for name in ("trades", "settlement_price", "members", "conserved", "source")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the generated tape comes to when nothing happens."""
    directory = tmp_path_factory.mktemp("whole")
    path = directory / "tape.csv"
    path.write_text(generate_tape())
    with time_that_jumps(), stub_network(directory / "net", Era(START, SPEED)) as network:
        done = replay(network, path)
    assert done.exit_code == 0, done.stderr
    return money(json.loads(done.stdout))


def interrupt_submissions(monkeypatch: pytest.MonkeyPatch, numbers: Sequence[int], is_sent: bool) -> None:
    """Ctrl-C at the posts of these numbers, over all runs, before or after the chain has executed them."""
    count = 0
    whole = PatientClient.submit

    def submit(self: PatientClient, wires: Sequence[bytes], wait_ms: int = 0) -> list[dict[str, Any]]:
        nonlocal count
        count += 1
        if count not in numbers:
            return whole(self, wires, wait_ms)
        if is_sent:
            whole(self, wires, wait_ms)
        raise KeyboardInterrupt

    monkeypatch.setattr(PatientClient, "submit", submit)


@pytest.mark.parametrize("is_sent", [False, True], ids=["before it was sent", "before its answer came"])
def test_a_replay_interrupted_anywhere_and_run_again_comes_to_the_same_money(
    tmp_path: Path, tape: Path, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch, is_sent: bool
) -> None:
    """The first runs' trades were settled with the last one's, and only the last one's premiums were counted."""
    posts = (1, 2, 3, 5, 8, 11)  # of the setting up, the deposits, trades, samples
    interrupt_submissions(monkeypatch, posts, is_sent)
    with time_that_jumps(), stub_network(tmp_path / "net", Era(START, SPEED)) as network:
        for _ in posts:
            stopped = replay(network, tape)
            assert (stopped.exit_code, stopped.stdout) == (1, "")
            assert "[replay_interrupted]" in stopped.stderr
            assert " of 640 trades and samples are done." in stopped.stderr
            assert "Run the same command again" in stopped.stderr
        done = replay(network, tape)
    assert done.exit_code == 0, done.stderr
    assert money(json.loads(done.stdout)) == uninterrupted


def test_without_its_journal_a_replay_that_has_traded_is_refused(
    tmp_path: Path, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what was traded: every total would be of other trades than the tape's."""
    interrupt_submissions(monkeypatch, [3], True)
    with time_that_jumps(), stub_network(tmp_path / "net", Era(START, SPEED)) as network:
        replay(network, tape)
        (journal,) = (network.testnet.directory / DIRECTORY).iterdir()
        journal.unlink()
        refused = replay(network, tape)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "[foreign_positions]" in refused.stderr
    assert "lots_expected=0" in refused.stderr


def test_lots_that_the_tape_did_not_trade_leave_no_report() -> None:
    """Somebody who traded beside the replay would be settled in its totals."""
    plan = plan_of()
    with pytest.raises(Rejected, match=r"foreign_positions.*lots=0, lots_expected="):
        check_positions(plan, {"series": []})


def test_money_that_moved_beside_the_replay_is_a_failure_and_no_final_report(
    tmp_path: Path, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 would pass somebody's deposit for what the tape paid, now and whenever the replay is run again."""
    interrupt_submissions(monkeypatch, [5], True)
    issue = ["tx", "send", "asset.issue", "asset=BTC", "account=M3/main", "amount_minor=7", "--key", ISSUER]
    with time_that_jumps(), stub_network(tmp_path / "net", Era(START, SPEED)) as network:
        replay(network, tape)
        beside = CliRunner().invoke(novate, [*issue, "--dir", str(network.testnet.directory)])
        done = replay(network, tape)
        (journal,) = (network.testnet.directory / DIRECTORY).iterdir()
        is_final = "ended_minor" in journal.read_text()
    assert (beside.exit_code, done.exit_code, is_final) == (0, 1, False), beside.stderr
    assert not json.loads(done.stdout)["conserved"]
    assert "[not_conserved]" in done.stderr


def test_another_settlement_price_is_refused_once_the_replay_has_begun(
    tmp_path: Path, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report would show a price that nobody asked for; before any deposit another choice is free."""
    interrupt_submissions(monkeypatch, [1, 5], True)
    with time_that_jumps(), stub_network(tmp_path / "net", Era(START, SPEED)) as network:
        assert "[replay_interrupted]" in replay(network, tape, "--settlement-price", "60000").stderr
        assert "[replay_interrupted]" in replay(network, tape).stderr
        refused = replay(network, tape, "--settlement-price", "60000")
    assert refused.exit_code == 1
    assert "[conflicting_setup]" in refused.stderr


def test_an_expiry_that_passed_in_between_is_refused_with_what_was_done(
    tmp_path: Path, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the trades can never be done: the totals of a part would pass for those of the tape."""
    interrupt_submissions(monkeypatch, [3], True)
    with time_that_jumps(), stub_network(tmp_path / "net", Era(START, SPEED)) as network:
        replay(network, tape)
        monkeypatch.setattr(Session, "chain_unix_ms", lambda self: EXPIRY_UNIX_MS)
        refused = replay(network, tape)
    assert refused.exit_code == 1
    assert "[too_late]" in refused.stderr
    assert "only 0 of 320 trades are known to be done" in refused.stderr


# --- each act once --------------------------------------------------------------------------------------------------


@pytest.fixture
def network(tmp_path: Path) -> Iterator[StubNetwork]:
    """A stub network whose clock stands well before the expiry."""
    with stub_network(tmp_path / "net", Era(START, 1)) as found:
        yield found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal that was just begun."""
    with open_journal(tmp_path, CHAIN_ID, plan_of()) as found:
        yield found


def registration(network: StubNetwork) -> Act:
    """An act that the chain applies once: a second time it would be refused."""
    operation = build_operation("asset.register", {"asset": "BTC", "decimals": "8"})
    return Act(0, "registration", 0, (network.testnet.wallet().key("governor"),), (operation,))


def test_an_act_whose_envelope_expired_unexecuted_gets_another_one(network: StubNetwork, journal: Journal) -> None:
    """An interruption longer than an envelope lives must not end the replay."""
    with Client(network.urls) as client:
        session = network.session(client)
        journal.announce(0, 1, session.chain_unix_ms() - 60_000)
        (outcome,) = commit_once(session, journal, [registration(network)])
    assert outcome.applied
    assert journal.expires_at_unix_ms(0) > network.chain.state.time_unix_ms  # type: ignore[operator]


def test_an_act_that_a_block_ordered_too_late_gets_another_envelope_too(
    network: StubNetwork, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarted validators take it by the time of their last block and refuse it in the next: no receipt, an answer."""
    answers = [{"status": "rejected", "code": "expired", "receipt": {"code": "expired", "message": "Planted."}}]
    with Client(network.urls) as client:
        session, submit = network.session(client), client.submit
        monkeypatch.setattr(client, "submit", lambda *args: [answers.pop()] if answers else submit(*args))
        (outcome,) = commit_once(session, journal, [registration(network)])
    assert not answers
    assert outcome.applied


def test_an_act_that_was_executed_counts_by_its_receipt_when_its_envelope_has_expired(
    network: StubNetwork, journal: Journal
) -> None:
    """ "Expired" alone does not say that nothing happened."""
    with Client(network.urls) as client:
        session = network.session(client)
        (first,) = commit_once(session, journal, [registration(network)])
        posts = network.chain.posts
        network.chain.refuse = ["expired"]
        (again,) = commit_once(session, journal, [registration(network)])
    assert again == first
    assert again.applied
    assert network.chain.posts == posts + 1


def test_acts_differ_in_their_envelopes_and_plans_in_their_digests(journal: Journal) -> None:
    """Two equal trades of a tape are two trades; equal envelopes would be one."""
    salts = {journal.salt(what, number) for what in ("trade", "sample", "deposit") for number in range(3)}
    assert len(salts) == 9
    assert plan_digest(plan_of()) == plan_digest(plan_of()) != plan_digest(plan_of(6_000_000))


# --- the journal ----------------------------------------------------------------------------------------------------


def test_a_journal_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Also what was announced and not done, and without a last line that was cut off."""
    plan = plan_of()
    with open_journal(tmp_path, CHAIN_ID, plan) as journal:
        journal.fund(Funded((1,) * 6, (2,) * 6))
        journal.announce(0, 4, 77)
        journal.announce(4, 2, 78)
        journal.driven.items, journal.driven.trades, journal.driven.samples = 4, 3, 1
        journal.done()
    (path,) = (tmp_path / DIRECTORY).iterdir()
    with path.open("ab") as file:
        file.write(b'{"first":6,"count":2,"expi')
    with open_journal(tmp_path, CHAIN_ID, plan) as journal:
        assert journal.funded == Funded((1,) * 6, (2,) * 6)
        assert journal.driven == Driven(items=4, total=640, trades=3, samples=1)
        assert [journal.expires_at_unix_ms(place) for place in (3, 4, 5, 6)] == [None, 78, 78, None]
        assert journal.sent_to == 6
        journal.announce(6, 1, 79)
        journal.expired([6])
        journal.announce(6, 1, 80)
        journal.end(Ended((3,) * 6, 9, "root"))
    with open_journal(tmp_path, CHAIN_ID, plan) as journal:
        assert journal.expires_at_unix_ms(6) == 80
        assert journal.ended == Ended((3,) * 6, 9, "root")


def test_a_journal_of_another_chain_counts_for_nothing(tmp_path: Path) -> None:
    """A testnet was made anew in the directory."""
    with open_journal(tmp_path, CHAIN_ID, plan_of()) as journal:
        journal.fund(Funded((1,) * 6, (2,) * 6))
    with open_journal(tmp_path, bytes([1] * 32), plan_of()) as journal:
        assert journal.funded is None


DAMAGES = [
    b"nonsense\n",
    b"[1]\n",
    b'{"count":1}\n',
    b'{"first":0,"count":1000000000000,"expires_at_unix_ms":1}\n',
    b'{"first":-2,"count":1,"expires_at_unix_ms":1}\n',
    b'{"items":99999,"trades":1,"samples":0,"refusals":{}}\n',
    b'{"items":1e999,"trades":1,"samples":0,"refusals":{}}\n',
    b'{"balances_minor":[],"deposits_minor":[1]}\n',
    b"[" * 10_000 + b"\n",
    b"\xff\n",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_journal_is_refused_with_its_path(tmp_path: Path, damage: bytes) -> None:
    """To begin anew over it would do what was done a second time."""
    with open_journal(tmp_path, CHAIN_ID, plan_of()):
        pass
    (path,) = (tmp_path / DIRECTORY).iterdir()
    with path.open("ab") as file:
        file.write(damage)
    with pytest.raises(Rejected, match=r"bad_testnet: .*jsonl is damaged"), open_journal(tmp_path, CHAIN_ID, plan_of()):
        pass


def test_of_two_replays_in_one_directory_the_second_is_refused(tmp_path: Path) -> None:
    """Each would count the other's money."""
    with (
        open_journal(tmp_path, CHAIN_ID, plan_of()),
        pytest.raises(Rejected, match="testnet_busy"),
        open_journal(tmp_path, CHAIN_ID, plan_of(6_000_000)),
    ):
        pass


def test_no_replay_begins_beside_one_that_is_under_way(tmp_path: Path) -> None:
    """The other's expiry would settle in the middle of this one's balances; one that has ended is no hindrance."""
    other = dataclasses.replace(plan_of(), expiry="26SEP26")
    with open_journal(tmp_path, CHAIN_ID, other) as journal:
        journal.check_alone(CHAIN_ID)
    with open_journal(tmp_path, CHAIN_ID, plan_of()) as journal:
        journal.check_alone(CHAIN_ID)  # the other has not begun
    with open_journal(tmp_path, CHAIN_ID, other) as journal:
        journal.fund(Funded((1,) * 6, (2,) * 6))
        journal.check_alone(CHAIN_ID)
    with open_journal(tmp_path, CHAIN_ID, plan_of()) as journal:
        with pytest.raises(Rejected, match="BTC_USD-26SEP26 is under way"):
            journal.check_alone(CHAIN_ID)
        journal.check_alone(bytes([1] * 32))
    with open_journal(tmp_path, CHAIN_ID, other) as journal:
        journal.end(Ended((3,) * 6, 9, "root"))
    with open_journal(tmp_path, CHAIN_ID, plan_of()) as journal:
        journal.check_alone(CHAIN_ID)


def test_a_receipt_that_a_validator_no_longer_keeps_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was executed before its snapshot would be done a second time, in another envelope."""

    def get(path: str, wait_ms: int = 0) -> Any:
        raise NotFound("unknown_transaction", "There is no receipt.", lowest_height=7)

    with stub_network(tmp_path / "net") as network, Client(network.urls) as client:
        session = network.session(client)
        assert _receipt(session, "00" * 32, 0) is None
        monkeypatch.setattr(client, "get", get)
        with pytest.raises(Rejected, match="receipts_gone"):
            _receipt(session, "00" * 32, 0)


def test_a_schedule_goes_on_behind_what_was_taken() -> None:
    """The journal names items by their places in it."""
    plan = plan_of()
    whole = Schedule(plan, SPEED).take(EXPIRY_UNIX_MS, 10**6)
    rest = Schedule(plan, SPEED, taken=100)
    assert rest.taken == 100
    assert rest.take(EXPIRY_UNIX_MS, 10**6) == whole[100:]
    assert isinstance(whole[rest.trades_end - 1], PlannedTrade)
    assert not any(isinstance(each, PlannedTrade) for each in whole[rest.trades_end :])


# --- waiting --------------------------------------------------------------------------------------------------------


def free_address() -> str:
    """An address at which nobody answers."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def test_validators_that_are_all_away_are_asked_again_and_that_is_said_once(
    network: StubNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four killed and started again took 8 s; the replay had ended at once."""
    said: list[str] = []
    failures = iter([False, True, True, True, False])
    whole = Client.get

    def get(self: Client, path: str, wait_ms: int = 0) -> Any:
        if next(failures):
            raise Rejected("unreachable", "Planted.")
        return whole(self, path, wait_ms)

    monkeypatch.setattr(Client, "get", get)
    monkeypatch.setattr("cli.replay_wait._AWAY_POLL_S", 0.0)
    with PatientClient(network.urls, 1.0, said.append) as client:
        client.get("/v1/status")
        assert client.get("/v1/status")["height"] > 0
    assert said == ["No validator answers; asking again for up to 1 min 0 s."]


def test_patience_ends_and_there_is_none_before_the_first_answer(network: StubNetwork) -> None:
    """Who gives a wrong --dir is told at once."""
    said: list[str] = []
    client = PatientClient([free_address()], 1.0, said.append)
    with client, pytest.raises(Rejected, match="unreachable"):
        client.get("/v1/status")
    assert said == []
    with PatientClient(network.urls, 1.0, said.append, patience_s=0.0) as client:
        client.get("/v1/status")
        network.chain.lose_answers = 1_000
        with pytest.raises(Rejected, match="unreachable"):
            client.submit([])
    assert len(said) == 1


def test_an_expiry_that_is_months_away_is_refused_before_anything_is_sent(network: StubNetwork, tape: Path) -> None:
    """At speed 1 the expiry is half a day away: a replay that only waits looks like one that hangs."""
    refused = replay(network, tape)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "[long_wait]: The expiry 25SEP26 is 11 h " in refused.stderr
    assert "takes at most 1 h 0 min; nothing was sent" in refused.stderr
    assert "novate testnet up --detach --replay-from 17902" in refused.stderr
    assert network.chain.posts == 0
    plan = plan_of()
    with Client(network.urls) as client, open_journal(network.testnet.directory, CHAIN_ID, plan) as journal:
        check_clock(network.session(client), plan, journal, 50_000)


def test_the_wait_is_foretold_and_told_where_nothing_else_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json a hundred seconds passed without a word; standard output stays the document's."""
    monkeypatch.setattr("cli.replay_wait.SILENCE_S", 0.05)
    plan = plan_of()
    with stub_network(tmp_path / "n", Era(EXPIRY_UNIX_MS - 15_000, 10_000)) as network, Client(network.urls) as client:
        session = network.session(client)
        await_expiry(Output(as_json=True), session, plan)
        assert session.chain_unix_ms() >= plan.expiry_unix_ms
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("Waiting for the expiry: ") >= 2


@pytest.mark.parametrize("command", ["replay", "demo"])
def test_the_help_of_a_replay_does_not_wait_for_the_kernels(command: str) -> None:
    """Importing numba takes half a second."""
    program = (
        "import sys; from click.testing import CliRunner; from cli.main import novate; "
        f"assert CliRunner().invoke(novate, ['{command}', '--help']).exit_code == 0; "
        "assert not {'numba', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
