"""``novate testnet``: a network of validators on this machine, each a process of its own."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from cli.chain_params import param_option, read_params
from cli.connect import directory_option
from cli.interrupts import interruptible
from cli.option_types import Moment
from cli.output import Amount, Failure, Output, reporting
from cli.processes import Started, running_pid, stop
from cli.testnet_files import (
    VALIDATORS_MAX,
    Era,
    LocalNetwork,
    LocalValidator,
    create_testnet,
    exists,
    load_testnet,
    remove_testnet,
)
from cli.testnet_run import Survey, bring_up, survey, take_down
from cli.testnet_run import restart as restart_validators
from cli.warm_up import warm_up
from genesis.document import ENGINE_DEFAULT, ENGINES, SPEED_MAX
from genesis.errors import Rejected

VALIDATORS_DEFAULT: Final = 4


@click.group()
def testnet() -> None:
    """Run a network of validators on this machine."""


@testnet.command()
@click.option(
    "--validators",
    "count",
    type=click.IntRange(1, VALIDATORS_MAX),
    help=f"How many validators.  [default: {VALIDATORS_DEFAULT}]",
)
@directory_option
@click.option("--detach", is_flag=True, help="Return once all are ready and leave them running.")
@click.option(
    "--replay-from", type=Moment(), metavar="TIME", help="Where the chain's clock starts: ISO 8601 or Unix ms."
)
@click.option("--speed", type=click.IntRange(1, SPEED_MAX), help="How much faster than the wall its clock runs.")
@click.option("--consensus", type=click.Choice(ENGINES), help=f"The agreement's engine.  [default: {ENGINE_DEFAULT}]")
@param_option
@click.option("--signers", is_flag=True, help="Keep each validator's key in a process of its own (`novate signer`).")
@reporting
def up(
    out: Output,
    count: int | None,
    directory: Path,
    detach: bool,
    replay_from: int | None,
    speed: int | None,
    consensus: str | None,
    params: tuple[str, ...],
    signers: bool,
) -> None:
    """Start a testnet, or what has stopped of it.

    Without --detach it runs until Ctrl-C and is then stopped. A new testnet that does not come up, or is interrupted
    before it has, leaves nothing behind.
    """
    existed = directory.exists()
    with interruptible():
        network, is_new = _open_or_create(directory, count, replay_from, speed, consensus, params, signers)
        try:
            with out.progress("validators ready", len(network.validators)) as progress:
                started = bring_up(network.validators, progress.advance)
        except BaseException:  # Ctrl-C too: a new testnet that did not come up leaves nothing behind.
            if is_new:
                remove_testnet(network.directory, keep_directory=existed)
            raise
        document = _up_document(network)
        if detach:
            out.result(document, lambda: _show_up(out, document))
            return
        with down_at_interrupt(network, started):
            out.result(document, lambda: _show_up(out, document))
            out.line("Ctrl-C stops them.")
            threading.Event().wait()


@testnet.command()
@directory_option
@reporting
def status(out: Output, directory: Path) -> None:
    """Show the validators and whether they agree.

    They agree (`agreed` with --json) when all who answer, be it one alone, have the same state root at the same height.
    Exit code 1, after the same answer, when they do not, and when those who answer are no quorum, which cannot go on.
    """
    found = survey(load_testnet(directory))
    out.result(found.document(), lambda: show_survey(out, found))
    if found.answering and not found.agreed:
        raise Failure(f"The state roots differ: {verdict(found)}", code="differing_roots")
    if not found.has_quorum:
        raise Failure(f"No quorum answers, so the chain stands still: {verdict(found)}", code="below_quorum")


@testnet.command("stop")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@directory_option
@reporting
def stop_some(out: Output, names: Sequence[str], directory: Path) -> None:
    """Stop the validators of these names, such as v1."""
    network = load_testnet(directory)
    stopped = [each.name for each in _named(network, names) if stop(each.home)]
    out.result({"stopped": stopped}, lambda: out.line(f"Stopped: {', '.join(stopped) or 'none ran'}."))


@testnet.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@directory_option
@reporting
def restart(out: Output, names: Sequence[str], directory: Path) -> None:
    """Restart validators, and wait until they are ready.

    Those that do not run are started. One that does not become ready, as when too few others run, is reported with its
    reason; it runs on.
    """
    network = load_testnet(directory)
    chosen = _named(network, names)
    warm_up()
    with out.progress("validators ready", len(chosen)) as progress:
        restart_validators(chosen, progress.advance)
    entries = [_entry(each) for each in chosen]
    out.result({"restarted": entries}, lambda: out.line(f"Restarted: {', '.join(each.name for each in chosen)}."))


@testnet.command()
@directory_option
@click.option("--delete", is_flag=True, help="Delete the directory with its ledgers and keys.")
@reporting
def down(out: Output, directory: Path, delete: bool) -> None:
    """Stop every validator of a testnet.

    Its directory stays, and `novate testnet up` goes on from it.
    """
    network = load_testnet(directory)
    stopped = take_down(network)
    if delete:
        shutil.rmtree(network.directory)
    document = {"stopped": stopped, "deleted": delete}
    out.result(document, lambda: out.line(f"Stopped: {', '.join(stopped) or 'none ran'}."))


@contextmanager
def down_at_interrupt(network: LocalNetwork, started: Sequence[Started]) -> Iterator[None]:
    """An interrupt (see `interruptible`) ends the block, and every validator with it: none is left behind."""
    try:
        yield
    except KeyboardInterrupt:
        take_down(network, started)


def show_survey(out: Output, found: Survey) -> None:
    """A table of validators, whether they agree, and who has forgotten what it signed."""
    columns = ("validator", "state", "height", "view", "peers", "committed", "state root")
    entries = found.document()["validators"]
    rows = [
        (
            each["name"],
            _state(each),
            each["height"],
            each["view"],
            each["peers"],
            None if each["committed_txs"] is None else Amount(each["committed_txs"]),
            (each["state_root"] or "-")[:16],
        )
        for each in entries
    ]
    out.table("Validators", columns, rows)
    out.line(verdict(found))
    if found.agreed:
        out.line(f"State root {found.state_root}")
    for each in entries:
        if each["amnesiac"]:
            out.line(f"{each['name']} has lost its safety state and signs nothing until the others say what it may.")


def verdict(found: Survey) -> str:
    """Who answers and whether they agree, in one sentence."""
    total, answering = len(found.standings), len(found.answering)
    if not answering:
        running = sum(each["running"] for each in found.document()["validators"])
        if not running:
            return f"None of the {total} runs; `novate testnet up` starts them."
        return f"{running} of {total} run, and none answers."
    if answering == 1:
        return f"1 of {total} answers, at height {found.height}."
    how = "agree" if found.agreed else "do NOT agree"
    return f"{answering} of {total} answer and {how} at height {found.height}."


def _state(entry: Mapping[str, Any]) -> str:
    """One validator's state in a word or two."""
    if entry["height"] is None:
        return "no answer" if entry["running"] else "down"
    return "amnesiac" if entry["amnesiac"] else "up"


def _open_or_create(
    directory: Path,
    count: int | None,
    replay_from: int | None,
    speed: int | None,
    consensus: str | None,
    params: Sequence[str],
    signers: bool,
) -> tuple[LocalNetwork, bool]:
    """The directory's testnet, and whether it was made just now."""
    if not exists(directory):
        era = Era(replay_from, speed or 1)
        engine = consensus or ENGINE_DEFAULT
        chosen = read_params(params) if params else None
        network = create_testnet(directory, count or VALIDATORS_DEFAULT, era, chosen, engine, signers=signers)
        return network, True
    network = load_testnet(directory)
    is_fixed = bool(params) or any(each is not None for each in (replay_from, speed, consensus))
    lacks_signers = signers and not all(each.signer_home.exists() for each in network.validators)
    if is_fixed or lacks_signers or count not in (None, len(network.validators)):
        message = (
            "There is a testnet in this directory; its clock, validators, engine, parameters and signers are fixed. "
            "Give another --dir, delete it with `novate testnet down --delete`, or go on without --validators, "
            "--replay-from, --speed, --consensus, --param and --signers."
        )
        raise Rejected("testnet_exists", message, dir=str(directory), validators=len(network.validators))
    warm_up()
    return network, False


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
