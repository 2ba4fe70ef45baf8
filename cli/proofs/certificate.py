"""A proof as a document: what was claimed, for which program and ranges, by which solver, path by path.

A certificate is a record, not a derivation that could be checked without a solver: it rests on Z3 and on this project's
encoding, and whoever doubts it proves again (``--check``). It names the program by the digest of its bytecode, so it
says nothing of a program that differs by a bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.output import Failure
from contracts.vm.bytecode import Kind, Program
from contracts.vm.intervals import Interval
from contracts.vm.language.lexer import At
from contracts.vm.symbolic import Outcome
from node.small_files import read_small

if TYPE_CHECKING:
    from cli.proofs.prover import PathProof, Proof
    from cli.proofs.scenarios import Counterexample

FORMAT: Final = "novate-proof-certificate/1"
BYTES_MAX: Final = 2**24
ASSUMES: Final = (
    "the solver and the encoding of the bytecode are right",
    "every parameter lies in its range here, every observation and election in its declared range",
    "the chain settles each input, by its value or as absent, no later than its deadline",
)


def document_of(
    program: Program, origins: Sequence[At], proof: Proof, claims: Mapping[str, str], solver: str
) -> dict[str, Any]:
    """The certificate's document, less what the command adds: bounds and time."""
    ranges = zip(program.parameters, proof.ranges, strict=True)
    return {
        "format": FORMAT,
        "contract": program.name,
        "program_id": program.program_id.hex(),
        "verdict": proof.verdict,
        "claims": [
            {"claim": name, "says": text, "verdict": proof.claims[name], "by": _means(proof, name)}
            for name, text in claims.items()
        ],
        "parameters": [
            {"name": each.name, "low": low, "high": high, "declared_low": each.low, "declared_high": each.high}
            for each, (low, high) in ranges
        ],
        "inputs": [{"name": each.name, "low": each.low, "high": each.high} for each in program.inputs],
        "paths_all": proof.paths_all,
        "paths": [_path(program, origins, each) for each in proof.paths],
        "counterexample": counterexample_of(program, proof.counterexample),
        "solver": {"name": "z3", "version": solver},
        "assumes": list(ASSUMES),
    }


def _means(proof: Proof, claim: str) -> dict[str, int]:
    """How many payments were decided in which way; for the claims that have such."""
    found: dict[str, int] = {}
    for payment in (payment for each in proof.paths for payment in each.payments if claim == "no_shortfall"):
        found[payment.by or "undecided"] = found.get(payment.by or "undecided", 0) + 1
    return found


def _path(program: Program, origins: Sequence[At], proof: PathProof) -> dict[str, Any]:
    def named(outcome: Outcome) -> list[str]:
        return [program.inputs[number].name for number, each in proof.outcomes.items() if each is outcome]

    return {
        "parameters": {program.parameters[number].name: bool(value) for number, value in proof.case.items()},
        "arrived": len(named(Outcome.ARRIVED)),
        "declined": named(Outcome.DECLINED),
        "absent": named(Outcome.ABSENT),
        "branches": proof.branches,
        "payments": [
            {
                "instruction": each.at,
                "line": origins[each.at].line,
                "asset": program.assets[each.asset].name,
                "by": each.by or None,
            }
            for each in proof.payments
        ],
        "conserved": proof.conserved,
        "closed_at": proof.closed_at,
    }


def counterexample_of(program: Program, found: Counterexample | None) -> dict[str, Any] | None:
    """A counterexample by names, in minor units; what the interpreter paid on it."""
    if found is None:
        return None

    def moved(rows: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
        return [
            {"party": program.parties[party], "asset": program.assets[asset].name, "amount_minor": amount}
            for party, asset, amount in rows
        ]

    return {
        "claim": found.claim,
        "parameters": {
            each.name: _shown(each.type.kind, value)
            for each, value in zip(program.parameters, found.scenario.parameters, strict=True)
        },
        "inputs": {
            program.inputs[number].name: None if value is None else _shown(program.inputs[number].type.kind, value)
            for number, value in sorted(found.scenario.settled.items())
        },
        "locks": moved(found.locks),
        "deposits": moved(found.deposits),
        "payments": [
            {
                "party": program.parties[each.party],
                "asset": program.assets[each.asset].name,
                "amount_minor": each.amount_minor,
                "due_minor": each.due_minor,
            }
            for each in found.payments
        ],
        "short_minor": found.short_minor,
    }


def _shown(kind: Kind, value: int) -> int | bool:
    return bool(value) if kind is Kind.BOOL else value


def read_certificate(file: Path) -> dict[str, Any]:
    """A certificate's document, as far as a check needs it.

    Raises:
        Failure: It is none (code ``bad_proof_certificate``).
        OSError: It cannot be read.
    """
    data = read_small(file, BYTES_MAX)
    try:
        document = json.loads(data) if len(data) <= BYTES_MAX else None
    except (ValueError, RecursionError) as error:
        raise _none(file, str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _none(file, f"its format is not {FORMAT}")
    wanted: dict[str, type] = {"program_id": str, "verdict": str, "parameters": list, "claims": list, "solver": dict}
    for name, kind in wanted.items():
        if not isinstance(document.get(name), kind):
            raise _none(file, f"it has no {name}")
    return document


def certified_ranges(file: Path, document: Mapping[str, Any], program: Program) -> dict[int, Interval]:
    """The ranges for which a certificate was made, by parameter.

    Raises:
        Failure: It is of another program (``other_program``), or malformed (``bad_proof_certificate``).
    """
    certified, given = document["program_id"], program.program_id.hex()
    if certified != given:
        raise Failure(
            f"{file}: the certificate is for program {certified}, the contract is {given}.", code="other_program"
        )
    found = [
        (each["low"], each["high"])
        for each in document["parameters"]
        if isinstance(each, dict) and type(each.get("low")) is int and type(each.get("high")) is int
    ]
    if len(found) != len(program.parameters):
        raise _none(file, "it does not give each parameter's range")
    return dict(enumerate(found))


def certified_claims(file: Path, document: Mapping[str, Any]) -> dict[str, str]:
    """What a certificate says of each claim.

    Raises:
        Failure: It is malformed (``bad_proof_certificate``).
    """
    found = {}
    for each in document["claims"]:
        if (
            not isinstance(each, dict)
            or not isinstance(each.get("claim"), str)
            or not isinstance(each.get("verdict"), str)
        ):
            raise _none(file, "a claim is malformed")
        found[each["claim"]] = each["verdict"]
    return found


def _none(file: Path, why: str) -> Failure:
    return Failure(f"{file}: this is no certificate of a proof: {why}.", code="bad_proof_certificate")
