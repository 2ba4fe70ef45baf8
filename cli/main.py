"""``novate``: the group of commands.

Rules:

1. A command's module is imported when that command is invoked, and not before: ``novate --help`` answers from the table
   below without numba, an HTTP library or rich.
2. Every failure ends here in one form (`cli.output.Failure`): standard error, a reason and what to do, exit code 1.
   Wrong usage is exit code 2 (`cli.output`, rule 3). An `InvariantViolation` is ours and stays a traceback.

Completion: ``eval "$(_NOVATE_COMPLETE=bash_source novate)"`` (or ``zsh_source``, ``fish_source``).
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from cli.output import Failure
from genesis.errors import Rejected

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "keys": ("cli.keys:keys", "Make and list keys, encrypted at rest."),
    "genesis": ("cli.genesis:genesis", "Create, show and verify a genesis document."),
    "node": ("cli.node:node", "Prepare and run one validator."),
    "signer": ("cli.signer:signer", "Keep a validator's key in a process of its own."),
    "testnet": ("cli.testnet:testnet", "Run a network of validators on this machine."),
    "tx": ("cli.tx:tx", "Sign and send transactions."),
    "gov": ("cli.gov:gov", "Propose and approve changes of the validators."),
    "query": ("cli.query:query", "Ask a validator about accounts, positions, series and blocks."),
    "verify": ("cli.verify:verify", "Verify a proof of the state, offline."),
    "contract": ("cli.contract:contract", "Check, compile, run, value, explain, prove contracts."),
    "price": ("cli.price:price", "Price options, one or a file of them; simulate."),
    "replay": ("cli.replay:replay", "Replay an option tape through its expiry."),
    "bench": ("cli.bench:bench", "Measure a network of validators."),
    "sim": ("cli.sim:sim", "Simulate a network under seeded faults."),
    "demo": ("cli.demo:demo", "Start a testnet, replay a tape, settle, report."),
}
"""Each command's ``module:attribute`` and its line in the help."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is invoked."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is no such name (click then reports wrong usage)."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help's list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Completions of a command's name, from the table alone."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a refusal and an error of the operating system become a `Failure`."""
        try:
            return super().invoke(ctx)
        except Rejected as error:
            raise Failure.of(error) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            raise Failure.of_system(error) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(None, "--version", package_name="novate", prog_name="novate")
def novate() -> None:
    """A permissioned Byzantine-fault-tolerant ledger for settling options."""


def main() -> None:
    """The entry point of the ``novate`` command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path need not be text; to show one must not fail. Standard error is so from the start.
        sys.stdout.reconfigure(errors="backslashreplace")
    novate(prog_name="novate")


if __name__ == "__main__":
    main()
