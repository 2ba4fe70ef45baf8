"""Arguments that nobody means and a shell can give: each is a failure in the one form, none is a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import novate
from cli.output import Failure, Output
from node.keystore import find_passphrase

ROOT = Path(__file__).resolve().parents[2]
NO_TEXT = os.fsdecode(b"\xff")
ASKED = ["--url", "http://127.0.0.1:1"]
WRONG_USAGE = [
    ["sim", "--seeds", "0:" + "9" * 30],
    ["sim", "--seeds", "0:" + "9" * 5_000],
    ["sim", "--seeds", "0:\u0661"],
    ["query", "index", NO_TEXT, *ASKED],
    ["query", "series", NO_TEXT, *ASKED],
    ["query", "contract", NO_TEXT, *ASKED],
    ["query", "entry", "balances", NO_TEXT, *ASKED],
    ["query", "account", f"M0/{NO_TEXT}", *ASKED],
]


@pytest.mark.parametrize(
    "arguments", WRONG_USAGE, ids=lambda each: " ".join(each)[:32].encode("unicode_escape").decode()
)
def test_it_is_wrong_usage(arguments: list[str]) -> None:
    """A number that no range has, digits of another script, bytes that are no text."""
    done = CliRunner().invoke(novate, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage: " in done.stderr


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (["nowhere", "x"], "Error: The tables are meta, members,"),
        (["balances", "M0/main"], "Error: A key of balances has the fields account, asset."),
        (["settlements", "BTC_USD", "soon"], "Error: The field "),
    ],
)
def test_an_entry_that_no_state_can_have_is_wrong_usage(key: list[str], reason: str) -> None:
    """It is known before a validator is asked: none listens here, and none is missed."""
    done = CliRunner().invoke(novate, ["query", "entry", *key, *ASKED])
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "docs/PROTOCOL.md, R1" in done.stderr


def test_an_empty_name_of_a_file_to_write_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset variable of a script: ``genesis create "$FILE"``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOVATE_PASSPHRASE", "x")
    made = ["node", "init", "--home", "v0", "--name", "v0", "--cost", "testnet"]
    assert CliRunner().invoke(novate, made).exit_code == 0
    done = CliRunner().invoke(novate, ["genesis", "create", "", "--name", "x", "--validator", "v0/validator.toml"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("novate: error [system]: .: Is a directory.")


@pytest.mark.process
def test_a_path_that_is_no_text_is_shown_and_the_json_stays_json(tmp_path: Path) -> None:
    """File names are bytes to the system."""
    home = os.path.join(os.fsencode(tmp_path), b"\xff")
    os.mkdir(home)
    for arguments in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "keys", "list", "--home", home, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\udcff" in done.stdout
    assert os.fsencode(json.loads(done.stdout)["home"]) == home


def test_a_passphrase_in_the_environment_is_its_bytes(tmp_path: Path) -> None:
    """The same as in a file, also where they are no text."""
    file = tmp_path / "passphrase"
    file.write_bytes(b"\xff\n")
    file.chmod(0o600)
    assert find_passphrase(tmp_path, NO_TEXT, None) == find_passphrase(tmp_path, None, file) == b"\xff"


EVIL = "\x1b]0;evil\x07\x1b[2J\x00\u202e"


def test_no_file_speaks_to_the_terminal_through_a_failure(tmp_path: Path) -> None:
    """A tape or a proof is somebody else's; a sequence of escapes in it can retitle, clear or paste."""
    tape = tmp_path / "tape.csv"
    for column in ("instrument", "price", EVIL):
        tape.write_text(f"{column},price{EVIL},amount\n1,{EVIL},2\n", encoding="utf-8")
        done = CliRunner().invoke(novate, ["demo", "--tape", str(tape), "--exit"])
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.replace("\n", "").isprintable()


def test_a_failure_is_shown_on_a_screen_and_says_what_was_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Who names a column by a megabyte gets the reason, not the megabyte."""
    Failure(f"There is no column {'x' * 1_000_000}.\nSecond {EVIL}.", "Correct it.").show()
    said = capsys.readouterr().err
    assert len(said) < 3_000
    assert "... (1,000,020 characters)\nSecond \\x1b]0;evil\\x07" in said
    assert said.endswith("\n  what to do: Correct it.\n")


def test_no_value_speaks_to_the_terminal_through_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """What a validator answers is shown as it is, but for what acts."""
    out = Output(False)
    out.pairs(f"Title {EVIL}", {f"name {EVIL}": EVIL, "plain": "caf\u00e9 \u2588"})
    out.line(f"first\nsecond {EVIL}")
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert "caf\u00e9 \u2588" in said
    assert "first\nsecond \\x1b" in said
