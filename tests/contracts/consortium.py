"""A chain with several validators, whose keys are real so that evidence against them is: epochs of 32 blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from contracts.operations import wire_of
from contracts.operations_governance import Change
from genesis.document import GenesisDocument, GenesisValidator
from genesis.evidence import Evidence, Half, Offence, encode_evidence, make_evidence
from genesis.signing import SigningKey
from genesis.statements import Phase, proposal_message, timeout_message, vote_message
from tests.contracts.world import PARAMS, World, document, key_of, operation, set_up

EPOCH_BLOCKS = 32
SMALL = {
    "epoch_blocks": EPOCH_BLOCKS,
    "proposal_epochs": 2,
    "evidence_epochs": 2,
    "unbonding_epochs": 3,
    "validator_sets_max": 4,
}


def signer(name: str) -> SigningKey:
    """A validator's consensus key."""
    return SigningKey(key_of(f"seed of {name}"))


def validator(name: str, power: int = 1) -> GenesisValidator:
    """A validator's entry."""
    return GenesisValidator(name, signer(name).public_key, power, f"{name}:1", f"certificate of {name}".encode())


def consortium_document(powers: Sequence[int], **params: int) -> GenesisDocument:
    """Validators v0, v1, ... with these powers."""
    validators = tuple(validator(f"v{n}", power) for n, power in enumerate(powers))
    return replace(document(), validators=validators, params=replace(PARAMS, **{**SMALL, **params}))


class Consortium(World):
    """A world whose signers ``v0``, ``v1``, ... are validators."""

    def __init__(self, powers: Sequence[int] = (1, 1, 1, 1), **params: int) -> None:
        super().__init__(consortium_document(powers, **params))

    def key(self, name: str) -> bytes:
        """A name that begins with ``v`` is a validator's."""
        return signer(name).public_key if name.startswith("v") else key_of(name)

    @property
    def powers(self) -> dict[str, int]:
        """The set of the state's epoch."""
        return {each.name: each.power for each in self.state.standing.validators}

    def propose(self, signers: str, change: Change) -> bytes:
        """Propose a change, which must be taken; the proposal's id."""
        receipt = self.send(signers, wire_of(change))
        assert receipt.code == "", receipt
        identity = dict(receipt.events[0][1])["proposal"]
        assert isinstance(identity, bytes)
        return identity

    def approve(self, signers: str, proposal: bytes) -> str:
        """Approve in one envelope; the code."""
        return self.try_to(signers, "governance.approve", proposal=proposal).code

    def decide(self, change: Change, signers: str = "v0 v1 v2") -> bytes:
        """Propose a change with enough signatures; it must be approved."""
        identity = self.propose(signers, change)
        assert self.state.proposals.rows[identity].place, change
        return identity

    def to_edge(self, epochs: int = 1) -> None:
        """Blocks until so many edges have passed."""
        until = (self.state.epoch + epochs) * EPOCH_BLOCKS
        while self.state.height < until:
            self.block()

    def accuse(self, evidence: Evidence, by: str = "M0") -> str:
        """Submit evidence; the code."""
        return self.send(by, submission(evidence)).code

    def bonded(self, validator: str) -> int:
        """What stands behind a validator, in release or not."""
        deposits = sum(row.amount_minor for key, row in self.state.bonds.rows.items() if key[0] == validator)
        return deposits + sum(row.amount_minor for key, row in self.state.unbonding.rows.items() if key[1] == validator)


def submission(evidence: Evidence) -> tuple[Any, ...]:
    """The operation that submits evidence."""
    return operation("evidence.submit", evidence=encode_evidence(evidence))


def bonded_consortium(powers: Sequence[int] = (1, 1, 1, 1), amount_minor: int = 1_000_000, **params: int) -> Consortium:
    """Members M0 to M2 with money, and a deposit of M0 behind every validator."""
    made = Consortium(powers, **params)
    set_up(made)
    for name in made.powers:
        made.do("M0", "bond.deposit", validator=name, account="M0/main", asset="BTC", amount_minor=amount_minor)
    return made


def vote_half(world: World, name: str, view: int, block: str, *, epoch: int = 0, height: int = 5) -> Half:
    """A signed vote, as a half of evidence."""
    block_hash = key_of(block)
    message = vote_message(world.document.chain_id, epoch, view, Phase.CERTIFY, height, block_hash)
    return Half((height, block_hash), signer(name).sign(message))


def proposal_half(world: World, name: str, view: int, block: str, *, epoch: int = 0) -> Half:
    """A signed proposal, as a half of evidence."""
    message = proposal_message(world.document.chain_id, epoch, view, key_of(block))
    return Half((key_of(block),), signer(name).sign(message))


def timeout_half(world: World, name: str, view: int, high_qc_view: int, *, epoch: int = 0) -> Half:
    """A signed timeout, as a half of evidence."""
    message = timeout_message(world.document.chain_id, epoch, view, high_qc_view)
    return Half((high_qc_view,), signer(name).sign(message))


def double_vote(world: World, place: int, view: int = 7, *, epoch: int = 0, name: str = "") -> Evidence:
    """Two votes of the validator ``v<place>`` (or `name`, at that place) in one view."""
    who = name or f"v{place}"
    one, other = (vote_half(world, who, view, block, epoch=epoch) for block in ("A", "B"))
    return make_evidence(Offence.VOTE, epoch, view, place, one, other)
