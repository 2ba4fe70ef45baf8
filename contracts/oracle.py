"""Oracle samples: who may report which instant, and for how long a report is kept.

Rules:

1. Every oracle among an envelope's signers reports the price; an oracle reports an instant of an index once.
2. The price lies in the index's band. The instant is ahead of block time by no more than a bound, and not too old: it
   could still bear on the price of an expiry that is not settled, on a contract's open input, or on an expiry that
   comes to pass now or has within the settlement delay. So what a stalled chain held up is not lost, and what no price
   can need is not taken.
3. An index keeps at most `oracle_samples_per_index_max` reports, an equal share for each oracle, so that none can
   crowd out the others.
4. What nothing can need any more is dropped: instants before the earliest of block time and the first unsettled expiry,
   less the window and the validity; except the last priced one, from which the fallback of an expiry may have to be
   taken, and those that could be the price of a contract's open input. Of these alone, not of all that came since: an
   input may stay open for long, and must not use up what the oracles may report.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from contracts.operations import SampleOracle
from contracts.settlement_price import PricedInstant, median_of_reports
from contracts.state import State
from contracts.step import Step, known
from contracts.tables import IndexRow, SampleRow
from genesis.errors import Rejected


def sample(step: Step, operation: SampleOracle) -> None:
    """Take in a report."""
    state, index, instant, price = step.state, operation.index, operation.instant_unix_ms, operation.price_ticks
    reporters = [state.oracles[key] for key in step.signers if key in state.oracles]
    if not reporters:
        raise Rejected("not_authorised", "Only a key with the role oracle may do this.", role="oracle")
    _require_plausible(step, index, instant, price)
    reports = dict(state.samples.rows.get((index, instant), SampleRow(())).reports)
    quota = max(1, state.limits.oracle_samples_per_index_max // len(state.oracles))
    for oracle in reporters:
        if oracle in reports:
            raise Rejected("duplicate_sample", "The oracle has reported this instant.", index=index, instant=instant)
        if state.derived.sample_count.get((index, oracle), 0) >= quota:
            raise Rejected("limit_reached", "The oracle has as many samples as it may.", index=index, count_max=quota)
        reports[oracle] = price
    state.samples.put((index, instant), SampleRow(tuple(sorted(reports.items()))))
    step.emit("sampled", index=index, instant_unix_ms=instant, price_ticks=price, reports=len(reports))


def _require_plausible(step: Step, name: str, instant_unix_ms: int, price_ticks: int) -> None:
    limits, now = step.state.limits, step.time_unix_ms
    require_in_band(known(step.state.indices, name, "index"), price_ticks)
    needed_from = needed_from_unix_ms(step.state, name, now - limits.settlement_delay_ms)
    if instant_unix_ms < needed_from and not _bears_on_a_contract(step.state, name, instant_unix_ms):
        raise Rejected("sample_too_old", "The instant is too long ago.", instant=instant_unix_ms, block_time=now)
    if instant_unix_ms > now + limits.oracle_sample_ahead_ms_max:
        raise Rejected(
            "sample_in_future", "The instant is ahead of block time.", instant=instant_unix_ms, block_time=now
        )


def require_in_band(index: IndexRow, price_ticks: int) -> None:
    """Refuse a price outside the band on which collateral is computed (``price_out_of_band``)."""
    low, high = index.price_min_ticks, index.price_max_ticks
    if not low <= price_ticks <= high:
        raise Rejected(
            "price_out_of_band", "The price is outside the index's band.", price=price_ticks, low=low, high=high
        )


def price_at(state: State, index: str, instant_unix_ms: int) -> int:
    """The price of one instant that a quorum reported."""
    row = state.samples.rows[index, instant_unix_ms]
    return median_of_reports([price for _oracle, price in row.reports])


def priced_instants(state: State, index: str, from_unix_ms: int, to_unix_ms: int) -> list[PricedInstant]:
    """The priced instants in ``[from, to]``, and the last one before it, ascending."""
    priced = _instants_with_quorum(state, index)
    first, end = bisect_left(priced, from_unix_ms), bisect_right(priced, to_unix_ms)
    return [(instant, price_at(state, index, instant)) for instant in priced[max(0, first - 1) : end]]


def priced_count(state: State, index: str, from_unix_ms: int, to_unix_ms: int) -> int:
    """How many instants in ``[from, to]`` are priced."""
    priced = _instants_with_quorum(state, index)
    return bisect_right(priced, to_unix_ms) - bisect_left(priced, from_unix_ms)


def last_priced(state: State, index: str, at_unix_ms: int) -> PricedInstant | None:
    """The last priced instant at or before a moment, however old."""
    priced = _instants_with_quorum(state, index)
    place = bisect_right(priced, at_unix_ms)
    return (priced[place - 1], price_at(state, index, priced[place - 1])) if place else None


def _instants_with_quorum(state: State, index: str) -> list[int]:
    """The instants that have a price, ascending.

    Those with fewer reports than a price needs are not gone over: one oracle can make thousands of them.
    """
    return state.derived.reported_by.get((index, state.indices.rows[index].oracle_quorum), [])


def price_standing_at(state: State, index: str, at_unix_ms: int) -> int | None:
    """The last price at or before a moment, if it is younger than the validity of a sample."""
    found = last_priced(state, index, at_unix_ms)
    if found is None or found[0] <= at_unix_ms - state.limits.settlement_sample_validity_ms:
        return None
    return found[1]


def needed_from_unix_ms(state: State, index: str, time_unix_ms: int) -> int:
    """The first instant that can bear on the price of an unsettled expiry, or of one at `time_unix_ms` or later."""
    first_expiry_unix_ms = state.derived.first_expiry_unix_ms(index, time_unix_ms)
    return first_expiry_unix_ms - state.limits.settlement_reach_ms


def _bears_on_a_contract(state: State, index: str, instant_unix_ms: int) -> bool:
    """Whether a sample could be the price of a contract's open input."""
    validity_ms = state.limits.settlement_sample_validity_ms
    return state.open_inputs.needs_price(index, instant_unix_ms, instant_unix_ms + validity_ms)


def drop_old_samples(step: Step) -> None:
    """Rule 4, for every index."""
    state = step.state
    for index in state.derived.instants:
        for instant in _droppable(state, index, step.time_unix_ms):
            state.samples.put((index, instant), None)


def work_due(state: State, time_unix_ms: int) -> int:
    """How many instants `drop_old_samples` would drop in a block of that time."""
    return sum(len(_droppable(state, index, time_unix_ms)) for index in state.derived.instants)


def _droppable(state: State, index: str, time_unix_ms: int) -> list[int]:
    instants = state.derived.instants[index]
    if len(instants) < 2 or instants[1] >= time_unix_ms - state.limits.settlement_reach_ms:
        return []
    needed_from = needed_from_unix_ms(state, index, time_unix_ms)
    old = instants[: bisect_left(instants, needed_from)]
    kept = last_priced(state, index, needed_from - 1) if old else None
    unneeded = [instant for instant in old if kept is None or instant != kept[0]]
    return [instant for instant in unneeded if not _bears_on_a_contract(state, index, instant)]
