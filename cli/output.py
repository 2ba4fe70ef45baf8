"""How every command speaks: one document for programs, tables and bars for people, failures for both.

Rules:

1. With ``--json`` a command prints exactly one JSON document on standard output, at its end, and nothing else there.
2. Without it, people get tables; rich is imported only on a terminal, elsewhere the same rows are plain text.
3. A failure goes to standard error, with a reason and what to do. Exit code 2 is wrong usage: what was typed cannot be
   meant, which is seen before anything is sent (click's own errors, and what is refused inside `typed`). Exit code 1 is
   every other failure: the chain, the network, a key or a file's content refuses.
4. Nothing that is shown to people acts on their terminal (`plain`).

A command is written as::

    @group.command("show")
    @click.argument("name")
    @reporting
    def show(out: Output, name: str) -> None:
        document = {...}
        out.result(document, lambda: out.pairs("Key", document))
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from cli.advice import advice_for
from genesis.errors import Rejected

PLAIN_PROGRESS_STEPS: Final = 4
"""Away from a terminal a bar becomes this many lines."""

LINE_MAX: Final = 2_000
"""Of a failure; what is compared in one may be as long as what was given."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Failure(click.ClickException):
    """A command that could not do what was asked: exit code 1.

    Args:
        reason: One sentence: what went wrong, with the values that were compared.
        advice: What the user can do about it; by default what `cli.advice` says of the code.
        code: The stable identifier of the rule, where there is one.
    """

    exit_code = 1

    def __init__(self, reason: str, advice: str = "", code: str = "") -> None:
        super().__init__(reason)
        self.advice = advice or advice_for(code)
        self.code = code

    @classmethod
    def of(cls, error: Rejected) -> Failure:
        """The failure that a refusal of ours or of a validator amounts to."""
        compared = ", ".join(f"{name}={value}" for name, value in error.details.items())
        reason = error.message + (f" ({compared})" if compared else "")
        return cls(reason, code=error.code)

    @classmethod
    def of_system(cls, error: OSError) -> Failure:
        """The failure that an error of the operating system amounts to."""
        where = f"{error.filename}: " if error.filename else ""
        return cls(f"{where}{error.strerror or error}.", code="system")

    def show(self, file: Any = None) -> None:
        """Write the failure to standard error."""
        kind = f" [{self.code}]" if self.code else ""
        lines = (_cut(line) for line in plain(self.message).split("\n"))
        click.echo(f"novate: error{kind}: " + "\n".join(lines), err=True)
        if self.advice:
            click.echo(f"  what to do: {self.advice}", err=True)


class Misuse(Failure):
    """Wrong usage that click cannot see: exit code 2, in the form of every other failure."""

    exit_code = 2


@contextmanager
def typed() -> Iterator[None]:
    """Inside stands nothing but what was typed on the command line: to refuse it is wrong usage (`Misuse`)."""
    try:
        yield
    except Rejected as error:
        raise Misuse.of(error) from error


class Amount(int):
    """A quantity, which people get in groups of three digits; a bare integer (a height, a moment, an id) is not."""


class Progress:
    """A count towards a total; `advance` is called as the work is done."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self._step = step

    def advance(self, count: int = 1) -> None:
        """`count` more units are done."""
        self._step(count)


class Output:
    """Where one command writes. `as_json` silences everything but `result`."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def is_terminal(self) -> bool:
        """Whether a person watches standard output."""
        return not self.as_json and sys.stdout.isatty()

    def result(self, document: Any, show: Callable[[], None] | None = None) -> None:
        """The command's outcome: the JSON document, or what `show` prints for people."""
        if self.as_json:
            click.echo(json.dumps(document, separators=(", ", ": "), ensure_ascii=False))
        elif show is not None:
            show()

    def line(self, text: str = "") -> None:
        """One line for people; nothing with ``--json``."""
        if not self.as_json:
            click.echo(plain(text))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under column heads; numbers stand to the right, an `Amount` in groups."""
        if self.as_json:
            return
        title, cells = plain(title), [[_cell(value) for value in row] for row in rows]
        right = [bool(rows) and all(_is_number(row[at]) for row in rows) for at in range(len(columns))]
        if self.is_terminal:
            _rich_table(title, columns, cells, right)
        else:
            _plain_table(title, columns, cells, right)

    def pairs(self, title: str, values: Mapping[str, object]) -> None:
        """Names and values, one a line."""
        self.table(title, ("", ""), [(name, _cell(value)) for name, value in values.items()])

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Progress]:
        """A bar on a terminal, a few plain lines elsewhere, nothing with ``--json``."""
        if self.is_terminal:
            with _rich_progress(description, total) as step:
                yield Progress(step)
        else:
            yield Progress(_plain_progress(self.line, description, total))


def reporting(function: Command) -> Command:
    """Give a command ``--json`` and pass it an `Output` as its first argument. It stands nearest the function."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, **kwargs: Any) -> Any:
        return function(Output(as_json), *args, **kwargs)

    return run  # type: ignore[return-value]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Amount):
        return f"{int(value):,}"
    if value is None:
        return "-"
    return plain(str(value))


def plain(text: str) -> str:
    """The text without what acts on a terminal: files, proofs and validators' answers are somebody else's."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _cut(line: str) -> str:
    return line if len(line) <= LINE_MAX else f"{line[:LINE_MAX]}... ({len(line):,} characters)"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain_table(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    heads = [list(columns)] if any(columns) else []
    widths = [max(len(row[at]) for row in [list(columns), *map(list, cells)]) for at in range(len(columns))]
    if title:
        click.echo(title)
    for row in [*heads, *cells]:
        padded = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ]
        click.echo("  " + "  ".join(padded).rstrip())


def _rich_table(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # No frame: six columns of satoshi fit a terminal of 80 columns, and can be selected with the mouse.
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        show_header=any(columns),
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for head, is_right in zip(columns, right, strict=True):
        table.add_column(head, justify="right" if is_right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    Console().print(table)


@contextmanager
def _rich_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with RichProgress(*columns) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


def _plain_progress(write: Callable[[str], None], description: str, total: int) -> Callable[[int], None]:
    done = 0
    shown = 0

    def step(count: int) -> None:
        nonlocal done, shown
        done += count
        reached = PLAIN_PROGRESS_STEPS * done // total if total else PLAIN_PROGRESS_STEPS
        if reached > shown:
            shown = reached
            write(f"{description}: {done:,} of {total:,}")

    return step
