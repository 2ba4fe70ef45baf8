"""The replica whose signer is out of reach: what it follows, what it owes, and in which order it pays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from consensus.events import Effect, PersistSafety, SignAndSend
from consensus.types import Statement, Timeout, Vote
from node.frames import FrameKind
from tests.node.dataplane import certificate, safety_of
from tests.node.replica_rig import FIRST, KEY, ME, SECOND, THIRD, Note, Rig, executed, on, running, vote_for

pytestmark = pytest.mark.trio

QC_1, QC_2 = certificate(FIRST.header), certificate(SECOND.header)
VOTE_1, VOTE_2, VOTE_3 = vote_for(FIRST), vote_for(SECOND), vote_for(THIRD)
TIMEOUT_2, TIMEOUT_3 = (Timeout(0, view, QC_1, None, ME) for view in (2, 3))
PROPOSAL_3 = replace(THIRD, signature=b"")


def says(statement: Statement, qc_view: int = 0) -> list[Effect]:
    """The effects by which a core says something, with a high QC of this view in its safety state."""
    state = replace(safety_of(9), high_qc=replace(QC_1, view=qc_view))
    return [PersistSafety(state, None), SignAndSend(statement, (1, 2))]


def rig_that_says(*statements: Statement) -> Rig:
    """A replica whose core says one of these at each event, its high QC a view higher each time."""
    return Rig(on(*((f"executed {at}", says(each, at)) for at, each in enumerate(statements, 1))))


def sent(rig: Rig) -> list[Note]:
    """What left, unsigned again for comparison."""
    return [replace(each[2], signature=b"") for each in rig.notes if each[:2] == ("sent", FrameKind.CONSENSUS)]


async def play(rig: Rig, count: int, *, again: bool = True) -> None:
    """Post this many events while the signer is out of reach; then let it come back."""
    rig.signer_gone = True
    async with running(rig):
        for number in range(1, count + 1):
            rig.replica.post(executed(number))
        await wait_all_tasks_blocked()
        assert sent(rig) == []
        assert rig.kinds.count("persisted") == count
        rig.signer_gone = False
        if again:
            rig.replica.sign_again()
        await wait_all_tasks_blocked()


async def test_replica_without_its_signer_follows_and_speaks_when_it_is_back() -> None:
    """Every event reached the core meanwhile; what was owed leaves once, and comes back to the core as said."""
    rig = rig_that_says(VOTE_1, TIMEOUT_2)
    await play(rig, 2)
    assert sent(rig) == [VOTE_1, TIMEOUT_2]
    assert rig.events[:2] == ["executed 1", "executed 2"]
    own = [each.message for each, _ in rig.seen[3:]]  # type: ignore[union-attr]
    assert [replace(each, signature=b"") for each in own] == [VOTE_1, TIMEOUT_2]


@pytest.mark.parametrize(
    ("said", "owed"),
    [
        ([VOTE_1, VOTE_2, VOTE_3], [VOTE_3]),
        ([VOTE_1, TIMEOUT_2, VOTE_3], [TIMEOUT_2, VOTE_3]),
        ([TIMEOUT_2, VOTE_3, TIMEOUT_3], [VOTE_3, TIMEOUT_3]),
        ([PROPOSAL_3, VOTE_3, TIMEOUT_3], [PROPOSAL_3, VOTE_3, TIMEOUT_3]),
    ],
)
async def test_only_the_last_of_each_kind_is_owed_in_the_cores_order(
    said: list[Statement], owed: list[Statement]
) -> None:
    """A signer refuses a vote behind the timeout of its view, and that would halt an honest node."""
    rig = rig_that_says(*said)
    await play(rig, len(said))
    assert sent(rig) == owed


async def test_what_is_owed_goes_before_anything_newer() -> None:
    """The signer may be back before the replica has heard of it; the order must hold all the same."""
    rig = rig_that_says(VOTE_1, TIMEOUT_2)
    rig.signer_gone = True
    async with running(rig):
        rig.replica.post(executed(1))
        await wait_all_tasks_blocked()
        rig.signer_gone = False
        rig.replica.post(executed(2))
        await wait_all_tasks_blocked()
        rig.replica.sign_again()
        await wait_all_tasks_blocked()
    assert sent(rig) == [VOTE_1, TIMEOUT_2]


async def test_each_statement_is_asked_for_with_the_lock_of_its_own_time() -> None:
    """A later lock would make the signer refuse an earlier timeout, which was right when it was permitted."""
    rig = rig_that_says(TIMEOUT_2, VOTE_3)
    await play(rig, 2)
    assert rig.signed == [(TIMEOUT_2, 1), (VOTE_3, 2)]


async def test_statement_said_again_while_it_is_owed_keeps_its_place_and_its_lock() -> None:
    """A core may repeat its timeout; asked for behind what came after it, the signer would refuse it."""
    rig = rig_that_says(TIMEOUT_2, VOTE_3, TIMEOUT_2)
    await play(rig, 3)
    assert rig.signed == [(TIMEOUT_2, 1), (VOTE_3, 2)]


async def test_effects_wait_for_a_signature_and_the_event_loop_does_not() -> None:
    """A remote signature takes a while; what comes after it in the core's order comes after it in the world."""
    effects: list[Effect] = [*says(VOTE_1), *says(TIMEOUT_2)]
    rig = Rig(on(("executed 1", effects)))
    gate = trio.Event()

    async def slow(statement: Statement, _lock_view: int) -> bytes:
        rig.note("asked", type(statement))
        await gate.wait()
        return KEY.sign(b"")

    rig.sign = slow  # type: ignore[method-assign]
    async with running(rig):
        rig.replica.post(executed(1))
        rig.replica.post(executed(2))
        await wait_all_tasks_blocked()
        assert rig.kinds == ["writes", "persisted", "asked"]
        gate.set()
        await wait_all_tasks_blocked()
    assert rig.kinds == ["writes", "persisted", "asked", "sent", "writes", "persisted", "asked", "sent"]
    assert [each[1] for each in rig.notes if each[0] == "asked"] == [Vote, Timeout]
