"""``novate price``: one option, files of them, errors by row, and simulation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import novate
from cli.price import OPTIONS
from cli.price_rows import BYTES_MAX, COLUMNS, price_rows, read_table
from contracts.pricing.catalogue import EXERCISES, KINDS, MODELS
from contracts.pricing.inputs import RANGES
from contracts.pricing.vanilla import black_scholes_greeks
from genesis.errors import Rejected
from tests.contracts.pricing.vectors import NEEDS_DATA, european_tables

ONE = ["--right", "call", "--spot", "100", "--strike", "95.5", "--r", "0.05", "--t-years", "0.75", "--vol", "0.2"]
ROW = {
    "kind": "vanilla",
    "right": "call",
    "spot": "100",
    "strike": "95.5",
    "r": "0.05",
    "t_years": "0.75",
    "vol": "0.2",
}
TERMS: dict[str, dict[str, str]] = {
    "barrier": {"barrier_kind": "down_out", "barrier": "90"},
    "double_barrier": {"barrier_kind": "out", "barrier": "80", "barrier_high": "130"},
    "digital_cash": {"cash": "10"},
    "gap": {"second_strike": "97"},
    "asian_arithmetic": {"fixings": "4", "first_fixing_years": "0.1"},
    "asian_geometric": {"fixings": "4", "first_fixing_years": "0.1"},
}
"""What a kind needs besides the columns of `ROW`."""


def price(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(novate, ["price", *arguments], input=given)


def rows_of(*rows: dict[str, str], greeks: bool = False) -> list[dict[str, Any]]:
    """Answers for rows given by column."""
    return price_rows(COLUMNS, [[row.get(name, "") for name in COLUMNS] for row in rows], greeks=greeks)


def exact(greeks: str) -> float:
    found = black_scholes_greeks(right=1.0, spot=100.0, strike=95.5, q=0.0, r=0.05, t_years=0.75, vol=0.2)
    return float(getattr(found, greeks)[0])


def test_one_option_is_priced_in_full_precision() -> None:
    """A reader of the JSON document must get the very number that was computed."""
    document = json.loads(price(*ONE, "--greeks", "--json").stdout)
    assert document == {"rows": [{name: exact(name) for name in ("price", "delta", "gamma", "vega", "theta", "rho")}]}
    assert json.loads(price(*ONE, "--json").stdout) == {"rows": [{"price": exact("price")}]}


def test_people_get_a_table() -> None:
    """Ten digits, one line a greek."""
    lines = price(*ONE, "--greeks").stdout.splitlines()
    assert lines[:2] == ["vanilla", f"  price  {exact('price'):.10g}"]
    assert len(lines) == 7


def test_every_column_is_an_option_and_every_number_has_a_range() -> None:
    """A file and the options describe the same things by the same names."""
    assert tuple(name.replace("-", "_") for name, _ in OPTIONS) == COLUMNS
    assert set(COLUMNS) - set(RANGES) == {"kind", "exercise", "barrier_kind"}
    assert {name for model in MODELS.values() for name in model.columns} <= set(COLUMNS)


@pytest.mark.parametrize(("kind", "exercise"), sorted(MODELS))
def test_every_model_answers_from_text(kind: str, exercise: str) -> None:
    """A model that only its own tests can reach prices nothing."""
    row = {**ROW, "kind": kind, "exercise": exercise, **TERMS.get(kind, {})}
    model = MODELS[kind, exercise]
    for name in model.barrier_kinds or [""]:
        found = rows_of(row | {"barrier_kind": name}, greeks=True)[0]
        assert set(found) == {"price", "delta", "gamma", "vega", "theta", "rho"}, found
        assert all(math.isfinite(x) for x in found.values())
        assert 0.0 <= found["price"] <= 100.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exercise", EXERCISES)
def test_what_no_model_covers_is_said_to_be_unsupported(kind: str, exercise: str) -> None:
    """A wrong model's price would look like an answer."""
    found = rows_of({**ROW, "kind": kind, "exercise": exercise, **TERMS.get(kind, {})})[0]
    if (kind, exercise) in MODELS:
        assert "price" in found
    else:
        assert found == {"error": f"not supported: {exercise} {kind}"}


WRONG = [
    ({"kind": "swap"}, "kind 'swap' is not supported; it must be one of vanilla, "),
    ({"exercise": "bermudan"}, "exercise 'bermudan' is not supported; it must be one of european, american"),
    ({"right": "c"}, "right is 'c'; it must be call or put"),
    ({"spot": ""}, "spot is empty; vanilla needs it"),
    ({"strike": ""}, "strike is empty; vanilla needs it"),
    ({"strike": "nan"}, "strike is 'nan'; it must be a number"),
    ({"vol": "20%"}, "vol is '20%'; it must be a number"),
    ({"spot": "1_00"}, "spot is '1_00'; it must be a number"),
    ({"spot": "\u0661\u0660\u0660"}, "spot is '\u0661\u0660\u0660'; it must be a number"),
    ({"vol": "inf"}, "vol is inf; it must be from 0 to 10"),
    ({"spot": "-5"}, "spot is -5; it must be from 1e-09 to 1e+12"),
    ({"kind": "barrier", "barrier": "90"}, "barrier_kind is ''; for barrier it must be one of down_out, "),
    ({"kind": "asian_arithmetic", "first_fixing_years": "-.25"}, "average_so_far is empty; averaging from -0.25 years"),
    (
        {"kind": "asian_arithmetic", "average_so_far": "150"},
        "average_so_far is 150 and first_fixing_years is empty; it needs",
    ),
    (
        {"kind": "asian_geometric", "average_so_far": "150", "fixings": "10"},
        "average_so_far is 150 and first_fixing_years is empty; it needs",
    ),
    (
        {"kind": "asian_arithmetic", "average_so_far": "150", "first_fixing_years": ".1"},
        "average_so_far has a meaning where first_fixing_years is at or below 0, or t_years is 0; here average_so_far",
    ),
    ({"kind": "asian_arithmetic", "average_so_far": "150", "fixings": "1"}, "average_so_far has a meaning where"),
    ({"kind": "barrier", "barrier_kind": "down_out"}, "barrier is empty; barrier needs it"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG, ids=[each[1][:24] for each in WRONG])
def test_a_bad_row_says_why_and_stops_no_other(change: dict[str, str], reason: str) -> None:
    """One wrong cell in a book of a hundred thousand must not cost the rest."""
    answers = rows_of(ROW, ROW | change, ROW)
    assert set(answers[1]) == {"error"}
    assert answers[1]["error"].startswith(reason)
    assert answers[0] == answers[2] == {"price": exact("price")}


def test_an_empty_cell_is_the_default_of_its_column() -> None:
    """No yield, no rebate, an average over all time from now on, a past that is not known: European, too."""
    full = {"exercise": "european", "q": "0", "rebate": "0", "fixings": "0", "first_fixing_years": "0"}
    full |= {"average_so_far": "0", "extremum_so_far": "0"}
    for kind in ("vanilla", "barrier", "asian_arithmetic", "lookback_floating"):
        row = ROW | {"kind": kind, "barrier_kind": "down_out", "barrier": "90"}
        short, long = rows_of(row, row | full)
        assert short == long
        assert "price" in short


def test_fixings_without_a_date_are_spread_over_the_life() -> None:
    """A table of averages seldom dates the first: the N-th part of the life is meant, not now, and a date overrides."""
    for kind in ("asian_arithmetic", "asian_geometric"):
        row = ROW | {"kind": kind, "fixings": "3"}
        blank, dated, now = rows_of(row, row | {"first_fixing_years": ".25"}, row | {"first_fixing_years": "0"})
        assert blank == dated != now


def test_an_average_so_far_is_taken_where_something_is_past() -> None:
    """Only what would not be looked at is refused: a row with a past, at a fixing or at its end has use for it."""
    row = ROW | {"kind": "asian_arithmetic", "average_so_far": "150"}
    changes = (
        {"first_fixing_years": "-.1"}, {"first_fixing_years": "-.1", "fixings": "10"}, {"first_fixing_years": "0"},
        {"first_fixing_years": "0", "fixings": "10"}, {"t_years": "0", "fixings": "10"},
        {"t_years": "0", "fixings": "1"},
    )  # fmt: skip
    past, months, begun, at_one, ended, ended_single = rows_of(*(row | change for change in changes))
    assert begun == rows_of(ROW | {"kind": "asian_arithmetic"})[0], "what has just begun has no weight"
    assert ended == ended_single == {"price": 150.0 - 95.5}
    assert begun["price"] < at_one["price"] < months["price"]
    assert begun["price"] < past["price"]


@pytest.mark.parametrize(("kind", "exercise"), sorted(MODELS))
def test_no_zero_is_negative(kind: str, exercise: str) -> None:
    """A price of -0.0 is read as a loss, and compares unlike its text."""
    base = ROW | {"kind": kind, "exercise": exercise, "strike": "100", "q": "0", **TERMS.get(kind, {})}
    model = MODELS[kind, exercise]
    changes = [
        {"right": right, "r": r, "t_years": t, "vol": vol, "barrier_kind": name, "spot": spot}
        for right in ("call", "put") for r in ("0", "0.1") for t in ("0", "30") for vol in ("0", "0.01", "0.2")
        for name in (model.barrier_kinds or [""]) for spot in ("85", "100", "120")
    ]  # fmt: skip
    for answer in rows_of(*(base | change for change in changes), greeks=True):
        assert not [name for name, value in answer.items() if value == 0.0 and math.copysign(1.0, value) < 0.0]
    prices = [answer.get("price", 1.0) for answer in rows_of(*(base | change for change in changes))]
    assert all(math.copysign(1.0, value) > 0.0 for value in prices if value == 0.0)


def test_names_and_numbers_may_be_written_in_other_ways() -> None:
    """Others write Call, Down-Out, 1E2, blanks after commas and columns without a name; each has one meaning."""
    row = ROW | {"kind": "barrier", "barrier_kind": "down_out", "barrier": "90"}
    other = {
        "kind": " Barrier",
        "right": "CALL ",
        "barrier_kind": "Down-Out",
        "spot": "1E2",
        "vol": " +.2",
        "exercise": "European",
    }
    assert rows_of(row) == rows_of(row | other)
    text = ', Kind, Right,SPOT,strike,r,t_years,"vol",\n  \n0,"vanilla", "Call",1e2, 95.5,5e-2,.75,.2,\n'
    document = json.loads(price("--csv", "-", "--json", given=text).stdout)
    assert document == {"rows": [{"price": exact("price")}]}


TABLES = [
    ("testValues", {"kind": "vanilla"}),
    ("testCashOrNothingEuropeanValues", {"kind": "digital_cash", "cash": "10"}),
    ("testAssetOrNothingEuropeanValues", {"kind": "digital_asset"}),
    ("testGapEuropeanValues", {"kind": "gap", "second_strike": "57"}),
    ("testCashAtHitOrNothingAmericanValues", {"kind": "digital_cash", "exercise": "american", "cash": "15"}),
    ("testAssetAtHitOrNothingAmericanValues", {"kind": "digital_asset", "exercise": "american"}),
]
KEYS = {"spot": "s", "strike": "strike", "q": "q", "r": "r", "t_years": "t", "vol": "v"}


@NEEDS_DATA
@pytest.mark.parametrize(("table", "terms"), TABLES, ids=[each[0] for each in TABLES])
def test_a_published_table_comes_out_of_the_command(table: str, terms: dict[str, str]) -> None:
    """From the text of a file to the document: signs, units and columns are where two right halves go wrong."""
    rows = european_tables()[table]
    lines = [",".join(COLUMNS)]
    for row in rows:
        cells = {"right": row["type"].lower(), **{name: str(row[key]) for name, key in KEYS.items()}, **terms}
        lines.append(",".join(cells.get(name, "") for name in COLUMNS))
    found = json.loads(price("--csv", "-", "--json", given="\n".join(lines)).stdout)["rows"]
    for row, answer in zip(rows, found, strict=True):
        assert answer["price"] == pytest.approx(row["result"], abs=row["tol"]), row


HAUG = """kind,exercise,right,spot,strike,q,r,t_years,vol,barrier_kind,barrier,barrier_high,rebate,extremum_so_far
barrier,european,call,100,90,0.04,0.08,0.5,0.25,down_out,95,,3,
double_barrier,european,call,100,100,0,0.1,0.25,0.15,out,50,150,,
lookback_floating,european,call,120,,0.06,0.1,0.5,0.3,,,,,100
asian_geometric,european,put,80,85,-0.03,0.05,0.25,0.2,,,,,
digital_asset,american,put,105,100,0,0.1,0.5,0.2,,,,,
digital_asset,american,put,95,100,0,0.1,0.5,0.2,,,,,
"""
"""Examples of Haug, The Complete Guide to Option Pricing Formulas: single and double barriers, lookbacks, averages,
and claims at the hit; the last has been hit, so that the asset is worth the spot."""


def test_examples_of_the_literature_come_out_of_the_command() -> None:
    """The columns that only some kinds have, from text to price."""
    rows = json.loads(price("--csv", "-", "--json", given=HAUG).stdout)["rows"]
    assert [each["price"] for each in rows] == pytest.approx([9.0246, 4.3515, 25.3533, 4.6922, 64.8426, 95.0], abs=1e-4)


def test_a_file_is_answered_in_its_order() -> None:
    """Rows are valued by groups; an answer at another row's place is the worst of errors."""
    strikes = [f"{80 + n % 41}" for n in range(300)]
    kinds = ["vanilla", "lookback_fixed", "nonsense", "vanilla"]
    rows = [ROW | {"kind": kinds[n % 4], "strike": strike} for n, strike in enumerate(strikes)]
    assert rows_of(*rows) == [rows_of(row)[0] for row in rows]


def test_a_file_gives_one_document(tmp_path: Path) -> None:
    """Columns in any order, those that no row needs left out, a mark at the beginning, empty lines, Windows' ends."""
    text = (
        "\ufeffvol,kind,right,spot,strike,r,t_years\r\n0.2,vanilla,call,100,95.5,0.05,0.75\r\n\r\n0.2,vanilla,call\r\n"
    )
    file = tmp_path / "book.csv"
    file.write_text(text, newline="")
    expected = [{"price": exact("price")}, {"error": "the row has 3 cells; the header names 7 columns"}]
    for result in (price("--csv", str(file), "--json"), price("--csv", "-", "--json", given=text)):
        assert (result.exit_code, json.loads(result.stdout)) == (0, {"rows": expected})
    lines = price("--csv", str(file)).stdout.splitlines()
    assert lines[2].split() == ["1", f"{exact('price'):.10g}"]
    assert lines[-1] == "Rows in error: 1 of 2."


def test_a_row_or_a_file_without_a_kind_is_vanilla() -> None:
    """As the option's help says of an empty cell."""
    columns = [name for name in ROW if name != "kind"]
    text = ",".join(columns) + "\n" + ",".join(ROW[name] for name in columns) + "\n"
    expected = [{"price": exact("price")}]
    assert rows_of({**ROW, "kind": ""}) == expected
    assert json.loads(price("--csv", "-", "--json", given=text).stdout) == {"rows": expected}


def test_a_file_without_rows_has_no_prices() -> None:
    """What a filter leaves may be nothing, which is no mistake."""
    result = price("--csv", "-", "--json", given=HEADER)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"rows": []})


HEADER = "kind,right,spot,strike,r,t_years,vol\n"
BAD_FILES = [
    ("", "The file is empty"),
    ("\n\n", "The file is empty"),
    (HEADER.replace("strike", "stike") + "a\n", "There is no column 'stike'"),
    (HEADER.replace("\n", ",vol\n") + "a\n", "The column 'vol' stands there twice"),
    (HEADER.replace(",vol", "") + "a\n", "The file has no column 'vol'"),
    (HEADER + '"vanilla', "no CSV in UTF-8"),
]


@pytest.mark.parametrize(("text", "reason"), BAD_FILES, ids=[each[1] for each in BAD_FILES])
def test_a_bad_file_is_refused_with_its_reason(text: str, reason: str) -> None:
    """Exit code 1, nothing on standard output, and what to do."""
    result = price("--csv", "-", "--json", given=text)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"novate: error [price_file]: {reason}" in result.stderr or reason in result.stderr
    assert "what to do" in result.stderr


def test_a_file_over_its_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded before anything is decoded."""
    with pytest.raises(Rejected, match="too large"):
        read_table(bytes(BYTES_MAX + 1))
    with pytest.raises(Rejected, match="no CSV in UTF-8"):
        read_table(b"\xff\xfe")
    monkeypatch.setattr("cli.price_rows.ROWS_MAX", 2)
    with pytest.raises(Rejected, match="too many rows"):
        read_table((HEADER + "vanilla,call,1,1,0,1,0.1\n" * 3).encode())


def test_an_option_that_its_kind_has_no_use_for_is_a_mistake() -> None:
    """Who names a barrier and forgets the kind would take a vanilla price for it; a file's rows share their columns."""
    result = price(*ONE, "--barrier", "90")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--barrier has no meaning for --kind vanilla" in result.stderr
    assert "price" in rows_of({**ROW, "barrier": "90"})[0]


def test_one_option_that_no_model_covers_is_a_failure() -> None:
    """A script tells what cannot be had here from what it has mistyped by the exit code."""
    result = price(*ONE, "--exercise", "american", "--kind", "asian_arithmetic", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not supported: american asian_arithmetic" in result.stderr
    result = price(*ONE[:-2], "--exercise", "american", "--price", "12.3", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not supported: the volatility that the price of american vanilla implies" in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("kind", "basket", "kind 'basket' is not supported"),
        ("exercise", "bermudan", "exercise 'bermudan' is not supported"),
        ("right", "both", "right is 'both'"),
        ("spot", "abc", "spot is 'abc'; it must be a number"),
        ("vol", "-0.2", "vol is -0.2"),
    ],
)
def test_one_option_that_cannot_be_meant_is_wrong_usage(name: str, value: str, reason: str) -> None:
    """Exit code 2, as of every command to which what is no number or no name was typed."""
    result = price(*ONE, f"--{name}", value, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "[price_row]" in result.stderr
    assert reason in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--greeks"], [*ONE, "--csv", "-"], ["--csv", "/no/such/file"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """Neither an option nor a file, or both."""
    assert price(*arguments).exit_code == 2


# --- the volatility that a price implies ------------------------------------------------------------------------------


@pytest.mark.parametrize("right", ["call", "put"])
def test_the_volatility_of_a_price_comes_back(right: str) -> None:
    """What a desk quotes is a premium; the greeks of a position are those at the volatility in it."""
    vols = [0.05, 0.2, 0.731, 3.0, 9.9]
    priced = rows_of(*({**ROW, "right": right, "vol": str(vol)} for vol in vols), greeks=True)
    quotes = [{**ROW, "right": right, "vol": "", "price": repr(each["price"])} for each in priced]
    found = rows_of(*quotes, greeks=True)
    assert [each["vol"] for each in found] == pytest.approx(vols, rel=1e-10)
    for each, expected in zip(found, priced, strict=True):
        assert each["price"] == expected["price"]
        for name in ("delta", "gamma", "vega", "theta", "rho"):
            assert each[name] == pytest.approx(expected[name], rel=1e-9)
    assert rows_of(*quotes) == [{"price": each["price"], "vol": each["vol"]} for each in found]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": "12", "vol": "0.2"}, "vol and price are both given"),
        ({"price": "1"}, "price is 1.0, below its intrinsic value 8.01"),
        ({"price": "100.5"}, "price is 100.5, above its bound 100.0"),
        ({"price": "-1"}, "price is -1"),
        ({"price": "dear"}, "price is 'dear'; it must be a number"),
        ({"price": "12", "strike": ""}, "strike is empty"),
        ({"price": "12", "exercise": "american"}, "not supported: the volatility that the price of american vanilla"),
        ({"price": "12", "kind": "gap"}, "not supported: the volatility that the price of european gap"),
        ({"price": "12", "kind": "swap"}, "kind 'swap' is not supported"),
        ({"price": ""}, "vol is empty"),
    ],
)
def test_a_price_that_implies_no_volatility_says_why(change: dict[str, str], reason: str) -> None:
    """And the rows around it, of either form, have their answers."""
    quote = {**ROW, "vol": "", "price": "12.3"}
    found = rows_of(quote, {**ROW, "vol": "", **change}, ROW)
    assert found[0]["vol"] == pytest.approx(0.23065137468569458, rel=1e-14)
    assert reason in found[1]["error"]
    assert found[2] == {"price": exact("price")}


def test_a_volatility_beyond_what_is_priced_has_no_greeks() -> None:
    """It is the answer to the price; to hedge with it would be to trust a number that no model here is tested for."""
    quote = {**ROW, "vol": "", "price": "99.9999999"}
    assert rows_of(quote)[0]["vol"] == pytest.approx(14.0937, rel=1e-4)
    assert "vol is 14.0937; it must be from 0 to 10" in rows_of(quote, greeks=True)[0]["error"]


def test_a_file_of_quotes_needs_no_volatility_and_shows_what_is_implied() -> None:
    """A column of empty cells would be a form for the form's sake."""
    text = HEADER.replace("vol", "price") + "vanilla,call,100,95.5,0.05,0.75,12.3\nvanilla,put,100,95.5,0.05,0.75,200\n"
    lines = price("--csv", "-", given=text).stdout.splitlines()
    assert lines[1].split() == ["row", "price", "vol", "error"]
    assert lines[2].split() == ["1", "12.3", "0.2306513747"]
    assert lines[3].split()[:3] == ["2", "-", "-"]
    assert "above its bound" in lines[3]


def test_a_volatility_and_a_price_of_one_option_are_wrong_usage() -> None:
    """One of them would be ignored."""
    result = price(*ONE, "--price", "12.3")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Give --vol for the price, or --price for the volatility" in result.stderr


MC = ["mc", "--right", "call", "--spot", "100", "--vol", "0.2", "--r", "0.05", "--t-years", "0.75"]


def simulated(*arguments: str) -> dict[str, Any]:
    result = price(*MC, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_simulation_meets_the_closed_form_whatever_the_threads() -> None:
    """The same bits with any number of workers: the digest says so at a glance."""
    arguments = ["--strike", "95.5", "--paths", "200000", "--seed", "5"]
    one, three = (simulated(*arguments, "--workers", workers) for workers in ("1", "3"))
    assert one == three
    assert abs(one["price"] - exact("price")) < 4 * one["standard_error"]
    assert simulated(*arguments[:-1], "6")["digest"] != one["digest"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--strike", "100", "--kind", "asian_arithmetic", "--fixings", "12", "--sampler", "sobol", "--paths", "1600"],
        ["--strike", "100", "--kind", "asian_geometric", "--fixings", "12"],
        ["--strike", "100", "--kind", "barrier", "--barrier", "90", "--barrier-kind", "down_out", "--fixings", "4"],
        ["--strike", "100", "--kind", "lookback_fixed", "--fixings", "4"],
        ["--kind", "lookback_floating", "--fixings", "4"],
        ["--strike", "95", "--kind", "basket", "--spot", "90", "--vol", "0.3", "--weight", "0.5", "--weight", "0.5"],
    ],
    ids=lambda each: " ".join(each[:4]),
)
def test_every_kind_is_simulated(arguments: list[str]) -> None:
    """Each payoff is reached from the command line."""
    found = simulated("--paths", "2000", *arguments)
    assert 0.0 < 4 * found["standard_error"] < found["price"] < 30.0


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--strike", "100", "--vol", "0.3"], 1, "spots, q and vols must be of one length"),
        (["--strike", "1e13"], 2, "--strike is 10000000000000.0"),
        ([], 2, "needs --strike"),
        (["--strike", "100", "--kind", "barrier"], 2, "needs --barrier"),
        (["--strike", "100", "--barrier", "90"], 2, "--barrier has no meaning for --kind vanilla"),
        (["--strike", "100", "--kind", "lookback_floating"], 2, "--strike has no meaning for --kind lookback_floating"),
        (["--strike", "100", "--kind", "asian_geometric"], 2, "needs --fixings"),
        (["--strike", "100", "--sampler", "sobol", "--fixings", "65", "--paths", "1600"], 1, "dimensions=65"),
        (["--strike", "100", "--cluster", "tls://127.0.0.1:1"], 2, "needs --tls-trusted"),
    ],
)
def test_a_bad_simulation_is_refused(arguments: list[str], code: int, reason: str) -> None:
    """With the reason, before anything is computed."""
    result = price(*MC, *arguments)
    assert result.exit_code == code
    assert reason in result.stderr


def test_keys_of_a_cluster_are_made(tmp_path: Path) -> None:
    """The seven files that `--cluster` and Dask's own programs ask for."""
    files = json.loads(price("keys", str(tmp_path / "keys"), "--json").stdout)["files"]
    assert len(files) == 7
    assert all(Path(file).is_file() for file in files)
