"""The order in which batches are verified: docs/FAULTS.md rows 29 and 48."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from genesis.codec import encode
from genesis.errors import Rejected
from node import batch_verifier
from node.batch_verifier import Arrival, BatchVerifier, Outcome
from tests.node.dataplane import FORMAT, Waiting, bad_signature_wire, deadline, envelopes_of

pytestmark = pytest.mark.trio


def arrival_of(author: int, number: int, *, fetched: bool = False) -> Arrival:
    """A batch on its way."""
    batch = FORMAT.seal(author, number, envelopes_of([author * 100 + number]))
    return Arrival(batch.digest, batch.wire, author, None if fetched else author)


async def order_of(arrivals: Sequence[Arrival], hurried: Sequence[Arrival] = ()) -> list[Arrival]:
    """The order in which these are verified when all wait at the start."""
    done: list[Arrival] = []
    progress = Waiting()

    def note(outcomes: Sequence[Outcome]) -> None:
        done.extend(arrival for arrival, _ in outcomes)
        progress()

    verifier = BatchVerifier(FORMAT, note)
    for each in arrivals:
        verifier.put(each)
    for each in hurried:
        verifier.hurry(each.digest)
    async with deadline() as nursery:
        nursery.start_soon(verifier.run)
        await progress.until(lambda: len(done) == len(arrivals))
    assert [verifier.waiting(author) for author in range(4)] == [0] * 4
    assert not any(each.digest in verifier for each in arrivals)
    return done


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visits of one batch, so that the order shows."""
    monkeypatch.setattr(batch_verifier, "VISIT_BYTES", 1)


@pytest.mark.usefixtures("one_by_one")
async def test_flood_of_one_author_delays_only_itself() -> None:
    """The others' batches must not wait behind sixty of one author's."""
    flood = [arrival_of(1, number) for number in range(8)]
    others = [arrival_of(2, 0), arrival_of(3, 0), arrival_of(2, 1)]
    order = await order_of([*flood, *others])
    assert order[:6] == [flood[0], others[0], others[1], flood[1], others[2], flood[2]]
    assert order[6:] == flood[3:]


@pytest.mark.usefixtures("one_by_one")
async def test_what_a_vote_waits_for_goes_first() -> None:
    """A batch that a block orders is worth more than one that may be ordered some day."""
    queued = [arrival_of(1, number) for number in range(4)]
    fetched, last = arrival_of(2, 0, fetched=True), queued[-1]
    order = await order_of([*queued, fetched], hurried=[last, last, fetched])
    assert order == [fetched, last, *queued[:3]]


async def test_small_batches_share_a_visit_and_fail_alone() -> None:
    """On a quiet chain one thread hop serves everything that waits; a bad batch spoils nothing but itself."""
    wire = encode([3, 0, [bad_signature_wire(7)]])
    bad = Arrival(FORMAT.digest(wire), wire, 3, 3)
    good = [arrival_of(1, 0), arrival_of(2, 0)]
    visits: list[Sequence[Outcome]] = []
    seen = trio.Event()

    def note(outcomes: Sequence[Outcome]) -> None:
        visits.append(outcomes)
        seen.set()

    verifier = BatchVerifier(FORMAT, note)
    for each in (good[0], bad, good[1]):
        verifier.put(each)
    async with deadline() as nursery:
        nursery.start_soon(verifier.run)
        await seen.wait()
    assert len(visits) == 1
    assert [arrival for arrival, outcome in visits[0] if isinstance(outcome, Rejected)] == [bad]
    assert len(visits[0]) == 3
