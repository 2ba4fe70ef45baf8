"""The kernel that values against the interpreter that settles, on programs written by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from contracts.vm.bytecode import Program
from contracts.vm.columns import ABSENT, ARRIVED, CLOSED, OPEN, Valuer
from contracts.vm.interpreter import run
from contracts.vm.verifier import Verified, verify
from genesis.errors import Rejected
from tests.contracts.vm.programs import EXPIRY_UNIX_MS, exercise, forward_call

Case = tuple[Program, tuple[int, ...], tuple[int | None, ...]]
CASES: tuple[Case, ...] = (
    (forward_call(), (3, 100, 1000, EXPIRY_UNIX_MS), (0, 100, 101, 120, 433, 434, 10**6, None)),
    (exercise(), (7, 500, EXPIRY_UNIX_MS), (0, 1, None)),
)


def received_by_interpreter(
    verified: Verified, parameters: Sequence[int], settled: dict[int, int | None]
) -> list[list[int]]:
    """By party and asset, the sum of the payments."""
    received = [[0] * len(verified.program.assets) for _ in verified.program.parties]
    for payment in run(verified, parameters, settled).payments:
        received[payment.party][payment.asset] += payment.amount_minor
    return received


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].name)
def test_both_back_ends_pay_the_same(case: Case) -> None:
    """A margin that is computed on other payoffs than those that settle is no margin."""
    program, parameters, observed = case
    verified = verify(program, 1000)
    scenarios = [*observed, "open"] * 100
    values = np.array([[each if isinstance(each, int) else 0 for each in scenarios]])
    states = np.array([[OPEN if each == "open" else (ABSENT if each is None else ARRIVED) for each in scenarios]])
    valued = Valuer(verified, parameters).over(values, states)
    assert not valued.shortfall.any()
    for lane, each in enumerate(scenarios):
        settled = {} if each == "open" else {0: each}
        exact = run(verified, parameters, settled)  # type: ignore[arg-type]
        assert valued.received[:, :, lane].tolist() == received_by_interpreter(verified, parameters, settled)  # type: ignore[arg-type]
        assert valued.waits_for[lane] == (CLOSED if exact.waits_for is None else exact.waits_for)
        assert valued.gas[lane] == exact.gas


def test_a_scenario_out_of_range_is_refused() -> None:
    """The kernel's 64 bits are proved for the declared ranges alone."""
    valuer = Valuer(verify(forward_call(), 1000), CASES[0][1])
    with pytest.raises(Rejected, match="scenario=1"):
        valuer.over(np.array([[5, 10**6 + 1]]), np.array([[ARRIVED, ARRIVED]]))
    with pytest.raises(Rejected, match="bad_input"):
        valuer.over(np.array([[5]]), np.array([[3]]))


def test_no_scenarios_give_no_results() -> None:
    """A caller whose grid is empty is answered like any other."""
    nothing = np.zeros((1, 0), dtype=np.int64)
    valued = Valuer(verify(forward_call(), 1000), CASES[0][1]).over(nothing, nothing)
    assert valued.received.shape == (2, 1, 0)
    assert valued.gas.shape == valued.shortfall.shape == (0,)
