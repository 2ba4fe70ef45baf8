"""``novate contract value``: contracts of the library against closed forms, and what it does not value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import novate
from contracts.pricing.contract_payoff import YEAR_MS
from contracts.pricing.vanilla import black_scholes_price

LIBRARY = Path(__file__).resolve().parents[2] / "contracts" / "library"
NOW_UNIX_MS = 1_700_000_000_000
EXPIRY_UNIX_MS = NOW_UNIX_MS + YEAR_MS // 4
MARKET = ["--now-unix-ms", str(NOW_UNIX_MS), "--spot", "100", "--vol", "0.3", "--q", "0.01", "--r", "0.03"]
CALL = ["is_call=true", "lots=1", "lot=1", "strike=10500", "price_min=1", "price_max=100000000"]


def call(name: str, *arguments: str) -> Result:
    """The command over a contract of the library."""
    return CliRunner().invoke(novate, ["contract", "value", str(LIBRARY / f"{name}.contract"), *arguments])


def test_a_call_is_worth_what_black_and_scholes_say() -> None:
    """Compiled, verified, run over paths: the whole way from a text to a price."""
    arguments = [*CALL, f"expiry={EXPIRY_UNIX_MS}", "--party", "holder", *MARKET, "--paths", "40000", "--json"]
    answer = json.loads(call("vanilla_linear", *arguments).stdout)
    exact = black_scholes_price(right=1.0, spot=100.0, strike=105.0, q=0.01, r=0.03, t_years=0.25, vol=0.3)[0] * 100
    assert abs(answer["value_minor"] - exact) < 4 * answer["standard_error_minor"]
    assert answer["standard_error_minor"] < 0.02 * exact


def test_a_value_names_its_asset_and_its_unit() -> None:
    """A number that may be dollars, cents or coins is none; a bool is also written as on the chain."""
    arguments = ["is_call=1", *CALL[1:], f"expiry={EXPIRY_UNIX_MS}", "--party", "holder", *MARKET, "--paths", "2000"]
    lines = call("vanilla_linear", *arguments).stdout.splitlines()
    assert lines[1] == "Value of vanilla_linear to the holder, minor units of CASH"
    assert lines[4].split() == ["paths", "2,000"]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("vanilla_linear", [*CALL, f"expiry={EXPIRY_UNIX_MS}", "--party", "bank"], "no party 'bank'"),
        ("vanilla_linear", [*CALL, f"expiry={NOW_UNIX_MS}", "--party", "holder"], "before its first observation"),
        (
            "physical_delivery",
            ["lots=1", "lot=1", "strike=1", f"start={NOW_UNIX_MS}", f"expiry={EXPIRY_UNIX_MS}", "--party", "holder"],
            "Not supported: a contract with elections",
        ),
    ],
)
def test_what_cannot_be_valued_says_why(name: str, arguments: list[str], reason: str) -> None:
    """A number without its conditions would be worse than none."""
    result = call(name, *arguments, *MARKET)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr
