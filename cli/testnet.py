"""``novate testnet``: a network of validators on this machine, each a process of its own."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from cli.connect import directory_option
from cli.output import Output, reporting
from cli.processes import Started, running_pid, stop
from cli.testnet_files import Era, LocalNetwork, LocalValidator, create_testnet, exists, load_testnet
from cli.testnet_run import HEALTH_PATH, Survey, bring_up, survey, take_down
from genesis.document import SPEED_MAX
from genesis.errors import Rejected

VALIDATORS_DEFAULT: Final = 4


class Moment(click.ParamType[int]):
    """A moment as ISO 8601 (UTC unless it says otherwise) or in milliseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds since 1970."""
        text = str(value)
        if text.isascii() and text.isdigit():
            return int(text)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither ISO 8601 (2026-08-16T20:21:00Z) nor milliseconds since 1970", param, ctx)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1_000)


@click.group()
def testnet() -> None:
    """Run a network of validators on this machine."""


@testnet.command()
@click.option("--validators", "count", type=int, help=f"How many validators.  [default: {VALIDATORS_DEFAULT}]")
@directory_option
@click.option("--detach", is_flag=True, help="Return once all are ready and leave them running.")
@click.option(
    "--replay-from", type=Moment(), metavar="TIME", help="Where the chain's clock starts: ISO 8601 or Unix ms."
)
@click.option("--speed", type=click.IntRange(1, SPEED_MAX), help="How much faster than the wall its clock runs.")
@reporting
def up(
    out: Output, count: int | None, directory: Path, detach: bool, replay_from: int | None, speed: int | None
) -> None:
    """Start a testnet, or start again what has stopped of the one in DIR.

    Without --detach it runs until Ctrl-C and is then stopped.
    """
    with interruptible():
        network = _open_or_create(directory, count, replay_from, speed)
        with out.progress("validators ready", len(network.validators)) as progress:
            started = bring_up(network.validators, progress.advance)
        document = _up_document(network)
        out.result(document, lambda: _show_up(out, document))
        if not detach:
            out.line("Ctrl-C stops them.")
            stay_until_interrupted(network, started)


@testnet.command()
@directory_option
@reporting
def status(out: Output, directory: Path) -> None:
    """Show every validator and whether their state roots agree."""
    found = survey(load_testnet(directory))
    out.result(found.document(), lambda: show_survey(out, found))


@testnet.command("stop")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@directory_option
@reporting
def stop_some(out: Output, names: Sequence[str], directory: Path) -> None:
    """Stop validators, e.g. v1."""
    network = load_testnet(directory)
    stopped = [each.name for each in _named(network, names) if stop(each.home)]
    out.result({"stopped": stopped}, lambda: out.line(f"Stopped: {', '.join(stopped) or 'none ran'}."))


@testnet.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@directory_option
@reporting
def restart(out: Output, names: Sequence[str], directory: Path) -> None:
    """Stop validators if they run and start them; returns once they answer (they may still be catching up)."""
    network = load_testnet(directory)
    chosen = _named(network, names)
    for each in chosen:
        stop(each.home)
    bring_up(chosen, path=HEALTH_PATH)
    document = {"restarted": [_entry(each) for each in chosen]}
    out.result(document, lambda: out.line(f"Restarted: {', '.join(each.name for each in chosen)}."))


@testnet.command()
@directory_option
@click.option("--delete", is_flag=True, help="Delete the directory with its ledgers and keys.")
@reporting
def down(out: Output, directory: Path, delete: bool) -> None:
    """Stop every validator of a testnet; its directory stays, and `up` goes on from it."""
    network = load_testnet(directory)
    stopped = take_down(network)
    if delete:
        shutil.rmtree(network.directory)
    document = {"stopped": stopped, "deleted": delete}
    out.result(document, lambda: out.line(f"Stopped: {', '.join(stopped) or 'none ran'}."))


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM both raise `KeyboardInterrupt`, so that whoever started processes can stop them.

    Also in a shell's background job, where Ctrl-C is ignored from birth.
    """
    marks = (signal.SIGINT, signal.SIGTERM)
    before = {mark: signal.signal(mark, signal.default_int_handler) for mark in marks}
    try:
        yield
    finally:
        for mark, handler in before.items():
            signal.signal(mark, handler)


def stay_until_interrupted(network: LocalNetwork, started: Sequence[Started]) -> None:
    """Return after an interrupt (see `interruptible`), once every validator has stopped."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        take_down(network, started)


def show_survey(out: Output, found: Survey) -> None:
    """A table of validators, and whether they agree."""
    columns = ("validator", "running", "height", "view", "peers", "committed", "state root")
    rows = [
        (
            each["name"],
            each["running"],
            each["height"],
            each["view"],
            each["peers"],
            each["committed_txs"],
            (each["state_root"] or "-")[:16],
        )
        for each in found.document()["validators"]
    ]
    out.table("Validators", columns, rows)
    if found.agreed:
        out.line(f"They agree: state root {found.state_root} after block {found.height:,}.")
    else:
        out.line("They do not agree, or nobody answers.")


def _open_or_create(directory: Path, count: int | None, replay_from: int | None, speed: int | None) -> LocalNetwork:
    if not exists(directory):
        return create_testnet(directory, count or VALIDATORS_DEFAULT, Era(replay_from, speed or 1))
    network = load_testnet(directory)
    if replay_from is not None or speed is not None or count not in (None, len(network.validators)):
        message = (
            "There is a testnet in this directory, and its clock and validators are fixed. Give another --dir, delete "
            "it with `novate testnet down --delete`, or go on without --validators, --replay-from and --speed."
        )
        raise Rejected("testnet_exists", message, dir=str(directory), validators=len(network.validators))
    return network


def _named(network: LocalNetwork, names: Sequence[str]) -> list[LocalValidator]:
    return [network.validator(name) for name in dict.fromkeys(names)]


def _up_document(network: LocalNetwork) -> dict[str, Any]:
    """What ``testnet up --json`` prints."""
    return {"dir": str(network.directory), "validators": [_entry(each) for each in network.validators]}


def _entry(validator: LocalValidator) -> dict[str, Any]:
    return {"name": validator.name, "pid": running_pid(validator.home), "url": validator.url}


def _show_up(out: Output, document: dict[str, Any]) -> None:
    rows = [(each["name"], str(each["pid"]), each["url"]) for each in document["validators"]]
    out.table(f"Testnet in {document['dir']}", ("validator", "pid", "address"), rows)
