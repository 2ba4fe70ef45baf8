"""Moments: what was fixed at one time is paid at a later one, in the language, the bytecode and both back ends."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.vm.bytecode import InputKind, decode_program, encode_program
from contracts.vm.columns import ABSENT, ARRIVED, CLOSED, OPEN, Valuer
from contracts.vm.disassembler import disassemble
from contracts.vm.interpreter import run, terms
from contracts.vm.language.compiler import compile_text
from contracts.vm.language.explain import explain
from contracts.vm.payoff import payoff_points
from genesis.errors import Rejected
from tests.contracts.vm.later import HOUR_MS, LATER, later, verified_later
from tests.contracts.vm.programs import EXPIRY_UNIX_MS

WRITER, HOLDER = 0, 1
VALUES = (7, 100, EXPIRY_UNIX_MS, EXPIRY_UNIX_MS + HOUR_MS)
PROGRAM = later().program
MOMENT = PROGRAM.inputs[1]


def test_a_moment_survives_its_encoding_and_is_told_by_name() -> None:
    """It is a third kind of input on the wire, and a person must see what the program waits for."""
    assert decode_program(encode_program(PROGRAM)) == PROGRAM
    assert MOMENT.kind is InputKind.MOMENT
    assert "input 1 moment paid at r" in disassemble(PROGRAM)


def test_a_payment_waits_for_its_moment() -> None:
    """The amount is known at expiry; nothing moves before the moment, and all of it then."""
    verified = verified_later()
    assert run(verified, VALUES, {}).waits_for == 0
    fixed = run(verified, VALUES, {0: 101})
    assert (fixed.waits_for, fixed.payments) == (1, ())
    paid = run(verified, VALUES, {0: 101, 1: 1})
    assert paid.waits_for is None
    assert [(each.party, each.amount_minor) for each in paid.payments] == [(HOLDER, 7), (WRITER, 0)]


def test_a_moment_that_came_first_holds_nothing_up() -> None:
    """A late price must not find the contract waiting for a time that is over."""
    verified = verified_later()
    assert run(verified, VALUES, {1: 1}).waits_for == 0
    assert run(verified, VALUES, {1: 1, 0: 101}).payments == run(verified, VALUES, {0: 101, 1: 1}).payments
    assert run(verified, VALUES, {1: 1, 0: None}).waits_for is None


def test_its_window_is_the_instant_itself() -> None:
    """Prices and elections need a window that is not empty; a moment has none."""
    window = terms(verified_later(), VALUES).windows[1]
    assert (window.opens_unix_ms, window.until_unix_ms) == (VALUES[3], VALUES[3])
    assert (window.deposit_asset, window.deposit_minor) == (0, 0)


@pytest.mark.parametrize("value", [None, 0, 2])
def test_a_moment_comes_and_is_nothing_else(value: int | None) -> None:
    """Were it ever absent or false, two nodes could disagree about what it means."""
    with pytest.raises(Rejected, match="bad_input"):
        run(verified_later(), VALUES, {0: 101, 1: value})


def test_both_back_ends_wait_alike() -> None:
    """The kernel that values must see the same delay as the interpreter that settles."""
    verified, states = verified_later(), np.array([[s, m] for s in range(3) for m in (OPEN, ARRIVED)]).T
    prices = np.full(states.shape[1], 101)
    valued = Valuer(verified, VALUES).over(np.array([prices, np.ones_like(prices)]), states)
    for lane in range(states.shape[1]):
        arrived = {ARRIVED: (101, 1), ABSENT: (None, None)}
        settled = {number: arrived[state][number] for number, state in enumerate(states[:, lane]) if state != OPEN}
        expected = run(verified, VALUES, settled)
        assert valued.waits_for[lane] == (CLOSED if expected.waits_for is None else expected.waits_for)
        assert valued.gas[lane] == expected.gas
        paid = sum(each.amount_minor for each in expected.payments if each.party == HOLDER)
        assert valued.received[HOLDER, 0, lane] == paid


def test_the_kernel_takes_no_scenario_in_which_a_moment_is_absent() -> None:
    """It would value what cannot happen."""
    one = np.ones((2, 1), dtype=np.int64)
    with pytest.raises(Rejected, match="bad_input"):
        Valuer(verified_later(), VALUES).over(one, np.array([[ARRIVED], [ABSENT]]))


def test_a_payoff_looks_behind_every_moment() -> None:
    """A diagram of what is paid at delivery must not stop at expiry."""
    points = payoff_points(verified_later(), VALUES, HOLDER, 0, (100, 101), {})
    assert [each.gained_minor for each in points] == [0, 7]


def test_it_is_explained() -> None:
    """Who signs must read when the money comes."""
    said = [line.text for section in explain(later().contract) for line in section.lines]
    assert "paid is a moment: delivery." in said
    assert "Wait until paid." in said


MISTAKES = (
    ("wait until paid", "wait until settlement", "wrong_type"),
    ("wait until paid", "wait until payd", "unknown_name"),
    ("wait until paid", "", "never_used"),
    ("wait until paid", "when paid arrives { } timeout { }", "wrong_type"),
    ("wait until paid", "wait paid", "bad_syntax"),
    ("pay amount to", "pay if paid then amount else 0 to", "wrong_type"),
    ("moment paid at delivery", "moment paid at settlement", "not_yet_known"),
    ("moment paid at delivery", "moment paid at strike", "wrong_type"),
    ("moment paid at delivery", "moment paid delivery", "bad_syntax"),
    ("moment paid at delivery", "moment lot at delivery", "name_taken"),
)  # fmt: skip


@pytest.mark.parametrize(("written", "instead", "code"), MISTAKES)
def test_a_mistake_is_told(written: str, instead: str, code: str) -> None:
    """When it pays follows from the parameters alone: else a party could not know what it agrees to."""
    with pytest.raises(Rejected) as caught:
        compile_text(LATER.replace(written, instead).encode())
    assert caught.value.code == code
