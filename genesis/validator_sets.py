"""A validator set as an entry under a state root: for those who have a root that they trust, and no state.

The state machine keeps a row for each set, not for each epoch: its key is the first epoch that the set decides, its
value ``[last_epoch, [[name, public_key, power, address, certificate], ...]]`` in order of index. While the set is in
force `last_epoch` is nil. So one entry proves the set of every epoch that it covers, and a client that trusts the set
of one epoch comes to the next through the state root after its edge (`genesis.epochs`).

What is decoded here may come from anyone; that it is under the root is for the proof to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from genesis.addresses import split_address
from genesis.codec import Value, decode, encode, integer, optional, raw, record, sequence, text
from genesis.document import CERTIFICATE_BYTES_MAX, POWER_MAX, VALIDATORS_MAX, GenesisValidator
from genesis.errors import Rejected
from genesis.evidence import EPOCH_MAX
from genesis.values import NAME, PUBLIC_KEY

VALIDATOR_SETS_PREFIX: Final = 16
"""The byte that begins the key of every such entry: rule R1 of docs/PROTOCOL.md."""

VALIDATOR_SET_BYTES_MAX: Final = 2**19
ADDRESS_LENGTH_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class StoredValidatorSet:
    """One entry, well-formed; whether it is genuine, its proof says.

    Attributes:
        first_epoch: The first epoch that it decides.
        last_epoch: The last one; None if the set was in force in the state that the entry is from.
        members: The validators in order of index.
    """

    first_epoch: int
    last_epoch: int | None
    members: tuple[GenesisValidator, ...]

    def decides(self, epoch: int, state_epoch: int) -> bool:
        """Whether this is the set of `epoch`.

        Args:
            epoch: The epoch in question.
            state_epoch: The epoch that the entry's state names: `genesis.epochs.epoch_after_block` of the height that
                its root belongs to. A set in force there decides no later epoch as far as that root can tell.
        """
        last = state_epoch if self.last_epoch is None else self.last_epoch
        return self.first_epoch <= epoch <= last


def validator_set_key(first_epoch: int) -> bytes:
    """The key of the entry of the set that is in force from `first_epoch`."""
    return bytes((VALIDATOR_SETS_PREFIX,)) + encode(first_epoch)


def decode_validator_set(key: bytes, value: bytes) -> StoredValidatorSet:
    """Read an entry.

    Raises:
        Rejected: ``malformed`` or ``too_large``.
    """
    if key[:1] != bytes((VALIDATOR_SETS_PREFIX,)):
        raise Rejected("malformed", "This is no entry of a validator set.", key=key[:16].hex())
    first_epoch = decode(key[1:], _EPOCH, size_max=16)
    last_epoch, members = decode(value, _ROW, size_max=VALIDATOR_SET_BYTES_MAX)
    if last_epoch is not None and last_epoch < first_epoch:
        raise Rejected("malformed", "A set ends before it begins.", first_epoch=first_epoch, last_epoch=last_epoch)
    validators = tuple(GenesisValidator(*each) for each in members)
    for what in ("name", "public_key", "certificate"):
        if len({getattr(each, what) for each in validators}) != len(validators):
            raise Rejected("malformed", f"Two validators of a set have one {what}.", validators=len(validators))
    return StoredValidatorSet(first_epoch, last_epoch, validators)


def _address(value: Value) -> None:
    _ADDRESS_TEXT(value)
    try:
        split_address(value)
    except Rejected as error:
        raise Rejected("malformed", error.message) from error


_EPOCH: Final = integer(0, EPOCH_MAX)
_ADDRESS_TEXT: Final = text(1, ADDRESS_LENGTH_MAX)
_MEMBER: Final = record(NAME, PUBLIC_KEY, integer(1, POWER_MAX), _address, raw(1, CERTIFICATE_BYTES_MAX))
_ROW: Final = record(optional(_EPOCH), sequence(_MEMBER, 1, VALIDATORS_MAX))
