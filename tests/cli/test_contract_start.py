"""A contract's parameters as people write them: exact, in the unit that is stated, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from cli.contract_start import exact
from cli.main import novate
from contracts import contract_queries
from contracts.vm.bytecode import encode_program
from tests.cli.stub_chain import StubNetwork, stub_network
from tests.contracts.vm.language.texts import library

PROGRAM = library("digital")[1].program
ID = PROGRAM.program_id.hex()
EXPIRY_UNIX_MS = 4_102_473_600_000
RAW = [1, 3, 2_000, 6_000_050, EXPIRY_UNIX_MS]
HUMAN = "pays_above=true,lots=3,lot=0.00002:BTC,strike=60000.5:BTC_USD,expiry=2100-01-01T08:00:00Z"
SETUP = [
    "asset.register --key governor asset=BTC decimals=8",
    "index.register --key governor index=BTC_USD tick_decimals=2 price_min_ticks=1 price_max_ticks=100000000"
    " oracle_quorum=2",
    "index.register --key governor index=WHOLE tick_decimals=0 price_min_ticks=1 price_max_ticks=100000000"
    " oracle_quorum=2",
    "member.admit --key governor member=M0 key=@M0",
    "member.admit --key governor member=M1 key=@M1",
    "asset.issue --key issuer asset=BTC account=M0/main amount_minor=100000000",
    f"program.store --key M0 program={encode_program(PROGRAM).hex()}",
]


def invoke(network: StubNetwork, *arguments: str) -> Result:
    return CliRunner().invoke(novate, [*arguments, "--dir", str(network.testnet.directory)])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StubNetwork]:
    """A chain with an asset, two indices, two members and a program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOVATE_HOME", str(tmp_path_factory.mktemp("user")))
        with stub_network(tmp_path_factory.mktemp("net") / "net") as found:
            for member in ("M0", "M1"):
                found.testnet.wallet().key_or_new(member)
            for each in SETUP:
                done = invoke(found, "tx", "send", *each.split(), "--wait")
                assert done.exit_code == 0, done.stderr
            yield found


def fields(name: str, parameters: str) -> dict[str, str]:
    bound = {"accounts": "M0/main,M1/main", "assets": "BTC", "feeds": "BTC_USD"}
    return {"contract": name, "program": ID, **bound, "parameters": parameters}


def start(network: StubNetwork, name: str, parameters: str, *options: str, **other: str) -> Result:
    words = [f"{field}={value}" for field, value in {**fields(name, parameters), **other}.items()]
    keys = ["--key", "M0", "--cosign", "M1", "--wait", *options]
    return invoke(network, "tx", "send", "contract.start", *words, *keys)


def parameters_of(network: StubNetwork, name: str) -> list[int]:
    shown = json.loads(invoke(network, "query", "contract", name, "--json").stdout)["parameters"]
    return [int(each) for each in shown.values()]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("RAW", ",".join(map(str, RAW))),
        ("HUMAN", HUMAN),
        ("ORDER", ",".join(reversed(HUMAN.split(",")))),
        ("MIXED", f"pays_above=1,lots=3,lot=2000,strike=6000050,expiry={EXPIRY_UNIX_MS}"),
        ("ZEROS", "pays_above=yes,lots=3,lot=0.000020000000:BTC,strike=60000.500:BTC_USD,expiry=2100-01-01T08:00"),
    ],
)
def test_what_people_write_is_what_the_chain_counts(network: StubNetwork, name: str, parameters: str) -> None:
    """Five ways to write one contract; the chain has the same integers of each."""
    done = start(network, name, parameters)
    assert done.exit_code == 0, done.stderr
    assert parameters_of(network, name) == RAW
    shown = f"parameters={','.join(map(str, RAW))}\n"
    assert done.stdout.startswith(shown) is (name != "RAW")


def test_a_line_of_a_file_is_written_so_too(network: StubNetwork, tmp_path: Path) -> None:
    """`tx submit` takes what `tx send` takes; the JSON document stands alone."""
    file = tmp_path / "lines"
    line = {"kind": "contract.start", "keys": ["M0", "M1"], "fields": fields("LINE", HUMAN)}
    file.write_text(json.dumps(line))
    done = invoke(network, "tx", "submit", str(file), "--wait", "--json")
    assert json.loads(done.stdout)["refused"] == 0
    assert parameters_of(network, "LINE") == RAW
    sent = start(network, "JSON", HUMAN, "--json")
    assert json.loads(sent.stdout)["status"] == "applied"


REFUSED: list[tuple[str, str, dict[str, str], int, str]] = [
    ("strike=60000.5:BTC_USD", "strike=60000.505:BTC_USD", {}, 1, "[not_whole_units]"),
    ("lot=0.00002:BTC", "lot=0.000000001:BTC", {}, 1, "[not_whole_units]"),
    ("strike=60000.5:BTC_USD", "strike=6e4:BTC_USD", {}, 1, "[not_whole_units]"),
    ("strike=60000.5:BTC_USD", "strike=60000.5:WHOLE", {}, 1, "[unknown_unit]"),
    ("strike=60000.5:BTC_USD", "strike=60000.5:BTC_USD", {"feeds": "WHOLE"}, 1, "[unknown_unit]"),
    ("strike=60000.5:BTC_USD", "strike=60000.5:WHOLE", {"feeds": "WHOLE"}, 1, "[not_whole_units]"),
    ("lot=0.00002:BTC", "lot=0.00002:BTC_USD", {}, 1, "[unknown_unit]"),
    ("lot=0.00002:BTC", "lot=0.00002:BTC", {"accounts": "M1/main,M1/main"}, 1, "[unknown_unit]"),
    ("strike=60000.5:BTC_USD", "strike=60000.5", {}, 2, "is not a whole number"),
    ("lots=3", "lots=3:BTC", {}, 2, "is not a whole number"),
    ("lots=3,", "", {}, 2, "Give a value for lots"),
    ("lots=3", "lots=3,lots=3", {}, 2, "given twice"),
    ("lots=3", "lost=3", {}, 2, "There is no parameter 'lost'"),
    ("lots=3", "lots=0", {}, 1, "[bad_parameter]"),
    ("lots=3", "lots=3", {"program": "ab" * 32}, 1, "[unknown_program]"),
    ("lots=3", "lots=3", {"program": "ab"}, 2, "[malformed]"),
    ("lots=3", "lots=3", {"feeds": "../x"}, 2, "[malformed]"),
]


@pytest.mark.parametrize(("part", "instead", "other", "code", "reason"), REFUSED)
def test_what_is_no_whole_number_of_the_unit_is_refused(
    network: StubNetwork, part: str, instead: str, other: dict[str, str], code: int, reason: str
) -> None:
    """Nothing is rounded, and no unit is guessed."""
    assert part in HUMAN
    done = start(network, "NONE", HUMAN.replace(part, instead), **other)
    assert done.exit_code == code
    assert reason in " ".join(done.stderr.split())
    assert invoke(network, "query", "contract", "NONE").exit_code == 1


def test_a_program_that_is_not_the_one_of_the_id_is_refused(
    network: StubNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A validator that shows another order of the same names would have the strike signed for the lot."""
    honest = contract_queries.program
    other = encode_program(library("vanilla_linear")[1].program).hex()

    def lying(*arguments: Any) -> Any:
        return {**honest(*arguments), "bytecode": other}

    monkeypatch.setattr(contract_queries, "program", lying)
    done = start(network, "LIED", HUMAN)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "[bad_answer]" in done.stderr


@given(st.integers(-(10**30), 10**30), st.integers(0, 18))
def test_an_amount_comes_back_exactly(value: int, decimals: int) -> None:
    """In whole numbers throughout: no float has so many digits."""
    digits = f"{abs(value):0{decimals + 1}}"
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    sign = "-" if value < 0 else ""
    text = f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
    assert exact(text, decimals) == value
    assert exact(f"{sign}{whole}.{fraction}1", decimals) is None
