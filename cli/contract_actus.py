"""``novate contract actus``: options in the terms of the ACTUS standard, run by the machine that settles contracts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from cli.output import Failure, Output, reporting
from contracts.calendar import moment_iso
from contracts.vm.actus import STRIKES_MAX, option_events, option_program
from contracts.vm.actus_terms import DECIMALS, TEXT_MAX, Event, parse_case, parse_decimal
from contracts.vm.verifier import Verified
from genesis.errors import Rejected
from node.small_files import read_small

FILE_BYTES_MAX: Final = 2**24
CASES_MAX: Final = 10_000
_COLUMNS: Final = ("case", "date", "event", "payoff", "exercise amount", "exercised")


@click.command("actus")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--case", "chosen", multiple=True, metavar="ID", help="Only the case of this name; repeatable.")
@click.option(
    "--price-max",
    metavar="PRICE",
    help=f"The largest price that the collateral provides for.  [default: {STRIKES_MAX} times the strike]",
)
@reporting
def actus(out: Output, file: Path, chosen: Sequence[str], price_max: str | None) -> None:
    """Run options in ACTUS terms and compare their events.

    FILE is JSON as the ACTUS tests have it: by name, {terms, to, dataObserved, eventsObserved, results}. Contract type
    OPTNS: European calls and puts, settled in cash. The events are compared with the results that FILE states. Exit
    code 1 if one differs or a case is refused.
    """
    cases = load_cases(file)
    unknown = [each for each in chosen if each not in cases]
    if unknown:
        raise Failure(f"{file} has no case {unknown[0]!r}.", code="unknown_name")
    price_max_ticks = parse_decimal(price_max) if price_max is not None else None
    verified = option_program()
    ran = [_case(verified, name, cases[name], price_max_ticks) for name in chosen or cases]
    agreeing = sum(each["agrees"] for each in ran)
    document = {"decimals": DECIMALS, "cases": ran, "count": len(ran), "agreeing": agreeing}
    out.result(document, lambda: _show(out, document))
    if agreeing < len(ran):
        raise SystemExit(1)


def load_cases(file: Path) -> dict[str, Any]:
    """The cases of a file by name; fractions stay text.

    Raises:
        Rejected: ``too_large``, or ``bad_terms`` where it is no JSON or holds no cases.
        OSError: It cannot be read.
    """
    data = read_small(file, FILE_BYTES_MAX)
    if len(data) > FILE_BYTES_MAX:
        raise Rejected("too_large", "The file of cases is too large.", size_max=FILE_BYTES_MAX)
    try:
        cases = json.loads(data, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise Rejected("bad_terms", "The file is no JSON.") from error
    if not isinstance(cases, dict) or len(cases) > CASES_MAX:
        raise Rejected("bad_terms", "The file is no object of cases by name.", cases_max=CASES_MAX)
    if not all(name.isprintable() and len(name) <= TEXT_MAX for name in cases):
        raise Rejected("bad_terms", "A case has a name that is too long or cannot be shown.", length_max=TEXT_MAX)
    return cases


def _case(verified: Verified, name: str, document: object, price_max_ticks: int | None) -> dict[str, Any]:
    """One case; a refusal is its outcome."""
    try:
        case = parse_case(document)
        events = option_events(verified, case, price_max_ticks)
    except Rejected as error:
        refused = {"code": error.code, "message": Failure.of(error).message}
        return {"case": name, "agrees": False, "events": [], "expected": [], "refused": refused}
    expected = [_event(each) for each in case.expected]
    agrees = events == case.expected
    return {"case": name, "agrees": agrees, "events": [_event(each) for each in events], "expected": expected}


def _event(event: Event) -> dict[str, Any]:
    exercised = event.exercise_unix_ms
    return {
        "date": moment_iso(event.unix_ms),
        "event": event.kind,
        "payoff_minor": event.payoff_minor,
        "currency": event.currency,
        "exercise_amount_minor": event.exercise_amount_minor,
        "exercise_date": moment_iso(exercised) if exercised is not None else None,
        "notional_minor": event.notional_minor,
    }


def _show(out: Output, document: dict[str, Any]) -> None:
    rows = [_row(each["case"], event) for each in document["cases"] for event in each["events"]]
    if rows:
        out.table("Events", _COLUMNS, rows)
    for each in document["cases"]:
        if "refused" in each:
            out.line(f"{each['case']}: REFUSED: {each['refused']['message']}")
        elif not each["agrees"]:
            out.line(f"{each['case']}: DIFFERS; it should be:")
            out.table("Expected", _COLUMNS, [_row(each["case"], event) for event in each["expected"]])
    out.line(f"{document['agreeing']} of {document['count']} cases agree with what the file states.")


def _row(case: str, event: dict[str, Any]) -> tuple[str, ...]:
    money = _decimal(event["payoff_minor"]), _decimal(event["exercise_amount_minor"])
    return (case, event["date"][:10], event["event"], *money, (event["exercise_date"] or "")[:10])


def _decimal(minor: int) -> str:
    whole, fraction = divmod(abs(minor), 10**DECIMALS)
    return f"{'-' if minor < 0 else ''}{whole:,}.{fraction:0{DECIMALS}}"
