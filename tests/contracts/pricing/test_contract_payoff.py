"""Contracts valued from the bytecode that settles them, against the payoffs written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.pricing.contract_payoff import YEAR_MS, ContractPayoff
from contracts.pricing.monte_carlo import Job, Market, merge, run, shards_of
from contracts.pricing.payoffs import Asian, Barrier, Payoff, Vanilla
from contracts.vm.bytecode import encode_program
from contracts.vm.language.compiler import compile_text
from genesis.errors import Rejected

LIBRARY = Path(__file__).resolve().parents[3] / "contracts" / "library"
NOW_UNIX_MS = 1_700_000_000_000
DAY_MS = 86_400_000
MARKET = Market((100.0,), (0.01,), (0.3,), 0.03)
HOLDER = 1
TOP = 100_000_000


def contract(name: str, *parameters: int) -> ContractPayoff:
    """An instance of a contract of the library, from its holder's side."""
    return ContractPayoff(
        encode_program(compile_text((LIBRARY / f"{name}.contract").read_bytes()).program), parameters, HOLDER
    )


def job(payoff: Payoff, times_years: tuple[float, ...], paths: int = 20_000) -> Job:
    """In cents."""
    return Job(MARKET, times_years, payoff, paths, seed=11, ticks_per_unit=100)


@pytest.mark.parametrize(
    ("instance", "written_out"),
    [
        (contract("vanilla_linear", 1, 1, 1, 10_500, 1, TOP, NOW_UNIX_MS + 90 * DAY_MS), Vanilla(1, 10_500)),
        (contract("vanilla_linear", 0, 1, 1, 9_500, 1, TOP, NOW_UNIX_MS + 90 * DAY_MS), Vanilla(-1, 9_500)),
        (contract("actus_option", 1, 1, 0, 10_500, TOP, *[NOW_UNIX_MS + 90 * DAY_MS] * 3), Vanilla(1, 10_500)),
        (contract("asian", 1, 1, 10_000, TOP, NOW_UNIX_MS + DAY_MS, 7 * DAY_MS), Asian(1, 10_000)),
        (
            contract("barrier", 1, 1, 10_000, 8_500, TOP, NOW_UNIX_MS + DAY_MS, 7 * DAY_MS),
            Barrier(1, 10_000, 8_500, False, False),
        ),
    ],
    ids=["call", "put", "actus", "asian", "barrier"],
)
def test_a_contract_is_worth_what_its_payoff_written_out_is(instance: ContractPayoff, written_out: Payoff) -> None:
    """To the last tick of twenty thousand payouts: one source settles and prices."""
    times = instance.times_years(NOW_UNIX_MS)
    assert times[-1] == pytest.approx((instance._terms.windows[-1].opens_unix_ms - NOW_UNIX_MS) / YEAR_MS)
    ours, theirs = job(instance, times), job(written_out, times)
    found = merge(ours, [run(ours, each) for each in shards_of(ours)])
    assert found == merge(theirs, [run(theirs, each) for each in shards_of(theirs)])
    assert found.total_ticks > 0


def test_a_payment_at_a_later_moment_counts_as_paid_then() -> None:
    """What is fixed at maturity and paid a month later is worth its price at maturity, discounted from the payment."""
    maturity, settlement = NOW_UNIX_MS + 90 * DAY_MS, NOW_UNIX_MS + 120 * DAY_MS
    instance = contract("actus_option", 1, 1, 0, 10_500, TOP, NOW_UNIX_MS + DAY_MS, maturity, settlement)
    instance.check(1)
    assert [round(each * 365) for each in instance.times_years(NOW_UNIX_MS)] == [1, 90, 120]
    paths = np.array([[[9_000, 9_000], [10_700, 10_400], [1, 99_999]]])
    assert instance.payouts_ticks(paths).tolist() == [200, 0]


def test_the_writer_has_what_the_holder_has_not() -> None:
    """Collateral comes back to the writer, less what the contract costs it."""
    instance = contract("vanilla_linear", 1, 1, 1, 10_500, 1, TOP, NOW_UNIX_MS + 90 * DAY_MS)
    writer = ContractPayoff(instance.encoded, instance.parameters, 0)
    times = instance.times_years(NOW_UNIX_MS)
    totals = [
        sum(run(each, shard).tallies[0].total for shard in shards_of(each))
        for each in (job(instance, times), job(writer, times))
    ]
    assert totals[0] == -totals[1] > 0


def test_what_cannot_be_valued_says_why() -> None:
    """An election needs a rule of exercise, a past observation a price."""
    delivery = contract("physical_delivery", *_delivery_parameters())
    with pytest.raises(Rejected, match="elections"):
        delivery.check(0)
    instance = contract("vanilla_linear", 1, 1, 1, 10_500, 1, TOP, NOW_UNIX_MS)
    with pytest.raises(Rejected, match="before its first observation"):
        instance.times_years(NOW_UNIX_MS)
    with pytest.raises(Rejected, match="underlying for each feed"):
        instance.check(2)
    with pytest.raises(Rejected, match="not_word_sized"):
        contract("vanilla_linear", 1, 10**9, 10**9, 10_500, 1, TOP, NOW_UNIX_MS).check(1)


def _delivery_parameters() -> tuple[int, ...]:
    """The smallest values in range."""
    program = compile_text((LIBRARY / "physical_delivery.contract").read_bytes()).program
    times = {"expiry": NOW_UNIX_MS + DAY_MS, "until": NOW_UNIX_MS + DAY_MS, "first": NOW_UNIX_MS}
    return tuple(times.get(each.name, max(each.low, 1)) for each in program.parameters)
