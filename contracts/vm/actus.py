"""An ACTUS option as an instance of the library's program, and the events of its life as its run makes them.

Rules:

1. The program is `contracts/library/actus_option.contract`: the terms become its parameters, dates its moments.
2. An event is a stage of the run: the purchase moment is ``PRD``, the price of the maturity ``MD`` and ``XD``, the
   settlement moment ``STD``. A payoff is what the program pays in that stage, to the party or, negative, to the other.
3. What is exercised is fixed with the price, and is what the program pays at settlement. Where that is nothing, the
   option is not exercised, and its events have no exercise date.
4. What lies before the status date is settled before the run begins, as an instance on the chain goes on from what is
   settled. An exercise amount that is given stands for the price at which the program pays it.
5. The program's collateral is bounded by a price, which the terms do not have. A price above that bound is refused
   rather than cut.

Source: ACTUS Technical Specification 1.1, contract type OPTNS: its schedule, state transitions and payoffs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from contracts.library.actus import ACTUS_OPTION
from contracts.vm.actus_terms import ActusCase, Event, OptionTerms
from contracts.vm.bytecode import decode_program
from contracts.vm.interpreter import Payment, Settled
from contracts.vm.lifecycle import Stage, lifecycle
from contracts.vm.verifier import Verified, verify
from genesis.errors import Rejected

STRIKES_MAX: Final = 10
"""By default the price may rise to this many strikes."""

_GAS_MAX: Final = 1_000
_LOT_MINOR: Final = 1
"""A tick and a minor unit are the same (`actus_terms.DECIMALS`), and the option is for one of its underlying."""


def option_program() -> Verified:
    """The library's program, verified."""
    return verify(decode_program(ACTUS_OPTION), _GAS_MAX)


def option_events(verified: Verified, case: ActusCase, price_max_ticks: int | None = None) -> tuple[Event, ...]:
    """The events of a case from its status date to its end, in order.

    Args:
        verified: `option_program`.
        case: The terms and the prices.
        price_max_ticks: The largest price that the collateral provides for; by default `STRIKES_MAX` strikes.

    Raises:
        Rejected: ``no_observation`` without a price at maturity, ``out_of_band`` for one above `price_max_ticks`;
            ``bad_parameter`` for terms out of the program's ranges.
    """
    option = case.option
    bound = STRIKES_MAX * option.strike_ticks if price_max_ticks is None else price_max_ticks
    inputs = {each.name: number for number, each in enumerate(verified.program.inputs)}
    price = _price(option, case.prices_ticks, bound)
    settled = _settled_before(option, inputs, price)
    values = _parameters(option, bound)
    parameters = [values[each.name] for each in verified.program.parameters]
    stages = lifecycle(verified, parameters, settled, lambda _number: price)
    by_name = {verified.program.inputs[each.input].name: each for each in stages}
    events = _events(verified, option, by_name)
    return tuple(each for each in events if option.status_unix_ms <= each.unix_ms <= case.until_unix_ms)


def _parameters(option: OptionTerms, price_max_ticks: int) -> dict[str, int]:
    return {
        "is_call": int(option.is_call),
        "lot": _LOT_MINOR,
        "premium": option.premium_minor,
        "strike": option.strike_ticks,
        "price_max": price_max_ticks,
        "purchase_at": option.purchase_unix_ms,
        "maturity_at": option.maturity_unix_ms,
        "settlement_at": option.settlement_unix_ms,
    }


def _price(option: OptionTerms, prices_ticks: Mapping[int, int], price_max_ticks: int) -> int:
    """The price at maturity: as observed, or as the exercise amount that is given implies (rule 4)."""
    if option.exercise is not None:
        amount = option.exercise.amount_minor
        price: int | None = option.strike_ticks + (amount if option.is_call else -amount)
    else:
        price = prices_ticks.get(option.maturity_unix_ms)
    if price is None:
        message = "There is no price of the underlying at maturity."
        raise Rejected("no_observation", message, underlying=option.underlying, unix_ms=option.maturity_unix_ms)
    if not 0 <= price <= price_max_ticks:
        message = "The price at maturity is outside of what the collateral provides for."
        raise Rejected("out_of_band", message, price_ticks=price, price_max_ticks=price_max_ticks)
    return price


def _settled_before(option: OptionTerms, inputs: Mapping[str, int], price: int) -> Settled:
    """What lies before the status date (rule 4)."""
    if option.exercise is not None:
        return {inputs["purchase"]: 1, inputs["maturity"]: price}
    return {inputs["purchase"]: 1} if option.purchase_unix_ms < option.status_unix_ms else {}


def _events(verified: Verified, option: OptionTerms, stages: Mapping[str, Stage]) -> Iterator[Event]:
    """Rules 2 and 3."""
    currency = option.currency
    if "purchase" in stages:
        bought = stages["purchase"]
        yield Event(bought.unix_ms, "PRD", _payoff(verified, option, bought), currency)
    last = stages["settlement"]
    payoff = _payoff(verified, option, last)
    exercised = option.exercise.unix_ms if option.exercise is not None else None
    if "maturity" in stages:
        fixed = stages["maturity"]
        exercised = fixed.unix_ms if payoff else None
        yield Event(fixed.unix_ms, "MD", _payoff(verified, option, fixed), currency, 0, exercised)
        yield Event(fixed.unix_ms, "XD", 0, currency, abs(payoff), exercised)
    yield Event(last.unix_ms, "STD", payoff, currency, 0, exercised)


def _payoff(verified: Verified, option: OptionTerms, stage: Stage) -> int:
    """What the program's statements pay to the party, less what they pay to the other: each pays from the other's lock.

    What the close gives back is collateral and no payoff.
    """
    program = verified.program
    party = program.parties.index("holder" if option.is_buyer else "writer")
    paid: tuple[Payment, ...] = stage.payments[: -len(program.assets)] if stage.closed else stage.payments
    return sum(each.amount_minor if each.party == party else -each.amount_minor for each in paid)
