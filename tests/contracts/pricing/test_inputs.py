"""What is wrong in a row is said with its value and range before any kernel sees it."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.pricing.asian import ARITHMETIC
from contracts.pricing.inputs import RANGES, ROWS_MAX, Inputs, Relation, columns_of
from genesis.errors import Rejected

INPUTS = Inputs(
    ("right", "spot", "barrier"),
    (Relation("spot must lie above the barrier", ("spot", "barrier"), lambda c: c["spot"] > c["barrier"]),),
)

OPTION = {"right": 1.0, "spot": 100.0, "strike": 100.0, "q": 0.0, "r": 0.05}


def test_scalars_stand_for_every_row() -> None:
    """One rate for a whole chain is the usual case."""
    columns = INPUTS.checked(right=1.0, spot=[100.0, 120.0], barrier=[90.0, 95.0])
    assert {name: list(column) for name, column in columns.items()} == {
        "right": [1.0, 1.0],
        "spot": [100.0, 120.0],
        "barrier": [90.0, 95.0],
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1e13])
def test_a_number_out_of_range_is_refused_with_its_row(value: float) -> None:
    """NaN has other bits on other machines, so it must not come in."""
    with pytest.raises(Rejected, match=r"row 1: spot is .*; it must be from 1e-09 to 1e\+12"):
        INPUTS.checked(right=1.0, spot=[100.0, value], barrier=90.0)


def test_one_number_out_of_range_is_found_wherever_it_stands() -> None:
    """Columns are looked through by their least and greatest number, in vectors: one lane must not hide another."""
    for value in (float("nan"), 0.0, 1e13):
        for row in range(67):
            spot = np.full(67, 100.0)
            spot[row] = value
            assert list(INPUTS.offences(columns_of(right=1.0, spot=spot, barrier=1e-9))) == [row]


def test_a_right_is_a_call_or_a_put() -> None:
    """Anything between would price a mixture."""
    assert list(INPUTS.offences(columns_of(right=[1.0, 0.5, -1.0], spot=100.0, barrier=90.0))) == [1]


def test_a_broken_relation_is_said_with_its_values() -> None:
    """Two numbers may each be fine and together mean nothing."""
    assert INPUTS.offences(columns_of(right=1.0, spot=80.0, barrier=90.0)) == {
        0: "spot must lie above the barrier; here spot 80, barrier 90"
    }


@pytest.mark.parametrize(("vol", "t_years"), [(float("inf"), 0.0), (1e200, 1.0)])
def test_a_number_out_of_range_is_told_by_the_refusal_alone(vol: float, t_years: float) -> None:
    """A relation is weighed over such a row, too, and must not write NumPy's warnings between the answers."""
    columns = columns_of(fixings=0.0, first_fixing_years=0.0, average_so_far=0.0, **OPTION, t_years=t_years, vol=vol)
    assert ARITHMETIC.offences(columns) == {0: f"vol is {vol:g}; it must be {RANGES['vol']}"}


@pytest.mark.parametrize("spot", [np.ones((2, 2)), np.ones(3), np.broadcast_to(1.0, ROWS_MAX + 1)])
def test_columns_that_do_not_fit_are_refused(spot: np.ndarray) -> None:
    """Broadcasting by accident would price other options than were meant, and an unbounded row count fills memory."""
    barrier = [90.0, 91.0] if spot.size < 5 else 90.0
    with pytest.raises(Rejected, match=r"columns must be|at most"):
        INPUTS.checked(right=1.0, spot=spot, barrier=barrier)
