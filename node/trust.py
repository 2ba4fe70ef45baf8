"""Whom a verifier of proofs believes: a chain, perhaps a block of it, and the validator sets that it has been shown.

Rules:

1. A statement of an epoch is certified by a quorum of that epoch's validator set. Which set that is, the genesis
   document says of epoch 0, and `node.set_history` of the others, step by step.
2. A header of an epoch certifies the state of no block but those of its own epoch and the edge before: a set decides
   nothing beyond its edge, whatever it signs (`outside_epoch`).
3. Whoever trusts a block (its height and hash, from somebody other than the validator that is asked) refuses what is
   certified below it, and another block at its height: keys that have been retired may be in anyone's hands, and could
   sign another past. For the same reason the sets begin at that block then, and not at the genesis document.

Pure: bytes in, values or `Rejected` out. No network, no disk, no compiled code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from consensus.certificates import Verifier
from consensus.config import CoreConfig
from consensus.engine import rules_of
from consensus.rules import Rules
from consensus.types import QC, Anchor, Header, genesis_header
from consensus.validators import ValidatorSet, validator_set
from genesis.document import GenesisDocument, GenesisValidator
from genesis.epochs import edge_height, epoch_of_block, first_height
from genesis.errors import Rejected
from genesis.hashing import ZERO_DIGEST

_FOREIGN_VOTES: Final = frozenset({"bad_signature", "unknown_validator"})
_NO_VALID_VOTES: Final = frozenset({*_FOREIGN_VOTES, "no_quorum"})


@dataclass(frozen=True, slots=True)
class TrustedBlock:
    """A block that whoever verifies knows to be of this chain: rule 3."""

    height: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Reign:
    """A validator set, and the epochs that it is known to decide.

    Attributes:
        first_epoch: The first of them.
        last_epoch: The last; None as long as it is not known to have ended.
        members: The validators in order of index.
    """

    first_epoch: int
    last_epoch: int | None
    members: tuple[GenesisValidator, ...]

    def covers(self, epoch: int) -> bool:
        """Whether it is the set of this epoch, as far as is known."""
        return self.first_epoch <= epoch and (self.last_epoch is None or epoch <= self.last_epoch)


@dataclass(frozen=True, slots=True)
class Trust:
    """What whoever verifies starts from, and has come to.

    Attributes:
        document: The chain.
        block: Rule 3; None trusts the genesis document alone.
        shown: The sets that `node.set_history.follow` has verified, oldest first; empty before that.
    """

    document: GenesisDocument
    block: TrustedBlock | None = None
    shown: tuple[Reign, ...] = ()

    @property
    def epoch_blocks(self) -> int:
        """The length of an epoch."""
        return self.document.limits.epoch_blocks

    @property
    def block_epoch(self) -> int:
        """The epoch of the trusted block; 0 without one."""
        return epoch_of_block(self.block.height, self.epoch_blocks) if self.block is not None else 0

    @property
    def reigns(self) -> tuple[Reign, ...]:
        """The sets that are known, oldest first: the genesis document's to begin with, unless a block of a later epoch
        is trusted. Then none is until `node.set_history.follow` has been shown the way from that block."""
        if self.shown or self.block_epoch:
            return self.shown
        return (Reign(0, None, self.document.validators),)

    def reign(self, epoch: int) -> Reign:
        """The set of an epoch.

        Raises:
            Rejected: ``no_start``: nothing shows the validators of the trusted block's epoch; ``unknown_epoch``: the
                sets that are known begin later.
        """
        reigns = self.reigns
        if not reigns:
            message = "Nothing shows who validated when the trusted block was made."
            raise Rejected("no_start", message, epoch=self.block_epoch)
        found = next((each for each in reversed(reigns) if each.covers(epoch)), None)
        if found is None:
            message = "The validators of that epoch are not known."
            raise Rejected("unknown_epoch", message, epoch=epoch, first_epoch=reigns[0].first_epoch)
        return found

    def validators(self, epoch: int) -> ValidatorSet:
        """The validator set of an epoch; raises as `reign`."""
        return validator_set(epoch, self.reign(epoch).members)

    def check_block(self, height: int, block_hash: bytes) -> None:
        """Rule 3, for a block that a certificate vouches for.

        Raises:
            Rejected: ``below_trusted_height``, ``untrusted_block``.
        """
        trusted = self.block
        if trusted is None:
            return
        if height < trusted.height:
            raise Rejected(
                "below_trusted_height",
                "What is certified below the trusted block proves nothing.",
                height=height,
                trusted_height=trusted.height,
            )
        if height == trusted.height and block_hash != trusted.block_hash:
            raise Rejected(
                "untrusted_block",
                "Another block than the trusted one is certified at its height.",
                height=height,
                block_hash=block_hash.hex(),
                trusted_hash=trusted.block_hash.hex(),
            )


def check_certificate(trust: Trust, header: Header, qc: QC) -> None:
    """Rules 1 and 3: a quorum of the header's epoch voted for this very header.

    Raises:
        Rejected: ``foreign_certificate`` (of another block), ``retired_validators`` (by a set whose last epoch is
            over), ``phantom_validators`` (other votes that are not by the epoch's validators), ``no_quorum``,
            ``bad_certificate``, ``outside_epoch``; and as `Trust.check_block` and `Trust.reign`.
    """
    if (qc.epoch, qc.height, qc.block_hash) != (header.epoch, header.height, header.block_hash):
        raise Rejected("foreign_certificate", "The certificate is of another block.", height=header.height)
    rules = rules_of(trust.document.consensus)
    if qc.phase is not rules.PHASES[-1] or qc.height == 0:
        raise Rejected("bad_certificate", "This certificate commits nothing.", phase=int(qc.phase), height=qc.height)
    trust.check_block(header.height, header.block_hash)
    _check_place(trust, header)
    try:
        _verifier(trust.document, rules, trust.validators(header.epoch)).check_qc(qc)
    except Rejected as error:
        if error.code in _NO_VALID_VOTES:
            _refuse_retired(trust, rules, qc)
        if error.code not in _FOREIGN_VOTES:
            raise
        raise Rejected(
            "phantom_validators",
            f"The certificate holds votes that are not by the validators of its epoch: {error.message}",
            height=header.height,
            epoch=header.epoch,
        ) from error


def certified_anchor(trust: Trust, header: Header, qc: QC) -> Anchor:
    """The block whose state root this header certifies (rules C8 and C10 of docs/PROTOCOL.md); raises as
    `check_certificate`, and ``bad_proof``."""
    check_certificate(trust, header, qc)
    anchor = header.anchor
    if anchor.height >= header.height:
        raise Rejected("bad_proof", "A header's anchor is an ancestor of it.", anchor=anchor.height)
    trust.check_block(anchor.height, anchor.block_hash)
    return anchor


def _check_place(trust: Trust, header: Header) -> None:
    """Rule 2. The blocks that close an epoch stand above its edge and order nothing; their anchors do not."""
    first = first_height(header.epoch, trust.epoch_blocks)
    edge = edge_height(header.epoch, trust.epoch_blocks)
    anchor = header.anchor.height
    if header.height < first or not first - 1 <= anchor <= edge or (header.height > edge and header.payload):
        raise Rejected(
            "outside_epoch",
            "A header certifies what its epoch does not decide.",
            epoch=header.epoch,
            height=header.height,
            anchor=anchor,
            edge_height=edge,
        )


def _refuse_retired(trust: Trust, rules: Rules, qc: QC) -> None:
    """Tell a set that signs after its end from keys that never were of any."""
    for reign in _ended(trust.reigns, qc.epoch):
        try:
            _verifier(trust.document, rules, validator_set(qc.epoch, reign.members)).check_qc(qc)
        except Rejected:
            continue
        raise Rejected(
            "retired_validators",
            "The certificate is by a validator set whose last epoch is over.",
            height=qc.height,
            epoch=qc.epoch,
            last_epoch=-1 if reign.last_epoch is None else reign.last_epoch,
        )


def _ended(reigns: Iterable[Reign], epoch: int) -> list[Reign]:
    return [each for each in reigns if each.last_epoch is not None and each.last_epoch < epoch]


def _verifier(document: GenesisDocument, rules: Rules, validators: ValidatorSet) -> Verifier:
    # The QC that an epoch begins with has no votes and certifies nothing here: whatever stands for its block will do.
    block_0 = genesis_header(document.chain_id, 0, ZERO_DIGEST)
    config = CoreConfig(document.chain_id, 0, validators, document.limits, block_0)
    return Verifier(config, rules)
