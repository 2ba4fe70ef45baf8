"""Options in the terms of the ACTUS standard (contract type OPTNS), read into whole numbers.

Rules:

1. Prices, premiums and amounts are decimals; here they are in units of 10 to the minus `DECIMALS`, exactly. One that is
   finer is refused.
2. Dates are without a zone and read as UTC.
3. The settlement date is the exercise date plus the settlement period, then moved to a business day. Nothing else is
   moved. To calculate first and then shift (CSF, CSP, ...) or the other way round (SCF, SCP, ...) makes a difference
   for what accrues between dates, which an option does not have.
4. What is read is the European call or put on one market object, settled in cash. Every other term or value that would
   change an event is refused (``not_supported``), never passed over.

Source: ACTUS Technical Specification 1.1 and ACTUS Data Dictionary, contract type OPTNS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.calendar import (
    FOLLOWING,
    MODIFIED_FOLLOWING,
    MODIFIED_PRECEDING,
    PRECEDING,
    UNADJUSTED,
    Calendar,
    Convention,
    every_day,
    later,
    monday_to_friday,
    parse_moment,
    parse_period,
    shifted,
)
from genesis.errors import Rejected

DECIMALS: Final = 2
"""A tick of a price and a minor unit of money are both 10**-DECIMALS."""
PRICES_MAX: Final = 100_000
TEXT_MAX: Final = 64

_DECIMAL: Final = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,18}))?")
_CALENDARS: Final[Mapping[str, Calendar]] = {"NC": every_day, "MF": monday_to_friday}
_CONVENTIONS: Final[Mapping[str, Convention]] = {
    "NULL": UNADJUSTED,
    "SCF": FOLLOWING,
    "CSF": FOLLOWING,
    "SCMF": MODIFIED_FOLLOWING,
    "CSMF": MODIFIED_FOLLOWING,
    "SCP": PRECEDING,
    "CSP": PRECEDING,
    "SCMP": MODIFIED_PRECEDING,
    "CSMP": MODIFIED_PRECEDING,
}
_FIXED: Final = {"contractType": "OPTNS", "optionExerciseType": "E", "deliverySettlement": "S"}
_READ: Final = frozenset(
    [
        *_FIXED,
        *("contractID", "contractRole", "contractStructure", "currency", "calendar", "businessDayConvention"),
        *("contractDealDate", "statusDate", "purchaseDate", "priceAtPurchaseDate", "maturityDate", "optionType"),
        *("optionStrike1", "settlementPeriod", "exerciseDate", "exerciseAmount"),
    ]
)
_UNDERLYING: Final = {"referenceType": "MOC", "referenceRole": "UDL"}


@dataclass(frozen=True, slots=True)
class Exercise:
    """An exercise that lies behind: its date, and the amount that is still to be settled."""

    unix_ms: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class OptionTerms:
    """A European option, settled in cash.

    Attributes:
        contract_id: Its name.
        is_buyer: Whether events are seen by the buyer, who pays the premium; else by the seller.
        underlying: The market object.
        status_unix_ms: What lies before is over.
        settlement_unix_ms: By rule 3.
        exercise: If it is exercised already.
    """

    contract_id: str
    is_buyer: bool
    is_call: bool
    underlying: str
    currency: str
    strike_ticks: int
    premium_minor: int
    status_unix_ms: int
    purchase_unix_ms: int
    maturity_unix_ms: int
    settlement_unix_ms: int
    exercise: Exercise | None


@dataclass(frozen=True, slots=True)
class Event:
    """What happens to an option, seen by the party that `OptionTerms.is_buyer` says.

    Attributes:
        unix_ms: When.
        kind: ``PRD`` (purchase), ``MD`` (maturity), ``XD`` (exercise), ``STD`` (settlement).
        payoff_minor: What the party receives; negative, what it pays.
        exercise_amount_minor: What the exercise came to; in the event ``XD`` alone.
        exercise_unix_ms: When it was exercised, as far as the event knows.
        notional_minor: An option has none.
    """

    unix_ms: int
    kind: str
    payoff_minor: int
    currency: str
    exercise_amount_minor: int = 0
    exercise_unix_ms: int | None = None
    notional_minor: int = 0


@dataclass(frozen=True, slots=True)
class ActusCase:
    """An option, the prices that were observed, and the events that follow.

    Attributes:
        until_unix_ms: Later events are left out.
        prices_ticks: Of its underlying, by time.
        expected: The events that the case states.
    """

    option: OptionTerms
    until_unix_ms: int
    prices_ticks: Mapping[int, int]
    expected: tuple[Event, ...]


def parse_case(document: object) -> ActusCase:
    """One test case of the ACTUS standard: ``{terms, to, dataObserved, eventsObserved, results}``.

    Args:
        document: As JSON gives it, fractions as text.

    Raises:
        Rejected: ``bad_terms``, ``not_supported``, ``bad_date``, ``bad_period`` or ``bad_decimal``.
    """
    case = _mapping(document, "case")
    if case.get("eventsObserved"):
        raise Rejected("not_supported", "Events that were observed are not supported: an option exercises itself.")
    option = parse_terms(case.get("terms"))
    observed = _mapping(case.get("dataObserved", {}), "dataObserved").get(option.underlying, {"data": []})
    entries = _list(_mapping(observed, option.underlying).get("data"), "data")
    prices = (_mapping(each, "observation") for each in entries)
    return ActusCase(
        option,
        _moment(case, "to"),
        {_moment(each, "timestamp"): _decimal(each, "value") for each in prices},
        tuple(_event(_mapping(each, "result")) for each in _list(case.get("results"), "results")),
    )


def parse_terms(document: object) -> OptionTerms:
    """The terms of an option.

    Raises:
        Rejected: As `parse_case`.
    """
    terms = _mapping(document, "terms")
    for name in sorted(terms):
        if name not in _READ:
            raise Rejected("not_supported", "This term is not supported.", term=name[:TEXT_MAX])
    for name, value in _FIXED.items():
        _choice(terms, name, {value: True})
    exercise = _exercise(terms)
    maturity = _moment(terms, "maturityDate")
    return _consistent(
        OptionTerms(
            contract_id=_text(terms, "contractID"),
            is_buyer=_choice(terms, "contractRole", {"BUY": True, "SEL": False}),
            is_call=_choice(terms, "optionType", {"C": True, "P": False}),
            underlying=_underlying(terms),
            currency=_text(terms, "currency"),
            strike_ticks=_decimal(terms, "optionStrike1"),
            premium_minor=_decimal(terms, "priceAtPurchaseDate"),
            status_unix_ms=_moment(terms, "statusDate"),
            purchase_unix_ms=_moment(terms, "purchaseDate"),
            maturity_unix_ms=maturity,
            settlement_unix_ms=_settlement(terms, exercise.unix_ms if exercise else maturity),
            exercise=exercise,
        )
    )


def _settlement(terms: Mapping[str, Any], exercised_unix_ms: int) -> int:
    """Rule 3."""
    convention = _choice(terms, "businessDayConvention", _CONVENTIONS, "NULL")
    calendar = _choice(terms, "calendar", _CALENDARS, "NC")
    return shifted(later(exercised_unix_ms, parse_period(_text(terms, "settlementPeriod"))), convention, calendar)


def _exercise(terms: Mapping[str, Any]) -> Exercise | None:
    if "exerciseDate" not in terms and "exerciseAmount" not in terms:
        return None
    return Exercise(_moment(terms, "exerciseDate"), _decimal(terms, "exerciseAmount"))


def _consistent(option: OptionTerms) -> OptionTerms:
    """Its dates are in order, and its amounts are not negative."""
    exercise = option.exercise
    for holds, why in (
        (option.purchase_unix_ms <= option.maturity_unix_ms, "It is bought after its maturity."),
        (min(option.strike_ticks, option.premium_minor) >= 0, "Its strike or premium is negative."),
        (
            option.settlement_unix_ms >= option.maturity_unix_ms,
            "It is settled before its maturity: the convention moves the date back too far.",
        ),
        (
            exercise is None or exercise.unix_ms == option.maturity_unix_ms,
            "A European option is exercised at its maturity.",
        ),
        (
            exercise is None or exercise.unix_ms <= option.status_unix_ms,
            "Its exercise is given, and lies after its status date.",
        ),
        (exercise is None or exercise.amount_minor >= 0, "Its exercise amount is negative."),
        (
            exercise is not None or option.status_unix_ms <= option.maturity_unix_ms,
            "Its status date is after its maturity, and no exercise is given.",
        ),
    ):
        if not holds:
            raise Rejected("bad_terms", why, contract=option.contract_id)
    return option


def _underlying(terms: Mapping[str, Any]) -> str:
    references = _list(terms.get("contractStructure"), "contractStructure")
    if len(references) != 1:
        raise Rejected("not_supported", "An option has one underlying.", references=len(references))
    reference = _mapping(references[0], "contractStructure")
    for name, value in _UNDERLYING.items():
        _choice(reference, name, {value: True})
    return _text(_mapping(reference.get("object"), "object"), "marketObjectCode")


def _event(result: Mapping[str, Any]) -> Event:
    return Event(
        _moment(result, "eventDate"),
        _text(result, "eventType"),
        _decimal(result, "payoff"),
        _text(result, "currency"),
        _decimal(result, "exerciseAmount"),
        _moment(result, "exerciseDate") if "exerciseDate" in result else None,
        _decimal(result, "notionalPrincipal"),
    )


# --- values -----------------------------------------------------------------------------------------------------------


def parse_decimal(value: object, decimals: int = DECIMALS) -> int:
    """A decimal in units of 10 to the minus `decimals`; blanks around it mean nothing.

    Raises:
        Rejected: ``bad_decimal`` for what is no number, or a finer one (rule 1).
    """
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    match = _DECIMAL.fullmatch(text) if len(text) <= TEXT_MAX else None
    fraction = (match[3] or "").rstrip("0") if match is not None else ""
    if match is None or len(fraction) > decimals:
        message = "This is no decimal with that few places."
        raise Rejected("bad_decimal", message, value=str(value)[:TEXT_MAX], places_max=decimals)
    magnitude = int(match[2] + fraction.ljust(decimals, "0"))
    return -magnitude if match[1] else magnitude


def _decimal(of: Mapping[str, Any], name: str) -> int:
    return parse_decimal(of.get(name))


def _moment(of: Mapping[str, Any], name: str) -> int:
    return parse_moment(_text(of, name))


def _choice(of: Mapping[str, Any], name: str, known: Mapping[str, Any], absent: str = "") -> Any:
    text = _text(of, name) if name in of or not absent else absent
    if text not in known:
        supported = ", ".join(known)
        raise Rejected(
            "not_supported", "This value of a term is not supported.", term=name, value=text, known=supported
        )
    return known[text]


def _text(of: Mapping[str, Any], name: str) -> str:
    value = of.get(name)
    if not isinstance(value, str) or not value or len(value) > TEXT_MAX or not value.isprintable():
        raise Rejected("bad_terms", f"This must be a text of at most {TEXT_MAX} characters.", name=name)
    return value


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Rejected("bad_terms", "This must be an object with names.", what=what)
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > PRICES_MAX:
        raise Rejected("bad_terms", f"This must be a list of at most {PRICES_MAX} things.", what=what)
    return value
