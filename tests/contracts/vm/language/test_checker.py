"""The sense of a text: names, types, ranges, paths; and where what makes no sense stands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cli.advice import advice_for
from contracts.vm.language.checker import check_contract
from contracts.vm.language.compiler import compile_text
from contracts.vm.language.parser import parse_contract
from genesis.errors import Rejected
from tests.contracts.vm.language.texts import ROOT, framed, place

DECLARATIONS = [
    ("let x = lost", "unknown_name", 9, "There is no 'lost'."),
    ("let x = qq + q", "unknown_name", 9, "Did you mean 'q'?"),
    ("let q = m", "name_taken", 5, "'q' is already a parameter, declared in line 7."),
    ("lock hodler m", "unknown_name", 6, "Did you mean 'holder'?"),
    ("lock q m", "wrong_type", 6, "'q' is a parameter; expected a party."),
    ("lock writer p", "wrong_type", 13, "What is locked is money; this is of type price."),
    ("lock writer 5", "no_type", 13, "nothing says of which asset"),
    ("lock writer INDEX", "wrong_type", 13, "'INDEX' is a feed and has no value."),
    ("let x = m + c", "wrong_type", 13, "here money CASH; this is of type money COIN"),
    ("let x = m + t", "wrong_type", 13, "here money CASH; this is of type time"),
    ("let x = b + b", "wrong_type", 9, "'+' and '-' is for numbers"),
    ("let x = m < p", "wrong_type", 13, "What is compared is of one type"),
    ("let x = writer < holder", "wrong_type", 9, "'<' is for numbers"),
    ("let x = 3", "no_type", 9, "let NAME: TYPE"),
    ("let x = 1 < 2", "no_type", 9, "nothing gives this number one"),
    ("let x = max(1, 2)", "no_type", 9, "needs a type"),
    ("let x: time = 3", "wrong_type", 15, "'5s', '30m', '2h' or '7d'"),
    ("let x: ratio = 3", "wrong_type", 16, "'2.5%' or '0.25x'"),
    ("let x: bool = 1", "wrong_type", 15, "A bare number cannot be of type bool."),
    ("let x = m * p", "wrong_type", 9, "money CASH times price has no unit"),
    ("let x = m * r", "bad_rounding", 9, "A product with a ratio is rounded"),
    ("let x = m * q round down", "bad_rounding", 9, "nothing to round"),
    ("let x = m * p / c round down", "wrong_type", 9, "The units of money CASH * price / money COIN"),
    ("let x = m * p / p", "bad_rounding", 9, "A division is rounded"),
    ("let x = m / p round down", "wrong_type", 9, "The units of money CASH / price do not fit"),
    ("let x = b * q", "wrong_type", 9, "'*' and '/' is for numbers"),
    ("let x = not m", "wrong_type", 13, "What follows 'not' is of type bool"),
    ("let x = b and m", "wrong_type", 15, "A part of 'and' is of type bool"),
    ("let x = if m then p else p", "wrong_type", 12, "What follows 'if' is of type bool"),
    ("let x = if b then p else m", "wrong_type", 26, "Both sides of a choice are of one type"),
    ("let x = mean(p) round down", "wrong_type", 9, "'mean' is of one window of prices."),
    ("let x = min(p)", "wrong_type", 9, "of two values or more, or of one window"),
    ("let x = " + "q * " * 16 + "q", "too_many", 9, "too many factors"),
    ("parameter x: price", "bad_range", 11, "add 'in LOW..HIGH'"),
    ("parameter x: price in 5..4", "bad_range", 23, "The range is empty"),
    ("parameter x: price in 1h..2h", "wrong_type", 23, "This is no price"),
    ("parameter x: bool in 0..1", "bad_range", 22, "A bool has no range."),
    ("parameter x: money GOLD in 0..1", "unknown_name", 20, "expected an asset"),
    (" ".join(f"party x{n}" for n in range(7)), "too_many", 61, "There are too many parties."),
    ("asset GOLD rest to q", "wrong_type", 20, "expected a party"),
    ("observe x: price of NDEX at t until t in 1..2", "unknown_name", 21, "Did you mean 'INDEX'?"),
    ("observe x: 1 prices of INDEX from t every 1h until t in 1..2", "bad_range", 9, "from 2 to 512 prices"),
    ("observe x: 513 prices of INDEX from t every 1h until t in 1..2", "bad_range", 9, "prices=513"),
    ("observe x: price of INDEX at p until t in 1..2", "wrong_type", 30, "The time of a price is of type time"),
    ("observe x: price of INDEX at t until t in 1..2", "never_used", 9, "Nothing waits for 'x'"),
    ("election x: price by holder from t until t in 1..2", "wrong_type", 13, "of type bool or quantity"),
    ("election x: quantity by holder from t until t", "bad_range", 10, "needs a range"),
    ("election x: quantity by holder from t until t in -1..1", "bad_range", 10, "less than nothing"),
    ("election x: bool by holder from t until t locks p", "wrong_type", 49, "What an election locks is money"),
    ("lock writer m " * 17, "too_many", 230, "There are too many locks."),
]


@pytest.mark.parametrize(("text", "code", "column", "reason"), DECLARATIONS)
def test_a_declaration_without_sense_is_shown_where_it_stands(text: str, code: str, column: int, reason: str) -> None:
    """Units and names are checked before anything can be locked on them."""
    with pytest.raises(Rejected) as refused:
        check_contract(parse_contract(framed(text)))
    assert (refused.value.code, *place(refused.value)) == (code, 14, column), refused.value
    assert reason in str(refused.value)


IN_BLOCKS = [
    ({"in_w": "pay c * s / p round down to holder"}, "not_yet_known", 18 + 1, "only inside 'when s arrives { ... }'"),
    ({"in_s": "let x = mean(w) round down"}, "not_yet_known", 18, "'w' is known only inside"),
    ({"in_s": "let x = s", "in_w": "let y = x"}, "unknown_name", 19, "There is no 'x'."),
    ({"in_w": "let x = w + p"}, "wrong_type", 19, "take its mean, min, max, first or last"),
    ({"in_w": "let x = mean(w)"}, "bad_rounding", 19, "A mean is rounded"),
    ({"in_w": "let x = mean(w, p) round down"}, "wrong_type", 19, "'mean' is of one window"),
    ({"in_s": "if s { }"}, "wrong_type", 18, "What follows 'if' is of type bool; this is of type price"),
    ({"in_s": "pay m to q"}, "wrong_type", 18, "Who is paid is of type party"),
    ({"in_s": "pay 3 to holder"}, "no_type", 18, "nothing says of which asset"),
    ({"in_s": "pay s to holder"}, "wrong_type", 18, "What is paid is money"),
    ({"in_s": "close pay m to holder"}, "not_reached", 18, "every path has closed before it"),
    ({"in_e": "if e { close } else { close } close"}, "not_reached", 20, "never reached"),
    ({"in_s": "when q arrives { } timeout { }"}, "wrong_type", 18, "'q' is a parameter; expected an observation"),
    ({"in_s": "let s = p"}, "name_taken", 18, "'s' is already an observation"),
    ({"in_s": "let x = e"}, "not_yet_known", 18, "only inside 'when e arrives"),
]


@pytest.mark.parametrize(("blocks", "code", "line", "reason"), IN_BLOCKS)
def test_a_statement_without_sense_is_shown_where_it_stands(
    blocks: dict[str, str], code: str, line: int, reason: str
) -> None:
    """A price that has not arrived must not be readable, on any path."""
    with pytest.raises(Rejected) as refused:
        check_contract(parse_contract(framed(**blocks)))
    assert (refused.value.code, place(refused.value)[0]) == (code, line), refused.value
    assert reason in refused.value.message


WHOLES = [
    ("contract c\nparty w\nasset A rest to w\n", "no_close", (1, 10)),
    ("contract c\nparty w\nasset A rest to w\nlet x: money A = 3\npay x to w\n", "no_close", (5, 1)),
    ("contract c\nparty w\nclose", "too_few", (1, 10)),
    ("contract c\nclose", "too_few", (1, 10)),
]


@pytest.mark.parametrize(("text", "code", "where"), WHOLES)
def test_a_contract_has_parties_an_asset_and_an_end(text: str, code: str, where: tuple[int, int]) -> None:
    """Money that no path releases would be stuck for ever."""
    with pytest.raises(Rejected) as refused:
        check_contract(parse_contract(text.encode()))
    assert (refused.value.code, place(refused.value)) == (code, where)


SENSE = [
    "let x = m * p / p round up let y = p * m / p round down",
    "let x = m * 2 / 3 round down + 5 let y = 1 + 2 * m",
    "let x = m * p / 100 round down let y = m * p / 3 ticks round down",
    "let x = m + 5 * p / p round half_even",
    "let x = m * r round up let y = q * m * r round up let z = r * r round down",
    "let x = m / m round down + 5% let y = m / q round down + m let z = m / 2x round down + m let u = q / q round up",
    "let x = p * q + 3 let y = t + q * 2h let z = t - t < 5s",
    "let x = if b then writer else holder let y = b == (p > 3 and not b) let z = x == writer",
    "let x: quantity = 3 let y: money COIN = max(-1, 2) let z: price = if b then 1 else -(2 + 3)",
    "let x = max(0, p, 3, p - 2) let y = min(p, -p)",
    "let x: money CASH = 1_000 * p / p round down",
    "election x: quantity by writer from t until t + 1h in 0..5 locks q * m lock writer if b then m else 3",
]


@pytest.mark.parametrize("text", SENSE)
def test_what_makes_sense_is_compiled(text: str) -> None:
    """The rules of units must not forbid what is meant; bare numbers take the type that is asked for."""
    awaited = {"in_s": "when x arrives { } timeout { }"} if "election x" in text else {}
    assert compile_text(framed(text, **awaited)).program.code


def test_a_name_of_one_block_may_be_used_again_in_the_next() -> None:
    """Blocks are apart; a contract with two cases may call both results the same."""
    assert compile_text(framed(in_s="let x = s if x > 3 { let y = x }", in_e="let x = m let y = x"))


def test_every_refusal_of_the_language_has_advice() -> None:
    """`novate` prints a next step under each; these codes stand in calls of `fault`, where no other test looks."""
    codes = set()
    for file in sorted(Path(ROOT / "contracts" / "vm" / "language").glob("*.py")):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "fault" and call.args:
                code = call.args[0]
                codes |= {code.value} if isinstance(code, ast.Constant) else set()
    assert len(codes) > 12
    assert [code for code in sorted(codes) if not advice_for(str(code))] == []
