"""Options in ACTUS terms through the virtual machine: the standard's own cases, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.calendar import moment_iso, parse_moment
from contracts.vm.actus import option_events, option_program
from contracts.vm.actus_terms import Event, parse_case, parse_decimal
from contracts.vm.columns import ARRIVED, CLOSED, Valuer
from contracts.vm.lifecycle import lifecycle
from genesis.errors import Rejected
from tests.contracts.vm.actus_case import MATURITY, actus_case
from tests.contracts.vm.later import HOUR_MS, verified_later
from tests.contracts.vm.programs import DAY_MS, EXPIRY_UNIX_MS

VECTORS = "vectors/actus-tests-optns.json"
CASES = [f"option{number:02}" for number in range(1, 24)]
PROGRAM = option_program()


def events(document: dict[str, Any], price_max_ticks: int | None = None) -> tuple[Event, ...]:
    """What the machine makes of a case."""
    return option_events(PROGRAM, parse_case(document), price_max_ticks)


@pytest.fixture(name="vectors", scope="module")
def read_vectors() -> Callable[[Path], dict[str, Any]]:
    """The cases of a file, fractions as text."""
    return lambda path: json.loads(path.read_text(), parse_float=str, parse_int=str)


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_the_standard_has_its_events(
    shared_data: Callable[[str], Path], vectors: Callable[[Path], dict[str, Any]], name: str
) -> None:
    """Dates, payoffs, exercise amounts and exercise dates, each field of each event; actusfrf/actus-tests."""
    document = vectors(shared_data(VECTORS))[name]
    case = parse_case(document)
    assert len(case.expected) == len(document["results"]) > 0
    assert option_events(PROGRAM, case) == case.expected


def test_these_are_all_the_cases(shared_data: Callable[[str], Path], vectors: Callable[[Path], dict[str, Any]]) -> None:
    """A case that nobody ran would count as passed."""
    assert list(vectors(shared_data(VECTORS))) == CASES


def test_a_case_of_our_own_has_its_events() -> None:
    """Where the standard's data is absent the machine is still held to figures by hand."""
    case = parse_case(actus_case())
    assert option_events(PROGRAM, case) == case.expected
    assert len(case.expected) == 4


def told(found: tuple[Event, ...]) -> list[tuple[str, str, int, int, bool]]:
    """(date, kind, payoff, exercise amount, whether it has an exercise date)."""
    return [
        (moment_iso(each.unix_ms)[:10], each.kind, each.payoff_minor, each.exercise_amount_minor,
         each.exercise_unix_ms is not None)
        for each in found
    ]  # fmt: skip


WHOLE = [
    ("2024-01-10", "PRD", -350, 0, False),
    ("2024-02-29", "MD", 0, 0, True),
    ("2024-02-29", "XD", 0, 725, True),
    ("2024-03-04", "STD", 725, 0, True),
]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"contractRole": "SEL"}, [(d, k, -p, a, x) for d, k, p, a, x in WHOLE]),
        ({"businessDayConvention": "CSP"}, [*WHOLE[:3], ("2024-03-01", "STD", 725, 0, True)]),
        ({"businessDayConvention": "SCF"}, WHOLE),
        ({"businessDayConvention": None}, [*WHOLE[:3], ("2024-03-02", "STD", 725, 0, True)]),
        ({"calendar": "NC"}, [*WHOLE[:3], ("2024-03-02", "STD", 725, 0, True)]),
        ({"calendar": None}, [*WHOLE[:3], ("2024-03-02", "STD", 725, 0, True)]),
        ({"settlementPeriod": "P1M"}, [*WHOLE[:3], ("2024-03-29", "STD", 725, 0, True)]),
        (
            {"optionType": "P"},
            [
                WHOLE[0],
                ("2024-02-29", "MD", 0, 0, False),
                ("2024-02-29", "XD", 0, 0, False),
                ("2024-03-04", "STD", 0, 0, False),
            ],
        ),
        ({"statusDate": "2024-01-10T00:00:00"}, WHOLE),
        ({"statusDate": "2024-01-11T00:00:00"}, WHOLE[1:]),
        (
            {"statusDate": MATURITY, "exerciseDate": MATURITY, "exerciseAmount": "1.00"},
            [("2024-03-04", "STD", 100, 0, True)],
        ),
        (
            {"statusDate": MATURITY, "exerciseDate": MATURITY, "exerciseAmount": "50", "optionType": "P"},
            [("2024-03-04", "STD", 5_000, 0, True)],
        ),
    ],
)  # fmt: skip
def test_each_term_changes_what_it_should(changes: dict[str, Any], expected: list[Any]) -> None:
    """A term that changes nothing is one that nobody read."""
    assert told(events(actus_case(**changes))) == expected


def test_events_after_the_end_are_left_out() -> None:
    """The exercise amount is known at the exercise, though its payment lies behind the end."""
    assert told(events({**actus_case(), "to": "2024-03-01T00:00:00"})) == WHOLE[:3]


REFUSED = (
    ({"contractType": "FUTUR"}, "not_supported"),
    ({"optionExerciseType": "A"}, "not_supported"),
    ({"deliverySettlement": "D"}, "not_supported"),
    ({"deliverySettlement": None}, "bad_terms"),
    ({"optionType": "CP"}, "not_supported"),
    ({"contractRole": "RPA"}, "not_supported"),
    ({"calendar": "XX"}, "not_supported"),
    ({"businessDayConvention": "SCX"}, "not_supported"),
    ({"terminationDate": "2024-02-01T00:00:00"}, "not_supported"),
    ({"contractStructure": []}, "not_supported"),
    ({"contractStructure": "XYZ"}, "bad_terms"),
    ({"contractStructure": [{"referenceType": "CNT", "referenceRole": "UDL"}]}, "not_supported"),
    ({"settlementPeriod": "3D"}, "bad_period"),
    ({"maturityDate": "2023-02-29T00:00:00"}, "bad_date"),
    ({"maturityDate": 20240229}, "bad_terms"),
    ({"currency": "E\nUR"}, "bad_terms"),
    ({"optionStrike1": "50.001"}, "bad_decimal"),
    ({"optionStrike1": "1e2"}, "bad_decimal"),
    ({"optionStrike1": True}, "bad_decimal"),
    ({"optionStrike1": "-1"}, "bad_terms"),
    ({"optionStrike1": "10000000.01"}, "bad_parameter"),
    ({"purchaseDate": "2024-03-01T00:00:00"}, "bad_terms"),
    ({"maturityDate": "2024-03-02T00:00:00", "businessDayConvention": "CSP", "settlementPeriod": "P0D"}, "bad_terms"),
    ({"maturityDate": "2024-02-28T00:00:00"}, "no_observation"),
    ({"statusDate": "2024-03-01T00:00:00"}, "bad_terms"),
    ({"exerciseDate": MATURITY}, "bad_decimal"),
    ({"exerciseAmount": "1"}, "bad_terms"),
    ({"exerciseDate": MATURITY, "exerciseAmount": "1"}, "bad_terms"),
    ({"statusDate": MATURITY, "exerciseDate": "2024-02-28T00:00:00", "exerciseAmount": "1"}, "bad_terms"),
    ({"statusDate": MATURITY, "exerciseDate": MATURITY, "exerciseAmount": "-1"}, "bad_terms"),
    ({"statusDate": MATURITY, "exerciseDate": MATURITY, "exerciseAmount": "51", "optionType": "P"}, "out_of_band"),
)  # fmt: skip


@pytest.mark.parametrize(("changes", "code"), REFUSED)
def test_what_is_not_supported_or_makes_no_sense_is_refused(changes: dict[str, Any], code: str) -> None:
    """Passing over a term would print events that the standard does not have."""
    with pytest.raises(Rejected) as caught:
        events(actus_case(**changes))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"terms": 1},
        {**actus_case(), "eventsObserved": [1]},
        {**actus_case(), "dataObserved": {"XYZ": 1}},
        {**actus_case(), "results": {}},
    ],
)
def test_a_case_of_another_shape_is_refused(document: object) -> None:
    """What comes from a file may be anything."""
    with pytest.raises(Rejected):
        parse_case(document)


def test_a_price_above_what_is_locked_is_refused_and_not_cut() -> None:
    """ACTUS knows no cap; an event with a cut payoff would be a wrong one."""
    assert events(actus_case(), 5_725)[3].payoff_minor == 725
    with pytest.raises(Rejected, match="out_of_band"):
        events(actus_case(), 5_724)


def test_decimals_are_exact() -> None:
    """Money never passes through a float."""
    assert [parse_decimal(each) for each in ("63.70", " 80", "-0.5", 7, "0.10000", "-10")] == [
        6_370, 8_000, -50, 700, 10, -1_000,
    ]  # fmt: skip
    assert parse_decimal("1.2345", 4) == 12_345


def test_the_kernel_values_the_same_settlement() -> None:
    """What a desk marks an ACTUS option at is what it will be paid."""
    assert PROGRAM.word_sized
    prices = np.array([0, 4_999, 5_000, 5_001, 5_725, 49_999, 50_000, 50_001, 10**9])
    purchase, maturity = parse_moment("2024-01-10"), parse_moment(MATURITY)
    for is_call in (0, 1):
        valuer = Valuer(PROGRAM, (is_call, 1, 350, 5_000, 50_000, purchase, maturity, maturity + 2 * DAY_MS))
        ones = np.ones_like(prices)
        valued = valuer.over(np.array([ones, prices, ones]), np.full((3, prices.size), ARRIVED))
        gained = np.maximum(0, np.minimum(prices, 50_000) - 5_000 if is_call else 5_000 - prices)
        assert (valued.waits_for == CLOSED).all()
        assert not valued.shortfall.any()
        assert (valued.received[1, 0] == gained).all()
        assert (valued.received[0, 0] == 350 + (45_000 if is_call else 5_000) - gained).all()


def test_a_life_is_told_stage_by_stage() -> None:
    """Whoever reads events off it needs when each came, and what was new."""
    values = (7, 100, EXPIRY_UNIX_MS, EXPIRY_UNIX_MS + HOUR_MS)
    fixed, paid = lifecycle(verified_later(), values, {}, lambda _number: 101)
    assert (fixed.unix_ms, fixed.input, fixed.value, fixed.payments, fixed.closed) == (
        EXPIRY_UNIX_MS, 0, 101, (), False,
    )  # fmt: skip
    assert (paid.unix_ms, paid.input, paid.value, paid.closed) == (EXPIRY_UNIX_MS + HOUR_MS, 1, 1, True)
    assert [each.amount_minor for each in paid.payments] == [7, 0]


def test_what_does_not_arrive_is_absent_at_its_deadline() -> None:
    """The life of a contract without a price ends when it stops waiting for one."""
    values = (7, 100, EXPIRY_UNIX_MS, EXPIRY_UNIX_MS + HOUR_MS)
    (absent,) = lifecycle(verified_later(), values, {}, lambda _number: None)
    assert (absent.unix_ms, absent.value, absent.closed) == (EXPIRY_UNIX_MS + DAY_MS, None, True)


def test_a_late_moment_does_not_turn_the_clock_back() -> None:
    """A stage is never before the one that it followed."""
    values = (7, 100, EXPIRY_UNIX_MS, EXPIRY_UNIX_MS - HOUR_MS)
    stages = lifecycle(verified_later(), values, {}, lambda _number: 101)
    assert [each.unix_ms for each in stages] == [EXPIRY_UNIX_MS, EXPIRY_UNIX_MS]
