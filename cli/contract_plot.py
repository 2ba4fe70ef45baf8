"""A payoff diagram: in the terminal by characters, as a PNG by matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cli.output import Failure
from contracts.vm.payoff import Point

COLUMNS: Final = 60
ROWS: Final = 15


def payoff_lines(points: Sequence[Point]) -> list[str]:
    """The diagram as text: prices from left to right, the gain from bottom to top, a dotted line at nothing."""
    prices = [each.price_ticks for each in points]
    gains = [each.gained_minor for each in points]
    low, high = min(0, *gains), max(0, *gains)
    height = max(1, high - low)
    cells = [[" "] * COLUMNS for _ in range(ROWS)]
    zero = _row(0, low, height)
    cells[zero] = ["."] * COLUMNS
    for price, gain in zip(prices, gains, strict=True):
        cells[_row(gain, low, height)][_column(price, prices)] = "*"
    labels = {0: f"{high:,}", ROWS - 1: f"{low:,}", zero: "0"}
    width = max(len(each) for each in labels.values())
    lines = [f"{labels.get(at, ''):>{width}} |{''.join(row)}".rstrip() for at, row in enumerate(cells)]
    ends = f"{prices[0]:,}", f"{prices[-1]:,}"
    axis = f"{' ' * width} +{'-' * COLUMNS}"
    return [*lines, axis, f"{' ' * width}  {ends[0]}{ends[1]:>{max(1, COLUMNS - len(ends[0]))}}"]


def write_png(file: Path, points: Sequence[Point], title: str, gain_label: str, price_label: str) -> None:
    """Draw the diagram into a PNG file.

    Raises:
        Failure: matplotlib is not installed (code ``no_plots``).
        OSError: The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        reason = "A PNG needs matplotlib, which is not installed: `pip install 'novate[plots]'`."
        raise Failure(reason, code="no_plots") from error
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([each.price_ticks for each in points], [each.gained_minor for each in points])
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_title(title)
    axes.set_xlabel(price_label)
    axes.set_ylabel(gain_label)
    axes.ticklabel_format(style="plain", useOffset=False)
    figure.savefig(file, format="png")


def _row(gain: int, low: int, height: int) -> int:
    """From the top."""
    return ROWS - 1 - ((gain - low) * (ROWS - 1) * 2 + height) // (2 * height)


def _column(price: int, prices: Sequence[int]) -> int:
    return (price - prices[0]) * (COLUMNS - 1) // max(1, prices[-1] - prices[0])
