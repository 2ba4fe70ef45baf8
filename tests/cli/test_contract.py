"""``novate contract``: what people and scripts get to see of a contract."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.contract_plot import COLUMNS, ROWS, payoff_lines
from cli.contract_values import moment_text
from cli.main import novate
from contracts.vm.bytecode import decode_program
from contracts.vm.payoff import Point
from tests.contracts.vm.language.texts import EXPIRY_UNIX_MS, LIBRARY, ROOT, library

FOLDER = ROOT / "contracts" / "library"
STRADDLE = ["lots=1", "lot=2", "strike=100", "price_min=40", "price_max=150", f"expiry={EXPIRY_UNIX_MS}"]
BARRIER = ["lots=1", "lot=2", "strike=100", "barrier_price=80", "price_max=200", "start=2026-09-25T08:00Z", "step=1h"]
DELIVERY = ["lots=3", "lot=100", "strike=600", f"start={EXPIRY_UNIX_MS}", "expiry=2030-01-01T00:00:00+01:00"]


def call(command: str, name: str, *arguments: str) -> Result:
    """Run a command on a contract of the library."""
    return CliRunner().invoke(novate, ["contract", command, str(FOLDER / f"{name}.contract"), *arguments])


def answer(command: str, name: str, *arguments: str) -> Any:
    """Its JSON document."""
    result = call(command, name, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


@pytest.mark.parametrize("file", LIBRARY, ids=lambda each: each.stem)
def test_check_says_what_the_verifier_knows(file: Path) -> None:
    """The same figures as every validator's, for every contract of the library."""
    document = answer("check", file.stem)
    _, verified = library(file.stem)
    assert document["program_id"] == verified.program.program_id.hex()
    assert (document["gas"], document["instructions"]) == (verified.program.gas, len(verified.program.code))
    assert [each["name"] for each in document["inputs"]] == [each.name for each in verified.program.inputs]
    assert all(0 <= each["low_minor"] <= each["high_minor"] for each in document["locks"] + document["payments"])
    lines = file.read_text().splitlines()
    assert all("pay " in lines[each["line"] - 1] for each in document["payments"])


def test_check_for_people_is_tables() -> None:
    """Ranges in groups of digits; the line of each payment."""
    result = call("check", "digital")
    assert result.exit_code == 0
    assert "Every validator would store it" in result.stdout
    assert "1,000,000,000,000,000,000,000" in result.stdout
    assert "\n    24  CASH" in result.stdout


RANGES = [
    ("p: ratio in 1..100", "0.0000001 %", "0.0000001 % to 0.00001 %"),
    ("p: ratio in -2.5%..0.25x", "0.0000001 %", "-2.5 % to 25 %"),
    ("p: time in 1s..31d", "ms", "1 second to 31 days"),
    ("p: time", "ms", "any time"),
    ("p: time in 1800000000000..281474976710655", "ms", "2027-01-15 08:00:00 UTC to 281474976710655 ms"),
    ("p: price in 1..9", "ticks", ""),
    ("p: money CASH in 1..9", "minor units", ""),
    ("p: quantity in 1..9", "whole", ""),
    ("p: bool", "0 is no, 1 yes", ""),
]


@pytest.mark.parametrize(("declared", "unit", "means"), RANGES)
def test_check_says_what_a_range_means(declared: str, unit: str, means: str, tmp_path: Path) -> None:
    """``ratio in 1..100`` is a hundred parts of a thousand million at most, and no author means that."""
    file = tmp_path / "x.contract"
    file.write_text(
        f"contract x party a party b asset CASH rest to a parameter {declared} parameter due: time "
        "lock a 5 moment over at due wait until over pay 5 to b close"
    )
    done = CliRunner().invoke(novate, ["contract", "check", str(file), "--json"])
    first = json.loads(done.stdout)["parameters"][0]
    assert (first["unit"], first["means"]) == (unit, means)
    people = CliRunner().invoke(novate, ["contract", "check", str(file)]).stdout
    assert f"{unit}{'  ' if means else ''}{means}\n" in re.sub(" {2,}", "  ", people)


def test_check_holds_to_the_gas_that_it_is_given() -> None:
    """A chain may allow less than another."""
    result = call("check", "asian", "--gas-max", "100")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[gas_limit]" in result.stderr
    assert "gas_max=100" in result.stderr


def test_a_fault_is_shown_with_its_line_and_a_mark_under_it(tmp_path: Path) -> None:
    """File, line and column as compilers print them, so that editors jump there."""
    file = tmp_path / "wrong.contract"
    file.write_text("contract c\nparty w\nasset A rest to w\nparameter m: money A in 0..9\nlock w mm + m\nclose\n")
    result = CliRunner().invoke(novate, ["contract", "check", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[:3] == [
        f"novate: error [unknown_name]: {file}:5:8: There is no 'mm'. Did you mean 'm'?",
        "    5 | lock w mm + m",
        "      |        ^^",
    ]
    assert "what to do: " in result.stderr


def test_a_mark_in_a_line_without_end_stays_on_the_screen(tmp_path: Path) -> None:
    """A text of one line is cut around the fault."""
    file = tmp_path / "long.contract"
    file.write_text("contract c" + " party w" * 300)
    result = CliRunner().invoke(novate, ["contract", "check", str(file)])
    shown, mark = result.stderr.splitlines()[1:3]
    assert len(shown) < 180
    assert shown[mark.index("^") :].startswith("w")


@pytest.mark.parametrize(
    ("content", "code"), [(b"\xff", "bad_text"), (b"#" * 70_000, "source_too_large"), (b"(" * 60_000, "bad_syntax")]
)
def test_what_is_no_contract_is_refused_in_one_line_of_reason(tmp_path: Path, content: bytes, code: str) -> None:
    """A picture or a log file given by mistake."""
    file = tmp_path / "noise"
    file.write_bytes(content)
    result = CliRunner().invoke(novate, ["contract", "check", str(file)])
    assert result.exit_code == 1
    assert f"error [{code}]" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_contract_is_read_from_standard_input() -> None:
    """For a pipe from an editor or another program."""
    source = (FOLDER / "digital.contract").read_bytes()
    result = CliRunner().invoke(novate, ["contract", "check", "-", "--json"], input=source)
    assert json.loads(result.stdout)["contract"] == "digital"


def test_a_byte_order_mark_is_passed_over() -> None:
    """Some editors write one, and nobody sees it."""
    source = (FOLDER / "digital.contract").read_bytes()
    plain, marked = (
        CliRunner().invoke(novate, ["contract", "check", "-", "--json"], input=each)
        for each in (source, b"\xef\xbb\xbf" + source)
    )
    assert (marked.exit_code, marked.stdout) == (0, plain.stdout)


def test_a_missing_file_is_wrong_usage() -> None:
    """Not a traceback, and not what a bad contract is."""
    result = CliRunner().invoke(novate, ["contract", "explain", "no/such.contract"])
    assert result.exit_code == 2
    assert "no/such.contract: No such file or directory." in result.stderr


def test_compile_writes_what_the_chain_takes(tmp_path: Path) -> None:
    """The bytes decode to the program whose id was printed."""
    file = tmp_path / "digital.program"
    document = answer("compile", "digital", "--output", str(file))
    program = decode_program(file.read_bytes())
    assert program == library("digital")[1].program
    assert (document["program_id"], document["bytecode"]) == (program.program_id.hex(), file.read_bytes().hex())
    assert "jump_unless" in call("compile", "digital").stdout


def test_run_pays_or_says_what_it_waits_for() -> None:
    """An instance's life: open, settled, absent."""
    waiting = answer("run", "straddle", *STRADDLE)
    assert waiting["locks"] == [{"party": "writer", "asset": "CASH", "amount_minor": 120}]
    assert (waiting["closed"], waiting["payments"]) == (False, [])
    assert waiting["waits_for"] == {
        "name": "settlement",
        "opens_unix_ms": EXPIRY_UNIX_MS,
        "until_unix_ms": EXPIRY_UNIX_MS + 7_200_000,
    }
    settled = answer("run", "straddle", *STRADDLE, "--observe", "settlement=130")
    assert [(each["party"], each["amount_minor"]) for each in settled["payments"]] == [("holder", 60), ("writer", 60)]
    assert (settled["closed"], settled["waits_for"], settled["shortfall"]) == (True, None, False)
    absent = answer("run", "straddle", *STRADDLE, "--absent", "settlement")
    assert [(each["party"], each["amount_minor"]) for each in absent["payments"]] == [("writer", 120)]


def test_run_for_people_says_it_in_a_few_lines() -> None:
    """The moment in UTC, amounts in groups."""
    waiting = call("run", "straddle", *STRADDLE).stdout
    assert "Paid: nothing" in waiting
    assert "It waits for settlement: from 2027-01-15 08:00:00 UTC until before 2027-01-15 10:00:00 UTC." in waiting
    assert "It has closed." in call("run", "straddle", *STRADDLE, "--observe", "settlement=130").stdout


def test_a_window_is_settled_by_its_name_or_price_by_price() -> None:
    """24 options would be a burden; one missing price is what somebody wants to try."""
    whole = answer("run", "barrier", *BARRIER, "--observe", "path=150")
    assert [each["amount_minor"] for each in whole["payments"]] == [100, 100]
    first = answer("run", "barrier", *BARRIER, "--observe", "path[1]=150")
    assert first["waits_for"]["name"] == "path[2]"
    assert first["waits_for"]["opens_unix_ms"] - EXPIRY_UNIX_MS == 1_790_326_800_000 - EXPIRY_UNIX_MS
    missing = answer("run", "barrier", *BARRIER, "--observe", "path[1]=150", "--absent", "path[2]")
    assert [each["amount_minor"] for each in missing["payments"]] == [200]


def test_an_election_is_settled_by_its_value() -> None:
    """Exercise puts the strike in and takes the asset out."""
    document = answer("run", "physical_delivery", *DELIVERY, "--elect", "exercise=true")
    paid = {(each["party"], each["asset"]): each["amount_minor"] for each in document["payments"]}
    assert paid == {("writer", "CASH"): 1800, ("holder", "COIN"): 300, ("writer", "COIN"): 0, ("holder", "CASH"): 0}


WRONG = [
    ([], "Give a value for lots, lot, strike"),
    ([*STRADDLE, "lots=2"], "'lots' is given twice"),
    (["lost=1"], "There is no parameter 'lost'. Did you mean 'lot'?"),
    (["lots"], "'lots' is not of the form PARAMETER=VALUE"),
    (["lots=many"], "lots: 'many' is not a whole number"),
    (["lots=" + "9" * 50], "is not a whole number"),
    (["expiry=tomorrow"], "is not milliseconds since 1970, 2026-09-25T08:00Z, or a duration like 2h"),
    (["expiry=2026-09-25T08:00:00.0001Z"], "is not milliseconds since 1970"),
    ([*STRADDLE, "--observe", "settlment=3"], "the contract waits for no 'settlment'. Did you mean 'settlement'?"),
    ([*STRADDLE, "--elect", "settlement=3"], "the contract waits for no 'settlement'"),
    ([*STRADDLE, "--observe", "settlement=3", "--absent", "settlement"], "'settlement' is settled twice"),
]


@pytest.mark.parametrize(("arguments", "reason"), WRONG)
def test_a_wrong_argument_is_wrong_usage(arguments: list[str], reason: str) -> None:
    """Exit code 2 and the name that was meant."""
    result = call("run", "straddle", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in " ".join(result.stderr.split())


def test_a_value_out_of_its_range_is_a_refusal_with_the_range() -> None:
    """The interpreter's own refusal, with the values compared."""
    result = call("run", "straddle", "lots=0", *STRADDLE[1:])
    assert result.exit_code == 1
    assert "[bad_parameter]" in result.stderr
    assert "parameter=lots, value=0, low=1, high=1000000000" in result.stderr
    late = call("run", "physical_delivery", *DELIVERY[:3], "start=9", "expiry=9")
    assert "[bad_window]" in late.stderr


def test_explain_is_english_and_draws_the_payoff() -> None:
    """What a person reads before signing, with the picture that traders know."""
    plain = call("explain", "straddle")
    assert "The writer locks CASH: lots times lot times" in plain.stdout
    assert "Give every parameter as NAME=VALUE to see the payoff." in plain.stdout
    drawn = call("explain", "straddle", *STRADDLE)
    assert "Payoff: gain of the holder, minor units of CASH, by INDEX, ticks" in drawn.stdout
    assert drawn.stdout.count("*") > COLUMNS // 2
    assert all(len(line) <= 100 for line in drawn.stdout.splitlines())


def test_explain_for_programs_has_sentences_and_points() -> None:
    """The points are the interpreter's, for the party that is asked for."""
    document = answer("explain", "straddle", *STRADDLE, "--party", "writer")
    assert [each["title"] for each in document["sections"]][:2] == ["What it is", "Parties"]
    points = dict(map(tuple, document["payoff"]["points"]))
    assert (document["payoff"]["party"], points[100], points[40], points[150]) == ("writer", 0, -120, -100)
    assert answer("explain", "straddle")["payoff"] is None


def test_explain_draws_a_png(tmp_path: Path) -> None:
    """For a document; the file is a picture of the size that was asked for."""
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    file = tmp_path / "payoff.png"
    assert call("explain", "straddle", *STRADDLE, "--png", str(file)).exit_code == 0
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (960, 540)


def test_without_matplotlib_the_reason_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; whoever lacks it gets a sentence, not an ImportError."""
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)
    result = call("explain", "straddle", *STRADDLE, "--png", str(tmp_path / "payoff.png"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "[no_plots]" in result.stderr
    assert "pip install 'novate[plots]'" in result.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "code", "reason"),
    [
        ("straddle", ["--png", "x.png"], 2, "A payoff needs a value for every parameter"),
        ("straddle", [*STRADDLE, "--party", "bank"], 1, "The contract has no party 'bank'."),
        ("straddle", [*STRADDLE, "--asset", "GOLD"], 1, "The contract has no asset 'GOLD'."),
        ("physical_delivery", DELIVERY, 1, "The contract looks at no price"),
    ],
)
def test_a_payoff_that_cannot_be_drawn_says_why(name: str, arguments: list[str], code: int, reason: str) -> None:
    """Each is a mistake that is easy to make."""
    result = call("explain", name, *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert reason in result.stderr


def test_the_diagram_spans_the_gains_and_marks_nothing() -> None:
    """Highest gain on the first line, lowest on the last, a dotted line at zero between them."""
    lines = payoff_lines([Point(0, -50), Point(50, 0), Point(100, 150)])
    assert len(lines) == ROWS + 2
    assert lines[0].startswith("150 |")
    assert lines[0].endswith("*")
    assert lines[ROWS - 1] == "-50 |*"
    assert [at for at, line in enumerate(lines) if "...." in line] == [10]
    flat = payoff_lines([Point(5, 0)])
    assert flat[ROWS - 1].startswith("0 |*...")


def test_moments_beyond_the_calendar_stay_numbers() -> None:
    """A contract may be given any time that fits its range."""
    assert moment_text(2**48) == f"{2**48} ms"
