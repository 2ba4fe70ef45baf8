"""What an instance pays, when it waits, and what it gives back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.vm.bytecode import decode_program, encode_program
from contracts.vm.disassembler import disassemble
from contracts.vm.interpreter import Payment, run, terms
from contracts.vm.verifier import verify
from genesis.errors import Rejected
from tests.contracts.vm.programs import DAY_MS, EXPIRY_UNIX_MS, HOLDER, WRITER, exercise, forward_call

CALL = verify(forward_call(), 1000)
DELIVERY = verify(exercise(), 1000)
PARAMETERS = (3, 100, 1000, EXPIRY_UNIX_MS)


@pytest.mark.parametrize("program", [forward_call(), exercise()], ids=lambda program: program.name)
def test_a_program_survives_its_encoding(program: object) -> None:
    """An instance refers to a program by the digest of these bytes."""
    assert decode_program(encode_program(program)) == program  # type: ignore[arg-type]


def test_it_waits_until_the_price_is_settled() -> None:
    """Before, nothing may move."""
    halted = run(CALL, PARAMETERS, {})
    assert (halted.payments, halted.waits_for) == ((), 0)


@pytest.mark.parametrize(
    ("price", "holder"), [(0, 0), (100, 0), (101, 3), (120, 60), (433, 999), (434, 1000), (999, 1000)]
)
def test_a_call_pays_its_move_up_to_what_is_locked(price: int, holder: int) -> None:
    """What the holder does not get goes back to the writer: nothing is created or lost."""
    done = run(CALL, PARAMETERS, {0: price})
    assert done.waits_for is None
    assert done.payments == (Payment(0, HOLDER, holder, holder), Payment(0, WRITER, 1000 - holder, 1000 - holder))


def test_a_price_that_never_arrives_closes_the_contract() -> None:
    """Otherwise the collateral would be locked for ever."""
    assert run(CALL, PARAMETERS, {0: None}).payments == (Payment(0, WRITER, 1000, 1000),)


def test_the_terms_follow_from_the_parameters() -> None:
    """They are known, and can be covered, before an instance starts."""
    agreed = terms(CALL, PARAMETERS)
    assert agreed.locks == ((WRITER, 0, 1000),)
    assert [(each.opens_unix_ms, each.until_unix_ms) for each in agreed.windows] == [
        (EXPIRY_UNIX_MS, EXPIRY_UNIX_MS + DAY_MS)
    ]


def test_a_deposit_enters_with_the_election_and_leaves_with_the_close() -> None:
    """Delivery against payment: the holder's cash reaches the writer in the same run as the goods the holder."""
    done = run(DELIVERY, (7, 500, EXPIRY_UNIX_MS), {0: 1})
    assert done.payments == (Payment(0, HOLDER, 7, 7), Payment(0, WRITER, 0, 0), Payment(1, WRITER, 500, 500))


@pytest.mark.parametrize("elected", [0, None])
def test_who_does_not_elect_puts_nothing_in(elected: int | None) -> None:
    """An option that lapses gives the goods back."""
    done = run(DELIVERY, (7, 500, EXPIRY_UNIX_MS), {0: elected})
    assert done.payments == (Payment(0, WRITER, 7, 7), Payment(1, WRITER, 0, 0))


def test_a_run_needs_no_more_than_its_static_gas() -> None:
    """The fee is fixed before anyone knows the price."""
    runs = [run(CALL, PARAMETERS, settled) for settled in ({}, {0: None}, {0: 200})]
    assert [each.gas for each in runs] == [14, 32, 64]
    assert max(each.gas for each in runs) <= CALL.program.gas


@pytest.mark.parametrize(
    ("parameters", "settled", "code"),
    [
        ((3, 100, 1000), {}, "bad_parameter"),
        ((0, 100, 1000, EXPIRY_UNIX_MS), {}, "bad_parameter"),
        ((3, 100, 1000, -1), {}, "bad_parameter"),
        (PARAMETERS, {1: 5}, "bad_input"),
        (PARAMETERS, {0: 10**6 + 1}, "bad_input"),
        (PARAMETERS, {0: -1}, "bad_input"),
    ],
)
def test_what_is_out_of_range_is_refused(parameters: tuple[int, ...], settled: dict[int, int], code: str) -> None:
    """The proofs hold inside the declared ranges alone."""
    with pytest.raises(Rejected) as caught:
        run(CALL, parameters, settled)
    assert caught.value.code == code


def test_a_window_that_ends_before_it_opens_is_refused() -> None:
    """Its input could never arrive."""
    turned = [replace(each, opens=each.until, until=each.opens) for each in exercise().inputs]
    verified = verify(replace(exercise(), inputs=tuple(turned)), 1000)
    with pytest.raises(Rejected, match="opens_unix_ms=1800000000000, until_unix_ms=0"):
        terms(verified, (7, 500, EXPIRY_UNIX_MS))


def test_the_disassembly_names_what_numbers_stand_for() -> None:
    """A person must be able to read what a validator stores."""
    text = disassemble(forward_call())
    assert "lock writer r2" in text
    assert "input 0 price settlement of INDEX: price in 0..1000000 opens r3 until r5" in text
    assert "   14 muldiv       r0, r13, r7, down" in text
    assert "   16 pay          r15, r8" in text
