"""A contract's file, read, compiled and verified; what is wrong with it is shown where it stands."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.named_files import read_named
from cli.output import Failure
from contracts.vm.bytecode import CODE_LENGTH_MAX, GAS, decode_program
from contracts.vm.language.compiler import Compiled, compile_verified
from contracts.vm.language.lexer import SOURCE_BYTES_MAX
from contracts.vm.verifier import Verified
from genesis.errors import Rejected

GAS_MAX: Final = CODE_LENGTH_MAX * max(GAS)
"""No program needs more: what a command allows where no chain has a say."""
_COLUMNS_MAX: Final = 160


@dataclass(frozen=True)
class LoadedContract:
    """A contract that every node would store."""

    file: Path
    compiled: Compiled
    verified: Verified


def load_contract(file: Path, gas_max: int = GAS_MAX) -> LoadedContract:
    """The contract in `file` (``-``: standard input).

    Raises:
        Failure: What is wrong, with file, line and column, and the line itself with a mark under the place.
    """
    source = read_named(file, SOURCE_BYTES_MAX).removeprefix(BOM_UTF8)
    try:
        compiled, verified = compile_verified(source, gas_max)
    except Rejected as error:
        raise _bytecode(file, source) or _failure(file, source, error) from error
    return LoadedContract(file, compiled, verified)


def _bytecode(file: Path, source: bytes) -> Failure | None:
    """What to say where somebody gives a compiled program for its text."""
    try:
        name = decode_program(source).name
    except Rejected:
        return None
    return Failure(f"{file}: this is the bytecode of the program {name}, not a contract's text.", code="bytecode")


def _failure(file: Path, source: bytes, error: Rejected) -> Failure:
    details = dict(error.details)
    line, column, length = (details.pop(name, 0) for name in ("line", "column", "length"))
    compared = ", ".join(f"{name}={value}" for name, value in details.items())
    reason = error.message + (f" ({compared})" if compared else "")
    if not (isinstance(line, int) and isinstance(column, int) and isinstance(length, int) and line):
        return Failure(f"{file}: {reason}", code=error.code)
    return Failure(f"{file}:{line}:{column}: {reason}\n{_marked(source, line, column, length)}", code=error.code)


def _marked(source: bytes, line: int, column: int, length: int) -> str:
    """The line, cut to what fits, and marks under the place."""
    lines = source.decode("utf-8", errors="replace").split("\n")
    text = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
    first = max(0, column - _COLUMNS_MAX // 2)
    shown = "".join(each if each.isprintable() else " " for each in text[first : first + _COLUMNS_MAX])
    marks = max(1, min(length, len(shown) - (column - 1 - first)))
    margin = f"{line:>5} | "
    return f"{margin}{shown}\n{' ' * (len(margin) - 2)}| {' ' * (column - 1 - first)}{'^' * marks}"
