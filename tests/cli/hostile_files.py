"""Files that are no contract, for `tests.cli.test_contract_hostile`: how each is made, and what must be said of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.contracts.vm.language.texts import library

HEAD: Final = b"contract x\nparty a\nasset C rest to a\nparameter p: money C in 0..9\n"
HUGE_BYTES: Final = 100_000_000


@dataclass(frozen=True)
class Hostile:
    """One of them.

    Attributes:
        name: For people.
        make: Puts it at a path.
        code: Of the failure that it must lead to.
        says: Part of what must be said.
    """

    name: str
    make: Callable[[Path], object]
    code: str
    says: str


def holding(data: bytes) -> Callable[[Path], object]:
    """A file with these bytes."""
    return lambda path: path.write_bytes(data)


def huge(path: Path) -> None:
    """A file of a hundred megabytes, of which the disk holds none."""
    with path.open("wb") as file:
        file.truncate(HUGE_BYTES)


def loop(path: Path) -> None:
    """Two links that lead to each other."""
    other = path.with_name(f"{path.name}.other")
    other.symlink_to(path)
    path.symlink_to(other)


def bytecode(path: Path) -> None:
    """A program, compiled."""
    from contracts.vm.bytecode import encode_program

    path.write_bytes(encode_program(library("digital")[1].program))


HOSTILE: Final = (
    Hostile("empty", holding(b""), "bad_syntax", "found the end of the text"),
    Hostile("huge", huge, "source_too_large", "size_max=65536"),
    Hostile("deep", holding(HEAD + b"pay " + b"(" * 30_000 + b"p" + b")" * 30_000), "too_deep", "depth_max=48"),
    Hostile("deep_blocks", holding(HEAD + b"if p > 1 { " * 5_000), "too_deep", "depth_max=48"),
    Hostile("signs", holding(HEAD + b"pay " + b"-" * 60_000 + b"p to a close"), "too_deep", "depth_max=48"),
    Hostile("nots", holding(HEAD + b"if " + b"not " * 15_000 + b"p { } close"), "too_deep", "depth_max=48"),
    Hostile("wide", holding(HEAD + b"pay p" + b" + p" * 16_000 + b" to a close"), "program_too_long", "4096"),
    Hostile("doubling", holding(
        HEAD + b"let l0 = p " + b"".join(b"let l%d = l%d + l%d " % (n, n - 1, n - 1) for n in range(1, 1_500))
        + b"pay l1499 to a close"), "bad_program", "at most 127"),
    Hostile("latin1", holding(b"# caf\xe9\n" + HEAD), "bad_text", "not UTF-8"),
    Hostile("utf16", holding("contract x".encode("utf-16")), "bad_text", "not UTF-8"),
    Hostile("noise", holding(bytes(range(256)) * 100), "bad_text", "not UTF-8"),
    Hostile("escapes", holding(b"contract \x1b[2J\x1b]0;evil\x07"), "bad_text", "U+001B"),
    Hostile("bytecode", bytecode, "bytecode", "the bytecode of the program digital"),
    Hostile("number", holding(HEAD + b"pay " + b"9" * 60_000 + b" to a close"), "bad_text", "digits_max=40"),
    Hostile("name", holding(b"contract " + b"x" * 60_000), "bad_text", "length_max=32"),
    Hostile("device", lambda path: path.symlink_to("/dev/zero"), "no_plain_file", "neither a file nor a pipe"),
    Hostile("loop", loop, "system", "symbolic links"),
    Hostile("nowhere", lambda path: path.symlink_to("missing"), "system", "No such file"),
    Hostile("silent", os.mkfifo, "silent_pipe", "did not end"),
)  # fmt: skip
"""Whatever a shell can name where a contract should be."""
