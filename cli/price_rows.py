"""From rows of text to prices: each row by the model of its kind, each bad row by its own error.

Rows of one kind, exercise and kind of barrier are valued together, so that a file costs a few calls of compiled code
and not one a row. An empty cell is the default of its column where there is one (`DEFAULTS`); of several fixings that
have no date for the first, that is one N-th of the life from now, as they are then equally spaced over it. Names may
be in any case and have - for _.

A row with a price in place of a volatility is answered with the volatility that this implies (European vanilla
options), and its greeks are those at that volatility.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from math import nan
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cli.named_files import LARGE_BYTES_MAX
from contracts.pricing.asian_kernel import NOW_YEARS
from contracts.pricing.catalogue import EUROPEAN, EXERCISES, GREEKS, KINDS, MODELS, Model
from contracts.pricing.implied_volatility import BLACK_SCHOLES, black_scholes_implied_volatility
from contracts.pricing.inputs import CALL, PUT, Column, Inputs
from genesis.errors import Rejected

COLUMNS: Final = (
    "kind", "exercise", "right", "spot", "strike", "q", "r", "t_years", "vol", "barrier_kind", "barrier",
    "barrier_high", "rebate", "cash", "second_strike", "fixings", "first_fixing_years", "average_so_far",
    "extremum_so_far", "price",
)  # fmt: skip
REQUIRED: Final = ("right", "spot", "r", "t_years", "vol")
"""What every row needs, so that a file without it is no file of options; a price stands in for a volatility."""
DEFAULTS: Final[Mapping[str, float]] = {
    "q": 0.0,
    "rebate": 0.0,
    "fixings": 0.0,
    "first_fixing_years": 0.0,
    "average_so_far": 0.0,
    "extremum_so_far": 0.0,
}
"""What an empty cell stands for: no yield, no rebate, a continuous average from now on, a past that is not known."""
VANILLA: Final = "vanilla"
"""The kind of a row that names none."""

NAMES: Final = ("kind", "exercise", "right", "barrier_kind")
"""Columns that hold names and no numbers."""
RIGHTS: Final[Mapping[str, float]] = {"call": CALL, "put": PUT}
ROWS_MAX: Final = 1_000_000
BYTES_MAX: Final = LARGE_BYTES_MAX

Row = Sequence[str]
Answer = dict[str, Any]
"""``{"price": ...}``, with ``vol`` where the price was given and greeks where asked for; or ``{"error": ...}``."""


def read_table(data: bytes) -> tuple[list[str], list[Row]]:
    """The header and the rows of a CSV file; lines that are empty are left out.

    Raises:
        Rejected: ``price_file``: over its bounds, not UTF-8, no header, unknown, doubled or missing columns.
    """
    if len(data) > BYTES_MAX:
        raise _refused("The file is too large.", bytes_max=BYTES_MAX)
    try:
        text = data.decode("utf-8-sig")
        lines = csv.reader(StringIO(text, newline=""), strict=True, skipinitialspace=True)
        rows: list[Row] = [row for row in lines if row not in ([], [""])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(f"The file is no CSV in UTF-8: {error}.") from error
    if not rows:
        raise _refused("The file is empty; its first line must name the columns.", columns=", ".join(COLUMNS))
    header = [_name(text) for text in rows[0]]
    check_header(header)
    if len(rows) - 1 > ROWS_MAX:
        raise _refused("The file has too many rows.", rows=len(rows) - 1, rows_max=ROWS_MAX)
    return header, rows[1:]


def check_header(header: Sequence[str]) -> None:
    """Refuse a header that names what is not a column, or a column twice, or not all that every row needs.

    A column without a name is not looked at: spreadsheets and data frames write some.
    """
    for at, name in enumerate(header):
        if name and name not in COLUMNS:
            raise _refused(f"There is no column {name!r}.", columns=", ".join(COLUMNS))
        if name and name in header[:at]:
            raise _refused(f"The column {name!r} stands there twice.")
    missing = [name for name in REQUIRED if name not in header and (name, "price" in header) != ("vol", True)]
    if missing:
        raise _refused(f"The file has no column {missing[0]!r}, which every row needs.", missing=", ".join(missing))


def _refused(message: str, **compared: int | str) -> Rejected:
    return Rejected("price_file", message, **compared)


def price_rows(header: Sequence[str], rows: Sequence[Row], *, greeks: bool) -> list[Answer]:
    """An answer for each row, in the rows' order.

    Args:
        header: The columns' names, as `check_header` passes them.
        rows: Cells as text.
        greeks: Whether to add `GREEKS` to each price.
    """
    answers: list[Answer] = [{} for _ in rows]
    groups: dict[tuple[tuple[str, str, str], bool], list[int]] = {}
    place = {name: at for at, name in enumerate(header)}
    kind, exercise, barrier_kind, given = (_cells(place, x) for x in ("kind", "exercise", "barrier_kind", "price"))
    for at, row in enumerate(rows):
        if len(row) == len(header):
            names = (kind(row) or VANILLA, exercise(row) or EUROPEAN, barrier_kind(row))
            groups.setdefault((names, bool(given(row))), []).append(at)
        else:
            answers[at] = {"error": f"the row has {len(row)} cells; the header names {len(header)} columns"}
    for (names, has_price), members in groups.items():
        group = _Group(*names, [rows[at] for at in members], place)
        try:
            found = (_implied if has_price else _priced)(group, greeks=greeks)
        except Rejected as error:
            found = [{"error": error.message} for _ in members]
        for at, answer in zip(members, found, strict=True):
            answers[at] = answer
    return answers


@dataclass(frozen=True)
class _Group:
    """Rows of one kind, exercise and kind of barrier, and where each column stands in them."""

    kind: str
    exercise: str
    barrier_kind: str
    rows: Sequence[Row]
    place: Mapping[str, int]

    @property
    def model(self) -> Model:
        """The model of these rows; raises as `model_of`."""
        return model_of(self.kind, self.exercise, self.barrier_kind)

    def texts(self, name: str) -> list[str]:
        """A column's cells."""
        return [*map(_cells(self.place, name), self.rows)]

    def numbers(self, names: Sequence[str], errors: dict[int, str]) -> dict[str, Column]:
        """Columns as numbers; what is none becomes NaN and an error of its row."""
        return {name: _numbers(self.kind, name, self.texts(name), errors) for name in names}

    def without(self, errors: Mapping[int, str]) -> npt.NDArray[np.bool_]:
        """Which rows have no error."""
        good = np.ones(len(self.rows), dtype=np.bool_)
        good[list(errors)] = False
        return good

    def answers(self, good: Sequence[Answer], errors: Mapping[int, str]) -> list[Answer]:
        """An answer for each row: its error, or the next of the good ones."""
        left = iter(good)
        return [{"error": errors[at]} if at in errors else next(left) for at in range(len(self.rows))]


def _cells(place: Mapping[str, int], name: str) -> Callable[[Row], str]:
    """The text of one column in a row; empty where the file has no such column."""
    at = place.get(name)
    if at is None:
        return lambda _: ""
    return (lambda row: _name(row[at])) if name in NAMES else (lambda row: row[at].strip())


def _name(text: str) -> str:
    """A name as it is spelled here, however it was written."""
    return text.strip().lower().replace("-", "_")


def model_of(kind: str, exercise: str, barrier_kind: str) -> Model:
    """The model of a row.

    Raises:
        Rejected: ``price_row`` with the reason: an unknown name, or a combination that no model covers.
    """
    if kind not in KINDS:
        raise Rejected("price_row", f"kind {kind!r} is not supported; it must be one of {', '.join(KINDS)}")
    if exercise not in EXERCISES:
        raise Rejected("price_row", f"exercise {exercise!r} is not supported; it must be one of {', '.join(EXERCISES)}")
    model = MODELS.get((kind, exercise))
    if model is None:
        raise Rejected("price_row", f"not supported: {exercise} {kind}")
    if model.barrier_kinds and barrier_kind not in model.barrier_kinds:
        allowed = ", ".join(model.barrier_kinds)
        raise Rejected("price_row", f"barrier_kind is {barrier_kind!r}; for {kind} it must be one of {allowed}")
    return model


def is_uncovered(row: Mapping[str, str]) -> bool:
    """Whether a row's kind and exercise are known, and no model has both, or none tells a volatility from a price."""
    kind, exercise = (
        _name(row.get(name, "")) or default for name, default in (("kind", VANILLA), ("exercise", EUROPEAN))
    )
    is_implied = bool(row.get("price")) and (kind, exercise) != (VANILLA, EUROPEAN)
    return kind in KINDS and exercise in EXERCISES and (is_implied or (kind, exercise) not in MODELS)


def unused(row: Mapping[str, str]) -> list[str]:
    """The names of a row's cells that the model of its kind takes no notice of; the row has a price."""
    kind, exercise, barrier_kind = (_name(row.get(name, "")) for name in ("kind", "exercise", "barrier_kind"))
    model = model_of(kind or VANILLA, exercise or EUROPEAN, barrier_kind)
    used = {"kind", "exercise", "price", *model.columns, *(["barrier_kind"] if model.barrier_kinds else [])}
    return [name for name in row if name not in used]


def _priced(group: _Group, *, greeks: bool) -> list[Answer]:
    """Answers of rows that one model values; raises as `model_of`."""
    model, errors = group.model, dict[int, str]()
    columns = group.numbers(model.columns, errors)
    if "fixings" in columns:
        _complete_schedule(columns, group.texts("first_fixing_years"), errors)
    for name, sign in model.barrier_kinds.get(group.barrier_kind, {}).items():
        columns[name] = np.full(len(group.rows), sign)
    _note_offences(model.inputs, columns, errors)
    good = group.without(errors)
    valued = _valued(model, {name: columns[name][good] for name in model.inputs.names}, greeks=greeks)
    return group.answers(valued, errors)


def _implied(group: _Group, *, greeks: bool) -> list[Answer]:
    """Answers of rows that give a price and ask for the volatility.

    Raises:
        Rejected: ``price_row``: as `model_of`, and for all but European vanilla options.
    """
    model, kind = group.model, f"{group.exercise} {group.kind}"
    if (group.kind, group.exercise) != (VANILLA, EUROPEAN):
        raise Rejected("price_row", f"not supported: the volatility that the price of {kind} implies")
    errors = {at: "vol and price are both given" for at, vol in enumerate(group.texts("vol")) if vol}
    columns = group.numbers(BLACK_SCHOLES.names, errors)
    _note_offences(BLACK_SCHOLES, columns, errors)
    good = group.without(errors)
    found = black_scholes_implied_volatility(**{name: column[good] for name, column in columns.items()})
    columns["vol"] = np.full(len(group.rows), nan)
    columns["vol"][good] = found.vol
    places = np.flatnonzero(good)
    errors |= {int(places[at]): reason for at, reason in found.offences.items()}
    if greeks:
        _note_offences(model.inputs, columns, errors)
    good = group.without(errors)
    prices, vols = (columns[name][good].tolist() for name in ("price", "vol"))
    answers: list[Answer] = [{"price": price, "vol": vol} for price, vol in zip(prices, vols, strict=True)]
    if greeks:
        valued = _valued(model, {name: columns[name][good] for name in model.inputs.names}, greeks=True)
        answers = [value | answer for value, answer in zip(valued, answers, strict=True)]
    return group.answers(answers, errors)


def _note_offences(inputs: Inputs, columns: Mapping[str, Column], errors: dict[int, str]) -> None:
    """Note what is out of range or out of relation, in rows that have no error yet."""
    for at, reason in inputs.offences({name: columns[name] for name in inputs.names}).items():
        errors.setdefault(at, reason)


def _numbers(kind: str, name: str, texts: Sequence[str], errors: dict[int, str]) -> Column:
    """A column as numbers; what is none becomes NaN and an error of its row."""
    if name == "right":
        found = [RIGHTS.get(text, nan) for text in texts]
        reasons = {at: f"right is {texts[at]!r}; it must be call or put" for at, x in enumerate(found) if x != x}
    else:
        missing = DEFAULTS.get(name, nan)
        try:
            convert = float if _is_plain("".join(texts)) else _number
            found = [convert(text) if text else missing for text in texts]
        except ValueError:
            found = [_number(text) if text else missing for text in texts]
        reasons = {at: _no_number(kind, name, texts[at]) for at, x in enumerate(found) if x != x}
    for at, reason in reasons.items():
        errors.setdefault(at, reason)
    return np.array(found)


def _complete_schedule(columns: dict[str, Column], first: Sequence[str], errors: dict[int, str]) -> None:
    """Date the first of several fixings where nothing does, and require the average of what is past, and of that alone.

    Equally spaced over the life, the first of N comes at t_years / N. Without its average a past is no price: only a
    fixing that is now has the spot for one. Without a date nothing is past while the option lives.
    """
    blank = np.array([not text for text in first])
    fixings, average = columns["fixings"], columns["average_so_far"]
    pastless = blank & (fixings != 1.0) & (average > 0.0) & ((columns["t_years"] > NOW_YEARS) | (fixings == 0.0))
    for at in np.flatnonzero(pastless).tolist():
        missing = "it needs the first_fixing_years of what is past"
        errors.setdefault(at, f"average_so_far is {average[at]:g} and first_fixing_years is empty; {missing}")
    undated = (columns["fixings"] > 1.0) & blank
    steps = np.where(undated, columns["fixings"], 1.0)
    first_years = np.where(undated, columns["t_years"] / steps, columns["first_fixing_years"])
    columns["first_fixing_years"] = first_years
    unknown = (columns["fixings"] != 1.0) & (first_years < -NOW_YEARS) & (columns["average_so_far"] == 0.0)
    for at in np.flatnonzero(unknown).tolist():
        errors.setdefault(at, f"average_so_far is empty; averaging from {first_years[at]:g} years needs it")


def _is_plain(text: str) -> bool:
    """Python also reads 1_000, and the digits of other scripts."""
    return text.isascii() and "_" not in text


def _number(text: str) -> float:
    try:
        return float(text) if _is_plain(text) else nan
    except ValueError:
        return nan


def _no_number(kind: str, name: str, text: str) -> str:
    return f"{name} is {text!r}; it must be a number" if text else f"{name} is empty; {kind} needs it"


def _valued(model: Model, columns: Mapping[str, Column], *, greeks: bool) -> list[Answer]:
    """Answers from columns without offences."""
    if not greeks:
        return [{"price": price} for price in model.price(**columns).tolist()]
    found = model.greeks(**columns)
    names = ("price", *GREEKS)
    # Adding 0 makes a zero of a negative one: a put's delta has no use for its sign, and a reader none either.
    lists = [(getattr(found, name) + 0.0).tolist() for name in names]
    return [dict(zip(names, each, strict=True)) for each in zip(*lists, strict=True)]
