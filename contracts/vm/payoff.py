"""What a party gains from an instance, price by price: the points of a payoff diagram, from the interpreter itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.vm.bytecode import NO_DEPOSIT, InputKind, Kind
from contracts.vm.interpreter import Settled, run, terms
from contracts.vm.verifier import Verified
from genesis.errors import Rejected

POINTS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Point:
    """At this price a party has this much more than it put in (in minor units; negative: less)."""

    price_ticks: int
    gained_minor: int


def gained(verified: Verified, parameters: Sequence[int], settled: Settled, party: int) -> tuple[int, ...]:
    """By asset: what a party was paid so far, less what it locked and deposited, in minor units.

    Raises:
        Rejected: As `contracts.vm.interpreter.run`.
    """
    program = verified.program
    agreed = terms(verified, parameters)
    totals = [0] * len(program.assets)
    for owner, asset, amount_minor in agreed.locks:
        totals[asset] -= amount_minor if owner == party else 0
    for number, (each, window) in enumerate(zip(program.inputs, agreed.windows, strict=True)):
        if each.deposit != NO_DEPOSIT and each.source == party and settled.get(number):
            totals[window.deposit_asset] -= window.deposit_minor
    for payment in run(verified, parameters, settled).payments:
        totals[payment.asset] += payment.amount_minor if payment.party == party else 0
    return tuple(totals)


def payoff_points(
    verified: Verified,
    parameters: Sequence[int],
    party: int,
    asset: int,
    prices_ticks: Sequence[int],
    elections: Mapping[int, int],
) -> tuple[Point, ...]:
    """What a party gains of an asset where every price of the contract arrives and is the same, and every moment came.

    Args:
        verified: The program.
        parameters: Within their ranges.
        party, asset: Their numbers.
        prices_ticks: [points]: the prices; at most `POINTS_MAX`.
        elections: By input, what was elected; an election that has no entry was not made.

    Raises:
        Rejected: ``no_payoff`` for a contract that looks at no price or for too many points; what `gained` raises.
    """
    inputs = list(enumerate(verified.program.inputs))
    observed = [number for number, each in inputs if each.kind is InputKind.PRICE]
    if not observed:
        raise Rejected("no_payoff", "The contract looks at no price, so nothing it pays depends on one.")
    if len(prices_ticks) > POINTS_MAX:
        raise Rejected("no_payoff", "There are too many points.", points=len(prices_ticks), points_max=POINTS_MAX)
    elected = {number: elections.get(number) for number, each in inputs if each.kind is InputKind.ELECTION}
    passed = {number: 1 for number, each in inputs if each.kind is InputKind.MOMENT}
    points = []
    for price in prices_ticks:
        settled = {**elected, **passed, **dict.fromkeys(observed, price)}
        points.append(Point(price, gained(verified, parameters, settled, party)[asset]))
    return tuple(points)


def price_grid(verified: Verified, parameters: Sequence[int], points: int) -> tuple[int, ...]:
    """Prices at which to look: around the parameters that are prices, these included, within what may be observed.

    Args:
        verified: The program.
        parameters: Within their ranges.
        points: About how many, at least 2.

    Raises:
        Rejected: ``no_payoff`` for a contract that looks at no price.
    """
    program = verified.program
    observed = [each for each in program.inputs if each.kind is InputKind.PRICE]
    if not observed:
        raise Rejected("no_payoff", "The contract looks at no price, so nothing it pays depends on one.")
    low, high = max(each.low for each in observed), min(each.high for each in observed)
    if low > high:
        raise Rejected("no_payoff", "No one price may be observed everywhere.", low=low, high=high)
    declared = zip(program.parameters, parameters, strict=True)
    marks = [value for each, value in declared if each.type.kind is Kind.PRICE and low <= value <= high]
    if marks:
        margin = (max(marks) - min(marks)) // 8 or max(1, marks[0] // 2)
        low, high = max(low, min(marks) - margin), min(high, max(marks) + margin)
    steps = max(1, points - 1)
    return tuple(sorted({low + (high - low) * each // steps for each in range(steps + 1)} | {*marks}))
