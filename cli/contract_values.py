"""Values on the command line: ``lots=3``, ``expiry=2026-09-25T08:00Z``, ``fee=2.5%``, ``path[3]=63000``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from cli.option_types import iso_unix_ms
from contracts.vm.bytecode import InputKind, Kind, Program, Type
from contracts.vm.intervals import Interval
from contracts.vm.language.checker import TIME_MAX
from contracts.vm.language.lexer import Sort, tokens_of
from contracts.vm.language.spelling import did_you_mean
from contracts.vm.language.words import duration_words, ratio_words
from contracts.vm.verifier import Verified
from genesis.errors import Rejected

_WHOLE: Final = re.compile(r"-?[0-9][0-9_]{0,39}")
_SPAN_MS_MAX: Final = 10 * 365 * 86_400_000
_UNITS: Final = {
    Kind.BOOL: "0 is no, 1 yes",
    Kind.TIME: "ms",
    Kind.QUANTITY: "whole",
    Kind.PRICE: "ticks",
    Kind.MONEY: "minor units",
    Kind.RATIO: ratio_words(1),
}
_TRUTHS: Final = {"true": 1, "yes": 1, "1": 1, "false": 0, "no": 0, "0": 0}


def parameter_values(program: Program, pairs: Sequence[str]) -> tuple[int, ...]:
    """Every parameter's value, in the program's order.

    Args:
        program: What declares them.
        pairs: ``name=value`` each.

    Raises:
        click.UsageError: A name that is unknown, missing or given twice; a value that is none of its type.
    """
    declared = {each.name: each.type for each in program.parameters}
    given: dict[str, int] = {}
    for name, text in _taken_apart(pairs, "PARAMETER=VALUE"):
        if name not in declared:
            raise click.UsageError(f"There is no parameter {name!r}.{did_you_mean(name, declared)}")
        if name in given:
            raise click.UsageError(f"The parameter {name!r} is given twice.")
        given[name] = _value(name, declared[name], text)
    missing = [name for name in declared if name not in given]
    if missing:
        raise click.UsageError(f"Give a value for {', '.join(missing)}, each as NAME=VALUE.")
    return tuple(given[name] for name in declared)


def parameter_ranges(program: Program, pairs: Sequence[str]) -> dict[int, Interval]:
    """The ranges that are asked for, by the parameter's number: ``name=value`` or ``name=low..high`` each.

    Raises:
        click.UsageError: A name that is unknown or given twice, a value that is none of its type, an empty range.
    """
    numbers = {each.name: number for number, each in enumerate(program.parameters)}
    found: dict[int, Interval] = {}
    for name, text in _taken_apart(pairs, "PARAMETER=VALUE or PARAMETER=LOW..HIGH"):
        if name not in numbers:
            raise click.UsageError(f"There is no parameter {name!r}.{did_you_mean(name, numbers)}")
        if numbers[name] in found:
            raise click.UsageError(f"The parameter {name!r} is given twice.")
        of = program.parameters[numbers[name]].type
        first, dots, last = text.partition("..")
        low = _value(name, of, first)
        high = _value(name, of, last) if dots else low
        if low > high:
            raise click.UsageError(f"{name}: the range from {low} to {high} is empty.")
        found[numbers[name]] = low, high
    return found


def settled_inputs(
    verified: Verified,
    observed: Sequence[str],
    elected: Sequence[str],
    absent: Sequence[str],
    passed: Sequence[str] = (),
) -> dict[int, int | None]:
    """What has been settled, by input; a window's name stands for all of its prices.

    Args:
        verified: The program.
        observed, elected: ``name=value`` each.
        absent: Names.
        passed: Names of moments that have come.

    Raises:
        click.UsageError: As `parameter_values`.
    """
    program = verified.program
    found: dict[int, int | None] = {}
    for option, kind, pairs in (
        ("--observe", InputKind.PRICE, observed),
        ("--elect", InputKind.ELECTION, elected),
    ):
        for name, text in _taken_apart(pairs, f"{option} NAME=VALUE"):
            for number in _inputs_named(program, name, kind, option):
                _settle(program, found, number, _value(name, program.inputs[number].type, text))
    for name in passed:
        for number in _inputs_named(program, name, InputKind.MOMENT, "--passed"):
            _settle(program, found, number, 1)
    for name in absent:
        for number in _inputs_named(program, name, None, "--absent"):
            _settle(program, found, number, None)
    return found


def moment_text(unix_ms: int) -> str:
    """A time for people: UTC, or the milliseconds where no calendar has it."""
    try:
        return datetime.fromtimestamp(unix_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{unix_ms} ms"


def limits(kind: Kind, low: int, high: int) -> dict[str, Any]:
    """A declared range: as the chain counts, one of what that is, and what it means where that is not the same."""
    means = ""
    if kind is Kind.RATIO:
        means = f"{ratio_words(low)} to {ratio_words(high)}"
    elif kind is Kind.TIME:
        # What ends within years of 1970 is no date on any chain, but a span.
        words = duration_words if high < _SPAN_MS_MAX else moment_text
        means = "any time" if (low, high) == (0, TIME_MAX) else f"{words(low)} to {words(high)}"
    return {"low": low, "high": high, "unit": _UNITS[kind], "means": means}


def _settle(program: Program, found: dict[int, int | None], number: int, value: int | None) -> None:
    if number in found:
        raise click.UsageError(f"{program.inputs[number].name!r} is settled twice.")
    found[number] = value


def _inputs_named(program: Program, name: str, kind: InputKind | None, option: str) -> list[int]:
    names = [each.name for each in program.inputs if kind in (None, each.kind)]
    numbers = [
        number
        for number, each in enumerate(program.inputs)
        if kind in (None, each.kind) and (each.name == name or each.name.partition("[")[0] == name)
    ]
    if not numbers:
        known = sorted({*names, *(each.partition("[")[0] for each in names)})
        raise click.UsageError(f"{option}: the contract waits for no {name!r}.{did_you_mean(name, known)}")
    return numbers


def _taken_apart(pairs: Sequence[str], form: str) -> list[tuple[str, str]]:
    found = []
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{pair!r} is not of the form {form}.")
        found.append((name, text.strip()))
    return found


def _value(name: str, of: Type, text: str) -> int:
    value = _whole(text)
    if of.kind is Kind.BOOL:
        value = _TRUTHS.get(text.lower())
    elif of.kind is Kind.TIME and value is None:
        value = _time(text)
    elif of.kind is Kind.RATIO:
        value = _of_unit(text, Sort.RATIO)
    if value is None:
        forms = {
            Kind.BOOL: "true or false",
            Kind.TIME: "milliseconds since 1970, 2026-09-25T08:00Z, or a duration like 2h",
            Kind.RATIO: "2.5% or 0.25x",
        }
        raise click.UsageError(f"{name}: {text!r} is not {forms.get(of.kind, 'a whole number')}.")
    return value


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _time(text: str) -> int | None:
    """A duration, or an instant."""
    duration = _of_unit(text, Sort.DURATION)
    return duration if duration is not None else iso_unix_ms(text)


def _of_unit(text: str, sort: Sort) -> int | None:
    """A number of the language with its unit."""
    sign, unsigned = (-1, text[1:]) if text.startswith("-") else (1, text)
    try:
        first, *rest = tokens_of(unsigned)
    except Rejected:
        return None
    return sign * first.value if first.sort is sort and len(rest) == 1 else None
