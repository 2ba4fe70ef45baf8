"""Indices over validators, bonds and offences that are computed from rows and never stored.

As in `contracts.derived`, each follows its table as a watcher, so that it is right after every change, every undone
change and a restart alike. Sets are never iterated in an order that could differ between nodes: callers sort, or read
the lists that are kept sorted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from contracts.tables import BondRow, OffenceRow, Table, UnbondingRow, ValidatorSetRow
from genesis.document import GenesisValidator
from genesis.errors import Rejected

BondKey = tuple[str, str, str]
"""(validator, account, asset)."""

UnbondingKey = tuple[int, str, str, str]
"""(release_epoch, validator, account, asset)."""

OffenceKey = tuple[int, str, int, int]
"""(epoch, validator, kind, view)."""


class Standing:
    """The derived indices of governance.

    Attributes:
        first_epochs: The first epochs of the sets that the state holds, ascending.
        bonds_of: The deposits behind a validator.
        bond_count: How many deposits a member has.
        unbonding: Withdrawn deposits, ascending, so those that are released first stand first.
        unbonding_of: The same by validator.
        offences: Punished offences, ascending, so the oldest epochs stand first.
        offence_count: How many of them a validator has in an epoch, by (epoch, validator).
    """

    __slots__ = (
        "_newest",
        "_of_key",
        "_sets",
        "bond_count",
        "bonds_of",
        "first_epochs",
        "offence_count",
        "offences",
        "unbonding",
        "unbonding_of",
    )

    def __init__(self) -> None:
        self.first_epochs: list[int] = []
        self.bonds_of: dict[str, set[BondKey]] = {}
        self.bond_count: dict[str, int] = {}
        self.unbonding: list[UnbondingKey] = []
        self.unbonding_of: dict[str, set[UnbondingKey]] = {}
        self.offences: list[OffenceKey] = []
        self.offence_count: dict[tuple[int, str], int] = {}
        self._sets: dict[int, tuple[GenesisValidator, ...]] = {}
        self._newest = -1
        self._of_key: dict[bytes, GenesisValidator] = {}

    def watch(
        self,
        sets: Table[int, ValidatorSetRow],
        bonds: Table[BondKey, BondRow],
        unbonding: Table[UnbondingKey, UnbondingRow],
        offences: Table[OffenceKey, OffenceRow],
    ) -> None:
        """Follow the tables."""
        sets.watch(self._on_set)
        bonds.watch(self._on_bond)
        unbonding.watch(self._on_unbonding)
        offences.watch(self._on_offence)

    @property
    def validators(self) -> tuple[GenesisValidator, ...]:
        """The newest set, in order of index: that of the state's epoch."""
        return self._sets[self._newest]

    def validator_of_key(self, public_key: bytes) -> GenesisValidator | None:
        """Who of the newest set has this key."""
        return self._of_key.get(public_key)

    def first_epoch_of(self, epoch: int) -> int:
        """The first epoch of the set that decides `epoch`, which must not be above the state's.

        Raises:
            Rejected: ``unknown_epoch`` when the set of that epoch is no longer kept.
        """
        place = bisect_right(self.first_epochs, epoch)
        if not place:
            raise Rejected("unknown_epoch", "The validator set of this epoch is no longer kept.", epoch=epoch)
        return self.first_epochs[place - 1]

    def validators_of(self, epoch: int) -> tuple[GenesisValidator, ...]:
        """The set that decides `epoch`, which must not be above the state's; `Rejected` ``unknown_epoch``."""
        return self._sets[self.first_epoch_of(epoch)]

    def _on_set(self, first_epoch: int, before: ValidatorSetRow | None, after: ValidatorSetRow | None) -> None:
        if before is None and after is not None:
            insort(self.first_epochs, first_epoch)
        if after is not None:
            if before is None or before.members != after.members:
                self._sets[first_epoch] = tuple(GenesisValidator(*each) for each in after.members)
        elif before is not None:
            del self.first_epochs[bisect_left(self.first_epochs, first_epoch)]
            del self._sets[first_epoch]
        newest = self.first_epochs[-1] if self.first_epochs else -1
        if newest != self._newest or newest == first_epoch:
            self._newest = newest
            self._of_key = {each.public_key: each for each in self._sets.get(newest, ())}

    def _on_bond(self, key: BondKey, before: BondRow | None, after: BondRow | None) -> None:
        validator, account, _asset = key
        member = account.partition("/")[0]
        if before is None and after is not None:
            self.bonds_of.setdefault(validator, set()).add(key)
            self.bond_count[member] = self.bond_count.get(member, 0) + 1
        elif after is None and before is not None:
            self.bonds_of[validator].remove(key)
            self.bond_count[member] -= 1

    def _on_unbonding(self, key: UnbondingKey, before: UnbondingRow | None, after: UnbondingRow | None) -> None:
        if before is None and after is not None:
            insort(self.unbonding, key)
            self.unbonding_of.setdefault(key[1], set()).add(key)
        elif after is None and before is not None:
            del self.unbonding[bisect_left(self.unbonding, key)]
            self.unbonding_of[key[1]].remove(key)

    def _on_offence(self, key: OffenceKey, before: OffenceRow | None, after: OffenceRow | None) -> None:
        epoch, validator, _kind, _view = key
        counted = (epoch, validator)
        if before is None and after is not None:
            insort(self.offences, key)
            self.offence_count[counted] = self.offence_count.get(counted, 0) + 1
        elif after is None and before is not None:
            del self.offences[bisect_left(self.offences, key)]
            self.offence_count[counted] -= 1
            if not self.offence_count[counted]:
                del self.offence_count[counted]
