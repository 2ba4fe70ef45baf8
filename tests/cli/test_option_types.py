"""Moments and numbers as options: one reading everywhere, and no number that compares with nothing."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli.connect import Keyring
from cli.main import novate
from cli.option_types import Moment, iso_unix_ms
from cli.tx import _resolved
from contracts.operations import build_operation

LIBRARY = Path(__file__).resolve().parents[2] / "contracts" / "library"
MOMENTS = [
    ("2026-08-16T20:21:00Z", 1_786_911_660_000),
    ("2026-08-16T20:21:00", 1_786_911_660_000),
    ("2026-08-16 22:21:00+02:00", 1_786_911_660_000),
    ("2026-08-16T20:21:00.250Z", 1_786_911_660_250),
    ("2026-08-16", 1_786_838_400_000),
]
FLAGS = {
    "spot": "100", "vol": "0.3", "q": "0.01", "r": "0.03", "correlation": "0.5", "t-years": "1", "strike": "100",
    "weight": "1", "barrier": "90", "rebate": "1",
}  # fmt: skip
OF_A_CONTRACT = ("spot", "vol", "q", "r", "correlation")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(novate, list(arguments))


@pytest.mark.parametrize(("text", "moment"), [("1786911660000", 1_786_911_660_000), *MOMENTS])
def test_a_moment_is_read_in_utc(text: str, moment: int) -> None:
    """A local time zone would start the chain in another hour on another machine."""
    assert Moment().convert(text, None, None) == moment


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "25:00", "2026-13-01", "2026-08-16T20:21:00.0001Z", "\u0661", "9" * 50]
)
def test_what_is_no_moment_of_whole_milliseconds_is_none(text: str) -> None:
    """Nobody's time is moved to the nearest."""
    assert iso_unix_ms(text) is None
    with pytest.raises(click.BadParameter):
        Moment().convert(text, None, None)


@pytest.mark.parametrize(("text", "moment"), MOMENTS)
def test_every_command_that_takes_a_moment_takes_it_as_a_date(text: str, moment: int, tmp_path: Path) -> None:
    """An option that wants milliseconds where its neighbour wants a date is one to get wrong."""
    fields = {"index": "BTC_USD", "instant_unix_ms": text, "price_ticks": "5"}
    resolved = _resolved(Keyring(None, tmp_path, None), "oracle.sample", fields)
    assert build_operation("oracle.sample", resolved) == (10, "BTC_USD", moment, 5)
    no_contract = tmp_path / "x"
    no_contract.write_text("x")
    for arguments in (
        ["contract", "value", str(no_contract), "--party", "x", "--spot", "1", "--vol", "1", "--r", "0",
         "--now-unix-ms", text],
        ["query", "settlement", "BTC_USD", text, "--url", "http://127.0.0.1:1"],
        ["genesis", "create", "x", "--name", "x", "--validator", "nowhere", "--wall-origin-unix-ms", text,
         "--chain-origin-unix-ms", text],
    ):  # fmt: skip
        assert call(*arguments).exit_code == 1  # only what else is wrong with it
        assert call(*[each.replace(text, "soon") for each in arguments]).exit_code == 2


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN", "-Infinity", "1e999"])
@pytest.mark.parametrize("flag", FLAGS)
def test_no_option_takes_a_number_that_is_not_finite(flag: str, value: str) -> None:
    """NaN is in no range and out of none; what it gives is no price."""
    contract = [
        "contract",
        "value",
        str(LIBRARY / "vanilla_linear.contract"),
        "--party",
        "holder",
        "--now-unix-ms",
        "0",
    ]
    simulated = ["price", "mc", "--right", "call", "--paths", "2"]
    for command in (simulated, *([contract] if flag in OF_A_CONTRACT else [])):
        done = call(*command, f"--{flag}", value)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"'--{flag}': '{value}' is no finite number." in done.stderr


@pytest.mark.parametrize("value", ["1.5", "-1.01", "5"])
def test_a_correlation_is_one_also_where_nothing_correlates(value: str) -> None:
    """It was looked at only with two underlyings or more."""
    done = call("price", "mc", "--right", "call", "--paths", "2", "--correlation", value)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "-1<=x<=1" in done.stderr
