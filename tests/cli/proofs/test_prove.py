"""``novate contract prove``: the standard library is proved, what is broken is refuted, what is hard is undecided."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("z3", reason="the extra `proofs` (z3-solver) is not installed")

from cli.contract_source import load_contract
from cli.main import novate
from cli.proofs.prover import is_conserved
from contracts.vm.interpreter import run
from contracts.vm.symbolic import Due, symbolic
from tests.contracts.exchange_library import LIBRARY

CONTRACTS = sorted(each.stem for each in LIBRARY.glob("*.contract"))

NEEDLE = """contract needle
party writer
party holder
asset CASH rest to writer
feed INDEX
parameter cash: money CASH in 1..1_000_000
parameter expiry: time
lock writer cash
observe settlement: price of INDEX at expiry until expiry + 2h in 1..1_000_000_000
when settlement arrives {
    if settlement * 3 == 370371 ticks {
        pay cash to holder
        pay 1 to holder
    }
} timeout { }
close
"""
FERMAT = """contract fermat
party writer
party holder
asset CASH rest to writer
parameter a: quantity in 1..1_000_000
parameter b: quantity in 1..1_000_000
parameter c: quantity in 1..1_000_000
parameter cash: money CASH in 1..1_000
lock writer cash
if a * a * a + b * b * b == c * c * c {
    pay cash + 1 to holder
}
close
"""
SPLIT = """contract split
party writer
party holder
party third
asset CASH rest to writer
feed INDEX
parameter lots: quantity in 1..1_000_000_000
parameter lot: money CASH in 1..1_000_000_000
parameter top: price in 1..1_000_000_000
parameter expiry: time
lock writer lots * lot
observe settlement: price of INDEX at expiry until expiry + 2h in 1..1_000_000_000
when settlement arrives {
    let x = min(settlement, top)
    pay lots * lot * x / top round down to holder
    pay lots * lot * max(0, top - x) / top round down to third
} timeout { }
close
"""
ROUNDED_LOCK = """contract rounded
party writer
party holder
asset CASH rest to writer
feed INDEX
parameter lots: quantity in 1..1_000_000_000
parameter lot: money CASH in 1..1_000_000_000
parameter strike: price in 1..1_000_000_000
parameter top: price in 1..1_000_000_000
parameter unit: price in 1..1_000_000_000
parameter expiry: time
lock writer lots * lot * max(0, top - strike) / unit round half_even
observe settlement: price of INDEX at expiry until expiry + 2h in 1..1_000_000_000
when settlement arrives {
    pay lots * lot * max(0, min(settlement, top) - strike) / unit round half_even to holder
} timeout { }
close
"""
OPTIONAL_LOTS = """contract optional_lots
party writer
party holder
asset COIN rest to writer
asset CASH rest to holder
parameter lot: money COIN in 1..1_000_000
parameter strike: money CASH in 1..1_000_000
parameter start: time
lock writer lot * 10
election lots: quantity by holder from start until start + 1d in 0..10 locks strike * 10
when lots arrives {
    pay strike * lots to writer
    pay lot * lots to holder
} timeout { }
close
"""


def prove(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The command's exit code and document."""
    result = invoke(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(novate, ["contract", "prove", *arguments])


def written(folder: Path, source: str) -> str:
    file = folder / "given.contract"
    file.write_text(source)
    return str(file)


def changed(name: str, old: str, new: str) -> str:
    """A contract of the standard library with one place changed."""
    source = (LIBRARY / f"{name}.contract").read_text()
    assert source.count(old) == 1
    return source.replace(old, new)


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_standard_library_is_proved(name: str) -> None:
    """For every parameter, price and election in range: whoever uses it owes no more than is locked."""
    code, document = prove(str(LIBRARY / f"{name}.contract"))
    assert (code, document["verdict"]) == (0, "proved")
    assert {each["claim"]: each["verdict"] for each in document["claims"]} == dict.fromkeys(
        ("can_start", "no_shortfall", "conservation", "closes"), "proved"
    )
    assert len(document["paths"]) == document["paths_all"] > 1
    assert all(
        (each["low"], each["high"]) == (each["declared_low"], each["declared_high"]) for each in document["parameters"]
    )


@pytest.mark.parametrize(
    "source",
    [SPLIT, ROUNDED_LOCK, OPTIONAL_LOTS],
    ids=["two payments share a lock", "rounding is monotonic", "quantity"],
)
def test_what_is_not_in_the_library_is_proved_too(tmp_path: Path, source: str) -> None:
    """Sums of quotients, locks that round as the payment does, elections of a quantity: people will write them."""
    assert prove(written(tmp_path, source))[1]["verdict"] == "proved"


WIDTH = "lock writer lots * lot * width / 1 ticks round up"
BROKEN = (
    ("a lock that is one unit too small", "call_spread", WIDTH, WIDTH.replace("lots *", "max(0, lots *", 1) + " - 1)"),
    ("a lock at one end of the band alone", "vanilla_linear", "max(ticks_at_bottom, ticks_at_top)", "ticks_at_top"),
    (
        "a lock that is rounded down",
        "vanilla_inverse",
        "price_min round up, lot * ticks_at_top / top round up",
        "price_min round down, lot * ticks_at_top / top round down",
    ),
    ("a payment made twice", "covered_call", "    pay lots", "    pay lots * lot to writer\n    pay lots"),
    (
        "a deposit paid twice",
        "physical_delivery",
        "pay lots * lot to holder",
        "pay lots * lot to holder\n        pay lots * strike to writer",
    ),
    ("a gain that is one tick too large", "forward", "(final - agreed)", "(final - agreed + 1 ticks)"),
    ("an average that is not capped", "asian", "min(mean(path) round down, price_max)", "mean(path) round down"),
    ("a payment without the knock-out's cap", "barrier", "min(last(path), price_max)", "last(path)"),
)


def shown_by_the_interpreter(file: str, found: dict[str, Any]) -> bool:
    """Whether a counterexample's numbers, given to the interpreter, fall short as it says."""
    verified = load_contract(Path(file)).verified
    numbers = {each.name: number for number, each in enumerate(verified.program.inputs)}
    settled = {numbers[name]: value if value is None else int(value) for name, value in found["inputs"].items()}
    ran = run(verified, [int(each) for each in found["parameters"].values()], settled)
    short = [each.due_minor - each.amount_minor for each in ran.payments if each.due_minor > each.amount_minor]
    return short[0] == found["short_minor"] > 0


@pytest.mark.parametrize(("name", "old", "new"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_a_broken_contract_is_refuted_by_numbers(tmp_path: Path, name: str, old: str, new: str) -> None:
    """A prover that lets one of these pass proves nothing; its numbers must fall short where the contract settles."""
    file = written(tmp_path, changed(name, old, new))
    code, document = prove(file)
    assert (code, document["verdict"]) == (3, "refuted")
    assert shown_by_the_interpreter(file, document["counterexample"])
    assert document["counterexample"]["short_minor"] <= 2, "it was not made small"


def test_money_for_nobody_is_not_conserved() -> None:
    """The claim must be able to fail: a payment to a party that there is not would leave with nobody."""
    whole = symbolic(load_contract(LIBRARY / "digital.contract").verified)
    path = next(whole.paths())
    nobody = whole.pool.constant(len(whole.verified.program.parties))
    lost = tuple(replace(each, party=nobody) if isinstance(each, Due) else each for each in path.movements)
    in_an_hour = time.monotonic() + 3_600
    assert is_conserved(whole, path, in_an_hour)
    assert not is_conserved(whole, replace(path, movements=lost), in_an_hour)


def test_rounding_two_shares_up_is_refuted(tmp_path: Path) -> None:
    """One unit of dust for each payment: the fault that a test by round numbers never meets."""
    file = written(tmp_path, SPLIT.replace("round down", "round up"))
    code, document = prove(file)
    assert (code, document["counterexample"]["short_minor"]) == (3, 1)
    assert shown_by_the_interpreter(file, document["counterexample"])


def test_the_solver_finds_what_no_guess_does(tmp_path: Path) -> None:
    """One price in a thousand million: drawn numbers miss it; the solver's go through the interpreter all the same."""
    file = written(tmp_path, NEEDLE)
    code, document = prove(file)
    assert (code, document["counterexample"]["inputs"]) == (3, {"settlement": 123_457})
    assert shown_by_the_interpreter(file, document["counterexample"])


def test_what_the_solver_cannot_decide_is_not_called_proved(tmp_path: Path) -> None:
    """An exit code of its own; that it holds for small parameters is said apart, with the ranges."""
    code, document = prove(written(tmp_path, FERMAT), "--seconds", "600")
    assert (code, document["verdict"], document["counterexample"]) == (4, "unknown", None)
    assert {each["claim"]: each["verdict"] for each in document["claims"]}["no_shortfall"] == "unknown"
    narrower = document["narrower"][-1]
    assert narrower["verdict"] == "proved"
    assert {each["name"]: each["high"] for each in narrower["parameters"]} == dict.fromkeys(("a", "b", "c", "cash"), 10)


def test_a_proof_for_given_parameters_says_so(tmp_path: Path) -> None:
    """Locked for a call only, the contract is right as a call; a reader must not take that for all of it."""
    file = written(tmp_path, changed("vanilla_linear", "max(ticks_at_bottom, ticks_at_top)", "ticks_at_top"))
    code, document = prove(file, "is_call=true", "lots=1..1_000")
    assert (code, document["verdict"]) == (0, "proved")
    assert [(each["name"], each["low"], each["high"]) for each in document["parameters"][:2]] == [
        ("is_call", 1, 1),
        ("lots", 1, 1_000),
    ]
    shown = invoke(file, "is_call=true", "lots=1..1_000")
    assert "Only for these parameters, not for all that the contract allows:" in shown.stdout


def test_a_contract_that_can_never_start_is_not_proved(tmp_path: Path) -> None:
    """Every claim holds of no instance at all: that would be a proof of nothing."""
    file = written(tmp_path, changed("digital", "until expiry + 2h", "until expiry"))
    code, document = prove(file)
    assert (code, document["verdict"], document["claims"][0]["verdict"]) == (3, "refuted", "refuted")
    assert "no instance can start" in invoke(file).stdout


def test_a_certificate_is_checked_by_proving_again(tmp_path: Path) -> None:
    """It is worth what can be repeated: same program, same ranges, same claims."""
    file, certificate = str(LIBRARY / "forward.contract"), str(tmp_path / "forward.json")
    assert prove(file, "lots=1..9", "--certificate", certificate)[0] == 0
    code, document = prove(file, "--check", certificate)
    assert (code, document["check"]["confirmed"]) == (0, True)
    assert document["parameters"][0]["high"] == 9


def test_a_certificate_that_says_more_than_is_so_is_not_confirmed(tmp_path: Path) -> None:
    """Whoever writes `proved` into the file has proved nothing."""
    file = written(tmp_path, changed("forward", "(final - agreed)", "(final - agreed + 1 ticks)"))
    certificate = tmp_path / "forward.json"
    assert prove(file, "--certificate", str(certificate))[0] == 3
    certificate.write_text(certificate.read_text().replace("refuted", "proved"))
    code, document = prove(file, "--check", str(certificate))
    assert (code, document["check"]["confirmed"]) == (3, False)
    assert document["check"]["differing_claims"] == ["no_shortfall"]


def test_a_certificate_of_another_program_is_refused(tmp_path: Path) -> None:
    """A program that differs by one constant is another one, and nothing was proved of it."""
    certificate = str(tmp_path / "digital.json")
    assert prove(str(LIBRARY / "digital.contract"), "--certificate", certificate)[0] == 0
    other = written(tmp_path, changed("digital", "until expiry + 2h", "until expiry + 3h"))
    result = invoke(other, "--check", certificate)
    assert result.exit_code == 1
    assert "other_program" in result.stderr


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", '{"format": "novate-proof-certificate/1", "program_id": 1}'])
def test_what_is_no_certificate_is_refused(tmp_path: Path, text: str) -> None:
    """A damaged file is an error with a reason, never a traceback."""
    certificate = tmp_path / "certificate.json"
    certificate.write_text(text)
    result = invoke(str(LIBRARY / "digital.contract"), "--check", str(certificate))
    assert (result.exit_code, "bad_proof_certificate" in result.stderr) == (1, True)


def test_without_the_solver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Z3 is an extra: whoever lacks it learns its name, not a module's."""
    monkeypatch.setitem(sys.modules, "z3", None)
    result = invoke(str(LIBRARY / "digital.contract"))
    assert result.exit_code == 1
    assert "no_proofs" in result.stderr
    assert "novate[proofs]" in result.stderr


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("lost=1", "There is no parameter 'lost'. Did you mean"),
        ("lots=9..1", "the range from 9 to 1 is empty"),
        ("lots=x", "'x' is not a whole number"),
        ("lots", "is not of the form"),
    ],
)
def test_a_range_that_is_none_is_wrong_usage(argument: str, reason: str) -> None:
    """A typo must not narrow what is proved in silence."""
    result = invoke(str(LIBRARY / "digital.contract"), argument)
    assert (result.exit_code, reason in result.stderr) == (2, True), result.stderr
