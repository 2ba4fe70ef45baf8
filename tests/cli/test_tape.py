"""Tapes: exact integers or a refusal that says where."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.replay import read_text
from cli.replay_plan import make_plan
from cli.tape import Sample, expiry_unix_ms, parse_index, parse_price, parse_tape
from cli.tape_generator import GENERATED_EXPIRY, generate_tape
from genesis.errors import Rejected
from genesis.params import ChainParams

HEADER = "trade_id,instrument,price,amount,direction,ts_utc_ms,index_price,mark_price,iv\n"
ROW = "1,BTC-17AUG26-63000-P,0.002,0.1,sell,1786911707538,63064.71,0.0022,16.7\n"
EXPIRY = 1_786_953_600_000


def test_a_row_becomes_exact_integers() -> None:
    """One float on the way, and a premium is a satoshi off."""
    tape = parse_tape(HEADER + ROW)
    (trade,) = tape.trades
    assert (trade.price_ticks, trade.quantity_lots, trade.taker_buys) == (20, 1, False)
    assert trade.premium_minor == 20_000
    series = trade.series
    assert (series.asset, series.expiry, series.right) == ("BTC", "17AUG26", "P")
    assert (series.strike_ticks, series.expiry_unix_ms) == (6_300_000, EXPIRY)
    assert tape.samples == (Sample(1_786_911_707_538, 6_306_471),)


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("0.002", "0.00205", "line 3, column price, the value is not a multiple of 0.0001"),
        ("0.002", "zero", "line 3, column price, the value is not a positive number"),
        ("0.002", "-0.002", "line 3, column price, the value is not a positive number"),
        ("0.002", "nan", "line 3, column price, the value is not a positive number"),
        ("0.002", "1e999999", "line 3, column price, the value is not a positive number"),
        (",0.1,", ",0.15,", "line 3, column amount, the value is not a multiple of 0.1"),
        (",0.1,", ",0,", "line 3, column amount, the value is not a positive number"),
        ("sell", "hold", "line 3, column direction, the value is not one of buy, sell"),
        ("1786911707538", "soon", "line 3, column ts_utc_ms, the value is not a moment"),
        ("1786911707538", "9" * 5_000, "line 3, column ts_utc_ms, the value is not a moment"),
        ("0.002", "0.0_02", "line 3, column price, the value is not a positive number"),
        ("0.002", "٠.٠٠٢", "line 3, column price, the value is not a positive number"),
        ("17AUG26", f"{'9' * 30}AUG26", "line 3, column instrument, the value names no day"),
        ("sell", "x" * 200_000, "line 3 is not CSV: field larger than field limit"),
        ("1786911707538", "1786911707537", "line 3, column ts_utc_ms, the value is before the line above"),
        ("1786911707538", "1786953600000", "line 3, column ts_utc_ms, the value is not before the expiry"),
        ("63064.71", "63064.715", "line 3, column index_price, the value is not a multiple of 0.01"),
        ("63064.71", "", "line 3, column index_price, the value is not a positive number"),
        ("-63000-P", "-63000-X", "line 3, column instrument, the value is not of the form"),
        ("-63000-P", "-P", "line 3, column instrument, the value is not of the form"),
        ("17AUG26", "31FEB26", "line 3, column instrument, the value names no day"),
        ("17AUG26", "17ZZZ26", "line 3, column instrument, the value names no day"),
        ("63000", "six", "line 3, column instrument, the value names no strike"),
        (",16.7", "", "line 3 has 8 fields where the header has 9"),
    ],
)
def test_each_fault_in_a_row_is_named_by_line_and_column(old: str, new: str, where: str) -> None:
    """Somebody has to find it in a file of a million lines."""
    with pytest.raises(Rejected) as refused:
        parse_tape(HEADER + ROW + ROW.replace(old, new, 1), "tape.csv")
    assert refused.value.code == "bad_tape"
    assert f"In tape.csv, {where}" in refused.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, these columns are missing: instrument, price"),
        (HEADER.replace("amount,", ""), "line 1, these columns are missing: amount"),
        (HEADER, "there are no rows"),
    ],
)
def test_a_file_that_is_no_tape_is_refused(text: str, message: str) -> None:
    """The wrong file is the most common mistake."""
    with pytest.raises(Rejected, match=message):
        parse_tape(text)


def test_columns_are_found_by_name() -> None:
    """Other collectors of the same records order them otherwise."""
    text = "price,instrument,index_price,ts_utc_ms,direction,amount\n0.002,BTC-17AUG26-63000-P,63064.71,5,sell,0.1\n"
    assert parse_tape(text).trades[0].price_ticks == 20


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_systems_line_ends_are_read(ending: str) -> None:
    """A spreadsheet of another system writes CR alone."""
    assert len(parse_tape((HEADER + ROW + ROW).replace("\n", ending)).trades) == 2


GZIP = gzip.compress((HEADER + ROW * 100).encode(), mtime=0)


@pytest.mark.parametrize(
    "content",
    [GZIP[:-20], GZIP[:10] + b"\xff" * 20 + GZIP[30:], GZIP[:-8] + bytes(8), b"not gzip", gzip.compress(b"\xff")],
    ids=["cut off", "damaged", "wrong checksum", "another file", "not text"],
)
def test_a_damaged_compressed_tape_is_refused(tmp_path: Path, content: bytes) -> None:
    """Downloads break off; half a tape must not pass for one, nor end in a traceback."""
    (tmp_path / "tape.csv.gz").write_bytes(content)
    with pytest.raises(Rejected, match=r"^bad_tape: tape\.csv\.gz is"):
        read_text(tmp_path / "tape.csv.gz")
    (tmp_path / "tape.csv.gz").write_bytes(GZIP)
    assert read_text(tmp_path / "tape.csv.gz") == HEADER + ROW * 100


def test_the_last_price_of_an_instant_stands() -> None:
    """An oracle can report an instant once."""
    tape = parse_tape(HEADER + ROW + ROW.replace("63064.71", "63064.75"))
    assert tape.samples == (Sample(1_786_911_707_538, 6_306_475),)


def test_an_index_file_has_two_columns() -> None:
    """It replaces the samples of the tape alone."""
    assert parse_index("ts_utc_ms,price\n5,63000\n7,63000.5\n") == (Sample(5, 6_300_000), Sample(7, 6_300_050))
    with pytest.raises(Rejected, match="line 2, column price"):
        parse_index("ts_utc_ms,price\n5,0.001\n")


@pytest.mark.parametrize(("text", "ticks"), [("63486.06", 6_348_606), ("1", 100), ("60000.5", 6_000_050)])
def test_a_price_is_read_in_cents(text: str, ticks: int) -> None:
    """`--settlement-price` goes to the oracles as it was typed."""
    assert parse_price(text) == ticks


@pytest.mark.parametrize("text", ["0", "-5", "63486.065", "inf", "nan", "many", "", "6_3", "٦٣"])
def test_what_is_no_price_is_refused(text: str) -> None:
    """A wrong settlement price settles real positions."""
    with pytest.raises(Rejected, match="at most two decimals"):
        parse_price(text)


@pytest.mark.parametrize(
    ("name", "moment"), [("17AUG26", EXPIRY), ("3APR26", 1_775_203_200_000), ("AUG26", None), ("", None)]
)
def test_an_expiry_is_at_eight_utc(name: str, moment: int | None) -> None:
    """The convention of the exchange whose names these are."""
    assert expiry_unix_ms(name) == moment


def test_the_generated_tape_is_the_same_every_time_and_exercises_everything() -> None:
    """The demo without a file must show what the demo with one shows."""
    assert generate_tape() == generate_tape()
    tape = parse_tape(generate_tape())
    plan = make_plan(tape, ChainParams())
    assert plan.expiry == GENERATED_EXPIRY
    assert {(each.trade.taker_buys, each.trade.series.right) for each in plan.trades} == {
        (buys, right) for buys in (True, False) for right in "CP"
    }
    window = plan.expiry_unix_ms - ChainParams().settlement_window_ms
    assert sum(each.ts_unix_ms >= window for each in plan.samples) >= 5
    assert len(plan.series) >= 10


def test_the_real_tape_is_read_whole(shared_data: Callable[[str], Path]) -> None:
    """The figures of the data's own description."""
    tape = parse_tape(shared_data("market/deribit_btc_option_trades_20260817.csv").read_text())
    plan = make_plan(tape, ChainParams(), "17AUG26")
    assert (len(tape.trades), len(plan.trades), len(plan.series)) == (560, 277, 11)
    assert tape.expiries[0] == "17AUG26"
