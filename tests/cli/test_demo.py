"""The demo: its clock fits any tape, it knows the official price, and the whole of it settles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.demo import REPLAY_WALL_S, SLOW_REPLAY_WALL_S, find_official_price, speed_for
from cli.main import novate
from cli.replay_plan import MEMBERS, Plan, make_plan
from cli.tape import parse_tape
from cli.tape_generator import generate_tape
from genesis.errors import Rejected
from genesis.params import ChainParams
from tests.cli.test_replay import expected_totals

TAPE = "market/deribit_btc_option_trades_20260817.csv"


def generated_plan() -> Plan:
    """The plan of the default tape."""
    return make_plan(parse_tape(generate_tape()), ChainParams())


def test_the_speed_makes_any_tape_take_about_as_long() -> None:
    """Nobody waits for a day of tape; a tape of a minute need not run faster than the wall."""
    plan = generated_plan()
    span_s = (plan.expiry_unix_ms - plan.trades[0].trade.ts_unix_ms) / 1_000
    assert REPLAY_WALL_S - 1 < span_s / speed_for(plan) <= REPLAY_WALL_S
    row = f"BTC-25SEP26-60000-C,0.01,0.1,buy,{plan.expiry_unix_ms - 5_000},60000"
    short = parse_tape(f"instrument,price,amount,direction,ts_utc_ms,index_price\n{row}\n")
    assert speed_for(make_plan(short, ChainParams())) == 1


@pytest.mark.parametrize(
    ("row", "price"),
    [("btc_usd,2026-09-25,60000.5", "60000.5"), ("btc_usd,2026-09-24,1", None), ("eth_usd,2026-09-25,1", None)],
)
def test_the_official_price_is_found_by_index_and_day(tmp_path: Path, row: str, price: str | None) -> None:
    """Another day's price beside ours would look like an error of ours."""
    (tmp_path / "deribit_delivery_prices_public.csv").write_text(f"index,date,delivery_price\n{row}\n")
    assert find_official_price(tmp_path, generated_plan()) == price
    assert find_official_price(tmp_path / "elsewhere", generated_plan()) is None


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\n", b"index\n" + b"x" * 200_000])
def test_a_file_that_states_no_prices_has_no_price(tmp_path: Path, content: bytes) -> None:
    """It only lies beside the tape, and nobody asked for it."""
    (tmp_path / "deribit_delivery_prices_public.csv").write_bytes(content)
    assert find_official_price(tmp_path, generated_plan()) is None


@pytest.mark.parametrize(("losses", "code"), [(1, 0), (2, 1)])
def test_a_demo_whose_expiry_came_too_soon_is_given_a_slower_clock_once(
    losses: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine is no reason to fail the first command that anybody tries; one that stays too slow is told so."""
    clocks: list[int] = []

    def show(*arguments: Any) -> None:
        clocks.append(next(each for each in arguments if each in (REPLAY_WALL_S, SLOW_REPLAY_WALL_S)))
        if len(clocks) <= losses:
            raise Rejected("too_late", "Planted.")

    monkeypatch.setattr("cli.demo._show", show)
    result = CliRunner().invoke(novate, ["demo", "--exit"])
    assert (result.exit_code, clocks) == (code, [REPLAY_WALL_S, SLOW_REPLAY_WALL_S])
    assert "Again, with a slower clock." in result.stdout


@pytest.mark.process
def test_the_demo_settles_the_real_tape(shared_data: Callable[[str], Path]) -> None:
    """Four equal roots, the official price beside ours, and every member's money right to a satoshi a position."""
    tape = shared_data(TAPE)
    command = [sys.executable, "-m", "cli.main", "demo", "--tape", str(tape), "--exit", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    document: Any = json.loads(done.stdout)
    assert document["agreed"]
    assert document["conserved"]
    assert document["official_price"] == 63486.06
    assert document["coverage_ppm"] > 250_000
    price = Fraction(str(document["settlement_price"]))
    assert abs(price / Fraction("63486.06") - 1) < Fraction(6, 10_000)
    premiums, settlements = expected_totals(tape, "17AUG26", price)
    for member, premium, settlement in zip(MEMBERS, premiums, settlements, strict=True):
        assert document["members"][member]["premium_minor"] == premium
        assert abs(document["members"][member]["settlement_minor"] - settlement) <= 11
