"""The frame of every command: quick help, one form of failure, exit codes that scripts can use."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.advice import ADVICE, advice_for
from cli.main import COMMANDS, LazyGroup, novate
from cli.output import Amount, Failure, Output, reporting
from genesis.errors import InvariantViolation, Rejected

ROOT = Path(__file__).resolve().parents[2]
HEAVY = frozenset(
    [
        "numba",
        "numpy",
        "httpx",
        "starlette",
        "hypercorn",
        "rich",
        "cryptography",
        "trio",
        "plyvel",
        "nacl",
        "msgpack",
        "distributed",
    ]
)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    """Help within 120 ms: what is not imported cannot make it slow, on any machine."""
    program = (
        "import sys; from click.testing import CliRunner; from cli.main import novate; "
        f"result = CliRunner().invoke(novate, ['{option}']); assert result.exit_code == 0, result; "
        "print(','.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.strip().split(","))
    assert loaded.isdisjoint(HEAVY), loaded & HEAVY
    assert "click" in loaded


@pytest.mark.parametrize("command", ["tx send", "tx submit", "testnet up", "query account"])
def test_the_help_of_a_command_imports_little(command: str) -> None:
    """Of what is heavy, signatures and encoding alone: certificates, servers and kernels are for the work itself."""
    program = (
        "import sys; from click.testing import CliRunner; from cli.main import novate; "
        f"result = CliRunner().invoke(novate, [*'{command}'.split(), '--help']); assert result.exit_code == 0, result; "
        "print(','.join(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.strip().split(","))
    assert {name.partition(".")[0] for name in loaded} & HEAVY == {"nacl", "msgpack"}
    assert not any(name.startswith("contracts.vm.language") for name in loaded)


def test_version_is_that_of_the_package() -> None:
    """The first question in every report of a fault."""
    result = CliRunner().invoke(novate, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"novate, version {version('novate')}\n")


@pytest.mark.parametrize("group", ["", "keys", "genesis", "node", "testnet", "tx", "query", "bench", "contract"])
def test_no_summary_in_the_help_is_cut(group: str) -> None:
    """Half a sentence on an ordinary terminal helps nobody."""
    result = CliRunner().invoke(novate, [*([group] if group else []), "--help"], terminal_width=80)
    summaries = result.stdout.partition("Commands:\n")[2].splitlines()
    assert summaries
    assert [line for line in summaries if not line.endswith(".") or line.endswith(("...", "e.g."))] == []


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


PEERS_ONLY = (
    "consensus/",
    *(f"node/{name}.py" for name in ("batch_fetcher", "batch_pool", "batches", "blocksync", "frames", "hello")),
    *(f"node/{name}.py" for name in ("peers", "tls", "replica", "connections", "handshake")),
    *(f"node/{name}.py" for name in ("router", "snapshot_join", "snapshot_wire")),
    "contracts/snapshot.py",
    "node/signer_protocol.py",
)
"""Where validators refuse each other: a command never meets those codes."""

COMPUTED = (
    *(f"unknown_{what}" for what in ("account", "asset", "index", "series", "member", "route", "method")),
    *("insufficient_funds", "insufficient_collateral", "mempool_full", "storage_failure", "system", "http_502"),
)
"""Codes that are put together, or that are no `Rejected`."""


def literal_codes() -> Iterator[tuple[str, str]]:
    """Every refusal's and failure's code that is written as text, with its file."""
    for folder in ("genesis", "contracts", "node", "cli"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for call in ast.walk(ast.parse(file.read_text())):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("Rejected", "NotFound", "Failure"):
                    codes = [call.args[0]] if call.func.id != "Failure" else call.args[2:3]  # type: ignore[attr-defined]
                    codes += [each.value for each in call.keywords if each.arg == "code"]
                    yield from (
                        (code.value, file.relative_to(ROOT).as_posix())
                        for code in codes
                        if isinstance(code, ast.Constant) and isinstance(code.value, str)
                    )


def test_every_refusal_that_a_command_can_meet_has_advice() -> None:
    """A reason without a next step leaves a newcomer stuck; whoever adds a code adds its advice."""
    found = [(code, where) for code, where in literal_codes() if not where.startswith(PEERS_ONLY)]
    assert len(found) > 100
    assert [(code, where) for code, where in found if not advice_for(code)] == []
    assert [code for code in COMPUTED if not advice_for(code)] == []


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
        out.table("Series", ("name", "lots"), [("BTC-P", Amount(12_345)), ("ETH-C", Amount(7))])
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


def test_only_quantities_are_grouped() -> None:
    """A height, a moment or an id with commas in it cannot be pasted into the next command."""
    heights = {"height": 12_345, "time_unix_ms": 1_786_911_660_000, "free_minor": Amount(12_345)}
    result = CliRunner().invoke(command_that(lambda out: out.pairs("Block", heights)), ["act"])
    assert [line.split()[1] for line in result.stdout.splitlines()[1:]] == ["12345", "1786911660000", "12,345"]


def test_six_columns_of_satoshi_fit_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's report on an ordinary terminal: a folded number is misread."""
    monkeypatch.setattr(Output, "is_terminal", property(lambda self: True))
    monkeypatch.setenv("COLUMNS", "80")
    columns = ("member", "premium", "settlement", "final", "deposit", "balance")
    row = ("M0", *map(Amount, (-14_987_000, -29_114_877, -24_563_502, 12_000_000_000, 11_995_436_498)))
    result = CliRunner().invoke(command_that(lambda out: out.table("Members", columns, [row])), ["act"])
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert "11,995,436,498" in lines[2]


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
