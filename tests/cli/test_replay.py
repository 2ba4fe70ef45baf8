"""A whole replay against the real state machine, behind a stub of the network, and an independent calculation."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.client import Client
from cli.main import novate
from cli.replay_drive import drive
from cli.replay_journal import DIRECTORY
from cli.replay_plan import MEMBERS, make_plan, parties
from cli.replay_report import MemberTotal, is_conserved
from cli.replay_wait import SETTLEMENT_PATIENCE_S, await_settlement
from cli.session import Session
from cli.tape import parse_tape
from cli.tape_generator import GENERATED_EXPIRY, generate_tape
from cli.testnet_files import Era
from genesis.errors import Rejected
from genesis.params import ChainParams
from tests.cli.stub_chain import StubNetwork, stub_network, time_that_jumps

SPEED = 500
EXPIRY = 1_786_953_600_000
SATOSHI = 100_000_000
START = EXPIRY - 42_000_000
GENERATED_EXPIRY_UNIX_MS = 1_790_323_200_000
GENERATED_START = GENERATED_EXPIRY_UNIX_MS - 42_000_000
TAPE = "market/deribit_btc_option_trades_20260817.csv"


def run(*arguments: str) -> Any:
    """The JSON document that a command prints."""
    result = CliRunner().invoke(novate, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def expected_totals(tape: Path, expiry: str, price: Fraction) -> tuple[list[Fraction], list[Fraction]]:
    """Premiums and settlements by member, in satoshi, straight from the file in exact arithmetic."""
    premiums, settlements = [Fraction(0)] * 6, [Fraction(0)] * 6
    with tape.open() as file:
        rows = [row for row in csv.DictReader(file) if row["instrument"].split("-")[1] == expiry]
    for number, row in enumerate(rows):
        taker, maker = parties(number)
        buyer, seller = (taker, maker) if row["direction"] == "buy" else (maker, taker)
        amount = Fraction(row["amount"])
        premium = Fraction(row["price"]) * amount * SATOSHI
        _, _, strike, right = row["instrument"].split("-")
        distance = (price - int(strike)) * (1 if right == "C" else -1)
        payoff = max(Fraction(0), distance) / price * amount * SATOSHI
        premiums[buyer] -= premium
        premiums[seller] += premium
        settlements[buyer] += payoff
        settlements[seller] -= payoff
    return premiums, settlements


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, StubNetwork, Path]]:
    """The generated tape, replayed and settled."""
    directory = tmp_path_factory.mktemp("net")
    tape = tmp_path_factory.mktemp("tape") / "tape.csv"
    tape.write_text(generate_tape())
    with time_that_jumps(), stub_network(directory, Era(GENERATED_START, SPEED)) as network:
        yield run("replay", str(tape), "--dir", str(directory)), network, tape


def test_the_document_has_the_promised_fields(settled: tuple[Any, StubNetwork, Path]) -> None:
    """Scripts rely on them."""
    document, network, _ = settled
    assert document["expiry"] == GENERATED_EXPIRY
    assert document["trades"] == 320
    assert document["conserved"] is True
    assert list(document["members"]) == list(MEMBERS)
    assert len(document["state_root"]) == 64
    assert document["height"] <= network.chain.state.height
    assert document["samples"] + document["samples_refused"] == 320
    assert document["samples"] > 200


def test_member_totals_equal_an_independent_calculation(settled: tuple[Any, StubNetwork, Path]) -> None:
    """To within one satoshi a position; premiums exactly."""
    document, _, tape = settled
    premiums, settlements = expected_totals(tape, GENERATED_EXPIRY, Fraction(str(document["settlement_price"])))
    for member, premium, settlement in zip(MEMBERS, premiums, settlements, strict=True):
        found = document["members"][member]
        assert found["premium_minor"] == premium
        assert abs(found["settlement_minor"] - settlement) <= document["series"]
        assert found["final_minor"] == found["premium_minor"] + found["settlement_minor"]
        assert found["balance_minor"] == found["deposit_minor"] + found["final_minor"]


def test_a_replay_that_has_ended_gives_the_same_report_again(settled: tuple[Any, StubNetwork, Path]) -> None:
    """Who was interrupted between the settlement and the report must still get it; nothing is sent for that."""
    document, network, tape = settled
    posts = network.chain.posts
    again = run("replay", str(tape), "--dir", str(network.testnet.directory))
    assert again == document
    assert network.chain.posts == posts + 1  # the deposits' envelope, which the chain knows


def test_a_replay_of_a_settled_expiry_is_refused_with_advice(
    settled: tuple[Any, StubNetwork, Path], tmp_path: Path
) -> None:
    """The clock of a chain cannot be turned back; the advice says what to start instead."""
    _, network, tape = settled
    other = tmp_path / "other"
    shutil.copytree(network.testnet.directory, other, ignore=shutil.ignore_patterns(DIRECTORY))
    result = CliRunner().invoke(novate, ["replay", str(tape), "--dir", str(other), "--json"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "too_late" in result.stderr
    assert "novate testnet up --detach --replay-from 17902" in result.stderr


def test_a_trade_that_comes_after_the_expiry_says_that_the_clock_is_too_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine loses the race against a fast clock: that is no fault of an account; a slower clock is advised."""
    tape = tmp_path / "tape.csv"
    tape.write_text(generate_tape())

    def drive_late(session: Session, parties: Any, plan: Any, journal: Any, wait: Any, advance: Any) -> None:
        wait(GENERATED_EXPIRY_UNIX_MS + 1_000)
        drive(session, parties, plan, journal, wait, advance)

    monkeypatch.setattr("cli.replay.drive", drive_late)
    with time_that_jumps(), stub_network(tmp_path / "net", Era(GENERATED_START, SPEED)) as network:
        result = CliRunner().invoke(novate, ["replay", str(tape), "--dir", str(network.testnet.directory), "--json"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[too_late]" in result.stderr
    assert "The series has expired." in result.stderr
    assert f"--speed {SPEED // 2} --dir NEW" in result.stderr


def test_the_real_tape_settles_on_its_own_index(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Within 6 bp of the official delivery price, and every member's money right to a satoshi a position."""
    tape = shared_data(TAPE)
    with time_that_jumps(), stub_network(tmp_path, Era(START, SPEED)):
        document = run("replay", str(tape), "--dir", str(tmp_path), "--expiry", "17AUG26")
    price = Fraction(str(document["settlement_price"]))
    assert abs(price / Fraction("63486.06") - 1) < Fraction(6, 10_000)
    assert (document["trades"], document["series"], document["source"]) == (277, 11, "time_weighted")
    premiums, settlements = expected_totals(tape, "17AUG26", price)
    for member, premium, settlement in zip(MEMBERS, premiums, settlements, strict=True):
        assert document["members"][member]["premium_minor"] == premium
        assert abs(document["members"][member]["settlement_minor"] - settlement) <= 11


def test_a_second_expiry_settles_on_the_same_testnet_at_a_dictated_price(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Set-up is repeated without harm, and the oracles report exactly what was asked for."""
    tape = str(shared_data(TAPE))
    quick = ChainParams(settlement_delay_ms=500)
    with time_that_jumps(), stub_network(tmp_path, Era(EXPIRY - 15_000_000, SPEED), quick) as network:
        run("replay", tape, "--dir", str(tmp_path), "--expiry", "17AUG26", "--settlement-price", "64000")
        first = network.chain.state.height
        # The 18AUG26 expiry has one trade in the tape.
        second = run("replay", tape, "--dir", str(tmp_path), "--expiry", "18AUG26", "--settlement-price", "65000.5")
    assert second["settlement_price"] == 65000.5
    assert (second["trades"], second["conserved"]) == (1, True)
    assert second["height"] > first


def test_a_price_outside_the_band_is_refused_before_anything_trades(tmp_path: Path) -> None:
    """Collateral is computed on the band; the refusal names it."""
    tape = tmp_path / "tape.csv"
    tape.write_text(generate_tape())
    with stub_network(tmp_path / "net", Era(GENERATED_START, SPEED)) as network:
        arguments = ["replay", str(tape), "--dir", str(network.testnet.directory), "--settlement-price", "1"]
        result = CliRunner().invoke(novate, arguments)
        assert not network.chain.state.balances.rows
    assert result.exit_code == 1
    assert "price_outside_band" in result.stderr


def test_samples_that_are_old_are_sent_and_what_the_chain_refuses_is_counted(tmp_path: Path) -> None:
    """The chain takes an instant for as long as an unsettled expiry needs it; a client that drops it decides alone."""
    tape = tmp_path / "tape.csv"
    tape.write_text(generate_tape())
    params = ChainParams(settlement_delay_ms=1)
    era = Era(GENERATED_EXPIRY_UNIX_MS - 6_000_000, SPEED)
    with time_that_jumps(), stub_network(tmp_path / "net", era, params) as network:
        document = run("replay", str(tape), "--dir", str(network.testnet.directory))
    needed = GENERATED_EXPIRY_UNIX_MS - params.settlement_reach_ms
    in_reach = sum(each.ts_unix_ms >= needed for each in make_plan(parse_tape(generate_tape()), params).samples)
    assert in_reach <= document["samples"] < 320
    assert document["refusals"] == {"sample_too_old": 320 - document["samples"]}
    assert document["samples_refused"] == 320 - document["samples"]


def test_a_settlement_is_awaited_through_a_silence_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quorum that restarts around the expiry answers nothing for a while, and settles after all."""
    plan = make_plan(parse_tape(generate_tape()), ChainParams())
    with stub_network(tmp_path, Era(plan.expiry_unix_ms - 1, SPEED)) as network, Client(network.urls) as client:
        session = network.session(client)
        settled = {"complete": 1, "series": []}
        answers: list[Any] = [Rejected("unreachable", "Planted."), Rejected("not_settled", "Not yet."), settled]

        def get(path: str) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Rejected):
                raise answer
            return answer

        monkeypatch.setattr(client, "get", get)
        assert await_settlement(session, plan) == settled


def test_a_network_that_stays_silent_is_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends; the reason is the silence, not the expiry."""
    monkeypatch.setattr("cli.replay_wait.SETTLEMENT_PATIENCE_S", 0.0)
    plan = make_plan(parse_tape(generate_tape()), ChainParams(settlement_grace_ms=1))
    with stub_network(tmp_path, Era(plan.expiry_unix_ms + 10**9, SPEED)) as network, Client(network.urls) as client:
        session = network.session(client)
        error = Rejected("unreachable", "Planted.")

        def get(path: str) -> Any:
            raise error

        monkeypatch.setattr(client, "get", get)
        with pytest.raises(Rejected, match="unreachable: Planted"):
            await_settlement(session, plan)


def test_a_stall_of_tens_of_seconds_is_within_patience() -> None:
    """Leaders killed one after another, their timeouts grown, and a restart: each takes its seconds."""
    stall_ms = 2 * ChainParams().view_timeout_ms_max + 30_000
    assert stall_ms / 1_000 < SETTLEMENT_PATIENCE_S


@pytest.mark.parametrize(
    ("finals", "conserved"),
    [
        (((5, -2, 3), (-5, 2, -3)), True),
        (((5, -2, 4), (-5, 2, -3)), False),
        (((5, -2, 3), (-4, 2, -2)), False),
        (((5, -1, 4), (-5, 2, -3)), False),
    ],
)
def test_conserved_means_every_sum_is_zero(finals: tuple[tuple[int, int, int], ...], conserved: bool) -> None:
    """One satoshi made or lost must turn the flag."""
    members = [MemberTotal(premium, settlement, 0, 0, final) for premium, settlement, final in finals]
    assert is_conserved(members) is conserved
