"""``novate contract``: check, compile, run and explain an option contract, without any chain; prove: `contract_prove`.

A contract is a text in the language of docs/CONTRACTS.md. What these commands say follows from the compiled program
and the code that every validator runs: the verifier and the interpreter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli.contract_actus import actus
from cli.contract_plot import COLUMNS, payoff_lines, write_png
from cli.contract_prove import prove_file
from cli.contract_source import LoadedContract, load_contract
from cli.contract_value import value
from cli.contract_values import limits, moment_text, parameter_values, settled_inputs
from cli.output import Amount, Failure, Output, reporting
from contracts.vm.bytecode import Input, InputKind, Op, Program, encode_program
from contracts.vm.disassembler import disassemble, type_name
from contracts.vm.interpreter import Run, Terms, terms
from contracts.vm.interpreter import run as run_instance
from contracts.vm.language.explain import Section, explain
from contracts.vm.payoff import Point, payoff_points, price_grid
from contracts.vm.verifier import Verified
from genesis.params import ChainParams

POINTS = 4 * COLUMNS
_LINE_COLUMNS = 100

file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
parameters_argument = click.argument("parameters", nargs=-1, metavar="[PARAMETER=VALUE]...")
elect_option = click.option(
    "--elect", "elected", multiple=True, metavar="NAME=VALUE", help="What a party elected; repeatable."
)


@click.group()
def contract() -> None:
    """Check, compile, run, value, explain and prove an option contract."""


contract.add_command(value)
contract.add_command(prove_file)


contract.add_command(actus)


@contract.command("check")
@file_argument
@click.option(
    "--gas-max",
    type=click.IntRange(1),
    default=ChainParams().contract_gas_max,
    show_default=True,
    help="The most gas that it may need: the chain's contract_gas_max.",
)
@reporting
def check(out: Output, file: Path, gas_max: int) -> None:
    """Check the contract in FILE as every validator does.

    A dash as FILE is standard input. Prints gas, parameters and inputs with their ranges (as the chain counts, in what
    unit, and what that means), and what each lock and payment may come to.
    """
    loaded = load_contract(file, gas_max)
    document = _checked(loaded, gas_max)
    out.result(document, lambda: _show_checked(out, loaded, document))


def _checked(loaded: LoadedContract, gas_max: int) -> dict[str, Any]:
    verified, program = loaded.verified, loaded.verified.program
    parties = program.parties
    return {
        "contract": program.name,
        "program_id": program.program_id.hex(),
        "bytes": len(encode_program(program)),
        "instructions": len(program.code),
        "gas": program.gas,
        "gas_max": gas_max,
        "word_sized": verified.word_sized,
        "parameters": [
            {
                "name": each.name,
                "type": type_name(program, each.type),
                **limits(each.type.kind, each.low, each.high),
            }
            for each in program.parameters
        ],
        "inputs": [
            {
                "name": each.name,
                "from": _source(program, each),
                "type": type_name(program, each.type),
                **limits(each.type.kind, each.low, each.high),
            }
            for each in program.inputs
        ],
        "locks": [{"party": parties[each.party], **_range(verified, each.amount)} for each in program.locks],
        "payments": [
            {"line": loaded.compiled.origins[at].line, **_range(verified, each.a)}
            for at, each in enumerate(program.code)
            if each.op is Op.PAY
        ],
    }


def _source(program: Program, each: Input) -> str:
    """Where an input comes from: a feed, a party, or the chain's clock."""
    if each.kind is InputKind.MOMENT:
        return "the clock"
    return program.feeds[each.source] if each.kind is InputKind.PRICE else program.parties[each.source]


def _range(verified: Verified, register: int) -> dict[str, Any]:
    """An amount's asset, and between which values it lies."""
    kind, values = verified.types[register], verified.ranges[register]
    asset = verified.program.assets[kind.asset].name if kind is not None else ""
    low, high = values if values is not None else (0, 0)
    return {"asset": asset, "low_minor": low, "high_minor": high}


def _show_checked(out: Output, loaded: LoadedContract, document: dict[str, Any]) -> None:
    facts = ("contract", "program_id", "bytes", "instructions", "gas")
    out.pairs("Every validator would store it", {name: document[name] for name in facts})
    for title, name, columns in (
        ("Parameters", "parameters", ("name", "type", "low", "high", "unit", "means")),
        ("Inputs", "inputs", ("name", "from", "type", "low", "high", "unit", "means")),
        ("Locks may come to", "locks", ("party", "asset", "low_minor", "high_minor")),
        ("Payments may come to", "payments", ("line", "asset", "low_minor", "high_minor")),
    ):
        rows = [tuple(_grouped(column, each[column]) for column in columns) for each in document[name]]
        if rows:
            out.table(title, columns, rows)
    if not loaded.verified.word_sized:
        out.line("By its ranges alone it may need more than 64 bits, so the kernel that values contracts refuses it.")


def _grouped(column: str, value: Any) -> Any:
    return Amount(value) if isinstance(value, int) and column != "line" else value


@contract.command("compile")
@file_argument
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write the bytecode to this file."
)
@reporting
def compile_file(out: Output, file: Path, output: Path | None) -> None:
    """Compile FILE; print its instructions, or write its bytecode."""
    program = load_contract(file).verified.program
    code = encode_program(program)
    document = {"contract": program.name, "program_id": program.program_id.hex(), "bytecode": code.hex()}
    if output is None:
        out.result(document, lambda: out.line(disassemble(program).rstrip("\n")))
        return
    output.write_bytes(code)
    written = {"contract": program.name, "program_id": program.program_id.hex(), "bytes": len(code)}
    out.result({**document, "file": str(output)}, lambda: out.pairs(f"Written to {output}", written))


@contract.command("run")
@file_argument
@parameters_argument
@click.option("--observe", "observed", multiple=True, metavar="NAME=TICKS", help="A price that arrived; repeatable.")
@elect_option
@click.option("--passed", multiple=True, metavar="NAME", help="A moment that has come; repeatable.")
@click.option("--absent", multiple=True, metavar="NAME", help="What did not arrive in time; repeatable.")
@reporting
def run(
    out: Output,
    file: Path,
    parameters: Sequence[str],
    observed: Sequence[str],
    elected: Sequence[str],
    passed: Sequence[str],
    absent: Sequence[str],
) -> None:
    """Run the contract in FILE over what has been settled so far.

    Every parameter needs a value. A window's name stands for all of its prices, path[3] for its third. Times are
    milliseconds since 1970, 2026-09-25T08:00Z, or durations like 2h.
    """
    verified = load_contract(file).verified
    values = parameter_values(verified.program, parameters)
    settled = settled_inputs(verified, observed, elected, absent, passed)
    document = _run_document(verified, terms(verified, values), run_instance(verified, values, settled))
    out.result(document, lambda: _show_run(out, document))


def _run_document(verified: Verified, agreed: Terms, ran: Run) -> dict[str, Any]:
    program = verified.program
    waits_for = None
    if ran.waits_for is not None:
        window = agreed.windows[ran.waits_for]
        waits_for = {
            "name": program.inputs[ran.waits_for].name,
            "opens_unix_ms": window.opens_unix_ms,
            "until_unix_ms": window.until_unix_ms,
        }
    return {
        "contract": program.name,
        "locks": [
            {"party": program.parties[party], "asset": program.assets[asset].name, "amount_minor": amount}
            for party, asset, amount in agreed.locks
        ],
        "payments": [
            {
                "party": program.parties[each.party],
                "asset": program.assets[each.asset].name,
                "amount_minor": each.amount_minor,
                "due_minor": each.due_minor,
            }
            for each in ran.payments
        ],
        "closed": waits_for is None,
        "waits_for": waits_for,
        "shortfall": any(each.amount_minor < each.due_minor for each in ran.payments),
        "gas": ran.gas,
    }


def _show_run(out: Output, document: dict[str, Any]) -> None:
    for title, name in (("Locked", "locks"), ("Paid", "payments")):
        rows = [(each["party"], each["asset"], Amount(each["amount_minor"])) for each in document[name]]
        if rows:
            out.table(title, ("party", "asset", "minor units"), rows)
        else:
            out.line(f"{title}: nothing")
    if document["shortfall"]:
        out.line("SHORTFALL: a payment asked for more than was locked, and was cut to what there was.")
    waits = document["waits_for"]
    if waits is None:
        out.line("It has closed.")
    else:
        opens, until = moment_text(waits["opens_unix_ms"]), moment_text(waits["until_unix_ms"])
        when = f"from {opens} until before {until}" if opens != until else f"{opens}"
        out.line(f"It waits for {waits['name']}: {when}.")


@contract.command("explain")
@file_argument
@parameters_argument
@elect_option
@click.option("--party", metavar="NAME", help="Whose gain is drawn; by default the first party that locks nothing.")
@click.option("--asset", metavar="NAME", help="What the gain is counted in; by default the first asset.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Draw the payoff into this file as well.")
@reporting
def explain_file(
    out: Output,
    file: Path,
    parameters: Sequence[str],
    elected: Sequence[str],
    party: str | None,
    asset: str | None,
    png: Path | None,
) -> None:
    """Explain FILE in plain English, and draw its payoff.

    The payoff is drawn for the parameters that are given, with every price of the contract the same.
    """
    loaded = load_contract(file)
    sections = explain(loaded.compiled.contract)
    payoff = None
    if parameters:
        payoff = _payoff(loaded.verified, parameters, elected, party, asset)
    elif png is not None or elected or party or asset:
        raise click.UsageError("A payoff needs a value for every parameter, each as NAME=VALUE.")
    if png is not None and payoff is not None:
        write_png(png, payoff.points, loaded.verified.program.name, payoff.gain_label, payoff.price_label)
    document = {
        "contract": loaded.verified.program.name,
        "sections": [
            {"title": each.title, "lines": [{"depth": line.depth, "text": line.text} for line in each.lines]}
            for each in sections
        ],
        "payoff": payoff.document if payoff is not None else None,
    }
    out.result(document, lambda: _show_explained(out, sections, payoff))


class _Payoff:
    """A payoff diagram's points and what its axes are."""

    def __init__(self, points: Sequence[Point], party: str, asset: str, feeds: Sequence[str]) -> None:
        self.points = points
        self.party, self.asset = party, asset
        self.gain_label = f"gain of the {party}, minor units of {asset}"
        self.price_label = f"{' = '.join(feeds)}, ticks"

    @property
    def document(self) -> dict[str, Any]:
        """For programs: [price, gain] each."""
        pairs = [[each.price_ticks, each.gained_minor] for each in self.points]
        return {"party": self.party, "asset": self.asset, "points": pairs}


def _payoff(
    verified: Verified, parameters: Sequence[str], elected: Sequence[str], party: str | None, asset: str | None
) -> _Payoff:
    program = verified.program
    values = parameter_values(program, parameters)
    settled = settled_inputs(verified, (), elected, ())
    elections = {number: value for number, value in settled.items() if value is not None}
    locking = {each.party for each in program.locks}
    idle = [number for number in range(len(program.parties)) if number not in locking]
    whose = _number(program.parties, party, "party") if party is not None else [*idle, 0][0]
    of = _number([each.name for each in program.assets], asset, "asset") if asset is not None else 0
    points = payoff_points(verified, values, whose, of, price_grid(verified, values, POINTS), elections)
    feeds = list(dict.fromkeys(program.feeds[each.source] for each in program.inputs if each.kind is InputKind.PRICE))
    return _Payoff(points, program.parties[whose], program.assets[of].name, feeds)


def _number(names: Sequence[str], name: str, what: str) -> int:
    if name not in names:
        raise Failure(f"The contract has no {what} {name!r}.", f"Choose one of {', '.join(names)}.", "unknown_name")
    return list(names).index(name)


def _show_explained(out: Output, sections: Sequence[Section], payoff: _Payoff | None) -> None:
    for section in sections:
        out.line(section.title)
        for line in section.lines:
            indent = "  " * (line.depth + 1)
            out.line(click.wrap_text(line.text, _LINE_COLUMNS, indent, indent + "  "))
        out.line()
    if payoff is None:
        out.line("Give every parameter as NAME=VALUE to see the payoff.")
        return
    out.line(f"Payoff: {payoff.gain_label}, by {payoff.price_label}")
    for text in payoff_lines(payoff.points):
        out.line(text)
