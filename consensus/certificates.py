"""Whether a statement or a certificate is genuine: signatures, signers, quorums.

Rules:

1. A *vote*, *timeout* or *proposal* is genuine when its signer's key signed it, and a proposal's signer leads its view.
   A block's header names the leader of the view in which it was first proposed.
2. A *QC* is genuine when it is the one that the epoch begins with, or votes of one of the engine's phases for its
   block in its view by a quorum, each voter once. A proposal extends none that only prepares its block.
3. A *TC* is genuine when timeouts of its view by a quorum, each voter once, and `high_qc` is genuine, of the highest
   view that its signers signed for, and does not itself lead beyond the TC's view.
4. A *timeout* shows how its signer came to its view: the QC or the TC it carries leads there. So nobody can spend our
   memory on views far ahead without a quorum's help.

A signature that was found valid is remembered, so a QC built from votes we have seen, or seen before, costs no Ed25519
at all. The memory is bounded and forgets the oldest first; forgetting costs time, never truth. Failures are not
remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from consensus.config import CoreConfig
from consensus.rules import Rules
from consensus.turns import Turns
from consensus.types import (
    QC,
    TC,
    Proposal,
    ReplicaIndex,
    Timeout,
    Vote,
    base_qc,
    signing_message,
)
from genesis.errors import Rejected
from genesis.signing import is_valid
from genesis.statements import Phase, timeout_message, vote_message

SIGNATURES_REMEMBERED_MAX: Final = 8_192


class Verifier:
    """Checks signatures and certificates of one epoch; raises `Rejected`, changes nothing but its memory."""

    def __init__(self, config: CoreConfig, rules: Rules, turns: Turns | None = None) -> None:
        self._rules = rules
        self._chain_id = config.chain_id
        self._validators = config.validators
        self._turns = turns if turns is not None else Turns(config.validators, config.base)
        self._is_valid = config.is_valid
        self._base_qc = base_qc(config.epoch, config.base)
        self._seen: dict[tuple[ReplicaIndex, bytes, bytes], None] = {}

    def check_vote(self, vote: Vote) -> None:
        """Rule 1; raises ``bad_signature``, ``wrong_epoch``, ``wrong_phase``, ``unknown_validator``."""
        self._check_epoch(vote.epoch)
        self._check_phase(vote.phase)
        self._check_signature(vote.voter, signing_message(self._chain_id, vote), vote.signature)

    def check_timeout(self, timeout: Timeout) -> None:
        """Rules 1 and 4; raises also ``unjustified_view`` and what its certificates raise."""
        self._check_epoch(timeout.epoch)
        reached = (timeout.high_qc.leads_to, timeout.tc.view + 1 if timeout.tc is not None else 0)
        if timeout.view != max(reached):
            raise Rejected("unjustified_view", "No certificate in the timeout leads to its view.", view=timeout.view)
        self.check_timeout_signature(timeout)
        self.check_qc(timeout.high_qc)
        if timeout.tc is not None:
            self.check_tc(timeout.tc)

    def check_timeout_signature(self, timeout: Timeout) -> None:
        """Rule 1 alone: who said it. What it carries may be false."""
        self._check_epoch(timeout.epoch)
        self._check_signature(timeout.voter, signing_message(self._chain_id, timeout), timeout.signature)

    def check_proposal(self, proposal: Proposal) -> None:
        """Rule 1 for the proposer, and that its certificates are genuine; raises also ``wrong_leader``. Where it is not
        known who leads, nothing is said of proposer and signature."""
        header, turns = proposal.header, self._turns
        self._check_epoch(header.epoch)
        is_again = header.view < proposal.view and Phase.PREPARE in self._rules.PHASES
        if header.view != proposal.view and not is_again:
            raise Rejected("bad_block", "A block of another view.", view=proposal.view, block_view=header.view)
        if turns.knows(proposal.justify):
            leader = turns.leader(header.view, proposal.justify)
            if header.proposer != leader:
                raise Rejected("wrong_leader", "Not the leader of its view.", proposer=header.proposer, leader=leader)
            signer = turns.leader(proposal.view, proposal.justify)
            self._check_signature(signer, signing_message(self._chain_id, proposal), proposal.signature)
        self._check_certificates(proposal)

    def check_certified(self, proposal: Proposal) -> None:
        """Rule 1 for a proposal whose block a quorum has certified: that judged who led. Who repeated a block of an
        earlier view (PBFT) is not asked."""
        header = proposal.header
        self._check_epoch(header.epoch)
        if header.view == proposal.view:
            self._check_signature(header.proposer, signing_message(self._chain_id, proposal), proposal.signature)
        self._check_certificates(proposal)

    def _check_certificates(self, proposal: Proposal) -> None:
        if proposal.justify.phase is Phase.PREPARE:
            raise Rejected("bad_certificate", "A block extends no block that is only prepared.", view=proposal.view)
        self.check_qc(proposal.justify)
        if proposal.tc is not None:
            self.check_tc(proposal.tc)

    def check_qc(self, qc: QC) -> None:
        """Rule 2; raises ``bad_certificate``, ``no_quorum``, and as `check_vote`."""
        if qc == self._base_qc:
            return
        self._check_epoch(qc.epoch)
        self._check_phase(qc.phase)
        if qc.view == 0 or qc.height == 0:
            raise Rejected(
                "bad_certificate",
                "Only the QC that begins an epoch has view or height 0.",
                view=qc.view,
                height=qc.height,
            )
        self._check_quorum(voter for voter, _ in qc.signatures)
        message = vote_message(self._chain_id, qc.epoch, qc.view, qc.phase, qc.height, qc.block_hash)
        for voter, signature in qc.signatures:
            self._check_signature(voter, message, signature)

    def check_tc(self, tc: TC) -> None:
        """Rule 3; raises as `check_qc`."""
        self._check_epoch(tc.epoch)
        self._check_quorum(each.voter for each in tc.signatures)
        highest = max(each.high_qc_view for each in tc.signatures)
        if tc.high_qc.view != highest or tc.high_qc.leads_to > tc.view:
            raise Rejected(
                "bad_certificate",
                "A TC carries the highest QC its signers signed for, and none that leads beyond it.",
                view=tc.view,
                carried=tc.high_qc.view,
                highest=highest,
            )
        for each in tc.signatures:
            message = timeout_message(self._chain_id, tc.epoch, tc.view, each.high_qc_view)
            self._check_signature(each.voter, message, each.signature)
        self.check_qc(tc.high_qc)

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self._validators.epoch:
            raise Rejected("wrong_epoch", "A statement of another epoch.", epoch=epoch, current=self._validators.epoch)

    def _check_phase(self, phase: Phase) -> None:
        if phase not in self._rules.PHASES:
            raise Rejected("wrong_phase", "A vote of a phase that this chain's engine does not know.", phase=int(phase))

    def _check_quorum(self, voters: Iterable[ReplicaIndex]) -> None:
        each = list(voters)
        if len(set(each)) != len(each):
            raise Rejected("bad_certificate", "A certificate counts a voter twice.", voters=len(each))
        power, needed = self._validators.power_of(each), self._validators.quorum_power
        if power < needed:
            raise Rejected("no_quorum", "A certificate lacks the power of a quorum.", power=power, needed=needed)

    def is_signed_by(self, signer: ReplicaIndex, proposal: Proposal) -> bool:
        """Whether this key proposed it, as leader or not."""
        try:
            self._check_epoch(proposal.header.epoch)
            self._check_signature(signer, signing_message(self._chain_id, proposal), proposal.signature)
        except Rejected:
            return False
        return True

    def _check_signature(self, signer: ReplicaIndex, message: bytes, signature: bytes) -> None:
        key = (signer, message, signature)
        if key in self._seen:
            return
        is_genuine = self._is_valid or is_valid
        if not is_genuine(self._validators.member(signer).public_key, message, signature):
            raise Rejected("bad_signature", "A statement's signature does not match its signer's key.", signer=signer)
        if len(self._seen) >= SIGNATURES_REMEMBERED_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
