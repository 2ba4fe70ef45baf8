"""An option in ACTUS terms, as the ACTUS tests write one; the project's own figures."""

from __future__ import annotations

from typing import Any


def event(date: str, kind: str, payoff: str, amount: str = "0", exercised: str | None = None) -> dict[str, Any]:
    """One entry of ``results``."""
    stated = {"eventDate": date, "eventType": kind, "payoff": payoff, "currency": "EUR", "notionalPrincipal": "0"}
    dated = {} if exercised is None else {"exerciseDate": exercised}
    return {**stated, "exerciseAmount": amount, **dated}


MATURITY = "2024-02-29T12:30:00"
EVENTS = [
    event("2024-01-10T00:00:00", "PRD", "-3.50"),
    event(MATURITY, "MD", "0", exercised=MATURITY),
    event(MATURITY, "XD", "0", "7.25", MATURITY),
    event("2024-03-04T12:30:00", "STD", "7.25", exercised=MATURITY),
]
"""29 February and two days is a Saturday; it is settled on the Monday."""


def actus_case(**changes: Any) -> dict[str, Any]:
    """A call at 50 on a price of 57.25, settled after two days and a weekend; a change to None takes that term out."""
    terms = {
        "contractType": "OPTNS",
        "contractID": "call",
        "contractRole": "BUY",
        "contractStructure": [
            {"object": {"marketObjectCode": "XYZ"}, "referenceType": "MOC", "referenceRole": "UDL"},
        ],
        "currency": "EUR",
        "calendar": "MF",
        "businessDayConvention": "CSF",
        "contractDealDate": "2024-01-09T00:00:00",
        "statusDate": "2024-01-09T00:00:00",
        "purchaseDate": "2024-01-10T00:00:00",
        "priceAtPurchaseDate": "3.5",
        "maturityDate": MATURITY,
        "optionExerciseType": "E",
        "optionType": "C",
        "optionStrike1": " 50",
        "settlementPeriod": "P2D",
        "deliverySettlement": "S",
    }
    changed = {name: value for name, value in {**terms, **changes}.items() if value is not None}
    observed = {"XYZ": {"identifier": "XYZ", "data": [{"timestamp": MATURITY, "value": "57.250"}]}}
    return {
        "terms": changed,
        "to": "2024-12-31T00:00:00",
        "dataObserved": observed,
        "eventsObserved": [],
        "results": EVENTS,
    }
