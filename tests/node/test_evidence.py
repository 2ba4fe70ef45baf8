"""Evidence from whoever noticed it to the chain: kept, passed on, submitted, and bounded. Rows are those of
docs/FAULTS.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from consensus.events import Now
from contracts.machine import State
from contracts.operations_governance import AddValidator, RemoveValidator
from contracts.receipts import Receipt
from genesis.envelope import Envelope, decode_envelope, verify_all
from genesis.errors import Rejected
from genesis.evidence import Evidence, encode_evidence
from genesis.signing import SigningKey
from node.evidence import BEAT_RESENDS, KEPT_PER_VALIDATOR_MAX, EvidenceDesk, EvidenceFiles, EvidencePorts
from node.frames import FrameKind
from node.intake import Admission
from node.offload import Offload
from tests.contracts.consortium import Consortium, bonded_consortium, double_vote, signer, validator
from tests.node.dataplane import Hub, Reports
from tests.node.thread_clock import ThreadsAtWork

T = TypeVar("T")
pytestmark = pytest.mark.trio


@dataclass
class Chain:
    """The state machine behind all desks: an accepted envelope is a block of its own, at once.

    Attributes:
        stops: Envelopes are accepted and come into no block.
        receipts: Of each block, and who had signed.
    """

    world: Consortium
    stops: bool = False
    accepted: int = 0
    receipts: list[tuple[bytes, Receipt]] = field(default_factory=list)

    async def read(self, query: Callable[[State], T]) -> T:
        """The executor's part."""
        await trio.lowlevel.checkpoint()
        return query(self.world.state)

    async def submit(self, wires: Sequence[bytes]) -> list[Admission]:
        """The door's part: what arrives is genuine and in time."""
        await trio.lowlevel.checkpoint()
        (wire,) = wires
        unverified = decode_envelope(wire, self.world.document.chain_id, self.world.document.limits)
        envelope: Envelope = verify_all([unverified])[0]
        assert envelope.expires_at_unix_ms > self.world.now_unix_ms
        self.accepted += 1
        if not self.stops:
            receipt = self.world.block(envelope).receipts[0]
            self.receipts.append((envelope.signers[0], receipt))
        return [Admission(envelope.id)]


class Rig:
    """Four desks, their network in memory, and one chain."""

    def __init__(self, directory: Path, **params: int) -> None:
        self.world = bonded_consortium(**params)
        self.chain = Chain(self.world)
        self.hub = Hub(4)
        self.directory = directory
        self.reports = [Reports() for _ in range(4)]
        self.desks = [self.desk(index) for index in range(4)]

    def desk(self, index: int, key: SigningKey | None = None) -> EvidenceDesk:
        """A desk on the files of validator `index`; without `key`, its own."""
        here: Any = self.chain
        ports = EvidencePorts(
            self.hub.wires[index],
            here,
            here,
            EvidenceFiles(self.directory / f"v{index}"),
            Offload(),
            key or signer(f"v{index}"),
            lambda: Now(0, self.world.now_unix_ms),
            self.reports[index],
        )
        desk = EvidenceDesk(self.world.document.chain_id, self.world.document.limits, index, 4, ports)

        async def handle(sender: int, kind: FrameKind, payload: bytes) -> None:
            assert kind is FrameKind.EVIDENCE
            await desk.handle(sender, payload)

        self.hub.handlers[index] = handle
        return desk

    async def run_beats(self, beats: int, *indices: int) -> None:
        """Run these desks, or all, over so many beats."""
        beat_s = BEAT_RESENDS * self.world.document.limits.resend_interval_ms / 1000
        async with trio.open_nursery() as nursery:
            for index in indices or range(4):
                nursery.start_soon(self.desks[index].run)
                nursery.start_soon(self.hub.run, index)
            await trio.sleep((beats + 0.5) * beat_s)
            nursery.cancel_scope.cancel()

    def kept(self) -> list[int]:
        """How much each desk keeps."""
        return [len(desk.waiting) for desk in self.desks]

    def files(self, index: int) -> list[Path]:
        """The files of one desk."""
        directory = self.directory / f"v{index}"
        return sorted(directory.iterdir()) if directory.exists() else []


@pytest.fixture
def rig(tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Four desks; v3 is the offender. A file that is written in a thread is waited for."""
    ThreadsAtWork(autojump_clock, monkeypatch)
    return Rig(tmp_path)


async def test_what_one_notices_is_punished_once_and_then_forgotten_by_all(rig: Rig, autojump_clock: MockClock) -> None:
    """Issue 3: gossiped, included as a transaction, slashed; and nothing is left over. One envelope was enough."""
    rig.desks[0].accuse(double_vote(rig.world, 3))
    await rig.run_beats(6)
    assert [receipt.code for _, receipt in rig.chain.receipts] == [""]
    assert rig.world.bonded("v3") == 950_000
    assert all(rig.world.bonded(f"v{index}") == 1_000_000 for index in range(3))
    assert (rig.kept(), [rig.files(index) for index in range(4)]) == ([0] * 4, [[]] * 4)
    rig.world.to_edge()
    assert rig.world.powers == {"v0": 1, "v1": 1, "v2": 1}


@pytest.mark.parametrize("silent", [(3,), (0,), (1,), (2,), (3, 0)])
async def test_validators_that_do_not_submit_delay_it_by_a_beat_each(
    rig: Rig, autojump_clock: MockClock, silent: tuple[int, ...]
) -> None:
    """The offender will not submit, and its turn may come first."""
    active = [index for index in range(4) if index not in silent]
    rig.desks[active[0]].accuse(double_vote(rig.world, 3))
    await rig.run_beats(5, *active)
    assert [receipt.code for _, receipt in rig.chain.receipts] == [""]


async def test_a_validator_whose_key_lives_elsewhere_leaves_it_to_the_others(
    rig: Rig, autojump_clock: MockClock
) -> None:
    """The signer signs statements of the agreement alone."""
    rig.desks[0]._ports = replace(rig.desks[0]._ports, key=None)
    rig.desks[0].accuse(double_vote(rig.world, 3))
    await rig.run_beats(10, 0)
    assert rig.chain.accepted == 0
    await rig.run_beats(10)
    assert [receipt.code for _, receipt in rig.chain.receipts] == [""]


async def test_an_envelope_that_no_block_took_is_signed_anew_when_it_has_expired(
    rig: Rig, autojump_clock: MockClock
) -> None:
    """Batches are lost with the validator that holds them."""
    rig.chain.stops = True
    rig.desks[1].accuse(double_vote(rig.world, 3))
    await rig.run_beats(8, 1)
    assert rig.chain.accepted == 1
    rig.chain.stops = False
    rig.world.block(at_unix_ms=rig.world.now_unix_ms + rig.world.document.limits.envelope_lifetime_ms_max)
    await rig.run_beats(8, 1)
    assert [receipt.code for _, receipt in rig.chain.receipts] == [""]


async def test_evidence_survives_a_restart(rig: Rig, autojump_clock: MockClock) -> None:
    """Whoever noticed may be the only witness."""
    rig.chain.stops = True
    rig.desks[2].accuse(double_vote(rig.world, 3))
    await rig.run_beats(1, 2)
    rig.chain.stops = False
    rig.desks[2] = rig.desk(2)
    assert rig.kept()[2] == 0
    await rig.run_beats(5, 2)
    assert [receipt.code for _, receipt in rig.chain.receipts] == [""]


async def test_what_was_settled_while_we_were_away_leaves_no_file(rig: Rig, autojump_clock: MockClock) -> None:
    """Row 29: each restart would read what no beat ever settles. What our ledger has not come to yet stays."""
    files = EvidenceFiles(rig.directory / "v2")
    files.load(rig.reports[2])
    settled, ahead = double_vote(rig.world, 3), double_vote(rig.world, 3, epoch=1)
    for each in (settled, ahead):
        files.put(each)
    assert rig.world.accuse(settled) == ""
    await rig.run_beats(1, 2)
    assert [path.name for path in rig.files(2)] == [ahead.id.hex()]
    assert rig.reports[2].kinds == ["evidence_settled"]


async def test_a_damaged_file_is_dropped_and_never_sent(rig: Rig, autojump_clock: MockClock) -> None:
    """Row 7: peers would cut whoever sends false evidence."""
    evidence = double_vote(rig.world, 3)
    false = replace(evidence, first=replace(evidence.first, signature=bytes(64)))
    files = EvidenceFiles(rig.directory / "v2")
    files.load(rig.reports[2])
    files.put(false)
    (rig.directory / "v2" / "torn").write_bytes(encode_evidence(evidence)[:40])
    (rig.directory / "v2" / "torn").chmod(0o600)
    await rig.run_beats(2, 2)
    assert rig.reports[2].kinds == ["evidence_damaged"] * 2
    assert (rig.files(2), rig.hub.wires[2].sent) == ([], [])


def altered(evidence: Evidence) -> bytes:
    """Evidence with one signature changed."""
    return encode_evidence(replace(evidence, second=replace(evidence.second, signature=bytes(64))))


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (lambda world: b"\x01", "malformed"),
        (lambda world: altered(double_vote(world, 3)), "bad_signature"),
        (lambda world: encode_evidence(double_vote(world, 2, name="v3")), "bad_signature"),
        (lambda world: encode_evidence(double_vote(world, 9, name="v3")), "unknown_validator"),
    ],
)
async def test_false_evidence_is_refused_and_its_sender_is_at_fault(
    rig: Rig, autojump_clock: MockClock, payload: Callable[[Consortium], bytes], code: str
) -> None:
    """Rows 28 and 29: the mesh cuts whoever this refuses; nothing is kept of it."""
    with pytest.raises(Rejected, match=code):
        await rig.desks[0].handle(1, payload(rig.world))
    assert rig.kept()[0] == 0


@pytest.mark.parametrize("epoch", [0, 2])
async def test_what_the_chain_would_not_take_is_dropped_without_blame(
    rig: Rig, autojump_clock: MockClock, epoch: int
) -> None:
    """A peer may be an edge ahead of us, or not have heard that the offence is settled."""
    if epoch == 0:
        assert rig.world.accuse(double_vote(rig.world, 3)) == ""
    await rig.desks[0].handle(1, encode_evidence(double_vote(rig.world, 3, epoch=epoch)))
    assert (rig.kept()[0], rig.hub.wires[0].sent) == (0, [])


async def test_a_flood_of_genuine_offences_is_bounded_and_crowds_nobody_out(
    rig: Rig, autojump_clock: MockClock
) -> None:
    """Rows 29 and 48: a validator can make as much true evidence against itself as it likes."""
    for view in range(1, 40):
        await rig.desks[0].handle(3, encode_evidence(double_vote(rig.world, 3, view)))
    per_epoch = rig.world.document.limits.offences_per_epoch_max
    assert rig.kept()[0] == per_epoch < KEPT_PER_VALIDATOR_MAX
    await rig.desks[0].handle(3, encode_evidence(double_vote(rig.world, 2)))
    assert rig.kept()[0] == per_epoch + 1
    assert len(rig.files(0)) == per_epoch + 1


async def test_no_place_of_the_set_fills_the_desk_over_many_epochs(rig: Rig, autojump_clock: MockClock) -> None:
    """Old offences are as easily made as new ones."""
    rig.world.to_edge(2)
    for epoch in range(3):
        for view in range(1, 20):
            await rig.desks[0].handle(3, encode_evidence(double_vote(rig.world, 3, view, epoch=epoch)))
    assert rig.kept()[0] == 3 * rig.world.document.limits.offences_per_epoch_max <= KEPT_PER_VALIDATOR_MAX


async def test_who_was_in_its_place_before_crowds_nothing_out(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 2 and 29: one who has left makes evidence against itself in every epoch it was in. Whoever has its place now
    must not be safe behind it."""
    ThreadsAtWork(autojump_clock, monkeypatch)
    rig = Rig(tmp_path, evidence_epochs=6, unbonding_epochs=7, validator_sets_max=8)
    rig.world.to_edge(4)
    new = validator("v4")
    rig.world.decide(AddValidator(new.name, new.public_key, new.power, new.address, new.certificate))
    rig.world.decide(RemoveValidator("v3"))
    rig.world.to_edge()
    for epoch in range(5):
        for view in range(1, 9):
            await rig.desks[0].handle(2, encode_evidence(double_vote(rig.world, 3, view, epoch=epoch)))
    assert rig.kept()[0] == KEPT_PER_VALIDATOR_MAX
    await rig.desks[0].handle(2, encode_evidence(double_vote(rig.world, 3, epoch=5, name="v4")))
    assert rig.kept()[0] == KEPT_PER_VALIDATOR_MAX + 1


async def test_old_evidence_is_forgotten_when_the_window_is_over(rig: Rig, autojump_clock: MockClock) -> None:
    """The chain will not take it any more, so nobody needs it."""
    rig.chain.stops = True
    rig.desks[0].accuse(double_vote(rig.world, 3))
    await rig.run_beats(1, 0)
    assert rig.kept()[0] == 1
    rig.world.to_edge(rig.world.document.limits.evidence_epochs + 1)
    await rig.run_beats(1, 0)
    assert (rig.kept()[0], rig.files(0)) == (0, [])
    assert rig.reports[0].kinds[-1] == "evidence_settled"


async def test_a_validator_that_was_away_hears_of_it(rig: Rig, autojump_clock: MockClock) -> None:
    """Nothing is sent only once."""
    rig.chain.stops = True
    rig.hub.up = {0, 1}
    rig.desks[0].accuse(double_vote(rig.world, 3))
    await rig.run_beats(1, 0, 1)
    assert rig.kept() == [1, 1, 0, 0]
    rig.hub.up = {0, 1, 2, 3}
    await rig.run_beats(1)
    assert rig.kept() == [1, 1, 1, 1]
