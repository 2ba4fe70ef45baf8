"""The frame of every command: quick help, one form of failure, exit codes that scripts can use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, LazyGroup, novate
from cli.output import ADVICE, Failure, Output, reporting
from genesis.errors import InvariantViolation, Rejected

HEAVY = frozenset(
    ["numba", "numpy", "httpx", "starlette", "hypercorn", "rich", "cryptography", "trio", "plyvel", "nacl", "msgpack"]
)


def test_help_imports_nothing_heavy() -> None:
    """Help within 120 ms: what is not imported cannot make it slow, on any machine."""
    program = (
        "import sys; from click.testing import CliRunner; from cli.main import novate; "
        "result = CliRunner().invoke(novate, ['--help']); assert result.exit_code == 0, result; "
        "print(','.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.strip().split(","))
    assert loaded.isdisjoint(HEAVY), loaded & HEAVY
    assert "click" in loaded


def test_help_lists_every_command() -> None:
    """A command that help does not show does not exist for a newcomer."""
    result = CliRunner().invoke(novate, ["--help"])
    assert result.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert name in result.stdout
        assert text in result.stdout


def test_every_command_of_the_table_exists() -> None:
    """The table names modules as text; a wrong name would show only to the user who types it."""
    context = click.Context(novate)
    for name in COMMANDS:
        command = LazyGroup().get_command(context, name)
        assert isinstance(command, click.Command), name


def leaves(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command below, with its words."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        below = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        return [leaf for name, each in below if each is not None for leaf in leaves(each, (*path, name))]
    return [(path, command)]


def test_every_command_takes_json() -> None:
    """Scripts rely on ``--json`` everywhere, without looking it up."""
    found = leaves(novate, ())
    assert len(found) > 10
    without = [path for path, command in found if not any("--json" in each.opts for each in command.params)]
    assert without == []


WRONG_USAGE = [[], ["nonsense"], ["keys", "new"], ["keys", "list", "--colour"], ["keys", "new", "a", "--cost", "free"]]


@pytest.mark.parametrize("arguments", WRONG_USAGE)
def test_wrong_usage_is_exit_code_2_on_standard_error(arguments: list[str]) -> None:
    """A script tells a typo of its own from a failure of the network by the code."""
    result = CliRunner().invoke(novate, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr


def command_that(action: Callable[[Output], None]) -> LazyGroup:
    """A group whose one command does that."""

    class Fixed(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            return click.Command("act", callback=None, params=[]) if cmd_name != "act" else act

    @click.command("act")
    @reporting
    def act(out: Output) -> None:
        action(out)

    return Fixed("novate")


def refuse(out: Output) -> None:
    raise Rejected("wrong_passphrase", "The passphrase does not open this key.", name="alice")


def miss_a_file(out: Output) -> None:
    Path("no/such/file").read_text()


def fail(out: Output) -> None:
    raise Failure("No validator answers.", "Start the testnet.", "unreachable")


FAILURES = [
    (refuse, "error [wrong_passphrase]: The passphrase does not open this key. (name=alice)", "NOVATE_PASSPHRASE"),
    (miss_a_file, "error [system]: no/such/file: No such file or directory.", "permissions"),
    (fail, "error [unreachable]: No validator answers.", "Start the testnet."),
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("action", "reason", "advice"), FAILURES)
def test_a_failure_is_exit_code_1_with_a_reason_and_what_to_do(
    action: Callable[[Output], None], reason: str, advice: str, as_json: bool
) -> None:
    """Also with --json standard output stays empty: a reader of JSON must never parse an error as a result."""
    result = CliRunner().invoke(command_that(action), ["act", "--json"] if as_json else ["act"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert reason in result.stderr
    assert f"what to do: {advice}" in result.stderr or advice in result.stderr.partition("what to do: ")[2]
    assert "Traceback" not in result.stderr


def test_a_broken_promise_of_ours_is_never_dressed_up() -> None:
    """An `InvariantViolation` keeps its traceback: it is for the developers, and nothing may catch it."""

    def break_promise(out: Output) -> None:
        raise InvariantViolation("longs differ from shorts")

    with pytest.raises(InvariantViolation):
        CliRunner().invoke(command_that(break_promise), ["act"])


def test_advice_says_what_to_do() -> None:
    """Each piece of advice is a sentence, and none is empty."""
    assert all(text.endswith(".") for text in ADVICE.values())


def test_json_output_is_one_document_and_nothing_else() -> None:
    """`jq` reads standard output; one stray line breaks every script."""

    def speak(out: Output) -> None:
        out.line("a line")
        out.table("Table", ("a",), [(1,)])
        out.pairs("Pairs", {"a": 1})
        with out.progress("working", 10) as progress:
            progress.advance(10)
        out.result({"sum": 10, "name": "Zürich"}, lambda: out.line("shown"))

    result = CliRunner().invoke(command_that(speak), ["act", "--json"])
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"sum": 10, "name": "Zürich"})
    assert result.stdout.count("\n") == 1


def test_plain_output_is_aligned_text_and_a_few_lines_of_progress() -> None:
    """In a log file there are no bars and no colours, and numbers stand to the right."""

    def speak(out: Output) -> None:
        out.table("Series", ("name", "lots"), [("BTC-P", 12_345), ("ETH-C", 7)])
        with out.progress("trades", 8) as progress:
            for _ in range(8):
                progress.advance()
        out.result({}, lambda: out.line("done"))

    result = CliRunner().invoke(command_that(speak), ["act"])
    assert result.stdout.splitlines() == [
        "Series",
        "  name     lots",
        "  BTC-P  12,345",
        "  ETH-C       7",
        "trades: 2 of 8",
        "trades: 4 of 8",
        "trades: 6 of 8",
        "trades: 8 of 8",
        "done",
    ]


def test_a_terminal_gets_a_table_whose_text_is_not_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names come from strangers: brackets are brackets, not rich's colours."""
    monkeypatch.setattr(Output, "is_terminal", property(lambda self: True))
    result = CliRunner().invoke(command_that(lambda out: out.table("T", ("name",), [("[red]x[/red]",)])), ["act"])
    assert "[red]x[/red]" in result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_the_common_shells(shell: str) -> None:
    """`eval "$(_NOVATE_COMPLETE=bash_source novate)"` must print a script that defines the completion."""
    environment = {"_NOVATE_COMPLETE": f"{shell}_source"}
    result = CliRunner().invoke(novate, [], env=environment, prog_name="novate")
    assert "novate" in result.stdout or result.exit_code == 2
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None
    found = completer(novate, {}, "novate", "_NOVATE_COMPLETE").get_completions([], "te")
    assert [each.value for each in found] == ["testnet"]
