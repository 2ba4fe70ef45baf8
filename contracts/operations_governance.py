"""What a transaction may ask for where the validators themselves are concerned: their set, their bonds, their offences.

Records like those of `contracts.operations`, which says how they are written. The five that change the set do nothing
at once: each opens a proposal (`contracts.governance`).
"""

from __future__ import annotations

from dataclasses import dataclass

from genesis.codec import Value, encode
from genesis.hashing import Domain, digest


@dataclass(frozen=True, slots=True)
class AddValidator:
    """Validator: propose that `validator` joins; the fields are those of the genesis document."""

    validator: str
    public_key: bytes
    power: int
    address: str
    certificate: bytes


@dataclass(frozen=True, slots=True)
class RemoveValidator:
    """Validator: propose that `validator` leaves."""

    validator: str


@dataclass(frozen=True, slots=True)
class ReweightValidator:
    """Validator: propose another power."""

    validator: str
    power: int


@dataclass(frozen=True, slots=True)
class RotateValidatorKey:
    """Validator: propose another consensus key."""

    validator: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class MoveValidator:
    """Validator: propose another address, or another certificate of its network key."""

    validator: str
    address: str
    certificate: bytes


Change = AddValidator | RemoveValidator | ReweightValidator | RotateValidatorKey | MoveValidator
"""What governance can do to the validator set."""


@dataclass(frozen=True, slots=True)
class ApproveProposal:
    """Validator: approve the proposal with this id."""

    proposal: bytes


@dataclass(frozen=True, slots=True)
class WithdrawProposal:
    """The validator that proposed it: take back a proposal that is not approved yet."""

    proposal: bytes


@dataclass(frozen=True, slots=True)
class DepositBond:
    """Member of `account`: put free units behind `validator`."""

    validator: str
    account: str
    asset: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class WithdrawBond:
    """Member of `account`: take units back; they come after the unbonding span."""

    validator: str
    account: str
    asset: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class SubmitEvidence:
    """Anyone known to the chain: `evidence` is what `genesis.evidence` encodes."""

    evidence: bytes


def proposal_id(change: tuple[Value, ...], opened_height: int) -> bytes:
    """The id of a proposal: ``H(CHANGE, [change, opened_height])``, the change as it stands on the wire.

    To approve an id is to approve exactly that change, whoever showed it.
    """
    return digest(Domain.CHANGE, encode((change, opened_height)))
