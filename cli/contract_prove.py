"""``novate contract prove``: a contract never owes more than it holds, whatever happens; or numbers for which it does.

Exit codes: 0, every claim is proved; 3, one is refuted, with a counterexample; 4, one is undecided, or a certificate is
not confirmed. What is undecided is never called proved: it is tried again for small parameters, and what that shows is
said apart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli.contract_source import LoadedContract, load_contract
from cli.contract_values import moment_text, parameter_ranges
from cli.output import Amount, Failure, Output, reporting
from cli.proofs.certificate import certified_claims, certified_ranges, document_of, read_certificate
from contracts.vm.bytecode import Kind, Program
from contracts.vm.intervals import Interval

if TYPE_CHECKING:
    from cli.proofs.prover import Proof

EXIT_CODES: Final[Mapping[str, int]] = {"proved": 0, "refuted": 3, "unknown": 4}
NARROWER: Final = (1_000, 10)
"""How many values of each parameter are left when an undecided contract is tried again."""
_WHOLE_SHARE_PERCENT: Final = 60
"""Of the time: the rest is for narrower ranges."""


@click.command("prove")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.argument("ranges", nargs=-1, metavar="[PARAMETER=VALUE|LOW..HIGH]...")
@click.option(
    "--seconds", type=click.IntRange(1, 86_400), default=60, show_default=True, help="The most time it takes."
)
@click.option(
    "--certificate", type=click.Path(path_type=Path, dir_okay=False), help="Write what was decided to this file (JSON)."
)
@click.option(
    "--check",
    "checked",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Compare this certificate with FILE, and prove again what it says.",
)
@reporting
def prove_file(
    out: Output, file: Path, ranges: Sequence[str], seconds: int, certificate: Path | None, checked: Path | None
) -> None:
    """Prove that the contract in FILE never owes more than it holds.

    For all parameters, prices and elections: no payment exceeds what is locked, nothing is lost or made, and every path
    closes. Parameters may be given a value or a narrower range. Exit code 0: proved; 3: refuted by numbers; 4:
    undecided. Needs the extra "proofs" (Z3).
    """
    loaded = load_contract(file)
    program = loaded.verified.program
    asked = parameter_ranges(program, ranges)
    if checked is not None:
        if asked:
            raise click.UsageError("A certificate has its own ranges: give either --check or parameters.")
        certified = read_certificate(checked)
        asked = certified_ranges(checked, certified, program)
        document = _proved(out, loaded, asked, seconds)
        document["check"] = _compared(certified_claims(checked, certified), certified, document)
    else:
        document = _proved(out, loaded, asked, seconds)
    if certificate is not None:
        certificate.write_text(json.dumps(document, indent=1) + "\n")
    out.result(document, lambda: _show(out, program, document, certificate))
    code = EXIT_CODES[document["verdict"]]
    if not document.get("check", {}).get("confirmed", True):
        code = code or EXIT_CODES["unknown"]
    if code:
        raise click.exceptions.Exit(code)


def _proved(out: Output, loaded: LoadedContract, asked: Mapping[int, Interval], seconds: int) -> dict[str, Any]:
    """The certificate's document, with what narrower ranges show where the ones asked for stay undecided."""
    prover = _prover()
    program, origins = loaded.verified.program, loaded.compiled.origins
    started = time.monotonic()
    share = (100 - _WHOLE_SHARE_PERCENT) // len(NARROWER)
    ends = [started + seconds * (_WHOLE_SHARE_PERCENT + share * n) / 100 for n in range(len(NARROWER) + 1)]
    proof = _bounded(out, prover, loaded, asked, ends[0], "paths")
    narrower: list[dict[str, Any]] = []
    for count, deadline in zip(NARROWER, ends[1:], strict=True):
        is_decided = proof.verdict != "unknown" or any(each["verdict"] == "proved" for each in narrower)
        if is_decided or time.monotonic() >= deadline:
            break
        small = _narrowed(program, proof.ranges, count)
        again = _bounded(out, prover, loaded, small, deadline, f"paths, {count:,} values a parameter")
        if again.counterexample is not None:
            # Its numbers lie in the wider ranges too.
            claims = {**proof.claims, again.counterexample.claim: "refuted"}
            proof = prover.Proof(proof.ranges, claims, again.counterexample, proof.paths, proof.paths_all)
            break
        narrower.append({"verdict": again.verdict, "parameters": _ranges(program, again)})
    document = document_of(program, origins, proof, prover.claims, prover.version)
    bounds = {"seconds": seconds, "steps_per_query": prover.steps_max}
    return {**document, "narrower": narrower, "bounds": bounds, "seconds": round(time.monotonic() - started, 3)}


def _ranges(program: Program, proof: Proof) -> list[dict[str, Any]]:
    named = zip(program.parameters, proof.ranges, strict=True)
    return [{"name": each.name, "low": low, "high": high} for each, (low, high) in named]


def _narrowed(program: Program, ranges: Sequence[Interval], count: int) -> dict[int, Interval]:
    """The first `count` values of each parameter; times stay free."""
    return {
        number: (low, high if program.parameters[number].type.kind is Kind.TIME else min(high, low + count - 1))
        for number, (low, high) in enumerate(ranges)
    }


def _bounded(
    out: Output,
    prover: _Prover,
    loaded: LoadedContract,
    ranges: Mapping[int, Interval],
    deadline: float,
    description: str,
) -> Proof:
    with ExitStack() as stack:

        def begin(paths: int) -> Callable[[], None]:
            return stack.enter_context(out.progress(description, paths)).advance

        return prover.prove(loaded.verified, ranges, deadline, begin)


@dataclass(frozen=True)
class _Prover:
    """The part that needs the solver."""

    prove: Callable[..., Proof]
    Proof: type[Proof]
    claims: Mapping[str, str]
    version: str
    steps_max: int


def _prover() -> _Prover:
    """The prover, imported now.

    Raises:
        Failure: The solver is not installed (code ``no_proofs``).
    """
    try:
        import z3

        from cli.proofs import prover
    except ModuleNotFoundError as error:
        if error.name != "z3":
            raise
        raise Failure("A proof needs the solver Z3 (z3-solver), which is not installed.", code="no_proofs") from error
    return _Prover(prover.prove, prover.Proof, prover.CLAIMS, z3.get_version_string(), prover.STEPS_MAX)


def _compared(before: Mapping[str, str], certified: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The certificate against the proof made now."""
    now = {each["claim"]: each["verdict"] for each in document["claims"]}
    return {
        "program_id": "same",
        "confirmed": before == now and certified["verdict"] == document["verdict"],
        "certified_verdict": certified["verdict"],
        "certified_solver": certified["solver"],
        "differing_claims": sorted({name for name in {**before, **now} if before.get(name) != now.get(name)}),
    }


def _show(out: Output, program: Program, document: Mapping[str, Any], certificate: Path | None) -> None:
    words = {"proved": "PROVED", "refuted": "REFUTED", "unknown": "UNDECIDED"}
    paths = f"{len(document['paths']):,} of {document['paths_all']:,} paths"
    out.line(f"{words[document['verdict']]}: {program.name}, {document['program_id']}")
    out.table(
        f"Claims ({paths}, Z3 {document['solver']['version']}, {document['seconds']:.1f} s)",
        ("claim", "verdict", "says"),
        [(each["claim"], each["verdict"], each["says"]) for each in document["claims"]],
    )
    narrowed = [each for each in document["parameters"] if _is_narrower(each)]
    if narrowed:
        out.line("Only for these parameters, not for all that the contract allows:")
        for each in narrowed:
            out.line(f"  {each['name']} in {each['low']:,}..{each['high']:,}")
    for each in document["narrower"]:
        highest = ", ".join(f"{one['name']} {one['low']:,}..{one['high']:,}" for one in each["parameters"])
        out.line(f"For narrower ranges: {each['verdict']} ({highest})")
    if document["verdict"] == "unknown":
        undecided = sorted({one["line"] for path in document["paths"] for one in path["payments"] if one["by"] is None})
        if undecided:
            out.line(f"Undecided: the payments in line {', '.join(map(str, undecided))}.")
        out.line("Give more --seconds, or parameters a value or a narrower range as NAME=VALUE or NAME=LOW..HIGH.")
    elif document["verdict"] == "refuted" and document["counterexample"] is None:
        out.line("Whatever the parameters, an input ends before it opens, so no instance can start.")
    if document["counterexample"] is not None:
        _show_counterexample(out, program, document["counterexample"])
    if "check" in document:
        _show_check(out, document["check"])
    if certificate is not None:
        out.line(f"Certificate: {certificate}")


def _is_narrower(each: Mapping[str, Any]) -> bool:
    return (each["low"], each["high"]) != (each["declared_low"], each["declared_high"])


def _show_counterexample(out: Output, program: Program, found: Mapping[str, Any]) -> None:
    out.line("The interpreter, run on these numbers, shows it:")
    kinds = {each.name: each.type.kind for each in program.parameters}
    rows = [(name, _figure(value, kinds[name])) for name, value in found["parameters"].items()]
    rows += [(name, "absent" if value is None else _figure(value)) for name, value in found["inputs"].items()]
    out.table("Parameters and inputs", ("name", "value"), rows)
    for title, name in (("Locked", "locks"), ("Deposited", "deposits")):
        if found[name]:
            moved = [(each["party"], each["asset"], Amount(each["amount_minor"])) for each in found[name]]
            out.table(title, ("party", "asset", "minor units"), moved)
    out.table(
        "Paid",
        ("party", "asset", "due", "paid"),
        [
            (each["party"], each["asset"], Amount(each["due_minor"]), Amount(each["amount_minor"]))
            for each in found["payments"]
        ],
    )
    out.line(f"It falls short by {found['short_minor']:,} minor units.")


def _figure(value: int | bool, kind: Kind | None = None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:,}" if kind is not Kind.TIME else f"{value} ({moment_text(value)})"


def _show_check(out: Output, check: Mapping[str, Any]) -> None:
    solver = check["certified_solver"]
    by = f"{solver.get('name', '?')} {solver.get('version', '?')}"
    if check["confirmed"]:
        out.line(f"The certificate (by {by}) is of this program, and was proved again: {check['certified_verdict']}.")
    else:
        differing = ", ".join(check["differing_claims"]) or "the verdict"
        out.line(
            f"NOT CONFIRMED: the certificate says {check['certified_verdict']}; now {differing} came out otherwise."
        )
