"""``novate replay``: an option tape, through its expiry, on a running testnet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from cli.connect import directory_option
from cli.interrupts import interruptible
from cli.named_files import LARGE_BYTES_MAX
from cli.output import Failure, Output, reporting
from cli.replay_drive import drive
from cli.replay_journal import Driven, Ended, Journal, open_journal
from cli.replay_plan import MEMBERS, Plan, make_plan
from cli.replay_report import Report, check_positions, member_totals, show_report
from cli.replay_setup import balance_minor, set_up, unlock_parties
from cli.replay_wait import (
    WAIT_S_MAX,
    PatientClient,
    ahead_of_expiry,
    await_expiry,
    await_moment,
    await_settlement,
    check_clock,
    foretell,
    tell,
)
from cli.session import Session
from cli.tape import parse_index, parse_price, parse_tape
from cli.testnet_files import LocalNetwork, load_testnet
from genesis.errors import Rejected
from node.small_files import read_small

ANSWER_S_MAX: Final = 3.0
"""A validator that hangs may not hold up the replay for longer."""

STANDSTILLS: Final = frozenset({"unreachable", "no_receipt", "not_settled"})
"""Refusals after which the same command can go on."""


@click.command()
@click.argument("tape", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@directory_option
@click.option("--expiry", help="Which expiry of the tape, e.g. 17AUG26.  [default: its earliest]")
@click.option(
    "--index",
    "index_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Index samples (ts_utc_ms,price) in place of the tape's.",
)
@click.option("--settlement-price", "price", help="What the oracles report throughout the settlement window, in USD.")
@click.option(
    "--wait-max",
    "wait_s_max",
    type=click.IntRange(1),
    default=WAIT_S_MAX,
    show_default=True,
    metavar="SECONDS",
    help="Refuse a replay whose expiry is further away.",
)
@reporting
def replay(
    out: Output,
    tape: Path,
    directory: Path,
    expiry: str | None,
    index_file: Path | None,
    price: str | None,
    wait_s_max: int,
) -> None:
    """Replay TAPE on the testnet in DIR: set up, trade, bring the samples, wait for the expiry, report.

    TAPE is CSV text, or that gzip-compressed (.gz). Its columns are instrument (such as BTC-17AUG26-63000-P), price
    (the premium, in the underlying), amount, direction (buy or sell: the taker's side), ts_utc_ms and index_price;
    others are ignored.

    The chain's clock must begin with the tape: `novate testnet up --replay-from TIME --speed X`.

    A replay that was interrupted goes on when the same command is given again, and does nothing twice.
    """
    network = load_testnet(directory)
    trades = parse_tape(read_text(tape), tape.name)
    samples = None if index_file is None else parse_index(read_text(index_file), index_file.name)
    price_ticks = None if price is None else parse_price(price)
    with interruptible(), PatientClient(network.urls, ANSWER_S_MAX, lambda text: tell(out, text)) as client:
        session = Session(client)
        plan = make_plan(trades, session.document.limits, expiry, samples, price_ticks)
        with open_journal(network.directory, session.document.chain_id, plan) as journal, _resumable(journal):
            report = run_replay(out, session, network, plan, journal, wait_s_max)
    out.result(report.document(), lambda: show_report(out, report))
    if not report.conserved:
        message = "Money was made or lost, or moved between the members beside the replay; see the report."
        raise Failure(message, code="not_conserved")


@contextmanager
def _resumable(journal: Journal) -> Iterator[None]:
    """Inside, what ends a replay that can go on says how far it got."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Failure(f"Interrupted. {_standing(journal.driven)}", code="replay_interrupted") from error
    except Rejected as error:
        if error.code not in STANDSTILLS:
            raise
        message = f"{error.message} {_standing(journal.driven)} The same command, given again, goes on from there."
        raise Rejected(error.code, message, **error.details) from error


def run_replay(
    out: Output, session: Session, network: LocalNetwork, plan: Plan, journal: Journal, wait_s_max: int = WAIT_S_MAX
) -> Report:
    """Set up, drive, settle; or go on with that.

    Raises:
        Rejected: ``too_late``, ``long_wait``, ``trade_refused``, ``not_settled``, ``unreachable``,
            ``foreign_positions``, or what the chain refuses.
    """
    from contracts.expiry import VOID  # brings the kernels with it, which the help need not wait for

    check_clock(session, plan, journal, wait_s_max)
    _say_where(out, session, plan, journal)
    wallet = network.wallet()
    parties = unlock_parties(wallet)
    with ahead_of_expiry(session, plan):
        funded = set_up(session, wallet, parties, plan, journal)
    driven = journal.driven

    def wait(due_unix_ms: int) -> None:
        await_moment(out, session, due_unix_ms, "the next trade or sample")

    with ahead_of_expiry(session, plan), out.progress("trades and samples", driven.total) as progress:
        progress.advance(driven.items)
        drive(session, parties, plan, journal, wait, progress.advance)
    await_expiry(out, session, plan)
    record = await_settlement(session, plan)
    check_positions(plan, record)
    ended = journal.ended or _ended(session, plan)
    report = Report(
        plan=plan,
        driven=driven,
        price_ticks=None if record["source"] == VOID else int(record["price_ticks"]),
        coverage_ppm=int(record["coverage_ppm"]),
        source=str(record["source"]),
        members=member_totals(plan, record, funded, ended.balances_minor),
        height=ended.height,
        state_root=ended.state_root,
    )
    if journal.ended is None and report.conserved:
        journal.end(ended)
    return report


def _ended(session: Session, plan: Plan) -> Ended:
    """What the chain holds now."""
    balances = tuple(balance_minor(session, member, plan.asset) for member in range(len(MEMBERS)))
    status = session.client.get("/v1/status")
    return Ended(balances, int(status["height"]), str(status["state_root"]))


def _say_where(out: Output, session: Session, plan: Plan, journal: Journal) -> None:
    """What the replay begins with."""
    if journal.ended is not None:
        out.line("This replay has ended before; nothing is sent, and this is its report.")
        return
    if journal.funded is None:
        out.line(f"Setting up {len(MEMBERS)} members and {len(plan.series)} series of {plan.asset} {plan.expiry}.")
    else:
        out.line(f"Going on with {plan.asset} {plan.expiry}. {_standing(journal.driven)}")
    foretell(out, session, plan)


def _standing(driven: Driven) -> str:
    """How far a replay is, in a sentence."""
    return f"{driven.items:,} of {driven.total:,} trades and samples are done."


def read_text(path: Path) -> str:
    """A text file's content, plain or gzip-compressed (by its name).

    Raises:
        Rejected: ``bad_tape`` when it is too large, not UTF-8 text, or not the gzip file that its name promises.
        OSError: It cannot be read.
    """
    import gzip
    import io
    import zlib

    data = read_small(path, LARGE_BYTES_MAX)
    try:
        if path.suffix == ".gz" and len(data) <= LARGE_BYTES_MAX:
            with gzip.open(io.BytesIO(data)) as unpacked:
                data = unpacked.read(LARGE_BYTES_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Rejected("bad_tape", f"{path.name} is no gzip file, or is damaged or cut off.") from error
    if len(data) > LARGE_BYTES_MAX:
        raise Rejected("bad_tape", f"{path.name} is larger than a tape may be.", size_max=LARGE_BYTES_MAX)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Rejected("bad_tape", f"{path.name} is not UTF-8 text.") from error
