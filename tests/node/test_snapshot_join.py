"""A joiner among peers of every kind, over real sockets: docs/FAULTS.md rows 34 and 36."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest
import trio

from contracts import snapshot
from genesis.errors import Rejected
from node import snapshot_download, snapshot_join
from node.executor import open_state
from node.frames import Frame, FrameKind
from node.peers import Mesh, MeshLimits
from node.snapshot_files import SnapshotFiles
from node.snapshot_join import SnapshotJoin
from node.snapshot_wire import (
    Offer,
    PieceKind,
    PieceName,
    are_offerable,
    check_offer,
    decode_offer,
    decode_piece_request,
    decode_snapshot_request,
    encode_offer,
    encode_piece,
    encode_snapshot_offer,
)
from node.store import Store
from node.trust import Reign, Trust, TrustedBlock
from tests.node.dataplane import GOVERNOR, T0_UNIX_MS, Hub, Reports, document_of
from tests.node.network import Validator, config_of, deadline_nursery, start
from tests.node.scripted_chain import ScriptedChain
from tests.node.test_proof import KEYS, STRANGERS

DOCUMENT = document_of()
JOINER = 3
POWERS = dict.fromkeys(range(4), 1)
HEIGHT = 24
BLOCKS = 30


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces, and no long wait for a peer that says nothing."""
    monkeypatch.setattr(snapshot, "SLICE_BYTES_MAX", 600)
    monkeypatch.setattr(snapshot_download, "PIECE_S", 0.3)
    monkeypatch.setattr(snapshot_join, "OFFER_S", 0.5)
    monkeypatch.setattr(snapshot_join, "ROUND_PAUSE_S", 0.05)


@cache
def chain() -> ScriptedChain:
    """Thirty blocks with assets and replay memory."""
    made = ScriptedChain(DOCUMENT, KEYS, GOVERNOR, T0_UNIX_MS)
    for _ in range(BLOCKS):
        made.grow(made.operations(2))
    return made


def snapshot_in(directory: Path, height: int = HEIGHT) -> SnapshotFiles:
    """A snapshot of the chain."""
    files = SnapshotFiles(directory / f"snapshots-{height}", 2)
    with closing(Store.open(directory / f"source-{height}", DOCUMENT.chain_id)) as store:
        chain().snapshot_into(files, store, height)
    return files


Answer = bytes | None
Fault = Callable[["Peer", FrameKind, PieceName | int, Answer], Answer | str]
"""What a peer says instead: other data, None for "I have it not", or ``silent`` or ``gone``."""


def honest(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
    """As a node does."""
    return answer


@dataclass
class Peer:
    """A validator that serves a snapshot, perhaps with a fault."""

    files: SnapshotFiles
    fault: Fault = honest
    validator: Validator | None = None
    pieces: list[PieceName] = field(default_factory=list)

    async def answer(self, sender: int, frames: list[Frame]) -> None:
        """Serve what is asked."""
        for kind, payload in frames:
            if kind is FrameKind.SNAPSHOT_REQUEST:
                height_min = decode_snapshot_request(payload)
                self._send(sender, kind, height_min, self.files.offer(height_min))
            elif kind is FrameKind.PIECE_REQUEST:
                name = decode_piece_request(payload)
                self.pieces.append(name)
                self._send(sender, kind, name, self.files.piece(name))

    def _send(self, sender: int, kind: FrameKind, asked: PieceName | int, honestly: Answer) -> None:
        assert self.validator is not None
        said = self.fault(self, kind, asked, honestly)
        if said == "gone":
            self.validator.kill()
        elif not isinstance(said, str):
            if isinstance(asked, PieceName):
                self.validator.mesh.send(sender, FrameKind.PIECE_RESPONSE, encode_piece(asked, said))
            else:
                self.validator.mesh.send(sender, FrameKind.SNAPSHOT_OFFER, encode_snapshot_offer(asked, said))


@dataclass
class Outcome:
    """What became of a join."""

    joined: bool
    reports: Reports
    ledger: Path
    peers: list[Peer]

    @property
    def offenders(self) -> set[int]:
        """Whose pieces were bad."""
        return {int(values["peer"]) for kind, values in self.reports.lines if kind == "bad_piece"}


async def join(
    directory: Path,
    faults: Mapping[int, Fault],
    *,
    trusted: TrustedBlock | None = None,
    files: Mapping[int, SnapshotFiles] | None = None,
    reigns: tuple[Reign, ...] = (),
    until: str = "",
) -> Outcome:
    """Let validator 3 join by what the others serve, or until it reports something of this kind."""
    common = None if files is not None else snapshot_in(directory)
    peers = [Peer(files[index] if files else common, faults.get(index, honest)) for index in range(JOINER)]  # type: ignore[arg-type]
    reports, ledger = Reports(), directory / "home" / "ledger"
    block = trusted or TrustedBlock(10, chain().proposals[9].header.block_hash)
    scope, joined = trio.CancelScope(), False

    def report(kind: str, values: dict[str, int | str]) -> None:
        reports(kind, values)
        if kind == until:
            scope.cancel()

    joining = SnapshotJoin(JOINER, Trust(DOCUMENT, block, reigns), POWERS, ledger, report)
    limits = MeshLimits(backoff_ms_min=20, backoff_ms_max=100)
    async with deadline_nursery() as nursery:
        ports: dict[int, int] = {}
        for index, peer in enumerate(peers):
            peer.validator = await start(nursery, config_of(index, dict(ports), 4, limits=limits), peer.answer)
            ports[index] = peer.validator.mesh.port
        mesh = Mesh(
            config_of(JOINER, ports, 4, limits=limits),
            joining,
            jitter=random.Random(1).random,
            on_change=joining.changed,
        )
        nursery.start_soon(mesh.run)
        with scope:
            joined = await joining.run(mesh)
    return Outcome(joined, reports, ledger, peers)


def check_joined(outcome: Outcome) -> None:
    """The ledger is the chain's, to the last id of replay memory, and opens as any other."""
    assert outcome.joined
    assert not outcome.ledger.with_name("ledger.joining").exists()
    with closing(Store.open(outcome.ledger, DOCUMENT.chain_id)) as store:
        state, _ = open_state(DOCUMENT, store)
        assert (state.height, state.root) == (HEIGHT, chain().roots[HEIGHT])
        tip, before = store.tip(), store.committed(HEIGHT - 1)
        assert tip is not None
        assert before is not None
        assert before.state_root == chain().roots[HEIGHT - 1]
        assert store.lowest == HEIGHT + 1
        chain().store_into(store)
        assert store.committed(BLOCKS) == chain().writes[-1].block


# --- peers that fail or lie ------------------------------------------------------------------------------------------


def flips_a_byte(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
    """Every piece is wrong in one byte."""
    return answer[:-1] + bytes([answer[-1] ^ 1]) if kind is FrameKind.PIECE_REQUEST and answer else answer


def sends_another_piece(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
    """Genuine, and not what was asked for."""
    if isinstance(asked, PieceName) and asked.kind is PieceKind.SLICE:
        return peer.files.piece(replace(asked, place=asked.place ^ 1))
    return answer


def spoils_replay_memory(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
    """The state is right, the ids that may not execute again are not."""
    if isinstance(asked, PieceName) and asked.kind is PieceKind.REPLAY and answer:
        return answer[:-1] + bytes([answer[-1] ^ 1])
    return answer


def has_lost_every_piece(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
    """It offers what it has deleted meanwhile."""
    return None if kind is FrameKind.PIECE_REQUEST else answer


def falls_silent(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
    """It answers one piece, and then nothing."""
    return "silent" if len(peer.pieces) > 1 else answer


def goes_away(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
    """Half way, its process ends."""
    return "gone" if len(peer.pieces) > 3 else answer


@pytest.mark.trio
@pytest.mark.parametrize(
    ("fault", "is_offence"),
    [
        (honest, False),
        (flips_a_byte, True),
        (sends_another_piece, True),
        (spoils_replay_memory, True),
        (has_lost_every_piece, False),
        (falls_silent, False),
        (goes_away, False),
    ],
)
async def test_a_join_succeeds_in_spite_of_two_faulty_peers(tmp_path: Path, fault: Fault, is_offence: bool) -> None:
    """Row 34: retried elsewhere, the offender found, nothing of it trusted."""
    outcome = await join(tmp_path, {0: fault, 1: fault})
    check_joined(outcome)
    assert outcome.offenders <= ({0, 1} if is_offence else set())
    assert bool(outcome.offenders) == is_offence
    if fault is honest:
        assert all(peer.pieces for peer in outcome.peers)


@pytest.mark.trio
async def test_a_bad_piece_costs_its_sender_its_connections(tmp_path: Path) -> None:
    """It would be asked again and again otherwise."""
    outcome = await join(tmp_path, {0: flips_a_byte})
    check_joined(outcome)
    assert len(outcome.peers[0].pieces) <= snapshot_download.WINDOW


@pytest.mark.trio
async def test_a_join_that_loses_its_last_source_begins_afresh(tmp_path: Path) -> None:
    """Row 34: half a state is never taken over into the next attempt."""
    lost: list[Peer] = []

    def loses_one_once(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
        if isinstance(asked, PieceName) and len(peer.pieces) == 2 and not any(each is peer for each in lost):
            lost.append(peer)
            return None
        return answer

    outcome = await join(tmp_path, dict.fromkeys(range(JOINER), loses_one_once))
    check_joined(outcome)
    assert "join_failed" in outcome.reports.kinds
    assert outcome.reports.kinds[-1] == "joined"


@pytest.mark.trio
async def test_what_a_crash_left_of_a_join_is_not_used(tmp_path: Path) -> None:
    """Row 34: the unfinished ledger has entries of another state; a mixture would have no certified root."""
    unfinished = tmp_path / "home" / "ledger.joining"
    with closing(Store.open(unfinished, DOCUMENT.chain_id)) as store:
        store._db.put(b"s\x04\xa4LEFT", b"\x91\x02")
    check_joined(await join(tmp_path, {}))


@pytest.mark.trio
async def test_a_join_that_ends_half_way_leaves_no_ledger(tmp_path: Path) -> None:
    """Row 34: the next start finds nothing and begins afresh."""
    never = dict.fromkeys(range(JOINER), falls_silent)
    with trio.move_on_after(1.0):
        await join(tmp_path, never)
    assert not (tmp_path / "home" / "ledger").exists()


# --- offers ----------------------------------------------------------------------------------------------------------


def offer_of(height: int = HEIGHT) -> Offer:
    """The chain's offer of a height."""
    proposals = tuple(chain().proposals[height - 2 : height + 2])
    return Offer(0, proposals, chain().certificate(proposals[-1].header))


def forged_root(offer: Offer) -> Offer:
    """A state of the forger's own, certified by keys of his own."""
    last = offer.proposals[-1]
    header = replace(last.header, anchor=replace(last.header.anchor, state_root=bytes(32)))
    qc = chain().sign_qc(header, STRANGERS, (0, 1, 2))
    return Offer(offer.level, (*offer.proposals[:-1], replace(last, header=header)), qc)


def by_strangers(offer: Offer) -> Offer:
    """The right blocks, the wrong votes."""
    return replace(offer, qc=chain().sign_qc(offer.proposals[-1].header, STRANGERS, (0, 1, 2)))


def by_too_few(offer: Offer) -> Offer:
    """No quorum."""
    return replace(offer, qc=chain().sign_qc(offer.proposals[-1].header, KEYS, (0, 1)))


def of_other_blocks(offer: Offer) -> Offer:
    """Certified blocks, of which the last does not name the second."""
    return replace(offer, proposals=tuple(chain().proposals[HEIGHT - 3 : HEIGHT + 1]))


def with_a_block_left_out(offer: Offer) -> Offer:
    """Blocks that do not follow one another."""
    return replace(offer, proposals=(offer.proposals[0], *offer.proposals[2:]))


def with_a_foreign_justify(offer: Offer) -> Offer:
    """A certificate inside that is not of the block before."""
    second = replace(offer.proposals[1], justify=offer.qc)
    return replace(offer, proposals=(offer.proposals[0], second, *offer.proposals[2:]))


@pytest.mark.parametrize(
    ("forged", "code"),
    [
        (forged_root, "phantom_validators"),
        (by_strangers, "phantom_validators"),
        (by_too_few, "no_quorum"),
        (of_other_blocks, "foreign_certificate"),
        (with_a_block_left_out, "bad_snapshot"),
        (with_a_foreign_justify, "foreign_certificate"),
    ],
)
def test_a_wrong_snapshot_is_refused_by_its_offer(forged: Callable[[Offer], Offer], code: str) -> None:
    """Rows 34 and 36: not one byte of state is asked for."""
    check_offer(Trust(DOCUMENT), decode_offer(encode_offer(offer_of())))
    with pytest.raises(Rejected, match=code):
        check_offer(Trust(DOCUMENT), forged(offer_of()))


@pytest.mark.parametrize(
    ("height", "is_of_this_chain", "code"),
    [
        (HEIGHT - 1, True, ""),
        (HEIGHT, True, ""),
        (HEIGHT, False, "untrusted_block"),
        (HEIGHT + 1, True, "below_trusted_height"),
        (HEIGHT + 2, True, "below_trusted_height"),
    ],
)
def test_an_offer_below_or_beside_the_trusted_block_is_refused(height: int, is_of_this_chain: bool, code: str) -> None:
    """Row 36: whoever holds retired keys can sign another past, but not beyond what is trusted."""
    block_hash = chain().proposals[height - 1].header.block_hash if is_of_this_chain else bytes(32)
    trust = Trust(DOCUMENT, TrustedBlock(height, block_hash))
    if not code:
        check_offer(trust, offer_of())
        return
    with pytest.raises(Rejected, match=code):
        check_offer(trust, offer_of())


def test_an_offer_on_a_chain_of_the_other_engine_takes_one_block_less() -> None:
    """PBFT's next header names its parent's root, in whatever view it comes."""
    document = replace(DOCUMENT, consensus="pbft")
    made = ScriptedChain(document, KEYS, GOVERNOR, T0_UNIX_MS)
    for height in range(1, 9):
        made.grow(views_skipped=height % 3)
    for height in range(2, 8):
        proposals = tuple(made.proposals[height - 2 : height + 1])
        offer = Offer(0, proposals, made.certificate(proposals[-1].header))
        check_offer(Trust(document), decode_offer(encode_offer(offer)))
        assert (offer.height, offer.state_root, offer.root_before) == (
            height,
            made.roots[height],
            made.roots[height - 1],
        )


@pytest.mark.parametrize("skipped", range(BLOCKS - 5, BLOCKS))
def test_an_offer_over_a_gap_between_views_does_not_certify(skipped: int) -> None:
    """The anchors do not name the block then; a joiner would have a root that nobody vouched for."""
    made = ScriptedChain(DOCUMENT, KEYS, GOVERNOR, T0_UNIX_MS)
    for height in range(1, BLOCKS + 1):
        made.grow(views_skipped=1 if height == skipped else 0)
    offers = {height: tuple(made.proposals[height - 2 : height + 2]) for height in range(BLOCKS - 7, BLOCKS - 1)}
    refused = {height for height, proposals in offers.items() if not are_offerable([each.header for each in proposals])}
    assert refused == {height for height in offers if height - 1 < skipped <= height + 1}
    for height, proposals in offers.items():
        offer = Offer(0, proposals, made.certificate(proposals[-1].header))
        if height in refused:
            with pytest.raises(Rejected, match="bad_snapshot"):
                check_offer(Trust(DOCUMENT), offer)
        else:
            check_offer(Trust(DOCUMENT), offer)


@pytest.mark.trio
async def test_a_false_offer_costs_its_sender_and_the_honest_one_is_taken(tmp_path: Path) -> None:
    """Row 34: although it is the highest."""

    def lies(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
        return encode_offer(by_strangers(offer_of(HEIGHT + 2))) if kind is FrameKind.SNAPSHOT_REQUEST else answer

    outcome = await join(tmp_path, {0: lies, 1: lies})
    check_joined(outcome)
    assert outcome.peers[0].pieces == outcome.peers[1].pieces == []


@pytest.mark.trio
@pytest.mark.parametrize(("others", "failures"), [(2, 0), (1, 1)])
async def test_a_peer_that_offers_the_highest_and_serves_nothing_holds_nobody_up_for_ever(
    tmp_path: Path, others: int, failures: int
) -> None:
    """Row 34: its offer is genuine, for certificates are public; what it lacks is the state."""
    high, low, none = snapshot_in(tmp_path, HEIGHT + 3), snapshot_in(tmp_path), SnapshotFiles(tmp_path / "none", 2)

    def stalls(peer: Peer, kind: FrameKind, asked: PieceName | int, answer: Answer) -> Answer | str:
        return "silent" if kind is FrameKind.PIECE_REQUEST else answer

    outcome = await join(tmp_path, {0: stalls}, files={0: high, 1: low, 2: low if others == 2 else none})
    check_joined(outcome)
    assert outcome.reports.kinds.count("join_failed") == failures
    assert bool(outcome.peers[0].pieces) == bool(failures)


@pytest.mark.trio
async def test_the_highest_snapshot_is_taken_from_all_who_have_it(tmp_path: Path) -> None:
    """The less is left to execute, the better."""
    low, high = snapshot_in(tmp_path, HEIGHT - 6), snapshot_in(tmp_path, HEIGHT)
    outcome = await join(tmp_path, {}, files={0: low, 1: high, 2: high})
    check_joined(outcome)
    assert [bool(peer.pieces) for peer in outcome.peers] == [False, True, True]


@pytest.mark.trio
async def test_a_peer_that_comes_and_goes_holds_nobody_up(tmp_path: Path) -> None:
    """Row 34: each time it is back it is asked again; nobody waits for its answer longer than for others'."""
    network, reports, files = Hub(4), Reports(), snapshot_in(tmp_path)
    joining = SnapshotJoin(JOINER, Trust(DOCUMENT), POWERS, tmp_path / "ledger", reports)

    async def come_and_go() -> None:
        while True:
            joining.changed(frozenset({1, 2}))
            await trio.sleep(0.01)
            joining.changed(frozenset({0, 1, 2}))
            await trio.sleep(0.01)

    def peer_of(index: int) -> Callable[[int, FrameKind, bytes], Awaitable[None]]:
        async def serve(sender: int, kind: FrameKind, payload: bytes) -> None:
            if kind is FrameKind.SNAPSHOT_REQUEST:
                height_min = decode_snapshot_request(payload)
                offer = encode_snapshot_offer(height_min, files.offer(height_min))
                await joining(index, [(FrameKind.SNAPSHOT_OFFER, offer)])
            else:
                name = decode_piece_request(payload)
                await joining(index, [(FrameKind.PIECE_RESPONSE, encode_piece(name, files.piece(name)))])

        return serve

    async with deadline_nursery() as nursery:
        for index in (1, 2):
            network.handlers[index] = peer_of(index)
            nursery.start_soon(network.run, index)
        nursery.start_soon(come_and_go)
        assert await joining.run(network.wires[JOINER])
    assert reports.kinds == ["joining", "joined"]


@pytest.mark.trio
async def test_without_a_snapshot_the_node_fetches_the_chain(tmp_path: Path) -> None:
    """A young chain has none, and a quorum says so."""
    none = SnapshotFiles(tmp_path / "none", 2)
    outcome = await join(tmp_path, {}, files=dict.fromkeys(range(JOINER), none))
    assert not outcome.joined
    assert not outcome.ledger.exists()


@pytest.mark.trio
async def test_a_piece_that_nobody_asked_for_costs_its_sender(tmp_path: Path) -> None:
    """Otherwise four mebibytes a frame could be had checked for nothing."""
    joining = SnapshotJoin(JOINER, Trust(DOCUMENT), POWERS, tmp_path / "ledger", Reports())
    frame = encode_piece(PieceName(HEIGHT, PieceKind.SLICE, 0), b"x")
    with pytest.raises(Rejected, match="unasked_piece"):
        await joining(1, [(FrameKind.PIECE_RESPONSE, frame)])
    with pytest.raises(Rejected, match="unasked_snapshot"):
        await joining(1, [(FrameKind.SNAPSHOT_OFFER, encode_snapshot_offer(0, None))])
    await joining(1, [(FrameKind.CONSENSUS, b"anything")])
