"""``novate price``: value options, one from flags or many from a CSV file; ``novate price mc`` simulates.

The JSON document is ``{"rows": [{"price", ...greeks} | {"error"}]}`` in the file's order, numbers in full precision; a
row whose price was given has ``vol`` as well. A row that cannot be priced says why and stops no other row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from cli.named_files import read_named
from cli.output import Amount, Failure, Misuse, Output, reporting
from cli.price_mc import mc
from cli.warm_up import telling_of_kernels

OPTIONS: Final = (
    (
        "kind",
        "vanilla (the default), digital_cash, digital_asset, gap, barrier, double_barrier, asian_arithmetic, "
        "asian_geometric, lookback_fixed or lookback_floating.",
    ),
    (
        "exercise",
        "european (the default) or american. An american digital pays when the spot first reaches the strike (a call "
        "from below, a put from above), at once if it has.",
    ),
    ("right", "call or put."),
    ("spot", "The underlying's price."),
    ("strike", "The strike; a floating lookback has none."),
    ("q", "The underlying's yield a year, continuous; 0 by default."),
    ("r", "The rate a year, continuous."),
    ("t-years", "Years to expiry."),
    ("vol", "Volatility a square root of a year: 0.2 is 20 %."),
    ("barrier-kind", "down_out, down_in, up_out, up_in; of a double_barrier, out or in."),
    ("barrier", "The barrier, watched always; of two, the lower."),
    ("barrier-high", "The upper of two barriers."),
    ("rebate", "Paid at once when it is knocked out, or at expiry when never knocked in; 0 by default."),
    ("cash", "What a cash-or-nothing option pays."),
    ("second-strike", "What a gap option pays against, where the spot ends beyond `strike`."),
    (
        "fixings",
        "How many prices are averaged, the past ones too: equally spaced, the last at expiry. 0 (the default) averages "
        "continuously.",
    ),
    (
        "first-fixing-years",
        "Years from now to the first fixing, or to the beginning of a continuous average; below 0 in the past. By "
        "default t_years / fixings, for a continuous average 0.",
    ),
    (
        "average-so-far",
        "The average of what is past; needed where the first fixing is before now, refused where none is.",
    ),
    (
        "extremum-so-far",
        "The extreme price so far that a lookback counts: the highest for a fixed call and a floating put, else the "
        "lowest. By default the spot.",
    ),
    ("price", "In place of --vol: the price whose implied volatility is asked for, of a European vanilla option."),
)
"""Every column of the file as an option."""


def _column_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(OPTIONS):
        function = click.option(f"--{name}", help=text)(function)
    return function


@click.group(invoke_without_command=True)
@_column_options
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=True),
    help="Value every row of this file (- is standard input); its columns have the options' names, with _ for -.",
)
@click.option("--greeks", is_flag=True, help="Add delta, gamma, vega, theta and rho.")
@reporting
def price(out: Output, csv_file: Path | None, greeks: bool, **given: str | None) -> None:
    """Value options: one from options of this command, or the rows of a CSV file.

    Vega is per 1.0 of volatility, theta per year that passes, rho per 1.0 of the rate, q held. With a price in place of
    the volatility, the answer has the volatility that it implies.

    A file needs only the columns that its rows use; an empty cell is the option's default. A row that cannot be priced
    says why in place of its price, and the exit code is 0; it is 1 for a file that cannot be read. Of one option it is
    1 when no model covers it, and 2 when what was typed cannot be meant.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    named = {name: value for name, value in given.items() if value is not None}
    if csv_file is not None and named:
        raise click.UsageError("An option is described by a file or by options, not by both.")
    if csv_file is None and not named:
        raise click.UsageError("Describe one option (--kind vanilla --right call --spot 100 ...), or give --csv FILE.")
    with telling_of_kernels():
        if csv_file is not None:
            price_file(out, csv_file, greeks=greeks)
        else:
            price_one(out, named, greeks=greeks)


def price_one(out: Output, named: dict[str, str], *, greeks: bool) -> None:
    """One option; what is wrong with it is the command's failure.

    So is what its kind has no use for: a barrier without ``--kind barrier`` is a mistake, where a column of a file
    may be meant for other rows.
    """
    from cli.price_rows import is_uncovered, price_rows, unused

    if "vol" in named and "price" in named:
        raise click.UsageError("Give --vol for the price, or --price for the volatility that it implies, not both.")
    row = {"kind": "vanilla", **named}
    answer = price_rows(list(row), [list(row.values())], greeks=greeks)[0]
    if "error" in answer:
        failure = Failure if is_uncovered(row) else Misuse
        raise failure(f"This option cannot be priced: {answer['error']}.", code="price_row")
    for name in unused(row):
        raise click.UsageError(f"--{name.replace('_', '-')} has no meaning for --kind {row['kind']}.")
    out.result({"rows": [answer]}, lambda: out.pairs(f"{row['kind']}", {name: _shown(x) for name, x in answer.items()}))


def price_file(out: Output, path: Path, *, greeks: bool) -> None:
    """Every row of a file."""
    from cli.price_rows import BYTES_MAX, price_rows, read_table

    answers = price_rows(*read_table(read_named(path, BYTES_MAX)), greeks=greeks)
    out.result({"rows": answers}, lambda: _show(out, answers, greeks=greeks))


def _show(out: Output, answers: Sequence[dict[str, Any]], *, greeks: bool) -> None:
    from contracts.pricing.catalogue import GREEKS

    implied = ("vol",) if any("vol" in each for each in answers) else ()
    names = ("price", *implied, *GREEKS) if greeks else ("price", *implied)
    wrong = sum("error" in each for each in answers)
    heads = ("row", *names, "error") if wrong else ("row", *names)
    rows = []
    for number, each in enumerate(answers, start=1):
        cells = [number, *(_shown(each.get(name)) for name in names)]
        rows.append([*cells, each.get("error", "")] if wrong else cells)
    out.table("Prices", heads, rows)
    out.line(f"Rows in error: {Amount(wrong):,} of {len(answers):,}.")


def _shown(value: float | None) -> str:
    """A number for people: ten digits are more than any market quotes."""
    return "-" if value is None else f"{value:.10g}"


@price.command("keys")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@reporting
def keys(out: Output, folder: Path) -> None:
    """Make the certificates of a cluster's scheduler, workers and clients."""
    from node.cluster_keys import make_cluster_keys

    files = [str(path) for path in make_cluster_keys(folder)]
    out.result({"files": files}, lambda: out.table("Written", ("file",), [(each,) for each in files]))


price.add_command(mc)
