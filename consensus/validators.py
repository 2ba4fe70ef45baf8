"""The validator set of one epoch: who may sign, with which key, at which weight.

Rules (any n from 1, any weights):

1. A *quorum* is more than two thirds of the power, ``total * 2 // 3 + 1``: two quorums share an honest validator as
   long as less than one third of the power is faulty.
2. *Honest power* is more than one third, ``(total - 1) // 3 + 1``: validators that hold it together include an honest
   one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from consensus.types import ReplicaIndex
from genesis.document import GenesisDocument, GenesisValidator
from genesis.errors import Rejected, invariant


@dataclass(frozen=True, slots=True)
class Validator:
    """One validator: its place in the set, its name for people, its Ed25519 key, its power (1 or more)."""

    index: ReplicaIndex
    name: str
    public_key: bytes
    power: int


@dataclass(frozen=True)
class ValidatorSet:
    """The validators of an epoch, ordered by index."""

    epoch: int
    members: tuple[Validator, ...]

    def __post_init__(self) -> None:
        invariant(len(self.members) > 0, "a validator set is not empty")
        for place, member in enumerate(self.members):
            invariant(member.index == place and member.power > 0, "validators are in order, with power", member=member)

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def total_power(self) -> int:
        """The power of all members together."""
        return sum(member.power for member in self.members)

    @property
    def quorum_power(self) -> int:
        """The power that decides (rule 1)."""
        return self.total_power * 2 // 3 + 1

    @property
    def honest_power(self) -> int:
        """The power that cannot be faulty altogether (rule 2)."""
        return (self.total_power - 1) // 3 + 1

    def power_of(self, indices: Iterable[ReplicaIndex]) -> int:
        """The power of these members together, each counted once."""
        return sum(self.member(index).power for index in set(indices))

    def member(self, index: ReplicaIndex) -> Validator:
        """The validator at `index`.

        Raises:
            Rejected: ``unknown_validator``.
        """
        if not 0 <= index < len(self.members):
            raise Rejected(
                "unknown_validator", "No validator has this index.", index=index, validators=len(self.members)
            )
        return self.members[index]

    def others(self, index: ReplicaIndex) -> tuple[ReplicaIndex, ...]:
        """Every index but this one."""
        return tuple(member.index for member in self.members if member.index != index)


def validator_set(epoch: int, members: Iterable[GenesisValidator]) -> ValidatorSet:
    """The set of an epoch, from its validators in order of index."""
    numbered = enumerate(members)
    return ValidatorSet(
        epoch, tuple(Validator(index, each.name, each.public_key, each.power) for index, each in numbered)
    )


def genesis_validators(document: GenesisDocument) -> ValidatorSet:
    """The set of epoch 0, in the order of the genesis document."""
    return validator_set(0, document.validators)
