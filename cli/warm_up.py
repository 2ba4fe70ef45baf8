"""Compiling the kernels, which takes a minute where no cache has them: said on standard error, and only then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import click

from cli.output import Failure
from genesis.errors import InvariantViolation

WORDS: Final = "Compiling the kernels for this machine; all of them take about a minute, once."
"""On one core of the machine that docs/PERFORMANCE.md speaks of 128 functions take 50 s."""

Step = Callable[[], object]
"""Told of each function that is compiled."""


def warm_up(begin: Callable[[ExitStack], Step] | None = None) -> None:
    """Compile the kernels or load them, and check what they compute: before several processes would fight over
    compiling them, and before a node takes part.

    Args:
        begin: As of `telling_of_kernels`.

    Raises:
        Failure: They compute something else than this version's.
    """
    from contracts.kernels import self_test

    try:
        with telling_of_kernels(begin):
            self_test()
    except InvariantViolation as error:
        raise Failure(str(error), code="wrong_kernels") from error


@contextmanager
def telling_of_kernels(begin: Callable[[ExitStack], Step] | None = None) -> Iterator[None]:
    """Inside, `begin` is called at the first function that has to be compiled, if one has to be.

    Args:
        begin: Given what is left at the end of the block; by default a line on standard error, or, on a terminal, one
            that goes on counting.
    """
    from numba.core import event

    announce = begin or _tell
    with ExitStack() as stack:
        steps: list[Step] = []

        class Listener(event.Listener):
            def on_start(self, event: Any) -> None:
                if not steps:
                    steps.append(announce(stack))

            def on_end(self, event: Any) -> None:
                for each in steps:
                    each()

        with event.install_listener("numba:compile", Listener()):
            yield


def _tell(stack: ExitStack) -> Step:
    if not sys.stderr.isatty():
        click.echo(WORDS, err=True)
        return lambda: None
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("Compiling kernels, about a minute, once: {task.completed} functions"),
        TimeElapsedColumn(),
    )
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
    task = bar.add_task("", total=None)
    return lambda: bar.advance(task)
