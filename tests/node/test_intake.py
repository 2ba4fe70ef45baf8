"""The door for clients: docs/FAULTS.md rows 30 and 31."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from contracts.machine import admit, genesis_state
from genesis.codec import Value
from genesis.envelope import UnverifiedEnvelope, decode_envelope, sign_envelope
from genesis.errors import Rejected
from genesis.signing import SigningKey
from node.batch_maker import BatchMaker, held_bytes
from node.config import MEMPOOL_BYTES_DEFAULT
from node.intake import BEHIND_HEIGHTS_MAX, PIECE_BYTES, Admission, Intake, excused
from tests.node.dataplane import (
    CHAIN_ID,
    DOCUMENT,
    EXPIRES_AT_UNIX_MS,
    FORMAT,
    GOVERNOR,
    PARAMS,
    Hub,
    Reports,
    Waiting,
    bad_signature_wire,
    deadline,
    envelope_wire,
    open_store,
    pool_of,
)

pytestmark = pytest.mark.trio

STRANGER = SigningKey(b"\x55" * 32)


@asynccontextmanager
async def intake_of(
    tmp_path: Path, *, running: bool = True, bytes_max: int = MEMPOOL_BYTES_DEFAULT, **limits: int
) -> AsyncIterator[tuple[Intake, BatchMaker]]:
    """A running intake in front of a maker that never seals."""
    params, state, store = replace(PARAMS, **limits), genesis_state(DOCUMENT), open_store(tmp_path / "0")
    maker = BatchMaker(0, FORMAT, pool_of(0, Hub(4).wires[0], store, Waiting(), Reports()), 0)

    def admit_here(envelope: UnverifiedEnvelope) -> None:
        admit(state, envelope)

    intake = Intake(CHAIN_ID, params, admit_here, maker, bytes_max)
    async with deadline() as nursery:
        if running:
            nursery.start_soon(intake.run)
        yield intake, maker
    store.close()


async def test_each_envelope_is_answered_by_itself(tmp_path: Path) -> None:
    """A client that posts a hundred must not lose ninety-nine to one mistake."""
    wires = [
        envelope_wire(1),
        b"junk",
        bad_signature_wire(2),
        envelope_wire(3, STRANGER),
        envelope_wire(4)[:-1],
        bytes(PARAMS.envelope_bytes_max + 1),
        envelope_wire(5),
    ]
    async with intake_of(tmp_path) as (intake, maker):
        admissions = await intake.submit(wires)
        codes = ["", "malformed", "bad_signature", "unknown_signer", "malformed", "too_large", ""]
        assert [each.code for each in admissions] == codes
        assert [each.accepted for each in admissions] == [not code for code in codes]
        assert [each.envelope_id is not None for each in admissions] == [True, False, True, True, False, False, True]
        assert all(each.message for each in admissions if not each.accepted)
        assert maker.waiting == 2


async def test_envelope_that_waits_already_is_accepted_again_but_queued_once(tmp_path: Path) -> None:
    """A client that lost our answer repeats itself."""
    async with intake_of(tmp_path) as (intake, maker):
        first = await intake.submit([envelope_wire(1), envelope_wire(1)])
        again = await intake.submit([envelope_wire(1)])
        assert {each.envelope_id for each in (*first, *again)} == {first[0].envelope_id}
        assert all(each.accepted for each in (*first, *again))
        assert maker.waiting == 1


async def test_refusal_by_the_state_is_passed_on(tmp_path: Path) -> None:
    """An expired or replayed envelope gets the state machine's own answer."""

    def refuse(envelope: UnverifiedEnvelope) -> None:
        raise Rejected("replayed", "Executed already.", height=7)

    async with intake_of(tmp_path) as (_, maker):
        pass
    intake = Intake(CHAIN_ID, PARAMS, refuse, maker)
    async with deadline() as nursery:
        nursery.start_soon(intake.run)
        [admission] = await intake.submit([envelope_wire(1)])
    assert (admission.code, admission.message) == ("replayed", "Executed already. (height=7)")


async def test_mempool_is_bounded_before_any_work_is_spent(tmp_path: Path) -> None:
    """A client flood must cost its senders an answer, not our memory."""
    async with intake_of(tmp_path, mempool_envelopes_max=5) as (intake, maker):
        admissions = await intake.submit([envelope_wire(number) for number in range(8)])
        assert [each.code for each in admissions] == [""] * 5 + ["mempool_full"] * 3
        assert [each.code for each in await intake.submit([envelope_wire(9)])] == ["mempool_full"]
        assert intake.waiting == maker.waiting == 5


async def test_what_is_being_verified_counts_against_the_mempool(tmp_path: Path) -> None:
    """Otherwise a thousand requests at once would pass the bound together."""
    async with intake_of(tmp_path, running=False, mempool_envelopes_max=5) as (intake, _), deadline() as nursery:
        nursery.start_soon(intake.submit, [envelope_wire(number) for number in range(4)])
        await wait_all_tasks_blocked()
        assert intake.waiting == 4
        nursery.start_soon(intake.run)
        admissions = await intake.submit([envelope_wire(8), envelope_wire(9)])
        assert [each.code for each in admissions] == ["", "mempool_full"]


HEAVY: tuple[Value, ...] = (1, *[(0,) * 4_000] * 3)


def heavy_wire(number: int) -> bytes:
    """An envelope of twelve kilobytes that takes seventy times as much decoded."""
    return sign_envelope(CHAIN_ID, [GOVERNOR], [HEAVY], EXPIRES_AT_UNIX_MS, number.to_bytes(16, "big"))


def forged(wire: bytes) -> bytes:
    """The envelope with one bit of its last signature changed."""
    return wire[:-1] + bytes([wire[-1] ^ 1])


HEAVY_BYTES = held_bytes(decode_envelope(heavy_wire(0), CHAIN_ID, PARAMS))


async def test_mempool_is_bounded_by_what_envelopes_take_decoded(tmp_path: Path) -> None:
    """Twenty thousand envelopes of some kilobytes are within the bound of their number, and take gigabytes."""
    async with intake_of(tmp_path, bytes_max=5 * HEAVY_BYTES) as (intake, maker):
        admissions = await intake.submit([heavy_wire(number) for number in range(8)])
        assert [each.code for each in admissions] == [""] * 5 + ["mempool_full"] * 3
        assert f"needed_bytes={HEAVY_BYTES}" in admissions[5].message
        assert f"bytes_max={5 * HEAVY_BYTES}" in admissions[5].message
        assert [each.code for each in await intake.submit([envelope_wire(9)])] == ["mempool_full"]
        assert (intake.waiting, intake.waiting_bytes) == (5, 5 * HEAVY_BYTES)
        maker.take_all()
        assert [each.code for each in await intake.submit([envelope_wire(9)])] == [""]


async def test_light_envelopes_fit_where_a_heavy_one_does_not(tmp_path: Path) -> None:
    """Each is answered by itself: a heavy one that finds no room costs only its own sender."""
    async with intake_of(tmp_path, bytes_max=2 * HEAVY_BYTES - 1) as (intake, _):
        admissions = await intake.submit([heavy_wire(1), heavy_wire(2), envelope_wire(3)])
        assert [each.code for each in admissions] == ["", "mempool_full", ""]


async def test_one_envelope_is_taken_whatever_it_takes(tmp_path: Path) -> None:
    """Told to come again, its client would do so for ever."""
    async with intake_of(tmp_path, bytes_max=HEAVY_BYTES // 2) as (intake, _):
        admissions = await intake.submit([heavy_wire(1), heavy_wire(2)])
        assert [each.code for each in admissions] == ["", "mempool_full"]


async def test_false_envelopes_take_no_room_from_those_behind_them(tmp_path: Path) -> None:
    """Anyone can name a member's key: a flood of forgeries must not turn its owner away, nor fill our memory."""
    async with intake_of(tmp_path, bytes_max=HEAVY_BYTES) as (intake, _):
        admissions = await intake.submit([*[forged(heavy_wire(number)) for number in range(20)], heavy_wire(20)])
        assert [each.code for each in admissions] == ["bad_signature"] * 20 + [""]
    count = PIECE_BYTES // HEAVY_BYTES + 3
    async with intake_of(tmp_path) as (intake, _):
        admissions = await intake.submit([forged(heavy_wire(number)) for number in range(count)] + [heavy_wire(count)])
        assert [each.code for each in admissions] == ["bad_signature"] * count + [""]


async def test_bytes_that_wait_to_be_verified_count_against_the_mempool(tmp_path: Path) -> None:
    """What the size of a wire says already is refused before any work is spent on it."""
    wires = [heavy_wire(number) for number in range(4)]
    bytes_max = 3 * 3 * len(wires[0]) + HEAVY_BYTES // 2
    async with intake_of(tmp_path, running=False, bytes_max=bytes_max) as (intake, _), deadline() as nursery:
        nursery.start_soon(intake.submit, wires[:3])
        await wait_all_tasks_blocked()
        held = intake.waiting_bytes
        assert 3 * sum(map(len, wires[:3])) < held < bytes_max
        while bytes_max - intake.waiting_bytes > 3 * len(wires[0]) + 2_000:
            nursery.start_soon(intake.submit, wires[3:])
            await wait_all_tasks_blocked()
        [refused] = await intake.submit(wires[3:])
        assert (refused.code, refused.envelope_id) == ("mempool_full", None)
        assert f"waiting_bytes={intake.waiting_bytes}" in refused.message
        nursery.cancel_scope.cancel()


async def test_many_requests_share_a_visit_and_each_gets_its_own_answers(tmp_path: Path) -> None:
    """Answers must never be mixed up between clients."""
    answers: dict[int, list[bool]] = {}
    async with intake_of(tmp_path) as (intake, maker):

        async def client(number: int) -> None:
            wires = [envelope_wire(number), bad_signature_wire(100 + number)][:: 1 if number % 2 else -1]
            answers[number] = [each.accepted for each in await intake.submit(wires)]

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(client, number)
        assert answers == {number: [True, False] if number % 2 else [False, True] for number in range(20)}
        assert maker.waiting == 20


async def test_executed_and_expired_envelopes_are_forgotten(tmp_path: Path) -> None:
    """The set of waiting ids must not grow for ever."""
    async with intake_of(tmp_path) as (intake, _):
        admissions = await intake.submit([envelope_wire(1), envelope_wire(2)])
        first = admissions[0].envelope_id
        assert first is not None
        intake.executed([first, bytes(32)], EXPIRES_AT_UNIX_MS - PARAMS.envelope_lifetime_ms_max)
        assert len(intake._live) == 1
        intake.executed([], EXPIRES_AT_UNIX_MS)
        assert len(intake._live) == 0


UNKNOWN = Admission(b"\x01" * 32, "unknown_signer", "no member")
EARLY = Admission(b"\x02" * 32, "lifetime_too_long", "too far ahead")
BAD = Admission(b"\x03" * 32, "bad_signature", "forged")
GOOD = Admission(b"\x04" * 32)


async def test_a_node_far_behind_does_not_refuse_for_good_what_it_cannot_judge() -> None:
    """A member that was admitted a minute ago is no stranger; a client must go to another validator, not give up."""
    behind = BEHIND_HEIGHTS_MAX + 1
    stated = excused([UNKNOWN, EARLY, BAD, GOOD], 100, 100 + behind)
    assert [each.code for each in stated] == ["not_ready", "not_ready", "bad_signature", ""]
    assert [each.envelope_id for each in stated] == [each.envelope_id for each in (UNKNOWN, EARLY, BAD, GOOD)]
    assert "height 100" in stated[0].message
    with pytest.raises(Rejected) as caught:
        excused([UNKNOWN, EARLY], 100, 100 + behind)
    assert (caught.value.code, caught.value.details) == ("not_ready", {"height": 100, "certified_height": 100 + behind})


async def test_a_node_that_is_up_to_date_refuses_strangers() -> None:
    """A few blocks between certificate and execution are the pipeline of a healthy chain."""
    admissions = [UNKNOWN, EARLY]
    assert excused(admissions, 100, 100 + BEHIND_HEIGHTS_MAX) == admissions
    assert excused([BAD], 100, 200) == [BAD]
    assert excused([], 100, 200) == []
