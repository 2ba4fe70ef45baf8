"""``novate replay``: an option tape, through its expiry, on a running testnet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from cli.client import Client
from cli.connect import directory_option
from cli.named_files import LARGE_BYTES_MAX
from cli.output import Output, reporting
from cli.replay_drive import await_settlement, check_clock, drive
from cli.replay_plan import MEMBERS, Plan, make_plan
from cli.replay_report import Report, member_totals, show_report
from cli.replay_setup import balance_minor, set_up, unlock_parties
from cli.session import Session
from cli.tape import parse_index, parse_price, parse_tape
from cli.testnet_files import LocalNetwork, load_testnet
from contracts.expiry import VOID
from genesis.errors import Rejected
from node.small_files import read_small

ANSWER_S_MAX: Final = 3.0
"""A validator that hangs may not hold up the replay for longer."""


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
@reporting
def replay(
    out: Output, tape: Path, directory: Path, expiry: str | None, index_file: Path | None, price: str | None
) -> None:
    """Replay TAPE on the testnet in DIR: set up, trade, bring the samples, wait for the expiry, report.

    TAPE is CSV text, or that gzip-compressed (.gz). Its columns are instrument (such as BTC-17AUG26-63000-P), price
    (the premium, in the underlying), amount, direction (buy or sell: the taker's side), ts_utc_ms and index_price;
    others are ignored.

    The chain's clock must begin with the tape: `novate testnet up --replay-from TIME --speed X`.
    """
    network = load_testnet(directory)
    trades = parse_tape(read_text(tape), tape.name)
    samples = None if index_file is None else parse_index(read_text(index_file), index_file.name)
    price_ticks = None if price is None else parse_price(price)
    with Client(network.urls, ANSWER_S_MAX) as client:
        session = Session(client)
        plan = make_plan(trades, session.document.limits, expiry, samples, price_ticks)
        report = run_replay(out, session, network, plan)
    out.result(report.document(), lambda: show_report(out, report))


def run_replay(out: Output, session: Session, network: LocalNetwork, plan: Plan) -> Report:
    """Set up, drive, settle.

    Raises:
        Rejected: ``too_late``, ``trade_refused``, ``not_settled``, ``unreachable``, or what the chain refuses.
    """
    check_clock(session, plan)
    wallet = network.wallet()
    parties = unlock_parties(wallet)
    out.line(f"Setting up {len(MEMBERS)} members and {len(plan.series)} series of {plan.asset} {plan.expiry}.")
    funded = set_up(session, wallet, parties, plan)
    with out.progress("trades and samples", len(plan.trades) + len(plan.samples)) as progress:
        driven = drive(session, parties, plan, progress.advance)
    out.line("Waiting for the expiry to settle.")
    record = await_settlement(session, plan)
    balances = tuple(balance_minor(session, member, plan.asset) for member in range(len(MEMBERS)))
    status = session.client.get("/v1/status")
    return Report(
        plan=plan,
        driven=driven,
        price_ticks=None if record["source"] == VOID else int(record["price_ticks"]),
        coverage_ppm=int(record["coverage_ppm"]),
        source=str(record["source"]),
        members=member_totals(plan, record, funded, balances),
        height=int(status["height"]),
        state_root=str(status["state_root"]),
    )


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
