"""The loop around the core: what is carried out when, with a core that follows a script and ports that take notes."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from consensus.events import (
    Effect,
    EnsurePayload,
    FetchBlocks,
    Halt,
    PayloadOffered,
    PayloadWaiting,
    PersistSafety,
    Received,
    Report,
    RequestPayload,
    Send,
    SignAndSend,
    Started,
    StoreProposal,
    WakeAt,
    WokenUp,
)
from consensus.types import Proposal, signing_message
from genesis.errors import Rejected
from genesis.signing import is_valid
from node.failures import ReplicaHalted, StorageFailure
from node.frames import FrameKind
from tests.node.dataplane import CHAIN_ID, certificate, commit_of, safety_of
from tests.node.replica_rig import (
    BATCHES_MAX,
    CERTIFICATES,
    FIRST,
    KEY,
    ME,
    PATIENCE_S,
    QUICK_US,
    SECOND,
    SLOW_US,
    THIRD,
    Rig,
    Script,
    executed,
    on,
    running,
    vote_for,
    voting,
    wire_of,
)

pytestmark = pytest.mark.trio


# --- order and durability ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cost_us", "in_place"), [(QUICK_US, True), (SLOW_US, False)])
async def test_effects_are_carried_out_strictly_in_order(cost_us: int, in_place: bool) -> None:
    """The core relies on it: each effect is complete before the next, wherever the disk's part of it runs."""
    request = FetchBlocks(2, 5, certificate(SECOND.header))
    effects: list[Effect] = [
        Report("before", ()),
        StoreProposal(FIRST),
        Send(CERTIFICATES, (3,)),
        StoreProposal(SECOND),
        PersistSafety(safety_of(3), THIRD),
        SignAndSend(vote_for(THIRD), (1, 2)),
        RequestPayload(4, THIRD.header.block_hash, (FIRST.header, SECOND.header)),
        request,
        commit_of(FIRST),
        PersistSafety(safety_of(4), None),
        Report("after", ()),
    ]
    rig = Rig(on(("executed 1", effects)), disk_cost_us=cost_us)
    async with running(rig):
        rig.replica.post(executed(1))
        await rig.until("reported", "after")
        await wait_all_tasks_blocked()
    vote = rig.seen[2][0].message  # type: ignore[union-attr]
    assert rig.notes == [
        ("reported", "before"),
        ("sent", FrameKind.CONSENSUS, CERTIFICATES, (3,)),
        ("kept", FIRST),
        ("kept", SECOND),
        ("writes", 3),
        ("persisted", 3, THIRD, in_place),
        ("signed",),
        ("sent", FrameKind.CONSENSUS, vote, (1, 2)),
        ("offered", frozenset([b"a" * 32, b"b" * 32, b"c" * 32]), BATCHES_MAX),
        ("fetched", request),
        ("submitted", commit_of(FIRST)),
        ("writes", 4),
        ("persisted", 4, None, in_place),
        ("reported", "after"),
    ]
    assert rig.events == ["executed 1", "heard 0.3", "PayloadOffered"]
    assert rig.seen[3][0] == PayloadOffered(4, (b"e" * 32,))


async def test_nothing_is_signed_or_sent_while_the_disk_works() -> None:
    """A vote that leaves before it is on disk is forgotten by a crash, and given again to another block."""
    rig = Rig(voting("executed 1"), disk_cost_us=SLOW_US)
    rig.disk_gate.clear()
    async with running(rig) as nursery:
        rig.replica.post(executed(1))
        await rig.until("writes", 3)
        rig.replica.post(executed(2))
        nursery.start_soon(rig.replica.deliver, 1, [wire_of(9)])
        await wait_all_tasks_blocked()
        assert rig.kinds == ["writes"]
        assert rig.events == ["executed 1"]
        rig.disk_gate.set()
        await rig.until_events(4)
    assert rig.kinds == ["writes", "persisted", "signed", "sent"]
    assert rig.events == ["executed 1", "heard 0.1", "executed 2", "heard 1.9"]


@pytest.mark.parametrize("cost_us", [QUICK_US, SLOW_US])
async def test_statement_never_leaves_after_a_failed_write(cost_us: int) -> None:
    """docs/FAULTS.md row 7: what is not on disk was never said."""
    rig = Rig(voting("executed 1"), disk_cost_us=cost_us, disk_fails=True)
    rig.replica.post(executed(1))
    with pytest.RaisesGroup(StorageFailure), trio.move_on_after(PATIENCE_S):
        await rig.replica.run()
    assert rig.kinds == ["writes"]
    assert rig.events == ["executed 1"]


@pytest.mark.parametrize(("keep_us", "in_place"), [(SLOW_US // 2, True), (SLOW_US // 2 + 1, False)])
async def test_blocks_that_are_kept_count_for_the_write_that_carries_them(keep_us: int, in_place: bool) -> None:
    """A sync answer brings dozens of blocks: each is quick to write, all of them together hold up the event loop."""
    effects: list[Effect] = [StoreProposal(FIRST), StoreProposal(SECOND), PersistSafety(safety_of(3), THIRD)]
    rig = Rig(on(("executed 1", effects)), keep_us=keep_us)
    async with running(rig):
        rig.replica.post(executed(1))
        await rig.until("persisted", 3, THIRD, in_place)


async def test_each_write_is_judged_by_its_own_size() -> None:
    """One large block must not send every small write after it to a thread."""
    rig = Rig(on(*((f"executed {each}", [PersistSafety(safety_of(each), None)]) for each in (1, 2))))
    async with running(rig):
        for number, cost_us in ((1, SLOW_US), (2, QUICK_US)):
            rig.disk_cost_us = cost_us
            rig.replica.post(executed(number))
            await rig.until("persisted", number, None, cost_us == QUICK_US)
    assert rig.kinds == ["writes", "persisted"] * 2


async def test_block_that_is_merely_kept_is_written_when_the_queue_is_empty() -> None:
    """Whoever asks us for it soon after must get it, also when we vote for nothing."""
    rig = Rig(on(("executed 1", [StoreProposal(FIRST)]), ("executed 2", [StoreProposal(SECOND)])))
    async with running(rig):
        rig.replica.post(executed(1))
        rig.replica.post(executed(2))
        await wait_all_tasks_blocked()
        assert rig.notes == [("kept", FIRST), ("kept", SECOND)]
        rig.replica.post(executed(3))
        await wait_all_tasks_blocked()
    assert rig.notes == [("kept", FIRST), ("kept", SECOND)]


# --- our own statements -----------------------------------------------------------------------------------------------


async def test_own_statement_comes_back_before_anything_that_is_queued() -> None:
    """The core counts its own vote before it hears of others', and never handles a view it has left without it."""
    rig = Rig(voting("executed 1"))
    rig.replica.post(executed(1))
    rig.replica.post(executed(2))
    async with running(rig) as nursery:
        nursery.start_soon(rig.replica.deliver, 2, [wire_of(8)])
        await wait_all_tasks_blocked()
    assert rig.events == ["executed 1", "heard 0.1", "executed 2", "heard 2.8"]


async def test_own_statement_is_signed_as_it_was_sent() -> None:
    """Peers verify what they receive, and the core repeats what it was given back."""
    rig = Rig(voting("executed 1"))
    async with running(rig):
        rig.replica.post(executed(1))
        await wait_all_tasks_blocked()
    [(_, _, sent, recipients)] = [each for each in rig.notes if each[0] == "sent"]
    assert rig.seen[2][0] == Received(ME, sent)
    assert recipients == (1, 2)
    assert is_valid(KEY.public_key, signing_message(CHAIN_ID, vote_for(FIRST)), sent.signature)


async def test_lone_validator_hears_itself_and_sends_nothing() -> None:
    """An empty list of recipients means nobody, not everybody."""
    effects = (SignAndSend(vote_for(FIRST), ()), Send(CERTIFICATES, ()))
    rig = Rig(on(("executed 1", effects)))
    async with running(rig):
        rig.replica.post(executed(1))
        await wait_all_tasks_blocked()
    assert rig.kinds == ["signed"]
    assert rig.events == ["executed 1", "heard 0.1"]


# --- peers' messages --------------------------------------------------------------------------------------------------


async def test_peer_has_one_list_in_the_queue_and_waits_for_it() -> None:
    """A flood stays in the flooder's socket, and the others' messages pass it."""
    rig = Rig(on(("heard 1.11", [PersistSafety(safety_of(1), None)])), disk_cost_us=SLOW_US)
    rig.disk_gate.clear()
    read: list[int] = []

    async def reader(peer: int, *lists: list[int]) -> None:
        for numbers in lists:
            await rig.replica.deliver(peer, [wire_of(each) for each in numbers])
            read.extend(numbers)

    async with running(rig) as nursery:
        nursery.start_soon(reader, 1, [11, 12], [13, 14])
        await rig.until("writes", 1)
        nursery.start_soon(reader, 2, [21])
        await wait_all_tasks_blocked()
        assert (rig.events, read) == (["heard 1.11"], [])
        rig.disk_gate.set()
        await rig.until_events(5)
    assert rig.events == ["heard 1.11", "heard 1.12", "heard 2.21", "heard 1.13", "heard 1.14"]
    assert sorted(read) == [11, 12, 13, 14, 21]


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_malformed_message_rejects_its_whole_list(position: int) -> None:
    """A peer that breaks the format is cut; half of what it sent must not depend on where the fault stood."""
    rig = Rig(on())
    wires = [wire_of(1), wire_of(2)]
    wires.insert(position, b"\xc1")
    async with running(rig):
        with pytest.raises(Rejected, match="malformed"):
            await rig.replica.deliver(1, wires)
        await rig.replica.deliver(1, [wire_of(3)])
    assert rig.events == ["heard 1.3"]


async def test_list_of_a_peer_that_was_cut_is_dropped() -> None:
    """One that connects again and again would otherwise leave a list behind each time, and fill the queue."""
    rig = Rig(on(("executed 1", [PersistSafety(safety_of(1), None)])), disk_cost_us=SLOW_US)
    rig.disk_gate.clear()
    async with running(rig) as nursery:
        rig.replica.post(executed(1))
        await rig.until("writes", 1)
        async with trio.open_nursery() as connection:
            connection.start_soon(rig.replica.deliver, 1, [wire_of(1)])
            await wait_all_tasks_blocked()
            connection.cancel_scope.cancel()
        nursery.start_soon(rig.replica.deliver, 1, [wire_of(2)])
        await wait_all_tasks_blocked()
        rig.disk_gate.set()
        await rig.until_events(2)
    assert rig.events == ["executed 1", "heard 1.2"]


# --- payloads ---------------------------------------------------------------------------------------------------------


def ensuring(*proposals: Proposal) -> Script:
    """A script: at ``executed n``, ensure the payload of the n-th proposal, which came from peer n."""

    def effects(number: int, proposal: Proposal) -> list[Effect]:
        return [EnsurePayload(proposal.header, number), Report(f"ensured {number}", ())]

    return on(*((f"executed {number}", effects(number, each)) for number, each in enumerate(proposals, 1)))


async def test_payload_that_is_here_is_stored_at_once() -> None:
    """The usual case: the vote waits for nothing that is queued."""
    rig = Rig(ensuring(FIRST), held=set(FIRST.header.payload))
    rig.replica.post(executed(1))
    rig.replica.post(executed(5))
    async with running(rig):
        pass
    assert rig.events == ["executed 1", "stored 1", "executed 5"]
    assert rig.kinds == ["reported"]


async def test_payload_that_is_missing_is_fetched_beside_the_loop() -> None:
    """A withheld batch costs its proposal, not the replica: everything else goes on."""
    rig = Rig(ensuring(FIRST))
    async with running(rig):
        rig.replica.post(executed(1))
        rig.replica.post(executed(5))
        await wait_all_tasks_blocked()
        assert rig.events == ["executed 1", "executed 5"]
        for digest in FIRST.header.payload:
            rig.arrivals.setdefault(digest, trio.Event()).set()
        await wait_all_tasks_blocked()
    assert rig.notes == [("reported", "ensured 1"), ("ensures", *FIRST.header.payload, 1)]
    assert rig.events == ["executed 1", "executed 5", "stored 1"]


@pytest.mark.parametrize("newer_is_here", [False, True])
async def test_fetch_for_an_older_proposal_is_given_up(newer_is_here: bool) -> None:
    """Row 16: a leader that withholds one batch a view must not leave a fetch behind for each."""
    rig = Rig(ensuring(SECOND, THIRD), held=set(THIRD.header.payload) if newer_is_here else set())
    async with running(rig):
        rig.replica.post(executed(1))
        await rig.until("ensures", b"c" * 32, 1)
        rig.replica.post(executed(2))
        await rig.until("gave up", b"c" * 32)
        for digest in (b"c" * 32, b"d" * 32):
            rig.arrivals.setdefault(digest, trio.Event()).set()
        await wait_all_tasks_blocked()
    assert rig.events == ["executed 1", "executed 2", "stored 3"]


async def test_invalid_payload_is_reported_and_never_stored() -> None:
    """No vote follows; the view ends by its timer, and the next proposal is fetched as ever."""
    rig = Rig(ensuring(SECOND, THIRD), refused={b"c" * 32})
    for digest in (b"c" * 32, b"d" * 32):
        rig.arrivals[digest] = trio.Event()
        rig.arrivals[digest].set()
    async with running(rig):
        rig.replica.post(executed(1))
        await rig.until("reported", "invalid_payload")
        rig.replica.post(executed(2))
        await wait_all_tasks_blocked()
    assert rig.events == ["executed 1", "executed 2", "stored 3"]


# --- halting ----------------------------------------------------------------------------------------------------------


async def test_halt_stops_the_process_before_anything_else() -> None:
    """Our root differs from a certified one: whatever came next could be wrong."""
    rig = Rig(on(("executed 1", [Halt("the roots differ"), SignAndSend(vote_for(FIRST), (1,))])))
    rig.replica.post(executed(1))
    rig.replica.post(executed(2))
    with (
        pytest.RaisesGroup(pytest.RaisesExc(ReplicaHalted, match="the roots differ")),
        trio.move_on_after(PATIENCE_S),
    ):
        await rig.replica.run()
    assert rig.notes == []
    assert rig.events == ["executed 1"]


# --- timers -----------------------------------------------------------------------------------------------------------


def woken_at(rig: Rig) -> list[int]:
    """The moments of the wake-ups, in milliseconds."""
    return [now.monotonic_ms for event, now in rig.seen if event == WokenUp()]


@pytest.mark.parametrize("moment_ms", [0, 1, 40, 1_500])
async def test_wake_up_comes_once_and_not_before_its_moment(autojump_clock: object, moment_ms: int) -> None:
    """Too early and the core sets it again, in a circle; too late and a view lasts longer than it should."""
    rig = Rig(on(("Started", [WakeAt(moment_ms)])))
    async with running(rig):
        await trio.sleep(10)
    assert woken_at(rig) == [moment_ms]


@pytest.mark.parametrize("replacement_ms", [60, 200])
async def test_wake_up_is_replaced_by_a_later_effect(autojump_clock: object, replacement_ms: int) -> None:
    """The core knows one deadline: the last that it named, be it sooner or later."""
    rig = Rig(on(("Started", [WakeAt(100)]), ("executed 1", [WakeAt(replacement_ms)])))
    async with running(rig):
        await trio.sleep(0.05)
        rig.replica.post(executed(1))
        await trio.sleep(10)
    assert woken_at(rig) == [replacement_ms]


async def test_event_does_not_use_up_the_wake_up(autojump_clock: object) -> None:
    """The core names a deadline once; whatever happens meanwhile, it still comes."""
    rig = Rig(on(("Started", [WakeAt(100)])))
    async with running(rig):
        for number in range(4):
            await trio.sleep(0.03)
            rig.replica.post(executed(number))
        await trio.sleep(10)
    assert rig.events == ["executed 0", "executed 1", "executed 2", "WokenUp", "executed 3"]
    assert woken_at(rig) == [100]


async def test_flood_does_not_hold_the_wake_up_back() -> None:
    """Peers that always have something in the queue must not keep a replica from giving up a view."""
    persist = PersistSafety(safety_of(1), None)
    names = [f"heard {peer}.{number}" for peer in (1, 2, 3) for number in range(20)]
    rig = Rig(on(*((name, [persist]) for name in names[1:]), (names[0], [persist, WakeAt(0)])))

    async def flood(peer: int) -> None:
        for number in range(20):
            await rig.replica.deliver(peer, [wire_of(number)])

    async with running(rig), trio.open_nursery() as readers:
        for peer in (1, 2, 3):
            readers.start_soon(flood, peer)
    assert len(rig.events) == 61
    assert rig.events.index("WokenUp") <= 6


async def test_events_of_our_own_are_handled_in_the_order_of_their_coming() -> None:
    """A root that overtook another's would be taken for a contradiction."""
    rig = Rig(on())
    async with running(rig):
        for number in range(5):
            rig.replica.post(executed(number))
        rig.replica.post(PayloadWaiting())
        await wait_all_tasks_blocked()
    assert rig.seen[0][0] == Started()
    assert rig.events == [*(f"executed {number}" for number in range(5)), "PayloadWaiting"]
