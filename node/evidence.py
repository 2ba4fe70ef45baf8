"""Evidence on its way from whoever noticed a contradiction to the chain that punishes it.

Rules:

1. Only genuine evidence is kept: what our own core noticed, and what a peer sent and the keys of its epoch bear out. A
   peer that sends false evidence has broken a rule and is cut.
2. It is kept, in a file each, over restarts too, until the chain has punished the offence or would not take the
   evidence any more.
3. What is kept is bounded for each validator by name, so an offender can crowd out only what speaks against itself (a
   place is another's after an edge): at most `offences_per_epoch_max` of an epoch, as many as are punished, and
   `KEPT_PER_VALIDATOR_MAX` in all. What is known, too much or settled is dropped unverified.
4. What is new goes to everybody at once, and on a beat again, `GOSSIP_MAX` at a time in turn: a peer that was away
   hears of it.
5. It is submitted like any client's envelope, signed with this validator's own key and signed anew when the envelope
   has expired. Validators take turns, beginning at the place that the evidence's id names and a beat apart, so mostly
   one envelope is enough, and a validator that keeps silent delays it by a beat. Where the key is not at hand (it lives
   in a signer, which signs no envelopes), the others submit what rule 4 brings them. Where that is so everywhere,
   anyone with a member's or a role's key does: `contracts.queries.evidence` shows the bytes.

What the chain made of it is read from the state, not from receipts: whoever submitted it, the state says when it is
done. Nothing here is on the path of a vote; a disk that fails stops the node as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from consensus.events import Now
from contracts.machine import State
from contracts.offences import refusal_of
from contracts.operations import wire_of
from contracts.operations_governance import SubmitEvidence
from genesis.document import GenesisValidator
from genesis.envelope import sign_envelope
from genesis.errors import Rejected
from genesis.evidence import EVIDENCE_BYTES_MAX, Evidence, decode_evidence, encode_evidence, verify_evidence
from genesis.params import ChainParams
from genesis.signing import SigningKey
from node.batch_pool import ReportLine
from node.executor import Executor
from node.failures import DISK_ADVICE, StorageFailure
from node.files import make_private_directory, read_private, remove_durably, write_private
from node.frames import FrameKind
from node.intake import Intake
from node.network import Network
from node.offload import Offload

KEPT_PER_VALIDATOR_MAX: Final = 32
GOSSIP_MAX: Final = 32
BEAT_RESENDS: Final = 4
"""The beat is this many `resend_interval_ms`: two seconds."""

FILE_US: Final = 200
"""Writing or removing a small file durably; the disk shows when it takes longer."""

_Key = tuple[int, int, int, int]


class EvidenceFiles:
    """One file for each evidence, named by its id. All methods block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, report: ReportLine) -> list[Evidence]:
        """What is kept; a file that is damaged is dropped, for others keep the same."""
        make_private_directory(self._directory)
        found = []
        for path in sorted(self._directory.iterdir()):
            try:
                found.append(decode_evidence(read_private(path, EVIDENCE_BYTES_MAX)))
            except Rejected as why:
                report("evidence_damaged", {"file": path.name, "why": str(why)})
                remove_durably(path)
        return found

    def put(self, evidence: Evidence) -> None:
        """Keep it; durable when this returns."""
        make_private_directory(self._directory)
        write_private(self._path(evidence), encode_evidence(evidence))

    def drop(self, evidence: Evidence) -> None:
        """Forget it."""
        remove_durably(self._path(evidence))

    def _path(self, evidence: Evidence) -> Path:
        return self._directory / evidence.id.hex()


@dataclass(slots=True)
class _Kept:
    """Evidence that waits for its punishment.

    Attributes:
        evidence: Genuine.
        offender: Whom it names.
        beats: How long it has been here.
        expires_at_unix_ms: When our last envelope of it is dead (block time); 0 before the first.
    """

    evidence: Evidence
    offender: str
    beats: int = 0
    expires_at_unix_ms: int = 0


@dataclass(frozen=True, slots=True)
class EvidencePorts:
    """What the desk acts upon. `key` is None where a signer has it."""

    network: Network
    executor: Executor
    intake: Intake
    files: EvidenceFiles
    writes: Offload
    key: SigningKey | None
    now: Callable[[], Now]
    report: ReportLine


class EvidenceDesk:
    """Keeps evidence, passes it on and submits it. `run` is its loop; the rest may be called before."""

    def __init__(self, chain_id: bytes, limits: ChainParams, index: int, validators: int, ports: EvidencePorts) -> None:
        self._chain_id = chain_id
        self._limits = limits
        self._index = index
        self._validators = validators
        self._ports = ports
        self._kept: dict[_Key, _Kept] = {}
        self._noticed: list[Evidence] = []
        self._wakeup = trio.Event()
        self._told = 0

    @property
    def waiting(self) -> tuple[Evidence, ...]:
        """What is kept, in the order in which it came."""
        return tuple(each.evidence for each in self._kept.values())

    def accuse(self, evidence: Evidence) -> None:
        """Our own core noticed this; returns at once."""
        if len(self._noticed) < KEPT_PER_VALIDATOR_MAX * self._validators:
            self._noticed.append(evidence)
            self._wakeup.set()

    async def handle(self, peer: int, payload: bytes) -> None:
        """A peer's evidence.

        Raises:
            Rejected: It is malformed or false.
        """
        await self._take(decode_evidence(payload))

    async def run(self) -> None:
        """Take up what was kept, then keep, pass on and submit until cancelled."""
        for each in await self._ports.writes.run(FILE_US, self._ports.files.load, self._ports.report):
            await self._take_own(each)
        beat_s = BEAT_RESENDS * self._limits.resend_interval_ms / 1000
        next_beat = trio.current_time() + beat_s
        while True:
            with trio.move_on_at(next_beat):
                await self._wakeup.wait()
            self._wakeup = trio.Event()
            noticed, self._noticed = self._noticed, []
            for each in noticed:
                await self._take_own(each)
            if trio.current_time() >= next_beat:
                next_beat = trio.current_time() + beat_s
                await self._beat()

    # --- taking in (rules 1 to 3) -------------------------------------------------------------------------------------

    async def _take_own(self, evidence: Evidence) -> None:
        """What comes from our core or our disk. False evidence would be a fault of ours that others must not see."""
        try:
            refusal = await self._take(evidence)
        except Rejected as why:
            self._ports.report("evidence_damaged", {"file": evidence.id.hex(), "why": str(why)})
            await self._write(self._ports.files.drop, evidence)
            return
        if refusal and refusal != "evidence_ahead":  # While we were away. Our ledger may be behind our own evidence.
            await self._settle(evidence, refusal)

    async def _take(self, evidence: Evidence) -> str:
        """Keep genuine evidence; the code with which the chain would refuse it, empty if it would not."""
        if _key(evidence) in self._kept:
            return ""
        refusal, validators = await self._ports.executor.read(lambda state: _judged(state, evidence))
        if refusal == "unknown_validator":
            raise Rejected(refusal, "Evidence against a validator that there was not.", index=evidence.validator)
        if refusal:
            return refusal
        offender = validators[evidence.validator].name
        if not self._is_too_much(evidence, offender):
            verify_evidence(evidence, self._chain_id, [each.public_key for each in validators])
            await self._keep(evidence, offender)
        return ""

    async def _keep(self, evidence: Evidence, offender: str) -> None:
        """Genuine evidence, unless another brought it meanwhile."""
        if _key(evidence) in self._kept or self._is_too_much(evidence, offender):
            return
        self._kept[_key(evidence)] = _Kept(evidence, offender)
        self._ports.report("evidence_found", _details(evidence))
        await self._write(self._ports.files.put, evidence)
        self._ports.network.broadcast(FrameKind.EVIDENCE, encode_evidence(evidence))

    def _is_too_much(self, evidence: Evidence, offender: str) -> bool:
        """Rule 3."""
        same = [each.evidence for each in self._kept.values() if each.offender == offender]
        of_epoch = sum(each.epoch == evidence.epoch for each in same)
        return len(same) >= KEPT_PER_VALIDATOR_MAX or of_epoch >= self._limits.offences_per_epoch_max

    # --- on a beat (rules 2, 4 and 5) ---------------------------------------------------------------------------------

    async def _beat(self) -> None:
        waiting = self.waiting
        if not waiting:
            return
        refusals = await self._ports.executor.read(lambda state: [refusal_of(state, each) for each in waiting])
        for evidence, refusal in zip(waiting, refusals, strict=True):
            if refusal:
                await self._settle(evidence, refusal)
        self._pass_on()
        for kept in list(self._kept.values()):
            await self._submit_in_turn(kept)

    async def _settle(self, evidence: Evidence, refusal: str) -> None:
        self._kept.pop(_key(evidence), None)
        self._ports.report("evidence_settled", {**_details(evidence), "outcome": refusal})
        await self._write(self._ports.files.drop, evidence)

    def _pass_on(self) -> None:
        waiting = self.waiting
        for offset in range(min(GOSSIP_MAX, len(waiting))):
            evidence = waiting[(self._told + offset) % len(waiting)]
            self._ports.network.broadcast(FrameKind.EVIDENCE, encode_evidence(evidence))
        self._told += GOSSIP_MAX

    async def _submit_in_turn(self, kept: _Kept) -> None:
        """Rule 5."""
        turn = (self._index - int.from_bytes(kept.evidence.id[:4], "big")) % self._validators
        kept.beats += 1
        now = self._ports.now().chain_unix_ms
        if self._ports.key is None or kept.beats <= turn or now < kept.expires_at_unix_ms:
            return
        expires_at = now + self._limits.envelope_lifetime_ms_max // 2
        operation = wire_of(SubmitEvidence(encode_evidence(kept.evidence)))
        wire = sign_envelope(self._chain_id, [self._ports.key], [operation], expires_at, kept.evidence.id[:16])
        admission = (await self._ports.intake.submit([wire]))[0]
        if admission.accepted:
            kept.expires_at_unix_ms = expires_at
        self._ports.report("evidence_submitted", {**_details(kept.evidence), "code": admission.code})

    async def _write(self, write: Callable[[Evidence], None], evidence: Evidence) -> None:
        try:
            await self._ports.writes.run(FILE_US, write, evidence)
        except OSError as error:
            raise StorageFailure("keep evidence", str(error), DISK_ADVICE) from error


def _judged(state: State, evidence: Evidence) -> tuple[str, Sequence[GenesisValidator]]:
    """What the chain would say to it, short of its signatures, and the set whose keys judge these."""
    refusal = refusal_of(state, evidence)
    return refusal, () if refusal else state.standing.validators_of(evidence.epoch)


def _key(evidence: Evidence) -> _Key:
    """The offence, as the chain counts them."""
    return evidence.epoch, evidence.validator, int(evidence.offence), evidence.view


def _details(evidence: Evidence) -> dict[str, int | str]:
    return {
        "evidence": evidence.id.hex(),
        "epoch": evidence.epoch,
        "validator": evidence.validator,
        "view": evidence.view,
        "offence": evidence.offence.name.lower(),
    }
