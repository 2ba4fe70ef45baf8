"""Block sync, both ends: docs/FAULTS.md rows 34 and 35."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from consensus.events import BlocksReceived, FetchBlocks
from consensus.types import QC, Proposal
from consensus.wire import encode_proposal, encode_qc
from genesis.codec import encode
from genesis.errors import Rejected
from node.blocksync import OWED_MAX, BlockFetcher, BlockServer
from node.frames import FrameKind
from node.store import Store
from tests.node.dataplane import (
    PARAMS,
    Hub,
    Reports,
    Waiting,
    certificate,
    chain_of,
    deadline,
    header_of,
    open_store,
    write_of,
)
from tests.node.thread_clock import ThreadsAtWork

pytestmark = pytest.mark.trio

CHAIN = chain_of(12)
TARGET = certificate(CHAIN[-1].header)


@pytest.fixture
def clock(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock that jumps only when the worker threads are idle too."""
    ThreadsAtWork(autojump_clock, monkeypatch)
    return autojump_clock


def store_with(path: Path, executed: int, pending: int) -> tuple[Store, QC]:
    """A store with this many executed blocks and more above; and the highest QC."""
    store = open_store(path)
    store.commit([write_of(each) for each in CHAIN[:executed]])
    for each in CHAIN[executed : executed + pending]:
        store.put_proposal(each)
    known = executed + pending
    return store, certificate(CHAIN[known - 1].header)


def answer_of(proposals: list[Proposal], qc: QC | None = None, from_height: int = 0) -> bytes:
    """An answer with these blocks."""
    wires = [encode_proposal(each) for each in proposals]
    return encode([0, from_height, wires, encode_qc(qc or certificate(proposals[-1].header))])


NOTHING = encode([0, 0, [], encode_qc(TARGET)])


@dataclass
class Rig:
    """A fetcher (validator 0) and its peers, each a function from a request's frame to its answer or None."""

    hub: Hub
    fetcher: BlockFetcher
    reports: Reports
    received: list[BlocksReceived]
    got: Waiting
    peers: dict[int, Callable[[bytes], bytes | None]] = field(default_factory=dict)
    pruned: dict[int, bytes] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def fetch(self, peer: int, from_height: int = 0, target: QC = TARGET) -> None:
        """What the core asks for."""
        self.fetcher.fetch(FetchBlocks(peer, from_height, target))


@asynccontextmanager
async def rig_of(sync_blocks_max: int = 64) -> AsyncIterator[Rig]:
    """A running fetcher whose peers stay silent until the test says otherwise."""
    hub, reports, got = Hub(4), Reports(), Waiting()
    received: list[BlocksReceived] = []

    def on_blocks(blocks: BlocksReceived) -> None:
        received.append(blocks)
        got()

    params = replace(PARAMS, sync_blocks_max=sync_blocks_max)
    fetcher = BlockFetcher(hub.wires[0], params, on_blocks, reports)
    rig = Rig(hub, fetcher, reports, received, got)

    async def to_fetcher(peer: int, kind: FrameKind, payload: bytes) -> None:
        if kind is FrameKind.BLOCKS_PRUNED:
            fetcher.handle_pruned(peer, payload)
        else:
            await fetcher.handle(peer, payload)

    def peer_of(index: int) -> Callable[[int, FrameKind, bytes], object]:
        async def handle(peer: int, kind: FrameKind, payload: bytes) -> None:
            rig.asked.append(index)
            if index in rig.pruned:
                hub.wires[index].send(peer, FrameKind.BLOCKS_PRUNED, rig.pruned[index])
            answer = rig.peers.get(index, lambda request: None)(payload)
            if answer is not None:
                hub.wires[index].send(peer, FrameKind.BLOCKS_RESPONSE, answer)

        return handle

    hub.handlers[0] = to_fetcher
    async with deadline() as nursery:
        for index in range(1, 4):
            hub.handlers[index] = peer_of(index)
        for index in range(4):
            nursery.start_soon(hub.run, index)
        nursery.start_soon(fetcher.run)
        yield rig


async def served(tmp_path: Path, executed: int, pending: int, from_height: int, blocks_max: int = 64) -> BlocksReceived:
    """What a fetcher gets from a real server in this state."""
    store, high_qc = store_with(tmp_path / "ledger", executed, pending)
    params = replace(PARAMS, sync_blocks_max=blocks_max)
    async with rig_of(blocks_max) as rig:
        server = BlockServer(store, params, rig.hub.wires[1], lambda: high_qc, lambda _: None)

        async def serve(peer: int, kind: FrameKind, payload: bytes) -> None:
            await server.handle(peer, payload)

        rig.hub.handlers[1] = serve
        rig.fetch(1, from_height)
        await rig.got.until(lambda: bool(rig.received))
        store.close()
        return rig.received[0]


@pytest.mark.parametrize(
    ("executed", "pending", "from_height", "blocks_max", "heights"),
    [
        (12, 0, 0, 64, range(1, 13)),
        (12, 0, 7, 64, range(8, 13)),
        (9, 3, 0, 64, range(1, 13)),
        (9, 3, 9, 64, range(10, 13)),
        (9, 3, 11, 64, range(12, 13)),
        (12, 0, 0, 5, range(1, 6)),
        (9, 3, 0, 10, range(1, 11)),
        (9, 3, 8, 2, range(9, 11)),
        (0, 12, 0, 4, range(1, 5)),
    ],
)
async def test_answer_holds_the_blocks_above_the_height_with_a_certificate_each(
    tmp_path: Path, executed: int, pending: int, from_height: int, blocks_max: int, heights: range
) -> None:
    """A node that fell behind gets executed and undecided blocks alike, in steps of bounded size."""
    answer = await served(tmp_path, executed, pending, from_height, blocks_max)
    assert answer.sender == 1
    assert answer.proposals == tuple(CHAIN[height - 1] for height in heights)
    assert answer.high_qc == certificate(CHAIN[heights[-1] - 1].header)


async def test_peer_with_nothing_to_give_is_passed_over_at_once(tmp_path: Path) -> None:
    """Two nodes that are both behind must not wait for each other."""
    async with rig_of() as rig:
        rig.peers = {2: lambda request: NOTHING, 3: lambda request: answer_of(CHAIN)}
        rig.hub.up = {0, 2, 3}
        rig.fetch(2)
        await rig.got.until(lambda: bool(rig.received))
        assert rig.asked == [2, 3]
        assert rig.received == [BlocksReceived(3, tuple(CHAIN), TARGET)]


async def test_silent_peer_is_passed_over_after_its_time(clock: object) -> None:
    """A peer that disappears half way must not stop a resync."""
    async with rig_of() as rig:
        rig.peers = {3: lambda request: answer_of(CHAIN)}
        rig.fetch(1)
        await rig.got.until(lambda: bool(rig.received))
        assert rig.asked == [1, 2, 3]
        assert rig.received[0].sender == 3


async def test_search_begins_again_until_someone_answers(clock: object) -> None:
    """All peers may be down for a while, as after a power failure in the whole building."""
    async with rig_of() as rig:
        rig.fetch(1)
        await trio.sleep(15)
        assert len(rig.asked) > 5
        assert "sync_round_failed" in rig.reports.kinds
        rig.peers = {2: lambda request: answer_of(CHAIN)}
        await rig.got.until(lambda: bool(rig.received))
        assert rig.received[0].sender == 2


FORK = Proposal(77, header_of(5, CHAIN[3].header, view=77), CHAIN[4].justify, None, b"\x07" * 64)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"junk", "malformed"),
        (encode([0, 0, [b"junk"], encode_qc(TARGET)]), "malformed"),
        (encode([0, 0, [encode_proposal(each) for each in CHAIN]]), "malformed"),
        (answer_of(CHAIN[1:]), "broken_chain"),
        (answer_of([*CHAIN[:4], *CHAIN[5:]]), "broken_chain"),
        (answer_of(CHAIN[::-1]), "broken_chain"),
        (answer_of([*CHAIN[:4], FORK, *CHAIN[5:]]), "broken_chain"),
        (answer_of(CHAIN, certificate(CHAIN[10].header)), "broken_chain"),
        (answer_of(CHAIN * 6), "malformed"),
    ],
)
async def test_wrong_answer_costs_its_sender_and_the_next_peer_is_asked(answer: bytes, code: str) -> None:
    """Nothing in an answer is trusted, and nothing of a wrong one gets through."""
    async with rig_of() as rig:
        rig.peers = {1: lambda request: answer, 2: lambda request: answer_of(CHAIN)}
        rig.fetch(1)
        await rig.got.until(lambda: bool(rig.received))
        assert [(sender, why.code) for _, sender, why in rig.hub.refusals] == [(1, code)]
        assert [each.sender for each in rig.received] == [2]


async def test_request_made_again_goes_to_another_peer() -> None:
    """An answer with the right links may still hold forged certificates; only the core can tell, by asking again."""
    async with rig_of() as rig:
        rig.peers = dict.fromkeys((1, 2, 3), lambda request: answer_of(CHAIN))
        for count in range(1, 5):
            rig.fetch(1)
            await rig.got.until(lambda wanted=count: len(rig.received) == wanted)
        assert rig.asked == [1, 2, 3, 1]


async def test_newer_request_replaces_the_one_that_is_out(clock: object) -> None:
    """The core knows best what it lacks; an answer to the old question does not count for the new one."""
    async with rig_of() as rig:
        rig.fetch(1, 0)
        await wait_all_tasks_blocked()
        rig.peers = {2: lambda request: answer_of(CHAIN[6:], from_height=6)}
        rig.fetch(2, 6)
        await rig.got.until(lambda: bool(rig.received))
        assert rig.asked == [1, 2]
        assert rig.received == [BlocksReceived(2, tuple(CHAIN[6:]), TARGET)]


async def test_unasked_blocks_cost_their_sender(clock: object) -> None:
    """A flood of answers must end with the connection: what nobody asked for, asked for once, or from elsewhere."""
    async with rig_of() as rig:
        with pytest.raises(Rejected, match="unasked_blocks"):
            await rig.fetcher.handle(2, answer_of(CHAIN))
        rig.hub.up = {0, 1}
        rig.fetch(1)
        await wait_all_tasks_blocked()
        with pytest.raises(Rejected, match="unasked_blocks"):
            await rig.fetcher.handle(1, answer_of(CHAIN[3:], from_height=3))
        await rig.fetcher.handle(1, answer_of(CHAIN))
        with pytest.raises(Rejected, match="unasked_blocks"):
            await rig.fetcher.handle(1, answer_of(CHAIN))


async def test_answer_that_comes_after_its_time_still_counts(clock: object) -> None:
    """4 MiB over a slow line take longer than a peer's turn; without this, such a node would never catch up."""
    async with rig_of() as rig:
        rig.fetch(1)
        while len(rig.asked) < 3:
            await trio.sleep(0.1)
        await rig.fetcher.handle(1, answer_of(CHAIN))
        assert rig.received == [BlocksReceived(1, tuple(CHAIN), TARGET)]
        await rig.fetcher.handle(2, answer_of(CHAIN))
        assert len(rig.received) == 1


async def test_answer_to_an_earlier_request_is_not_judged_by_a_later_one() -> None:
    """While a slow peer answers, blocks commit here and the core asks from a greater height: nobody is at fault."""
    async with rig_of() as rig:
        rig.hub.up = {0, 1}
        rig.fetch(1, 0)
        await wait_all_tasks_blocked()
        rig.fetch(1, 3)
        await wait_all_tasks_blocked()
        await rig.fetcher.handle(1, answer_of(CHAIN))
        assert rig.received == []
        await rig.fetcher.handle(1, answer_of(CHAIN[3:], from_height=3))
        assert rig.received == [BlocksReceived(1, tuple(CHAIN[3:]), TARGET)]


async def test_requests_that_were_never_answered_are_forgotten() -> None:
    """Each lost connection leaves some behind; they must neither pile up nor pay for a flood."""
    async with rig_of() as rig:
        rig.hub.up = {0, 1}
        for from_height in range(2 * OWED_MAX):
            rig.fetch(1, from_height)
            await wait_all_tasks_blocked()
        for from_height in range(OWED_MAX, 2 * OWED_MAX):
            await rig.fetcher.handle(1, encode([0, from_height, [], encode_qc(TARGET)]))
        with pytest.raises(Rejected, match="unasked_blocks"):
            await rig.fetcher.handle(1, encode([0, 0, [], encode_qc(TARGET)]))


@pytest.mark.parametrize(
    "request_", [b"", b"junk", encode([0]), encode([-1, 0]), encode([0, 2**48]), encode([0, 0, 0])]
)
async def test_malformed_request_costs_its_sender(tmp_path: Path, request_: bytes) -> None:
    """Random bytes never reach the store."""
    store, high_qc = store_with(tmp_path / "ledger", 1, 1)
    server = BlockServer(store, PARAMS, Hub(4).wires[0], lambda: high_qc, lambda _: None)
    with pytest.raises(Rejected, match="malformed"):
        await server.handle(1, request_)
    store.close()


async def test_whoever_asks_for_a_later_epoch_tells_that_ours_is_over(tmp_path: Path) -> None:
    """Row 33: one that an edge removed says nothing, and may be alone in knowing how the epoch was closed. It gets an
    answer all the same."""
    store, high_qc = store_with(tmp_path / "ledger", 4, 1)
    asked: list[int] = []
    hub = Hub(4)
    server = BlockServer(store, PARAMS, hub.wires[0], lambda: high_qc, asked.append)
    for peer, epoch in ((1, 0), (3, 1), (2, 7)):
        await server.handle(peer, encode([epoch, 4]))
    assert asked == [3, 2]
    assert [kind for _, kind, _ in hub.wires[0].sent] == [FrameKind.BLOCKS_RESPONSE] * 3
    store.close()


async def test_a_pruned_peer_says_so_and_the_next_one_is_asked(tmp_path: Path) -> None:
    """Row 34: who is behind one peer's window may be inside another's."""
    async with rig_of() as rig:
        store, high_qc = store_with(tmp_path / "ledger", 12, 0)
        store._lowest = 6
        pruned = BlockServer(store, PARAMS, rig.hub.wires[1], lambda: high_qc, lambda _: None)

        async def serve(peer: int, kind: FrameKind, payload: bytes) -> None:
            await pruned.handle(peer, payload)

        rig.hub.handlers[1] = serve
        rig.peers[2] = lambda request: answer_of(CHAIN)
        rig.fetch(1)
        await rig.got.until(lambda: bool(rig.received))
        assert rig.received[0].sender == 2
        assert rig.hub.wires[1].sent_of(FrameKind.BLOCKS_PRUNED) == [(0, encode([0, 6]))]
        rig.received.clear()
        rig.fetch(1, 5)
        await rig.got.until(lambda: bool(rig.received))
        assert rig.received[0].sender == 1
        store.close()


async def test_a_node_behind_every_window_is_told_so(clock: trio.testing.MockClock) -> None:
    """Its operator has to give it a snapshot to join by; it would ask for ever otherwise."""
    async with rig_of() as rig:
        for index, lowest in ((1, 40), (2, 30), (3, 50)):
            rig.pruned[index] = encode([7, lowest])
        rig.fetch(1, 7)
        await trio.sleep(1)
        assert ("behind_the_window", {"from_height": 7, "lowest_height": 30}) in rig.reports.lines
        assert "sync_round_failed" not in rig.reports.kinds


async def test_a_word_of_pruning_that_nobody_asked_for_is_a_fault() -> None:
    """As every answer to no request."""
    async with rig_of() as rig:
        with pytest.raises(Rejected, match="unasked_blocks"):
            rig.fetcher.handle_pruned(1, encode([0, 6]))
