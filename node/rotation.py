"""The consensus keys of one home, a validator's or a signer's: the first, and those made to replace it.

The first is ``keys/consensus.key``, the next ``keys/consensus-2.key``, and so on: numbers rise and are not used again
while a later key is there. Which of them signs, the validator set of each epoch says. The file of a key that no epoch
will name again may be moved away; the first one stays, since its file carries the lock of a signer's home.
"""

from __future__ import annotations

import re
from typing import Final

from node.keystore import KeyStore
from node.unused_key import CONSENSUS_KEY

_LATER: Final = re.compile(rf"{CONSENSUS_KEY}-([2-9]|[1-9][0-9]{{1,8}})")


def later_keys(store: KeyStore) -> tuple[str, ...]:
    """The names of the consensus keys that were made after the first, oldest first."""
    return tuple(f"{CONSENSUS_KEY}-{number}" for number in _numbers(store))


def next_name(store: KeyStore) -> str:
    """The name of the consensus key that is to be made next."""
    return f"{CONSENSUS_KEY}-{max(_numbers(store), default=1) + 1}"


def _numbers(store: KeyStore) -> list[int]:
    found = (_LATER.fullmatch(path.stem) for path in store.directory.glob(f"{CONSENSUS_KEY}-*.key"))
    return sorted(int(each[1]) for each in found if each is not None)
